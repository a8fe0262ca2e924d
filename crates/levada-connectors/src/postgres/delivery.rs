//! One delivery: rows, views, grants and marks of all its datasets in one transaction.
//!
//! 1. Wait for whoever delivers the same tables; check the marks that are there.
//! 2. Write the rows: changes through a staging table into the live one, everything into a new
//!    table beside the old one.
//! 3. Swap tables and views, grants included. Only here readers are made to wait, and never for
//!    long: where a reader holds on, its lock is given back and asked for again.
//! 4. Leave the marks, and commit.

use super::copy;
use super::error::During;
use super::grants;
use super::quote::identifier;
use super::tables::{self, physical, physical_names};
use super::views::{self, ViewName};
use crate::changes::with_times;
use crate::database::{self, WriteColumn, is_same_key};
use futures::StreamExt;
use levada_flow::sink::{Content, Delivered, DeliveredTable, Mark, TableDelivery, UnknownReader};
use levada_flow::{FlowError, Retry, RowStream, failpoint};
use levada_model::DataType;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

/// How long a swap waits for readers before it lets them go first; well below PostgreSQL's
/// `deadlock_timeout`, so that a reader is never the victim of a deadlock with us.
const SWAP_LOCK_MS: u64 = 300;

/// How long readers get between two tries.
const SWAP_PAUSE_MS: u64 = 200;

/// How often a swap is tried before the delivery fails, to be tried again later.
const SWAP_ATTEMPTS_MAX: usize = 120;

/// From so many changes on, sorting them gets memory of its own, for this transaction.
const SORT_ROWS_MIN: u64 = 10_000;

const SORT_IN_MEMORY: &str = "SELECT set_config('work_mem', '64MB', true) \
     FROM pg_settings WHERE name = 'work_mem' AND setting::bigint < 64 * 1024";

/// A table that was built beside the one it replaces.
struct Beside {
    next: String,
    name: String,
}

/// Runs a delivery in a transaction of its own, which is left open on errors.
pub(super) async fn deliver(
    client: &Client,
    place: &str,
    deliveries: Vec<TableDelivery>,
) -> Result<Delivered, FlowError> {
    deliveries.iter().try_for_each(|delivery| tables::check_names(&delivery.table))?;
    let all: Vec<DeliveredTable> = deliveries.iter().map(|delivery| delivery.table.clone()).collect();
    let all: Vec<&DeliveredTable> = all.iter().collect();
    begin(client, place, &all).await?;
    let found = tables::applied(client, &all, true).await?;
    for (delivery, found) in deliveries.iter().zip(&found) {
        check_mark(delivery, found.mark.as_ref())?;
    }
    let former: Vec<String> = found.into_iter().flat_map(|found| found.former).collect();
    let mut delivered = Delivered::default();
    let mut beside = Vec::new();
    let mut marks = Vec::new();
    for (number, delivery) in deliveries.into_iter().enumerate() {
        let TableDelivery { table, content, mark, .. } = delivery;
        let (rows, bytes) = match content {
            Content::Nothing => (0, 0),
            Content::Changes { rows, times, is_net } => {
                let is_once = is_net || times.len() == 1;
                write_changes(client, number, &table, rows, &times, is_once).await?
            }
            Content::Everything { live, history, .. } => {
                let live = build(client, &table, false, live, &mut beside).await?;
                let history = build(client, &table, true, history, &mut beside).await?;
                (live.0 + history.0, live.1 + history.1)
            }
        };
        delivered.rows += rows;
        delivered.bytes += bytes;
        marks.push((table, mark));
    }
    delivered.unknown_readers = publish(client, place, &all, &beside, &former).await?;
    for (table, mark) in &marks {
        tables::leave_mark(client, table, mark).await?;
    }
    failpoint("sink.written")?;
    client.batch_execute("COMMIT").await.during(|| format!("the delivery to {place} can't be committed"))?;
    Ok(delivered)
}

/// Takes views, grants, tables and marks away, in a transaction of its own.
pub(super) async fn remove(client: &Client, place: &str, gone: &[DeliveredTable], epoch: i64) -> Result<(), FlowError> {
    let all: Vec<&DeliveredTable> = gone.iter().collect();
    begin(client, place, &all).await?;
    let found = tables::applied(client, &all, true).await?;
    for (table, found) in all.iter().zip(&found) {
        if let Some(mark) = found.mark.as_ref().filter(|mark| mark.epoch > epoch) {
            return Err(stale(table, mark, epoch));
        }
    }
    let mut names: Vec<&str> = all.iter().flat_map(|table| physical_names(table)).collect();
    names.extend(found.iter().flat_map(|found| &found.former).map(String::as_str));
    let removing = Removing { client, names: &names };
    with_readers_first(client, || removing.run()).await?;
    client.batch_execute("COMMIT").await.during(|| format!("the removal at {place} can't be committed"))
}

async fn begin(client: &Client, place: &str, all: &[&DeliveredTable]) -> Result<(), FlowError> {
    // In one order everywhere, so that two deliveries never wait for each other in a circle.
    let exports: BTreeSet<String> = all.iter().map(|table| format!("{}/{}", table.platform, table.source)).collect();
    let locks: Vec<String> = exports.iter().map(|export| tables::advisory_lock(export)).collect();
    let begin = format!("BEGIN ISOLATION LEVEL READ COMMITTED; {}", locks.join("; "));
    client.batch_execute(&begin).await.during(|| format!("no delivery can be started at {place}"))
}

fn check_mark(delivery: &TableDelivery, found: Option<&Mark>) -> Result<(), FlowError> {
    let TableDelivery { table, mark, expected, content } = delivery;
    if let Some(found) = found.filter(|found| found.epoch > mark.epoch) {
        return Err(stale(table, found, mark.epoch));
    }
    if found != expected.as_ref() {
        let told = |mark: Option<&Mark>| match mark {
            Some(mark) => format!("batch {} of epoch {}", mark.batch, mark.epoch),
            None => "nothing".to_owned(),
        };
        let (source, found, expected) = (&table.source, told(found), told(expected.as_ref()));
        return Err(FlowError::later(format!("{source} is at {found} where {expected} was expected"))
            .hint("another worker has delivered in between; the next attempt starts from what is there"));
    }
    let is_reshaped = expected.as_ref().is_some_and(|expected| expected.shape != mark.shape);
    match is_reshaped && matches!(content, Content::Changes { .. }) {
        true => Err(FlowError::never(format!("{} has another shape now, changes don't fit it", table.source))),
        false => Ok(()),
    }
}

fn stale(table: &DeliveredTable, found: &Mark, epoch: i64) -> FlowError {
    let (source, newer) = (&table.source, found.epoch);
    FlowError::never(format!("{source} was written under epoch {newer}; epoch {epoch} may not write any more"))
}

/// Fills a new table beside the one it will replace.
async fn build(
    client: &Client,
    table: &DeliveredTable,
    is_history: bool,
    rows: Option<RowStream>,
    beside: &mut Vec<Beside>,
) -> Result<(u64, u64), FlowError> {
    let name = if is_history { &table.history } else { &table.live };
    let (name, rows) = match (name, rows) {
        (None, _) => return Ok((0, 0)),
        (Some(name), Some(rows)) => (name, rows),
        (Some(name), None) => {
            let source = &table.source;
            return Err(FlowError::never(format!("{source}: everything was announced, but no rows for {name:?}")));
        }
    };
    let next = format!("lv_next_{:016x}", hash(name));
    let failed = || format!("table {next} for {} can't be built", table.source);
    let create = tables::create_table(&next, &table.schema, is_history);
    client.batch_execute(&create).await.during(failed)?;
    let mut columns = database::write_columns(&table.schema);
    if is_history {
        columns.push(database::own_column("valid_from", DataType::Timestamptz));
        columns.push(database::own_column("valid_to", DataType::Timestamptz));
    }
    columns.push(database::key_hash_column());
    let label = table.source.to_string();
    // Frozen: whoever reads under an older snapshot sees the whole new table, not an empty one.
    let written = copy::write_rows(client, &label, &physical(&next), ", FREEZE", &columns, rows).await?;
    client.batch_execute(&tables::create_indexes(&next, &table.schema, is_history)).await.during(failed)?;
    client.batch_execute(&format!("ANALYZE {}", physical(&next))).await.during(failed)?;
    beside.push(Beside { next, name: name.clone() });
    Ok(written)
}

/// Only tells names apart inside of one transaction; never stored.
fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

/// Copies changes into a staging table and applies them from there.
async fn write_changes(
    client: &Client,
    number: usize,
    table: &DeliveredTable,
    rows: RowStream,
    times: &BTreeMap<i64, i64>,
    has_each_key_once: bool,
) -> Result<(u64, u64), FlowError> {
    let failed = || format!("the changes of {} can't be applied", table.source);
    create_missing(client, table).await?;
    let stage = format!("pg_temp.lv_stage_{number}");
    let mut columns = database::write_columns(&table.schema);
    let width = columns.len();
    columns.push(database::own_column("lv_at", DataType::Timestamptz));
    columns.push(database::own_column("lv_op", DataType::Int32));
    columns.push(database::key_hash_column());
    client.batch_execute(&create_stage(&stage, &columns)).await.during(failed)?;
    let timed = {
        let (times, source) = (times.clone(), table.source.to_string());
        rows.map(move |batch| with_times(&batch?, width, &times, &source))
    };
    let label = table.source.to_string();
    let (staged, bytes) = copy::write_rows(client, &label, &stage, "", &columns, timed).await?;
    if staged == 0 {
        return Ok((0, bytes));
    }
    if staged > SORT_ROWS_MIN {
        client.batch_execute(SORT_IN_MEMORY).await.during(failed)?;
    }
    let mut statements = Vec::new();
    if let Some(live) = &table.live {
        statements.extend(apply_to_live(&physical(live), &stage, &columns[..width], has_each_key_once));
    }
    if let Some(history) = &table.history {
        statements.extend(apply_to_history(&physical(history), &stage, &columns[..width]));
    }
    let mut written = 0;
    for statement in statements {
        written += client.execute(&statement, &[]).await.during(failed)?;
    }
    Ok((written, bytes))
}

/// The tables of a dataset whose first delivery is changes.
async fn create_missing(client: &Client, table: &DeliveredTable) -> Result<(), FlowError> {
    for (name, is_history) in [(&table.live, false), (&table.history, true)] {
        let Some(name) = name else { continue };
        let failed = || format!("table {name} for {} can't be created", table.source);
        let exists = "SELECT to_regclass($1) IS NOT NULL";
        if client.query_one(exists, &[&physical(name)]).await.during(failed)?.get(0) {
            continue;
        }
        let create = tables::create_table(name, &table.schema, is_history);
        let statements = format!("{create}; {}", tables::create_indexes(name, &table.schema, is_history));
        client.batch_execute(&statements).await.during(failed)?;
    }
    Ok(())
}

fn create_stage(stage: &str, columns: &[WriteColumn]) -> String {
    let columns: Vec<String> = columns
        .iter()
        .map(|column| format!("{} {}", identifier(&column.name), super::types::ddl(&column.data_type)))
        .collect();
    format!("CREATE TEMP TABLE {} ({}) ON COMMIT DROP", stage.trim_start_matches("pg_temp."), columns.join(", "))
}

fn names(columns: &[WriteColumn]) -> Vec<String> {
    columns.iter().map(|column| identifier(&column.name)).collect()
}

/// Deletes what is gone, inserts or updates the rest, in the order of the index; of several changes of a key the last
/// counts.
fn apply_to_live(live: &str, stage: &str, columns: &[WriteColumn], has_each_key_once: bool) -> [String; 2] {
    let names = names(columns);
    let list = names.join(", ");
    let last = match has_each_key_once {
        true => stage.to_owned(),
        false => format!("(SELECT DISTINCT ON (lv_key_hash) * FROM {stage} ORDER BY lv_key_hash, lv_at DESC)"),
    };
    let sets: Vec<String> = columns
        .iter()
        .zip(&names)
        .filter(|(column, _)| !column.is_key)
        .map(|(_, name)| format!("{name} = excluded.{name}"))
        .collect();
    let action = match sets.is_empty() {
        true => "DO NOTHING".to_owned(),
        false => format!("DO UPDATE SET {}", sets.join(", ")),
    };
    let key = tables::identifying(columns);
    let (same, key) = (is_same_key("live", "s", &key), key.join(", "));
    [
        format!("DELETE FROM {live} AS live USING {last} AS s WHERE {same} AND s.lv_op = 2"),
        format!(
            "INSERT INTO {live} ({list}, lv_key_hash) SELECT {list}, lv_key_hash FROM {last} AS s WHERE lv_op <> 2 \
             ORDER BY {key} ON CONFLICT ({key}) {action}"
        ),
    ]
}

/// Closes the open version of each changed key, and adds a version per insert and update.
fn apply_to_history(history: &str, stage: &str, columns: &[WriteColumn]) -> [String; 2] {
    let list = names(columns).join(", ");
    let key = tables::identifying(columns);
    let (same, key) = (is_same_key("history", "s", &key), key.join(", "));
    [
        format!(
            "UPDATE {history} AS history SET valid_to = s.lv_first_at \
             FROM (SELECT {key}, min(lv_at) AS lv_first_at FROM {stage} GROUP BY {key}) AS s \
             WHERE {same} AND history.valid_to IS NULL"
        ),
        format!(
            "INSERT INTO {history} ({list}, valid_from, valid_to, lv_key_hash) \
             SELECT {list}, lv_at, lv_next_at, lv_key_hash \
             FROM (SELECT *, lead(lv_at) OVER (PARTITION BY {key} ORDER BY lv_at) AS lv_next_at FROM {stage}) AS s \
             WHERE lv_op <> 2"
        ),
    ]
}

/// Makes tables, views and grants what they have to be; does nothing where they are already. Gives
/// the readers whom the database does not know.
async fn publish(
    client: &Client,
    place: &str,
    all: &[&DeliveredTable],
    beside: &[Beside],
    former: &[String],
) -> Result<Vec<UnknownReader>, FlowError> {
    let mut names: Vec<&str> = all.iter().flat_map(|table| physical_names(table)).collect();
    names.extend(former.iter().map(String::as_str));
    let wanted = views::wanted(all)?;
    let own = views::own(client, &names, wanted.keys()).await?;
    views::check_owners(&wanted, &own)?;
    let swapped: BTreeSet<&str> = beside.iter().map(|table| table.name.as_str()).collect();
    let changed: Vec<&ViewName> = wanted
        .iter()
        .filter(|(name, wanted)| {
            let is_same = own
                .get(*name)
                .is_some_and(|own| own.exists && own.table == wanted.table && own.definition == wanted.definition);
            !is_same || swapped.contains(wanted.table.as_str())
        })
        .map(|(name, _)| name)
        .collect();
    let gone: Vec<&ViewName> = own.keys().filter(|name| !wanted.contains_key(*name)).collect();
    if !changed.is_empty() || !gone.is_empty() || !beside.is_empty() || !former.is_empty() {
        let publishing =
            Publishing { client, wanted: &wanted, own: &own, changed: &changed, gone: &gone, beside, former };
        with_readers_first(client, || publishing.run()).await?;
    }
    let gone = gone.iter().map(|(schema, _)| schema.as_str()).collect();
    let unknown = grants::unknown(client, place, all).await?;
    put_readers(client, &grants::wanted(all, &unknown), gone).await?;
    Ok(unknown)
}

/// Lets readers in and out; `schemas` have lost a view.
async fn put_readers(
    client: &Client,
    readers: &BTreeMap<ViewName, BTreeSet<String>>,
    mut schemas: BTreeSet<&str>,
) -> Result<(), FlowError> {
    let seen_to = grants::own(client, readers.keys()).await?;
    let none = BTreeMap::new();
    for (name, wanted) in readers {
        let seen_to = seen_to.get(name).unwrap_or(&none);
        if !seen_to.keys().eq(wanted) {
            grants::put(client, name, wanted, seen_to).await?;
            schemas.insert(&name.0);
        }
    }
    for schema in &schemas {
        grants::put_usage(client, schema).await?;
    }
    Ok(())
}

/// What changes for readers in one delivery.
struct Publishing<'a> {
    client: &'a Client,
    wanted: &'a BTreeMap<ViewName, views::WantedView>,
    own: &'a BTreeMap<ViewName, views::OwnView>,
    changed: &'a [&'a ViewName],
    gone: &'a [&'a ViewName],
    beside: &'a [Beside],
    /// Tables that are not named any more.
    former: &'a [String],
}

impl Publishing<'_> {
    async fn run(&self) -> Result<(), FlowError> {
        let existing =
            self.changed.iter().chain(self.gone).filter(|name| self.own.get(**name).is_some_and(|own| own.exists));
        lock_views(self.client, existing.copied()).await?;
        for Beside { next, name } in self.beside {
            let old = format!("lv_old_{:016x}", hash(name));
            let rename = format!(
                "ALTER TABLE IF EXISTS {} RENAME TO {}; ALTER TABLE {} RENAME TO {}",
                physical(name),
                identifier(&old),
                physical(next),
                identifier(name)
            );
            self.client.batch_execute(&rename).await.during(|| format!("table {name} can't be replaced"))?;
        }
        for name in self.gone {
            views::remove(self.client, name).await?;
            views::forget(self.client, name).await?;
        }
        for name in self.changed {
            let own = self.own.get(*name);
            if own.is_some_and(|own| !own.exists) {
                // Somebody dropped it, and our grants with it.
                views::forget(self.client, name).await?;
            }
            views::put(self.client, name, &self.wanted[*name], own).await?;
        }
        for Beside { name, .. } in self.beside {
            let old = format!("lv_old_{:016x}", hash(name));
            let drop_table = format!("DROP TABLE IF EXISTS {}", physical(&old));
            let dropped = self.client.batch_execute(&drop_table).await;
            dropped.map_err(|error| views::in_use(&format!("table levada.{name}"), error))?;
        }
        let former: Vec<&str> = self.former.iter().map(String::as_str).collect();
        drop_tables(self.client, &former).await
    }
}

/// Drops physical tables, and their marks with them.
async fn drop_tables(client: &Client, names: &[&str]) -> Result<(), FlowError> {
    for name in names {
        let dropped = client.batch_execute(&format!("DROP TABLE IF EXISTS {}", physical(name))).await;
        dropped.map_err(|error| views::in_use(&format!("table levada.{name}"), error))?;
    }
    let forget = client.execute("DELETE FROM levada.applied WHERE table_name = ANY($1)", &[&names]).await;
    forget.during(|| "the marks can't be removed".to_owned()).map(drop)
}

/// What goes when datasets are no longer delivered.
struct Removing<'a> {
    client: &'a Client,
    names: &'a [&'a str],
}

impl Removing<'_> {
    async fn run(&self) -> Result<(), FlowError> {
        let own = views::own(self.client, self.names, std::iter::empty()).await?;
        lock_views(self.client, own.iter().filter(|(_, own)| own.exists).map(|(name, _)| name)).await?;
        for name in own.keys() {
            views::remove(self.client, name).await?;
            views::forget(self.client, name).await?;
        }
        for schema in own.keys().map(|(schema, _)| schema.as_str()).collect::<BTreeSet<_>>() {
            grants::put_usage(self.client, schema).await?;
        }
        drop_tables(self.client, self.names).await
    }
}

/// Locks views, and through them their tables, in the order in which readers do.
async fn lock_views(client: &Client, names: impl Iterator<Item = &ViewName>) -> Result<(), FlowError> {
    let names: BTreeSet<&ViewName> = names.collect();
    for (schema, view) in names {
        let lock = format!("LOCK TABLE {}.{} IN ACCESS EXCLUSIVE MODE", identifier(schema), identifier(view));
        client.batch_execute(&lock).await.during(|| format!("view {schema}.{view} is being read"))?;
    }
    Ok(())
}

/// Runs what needs readers to step aside; where one holds on, everything is undone, readers go
/// first, and it is tried again.
async fn with_readers_first<F>(client: &Client, run: impl Fn() -> F) -> Result<(), FlowError>
where
    F: Future<Output = Result<(), FlowError>>,
{
    let failed = || "readers can't be asked to wait".to_owned();
    let normal: String = client.query_one("SHOW lock_timeout", &[]).await.during(failed)?.get(0);
    for attempt in 1.. {
        let start = format!("SAVEPOINT lv_publish; SET LOCAL lock_timeout = '{SWAP_LOCK_MS}ms'");
        client.batch_execute(&start).await.during(failed)?;
        match run().await {
            Ok(()) => break,
            Err(error) if attempt < SWAP_ATTEMPTS_MAX && is_lock_timeout(&error) => {
                let undo = "ROLLBACK TO lv_publish; RELEASE lv_publish";
                client.batch_execute(undo).await.during(failed)?;
                tokio::time::sleep(Duration::from_millis(SWAP_PAUSE_MS)).await;
            }
            Err(error) => return Err(error),
        }
    }
    let end = format!("RELEASE lv_publish; SET LOCAL lock_timeout = '{normal}'");
    client.batch_execute(&end).await.during(failed)
}

fn is_lock_timeout(error: &FlowError) -> bool {
    error.retry == Retry::Later && error.chain().contains(&format!("[{}]", SqlState::LOCK_NOT_AVAILABLE.code()))
}
