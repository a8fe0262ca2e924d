//! The worked example on the kinds that render files, each to a branch of one bare repository.

use crate::ecosystem::{Ecosystem, git};
use std::path::Path;

const PODS: &str = "examples/kubernetes";
const TEAM: &str = "zones/usa/teams/northwind";

/// The worked example on databases that both kinds reach, with another platform in it.
fn worked_example(platform: &str) -> Ecosystem {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(PODS);
    let ecosystem = Ecosystem::new();
    for name in ["zones/usa/zone.yaml".to_owned()]
        .into_iter()
        .chain(["team.yaml", "nw_data.yaml", "mask_customers.sql"].map(|name| format!("{TEAM}/{name}")))
    {
        ecosystem.write(&name, &std::fs::read_to_string(root.join(&name)).expect("read the example"));
    }
    let text = std::fs::read_to_string(root.join("ecosystem.yaml")).expect("read the example");
    let (before, _) = text.split_once("platforms:\n").expect("it has platforms");
    let own = format!("{before}platforms:\n{platform}");
    ecosystem.write("ecosystem.yaml", if platform.is_empty() { &text } else { &own });
    ecosystem
}

const LAKE: &str = "  - platform: Azure Platform\n    kind: aws-batch\n    style: batch\n    locations: [\"azure:us/east\"]\n    settings: { stacks: 512 }\n";

/// Files that differ between a branch's last two renderings, whatever number of commits each took.
fn changed(bare: &Path, from: &str, branch: &str) -> Vec<String> {
    let paths = git(bare, &["diff", "--name-only", from, branch]);
    paths.lines().filter(|path| *path != "render-manifest.json").map(str::to_owned).collect()
}

#[test]
fn the_worked_example_is_rendered_on_both_kinds_to_branches_of_a_bare_repository() {
    let bare = Ecosystem::new();
    git(bare.root(), &["init", "--quiet", "--bare"]);
    for (branch, platform, least, files) in [("pods", "", 8, vec![]), ("lake", LAKE, 512, vec!["stacks/"])] {
        let model = worked_example(platform);
        model.levada(&["check"]).succeeded();
        let target = format!("{}#{branch}", bare.root().display());
        let render = ["render", "--platform", "Azure Platform", "--git", &target, "--format", "json"];
        let first = model.levada(&render).succeeded().json();
        assert!(first["files"].as_u64().expect("a count") >= least, "{first}");
        let tip = git(bare.root(), &["rev-parse", branch]);
        let message = git(bare.root(), &["log", "-1", "--format=%B", branch]);
        assert!(message.contains("Levada-Revision:"), "{message}");
        let again = model.levada(&render).succeeded().json();
        assert_eq!((again["commits"].as_u64(), git(bare.root(), &["rev-parse", branch])), (Some(0), tip.clone()));

        // One dataset more: one file where stores have files, and nothing at all where they are rows.
        let path = format!("{TEAM}/nw_data.yaml");
        let text = std::fs::read_to_string(model.path(&path)).expect("read the model");
        model.write(&path, &text.replace("NW_Data.suppliers]", "NW_Data.suppliers, NW_Data.orders]"));
        model.levada(&render).succeeded();
        let changed = changed(bare.root(), &tip, branch);
        assert_eq!(changed.len(), files.len(), "{changed:?}");
        assert!(changed.iter().zip(files).all(|(path, start)| path.starts_with(start)), "{changed:?}");
    }
}
