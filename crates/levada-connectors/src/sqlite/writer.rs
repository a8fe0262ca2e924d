//! The physical tables of one dataset: made, filled, changed, replaced.
//!
//! Live tables have one row per `lv_key_hash`, history tables one per version; both keep the hash
//! as a column that no view shows.

use super::catalog::BUILDING;
use super::config::{failed, quoted};
use super::types::{bound, declared};
use crate::literal::ColumnReader;
use crate::thread;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use levada_flow::sink::Delivered;
use levada_flow::{FlowError, RowStream};
use levada_model::{DataType, Schema, SchemaColumn};
use rusqlite::{CachedStatement, Connection, ToSql};
use std::collections::BTreeMap;

/// The hidden column that identifies a row.
const KEY_HASH: &str = "lv_key_hash";

/// One physical table; `schema` is the live or the history one.
pub(super) struct Table<'a> {
    pub(super) database: &'a Connection,
    pub(super) name: String,
    pub(super) schema: Schema,
    pub(super) is_history: bool,
}

impl Table<'_> {
    /// Makes an empty table of another name with this one's columns.
    fn create_as(&self, name: &str) -> Result<(), FlowError> {
        self.check_columns()?;
        let column = |column: &SchemaColumn| {
            let null = if column.nullable && !column.key { "" } else { " NOT NULL" };
            format!("{} {}{null}", quoted(column.name.as_str()), declared(&column.data_type))
        };
        let mut columns: Vec<String> = self.schema.columns.iter().map(column).collect();
        columns.push(format!("{KEY_HASH} BLOB NOT NULL{}", if self.is_history { "" } else { " PRIMARY KEY" }));
        let statement = format!("CREATE TABLE main.{} ({})", quoted(name), columns.join(", "));
        self.run(&statement)
    }

    /// Two columns that SQLite can't tell apart, or one that is ours.
    fn check_columns(&self) -> Result<(), FlowError> {
        let mut seen = std::collections::BTreeSet::from([KEY_HASH.to_owned()]);
        let twice = self.schema.columns.iter().find(|column| !seen.insert(column.name.as_str().to_ascii_lowercase()));
        match twice {
            None => Ok(()),
            Some(column) => Err(FlowError::never(format!(
                "table {:?} can't have column {:?}: SQLite ignores letter case, and {KEY_HASH}, valid_from and valid_to \
                 are taken",
                self.name, column.name
            ))),
        }
    }

    fn create_indexes(&self) -> Result<(), FlowError> {
        let table = quoted(&self.name);
        if self.is_history {
            let index = quoted(&format!("{}__open", self.name));
            self.run(&format!("CREATE UNIQUE INDEX main.{index} ON {table} ({KEY_HASH}) WHERE valid_to IS NULL"))?;
        }
        let key: Vec<String> =
            self.schema.columns.iter().filter(|column| column.key).map(|column| quoted(column.name.as_str())).collect();
        match key.is_empty() {
            true => Ok(()),
            false => {
                let index = quoted(&format!("{}__key", self.name));
                self.run(&format!("CREATE INDEX main.{index} ON {table} ({})", key.join(", ")))
            }
        }
    }

    /// Makes the table, empty.
    pub(super) fn create(&self) -> Result<(), FlowError> {
        self.create_as(&self.name)?;
        self.create_indexes()
    }

    /// Fills a new table and puts it in the place of this one.
    pub(super) fn replace(&self, rows: RowStream) -> Result<Delivered, FlowError> {
        self.create_as(BUILDING)?;
        let delivered = self.fill(rows)?;
        self.run(&format!("DROP TABLE IF EXISTS main.{}", quoted(&self.name)))?;
        self.run(&format!("ALTER TABLE main.{BUILDING} RENAME TO {}", quoted(&self.name)))?;
        self.create_indexes()?;
        Ok(delivered)
    }

    fn fill(&self, rows: RowStream) -> Result<Delivered, FlowError> {
        let marks = vec!["?"; self.schema.columns.len() + 1].join(", ");
        let mut insert = self.prepare(&format!("INSERT INTO main.{BUILDING} VALUES ({marks})"))?;
        let mut delivered = Delivered::default();
        for batch in thread::batches(rows) {
            let batch = batch?;
            let rows = Rows::new(self, &batch)?;
            for row in 0..batch.num_rows() {
                delivered.rows += 1;
                delivered.bytes += self.execute(&mut insert, &rows, row, &[])?;
            }
        }
        Ok(delivered)
    }

    /// A prepared statement that takes the schema's columns and then the key hash.
    fn prepare(&self, statement: &str) -> Result<CachedStatement<'_>, FlowError> {
        self.database
            .prepare_cached(statement)
            .map_err(|error| failed(format!("prepare writing {:?}", self.name), error))
    }

    /// Runs a statement with the values of one row, its key hash, and then `more`; gives its bytes.
    fn execute(
        &self,
        statement: &mut CachedStatement<'_>,
        rows: &Rows<'_>,
        row: usize,
        more: &[&dyn ToSql],
    ) -> Result<u64, FlowError> {
        let what = || format!("write table {:?}", self.name);
        let mut bytes = 0;
        for (at, column) in rows.columns.iter().enumerate() {
            if column.has_json_null_inside(row) {
                return Err(self.wrong_value(rows, row, at, "JSON's null inside of a value would be NULL in SQLite"));
            }
            let scalar = column.scalar(row);
            bytes += scalar.bytes() as u64;
            let value = bound(&scalar).map_err(|reason| self.wrong_value(rows, row, at, reason))?;
            statement.raw_bind_parameter(at + 1, value).map_err(|error| failed(what(), error))?;
        }
        let first = rows.columns.len() + 1;
        statement.raw_bind_parameter(first, rows.key_hash(row)).map_err(|error| failed(what(), error))?;
        for (at, value) in more.iter().enumerate() {
            statement.raw_bind_parameter(first + 1 + at, value).map_err(|error| failed(what(), error))?;
        }
        statement.raw_execute().map_err(|error| failed(what(), error))?;
        Ok(bytes + 16)
    }

    fn wrong_value(&self, rows: &Rows<'_>, row: usize, at: usize, reason: &str) -> FlowError {
        let columns = self.schema.columns.iter().zip(&rows.columns).filter(|(column, _)| column.key);
        let key: Vec<String> =
            columns.map(|(column, reader)| format!("{}={}", column.name, reader.scalar(row).shown())).collect();
        let column = &self.schema.columns[at].name;
        FlowError::never(format!("table {:?}, column {column:?}, row {}: {reason}", self.name, key.join(" ")))
    }

    fn run(&self, statement: &str) -> Result<(), FlowError> {
        self.database.execute_batch(statement).map_err(|error| failed(format!("change table {:?}", self.name), error))
    }
}

/// Net changes into a live and a history table at once.
pub(super) struct Changes<'a> {
    pub(super) live: Option<&'a Table<'a>>,
    pub(super) history: Option<&'a Table<'a>>,
}

impl Changes<'_> {
    /// Applies all rows in their order.
    pub(super) fn apply(&self, rows: RowStream, times: &BTreeMap<i64, i64>) -> Result<Delivered, FlowError> {
        let mut delivered = Delivered::default();
        for batch in thread::batches(rows) {
            let batch = batch?;
            if let Some(live) = self.live {
                delivered = sum(delivered, apply_live(live, &batch)?);
            }
            if let Some(history) = self.history {
                delivered = sum(delivered, apply_history(history, &batch, times)?);
            }
        }
        Ok(delivered)
    }
}

fn sum(left: Delivered, right: Delivered) -> Delivered {
    Delivered { rows: left.rows + right.rows, bytes: left.bytes + right.bytes, unknown_readers: Vec::new() }
}

fn apply_live(table: &Table<'_>, batch: &RecordBatch) -> Result<Delivered, FlowError> {
    let name = quoted(&table.name);
    let marks = vec!["?"; table.schema.columns.len() + 1].join(", ");
    let set = |column: &SchemaColumn| {
        let column = quoted(column.name.as_str());
        format!("{column} = excluded.{column}")
    };
    let set = table.schema.columns.iter().map(set).collect::<Vec<_>>().join(", ");
    let mut upsert = table
        .prepare(&format!("INSERT INTO main.{name} VALUES ({marks}) ON CONFLICT ({KEY_HASH}) DO UPDATE SET {set}"))?;
    let mut delete = table.prepare(&format!("DELETE FROM main.{name} WHERE {KEY_HASH} = ?1"))?;
    let rows = Rows::new(table, batch)?;
    let operations = operations(batch)?;
    let mut delivered = Delivered::default();
    for row in 0..batch.num_rows() {
        delivered.rows += 1;
        delivered.bytes += match operations.value(row) {
            2 => {
                let deleted = delete.execute([rows.key_hash(row)]);
                deleted.map_err(|error| failed(format!("write table {:?}", table.name), error))?;
                16
            }
            _ => table.execute(&mut upsert, &rows, row, &[])?,
        };
    }
    Ok(delivered)
}

fn apply_history(table: &Table<'_>, batch: &RecordBatch, times: &BTreeMap<i64, i64>) -> Result<Delivered, FlowError> {
    let name = quoted(&table.name);
    let columns: Vec<String> = table.schema.columns.iter().map(|column| quoted(column.name.as_str())).collect();
    let live_columns = &columns[..columns.len() - 2];
    let marks = vec!["?"; live_columns.len() + 2].join(", ");
    let comma = if live_columns.is_empty() { "" } else { ", " };
    let mut open = table.prepare(&format!(
        "INSERT INTO main.{name} ({}{comma}{KEY_HASH}, valid_from) VALUES ({marks})",
        live_columns.join(", ")
    ))?;
    let mut close =
        table.prepare(&format!("UPDATE main.{name} SET valid_to = ?2 WHERE {KEY_HASH} = ?1 AND valid_to IS NULL"))?;
    let live_schema = Schema { columns: table.schema.columns[..live_columns.len()].to_vec() };
    let rows = Rows::of(&live_schema, &table.name, batch)?;
    let operations = operations(batch)?;
    let batches = batch.column_by_name("lv_batch").and_then(|column| column.as_primitive_opt::<Int64Type>());
    let batches = batches.ok_or_else(|| unfit(&table.name, "lv_batch"))?;
    let mut delivered = Delivered::default();
    for row in 0..batch.num_rows() {
        let number = batches.value(row);
        let time = times
            .get(&number)
            .ok_or_else(|| FlowError::never(format!("the commit time of batch {number} is missing")))?;
        let time = crate::literal::print_ordinal((*time).into(), &DataType::Timestamptz);
        let closed = close.execute((rows.key_hash(row), &time));
        delivered.rows += closed.map_err(|error| failed(format!("write table {:?}", table.name), error))? as u64;
        if operations.value(row) != 2 {
            delivered.rows += 1;
            delivered.bytes += table.execute(&mut open, &rows, row, &[&time])?;
        }
    }
    Ok(delivered)
}

fn operations(batch: &RecordBatch) -> Result<&arrow::array::Int32Array, FlowError> {
    let operations = batch.column_by_name("lv_op").and_then(|column| column.as_primitive_opt::<Int32Type>());
    operations.ok_or_else(|| unfit("of the delivery", "lv_op"))
}

fn unfit(table: &str, column: &str) -> FlowError {
    FlowError::never(format!("the rows for table {table:?} came without a fitting column {column:?}"))
}

/// The columns of one batch, found by name.
struct Rows<'a> {
    columns: Vec<ColumnReader<'a>>,
    key_hashes: &'a arrow::array::FixedSizeBinaryArray,
}

impl<'a> Rows<'a> {
    fn new(table: &'a Table<'_>, batch: &'a RecordBatch) -> Result<Self, FlowError> {
        Self::of(&table.schema, &table.name, batch)
    }

    fn of(schema: &'a Schema, table: &str, batch: &'a RecordBatch) -> Result<Self, FlowError> {
        let column = |column: &'a SchemaColumn| {
            let array = batch.column_by_name(column.name.as_str()).ok_or_else(|| unfit(table, column.name.as_str()))?;
            let reader = ColumnReader::new(array.as_ref(), &column.data_type);
            reader.map_err(|error| unfit(table, column.name.as_str()).because(error))
        };
        let columns = schema.columns.iter().map(column).collect::<Result<_, _>>()?;
        let hashes = batch.column_by_name(KEY_HASH).and_then(|column| column.as_fixed_size_binary_opt());
        let key_hashes = hashes.filter(|hashes| hashes.null_count() == 0).ok_or_else(|| unfit(table, KEY_HASH))?;
        Ok(Self { columns, key_hashes })
    }

    fn key_hash(&self, row: usize) -> &[u8] {
        self.key_hashes.value(row)
    }
}
