//! What aws-batch renders, and what it refuses to. That the real Terraform, its scanners and Spark
//! accept it is proved by `cargo xtask aws` and `cargo xtask spark`.

use crate::worked_example::{self, load};
use levada_model::name::PlatformName;
use levada_planner::platform::{Rendering, render};
use levada_planner::{PlanOutcome, plan};
use levada_platforms::registry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

type Files = BTreeMap<String, String>;

const DATA: &str = "zones/europe/teams/trade/data.yaml";

/// The files of `examples/aws-batch`, with some texts replaced; every one of them must be there.
fn example(replaced: &[(&str, &str)]) -> Files {
    let folder = "zones/europe/teams/trade";
    let names = ["team.yaml", "data.yaml", "totals.sql"].map(|name| format!("{folder}/{name}"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/aws-batch");
    let paths = ["ecosystem.yaml", "zones/europe/zone.yaml"].map(str::to_owned).into_iter().chain(names);
    let files: Files = paths
        .map(|path| (path.clone(), std::fs::read_to_string(root.join(&path)).expect("read the example")))
        .collect();
    edited(files, replaced)
}

fn edited(mut files: Files, replaced: &[(&str, &str)]) -> Files {
    for (from, to) in replaced {
        assert!(files.values().any(|text| text.contains(from)), "no file has {from:?}");
        files.values_mut().for_each(|text| *text = text.replace(from, to));
    }
    files
}

fn planned(files: &Files) -> Result<PlanOutcome, Vec<&'static str>> {
    let outcome = plan(&load(files), &registry(), None, "r1".to_owned());
    outcome.map_err(|findings| findings.0.iter().map(|finding| finding.code.0).collect())
}

/// The codes of everything that is found, warnings included.
fn found(files: &Files) -> Vec<&'static str> {
    match planned(files) {
        Ok(plan) => plan.plan.warnings.0.iter().map(|finding| finding.code.0).collect(),
        Err(codes) => codes,
    }
}

fn rendered_as(files: &Files, platform: &str) -> Files {
    let (model, plan) = (load(files), planned(files).expect("no errors"));
    let mut renderings = render(&model, &registry(), &plan.blueprint, &plan.plan.delta);
    let platform: PlatformName = platform.parse().expect("a name");
    let Some(Rendering::Files(tree)) = renderings.remove(&platform) else { panic!("{platform} renders files") };
    tree.into_iter().map(|(path, bytes)| (path, String::from_utf8(bytes).expect("it is text"))).collect()
}

fn rendered(files: &Files) -> Files {
    rendered_as(files, "Lake")
}

/// Stops where `terraform fmt` would print a file differently, or can't read it.
fn assert_formatted(tree: &Files) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (path, text) in tree.iter().filter(|(path, _)| path.ends_with(".tf")) {
        let file = folder.path().join(path);
        std::fs::create_dir_all(file.parent().expect("it has a folder")).expect("create the folder");
        std::fs::write(file, text).expect("write the file");
    }
    let mut fmt = Command::new("terraform");
    fmt.args(["fmt", "-check", "-recursive", "-diff"])
        .arg(folder.path())
        .env("CHECKPOINT_DISABLE", "1")
        .env_remove("TF_CLI_CONFIG_FILE");
    let output = fmt.output().expect("terraform 1.10 or later is installed and on PATH");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The text between the quotes of a line such as `  name = "…"`, of all lines of one argument.
fn values<'t>(tree: &'t Files, argument: &str) -> Vec<&'t str> {
    let files = tree.iter().filter(|(path, _)| path.ends_with(".tf"));
    let lines = files.flat_map(|(_, text)| text.lines());
    let value = |line: &'t str| {
        let (name, value) = line.trim().split_once('=')?;
        (name.trim() == argument).then(|| value.trim().trim_matches('"'))
    };
    lines.filter_map(value).collect()
}

/// The platform's one store at scale: nothing but datastores, and somebody who reads them.
fn stores(count: usize, settings: &str) -> Files {
    let mut files = example(&[("stacks: 8", settings)]);
    let mut data = String::new();
    for number in 0..count {
        data.push_str(&format!(
            "datastore: Store{number}\ncontainer: trade_db\ningest: {{ kind: cdc }}\ndatasets:\n  t:\n    classification: pub\n    columns: {{ id: {{ type: int64, key: true }} }}\n---\n"
        ));
    }
    let datasets: Vec<String> = (0..count).map(|number| format!("Store{number}.t")).collect();
    data.push_str(&format!(
        "workspace: All\ncontainer: Reporting DB\ngroups:\n  G: {{ datasets: [{}] }}\n",
        datasets.join(", ")
    ));
    files.insert(DATA.to_owned(), data);
    files
}

#[test]
fn the_example_becomes_shared_roots_a_cell_and_stacks_with_a_file_for_each_datastore() {
    let tree = rendered(&example(&[]));
    assert_formatted(&tree);
    let stores: Vec<&String> = tree.keys().filter(|path| path.contains("/store_")).collect();
    assert_eq!(stores, ["stacks/003/store_Shop.tf", "stacks/004/store_Totals.tf", "stacks/007/store_Trade.tf"]);
    assert_eq!(tree.keys().filter(|path| path.starts_with("stacks/") && path.ends_with("/main.tf")).count(), 8);
    for path in
        ["platform/main.tf", "platform/levada_job.py", "platform/machine.asl.json", "cells/main/main.tf", "quotas.md"]
    {
        assert!(tree.contains_key(path), "{path}");
    }
    assert!(tree["quotas.md"].contains("| main | DMS tasks | 2 | 600 |"), "{}", tree["quotas.md"]);
    assert_eq!(rendered(&example(&[])), tree, "the same bytes again");
}

#[test]
fn the_worked_example_is_rendered_too() {
    let replaced = [
        ("kind: embedded", "kind: aws-batch"),
        ("kind: sqlite\n    location: \"azure:us/east\"\n    path: ../../../../data/nw.db", SOURCE),
        ("kind: sqlite\n    location: \"azure:us/east\"\n    path: ../../../../data/warehouse.db", TARGET),
    ];
    let tree = rendered_as(&edited(worked_example::files(), &replaced), "Azure Platform");
    assert_formatted(&tree);
    let mut files: Vec<&str> = tree.keys().filter_map(|path| path.split("store_").nth(1)).collect();
    files.sort_unstable();
    assert_eq!(files, ["Masked_NW_Data.tf", "NW_Data.tf"]);
    assert!(tree["platform/main.tf"].contains("variable \"region\""), "the location is of no AWS region");
}

const SOURCE: &str = "kind: postgres\n    location: \"azure:us/east\"\n    host: nw.example.com\n    database: nw\n    credential: nw_reader";
const TARGET: &str = "kind: postgres\n    location: \"azure:us/east\"\n    host: w.example.com\n    database: w\n    credential: nw_writer";

#[test]
fn one_dataset_more_changes_one_file_in_one_stack() {
    let before = rendered(&example(&[]));
    let more = "      sku:   { type: varchar(20), key: true }\n";
    let one_more = format!("{more}  stock:\n    classification: pub\n    columns:\n{more}");
    let asked = ("datasets: [Shop.products]", "datasets: [Shop.products, Shop.stock]");
    let after = rendered(&example(&[
        (&format!("{more}      title: {{ type: text, nullable: false }}\n      price: decimal(10,2)\n"), &one_more),
        asked,
    ]));
    let differs = |path: &&String| before.get(*path) != after.get(*path);
    let changed: BTreeSet<&String> = before.keys().chain(after.keys()).filter(differs).collect();
    assert_eq!(changed.into_iter().collect::<Vec<_>>(), ["stacks/003/store_Shop.tf"]);
}

#[test]
fn hostile_names_become_safe_valid_and_distinct_resources() {
    let hostile = "${file(\\\"passwd\\\")} %{ if x } \\\"'; 漢字 ";
    let long = format!("\"{hostile}{}\"", "x".repeat(80));
    let replaced = [
        ("platform: Lake", format!("platform: {long}")),
        ("container: Reporting DB", format!("container: {long}")),
        ("zone: Europe\n", format!("zone: {long}\n")),
        ("team: Trade", format!("team: {long}")),
    ];
    let replaced: Vec<(&str, &str)> = replaced.iter().map(|(from, to)| (*from, to.as_str())).collect();
    let files = example(&replaced);
    let name = load(&files).ecosystem.platforms[0].name.to_string();
    let tree = rendered_as(&files, &name);
    assert_formatted(&tree);
    for text in tree.iter().filter(|(path, _)| path.ends_with(".tf")).map(|(_, text)| text) {
        assert!(!text.replace("$${", "").contains("${file("), "a template of the model's: {text}");
        assert!(!text.replace("%%{", "").contains("%{"), "a directive of the model's: {text}");
    }
    let ids: Vec<&str> =
        ["endpoint_id", "replication_task_id", "name"].iter().flat_map(|it| values(&tree, it)).collect();
    let is_plain = |id: &str| id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_/.".contains(&b)) && id.len() <= 64;
    assert!(ids.iter().all(|id| is_plain(&id.replace("${local.name}", ""))), "{ids:?}");
    // Two platforms whose names differ in what a resource's name can't show.
    let other = rendered_as(&example(&[("platform: Lake", "platform: \"Lake!\"")]), "Lake!");
    let [ours, theirs] = [&rendered(&example(&[])), &other].map(|tree| values(tree, "replication_task_id").concat());
    assert_ne!(ours, theirs);
    assert_ne!(values(&other, "location_uri"), Vec::<&str>::new());
}

#[test]
fn platforms_that_share_an_infrastructure_do_not_collide() {
    let second = "    settings: { stacks: 8 }\n  - platform: Second\n    kind: aws-batch\n    infrastructure: aws-prod\n    style: forensic\n    locations: [\"aws:eu/west\"]\n";
    let files = example(&[("    settings: { stacks: 8 }\n", second)]);
    let names = |tree: &Files| -> BTreeSet<String> {
        let main = &tree["platform/main.tf"];
        main.lines()
            .filter(|line| line.contains("tfstate") || line.trim().starts_with("name "))
            .map(str::to_owned)
            .collect()
    };
    let (one, two) = (names(&rendered_as(&files, "Lake")), names(&rendered_as(&files, "Second")));
    assert!(!one.is_empty() && one.is_disjoint(&two), "{one:?} {two:?}");
}

#[test]
fn what_aws_can_not_do_is_found_before_anything_is_written() {
    for (replaced, code) in [
        (("since:       date", "since:       interval"), "E-AWS-002"),
        (("total:   decimal(38,2)", "total:   \"list<int64>\""), "E-AWS-002"),
        (("*/10 * * * 1-5", "*/10 * 1 * 1-5"), "E-AWS-003"),
        (("trigger: on-change", "trigger: { cron: \"0 0 1 * MON\" }"), "E-AWS-003"),
        (("trigger: on-change", "mode: changes\n  trigger: on-change"), "E-AWS-007"),
        (("table: crm.Customers", "table: crm.Cust%"), "E-AWS-008"),
        (("style: batch", "style: streaming"), "E-AWS-010"),
        (("stacks: 8", "stack: 8"), "E-AWS-001"),
        (("stacks: 8", "stacks: 0"), "E-AWS-001"),
        (("stacks: 8", "stacks: 8, account: \"12\""), "E-AWS-001"),
        (("stacks: 8", "stacks: 8, worker_type: large"), "E-AWS-001"),
        (("stacks: 8", "stacks: 8, cells: { a: { stacks: [0, 3] }, b: { stacks: [5, 7] } }"), "E-AWS-001"),
        (("stacks: 8", "stacks: 8, cells: { a: { stacks: [0, 3] } }"), "E-AWS-001"),
        (("stacks: 8", "stacks: 8, cells: { \"A b\": { stacks: [0, 7] } }"), "E-AWS-001"),
        (("stacks: 8", "stacks: 8, log_days: 366"), "E-AWS-001"),
    ] {
        let codes = found(&example(&[replaced]));
        assert!(codes.contains(&code), "{replaced:?}: {codes:?}");
    }
    let two = "      price: decimal(10,2)\n  stock:\n    classification: pub\n    columns:\n      sku: { type: varchar(20), key: true }\n";
    let asked = ("datasets: [Shop.products]", "datasets: [Shop.products, Shop.stock]");
    assert_eq!(found(&example(&[("      price: decimal(10,2)\n", two), asked])), ["E-AWS-009"]);
    let calendar = "calendar: office\nallow: [{ cron: \"0 8 * * *\", lasts: 8h }]\n---\ndatastore: Shop\n";
    let ingest = "ingest:\n  kind: snapshot\n  calendar: office\n";
    let codes = found(&example(&[("datastore: Shop\n", calendar), ("ingest:\n  kind: snapshot\n", ingest)]));
    assert!(codes.contains(&"E-AWS-004"), "{codes:?}");
}

#[test]
fn more_than_an_account_or_a_stack_takes_is_found() {
    assert_eq!(found(&stores(590, "stacks: 64")), Vec::<&str>::new());
    assert_eq!(found(&stores(610, "stacks: 64")), ["E-AWS-005"]);
    let two = "stacks: 64, cells: { a: { stacks: [0, 31] }, b: { account: \"444455556666\", stacks: [32, 63] } }";
    assert_eq!(found(&stores(610, two)), Vec::<&str>::new());
    assert_eq!(found(&stores(60, "stacks: 1")), ["E-AWS-006"], "a warning above 300 resources");
    assert!(planned(&stores(60, "stacks: 1")).is_ok());
    assert_eq!(planned(&stores(90, "stacks: 1")).expect_err("540 resources"), ["E-AWS-006"]);
}

#[test]
fn what_is_counted_is_what_is_rendered() {
    // 50 stores of a stack: 300 resources are no finding, and no resource more is there.
    let tree = rendered(&stores(50, "stacks: 1"));
    let resources = tree.iter().filter(|(path, _)| path.starts_with("stacks/")).flat_map(|(_, text)| text.lines());
    assert_eq!(resources.filter(|line| line.starts_with("resource ")).count(), 300);
    assert_eq!(found(&stores(50, "stacks: 1")), Vec::<&str>::new());
    assert_eq!(found(&stores(51, "stacks: 1")), ["E-AWS-006"]);
}

#[test]
fn more_stacks_are_a_migration_that_somebody_has_to_ask_for() {
    let on = |files: &Files, parent: Option<&PlanOutcome>| {
        let parent = parent.map(|parent| &parent.blueprint);
        plan(&load(files), &registry(), parent, "r1".to_owned())
    };
    let first = on(&example(&[]), None).expect("no errors");
    let more = example(&[("stacks: 8", "stacks: 40")]);
    let refused = on(&more, Some(&first)).expect_err("what is there would be made anew elsewhere");
    assert_eq!(refused.0.iter().map(|finding| finding.code.0).collect::<Vec<_>>(), ["E-EVOLUTION-007"]);

    let moving = example(&[("stacks: 8", "stacks: 40, stacks_before: 8")]);
    let second = on(&moving, Some(&first)).expect("it says what it moves from");
    assert!(second.plan.delta.is_empty() && !second.plan.is_empty(), "no node changes, and there is something to do");
    assert_ne!(second.plan.hash, first.plan.hash);
    let tree = rendered(&moving);
    assert_formatted(&tree);
    let [leaves, joins] = ["leaves_Trade", "joins_Trade"].map(|name| {
        tree.keys()
            .filter(|path| path.contains(name))
            .map(|path| path.split('/').nth(1).expect("a stack"))
            .collect::<Vec<_>>()
    });
    assert_eq!((leaves, joins.len()), (vec!["007"], 1));

    assert!(on(&moving, Some(&second)).expect("no errors").plan.is_empty());
    assert!(on(&more, Some(&second)).expect("it is in force").plan.is_empty());
    assert!(!rendered(&more).keys().any(|path| path.contains("leaves_") || path.contains("joins_")));
}

#[test]
fn the_tasks_of_another_accounts_cell_are_made_and_started_there() {
    let cells = "stacks: 8, cells: { home: { stacks: [0, 3] }, away: { account: \"444455556666\", stacks: [4, 7] } }";
    // Alignment is no matter here.
    let plain = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let tree: Files =
        rendered(&example(&[("stacks: 8", cells)])).into_iter().map(|(path, text)| (path, plain(text))).collect();
    // Trade is in stack 7, Shop in stack 3.
    let (away, here) = (&tree["stacks/007/main.tf"], &tree["stacks/003/main.tf"]);
    assert!(away.contains("own_account = \"444455556666\"") && away.contains("alias = \"home\""), "{away}");
    assert!(here.contains("own_account = \"111122223333\"") && !here.contains("alias ="), "{here}");
    assert!(tree["stacks/007/store_Trade.tf"].contains("role = local.dms_operator_role_arn"));
    assert_eq!(tree["stacks/007/store_Trade.tf"].matches("aws.home").count(), 3, "a schedule and two documents");
    let machine = &tree["platform/machine.tf"];
    assert!(machine.contains("arn:aws:iam::444455556666:role/${local.name}-dms-operator"), "{machine}");
    assert!(tree["platform/storage.tf"].contains("arn:aws:iam::444455556666:role/${local.name}-dms-staging"));
    assert!(tree.contains_key("cells/away/main.tf") && tree.contains_key("cells/home/main.tf"));
}
