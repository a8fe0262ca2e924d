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

#[test]
fn what_somebody_has_to_agree_to_is_not_rolled_out() {
    let ecosystem = followed();
    let waits = ECOSYSTEM.replace("style: batch", "style: batch, follow: { branch: main, approval: required }");
    ecosystem.write("author/ecosystem.yaml", &waits);
    push(&ecosystem);
    let refused = ecosystem.run_in("here", &["follow", "--once"]);
    assert!(refused.code == 1 && refused.stderr.contains("waits for an approval"), "{}", refused.stderr);
    assert_eq!(git(&ecosystem.path("here"), &["rev-list", "--count", "HEAD"]), "1");
    assert_eq!(ecosystem.run_in("here", &["follow"]).code, 2, "once, or not at all");
}
