//! The proof of aws-batch without a cloud: what it renders, the real Terraform and the scanners
//! accept.
//!
//! Takes a built `levada`, renders `examples/aws-batch` into a folder under `target`, and hands it to
//! `python/aws/prove.py`. The provider's true schema comes from the npm package that carries it.

use crate::{npm, process, python};
use anyhow::Context;
use std::path::Path;
use std::process::Command;

/// Bindings made from the schema of hashicorp/aws 6.66.
const SCHEMA: (&str, &str) = ("@cdktn/provider-aws", "25.7.0");

/// Fails where a proof fails; what holds is told line by line.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let scripts = root.join("xtask/python/aws");
    let python = python::environment(root, "aws", &scripts.join("requirements.txt"))?;
    let checkov = python::environment(root, "checkov", &root.join("xtask/python/checkov.txt"))?;
    let (name, version) = SCHEMA;
    let schema = npm::package(root, name, version)?;
    process::run(process::cargo(root).args(["build", "--quiet", "--package", "levada"]))?;
    let mut prove = Command::new(&python);
    prove
        .env("PYTHONPATH", root.join("xtask/python"))
        .arg(scripts.join("prove.py"))
        .arg(process::target(root).join("debug/levada"))
        .arg(root.join("examples/aws-batch"));
    prove.args([schema, checkov.with_file_name("checkov"), root.join("target/aws-rendered")]);
    process::run(&mut prove).context("what aws-batch renders is not what AWS takes")
}
