//! Reads producers in SQLite.
//!
//! **Consistency**: all datasets of a pull are read in one read transaction, in WAL mode without
//! holding up any writer; in the rollback-journal modes writers wait until the pull is over. The
//! file is opened read-only. **Types**: SQLite's columns hold anything, so every value is parsed
//! as the model's type or the pull fails naming table, column, row and value. **Watermark**: rows
//! whose column is not below `greatest - overlap`, and rows where it is null, which say nothing
//! about their age. **Incarnation**: the file's inode and birth time, where the system has them:
//! a restored or replaced file is a new one. A file that is overwritten in place is not noticed,
//! which matters to watermark pulls only: a snapshot reads everything anyway.

use super::config::{failed, open_to_read, path};
use super::tables::{SourceTable, resolve};
use super::types::scalar;
use super::watermark::Watermark;
use crate::literal::{RowsBuilder, Scalar};
use crate::thread;
use async_trait::async_trait;
use levada_flow::source::{Coverage, PullDataset, PullEnd, PullRequest, Pulled};
use levada_flow::{FlowError, Position, Source};
use levada_model::Schema;
use levada_model::connection::Connection;
use levada_model::model::IngestKind;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// A producer's SQLite database.
pub struct SqliteSource {
    path: PathBuf,
}

/// Opens a producer's database; relative paths start at `root`.
///
/// # Errors
/// The connection has no path, or nothing that is a SQLite database is there.
pub fn open(connection: &Connection, root: &Path) -> Result<SqliteSource, FlowError> {
    let path = path(connection, root)?;
    open_to_read(&path)?;
    Ok(SqliteSource { path })
}

#[async_trait]
impl Source for SqliteSource {
    async fn inspect(&mut self, request: &PullRequest) -> Result<(), FlowError> {
        let (path, request) = (self.path.clone(), request.clone());
        thread::run(move || resolve(&open_to_read(&path)?, &request).map(|_| ())).await
    }

    async fn pull(&mut self, request: &PullRequest, out: mpsc::Sender<Pulled>) -> Result<PullEnd, FlowError> {
        let (path, request) = (self.path.clone(), request.clone());
        thread::run(move || pull(&path, &request, &out)).await
    }

    async fn acknowledge(&mut self, _position: &Position) -> Result<(), FlowError> {
        Ok(())
    }
}

fn pull(path: &Path, request: &PullRequest, out: &mpsc::Sender<Pulled>) -> Result<PullEnd, FlowError> {
    let incarnation = incarnation(path)?;
    let mut database = open_to_read(path)?;
    let snapshot = database.transaction().map_err(|error| failed("begin a read transaction", error))?;
    let tables = resolve(&snapshot, request)?;
    let mut reader = Reader { database: &snapshot, out };
    let (mut greatest, mut coverage) = (BTreeMap::new(), Vec::new());
    for (index, (dataset, table)) in request.datasets.iter().zip(&tables).enumerate() {
        let Some(mut watermark) = Watermark::new(request, request.position(&incarnation), dataset)? else {
            reader.rows(index, dataset, table, None)?;
            coverage.push(Coverage::Complete);
            continue;
        };
        coverage.push(match (watermark.is_first(), request.finds_deletes) {
            (true, _) => Coverage::Complete,
            (false, true) => Coverage::UpsertsAndKeys,
            (false, false) => Coverage::Upserts,
        });
        reader.rows(index, dataset, table, Some(&mut watermark))?;
        if request.finds_deletes && !watermark.is_first() {
            reader.keys(index, dataset, table)?;
        }
        greatest.extend(watermark.greatest().map(|value| (dataset.dataset.to_string(), value)));
    }
    let position = match request.kind {
        IngestKind::Watermark { .. } => Position::Watermark { greatest },
        _ => Position::Snapshot { mark: mark(path) },
    };
    Ok(PullEnd::new(position, coverage, incarnation))
}

/// One pull's transaction and where its rows go.
struct Reader<'a> {
    database: &'a rusqlite::Connection,
    out: &'a mpsc::Sender<Pulled>,
}

impl Reader<'_> {
    fn rows(
        &mut self,
        index: usize,
        dataset: &PullDataset,
        table: &SourceTable,
        watermark: Option<&mut Watermark>,
    ) -> Result<(), FlowError> {
        let wrap = |rows| Pulled::Rows { dataset: index, rows };
        self.read(&dataset.schema, table, watermark, wrap)
    }

    fn keys(&mut self, index: usize, dataset: &PullDataset, table: &SourceTable) -> Result<(), FlowError> {
        let columns = dataset.schema.columns.iter().filter(|column| column.key).cloned().collect();
        self.read(&Schema { columns }, table, None, |keys| Pulled::Keys { dataset: index, keys })
    }

    fn read(
        &mut self,
        schema: &Schema,
        table: &SourceTable,
        mut watermark: Option<&mut Watermark>,
        wrap: impl Fn(arrow::array::RecordBatch) -> Pulled,
    ) -> Result<(), FlowError> {
        let what = || format!("read table {:?}", table.name);
        let (condition, bound) = watermark.as_ref().and_then(|watermark| watermark.condition(table)).unzip();
        let select = table.select(schema, condition.as_deref());
        let mut statement = self.database.prepare(&select).map_err(|error| failed(what(), error))?;
        let mut rows = statement.query(rusqlite::params_from_iter(bound)).map_err(|error| failed(what(), error))?;
        let mut builder = RowsBuilder::new(schema);
        let mut number = 0_u64;
        while let Some(row) = rows.next().map_err(|error| failed(what(), error))? {
            number += 1;
            if let Some(watermark) = watermark.as_deref_mut() {
                let value = cell(table, row, number, watermark.position(), schema)?;
                let is_taken = watermark.takes(&value);
                let column = watermark.source_column();
                if !is_taken.map_err(|error| wrong_value(table, row, number, column, error.to_string()))? {
                    continue;
                }
            }
            for (at, column) in schema.columns.iter().enumerate() {
                let value = cell(table, row, number, at, schema)?;
                let appended = builder.append(at, &value);
                appended.map_err(|error| wrong_value(table, row, number, column.source_name(), error.to_string()))?;
            }
            if builder.is_full() {
                self.send(wrap(builder.finish()))?;
            }
        }
        if builder.is_empty() { Ok(()) } else { self.send(wrap(builder.finish())) }
    }

    fn send(&self, pulled: Pulled) -> Result<(), FlowError> {
        thread::put(self.out, pulled)
    }
}

fn cell<'r>(
    table: &SourceTable,
    row: &'r rusqlite::Row<'_>,
    number: u64,
    at: usize,
    schema: &Schema,
) -> Result<Scalar<'r>, FlowError> {
    let value = row.get_ref(at).map_err(|error| failed(format!("read table {:?}", table.name), error))?;
    scalar(value).map_err(|reason| wrong_value(table, row, number, schema.columns[at].source_name(), reason))
}

/// Names the row by its rowid, or in a view by its place in this reading.
fn wrong_value(table: &SourceTable, row: &rusqlite::Row<'_>, number: u64, column: &str, reason: String) -> FlowError {
    let place = match (table.rowid, row.as_ref().column_count().checked_sub(1)) {
        (Some(_), Some(last)) => row.get::<_, i64>(last).map(|rowid| format!("rowid {rowid}")),
        _ => Ok(format!("row {number} of the reading")),
    };
    let place = place.unwrap_or_else(|_| format!("row {number} of the reading"));
    FlowError::never(format!("table {:?}, column {column:?}, {place}: {reason}", table.name))
        .hint("correct the value, or the column's type in the model")
}

/// For people: when the database or its write-ahead log last changed.
fn mark(path: &Path) -> String {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let changed = [path.to_owned(), PathBuf::from(log)]
        .iter()
        .filter_map(|file| std::fs::metadata(file).ok()?.modified().ok())
        .max()
        .and_then(|time| jiff::Timestamp::try_from(time).ok());
    changed.map_or_else(|| "unknown".to_owned(), |time| format!("changed {time:.0}"))
}

fn incarnation(path: &Path) -> Result<String, FlowError> {
    let what = || FlowError::later(format!("the SQLite database {} can't be looked at", path.display()));
    let metadata = std::fs::metadata(path).map_err(|error| what().because(error))?;
    let born = metadata.created().ok().and_then(|time| jiff::Timestamp::try_from(time).ok());
    let born = born.map_or_else(|| "unknown".to_owned(), |time| time.as_microsecond().to_string());
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(&metadata).to_string();
    #[cfg(not(unix))]
    let inode = "unknown";
    Ok(format!("sqlite inode={inode} born={born}"))
}
