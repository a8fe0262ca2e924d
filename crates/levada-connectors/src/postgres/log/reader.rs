//! Reads one stream's change log, pull by pull: whole transactions in the order of their commits.
//!
//! Takes the frames of a slot, gives changes per dataset. Beside it runs what makes a dataset whole that
//! is not yet ([`super::join`]); how each stands, the position remembers. A dataset whose table no longer
//! fits the model, or that has a value without an image, stops alone; the others go on.

use super::join::Window;
use super::lsn::Lsn;
use super::message::{self, Message, Old, Relation, Tuple};
use super::rows::{BadValue, Built, Places, RowsBuilder};
use super::slot;
use super::state::{Join, Moment, Seen, Standing, Standings};
use super::tables::{self, LogTable};
use super::wire::{Frame, LogStream};
use crate::change_log::{Pull, is_same_reading, stopped, to_position};
use crate::postgres::catalog::{self, DatasetPlan};
use crate::postgres::config::{Session, Settings};
use crate::postgres::error::During;
use crate::postgres::quote::TableName;
use levada_flow::canonical::RowHasher;
use levada_flow::source::{Coverage, Held, PullDataset, PullEnd, PullRequest, Pulled, Until};
use levada_flow::{FlowError, Position};
use postgres_types::Type;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How often the catalog and what the server holds are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// How long a dataset stays stopped that its table would let go on: a row may have been corrected.
const TRY_STOPPED_EVERY: Duration = Duration::from_secs(300);

/// How long to wait before asking again what can be seen.
const ASK_AFTER: Duration = Duration::from_millis(50);

/// How long a pull waits for transactions that keep tables from being read, before it ends without them.
const HELD_UP_MAX: Duration = Duration::from_secs(1);

/// How many transactions are remembered before it is asked which of them can be seen.
const UNSEEN_MAX: usize = 10_000;

/// How long a server may be silent, though asked, before its connection counts as lost.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// An open change log.
pub(super) struct LogReader {
    pub(super) settings: Settings,
    /// Of slot and publication.
    name: String,
    /// For the catalog, and for what is read beside the log.
    pub(super) session: Session,
    stream: LogStream,
    waiting: VecDeque<Frame>,
    heard_at: Instant,
    incarnation: String,
    /// What was committed up to here was handed on.
    pub(super) at: Lsn,
    transaction: Option<Transaction>,
    pub(super) datasets: Vec<Dataset>,
    /// Which datasets read a piece of a table, by its object id.
    users: HashMap<u32, Vec<usize>>,
    types: BTreeMap<u32, Type>,
    /// How the log last described a piece, by its object id.
    relations: HashMap<u32, Relation>,
    /// Where the pulls that read up to now end.
    target: Option<Lsn>,
    looked_at: Instant,
    held: Option<Held>,
    held_max: Option<u64>,
    /// What is read beside the log, and not yet through.
    pub(super) window: Option<Window>,
    /// Transactions whose changes a query may not see yet, though the log has told them, or the publication
    /// came too late for them. Nothing is read beside the log before they can be seen.
    unseen: BTreeSet<u32>,
    /// Since when they keep a table from being read.
    held_up_since: Option<Instant>,
    /// When it was last asked.
    asked_at: Instant,
    news: Vec<String>,
}

/// A transaction that has begun.
#[derive(Clone, Copy)]
struct Transaction {
    xid: u32,
    commit: Lsn,
}

/// A dataset that is read by the log.
pub(super) struct Dataset {
    pub(super) wanted: PullDataset,
    /// `None`: its table is not there, or does not fit.
    pub(super) table: Option<(LogTable, DatasetPlan)>,
    pub(super) standing: Standing,
    /// By object id of the piece.
    places: HashMap<u32, Places>,
    builder: Option<RowsBuilder>,
    pub(super) hasher: RowHasher,
    /// What this pull says of it.
    pub(super) coverage: Coverage,
    /// Whether this pull has sent something of it.
    pub(super) is_told: bool,
    /// Whether rows are gone without the log's telling so that this pull has sent: the next one lists the keys.
    pub(super) lists_later: bool,
    /// When it was found that it can't be read on.
    stopped_at: Option<Instant>,
}

impl Dataset {
    fn new(wanted: &PullDataset, standing: Standing) -> Self {
        Self {
            wanted: wanted.clone(),
            table: None,
            standing,
            places: HashMap::new(),
            builder: None,
            hasher: RowHasher::new(&wanted.schema),
            coverage: Coverage::Changes,
            is_told: false,
            lists_later: false,
            stopped_at: None,
        }
    }

    pub(super) fn has_key(&self) -> bool {
        !self.wanted.schema.key().is_empty()
    }

    /// Has it read anew, where a piece of it was not published for a while.
    fn forget_unpublished(&mut self, came: &[u32]) {
        let Some((table, _)) = &self.table else { return };
        let is_known = |piece: &u32| *piece == table.id || self.standing.leaves.contains(piece);
        if !self.standing.layout.is_empty() && came.iter().any(is_known) {
            "was not published".clone_into(&mut self.standing.layout);
        }
    }

    /// Whether a transaction of the log says something of it.
    fn listens_to(&self, transaction: Transaction) -> bool {
        let Standing { join, stopped, seen, .. } = &self.standing;
        let is_skipped = |join: &Join| {
            join.skip_until.is_some_and(|until| transaction.commit.0 < until)
                // Without a key it is read in one piece, later than this.
                || (!self.has_key() && !join.leaves.is_empty())
        };
        stopped.is_none()
            && !join.as_ref().is_some_and(is_skipped)
            && !seen.as_ref().is_some_and(|seen| seen.has(transaction.xid))
    }
}

/// What an opened log goes on from.
pub(super) struct Opening {
    pub(super) settings: Settings,
    pub(super) name: String,
    pub(super) session: Session,
    pub(super) stream: LogStream,
    pub(super) incarnation: String,
    pub(super) at: Lsn,
    pub(super) held_max: Option<u64>,
}

impl LogReader {
    /// Takes an opened log over; the catalog is looked at before anything is read.
    pub(super) async fn new(
        opening: Opening,
        request: &PullRequest,
        mut standings: Standings,
    ) -> Result<Self, FlowError> {
        let Opening { settings, name, session, stream, incarnation, at, held_max } = opening;
        let dataset =
            |wanted: &PullDataset| Dataset::new(wanted, standings.remove(wanted.dataset.as_str()).unwrap_or_default());
        let mut reader = Self {
            settings,
            name,
            session,
            stream,
            waiting: VecDeque::new(),
            heard_at: Instant::now(),
            incarnation,
            at,
            transaction: None,
            datasets: request.datasets.iter().map(dataset).collect(),
            users: HashMap::new(),
            types: BTreeMap::new(),
            relations: HashMap::new(),
            target: None,
            looked_at: Instant::now(),
            held: None,
            held_max,
            window: None,
            unseen: BTreeSet::new(),
            held_up_since: None,
            asked_at: Instant::now(),
            news: Vec::new(),
        };
        reader.look(true).await?;
        // Who has told them, an earlier reader of the stream, is not known.
        reader.mind_open_transactions().await?;
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

    /// Says up to where everything is durable.
    pub(super) fn acknowledge(&self, durable: Lsn) {
        self.stream.acknowledge(durable);
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
        self.held_up_since = None;
        if self.looked_at.elapsed() > LOOK_EVERY {
            self.look(false).await?;
        }
        if request.until == Until::Now && self.target.is_none() {
            self.target = Some(slot::end(&self.session, self.settings.place()).await?);
        }
        loop {
            if self.transaction.is_none() {
                self.join(&mut pull).await?;
                if self.is_over(&pull) {
                    break;
                }
            }
            match self.next_frame(&pull).await? {
                Some(Frame::Data(bytes)) => self.take(&mut pull, bytes).await?,
                Some(Frame::Alive(end)) if self.transaction.is_none() => self.at = self.at.max(end),
                Some(Frame::Alive(_)) | None => {}
            }
        }
        for index in 0..self.datasets.len() {
            self.flush(&mut pull, index).await?;
        }
        Ok(self.end(&pull))
    }

    /// Whether a pull ends between the transactions at hand.
    fn is_over(&self, pull: &Pull<'_>) -> bool {
        if self.window.is_some() {
            return false;
        }
        pull.is_enough(!self.is_behind() || self.is_held_up())
    }

    /// Whether something is left of what there was when the pull, or the one before, began.
    fn is_behind(&self) -> bool {
        self.target.is_some_and(|target| self.at < target) || self.is_joining()
    }

    /// Whether something is still to be read beside the log.
    fn is_joining(&self) -> bool {
        self.datasets.iter().any(|dataset| dataset.standing.join.is_some())
    }

    /// Whether nothing is left but what transactions that are open keep from being read.
    fn is_held_up(&self) -> bool {
        self.target.is_none_or(|target| self.at >= target)
            && self.held_up_since.is_some_and(|since| since.elapsed() >= HELD_UP_MAX)
    }

    /// Notes all transactions that are open.
    async fn mind_open_transactions(&mut self) -> Result<(), FlowError> {
        self.unseen.extend(slot::open_transactions(&self.session, self.settings.place()).await?);
        Ok(())
    }

    /// Asks what a query sees now, and forgets the transactions that it does; gives the snapshot, as
    /// PostgreSQL prints it.
    async fn forget_seen(&mut self) -> Result<String, FlowError> {
        let row = self.session.query_one("SELECT pg_current_snapshot()::text", &[]).await;
        let row = row.during(|| format!("what can be seen at {} is unknown", self.settings.place()))?;
        let snapshot: String = row.get(0);
        let moment = Moment::parse(&snapshot);
        self.unseen.retain(|xid| !moment.has(*xid));
        self.asked_at = Instant::now();
        Ok(snapshot)
    }

    /// The snapshot of the session's transaction, as PostgreSQL prints it; `None`: it lacks some of what the log has told.
    pub(super) async fn whole_snapshot(&mut self) -> Result<Option<String>, FlowError> {
        let snapshot = self.forget_seen().await?;
        if self.unseen.is_empty() {
            self.held_up_since = None;
            return Ok(Some(snapshot));
        }
        self.held_up_since.get_or_insert_with(Instant::now);
        Ok(None)
    }

    /// Whether it is time to ask again.
    pub(super) fn may_ask(&self) -> bool {
        self.held_up_since.is_none() || self.asked_at.elapsed() >= ASK_AFTER
    }

    fn end(&mut self, pull: &Pull<'_>) -> PullEnd {
        let is_behind = pull.until == Until::Now && self.is_behind() && !self.is_held_up();
        if !is_behind {
            self.target = None;
        }
        let all_stopped = self.datasets.iter().enumerate().filter_map(|(index, dataset)| {
            let reason = dataset.standing.stopped.as_ref()?;
            Some((index, stopped(&dataset.wanted, reason)))
        });
        let seen_to_the_end = |seen: &Seen| self.at.0 >= seen.until;
        let all_stopped = all_stopped.collect();
        for dataset in &mut self.datasets {
            dataset.coverage = match &dataset.standing {
                Standing { stopped: Some(_), .. } => Coverage::Nothing,
                Standing { join: Some(_), .. } => Coverage::Part,
                _ => dataset.coverage,
            };
            if dataset.standing.seen.as_ref().is_some_and(seen_to_the_end) {
                dataset.standing.seen = None;
            }
        }
        PullEnd {
            position: self.position(),
            coverage: self.datasets.iter().map(|dataset| dataset.coverage).collect(),
            incarnation: self.incarnation.clone(),
            is_behind,
            stopped: all_stopped,
            held: self.held,
            news: std::mem::take(&mut self.news),
        }
    }

    /// The next frame; `None`: there is none for now, and it is time to look whether the pull is over.
    async fn next_frame(&mut self, pull: &Pull<'_>) -> Result<Option<Frame>, FlowError> {
        if let Some(frame) = self.waiting.pop_front() {
            return Ok(Some(frame));
        }
        let wait = pull.wait(self.is_joining());
        match tokio::time::timeout(wait, self.stream.next()).await {
            Ok(frames) => {
                self.heard_at = Instant::now();
                self.waiting.extend(frames?);
                Ok(self.waiting.pop_front())
            }
            Err(_) if self.heard_at.elapsed() > SILENCE_MAX => {
                let place = self.settings.place();
                Err(FlowError::later(format!("the change log of {place} has been silent for too long")))
            }
            Err(_) => {
                self.stream.ping();
                Ok(None)
            }
        }
    }

    /// Takes one message of the log.
    async fn take(&mut self, pull: &mut Pull<'_>, bytes: bytes::Bytes) -> Result<(), FlowError> {
        let message = message::parse(bytes).map_err(|error| {
            FlowError::never(format!("the change log of {} can't be read", self.settings.place())).because(error)
        })?;
        match message {
            Message::Begin { commit, xid } => self.transaction = Some(Transaction { xid, commit }),
            Message::Commit { end } => {
                self.unseen.extend(self.transaction.take().map(|transaction| transaction.xid));
                self.at = self.at.max(end);
                if self.unseen.len() >= UNSEEN_MAX && self.may_ask() {
                    self.forget_seen().await?;
                }
            }
            Message::Relation(relation) => self.meet(pull, &relation).await?,
            Message::Insert { relation, new } => {
                self.change(pull, relation, |rows, places| rows.insert(places, &new)).await?;
            }
            Message::Update { relation, old, new } => self.update(pull, relation, old.as_ref(), &new).await?,
            Message::Delete { relation, old } => {
                self.change(pull, relation, |rows, places| rows.delete(places, &old)).await?;
            }
            Message::Truncate { relations } => self.truncate(pull, &relations).await?,
            Message::Other => {}
        }
        Ok(())
    }

    async fn update(
        &mut self,
        pull: &mut Pull<'_>,
        relation: u32,
        old: Option<&Old>,
        new: &Tuple,
    ) -> Result<(), FlowError> {
        self.change(pull, relation, |rows, places| rows.update(places, old, new)).await
    }

    /// Appends a change to all datasets that read a table's piece.
    async fn change(
        &mut self,
        pull: &mut Pull<'_>,
        relation: u32,
        append: impl Fn(&mut RowsBuilder, &Places) -> Result<(), BadValue>,
    ) -> Result<(), FlowError> {
        let Some(transaction) = self.transaction else {
            return Err(FlowError::never("the change log has a row outside of every transaction"));
        };
        for at in 0..self.users.get(&relation).map_or(0, Vec::len) {
            let index = self.users[&relation][at];
            let dataset = &mut self.datasets[index];
            if !dataset.listens_to(transaction) {
                continue;
            }
            let Some(places) = dataset.places.get(&relation) else {
                return Err(FlowError::later("the change log has rows of a table that it did not describe"));
            };
            let must_flush = dataset.builder.as_ref().is_some_and(|rows| rows.is_full() || !rows.takes(places));
            if must_flush {
                self.flush(pull, index).await?;
            }
            let dataset = &mut self.datasets[index];
            let places = &dataset.places[&relation];
            let rows = dataset.builder.get_or_insert_with(|| RowsBuilder::new(places));
            match append(rows, places) {
                Ok(()) => pull.count(1),
                Err(BadValue { row, column, problem }) => {
                    let table = &dataset.wanted.table;
                    let reason = format!("table {table}, row {row}: column {column:?} {problem}");
                    self.stop(pull, index, reason).await?;
                }
            }
        }
        Ok(())
    }

    /// Sends what has gathered of a dataset.
    pub(super) async fn flush(&mut self, pull: &mut Pull<'_>, index: usize) -> Result<(), FlowError> {
        let dataset = &mut self.datasets[index];
        let Some(built) = dataset.builder.take().map(|mut rows| rows.finish()).transpose()?.flatten() else {
            return Ok(());
        };
        let Built { rows, kept } = match &dataset.standing.join {
            Some(_) => self.note_in_join(index, built)?,
            None => built,
        };
        if rows.num_rows() > 0 {
            self.datasets[index].is_told = true;
            pull.send(Pulled::Changes { dataset: index, rows, kept }).await?;
        }
        Ok(())
    }

    /// Leaves a dataset where it was before the pull, and stops it.
    pub(super) async fn stop(&mut self, pull: &mut Pull<'_>, index: usize, reason: String) -> Result<(), FlowError> {
        let dataset = &mut self.datasets[index];
        dataset.builder = None;
        dataset.standing.join = None;
        dataset.standing.stopped = Some(reason);
        dataset.stopped_at = Some(Instant::now());
        if self.window.as_ref().is_some_and(|window| window.dataset == index) {
            self.window = None;
        }
        if std::mem::take(&mut self.datasets[index].is_told) {
            pull.send(Pulled::Discard { dataset: index }).await?;
        }
        Ok(())
    }

    /// Takes a description of a table's piece, and compares it with what is known.
    async fn meet(&mut self, pull: &mut Pull<'_>, relation: &Relation) -> Result<(), FlowError> {
        let before = self.relations.insert(relation.id, relation.clone());
        if !self.users.contains_key(&relation.id) || before.is_some_and(|before| before != *relation) {
            // A partition that is new, or a table that was changed.
            self.look_while(pull).await?;
        }
        for column in &relation.columns {
            if !self.types.contains_key(&column.type_id) {
                let found = tables::resolve_type(&self.session, self.settings.place(), column.type_id).await?;
                self.types.extend(found.map(|found| (column.type_id, found)));
            }
        }
        let users = self.users.get(&relation.id).cloned().unwrap_or_default();
        if !users.iter().all(|index| self.place(*index, relation)) {
            self.look_while(pull).await?;
            for index in users {
                if !self.place(index, relation) {
                    self.meet_changed(pull, index, relation).await?;
                }
            }
        }
        Ok(())
    }

    /// Finds a dataset's columns in a table's piece; tells whether they are as the catalog has them.
    fn place(&mut self, index: usize, relation: &Relation) -> bool {
        let dataset = &mut self.datasets[index];
        let Some((table, _)) = &dataset.table else { return false };
        let Ok(places) = Places::find(&dataset.wanted, relation, &self.types) else {
            dataset.places.remove(&relation.id);
            return false;
        };
        let is_same = places.types().all(|(name, found)| table.column_type(name) == Some(found));
        dataset.places.insert(relation.id, places);
        is_same
    }

    /// A table's piece is not as the catalog has it now: the log tells of a time before a change of the
    /// table. What it tells may be less than the table has, so that the table is read anew.
    async fn meet_changed(&mut self, pull: &mut Pull<'_>, index: usize, relation: &Relation) -> Result<(), FlowError> {
        let Some(transaction) = self.transaction else { return Ok(()) };
        if !self.datasets[index].listens_to(transaction) {
            return Ok(());
        }
        let found = Places::find(&self.datasets[index].wanted, relation, &self.types);
        if self.datasets[index].table.is_none() {
            return Ok(());
        }
        let what = found.err().map_or_else(|| "its columns were changed".to_owned(), |misfit| misfit.to_string());
        let end = slot::end(&self.session, self.settings.place()).await?;
        self.restart(pull, index, end, &what).await
    }

    /// Has a dataset read anew, beside the log.
    pub(super) async fn restart(
        &mut self,
        pull: &mut Pull<'_>,
        index: usize,
        end: Lsn,
        what: &str,
    ) -> Result<(), FlowError> {
        self.flush(pull, index).await?;
        if self.window.as_ref().is_some_and(|window| window.dataset == index) {
            self.window = None;
        }
        let dataset = &mut self.datasets[index];
        let Some((table, _)) = &dataset.table else { return Ok(()) };
        let (layout, leaves) = (table.layout(&dataset.wanted), table.leaf_ids());
        dataset.standing.restart(layout, leaves, end);
        dataset.lists_later = dataset.is_told;
        self.news.push(format!("table {}: {what}; it is read anew beside the stream", dataset.wanted.table));
        Ok(())
    }

    /// Takes a TRUNCATE.
    async fn truncate(&mut self, pull: &mut Pull<'_>, relations: &[u32]) -> Result<(), FlowError> {
        let Some(transaction) = self.transaction else { return Ok(()) };
        let of = |relation: &u32| self.users.get(relation).into_iter().flatten().copied();
        let hit: BTreeSet<usize> = relations.iter().flat_map(of).collect();
        for index in hit {
            if !self.datasets[index].listens_to(transaction) {
                continue;
            }
            self.flush(pull, index).await?;
            pull.count(1);
            let dataset = &mut self.datasets[index];
            let is_whole = dataset.standing.leaves.iter().all(|leaf| relations.contains(leaf));
            if is_whole {
                if let Some(window) = self.window.as_mut().filter(|window| window.dataset == index) {
                    window.is_void = true;
                }
                self.datasets[index].is_told = true;
                pull.send(Pulled::Truncated { dataset: index }).await?;
            } else if dataset.has_key() {
                // Only what is left can tell which rows are gone.
                dataset.standing.join.get_or_insert_default();
                dataset.lists_later = dataset.is_told;
                if let Some(window) = self.window.as_mut().filter(|window| window.dataset == index) {
                    window.is_void = true;
                }
            } else {
                let end = slot::end(&self.session, self.settings.place()).await?;
                self.restart(pull, index, end, "a part of it was truncated").await?;
            }
        }
        Ok(())
    }

    /// Looks at the catalog in the middle of a pull.
    async fn look_while(&mut self, pull: &mut Pull<'_>) -> Result<(), FlowError> {
        for index in 0..self.datasets.len() {
            self.flush(pull, index).await?;
        }
        let before: Vec<bool> = self.datasets.iter().map(|dataset| dataset.standing.stopped.is_some()).collect();
        self.look(false).await?;
        for (index, was_stopped) in before.into_iter().enumerate() {
            let dataset = &mut self.datasets[index];
            dataset.lists_later |= dataset.standing.join.is_some() && dataset.is_told;
            let is_stopped_now = dataset.standing.stopped.is_some() && !was_stopped;
            if is_stopped_now && std::mem::take(&mut dataset.is_told) {
                pull.send(Pulled::Discard { dataset: index }).await?;
            }
        }
        // What was read may be of a table that has changed since; it is read again.
        self.window = None;
        Ok(())
    }

    /// Compares what stands in the position with the catalog, dataset by dataset, and sees to the
    /// publication. Nothing may have gathered.
    async fn look(&mut self, is_first: bool) -> Result<(), FlowError> {
        let place = self.settings.place().to_owned();
        self.looked_at = Instant::now();
        let wanted: Vec<PullDataset> = self.datasets.iter().map(|dataset| dataset.wanted.clone()).collect();
        let default_schema = self.settings.default_schema.clone();
        let name_of = |dataset: &PullDataset| TableName::parse(&dataset.table, &default_schema);
        let names: Vec<TableName> = wanted.iter().map(name_of).collect();
        let request = PullRequest::new(levada_model::model::IngestKind::Cdc { wal_max_bytes: None }, wanted, "");
        let plans = catalog::plan_each(&self.session, &place, &default_schema, &request).await?;
        let found = tables::find(&self.session, &place, &names).await?;
        let mut readable = BTreeSet::new();
        let mut findings = Vec::new();
        for ((dataset, name), plan) in self.datasets.iter_mut().zip(&names).zip(plans) {
            let table = found.get(name);
            let problems = match (&plan, table) {
                (Err(problems), _) => problems.clone(),
                (Ok(plan), Some(table)) => table.problems(&dataset.wanted, plan),
                (Ok(_), None) => vec![format!("table {name} does not exist")],
            };
            let had_table = dataset.table.is_some();
            dataset.table = match (table, plan) {
                (Some(table), Ok(plan)) if problems.is_empty() => {
                    readable.insert(name.clone());
                    Some((table.clone(), plan))
                }
                _ => None,
            };
            findings.push((had_table, problems));
        }
        let came = match readable.is_empty() {
            true => Vec::new(),
            false => slot::publish(&self.session, &place, &self.name, &readable).await?,
        };
        if !came.is_empty() {
            // What they have done to the tables that came is in no log.
            self.mind_open_transactions().await?;
        }
        // Whatever is read from now on has everything that was logged up to here.
        let end = slot::end(&self.session, &place).await?;
        for (dataset, (had_table, problems)) in self.datasets.iter_mut().zip(findings) {
            dataset.forget_unpublished(&came);
            let news = compare(dataset, had_table, &problems, end, is_first);
            self.news.extend(news);
        }
        self.users.clear();
        for (index, dataset) in self.datasets.iter().enumerate() {
            for leaf in dataset.table.iter().flat_map(|(table, _)| table.leaf_ids()) {
                self.users.entry(leaf).or_default().push(index);
            }
        }
        self.held = slot::held(&self.session, &place, &self.name, self.held_max).await?;
        match self.held {
            Some(Held { bytes, bytes_max: Some(most) }) if bytes > most => {
                let name = &self.name;
                Err(FlowError::later(format!(
                    "{place} holds {bytes} bytes of its log for slot {name}, and may hold {most}"
                ))
                .hint("the slot is given up, and everything is read anew as a new incarnation"))
            }
            _ => Ok(()),
        }
    }
}

/// Brings a dataset's standing in line with the catalog; tells what has changed.
fn compare(dataset: &mut Dataset, had_table: bool, problems: &[String], end: Lsn, is_first: bool) -> Option<String> {
    let table_name = dataset.wanted.table.clone();
    let Some((table, _)) = &dataset.table else {
        let reason = problems.join("; ");
        dataset.standing.join = None;
        dataset.builder = None;
        let is_new = dataset.standing.stopped.as_ref() != Some(&reason);
        dataset.standing.stopped = Some(reason);
        return is_new.then(|| {
            format!("table {table_name} does not fit the model any more: dataset {} stops", dataset.wanted.dataset)
        });
    };
    let (layout, leaves) = (table.layout(&dataset.wanted), table.leaf_ids());
    let standing = &mut dataset.standing;
    if standing.layout.is_empty() {
        standing.restart(layout, leaves, end);
        return Some(format!("table {table_name} joins the stream: it is read beside it"));
    }
    if standing.stopped.is_some() {
        let rested = dataset.stopped_at.is_none_or(|at| at.elapsed() > TRY_STOPPED_EVERY);
        if had_table && standing.layout == layout && !is_first && !rested {
            return None;
        }
        standing.restart(layout, leaves, end);
        return Some(format!("table {table_name} had stopped: it is read anew beside the stream"));
    }
    if standing.layout != layout {
        standing.restart(layout, leaves, end);
        return Some(format!("table {table_name} was changed: it is read anew beside the stream"));
    }
    if standing.leaves == leaves {
        return None;
    }
    let is_keyless = dataset.wanted.schema.key().is_empty();
    let standing = &mut dataset.standing;
    if is_keyless {
        standing.restart(layout, leaves, end);
        return Some(format!("table {table_name} has other parts: it is read anew beside the stream"));
    }
    let added: Vec<u32> = leaves.iter().filter(|leaf| !standing.leaves.contains(leaf)).copied().collect();
    let join = standing.join.get_or_insert_default();
    if join.leaves.first().is_some_and(|leaf| !leaves.contains(leaf)) {
        join.block = 0;
    }
    join.leaves.retain(|leaf| leaves.contains(leaf));
    join.leaves.extend(added);
    standing.leaves = leaves;
    Some(format!(
        "table {table_name} has other parts: what is new is read beside the stream, and what is gone looked for"
    ))
}
