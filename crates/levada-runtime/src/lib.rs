//! The embedded engine: takes due nodes from the state, runs them, commits what they did.
//!
//! ```text
//! state.due ─caps→ claim ─jobs→ store / sinks / engine ─commit→ state ─successors→ state.due …
//! ```
//!
//! [`Worker`] is the loop, [`jobs`] what each kind of node does, [`verify`] the proof that it was
//! right. Everything is driven by rows of the state: whoever dies leaves a lease behind, and the
//! next worker goes on from the last commit.
//!
//! Architecture invariant: no system is named here; sources, sinks and credentials come through
//! [`Connect`], SQL through [`levada_flow::Engine`], time through [`levada_flow::Clock`].

pub mod caps;
pub mod connect;
pub mod error;
pub mod jobs;
mod ready;
pub mod retry;
pub mod schedule;
pub mod verify;
mod work;
pub mod worker;

pub use connect::Connect;
pub use error::JobError;
pub use jobs::{StreamHealth, stream_health};
pub use work::{Tools, Work};
pub use worker::{Ending, Mode, Progress, RUNS_KEPT_DAYS, Worker};

use levada_flow::{Clock, Engine};
use levada_state::State;
use levada_store::Store;
use std::path::PathBuf;
use std::sync::Arc;

/// Everything a job may reach.
#[derive(Clone)]
pub struct Runtime {
    /// Operational state and catalog.
    pub state: State,
    /// The milestoned store.
    pub store: Store,
    /// Opens containers.
    pub connect: Arc<dyn Connect>,
    /// Runs SQL transformers.
    pub engine: Arc<dyn Engine>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The model's folder: programs run below it.
    pub root: PathBuf,
    /// Where runs of transformers leave their output until it is committed.
    pub staging: PathBuf,
}
