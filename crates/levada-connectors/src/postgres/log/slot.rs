//! The server's side of a stream: its identity, the publication that says which tables are logged for
//! us, and the slot that keeps the log until it is read. Both bear the reader's name.

use super::lsn::Lsn;
use super::tables::table_list;
use super::wire::ReplicationSession;
use crate::postgres::error::During;
use crate::postgres::quote::{TableName, identifier, literal};
use levada_flow::FlowError;
use levada_flow::source::Held;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_postgres::Client;

/// The oldest server version whose log is read: the first with binary values in it.
const VERSION_MIN: i32 = 140_000;

/// How long somebody else may take to leave our slot.
const LEAVE_TRIES: u32 = 100;
/// The pause between looks.
const LEAVE_PAUSE: Duration = Duration::from_millis(100);

/// Who a server is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Server {
    /// System identifier, timeline and database.
    pub(super) identity: String,
    /// Where the next record goes.
    pub(super) end: Lsn,
}

const SETTINGS: &str = "
    SELECT current_setting('server_version_num')::int, current_setting('wal_level'), pg_is_in_recovery(),
           (SELECT oid::text FROM pg_database WHERE datname = current_database())";

/// Makes sure that the server logs what it takes, and says who it is.
pub(super) async fn server(
    client: &Client,
    replication: &mut ReplicationSession,
    place: &str,
) -> Result<Server, FlowError> {
    let row = client.query_one(SETTINGS, &[]).await.during(|| format!("the settings of {place} can't be read"))?;
    let (version, level, is_standby): (i32, String, bool) = (row.get(0), row.get(1), row.get(2));
    let database: String = row.get(3);
    if version < VERSION_MIN {
        return Err(FlowError::never(format!(
            "the change log of {place} can't be read: it needs PostgreSQL 14 or later"
        ))
        .hint("use ingest kind snapshot or watermark"));
    }
    if level != "logical" {
        return Err(FlowError::never(format!("the server of {place} logs no rows: its wal_level is {level}"))
            .hint("set wal_level = logical and restart the server"));
    }
    if is_standby {
        return Err(FlowError::later(format!("the server of {place} is a standby, and has no change log of its own"))
            .hint("name the primary as the container's host"));
    }
    let answer = replication.query("IDENTIFY_SYSTEM").await?.into_iter().next().unwrap_or_default();
    let [Some(system), Some(timeline), ..] = answer.as_slice() else {
        return Err(FlowError::never(format!("the server of {place} does not say who it is")));
    };
    Ok(Server { identity: format!("{system}/{timeline}/{database}"), end: end(client, place).await? })
}

/// Where the next record goes: whatever a query has seen lies before it.
pub(super) async fn end(client: &Client, place: &str) -> Result<Lsn, FlowError> {
    let row = client.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await;
    let row = row.during(|| format!("the end of the log at {place} can't be found"))?;
    parse(row.get(0)).map(Lsn::end_of_records)
}

/// The transactions that are open, without their epochs: each holds a lock on its own id. A snapshot would not
/// name those that are later than the last one that ended.
pub(super) async fn open_transactions(client: &Client, place: &str) -> Result<Vec<u32>, FlowError> {
    let open = "SELECT transactionid::text::int8 FROM pg_locks WHERE locktype = 'transactionid' AND granted";
    let rows = client.query(open, &[]).await.during(|| format!("the open transactions of {place} can't be found"))?;
    Ok(rows.iter().filter_map(|row| u32::try_from(row.get::<_, i64>(0)).ok()).collect())
}

fn parse(text: &str) -> Result<Lsn, FlowError> {
    text.parse().map_err(|error| FlowError::never("the server named a place that is none").because(error))
}

/// What a publication lacks of these tables and what inherits from them, and whether it has others.
/// Partitions are published with their tables.
const PUBLISHED: &str = "
    WITH RECURSIVE needed AS (
        SELECT c.oid FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN unnest($2::text[], $3::text[]) AS asked(s, t) ON asked.s = n.nspname AND asked.t = c.relname
        UNION
        SELECT c.oid FROM needed
        JOIN pg_inherits i ON i.inhparent = needed.oid
        JOIN pg_class c ON c.oid = i.inhrelid AND NOT c.relispartition
    ), published AS (
        SELECT r.prrelid AS oid FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid WHERE p.pubname = $1
    )
    SELECT ARRAY(SELECT oid FROM needed EXCEPT SELECT oid FROM published),
           EXISTS (SELECT oid FROM published EXCEPT SELECT oid FROM needed)";

/// Makes the publication have these tables, in whatever state it is; gives what came to it.
pub(super) async fn publish(
    client: &Client,
    place: &str,
    name: &str,
    tables: &BTreeSet<TableName>,
) -> Result<Vec<u32>, FlowError> {
    let failed = || format!("publication {name} at {place} can't be looked at");
    let settings = "SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate AND NOT pubviaroot, puballtables \
                    FROM pg_publication WHERE pubname = $1";
    let there = client.query_opt(settings, &[&name]).await.during(failed)?;
    let is_right = there.as_ref().map(|row| row.get::<_, bool>(0));
    let has_all_tables = there.as_ref().is_some_and(|row| row.get(1));
    let schemas: Vec<&str> = tables.iter().map(|table| table.schema.as_str()).collect();
    let names: Vec<&str> = tables.iter().map(|table| table.table.as_str()).collect();
    let row = client.query_one(PUBLISHED, &[&name, &schemas, &names]).await.during(failed)?;
    let (lacking, has_others): (Vec<u32>, bool) = (row.get(0), row.get(1));
    let (quoted, list) = (identifier(name), table_list(tables.iter()));
    let mut statements = Vec::new();
    match is_right {
        None => statements.push(format!("CREATE PUBLICATION {quoted} FOR TABLE {list}")),
        Some(is_right) => {
            if !is_right {
                statements.push(format!(
                    "ALTER PUBLICATION {quoted} SET (publish = 'insert, update, delete, truncate', \
                     publish_via_partition_root = false)"
                ));
            }
            if !has_all_tables && (!lacking.is_empty() || has_others) {
                statements.push(format!("ALTER PUBLICATION {quoted} SET TABLE {list}"));
            }
        }
    }
    for statement in statements {
        let done = client.batch_execute(&statement).await;
        // Somebody else's publication may have more than is read.
        if is_right == Some(true) && lacking.is_empty() {
            continue;
        }
        done.during(|| format!("publication {name} at {place} can't be set up"))
            .map_err(|error| error.hint(format!("whoever owns the tables runs: {statement}")))?;
    }
    Ok(if has_all_tables { Vec::new() } else { lacking })
}

/// Whether there is a publication.
pub(super) async fn is_published(client: &Client, place: &str, name: &str) -> Result<bool, FlowError> {
    let there = "SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = $1)";
    let row = client.query_one(there, &[&name]).await;
    Ok(row.during(|| format!("publication {name} at {place} can't be looked at"))?.get(0))
}

/// How a slot is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Slot {
    /// There is none of that name.
    Missing,
    /// It is there and can't be read: why.
    Unusable(String),
    /// It can be read.
    Ready {
        /// What its reader has called durable.
        confirmed: Lsn,
        /// How much of the log it keeps.
        held_bytes: u64,
    },
}

const SLOT: &str = "
    SELECT slot_type = 'logical' AND plugin = 'pgoutput' AND database = current_database(), wal_status,
           confirmed_flush_lsn::text, greatest(pg_current_wal_lsn() - restart_lsn, 0)::int8, active_pid
    FROM pg_replication_slots WHERE slot_name = $1";

/// Looks at a slot.
pub(super) async fn look(client: &Client, place: &str, name: &str) -> Result<Slot, FlowError> {
    let row = client.query_opt(SLOT, &[&name]).await.during(|| format!("slot {name} at {place} can't be looked at"))?;
    let Some(row) = row else { return Ok(Slot::Missing) };
    let status: Option<String> = row.get(1);
    if !row.get::<_, Option<bool>>(0).unwrap_or(false) {
        return Ok(Slot::Unusable(format!("slot {name} is no slot of pgoutput in this database")));
    }
    if matches!(status.as_deref(), None | Some("lost")) {
        return Ok(Slot::Unusable(format!("the server has thrown away what slot {name} had to keep")));
    }
    match (row.get::<_, Option<&str>>(2), row.get::<_, Option<i64>>(3)) {
        (Some(confirmed), Some(held)) => {
            Ok(Slot::Ready { confirmed: parse(confirmed)?, held_bytes: held.unsigned_abs() })
        }
        _ => Ok(Slot::Unusable(format!("slot {name} keeps nothing"))),
    }
}

/// How much of the log a slot keeps, and how much it may.
pub(super) async fn held(
    client: &Client,
    place: &str,
    name: &str,
    bytes_max: Option<u64>,
) -> Result<Option<Held>, FlowError> {
    Ok(match look(client, place, name).await? {
        Slot::Ready { held_bytes, .. } => Some(Held { bytes: held_bytes, bytes_max }),
        Slot::Missing | Slot::Unusable(_) => None,
    })
}

/// Ends whoever reads a slot: an earlier worker of this stream that lost it without noticing.
pub(super) async fn evict(client: &Client, place: &str, name: &str) -> Result<(), FlowError> {
    let failed = || format!("slot {name} at {place} can't be taken over");
    let reader = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = $1 AND active_pid IS NOT NULL";
    for _ in 0..LEAVE_TRIES {
        let Some(row) = client.query_opt(reader, &[&name]).await.during(failed)? else { return Ok(()) };
        client.query("SELECT pg_terminate_backend($1)", &[&row.get::<_, i32>(0)]).await.during(failed)?;
        tokio::time::sleep(LEAVE_PAUSE).await;
    }
    Err(FlowError::later(format!("slot {name} at {place} is read by somebody who does not leave")))
}

/// Drops a slot, if there is one.
pub(super) async fn drop_slot(client: &Client, place: &str, name: &str) -> Result<(), FlowError> {
    evict(client, place, name).await?;
    let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1";
    client.query(drop, &[&name]).await.during(|| format!("slot {name} at {place} can't be dropped")).map(drop_rows)
}

fn drop_rows(_: Vec<tokio_postgres::Row>) {}

/// Drops a publication, if there is one.
pub(super) async fn unpublish(client: &Client, place: &str, name: &str) -> Result<(), FlowError> {
    let drop = format!("DROP PUBLICATION IF EXISTS {}", identifier(name));
    client.batch_execute(&drop).await.during(|| format!("publication {name} at {place} can't be dropped"))
}

/// A new slot: where its log begins, and the name of the snapshot that is the state there.
pub(super) struct NewSlot {
    pub(super) begin: Lsn,
    pub(super) snapshot: String,
}

/// Makes a slot. The snapshot lasts until the session does something else.
///
/// The server waits for all transactions that are open; that may take as long as they do.
pub(super) async fn create(replication: &mut ReplicationSession, name: &str) -> Result<NewSlot, FlowError> {
    let command = format!("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput EXPORT_SNAPSHOT", identifier(name));
    let answer = replication.query(&command).await.map_err(|error| {
        error.hint("max_replication_slots and max_wal_senders of the server say how many streams may read its log")
    })?;
    match answer.into_iter().next().unwrap_or_default().as_slice() {
        [_, Some(begin), Some(snapshot), ..] => Ok(NewSlot { begin: parse(begin)?, snapshot: snapshot.clone() }),
        _ => Err(FlowError::never(format!("the server made slot {name} without saying where it begins"))),
    }
}

/// The command that streams a slot from a place on.
pub(super) fn start_command(name: &str, from: Lsn) -> String {
    format!(
        "START_REPLICATION SLOT {} LOGICAL {from} (proto_version '1', publication_names {}, binary 'true')",
        identifier(name),
        literal(&identifier(name))
    )
}
