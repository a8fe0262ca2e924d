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
