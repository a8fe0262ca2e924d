//! The weaver's small transforms, each adding one sort of node or edge to a sketch.

use super::demand::{Demand, ExportRole, ExportUse, NodeKey, address};
use super::{Edge, GraphNode, IntentionGraph, Reading};
use crate::binding::DatasetId;
use levada_model::Model;
use levada_model::model::Priority;
use std::collections::BTreeMap;

type Place = (u32, NodeKey);

/// Graphs in the making: nodes and edges as interned keys, by platform.
#[derive(Default)]
pub(super) struct Sketch {
    nodes: BTreeMap<Place, Priority>,
    /// By the platform of both ends.
    edges: Vec<(u32, NodeKey, NodeKey, bool)>,
    readings: Vec<(u32, NodeKey, u32)>,
}

impl Sketch {
    fn node(&mut self, platform: u32, key: NodeKey) {
        self.nodes.entry((platform, key)).or_insert(Priority::Low);
    }

    fn edge(&mut self, platform: u32, from: NodeKey, to: NodeKey) {
        self.edges.push((platform, from, to, false));
    }

    fn raise(&mut self, place: Place, priority: Priority) {
        let node = self.nodes.get_mut(&place).expect("priorities are raised once all nodes are there");
        *node = (*node).max(priority);
    }
}

fn export_key(export: &ExportUse) -> NodeKey {
    NodeKey::Export(export.container, export.of.dataset)
}

/// The node that brings an export its data: the ingestion, or a link to it.
fn feed_key(demand: &Demand, export: &ExportUse) -> NodeKey {
    let stream = demand.stream(export.of.dataset);
    match demand.primary(stream.store) == export.platform {
        true => NodeKey::Ingest(stream),
        false => NodeKey::Link(stream),
    }
}

/// One export per platform, container and dataset: workspaces that share a container share it.
pub(super) fn export_sinks(demand: &Demand, sketch: &mut Sketch) {
    for sharers in demand.export_groups() {
        sketch.node(sharers[0].platform, export_key(&sharers[0]));
        let mut readers: Vec<u32> = sharers.iter().map(|export| export.of.group.workspace).collect();
        readers.dedup();
        for workspace in readers {
            sketch.readings.push((sharers[0].platform, export_key(&sharers[0]), workspace));
        }
    }
}

/// Every export is fed by an ingestion, or by a link where the primary is elsewhere.
pub(super) fn feed_exports(demand: &Demand, sketch: &mut Sketch) {
    for sharers in demand.export_groups() {
        let feed = feed_key(demand, &sharers[0]);
        sketch.node(sharers[0].platform, feed);
        sketch.edge(sharers[0].platform, feed, export_key(&sharers[0]));
    }
}

/// Every stream in use is ingested on its primary, even where no consumer lives there.
pub(super) fn ingest_streams(demand: &Demand, sketch: &mut Sketch) {
    for &dataset in &demand.used {
        let stream = demand.stream(dataset);
        sketch.node(demand.primary(stream.store), NodeKey::Ingest(stream));
    }
}

/// A transformer whose output is consumed runs on the output's primary, fed by all exports of its
/// workspace there.
pub(super) fn run_transformers(demand: &Demand, sketch: &mut Sketch) {
    for &(workspace, platform) in &demand.transformers {
        let output = demand.bindings.output_of_workspace[workspace as usize].expect("only those with output run");
        sketch.node(platform, NodeKey::Trigger(workspace));
        sketch.node(platform, NodeKey::Transform(workspace));
        sketch.edge(platform, NodeKey::Trigger(workspace), NodeKey::Transform(workspace));
        // A transformer's output is one batch, so one stream, whichever of its datasets are asked for.
        let stream = demand.stream(DatasetId { store: output, dataset: 0 });
        sketch.node(platform, NodeKey::Ingest(stream));
        sketch.edge(platform, NodeKey::Transform(workspace), NodeKey::Ingest(stream));
    }
    for export in demand.exports.iter().filter(|export| export.role == ExportRole::FeedsTransformer) {
        let workspace = export.of.group.workspace;
        let is_self = demand.bindings.output_of_workspace[workspace as usize] == Some(export.of.dataset.store);
        sketch.edges.push((export.platform, export_key(export), NodeKey::Trigger(workspace), is_self));
    }
}

/// A node matters as much as the most important workspace behind it, through any chain and link.
pub(super) fn raise_priorities(model: &Model, demand: &Demand, of_workspaces: &[Priority], sketch: &mut Sketch) {
    for export in &demand.exports {
        let workspace = export.of.group.workspace as usize;
        let priority = match export.role {
            ExportRole::FeedsTransformer => of_workspaces[workspace],
            _ => model.workspaces[workspace].priority,
        };
        let stream = demand.stream(export.of.dataset);
        sketch.raise((export.platform, export_key(export)), priority);
        sketch.raise((export.platform, feed_key(demand, export)), priority);
        sketch.raise((demand.primary(stream.store), NodeKey::Ingest(stream)), priority);
    }
    for &(workspace, platform) in &demand.transformers {
        sketch.raise((platform, NodeKey::Trigger(workspace)), of_workspaces[workspace as usize]);
        sketch.raise((platform, NodeKey::Transform(workspace)), of_workspaces[workspace as usize]);
    }
}

/// Turns the sketch into graphs with addresses, everything sorted.
pub(super) fn draw(model: &Model, demand: &Demand, mut sketch: Sketch) -> Vec<IntentionGraph> {
    debug_assert!(demand.exports.is_empty() != sketch.nodes.keys().any(|(_, key)| matches!(key, NodeKey::Export(..))));
    sketch.edges.sort_unstable();
    sketch.edges.dedup();
    let nodes: Vec<(Place, Priority)> = sketch.nodes.into_iter().collect();
    let mut edges = sketch.edges.as_slice();
    let mut readings = sketch.readings.as_slice();
    let mut graphs: Vec<IntentionGraph> = nodes
        .chunk_by(|(a, _), (b, _)| a.0 == b.0)
        .map(|nodes| {
            let platform = nodes[0].0.0;
            let own_edges = take_while(&mut edges, |edge| edge.0 == platform);
            let own_readings = take_while(&mut readings, |reading| reading.0 == platform);
            draw_one(model, platform, nodes, own_edges, own_readings)
        })
        .collect();
    graphs.sort_by(|a, b| a.platform.cmp(&b.platform));
    graphs
}

fn take_while<'a, T>(rest: &mut &'a [T], belongs: impl Fn(&T) -> bool) -> &'a [T] {
    let (taken, left) = rest.split_at(rest.partition_point(belongs));
    *rest = left;
    taken
}

fn draw_one(
    model: &Model,
    platform: u32,
    nodes: &[(Place, Priority)],
    edges: &[(u32, NodeKey, NodeKey, bool)],
    readings: &[(u32, NodeKey, u32)],
) -> IntentionGraph {
    let mut drawn: Vec<(usize, GraphNode)> = nodes
        .iter()
        .enumerate()
        .map(|(position, &((_, key), priority))| {
            let address = address(model, platform, key);
            (position, GraphNode { kind: address.kind(), address, priority })
        })
        .collect();
    drawn.sort_by(|(_, a), (_, b)| a.address.cmp(&b.address));
    let mut place = vec![0; drawn.len()];
    for (new, (old, _)) in (0..).zip(&drawn) {
        place[*old] = new;
    }
    let find = |key: NodeKey| -> u32 {
        let position = nodes.binary_search_by_key(&(platform, key), |(place, _)| *place);
        place[position.expect("both ends of an edge were woven")]
    };
    let mut edges: Vec<Edge> =
        edges.iter().map(|&(_, from, to, is_self)| Edge { from: find(from), to: find(to), is_self }).collect();
    edges.sort_unstable();
    let workspace = |id: u32| model.workspaces[id as usize].name.clone();
    let mut readings: Vec<Reading> =
        readings.iter().map(|&(_, key, id)| Reading { export: find(key), workspace: workspace(id) }).collect();
    readings.sort_unstable();
    let platform = model.ecosystem.platforms[platform as usize].name.clone();
    IntentionGraph { platform, nodes: drawn.into_iter().map(|(_, node)| node).collect(), edges, readings }
}
