//! Why a job ended without success.

use levada_flow::{FlowError, Retry};
use levada_state::StateError;
use levada_store::StoreError;

/// The end of a job that did not do what it had to.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// A source, sink, engine or program failed.
    #[error(transparent)]
    Flow(#[from] FlowError),
    /// The store failed; the text fits after "failed to".
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state failed, or refused: another worker has taken over. The text fits after "failed to".
    #[error(transparent)]
    State(#[from] StateError),
    /// A file of the staging area failed.
    #[error("failed to {operation} {path}")]
    Staging {
        /// What was tried.
        operation: &'static str,
        /// The file or folder.
        path: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

impl JobError {
    /// Whether the same job may go through later.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Flow(error) => error.retry,
            Self::State(error) if !error.is_retryable() => Retry::Never,
            Self::Store(error) if !error.is_retryable() => Retry::Never,
            Self::State(_) | Self::Store(_) | Self::Staging { .. } => Retry::Later,
        }
    }

    /// Whether the text is no sentence, but fits after "failed to".
    pub fn is_fragment(&self) -> bool {
        matches!(self, Self::Store(_) | Self::State(_))
    }

    /// The sentence and every cause behind it, on one line.
    pub fn chain(&self) -> String {
        if let Self::Flow(error) = self {
            return error.chain();
        }
        let verb = if self.is_fragment() { "failed to " } else { "" };
        let mut text = format!("{verb}{self}");
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}
