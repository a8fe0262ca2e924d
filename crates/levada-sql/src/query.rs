//! Questions to the store, in its four readings.
//!
//! `STORE.DATASET` is live; `… FOR VERSION AS OF n` and `… FOR TIMESTAMP AS OF 't'` as it was;
//! `STORE."DATASET$changes"` has the changes, with `lv_batch`, `lv_op`, `lv_prev_batch`;
//! `STORE."DATASET$history"` all versions, with `valid_from` and `valid_to`. Both go with a point in
//! the past too: what was known then.

use crate::names::Names;
use crate::session::{QuerySession, SESSION_MEMORY_BYTES_MAX};
use crate::table::{DatasetTable, Open};
use crate::text::{Point, Text, table_and_point};
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef, TimeUnit};
use futures::{FutureExt, StreamExt};
use levada_flow::arrow_schema::arrow_schema;
use levada_flow::{FlowError, RowStream};
use levada_model::Schema;
use levada_model::address::DatasetRef;
use levada_store::{AsOf, BATCH, OPERATION, PREVIOUS_BATCH, Reading, Store, VALID_FROM, VALID_TO};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The key of a field's metadata that names the model's type of a column; what is computed has none.
pub const MODEL_TYPE: &str = "levada.type";

/// The result of a query.
pub struct Answer {
    /// Its columns, spelled as the query or the model does; two may have one name. Those of a
    /// dataset carry [`MODEL_TYPE`].
    pub schema: SchemaRef,
    /// Its rows.
    pub rows: RowStream,
}

/// Answers one query over these datasets; reads only the columns it names.
///
/// # Errors
/// It isn't one query, names what isn't there, or the store fails; what fails while it runs comes
/// in the rows.
pub async fn query(store: &Store, datasets: &[(DatasetRef, Schema)], sql: &str) -> Result<Answer, FlowError> {
    let text = Text::parse(sql)?;
    let session = QuerySession::open(SESSION_MEMORY_BYTES_MAX)?;
    let names = Names::new(datasets.iter().map(|(of, _)| of));
    let mut spellings = BTreeMap::new();
    for table in session.tables(&text)? {
        let (name, point) = table_and_point(table.table());
        let (dataset, suffix) = name.split_once('$').map_or((name, None), |(dataset, suffix)| (dataset, Some(suffix)));
        let (of, schema) = &datasets[names.find(&table, dataset)?];
        let batch = match point {
            None => None,
            Some(Point::Batch(batch)) => Some(store.resolve(of, AsOf::Batch(batch)).await?),
            Some(Point::Time(time)) => Some(store.resolve(of, AsOf::Time(time)).await?),
        };
        let reading = reading(of, suffix, batch)?;
        spellings.extend(schema.columns.iter().map(|column| (column.name.folded(), column.name.to_string())));
        session.register(&table, table_of(store, of, schema, reading)?)?;
    }
    spellings.extend(text.spellings.clone());
    let plan = session.plan(text).await?;
    let fields = plan.schema().fields().iter().map(|field| {
        let name = spellings.get(field.name()).unwrap_or(field.name());
        field.as_ref().clone().with_name(name).with_nullable(true)
    });
    let schema: SchemaRef = Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>()));
    let renamed = schema.clone();
    let rows = session.run(plan).await?.map(move |rows| {
        let rows = rows?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(renamed.clone(), rows.columns().to_vec(), &options)
            .map_err(|error| FlowError::never("the result has other types than it was planned with").because(error))
    });
    Ok(Answer { schema, rows: rows.boxed() })
}

fn reading(of: &DatasetRef, suffix: Option<&str>, batch: Option<i64>) -> Result<Reading, FlowError> {
    match suffix {
        None => Ok(Reading::Live { as_of: batch }),
        Some("changes") => Ok(Reading::Changes { after: 0, up_to: batch }),
        Some("history") => Ok(Reading::History { as_of: batch, since: None }),
        Some(other) => Err(FlowError::never(format!("{of} has no reading {other:?}")).hint(format!(
            "write {of}, {}.\"{}$changes\" or {}.\"{}$history\"",
            of.datastore, of.dataset, of.datastore, of.dataset
        ))),
    }
}

/// The reading's own columns that people see, behind the dataset's.
fn own_columns(reading: Reading) -> Vec<Field> {
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    match reading {
        Reading::Live { .. } => Vec::new(),
        Reading::Changes { .. } | Reading::NetChanges { .. } => vec![
            Field::new(BATCH, DataType::Int64, false),
            Field::new(OPERATION, DataType::Int32, false),
            Field::new(PREVIOUS_BATCH, DataType::Int64, true),
        ],
        Reading::History { .. } => {
            vec![Field::new(VALID_FROM, instant.clone(), false), Field::new(VALID_TO, instant, true)]
        }
    }
}

fn table_of(store: &Store, of: &DatasetRef, schema: &Schema, reading: Reading) -> Result<DatasetTable, FlowError> {
    let own = own_columns(reading);
    let data = arrow_schema(schema);
    let typed = data.fields().iter().zip(&schema.columns).map(|(field, column)| {
        let model_type = (MODEL_TYPE.to_owned(), column.data_type.to_string());
        field.as_ref().clone().with_metadata([model_type].into())
    });
    let columns: Vec<Field> = typed.chain(own).collect();
    let (store, dataset, schema) = (store.clone(), of.clone(), schema.clone());
    let open: Open = Arc::new(move |columns| {
        let (store, dataset, schema) = (store.clone(), dataset.clone(), schema.clone());
        async move {
            let count = schema.columns.len();
            let asked: Vec<usize> = columns.iter().copied().filter(|column| *column < count).collect();
            let part = Schema { columns: asked.iter().map(|column| schema.columns[*column].clone()).collect() };
            let rows = store.read_values(&dataset, &part, reading).await?;
            // Behind the columns asked for come the reading's own, all of them.
            let place = move |column: &usize| match asked.iter().position(|asked| asked == column) {
                Some(place) => place,
                None => asked.len() + (column - count),
            };
            let places: Vec<usize> = columns.iter().map(place).collect();
            let project = move |rows: Result<RecordBatch, FlowError>| {
                rows?.project(&places).map_err(|error| FlowError::never("a reading lacks columns").because(error))
            };
            Ok(rows.map(project).boxed())
        }
        .boxed()
    });
    DatasetTable::new(of.to_string(), &columns, open)
}
