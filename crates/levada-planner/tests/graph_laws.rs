//! The laws of the intention graph, each a property of its name over random models.

use crate::platforms::registry;
use crate::random::plots;
use levada_model::address::{NodeAddress, Stream};
use levada_model::model::{Model, Priority};
use levada_planner::blueprint::Choices;
use levada_planner::{Assignment, IntentionGraph, assign, graph, weave};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn woven(model: &Model) -> (Assignment, Vec<IntentionGraph>) {
    let (assignment, _) = assign(model, &registry(), &Choices::default());
    let (graphs, findings) = weave(model, &assignment);
    assert!(!findings.has_errors(), "{findings:?}");
    (assignment, graphs)
}

fn addresses(graphs: &[IntentionGraph]) -> Vec<&NodeAddress> {
    graphs.iter().flat_map(|graph| &graph.nodes).map(|node| &node.address).collect()
}

/// The stream that the model puts a dataset in.
fn stream_of(model: &Model, of: &levada_model::address::DatasetRef) -> Stream {
    let is_multi = model.datastore(&of.datastore).expect("known").is_multi();
    Stream { datastore: of.datastore.clone(), dataset: (!is_multi).then(|| of.dataset.clone()) }
}

/// Every stream that some sink asks for.
fn streams_in_use(model: &Model) -> BTreeSet<Stream> {
    let sinks = model.workspaces.iter().flat_map(|workspace| &workspace.groups).flat_map(|group| &group.sinks);
    sinks.map(|sink| stream_of(model, &sink.dataset.value)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_stream_in_use_has_exactly_one_ingest_over_all_graphs(plot in plots()) {
        let model = plot.model();
        let (assignment, graphs) = woven(&model);
        let mut ingests: Vec<Stream> = Vec::new();
        for address in addresses(&graphs) {
            if let NodeAddress::Ingest(platform, stream) = address {
                let primary = assignment.primaries[&stream.datastore].platform.as_ref();
                prop_assert_eq!(primary, Some(platform), "an ingest stands on its primary");
                ingests.push(stream.clone());
            }
        }
        ingests.sort();
        prop_assert_eq!(ingests, streams_in_use(&model).into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn edges_are_those_of_the_law_and_nothing_else(plot in plots()) {
        use levada_model::NodeKind::*;
        let model = plot.model();
        for graph in woven(&model).1 {
            for edge in &graph.edges {
                let (from, to) = (graph.address(edge.from), graph.address(edge.to));
                let is_lawful = matches!(
                    (from.kind(), to.kind()),
                    (Ingest | Link, Export) | (Export, Trigger) | (Trigger, Transform) | (Transform, Ingest)
                );
                prop_assert!(is_lawful, "{from} -> {to}");
                let is_own_output = match (from, to) {
                    (NodeAddress::Export(_, _, of), NodeAddress::Trigger(_, workspace)) => {
                        let workspace = model.workspace(workspace).expect("known");
                        workspace.transformer.as_ref().is_some_and(|it| it.output.value == of.datastore)
                    }
                    _ => false,
                };
                prop_assert_eq!(edge.is_self, is_own_output, "{} -> {}", from, to);
            }
        }
    }

    #[test]
    fn two_platforms_link_instead_of_ingesting(plot in plots()) {
        let model = plot.model();
        let (assignment, graphs) = woven(&model);
        for graph in &graphs {
            for edge in &graph.edges {
                let (from, to) = (graph.address(edge.from), graph.address(edge.to));
                if let NodeAddress::Export(platform, _, of) = to {
                    let primary = assignment.primaries[&of.datastore].platform.as_ref().expect("chosen");
                    let stream = stream_of(&model, of);
                    let expected = match primary == platform {
                        true => NodeAddress::Ingest(platform.clone(), stream),
                        false => NodeAddress::Link(platform.clone(), stream),
                    };
                    prop_assert_eq!(from, &expected);
                }
            }
            for node in &graph.nodes {
                if let NodeAddress::Link(..) = node.address {
                    let position = graph.position(&node.address);
                    prop_assert!(graph.edges.iter().all(|edge| Some(edge.to) != position), "nothing lies behind a link");
                }
            }
        }
    }

    #[test]
    fn every_sink_is_exported_by_every_platform_of_its_group(plot in plots()) {
        let model = plot.model();
        let (assignment, graphs) = woven(&model);
        let all: BTreeSet<&NodeAddress> = addresses(&graphs).into_iter().collect();
        for workspace in &model.workspaces {
            for group in &workspace.groups {
                let choice = &assignment.groups[&(workspace.name.clone(), group.name.clone())];
                prop_assert!(!choice.platforms.is_empty());
                for by in &choice.platforms {
                    for sink in &group.sinks {
                        let container = workspace.container.value.clone();
                        let export = NodeAddress::Export(by.platform.clone(), container, sink.dataset.value.clone());
                        prop_assert!(all.contains(&export), "{export}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_transformer_runs_once_on_its_outputs_primary_with_its_whole_workspace(plot in plots()) {
        let model = plot.model();
        let (assignment, graphs) = woven(&model);
        let all: Vec<&NodeAddress> = addresses(&graphs);
        let in_use = streams_in_use(&model);
        for workspace in &model.workspaces {
            let runs: Vec<_> = all
                .iter()
                .filter_map(|address| match address {
                    NodeAddress::Transform(platform, name) if *name == workspace.name => Some(platform),
                    _ => None,
                })
                .collect();
            let Some(transformer) = &workspace.transformer else {
                prop_assert!(runs.is_empty());
                continue;
            };
            let output = Stream { datastore: transformer.output.value.clone(), dataset: None };
            if !in_use.contains(&output) {
                prop_assert!(runs.is_empty(), "what nobody consumes is not made");
                continue;
            }
            let primary = assignment.primaries[&output.datastore].platform.as_ref().expect("chosen");
            prop_assert_eq!(&runs, &vec![primary]);
            let graph = graphs.iter().find(|graph| graph.platform == *primary).expect("there is one");
            let trigger = graph.position(&NodeAddress::Trigger(primary.clone(), workspace.name.clone()));
            let fed: BTreeSet<&NodeAddress> =
                graph.edges.iter().filter(|edge| Some(edge.to) == trigger).map(|edge| graph.address(edge.from)).collect();
            let sinks = workspace.groups.iter().flat_map(|group| &group.sinks);
            let container = &workspace.container.value;
            let export = |of| NodeAddress::Export(primary.clone(), container.clone(), of);
            let expected: BTreeSet<NodeAddress> = sinks.map(|sink| export(sink.dataset.value.clone())).collect();
            prop_assert_eq!(fed, expected.iter().collect::<BTreeSet<_>>());
        }
    }

    #[test]
    fn without_self_edges_the_graph_is_acyclic_across_platforms(plot in plots()) {
        let model = plot.model();
        let (_, graphs) = woven(&model);
        let down = downward(&graphs, false);
        let mut left: BTreeMap<&NodeAddress, usize> = addresses(&graphs).into_iter().map(|node| (node, 0)).collect();
        for targets in down.values() {
            targets.iter().for_each(|target| *left.get_mut(target).expect("known") += 1);
        }
        let mut ready: Vec<&NodeAddress> = left.iter().filter(|(_, count)| **count == 0).map(|(node, _)| *node).collect();
        let mut done = 0;
        while let Some(node) = ready.pop() {
            done += 1;
            for &target in down.get(node).into_iter().flatten() {
                let count = left.get_mut(target).expect("known");
                *count -= 1;
                if *count == 0 {
                    ready.push(target);
                }
            }
        }
        prop_assert_eq!(done, left.len());
    }

    #[test]
    fn a_circle_of_transformers_is_a_finding_exactly_where_there_is_one(plot in plots()) {
        let model = plot.entangled_model();
        let (assignment, _) = assign(&model, &registry(), &Choices::default());
        let (_, findings) = weave(&model, &assignment);
        let feeds = |from: usize, to: usize| {
            let Some(transformer) = &model.workspaces[from].transformer else { return false };
            let sinks = model.workspaces[to].groups.iter().flat_map(|group| &group.sinks);
            from != to && sinks.into_iter().any(|sink| sink.dataset.value.datastore == transformer.output.value)
        };
        let count = model.workspaces.len();
        let mut reaches = vec![vec![false; count]; count];
        for (from, row) in reaches.iter_mut().enumerate() {
            for (to, cell) in row.iter_mut().enumerate() {
                *cell = model.workspaces[to].transformer.is_some() && feeds(from, to);
            }
        }
        for via in 0..count {
            for from in 0..count {
                for to in 0..count {
                    reaches[from][to] |= reaches[from][via] && reaches[via][to];
                }
            }
        }
        let has_circle = (0..count).any(|workspace| reaches[workspace][workspace]);
        prop_assert_eq!(findings.has_errors(), has_circle, "{:?}", findings);
    }

    #[test]
    fn priority_is_the_highest_of_all_dependants_across_links(plot in plots()) {
        let model = plot.model();
        let (_, graphs) = woven(&model);
        let down = downward(&graphs, true);
        for node in graphs.iter().flat_map(|graph| &graph.nodes) {
            let mut seen = BTreeSet::new();
            let mut open = vec![&node.address];
            let mut highest = Priority::Low;
            while let Some(address) = open.pop() {
                if !seen.insert(address) {
                    continue;
                }
                highest = highest.max(own_priority(&model, &graphs, address));
                open.extend(down.get(address).into_iter().flatten());
            }
            prop_assert_eq!(node.priority, highest, "{}", node.address);
        }
    }

    #[test]
    fn the_same_input_gives_the_same_bytes_in_any_order_of_files(plot in plots()) {
        let model = plot.model();
        let mut turned = model.clone();
        turned.workspaces.reverse();
        turned.datastores.reverse();
        turned.ecosystem.platforms.reverse();
        turned.containers.reverse();
        turned.assignments.reverse();
        turned.index();
        for format in [graph::GraphFormat::Text, graph::GraphFormat::Mermaid, graph::GraphFormat::Dot, graph::GraphFormat::Json] {
            prop_assert_eq!(graph::write(&woven(&model).1, format), graph::write(&woven(&turned).1, format));
        }
    }
}

/// All edges of all graphs, with those from an ingest to the links that wait for it.
fn downward(graphs: &[IntentionGraph], with_self: bool) -> BTreeMap<&NodeAddress, Vec<&NodeAddress>> {
    let mut down: BTreeMap<&NodeAddress, Vec<&NodeAddress>> = BTreeMap::new();
    for graph in graphs {
        for edge in graph.edges.iter().filter(|edge| with_self || !edge.is_self) {
            down.entry(graph.address(edge.from)).or_default().push(graph.address(edge.to));
        }
    }
    let all = addresses(graphs);
    for link in &all {
        if let NodeAddress::Link(_, wanted) = link {
            let ingest = all.iter().find(|node| matches!(node, NodeAddress::Ingest(_, stream) if stream == wanted));
            down.entry(ingest.expect("a link has its ingest")).or_default().push(link);
        }
    }
    down
}

/// The priority that a node has of itself: of the workspaces that read it, or whose code it is.
fn own_priority(model: &Model, graphs: &[IntentionGraph], address: &NodeAddress) -> Priority {
    let of = |name| model.workspace(name).expect("known").priority;
    match address {
        NodeAddress::Trigger(_, workspace) | NodeAddress::Transform(_, workspace) => of(workspace),
        NodeAddress::Export(platform, ..) => {
            let graph = graphs.iter().find(|graph| graph.platform == *platform).expect("there is one");
            let position = graph.position(address);
            let readers = graph.readings.iter().filter(|reading| Some(reading.export) == position);
            readers.map(|reading| of(&reading.workspace)).max().unwrap_or(Priority::Low)
        }
        _ => Priority::Low,
    }
}
