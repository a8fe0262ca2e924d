//! What goes wrong is told with its reason, tried again where that can help, and stays where it is.

use crate::ecosystem::Ecosystem;

const ECOSYSTEM: &str = "\
ecosystem: trouble
vendors: [{ vendor: here, cloud: private, locations: { lab: {} } }]
platforms: [{ platform: P, kind: embedded, style: batch, locations: [\"here:lab\"] }]
";

fn model(datasets: &str) -> String {
    format!(
        "datastore: Good\ncontainer: good\ningest: {{ kind: snapshot, trigger: {{ cron: \"0 * * * *\" }} }}\n\
         datasets: {{ t: {{ classification: pub, columns: {{ id: {{ type: int64, key: true }}, name: varchar(5) }} }} }}\n---\n\
         datastore: Bad\ncontainer: bad\ningest: {{ kind: snapshot, trigger: {{ cron: \"0 * * * *\" }} }}\n\
         datasets: {{ t: {{ classification: pub, columns: {{ id: {{ type: int64, key: true }}, name: text }} }} }}\n---\n\
         workspace: W\ncontainer: out\ngroups: {{ G: {{ datasets: [{datasets}] }} }}\n"
    )
}

fn ecosystem(bad: &str) -> Ecosystem {
    let ecosystem = Ecosystem::new();
    ecosystem.write("ecosystem.yaml", ECOSYSTEM);
    ecosystem.write("z/zone.yaml", "zone: Z\n");
    ecosystem.write(
        "z/t/team.yaml",
        &format!(
            "team: T\ncontainers:\n  - {{ container: good, kind: sqlite, location: \"here:lab\", path: ../../good.db }}\n  \
             - {{ container: out, kind: sqlite, location: \"here:lab\", path: ../../out.db }}\n  - {{ container: bad, location: \"here:lab\", {bad} }}\n"
        ),
    );
    ecosystem.write("z/t/model.yaml", &model("Good.t, Bad.t"));
    ecosystem.sqlite("good.db", "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO t VALUES (1, 'one');");
    ecosystem
}

/// Runs once and gives why the bad ingest failed; the good stream must have gone through.
fn reason(ecosystem: &Ecosystem) -> String {
    ecosystem.levada(&["apply", "--yes"]).succeeded();
    let ran = ecosystem.levada(&["run", "--until-idle"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert_eq!(ecosystem.sqlite_rows("out.db", "SELECT id, name FROM w__good_t"), ["1|one"]);
    let status = ecosystem.levada(&["status", "--format", "json"]).succeeded().json();
    let nodes = status["nodes"].as_array().expect("a list");
    let node = nodes.iter().find(|node| node["address"] == "Ingest/P/Bad").expect("the node").clone();
    assert_eq!(node["state"], "failed", "{node}");
    node["error"].as_str().expect("a reason").to_owned()
}

#[test]
fn a_missing_table_is_named_and_other_streams_go_on() {
    let ecosystem = ecosystem("kind: sqlite, path: ../../bad.db");
    ecosystem.sqlite("bad.db", "CREATE TABLE tt (id INTEGER PRIMARY KEY);");
    let reason = reason(&ecosystem);
    assert!(reason.contains("\"t\"") || reason.contains(" t "), "{reason}");
}

#[test]
fn a_value_of_another_type_is_named_with_its_row_and_nothing_is_stored() {
    let ecosystem = ecosystem("kind: sqlite, path: ../../bad.db");
    ecosystem.sqlite("bad.db", "CREATE TABLE t (id, name TEXT); INSERT INTO t VALUES (1, 'a'), ('two', 'b');");
    let reason = reason(&ecosystem);
    assert!(reason.contains("id") && reason.contains("two"), "{reason}");
    let batches = ecosystem.levada(&["batches", "--format", "json"]).succeeded().json();
    assert!(batches["batches"].as_array().expect("a list").iter().all(|batch| batch["stream"] != "Bad"), "{batches}");
}

#[test]
fn a_wrong_password_and_a_missing_database_are_told_apart() {
    let cluster = levada_testbed::PostgresCluster::start().expect("a PostgreSQL server");
    let bad = |database: &str| {
        format!("kind: postgres, host: 127.0.0.1, port: {}, database: {database}, credential: pg", cluster.port())
    };
    let wrong = ecosystem(&bad("postgres"));
    wrong.secret("pg", levada_testbed::postgres::SUPERUSER, "not the password");
    let reason_password = reason(&wrong);
    assert!(reason_password.contains("password") && !reason_password.contains("not the password"), "{reason_password}");
    let missing = ecosystem(&bad("nowhere"));
    missing.secret("pg", levada_testbed::postgres::SUPERUSER, levada_testbed::postgres::PASSWORD);
    let reason_database = reason(&missing);
    assert!(reason_database.contains("nowhere"), "{reason_database}");
}

#[test]
fn a_second_worker_is_refused_by_name() {
    let ecosystem = ecosystem("kind: sqlite, path: ../../bad.db");
    ecosystem.sqlite("bad.db", "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT);");
    ecosystem.levada(&["apply", "--yes"]).succeeded();
    let mut first = ecosystem.start(&["run"]);
    // The first one holds the state as soon as it has pulled something.
    while ecosystem.levada(&["batches", "--format", "json"]).json()["batches"].as_array().is_none_or(Vec::is_empty) {
        assert!(first.try_wait().expect("the worker is ours").is_none(), "the first worker has ended");
    }
    let second = ecosystem.levada(&["run", "--until-idle"]);
    first.kill().expect("the worker is ours");
    first.wait().expect("the worker is ours");
    assert_eq!(second.code, 1);
    assert!(second.stderr.contains(&first.id().to_string()), "{}", second.stderr);
}

#[test]
fn a_document_that_cannot_be_read_hides_neither_other_mistakes_nor_the_graph() {
    let ecosystem = ecosystem("kind: sqlite, path: ../../bad.db");
    ecosystem.write("z/t/broken.yaml", "datastore: [\n");
    ecosystem.write("z/t/model.yaml", &model("Good.t, Bad.t, Broken.t").replace("name: text", "lv_name: text"));
    let check = ecosystem.levada(&["check"]);
    assert_eq!(check.code, 1, "{}", check.stderr);
    assert!(check.stdout.contains("E-YAML-001") && check.stdout.contains("E-DATASET-010"), "{}", check.stdout);
    assert!(!check.stdout.contains("E-REF-007"), "Broken may be in the broken document: {}", check.stdout);
    for command in [&["graph"][..], &["explain", "Datastore/Good"][..]] {
        let shown = ecosystem.levada(command);
        assert_eq!(shown.code, 1, "{}", shown.stderr);
        assert!(shown.stdout.contains("Ingest/P/Good"), "{}", shown.stdout);
        assert!(shown.stderr.contains("E-YAML-001"), "{}", shown.stderr);
    }
}
