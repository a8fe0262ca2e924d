//! Which files are read, what a folder without a model says, and places.

use levada_model::model::Origin;
use levada_repo::{Folder, RepoError, load};
use std::path::{Path, PathBuf};

fn northwind() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/northwind")
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().expect("files lie in the folder")).expect("create the folder");
    std::fs::write(path, text).expect("write the file");
}

#[test]
fn the_worked_example_loads_without_a_finding() {
    let loaded = load(&northwind()).expect("load the worked example");
    assert_eq!(loaded.findings.0, []);
    let names = |names: Vec<&str>| names.join(" ");
    let model = &loaded.model;
    assert_eq!(model.ecosystem.name, "northwind");
    assert_eq!(names(model.datastores.iter().map(|it| it.name.as_str()).collect()), "Masked_NW_Data NW_Data");
    assert_eq!(
        names(model.workspaces.iter().map(|it| it.name.as_str()).collect()),
        "MaskCustomersWorkSpace WorkspaceUsingTransformerOutput"
    );
    assert_eq!(names(model.containers.iter().map(|it| it.name.as_str()).collect()), "nw_db Test Azure SQL");
    assert!(matches!(model.datastores[0].origin, Origin::Transformer { .. }));
    assert_eq!(model.datastores[0].owner, model.workspaces[0].owner);
    assert_eq!(model.datastores[1].datasets.len(), 5);
}

const TEAM: &str = "zone: Z\n---\nteam: T\ncontainers:\n  - { container: c, kind: sqlite, location: v, path: a.db }\n";
const STORE: &str = "datastore: D\ncontainer: c\ningest: { kind: cdc }\ndatasets: { a: { columns: { x: text } } }\n";

/// A small model in a temporary folder.
fn small() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("make a temporary folder");
    write(folder.path(), "ecosystem.yaml", "ecosystem: small\n");
    write(folder.path(), "team.yaml", TEAM);
    folder
}

#[test]
fn hidden_rendered_and_ignored_files_are_no_part_of_the_model() {
    let folder = small();
    let root = folder.path();
    write(root, "a/store.yml", STORE);
    for path in [".hidden/x.yaml", "rendered/deep/x.yaml", "vendor/x.json", "notes.yaml", "a/describe.json", "a/x.txt"]
    {
        write(root, path, "not: a model\n");
    }
    write(root, "rendered/render-manifest.json", "{}");
    write(root, ".levadaignore", "vendor/\n/notes.yaml\n");
    write(root, ".gitignore", "a/\n");
    let loaded = load(root).expect("load");
    assert_eq!(loaded.findings.0, []);
    assert_eq!(loaded.files.len(), 3);
    assert_eq!(loaded.model.datastores.len(), 1);
}

#[test]
fn json_stands_wherever_yaml_does() {
    let folder = small();
    let store = r#"{ "datastore": "D", "container": "c", "ingest": { "kind": "cdc" },
        "datasets": { "a": { "columns": { "x": { "type": "text", "nullable": false } } } } }"#;
    write(folder.path(), "d.json", store);
    let loaded = load(folder.path()).expect("load");
    assert_eq!(loaded.findings.0, []);
    assert!(!loaded.model.datastores[0].datasets[0].columns[0].nullable);
}

#[test]
fn a_folder_without_an_ecosystem_says_how_to_make_one() {
    let folder = tempfile::tempdir().expect("make a temporary folder");
    let error = load(folder.path()).expect_err("there is no model");
    assert!(matches!(error, RepoError::FindEcosystem { .. }));
    assert!(error.to_string().contains("levada init"));
    let error = load(&folder.path().join("nowhere")).expect_err("there is no folder");
    assert!(matches!(error, RepoError::OpenFolder { .. }));
}

#[test]
fn places_name_path_line_column_and_the_line_itself() {
    let folder = small();
    write(folder.path(), "ü/d.yaml", &STORE.replace("container", "# ü\ncontaner").replace('\n', "\r\n"));
    let loaded = load(folder.path()).expect("load");
    let places: Vec<String> = loaded
        .findings
        .0
        .iter()
        .map(|finding| loaded.files.place(finding.span.expect("a place")).expect("the file is there"))
        .map(|place| format!("{place} {}", place.text))
        .collect();
    assert_eq!(places, ["ü/d.yaml:1:1 datastore: D", "ü/d.yaml:3:1 contaner: c"]);
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_loops_are_not() {
    let folder = small();
    let elsewhere = tempfile::tempdir().expect("make a temporary folder");
    write(elsewhere.path(), "d.yaml", STORE);
    std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("linked")).expect("link a folder");
    std::os::unix::fs::symlink(folder.path(), folder.path().join("loop")).expect("link a loop");
    let loaded = load(folder.path()).expect("load");
    assert_eq!(loaded.findings.0, []);
    assert_eq!(loaded.model.datastores.len(), 1);
}

#[cfg(unix)]
#[test]
fn a_link_to_nowhere_is_an_error_and_not_a_smaller_model() {
    let folder = small();
    std::os::unix::fs::symlink("nowhere.yaml", folder.path().join("d.yaml")).expect("link");
    assert!(load(folder.path()).is_err());
}

#[test]
fn a_revision_is_a_commit_and_whether_files_differ() {
    let folder = small();
    let root = folder.path();
    let git = |arguments: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.arg("-C").arg(root).args(["-c", "user.name=n", "-c", "user.email=e@example.com"]).args(arguments);
        let output = command.output().expect("git is installed");
        assert!(output.status.success(), "{output:?}");
    };
    let folder = Folder::open(root).expect("open");
    assert_eq!(folder.revision(), None);
    git(&["init", "--quiet"]);
    assert_eq!(folder.revision(), None);
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "first"]);
    let clean = folder.revision().expect("a commit");
    assert_eq!((clean.commit.len(), clean.is_dirty), (40, false));
    write(root, "d.yaml", STORE);
    let dirty = folder.revision().expect("a commit");
    assert_eq!((dirty.commit, dirty.is_dirty), (clean.commit, true));
}

#[test]
fn findings_about_columns_stand_at_the_columns() {
    use levada_model::{Address, Finding, Findings};
    let folder = small();
    write(folder.path(), "d.yaml", STORE);
    let loaded = load(folder.path()).expect("load");
    let dataset = loaded.model.datastores[0].datasets[0].span;
    let about =
        Address::Column("D".parse().expect("a name"), "a".parse().expect("a name"), "x".parse().expect("a name"));
    let finding = Finding::error(levada_model::codes::SYNTAX, "it is odd").at(dataset).about(about);
    let mut findings = Findings(vec![finding]);
    loaded.files.locate_columns(&loaded.model, &mut findings);
    let place = findings.0[0].span.and_then(|span| loaded.files.place(span)).expect("it has a place");
    assert_eq!(place.to_string(), "d.yaml:4:29");
}

#[test]
fn the_content_of_a_folder_has_a_fingerprint_of_its_own() {
    let folder = small();
    let fingerprint = || load(folder.path()).expect("load").content;
    let first = fingerprint();
    assert_eq!(fingerprint(), first);
    write(folder.path(), "d.yaml", STORE);
    assert_ne!(fingerprint(), first);
}

#[test]
fn a_copy_of_a_folder_leaves_out_what_is_hidden_rendered_ignored_or_named() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let write = |path: &str, text: &str| write(root.path(), path, text);
    for path in ["ecosystem.yaml", "z/mask.py", "z/deep/words.txt", "z/ignored-by-levada.txt"] {
        write(path, path);
    }
    write(".gitignore", "*.log\n/keys/\n");
    write(".levadaignore", "ignored-by-levada.txt\n");
    for path in
        ["z/run.log", "keys/token", ".levada/state.db", "secrets/db/password", "z/rendered/render-manifest.json"]
    {
        write(path, "secret");
    }
    let copied = Folder::open(root.path()).expect("it is a model").files(&[root.path().join("secrets")], true);
    let copied = copied.expect("it can be read");
    let paths: Vec<&str> = copied.keys().map(String::as_str).collect();
    // A program may read what is no model.
    assert_eq!(paths, ["ecosystem.yaml", "z/deep/words.txt", "z/ignored-by-levada.txt", "z/mask.py"]);
    assert!(copied.iter().all(|(path, bytes)| path.as_bytes() == bytes));
}
