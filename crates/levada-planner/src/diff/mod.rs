//! The difference between two blueprints: what changes, and what exactly is different.
//!
//! Takes the parent, if any, and the next blueprint; gives a [`Delta`] that is empty where every
//! node stays as it is. Linear in nodes; the typed differences are made for changed nodes only.

mod columns;
mod difference;
mod nodes;

pub use columns::{ColumnDifference, of_schemas};
pub use difference::Difference;
pub(crate) use nodes::reader_text;

use crate::blueprint::{Blueprint, Generation, Node};
use levada_model::address::NodeAddress;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The way from one blueprint to the next.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Delta {
    /// Where it starts; `None`: from nothing.
    pub from: Option<Generation>,
    /// Where it ends.
    pub to: Generation,
    /// By address; nodes that stay are not in it.
    pub changes: BTreeMap<NodeAddress, NodeChange>,
}

/// What happens to a node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "changes live in maps, and boxes would only hide their nodes")]
pub enum NodeChange {
    /// It comes.
    Added(Node),
    /// It becomes another.
    Changed {
        /// As it is.
        before: Node,
        /// As it shall be.
        after: Node,
        /// The differences; never empty.
        what: Vec<Difference>,
    },
    /// It goes.
    Removed(Node),
}

impl Delta {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

impl NodeChange {
    /// The node as it shall be; `None` where it goes.
    pub fn after(&self) -> Option<&Node> {
        match self {
            Self::Added(node) | Self::Changed { after: node, .. } => Some(node),
            Self::Removed(_) => None,
        }
    }

    /// The node as it is; `None` where it comes.
    pub fn before(&self) -> Option<&Node> {
        match self {
            Self::Removed(node) | Self::Changed { before: node, .. } => Some(node),
            Self::Added(_) => None,
        }
    }
}

/// Compares two blueprints node by node.
pub fn diff(parent: Option<&Blueprint>, next: &Blueprint) -> Delta {
    let mut changes = BTreeMap::new();
    let nothing = BTreeMap::new();
    let before = parent.map_or(&nothing, |parent| &parent.nodes);
    for (address, after) in &next.nodes {
        match before.get(address) {
            None => {
                changes.insert(address.clone(), NodeChange::Added(after.clone()));
            }
            Some(before) if before == after => {}
            Some(before) => {
                let what = nodes::differences(before, after);
                let change = NodeChange::Changed { before: before.clone(), after: after.clone(), what };
                changes.insert(address.clone(), change);
            }
        }
    }
    for (address, before) in before {
        if !next.nodes.contains_key(address) {
            changes.insert(address.clone(), NodeChange::Removed(before.clone()));
        }
    }
    Delta { from: parent.map(|parent| parent.generation), to: next.generation, changes }
}
