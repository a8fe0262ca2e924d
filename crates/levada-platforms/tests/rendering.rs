//! What the kinds make of their part of a blueprint.

use crate::worked_example::{files, load};
use levada_model::Model;
use levada_model::name::PlatformName;
use levada_planner::platform::{Platform, Rendering, parts, render};
use levada_planner::{Blueprint, PlanOutcome, PlatformRegistry, diff, plan};
use levada_platforms::embedded::Embedded;
use levada_platforms::recording::Recording;
use std::collections::BTreeMap;

/// The worked example on a platform of a kind, with some texts replaced.
fn planned(kind: &str, replaced: &[(&str, &str)], parent: Option<&Blueprint>) -> PlanOutcome {
    let mut files = files();
    let mut replaced = replaced.to_vec();
    let kind = format!("kind: {kind}");
    replaced.push(("kind: embedded", &kind));
    for text in files.values_mut() {
        for (from, to) in &replaced {
            *text = text.replace(from, to);
        }
    }
    let registry = PlatformRegistry::default().with(Embedded).with(Recording);
    plan(&load(&files), &registry, parent, "revision".to_owned()).expect("no errors")
}

fn rendered(platform: &dyn Platform, plan: &PlanOutcome) -> Rendering {
    let name: PlatformName = "Azure Platform".parse().expect("a name");
    platform.render(&parts(&Model::default(), &plan.blueprint, &plan.plan.delta)[&name])
}

fn files_of(plan: &PlanOutcome) -> BTreeMap<String, Vec<u8>> {
    match rendered(&Recording, plan) {
        Rendering::Files(files) => files,
        Rendering::Nodes(_) | Rendering::Pods(..) => panic!("the recording kind writes files"),
    }
}

/// One dataset more in the group of the worked example's consumer.
const ONE_MORE: (&str, &str) =
    ("NW_Data.products, NW_Data.suppliers", "NW_Data.products, NW_Data.orders, NW_Data.suppliers");

#[test]
fn the_embedded_kind_hands_its_changes_to_the_runtime() {
    let first = planned("embedded", &[], None);
    let Rendering::Nodes(changes) = rendered(&Embedded, &first) else { panic!("the embedded kind runs nodes") };
    assert_eq!(changes, first.plan.delta.changes);
    let again = planned("embedded", &[], Some(&first.blueprint));
    assert_eq!(rendered(&Embedded, &again), Rendering::Nodes(BTreeMap::new()));
}

#[test]
fn a_platform_without_nodes_has_no_part() {
    let plan = planned("embedded", &[], None);
    let model = Model::default();
    let platforms: Vec<&str> =
        parts(&model, &plan.blueprint, &plan.plan.delta).keys().map(|name| name.as_str()).collect();
    assert_eq!(platforms, ["Azure Platform"]);
}

#[test]
fn every_platform_of_a_plan_is_rendered_by_its_kind_and_one_that_left_retires() {
    let first = planned("embedded", &[], None);
    let registry = PlatformRegistry::default().with(Embedded).with(Recording);
    let model = load(&files());
    let renderings = render(&model, &registry, &first.blueprint, &first.plan.delta);
    assert_eq!(renderings.into_values().collect::<Vec<_>>(), [Rendering::Nodes(first.plan.delta.changes.clone())]);
    let nothing = Blueprint { nodes: BTreeMap::new(), ..first.blueprint.clone() };
    let gone = diff(Some(&first.blueprint), &nothing);
    let renderings = render(&Model::default(), &registry, &nothing, &gone);
    assert_eq!(renderings.into_values().collect::<Vec<_>>(), [Rendering::Nodes(gone.changes.clone())]);
}

#[test]
fn the_recording_kind_writes_one_file_per_node_and_the_same_bytes_again() {
    let plan = planned("recording", &[], None);
    let files = files_of(&plan);
    assert_eq!(files.len(), 8);
    assert_eq!(files, files_of(&planned("recording", &[], None)));
    let second = planned("recording", &[], Some(&plan.blueprint));
    assert_eq!(files, files_of(&second), "the tree depends on the blueprint, not on the way there");
}

#[test]
fn one_dataset_more_adds_its_export_and_rewrites_its_ingest_and_nothing_else() {
    let first = planned("recording", &[], None);
    let second = planned("recording", &[ONE_MORE], Some(&first.blueprint));
    let (before, after) = (files_of(&first), files_of(&second));
    let touched: Vec<&String> =
        after.iter().filter(|(path, text)| before.get(*path) != Some(text)).map(|(path, _)| path).collect();
    assert_eq!(
        touched,
        ["Export/Azure%20Platform/Test%20Azure%20SQL/NW_Data/orders.json", "Ingest/Azure%20Platform/NW_Data.json"]
    );
    assert!(before.keys().all(|path| after.contains_key(path)));
}

#[test]
fn a_setting_that_the_embedded_kind_does_not_have_is_a_finding() {
    let mut model = load(&files());
    let platform = &mut model.ecosystem.platforms[0];
    assert!(Embedded.lint(platform, None).0.is_empty());
    platform.settings.insert("stacks".to_owned(), serde_json::json!(512));
    assert_eq!(Embedded.lint(platform, None).0.len(), 1);
}
