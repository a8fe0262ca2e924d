//! The platform protocol: what is asked and answered keeps to its JSON Schema.

use crate::worked_example::{files, load};
use levada_model::model::Described;
use levada_model::name::PlatformName;
use levada_planner::platform::{Part, Platform, parts};
use levada_planner::{PlanOutcome, plan};
use levada_platforms::external::answer::{LintAnswer, RenderAnswer, read_description};
use levada_platforms::external::question::{Ask, Question};
use levada_platforms::external::{External, PROTOCOL_SCHEMA, run_fingerprint};
use levada_platforms::registry;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A model that has a bit of everything that an external platform may be asked for.
const RICH: [(&str, &str); 3] = [
    (
        "ecosystem.yaml",
        "\
ecosystem: rich
vendors: [{ vendor: here, cloud: private, locations: { lab: {} } }]
platforms:
  - platform: P
    kind: embedded
    style: forensic
    locations: [\"here:lab\"]
---
calendar: nights
timezone: Atlantic/Madeira
allow: [{ cron: \"0 22 * * *\", lasts: 6h }]
deny: [{ from: 2026-12-24, to: 2026-12-27 }]
",
    ),
    ("z/zone.yaml", "zone: Z\nholds: [{ hold: case-1, datasets: [Shop.orders], since: 2026-05-01 }]\n"),
    (
        "z/t/team.yaml",
        "\
team: T
containers:
  - { container: src, kind: sqlite, location: \"here:lab\", path: src.db, calendar: nights }
  - { container: drop, kind: files, location: \"here:lab\", path: in }
  - { container: out, kind: files, location: \"here:lab\", path: out }
---
datastore: Shop
container: src
ingest:
  kind: watermark
  column: changed
  overlap: 5m
  deletes: { cron: \"0 3 * * SUN\" }
  trigger: { cron: \"*/5 * * * *\", timezone: Europe/Lisbon, jitter: 30s }
datasets:
  orders:
    columns:
      id: { type: int64, key: true, classification: pub }
      changed: { type: timestamp, nullable: false, classification: pub, from: Changed }
      who: { type: \"list<struct<name: text, at: timestamptz>>\", classification: pc3 }
---
datastore: Drops
container: drop
ingest: { kind: files, pattern: \"{dataset}/*.csv\", format: csv, options: { delimiter: \";\" }, each-file: adds, trigger: { cron: \"0 * * * *\" } }
datasets:
  clicks: { classification: pub, columns: { at: timestamp } }
---
workspace: W
container: out
priority: high
groups: { G: { requires: { milestoning: both, retention: 7y }, datasets: [Shop.orders, Drops.clicks] } }
transformer:
  transformer: Rank
  output: Ranks
  mode: append
  trigger: { cron: \"0 3 * * MON\", timezone: Europe/Lisbon }
  code: { command: [python3, rank.py], timeout: 10m, memory: 512MB }
datasets:
  best: { classification: pub, columns: { id: { type: int64 } } }
---
workspace: R
container: out
groups: { G: { datasets: [Ranks.best] } }
",
    ),
];

/// What the schema has against a document of this name.
fn problems(of: &str, document: &Value) -> Vec<String> {
    let mut schema: Value = serde_json::from_str(PROTOCOL_SCHEMA).expect("the schema is JSON");
    schema["oneOf"] = json!([{ "$ref": format!("#/$defs/{of}") }]);
    let validator = jsonschema::validator_for(&schema).expect("the schema is a JSON Schema");
    validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn description() -> Value {
    json!({
        "protocol": 1, "program": "test", "version": "1",
        "capabilities": {
            "sources": { "sqlite": ["snapshot", "watermark"], "files": ["files"] }, "sinks": ["sqlite", "files"],
            "code": ["sql", "command"], "catch_up": ["latest"],
        },
        "settings_schema": { "type": "object", "properties": { "size": { "type": "integer" } } },
    })
}

/// The worked example on an external platform, with these changes of its files.
fn planned(files: &BTreeMap<String, String>, edits: &[(&str, &str, &str)]) -> (levada_model::Model, PlanOutcome) {
    let mut files = files.clone();
    let run = "kind: external\n    run: { command: [python3, it.py] }\n    settings: { out: there, size: 3 }";
    for (path, from, to) in [("ecosystem.yaml", "kind: embedded", run)].iter().chain(edits) {
        let text = files.get_mut(*path).unwrap_or_else(|| panic!("there is no {path}"));
        assert!(text.contains(from), "{path} has no {from:?}");
        *text = text.replace(from, to);
    }
    let mut model = load(&files);
    for platform in &mut model.ecosystem.platforms {
        let run = run_fingerprint(platform.run.as_ref().expect("it names a program"));
        platform.described = Some(Described { run, answer: description() });
    }
    let outcome = plan(&model, &registry(), None, "r1".to_owned()).unwrap_or_else(|findings| panic!("{findings:?}"));
    (model, outcome)
}

fn asked_of(files: &BTreeMap<String, String>, edits: &[(&str, &str, &str)]) -> Value {
    let (model, plan) = planned(files, edits);
    let parts = parts(&model, &plan.blueprint, &plan.plan.delta);
    let entry = &model.ecosystem.platforms[0];
    let previous = BTreeMap::from([("a.json".to_owned(), "00".to_owned())]);
    let question = Question::about_part(Ask::Render, entry, &parts[&entry.name], "r1", Some(&previous));
    serde_json::from_slice(&question.to_bytes()).expect("a question is JSON")
}

#[test]
fn questions_keep_to_the_schema_whatever_the_part_is_made_of() {
    let question = asked_of(&files(), &[]);
    assert_eq!(problems("question", &question), Vec::<String>::new());
    assert_eq!(question["graph"]["nodes"].as_array().map(Vec::len), Some(8));
    assert_eq!(
        question["platform"]["settings"],
        json!({ "size": 3 }),
        "where the files go is not the program's matter"
    );

    let rich = asked_of(&RICH.map(|(path, text)| (path.to_owned(), text.to_owned())).into(), &[]);
    let kinds: std::collections::BTreeSet<&str> = rich["graph"]["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .filter_map(|node| node["spec"]["kind"].as_str())
        .collect();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["export", "ingest", "transform", "trigger"]);
    assert_eq!(problems("question", &rich), Vec::<String>::new());

    let (model, _) = planned(&files(), &[]);
    let describe = Question::describe(&model.ecosystem.platforms[0], None);
    let describe: Value = serde_json::from_slice(&describe.to_bytes()).expect("a question is JSON");
    assert_eq!(problems("question", &describe), Vec::<String>::new());
}

#[test]
fn answers_are_read_as_the_schema_has_them() {
    let finding = json!({ "code": "X-1", "severity": "warning", "address": "Platform/P", "message": "m", "hint": "h" });
    let file = json!({ "path": "a/b.txt", "text": "t" });
    let right = [
        ("describe_answer", description()),
        ("lint_answer", json!({ "protocol": 1 })),
        ("lint_answer", json!({ "protocol": 1, "findings": [finding, { "severity": "error", "message": "m" }] })),
        ("render_answer", json!({ "protocol": 1, "files": [file] })),
        ("render_answer", json!({ "protocol": 1, "files": [], "findings": [finding] })),
    ];
    let mut feed = description();
    feed["capabilities"]["feeds"] = json!(["levada-store"]);
    let mut kind = description();
    kind["capabilities"]["sinks"] = json!(["teradata"]);
    let wrong = [
        ("describe_answer", feed),
        ("describe_answer", kind),
        ("describe_answer", json!({ "protocol": 1, "program": "p", "version": "1" })),
        ("lint_answer", json!({ "protocol": 2 })),
        ("lint_answer", json!({ "protocol": 1, "findings": [{ "severity": "fatal", "message": "m" }] })),
        ("lint_answer", json!({ "protocol": 1, "notes": [] })),
        ("render_answer", json!({ "protocol": 1 })),
        ("render_answer", json!({ "protocol": 1, "files": [{ "path": "a", "bytes": "t" }] })),
    ];
    let is_read = |of: &str, answer: &Value| {
        let bytes = answer.to_string().into_bytes();
        match of {
            "describe_answer" => read_description(&bytes).is_ok(),
            "lint_answer" => LintAnswer::read(&bytes).is_ok(),
            _ => RenderAnswer::read(&bytes).is_ok(),
        }
    };
    for (of, answer) in right {
        assert_eq!((problems(of, &answer), is_read(of, &answer)), (Vec::new(), true), "{answer}");
    }
    for (of, answer) in wrong {
        assert!(!problems(of, &answer).is_empty() && !is_read(of, &answer), "{answer}");
    }
}

#[test]
fn a_file_that_is_answered_twice_is_a_problem() {
    let file = json!({ "path": "a", "text": "t" });
    let answer = json!({ "protocol": 1, "files": [file, file] }).to_string();
    assert!(RenderAnswer::read(answer.as_bytes()).expect_err("twice").0.contains("twice"));
}

#[test]
fn settings_are_checked_by_the_programs_own_schema_and_levadas_own_by_levada() {
    let of = |settings: Value| {
        let (mut model, _) = planned(&files(), &[]);
        let entry = &mut model.ecosystem.platforms[0];
        entry.settings = serde_json::from_value(settings).expect("settings");
        let findings = External::default().lint(entry, None);
        findings.0.iter().map(|finding| finding.code.0).collect::<Vec<_>>()
    };
    assert_eq!(of(json!({ "size": 3, "out": "there" })), Vec::<&str>::new());
    assert_eq!(of(json!({ "size": "large" })), ["E-EXTERNAL-004"]);
    assert_eq!(of(json!({ "git": "main" })), ["E-OUTPUT-001"]);
}

#[test]
fn nobody_can_use_a_platform_whose_program_was_not_asked() {
    let (mut model, plan) = planned(&files(), &[]);
    let name: PlatformName = model.ecosystem.platforms[0].name.clone();
    model.ecosystem.platforms[0].described = None;
    let findings = levada_planner::plan(&model, &registry(), None, "r1".to_owned()).expect_err("nobody was asked");
    let codes: Vec<_> = findings.0.iter().map(|finding| finding.code.0).collect();
    assert!(codes.contains(&"E-EXTERNAL-002"), "{codes:?}");
    assert!(codes.iter().all(|code| !code.starts_with("E-CAPABILITY")), "what it can do is unknown: {codes:?}");
    // Without an answer to `render` there are no files.
    let part = Part::new(&model, &name);
    assert_eq!(External::default().render(&part), levada_planner::Rendering::Files(BTreeMap::new()));
    assert_eq!(plan.blueprint.choices.realizer(&name), levada_planner::blueprint::Realizer::Files);
}

#[test]
fn a_platform_that_has_nodes_stays_of_its_kind() {
    let (_, first) = planned(&files(), &[]);
    let embedded = load(&files());
    let refused = levada_planner::plan(&embedded, &registry(), Some(&first.blueprint), "r2".to_owned());
    let codes: Vec<_> = refused.expect_err("another kind").0.iter().map(|finding| finding.code.0).collect();
    assert_eq!(codes, ["E-EVOLUTION-006"]);
    // Without nodes it may change.
    let mut empty = first.blueprint.clone();
    empty.nodes.clear();
    levada_planner::plan(&embedded, &registry(), Some(&empty), "r2".to_owned()).expect("nothing is there");
}
