//! Whoever does a worker's jobs: the runtime in the product; benchmarks and simulations bring their own.

use crate::jobs::{self, Report, Turn};
use crate::{JobError, Runtime};
use async_trait::async_trait;
use levada_flow::Clock;
use levada_state::State;
use levada_state::nodes::HotNode;
use std::sync::Arc;

/// Does jobs.
#[async_trait]
pub trait Work: Send + Sync {
    /// Runs one job, a single node or all claimed exports of one stream into one container, to its end, and
    /// commits its effect together with its completion by one call to the state. It may be dropped at any
    /// await; many run at once.
    ///
    /// # Errors
    /// The job changed nothing more and its rows are still claimed; the worker records the failure.
    async fn run(&self, rows: &[HotNode], turn: &Turn) -> Result<Report, JobError>;

    /// Whether a row's job goes on without an end where it may.
    fn goes_on(&self, row: &HotNode) -> bool;

    /// Takes away what runs left behind that never committed and was written before `before`, µs; `wanted`
    /// are the payloads of all rows.
    ///
    /// # Errors
    /// The store fails.
    async fn sweep(&self, before: i64, wanted: &[String]) -> Result<(), JobError>;
}

#[async_trait]
impl Work for Runtime {
    async fn run(&self, rows: &[HotNode], turn: &Turn) -> Result<Report, JobError> {
        jobs::run(self, rows, turn).await
    }

    fn goes_on(&self, row: &HotNode) -> bool {
        jobs::goes_on(row)
    }

    async fn sweep(&self, before: i64, wanted: &[String]) -> Result<(), JobError> {
        self.store.sweep(before).await?;
        jobs::sweep_staging(&self.staging, wanted, before);
        Ok(())
    }
}

/// What a worker works with.
#[derive(Clone)]
pub struct Tools {
    /// Where it finds what is due.
    pub state: State,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Who does the jobs.
    pub work: Arc<dyn Work>,
}

impl From<Runtime> for Tools {
    fn from(runtime: Runtime) -> Self {
        Self { state: runtime.state.clone(), clock: Arc::clone(&runtime.clock), work: Arc::new(runtime) }
    }
}
