//! What a change does to tables. Whether delivered tables are built anew is decided by
//! [`ExportSpec::shape`], which the runtime compares with the mark that it left at the consumer's.

use crate::blueprint::{ExportSpec, NodeSpec};
use crate::diff::{Delta, NodeChange};
use levada_model::address::NodeAddress;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What happens to what a node has made so far.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhysicalEffect {
    /// It is made.
    Create,
    /// It stays and is adapted.
    InPlace,
    /// A new one is built beside it from the store, and all views are swapped at once.
    Beside,
    /// The delivered copy goes; the store keeps what is owed.
    Drop,
    /// The node stops; the store keeps what is owed.
    Stop,
}

impl PhysicalEffect {
    /// The words in plans.
    pub fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::InPlace => "in place",
            Self::Beside => "beside",
            Self::Drop => "drop",
            Self::Stop => "stop",
        }
    }
}

/// The physical effect of every change.
pub(super) fn effects(delta: &Delta) -> BTreeMap<NodeAddress, PhysicalEffect> {
    delta.changes.iter().map(|(address, change)| (address.clone(), physical_effect(change))).collect()
}

/// The physical effect of one change.
pub fn physical_effect(change: &NodeChange) -> PhysicalEffect {
    match change {
        NodeChange::Added(_) => PhysicalEffect::Create,
        NodeChange::Removed(node) => match node.spec {
            NodeSpec::Export(_) => PhysicalEffect::Drop,
            _ => PhysicalEffect::Stop,
        },
        NodeChange::Changed { before, after, .. } => match (&before.spec, &after.spec) {
            (NodeSpec::Export(before), NodeSpec::Export(after)) if is_rebuilt(before, after) => PhysicalEffect::Beside,
            _ => PhysicalEffect::InPlace,
        },
    }
}

/// Whether what was delivered can't be fed on: it looks otherwise, or lies elsewhere.
fn is_rebuilt(before: &ExportSpec, after: &ExportSpec) -> bool {
    let place = |spec: &ExportSpec| (spec.connection.kind, spec.connection.place.clone());
    before.shape() != after.shape() || place(before) != place(after)
}
