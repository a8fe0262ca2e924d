//! The intention graphs: per platform, what must happen.
//!
//! Takes the model and the broker's [`Assignment`], gives one [`IntentionGraph`] per platform,
//! sorted. Knows nothing of how a node is run. Works on interned keys; linear in sinks but for
//! sorting.

mod cycle;
pub(crate) mod demand;
pub mod format;
pub(crate) mod priority;
mod weave;

pub use format::{GraphFormat, write};

use crate::broker::Assignment;
use demand::Demand;
use levada_model::address::{NodeAddress, NodeKind};
use levada_model::model::Priority;
use levada_model::name::{PlatformName, WorkspaceName};
use levada_model::{Findings, Model};
use std::collections::HashMap;

/// What must happen on one platform.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IntentionGraph {
    /// The platform.
    pub platform: PlatformName,
    /// By address.
    pub nodes: Vec<GraphNode>,
    /// By positions in `nodes`.
    pub edges: Vec<Edge>,
    /// Who reads which export: the dashed lines of a drawing, no part of the graph.
    pub readings: Vec<Reading>,
}

/// One thing that must happen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GraphNode {
    /// Where it is.
    pub address: NodeAddress,
    /// What it is.
    pub kind: NodeKind,
    /// The highest priority of all workspaces that depend on it.
    pub priority: Priority,
}

/// That one thing waits for another; both are positions in the graph's nodes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Edge {
    /// The upper end.
    pub from: u32,
    /// The lower end.
    pub to: u32,
    /// Whether it is a transformer's own output that feeds it again.
    pub is_self: bool,
}

/// That a workspace reads an export; the export is a position in the graph's nodes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Reading {
    /// The export.
    pub export: u32,
    /// The workspace.
    pub workspace: WorkspaceName,
}

impl IntentionGraph {
    /// The address of an edge's end.
    pub fn address(&self, position: u32) -> &NodeAddress {
        &self.nodes[position as usize].address
    }

    /// The position of a node.
    pub fn position(&self, address: &NodeAddress) -> Option<u32> {
        self.nodes.binary_search_by(|node| node.address.cmp(address)).ok().map(|position| position as u32)
    }
}

/// A node of several graphs: the graph's position and the node's in it.
pub type NodeAt = (u32, u32);

/// The edges of all graphs and, across platforms, from each stream's Ingest to its Links; upper end
/// first. Linear in nodes and edges.
pub fn joins(graphs: &[IntentionGraph]) -> Vec<(NodeAt, NodeAt)> {
    let mut joins = Vec::new();
    let mut ingests = HashMap::new();
    let mut links = Vec::new();
    for (at, graph) in (0..).zip(graphs) {
        joins.extend(graph.edges.iter().map(|edge| ((at, edge.from), (at, edge.to))));
        for (position, node) in (0..).zip(&graph.nodes) {
            match &node.address {
                NodeAddress::Ingest(_, stream) => drop(ingests.insert(stream, (at, position))),
                NodeAddress::Link(_, stream) => links.push((stream, (at, position))),
                _ => {}
            }
        }
    }
    joins.extend(links.into_iter().filter_map(|(stream, link)| Some((*ingests.get(stream)?, link))));
    joins
}

/// Weaves the graphs of all platforms that have something to do, by the platform's name.
pub fn weave(model: &Model, assignment: &Assignment) -> (Vec<IntentionGraph>, Findings) {
    let demand = Demand::of(model, assignment);
    let priorities = priority::of_workspaces(model, &demand.bindings);
    let mut sketch = weave::Sketch::default();
    weave::export_sinks(&demand, &mut sketch);
    weave::feed_exports(&demand, &mut sketch);
    weave::ingest_streams(&demand, &mut sketch);
    weave::run_transformers(&demand, &mut sketch);
    weave::raise_priorities(model, &demand, &priorities, &mut sketch);
    let findings = cycle::find(model, &demand.bindings);
    (weave::draw(model, &demand, sketch), findings)
}
