//! Delivers to consumers in SQLite.
//!
//! Physical tables are named `levada__NAME`, the views of a workspace `workspace__store_dataset`;
//! both and the marks in `levada__applied` change in one `BEGIN IMMEDIATE` transaction. A
//! database that a delivery makes is in WAL mode, where readers never wait; one that is there
//! keeps its mode. **Readers** have no image: whoever opens the file reads all of it.

use super::catalog::{self, Applied};
use super::config::{failed, open_to_read, open_to_write, path, quoted};
use super::types::scalar;
use super::writer::{Changes, Table};
use crate::literal::RowsBuilder;
use crate::thread::{self, Out};
use async_trait::async_trait;
use levada_flow::sink::{
    Content, Delivered, DeliveredTable, DeliveredView, Form, Mark, TableDelivery, fence, fence_epoch, history_schema,
};
use levada_flow::{FlowError, RowStream, Sink};
use levada_model::connection::Connection;
use levada_model::{DataType, Schema};
use rusqlite::TransactionBehavior;
use std::path::{Path, PathBuf};

/// A consumer's SQLite database.
pub struct SqliteSink {
    path: PathBuf,
}

/// Opens a consumer's database; relative paths start at `root`. A missing file is made by the
/// first delivery.
///
/// # Errors
/// The connection has no path, or what is there is no SQLite database.
pub fn open(connection: &Connection, root: &Path) -> Result<SqliteSink, FlowError> {
    let path = path(connection, root)?;
    if path.exists() {
        open_to_read(&path)?;
    }
    Ok(SqliteSink { path })
}

#[async_trait]
impl Sink for SqliteSink {
    fn form(&self) -> Form {
        Form::Changes
    }

    async fn marks(&mut self, tables: &[DeliveredTable]) -> Result<Vec<Option<Mark>>, FlowError> {
        let (path, tables) = (self.path.clone(), tables.to_vec());
        thread::run(move || {
            if !path.exists() {
                return Ok(vec![None; tables.len()]);
            }
            let mut database = open_to_read(&path)?;
            let snapshot = database.transaction().map_err(|error| failed("begin a read transaction", error))?;
            let mark = |table| Ok(catalog::applied(&snapshot, table)?.map(|applied| applied.mark));
            tables.iter().map(mark).collect()
        })
        .await
    }

    async fn deliver(&mut self, deliveries: Vec<TableDelivery>) -> Result<Delivered, FlowError> {
        let path = self.path.clone();
        thread::run(move || {
            transaction(&path, |database| {
                let mut all = Delivered::default();
                for delivery in deliveries {
                    let delivered = deliver(database, delivery)?;
                    all.rows += delivered.rows;
                    all.bytes += delivered.bytes;
                }
                Ok(all)
            })
        })
        .await
    }

    async fn remove(&mut self, tables: &[DeliveredTable], epoch: i64) -> Result<(), FlowError> {
        let (path, tables) = (self.path.clone(), tables.to_vec());
        thread::run(move || match path.exists() {
            false => Ok(()),
            true => transaction(&path, |database| tables.iter().try_for_each(|table| remove(database, table, epoch))),
        })
        .await
    }

    async fn read_back(&mut self, table: &DeliveredTable, is_history: bool) -> Result<RowStream, FlowError> {
        let physical = if is_history { table.history.as_deref() } else { table.live.as_deref() };
        let physical = physical.ok_or_else(|| FlowError::never(format!("{} has no such table", table.source)))?;
        let name = catalog::table_name(physical)?;
        let schema = if is_history { history_schema(&table.schema) } else { table.schema.clone() };
        let path = self.path.clone();
        Ok(thread::rows(move |out| read_back(&path, &name, &schema, out)))
    }
}

/// Runs one write transaction in which no view of others may break.
fn transaction<T>(
    path: &Path,
    work: impl FnOnce(&rusqlite::Connection) -> Result<T, FlowError>,
) -> Result<T, FlowError> {
    let mut database = open_to_write(path)?;
    let begun = database.transaction_with_behavior(TransactionBehavior::Immediate);
    let transaction = begun.map_err(|error| failed("begin a write transaction", error))?;
    catalog::prepare(&transaction)?;
    let foreign = catalog::readable_foreign_views(&transaction)?;
    let result = work(&transaction)?;
    catalog::check_foreign_views(&transaction, &foreign)?;
    transaction.commit().map_err(|error| failed("commit", error))?;
    Ok(result)
}

fn deliver(database: &rusqlite::Connection, delivery: TableDelivery) -> Result<Delivered, FlowError> {
    let TableDelivery { table, content, mark, expected } = delivery;
    let previous = catalog::applied(database, &table)?;
    fence(&table.source, previous.as_ref().map(|previous| &previous.mark), &mark, expected.as_ref())?;
    let live = physical(database, &table, false)?;
    let history = physical(database, &table, true)?;
    refuse_foreign(database, live.as_ref(), previous.as_ref())?;
    refuse_foreign(database, history.as_ref(), previous.as_ref())?;
    let delivered = match content {
        Content::Nothing => {
            make_missing(database, [live.as_ref(), history.as_ref()])?;
            Delivered::default()
        }
        Content::Changes { rows, times, is_net: _ } => {
            make_missing(database, [live.as_ref(), history.as_ref()])?;
            Changes { live: live.as_ref(), history: history.as_ref() }.apply(rows, &times)?
        }
        Content::Everything { changes: _, live: live_rows, history: history_rows } => {
            let mut delivered = Delivered::default();
            for (table, rows) in [(&live, live_rows), (&history, history_rows)] {
                if let (Some(table), Some(rows)) = (table, rows) {
                    let written = table.replace(rows)?;
                    delivered.rows += written.rows;
                    delivered.bytes += written.bytes;
                }
            }
            make_missing(database, [live.as_ref(), history.as_ref()])?;
            delivered
        }
    };
    if let Some(previous) = &previous {
        drop_tables(database, previous, &table)?;
    }
    let views = table.views.iter().map(|view| view_statement(&table, view)).collect::<Result<Vec<_>, _>>()?;
    let previous_name = previous.as_ref().map(|previous| previous.name.as_str());
    let dataset = table.source.to_string();
    catalog::set_views(database, &dataset, catalog::row_name(&table)?, previous_name, &views)?;
    catalog::set_applied(database, &table, previous.as_ref(), &mark)?;
    Ok(delivered)
}

fn physical<'a>(
    database: &'a rusqlite::Connection,
    table: &DeliveredTable,
    is_history: bool,
) -> Result<Option<Table<'a>>, FlowError> {
    let name = if is_history { table.history.as_deref() } else { table.live.as_deref() };
    let schema = if is_history { history_schema(&table.schema) } else { table.schema.clone() };
    let make = |name| Ok(Table { database, name: catalog::table_name(name)?, schema, is_history });
    name.map(make).transpose()
}

/// A table that is there without a row that names it is somebody else's.
fn refuse_foreign(
    database: &rusqlite::Connection,
    wanted: Option<&Table<'_>>,
    had: Option<&Applied>,
) -> Result<(), FlowError> {
    let Some(wanted) = wanted else { return Ok(()) };
    let is_wanted = |had: &String| catalog::table_name(had).is_ok_and(|had| had.eq_ignore_ascii_case(&wanted.name));
    let is_ours = had.is_some_and(|had| had.live.iter().chain(&had.history).any(is_wanted));
    match !is_ours && catalog::exists(database, &wanted.name)? {
        true => Err(FlowError::never(format!("{:?} is there already, and Levada did not make it", wanted.name))
            .hint("rename or drop it")),
        false => Ok(()),
    }
}

fn make_missing(database: &rusqlite::Connection, tables: [Option<&Table<'_>>; 2]) -> Result<(), FlowError> {
    for table in tables.into_iter().flatten() {
        if !catalog::exists(database, &table.name)? {
            table.create()?;
        }
    }
    Ok(())
}

/// Drops the tables of a dataset's row that are not wanted any more.
fn drop_tables(database: &rusqlite::Connection, had: &Applied, wanted: &DeliveredTable) -> Result<(), FlowError> {
    let wanted = [wanted.live.as_deref(), wanted.history.as_deref()];
    for physical in [&had.live, &had.history].into_iter().flatten() {
        if !wanted.contains(&Some(physical.as_str())) {
            let name = catalog::table_name(physical)?;
            let dropped = database.execute_batch(&format!("DROP TABLE IF EXISTS main.{}", quoted(&name)));
            dropped.map_err(|error| failed(format!("drop table {name:?}"), error))?;
        }
    }
    Ok(())
}

/// Name and statement of a view.
fn view_statement(table: &DeliveredTable, view: &DeliveredView) -> Result<(String, String), FlowError> {
    let name = format!("{}__{}", view.schema, view.name);
    let (physical, schema) = match view.is_history {
        true => (table.history.as_deref(), history_schema(&table.schema)),
        false => (table.live.as_deref(), table.schema.clone()),
    };
    let physical =
        physical.ok_or_else(|| FlowError::never(format!("view {name:?} shows a table that is not delivered")))?;
    let column = |column: &levada_model::SchemaColumn| {
        let column = quoted(column.name.as_str());
        format!("t.{column} AS {column}")
    };
    let columns: Vec<String> = schema.columns.iter().map(column).collect();
    let from = quoted(&catalog::table_name(physical)?);
    let mut statement = format!("CREATE VIEW {} AS SELECT {} FROM {from} AS t", quoted(&name), columns.join(", "));
    if let Some(since) = view.since.filter(|_| view.is_history) {
        let since = crate::literal::print_ordinal(since.into(), &DataType::Timestamptz);
        statement.push_str(&format!(" WHERE t.valid_to IS NULL OR t.valid_to > '{since}'"));
    }
    Ok((name, statement))
}

fn remove(database: &rusqlite::Connection, table: &DeliveredTable, epoch: i64) -> Result<(), FlowError> {
    let Some(applied) = catalog::applied(database, table)? else {
        return Ok(());
    };
    fence_epoch(&table.source, &applied.mark, epoch)?;
    catalog::set_views(database, &table.source.to_string(), &applied.name, None, &[])?;
    drop_tables(database, &applied, &DeliveredTable { live: None, history: None, ..table.clone() })?;
    catalog::forget(database, &applied.name)
}

fn read_back(path: &Path, name: &str, schema: &Schema, out: &Out) -> Result<(), FlowError> {
    let what = || format!("read table {name:?}");
    let database = open_to_read(path)?;
    let columns: Vec<String> =
        schema.columns.iter().map(|column| format!("t.{}", quoted(column.name.as_str()))).collect();
    let select = format!("SELECT {} FROM main.{} AS t", columns.join(", "), quoted(name));
    let mut statement = database.prepare(&select).map_err(|error| failed(what(), error))?;
    let mut rows = statement.query([]).map_err(|error| failed(what(), error))?;
    let mut builder = RowsBuilder::new(schema);
    while let Some(row) = rows.next().map_err(|error| failed(what(), error))? {
        for (at, column) in schema.columns.iter().enumerate() {
            let wrong =
                |reason: String| FlowError::never(format!("table {name:?}, column {:?}: {reason}", column.name));
            let value = row.get_ref(at).map_err(|error| failed(what(), error))?;
            let value = scalar(value).map_err(wrong)?;
            builder.append(at, &value).map_err(|error| wrong(error.to_string()))?;
        }
        if builder.is_full() {
            thread::put(out, Ok(builder.finish()))?;
        }
    }
    if builder.is_empty() { Ok(()) } else { thread::put(out, Ok(builder.finish())) }
}
