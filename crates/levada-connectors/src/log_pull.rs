//! One pull of a change log: where its rows go, and when it is enough. Knows no system.

use levada_flow::FlowError;
use levada_flow::source::{Pulled, Until};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// After so many changes a pull ends with the transaction at hand, and the next one goes on.
const CHANGES_MAX: usize = 100_000;

/// How long to wait for news before looking whether everything is there.
const ASK_AFTER: Duration = Duration::from_millis(50);

/// A pull that has begun.
pub(crate) struct Pull<'p> {
    pub(crate) out: &'p mpsc::Sender<Pulled>,
    pub(crate) until: Until,
    began_at: Instant,
    first_change_at: Option<Instant>,
    changes: usize,
    /// Whether it has to end, because a dataset was read whole at its place.
    pub(crate) must_end: bool,
}

impl<'p> Pull<'p> {
    /// Begins one.
    pub(crate) fn new(out: &'p mpsc::Sender<Pulled>, until: Until) -> Self {
        Self { out, until, began_at: Instant::now(), first_change_at: None, changes: 0, must_end: false }
    }

    /// Sends what was read, as soon as there is room for it.
    pub(crate) async fn send(&self, pulled: Pulled) -> Result<(), FlowError> {
        self.out.send(pulled).await.map_err(|_| FlowError::later("nobody takes the rows of the pull any more"))
    }

    /// Counts what was sent, or is going to be.
    pub(crate) fn count(&mut self, changes: usize) {
        self.changes += changes;
        self.first_change_at.get_or_insert_with(Instant::now);
    }

    /// Whether nothing more may come into it than what is at hand.
    pub(crate) fn is_full(&self) -> bool {
        self.must_end || self.changes >= CHANGES_MAX
    }

    /// Whether it ends between the transactions at hand; `has_all`: whether it has what it is to read up to now.
    pub(crate) fn is_enough(&self, has_all: bool) -> bool {
        self.is_full()
            || match self.until {
                Until::Now => has_all,
                Until::News { .. } => self.left().is_zero(),
            }
    }

    /// How long to wait for news; `looks_often`: something besides them is waited for.
    pub(crate) fn wait(&self, looks_often: bool) -> Duration {
        match self.until {
            Until::News { .. } if !looks_often => self.left(),
            _ => ASK_AFTER,
        }
    }

    /// How long it still waits for news, or for more of them.
    fn left(&self) -> Duration {
        match (self.until, self.first_change_at) {
            (Until::Now, _) => Duration::ZERO,
            (Until::News { linger_ms, .. }, Some(at)) => Duration::from_millis(linger_ms).saturating_sub(at.elapsed()),
            (Until::News { idle_ms, .. }, None) => {
                Duration::from_millis(idle_ms).saturating_sub(self.began_at.elapsed())
            }
        }
    }
}
