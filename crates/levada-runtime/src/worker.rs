//! The loop: claims due nodes under the caps, runs their jobs, records how they ended.
//!
//! It works in sessions, each under one worker lock: where the lock or the state is lost, everything
//! that runs is aborted, and a new session joins the workers again.

use crate::caps::{self, Caps, JobKey, Permit, job_key};
use crate::jobs::{self, Report, Turn};
use crate::ready::{Candidate, Next, Ready};
use crate::schedule::DAY_US;
use crate::work::Tools;
use crate::{JobError, retry, schedule};
use levada_flow::{FlowError, Retry};
use levada_model::model::TransformTrigger;
use levada_model::{NodeAddress, NodeKind};
use levada_planner::NodeSpec;
use levada_planner::blueprint::IngestOrigin;
use levada_state::nodes::{Completion, HotNode, Outcome, Successor, Wish};
use levada_state::{Fence, Host, StateError};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// How long a claim holds without being renewed, in µs.
const LEASE_US: i64 = 10_000_000;
/// How often claims are renewed.
const RENEW_EVERY: Duration = Duration::from_secs(3);
/// How often the state is asked for due nodes while this process writes nothing.
const POLL_EVERY: Duration = Duration::from_millis(100);
/// The shortest time between two looks at the state.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(4);
/// How often everything that is due is read again: what was made due in the past by somebody else, a row
/// that is another one by now.
const LOOK_AT_ALL_EVERY: Duration = Duration::from_secs(5);
/// How far back a look goes behind the one before, in µs: rows are made due a while before others see it, and
/// the clocks of machines differ.
const LOOK_BACK_US: i64 = 2_000_000;
/// When a row is looked at again that is due and may not start.
const HOLD: Duration = Duration::from_millis(100);
/// How many jobs start together, by one claim.
const START_JOBS_MAX: usize = 256;
/// How long running jobs may go on after a stop, before they are released.
const STOP_AFTER: Duration = Duration::from_secs(8);
/// How many due nodes are read at once.
const DUE_PAGE_ROWS: usize = 4_096;
/// When a row whose calendars never open together is looked at again, in µs.
const NEVER_OPEN_US: i64 = DAY_US;
/// How much older than the joining of a worker a file must be to be swept away, in µs: the clocks
/// of machines and file servers differ.
const SWEEP_GRACE_US: i64 = 60_000_000;
/// The first pause after the state was lost; each further one is twice as long.
const OUTAGE_PAUSE_FIRST: Duration = Duration::from_millis(250);
/// The longest pause while the state is out of reach.
const OUTAGE_PAUSE_MAX: Duration = Duration::from_secs(15);
/// How long the history of runs is kept, in days.
pub const RUNS_KEPT_DAYS: i64 = 90;

/// When a worker ends by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Never.
    Continuous,
    /// It pulls every stream once now, follows all that results, and ends.
    UntilIdle,
    /// It does what is due already, follows all that results, pulls nothing else, and ends.
    UntilDone,
}

/// What a worker tells while it runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// A job has begun that will end; its nodes.
    Started(Vec<NodeAddress>),
    /// A job did what it had to.
    Done(Vec<NodeAddress>, Report),
    /// A job failed; when it is tried again (µs), if it is.
    Failed(Vec<NodeAddress>, String, Option<i64>),
    /// Another worker has taken a job over; what this one did of it counts for nothing.
    TakenOver(Vec<NodeAddress>),
    /// The state is out of reach, and why; told once until it is back. No job goes on meanwhile.
    Waiting(String),
}

/// How a worker's run ended.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ending {
    /// Jobs that did what they had to.
    pub jobs: u64,
    /// Rows they moved.
    pub rows: i64,
    /// Nodes whose retries ended without success, and why.
    pub failed: BTreeMap<NodeAddress, String>,
}

/// One worker process.
pub struct Worker {
    tools: Tools,
    /// Whose rows it runs, and looks at.
    host: Host,
    owner: String,
    jobs_max: usize,
    mode: Mode,
    tell: Box<dyn Fn(Progress) + Send + Sync>,
    caps: Caps,
    running: HashMap<JobKey, Running>,
    /// Until idle: sources that had their one pull.
    pulled: BTreeSet<NodeAddress>,
    /// Until idle: whether the sources were made due for it.
    has_begun: bool,
    /// Until idle: whether transformers on a cron had their one turn.
    has_fired: bool,
    /// The next pause while the state is out of reach; `None`: it is there.
    outage: Option<Duration>,
    /// What is due and has not started.
    ready: Ready,
    /// Rows that are due and may not start, and when they are looked at again.
    held: BTreeMap<NodeAddress, (Instant, HotNode)>,
    /// Rows whose jobs have ended: they may be due again since a moment that looks are behind.
    ended: Vec<NodeAddress>,
    /// When it looked last for what is due, by the machine's clock and, µs, by the worker's; `None`: never.
    looked: Option<(Instant, i64)>,
    /// When it read everything that is due last.
    looked_at_all: Option<Instant>,
    /// The day, since 1970, on which old runs were forgotten last.
    forgot_on: Option<i64>,
    ending: Ending,
}

/// What a running job holds.
struct Running {
    rows: Vec<HotNode>,
    /// Whether it takes the place of no other job, because it has no end.
    is_endless: bool,
    /// Its connections.
    permit: Permit,
}

/// A job that is about to start.
struct Starting {
    key: JobKey,
    rows: Vec<HotNode>,
    permit: Permit,
    is_endless: bool,
}

/// How a session ended.
enum Session {
    /// There is nothing more to do.
    Over,
    /// The worker lock was lost: others may believe that this worker is dead.
    LockLost,
}

/// Where jobs without an end tell what they have done.
type Told = mpsc::UnboundedSender<(NodeAddress, Report)>;

struct Ended {
    key: JobKey,
    started_at: i64,
    result: Result<Report, JobError>,
}

impl Worker {
    /// Makes a worker that runs up to `jobs_max` jobs of a host at once and tells its progress; `owner`
    /// is for people, its leases have a name of their own.
    pub fn new(
        tools: impl Into<Tools>,
        host: Host,
        owner: String,
        jobs_max: usize,
        mode: Mode,
        tell: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Self {
        Self {
            tools: tools.into(),
            host,
            owner: unique(&owner),
            jobs_max,
            mode,
            tell: Box::new(tell),
            caps: Caps::default(),
            running: HashMap::new(),
            pulled: BTreeSet::new(),
            has_begun: false,
            has_fired: false,
            outage: None,
            ready: Ready::default(),
            held: BTreeMap::new(),
            ended: Vec::new(),
            looked: None,
            looked_at_all: None,
            forgot_on: None,
            ending: Ending::default(),
        }
    }

    /// Works until its mode or `stop` ends it; one that works continuously outlives outages of the
    /// state.
    ///
    /// # Errors
    /// Another worker holds the state, or the state fails; jobs' own failures are in the ending.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<Ending, JobError> {
        loop {
            let mut jobs = JoinSet::new();
            let ended = self.session(&mut jobs, &mut stop).await;
            // Whatever still runs has lost its leases, or will; its effects are fenced off.
            jobs.shutdown().await;
            self.running.clear();
            self.caps = Caps::default();
            self.forget_what_is_due();
            match ended {
                Ok(Session::Over) => return Ok(self.ending),
                Ok(Session::LockLost) => self.wait_out("the worker lock was lost".to_owned(), &mut stop).await,
                Err(error) if self.mode == Mode::Continuous && is_outage(&error) => {
                    self.wait_out(error.chain(), &mut stop).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Works under one worker lock.
    async fn session(
        &mut self,
        jobs: &mut JoinSet<Ended>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<Session, JobError> {
        if *stop.borrow() {
            return Ok(Session::Over);
        }
        let before = self.tools.clock.now();
        let mut lock = self.tools.state.take_worker_lock(&self.host).await?;
        // Beside other workers, what is in no manifest may be theirs and on its way.
        if lock.is_alone() {
            self.sweep(before - SWEEP_GRACE_US).await?;
        }
        lock.settle();
        let (told, mut reports) = mpsc::unbounded_channel();
        let told = (self.mode == Mode::Continuous).then_some(told);
        if self.mode == Mode::UntilIdle && !std::mem::replace(&mut self.has_begun, true) {
            self.pull_everything_once().await?;
        }
        let mut renew = tokio::time::interval(RENEW_EVERY);
        let mut writes = self.tools.state.writes();
        while !*stop.borrow() {
            if !lock.is_held() {
                return Ok(Session::LockLost);
            }
            while let Some(ended) = jobs.try_join_next() {
                self.finish(ended).await?;
            }
            self.look(told.is_some()).await?;
            self.start_ready(jobs, told.as_ref()).await?;
            self.forget_old_runs().await?;
            self.outage = None;
            if jobs.is_empty() && self.is_at_its_end().await? {
                break;
            }
            tokio::select! {
                Some(ended) = jobs.join_next() => self.finish(ended).await?,
                Some((node, report)) = reports.recv() => self.take_report(node, report),
                // The state lives as long as this worker; a look needs a place for what it finds.
                _ = writes.changed(), if !self.is_busy() => self.until_next_look().await,
                _ = tokio::time::sleep(POLL_EVERY) => {}
                _ = renew.tick() => self.renew().await?,
                // The sender may be gone; then nobody stops this worker.
                changed = stop.changed() => if changed.is_err() { *stop = never() },
            }
        }
        self.wind_up(jobs).await?;
        Ok(Session::Over)
    }

    /// Pauses before the next session, longer each time, and tells why once.
    async fn wait_out(&mut self, why: String, stop: &mut watch::Receiver<bool>) {
        let pause = match self.outage {
            Some(pause) => pause,
            None => {
                (self.tell)(Progress::Waiting(why));
                OUTAGE_PAUSE_FIRST
            }
        };
        self.outage = Some((pause * 2).min(OUTAGE_PAUSE_MAX));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = stop.changed() => if changed.is_err() { *stop = never() },
        }
    }

    /// Takes away what runs left behind that never committed and was written before `before`, µs.
    async fn sweep(&self, before: i64) -> Result<(), JobError> {
        let wanted: Vec<String> = self.nodes().await?.into_iter().filter_map(|row| row.payload).collect();
        self.tools.work.sweep(before, &wanted).await
    }

    /// Forgets, once a day, the runs that ended too long ago.
    async fn forget_old_runs(&mut self) -> Result<(), StateError> {
        let now = self.tools.clock.now();
        let today = now.div_euclid(DAY_US);
        if self.forgot_on != Some(today) {
            self.tools.state.forget_runs(now - RUNS_KEPT_DAYS * DAY_US).await?;
            self.forgot_on = Some(today);
        }
        Ok(())
    }

    /// The rows of its host.
    async fn nodes(&self) -> Result<Vec<HotNode>, StateError> {
        let mut nodes = self.tools.state.nodes().await?;
        nodes.retain(|row| row.host == self.host);
        Ok(nodes)
    }

    async fn pull_everything_once(&mut self) -> Result<(), StateError> {
        let now = self.tools.clock.now();
        let due: Vec<Successor> = self
            .nodes()
            .await?
            .into_iter()
            .filter(|row| row.wish == Wish::Run && (is_source(row) || row.is_failed))
            .map(|row| Successor { node: row.node.address.clone(), due_at: now, payload: None })
            .collect();
        self.forget_what_is_due();
        self.tools.state.make_due(&due).await
    }

    async fn is_at_its_end(&mut self) -> Result<bool, StateError> {
        Ok(match self.mode {
            Mode::Continuous => false,
            Mode::UntilIdle => self.is_idle().await? && !self.fire_by_hand().await?,
            Mode::UntilDone => self.is_idle().await?,
        })
    }

    /// Fires transformers on a cron once, after everything else has come to rest; tells whether
    /// there were any.
    async fn fire_by_hand(&mut self) -> Result<bool, StateError> {
        if std::mem::replace(&mut self.has_fired, true) {
            return Ok(false);
        }
        let now = self.tools.clock.now();
        let nodes = self.nodes().await?.into_iter().filter(has_cron_trigger);
        let due: Vec<Successor> = nodes
            .map(|row| Successor {
                node: row.node.address.clone(),
                due_at: now,
                payload: Some(jobs::BY_HAND.to_owned()),
            })
            .collect();
        self.tools.state.make_due(&due).await?;
        Ok(!due.is_empty())
    }

    /// Reads everything that is due again at the next look.
    fn forget_what_is_due(&mut self) {
        self.ready.clear();
        self.held.clear();
        self.ended.clear();
        (self.looked, self.looked_at_all) = (None, None);
    }

    /// Waits until the state may be asked again.
    async fn until_next_look(&self) {
        if let Some((at, _)) = self.looked {
            tokio::time::sleep_until((at + LOOK_EVERY_MIN).into()).await;
        }
    }

    /// Reads what has become due since the last look or, now and then, everything that is due.
    async fn look(&mut self, may_go_on: bool) -> Result<(), StateError> {
        let at = Instant::now();
        if self.looked.is_some_and(|(looked, _)| at < looked + LOOK_EVERY_MIN) {
            return Ok(());
        }
        let now = self.tools.clock.now();
        let is_all = self.looked_at_all.is_none_or(|looked| at >= looked + LOOK_AT_ALL_EVERY);
        // While as many run as may, only jobs without an end could start: they are found now and then.
        if self.is_busy() && !(is_all && may_go_on) && self.looked.is_some() {
            return Ok(());
        }
        let since = match self.looked {
            Some((_, looked)) if !is_all => looked.min(now).saturating_sub(LOOK_BACK_US),
            _ => i64::MIN,
        };
        if is_all {
            self.ready.clear();
            self.held.clear();
            self.looked_at_all = Some(at);
        }
        self.looked = Some((at, now));
        let ended = std::mem::take(&mut self.ended);
        if !is_all && !ended.is_empty() {
            let again = self.tools.state.due_among(&ended, now).await?;
            self.take_in(again, now, may_go_on).await?;
        }
        let mut due = self.tools.state.due_since(&self.host, since, now, DUE_PAGE_ROWS);
        while let Some(rows) = due.next_page().await? {
            self.take_in(rows, now, may_go_on).await?;
        }
        Ok(())
    }

    /// Lets due rows wait for their start, but for those that are held.
    async fn take_in(&mut self, rows: Vec<HotNode>, now: i64, may_go_on: bool) -> Result<(), StateError> {
        for row in self.postpone_closed(rows, now).await? {
            if !self.held.contains_key(&row.node.address) {
                self.wait(row, may_go_on);
            }
        }
        Ok(())
    }

    fn wait(&mut self, row: HotNode, may_go_on: bool) {
        let is_endless = may_go_on && self.tools.work.goes_on(&row);
        self.ready.add(row, is_endless);
    }

    /// Starts whatever is ready and has a place and connections, all by one claim.
    async fn start_ready(&mut self, jobs: &mut JoinSet<Ended>, told: Option<&Told>) -> Result<(), StateError> {
        let at = Instant::now();
        let back: Vec<(NodeAddress, (Instant, HotNode))> =
            self.held.extract_if(.., |_, (until, _)| *until <= at).collect();
        back.into_iter().for_each(|(_, (_, row))| self.wait(row, told.is_some()));
        while !self.ready.is_empty() {
            let starting = self.choose();
            if starting.is_empty() {
                return Ok(());
            }
            self.claim_and_start(jobs, starting, told).await?;
        }
        Ok(())
    }

    /// The next jobs that have a place, with their connections.
    fn choose(&mut self) -> Vec<Starting> {
        let mut places = self.jobs_max.saturating_sub(self.ending_jobs());
        let (caps, running) = (&mut self.caps, &self.running);
        let mut starting = Vec::new();
        self.ready.each(|Candidate { key, rows, is_endless }| {
            if starting.len() == START_JOBS_MAX || (places == 0 && !is_endless) {
                return Next::OnlyEndless;
            }
            if running.contains_key(&key) {
                return Next::Go;
            }
            // A log has connections of its own, which the server counts apart.
            let permit = if is_endless { Some(Permit::OF_A_LOG) } else { caps.enter(&rows[0].node) };
            let Some(permit) = permit else { return Next::QueueIsFull };
            places -= usize::from(!is_endless);
            starting.push(Starting { key, rows, permit, is_endless });
            Next::Go
        });
        starting
    }

    /// Whether as many jobs run as may.
    fn is_busy(&self) -> bool {
        self.ending_jobs() >= self.jobs_max
    }

    /// How many jobs run that will end: the others take no place.
    fn ending_jobs(&self) -> usize {
        self.running.values().filter(|running| !running.is_endless).count()
    }

    /// Takes what a job without an end has done so far.
    fn take_report(&mut self, node: NodeAddress, report: Report) {
        self.ending.rows += report.rows;
        for (address, error) in &report.failed {
            (self.tell)(Progress::Failed(vec![address.clone()], error.clone(), None));
        }
        if !report.news.is_empty() {
            (self.tell)(Progress::Done(vec![node], report));
        }
    }

    /// Moves rows whose calendars are closed to their next opening; gives the others.
    async fn postpone_closed(&self, rows: Vec<HotNode>, now: i64) -> Result<Vec<HotNode>, StateError> {
        let (open, closed): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| schedule::may_run(&row.node, now));
        let until = |row: &HotNode| {
            schedule::next_open(schedule::calendars(&row.node), now).unwrap_or(now.saturating_add(NEVER_OPEN_US))
        };
        let closed: Vec<(HotNode, i64)> = closed.into_iter().map(|row| (row.clone(), until(&row))).collect();
        if !closed.is_empty() {
            self.tools.state.postpone(&closed).await?;
        }
        Ok(open)
    }

    /// Whether a due row's turn is now.
    async fn may_start(&self, row: &HotNode, now: i64) -> Result<bool, StateError> {
        if self.mode == Mode::UntilDone && is_source(row) {
            return Ok(false);
        }
        if self.pulled.contains(&row.node.address) || !schedule::may_run(&row.node, now) {
            return Ok(false);
        }
        // A transformer waits until its last output is committed, so that no run replaces another's;
        // one that can't be committed is replaced.
        if row.node.address.kind() == NodeKind::Transform {
            for (output, _) in self.tools.state.lower(&row.node.address).await? {
                let output = self.tools.state.node(&output).await?;
                if output.is_some_and(|it| it.lease.is_some() || (it.due_at.is_some() && !it.is_failed)) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Claims the rows of jobs that are chosen and starts those that it gets. Those that may not start yet
    /// are held for a while.
    async fn claim_and_start(
        &mut self,
        jobs: &mut JoinSet<Ended>,
        chosen: Vec<Starting>,
        told: Option<&Told>,
    ) -> Result<(), StateError> {
        let started_at = self.tools.clock.now();
        let mut starting = Vec::with_capacity(chosen.len());
        for mut job in chosen {
            let mut may_start = Vec::with_capacity(job.rows.len());
            for row in std::mem::take(&mut job.rows) {
                self.ready.remove(&row.node.address);
                match self.may_start(&row, started_at).await? {
                    true => may_start.push(row),
                    false => {
                        self.held.insert(row.node.address.clone(), (Instant::now() + HOLD, row));
                    }
                }
            }
            job.rows = may_start;
            match job.rows.is_empty() {
                true => self.caps.leave(&job.permit),
                false => starting.push(job),
            }
        }
        let addresses: Vec<NodeAddress> =
            starting.iter().flat_map(|job| &job.rows).map(|row| row.node.address.clone()).collect();
        let claimed = self.tools.state.claim(&self.owner, started_at, started_at + LEASE_US, &addresses).await?;
        let mut claimed: HashMap<NodeAddress, HotNode> =
            claimed.into_iter().map(|row| (row.node.address.clone(), row)).collect();
        for job in starting {
            let rows = job.rows.iter().filter_map(|row| claimed.remove(&row.node.address)).collect();
            self.start(jobs, job, rows, started_at, told).await?;
        }
        Ok(())
    }

    async fn start(
        &mut self,
        jobs: &mut JoinSet<Ended>,
        job: Starting,
        claimed: Vec<HotNode>,
        started_at: i64,
        told: Option<&Told>,
    ) -> Result<(), StateError> {
        let Starting { key, permit, is_endless, .. } = job;
        // An `apply` between looking and claiming may have made another job of a row.
        let is_same = |row: &HotNode| {
            job_key(row) == key
                && (is_endless == (told.is_some() && self.tools.work.goes_on(row)))
                && (is_endless || caps::container(&row.node) == permit.container.as_ref())
        };
        let (claimed, strays): (Vec<_>, Vec<_>) = claimed.into_iter().partition(is_same);
        self.release(strays).await?;
        if claimed.is_empty() {
            self.caps.leave(&permit);
            return Ok(());
        }
        if !is_endless {
            (self.tell)(Progress::Started(claimed.iter().map(|row| row.node.address.clone()).collect()));
        }
        let (work, rows, connections_max) = (Arc::clone(&self.tools.work), claimed.clone(), permit.connections);
        let turn = Turn { started_at, connections_max, told: told.cloned() };
        self.running.insert(key.clone(), Running { rows: claimed, is_endless, permit });
        jobs.spawn(async move {
            // A panic is our bug; it ends this job, not the worker.
            let job = tokio::spawn(async move { work.run(&rows, &turn).await });
            let result = match AbortOnDrop(job).await {
                Ok(result) => result,
                Err(error) => Err(FlowError::never("this job ran into a bug of Levada").because(error).into()),
            };
            Ended { key, started_at, result }
        });
        Ok(())
    }

    async fn finish(&mut self, ended: Result<Ended, tokio::task::JoinError>) -> Result<(), StateError> {
        let Ok(Ended { key, started_at, result }) = ended else { return Ok(()) };
        let Running { rows, permit, .. } = self.running.remove(&key).expect("a job that ends was running");
        self.caps.leave(&permit);
        let addresses: Vec<NodeAddress> = rows.iter().map(|row| row.node.address.clone()).collect();
        self.ended.extend(addresses.iter().cloned());
        if self.mode == Mode::UntilIdle {
            self.pulled.extend(rows.iter().filter(|row| is_source(row)).map(|row| row.node.address.clone()));
        }
        match result {
            Ok(report) => {
                self.ending.jobs += 1;
                self.ending.rows += report.rows;
                addresses.iter().for_each(|address| drop(self.ending.failed.remove(address)));
                for (address, error) in &report.failed {
                    self.ending.failed.insert(address.clone(), error.clone());
                    (self.tell)(Progress::Failed(vec![address.clone()], error.clone(), None));
                }
                (self.tell)(Progress::Done(addresses, report));
            }
            Err(JobError::State(StateError::Fenced { .. })) => {
                (self.tell)(Progress::TakenOver(addresses));
            }
            Err(error) => self.record_failure(rows, addresses, started_at, &error).await?,
        }
        Ok(())
    }

    async fn record_failure(
        &mut self,
        rows: Vec<HotNode>,
        addresses: Vec<NodeAddress>,
        started_at: i64,
        error: &JobError,
    ) -> Result<(), StateError> {
        let now = self.tools.clock.now();
        let mut again = None;
        for row in rows {
            let outcome = retry::after_failure(error.retry(), row.attempt, error.chain(), now);
            let address = row.node.address.clone();
            let mut successors = Vec::new();
            match &outcome {
                Outcome::Retry { at, .. } => {
                    again = Some(*at);
                    self.pulled.remove(&address);
                }
                _ => {
                    self.ending.failed.insert(address.clone(), error.chain());
                    successors = self.triggers_behind(&address, now).await?;
                }
            }
            let completion = Completion {
                started_at,
                outcome,
                next_due_at: Some(schedule::turn_after_failure(&row.node, now)),
                memory: None,
                successors,
                rows: 0,
                bytes: 0,
            };
            self.complete(Fence { node: address, epoch: row.epoch }, completion, now).await?;
        }
        (self.tell)(Progress::Failed(addresses, error.chain(), again));
        Ok(())
    }

    /// Records an end, unless another worker has taken over.
    async fn complete(&self, fence: Fence, completion: Completion, now: i64) -> Result<(), StateError> {
        match self.tools.state.complete(&fence, completion, now).await {
            Err(StateError::Fenced { .. }) => Ok(()),
            ended => ended,
        }
    }

    /// Gives rows back that were claimed and not run to their end.
    async fn release(&self, rows: Vec<HotNode>) -> Result<(), StateError> {
        let now = self.tools.clock.now();
        for row in rows {
            let completion = Completion {
                started_at: now,
                outcome: Outcome::Released,
                next_due_at: None,
                memory: None,
                successors: Vec::new(),
                rows: 0,
                bytes: 0,
            };
            self.complete(Fence { node: row.node.address.clone(), epoch: row.epoch }, completion, now).await?;
        }
        Ok(())
    }

    /// A trigger that waited for an export goes on when the export's retries have ended.
    async fn triggers_behind(&self, address: &NodeAddress, now: i64) -> Result<Vec<Successor>, StateError> {
        if address.kind() != NodeKind::Export {
            return Ok(Vec::new());
        }
        let lower = self.tools.state.lower(address).await?;
        Ok(lower
            .into_iter()
            .filter(|(_, is_self)| !is_self)
            .map(|(node, _)| Successor { node, due_at: now, payload: None })
            .collect())
    }

    async fn renew(&mut self) -> Result<(), StateError> {
        let now = self.tools.clock.now();
        let rows = self.running.values().flat_map(|running| &running.rows);
        let nodes: Vec<NodeAddress> = rows.map(|row| row.node.address.clone()).collect();
        if !nodes.is_empty() {
            self.tools.state.renew(&self.owner, &nodes, now + LEASE_US).await?;
        }
        // Whatever another worker left when it died is free again.
        if self.tools.state.expire_leases(&self.host, now).await? > 0 {
            self.looked_at_all = None;
        }
        Ok(())
    }

    /// Whether nothing is left to follow: nothing due, no retry to wait for.
    async fn is_idle(&self) -> Result<bool, StateError> {
        let now = self.tools.clock.now();
        for row in self.nodes().await? {
            let Some(due_at) = row.due_at else { continue };
            let is_retry = row.attempt > 0 && !row.is_failed;
            if (is_retry || due_at <= now) && self.may_start(&row, now).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Lets running jobs end for a while, then gives the rest back.
    async fn wind_up(&mut self, jobs: &mut JoinSet<Ended>) -> Result<(), StateError> {
        self.renew().await?;
        let deadline = tokio::time::Instant::now() + STOP_AFTER;
        while self.running.values().any(|running| !running.is_endless) {
            let Ok(Some(ended)) = tokio::time::timeout_at(deadline, jobs.join_next()).await else { break };
            self.finish(ended).await?;
        }
        jobs.shutdown().await;
        let left: Vec<HotNode> = self.running.drain().flat_map(|(_, running)| running.rows).collect();
        self.release(left).await
    }
}

/// Whether a row pulls from a producer.
fn is_source(row: &HotNode) -> bool {
    matches!(&row.node.spec, NodeSpec::Ingest(spec) if matches!(spec.origin, IngestOrigin::Container { .. }))
}

fn has_cron_trigger(row: &HotNode) -> bool {
    matches!(&row.node.spec, NodeSpec::Trigger(spec) if matches!(spec.trigger, TransformTrigger::Cron(_)))
}

/// Whether the state or the store may be back a moment later.
fn is_outage(error: &JobError) -> bool {
    matches!(error, JobError::State(_) | JobError::Store(_)) && error.retry() == Retry::Later
}

/// A name that no other worker has: process ids come again, in a container at every start.
fn unique(owner: &str) -> String {
    // Every `RandomState` of a process hashes with another key, drawn from the system's randomness.
    format!("{owner}/{:016x}", RandomState::new().hash_one(owner))
}

/// A stop that never comes.
fn never() -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    // The receiver outlives its sender on purpose; a leaked sender keeps `changed` pending.
    std::mem::forget(sender);
    receiver
}

/// Ends a task when whoever waits for it is dropped.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(context)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_workers_of_one_name_never_hold_each_other_s_leases() {
        assert_ne!(unique("1@pod"), unique("1@pod"));
        assert!(unique("1@pod").starts_with("1@pod/"));
    }
}
