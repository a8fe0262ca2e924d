//! The proof of aws-batch without a cloud: what it renders, the real Terraform and the scanners
//! accept.
//!
//! Takes a built `levada`, renders `examples/aws-batch` into a folder under `target`, and hands it to
//! `python/aws/prove.py`. The provider's true schema comes from the npm package that carries it.

use crate::{process, python};
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bindings made from the schema of hashicorp/aws 6.66.
const SCHEMA: (&str, &str) = ("@cdktn/provider-aws", "25.7.0");

/// Fails where a proof fails; what holds is told line by line.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let scripts = root.join("xtask/python/aws");
    let python = python::environment(root, "aws", &scripts.join("requirements.txt"))?;
    let checkov = python::environment(root, "checkov", &scripts.join("checkov.txt"))?;
    let schema = schema(root)?;
    process::run(process::cargo(root).args(["build", "--quiet", "--package", "levada"]))?;
    let mut prove = Command::new(&python);
    prove
        .arg(scripts.join("prove.py"))
        .arg(process::target(root).join("debug/levada"))
        .arg(root.join("examples/aws-batch"));
    prove.args([schema, checkov.with_file_name("checkov"), root.join("target/aws-rendered")]);
    process::run(&mut prove).context("what aws-batch renders is not what AWS takes")
}

/// The folder of the package with the schema, fetched once.
fn schema(root: &Path) -> anyhow::Result<PathBuf> {
    let (name, version) = SCHEMA;
    let folder = root.join("target/npm").join(format!("provider-aws-{version}"));
    if folder.join("package/package.json").is_file() {
        return Ok(folder.join("package"));
    }
    let fetched = folder.with_extension("part");
    drop(std::fs::remove_dir_all(&fetched));
    std::fs::create_dir_all(&fetched).with_context(|| format!("failed to create {}", fetched.display()))?;
    let pack = ["pack", "--silent", &format!("{name}@{version}")].map(str::to_owned);
    process::run(Command::new("npm").args(pack).current_dir(&fetched))
        .context("it takes npm (`apt-get install npm`, or Node.js) and a way to its registry")?;
    let archive = format!("{}-{version}.tgz", name.trim_start_matches('@').replace('/', "-"));
    process::run(Command::new("tar").args(["xzf", &archive]).current_dir(&fetched))?;
    drop(std::fs::remove_dir_all(&folder));
    // Named last: a folder of this name is whole.
    std::fs::rename(&fetched, &folder).with_context(|| format!("failed to create {}", folder.display()))?;
    Ok(folder.join("package"))
}
