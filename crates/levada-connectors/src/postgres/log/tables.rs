//! The tables behind the datasets, as the change log sees them: the pieces that hold rows, what
//! identifies a row in each, and the layout by which a changed table is known.
//!
//! A partitioned table is logged by its partitions, so that a TRUNCATE of one of them is not lost; a
//! table with children by theirs.

use super::render::log_reading;
use crate::postgres::catalog::DatasetPlan;
use crate::postgres::error::During;
use crate::postgres::quote::{self, TableName};
use levada_flow::FlowError;
use levada_flow::source::PullDataset;
use levada_model::fingerprint::fingerprint;
use std::collections::BTreeMap;
use tokio_postgres::Client;

/// A table and its pieces.
#[derive(Clone, Debug)]
pub(super) struct LogTable {
    pub(super) name: TableName,
    pub(super) id: u32,
    columns: BTreeMap<String, TableColumn>,
    /// By object id.
    pub(super) leaves: BTreeMap<u32, Leaf>,
    is_view: bool,
}

/// A column of a table.
#[derive(Clone, Debug)]
struct TableColumn {
    number: i16,
    type_id: u32,
    modifier: i32,
    sql_type: String,
    is_generated: bool,
}

/// A piece of a table that holds rows.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    /// As SQL.
    pub(super) quoted: String,
    /// Whether this user may read it by itself, and not only by its table.
    is_readable: bool,
    is_foreign: bool,
    is_logged: bool,
    identity: Identity,
}

/// What the log tells of a row that is gone or changes its key.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Identity {
    Full,
    /// The values of these columns; none: updates and deletes can't be logged.
    Columns(Vec<String>),
}

const TABLES: &str = "
    WITH RECURSIVE wanted AS (
        SELECT n.nspname::text AS schema_name, c.relname::text AS table_name, c.oid, c.relkind
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN unnest($1::text[], $2::text[]) AS asked(s, t) ON asked.s = n.nspname AND asked.t = c.relname
    ), tree AS (
        SELECT oid AS root, oid FROM wanted
        UNION
        SELECT tree.root, i.inhrelid FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid
    )
    SELECT w.schema_name, w.table_name, w.oid, w.relkind IN ('v', 'm'), c.oid, n.nspname::text, c.relname::text,
           c.relkind = 'f', c.relpersistence = 'p', c.relreplident::text,
           ARRAY(SELECT a.attname::text FROM pg_index x
                 JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = ANY (x.indkey[0 : x.indnkeyatts - 1])
                 WHERE x.indrelid = c.oid AND x.indisvalid
                   AND ((c.relreplident = 'd' AND x.indisprimary) OR (c.relreplident = 'i' AND x.indisreplident))),
           c.relkind <> 'p', has_table_privilege(c.oid, 'SELECT')
    FROM wanted w
    JOIN tree ON tree.root = w.oid
    JOIN pg_class c ON c.oid = tree.oid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind <> 'p' OR c.oid = w.oid";

const COLUMNS: &str = "
    SELECT attrelid, attname::text, attnum, atttypid, atttypmod, format_type(atttypid, atttypmod), attgenerated <> ''
    FROM pg_attribute
    WHERE attrelid = ANY ($1) AND attnum > 0 AND NOT attisdropped";

/// Finds tables; what is not there is missing in the answer.
pub(super) async fn find(
    client: &Client,
    place: &str,
    names: &[TableName],
) -> Result<BTreeMap<TableName, LogTable>, FlowError> {
    let failed = || format!("the catalog of {place} can't be read");
    let schemas: Vec<&str> = names.iter().map(|name| name.schema.as_str()).collect();
    let tables: Vec<&str> = names.iter().map(|name| name.table.as_str()).collect();
    let mut found: BTreeMap<TableName, LogTable> = BTreeMap::new();
    for row in client.query(TABLES, &[&schemas, &tables]).await.during(failed)? {
        let name = TableName { schema: row.get(0), table: row.get(1) };
        let identity = match row.get::<_, String>(9).as_str() {
            "f" => Identity::Full,
            _ => Identity::Columns(row.get(10)),
        };
        let quoted = TableName { schema: row.get(5), table: row.get(6) }.quoted();
        let leaf = Leaf { quoted, is_readable: row.get(12), is_foreign: row.get(7), is_logged: row.get(8), identity };
        let new = || LogTable {
            name: name.clone(),
            id: row.get(2),
            columns: BTreeMap::new(),
            leaves: BTreeMap::new(),
            is_view: row.get(3),
        };
        let table = found.entry(name.clone()).or_insert_with(new);
        if row.get(11) {
            table.leaves.insert(row.get(4), leaf);
        }
    }
    let ids: Vec<u32> = found.values().map(|table| table.id).collect();
    for row in client.query(COLUMNS, &[&ids]).await.during(failed)? {
        let id: u32 = row.get(0);
        for table in found.values_mut().filter(|table| table.id == id) {
            let column = TableColumn {
                number: row.get(2),
                type_id: row.get(3),
                modifier: row.get(4),
                sql_type: row.get(5),
                is_generated: row.get(6),
            };
            table.columns.insert(row.get(1), column);
        }
    }
    Ok(found)
}

impl LogTable {
    /// What stands for the table and the columns that a dataset reads; another text means that rows may
    /// have changed without the log's saying so.
    pub(super) fn layout(&self, dataset: &PullDataset) -> String {
        let of = |column: &TableColumn| (column.number, column.type_id, column.modifier);
        let column = |name: &str| (name.to_owned(), self.columns.get(name).map(of));
        let columns: Vec<_> = dataset.schema.columns.iter().map(|one| column(one.source_name())).collect();
        fingerprint(&(self.id, columns)).to_string().chars().take(16).collect()
    }

    /// The type of a column, with its modifier.
    pub(super) fn column_type(&self, name: &str) -> Option<(u32, i32)> {
        self.columns.get(name).map(|column| (column.type_id, column.modifier))
    }

    /// A value of a column, printed, as SQL.
    pub(super) fn literal(&self, name: &str, text: &str) -> String {
        let sql_type = self.columns.get(name).map_or("text", |column| &column.sql_type);
        format!("{}::{sql_type}", quote::literal(text))
    }

    /// The object ids of the pieces.
    pub(super) fn leaf_ids(&self) -> Vec<u32> {
        self.leaves.keys().copied().collect()
    }

    /// What keeps a dataset, read so by queries, from being read by the log.
    pub(super) fn problems(&self, dataset: &PullDataset, plan: &DatasetPlan) -> Vec<String> {
        let name = &self.name;
        if self.is_view {
            return vec![format!("{name} is a view, and has no changes of its own: read its tables, or use snapshot")];
        }
        let key: Vec<&str> =
            dataset.schema.columns.iter().filter(|column| column.key).map(|it| it.source_name()).collect();
        let unsaid = plan.columns.iter().zip(&plan.types).filter_map(|(column, pg_type)| {
            let source_name = &column.source_name;
            let there = self.columns.get(source_name)?;
            let is_given = log_reading(&column.data_type, pg_type).is_some();
            let why = match (there.is_generated, is_given) {
                (true, _) => "is generated, and the change log has no generated columns".to_owned(),
                (_, false) => format!("is {}, which the change log can't give as {}", there.sql_type, column.data_type),
                _ => return None,
            };
            Some(format!("column {source_name:?} of table {name} {why}: use snapshot or watermark, or leave it out"))
        });
        self.leaves.values().filter_map(|leaf| leaf.problem(name, &key)).chain(unsaid).collect()
    }
}

impl Leaf {
    fn problem(&self, table: &TableName, key: &[&str]) -> Option<String> {
        let quoted = &self.quoted;
        let what =
            if *quoted == table.quoted() { format!("table {table}") } else { format!("{quoted}, a part of {table},") };
        if self.is_foreign {
            return Some(format!("{what} is foreign: nobody logs its changes here"));
        }
        if !self.is_logged {
            return Some(format!("{what} is unlogged: its changes are in no log"));
        }
        let Identity::Columns(columns) = &self.identity else { return None };
        let is_covered = !key.is_empty() && key.iter().all(|column| columns.iter().any(|other| other == column));
        if is_covered {
            return None;
        }
        let full = format!("ALTER TABLE {quoted} REPLICA IDENTITY FULL");
        Some(match (key.is_empty(), columns.is_empty()) {
            (true, _) => format!("{what} is read without a key, and needs `{full}`, so that its log tells whole rows"),
            (false, true) => format!(
                "{what} has no replica identity, and would refuse updates once they are logged: give it a primary key, or `{full}`"
            ),
            (false, false) => format!(
                "the replica identity of {what} ({}) does not have the key ({}): set another one, or `{full}`",
                columns.join(", "),
                key.join(", ")
            ),
        })
    }

    /// The rows of the piece, which are in this table, without what inherits from it: FROM and a condition.
    pub(super) fn only_in(&self, table: &TableName, id: u32) -> String {
        match self.is_readable {
            true => format!("ONLY {} WHERE true", self.quoted),
            false => format!("{} WHERE tableoid = {id}", table.quoted()),
        }
    }
}

/// Gives the resolved type behind a type's object id, as a query's column of it would have.
pub(super) async fn resolve_type(
    client: &Client,
    place: &str,
    type_id: u32,
) -> Result<Option<postgres_types::Type>, FlowError> {
    let failed = || format!("a type of {place} can't be looked up");
    let named = client.query_one("SELECT format_type($1, -1)", &[&type_id]).await.during(failed)?;
    let name: Option<String> = named.get(0);
    let Some(name) = name.filter(|name| name != "???") else { return Ok(None) };
    let statement = client.prepare(&format!("SELECT NULL::{name}")).await.during(failed)?;
    Ok(statement.columns().first().map(|column| column.type_().clone()))
}

/// Names as an array of SQL, for a list of tables.
pub(super) fn table_list<'t>(tables: impl Iterator<Item = &'t TableName>) -> String {
    tables.map(TableName::quoted).collect::<Vec<_>>().join(", ")
}
