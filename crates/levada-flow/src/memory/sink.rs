//! A consumer in memory.

use super::{Applied, DeliveredRows, Export, MemoryDatabase, State, View};
use crate::arrow_schema::arrow_schema;
use crate::sink::{
    Content, Delivered, DeliveredTable, DeliveredView, Form, Mark, TableDelivery, fence, fence_epoch, history_schema,
};
use crate::{FlowError, RowStream, Sink};
use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryArray, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray,
};
use arrow::datatypes::{Int32Type, Int64Type, SchemaRef, TimestampMicrosecondType};
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Delivers into a [`MemoryDatabase`].
pub struct MemorySink {
    database: MemoryDatabase,
    form: Form,
}

impl MemorySink {
    /// Opens a database; `form` is what it says it wants. It takes both.
    pub fn new(database: MemoryDatabase, form: Form) -> Self {
        Self { database, form }
    }
}

#[async_trait]
impl Sink for MemorySink {
    fn form(&self) -> Form {
        self.form
    }

    async fn marks(&mut self, tables: &[DeliveredTable]) -> Result<Vec<Option<Mark>>, FlowError> {
        let state = self.database.state();
        Ok(tables.iter().map(|table| state.applied.get(&export(table)).map(|applied| applied.mark.clone())).collect())
    }

    async fn deliver(&mut self, deliveries: Vec<TableDelivery>) -> Result<Delivered, FlowError> {
        let mut collected = Vec::new();
        for TableDelivery { table, content, mark, expected } in deliveries {
            collected.push((table, Collected::new(content).await?, mark, expected));
        }
        self.database.change(|state| {
            let mut delivered = Delivered::default();
            for (table, content, mark, expected) in &collected {
                deliver(state, table, content, mark, expected.as_ref(), &mut delivered)?;
            }
            Ok(delivered)
        })
    }

    async fn remove(&mut self, tables: &[DeliveredTable], epoch: i64) -> Result<(), FlowError> {
        self.database.change(|state| {
            for table in tables {
                let export = export(table);
                if let Some(had) = state.applied.remove(&export) {
                    fence_epoch(&table.source, &had.mark, epoch)?;
                    state.views.retain(|_, view| view.of != export);
                    for physical in [had.live, had.history].into_iter().flatten() {
                        state.delivered.remove(&physical);
                    }
                }
            }
            Ok(())
        })
    }

    async fn read_back(&mut self, table: &DeliveredTable, is_history: bool) -> Result<RowStream, FlowError> {
        let physical = if is_history { &table.history } else { &table.live };
        let state = self.database.state();
        let rows = physical.as_ref().and_then(|physical| state.delivered.get(physical));
        let rows = rows.ok_or_else(|| FlowError::never(format!("{} has no such table", table.source)))?;
        let rows: Vec<RecordBatch> = rows.rows.values().cloned().collect();
        Ok(futures::stream::iter(rows).map(Ok).boxed())
    }
}

/// The content of a delivery, all of it here.
enum Collected {
    Changes(Vec<RecordBatch>, BTreeMap<i64, i64>),
    Everything(Option<Vec<RecordBatch>>, Option<Vec<RecordBatch>>),
    Nothing,
}

impl Collected {
    async fn new(content: Content) -> Result<Self, FlowError> {
        Ok(match content {
            Content::Changes { rows, times, is_net: _ } => Self::Changes(rows.try_collect().await?, times),
            Content::Everything { changes: _, live, history } => {
                Self::Everything(collect(live).await?, collect(history).await?)
            }
            Content::Nothing => Self::Nothing,
        })
    }
}

async fn collect(rows: Option<RowStream>) -> Result<Option<Vec<RecordBatch>>, FlowError> {
    match rows {
        None => Ok(None),
        Some(rows) => rows.try_collect().await.map(Some),
    }
}

fn export(table: &DeliveredTable) -> Export {
    (table.platform.clone(), table.source.clone())
}

fn deliver(
    state: &mut State,
    table: &DeliveredTable,
    content: &Collected,
    mark: &Mark,
    expected: Option<&Mark>,
    delivered: &mut Delivered,
) -> Result<(), FlowError> {
    let export = export(table);
    let previous = state.applied.remove(&export);
    fence(&table.source, previous.as_ref().map(|had| &had.mark), mark, expected)?;
    if let Some(had) = previous {
        state.views.retain(|_, view| view.of != export);
        let is_gone =
            |physical: &&String| table.live.as_ref() != Some(physical) && table.history.as_ref() != Some(physical);
        for physical in [&had.live, &had.history].into_iter().flatten().filter(is_gone) {
            state.delivered.remove(physical);
        }
    }
    for physical in [&table.live, &table.history].into_iter().flatten() {
        state.delivered.entry(physical.clone()).or_insert(DeliveredRows { rows: BTreeMap::new() });
    }
    match content {
        Collected::Nothing => {}
        Collected::Changes(batches, times) => {
            for batch in batches {
                change(state, table, batch, times, delivered)?;
            }
        }
        Collected::Everything(live, history) => {
            for (physical, batches, is_history) in [(&table.live, live, false), (&table.history, history, true)] {
                if let (Some(physical), Some(batches)) = (physical, batches) {
                    state.delivered.insert(physical.clone(), everything(table, batches, is_history, delivered)?);
                }
            }
        }
    }
    if table.live.is_none() && table.history.is_none() {
        return Err(FlowError::never(format!("{} has no table to deliver", table.source)));
    }
    show(state, table, &export)?;
    let applied = Applied { mark: mark.clone(), live: table.live.clone(), history: table.history.clone() };
    state.applied.insert(export, applied);
    Ok(())
}

fn show(state: &mut State, table: &DeliveredTable, export: &Export) -> Result<(), FlowError> {
    for view in &table.views {
        let physical = if view.is_history { &table.history } else { &table.live };
        let physical =
            physical.clone().ok_or_else(|| FlowError::never("a view shows a table that is not delivered"))?;
        let empty = RecordBatch::new_empty(shown_schema(table, view.is_history));
        let shown = View { physical, of: export.clone(), empty, view: view.clone() };
        if state.views.insert((view.schema.clone(), view.name.clone()), shown).is_some() {
            return Err(FlowError::never(format!("the view {}.{} is there already", view.schema, view.name)));
        }
    }
    Ok(())
}

fn shown_schema(table: &DeliveredTable, is_history: bool) -> SchemaRef {
    arrow_schema(&if is_history { history_schema(&table.schema) } else { table.schema.clone() })
}

fn everything(
    table: &DeliveredTable,
    batches: &[RecordBatch],
    is_history: bool,
    delivered: &mut Delivered,
) -> Result<DeliveredRows, FlowError> {
    let schema = shown_schema(table, is_history);
    let mut rows = BTreeMap::new();
    for batch in batches {
        let shown = named(batch, &schema, &[])?;
        let hashes = key_hashes(batch)?;
        for row in 0..batch.num_rows() {
            let row_hash = hash(hashes, row);
            let from = if is_history { begin(&shown, row)? } else { 0 };
            if rows.insert((row_hash, from), shown.slice(row, 1)).is_some() {
                return Err(FlowError::never(format!("{} was delivered with one row twice", table.source)));
            }
            count(delivered, &shown, row);
        }
    }
    Ok(DeliveredRows { rows })
}

fn change(
    state: &mut State,
    table: &DeliveredTable,
    batch: &RecordBatch,
    times: &BTreeMap<i64, i64>,
    delivered: &mut Delivered,
) -> Result<(), FlowError> {
    let unfit = |column: &str| FlowError::never(format!("the changes came without a fitting column {column:?}"));
    let hashes = key_hashes(batch)?;
    let operations = batch.column_by_name("lv_op").and_then(|column| column.as_primitive_opt::<Int32Type>());
    let operations = operations.ok_or_else(|| unfit("lv_op"))?;
    let batches = batch.column_by_name("lv_batch").and_then(|column| column.as_primitive_opt::<Int64Type>());
    let batches = batches.ok_or_else(|| unfit("lv_batch"))?;
    for row in 0..batch.num_rows() {
        let (row_hash, is_delete) = (hash(hashes, row), operations.value(row) == 2);
        if let Some(live) = &table.live {
            let shown = named(&batch.slice(row, 1), &shown_schema(table, false), &[])?;
            count(delivered, &shown, 0);
            let rows = &mut state.delivered.get_mut(live).expect("it was made above").rows;
            if is_delete {
                rows.remove(&(row_hash, 0))
            } else {
                rows.insert((row_hash, 0), shown)
            };
        }
        if let Some(history) = &table.history {
            let number = batches.value(row);
            let time = *times.get(&number).ok_or_else(|| FlowError::never(format!("batch {number} has no time")))?;
            let rows = &mut state.delivered.get_mut(history).expect("it was made above").rows;
            close(rows, row_hash, time)?;
            if !is_delete {
                let bounds = [Some(time), None].map(instant);
                let shown = named(&batch.slice(row, 1), &shown_schema(table, true), &bounds)?;
                count(delivered, &shown, 0);
                rows.insert((row_hash, time), shown);
            }
        }
    }
    Ok(())
}

/// Ends the open version of a key.
fn close(rows: &mut BTreeMap<([u8; 16], i64), RecordBatch>, hash: [u8; 16], time: i64) -> Result<(), FlowError> {
    let open = rows.range_mut((hash, i64::MIN)..=(hash, i64::MAX)).next_back();
    if let Some((_, version)) = open.filter(|(_, version)| version.columns().last().is_some_and(|to| to.is_null(0))) {
        let bounds = version.num_columns() - 1;
        let mut columns = version.columns()[..bounds].to_vec();
        columns.push(instant(Some(time)));
        *version = RecordBatch::try_new(version.schema(), columns)
            .map_err(|error| FlowError::never("a version can't be closed").because(error))?;
    }
    Ok(())
}

fn instant(micros: Option<i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(vec![micros]).with_timezone("UTC"))
}

fn begin(shown: &RecordBatch, row: usize) -> Result<i64, FlowError> {
    let from =
        shown.column_by_name("valid_from").and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    Ok(from.ok_or_else(|| FlowError::never("the history came without valid_from"))?.value(row))
}

/// Whether a view shows a row of its table.
pub(super) fn is_shown(row: &RecordBatch, view: &DeliveredView) -> bool {
    let (true, Some(since)) = (view.is_history, view.since) else {
        return true;
    };
    let to = row.columns().last().expect("history ends with valid_to").as_primitive::<TimestampMicrosecondType>();
    to.is_null(0) || to.value(0) > since
}

/// The columns of `schema` by name, the last ones replaced by `more`.
fn named(batch: &RecordBatch, schema: &SchemaRef, more: &[ArrayRef]) -> Result<RecordBatch, FlowError> {
    let unfit = |name: &str| FlowError::never(format!("the rows came without column {name:?}"));
    let wanted = &schema.fields()[..schema.fields().len() - more.len()];
    let column = |name: &str| batch.column_by_name(name).cloned().ok_or_else(|| unfit(name));
    let mut columns = wanted.iter().map(|field| column(field.name())).collect::<Result<Vec<_>, _>>()?;
    columns.extend_from_slice(more);
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .map_err(|error| FlowError::never("the rows don't fit the table").because(error))
}

fn key_hashes(batch: &RecordBatch) -> Result<&FixedSizeBinaryArray, FlowError> {
    let hashes = batch.column_by_name("lv_key_hash").and_then(|column| column.as_fixed_size_binary_opt());
    let hashes = hashes.filter(|hashes| hashes.value_length() == 16 && hashes.null_count() == 0);
    hashes.ok_or_else(|| FlowError::never("the rows came without a fitting column \"lv_key_hash\""))
}

fn hash(hashes: &FixedSizeBinaryArray, row: usize) -> [u8; 16] {
    hashes.value(row).try_into().expect("the length was checked")
}

fn count(delivered: &mut Delivered, rows: &RecordBatch, row: usize) {
    delivered.rows += 1;
    delivered.bytes += rows
        .slice(row, 1)
        .columns()
        .iter()
        .map(|column| column.to_data().get_slice_memory_size().unwrap_or(0) as u64)
        .sum::<u64>();
}
