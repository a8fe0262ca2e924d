//! The sink's own tables: marks, records of views and grants, and the physical tables of datasets.
//!
//! All of them are in the database `levada`, which no reader is let into. A physical table carries
//! a token in its comment, and `levada.applied` has a row per token: the mark of a table is the row
//! of the token that it carries. So a table takes its mark along when it is renamed, and a table
//! that was built beside has a mark that counts for nobody until then. `levada.views` and
//! `levada.grants` say what of the rest is ours.

use super::config::Session;
use super::error::{During, code};
use super::quote::identifier;
use super::types;
use crate::database::{self, WriteColumn};
use levada_flow::FlowError;
use levada_flow::sink::{DeliveredTable, Mark};
use levada_model::Schema;
use mysql_async::prelude::Queryable;
use mysql_async::{Params, Row, Value};
use std::collections::BTreeMap;

/// The database of all that no reader sees.
pub(super) const DATABASE: &str = "levada";

/// Of the tables below; a newer one belongs to a newer build.
const FORMAT: i64 = 1;

/// Columns that a sink adds to a live table.
const LIVE_EXTRA: [&str; 1] = ["lv_key_hash"];

/// Columns that a sink adds to a history table.
const HISTORY_EXTRA: [&str; 3] = ["valid_from", "valid_to", "lv_key_hash"];

/// The longest name that MySQL keeps, in characters.
const NAME_CHARACTERS_MAX: usize = 64;

/// What the comment of a physical table begins with; the token follows.
const COMMENT: &str = "levada:";

/// How many tables one question to the catalog asks for.
const TABLES_AT_ONCE_MAX: usize = 64;

/// Each of them does nothing where it was done already, so that two workers may do it at once.
const CREATE: [&str; 6] = [
    "CREATE DATABASE IF NOT EXISTS levada CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    "CREATE TABLE IF NOT EXISTS levada.applied (
        token CHAR(32) CHARACTER SET ascii COLLATE ascii_bin PRIMARY KEY,
        table_name VARCHAR(64) NOT NULL,
        container VARCHAR(255) NOT NULL,
        platform VARCHAR(255) NOT NULL,
        dataset VARCHAR(600) NOT NULL,
        batch BIGINT NOT NULL,
        incarnation TEXT NOT NULL,
        epoch BIGINT NOT NULL,
        shape TEXT NOT NULL,
        applied_at DATETIME(6) NOT NULL,
        KEY by_name (table_name),
        KEY by_dataset (platform(100), dataset(255))
    ) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    "CREATE TABLE IF NOT EXISTS levada.views (
        view_schema VARCHAR(64) NOT NULL,
        view_name VARCHAR(64) NOT NULL,
        table_name VARCHAR(64) NOT NULL,
        dataset VARCHAR(600) NOT NULL,
        definition LONGTEXT NOT NULL,
        PRIMARY KEY (view_schema, view_name),
        KEY by_table (table_name)
    ) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    // A role of MariaDB's has no host.
    "CREATE TABLE IF NOT EXISTS levada.grants (
        view_schema VARCHAR(64) NOT NULL,
        view_name VARCHAR(64) NOT NULL,
        account VARCHAR(128) NOT NULL,
        host VARCHAR(255) NOT NULL,
        is_ours BOOLEAN NOT NULL,
        PRIMARY KEY (view_schema, view_name, account, host)
    ) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    "CREATE TABLE IF NOT EXISTS levada.format (version INT PRIMARY KEY) ENGINE = InnoDB",
    // Last: who finds the version finds everything.
    "INSERT IGNORE INTO levada.format VALUES (1)",
];

/// Whether the sink's own tables are there.
///
/// # Errors
/// They are of a newer build.
pub(super) async fn is_prepared(session: &mut Session, place: &str) -> Result<bool, FlowError> {
    let found: Result<Option<Option<i64>>, _> = session.query_first("SELECT MAX(version) FROM levada.format").await;
    match found {
        Ok(Some(Some(version))) if version > FORMAT => Err(FlowError::never(format!(
            "the database levada at {place} has format {version}, this build knows {FORMAT}"
        ))
        .hint("deliver with the newer build")),
        Ok(found) => Ok(found.flatten().is_some()),
        // No such database, no such table. Who has no right to it at all is told the same as by 1142.
        Err(error) if matches!(code(&error), Some(1049 | 1146)) => Ok(false),
        Err(error) => Err(error).during(|| format!("the database levada at {place} can't be read")),
    }
}

/// Makes sure that the sink's own tables are there.
pub(super) async fn prepare(session: &mut Session, place: &str) -> Result<(), FlowError> {
    if is_prepared(session, place).await? {
        return Ok(());
    }
    for statement in CREATE {
        session.run(statement, || format!("the database levada can't be created at {place}")).await?;
    }
    Ok(())
}

/// A physical table, quoted.
pub(super) fn physical(name: &str) -> String {
    format!("{DATABASE}.{}", identifier(name))
}

/// The name of a table while it is filled.
pub(super) fn next_name(token: &str) -> String {
    format!("lv_next_{token}")
}

/// The name of a table that was replaced.
pub(super) fn old_name(token: &str) -> String {
    format!("lv_old_{token}")
}

/// The physical tables of a dataset, live first.
pub(super) fn physical_names(table: &DeliveredTable) -> impl Iterator<Item = &str> {
    [&table.live, &table.history].into_iter().filter_map(|name| name.as_deref())
}

/// What is delivered of one dataset.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Applied {
    pub(super) mark: Option<Mark>,
    /// The tokens of the physical tables that are there and whose marks were found, by name.
    pub(super) tokens: BTreeMap<String, String>,
    /// Physical tables that its platform delivered before and that are not named any more.
    pub(super) former: Vec<String>,
    /// Tokens of tables that were built and never swapped in, or were replaced.
    pub(super) leftovers: Vec<String>,
}

/// One row of `levada.applied`.
#[derive(Clone, PartialEq, Eq, Debug)]
struct AppliedRow {
    token: String,
    table_name: String,
    container: String,
    platform: String,
    dataset: String,
    mark: Mark,
}

/// What was delivered of these datasets into this container; others may be on the same server.
pub(super) async fn applied(
    session: &mut Session,
    container: &str,
    tables: &[&DeliveredTable],
) -> Result<Vec<Applied>, FlowError> {
    let names: Vec<&str> = tables.iter().flat_map(|table| physical_names(table)).collect();
    let mut parameters: Vec<Value> = names.iter().map(|name| Value::from(*name)).collect();
    parameters.extend(tables.iter().flat_map(|table| {
        [Value::from(container), Value::from(table.platform.as_str()), Value::from(table.source.to_string())]
    }));
    let conditions = [
        (!names.is_empty()).then(|| format!("table_name IN ({})", placeholders(names.len()))),
        (!tables.is_empty())
            .then(|| format!("(container, platform, dataset) IN ({})", vec!["(?, ?, ?)"; tables.len()].join(", "))),
    ];
    let conditions: Vec<String> = conditions.into_iter().flatten().collect();
    if conditions.is_empty() {
        return Ok(Vec::new());
    }
    let query = format!(
        "SELECT token, table_name, container, platform, dataset, batch, incarnation, epoch, shape FROM levada.applied \
         WHERE {} ORDER BY token",
        conditions.join(" OR ")
    );
    let rows: Result<Vec<Row>, _> = session.exec(&query, Params::Positional(parameters)).await;
    let rows: Vec<AppliedRow> =
        rows.during(|| "levada.applied can't be read".to_owned())?.into_iter().map(AppliedRow::of).collect();
    let mut all: Vec<String> = rows.iter().map(|row| row.table_name.clone()).collect();
    all.extend(names.iter().map(|name| (*name).to_owned()));
    all.sort();
    all.dedup();
    let there = tokens(session, &all).await?;
    Ok(tables.iter().map(|table| applied_of(container, table, &rows, &there)).collect())
}

/// The tokens that these tables carry now; a table that is not there is missing.
pub(super) async fn tokens(
    session: &mut Session,
    names: &[String],
) -> Result<BTreeMap<String, Option<String>>, FlowError> {
    let mut found = BTreeMap::new();
    for some in names.chunks(TABLES_AT_ONCE_MAX) {
        // One question each by its whole name: what else is there need not be opened.
        let one = |number| {
            format!(
                "SELECT {number}, table_comment FROM information_schema.tables \
                 WHERE table_schema = '{DATABASE}' AND table_name = ? AND table_type = 'BASE TABLE'"
            )
        };
        let query = (0..some.len()).map(one).collect::<Vec<_>>().join(" UNION ALL ");
        let parameters = some.iter().map(|name| Value::from(name.as_str())).collect();
        let rows: Result<Vec<(usize, String)>, _> = session.exec(&query, Params::Positional(parameters)).await;
        for (number, comment) in rows.during(|| "the catalog of levada can't be read".to_owned())? {
            found.insert(some[number].clone(), comment.strip_prefix(COMMENT).map(str::to_owned));
        }
    }
    Ok(found)
}

impl AppliedRow {
    fn of(row: Row) -> Self {
        let (token, table_name, container, platform, dataset, batch, incarnation, epoch, shape) =
            mysql_async::from_row(row);
        Self { token, table_name, container, platform, dataset, mark: Mark { batch, incarnation, epoch, shape } }
    }
}

/// One mark for a dataset's tables. Where they don't agree, its shape is empty: nothing fits it, so
/// everything is built anew.
fn applied_of(
    container: &str,
    table: &DeliveredTable,
    rows: &[AppliedRow],
    there: &BTreeMap<String, Option<String>>,
) -> Applied {
    let dataset = table.source.to_string();
    let is_current = |row: &&AppliedRow| {
        there.get(&row.table_name).is_some_and(|token| token.as_deref() == Some(row.token.as_str()))
    };
    let is_wanted = |name: &str| physical_names(table).any(|wanted| wanted == name);
    let is_own = |row: &&AppliedRow| {
        (&*row.container, &*row.platform, &row.dataset) == (container, table.platform.as_str(), &dataset)
    };
    let is_ours = |row: &&AppliedRow| is_wanted(&row.table_name) || is_own(row);
    let (current, leftovers): (Vec<&AppliedRow>, Vec<&AppliedRow>) = rows.iter().filter(is_ours).partition(is_current);
    let mut former: Vec<String> =
        current.iter().filter(|row| !is_wanted(&row.table_name)).map(|row| row.table_name.clone()).collect();
    former.sort();
    let newest = current.iter().map(|row| &row.mark).max_by_key(|mark| mark.epoch);
    // A table that somebody dropped has a mark that nothing fits; one that was never swapped in has none.
    let wanted: Vec<Option<&&AppliedRow>> =
        physical_names(table).map(|name| current.iter().find(|row| row.table_name == name)).collect();
    let is_whole = wanted.iter().all(|row| row.is_some_and(|row| Some(&row.mark) == newest));
    let mark = newest.map(|mark| match is_whole {
        true => mark.clone(),
        false => Mark { shape: String::new(), ..mark.clone() },
    });
    let wanted = wanted.into_iter().flatten();
    Applied {
        mark,
        tokens: wanted.map(|row| (row.table_name.clone(), row.token.clone())).collect(),
        former,
        leftovers: leftovers.iter().map(|row| row.token.clone()).collect(),
    }
}

/// So many parameters.
pub(super) fn placeholders(count: usize) -> String {
    vec!["?"; count].join(", ")
}

/// Locks the marks of these tokens until the transaction ends, and gives them in the same order.
pub(super) async fn lock_marks(session: &mut Session, tokens: &[&str]) -> Result<Vec<Option<Mark>>, FlowError> {
    if tokens.is_empty() {
        return Ok(Vec::new());
    }
    // By its key alone, so that no other delivery's row is waited for.
    let query = format!(
        "SELECT token, batch, incarnation, epoch, shape FROM levada.applied FORCE INDEX (PRIMARY) \
         WHERE token IN ({}) ORDER BY token FOR UPDATE",
        placeholders(tokens.len())
    );
    let parameters = tokens.iter().map(|token| Value::from(*token)).collect();
    let rows: Result<Vec<Row>, _> = session.exec(&query, Params::Positional(parameters)).await;
    let rows = rows.during(|| "the marks can't be locked".to_owned())?;
    let marks = rows.into_iter().map(|row| {
        let (token, batch, incarnation, epoch, shape): (String, _, _, _, _) = mysql_async::from_row(row);
        (token, Mark { batch, incarnation, epoch, shape })
    });
    let marks: BTreeMap<String, Mark> = marks.collect();
    Ok(tokens.iter().map(|token| marks.get(*token).cloned()).collect())
}

/// Leaves a mark for a table that stays.
pub(super) async fn leave_mark(
    session: &mut Session,
    token: &str,
    table: &DeliveredTable,
    mark: &Mark,
) -> Result<(), FlowError> {
    let statement = "UPDATE levada.applied SET platform = ?, dataset = ?, batch = ?, incarnation = ?, epoch = ?, shape = ?, \
                     applied_at = UTC_TIMESTAMP(6) WHERE token = ?";
    let (dataset, platform) = (table.source.to_string(), table.platform.as_str());
    let parameters = (platform, &dataset, mark.batch, &mark.incarnation, mark.epoch, &mark.shape, token);
    let left = session.exec_drop(statement, parameters).await;
    left.during(|| format!("the mark of {dataset} can't be written"))
}

/// Starts a table beside the one of this name: its mark, which counts as soon as the table has the
/// name, and then the table itself. Gives its token.
pub(super) async fn create_beside(
    session: &mut Session,
    container: &str,
    table: &DeliveredTable,
    name: &str,
    is_history: bool,
    mark: &Mark,
) -> Result<String, FlowError> {
    let failed = || format!("table {name} for {} can't be created", table.source);
    let token: Option<String> = session.query_first("SELECT REPLACE(UUID(), '-', '')").await.during(failed)?;
    let token = token.ok_or_else(|| FlowError::later(failed()))?;
    let statement = "INSERT INTO levada.applied \
                     (token, table_name, container, platform, dataset, batch, incarnation, epoch, shape, applied_at) \
                     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, UTC_TIMESTAMP(6))";
    let (platform, dataset) = (table.platform.as_str(), table.source.to_string());
    let parameters =
        (&token, name, container, platform, dataset, mark.batch, &mark.incarnation, mark.epoch, &mark.shape);
    session.exec_drop(statement, parameters).await.during(failed)?;
    session.run(&create_table(&table.schema, is_history, &token), failed).await?;
    Ok(token)
}

/// Drops what was built or replaced under these tokens, and forgets their marks.
pub(super) async fn drop_leftovers(session: &mut Session, tokens: &[String]) -> Result<(), FlowError> {
    for token in tokens {
        let (next, old) = (physical(&next_name(token)), physical(&old_name(token)));
        let failed = || format!("what is left of table {token} can't be dropped");
        session.define(&format!("DROP TABLE IF EXISTS {next}, {old}"), failed).await?;
        session.exec_drop("DELETE FROM levada.applied WHERE token = ?", (token,)).await.during(failed)?;
    }
    Ok(())
}

/// Refuses names that MySQL has not, or that would hide each other.
pub(super) fn check_names(table: &DeliveredTable) -> Result<(), FlowError> {
    let source = &table.source;
    let views = table.views.iter().flat_map(|view| [view.schema.as_str(), view.name.as_str()]);
    let columns = || table.schema.columns.iter().map(|column| column.name.as_str());
    for name in physical_names(table).chain(views).chain(columns()) {
        let is_wrong = |character: char| character == '\0' || character > '\u{ffff}';
        if name.chars().count() > NAME_CHARACTERS_MAX || name.ends_with(' ') || name.contains(is_wrong) {
            return Err(FlowError::never(format!("{source}: MySQL can't keep the name {name:?}")).hint(format!(
                "its names have at most {NAME_CHARACTERS_MAX} characters, none beyond U+FFFF, and no blank at the end"
            )));
        }
    }
    if let Some(name) = physical_names(table).find(|name| is_reserved(name)) {
        return Err(FlowError::never(format!("{source}: {name:?} can't be the physical name of a delivered table")));
    }
    let extra = if table.history.is_some() { &HISTORY_EXTRA[..] } else { &LIVE_EXTRA[..] };
    let mut seen: Vec<String> = Vec::new();
    for column in columns() {
        let plain = column.to_lowercase();
        if extra.contains(&plain.as_str()) {
            return Err(FlowError::never(format!("{source}: a column can't be named {column:?}"))
                .hint("the delivered table has a column of that name; rename it with `from:`"));
        }
        if seen.contains(&plain) {
            return Err(FlowError::never(format!("{source}: MySQL can't tell column {column:?} from another one"))
                .hint("its names of columns have no upper and lower case; rename one with `from:`"));
        }
        seen.push(plain);
    }
    Ok(())
}

/// Names in `levada` that are the sink's own.
fn is_reserved(name: &str) -> bool {
    let name = name.to_lowercase();
    ["applied", "views", "grants", "format"].contains(&name.as_str()) || name.starts_with("lv_")
}

/// The columns of a schema as a table defines them.
pub(super) fn define_columns(schema: &Schema) -> Vec<String> {
    let types = types::ddl(schema);
    let columns = schema.columns.iter().zip(types).map(|(column, ddl)| {
        let required = if column.key || !column.nullable { " NOT NULL" } else { "" };
        format!("{} {ddl}{required}", identifier(column.name.as_str()))
    });
    columns.collect()
}

/// The same where a row may only say that its key is gone: what is no key may be missing.
pub(super) fn define_stage_columns(schema: &Schema) -> Vec<String> {
    let types = types::ddl(schema);
    let columns = schema.columns.iter().zip(types).map(|(column, ddl)| {
        let required = if column.key { " NOT NULL" } else { " NULL" };
        format!("{} {ddl}{required}", identifier(column.name.as_str()))
    });
    columns.collect()
}

/// The names of the columns by which rows are told apart, as SQL has them.
pub(super) fn identifying(columns: &[WriteColumn]) -> Vec<String> {
    database::identifying(columns).into_iter().map(identifier).collect()
}

/// SQL that creates a live or history table.
fn create_table(schema: &Schema, is_history: bool, token: &str) -> String {
    let mut columns = define_columns(schema);
    if is_history {
        columns.push("valid_from datetime(6) NOT NULL".to_owned());
        columns.push("valid_to datetime(6)".to_owned());
    }
    columns.push("lv_key_hash binary(16) NOT NULL".to_owned());
    let key = identifying(&database::write_columns(schema)).join(", ");
    let from = if is_history { ", valid_from" } else { "" };
    columns.push(format!("PRIMARY KEY ({key}{from})"));
    let name = physical(&next_name(token));
    format!("CREATE TABLE {name} ({}) ENGINE = InnoDB COMMENT '{COMMENT}{token}'", columns.join(", "))
}
