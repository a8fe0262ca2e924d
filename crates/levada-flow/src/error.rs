//! What fails while data flows, and whether trying again can help.

/// Whether the same call may go through later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// The network, a lock, a server that restarts: try again with back-off.
    Later,
    /// The world has to change first: a password, a missing table, a type.
    Never,
}

/// A failure of a source, a sink or an engine, told for the person who has to act.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct FlowError {
    /// One lower-case sentence with the object it is about: `table sales.customers has no column "x"`.
    pub message: String,
    /// What to do, where it is known.
    pub hint: Option<String>,
    /// Whether trying again can help.
    pub retry: Retry,
    /// The system's own error.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl FlowError {
    /// Trying again may help.
    pub fn later(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, retry: Retry::Later, source: None }
    }

    /// Somebody has to act.
    pub fn never(message: impl Into<String>) -> Self {
        Self { retry: Retry::Never, ..Self::later(message) }
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The sentence, every cause behind it, and the hint, on one line.
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = self.source.as_deref().map(|source| source as &dyn std::error::Error);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        if let Some(hint) = &self.hint {
            text.push_str("; ");
            text.push_str(hint);
        }
        text
    }
}
