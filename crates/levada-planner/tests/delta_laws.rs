//! The laws of blueprint and delta over random models.

use crate::models::northwind;
use crate::platforms::registry;
use crate::random::plots;
use levada_model::address::NodeAddress;
use levada_model::model::Model;
use levada_planner::blueprint::{Choices, DeliveredReading};
use levada_planner::plan::Measured;
use levada_planner::plan::write::Shown;
use levada_planner::{Blueprint, NodeChange, NodeSpec, assign, diff, freeze, plan, weave};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn frozen(model: &Model, parent: Option<&Blueprint>) -> Blueprint {
    let choices = parent.map_or_else(Choices::default, |parent| parent.choices.clone());
    let (assignment, _) = assign(model, &registry(), &choices);
    let (graphs, _) = weave(model, &assignment);
    freeze(model, &assignment, &graphs, parent, "revision".to_owned())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_woven_node_is_frozen_with_its_inputs(plot in plots()) {
        let model = plot.model();
        let (assignment, _) = assign(&model, &registry(), &Choices::default());
        let (graphs, _) = weave(&model, &assignment);
        let blueprint = frozen(&model, None);
        let woven: BTreeSet<&NodeAddress> = graphs.iter().flat_map(|it| &it.nodes).map(|it| &it.address).collect();
        prop_assert_eq!(woven, blueprint.nodes.keys().collect::<BTreeSet<_>>());
        for node in blueprint.nodes.values() {
            for input in &node.inputs {
                prop_assert!(blueprint.nodes.contains_key(&input.node), "{} waits for {}", node.address, input.node);
            }
        }
    }

    #[test]
    fn an_ingest_reads_only_what_is_consumed(plot in plots()) {
        let model = plot.model();
        let blueprint = frozen(&model, None);
        let mut read = BTreeSet::new();
        for node in blueprint.nodes.values() {
            if let NodeSpec::Ingest(ingest) = &node.spec {
                for dataset in &ingest.datasets {
                    read.insert(format!("{}.{}", ingest.stream.datastore, dataset.dataset));
                    prop_assert!(!dataset.owed.is_empty(), "somebody is owed what is read");
                }
            }
        }
        let sinks = model.workspaces.iter().flat_map(|it| &it.groups).flat_map(|it| &it.sinks);
        prop_assert_eq!(read, sinks.map(|sink| sink.dataset.value.to_string()).collect::<BTreeSet<_>>());
    }

    #[test]
    fn no_two_nodes_share_a_physical_table_and_no_two_exports_show_one_view(plot in plots()) {
        let blueprint = frozen(&plot.model(), None);
        let mut tables = BTreeSet::new();
        let mut views = BTreeSet::new();
        for node in blueprint.nodes.values() {
            if let NodeSpec::Export(export) = &node.spec {
                let container = &export.connection.container;
                for table in export.live.iter().chain(&export.history) {
                    prop_assert!(tables.insert((container.clone(), table.clone())), "{table}");
                }
                for view in &export.views {
                    let name = format!("{}.{}", view.schema, view.name);
                    prop_assert!(views.insert((container.clone(), name.clone())), "{name}");
                    let has_table = match view.reading {
                        DeliveredReading::Live => export.live.is_some(),
                        DeliveredReading::History => export.history.is_some(),
                    };
                    prop_assert!(has_table, "{name} shows a table that is there");
                }
            }
        }
    }

    #[test]
    fn every_sink_has_the_views_it_asked_for(plot in plots()) {
        use levada_model::model::Milestoning;
        let model = plot.model();
        let (assignment, _) = assign(&model, &registry(), &Choices::default());
        let blueprint = frozen(&model, None);
        let mut shown = BTreeSet::new();
        for node in blueprint.nodes.values() {
            if let NodeSpec::Export(export) = &node.spec {
                shown.extend(export.views.iter().map(|it| (it.workspace.clone(), export.source.clone(), it.reading)));
            }
        }
        for ((workspace, group), choice) in &assignment.groups {
            // A pin may force a group on a platform that can't deliver what it asks for: a finding.
            if choice.candidates.iter().any(|it| it.is_chosen() && !it.rejections.is_empty()) {
                continue;
            }
            let groups = &model.workspace(workspace).expect("known").groups;
            let group = groups.iter().find(|it| it.name == *group).expect("known");
            for sink in &group.sinks {
                let has = |reading| shown.contains(&(workspace.clone(), sink.dataset.value.clone(), reading));
                let milestoning = choice.terms.milestoning;
                prop_assert!(milestoning == Milestoning::History || has(DeliveredReading::Live));
                prop_assert!(milestoning == Milestoning::Live || has(DeliveredReading::History));
            }
        }
    }

    #[test]
    fn plan_after_apply_is_empty(plot in plots()) {
        let model = plot.model();
        let first = frozen(&model, None);
        let second = frozen(&model, Some(&first));
        prop_assert_eq!(second.generation.0, 2);
        prop_assert_eq!(second.parent, Some(first.generation));
        let delta = diff(Some(&first), &second);
        prop_assert!(delta.is_empty(), "{:?}", delta.changes.keys());
    }

    #[test]
    fn a_delta_leads_from_one_blueprint_to_the_other_and_says_what_is_different(one in plots(), other in plots()) {
        let before = frozen(&one.model(), None);
        let after = frozen(&other.model(), Some(&before));
        let delta = diff(Some(&before), &after);
        let mut nodes: BTreeMap<_, _> = before.nodes.clone();
        for (address, change) in &delta.changes {
            if let NodeChange::Changed { what, .. } = change {
                prop_assert!(!what.is_empty(), "{address}");
            }
            match change.after() {
                Some(node) => nodes.insert(address.clone(), node.clone()),
                None => nodes.remove(address),
            };
        }
        prop_assert_eq!(nodes, after.nodes);
    }

    #[test]
    fn blueprints_survive_json(plot in plots()) {
        let blueprint = frozen(&plot.model(), None);
        let text = serde_json::to_string(&blueprint).expect("serialises");
        let read: Blueprint = serde_json::from_str(&text).expect("parses");
        prop_assert_eq!(read, blueprint);
    }

    #[test]
    fn one_dataset_more_in_a_group_touches_only_its_nodes(plot in plots(), pick in 0..64usize) {
        let model = plot.model();
        let before = frozen(&model, None);
        let mut grown = model.clone();
        let position = pick % grown.workspaces.len();
        let Some(group) = grown.workspaces[position].groups.first_mut() else { return Ok(()) };
        let sources: Vec<_> = model.datastores.iter().filter(|it| it.name.as_str().starts_with('S')).collect();
        let store = sources[pick % sources.len()];
        let of = levada_model::address::DatasetRef::new(store.name.clone(), store.datasets[0].name.clone());
        if group.sinks.iter().any(|sink| sink.dataset.value == of) {
            return Ok(());
        }
        let sink = levada_model::model::Sink {
            dataset: levada_model::Spanned::new(of.clone(), group.span),
            is_deprecated_allowed: false,
        };
        group.sinks.push(sink);
        let workspace = grown.workspaces[position].name.clone();
        let after = frozen(&grown, Some(&before));
        let is_kept = |(store, primary)| after.choices.primaries.get(store) == Some(primary);
        let was_read = before.choices.primaries.contains_key(&of.datastore);
        if !(was_read && before.choices.primaries.iter().all(is_kept) && before.choices.groups == after.choices.groups) {
            // Nobody ingested it before, or a platform in force is too slow or not allowed for it.
            return Ok(());
        }
        for (address, change) in diff(Some(&before), &after).changes {
            let is_about_it = match &address {
                NodeAddress::Ingest(_, stream) | NodeAddress::Link(_, stream) => stream.datastore == of.datastore,
                NodeAddress::Export(_, _, source) => *source == of,
                NodeAddress::Trigger(_, name) | NodeAddress::Transform(_, name) => *name == workspace,
            };
            let only_priority = matches!(
                &change,
                NodeChange::Changed { what, .. }
                    if what.iter().all(|it| matches!(it, levada_planner::diff::Difference::Priority { .. }))
            );
            prop_assert!(is_about_it || only_priority, "{address}: {change:?}");
        }
    }
}

#[test]
fn a_second_plan_of_the_worked_example_says_there_is_nothing_to_do() {
    let model = northwind().build();
    let first = plan(&model, &registry(), None, "first".to_owned()).expect("no errors");
    assert_eq!(first.plan.delta.changes.len(), 8);
    let again = plan(&model, &registry(), Some(&first.blueprint), "second".to_owned()).expect("no errors");
    assert!(again.plan.is_empty() && again.plan.contracts.is_empty());
    let text = levada_planner::plan::write::write(
        &again.plan,
        levada_planner::plan::PlanFormat::Text,
        &Shown { place: &|_| String::new(), measured: &Measured::default(), lines_max: usize::MAX },
    );
    assert_eq!(text, "no changes: generation 1 is what the model says\n");
}

#[test]
fn what_changed_places_but_not_meaning_changes_no_hash() {
    let model = northwind().build();
    let mut moved = model.clone();
    moved.workspaces.iter_mut().for_each(|workspace| workspace.span.offset += 1_000);
    let hash = |model: &Model| plan(model, &registry(), None, "first".to_owned()).expect("no errors").plan.hash;
    assert_eq!(hash(&model), hash(&moved));
    let mut other = model.clone();
    let reader = levada_model::model::Reader::Role("analysts".to_owned());
    other.workspaces[0].readers.push(levada_model::Spanned::new(reader, model.workspaces[0].span));
    assert_ne!(hash(&model), hash(&other));
}

/// One dataset that goes to a folder by two platforms.
fn shared_folder() -> crate::models::Builder {
    use levada_model::connection::{ContainerKind, Place};
    use levada_model::model::Style;
    crate::models::Builder::new()
        .platform("P", Style::Batch)
        .platform("Q", Style::Forensic)
        .container("C")
        .container_with("folder", |container| {
            container.connection.kind = ContainerKind::Files;
            container.connection.place = Place::Path { path: "out".to_owned() };
        })
        .store("S", "C", &["d"])
        .workspace("L", "folder")
        .group("G", Some("hours live 1d"), &["S.d"])
        .workspace("H", "folder")
        .group("G", Some("hours both 1d"), &["S.d"])
}

/// The live folder of each platform's export.
fn live_folders(blueprint: &Blueprint) -> BTreeMap<String, String> {
    let exports = blueprint.nodes.values().filter_map(|node| match &node.spec {
        NodeSpec::Export(export) => Some((node.address.platform().to_string(), export.live.clone()?)),
        _ => None,
    });
    exports.collect()
}

#[test]
fn of_two_platforms_that_deliver_into_one_folder_the_primary_has_the_plain_one() {
    let first = frozen(&shared_folder().build(), None);
    let folders = live_folders(&first);
    assert_eq!(folders["P"], "levada/S/d/live");
    assert!(folders["Q"].starts_with("levada/S/d~"), "{}", folders["Q"]);
    let moved = frozen(&shared_folder().primary("S", "Q").build(), Some(&first));
    assert_eq!(moved.choices.primaries.values().next().expect("a primary").as_str(), "Q");
    assert_eq!(live_folders(&moved), folders, "a new primary moves no files");
}

#[test]
fn text_of_the_model_forges_no_lines_of_a_plan() {
    use levada_planner::plan::{PlanFormat, write};
    let model = northwind().build();
    let first = plan(&model, &registry(), None, "first".to_owned()).expect("no errors");
    let mut forged = model.clone();
    let store = forged.datastores.iter_mut().find(|store| store.name.as_str() == "NW_Data").expect("there");
    store.datasets[0].table = Some("x\n- Ingest/forged (stop)\u{1b}[2J".to_owned());
    let second = plan(&forged, &registry(), Some(&first.blueprint), "second".to_owned()).expect("no errors");
    for format in [PlanFormat::Text, PlanFormat::Markdown] {
        let text = write::write(
            &second.plan,
            format,
            &Shown { place: &|_| "here".to_owned(), measured: &Measured::default(), lines_max: usize::MAX },
        );
        assert!(text.contains("x·- Ingest/forged (stop)·"), "{text}");
    }
}
