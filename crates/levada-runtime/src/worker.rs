//! The loop: claims due nodes under the caps, runs their jobs, records how they ended.
//!
//! It works in sessions, each under one worker lock: where the lock or the state is lost, everything
//! that runs is aborted, and a new session joins the workers again.

use crate::caps::{self, Caps, JobKey, Permit, job_key};
use crate::jobs::{self, Report, Turn};
use crate::schedule::DAY_US;
use crate::{JobError, Runtime, retry, schedule};
use levada_flow::{FlowError, Retry};
use levada_model::model::TransformTrigger;
use levada_model::{NodeAddress, NodeKind};
use levada_planner::NodeSpec;
use levada_planner::blueprint::IngestOrigin;
use levada_state::nodes::{Completion, HotNode, Outcome, Successor, Wish};
use levada_state::{Fence, Host, StateError};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// How long a claim holds without being renewed, in µs.
const LEASE_US: i64 = 10_000_000;
/// How often claims are renewed.
const RENEW_EVERY: Duration = Duration::from_secs(3);
/// How often the state is asked for due nodes while nothing ends.
const POLL_EVERY: Duration = Duration::from_millis(100);
/// How long running jobs may go on after a stop, before they are released.
const STOP_AFTER: Duration = Duration::from_secs(8);
/// How often what is due is looked at while as many jobs run as may.
const LOOK_BUSY_EVERY: Duration = Duration::from_secs(1);
/// How many due nodes are looked at at once.
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
    runtime: Runtime,
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
    /// When it looked last for what is due while as many jobs ran as may.
    looked_busy_at: Option<std::time::Instant>,
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
        runtime: Runtime,
        host: Host,
        owner: String,
        jobs_max: usize,
        mode: Mode,
        tell: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Self {
        Self {
            runtime,
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
            looked_busy_at: None,
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
        let before = self.runtime.clock.now();
        let mut lock = self.runtime.state.take_worker_lock(&self.host).await?;
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
        while !*stop.borrow() {
            if !lock.is_held() {
                return Ok(Session::LockLost);
            }
            self.start_due(jobs, told.as_ref()).await?;
            self.forget_old_runs().await?;
            self.outage = None;
            if jobs.is_empty() && self.is_at_its_end().await? {
                break;
            }
            tokio::select! {
                Some(ended) = jobs.join_next() => self.finish(ended).await?,
                Some((node, report)) = reports.recv() => self.take_report(node, report),
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
        self.runtime.store.sweep(before).await?;
        let wanted: Vec<String> = self.nodes().await?.into_iter().filter_map(|row| row.payload).collect();
        jobs::sweep_staging(&self.runtime.staging, &wanted, before);
        Ok(())
    }

    /// Forgets, once a day, the runs that ended too long ago.
    async fn forget_old_runs(&mut self) -> Result<(), StateError> {
        let now = self.runtime.clock.now();
        let today = now.div_euclid(DAY_US);
        if self.forgot_on != Some(today) {
            self.runtime.state.forget_runs(now - RUNS_KEPT_DAYS * DAY_US).await?;
            self.forgot_on = Some(today);
        }
        Ok(())
    }

    /// The rows of its host.
    async fn nodes(&self) -> Result<Vec<HotNode>, StateError> {
        let mut nodes = self.runtime.state.nodes().await?;
        nodes.retain(|row| row.host == self.host);
        Ok(nodes)
    }

    async fn pull_everything_once(&self) -> Result<(), StateError> {
        let now = self.runtime.clock.now();
        let due: Vec<Successor> = self
            .nodes()
            .await?
            .into_iter()
            .filter(|row| row.wish == Wish::Run && (is_source(row) || row.is_failed))
            .map(|row| Successor { node: row.node.address, due_at: now, payload: None })
            .collect();
        self.runtime.state.make_due(&due).await
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
        let now = self.runtime.clock.now();
        let nodes = self.nodes().await?.into_iter().filter(has_cron_trigger);
        let due: Vec<Successor> = nodes
            .map(|row| Successor { node: row.node.address, due_at: now, payload: Some(jobs::BY_HAND.to_owned()) })
            .collect();
        self.runtime.state.make_due(&due).await?;
        Ok(!due.is_empty())
    }

    async fn start_due(&mut self, jobs: &mut JoinSet<Ended>, told: Option<&Told>) -> Result<(), StateError> {
        // While as many run as may, only jobs without an end could start; they are looked for now and then.
        let is_time = self.looked_busy_at.is_none_or(|at| at.elapsed() >= LOOK_BUSY_EVERY);
        if self.is_busy() && (told.is_none() || !is_time) {
            return Ok(());
        }
        self.looked_busy_at = self.is_busy().then(std::time::Instant::now);
        let now = self.runtime.clock.now();
        let mut due = self.runtime.state.due(&self.host, now, DUE_PAGE_ROWS);
        // Rows that may not start, however many there are, keep no others from it.
        while let Some(rows) = due.next_page().await? {
            let rows = self.postpone_closed(rows, now).await?;
            self.start_page(jobs, told, rows, now).await?;
            if self.is_busy() {
                break;
            }
        }
        Ok(())
    }

    /// Whether as many jobs run as may, those without an end not counted.
    fn is_busy(&self) -> bool {
        self.running.values().filter(|running| !running.is_endless).count() >= self.jobs_max
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
            self.runtime.state.postpone(&closed).await?;
        }
        Ok(open)
    }

    async fn start_page(
        &mut self,
        jobs: &mut JoinSet<Ended>,
        told: Option<&Told>,
        rows: Vec<HotNode>,
        now: i64,
    ) -> Result<(), StateError> {
        let mut groups: Vec<(JobKey, Vec<HotNode>)> = Vec::new();
        let mut positions: HashMap<JobKey, usize> = HashMap::new();
        for row in rows {
            if !self.may_start(&row, now).await? {
                continue;
            }
            let key = job_key(&row);
            let position = *positions.entry(key.clone()).or_insert_with(|| {
                groups.push((key, Vec::new()));
                groups.len() - 1
            });
            groups[position].1.push(row);
        }
        for (key, rows) in groups {
            let is_endless = told.is_some() && jobs::goes_on(&rows[0]);
            if self.running.contains_key(&key) || (self.is_busy() && !is_endless) {
                continue;
            }
            // A log has connections of its own, which the server counts apart.
            let permit = if is_endless { Some(Permit::OF_A_LOG) } else { self.caps.enter(&rows[0].node) };
            if let Some(permit) = permit {
                let told = told.cloned();
                self.start(jobs, key, rows, permit, told).await?;
            }
        }
        Ok(())
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
            for (output, _) in self.runtime.state.lower(&row.node.address).await? {
                let output = self.runtime.state.node(&output).await?;
                if output.is_some_and(|it| it.lease.is_some() || (it.due_at.is_some() && !it.is_failed)) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    async fn start(
        &mut self,
        jobs: &mut JoinSet<Ended>,
        key: JobKey,
        rows: Vec<HotNode>,
        permit: Permit,
        told: Option<Told>,
    ) -> Result<(), StateError> {
        let started_at = self.runtime.clock.now();
        let addresses: Vec<NodeAddress> = rows.iter().map(|row| row.node.address.clone()).collect();
        let claimed = self.runtime.state.claim(&self.owner, started_at, started_at + LEASE_US, &addresses).await?;
        // An `apply` between looking and claiming may have made another job of a row.
        let is_endless = permit == Permit::OF_A_LOG;
        let is_same = |row: &HotNode| {
            job_key(row) == key
                && (is_endless == (told.is_some() && jobs::goes_on(row)))
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
        let (runtime, rows, connections_max) = (self.runtime.clone(), claimed.clone(), permit.connections);
        let turn = Turn { started_at, connections_max, told };
        self.running.insert(key.clone(), Running { rows: claimed, is_endless, permit });
        jobs.spawn(async move {
            // A panic is our bug; it ends this job, not the worker.
            let job = tokio::spawn(async move { jobs::run(&runtime, &rows, &turn).await });
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
        let now = self.runtime.clock.now();
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
        match self.runtime.state.complete(&fence, completion, now).await {
            Err(StateError::Fenced { .. }) => Ok(()),
            ended => ended,
        }
    }

    /// Gives rows back that were claimed and not run to their end.
    async fn release(&self, rows: Vec<HotNode>) -> Result<(), StateError> {
        let now = self.runtime.clock.now();
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
            self.complete(Fence { node: row.node.address, epoch: row.epoch }, completion, now).await?;
        }
        Ok(())
    }

    /// A trigger that waited for an export goes on when the export's retries have ended.
    async fn triggers_behind(&self, address: &NodeAddress, now: i64) -> Result<Vec<Successor>, StateError> {
        if address.kind() != NodeKind::Export {
            return Ok(Vec::new());
        }
        let lower = self.runtime.state.lower(address).await?;
        Ok(lower
            .into_iter()
            .filter(|(_, is_self)| !is_self)
            .map(|(node, _)| Successor { node, due_at: now, payload: None })
            .collect())
    }

    async fn renew(&self) -> Result<(), StateError> {
        let now = self.runtime.clock.now();
        let rows = self.running.values().flat_map(|running| &running.rows);
        let nodes: Vec<NodeAddress> = rows.map(|row| row.node.address.clone()).collect();
        if !nodes.is_empty() {
            self.runtime.state.renew(&self.owner, &nodes, now + LEASE_US).await?;
        }
        // Whatever another worker left when it died is free again.
        self.runtime.state.expire_leases(&self.host, now).await.map(drop)
    }

    /// Whether nothing is left to follow: nothing due, no retry to wait for.
    async fn is_idle(&self) -> Result<bool, StateError> {
        let now = self.runtime.clock.now();
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
