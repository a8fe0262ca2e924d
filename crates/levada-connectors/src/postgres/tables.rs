//! The sink's own tables: marks, records of views and grants, and the physical tables of datasets.
//!
//! All of them are in the schema `levada`, which no reader is let into. `levada.applied` has a row
//! per physical table, by which platform delivers which dataset there; `levada.views` and
//! `levada.grants` say what of the rest is ours.

use super::error::During;
use super::quote::{identifier, literal};
use super::types;
use crate::database::{self, WriteColumn};
use levada_flow::FlowError;
use levada_flow::sink::{DeliveredTable, Mark};
use levada_model::Schema;
use std::collections::HashMap;
use tokio_postgres::{Client, Row};

/// Of the tables below; a newer one belongs to a newer build.
const FORMAT: i32 = 2;

/// Columns that a sink adds to a live table.
pub(super) const LIVE_EXTRA: [&str; 1] = ["lv_key_hash"];

/// Columns that a sink adds to a history table.
pub(super) const HISTORY_EXTRA: [&str; 3] = ["valid_from", "valid_to", "lv_key_hash"];

/// The longest name that PostgreSQL keeps, in bytes; it cuts longer ones.
const NAME_BYTES_MAX: usize = 63;

const CREATE: &str = "
    CREATE SCHEMA IF NOT EXISTS levada;
    CREATE TABLE IF NOT EXISTS levada.format (version integer NOT NULL);
    INSERT INTO levada.format SELECT 1 WHERE NOT EXISTS (SELECT FROM levada.format);
    CREATE TABLE IF NOT EXISTS levada.applied (
        table_name text PRIMARY KEY,
        dataset text NOT NULL,
        batch bigint NOT NULL,
        incarnation text NOT NULL,
        epoch bigint NOT NULL,
        shape text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now());
    -- Format 1 had no platform; a row from then gets it with its next delivery.
    ALTER TABLE levada.applied ADD COLUMN IF NOT EXISTS platform text;
    CREATE TABLE IF NOT EXISTS levada.views (
        view_schema text NOT NULL,
        view_name text NOT NULL,
        table_name text NOT NULL,
        definition text NOT NULL,
        PRIMARY KEY (view_schema, view_name));
    CREATE TABLE IF NOT EXISTS levada.grants (
        view_schema text NOT NULL,
        view_name text NOT NULL,
        grantee text NOT NULL,
        is_ours boolean NOT NULL,
        PRIMARY KEY (view_schema, view_name, grantee));";

/// Whether the sink's own tables are there; those of an earlier build are brought up to date.
///
/// # Errors
/// They are of a newer build.
pub(super) async fn is_prepared(client: &Client, place: &str) -> Result<bool, FlowError> {
    match format(client, place).await? {
        None => Ok(false),
        Some(FORMAT) => Ok(true),
        Some(_) => create(client, place).await.map(|()| true),
    }
}

/// The format of the sink's own tables; `None`: they are not there.
async fn format(client: &Client, place: &str) -> Result<Option<i32>, FlowError> {
    let read = || format!("the schema levada at {place} can't be read");
    let found: bool =
        client.query_one("SELECT to_regclass('levada.grants') IS NOT NULL", &[]).await.during(read)?.get(0);
    if !found {
        return Ok(None);
    }
    let row = client.query_opt("SELECT max(version) FROM levada.format", &[]).await.during(read)?;
    match row.and_then(|row| row.get::<_, Option<i32>>(0)) {
        Some(version) if version > FORMAT => Err(FlowError::never(format!(
            "the schema levada at {place} has format {version}, this build knows {FORMAT}"
        ))
        .hint("deliver with the newer build")),
        found => Ok(found),
    }
}

/// Makes sure that the sink's own tables are there.
pub(super) async fn prepare(client: &Client, place: &str) -> Result<(), FlowError> {
    match is_prepared(client, place).await? {
        true => Ok(()),
        false => create(client, place).await,
    }
}

/// Creates the sink's own tables; two workers at once do it one after the other.
async fn create(client: &Client, place: &str) -> Result<(), FlowError> {
    let lock = advisory_lock("levada");
    let statements = format!("BEGIN; {lock}; {CREATE} UPDATE levada.format SET version = {FORMAT}; COMMIT");
    let created = client.batch_execute(&statements).await;
    if created.is_err() {
        // The first error is the one to tell.
        let _ = client.batch_execute("ROLLBACK").await;
    }
    created.during(|| format!("the schema levada can't be created at {place}"))
}

/// SQL that waits for whoever holds the same name, until the transaction ends.
pub(super) fn advisory_lock(name: &str) -> String {
    format!("SELECT pg_advisory_xact_lock(hashtextextended({}, 4711))", literal(&format!("levada:{name}")))
}

/// A physical table, quoted.
pub(super) fn physical(name: &str) -> String {
    format!("levada.{}", identifier(name))
}

/// The physical tables of a dataset, live first.
pub(super) fn physical_names(table: &DeliveredTable) -> impl Iterator<Item = &str> {
    [&table.live, &table.history].into_iter().filter_map(|name| name.as_deref())
}

/// What `levada.applied` says of one dataset.
pub(super) struct Applied {
    pub(super) mark: Option<Mark>,
    /// Physical tables that its platform delivered before and that are not named any more.
    pub(super) former: Vec<String>,
}

/// One row of `levada.applied`.
struct AppliedRow {
    table_name: String,
    mark: Mark,
    exists: bool,
    platform: Option<String>,
    dataset: String,
}

/// What was delivered of these datasets, in the transaction locked against everybody else.
pub(super) async fn applied(
    client: &Client,
    tables: &[&DeliveredTable],
    is_locked: bool,
) -> Result<Vec<Applied>, FlowError> {
    let names: Vec<&str> = tables.iter().flat_map(|table| physical_names(table)).collect();
    let platforms: Vec<&str> = tables.iter().map(|table| table.platform.as_str()).collect();
    let datasets: Vec<String> = tables.iter().map(|table| table.source.to_string()).collect();
    let lock = if is_locked { " FOR UPDATE OF applied" } else { "" };
    // A table that somebody dropped has no mark, whatever its row says.
    let query = format!(
        "SELECT table_name, batch, incarnation, epoch, shape,
                EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                        WHERE n.nspname = 'levada' AND c.relname = table_name AND c.relkind = 'r'),
                platform, dataset
         FROM levada.applied AS applied
         WHERE table_name = ANY($1)
            OR (platform, dataset) IN (SELECT p, d FROM unnest($2::text[], $3::text[]) AS wanted(p, d))
         ORDER BY table_name{lock}"
    );
    let rows = client.query(&query, &[&names, &platforms, &datasets]).await;
    let rows = rows.during(|| "levada.applied can't be read".to_owned())?;
    let mut by_name: HashMap<String, AppliedRow> = HashMap::new();
    let mut by_dataset: HashMap<(String, String), Vec<String>> = HashMap::new();
    for row in rows.iter().map(AppliedRow::of) {
        if let Some(platform) = &row.platform {
            by_dataset.entry((platform.clone(), row.dataset.clone())).or_default().push(row.table_name.clone());
        }
        by_name.insert(row.table_name.clone(), row);
    }
    let applied = |(table, dataset): (&&DeliveredTable, String)| {
        let all = by_dataset.get(&(table.platform.to_string(), dataset)).map_or(&[][..], Vec::as_slice);
        let is_former = |name: &&String| !physical_names(table).any(|wanted| wanted == name.as_str());
        let former: Vec<String> = all.iter().filter(is_former).cloned().collect();
        Applied { mark: mark_over(table, &former, &by_name), former }
    };
    Ok(tables.iter().zip(datasets).map(applied).collect())
}

impl AppliedRow {
    fn of(row: &Row) -> Self {
        let mark = Mark { batch: row.get(1), incarnation: row.get(2), epoch: row.get(3), shape: row.get(4) };
        Self { table_name: row.get(0), mark, exists: row.get(5), platform: row.get(6), dataset: row.get(7) }
    }
}

/// One mark for a dataset's tables. Where they don't agree, its shape is empty: nothing fits it, so
/// everything is built anew.
fn mark_over(table: &DeliveredTable, former: &[String], found: &HashMap<String, AppliedRow>) -> Option<Mark> {
    let wanted: Vec<Option<&AppliedRow>> = physical_names(table).map(|name| found.get(name)).collect();
    let all = wanted.iter().flatten().copied().chain(former.iter().filter_map(|name| found.get(name)));
    let newest = all.map(|row| &row.mark).max_by_key(|mark| mark.epoch)?.clone();
    let is_whole = wanted.iter().all(|row| row.is_some_and(|row| row.exists && row.mark == newest));
    Some(if is_whole { newest } else { Mark { shape: String::new(), ..newest } })
}

/// SQL that leaves the mark for all physical tables of a dataset.
pub(super) async fn leave_mark(client: &Client, table: &DeliveredTable, mark: &Mark) -> Result<(), FlowError> {
    let names: Vec<&str> = physical_names(table).collect();
    let statement = "
        INSERT INTO levada.applied (table_name, platform, dataset, batch, incarnation, epoch, shape)
        SELECT name, $7, $2, $3, $4, $5, $6 FROM unnest($1::text[]) AS name
        ON CONFLICT (table_name) DO UPDATE SET platform = excluded.platform, dataset = excluded.dataset, batch = excluded.batch,
            incarnation = excluded.incarnation, epoch = excluded.epoch, shape = excluded.shape, applied_at = now()";
    let dataset = table.source.to_string();
    let Mark { batch, incarnation, epoch, shape } = mark;
    let platform = table.platform.as_str();
    let left = client.execute(statement, &[&names, &dataset, batch, incarnation, epoch, shape, &platform]).await;
    left.during(|| format!("the mark of {dataset} can't be written")).map(drop)
}

/// Refuses names that PostgreSQL would cut or that would hide each other.
pub(super) fn check_names(table: &DeliveredTable) -> Result<(), FlowError> {
    let views = table.views.iter().flat_map(|view| [view.schema.as_str(), view.name.as_str()]);
    let columns = table.schema.columns.iter().map(|column| column.name.as_str());
    for name in physical_names(table).chain(views).chain(columns) {
        if name.len() > NAME_BYTES_MAX || name.contains('\0') {
            let source = &table.source;
            return Err(FlowError::never(format!("{source}: PostgreSQL can't keep the name {name:?}"))
                .hint(format!("its names have at most {NAME_BYTES_MAX} bytes")));
        }
    }
    let mut extra: Vec<&str> = Vec::new();
    extra.extend(if table.history.is_some() { &HISTORY_EXTRA[..] } else { &LIVE_EXTRA[..] });
    match extra.iter().find(|name| table.schema.position(name).is_some()) {
        Some(name) => Err(FlowError::never(format!("{}: a column can't be named {name:?}", table.source))
            .hint("the delivered table has a column of that name; rename it with `from:`")),
        None => Ok(()),
    }
}

/// SQL that creates a live or history table, still without its index.
pub(super) fn create_table(name: &str, schema: &Schema, is_history: bool) -> String {
    let mut columns: Vec<String> = schema
        .columns
        .iter()
        .map(|column| {
            let is_required = column.key || !column.nullable;
            let required = if is_required { " NOT NULL" } else { "" };
            format!("{} {}{required}", identifier(column.name.as_str()), types::ddl(&column.data_type))
        })
        .collect();
    if is_history {
        columns.push("valid_from timestamptz NOT NULL".to_owned());
        columns.push("valid_to timestamptz".to_owned());
    }
    columns.push("lv_key_hash bytea NOT NULL".to_owned());
    format!("CREATE TABLE {} ({})", physical(name), columns.join(", "))
}

/// SQL for the indexes of a filled table: one version per key and time, one open version per key.
pub(super) fn create_indexes(name: &str, schema: &Schema, is_history: bool) -> String {
    let table = physical(name);
    let key = identifying(&database::write_columns(schema)).join(", ");
    match is_history {
        false => format!("ALTER TABLE {table} ADD PRIMARY KEY ({key})"),
        true => format!(
            "ALTER TABLE {table} ADD PRIMARY KEY ({key}, valid_from); \
             CREATE UNIQUE INDEX ON {table} ({key}) WHERE valid_to IS NULL"
        ),
    }
}

/// The names of the columns by which rows are told apart, as SQL has them.
pub(super) fn identifying(columns: &[WriteColumn]) -> Vec<String> {
    database::identifying(columns).into_iter().map(identifier).collect()
}
