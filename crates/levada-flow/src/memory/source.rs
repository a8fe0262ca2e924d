//! A producer in memory.

use super::MemoryDatabase;
use crate::arrow_schema::arrow_schema;
use crate::source::{Coverage, PullDataset, PullEnd, PullRequest, Pulled};
use crate::{BATCH_ROWS_MAX, FlowError, Position, Source};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringArray, UInt32Array};
use arrow::compute::kernels::cmp::gt_eq;
use arrow::compute::{SortOptions, cast, filter_record_batch, is_null, or_kleene, sort_to_indices, take};
use arrow::datatypes::{DataType as Arrow, Int64Type};
use async_trait::async_trait;
use levada_model::Schema;
use levada_model::model::IngestKind;
use levada_model::nearest::nearest;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Reads the tables of a [`MemoryDatabase`], by snapshot or watermark.
pub struct MemorySource {
    database: MemoryDatabase,
    incarnation: String,
}

impl MemorySource {
    /// Opens a database; `incarnation` is the identity it claims.
    pub fn new(database: MemoryDatabase, incarnation: impl Into<String>) -> Self {
        Self { database, incarnation: incarnation.into() }
    }

    /// The tables of all datasets at one moment, or everything that doesn't fit.
    fn resolve(&self, request: &PullRequest) -> Result<Vec<RecordBatch>, FlowError> {
        if !matches!(request.kind, IngestKind::Snapshot | IngestKind::Watermark { .. }) {
            return Err(FlowError::never("memory is read by snapshot or watermark only"));
        }
        let tables = self.database.state().tables.clone();
        let (mut found, mut mismatches) = (Vec::new(), Vec::new());
        for dataset in &request.datasets {
            match tables.get(&dataset.table) {
                None => mismatches.push(missing(
                    format!("there is no table {:?}", dataset.table),
                    nearest(&dataset.table, tables.keys().map(String::as_str)),
                )),
                Some(table) => {
                    mismatches.extend(mismatches_of(table, dataset));
                    found.push(table.clone());
                }
            }
        }
        if mismatches.is_empty() { Ok(found) } else { Err(FlowError::never(mismatches.join("; "))) }
    }
}

fn missing(sentence: String, near: Option<&str>) -> String {
    near.map_or(sentence.clone(), |near| format!("{sentence} (did you mean {near:?}?)"))
}

fn mismatches_of(table: &RecordBatch, dataset: &PullDataset) -> Vec<String> {
    let there = table.schema();
    let wanted = arrow_schema(&dataset.schema);
    let check = |(column, wanted): (&levada_model::SchemaColumn, &Arc<arrow::datatypes::Field>)| {
        let name = column.source_name();
        match there.field_with_name(name) {
            Err(_) => Some(missing(
                format!("table {:?} has no column {name:?}", dataset.table),
                nearest(name, there.fields().iter().map(|field| field.name().as_str())),
            )),
            Ok(field) if field.data_type() != wanted.data_type() => Some(format!(
                "column {name:?} of table {:?} is {}, not {}",
                dataset.table,
                field.data_type(),
                column.data_type
            )),
            Ok(_) => None,
        }
    };
    dataset.schema.columns.iter().zip(wanted.fields()).filter_map(check).collect()
}

#[async_trait]
impl Source for MemorySource {
    async fn inspect(&mut self, request: &PullRequest) -> Result<(), FlowError> {
        self.resolve(request).map(|_| ())
    }

    async fn pull(&mut self, request: &PullRequest, out: mpsc::Sender<Pulled>) -> Result<PullEnd, FlowError> {
        let tables = self.resolve(request)?;
        let (mut greatest, mut coverage) = (BTreeMap::new(), Vec::new());
        for (dataset, (wanted, table)) in request.datasets.iter().zip(&tables).enumerate() {
            let rows = projected(table, &wanted.schema)?;
            let (rows, covers) = match &request.kind {
                IngestKind::Watermark { .. } => {
                    let previous = request.position(&self.incarnation);
                    newer(request, previous, wanted, &rows, &mut greatest)?
                }
                _ => (rows, Coverage::Complete),
            };
            coverage.push(covers);
            for rows in pieces(&rows) {
                send(&out, Pulled::Rows { dataset, rows }).await?;
            }
            if covers == Coverage::UpsertsAndKeys {
                let columns = wanted.schema.columns.iter().filter(|column| column.key).cloned().collect();
                for keys in pieces(&projected(table, &Schema { columns })?) {
                    send(&out, Pulled::Keys { dataset, keys }).await?;
                }
            }
        }
        let position = match request.kind {
            IngestKind::Watermark { .. } => Position::Watermark { greatest },
            _ => Position::Snapshot { mark: "memory".to_owned() },
        };
        Ok(PullEnd::new(position, coverage, self.incarnation.clone()))
    }

    async fn acknowledge(&mut self, _position: &Position) -> Result<(), FlowError> {
        Ok(())
    }
}

async fn send(out: &mpsc::Sender<Pulled>, pulled: Pulled) -> Result<(), FlowError> {
    out.send(pulled).await.map_err(|_| FlowError::later("the pull was given up by its receiver"))
}

fn pieces(rows: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let starts = (0..rows.num_rows()).step_by(BATCH_ROWS_MAX);
    starts.map(|start| rows.slice(start, BATCH_ROWS_MAX.min(rows.num_rows() - start)))
}

/// The columns of a schema by their names at the source.
fn projected(table: &RecordBatch, schema: &Schema) -> Result<RecordBatch, FlowError> {
    let column = |column: &levada_model::SchemaColumn| table.column_by_name(column.source_name()).cloned();
    let columns: Option<Vec<ArrayRef>> = schema.columns.iter().map(column).collect();
    let columns = columns.ok_or_else(|| FlowError::later("the table changed while it was read"))?;
    let options = RecordBatchOptions::new().with_row_count(Some(table.num_rows()));
    RecordBatch::try_new_with_options(arrow_schema(schema), columns, &options)
        .map_err(|error| FlowError::never("the table does not fit the model").because(error))
}

/// The rows that are not older than the last watermark, and what they mean.
fn newer(
    request: &PullRequest,
    previous: Option<&Position>,
    dataset: &PullDataset,
    rows: &RecordBatch,
    greatest: &mut BTreeMap<String, String>,
) -> Result<(RecordBatch, Coverage), FlowError> {
    let failed = |error| FlowError::never(format!("the watermark of {} can't be read", dataset.dataset)).because(error);
    let IngestKind::Watermark { column, overlap, .. } = &request.kind else {
        unreachable!("the caller looked");
    };
    let name = dataset.watermark.as_ref().or(column.as_ref());
    let values = name.and_then(|name| rows.column_by_name(name.as_str()));
    let values = values.ok_or_else(|| FlowError::never(format!("{} has no watermark column", dataset.dataset)))?;
    let previous = match previous {
        Some(Position::Watermark { greatest }) => greatest.get(dataset.dataset.as_str()),
        _ => None,
    };
    let data_type = values.data_type().clone();
    let values = ordered(values).map_err(failed)?;
    let now = greatest_of(&values).map_err(failed)?.or(previous.cloned());
    greatest.extend(now.map(|now| (dataset.dataset.to_string(), now)));
    let Some(previous) = previous else {
        return Ok((rows.clone(), Coverage::Complete));
    };
    let least = cast(&StringArray::from(vec![previous.as_str()]), values.data_type()).map_err(failed)?;
    let least = match overlap {
        Some(overlap) => earlier(&least, back(overlap.approximate_seconds(), &data_type)?).map_err(failed)?,
        None => least,
    };
    let is_newer = gt_eq(&values, &arrow::array::Scalar::new(least)).map_err(failed)?;
    let is_taken = or_kleene(&is_newer, &is_null(&values).map_err(failed)?).map_err(failed)?;
    let taken = filter_record_batch(rows, &is_taken).map_err(failed)?;
    let coverage = if request.finds_deletes { Coverage::UpsertsAndKeys } else { Coverage::Upserts };
    Ok((taken, coverage))
}

fn greatest_of(values: &ArrayRef) -> Result<Option<String>, arrow::error::ArrowError> {
    let order = SortOptions { descending: true, nulls_first: false };
    let first = sort_to_indices(values, Some(order), Some(1))?;
    if first.is_empty() || values.is_null(first.value(0) as usize) {
        return Ok(None);
    }
    let first = take(values, &UInt32Array::from(vec![first.value(0)]), None)?;
    let text = cast(&first, &Arrow::Utf8)?;
    Ok(Some(text.as_string::<i32>().value(0).to_owned()))
}

/// Texts as they are, everything else by its number.
fn ordered(values: &ArrayRef) -> Result<ArrayRef, arrow::error::ArrowError> {
    match values.data_type() {
        Arrow::Utf8 => Ok(values.clone()),
        _ => cast(values, &Arrow::Int64),
    }
}

/// An overlap in the units of a type.
fn back(seconds: u64, data_type: &Arrow) -> Result<i64, FlowError> {
    let units = match data_type {
        Arrow::Date32 => seconds.div_ceil(86_400),
        Arrow::Timestamp(..) => seconds.saturating_mul(1_000_000),
        other => return Err(FlowError::never(format!("an overlap is a length of time, the watermark is {other}"))),
    };
    Ok(i64::try_from(units).unwrap_or(i64::MAX))
}

fn earlier(number: &ArrayRef, units: i64) -> Result<ArrayRef, arrow::error::ArrowError> {
    let number = cast(number, &Arrow::Int64)?;
    Ok(Arc::new(number.as_primitive::<Int64Type>().unary::<_, Int64Type>(|number| number.saturating_sub(units))))
}
