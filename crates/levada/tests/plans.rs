//! Plans as people use them: at the cost of the change, in files, and as a gate for changes of the model.

use crate::ecosystem::{Ecosystem, git};

const ECOSYSTEM: &str = "\
ecosystem: plans
vendors: [{ vendor: here, cloud: private, locations: { lab: {} } }]
platforms: [{ platform: P, kind: embedded, style: batch, locations: [\"here:lab\"] }]
";

const TEAM: &str = "\
team: T
containers:
  - { container: src, kind: sqlite, location: \"here:lab\", path: src.db }
  - { container: out, kind: sqlite, location: \"here:lab\", path: out.db }
";

fn store(name: &str, columns: &str) -> String {
    format!(
        "datastore: {name}\ncontainer: src\ningest: {{ kind: snapshot, trigger: {{ cron: \"0 * * * *\" }} }}\n\
         datasets:\n  a:\n    classification: pub\n    columns: {{ id: {{ type: int64, key: true }}{columns} }}\n"
    )
}

fn workspace(name: &str, sinks: &str) -> String {
    format!("workspace: {name}\ncontainer: out\ngroups: {{ G: {{ datasets: [{sinks}] }} }}\n")
}

/// Thirty datastores, each with a workspace of its own.
fn ecosystem() -> Ecosystem {
    let ecosystem = Ecosystem::new();
    ecosystem.write("ecosystem.yaml", ECOSYSTEM);
    ecosystem.write("z/zone.yaml", "zone: Z\n");
    ecosystem.write("z/t/team.yaml", TEAM);
    for number in 0..30 {
        ecosystem.write(&format!("z/t/s{number}.yaml"), &store(&format!("S{number}"), ", name: varchar(40)"));
        ecosystem.write(&format!("z/t/w{number}.yaml"), &workspace(&format!("W{number}"), &format!("S{number}.a")));
    }
    ecosystem
}

fn commit(ecosystem: &Ecosystem) {
    git(ecosystem.root(), &["add", "."]);
    git(
        ecosystem.root(),
        &["-c", "user.name=me", "-c", "user.email=me@localhost", "commit", "--quiet", "-m", "change"],
    );
}

#[test]
fn a_plan_costs_what_the_change_costs_and_says_the_same_as_one_of_the_whole_model() {
    let ecosystem = ecosystem();
    let whole = ecosystem.levada(&["plan"]).succeeded();
    assert!(whole.stderr.contains("63 of 63 files parsed"), "{}", whole.stderr);
    assert!(whole.stderr.contains("60 nodes woven anew"), "{}", whole.stderr);
    assert!(whole.stdout.contains("… and 20 more nodes: levada plan --details"), "{}", whole.stdout);
    assert!(ecosystem.levada(&["plan", "--details"]).succeeded().stdout.contains("Ingest/P/S29"));
    ecosystem.levada(&["apply", "--yes"]).succeeded();
    let nothing = ecosystem.levada(&["plan", "--detailed-exitcode"]).succeeded();
    assert!(
        nothing.stderr.contains("0 of 63 files parsed, 0 objects changed, 0 looked at, 0 nodes"),
        "{}",
        nothing.stderr
    );

    ecosystem.write("z/t/s7.yaml", &store("S7", ", name: varchar(80)"));
    ecosystem.write("z/t/w8.yaml", &workspace("W8", "S8.a, S7.a"));
    let part = ecosystem.levada(&["plan"]).succeeded();
    assert!(part.stderr.contains("2 of 63 files parsed, 2 objects changed"), "{}", part.stderr);
    assert!(part.stderr.contains(", 4 nodes woven anew"), "{}", part.stderr);
    assert!(
        part.stdout.contains("Datastore/S7, Workspace/W8") || part.stdout.contains("1 datastore, 1 workspace changed")
    );
    assert!(part.stdout.contains("concerns  W7, W8; owners Z/T"), "{}", part.stdout);
    // Without the cache and another build's way everything is looked at, and the plan is the same.
    let state = rusqlite::Connection::open(ecosystem.path(".levada/state.db")).expect("the state");
    state.execute("UPDATE generations SET form = 'another build'", []).expect("updates");
    let whole = ecosystem.levada(&["plan"]).succeeded();
    assert!(whole.stderr.contains("60 nodes woven anew"), "{}", whole.stderr);
    assert_eq!(whole.stdout, part.stdout);
    let applied = ecosystem.levada(&["apply", "--yes", "--format", "json"]).succeeded().json();
    assert_eq!((applied["generation"].as_i64(), applied["changed"].as_i64()), (Some(2), Some(2)));
    let nothing = ecosystem.levada(&["plan", "--detailed-exitcode"]).succeeded();
    assert!(nothing.stderr.contains("0 objects changed"), "{}", nothing.stderr);
}

#[test]
fn a_saved_plan_is_applied_as_it_was_made_or_not_at_all() {
    let ecosystem = ecosystem();
    let file = |name: &str| ecosystem.path(name).display().to_string();
    let saved = ecosystem.levada(&["plan", "--save", &file("first.plan")]).succeeded();
    assert!(saved.stderr.contains("levada apply --plan"), "{}", saved.stderr);
    // The model goes on; what was looked at is what is applied.
    ecosystem.write("z/t/w3.yaml", &workspace("W3", "S3.a, S4.a"));
    let applied = ecosystem.levada(&["apply", "--plan", &file("first.plan"), "--format", "json"]).succeeded().json();
    assert_eq!((applied["generation"].as_i64(), applied["changed"].as_i64()), (Some(1), Some(60)));
    let again = ecosystem.levada(&["apply", "--plan", &file("first.plan")]);
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("made on nothing, and generation 1 is in force"), "{}", again.stderr);

    ecosystem.levada(&["plan", "--save", &file("second.plan")]).succeeded();
    let text = std::fs::read_to_string(ecosystem.path("second.plan")).expect("the plan");
    ecosystem.write("changed.plan", &text.replace("\"s4_a\"", "\"s5_a\"").replace("w3.s4_a", "w3.s5_a"));
    for (name, text, says) in [
        ("changed.plan", None, "was changed after it was made"),
        ("other.plan", Some("{ \"version\": 7 }"), "has version 7"),
        ("none.plan", Some("plan"), "is no saved plan"),
    ] {
        if let Some(text) = text {
            ecosystem.write(name, text);
        }
        let refused = ecosystem.levada(&["apply", "--plan", &file(name)]);
        assert!(refused.code == 1 && refused.stderr.contains(says), "{name}: {}", refused.stderr);
    }
    let document = ecosystem.levada(&["plan", "--save", &file("third.json")]);
    assert!(document.code == 1 && document.stderr.contains("third.plan"), "{}", document.stderr);
    assert!(!ecosystem.path("third.json").exists());
    let missing = ecosystem.levada(&["apply", "--plan", &file("gone.plan")]);
    assert!(missing.code == 1 && missing.stderr.contains("failed to read"), "{}", missing.stderr);
    ecosystem.levada(&["apply", "--plan", &file("second.plan")]).succeeded();
    ecosystem.levada(&["plan", "--detailed-exitcode"]).succeeded();
}

#[test]
fn a_change_is_checked_against_an_earlier_revision() {
    let ecosystem = ecosystem();
    git(ecosystem.root(), &["init", "--quiet", "--initial-branch=main"]);
    ecosystem.write(".gitignore", ".levada/\n");
    commit(&ecosystem);
    let same = ecosystem.levada(&["check", "--against", "main"]).succeeded();
    assert!(same.stdout.contains("nothing that anybody consumes has changed"), "{}", same.stdout);

    ecosystem.write("z/t/s5.yaml", &store("S5", ", name: varchar(20)"));
    ecosystem.write("z/t/s6.yaml", &store("S6", ", name: varchar(90)"));
    let broken = ecosystem.levada(&["check", "--against", "main"]);
    assert_eq!(broken.code, 1);
    assert!(
        broken.stdout.contains("error[E-EVOLUTION-001]") && broken.stdout.contains("it hits W5/G"),
        "{}",
        broken.stdout
    );
    let line = "compatible S6.a: column name: varchar(40) -> varchar(90); W6/G (Z/T)   z/t/s6.yaml:5:3";
    assert!(broken.stdout.contains(line), "{}", broken.stdout);
    let json = ecosystem.levada(&["check", "--against", "main", "--format", "json"]).json();
    let changes = json["against"]["changes"].as_array().expect("changes");
    let effects: Vec<_> =
        changes.iter().map(|it| (it["dataset"].as_str(), it["column"].as_str(), it["effect"].as_str())).collect();
    assert_eq!(
        effects,
        [(Some("S5.a"), Some("name"), Some("breaking")), (Some("S6.a"), Some("name"), Some("compatible"))]
    );
    assert_eq!(changes[0]["consumers"][0]["workspace"], "W5");
    let sarif = ecosystem.levada(&["check", "--against", "main", "--format", "sarif"]).json();
    assert_eq!(sarif["version"], "2.1.0");
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!((result["ruleId"].as_str(), result["level"].as_str()), (Some("E-EVOLUTION-001"), Some("error")));
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(
        (place["artifactLocation"]["uri"].as_str(), place["region"]["startLine"].as_i64()),
        (Some("z/t/s5.yaml"), Some(5))
    );

    let unknown = ecosystem.levada(&["check", "--against", "nobody"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("no commit \"nobody\""), "{}", unknown.stderr);
    assert_eq!(git(ecosystem.root(), &["status", "--porcelain"]).lines().count(), 2, "the checkout is as it was");
    // A model in a folder of a repository is found there.
    commit(&ecosystem);
    std::fs::create_dir(ecosystem.path("models")).expect("a folder");
    git(ecosystem.root(), &["mv", "ecosystem.yaml", "z", "models/"]);
    commit(&ecosystem);
    ecosystem.write("models/z/t/s5.yaml", &store("S5", ", name: varchar(10)"));
    let sarif = ecosystem.run_in("models", &["check", "--against", "HEAD", "--format", "sarif"]).json();
    let place = &sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "models/z/t/s5.yaml");
    let early = ecosystem.run_in("models", &["check", "--against", "HEAD~2"]);
    assert!(early.code == 1 && early.stderr.contains("folder is not in it"), "{}", early.stderr);
}
