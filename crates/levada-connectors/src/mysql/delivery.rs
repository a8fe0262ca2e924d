//! One delivery: rows, views, grants and marks of all its datasets, exactly once.
//!
//! In MySQL every statement that defines something commits by itself, so that no transaction holds a
//! whole delivery. Two acts of the server are atomic all the same, whatever dies when: the commit of a
//! transaction on rows, and one `RENAME TABLE` over many tables. Each table goes by one of them, and its
//! mark goes with it:
//!
//! - **Changes** are applied to the table in a transaction that also updates its row in
//!   `levada.applied`, which it has locked before and found as expected.
//! - **Everything** is written into a new table beside. The table's comment holds a token, and the row
//!   of `levada.applied` with that token holds the new mark, from the beginning: it counts for nobody as
//!   long as no table of the right name carries its token. The rename swaps rows and mark at once. A
//!   first delivery goes the same way, so that nobody sees an empty table.
//!
//! The order, and what is left where it stops:
//!
//! 1. Take the named locks of all exports of the delivery (`GET_LOCK`) for as long as the session
//!    lives; look at the marks; find out what of views and grants has to change, and refuse where a name
//!    is somebody else's. *Nothing has happened.*
//! 2. Drop what earlier tries left; build beside; stage the changes in temporary tables. *Tables nobody
//!    sees; the next delivery finds them by the rows of `levada.applied` whose token no table carries.*
//! 3. Open the transaction on rows: touch the tables, which from then on can't be renamed, compare token
//!    and locked mark once more, apply, update the marks. *Undone.*
//! 4. Let views whose columns change show only those that the old and the new table have, and rename.
//!    *Views with fewer columns on whole tables.*
//! 5. Commit the rows. *A delivery that both changes tables and swaps others ends here, one round trip
//!    after the swap. Where the server dies between the two, the swapped ones are at the new batch and the
//!    others at the old one, their marks say so, and the next try brings the rest: each table exactly
//!    once, together again with the next try.*
//! 6. Put views and grants, drop views and tables that are gone. *Some views are missing or left; the
//!    next try finds them by comparing with what is there, even where it has no rows to deliver.*
//!
//! Stale workers: a session that renames is the one that holds the named locks, so that a successor
//! waits until the server has ended it; changes are under the row lock of their mark as well. The epoch
//! in the mark then refuses whoever comes back later.
//!
//! Readers: a rename waits for readers and makes new ones wait, at most a second at a time. A reader in
//! a `REPEATABLE READ` transaction that began before a swap and comes to the table after it is told
//! to start again (error 1412), and one that holds a view of a delivery while it asks for another may
//! be the victim of a deadlock (1213): InnoDB can't show it the old table any more. Nobody is shown
//! anything else.

use super::config::{Session, Settings};
use super::error::During;
use super::quote::identifier;
use super::rows::write_rows;
use super::swap::{self, Beside, Publication};
use super::tables::{self, Applied, next_name, physical, physical_names};
use crate::changes::with_times;
use crate::database::{self, WriteColumn, is_same_key};
use futures::StreamExt;
use levada_flow::sink::{Content, Delivered, DeliveredTable, Mark, TableDelivery, fence, fence_epoch};
use levada_flow::{FlowError, RowStream, failpoint};
use levada_model::DataType;
use mysql_async::prelude::Queryable;
use mysql_async::{Params, Value};
use std::collections::{BTreeMap, BTreeSet};

/// How many named locks one question takes.
const LOCKS_AT_ONCE_MAX: usize = 100;

/// How long a delivery waits for another one of the same export.
const LOCK_SECONDS_MAX: u64 = super::config::LOCK_SECONDS_MAX;

/// A dataset whose tables stay and are changed in a transaction.
struct InPlace {
    table: DeliveredTable,
    mark: Mark,
    found: Applied,
    /// The temporary table of its changes, and whether they are of one batch; `None`: no rows.
    stage: Option<(String, bool)>,
}

/// Runs a delivery.
pub(super) async fn deliver(
    settings: &Settings,
    session: &mut Session,
    deliveries: Vec<TableDelivery>,
) -> Result<Delivered, FlowError> {
    deliveries.iter().try_for_each(|delivery| tables::check_names(&delivery.table))?;
    let all: Vec<DeliveredTable> = deliveries.iter().map(|delivery| delivery.table.clone()).collect();
    let all: Vec<&DeliveredTable> = all.iter().collect();
    let place = settings.place();
    lock(session, settings, &all).await?;
    let found = tables::applied(session, &settings.container, &all).await?;
    for (delivery, found) in deliveries.iter().zip(&found) {
        check_mark(delivery, found.mark.as_ref())?;
    }
    let built: BTreeSet<String> = deliveries
        .iter()
        .zip(&found)
        .filter(|(delivery, found)| is_built(&delivery.content, found))
        .flat_map(|(delivery, _)| physical_names(&delivery.table).map(str::to_owned))
        .collect();
    let publication = Publication::plan(session, place, &all, &found, &built).await?;
    publication.clear(session).await?;

    let replaced: Vec<String> = found
        .iter()
        .flat_map(|found| found.tokens.iter().filter(|(name, _)| built.contains(*name)))
        .map(|(_, token)| token.clone())
        .collect();
    let mut work = Work { delivered: Delivered::default(), beside: Vec::new(), in_place: Vec::new() };
    // A transaction can't stay open over a rename in its own session.
    let is_mixed = deliveries.iter().zip(&found).any(|(delivery, found)| !is_built(&delivery.content, found));
    let mut second = if is_mixed && !built.is_empty() { Some(settings.connect().await?) } else { None };
    for (number, (delivery, found)) in deliveries.into_iter().zip(found).enumerate() {
        match is_built(&delivery.content, &found) {
            true => work.build(session, &settings.container, delivery).await?,
            false => work.stage(second.as_mut().unwrap_or(session), number, delivery, found).await?,
        }
    }
    if let Some(second) = &mut second {
        second.work();
        begin(second, place).await?;
    }
    if !work.in_place.is_empty() {
        work.change(second.as_mut().unwrap_or(session), place).await?;
    }
    failpoint("sink.written")?;
    if !work.beside.is_empty() {
        publication.swap(session, &work.beside).await?;
        failpoint("sink.swapped")?;
    }
    if !work.in_place.is_empty() {
        let rows = second.as_mut().unwrap_or(session);
        rows.run("COMMIT", || format!("the delivery to {place} can't be committed")).await?;
        work.drop_stages(rows).await?;
    }
    if let Some(second) = &mut second {
        second.rest();
    }
    work.delivered.unknown_readers = publication.publish(session, &all, &replaced).await?;
    unlock(session, place).await?;
    Ok(work.delivered)
}

/// Takes views, grants, tables and marks away.
pub(super) async fn remove(
    settings: &Settings,
    session: &mut Session,
    gone: &[DeliveredTable],
    epoch: i64,
) -> Result<(), FlowError> {
    let all: Vec<&DeliveredTable> = gone.iter().collect();
    let place = settings.place();
    lock(session, settings, &all).await?;
    let found = tables::applied(session, &settings.container, &all).await?;
    for (table, found) in all.iter().zip(&found) {
        if let Some(mark) = &found.mark {
            fence_epoch(&table.source, mark, epoch)?;
        }
    }
    swap::remove(session, place, &all, &found).await?;
    unlock(session, place).await
}

/// Whether the dataset gets new tables.
fn is_built(content: &Content, found: &Applied) -> bool {
    match content {
        Content::Nothing => false,
        Content::Changes { .. } => found.mark.is_none(),
        Content::Everything { .. } => true,
    }
}

/// Waits for whoever delivers the same exports, and keeps others waiting until the session ends.
async fn lock(session: &mut Session, settings: &Settings, all: &[&DeliveredTable]) -> Result<(), FlowError> {
    let (place, container) = (settings.place(), &settings.container);
    // In one order everywhere, so that two deliveries never wait for each other in a circle.
    let exports: BTreeSet<String> =
        all.iter().map(|table| format!("{}/{container}/{}", table.platform, table.source)).collect();
    let exports: Vec<String> = exports.into_iter().collect();
    for some in exports.chunks(LOCKS_AT_ONCE_MAX) {
        // Left to right; a name of a lock has at most 64 characters.
        let one = format!("GET_LOCK(CONCAT('levada:', SHA1(?)), {LOCK_SECONDS_MAX})");
        let query = format!("SELECT {}", vec![format!("COALESCE({one}, 0)"); some.len()].join(" + "));
        let parameters = some.iter().map(|export| Value::from(export.as_str())).collect();
        let taken: Result<Option<usize>, _> = session.exec_first(&query, Params::Positional(parameters)).await;
        let taken = taken.during(|| format!("no delivery can be started at {place}"))?;
        if taken != Some(some.len()) {
            return Err(FlowError::later(format!("another delivery of the same datasets runs at {place}")));
        }
    }
    begin(session, place).await
}

/// Prepares a session for changing rows.
async fn begin(session: &mut Session, place: &str) -> Result<(), FlowError> {
    let failed = || format!("no delivery can be started at {place}");
    session.run("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", failed).await?;
    // Every name is a whole one, and still MariaDB asks for a database where a statement joins.
    session.run(&format!("USE {}", tables::DATABASE), failed).await
}

async fn unlock(session: &mut Session, place: &str) -> Result<(), FlowError> {
    session.run("DO RELEASE_ALL_LOCKS()", || format!("the delivery at {place} can't be ended")).await
}

fn check_mark(delivery: &TableDelivery, found: Option<&Mark>) -> Result<(), FlowError> {
    let TableDelivery { table, mark, expected, content } = delivery;
    fence(&table.source, found, mark, expected.as_ref())?;
    let is_reshaped = expected.as_ref().is_some_and(|expected| expected.shape != mark.shape);
    match content {
        Content::Changes { .. } if is_reshaped => {
            Err(FlowError::never(format!("{} has another shape now, changes don't fit it", table.source)))
        }
        Content::Nothing if found.is_none() => {
            Err(FlowError::never(format!("{} was never delivered, there is nothing to show", table.source)))
        }
        _ => Ok(()),
    }
}

/// What a delivery does, part by part.
struct Work {
    delivered: Delivered,
    beside: Vec<Beside>,
    in_place: Vec<InPlace>,
}

impl Work {
    /// Fills new tables beside those that they will replace.
    async fn build(
        &mut self,
        session: &mut Session,
        container: &str,
        delivery: TableDelivery,
    ) -> Result<(), FlowError> {
        let TableDelivery { table, content, mark, .. } = delivery;
        match content {
            Content::Nothing => {}
            Content::Everything { live, history, .. } => {
                self.build_one(session, container, (&table, false), &mark, live).await?;
                self.build_one(session, container, (&table, true), &mark, history).await?;
            }
            Content::Changes { rows, times, is_net: _ } => {
                let mut targets = [None, None];
                for (target, is_history) in targets.iter_mut().zip([false, true]) {
                    let name = if is_history { &table.history } else { &table.live };
                    if let Some(name) = name {
                        let token = tables::create_beside(session, container, &table, name, is_history, &mark).await?;
                        *target = Some(next_name(&token));
                        self.beside.push(Beside { name: name.clone(), token });
                    }
                }
                let stage = self.fill_stage(session, 0, &table, rows, &times).await?;
                let failed = || format!("the changes of {} can't be applied", table.source);
                session.run("START TRANSACTION", failed).await?;
                let [live, history] = targets;
                let is_one_batch = times.len() == 1;
                self.delivered.rows += apply(session, &table, live, history, &stage, is_one_batch).await?;
                session.run("COMMIT", failed).await?;
                drop_stage(session, &stage).await?;
            }
        }
        Ok(())
    }

    async fn build_one(
        &mut self,
        session: &mut Session,
        container: &str,
        (table, is_history): (&DeliveredTable, bool),
        mark: &Mark,
        rows: Option<RowStream>,
    ) -> Result<(), FlowError> {
        let name = if is_history { &table.history } else { &table.live };
        let (name, rows) = match (name, rows) {
            (None, _) => return Ok(()),
            (Some(name), Some(rows)) => (name, rows),
            (Some(name), None) => {
                let source = &table.source;
                return Err(FlowError::never(format!("{source} is to be built anew without rows for table {name}")));
            }
        };
        let token = tables::create_beside(session, container, table, name, is_history, mark).await?;
        let mut columns = database::write_columns(&table.schema);
        if is_history {
            columns.push(database::own_column("valid_from", DataType::Timestamptz));
            columns.push(database::own_column("valid_to", DataType::Timestamptz));
        }
        columns.push(database::key_hash_column());
        let target = physical(&next_name(&token));
        let (rows, bytes) = write_rows(session, &table.source.to_string(), &target, &columns, rows).await?;
        self.delivered.rows += rows;
        self.delivered.bytes += bytes;
        self.beside.push(Beside { name: name.clone(), token });
        Ok(())
    }

    /// Prepares what is changed in place.
    async fn stage(
        &mut self,
        session: &mut Session,
        number: usize,
        delivery: TableDelivery,
        found: Applied,
    ) -> Result<(), FlowError> {
        let TableDelivery { table, content, mark, .. } = delivery;
        let stage = match content {
            Content::Changes { rows, times, is_net } => {
                let before = self.delivered.bytes;
                let stage = self.fill_stage(session, number, &table, rows, &times).await?;
                match self.delivered.bytes > before {
                    true => Some((stage, is_net || times.len() == 1)),
                    false => {
                        drop_stage(session, &stage).await?;
                        None
                    }
                }
            }
            _ => None,
        };
        self.in_place.push(InPlace { table, mark, found, stage });
        Ok(())
    }

    /// Writes changes into a temporary table and gives its name.
    async fn fill_stage(
        &mut self,
        session: &mut Session,
        number: usize,
        table: &DeliveredTable,
        rows: RowStream,
        times: &BTreeMap<i64, i64>,
    ) -> Result<String, FlowError> {
        let failed = || format!("the changes of {} can't be staged", table.source);
        let stage = physical(&format!("lv_stage_{number}"));
        let mut columns = database::write_columns(&table.schema);
        let width = columns.len();
        columns.push(database::own_column("lv_at", DataType::Timestamptz));
        columns.push(database::own_column("lv_op", DataType::Int32));
        columns.push(database::key_hash_column());
        let mut definitions = tables::define_stage_columns(&table.schema);
        definitions.extend(
            ["lv_at datetime(6) NOT NULL", "lv_op int NOT NULL", "lv_key_hash binary(16) NOT NULL"].map(str::to_owned),
        );
        let key = tables::identifying(&columns[..width]).join(", ");
        definitions.push(format!("PRIMARY KEY ({key}, lv_at)"));
        drop_stage(session, &stage).await?;
        let create = format!("CREATE TEMPORARY TABLE {stage} ({}) ENGINE = InnoDB", definitions.join(", "));
        session.run(&create, failed).await?;
        let label = table.source.to_string();
        let timed = {
            let (times, source) = (times.clone(), label.clone());
            rows.map(move |batch| with_times(&batch?, width, &times, &source))
        };
        let (_, bytes) = write_rows(session, &label, &stage, &columns, timed).await?;
        self.delivered.bytes += bytes;
        Ok(stage)
    }

    /// Opens the transaction on rows, and does all that belongs into it but its commit.
    async fn change(&mut self, session: &mut Session, place: &str) -> Result<(), FlowError> {
        let failed = || format!("no changes can be made at {place}");
        session.run("START TRANSACTION", failed).await?;
        let names: Vec<String> = self.in_place.iter().flat_map(|part| part.found.tokens.keys().cloned()).collect();
        // A table that a transaction has read can't be renamed or dropped by anybody until it ends.
        for name in &names {
            session.run(&format!("SELECT 1 FROM {} LIMIT 1", physical(name)), failed).await?;
        }
        let there = tables::tokens(session, &names).await?;
        let mut tokens: Vec<&str> =
            self.in_place.iter().flat_map(|part| part.found.tokens.values()).map(String::as_str).collect();
        tokens.sort_unstable();
        let locked = tables::lock_marks(session, &tokens).await?;
        let marks: BTreeMap<&str, Option<Mark>> = tokens.into_iter().zip(locked).collect();
        for part in &self.in_place {
            check_still(part, &there, &marks)?;
        }
        for part in &self.in_place {
            let InPlace { table, mark, found, stage } = part;
            if let Some((stage, is_one_batch)) = stage {
                let (live, history) = (table.live.clone(), table.history.clone());
                self.delivered.rows += apply(session, table, live, history, stage, *is_one_batch).await?;
            }
            for token in found.tokens.values() {
                tables::leave_mark(session, token, table, mark).await?;
            }
        }
        Ok(())
    }

    async fn drop_stages(&self, session: &mut Session) -> Result<(), FlowError> {
        for (stage, _) in self.in_place.iter().filter_map(|part| part.stage.as_ref()) {
            drop_stage(session, stage).await?;
        }
        Ok(())
    }
}

/// Refuses where another worker was here since the marks were looked at.
fn check_still(
    part: &InPlace,
    there: &BTreeMap<String, Option<String>>,
    marks: &BTreeMap<&str, Option<Mark>>,
) -> Result<(), FlowError> {
    let is_same = part.found.tokens.iter().all(|(name, token)| {
        let is_current = there.get(name).is_some_and(|there| there.as_ref() == Some(token));
        let locked = marks.get(token.as_str()).and_then(Option::as_ref);
        // Where the tables don't agree, the one mark over them has an empty shape.
        let is_marked = part.found.mark.as_ref().is_some_and(|mark| mark.shape.is_empty() || locked == Some(mark));
        is_current && is_marked
    });
    match is_same {
        true => Ok(()),
        false => Err(FlowError::later(format!("another worker has delivered {} in between", part.table.source))
            .hint("the next attempt starts from what is there")),
    }
}

/// Applies staged changes to the tables of a dataset; gives how many rows were written.
async fn apply(
    session: &mut Session,
    table: &DeliveredTable,
    live: Option<String>,
    history: Option<String>,
    stage: &str,
    is_one_batch: bool,
) -> Result<u64, FlowError> {
    let columns = database::write_columns(&table.schema);
    let mut statements = Vec::new();
    if let Some(live) = live {
        statements.extend(apply_to_live(&physical(&live), stage, &columns, is_one_batch));
    }
    if let Some(history) = history {
        statements.extend(apply_to_history(&physical(&history), stage, &columns));
    }
    let mut written = 0;
    for statement in statements {
        session.run(&statement, || format!("the changes of {} can't be applied", table.source)).await?;
        written += session.affected_rows();
    }
    Ok(written)
}

async fn drop_stage(session: &mut Session, stage: &str) -> Result<(), FlowError> {
    let drop_stage = format!("DROP TEMPORARY TABLE IF EXISTS {stage}");
    session.run(&drop_stage, || format!("the temporary table {stage} can't be dropped")).await
}

/// Deletes what is gone, inserts or updates the rest; of several changes of a key the last counts.
fn apply_to_live(live: &str, stage: &str, columns: &[WriteColumn], is_one_batch: bool) -> [String; 2] {
    let names: Vec<String> = columns.iter().map(|column| identifier(&column.name)).collect();
    let list = names.join(", ");
    let last = match is_one_batch {
        true => stage.to_owned(),
        false => format!(
            "(SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY lv_key_hash ORDER BY lv_at DESC) AS lv_place \
             FROM {stage}) AS placed WHERE lv_place = 1)"
        ),
    };
    let mut sets: Vec<String> = columns
        .iter()
        .zip(&names)
        .filter(|(column, _)| !column.is_key)
        .map(|(_, name)| format!("{name} = VALUES({name})"))
        .collect();
    if sets.is_empty() {
        sets.push("lv_key_hash = VALUES(lv_key_hash)".to_owned());
    }
    let same = is_same_key("s", "live", &tables::identifying(columns));
    [
        format!("DELETE live FROM {live} AS live JOIN {last} AS s ON {same} WHERE s.lv_op = 2"),
        format!(
            "INSERT INTO {live} ({list}, lv_key_hash) SELECT {list}, lv_key_hash FROM {last} AS s WHERE s.lv_op <> 2 \
             ON DUPLICATE KEY UPDATE {}",
            sets.join(", ")
        ),
    ]
}

/// Closes the open version of each changed key, and adds a version per insert and update.
fn apply_to_history(history: &str, stage: &str, columns: &[WriteColumn]) -> [String; 2] {
    let names: Vec<String> = columns.iter().map(|column| identifier(&column.name)).collect();
    let list = names.join(", ");
    let key = tables::identifying(columns);
    let (same, key) = (is_same_key("s", "history", &key), key.join(", "));
    [
        format!(
            "UPDATE {history} AS history JOIN \
             (SELECT {key}, MIN(lv_at) AS lv_first_at FROM {stage} GROUP BY {key}) AS s ON {same} \
             SET history.valid_to = s.lv_first_at WHERE history.valid_to IS NULL"
        ),
        format!(
            "INSERT INTO {history} ({list}, valid_from, valid_to, lv_key_hash) \
             SELECT {list}, lv_at, lv_next_at, lv_key_hash FROM \
             (SELECT *, LEAD(lv_at) OVER (PARTITION BY {key} ORDER BY lv_at) AS lv_next_at FROM {stage}) AS s \
             WHERE lv_op <> 2"
        ),
    ]
}
