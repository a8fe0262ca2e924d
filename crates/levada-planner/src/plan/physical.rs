//! What a change does to tables: the runtime's realizer asks the same function as the plan.

use crate::blueprint::NodeSpec;
use crate::diff::{ColumnDifference, Delta, Difference, NodeChange};
use crate::evolution::widens;
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
        NodeChange::Changed { after, what, .. } => match after.spec {
            NodeSpec::Export(_) if what.iter().any(rebuilds) => PhysicalEffect::Beside,
            _ => PhysicalEffect::InPlace,
        },
    }
}

/// Whether a delivered table can't be adapted to the difference.
fn rebuilds(difference: &Difference) -> bool {
    match difference {
        Difference::Connection | Difference::Stream => true,
        Difference::Physical { from, to, .. } => from.is_some() && to.is_some(),
        Difference::Column { column, .. } => match column {
            ColumnDifference::Added { column } => !column.nullable,
            // Rows are the same; only their table's definition is another.
            ColumnDifference::Nullability { nullable, .. } => !nullable,
            ColumnDifference::Source { .. } => false,
            ColumnDifference::Retyped { from, to, .. } => from != to && !is_same_storage(from, to),
            ColumnDifference::Removed { .. } | ColumnDifference::Key { .. } | ColumnDifference::Reordered => true,
        },
        _ => false,
    }
}

/// Only a longer limit of text: every system changes that without touching rows.
fn is_same_storage(from: &levada_model::DataType, to: &levada_model::DataType) -> bool {
    use levada_model::DataType::{Text, Varchar};
    matches!((from, to), (Varchar(_), Varchar(_) | Text)) && widens(from, to)
}
