//! Any program as a transformer: the Python example, its limits, and what its failures say.

use crate::ecosystem::Ecosystem;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A Python with pyarrow, made once in the build's folder.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
        let python = folder.join("bin/python");
        let has_pyarrow = |python: &Path| {
            Command::new(python)
                .args(["-c", "import pyarrow.parquet"])
                .output()
                .is_ok_and(|output| output.status.success())
        };
        if !has_pyarrow(&python) {
            run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
            run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "pyarrow"]));
        }
        assert!(has_pyarrow(&python), "pyarrow was installed and can't be imported");
        python
    })
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn ecosystem(code: &str) -> Ecosystem {
    let ecosystem = Ecosystem::new();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/python-transformer");
    for name in [
        "ecosystem.yaml",
        "zones/lab/zone.yaml",
        "zones/lab/teams/data/team.yaml",
        "zones/lab/teams/data/sales.yaml",
        "zones/lab/teams/data/rank.py",
    ] {
        let text = std::fs::read_to_string(example.join(name)).expect("the example's file");
        ecosystem.write(name, &text.replace("code: { command: [python3, rank.py], timeout: 1m, memory: 4GB }", code));
    }
    ecosystem.sqlite(
        "sales.db",
        "CREATE TABLE sales (id INTEGER PRIMARY KEY, seller TEXT, amount DECIMAL(12,2));
        INSERT INTO sales VALUES (1, 'ana', 10), (2, 'bo', 25.50), (3, 'ana', 20);",
    );
    ecosystem.levada(&["apply", "--yes"]).succeeded();
    ecosystem
}

fn with_command(words: &str, more: &str) -> String {
    format!("code: {{ command: [{words}]{more} }}")
}

#[test]
fn the_python_example_ranks_sellers_and_follows_changes() {
    let python = python().display().to_string();
    let ecosystem = ecosystem(&with_command(&format!("{python}, rank.py"), ", timeout: 1m, memory: 4GB"));
    let ranks_of_nobody = "SELECT count(*) FROM board__ranking_sellers";
    ecosystem.sqlite("sales.db", "CREATE TABLE put_by AS SELECT * FROM sales; DELETE FROM sales;");
    ecosystem.levada(&["run", "--until-idle"]).succeeded();
    assert_eq!(ecosystem.sqlite_rows("board.db", ranks_of_nobody), ["0"]);
    ecosystem.sqlite("sales.db", "INSERT INTO sales SELECT * FROM put_by");
    ecosystem.levada(&["run", "--until-idle"]).succeeded();
    let ranks = "SELECT rank, seller, amount FROM board__ranking_sellers ORDER BY rank";
    assert_eq!(ecosystem.sqlite_rows("board.db", ranks), ["1|ana|30", "2|bo|25.5"]);
    ecosystem.sqlite("sales.db", "INSERT INTO sales VALUES (4, 'bo', 100)");
    ecosystem.levada(&["run", "--until-idle"]).succeeded();
    assert_eq!(ecosystem.sqlite_rows("board.db", ranks), ["1|bo|125.5", "2|ana|30"]);
    ecosystem.levada(&["verify"]).succeeded();
}

/// Why the transformer failed.
fn reason(ecosystem: &Ecosystem) -> String {
    assert_eq!(ecosystem.levada(&["run", "--until-idle"]).code, 1);
    let status = ecosystem.levada(&["status", "--format", "json"]).succeeded().json();
    let nodes = status["nodes"].as_array().expect("a list");
    let node = nodes
        .iter()
        .find(|node| node["address"].as_str().is_some_and(|a| a.starts_with("Transform/")))
        .expect("the node");
    node["error"].as_str().expect("a reason").to_owned()
}

#[test]
fn a_program_that_fails_shows_the_end_of_its_standard_error() {
    let ecosystem = ecosystem(&with_command("sh, -c, \"echo the disk is sad >&2; exit 3\"", ""));
    let reason = reason(&ecosystem);
    assert!(reason.contains("the disk is sad") && reason.contains('3'), "{reason}");
}

#[test]
fn a_program_that_runs_too_long_is_killed_with_its_children() {
    let ecosystem = ecosystem(&with_command("sh, -c, \"sleep 97531 & sleep 97531\"", ", timeout: 1s"));
    let reason = reason(&ecosystem);
    assert!(reason.contains("longer than 1 s"), "{reason}");
    let left = Command::new("pgrep").args(["-f", "sleep 97531"]).output().expect("pgrep runs");
    assert!(left.stdout.is_empty(), "{}", String::from_utf8_lossy(&left.stdout));
}

#[test]
fn a_program_that_leaves_no_output_or_does_not_exist_is_told_so() {
    let silent = ecosystem(&with_command("\"true\"", ""));
    assert!(reason(&silent).contains("sellers.parquet"));
    let missing = ecosystem(&with_command("no-such-program-anywhere", ""));
    assert!(reason(&missing).contains("can't be started"));
}

const CHANGES: &str = r#"zone: Lab
---
team: Data
containers:
  - { container: edits, kind: sqlite, location: "here:lab", path: edits.db }
  - { container: board, kind: sqlite, location: "here:lab", path: board.db }
---
datastore: Edits
container: edits
ingest: { kind: snapshot, trigger: { cron: "*/10 * * * *" } }
datasets:
  edits:
    columns: { id: { type: int64, key: true }, amount: int64, what: { type: int64, nullable: false } }
---
workspace: Apply
container: board
groups: { Edits: { datasets: [Edits.edits] } }
transformer: { transformer: Apply, output: Stock, mode: changes, trigger: on-change, code: { sql: apply.sql } }
datasets:
  items: { columns: { id: { type: int64, key: true }, amount: int64 } }
---
workspace: Board
container: board
groups: { Items: { datasets: [Stock.items] } }
"#;

#[test]
fn a_transformer_of_mode_changes_inserts_updates_and_deletes() {
    let ecosystem = Ecosystem::new();
    let platform = r#"{ platform: Laptop, kind: embedded, style: batch, locations: ["here:lab"] }"#;
    let vendor = "{ vendor: here, cloud: private, locations: { lab: {} } }";
    ecosystem.write("ecosystem.yaml", &format!("ecosystem: changes\nvendors: [{vendor}]\nplatforms: [{platform}]\n"));
    ecosystem.write("team.yaml", CHANGES);
    ecosystem.write("apply.sql", "SELECT id, amount, CAST(what AS INT) AS lv_op FROM edits");
    ecosystem.sqlite(
        "edits.db",
        "CREATE TABLE edits (id INTEGER PRIMARY KEY, amount INTEGER, what INTEGER NOT NULL);
        INSERT INTO edits VALUES (1, 10, 0), (2, 20, 0);",
    );
    ecosystem.levada(&["apply", "--yes"]).succeeded();
    ecosystem.levada(&["run", "--until-idle"]).succeeded();
    let items = "SELECT id, amount FROM board__stock_items ORDER BY id";
    assert_eq!(ecosystem.sqlite_rows("board.db", items), ["1|10", "2|20"]);
    ecosystem.sqlite("edits.db", "DELETE FROM edits; INSERT INTO edits VALUES (1, 11, 1), (2, NULL, 2), (3, 30, 0);");
    ecosystem.levada(&["run", "--until-idle"]).succeeded();
    assert_eq!(ecosystem.sqlite_rows("board.db", items), ["1|11", "3|30"]);
}
