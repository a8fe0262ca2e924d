//! PostgreSQL's change log: logical replication by `pgoutput`, in its binary form.
//!
//! ```text
//! wire ─frames→ message ─rows→ reader ─changes→ the pull
//!                               │ join: what is read beside the log
//! slot: identity, publication, slot      tables: the catalog      state: the position
//! ```
//!
//! The first pull makes a publication and a slot, and reads all tables at the moment where the slot's log
//! begins (the slot's exported snapshot); every other one goes on from the last place that was committed.
//! Where that is not possible, because the slot is gone or was moved on, or the server is another one than
//! before, it begins again as a new incarnation; what is stored is compared with what is read then.

mod join;
mod lsn;
mod message;
mod reader;
mod render;
mod rows;
mod slot;
mod state;
mod tables;
mod wire;

use self::lsn::Lsn;
use self::reader::{LogReader, Opening};
use self::slot::Slot;
use self::state::{Standing, Standings};
use self::wire::ReplicationSession;
use super::catalog;
use super::config::{Session, Settings};
use super::quote::TableName;
use crate::change_log::{from_position, to_position};
use levada_flow::source::{Previous, PullDataset, PullEnd, PullRequest, Pulled};
use levada_flow::{FlowError, Position};
use levada_model::model::IngestKind;
use std::collections::BTreeSet;
use tokio::sync::mpsc;

/// A stream that is read by the change log.
#[derive(Default)]
pub(super) struct Log {
    reader: Option<LogReader>,
}

/// What has to be read, to begin with: every table, as it was where the log begins.
pub(super) struct Beginning {
    /// The snapshot to read it by.
    pub(super) snapshot: String,
    /// Where the log begins.
    at: Lsn,
    pub(super) incarnation: String,
    /// Keeps the snapshot while it is read.
    _replication: ReplicationSession,
    /// By dataset why it can't be read; the others are.
    pub(super) reasons: Vec<Option<String>>,
    news: Vec<String>,
}

/// How a pull can go on.
enum Way {
    From(Box<LogReader>),
    /// From the beginning, and why.
    Anew(Option<String>),
}

impl Log {
    /// Pulls on from where the last pull ended; `None`: it can't, and begins anew.
    pub(super) async fn pull(
        &mut self,
        settings: &Settings,
        session: &mut Option<Session>,
        request: &PullRequest,
        out: &mpsc::Sender<Pulled>,
    ) -> Result<Result<PullEnd, Beginning>, FlowError> {
        let mut reader = match self.reader.take().filter(|reader| reader.goes_on(request)) {
            Some(reader) => reader,
            None => match resume(settings, session, request).await? {
                Way::From(reader) => *reader,
                Way::Anew(reason) => return begin(settings, session, request, reason).await.map(Err),
            },
        };
        let end = reader.pull(request, out).await?;
        self.reader = Some(reader);
        Ok(Ok(end))
    }

    /// Says up to where everything is durable.
    pub(super) fn acknowledge(&self, position: &Position) -> Result<(), FlowError> {
        if let (Some(reader), Some((at, _))) = (&self.reader, from_position::<Lsn, Standing>(position)?) {
            reader.acknowledge(at);
        }
        Ok(())
    }
}

/// Whether all datasets of a request can be read by the log; every reason at once, why not.
pub(super) async fn inspect(session: &Session, settings: &Settings, request: &PullRequest) -> Result<(), FlowError> {
    if previous(request)?.is_some() {
        // From now on each dataset stops alone.
        return Ok(());
    }
    let reasons: Vec<String> = reasons(session, settings, request).await?.into_iter().flatten().collect();
    match reasons.is_empty() {
        true => Ok(()),
        false => Err(FlowError::never(reasons.join("; ")).hint(catalog::correct_hint(settings.place()))),
    }
}

/// By dataset why it can't be read by the log.
async fn reasons(
    session: &Session,
    settings: &Settings,
    request: &PullRequest,
) -> Result<Vec<Option<String>>, FlowError> {
    let (place, names) = (settings.place(), names(settings, request));
    let plans = catalog::plan_each(session, place, &settings.default_schema, request).await?;
    let tables = tables::find(session, place, &names).await?;
    let reason = |((dataset, name), plan): ((&PullDataset, &TableName), Result<_, Vec<String>>)| {
        let problems = match (plan, tables.get(name)) {
            (Err(problems), _) => problems,
            (Ok(plan), Some(table)) => table.problems(dataset, &plan),
            (Ok(_), None) => vec![format!("table {name} does not exist")],
        };
        (!problems.is_empty()).then(|| problems.join("; "))
    };
    Ok(request.datasets.iter().zip(&names).zip(plans).map(reason).collect())
}

fn names(settings: &Settings, request: &PullRequest) -> Vec<TableName> {
    let name = |dataset: &PullDataset| TableName::parse(&dataset.table, &settings.default_schema);
    request.datasets.iter().map(name).collect()
}

/// The last pull, where it ended, and how each dataset stood there.
type LastPull<'r> = (&'r Previous, Lsn, Standings);

/// The last pull, if it was one of the change log.
fn previous(request: &PullRequest) -> Result<Option<LastPull<'_>>, FlowError> {
    let Some(previous) = &request.previous else { return Ok(None) };
    Ok(from_position(&previous.position)?.map(|(at, standings)| (previous, at, standings)))
}

/// The identity of the server in an incarnation, without where the slot's log began.
fn server_of(incarnation: &str) -> &str {
    incarnation.split('@').next().unwrap_or_default()
}

async fn taken(settings: &Settings, session: &mut Option<Session>) -> Result<Session, FlowError> {
    match session.take().filter(|session| !session.is_closed()) {
        Some(session) => Ok(session),
        None => settings.connect().await,
    }
}

fn wal_max(request: &PullRequest) -> Option<u64> {
    match request.kind {
        IngestKind::Cdc { wal_max_bytes } => wal_max_bytes,
        _ => None,
    }
}

/// Opens the log where the last pull ended, if nothing of it can have been lost.
async fn resume(settings: &Settings, session: &mut Option<Session>, request: &PullRequest) -> Result<Way, FlowError> {
    let Some((previous, at, standings)) = previous(request)? else { return Ok(Way::Anew(None)) };
    let (place, name) = (settings.place(), &request.reader);
    let own = taken(settings, session).await?;
    let mut replication = ReplicationSession::connect(settings).await?;
    let server = slot::server(&own, &mut replication, place).await?;
    let slot = slot::look(&own, place, name).await?;
    let (incarnation, held_max) = (previous.incarnation.clone(), wal_max(request));
    if let Some(reason) = why_anew(&server, &incarnation, at, &slot, held_max) {
        *session = Some(own);
        return Ok(Way::Anew(Some(reason)));
    }
    // The server refuses to tell what was changed while there was none.
    let must_be_published = standings.values().any(|standing| standing.stopped.is_none());
    if must_be_published && !slot::is_published(&own, place, name).await? {
        *session = Some(own);
        return Ok(Way::Anew(Some("the publication is gone".to_owned())));
    }
    slot::evict(&own, place, name).await?;
    let stream = replication.start(&slot::start_command(name, at), at).await?;
    let opening =
        Opening { settings: settings.clone(), name: name.clone(), session: own, stream, incarnation, at, held_max };
    Ok(Way::From(Box::new(LogReader::new(opening, request, standings).await?)))
}

/// Why a log can't be read on.
fn why_anew(server: &slot::Server, incarnation: &str, at: Lsn, slot: &Slot, held_max: Option<u64>) -> Option<String> {
    if server.identity != server_of(incarnation) {
        return Some("the server is another one than before, or was failed over or restored".to_owned());
    }
    if server.end < at.end_of_records() {
        return Some("the server's log ends before what was read of it: it was restored".to_owned());
    }
    match slot {
        Slot::Missing => Some("the slot is gone".to_owned()),
        Slot::Unusable(reason) => Some(reason.clone()),
        Slot::Ready { confirmed, .. } if *confirmed > at => {
            Some("somebody has moved the slot on, behind what was read".to_owned())
        }
        Slot::Ready { held_bytes, .. } => {
            let most = held_max.filter(|most| held_bytes > most)?;
            Some(format!("the server held {held_bytes} bytes of its log, and may hold {most}: the slot was given up"))
        }
    }
}

/// Makes a new slot, and gives what is to be read before its log.
async fn begin(
    settings: &Settings,
    session: &mut Option<Session>,
    request: &PullRequest,
    reason: Option<String>,
) -> Result<Beginning, FlowError> {
    let (place, name) = (settings.place(), &request.reader);
    let own = taken(settings, session).await?;
    let mut replication = ReplicationSession::connect(settings).await?;
    let server = slot::server(&own, &mut replication, place).await?;
    slot::drop_slot(&own, place, name).await?;
    let (names, reasons) = (names(settings, request), reasons(&own, settings, request).await?);
    let readable = names.into_iter().zip(&reasons).filter(|(_, reason)| reason.is_none());
    let readable: BTreeSet<TableName> = readable.map(|(name, _)| name).collect();
    if !readable.is_empty() {
        slot::publish(&own, place, name, &readable).await?;
    }
    let new = slot::create(&mut replication, name).await?;
    *session = Some(own);
    let news = reason.map(|reason| format!("{reason}: everything is read anew, as a new incarnation"));
    Ok(Beginning {
        snapshot: new.snapshot,
        at: new.begin,
        incarnation: format!("{}@{}", server.identity, new.begin),
        _replication: replication,
        reasons,
        news: news.into_iter().collect(),
    })
}

impl Beginning {
    /// The position behind it, for tables whose catalog is read under its snapshot.
    pub(super) async fn position(
        &self,
        session: &Session,
        settings: &Settings,
        request: &PullRequest,
    ) -> Result<Position, FlowError> {
        let names = names(settings, request);
        let tables = tables::find(session, settings.place(), &names).await?;
        let standing = |((dataset, name), stopped): ((&PullDataset, &TableName), &Option<String>)| {
            let table = tables.get(name)?;
            let (layout, leaves) = (table.layout(dataset), table.leaf_ids());
            let standing = Standing { layout, leaves, stopped: stopped.clone(), ..Standing::default() };
            Some((dataset.dataset.to_string(), standing))
        };
        let datasets = request.datasets.iter().zip(&names).zip(&self.reasons);
        let standings: Vec<_> = datasets.filter_map(standing).collect();
        Ok(to_position(&self.at, standings.iter().map(|(name, standing)| (name.as_str(), standing))))
    }

    /// What somebody should know.
    pub(super) fn news(&mut self) -> Vec<String> {
        std::mem::take(&mut self.news)
    }
}

/// Takes away slot and publication.
pub(super) async fn forget(session: &Session, place: &str, name: &str) -> Result<(), FlowError> {
    slot::drop_slot(session, place, name).await?;
    slot::unpublish(session, place, name).await
}
