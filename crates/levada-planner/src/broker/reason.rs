//! Why the broker chose a platform, passed it over, or can't use it.

use super::style::{latency_word, milestoning_word, style_word};
use crate::platform::{CodeKind, IngestMode};
use crate::policy::BrokenPolicy;
use levada_model::address::DatasetRef;
use levada_model::connection::ContainerKind;
use levada_model::model::{AssignmentState, CatchUp, Latency, Milestoning, Style};
use levada_model::name::WorkspaceName;
use serde::Serialize;
use std::fmt;

/// Why a platform was chosen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChoiceReason {
    /// `assignments.yaml` says so.
    Pinned,
    /// `assignments.yaml` brings it in beside the one that serves so far.
    Provisioning,
    /// `assignments.yaml` takes it out of service; it delivers until the entry is removed.
    Decommissioning,
    /// It fits and is in force: choices stay while they can.
    InForce,
    /// Only this one fits.
    OnlyFit,
    /// It costs the least of all that fit.
    Cheapest,
    /// It is the first by name of those that cost the least.
    FirstByName,
}

impl ChoiceReason {
    /// The reason that a pin of such a state is.
    pub(super) fn of_pin(state: AssignmentState) -> Self {
        match state {
            AssignmentState::Active => Self::Pinned,
            AssignmentState::Provisioning => Self::Provisioning,
            AssignmentState::Decommissioning => Self::Decommissioning,
        }
    }
}

impl fmt::Display for ChoiceReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pinned => "pinned by the assignments",
            Self::Provisioning => "provisioned by the assignments, beside the one that serves so far",
            Self::Decommissioning => "decommissioned by the assignments, delivers until its entry is removed",
            Self::InForce => "it fits and is in force",
            Self::OnlyFit => "the only one that fits",
            Self::Cheapest => "the cheapest that fits",
            Self::FirstByName => "the first by name of the cheapest that fit",
        })
    }
}

/// Why a platform that fits was not chosen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PassedOver {
    /// Another one is pinned.
    OtherPinned,
    /// Another one fits and is in force.
    OtherInForce,
    /// It costs more.
    Dearer,
    /// It costs the same, and its name comes later.
    LaterByName,
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherPinned => "fits, but another one is pinned",
            Self::OtherInForce => "fits, but another one is in force",
            Self::Dearer => "fits, but costs more",
            Self::LaterByName => "fits at the same cost, but its name comes later",
        })
    }
}

/// Why a platform can't be chosen.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// This build has no renderer for its kind.
    Kind(String),
    /// Nobody knows what its program can do.
    Undescribed,
    /// Its style is too slow.
    Latency {
        /// What is asked for.
        needed: Latency,
        /// What it is.
        style: Style,
    },
    /// Its style doesn't deliver the readings.
    Milestoning {
        /// What is asked for.
        needed: Milestoning,
        /// What it is.
        style: Style,
    },
    /// It is for development, and this workspace is production.
    Development(WorkspaceName),
    /// It can't deliver to such a container.
    Sink(ContainerKind),
    /// It can't read such a container in such a way.
    Source {
        /// The producer's container.
        container: ContainerKind,
        /// How the datastore is read.
        ingest: IngestMode,
    },
    /// It can't make such things of missed ticks.
    CatchUp(CatchUp),
    /// It can't run such code.
    Code(CodeKind),
    /// A policy doesn't want the data there.
    Policy {
        /// The first dataset that the policy is about.
        dataset: DatasetRef,
        /// The policy.
        broken: BrokenPolicy,
    },
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kind) => write!(f, "this build has no renderer for kind {kind}"),
            Self::Undescribed => f.write_str("nobody has asked its program what it can do"),
            Self::Latency { needed, style } => {
                write!(f, "style {} is slower than {}", style_word(*style), latency_word(*needed))
            }
            Self::Milestoning { needed, style } => {
                let wanted = milestoning_word(*needed);
                write!(f, "style {} delivers live data only, asked for is milestoning {wanted}", style_word(*style))
            }
            Self::Development(workspace) => write!(f, "it is for development, and workspace {workspace} is production"),
            Self::Sink(kind) => write!(f, "it can't deliver to {} containers", kind.word()),
            Self::Source { container, ingest } => {
                write!(f, "it can't read {} containers by {}", container.word(), ingest.word())
            }
            Self::CatchUp(wanted) => write!(f, "it can't do `catch-up: {}`", wanted.word()),
            Self::Code(kind) => write!(f, "it can't run {} code", kind.word()),
            Self::Policy { dataset, broken } => write!(f, "{broken} for {dataset}"),
        }
    }
}
