//! Net changes with the times of their batches, as sinks stage them.

use arrow::array::{ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType as Arrow, Field, Int64Type, TimeUnit};
use levada_flow::FlowError;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The schema's columns (the first `width`), the time of each row's batch as `lv_at`, its operation,
/// its key hash.
pub(crate) fn with_times(
    batch: &RecordBatch,
    width: usize,
    times: &BTreeMap<i64, i64>,
    source: &str,
) -> Result<RecordBatch, FlowError> {
    let wrong = || FlowError::never(format!("the changes of {source} lack lv_batch, lv_op, lv_key_hash, or a time"));
    let own = |name: &str| batch.column_by_name(name).ok_or_else(wrong);
    let batches = own("lv_batch")?.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?;
    let at: Option<Vec<i64>> = batches.values().iter().map(|batch| times.get(batch).copied()).collect();
    let at = TimestampMicrosecondArray::from(at.ok_or_else(wrong)?).with_timezone("UTC");
    let mut arrays: Vec<ArrayRef> = batch.columns().get(..width).ok_or_else(wrong)?.to_vec();
    let mut fields: Vec<Arc<Field>> = batch.schema().fields()[..width].to_vec();
    let instant = Arrow::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    fields.push(Arc::new(Field::new("lv_at", instant, false)));
    arrays.push(Arc::new(at));
    for name in ["lv_op", "lv_key_hash"] {
        let array = own(name)?;
        fields.push(Arc::new(Field::new(name, array.data_type().clone(), false)));
        arrays.push(Arc::clone(array));
    }
    RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), arrays)
        .map_err(|error| wrong().because(error))
}
