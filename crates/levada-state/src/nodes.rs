//! Hot rows: one per node of the blueprint in force, and what happens to them.
//!
//! A row is due when `due_at` has come; claiming it takes the lease and bumps the epoch; every
//! effect commits under that epoch. A row made due while it runs stays due afterwards.

mod claims;
mod completions;
mod rows;

pub use claims::DueRows;
pub(crate) use claims::{EXPIRE, mark};
pub(crate) use completions::{Effect, complete_job, make_due, raise_epoch_floor};
pub(crate) use rows::priority_value;

use levada_model::NodeAddress;
use levada_model::fingerprint::Fingerprint;
use levada_model::model::Priority;
use levada_model::name::PlatformName;
use levada_planner::blueprint::{Choices, Realizer};
use levada_planner::{Generation, Node};
use std::sync::Arc;

/// The right to have an effect: a node under the epoch of one claim.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Fence {
    /// The node.
    pub node: NodeAddress,
    /// The epoch of the claim.
    pub epoch: i64,
}

/// What a row is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// It runs whenever it is due.
    Run,
    /// It has left the blueprint: its delivered effects are taken away, then the row goes.
    Retire,
}

/// Whose workers run a row.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum Host {
    /// Those that are started anywhere.
    #[default]
    Anywhere,
    /// Those in the pods of this platform: its store lies there.
    Pods(PlatformName),
}

impl Host {
    /// Whose workers run a platform's nodes; `None`: none do, it renders them to files.
    pub fn of(choices: &Choices, platform: &PlatformName) -> Option<Self> {
        match choices.realizer(platform) {
            Realizer::Workers => Some(Self::Anywhere),
            Realizer::Pods => Some(Self::Pods(platform.clone())),
            Realizer::Files => None,
        }
    }

    /// The stored form.
    pub(crate) fn column(&self) -> &str {
        match self {
            Self::Anywhere => "",
            Self::Pods(platform) => platform.as_str(),
        }
    }
}

/// A node's row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HotNode {
    /// The node as the blueprint in force has it (or had it, for [`Wish::Retire`]).
    pub node: Arc<Node>,
    /// The content hash it is stored under.
    pub content: Fingerprint,
    /// The generation that last changed it.
    pub generation: Generation,
    /// What it is for.
    pub wish: Wish,
    /// Whose workers run it.
    pub host: Host,
    /// Its priority.
    pub priority: Priority,
    /// When it is due, µs; `None`: nothing to do. What a claim gives still says since when it was.
    pub due_at: Option<i64>,
    /// Whether the definition changed since the last finished run.
    pub is_changed: bool,
    /// Who runs it until when, µs.
    pub lease: Option<(String, i64)>,
    /// Bumped by every claim.
    pub epoch: i64,
    /// Failed tries since the last success.
    pub attempt: i64,
    /// Whether its retries have ended without success.
    pub is_failed: bool,
    /// Why the last try failed.
    pub error: Option<String>,
    /// What the predecessor left for it: opaque JSON.
    pub payload: Option<String>,
    /// What it remembers itself: opaque JSON (a trigger's last fired vector, a cron's last tick).
    pub memory: Option<String>,
    /// End of the last successful run, µs.
    pub succeeded_at: Option<i64>,
}

/// A node that a completion makes due.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Successor {
    /// The node. Unknown ones are passed over: the blueprint may have moved.
    pub node: NodeAddress,
    /// When, µs; an earlier time that is already there stays.
    pub due_at: i64,
    /// What it gets; `None` leaves what is there.
    pub payload: Option<String>,
}

/// How a job ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It did what it had to.
    Done,
    /// It failed and is tried again at this time, µs.
    Retry {
        /// Why.
        error: String,
        /// When, µs.
        at: i64,
    },
    /// It failed; only its next regular turn tries again.
    Failed {
        /// Why.
        error: String,
    },
    /// It was stopped before it ended; it is due again at once, without counting a try.
    Released,
    /// It did what it had to and goes on under its lease and epoch: a continuous ingest after a batch.
    Continues,
}

/// The end of a job, recorded with its effects.
#[derive(Clone, PartialEq, Debug)]
pub struct Completion {
    /// When it was claimed, µs.
    pub started_at: i64,
    /// How it ended.
    pub outcome: Outcome,
    /// Its next regular turn, µs (cron); `None`: none.
    pub next_due_at: Option<i64>,
    /// Replaces [`HotNode::memory`]; `None` leaves it.
    pub memory: Option<String>,
    /// Nodes that become due.
    pub successors: Vec<Successor>,
    /// Rows moved.
    pub rows: i64,
    /// Bytes moved.
    pub bytes: i64,
}
