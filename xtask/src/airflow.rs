//! The proof of the Airflow example: Airflow itself imports what the platform renders.
//!
//! Takes a built `levada`, renders `examples/airflow-platform` into a folder under `target`, and has
//! Airflow compare the DAGs that it sees with the files.

use crate::{process, python};
use anyhow::Context;
use std::path::Path;
use std::process::Command;

/// Fails where Airflow can't import the DAGs or sees others than were rendered.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let example = root.join("examples/airflow-platform");
    let python = python::environment(root, "airflow", &example.join("requirements.txt"))?;
    let rendered = root.join("target/airflow-rendered");
    // What an earlier build rendered there is no matter of this proof.
    drop(std::fs::remove_dir_all(&rendered));
    let render = ["run", "--quiet", "--package", "levada", "--", "render", "--platform", "Airflow", "--out"];
    process::run(process::cargo(root).args(render).arg(&rendered).arg(&example).env("LEVADA_CACHE", "off"))?;
    let check = example.join("check_dags.py");
    process::run(Command::new(&python).arg(check).arg(rendered.join("dags")))
        .context("Airflow does not see the DAGs that were rendered")
}
