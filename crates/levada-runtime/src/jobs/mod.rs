//! What each kind of node does when its turn has come.
//!
//! A job gets claimed rows and ends by one call to the state that commits its effect together with
//! its completion. What it leaves when it dies before that call is either invisible (uncommitted
//! files, a rolled back transaction) or recognised by the next try (a delivery already marked).

mod commit_output;
mod deliver;
mod ingest;
mod link;
mod program;
mod retire;
mod staging;
mod transform;
mod trigger;

pub use deliver::{REHYDRATE, delivered_table};
pub(crate) use ingest::goes_on;
pub use ingest::{StreamHealth, pull_request, stream_health};
pub(crate) use staging::sweep_staging;
pub use trigger::BY_HAND;

use crate::{JobError, Runtime, schedule};
use levada_flow::FlowError;
use levada_model::{NodeAddress, NodeKind};
use levada_planner::NodeSpec;
use levada_planner::blueprint::IngestOrigin;
use levada_state::Fence;
use levada_state::nodes::{Completion, HotNode, Outcome, Successor, Wish};
use tokio::sync::mpsc;

/// What a job did, for progress and logs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Rows moved.
    pub rows: i64,
    /// Bytes moved.
    pub bytes: i64,
    /// What is new, in a few words; empty where nothing is.
    pub news: String,
    /// Nodes of the job that did all but something which somebody has to see to, and what.
    pub failed: Vec<(NodeAddress, String)>,
}

/// The turn of a job.
#[derive(Clone, Debug)]
pub struct Turn {
    /// When it was claimed, µs.
    pub started_at: i64,
    /// How many connections it may have to its container.
    pub connections_max: u32,
    /// Where a job that goes on without an end tells what it has done so far; `None`: no job may.
    pub told: Option<mpsc::UnboundedSender<(NodeAddress, Report)>>,
}

impl Turn {
    /// Whether a job may go on without an end.
    fn may_go_on(&self) -> bool {
        self.told.is_some()
    }

    /// Tells what a job has done that goes on.
    fn tell(&self, node: &NodeAddress, report: Report) {
        if let Some(told) = &self.told {
            // Nobody may be listening any more: then the worker is on its way out.
            let _ = told.send((node.clone(), report));
        }
    }
}

/// Runs a job: a single node, or all claimed exports of one stream into one container.
///
/// # Errors
/// The job changed nothing more and its rows are still claimed; the caller records the failure.
pub async fn run(runtime: &Runtime, claimed: &[HotNode], turn: &Turn) -> Result<Report, JobError> {
    let started_at = turn.started_at;
    let first = claimed.first().expect("a job has at least one node");
    if first.wish == Wish::Retire {
        return retire::run(runtime, claimed, started_at).await;
    }
    match &first.node.spec {
        NodeSpec::Ingest(spec) => match &spec.origin {
            IngestOrigin::Container { .. } => ingest::run(runtime, first, spec, turn).await,
            IngestOrigin::Transformer { transform, mode } => {
                commit_output::run(runtime, first, spec, (transform, *mode), started_at).await
            }
        },
        NodeSpec::Link(spec) => link::run(runtime, first, spec, started_at).await,
        NodeSpec::Export(_) => deliver::run(runtime, claimed, started_at).await,
        NodeSpec::Trigger(spec) => trigger::run(runtime, first, spec, started_at).await,
        NodeSpec::Transform(spec) => transform::run(runtime, first, spec, started_at).await,
    }
}

fn fence(row: &HotNode) -> Fence {
    Fence { node: row.node.address.clone(), epoch: row.epoch }
}

/// A completion without news: done, next turn by the clock.
fn done(runtime: &Runtime, row: &HotNode, started_at: i64) -> Completion {
    Completion {
        started_at,
        outcome: Outcome::Done,
        next_due_at: schedule::next_turn(&row.node, runtime.clock.now()),
        memory: None,
        successors: Vec::new(),
        rows: 0,
        bytes: 0,
    }
}

/// The lower nodes of some kinds, due now.
async fn successors(runtime: &Runtime, row: &HotNode, kinds: &[NodeKind]) -> Result<Vec<Successor>, JobError> {
    let now = runtime.clock.now();
    let lower = runtime.state.lower(&row.node.address).await?;
    Ok(lower
        .into_iter()
        .filter(|(node, is_self)| !is_self && kinds.contains(&node.kind()))
        .map(|(node, _)| Successor { node, due_at: now, payload: None })
        .collect())
}

/// Reads what a node remembers; what can't be read is forgotten.
fn memory<T: serde::de::DeserializeOwned>(row: &HotNode) -> Option<T> {
    row.memory.as_deref().and_then(|text| serde_json::from_str(text).ok())
}

/// Reads what a predecessor left for a node.
fn payload<T: serde::de::DeserializeOwned>(row: &HotNode) -> Result<Option<T>, JobError> {
    let Some(text) = &row.payload else { return Ok(None) };
    serde_json::from_str(text).map(Some).map_err(|error| {
        FlowError::never(format!("the payload of {} can't be read", row.node.address)).because(error).into()
    })
}
