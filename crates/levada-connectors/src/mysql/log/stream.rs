//! A binary log as it comes: takes a connection that asks for it as a replica would, gives events and the
//! places behind them.

use super::images::{Kind, Layout, Rows};
use super::place::{FIRST, Place};
use crate::mysql::config::{self, Settings};
use crate::mysql::error::{During, code, failed};
use futures::StreamExt;
use levada_flow::{FlowError, Retry};
use mysql_async::binlog::events::{Event as Raw, EventData, QueryEvent, RotateEvent};
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStream, BinlogStreamRequest};
use std::collections::HashMap;
use std::sync::Arc;

/// How often the server says that there is nothing new, in nanoseconds.
const HEARTBEAT_NANOS: u64 = 1_000_000_000;

/// What a server says to a user who may not read its log.
const ACCESS_DENIED: u16 = 1045;
const NO_PRIVILEGE: u16 = 1227;

/// MySQL's and MariaDB's types of events, where the driver has no name for them.
mod types {
    pub(super) const QUERY: u8 = 2;
    pub(super) const ROTATE: u8 = 4;
    pub(super) const DESCRIPTION: u8 = 15;
    pub(super) const XID: u8 = 16;
    pub(super) const TABLE_MAP: u8 = 19;
    pub(super) const WRITE_ROWS: [u8; 2] = [23, 30];
    pub(super) const UPDATE_ROWS: [u8; 2] = [24, 31];
    pub(super) const DELETE_ROWS: [u8; 2] = [25, 32];
    pub(super) const XA_PREPARE: u8 = 38;
    pub(super) const MARIADB_GTID: u8 = 162;
    /// Queries and rows that `log_bin_compress` has packed.
    pub(super) const MARIADB_COMPRESSED: std::ops::RangeInclusive<u8> = 165..=171;
}

/// Flags of MariaDB's GTID events.
const STANDALONE: u8 = 1;
const GROUP_COMMIT_ID: u8 = 2;
const PREPARED_XA: u8 = 64;
const COMPLETED_XA: u8 = 128;

/// What happened.
pub(super) enum Event {
    /// A transaction begins.
    Begin(Transaction),
    /// It is there for good.
    Commit,
    /// It is prepared; another one will commit it.
    Prepared,
    Statement {
        /// The session's database.
        database: String,
        text: String,
    },
    Rows(Rows),
    /// Nothing that concerns a table.
    Other,
}

/// A transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Transaction {
    /// As MariaDB names it.
    pub(super) name: String,
    /// Whether it is one statement, and ends with it.
    pub(super) is_statement: bool,
    /// Whether another one commits it.
    pub(super) is_prepared: bool,
    /// How the application calls it: one that is prepared, or ends such a one.
    pub(super) xid: Option<Vec<u8>>,
}

/// An event, and the place behind it where it has one.
pub(super) struct Heard {
    pub(super) event: Event,
    pub(super) end: Option<Place>,
}

/// An open binary log.
pub(super) struct LogStream {
    stream: BinlogStream,
    /// Behind the last event.
    at: Place,
    /// Whether the server has described the log: before that nobody knows whether events end in checksums.
    is_described: bool,
    /// By the table's number in the log.
    layouts: HashMap<u64, Arc<Layout>>,
    thread: config::Thread,
    settings: Settings,
}

impl Drop for LogStream {
    fn drop(&mut self) {
        // The server would go on sending, and keep the files that it sends.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (settings, thread) = (self.settings.clone(), self.thread);
            runtime.spawn(async move { config::kill(&settings, thread).await });
        }
    }
}

impl LogStream {
    /// Asks for the log from a place on, as the replica of this number.
    pub(super) async fn open(settings: &Settings, server_id: u32, from: &Place) -> Result<Self, FlowError> {
        let place = settings.place();
        let failed = || format!("the binary log of {place} can't be read");
        let mut session = settings.connect().await?;
        for setting in [
            // MariaDB tells transactions apart for replicas that know its names of them.
            "SET @mariadb_slave_capability = 4".to_owned(),
            format!("SET @master_heartbeat_period = {HEARTBEAT_NANOS}"),
        ] {
            session.query_drop(setting).await.during(failed)?;
        }
        let request = BinlogStreamRequest::new(server_id).with_filename(from.file.as_bytes()).with_pos(from.position);
        let thread = session.thread();
        let opened = session.into_connection().get_binlog_stream(request).await;
        let stream = opened.map_err(|error| told(place, error))?;
        Ok(Self {
            stream,
            at: from.clone(),
            is_described: false,
            layouts: HashMap::new(),
            thread,
            settings: settings.clone(),
        })
    }

    /// The next event; rows only of tables that are wanted, by database and name. May be dropped while it waits.
    pub(super) async fn next(&mut self, wants: impl Fn(&str, &str) -> bool) -> Result<Heard, FlowError> {
        let Some(event) = self.stream.next().await else {
            return Err(FlowError::later(format!("{} has ended the binary log", self.settings.place())));
        };
        let event = event.map_err(|error| told(self.settings.place(), error))?;
        self.take(&event, wants).map_err(|error| {
            FlowError::never(format!("the binary log of {} can't be read at {}", self.settings.place(), self.at))
                .because(error)
        })
    }

    fn take(&mut self, event: &Raw, wants: impl Fn(&str, &str) -> bool) -> std::io::Result<Heard> {
        let (kind, header) = (event.header().event_type_raw(), event.header());
        if kind == types::ROTATE {
            if !self.is_described {
                // It names the place that was asked for.
                return Ok(Heard { event: Event::Other, end: None });
            }
            let rotate = event.read_event::<RotateEvent<'_>>()?;
            self.at = Place { file: rotate.name().into_owned(), position: rotate.position().max(FIRST) };
            return Ok(Heard { event: Event::Other, end: Some(self.at.clone()) });
        }
        self.is_described |= kind == types::DESCRIPTION;
        let end = self.move_on(header.log_pos());
        let event = match kind {
            types::QUERY => {
                let query = event.read_event::<QueryEvent<'_>>()?;
                Event::Statement { database: query.schema().into_owned(), text: query.query().into_owned() }
            }
            types::XID => Event::Commit,
            types::XA_PREPARE => Event::Prepared,
            types::MARIADB_GTID => Event::Begin(transaction(header.server_id(), event.data())?),
            types::TABLE_MAP => {
                if let Some(EventData::TableMapEvent(map)) = event.read_data()? {
                    match wants(&map.database_name(), &map.table_name()) {
                        true => drop(self.layouts.insert(map.table_id(), Arc::new(Layout::of(&map)?))),
                        false => drop(self.layouts.remove(&map.table_id())),
                    }
                }
                Event::Other
            }
            kind if types::WRITE_ROWS.contains(&kind) => self.rows(event, Kind::Insert)?,
            kind if types::UPDATE_ROWS.contains(&kind) => self.rows(event, Kind::Update)?,
            kind if types::DELETE_ROWS.contains(&kind) => self.rows(event, Kind::Delete)?,
            kind if types::MARIADB_COMPRESSED.contains(&kind) => {
                return Err(std::io::Error::other("its events are compressed (log_bin_compress), which is not read"));
            }
            _ => Event::Other,
        };
        Ok(Heard { event, end })
    }

    fn rows(&self, event: &Raw, kind: Kind) -> std::io::Result<Event> {
        let Some(EventData::RowsEvent(rows)) = event.read_data()? else { return Ok(Event::Other) };
        let Some(layout) = self.layouts.get(&rows.table_id()) else { return Ok(Event::Other) };
        Rows::read(kind, layout, &rows).map(Event::Rows)
    }

    /// Takes the place behind an event, of which the log has the lower 32 bits; none where it lies in no file.
    fn move_on(&mut self, log_pos: u32) -> Option<Place> {
        /// What the log leaves out counts in these.
        const WRAP: u64 = 1 << 32;
        if log_pos == 0 {
            return None;
        }
        let low = u64::from(log_pos);
        let mut position = self.at.position / WRAP * WRAP + low;
        if position < self.at.position && self.at.position - position > WRAP / 2 {
            position += WRAP;
        }
        self.at.position = self.at.position.max(position);
        Some(self.at.clone())
    }
}

/// Sequence number, domain, flags, the number of the group that is committed together, and the application's name.
fn transaction(server_id: u32, data: &[u8]) -> std::io::Result<Transaction> {
    let short = || std::io::Error::other("a GTID event is too short");
    let sequence = data.get(..8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes).ok_or_else(short)?;
    let domain = data.get(8..12).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes).ok_or_else(short)?;
    let flags = *data.get(12).ok_or_else(short)?;
    let rest = if flags & GROUP_COMMIT_ID != 0 { 21 } else { 13 };
    let xid = match flags & (PREPARED_XA | COMPLETED_XA) != 0 {
        true => Some(xid(data.get(rest..).unwrap_or_default()).ok_or_else(short)?),
        false => None,
    };
    Ok(Transaction {
        name: format!("{domain}-{server_id}-{sequence}"),
        is_statement: flags & STANDALONE != 0,
        is_prepared: flags & PREPARED_XA != 0,
        xid,
    })
}

/// A format's number, the lengths of both parts of a name, and the name: all of it, as it tells names apart.
fn xid(data: &[u8]) -> Option<Vec<u8>> {
    let length = 6 + usize::from(*data.get(4)?) + usize::from(*data.get(5)?);
    data.get(..length).map(<[u8]>::to_vec)
}

fn told(place: &str, error: mysql_async::Error) -> FlowError {
    let is_refused = matches!(code(&error), Some(ACCESS_DENIED | NO_PRIVILEGE));
    let told = failed(format!("the binary log of {place} can't be read"), error);
    match is_refused {
        true => told.hint("GRANT REPLICATION SLAVE ON *.* TO this user"),
        // What is gone is found when the log is opened again; then everything is read anew.
        false => FlowError { retry: Retry::Later, ..told },
    }
}
