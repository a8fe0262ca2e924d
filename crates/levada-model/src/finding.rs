//! What is wrong with a model: collected, never thrown.

use crate::{Address, Span};
use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The model can't be applied.
    Error,
    /// It works, and somebody should look.
    Warning,
}

/// A stable code such as `E-SCHEMA-004`; once published it never changes its meaning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(transparent)]
pub struct Code(pub &'static str);

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.0)
    }
}

/// One mistake, with its place and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The stable code.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about, where the object is known.
    pub address: Option<Address>,
    /// Where it was written; `None` where nothing was written.
    pub span: Option<Span>,
    /// One sentence, without a full stop.
    pub message: String,
    /// What to do, without a full stop.
    pub hint: Option<String>,
}

impl Finding {
    /// An error. Add the rest with [`Finding::at`], [`Finding::about`] and [`Finding::hint`].
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Self { code, severity: Severity::Error, address: None, span: None, message: message.into(), hint: None }
    }

    /// A warning.
    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// Adds the place.
    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }

    /// Adds what it is about.
    #[must_use]
    pub fn about(mut self, address: impl Into<Address>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// All findings of a run, in the order of files and places once [`Findings::sort`] has run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// Adds one.
    pub fn push(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    /// Adds all of another run.
    pub fn extend(&mut self, other: Findings) {
        self.0.extend(other.0);
    }

    /// Whether an error is among them.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// Brings them into the order of files, places and codes.
    pub fn sort(&mut self) {
        self.0.sort_by(|a, b| (a.span, a.code, &a.address, &a.message).cmp(&(b.span, b.code, &b.address, &b.message)));
        self.0.dedup();
    }
}
