//! Reads one stream's binary log, pull by pull: whole transactions in the order of their commits.
//!
//! Takes events, gives changes per dataset; `join` reads tables beside. How each dataset stands, the position
//! remembers. One whose table no longer fits the model, or that has a value without an image, stops alone; the
//! others go on.

use super::images::Rows;
use super::join::{CHUNK_ROWS, Window};
use super::place::{Place, Reached};
use super::prepared::{Prepared, PreparedTransactions, Recent, SEEN_AFTER, Users};
use super::rows::ChangesBuilder;
use super::server;
use super::state::{Join, Standing, Standings};
use super::statement::{self, Effect};
use super::stream::{Event, LogStream, Transaction};
use super::tables::{self, LogTable};
use crate::change_log::{Pull, is_same_reading, stopped, to_position};
use crate::mysql::config::{Session, Settings};
use crate::mysql::quote::TableName;
use levada_flow::source::{Coverage, PullDataset, PullEnd, PullRequest, Pulled, Until};
use levada_flow::{FlowError, Position};
use levada_model::fingerprint::fingerprint;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long a dataset stays stopped that its table would let go on: a row may have been corrected.
const TRY_STOPPED_EVERY: Duration = Duration::from_secs(300);

/// How often a log that says nothing is looked at: one that was begun anew stays silent for its old readers.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long a server may be silent before its connection counts as lost; it speaks every second.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// An open binary log.
pub(super) struct LogReader {
    pub(super) settings: Settings,
    /// For the catalog, and for what is read beside the log.
    pub(super) session: Session,
    stream: LogStream,
    heard_at: Instant,
    /// When it was last certain that the log has gone on, or has nothing new.
    looked_at: Instant,
    /// Whether prepared transactions are about, so that a snapshot may lack what the log has told.
    pub(super) sees_prepared: bool,
    /// Until when it may lack what was told before the log was opened.
    pub(super) unsettled_until: Option<Instant>,
    incarnation: String,
    pub(super) at: Reached,
    transaction: Option<Transaction>,
    /// Which datasets the transaction has told something of.
    touched: BTreeSet<usize>,
    pub(super) datasets: Vec<Dataset>,
    users: Arc<Users>,
    prepared: PreparedTransactions,
    /// What is told again behind each chunk.
    pub(super) recent: Recent,
    /// Where the pulls that read up to now end.
    target: Option<Place>,
    /// Before it a pull can't end: a table was read whole there.
    pub(super) whole_at: Option<Place>,
    /// What was read beside the log, and waits for its place.
    pub(super) window: Option<Window>,
    /// How many rows the next chunk asks for.
    pub(super) chunk_rows: usize,
    news: Vec<String>,
}

/// A dataset that is read by the log.
pub(super) struct Dataset {
    wanted: PullDataset,
    /// `None`: its table is not there, or does not fit.
    pub(super) table: Option<LogTable>,
    pub(super) standing: Standing,
    builder: Option<ChangesBuilder>,
    /// The log up to here says nothing new: the table was read whole there.
    pub(super) read_at: Option<Place>,
    /// What this pull says of it.
    pub(super) coverage: Coverage,
    /// Whether this pull has sent something of it.
    pub(super) is_told: bool,
    /// Whether rows are gone without the log's telling so that this pull has sent: the next one lists the keys.
    pub(super) lists_later: bool,
    /// When it was found that it can't be read on.
    stopped_at: Option<Instant>,
    /// Until when a snapshot of it may lack what nobody would tell again.
    pub(super) unsettled_until: Option<Instant>,
}

impl Dataset {
    /// Whether a transaction that begins behind this place says something of it.
    fn listens_at(&self, begin: &Place) -> bool {
        self.standing.stopped.is_none()
            && !self.standing.is_unread
            && self.read_at.as_ref().is_none_or(|read_at| begin >= read_at)
    }

    /// Whether nothing of it was read yet, and something is to be.
    pub(super) fn is_to_be_read(&self) -> bool {
        self.standing.is_unread && self.standing.stopped.is_none()
    }

    /// Whether a snapshot of it may lack what nobody would tell again.
    pub(super) fn is_unsettled(&self) -> bool {
        self.unsettled_until.is_some_and(|until| Instant::now() < until)
    }

    /// Whether something of it is left to be read beside the log.
    pub(super) fn is_joining(&self) -> bool {
        self.is_to_be_read() || (self.standing.join.is_some() && self.standing.stopped.is_none())
    }
}

/// What an opened log goes on from.
pub(super) struct Opening<'s> {
    pub(super) settings: &'s Settings,
    pub(super) session: Session,
    pub(super) incarnation: String,
    pub(super) at: Reached,
    /// Where the log is to be opened.
    pub(super) from: Place,
    pub(super) news: Vec<String>,
}

impl LogReader {
    /// Opens the log; the catalog is looked at before anything is read.
    pub(super) async fn new(
        opening: Opening<'_>,
        request: &PullRequest,
        mut standings: Standings,
    ) -> Result<Self, FlowError> {
        let Opening { settings, session, incarnation, at, from, news } = opening;
        let mut session = session;
        let sees_prepared = server::commits_prepared(&mut session, settings.place()).await?;
        let stream = LogStream::open(settings, server_id(&request.reader), &from).await?;
        let unread = || Standing { is_unread: true, ..Standing::default() };
        let dataset = |wanted: &PullDataset| Dataset {
            wanted: wanted.clone(),
            table: None,
            standing: standings.remove(wanted.dataset.as_str()).unwrap_or_else(unread),
            builder: None,
            read_at: None,
            coverage: Coverage::Changes,
            is_told: false,
            lists_later: false,
            stopped_at: None,
            unsettled_until: None,
        };
        let mut reader = Self {
            settings: settings.clone(),
            session,
            stream,
            heard_at: Instant::now(),
            looked_at: Instant::now(),
            sees_prepared,
            unsettled_until: sees_prepared.then(|| Instant::now() + SEEN_AFTER),
            incarnation,
            at,
            transaction: None,
            touched: BTreeSet::new(),
            datasets: request.datasets.iter().map(dataset).collect(),
            users: Arc::default(),
            prepared: PreparedTransactions::default(),
            recent: Recent::default(),
            target: None,
            whole_at: None,
            window: None,
            chunk_rows: CHUNK_ROWS,
            news,
        };
        for index in 0..reader.datasets.len() {
            // A table that is read whole is looked at then.
            if !reader.datasets[index].is_to_be_read() {
                reader.look(index).await?;
            }
        }
        reader.note_users();
        Ok(reader)
    }

    /// Whether a request goes on where the last pull ended.
    pub(super) fn goes_on(&self, request: &PullRequest) -> bool {
        let is_same = |(dataset, wanted): (&Dataset, &PullDataset)| is_same_reading(&dataset.wanted, wanted);
        self.datasets.len() == request.datasets.len()
            && self.datasets.iter().zip(&request.datasets).all(is_same)
            && request.previous.as_ref().is_some_and(|previous| {
                previous.incarnation == self.incarnation && previous.position == self.position()
            })
    }

    fn position(&self) -> Position {
        to_position(&self.at, self.datasets.iter().map(|dataset| (dataset.wanted.dataset.as_str(), &dataset.standing)))
    }

    /// Reads on until the request says that it is enough.
    pub(super) async fn pull(
        &mut self,
        request: &PullRequest,
        out: &mpsc::Sender<Pulled>,
    ) -> Result<PullEnd, FlowError> {
        let mut pull = Pull::new(out, request.until);
        for dataset in &mut self.datasets {
            (dataset.coverage, dataset.is_told, dataset.lists_later) = (Coverage::Changes, false, false);
        }
        self.try_stopped().await?;
        if request.until == Until::Now && self.target.is_none() {
            self.target = Some(server::end(&mut self.session, self.settings.place()).await?);
            self.looked_at = Instant::now();
            if self.target.as_ref().is_some_and(|target| *target < self.at.place) {
                return Err(self.begun_anew());
            }
        }
        loop {
            if self.transaction.is_none() {
                self.look_at_log().await?;
                self.join(&mut pull).await?;
                if self.is_over(&mut pull) {
                    break;
                }
            }
            let wait = pull.wait(self.is_behind());
            let users = &self.users;
            let wants = |database: &str, table: &str| users.contains_key(&key(database, table));
            match tokio::time::timeout(wait, self.stream.next(wants)).await {
                Ok(heard) => {
                    let heard = heard?;
                    self.heard_at = Instant::now();
                    self.take(&mut pull, heard.event, heard.end).await?;
                }
                Err(_) if self.heard_at.elapsed() > SILENCE_MAX + wait => {
                    let place = self.settings.place();
                    return Err(FlowError::later(format!("the binary log of {place} has been silent for too long")));
                }
                Err(_) => {}
            }
        }
        for index in 0..self.datasets.len() {
            self.flush(&mut pull, index).await?;
        }
        Ok(self.end(&pull))
    }

    /// Looks whether a log that has long said nothing is still the one that is read.
    async fn look_at_log(&mut self) -> Result<(), FlowError> {
        if self.looked_at.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        if server::resume_at(&mut self.session, self.settings.place(), &self.at).await?.is_err() {
            return Err(self.begun_anew());
        }
        self.looked_at = Instant::now();
        Ok(())
    }

    /// Opened again, the log is found to be another one, and everything is read anew.
    fn begun_anew(&self) -> FlowError {
        FlowError::later(format!("the binary log of {} was begun anew behind {}", self.settings.place(), self.at.place))
    }

    /// Whether a pull ends between the transactions at hand.
    fn is_over(&mut self, pull: &mut Pull<'_>) -> bool {
        if let Some(whole_at) = &self.whole_at {
            if self.at.place < *whole_at {
                return false;
            }
            // What was read whole is the state here, and at no later place.
            self.whole_at = None;
            pull.must_end = true;
        }
        // The pull has the list of keys, and what goes with it comes at its place.
        let holds_on = self.window.as_ref().is_some_and(Window::is_keys);
        !holds_on && pull.is_enough(!self.is_behind())
    }

    /// Whether something is left of what there was when the pull, or the one before, began.
    fn is_behind(&self) -> bool {
        self.whole_at.is_some()
            || self.target.as_ref().is_some_and(|target| self.at.place < *target)
            || self.datasets.iter().any(Dataset::is_joining)
    }

    fn end(&mut self, pull: &Pull<'_>) -> PullEnd {
        let is_behind = pull.until == Until::Now && self.is_behind();
        if !is_behind {
            self.target = None;
        }
        for dataset in &mut self.datasets {
            dataset.coverage = match &dataset.standing {
                Standing { stopped: Some(_), .. } => Coverage::Nothing,
                // Read whole, and now a second time.
                Standing { is_unread: false, .. } if dataset.coverage == Coverage::Complete => Coverage::Complete,
                Standing { is_unread: true, .. } | Standing { join: Some(_), .. } => Coverage::Part,
                _ => dataset.coverage,
            };
        }
        let all_stopped = self.datasets.iter().enumerate().filter_map(|(index, dataset)| {
            let reason = dataset.standing.stopped.as_ref()?;
            Some((index, stopped(&dataset.wanted, reason)))
        });
        let all_stopped = all_stopped.collect();
        let coverage = self.datasets.iter().map(|dataset| dataset.coverage).collect();
        let end = PullEnd::new(self.position(), coverage, self.incarnation.clone());
        PullEnd { is_behind, stopped: all_stopped, news: std::mem::take(&mut self.news), ..end }
    }

    /// Takes one event.
    async fn take(&mut self, pull: &mut Pull<'_>, event: Event, end: Option<Place>) -> Result<(), FlowError> {
        let mut ends = false;
        match event {
            Event::Begin(transaction) => {
                if let Some(xid) = transaction.xid.as_ref().filter(|_| transaction.is_prepared) {
                    self.prepared.begin(xid, &self.users);
                }
                self.transaction = Some(transaction);
            }
            Event::Rows(rows) => match self.transaction.as_ref().filter(|transaction| transaction.is_prepared) {
                // They count when another transaction commits them.
                Some(Transaction { xid, .. }) => {
                    let users = self.users.get(&rows.key()).map_or(&[][..], Vec::as_slice);
                    self.prepared.keep(xid.as_deref().unwrap_or_default(), rows, users);
                }
                None => self.change(pull, &Arc::new(rows)).await?,
            },
            Event::Commit | Event::Prepared => ends = true,
            Event::Statement { database, text } => {
                let effect = statement::effect(&text);
                let is_statement = self.transaction.as_ref().is_none_or(|transaction| transaction.is_statement);
                ends = is_statement || matches!(effect, Effect::Commit | Effect::Rollback);
                self.obey(pull, effect, &database, &text).await?;
            }
            Event::Other => {}
        }
        if ends {
            if let Some(transaction) = self.transaction.take() {
                self.at.transaction = Some(transaction.name);
            }
            self.touched.clear();
        }
        if let Some(end) = end.filter(|end| self.transaction.is_none() && *end > self.at.place) {
            self.at.place = end;
            self.looked_at = Instant::now();
        }
        Ok(())
    }

    /// Does what a statement means for the tables that are read.
    async fn obey(&mut self, pull: &mut Pull<'_>, effect: Effect, database: &str, text: &str) -> Result<(), FlowError> {
        let is_prepared = self.transaction.as_ref().is_some_and(|transaction| transaction.is_prepared);
        match effect {
            Effect::Begin | Effect::Commit | Effect::Nothing => return Ok(()),
            _ if is_prepared => {
                self.prepared.spoil(&self.xid());
                return Ok(());
            }
            Effect::CommitsPrepared => return self.commit_prepared(pull).await,
            Effect::UndoesPrepared => {
                self.prepared.end(&self.xid());
                return Ok(());
            }
            _ => {}
        }
        for index in 0..self.datasets.len() {
            let dataset = &self.datasets[index];
            let is_seen = self.window.as_ref().is_some_and(|window| window.dataset == index && window.is_first);
            let is_whole = dataset.read_at.as_ref().is_some_and(|read_at| self.at.place < *read_at);
            if is_seen || is_whole {
                // It was read behind this.
                continue;
            }
            let name = match &dataset.table {
                Some(table) => table.name.clone(),
                None => TableName::parse(&dataset.wanted.table, &self.settings.default_schema),
            };
            let concerns = || statement::concerns(text, database, &name.schema, &name.table);
            let (effect, is_hit) = match effect {
                Effect::Truncate => match statement::truncates(text, database, &name.schema, &name.table) {
                    Some(is_hit) => (effect, is_hit),
                    None => (Effect::Alters, concerns()),
                },
                Effect::Alters => (effect, concerns()),
                Effect::Rollback | Effect::RollbackTo => (effect, self.touched.contains(&index)),
                _ => (effect, false),
            };
            match effect {
                _ if !is_hit => {}
                Effect::Truncate if !dataset.listens_at(&self.at.place) => {}
                Effect::Truncate => {
                    self.flush(pull, index).await?;
                    self.recent.clear(index);
                    pull.count(1);
                    self.datasets[index].is_told = true;
                    pull.send(Pulled::Truncated { dataset: index }).await?;
                }
                _ => {
                    let what = text.split_whitespace().take(6).collect::<Vec<_>>().join(" ");
                    self.restart(pull, index, &format!("{what:?} may have changed it")).await?;
                }
            }
        }
        self.note_users();
        Ok(())
    }

    /// What the application calls the transaction at hand, or the prepared one that it ends.
    fn xid(&self) -> Vec<u8> {
        self.transaction.as_ref().and_then(|transaction| transaction.xid.clone()).unwrap_or_default()
    }

    /// Does what a prepared transaction was to do: its rows are here, or what it may have changed is read anew.
    async fn commit_prepared(&mut self, pull: &mut Pull<'_>) -> Result<(), FlowError> {
        self.sees_prepared = true;
        let prepared = self.prepared.end(&self.xid());
        for index in 0..self.datasets.len() {
            let dataset = &self.datasets[index];
            let table = dataset.table.as_ref().map(|table| key(&table.name.schema, &table.name.table));
            let known = prepared.as_ref().zip(table);
            if known.is_some_and(|(prepared, table)| !prepared.may_touch(index, &table)) {
                continue;
            }
            let window = self.window.as_ref().filter(|window| window.dataset == index);
            let is_seen = window.is_some_and(|window| window.is_first && window.has_rows());
            let is_whole = dataset.read_at.as_ref().is_some_and(|read_at| self.at.place < *read_at);
            let has_rows = prepared.as_ref().is_some_and(|prepared| prepared.has_rows_of(index));
            let dataset = &mut self.datasets[index];
            if is_whole {
                // Who knows whether that snapshot saw it: it is read a second time, in chunks.
                dataset.standing.join = Some(Join::default());
            }
            if is_whole || dataset.standing.is_unread {
                dataset.unsettled_until = Some(Instant::now() + SEEN_AFTER);
            }
            let is_told = is_whole || dataset.standing.is_unread || has_rows;
            if dataset.standing.stopped.is_none() && (is_seen || !is_told) {
                self.restart(pull, index, "a prepared transaction may have changed it").await?;
                self.note_users();
            }
        }
        for rows in prepared.map(Prepared::into_rows).unwrap_or_default() {
            self.change(pull, &rows).await?;
        }
        Ok(())
    }

    /// Appends rows to all datasets that read their table.
    async fn change(&mut self, pull: &mut Pull<'_>, rows: &Arc<Rows>) -> Result<(), FlowError> {
        let users = self.users.get(&rows.key()).cloned().unwrap_or_default();
        for index in users {
            let dataset = &mut self.datasets[index];
            let Some(table) = dataset.table.as_ref().filter(|_| dataset.listens_at(&self.at.place)) else { continue };
            if !rows.is_full || rows.layout.len() != table.width {
                let reason = match rows.is_full {
                    false => "a session has left columns out of the binary log (binlog_row_image)".to_owned(),
                    true => {
                        format!("the binary log has {} columns of it, the catalog {}", rows.layout.len(), table.width)
                    }
                };
                self.restart(pull, index, &reason).await?;
                continue;
            }
            self.touched.insert(index);
            if self.sees_prepared && dataset.standing.join.is_some() {
                self.remember(index, rows);
            }
            self.append(pull, index, rows).await?;
        }
        Ok(())
    }

    /// Keeps rows of a table that is being read, to tell them again behind what is read of it.
    fn remember(&mut self, index: usize, rows: &Arc<Rows>) {
        let is_mine = |window: &mut Window| window.dataset == index;
        if !self.window.as_mut().is_some_and(is_mine) {
            self.recent.forget_seen(index);
        }
        if self.recent.add(index, rows) {
            return;
        }
        // What is being read would lack them; it is read again when nothing is to be told again.
        let dataset = &mut self.datasets[index];
        if self.window.take_if(is_mine).is_some_and(|window| window.is_keys()) {
            dataset.standing.join = Some(Join::default());
            dataset.lists_later = true;
        }
        dataset.unsettled_until = Some(Instant::now() + SEEN_AFTER);
    }

    /// Appends rows to a dataset.
    pub(super) async fn append(&mut self, pull: &mut Pull<'_>, index: usize, rows: &Rows) -> Result<(), FlowError> {
        for (before, after) in &rows.changes {
            if self.datasets[index].builder.as_ref().is_some_and(ChangesBuilder::is_full) {
                self.flush(pull, index).await?;
            }
            let dataset = &mut self.datasets[index];
            let Some(table) = &dataset.table else { break };
            let builder = dataset.builder.get_or_insert_with(|| ChangesBuilder::new(table));
            match builder.append(before.as_ref(), after.as_ref()) {
                Ok(()) => pull.count(1),
                Err(reason) => {
                    self.stop(pull, index, reason).await?;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Sends what has gathered of a dataset.
    pub(super) async fn flush(&mut self, pull: &mut Pull<'_>, index: usize) -> Result<(), FlowError> {
        let dataset = &mut self.datasets[index];
        if let Some(rows) = dataset.builder.take().map(ChangesBuilder::finish).transpose()?.flatten() {
            dataset.is_told = true;
            pull.send(Pulled::Changes { dataset: index, rows, kept: Vec::new() }).await?;
        }
        Ok(())
    }

    /// Leaves a dataset where it was before the pull, and stops it.
    pub(super) async fn stop(&mut self, pull: &mut Pull<'_>, index: usize, reason: String) -> Result<(), FlowError> {
        let dataset = &mut self.datasets[index];
        dataset.builder = None;
        dataset.standing.forget();
        self.recent.clear(index);
        dataset.standing.stopped = Some(reason);
        dataset.stopped_at = Some(Instant::now());
        self.window.take_if(|window| window.dataset == index);
        self.discard_stopped(pull, index).await
    }

    /// Has a dataset read anew, because the log does not tell all of what has happened to it.
    async fn restart(&mut self, pull: &mut Pull<'_>, index: usize, what: &str) -> Result<(), FlowError> {
        self.flush(pull, index).await?;
        self.window.take_if(|window| window.dataset == index);
        let dataset = &mut self.datasets[index];
        dataset.standing.forget();
        dataset.lists_later = dataset.is_told;
        dataset.unsettled_until = self.sees_prepared.then(|| Instant::now() + SEEN_AFTER);
        self.recent.clear(index);
        self.look(index).await?;
        let dataset = &mut self.datasets[index];
        if dataset.standing.stopped.is_none() {
            self.news.push(format!("table {}: {what}; it is read anew", dataset.wanted.table));
        }
        self.discard_stopped(pull, index).await
    }

    /// Takes back what the pull has said of a dataset that has stopped.
    pub(super) async fn discard_stopped(&mut self, pull: &Pull<'_>, index: usize) -> Result<(), FlowError> {
        let dataset = &mut self.datasets[index];
        if dataset.standing.stopped.is_some() && std::mem::take(&mut dataset.is_told) {
            pull.send(Pulled::Discard { dataset: index }).await?;
        }
        Ok(())
    }

    /// Looks again at datasets that have stopped.
    async fn try_stopped(&mut self) -> Result<(), FlowError> {
        let has_rested = |dataset: &Dataset| {
            dataset.standing.stopped.is_some()
                && dataset.stopped_at.is_none_or(|stopped_at| stopped_at.elapsed() > TRY_STOPPED_EVERY)
        };
        for index in 0..self.datasets.len() {
            if has_rested(&self.datasets[index]) {
                self.look(index).await?;
            }
        }
        self.note_users();
        Ok(())
    }

    /// Compares how a dataset stands with the catalog.
    pub(super) async fn look(&mut self, index: usize) -> Result<(), FlowError> {
        let (place, schema) = (self.settings.place().to_owned(), self.settings.default_schema.clone());
        let dataset = &mut self.datasets[index];
        match tables::find(&mut self.session, &place, &schema, &dataset.wanted).await? {
            Ok(table) => {
                let has_stopped = dataset.standing.stopped.take().is_some();
                if table.layout != dataset.standing.layout || has_stopped {
                    dataset.standing.forget();
                    self.recent.clear(index);
                    dataset.lists_later = dataset.is_told;
                }
                dataset.standing.layout.clone_from(&table.layout);
                dataset.table = Some(table);
            }
            Err(problems) => {
                dataset.table = None;
                dataset.builder = None;
                dataset.standing.forget();
                self.recent.clear(index);
                dataset.standing.stopped = Some(problems.join("; "));
                dataset.stopped_at = Some(Instant::now());
            }
        }
        Ok(())
    }

    pub(super) fn note_users(&mut self) {
        let mut users = Users::new();
        for (index, dataset) in self.datasets.iter().enumerate() {
            if let Some(table) = &dataset.table {
                users.entry(key(&table.name.schema, &table.name.table)).or_default().push(index);
            }
        }
        self.users = Arc::new(users);
    }
}

fn key(database: &str, table: &str) -> (String, String) {
    (database.to_owned(), table.to_owned())
}

/// The number of the replica that a stream's reader is: the server ends an earlier one of the same number.
fn server_id(reader: &str) -> u32 {
    let text: String = fingerprint(reader).to_string().chars().take(7).collect();
    // Away from the small numbers that people give.
    0x8000_0000 | u32::from_str_radix(&text, 16).unwrap_or(1)
}
