//! A PostgreSQL database as a producer: snapshots and watermarks by binary COPY, changes by its log
//! ([`super::log`]).
//!
//! One session takes a REPEATABLE READ snapshot and exports it; up to `connections_max` sessions
//! import it and read one table each, largest first, so that all tables of a pull are one
//! consistent state. Where the server has no connection left, fewer sessions do the same.
//!
//! The incarnation is system identifier, timeline and database: a failover or a restored backup
//! is a new one, and so is a database that was dropped and made again. Where a server hides its control data, only the database is known.

use super::catalog::{self, DatasetPlan, WatermarkPlan};
use super::config::{Session, Settings};
use super::copy::{ReadColumn, RowsReader};
use super::error::{During, failed};
use super::log::{self, Beginning, Log};
use super::quote;
use async_trait::async_trait;
use levada_flow::source::{Coverage, PullEnd, PullRequest, Pulled};
use levada_flow::{FlowError, Position, Retry, Secret, Source};
use levada_model::connection::Connection;
use levada_model::model::IngestKind;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// A producer's database.
pub struct PostgresSource {
    settings: Settings,
    session: Option<Session>,
    log: Log,
}

/// Opens a producer's database and makes sure that it lets us in.
///
/// # Errors
/// Nobody answers, or the server refuses user, password or database.
pub async fn open(connection: &Connection, secret: Secret) -> Result<PostgresSource, FlowError> {
    let settings = Settings::new(connection, &secret)?;
    let session = Some(settings.connect().await?);
    Ok(PostgresSource { settings, session, log: Log::default() })
}

#[async_trait]
impl Source for PostgresSource {
    async fn inspect(&mut self, request: &PullRequest) -> Result<(), FlowError> {
        check_kind(request)?;
        let session = self.take_session().await?;
        match request.kind {
            IngestKind::Cdc { .. } => log::inspect(&session, &self.settings, request).await?,
            _ => catalog::plan(&session, self.settings.place(), &self.settings.default_schema, request)
                .await
                .map(drop)?,
        }
        self.session = Some(session);
        Ok(())
    }

    async fn pull(&mut self, request: &PullRequest, out: mpsc::Sender<Pulled>) -> Result<PullEnd, FlowError> {
        check_kind(request)?;
        if let IngestKind::Cdc { .. } = request.kind {
            return match self.log.pull(&self.settings, &mut self.session, request, &out).await? {
                Ok(end) => Ok(end),
                Err(beginning) => self.begin_log(beginning, request, out).await,
            };
        }
        let coordinator = self.take_session().await?;
        let place = self.settings.place().to_owned();
        begin(&coordinator, &place, None).await?;
        let moment = Moment::of(&coordinator, &place).await?;
        let plans = catalog::plan(&coordinator, &place, &self.settings.default_schema, request).await?;
        let previous = match request.position(&moment.incarnation) {
            Some(Position::Watermark { greatest }) => greatest.clone(),
            _ => BTreeMap::new(),
        };
        let mut coverage = Vec::new();
        let mut reads = Vec::new();
        for (index, (dataset, plan)) in request.datasets.iter().zip(plans).enumerate() {
            let since = previous.get(dataset.dataset.as_str());
            coverage.push(match (&plan.watermark, since) {
                (Some(_), Some(_)) if request.finds_deletes => Coverage::UpsertsAndKeys,
                (Some(_), Some(_)) => Coverage::Upserts,
                _ => Coverage::Complete,
            });
            reads.push(Read { index, plan, since: since.cloned(), lists_keys: request.finds_deletes });
        }
        reads.sort_by_key(|read| (-read.plan.pages, read.index));
        let greatest = self.read_all(coordinator, &moment.snapshot, reads, out).await?;
        let position = match request.kind {
            IngestKind::Watermark { .. } => Position::Watermark { greatest: merged(request, previous, greatest) },
            _ => Position::Snapshot { mark: moment.mark },
        };
        Ok(PullEnd::new(position, coverage, moment.incarnation))
    }

    async fn acknowledge(&mut self, position: &Position) -> Result<(), FlowError> {
        // Reading by queries leaves nothing behind at the source.
        self.log.acknowledge(position)
    }

    async fn forget(&mut self, reader: &str) -> Result<(), FlowError> {
        self.log = Log::default();
        let session = self.take_session().await?;
        log::forget(&session, self.settings.place(), reader).await?;
        self.session = Some(session);
        Ok(())
    }
}

impl PostgresSource {
    /// Reads every table as it was where a new slot's log begins.
    async fn begin_log(
        &mut self,
        mut beginning: Beginning,
        request: &PullRequest,
        out: mpsc::Sender<Pulled>,
    ) -> Result<PullEnd, FlowError> {
        let coordinator = self.take_session().await?;
        let place = self.settings.place().to_owned();
        begin(&coordinator, &place, Some(&beginning.snapshot)).await?;
        let plans = catalog::plan_each(&coordinator, &place, &self.settings.default_schema, request).await?;
        let position = beginning.position(&coordinator, &self.settings, request).await?;
        let (mut reads, mut coverage, mut stopped) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (plan, reason)) in plans.into_iter().zip(&beginning.reasons).enumerate() {
            let dataset = &request.datasets[index].dataset;
            coverage.push(if reason.is_some() { Coverage::Nothing } else { Coverage::Complete });
            match (plan, reason) {
                (_, Some(reason)) => stopped.push((index, FlowError::never(format!("dataset {dataset}: {reason}")))),
                (Ok(plan), None) => reads.push(Read { index, plan, since: None, lists_keys: false }),
                (Err(problems), None) => {
                    return Err(FlowError::later(format!(
                        "dataset {dataset} changed meanwhile: {}",
                        problems.join("; ")
                    )));
                }
            }
        }
        reads.sort_by_key(|read| (-read.plan.pages, read.index));
        self.read_all(coordinator, &beginning.snapshot, reads, out).await?;
        let news = beginning.news();
        Ok(PullEnd { news, stopped, ..PullEnd::new(position, coverage, beginning.incarnation) })
    }

    async fn take_session(&mut self) -> Result<Session, FlowError> {
        match self.session.take() {
            Some(session) if !session.is_closed() => Ok(session),
            _ => self.settings.connect().await,
        }
    }

    /// Lets as many sessions as allowed read all tables; gives the greatest watermarks by position.
    async fn read_all(
        &mut self,
        coordinator: Session,
        snapshot: &str,
        reads: Vec<Read>,
        out: mpsc::Sender<Pulled>,
    ) -> Result<BTreeMap<usize, String>, FlowError> {
        let sessions_max = self.settings.connections_max.min(reads.len()).max(1);
        let work = Arc::new(Work { reads: Mutex::new(reads.into()), greatest: Mutex::default() });
        // Dropping the set, on the first failure or a cancelled pull, ends all sessions at once.
        let mut readers = JoinSet::new();
        for _ in 1..sessions_max {
            let (settings, work, out) = (self.settings.clone(), Arc::clone(&work), out.clone());
            let snapshot = snapshot.to_owned();
            readers.spawn(async move {
                let session = match settings.connect().await {
                    Ok(session) => session,
                    // The coordinator reads alone what others can't help with.
                    Err(error) if error.retry == Retry::Later => return Ok(None),
                    Err(error) => return Err(error),
                };
                session
                    .working(async {
                        begin(&session, settings.place(), Some(&snapshot)).await?;
                        work.read(&session, &out).await
                    })
                    .await?;
                Ok(None)
            });
        }
        let own = Arc::clone(&work);
        let lead = readers.spawn(async move {
            coordinator.working(own.read(&coordinator, &out)).await?;
            Ok(Some(coordinator))
        });
        let mut coordinator = None;
        while let Some(joined) = readers.join_next_with_id().await {
            match joined {
                Ok((id, session)) => {
                    let session = session?;
                    if id == lead.id() {
                        coordinator = session;
                    }
                }
                Err(error) => return Err(FlowError::later("a reading task broke off").because(error)),
            }
        }
        // The others have read under the coordinator's snapshot: it ends last.
        let coordinator = coordinator.expect("the lead gives its session back");
        coordinator.batch_execute("COMMIT").await.during(|| "the snapshot can't be ended".to_owned())?;
        self.session = Some(coordinator);
        Ok(std::mem::take(&mut *work.greatest.lock().expect("no reader panics while it holds the lock")))
    }
}

/// One table to read.
struct Read {
    /// In the request.
    index: usize,
    plan: DatasetPlan,
    /// The greatest watermark of the last pull.
    since: Option<String>,
    lists_keys: bool,
}

/// What all sessions of a pull share.
struct Work {
    reads: Mutex<VecDeque<Read>>,
    greatest: Mutex<BTreeMap<usize, String>>,
}

impl Work {
    /// Reads tables until none is left.
    async fn read(&self, session: &Session, out: &mpsc::Sender<Pulled>) -> Result<(), FlowError> {
        loop {
            let next = self.reads.lock().expect("no reader panics while it holds the lock").pop_front();
            let Some(read) = next else { return Ok(()) };
            let index = read.index;
            if let Some(greatest) = read.run(session, out).await? {
                self.greatest.lock().expect("no reader panics while it holds the lock").insert(index, greatest);
            }
        }
    }
}

impl Read {
    /// Sends the rows, and the keys where they are asked for; gives the greatest watermark.
    async fn run(&self, session: &Session, out: &mpsc::Sender<Pulled>) -> Result<Option<String>, FlowError> {
        let DatasetPlan { table, columns, watermark, .. } = &self.plan;
        let greatest = match watermark {
            Some(watermark) => self.greatest(session, watermark).await?,
            None => None,
        };
        let condition = match (watermark, &self.since) {
            (Some(watermark), Some(since)) => newer(watermark, since),
            _ => String::new(),
        };
        let query = format!("SELECT {} FROM {}{condition}", select_list(columns.iter()), table.quoted());
        let mut rows = RowsReader::start(session, &table.to_string(), &query, columns.clone()).await?;
        while let Some(rows) = rows.next().await? {
            send(out, Pulled::Rows { dataset: self.index, rows }).await?;
        }
        if self.lists_keys && watermark.is_some() && self.since.is_some() {
            let keys: Vec<ReadColumn> = columns.iter().filter(|column| column.is_key).cloned().collect();
            let query = format!("SELECT {} FROM {}", select_list(keys.iter()), table.quoted());
            let mut rows = RowsReader::start(session, &table.to_string(), &query, keys).await?;
            while let Some(keys) = rows.next().await? {
                send(out, Pulled::Keys { dataset: self.index, keys }).await?;
            }
        }
        Ok(greatest)
    }

    async fn greatest(&self, session: &Session, watermark: &WatermarkPlan) -> Result<Option<String>, FlowError> {
        let table = &self.plan.table;
        let column = quote::identifier(&watermark.column);
        let query = format!("SELECT max({column})::text FROM {}", table.quoted());
        let row = session.query_one(&query, &[]).await;
        let row = row.during(|| format!("the greatest {:?} of table {table} can't be found", watermark.column))?;
        match row.get::<_, Option<String>>(0) {
            // Nothing could ever be newer.
            Some(word) if matches!(word.as_str(), "infinity" | "Infinity" | "NaN") => {
                Err(FlowError::never(format!("the greatest {:?} of table {table} is {word}", watermark.column))
                    .hint("a watermark pull finds nothing newer than that: correct the row at the source"))
            }
            greatest => Ok(greatest),
        }
    }
}

/// The condition for what may have changed. Rows without a watermark can't be told apart: they are
/// read each time rather than lost.
fn newer(watermark: &WatermarkPlan, since: &str) -> String {
    let column = quote::identifier(&watermark.column);
    let WatermarkPlan { sql_type, overlap, .. } = watermark;
    format!(" WHERE {column} >= ({}::{sql_type}{overlap}) OR {column} IS NULL", quote::literal(since))
}

fn select_list<'c>(columns: impl Iterator<Item = &'c ReadColumn>) -> String {
    columns.map(ReadColumn::select).collect::<Vec<_>>().join(", ")
}

async fn send(out: &mpsc::Sender<Pulled>, pulled: Pulled) -> Result<(), FlowError> {
    out.send(pulled).await.map_err(|_| FlowError::later("nobody takes the rows of the pull any more"))
}

fn check_kind(request: &PullRequest) -> Result<(), FlowError> {
    match request.kind {
        IngestKind::Snapshot | IngestKind::Watermark { .. } | IngestKind::Cdc { .. } => Ok(()),
        _ => Err(FlowError::never("a PostgreSQL database has no files and no topics")),
    }
}

/// Keeps what the last pull knew of datasets that have nothing now.
fn merged(
    request: &PullRequest,
    mut previous: BTreeMap<String, String>,
    greatest: BTreeMap<usize, String>,
) -> BTreeMap<String, String> {
    for (index, value) in greatest {
        previous.insert(request.datasets[index].dataset.as_str().to_owned(), value);
    }
    previous
}

async fn begin(session: &Session, place: &str, snapshot: Option<&str>) -> Result<(), FlowError> {
    let import = snapshot.map(|id| format!("; SET TRANSACTION SNAPSHOT {}", quote::literal(id))).unwrap_or_default();
    let begin = format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY{import}");
    session.batch_execute(&begin).await.during(|| format!("no consistent snapshot can be taken at {place}"))
}

/// One consistent state of the database.
struct Moment {
    /// For other sessions to import.
    snapshot: String,
    /// For people: the transactions that it sees, and the place in the log.
    mark: String,
    incarnation: String,
}

const MOMENT: &str = "
    SELECT pg_export_snapshot(), pg_current_snapshot()::text,
           (SELECT oid::text FROM pg_database WHERE datname = current_database())";

/// System identifier and timeline, and the place in the log. Some hosted servers refuse to tell.
const SERVER: &str = "
    SELECT (SELECT system_identifier::text FROM pg_control_system()) || '/' ||
           CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id::text FROM pg_control_checkpoint())
                ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int::text END,
           CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text";

impl Moment {
    async fn of(session: &Session, place: &str) -> Result<Self, FlowError> {
        let taken = || format!("no consistent snapshot can be taken at {place}");
        let row = session.query_one(MOMENT, &[]).await.during(taken)?;
        let (snapshot, visible, database): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        session.batch_execute("SAVEPOINT lv_server").await.during(taken)?;
        let (server, mark) = match session.query_one(SERVER, &[]).await {
            Ok(row) => (row.get(0), format!("{visible} at {}", row.get::<_, String>(1))),
            Err(error) if error.as_db_error().is_some() => {
                session.batch_execute("ROLLBACK TO lv_server").await.during(taken)?;
                ("unknown".to_owned(), visible)
            }
            Err(error) => return Err(failed(taken(), error)),
        };
        Ok(Self { snapshot, mark, incarnation: format!("{server}/{database}") })
    }
}
