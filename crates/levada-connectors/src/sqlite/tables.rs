//! The tables and views of a producer's database, found by the names of the model.

use super::config::{failed, quoted};
use levada_flow::FlowError;
use levada_flow::source::{PullDataset, PullRequest};
use levada_model::Schema;
use levada_model::model::IngestKind;
use levada_model::nearest::nearest;

/// One table or view to read.
pub(super) struct SourceTable {
    /// As the database spells it.
    pub(super) name: String,
    /// How its rowid is called; `None`: a view or a table without one.
    pub(super) rowid: Option<&'static str>,
    /// Name and declared type.
    columns: Vec<(String, String)>,
}

impl SourceTable {
    /// The query for the schema's columns and, last, the rowid; with one parameter where
    /// a condition is given.
    pub(super) fn select(&self, schema: &Schema, condition: Option<&str>) -> String {
        let mut columns: Vec<String> =
            schema.columns.iter().map(|column| format!("t.{}", quoted(column.source_name()))).collect();
        columns.extend(self.rowid.map(|rowid| format!("t.{rowid}")));
        let mut select = format!("SELECT {} FROM main.{} AS t", columns.join(", "), quoted(&self.name));
        if let Some(condition) = condition {
            select.push_str(&format!(" WHERE {condition}"));
        }
        select
    }

    /// Whether SQLite compares the column with numbers as numbers.
    pub(super) fn is_numeric(&self, column: &str) -> bool {
        let declared = self.columns.iter().find(|(name, _)| name.eq_ignore_ascii_case(column));
        declared.is_some_and(|(_, declared)| has_numeric_affinity(&declared.to_ascii_uppercase()))
    }
}

/// Finds the tables of all datasets of a request, or says everything that doesn't fit.
pub(super) fn resolve(database: &rusqlite::Connection, request: &PullRequest) -> Result<Vec<SourceTable>, FlowError> {
    if !matches!(request.kind, IngestKind::Snapshot | IngestKind::Watermark { .. }) {
        return Err(FlowError::never("a SQLite database is read by snapshot or watermark only"));
    }
    let known = tables(database).map_err(|error| failed("list the tables", error))?;
    let (mut found, mut mismatches) = (Vec::new(), Vec::new());
    for dataset in &request.datasets {
        let bare = dataset.table.strip_prefix("main.").unwrap_or(&dataset.table);
        let is_named = |name: &str| known.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name));
        match is_named(&dataset.table).or_else(|| is_named(bare)) {
            None => mismatches.push(missing(
                format!("there is no table or view {:?}", dataset.table),
                nearest(bare, known.iter().map(|(name, ..)| name.as_str())),
            )),
            Some((name, kind, has_rowid)) => {
                let columns = columns(database, name);
                let columns = columns.map_err(|error| failed(format!("list the columns of {name:?}"), error))?;
                let rowid = if kind == "table" && *has_rowid { free_rowid(&columns) } else { None };
                let table = SourceTable { name: name.clone(), rowid, columns };
                mismatches.extend(mismatches_of(&table, dataset, &request.kind));
                found.push(table);
            }
        }
    }
    match mismatches.is_empty() {
        true => Ok(found),
        false => Err(FlowError::never(mismatches.join("; "))),
    }
}

/// Name, `table` or `view`, and whether it has a rowid.
fn tables(database: &rusqlite::Connection) -> rusqlite::Result<Vec<(String, String, bool)>> {
    let mut statement = database.prepare(
        "SELECT name, type, NOT wr FROM pragma_table_list \
         WHERE schema = 'main' AND type IN ('table', 'view', 'virtual') ORDER BY name",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    rows.collect()
}

fn columns(database: &rusqlite::Connection, table: &str) -> rusqlite::Result<Vec<(String, String)>> {
    let mut statement = database.prepare("SELECT name, type FROM pragma_table_xinfo(?1, 'main') ORDER BY cid")?;
    let rows = statement.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// Rules: SQLite's documentation, "Datatypes In SQLite", section 3.1.
fn has_numeric_affinity(declared: &str) -> bool {
    let has = |part: &str| declared.contains(part);
    has("INT") || !(declared.is_empty() || has("CHAR") || has("CLOB") || has("TEXT") || has("BLOB"))
}

/// The name of the rowid that no column hides.
fn free_rowid(columns: &[(String, String)]) -> Option<&'static str> {
    let is_free = |name: &&str| !columns.iter().any(|(column, _)| column.eq_ignore_ascii_case(name));
    ["rowid", "_rowid_", "oid"].into_iter().find(is_free)
}

fn missing(sentence: String, near: Option<&str>) -> String {
    near.map_or(sentence.clone(), |near| format!("{sentence} (did you mean {near:?}?)"))
}

fn mismatches_of(table: &SourceTable, dataset: &PullDataset, kind: &IngestKind) -> Vec<String> {
    let has = |name: &str| table.columns.iter().any(|(column, _)| column.eq_ignore_ascii_case(name));
    let near = |name: &str| nearest(name, table.columns.iter().map(|(column, _)| column.as_str()));
    let wanted = dataset.schema.columns.iter().map(|column| column.source_name());
    let absent = wanted.filter(|name| !has(name));
    let mut mismatches: Vec<String> =
        absent.map(|name| missing(format!("table {:?} has no column {name:?}", table.name), near(name))).collect();
    if matches!(kind, IngestKind::Watermark { .. }) && dataset.schema.key().is_empty() {
        mismatches.push(format!("table {:?} is read by watermark, which needs a key in the model", table.name));
    }
    mismatches
}
