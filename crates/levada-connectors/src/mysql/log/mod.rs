//! MariaDB's change log: the binary log with whole rows, read as a replica reads it.
//!
//! ```text
//! stream ─events→ images ─rows→ reader ─changes→ the pull
//!                                 │ join: tables read beside, at places of the log
//!                                 │ prepared: rows that wait for their commit
//! server: identity, which log is there      tables: the catalog      state: the position
//! ```
//!
//! A table that is new, or was changed, is read beside the log in snapshots whose places in the log the server
//! tells (`Binlog_snapshot_position`): their rows are the state there. The first pull reads all tables so, in
//! one snapshot. Where the log can't be read on, because the server has thrown it away, or is
//! another one than before, everything is read anew, as a new incarnation.

mod charset;
mod images;
mod join;
mod place;
mod prepared;
mod reader;
mod rows;
mod server;
mod state;
mod statement;
mod stream;
mod tables;

use self::place::{Place, Reached};
use self::reader::{LogReader, Opening};
use self::state::Standings;
use super::config::{Session, Settings};
use super::moment::Moment;
use crate::change_log::from_position;
use levada_flow::FlowError;
use levada_flow::source::{PullEnd, PullRequest, Pulled};
use tokio::sync::mpsc;

/// A stream that is read by the binary log.
#[derive(Default)]
pub(super) struct Log {
    reader: Option<LogReader>,
}

impl Log {
    /// Pulls on from where the last pull ended, or from the beginning.
    pub(super) async fn pull(
        &mut self,
        settings: &Settings,
        request: &PullRequest,
        out: &mpsc::Sender<Pulled>,
    ) -> Result<PullEnd, FlowError> {
        let mut reader = match self.reader.take().filter(|reader| reader.goes_on(request)) {
            Some(reader) => reader,
            None => open(settings, request).await?,
        };
        let end = reader.pull(request, out).await?;
        self.reader = Some(reader);
        Ok(end)
    }
}

/// Whether all datasets of a request can be read by the log; every reason at once, why not.
pub(super) async fn inspect(
    session: &mut Session,
    settings: &Settings,
    request: &PullRequest,
) -> Result<(), FlowError> {
    let place = settings.place();
    server::check(session, place).await?;
    if previous(request)?.is_some() {
        // From now on each dataset stops alone.
        return Ok(());
    }
    let mut reasons = Vec::new();
    for dataset in &request.datasets {
        reasons
            .extend(tables::find(session, place, &settings.default_schema, dataset).await?.err().unwrap_or_default());
    }
    match reasons.is_empty() {
        true => Ok(()),
        false => Err(FlowError::never(reasons.join("; ")).hint(super::catalog::correct_hint(place))),
    }
}

/// The last pull, if it was one of the binary log: its incarnation, where it ended, and how each dataset stood.
type LastPull<'r> = (&'r str, Reached, Standings);

fn previous(request: &PullRequest) -> Result<Option<LastPull<'_>>, FlowError> {
    let Some(previous) = &request.previous else { return Ok(None) };
    let read = from_position(&previous.position)?;
    Ok(read.map(|(at, standings)| (previous.incarnation.as_str(), at, standings)))
}

/// Opens the log where the last pull ended, if nothing of it can have been lost, else at its end.
async fn open(settings: &Settings, request: &PullRequest) -> Result<LogReader, FlowError> {
    let place = settings.place();
    let mut session = settings.connect().await?;
    server::check(&mut session, place).await?;
    let server = Moment::identity(&mut session, place, &settings.database).await?;
    let mut news = Vec::new();
    if let Some((incarnation, at, standings)) = previous(request)? {
        match resume_at(&mut session, place, &server, incarnation, &at).await? {
            Ok(from) => {
                let opening = Opening { settings, session, incarnation: incarnation.to_owned(), at, from, news };
                return LogReader::new(opening, request, standings).await;
            }
            Err(reason) => news.push(format!("{reason}: everything is read anew, as a new incarnation")),
        }
    }
    let from = server::end(&mut session, place).await?;
    let transaction = server::transactions(&mut session, &from).await?.into_iter().next();
    let (incarnation, at) = (format!("{server}@{from}"), Reached { place: from.clone(), transaction });
    LogReader::new(Opening { settings, session, incarnation, at, from, news }, request, Standings::new()).await
}

/// Where a log can be read on; else why it can't be.
async fn resume_at(
    session: &mut Session,
    place: &str,
    server: &str,
    incarnation: &str,
    at: &Reached,
) -> Result<Result<Place, String>, FlowError> {
    if incarnation.rsplit_once('@').map(|(before, _)| before) != Some(server) {
        return Ok(Err("the server is another one than before".to_owned()));
    }
    server::resume_at(session, place, at).await
}
