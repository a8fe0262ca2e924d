//! The tables behind the datasets, as the binary log has them: all columns in their order, by which its
//! rows are read, and what of a table the log does not tell.

use super::charset::Charset;
use crate::database::quoted_text;
use crate::mysql::catalog::{self, DatasetPlan};
use crate::mysql::config::Session;
use crate::mysql::error::During;
use crate::mysql::quote::TableName;
use crate::mysql::types::Wire;
use levada_flow::FlowError;
use levada_flow::source::{PullDataset, PullRequest};
use levada_model::fingerprint::fingerprint;
use levada_model::model::IngestKind;
use mysql_async::prelude::Queryable;

/// A table that can be read by the log.
#[derive(Clone, Debug)]
pub(super) struct LogTable {
    /// As the server writes it.
    pub(super) name: TableName,
    pub(super) plan: DatasetPlan,
    /// What another one makes of it a table whose rows are read anew.
    pub(super) layout: String,
    /// How many columns the log's rows have.
    pub(super) width: usize,
    /// Where the plan's columns are in them.
    pub(super) columns: Vec<LogColumn>,
    /// How its rows can be read in chunks; `None`: there is no such index.
    pub(super) order: Option<Order>,
}

/// An index that makes the key unique, and whose order is that of comparisons.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) index: String,
    /// The plan's key columns as the index has them.
    pub(super) at: Vec<usize>,
}

impl Order {
    /// The columns' names at the source.
    pub(super) fn columns(&self, plan: &DatasetPlan) -> Vec<String> {
        self.at.iter().map(|at| plan.columns[*at].source_name.clone()).collect()
    }
}

/// A column of the log's rows.
#[derive(Clone, Debug)]
pub(super) struct LogColumn {
    pub(super) at: usize,
    pub(super) shape: Shape,
}

/// What the log leaves to the catalog of a column's values.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Shape {
    /// Values are as they come.
    Plain,
    /// Whole numbers without a sign, of so many bits.
    Unsigned(u32),
    /// Whole numbers of 24 bits, whose sign the driver does not see.
    Medium,
    /// Seconds since 1970.
    Instant,
    Year,
    Text(Charset),
    /// Bytes of a fixed length, whose last zeros are left out.
    Padded(usize),
    /// MariaDB's uuid, as it stores it.
    Uuid,
    /// The number of one of these texts, from 1 on.
    Enum(Vec<String>),
    /// Bits for these texts.
    Set(Vec<String>),
}

/// Name, type, type with arguments, character set, length in bytes, what else, number in the table, collation.
type Row = (String, String, String, Option<String>, Option<u64>, String, u64, Option<String>);

const COLUMNS: &str = "
    SELECT column_name, data_type, column_type, character_set_name, character_octet_length, extra,
           ordinal_position, collation_name
    FROM information_schema.columns WHERE table_schema = ? AND table_name = ? ORDER BY ordinal_position";

const TABLE: &str = "
    SELECT table_schema, table_name, table_type, engine FROM information_schema.tables
    WHERE table_schema = ? AND table_name = ?";

const CASCADES: &str = "
    SELECT constraint_name FROM information_schema.referential_constraints
    WHERE constraint_schema = ? AND table_name = ?
      AND (delete_rule IN ('CASCADE', 'SET NULL') OR update_rule IN ('CASCADE', 'SET NULL'))";

/// Index, column, whether it is none that orders rows by whole values.
type Indexed = (String, String, bool);

const INDEXES: &str = "
    SELECT index_name, column_name,
           sub_part IS NOT NULL OR index_type <> 'BTREE' OR COALESCE(collation, '') <> 'A' OR ignored <> 'NO'
    FROM information_schema.statistics
    WHERE table_schema = ? AND table_name = ? AND non_unique = 0
    ORDER BY index_name <> 'PRIMARY', index_name, seq_in_index";

/// Finds a dataset's table; every problem at once where the log can't tell it.
pub(super) async fn find(
    session: &mut Session,
    place: &str,
    default_schema: &str,
    dataset: &PullDataset,
) -> Result<Result<LogTable, Vec<String>>, FlowError> {
    let failed = || format!("the catalog of {place} can't be read");
    let wanted = TableName::parse(&dataset.table, default_schema);
    let request = PullRequest::new(IngestKind::Cdc { wal_max_bytes: None }, vec![dataset.clone()], "");
    let plan = match catalog::plan_each(session, place, default_schema, &request).await?.pop() {
        Some(Ok(plan)) => plan,
        Some(Err(problems)) => return Ok(Err(problems)),
        None => return Ok(Err(Vec::new())),
    };
    let names = (&wanted.schema, &wanted.table);
    let there: Option<(String, String, String, Option<String>)> =
        session.exec_first(TABLE, names).await.during(failed)?;
    let Some((schema, table, kind, engine)) = there else {
        return Ok(Err(vec![format!("table {wanted} does not exist")]));
    };
    let rows: Vec<Row> = session.exec(COLUMNS, names).await.during(failed)?;
    let cascades: Vec<String> = session.exec(CASCADES, names).await.during(failed)?;
    let indexes: Vec<Indexed> = session.exec(INDEXES, names).await.during(failed)?;
    let mut problems = Vec::new();
    if !kind.eq_ignore_ascii_case("base table") {
        problems.push(format!("{wanted} is a {kind}, and has no changes of its own: read its tables, or use snapshot"));
    } else if !engine.as_deref().is_some_and(|engine| engine.eq_ignore_ascii_case("innodb")) {
        let engine = engine.unwrap_or_else(|| "unknown".to_owned());
        problems
            .push(format!("table {wanted} is of engine {engine}, and only InnoDB has snapshots: use kind snapshot"));
    }
    if rows.last().is_some_and(|row| row.6 != rows.len() as u64) {
        problems.push(format!("this user does not see all columns of table {wanted}: GRANT SELECT on all of it"));
    }
    problems.extend(cascades.iter().map(|name| {
        format!(
            "foreign key {name:?} of table {wanted} changes rows that the binary log does not tell (ON DELETE or UPDATE \
             CASCADE, SET NULL): use watermark, or let the key restrict"
        )
    }));
    let mut columns = Vec::new();
    for column in &plan.columns {
        let found = rows.iter().position(|row| row.0.eq_ignore_ascii_case(&column.source_name));
        let Some(at) = found else { continue };
        match shape(&rows[at], column.wire) {
            Ok(shape) => columns.push(LogColumn { at, shape }),
            Err(why) => problems.push(format!(
                "column {:?} of table {wanted} {why}: use snapshot or watermark, or leave it out",
                column.source_name
            )),
        }
    }
    let layout = fingerprint(&(&schema, &table, &rows)).to_string().chars().take(16).collect();
    let name = TableName { schema, table };
    let order = order(&plan, &columns, &rows, &indexes);
    Ok(match problems.is_empty() {
        true => Ok(LogTable { name, plan, layout, width: rows.len(), columns, order }),
        false => Err(problems),
    })
}

/// The key columns in the order of an index over them and no others.
fn order(plan: &DatasetPlan, columns: &[LogColumn], rows: &[Row], indexes: &[Indexed]) -> Option<Order> {
    let key = |at: &usize| plan.columns[*at].is_key;
    let is_ordered = |at: usize| {
        let (_, data_type, .., collation) = &rows[columns[at].at];
        // Its index pads what its comparison does not.
        let is_padded = data_type == "char" && collation.as_ref().is_some_and(|name| name.contains("nopad"));
        let is_plain = !matches!(columns[at].shape, Shape::Enum(_) | Shape::Set(_));
        has_order(plan.columns[at].wire) && is_plain && !is_padded
    };
    let keys: Vec<usize> = (0..plan.columns.len()).filter(key).collect();
    if keys.is_empty() || columns.len() != plan.columns.len() || !keys.iter().all(|at| is_ordered(*at)) {
        return None;
    }
    indexes.chunk_by(|(one, ..), (other, ..)| one == other).find_map(|index| {
        let place = |(_, column, is_unordered): &Indexed| {
            let found = keys.iter().find(|at| plan.columns[**at].source_name.eq_ignore_ascii_case(column));
            found.filter(|_| !is_unordered).copied()
        };
        let at: Vec<usize> = index.iter().map(place).collect::<Option<_>>()?;
        (at.len() == keys.len()).then(|| Order { index: index[0].0.clone(), at })
    })
}

/// Whether values of a kind are compared as an index orders them.
fn has_order(wire: Wire) -> bool {
    matches!(
        wire,
        Wire::Integer
            | Wire::Decimal
            | Wire::Date
            | Wire::Datetime
            | Wire::Timestamp
            | Wire::Text
            | Wire::Bytes
            | Wire::Uuid
    )
}

fn shape((_, data_type, column_type, charset, octets, extra, ..): &Row, wire: Wire) -> Result<Shape, String> {
    if extra.to_ascii_uppercase().contains("GENERATED") {
        return Err("is generated, and not in every binary log".to_owned());
    }
    let bits = match data_type.as_str() {
        "tinyint" => 8,
        "smallint" => 16,
        "mediumint" => 24,
        "int" | "integer" => 32,
        _ => 64,
    };
    let charset = || {
        let name = charset.as_deref().unwrap_or("utf8mb4");
        Charset::named(name).ok_or_else(|| format!("is of character set {name}, which is not read from the binary log"))
    };
    Ok(match (data_type.as_str(), wire) {
        ("year", _) => Shape::Year,
        ("enum", _) => Shape::Enum(labels(column_type)),
        ("set", _) => Shape::Set(labels(column_type)),
        ("binary", _) => Shape::Padded(octets.and_then(|octets| usize::try_from(octets).ok()).unwrap_or(0)),
        (_, Wire::Integer) if column_type.contains("unsigned") => Shape::Unsigned(bits),
        ("mediumint", _) => Shape::Medium,
        (_, Wire::Timestamp) => Shape::Instant,
        (_, Wire::Text | Wire::Json) => Shape::Text(charset()?),
        (_, Wire::Uuid) => Shape::Uuid,
        (_, Wire::Address) => {
            return Err(format!("is {data_type}, which is not read from the binary log"));
        }
        _ => Shape::Plain,
    })
}

/// The texts of `enum('a','it''s')`.
fn labels(column_type: &str) -> Vec<String> {
    let mut labels = Vec::new();
    let mut rest = column_type;
    while let Some((label, after)) = rest.find('\'').and_then(|start| quoted_text(&rest[start + 1..], '\'')) {
        labels.push(label);
        rest = after;
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_what_stands_between_quotes() {
        assert_eq!(labels("enum('a','it''s, so','','ö')"), ["a", "it's, so", "", "ö"]);
        assert_eq!(labels("set('x')"), ["x"]);
    }
}
