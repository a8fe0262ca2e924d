//! What every command keeps to: exit codes, streams, formats, and nothing left behind.

use crate::ecosystem::Ecosystem;
use std::fs::File;
use std::process::{Command, Stdio};

const ECOSYSTEM: &str = "\
ecosystem: contract
vendors: [{ vendor: here, cloud: private, locations: { lab: {} } }]
platforms: [{ platform: P, kind: embedded, style: batch, locations: [\"here:lab\"] }]
";

const TEAM: &str = "\
team: T
containers:
  - { container: src, kind: sqlite, location: \"here:lab\", path: ../../src.db }
  - { container: out, kind: sqlite, location: \"here:lab\", path: ../../out.db }
";

fn model(datasets: &str) -> String {
    format!(
        "\
datastore: D
container: src
ingest: {{ kind: snapshot, consistency: single, trigger: {{ cron: \"0 * * * *\" }} }}
datasets:
  a:
    classification: pub
    columns:
      id: {{ type: int64, key: true }}
      ident: uuid
      tags: list<text>
      at: timestamptz
      price: decimal(10,2)
      raw: binary
  b: {{ classification: pub, columns: {{ id: {{ type: int64, key: true }} }} }}
---
workspace: W
container: out
groups: {{ G: {{ requires: {{ latency: minutes, retention: 30d }}, datasets: [{datasets}] }} }}
"
    )
}

fn ecosystem() -> Ecosystem {
    let ecosystem = Ecosystem::new();
    ecosystem.write("ecosystem.yaml", ECOSYSTEM);
    ecosystem.write("z/zone.yaml", "zone: Z\n");
    ecosystem.write("z/t/team.yaml", TEAM);
    ecosystem.write("z/t/model.yaml", &model("D.a, D.b"));
    ecosystem.sqlite(
        "src.db",
        "CREATE TABLE a (id INTEGER PRIMARY KEY, ident TEXT, tags TEXT, at TEXT, price TEXT, raw BLOB);
         INSERT INTO a VALUES (1, '00112233-4455-6677-8899-aabbccddeeff', '[\"x\",null]', '2026-02-28 13:05:00+00:00', '1.50', x'00ff'),
                              (2, NULL, NULL, NULL, NULL, NULL);
         CREATE TABLE b (id INTEGER PRIMARY KEY); INSERT INTO b VALUES (7);",
    );
    ecosystem
}

fn applied_and_run() -> Ecosystem {
    let ecosystem = ecosystem();
    ecosystem.levada(&["apply", "--yes"]).succeeded();
    ecosystem.levada(&["run", "--until-idle"]).succeeded();
    ecosystem
}

fn lines(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))).collect()
}

#[test]
fn data_that_cannot_be_written_is_a_failure_and_a_closed_pipe_is_not_a_success() {
    let broken = ecosystem();
    broken.write("z/t/more.yaml", "nonsense: 1\n");
    let run = |stdout: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_levada"));
        command.arg("check").arg(broken.root()).stdout(stdout).stderr(Stdio::piped());
        command.spawn().expect("the built binary starts")
    };
    let full = run(File::create("/dev/full").expect("Linux has it").into()).wait_with_output().expect("it ends");
    assert_eq!(full.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&full.stderr).contains("failed to write"));
    let mut unread = run(Stdio::piped());
    drop(unread.stdout.take());
    assert_eq!(unread.wait().expect("it ends").code(), Some(1), "the findings are still a failure");
}

#[test]
fn looking_at_a_model_that_was_never_applied_makes_no_state() {
    let ecosystem = ecosystem();
    for command in [&["status"][..], &["jobs"], &["batches"], &["store"], &["verify"], &["sql", "SELECT 1"]] {
        let ran = ecosystem.levada(command);
        assert_eq!(ran.code, 1, "{command:?}");
        assert!(ran.stderr.contains("nothing is applied yet"), "{command:?}: {}", ran.stderr);
    }
    ecosystem.levada(&["plan"]).succeeded();
    assert!(!ecosystem.path(".levada/state.db").exists());
}

#[test]
fn every_command_that_does_something_tells_programs_what_it_did() {
    let ecosystem = ecosystem();
    let applied = ecosystem.levada(&["apply", "--yes", "--format", "json"]).succeeded().json();
    assert_eq!((applied["generation"].as_i64(), applied["changed"].as_i64()), (Some(1), Some(4)), "{applied}");
    let again = ecosystem.levada(&["apply", "--yes", "--format", "json"]).succeeded().json();
    assert_eq!(again["changed"], 0, "{again}");
    let events = lines(&ecosystem.levada(&["run", "--until-idle", "--format", "json"]).succeeded().stdout);
    let last = events.last().expect("a last event");
    assert_eq!((last["event"].as_str(), last["rows"].as_i64()), (Some("ended"), Some(6)), "{last}");
    assert!(events.iter().any(|event| event["event"] == "done" && event["nodes"][0] == "Ingest/P/D/a"), "{events:?}");
    let events = lines(&ecosystem.levada(&["rehydrate", "W", "--format", "json"]).succeeded().stdout);
    assert_eq!(events.last().expect("a last event")["event"], "ended");
}

#[test]
fn sql_gives_programs_values_of_the_models_types() {
    let ecosystem = applied_and_run();
    let rows =
        lines(&ecosystem.levada(&["sql", "SELECT * FROM D.a ORDER BY id", "--format", "json"]).succeeded().stdout);
    assert_eq!(
        rows[0],
        serde_json::json!({
            "id": 1, "ident": "00112233-4455-6677-8899-aabbccddeeff", "tags": ["x", null],
            "at": "2026-02-28 13:05:00+00:00", "price": "1.50", "raw": "00ff",
        })
    );
    assert!(rows[1].as_object().expect("an object").iter().all(|(name, value)| name == "id" || value.is_null()));
    let computed = "SELECT count(*) AS n, max(id) > 1 AS many FROM D.a";
    let rows = lines(&ecosystem.levada(&["sql", computed, "--format", "json"]).succeeded().stdout);
    assert_eq!(rows, [serde_json::json!({ "n": 2, "many": true })]);
    let twice = ecosystem.levada(&["sql", "SELECT x.id, y.id FROM D.a x, D.b y", "--format", "json"]);
    assert!(twice.code == 1 && twice.stderr.contains("AS"), "{}", twice.stderr);
}

#[test]
fn what_has_left_the_model_and_is_still_owed_can_be_read() {
    let ecosystem = applied_and_run();
    ecosystem.write("z/t/model.yaml", &model("D.b"));
    ecosystem.levada(&["apply", "--yes"]).succeeded();
    ecosystem.levada(&["run", "--until-idle"]).succeeded();
    let rows =
        lines(&ecosystem.levada(&["sql", "SELECT id FROM D.a ORDER BY 1", "--format", "json"]).succeeded().stdout);
    assert_eq!(rows, [serde_json::json!({ "id": 1 }), serde_json::json!({ "id": 2 })]);
}

#[test]
fn the_parse_cache_is_filled_by_whatever_loads_and_can_be_turned_off() {
    let ecosystem = ecosystem();
    ecosystem.levada(&["check"]).succeeded();
    assert!(ecosystem.path(".levada/cache").is_dir());
    std::fs::remove_dir_all(ecosystem.path(".levada")).expect("remove the cache");
    ecosystem.write("levada.toml", "cache = \"off\"\n");
    ecosystem.levada(&["check"]).succeeded();
    assert!(!ecosystem.path(".levada").exists());
}

#[test]
fn errors_say_what_failed() {
    let ecosystem = ecosystem();
    let unknown = ecosystem.levada(&["explain", "Dataset/D/zzz"]);
    assert!(unknown.stderr.starts_with("error: failed to find Dataset/D/zzz"), "{}", unknown.stderr);
}

#[test]
fn a_demo_that_is_interrupted_ends_without_success() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_levada"));
    command.arg("demo").arg("--keep").arg(folder.path().join("demo"));
    let mut demo = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the built binary starts");
    // The state is made by `apply`, long before the last step.
    while !folder.path().join("demo/.levada/state.db").exists() {
        assert!(demo.try_wait().expect("the demo is ours").is_none(), "the demo has ended");
    }
    let killed = Command::new("kill").args(["-INT", &demo.id().to_string()]).status().expect("kill runs");
    assert!(killed.success());
    assert_eq!(demo.wait().expect("the demo is ours").code(), Some(1));
}
