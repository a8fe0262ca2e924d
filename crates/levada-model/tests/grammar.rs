//! Everything that the model's format can say is read, and is in the JSON Schema.

use crate::loading::{Files, load, printed};
use levada_model::connection::Place;
use levada_model::model::*;
use levada_model::name::*;
use levada_model::{Model, json_schema};
use std::collections::BTreeSet;

const ECOSYSTEM: &str = include_str!("whole/ecosystem.yaml");
const TEAM: &str = include_str!("whole/team.yaml");
const ASSIGNMENTS: &str = include_str!("whole/assignments.yaml");

fn whole() -> Files {
    let file = |path: &str, text: &str| (path.to_owned(), text.as_bytes().to_vec());
    vec![
        file("ecosystem.yaml", ECOSYSTEM),
        file("zones/usa/t/team.yaml", TEAM),
        file("zones/usa/zone.yaml", include_str!("whole/zone.yaml")),
        file("zones/usa/t/m.sql", "SELECT 1"),
        file("operations/assignments.yaml", ASSIGNMENTS),
    ]
}

fn loaded() -> Model {
    let files = whole();
    let (model, findings) = load(&files);
    assert_eq!(printed(&files, &findings), "");
    model
}

#[test]
fn the_whole_grammar_loads_without_a_finding() {
    let model = loaded();
    let lake = model.platform(&PlatformName::parse("Lake").expect("a name")).expect("Lake");
    assert_eq!((lake.style, lake.status, lake.cost_milli), (Style::Forensic, Status::Production, Some(2_500)));
    assert!(lake.follow.as_ref().is_some_and(|follow| !follow.approval_required));
    assert_eq!(model.ecosystem.infrastructures[0].settings["stacks"], 512);
    assert_eq!(model.ecosystem.vendors[0].locations, ["eu", "eu/west"]);
    assert_eq!(model.calendars[0].windows.allow.len() + model.calendars[0].windows.deny.len(), 2);
    assert_eq!(model.zones[0].holds[0].datasets[0].value.to_string(), "D.customers");
    assert_eq!(model.zones[0].policies[1].retention_at_least.map(|period| period.to_string()).as_deref(), Some("2y"));
    assert_eq!(model.assignments[0].state, AssignmentState::Provisioning);
    assert_eq!(model.primaries[0].platform.value.as_str(), "Lake");
}

#[test]
fn containers_of_every_kind_keep_their_coordinates() {
    let model = loaded();
    let place = |name: &str| {
        let name = ContainerName::parse(name).expect("a name");
        &model.container(&name).expect("it is there").connection.place
    };
    assert_eq!(*place("shop"), Place::Path { path: "zones/usa/t/shop.db".into() });
    assert_eq!(*place("landing"), Place::Path { path: "/data/in".into() });
    assert!(matches!(place("warehouse"), Place::Server { port: Some(5433), schema: Some(_), .. }));
    assert!(matches!(place("snow"), Place::Snowflake { .. }));
    assert!(matches!(place("lake"), Place::Url { endpoint: Some(_), .. }));
    assert!(matches!(place("topics"), Place::Brokers { brokers } if brokers.len() == 2));
}

#[test]
fn every_way_of_reading_a_producer_is_kept() {
    let model = loaded();
    let ingest = |name: &str| {
        let name = DatastoreName::parse(name).expect("a name");
        match &model.datastore(&name).expect("it is there").origin {
            Origin::Container { ingest, .. } => ingest.clone(),
            Origin::Transformer { .. } => panic!("{name} has a container"),
        }
    };
    let watermark = ingest("D");
    assert!(matches!(watermark.kind, IngestKind::Watermark { column: Some(_), overlap: Some(_), deletes: Some(_) }));
    let trigger = watermark.trigger.expect("D has a trigger");
    assert_eq!((trigger.catch_up, trigger.cron.timezone.as_deref()), (CatchUp::All, Some("Europe/Lisbon")));
    assert_eq!(ingest("C").kind, IngestKind::Cdc { wal_max_bytes: Some(10_000_000_000) });
    assert!(ingest("C").trigger.is_none() && !ingest("C").is_multi);
    assert!(matches!(ingest("F").kind, IngestKind::Files { each_file: EachFile::Adds, format: FileFormat::Csv, .. }));
    assert_eq!(ingest("K").kind, IngestKind::Topic);
}

#[test]
fn transformers_keep_their_code_and_write_a_datastore() {
    let model = loaded();
    let transformer = |name: &str| {
        let name = WorkspaceName::parse(name).expect("a name");
        model.workspace(&name).and_then(|workspace| workspace.transformer.as_ref()).expect("it is there")
    };
    let Code::Program(program) = &transformer("Reporting").code else { panic!("a program") };
    assert_eq!((program.folder.as_str(), program.memory_bytes), ("zones/usa/t", Some(2_000_000_000)));
    assert!(matches!(&program.run, Run::Command(words) if words.len() == 2));
    let Code::Sql(files) = &transformer("Queries").code else { panic!("queries") };
    assert_eq!(files[0].text.as_deref(), Some("SELECT 1"));
    assert_eq!((files[1].path.as_str(), files[1].text.as_deref()), ("zones/usa/t/sub/n.sql", None));
    assert!(matches!(transformer("Queries").trigger, TransformTrigger::Cron(_)));
    let output = model.datastore(&DatastoreName::parse("O").expect("a name")).expect("O");
    assert_eq!(output.status, Status::Production);
    assert_eq!(output.approved.as_ref().map(Vec::len), Some(1));
}

#[test]
fn every_key_of_the_whole_grammar_is_in_the_schema_and_the_other_way_round() {
    let mut in_schema = BTreeSet::new();
    collect_properties(&json_schema(), &mut in_schema);
    let text: String = whole().into_iter().map(|(_, text)| String::from_utf8(text).expect("UTF-8")).collect();
    let unused: Vec<&String> = in_schema.iter().filter(|key| !text.contains(&format!("{key}:"))).collect();
    assert!(unused.is_empty(), "the whole grammar does not use {unused:?}");
    for key in ["watermark", "each-file", "catch-up", "wal_max", "at_least", "kubernetes", "brokers", "regulator"] {
        assert!(in_schema.contains(key), "{key}");
    }
}

fn collect_properties(schema: &serde_json::Value, keys: &mut BTreeSet<String>) {
    match schema {
        serde_json::Value::Object(fields) => {
            if let Some(serde_json::Value::Object(properties)) = fields.get("properties") {
                keys.extend(properties.keys().cloned());
            }
            fields.values().for_each(|field| collect_properties(field, keys));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect_properties(item, keys)),
        _ => {}
    }
}
