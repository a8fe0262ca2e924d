//! What stands on Kubernetes, and what is refused. That its schemas, Kustomize and the scanners accept it
//! is proved by `cargo xtask kubernetes`; that pods run it, by the program's own tests.

use crate::worked_example::load;
use levada_model::name::PlatformName;
use levada_planner::platform::{Rendering, render};
use levada_planner::{PlanOutcome, plan};
use levada_platforms::external::External;
use levada_platforms::kubernetes::{FILE_BYTES_MAX, ModelCopy};
use levada_platforms::registry_with;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

type Files = BTreeMap<String, String>;

const IMAGE: &str = "registry.example/levada@sha256:0f343b0931126a20f133d67c2b018a3b5b2e4d1c9a8e7f6d5c4b3a2918273645";
const WORKED: &str = "Azure Platform";

/// The files of an example, with some texts replaced; every one of them must be there.
fn example(name: &str, paths: &[&str], replaced: &[(&str, &str)]) -> Files {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
    let read = |path: &&str| ((*path).to_owned(), std::fs::read_to_string(root.join(path)).expect("read the example"));
    let mut files: Files = paths.iter().map(read).collect();
    for (from, to) in replaced {
        assert!(files.values().any(|text| text.contains(from)), "no file has {from:?}");
        files.values_mut().for_each(|text| *text = text.replace(from, to));
    }
    files
}

fn worked(replaced: &[(&str, &str)]) -> Files {
    let team = "zones/usa/teams/northwind";
    let paths = ["team.yaml", "nw_data.yaml", "mask_customers.sql"].map(|name| format!("{team}/{name}"));
    let paths: Vec<&str> =
        ["ecosystem.yaml", "zones/usa/zone.yaml"].into_iter().chain(paths.iter().map(String::as_str)).collect();
    example("kubernetes", &paths, replaced)
}

/// A copy of a model's files, as the program makes it.
fn copy(files: &Files) -> ModelCopy {
    let (documents, others) = files
        .iter()
        .map(|(path, text)| (path.clone(), text.clone().into_bytes()))
        .partition(|(path, _)| path.ends_with(".yaml"));
    ModelCopy { documents, others }
}

fn planned_with(files: &Files, copy: ModelCopy) -> Result<PlanOutcome, Vec<&'static str>> {
    let registry = registry_with(External::default(), &Arc::new(copy));
    let outcome = plan(&load(files), &registry, None, "r1".to_owned());
    outcome.map_err(|findings| findings.0.iter().map(|finding| finding.code.0).collect())
}

/// The codes of everything that is found, warnings included.
fn found(files: &Files) -> Vec<&'static str> {
    match planned_with(files, copy(files)) {
        Ok(plan) => plan.plan.warnings.0.iter().map(|finding| finding.code.0).collect(),
        Err(codes) => codes,
    }
}

fn rendering(files: &Files, platform: &str) -> Rendering {
    let model = load(files);
    let registry = registry_with(External::default(), &Arc::new(copy(files)));
    let plan = plan(&model, &registry, None, "r1".to_owned()).expect("no errors");
    let platform: PlatformName = platform.parse().expect("a name");
    render(&model, &registry, &plan.blueprint, &plan.plan.delta).remove(&platform).expect("it renders something")
}

fn rendered(files: &Files, platform: &str) -> Files {
    let tree = rendering(files, platform).into_files().expect("there are files");
    tree.into_iter().map(|(path, bytes)| (path, String::from_utf8(bytes).expect("it is text"))).collect()
}

#[test]
fn the_worked_example_on_kubernetes_is_found_without_a_finding() {
    assert_eq!(found(&worked(&[])), Vec::<&str>::new());
    let Rendering::Pods(nodes, files) = rendering(&worked(&[]), WORKED) else { panic!("pods run its nodes") };
    assert_eq!((nodes.len(), files.len()), (8, 8));
}

#[test]
fn what_makes_no_sense_is_found_by_its_code() {
    for (from, to, code) in [
        ("    host:\n      kubernetes: levada\n", "    host:\n      kubernetes: Not_A_Name\n", "E-KUBERNETES-002"),
        (IMAGE, "registry.example/levada:1.0", "E-KUBERNETES-002"),
        ("        cpu: 1\n", "        cpu: many\n", "E-KUBERNETES-001"),
        ("        cpu: 1\n", "        cqu: 1\n", "E-KUBERNETES-001"),
        ("        state: { secret: levada-state, host: state.data.svc }\n", "        state: 3\n", "E-KUBERNETES-001"),
        ("        cpu: 1\n", "        replicas: 2\n", "E-KUBERNETES-003"),
        ("        cpu: 1\n", "        data: \"s3://bucket\"\n", "E-KUBERNETES-004"),
        ("        cpu: 1\n", "        secrets: { nw_reader: both, warehouse_writer: both }\n", "E-KUBERNETES-005"),
        ("credential: nw_reader", "credential: state", "E-KUBERNETES-005"),
        ("        networks: { warehouse.example.com: [10.20.0.0/24] }\n", "", "E-KUBERNETES-007"),
        (
            "        networks: { warehouse.example.com: [10.20.0.0/24] }\n",
            "        networks: { a: [everywhere] }\n",
            "E-KUBERNETES-001",
        ),
        ("      out: rendered\n", "      out: rendered\n      size: 3\n", "E-EMBEDDED-001"),
        ("      out: rendered\n", "      out: 3\n", "E-OUTPUT-001"),
    ] {
        let codes = found(&worked(&[(from, to)]));
        assert_eq!(codes.first(), Some(&code), "{to:?} gives {codes:?}");
    }
    let of_tag = worked(&[("staging: { namespace: levada-staging,", "staging: { image: \"levada:latest\",")]);
    assert_eq!(found(&of_tag), ["E-KUBERNETES-001"]);
}

#[test]
fn a_platform_of_this_kind_says_where_it_stands() {
    let host =
        "    host:\n      kubernetes: levada\n      # By its digest: `docker push` tells the one of your image.\n";
    let image = format!("      image: \"{IMAGE}\"\n");
    let codes = found(&worked(&[(host, ""), (&image, "")]));
    assert!(codes.contains(&"E-KUBERNETES-002") && codes.contains(&"E-KUBERNETES-001"), "{codes:?}");
}

#[test]
fn what_lies_on_a_machine_s_disk_is_out_of_a_pod_s_reach() {
    let place = "    kind: postgres\n    location: \"azure:us/east\"\n    host: northwind.data.svc\n    database: northwind\n    credential: nw_reader\n";
    let codes = found(&worked(&[(place, "    kind: sqlite\n    location: \"azure:us/east\"\n    path: nw.db\n")]));
    assert!(codes.iter().any(|code| code.starts_with("E-BROKER")), "{codes:?}");
}

#[test]
fn a_file_that_no_config_map_takes_is_found_before_anything_is_written() {
    let files = worked(&[("code: { sql: mask_customers.sql }", "code: { command: [python3, mask.py] }")]);
    let with = |bytes: usize| {
        let mut copy = copy(&files);
        copy.others.insert("zones/usa/teams/northwind/words.txt".to_owned(), vec![b'w'; bytes]);
        planned_with(&files, copy).map(drop)
    };
    assert_eq!(with(FILE_BYTES_MAX), Ok(()));
    assert_eq!(with(FILE_BYTES_MAX + 1), Err(vec!["E-KUBERNETES-006"]));
}

#[test]
fn a_large_model_is_spread_over_config_maps_that_each_hold_it() {
    let mut files = worked(&[("code: { sql: mask_customers.sql }", "code: { command: [python3, mask.py] }")]);
    for number in 0..64 {
        let path = format!("zones/usa/teams/northwind/words/{number}.txt");
        files.insert(path, format!("{number} and a line that is as long as people write them\n").repeat(1_000));
    }
    let before = rendered(&files, WORKED);
    let maps: Vec<&String> = before.keys().filter(|path| path.contains("/model-")).collect();
    assert!(maps.len() > 1, "{maps:?}");
    assert!(maps.iter().all(|path| before[*path].len() < 1 << 20));
    files.get_mut("zones/usa/teams/northwind/words/7.txt").expect("it is there").push_str("more\n");
    let after = rendered(&files, WORKED);
    let changed: Vec<&String> = before.keys().filter(|path| before[*path] != after[*path]).collect();
    assert_eq!((changed.len(), before.len()), (1, after.len()), "{changed:?}");
}

#[test]
fn pods_may_talk_to_whom_the_graph_names_and_nobody_else() {
    let policy = rendered(&worked(&[]), WORKED).remove("kubernetes/base/network.yaml").expect("there is one");
    let peers: Vec<&str> =
        policy.lines().map(str::trim).filter(|line| line.contains("cidr") || line.contains("metadata.name")).collect();
    assert_eq!(
        peers,
        [
            "kubernetes.io/metadata.name: kube-system",
            "kubernetes.io/metadata.name: openshift-dns",
            "cidr: \"169.254.20.10/32\"",
            "cidr: \"10.20.0.0/24\"",
            "kubernetes.io/metadata.name: data",
            "kubernetes.io/metadata.name: monitoring",
        ]
    );
    let elsewhere = rendered(&worked(&[("host: northwind.data.svc", "host: 192.0.2.7")]), WORKED);
    assert!(elsewhere["kubernetes/base/network.yaml"].contains("192.0.2.7/32"));
    let wide = rendered(&worked(&[("        networks: { warehouse.example.com: [10.20.0.0/24] }\n", "")]), WORKED);
    let wide = &wide["kubernetes/base/network.yaml"];
    assert!(wide.contains("0.0.0.0/0") && wide.contains("169.254.0.0/16"), "{wide}");
}

#[test]
fn an_embedded_platform_that_is_hosted_is_one_of_pods() {
    let same = worked(&[("kind: kubernetes", "kind: embedded")]);
    let Rendering::Pods(nodes, files) = rendering(&same, WORKED) else { panic!("pods run its nodes") };
    assert_eq!(nodes.len(), 8);
    let Rendering::Pods(_, others) = rendering(&worked(&[]), WORKED) else { panic!("pods run its nodes") };
    assert_eq!(files, others);
}

#[test]
fn another_kind_s_image_stands_beside_what_the_kind_renders() {
    let paths = [
        "ecosystem.yaml",
        "zones/europe/zone.yaml",
        "zones/europe/teams/trade/team.yaml",
        "zones/europe/teams/trade/data.yaml",
        "zones/europe/teams/trade/totals.sql",
    ];
    let host = format!("platform: Lake\n    host: {{ kubernetes: lake, image: \"{IMAGE}\" }}\n");
    let tree = rendered(&example("aws-batch", &paths, &[("platform: Lake\n", &host)]), "Lake");
    let alone = rendered(&example("aws-batch", &paths, &[]), "Lake");
    assert!(alone.iter().all(|(path, text)| tree.get(path) == Some(text)), "its own files are as they were");
    let more: BTreeSet<&str> = tree
        .keys()
        .filter(|path| !alone.contains_key(*path))
        .filter_map(|path| path.strip_prefix("kubernetes/base/"))
        .collect();
    assert!(
        more.contains("parameters.yaml") && more.contains("model-0000.yaml") && !more.contains("jobs.yaml"),
        "{more:?}"
    );
    let workload = &tree["kubernetes/base/workload.yaml"];
    assert!(workload.contains("LEVADA_PARAMETERS") && !workload.contains("LEVADA_STATE"), "{workload}");
    assert!(tree["kubernetes/base/parameters.yaml"].contains("\"settings\""));
}

#[test]
fn hostile_names_make_objects_that_are_valid_and_distinct() {
    let long = "x".repeat(128);
    let mut seen = BTreeSet::new();
    for name in ["$(LEVADA_STATE)", "\\\"quoted\\\" & 'so'", "漢字", "-", "a: b", long.as_str(), "#no", "A", "a"] {
        let files = worked(&[("platform: Azure Platform", &format!("platform: \"{name}\""))]);
        let plain = name.replace("\\\"", "\"");
        let workload = rendered(&files, &plain).remove("kubernetes/base/workload.yaml").expect("it stands");
        let called =
            workload.lines().find_map(|line| line.strip_prefix("  name: ")).expect("it is called something").to_owned();
        assert!(
            called.len() <= 40 && called.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
            "{called}"
        );
        assert!(seen.insert(called), "{name} is called as another");
        let told = workload.lines().find(|line| line.contains("--platform=")).expect("it is told whose it is");
        let dollars = serde_json::Value::String(format!("--platform={}", plain.replace('$', "$$"))).to_string();
        let bare = dollars.trim_matches('"').to_owned();
        assert!(told.ends_with(&dollars) || told.ends_with(&bare), "{told}");
    }
}
