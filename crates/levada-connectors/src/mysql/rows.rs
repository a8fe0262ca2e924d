//! Rows of a table into record batches, and record batches into a table.
//!
//! Both ways go through prepared statements: values arrive and leave in binary. Rows are never held
//! beyond one batch, nor beyond one statement of what the server takes at once.

use super::config::Session;
use super::decode::{ColumnDecoder, shown};
use super::encode::ColumnEncoder;
use super::error::During;
use super::quote::identifier;
use super::types::{Problem, Wire};
use crate::database::WriteColumn;
use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Fields, SchemaRef};
use futures::{Stream, StreamExt};
use levada_flow::arrow_schema::arrow_type;
use levada_flow::{BATCH_BYTES_MAX, BATCH_ROWS_MAX, FlowError};
use levada_model::DataType;
use mysql_async::prelude::Queryable;
use mysql_async::{Params, Statement, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;

/// The most parameters of one statement, by the protocol.
const PARAMETERS_MAX: usize = 65_535;

/// The most rows of one statement.
const INSERT_ROWS_MAX: usize = 1_024;

/// About how many bytes one statement carries, where the server takes so many. The driver keeps 128 buffers, and
/// each grows to the largest packet that it ever had.
const INSERT_BYTES_MAX: usize = 256 << 10;

/// How much is written before it is committed: nobody sees it yet, and a server undoes little better
/// than much.
const COMMIT_BYTES: usize = 32 << 20;

/// A column to read.
#[derive(Clone, Debug)]
pub(super) struct ReadColumn {
    pub(super) name: String,
    pub(super) source_name: String,
    pub(super) data_type: DataType,
    pub(super) is_nullable: bool,
    pub(super) is_key: bool,
    pub(super) wire: Wire,
}

/// Collects rows of values into record batches.
pub(super) struct RowsDecoder {
    table: String,
    columns: Vec<ReadColumn>,
    decoders: Vec<ColumnDecoder>,
    schema: SchemaRef,
    rows: usize,
    bytes: usize,
}

impl RowsDecoder {
    /// Starts an empty batch; `table` names it in messages.
    pub(super) fn new(table: &str, columns: &[ReadColumn]) -> Self {
        let decoder = |column: &ReadColumn| ColumnDecoder::new(&column.data_type, column.wire, column.is_nullable);
        Self {
            table: table.to_owned(),
            columns: columns.to_vec(),
            decoders: columns.iter().map(decoder).collect(),
            schema: schema_of(columns),
            rows: 0,
            bytes: 0,
        }
    }

    /// Appends one row: a value a column.
    ///
    /// # Errors
    /// A value is none of its column's type. What was collected is of no use then.
    pub(super) fn append<'v>(&mut self, value: impl Fn(usize) -> &'v Value) -> Result<(), FlowError> {
        for index in 0..self.decoders.len() {
            match self.decoders[index].append(value(index)) {
                Ok(bytes) => self.bytes += bytes,
                Err(problem) => return Err(self.refused(index, &problem, &value)),
            }
        }
        self.rows += 1;
        Ok(())
    }

    fn refused<'v>(&self, index: usize, problem: &Problem, value: impl Fn(usize) -> &'v Value) -> FlowError {
        let keys = self.columns.iter().enumerate().filter(|(_, column)| column.is_key);
        let keys: Vec<String> =
            keys.map(|(at, column)| format!("{} = {}", column.source_name, shown(value(at)))).collect();
        let row = match keys.is_empty() {
            true => "a row of a table without key".to_owned(),
            false => format!("row ({})", keys.join(", ")),
        };
        let (table, column) = (&self.table, &self.columns[index].source_name);
        FlowError::never(format!("table {table}, {row}: column {column:?} {problem}"))
    }

    /// Whether the batch has as many rows, or bytes, as one may have.
    pub(super) fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS_MAX || self.bytes >= BATCH_BYTES_MAX
    }

    /// The rows so far, where there are some; goes on with none.
    pub(super) fn finish(&mut self) -> Result<Option<RecordBatch>, FlowError> {
        if std::mem::take(&mut self.rows) == 0 {
            return Ok(None);
        }
        self.bytes = 0;
        let arrays = self.decoders.iter_mut().map(ColumnDecoder::finish).collect();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays);
        batch.map(Some).map_err(|error| {
            FlowError::never(format!("the rows of table {} don't fit together as columns", self.table)).because(error)
        })
    }
}

/// The Arrow schema of rows of these columns.
pub(super) fn schema_of(columns: &[ReadColumn]) -> SchemaRef {
    let field = |column: &ReadColumn| Field::new(&column.name, arrow_type(&column.data_type), column.is_nullable);
    Arc::new(arrow::datatypes::Schema::new(columns.iter().map(field).collect::<Fields>()))
}

/// The SELECT list of these columns.
pub(super) fn select_list<'c>(columns: impl Iterator<Item = &'c ReadColumn>) -> String {
    columns.map(|column| identifier(&column.source_name)).collect::<Vec<_>>().join(", ")
}

/// Runs a query whose SELECT list is that of `columns`, and sends its rows as they come.
pub(super) async fn read_rows<T>(
    session: &mut Session,
    table: &str,
    query: &str,
    parameters: Vec<Value>,
    columns: &[ReadColumn],
    out: &mpsc::Sender<T>,
    wrap: impl Fn(RecordBatch) -> T,
) -> Result<(), FlowError> {
    let failed = || format!("table {table} can't be read");
    let statement = session.prep(query).await.during(failed)?;
    let parameters = if parameters.is_empty() { Params::Empty } else { Params::Positional(parameters) };
    let mut rows = session.exec_iter(&statement, parameters).await.during(failed)?;
    let mut decoder = RowsDecoder::new(table, columns);
    while let Some(row) = rows.next().await.during(|| format!("table {table} can't be read to its end"))? {
        decoder.append(|index| row.as_ref(index).unwrap_or(&Value::NULL))?;
        if decoder.is_full() {
            send(out, decoder.finish()?, &wrap).await?;
        }
    }
    send(out, decoder.finish()?, &wrap).await
}

async fn send<T>(
    out: &mpsc::Sender<T>,
    rows: Option<RecordBatch>,
    wrap: &impl Fn(RecordBatch) -> T,
) -> Result<(), FlowError> {
    let Some(rows) = rows else { return Ok(()) };
    out.send(wrap(rows)).await.map_err(|_| FlowError::later("nobody takes the rows of the reading any more"))
}

/// Inserts all rows into `target` and gives how many rows and bytes went. Commits now and then.
pub(super) async fn write_rows(
    session: &mut Session,
    label: &str,
    target: &str,
    columns: &[WriteColumn],
    mut rows: impl Stream<Item = Result<RecordBatch, FlowError>> + Unpin + Send,
) -> Result<(u64, u64), FlowError> {
    let failed = || format!("the rows of {label} can't be written");
    session.run("START TRANSACTION", failed).await?;
    let mut insert = Insert::new(label, target, columns, session.packet_bytes_max);
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        let encoders = encoders(&batch, columns, label)?;
        for row in 0..batch.num_rows() {
            insert.append(&encoders, row)?;
            if insert.is_full() {
                insert.flush(session).await?;
            }
        }
    }
    insert.flush(session).await?;
    session.run("COMMIT", failed).await?;
    Ok((insert.row_count, insert.byte_count))
}

/// Rows on their way into a table.
struct Insert<'c> {
    label: String,
    start: String,
    columns: &'c [WriteColumn],
    /// The most rows of one statement, a power of two.
    rows_max: usize,
    bytes_max: usize,
    /// By how many rows they insert: powers of two, so that they are few.
    statements: BTreeMap<usize, Statement>,
    values: Vec<Value>,
    rows: usize,
    bytes: usize,
    bytes_to_commit: usize,
    row_count: u64,
    byte_count: u64,
}

impl<'c> Insert<'c> {
    fn new(label: &str, target: &str, columns: &'c [WriteColumn], packet_bytes_max: usize) -> Self {
        let names: Vec<String> = columns.iter().map(|column| identifier(&column.name)).collect();
        let rows_max = (PARAMETERS_MAX / columns.len().max(1)).clamp(1, INSERT_ROWS_MAX);
        Self {
            label: label.to_owned(),
            start: format!("INSERT INTO {target} ({}) VALUES ", names.join(", ")),
            columns,
            rows_max: 1 << rows_max.ilog2(),
            bytes_max: INSERT_BYTES_MAX.min(packet_bytes_max / 2),
            statements: BTreeMap::new(),
            values: Vec::new(),
            rows: 0,
            bytes: 0,
            bytes_to_commit: 0,
            row_count: 0,
            byte_count: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.rows >= self.rows_max || self.bytes >= self.bytes_max
    }

    fn append(&mut self, encoders: &[ColumnEncoder<'_>], row: usize) -> Result<(), FlowError> {
        for (encoder, column) in encoders.iter().zip(self.columns) {
            let value = encoder.value(row).map_err(|problem| self.refused(encoders, row, column, &problem))?;
            self.bytes += match &value {
                Value::Bytes(bytes) => bytes.len() + 9,
                _ => 12,
            };
            self.values.push(value);
        }
        self.rows += 1;
        Ok(())
    }

    fn refused(
        &self,
        encoders: &[ColumnEncoder<'_>],
        row: usize,
        column: &WriteColumn,
        problem: &Problem,
    ) -> FlowError {
        let keys = encoders.iter().zip(self.columns).filter(|(_, column)| column.is_key);
        let shown = |encoder: &ColumnEncoder<'_>| encoder.value(row).map_or("?".to_owned(), |value| shown(&value));
        let keys: Vec<String> = keys.map(|(encoder, key)| format!("{} = {}", key.name, shown(encoder))).collect();
        let row = if keys.is_empty() { "a row without key".to_owned() } else { format!("row ({})", keys.join(", ")) };
        FlowError::never(format!("{}, {row}: column {:?} {problem}", self.label, column.name))
    }

    /// Sends the rows so far: the largest power of two of them, and so on.
    async fn flush(&mut self, session: &mut Session) -> Result<(), FlowError> {
        let failed = |label: &str| format!("the rows of {label} can't be written");
        let mut values = std::mem::take(&mut self.values).into_iter();
        while self.rows > 0 {
            let count = 1 << self.rows.ilog2();
            let statement = match self.statements.get(&count) {
                Some(statement) => statement.clone(),
                None => {
                    let row = format!("({})", vec!["?"; self.columns.len()].join(", "));
                    let text = format!("{}{}", self.start, vec![row.as_str(); count].join(", "));
                    let statement = session.prep(text).await.during(|| failed(&self.label))?;
                    self.statements.insert(count, statement.clone());
                    statement
                }
            };
            let some: Vec<Value> = values.by_ref().take(count * self.columns.len()).collect();
            let inserted = session.exec_drop(&statement, Params::Positional(some)).await;
            inserted.during(|| failed(&self.label))?;
            self.rows -= count;
            self.row_count += count as u64;
        }
        self.byte_count += self.bytes as u64;
        self.bytes_to_commit += std::mem::take(&mut self.bytes);
        if self.bytes_to_commit >= COMMIT_BYTES {
            self.bytes_to_commit = 0;
            session.run("COMMIT", || failed(&self.label)).await?;
            session.run("START TRANSACTION", || failed(&self.label)).await?;
        }
        Ok(())
    }
}

fn encoders<'b>(
    batch: &'b RecordBatch,
    columns: &'b [WriteColumn],
    label: &str,
) -> Result<Vec<ColumnEncoder<'b>>, FlowError> {
    if batch.num_columns() != columns.len() {
        let (found, wanted) = (batch.num_columns(), columns.len());
        return Err(FlowError::never(format!("the rows of {label} have {found} columns instead of {wanted}")));
    }
    let pairs = batch.columns().iter().zip(columns);
    pairs.map(|(array, column)| ColumnEncoder::new(array.as_ref(), &column.data_type)).collect()
}
