//! External platforms: somebody's own program decides how its part becomes real.

use crate::ecosystem::{Ecosystem, Ran, git};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const ECOSYSTEM: &str = "\
ecosystem: external
vendors: [{ vendor: here, cloud: private, locations: { lab: {} } }]
platforms:
  - platform: Partner
    kind: external
    run: { command: [python3, ../partner.py, lab] }
    credentials: [partner_token]
    style: batch
    locations: [\"here:lab\"]
    settings: { out: ../rendered, size: 3 }
";

const TEAM: &str = "\
team: T
containers:
  - { container: src, kind: sqlite, location: \"here:lab\", path: ../../../src.db }
  - { container: out, kind: sqlite, location: \"here:lab\", path: ../../../out.db }
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

/// Answers as the protocol wants, one file per node, and goes wrong where the file `mode` says how.
const PROGRAM: &str = r#"
import json, os, sys, time
ask, place = sys.argv[2], sys.argv[1]
home = os.path.dirname(os.path.abspath(__file__))
path = os.path.join(home, "mode")
mode = open(path).read() if os.path.exists(path) else ""
question = json.load(sys.stdin)
if question["protocol"] != 1 or place != "lab":
    sys.exit("what is that?")
def answer(**rest):
    json.dump({"protocol": 1, **rest}, sys.stdout)
if ask == "describe":
    assert os.environ["LEVADA_CREDENTIAL_PARTNER_TOKEN_TOKEN"] == "geheim" and "LEVADA_STATE" not in os.environ
    capabilities = {"sources": {"sqlite": ["snapshot"]}, "sinks": ["sqlite"], "catch_up": ["latest"]}
    schema = {"type": "object", "additionalProperties": False, "properties": {"size": {"type": "integer"}}}
    answer(program="partner", version="7", capabilities=capabilities, settings_schema=schema)
elif ask == "lint":
    found = {"code": "P-9", "severity": "error", "address": "Ingest/Partner/D", "message": "not in this hall"}
    answer(findings=[found] if mode == "finds" else [])
elif mode == "hangs":
    os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "60713")
    time.sleep(600)
elif mode == "rubbish":
    print("Traceback: oh no")
elif mode == "fails":
    sys.exit("the partner's door is shut")
elif mode == "escapes":
    answer(files=[{"path": "../../etc/passwd", "text": ""}])
else:
    files = {node["address"].replace("/", "-") + ".json": json.dumps(node) for node in question["graph"]["nodes"]}
    answer(files=[{"path": path, "text": text} for path, text in files.items()])
"#;

/// A model in the folder `model`, its program beside it.
fn partner() -> Ecosystem {
    let ecosystem = Ecosystem::new();
    ecosystem.write("model/ecosystem.yaml", ECOSYSTEM);
    ecosystem.write("model/levada.toml", "secrets = \"../secrets\"\nplatform-seconds = 2\n");
    ecosystem.write("secrets/partner_token/token", "geheim");
    ecosystem.write("model/z/zone.yaml", "zone: Z\n");
    ecosystem.write("model/z/t/team.yaml", &TEAM.replace("DATASETS", "D.a"));
    ecosystem.write("partner.py", PROGRAM);
    ecosystem
}

fn levada(ecosystem: &Ecosystem, arguments: &[&str]) -> Ran {
    ecosystem.run_in("model", arguments)
}

/// The files of a folder and below, sorted, `/`-separated.
fn files(folder: &Path) -> Vec<String> {
    fn walk(folder: &Path, prefix: &str, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let entry = entry.expect("a folder's entry");
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            match entry.path().is_dir() {
                true => walk(&entry.path(), &format!("{name}/"), found),
                false => found.push(name),
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, "", &mut found);
    found.sort();
    found
}

#[test]
fn a_partners_program_is_asked_once_believed_by_the_broker_and_renders_what_is_applied() {
    let ecosystem = partner();
    let undescribed = levada(&ecosystem, &["check"]);
    assert_eq!(undescribed.code, 1);
    assert!(undescribed.stdout.contains("levada platform describe \"Partner\""), "{}", undescribed.stdout);
    let described = levada(&ecosystem, &["platform", "describe", "Partner"]).succeeded();
    assert!(described.stdout.contains("reads        sqlite by snapshot"), "{}", described.stdout);
    levada(&ecosystem, &["check"]).succeeded();
    assert!(files(&ecosystem.path("rendered")).is_empty(), "nothing was applied");

    let applied = levada(&ecosystem, &["apply", "--yes", "--format", "json"]).succeeded().json();
    assert_eq!((&applied["generation"], &applied["changed"]), (&Value::from(1), &Value::from(2)));
    let rendered = files(&ecosystem.path("rendered"));
    assert_eq!(rendered, ["Export-Partner-out-D-a.json", "Ingest-Partner-D.json", "render-manifest.json"]);
    // Workers have nothing to do with it.
    let status = levada(&ecosystem, &["status", "--format", "json"]).succeeded().json();
    assert_eq!(
        (&status["nodes"], &status["rendered"]),
        (&Value::from(Vec::<Value>::new()), &serde_json::json!({ "Partner": 2 }))
    );
    assert!(levada(&ecosystem, &["run", "--until-idle"]).succeeded().stderr.contains("0 jobs done"));
    levada(&ecosystem, &["plan", "--detailed-exitcode"]).succeeded();

    // One dataset more: its file, and the stream's.
    ecosystem.write("model/z/t/team.yaml", &TEAM.replace("DATASETS", "D.a, D.b"));
    let applied = levada(&ecosystem, &["apply", "--yes", "--format", "json"]).succeeded().json();
    let written = &applied["rendered"]["Partner"]["written"];
    assert_eq!(*written, serde_json::json!(["Export-Partner-out-D-b.json", "Ingest-Partner-D.json"]));
    // Again: nothing.
    let again = levada(&ecosystem, &["apply", "--yes", "--format", "json"]).succeeded().json();
    assert_eq!((&again["generation"], &again["changed"]), (&Value::from(2), &Value::from(0)));
    assert_eq!(again["rendered"]["Partner"]["written"], serde_json::json!([]));
    // Half of the files are lost: whoever applies again has them back.
    std::fs::remove_file(ecosystem.path("rendered/Ingest-Partner-D.json")).expect("it is there");
    std::fs::remove_file(ecosystem.path("rendered/render-manifest.json")).expect("it is there");
    std::fs::remove_dir_all(ecosystem.path("rendered")).expect("it is there");
    levada(&ecosystem, &["apply", "--yes"]).succeeded();
    assert_eq!(files(&ecosystem.path("rendered")).len(), 4);
    // Nobody consumes anything any more: the files go.
    let without = TEAM.split("---\nworkspace").next().expect("a part");
    ecosystem.write("model/z/t/team.yaml", without);
    levada(&ecosystem, &["apply", "--yes"]).succeeded();
    assert_eq!(files(&ecosystem.path("rendered")), ["render-manifest.json"]);
}

#[test]
fn what_a_program_does_wrong_is_told_with_its_words_and_leaves_all_as_it_was() {
    let ecosystem = partner();
    levada(&ecosystem, &["platform", "describe", "Partner"]).succeeded();
    levada(&ecosystem, &["apply", "--yes"]).succeeded();
    let before = files(&ecosystem.path("rendered"));
    ecosystem.write("model/z/t/team.yaml", &TEAM.replace("DATASETS", "D.a, D.b"));
    for (mode, words) in [
        ("hangs", "did not answer `render` within 2 s"),
        ("rubbish", "it begins with \"Traceback: oh no"),
        ("fails", "the partner's door is shut"),
        ("escapes", "\"../../etc/passwd\", which is no path below the output"),
        ("finds", "not in this hall (P-9)"),
    ] {
        ecosystem.write("mode", mode);
        let ran = levada(&ecosystem, &["apply", "--yes"]);
        assert_eq!(ran.code, 1, "{mode}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains(words), "{mode}: {}", ran.stderr);
        assert_eq!(files(&ecosystem.path("rendered")), before, "{mode}");
        assert_eq!(levada(&ecosystem, &["plan", "--detailed-exitcode"]).code, 3, "{mode}: nothing is in force");
    }
    let sleepers = Command::new("pgrep").args(["-f", "^sleep 60713$"]).output().expect("pgrep");
    assert_eq!(String::from_utf8_lossy(&sleepers.stdout), "", "what a hanging program started is gone");
    std::fs::remove_file(ecosystem.path("mode")).expect("it is there");
    levada(&ecosystem, &["apply", "--yes"]).succeeded();

    // A state that knows less than what is rendered is an old one.
    let old = ecosystem.run_in("model", &["apply", "--yes"]).succeeded();
    assert!(old.stderr.contains("is as it should be"), "{}", old.stderr);
    std::fs::rename(ecosystem.path("model/.levada"), ecosystem.path("model/.kept")).expect("the state is put away");
    let backwards = levada(&ecosystem, &["apply", "--yes"]);
    assert!(backwards.code == 1 && backwards.stderr.contains("go back to generation 1 where generation 2 is rendered"));
    std::fs::remove_dir_all(ecosystem.path("model/.levada")).expect("the new state goes");
    std::fs::rename(ecosystem.path("model/.kept"), ecosystem.path("model/.levada")).expect("the state is back");

    // What somebody edited is not written over, and said before anything is in force.
    ecosystem.write("rendered/Ingest-Partner-D.json", "mine");
    ecosystem.write("model/z/t/team.yaml", &TEAM.replace("DATASETS", "D.a"));
    let refused = levada(&ecosystem, &["apply", "--yes"]);
    assert!(refused.stderr.contains("edited by hand: Ingest-Partner-D.json"), "{}", refused.stderr);
    assert_eq!(levada(&ecosystem, &["plan", "--detailed-exitcode"]).code, 3);
    levada(&ecosystem, &["render", "--platform", "Partner", "--force"]).succeeded();
    levada(&ecosystem, &["apply", "--yes"]).succeeded();

    // Another program under the same name has to be asked first.
    ecosystem.write("model/ecosystem.yaml", &ECOSYSTEM.replace("partner.py, lab", "partner.py, other"));
    let stale = levada(&ecosystem, &["check"]);
    assert!(stale.code == 1 && stale.stdout.contains("has another program than the one that was asked"));
    let settings = ECOSYSTEM.replace("size: 3", "size: large");
    ecosystem.write("model/ecosystem.yaml", &settings);
    assert!(levada(&ecosystem, &["check"]).stdout.contains("/size: \"large\" is not of type \"integer\""));
}

#[test]
fn a_rendering_is_pushed_to_a_branch_as_one_commit_where_something_differs() {
    let ecosystem = partner();
    let bare = ecosystem.path("deployment.git");
    std::fs::create_dir(&bare).expect("a folder");
    git(&bare, &["init", "--quiet", "--bare"]);
    let to_branch = "git: { repository: ../deployment.git, branch: live }";
    ecosystem.write("model/ecosystem.yaml", &ECOSYSTEM.replace("out: ../rendered", to_branch));
    levada(&ecosystem, &["platform", "describe", "Partner"]).succeeded();
    for _ in 0..2 {
        levada(&ecosystem, &["apply", "--yes"]).succeeded();
        assert_eq!(git(&bare, &["rev-list", "--count", "live"]), "1");
    }
    ecosystem.write("model/z/t/team.yaml", &TEAM.replace("DATASETS", "D.a, D.b"));
    let applied = levada(&ecosystem, &["apply", "--yes", "--format", "json"]).succeeded().json();
    assert_eq!(applied["rendered"]["Partner"]["commits"], 1);
    let changed = git(&bare, &["diff", "--name-only", "live~1", "live"]);
    assert_eq!(changed, "Export-Partner-out-D-b.json\nIngest-Partner-D.json\nrender-manifest.json");
    assert!(git(&bare, &["log", "-1", "--format=%B", "live"]).contains("Levada-Revision: content "));
    // The same on a branch that only the command line names.
    let target = format!("{}#copy", bare.display());
    let rendered = levada(&ecosystem, &["render", "--platform", "Partner", "--git", &target]).succeeded();
    assert!(rendered.stdout.contains("3 files brought up to date by one commit"), "{}", rendered.stdout);
    assert_eq!(git(&bare, &["rev-parse", "live^{tree}"]), git(&bare, &["rev-parse", "copy^{tree}"]));
}

#[test]
fn an_image_is_run_by_whatever_the_settings_name_and_no_secret_is_in_its_command_line() {
    let ecosystem = partner();
    // A stand-in for `docker run`: writes down its arguments, then runs the program itself.
    ecosystem.write(
        "runner.py",
        "import os, sys\n\
         open(os.path.dirname(__file__) + '/seen', 'a').write(' '.join(sys.argv[1:]) + '\\n')\n\
         os.execvp('python3', ['python3', os.path.dirname(__file__) + '/partner.py', 'lab', sys.argv[-1]])\n",
    );
    let image = "run: { image: \"registry.example/partner@sha256:00\" }";
    ecosystem
        .write("model/ecosystem.yaml", &ECOSYSTEM.replace("run: { command: [python3, ../partner.py, lab] }", image));
    let runner = format!("runner = [\"python3\", {:?}, \"run\"]\n", ecosystem.path("runner.py").display().to_string());
    ecosystem.write("model/levada.toml", &format!("secrets = \"../secrets\"\n{runner}"));
    levada(&ecosystem, &["platform", "describe", "Partner"]).succeeded();
    levada(&ecosystem, &["apply", "--yes"]).succeeded();
    assert_eq!(files(&ecosystem.path("rendered")).len(), 3);
    let seen = std::fs::read_to_string(ecosystem.path("seen")).expect("the runner ran");
    let first = "run --env LEVADA_CREDENTIAL_PARTNER_TOKEN_TOKEN --env LEVADA_PROTOCOL registry.example/partner@sha256:00 describe";
    assert_eq!(seen.lines().next(), Some(first));
    assert!(!seen.contains("geheim"));
}

fn example() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/airflow-platform").canonicalize().expect("the example")
}

#[test]
fn the_airflow_example_passes_the_conformance_test_and_one_dataset_changes_one_file() {
    let example = example();
    let program = example.join("airflow_platform.py").display().to_string();
    let ecosystem = Ecosystem::new();
    let tested = ecosystem.run_in("", &["platform", "test", &program, "--format", "json"]).succeeded().json();
    let points = tested["points"].as_array().expect("points");
    assert!(points.len() == 9 && points.iter().all(|point| point["problem"].is_null()), "{points:?}");

    for name in files(&example).into_iter().filter(|name| !name.contains("__pycache__")) {
        let text = std::fs::read_to_string(example.join(&name)).expect("a file of the example");
        ecosystem.write(&name, &text);
    }
    ecosystem.run_in("", &["check"]).succeeded();
    let described = std::fs::read(ecosystem.path("describe.json")).expect("the kept answer");
    ecosystem.run_in("", &["platform", "describe", "Airflow"]).succeeded();
    assert_eq!(std::fs::read(ecosystem.path("describe.json")).expect("the answer"), described, "it is up to date");
    ecosystem.run_in("", &["apply", "--yes"]).succeeded();
    let line = "zones/factory/teams/line/line.yaml";
    let text = std::fs::read_to_string(ecosystem.path(line)).expect("a file of the example");
    ecosystem.write(line, &text.replace("[Yields.per_machine]", "[Yields.per_machine, Line.machines]"));
    let applied = ecosystem.run_in("", &["apply", "--yes", "--format", "json"]).succeeded().json();
    let written = applied["rendered"]["Airflow"]["written"].as_array().expect("files");
    assert_eq!(written.len(), 1, "{written:?}");
    assert!(written[0].as_str().is_some_and(|path| path.starts_with("dags/levada/dag_Ingest_Airflow_Line_")));
}

#[test]
fn the_conformance_test_names_what_a_program_does_not_keep_to() {
    let ecosystem = Ecosystem::new();
    // It answers anything, whatever it was asked.
    ecosystem.write(
        "any.py",
        "#!/usr/bin/env python3\nimport json, sys, time\n\
         caps = {'sources': {'sqlite': ['snapshot']}, 'sinks': ['sqlite'], 'code': ['sql'], 'catch_up': ['latest']}\n\
         answers = {'describe': {'program': 'any', 'version': '1', 'capabilities': caps}, 'lint': {}, \
         'render': {'files': [{'path': '/etc/now', 'text': str(time.time_ns())}]}}\n\
         print(json.dumps({'protocol': 1, **answers[sys.argv[1]]}))\n",
    );
    let path = ecosystem.path("any.py");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).expect("the program may run");
    let tested = ecosystem.run_in("", &["platform", "test", "any.py", "--format", "json"]);
    assert_eq!(tested.code, 1);
    let points = tested.json();
    let failed: Vec<_> = points["points"]
        .as_array()
        .expect("points")
        .iter()
        .filter(|point| !point["problem"].is_null())
        .map(|point| point["what"].as_str().expect("a text"))
        .collect();
    assert_eq!(
        failed,
        [
            "every path stays below the output",
            "the same question has the same answer, byte by byte",
            "what was rendered before makes no difference",
            "a question of another protocol is refused",
            "what is no question is refused",
        ]
    );
    let missing = ecosystem.run_in("", &["platform", "test", "nobody.py"]);
    assert!(missing.code == 1 && missing.stderr.contains("nobody.py"), "{}", missing.stderr);
    let schema = ecosystem.run_in("", &["platform", "schema"]).succeeded().json();
    assert!(schema["$defs"]["render_answer"].is_object());
}
