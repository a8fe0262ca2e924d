//! `levada follow --once`: a line for cron makes a git branch a deployment.

use crate::ecosystem::{Ecosystem, git};

const ECOSYSTEM: &str = "\
ecosystem: follow
vendors: [{ vendor: here, cloud: private, locations: { lab: {} } }]
platforms:
  - { platform: P, kind: embedded, style: batch, locations: [\"here:lab\"] }
";

const TEAM: &str = "\
team: T
containers:
  - { container: src, kind: sqlite, location: \"here:lab\", path: ../../src.db }
  - { container: out, kind: sqlite, location: \"here:lab\", path: ../../out.db }
---
datastore: D
container: src
ingest: { kind: snapshot, trigger: { cron: \"0 * * * *\" } }
datasets:
  a: { classification: pub, columns: { id: { type: int64, key: true } } }
  b: { classification: pub, columns: { id: { type: int64, key: true } } }
---
workspace: W
container: out
groups: { G: { datasets: [DATASETS] } }
";

/// Commits what the author's clone holds and pushes it.
fn push(ecosystem: &Ecosystem) -> String {
    let author = ecosystem.path("author");
    git(&author, &["add", "."]);
    git(&author, &["-c", "user.name=me", "-c", "user.email=me@localhost", "commit", "--quiet", "-m", "change"]);
    git(&author, &["push", "--quiet", "origin", "HEAD:main"]);
    git(&author, &["rev-parse", "HEAD"])
}

fn followed() -> Ecosystem {
    let ecosystem = Ecosystem::new();
    git(ecosystem.root(), &["init", "--quiet", "--bare", "--initial-branch=main", "model.git"]);
    git(ecosystem.root(), &["clone", "--quiet", "model.git", "author"]);
    ecosystem.write("author/ecosystem.yaml", ECOSYSTEM);
    ecosystem.write("author/z/zone.yaml", "zone: Z\n");
    ecosystem.write("author/z/t/team.yaml", &TEAM.replace("DATASETS", "D.a"));
    push(&ecosystem);
    git(ecosystem.root(), &["clone", "--quiet", "model.git", "here"]);
    ecosystem
}

#[test]
fn each_revision_that_holds_is_applied_and_a_broken_one_leaves_all_as_it_was() {
    let ecosystem = followed();
    let follow = || ecosystem.run_in("here", &["follow", "--once", "--format", "json"]);
    let in_force = || ecosystem.run_in("here", &["plan", "--detailed-exitcode"]).code == 0;
    let first = follow().succeeded().json();
    assert_eq!((first["generation"].as_i64(), first["changed"].as_i64()), (Some(1), Some(2)));
    let again = follow().succeeded().json();
    assert_eq!((again["generation"].as_i64(), again["changed"].as_i64()), (Some(1), Some(0)));
    assert_eq!(git(&ecosystem.path("here"), &["status", "--porcelain"]), "", "nothing of ours is in git's way");

    ecosystem.write("author/z/t/team.yaml", &TEAM.replace("DATASETS", "D.a, D.b"));
    let revision = push(&ecosystem);
    let second = follow().succeeded();
    assert!(second.stderr.contains(&format!("advanced to revision {revision}")), "{}", second.stderr);
    assert_eq!(second.json()["generation"], 2);
    assert!(in_force());

    // A broken revision: refused with its findings, where nobody works.
    ecosystem.write("author/z/t/team.yaml", &TEAM.replace("DATASETS", "D.a, D.c"));
    let broken = push(&ecosystem);
    let refused = follow();
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("z/t/team.yaml:15:32") && refused.stderr.contains(&broken), "{}", refused.stderr);
    assert_eq!(git(&ecosystem.path("here"), &["rev-parse", "HEAD"]), revision);
    assert!(in_force());

    // It is mended; a run that died between the advance and the apply is finished by the next one.
    ecosystem.write("author/z/t/team.yaml", &TEAM.replace("DATASETS", "D.b"));
    push(&ecosystem);
    git(&ecosystem.path("here"), &["pull", "--quiet"]);
    assert!(!in_force());
    assert_eq!(follow().succeeded().json()["generation"], 3);
    assert!(in_force());

    // Somebody edits here: that is not written over.
    ecosystem.write("here/z/zone.yaml", "zone: Y\n");
    let edited = follow();
    assert!(edited.code == 1 && edited.stderr.contains("z/zone.yaml") && edited.stderr.contains("hint"));
}

/// The ecosystem with something more in the platform's entry.
fn with_follow(follow: &str) -> String {
    ECOSYSTEM.replace("style: batch", &format!("style: batch, follow: {{ branch: main{follow} }}"))
}

fn waits(ecosystem: &Ecosystem) -> serde_json::Value {
    let status = ecosystem.run_in("here", &["status", "--format", "json"]).succeeded().json();
    status["rollout"]["behind"]["P"].clone()
}

#[test]
fn what_somebody_has_to_agree_to_waits_for_that() {
    let ecosystem = followed();
    ecosystem.write("author/ecosystem.yaml", &with_follow(", approval: required"));
    push(&ecosystem);
    let follow = || ecosystem.run_in("here", &["follow", "--once", "--format", "json"]).succeeded().json();
    let first = follow();
    assert_eq!((first["generation"].as_i64(), first["taken_up"].as_i64()), (Some(1), Some(0)));
    assert_eq!(waits(&ecosystem)["waits"]["approval"]["generation"], 1);
    assert_eq!(waits(&ecosystem)["nodes"], 2);
    let status = ecosystem.run_in("here", &["status"]).succeeded();
    assert!(
        status
            .stderr
            .contains("platform P is at generation 0 of 1: 2 nodes to take up; it waits for somebody to agree"),
        "{}",
        status.stderr
    );
    // Several revisions pile up; who agreed to one has not agreed to the next.
    ecosystem.run_in("here", &["approve", "P", "--generation", "1"]).succeeded();
    ecosystem.write("author/z/t/team.yaml", &TEAM.replace("DATASETS", "D.a, D.b"));
    push(&ecosystem);
    assert_eq!(follow()["taken_up"], 0);
    let wrong = ecosystem.run_in("here", &["approve", "P", "--generation", "1"]);
    assert!(wrong.code == 1 && wrong.stderr.contains("generation 2 is the target"), "{}", wrong.stderr);
    let unknown = ecosystem.run_in("here", &["approve", "Q"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("those that have: P"), "{}", unknown.stderr);
    ecosystem.run_in("here", &["approve", "P"]).succeeded();
    let both = follow();
    assert_eq!((both["generation"].as_i64(), both["taken_up"].as_i64()), (Some(2), Some(3)), "both at once");
    assert!(waits(&ecosystem).is_null());
    // Whoever applies by hand agrees.
    ecosystem.write("author/z/t/team.yaml", &TEAM.replace("DATASETS", "D.a"));
    push(&ecosystem);
    assert_eq!(follow()["taken_up"], 0);
    let applied = ecosystem.run_in("here", &["apply", "--yes"]).succeeded();
    assert!(applied.stderr.contains("2 nodes that waited are taken up"), "{}", applied.stderr);
    assert!(waits(&ecosystem).is_null());
}

#[test]
fn a_platform_waits_for_its_windows_and_for_its_branch() {
    let ecosystem = followed();
    let calendar = |allow: &str| format!("---\ncalendar: W\nallow: [{allow}]\n");
    let follow = || ecosystem.run_in("here", &["follow", "--once", "--format", "json"]).succeeded().json();
    let write = |allow: &str| {
        ecosystem.write("author/ecosystem.yaml", &format!("{}{}", with_follow(", calendar: W"), calendar(allow)));
        push(&ecosystem)
    };
    write("{ from: 2098-01-01, to: 2099-01-01 }");
    assert_eq!(follow()["taken_up"], 0);
    assert_eq!(waits(&ecosystem)["waits"]["window"]["calendar"], "W");
    assert!(waits(&ecosystem)["waits"]["window"]["opens_at"].as_i64() > Some(4_000_000_000_000_000));
    let plan = ecosystem.run_in("here", &["plan", "--format", "json"]).succeeded().json();
    assert_eq!(plan["changes"].as_array().map(Vec::len), Some(0), "the target is what the model says");
    // One that never opens again says so.
    write("{ from: 2001-01-01, to: 2002-01-01 }");
    assert_eq!(follow()["taken_up"], 0);
    assert!(waits(&ecosystem)["waits"]["window"]["opens_at"].is_null());
    let status = ecosystem.run_in("here", &["status"]).succeeded();
    assert!(status.stderr.contains("calendar W, which never opens again"), "{}", status.stderr);
    // A revision that does not hold keeps nobody from what is frozen already.
    write("{ from: 2001-01-01, to: 2098-01-01 }");
    git(&ecosystem.path("here"), &["pull", "--quiet"]);
    ecosystem.write("author/z/t/team.yaml", &format!("<<<<<<< HEAD\n{TEAM}"));
    push(&ecosystem);
    let refused = ecosystem.run_in("here", &["follow", "--once", "--format", "json"]);
    assert_eq!((refused.code, refused.json()["taken_up"].as_i64()), (1, Some(2)), "{}", refused.stderr);
    let status = ecosystem.run_in("here", &["status", "--format", "json"]).succeeded().json();
    let findings = &status["rollout"]["refused"][1];
    assert!(findings[0].as_str().is_some_and(|finding| finding.contains("z/t/team.yaml:1:1")), "{findings}");
    // It follows another branch.
    ecosystem.write("author/z/t/team.yaml", &TEAM.replace("DATASETS", "D.b"));
    ecosystem.write("author/ecosystem.yaml", &with_follow("").replace("branch: main", "branch: production"));
    push(&ecosystem);
    assert_eq!(follow()["taken_up"], 0);
    assert_eq!(waits(&ecosystem)["waits"]["branch"]["follows"], "production");
}

#[test]
fn a_rollback_stays_until_the_model_goes_on() {
    let ecosystem = followed();
    let follow = || ecosystem.run_in("here", &["follow", "--once", "--format", "json"]).succeeded().json();
    follow();
    ecosystem.write("author/z/t/team.yaml", &TEAM.replace("DATASETS", "D.a, D.b"));
    push(&ecosystem);
    assert_eq!(follow()["generation"], 2);
    let unasked = ecosystem.run_in("here", &["rollback", "1"]);
    assert!(
        unasked.code == 1 && unasked.stderr.contains("plan for generation 3 on generation 2"),
        "{}",
        unasked.stderr
    );
    let back = ecosystem.run_in("here", &["rollback", "1", "--yes", "--format", "json"]).succeeded().json();
    assert_eq!(
        (back["generation"].as_i64(), back["content_of"].as_i64(), back["changed"].as_i64()),
        (Some(3), Some(1), Some(2))
    );
    assert_eq!(follow()["generation"], 3, "the same revision is not frozen again");
    let same = ecosystem.run_in("here", &["rollback", "1", "--yes"]).succeeded();
    assert!(same.stdout.contains("nothing to change"), "{}", same.stdout);
    let unknown = ecosystem.run_in("here", &["rollback", "7", "--yes"]);
    assert!(
        unknown.code == 1 && unknown.stderr.contains("no generation 7 before the newest, which is 3"),
        "{}",
        unknown.stderr
    );
    // What the store holds is not falsified by going back.
    ecosystem.write("author/z/t/team.yaml", &TEAM.replace("DATASETS", "D.a").replace("a: { classification: pub, columns: { id: { type: int64, key: true } }", "a: { classification: pub, columns: { id: { type: int64, key: true }, more: { type: int32, nullable: true } }"));
    push(&ecosystem);
    assert_eq!(follow()["generation"], 4);
    ecosystem.write("author/z/t/team.yaml", &TEAM.replace("DATASETS", "D.a").replace("a: { classification: pub, columns: { id: { type: int64, key: true } }", "a: { classification: pub, columns: { id: { type: int64, key: true }, more: { type: int64, nullable: true } }"));
    push(&ecosystem);
    assert_eq!(follow()["generation"], 5);
    let refused = ecosystem.run_in("here", &["rollback", "4", "--yes"]);
    assert!(refused.code == 1 && refused.stderr.contains("E-EVOLUTION-001"), "{}", refused.stderr);
    assert_eq!(
        ecosystem.run_in("here", &["rollback", "1", "--yes", "--format", "json"]).succeeded().json()["generation"],
        6
    );
}

#[test]
fn a_follower_takes_revisions_up_within_seconds_until_it_is_stopped() {
    use std::time::{Duration, Instant};
    let ecosystem = followed();
    let mut follower = ecosystem.start_in("here", &["follow", "--every", "1"]);
    let is_at = |generation: &str| {
        let status = ecosystem.run_in("here", &["status"]);
        status.code == 0
            && ecosystem
                .run_in("here", &["plan", "--detailed-exitcode"])
                .stdout
                .contains(&format!("generation {generation} is what"))
    };
    let wait = |generation: &str| {
        let began = Instant::now();
        while !is_at(generation) {
            assert!(began.elapsed() < Duration::from_secs(60), "generation {generation} never came");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    wait("1");
    let busy = ecosystem.run_in("here", &["follow", "--once"]);
    assert!(busy.code == 1 && busy.stderr.contains("another process"), "{}", busy.stderr);
    ecosystem.write("author/z/t/team.yaml", &TEAM.replace("DATASETS", "D.b"));
    push(&ecosystem);
    wait("2");
    // The branch is rewritten: what is in force goes on, and the status says why.
    git(
        &ecosystem.path("author"),
        &["-c", "user.name=me", "-c", "user.email=me@localhost", "commit", "--quiet", "--amend", "-m", "rewritten"],
    );
    git(&ecosystem.path("author"), &["push", "--quiet", "--force", "origin", "HEAD:main"]);
    let began = Instant::now();
    while !ecosystem.run_in("here", &["status"]).stderr.contains("does not contain 1 of the commits") {
        assert!(began.elapsed() < Duration::from_secs(60), "{}", ecosystem.run_in("here", &["status"]).stderr);
        std::thread::sleep(Duration::from_millis(100));
    }
    let stopped = std::process::Command::new("kill").args(["-TERM", &follower.id().to_string()]).status();
    assert!(stopped.expect("kill runs").success());
    assert!(follower.wait().expect("it ends").success());
}
