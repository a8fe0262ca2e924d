//! The loop: claims due nodes under the caps, runs their jobs, records how they ended.

use crate::caps::{self, Caps, JobKey, Permit, job_key};
use crate::jobs::{self, Report};
use crate::{JobError, Runtime, retry, schedule};
use levada_flow::FlowError;
use levada_model::model::TransformTrigger;
use levada_model::{NodeAddress, NodeKind};
use levada_planner::NodeSpec;
use levada_planner::blueprint::IngestOrigin;
use levada_state::nodes::{Completion, HotNode, Outcome, Successor, Wish};
use levada_state::{Fence, StateError};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long a claim holds without being renewed, in µs.
const LEASE_US: i64 = 10_000_000;
/// How often claims are renewed.
const RENEW_EVERY: Duration = Duration::from_secs(3);
/// How often the state is asked for due nodes while nothing ends.
const POLL_EVERY: Duration = Duration::from_millis(100);
/// How long running jobs may go on after a stop, before they are released.
const STOP_AFTER: Duration = Duration::from_secs(8);
/// The most due nodes looked at in one pass.
const DUE_MAX: usize = 4_096;

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
    /// A job has begun; its nodes.
    Started(Vec<NodeAddress>),
    /// A job did what it had to.
    Done(Vec<NodeAddress>, Report),
    /// A job failed; when it is tried again (µs), if it is.
    Failed(Vec<NodeAddress>, String, Option<i64>),
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
    owner: String,
    jobs_max: usize,
    mode: Mode,
    tell: Box<dyn Fn(Progress) + Send + Sync>,
    caps: Caps,
    running: HashMap<JobKey, Running>,
    /// Until idle: sources that had their one pull.
    pulled: BTreeSet<NodeAddress>,
    /// Until idle: whether transformers on a cron had their one turn.
    has_fired: bool,
    ending: Ending,
}

/// What a running job holds.
struct Running {
    rows: Vec<HotNode>,
    /// Its connections.
    permit: Permit,
}

struct Ended {
    key: JobKey,
    started_at: i64,
    result: Result<Report, JobError>,
}

impl Worker {
    /// Makes a worker that runs up to `jobs_max` jobs at once and tells its progress.
    pub fn new(
        runtime: Runtime,
        owner: String,
        jobs_max: usize,
        mode: Mode,
        tell: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Self {
        Self {
            runtime,
            owner,
            jobs_max,
            mode,
            tell: Box::new(tell),
            caps: Caps::default(),
            running: HashMap::new(),
            pulled: BTreeSet::new(),
            has_fired: false,
            ending: Ending::default(),
        }
    }

    /// Works until its mode or `stop` ends it.
    ///
    /// # Errors
    /// Another worker holds the state, or the state fails; jobs' own failures are in the ending.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<Ending, JobError> {
        let mut lock = self.runtime.state.take_worker_lock().await?;
        // Beside other workers, what is in no manifest may be theirs and on its way.
        if lock.is_alone() {
            self.sweep().await?;
        }
        lock.settle();
        if self.mode == Mode::UntilIdle {
            self.pull_everything_once().await?;
        }
        let mut jobs: JoinSet<Ended> = JoinSet::new();
        let mut renew = tokio::time::interval(RENEW_EVERY);
        while !*stop.borrow() {
            self.start_due(&mut jobs).await?;
            if jobs.is_empty() && self.is_at_its_end().await? {
                break;
            }
            tokio::select! {
                Some(ended) = jobs.join_next() => self.finish(ended).await?,
                _ = tokio::time::sleep(POLL_EVERY) => {}
                _ = renew.tick() => self.renew().await?,
                // The sender may be gone; then nobody stops this worker.
                changed = stop.changed() => if changed.is_err() { stop = never() },
            }
        }
        self.wind_up(jobs).await?;
        drop(lock);
        Ok(self.ending)
    }

    /// Takes away what runs left behind that never committed.
    async fn sweep(&self) -> Result<(), JobError> {
        self.runtime.store.sweep().await?;
        let wanted: Vec<String> = self.runtime.state.nodes().await?.into_iter().filter_map(|row| row.payload).collect();
        let Ok(folders) = std::fs::read_dir(&self.runtime.staging) else { return Ok(()) };
        for folder in folders.flatten() {
            let name = folder.file_name().to_string_lossy().into_owned();
            if !wanted.iter().any(|payload| payload.contains(&name)) {
                let path = folder.path();
                std::fs::remove_dir_all(&path).map_err(|source| JobError::Staging {
                    operation: "remove",
                    path: path.display().to_string(),
                    source,
                })?;
            }
        }
        Ok(())
    }

    async fn pull_everything_once(&self) -> Result<(), StateError> {
        let now = self.runtime.clock.now();
        let due: Vec<Successor> = self
            .runtime
            .state
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
        let nodes = self.runtime.state.nodes().await?.into_iter().filter(has_cron_trigger);
        let due: Vec<Successor> = nodes
            .map(|row| Successor { node: row.node.address, due_at: now, payload: Some(jobs::BY_HAND.to_owned()) })
            .collect();
        self.runtime.state.make_due(&due).await?;
        Ok(!due.is_empty())
    }

    async fn start_due(&mut self, jobs: &mut JoinSet<Ended>) -> Result<(), StateError> {
        if self.running.len() >= self.jobs_max {
            return Ok(());
        }
        let now = self.runtime.clock.now();
        let mut groups: Vec<(JobKey, Vec<HotNode>)> = Vec::new();
        let mut positions: HashMap<JobKey, usize> = HashMap::new();
        for row in self.runtime.state.due(now, DUE_MAX).await? {
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
            if self.running.len() >= self.jobs_max {
                break;
            }
            if self.running.contains_key(&key) {
                continue;
            }
            if let Some(permit) = self.caps.enter(&rows[0].node) {
                self.start(jobs, key, rows, permit).await?;
            }
        }
        Ok(())
    }

    /// Whether a due row's turn is now.
    async fn may_start(&self, row: &HotNode, now: i64) -> Result<bool, StateError> {
        if self.mode == Mode::UntilDone && is_source(row) {
            return Ok(false);
        }
        if self.pulled.contains(&row.node.address)
            || schedule::next_open(schedule::calendars(&row.node), now) != Some(now)
        {
            return Ok(false);
        }
        // A transformer waits until its last output is committed, so that no run replaces another's.
        if row.node.address.kind() == NodeKind::Transform {
            for (output, _) in self.runtime.state.lower(&row.node.address).await? {
                let output = self.runtime.state.node(&output).await?;
                if output.is_some_and(|output| output.due_at.is_some() || output.lease.is_some()) {
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
    ) -> Result<(), StateError> {
        let started_at = self.runtime.clock.now();
        let addresses: Vec<NodeAddress> = rows.iter().map(|row| row.node.address.clone()).collect();
        let claimed = self.runtime.state.claim(&self.owner, started_at, started_at + LEASE_US, &addresses).await?;
        // An `apply` between looking and claiming may have made another job of a row.
        let is_same = |row: &HotNode| job_key(row) == key && caps::container(&row.node) == permit.container.as_ref();
        let (claimed, strays): (Vec<_>, Vec<_>) = claimed.into_iter().partition(is_same);
        self.release(strays).await?;
        if claimed.is_empty() {
            self.caps.leave(&permit);
            return Ok(());
        }
        (self.tell)(Progress::Started(claimed.iter().map(|row| row.node.address.clone()).collect()));
        let (runtime, rows, connections) = (self.runtime.clone(), claimed.clone(), permit.connections);
        self.running.insert(key.clone(), Running { rows: claimed, permit });
        jobs.spawn(async move {
            // A panic is our bug; it ends this job, not the worker.
            let job = tokio::spawn(async move { jobs::run(&runtime, &rows, connections, started_at).await });
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
        let Running { rows, permit } = self.running.remove(&key).expect("a job that ends was running");
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
                tracing::info!(nodes = ?addresses, "another worker has taken over");
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
                next_due_at: Some(schedule::next_turn(&row.node, now).unwrap_or(now + retry::PAUSE_MS_MAX * 1_000)),
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
        if !self.running.is_empty() {
            self.runtime.state.renew(&self.owner, now + LEASE_US).await?;
        }
        // Whatever another worker left when it died is free again.
        self.runtime.state.expire_leases(now).await.map(drop)
    }

    /// Whether nothing is left to follow: nothing due, no retry to wait for.
    async fn is_idle(&self) -> Result<bool, StateError> {
        let now = self.runtime.clock.now();
        for row in self.runtime.state.nodes().await? {
            let Some(due_at) = row.due_at.filter(|_| !row.is_paused) else { continue };
            let is_retry = row.attempt > 0 && !row.is_failed;
            if (is_retry || due_at <= now) && self.may_start(&row, now).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Lets running jobs end for a while, then gives the rest back.
    async fn wind_up(&mut self, mut jobs: JoinSet<Ended>) -> Result<(), StateError> {
        self.renew().await?;
        let deadline = tokio::time::Instant::now() + STOP_AFTER;
        while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, jobs.join_next()).await {
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
