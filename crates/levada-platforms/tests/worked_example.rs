//! The worked example of the project, loaded from its files.

use levada_model::{FileId, Findings, Model, assemble, read_file};
use levada_planner::plan;
use levada_platforms::registry;
use std::collections::BTreeMap;
use std::path::Path;

const TEAM: &str = "zones/usa/teams/northwind";

/// The files of the worked example, by path from its root.
pub fn files() -> BTreeMap<String, String> {
    let names = ["team.yaml", "nw_data.yaml", "mask_customers.sql"].map(|name| format!("{TEAM}/{name}"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/northwind");
    let paths = ["ecosystem.yaml", "zones/usa/zone.yaml"].map(str::to_owned).into_iter().chain(names);
    paths.map(|path| (path.clone(), std::fs::read_to_string(root.join(&path)).expect("read the example"))).collect()
}

pub fn load(files: &BTreeMap<String, String>) -> Model {
    let mut findings = Findings::default();
    let mut fragments = Vec::new();
    for (number, (path, text)) in (0..).zip(files) {
        if path.ends_with(".yaml") {
            let (fragment, found) = read_file(FileId(number), path, text.as_bytes());
            findings.extend(found);
            fragments.push((path.clone(), fragment));
        }
    }
    let (model, found) = assemble(fragments, &|path| files.get(path).cloned());
    findings.extend(found);
    assert!(findings.0.is_empty(), "{findings:?}");
    model
}

#[test]
fn the_worked_example_is_planned_without_a_finding_as_eight_nodes_and_seven_edges() {
    let outcome = plan(&load(&files()), &registry(), None, "first".to_owned()).expect("no errors");
    assert!(outcome.plan.warnings.0.is_empty(), "{:?}", outcome.plan.warnings);
    let [graph] = &outcome.graphs[..] else { panic!("one platform, one graph") };
    assert_eq!((graph.nodes.len(), graph.edges.len()), (8, 7));
    assert_eq!(outcome.blueprint.nodes.len(), 8);
}
