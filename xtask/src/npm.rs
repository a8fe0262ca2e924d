//! Packages of npm's registry, each fetched once into a folder under `target/npm`; nothing of them is run
//! but what a proof runs.

use crate::process;
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of a package's files.
pub(crate) fn package(root: &Path, name: &str, version: &str) -> anyhow::Result<PathBuf> {
    let plain = name.trim_start_matches('@').replace('/', "-");
    let folder = root.join("target/npm").join(format!("{plain}-{version}"));
    if folder.join("package/package.json").is_file() {
        return Ok(folder.join("package"));
    }
    let fetched = folder.with_extension("part");
    drop(std::fs::remove_dir_all(&fetched));
    std::fs::create_dir_all(&fetched).with_context(|| format!("failed to create {}", fetched.display()))?;
    let pack = ["pack", "--silent", &format!("{name}@{version}")].map(str::to_owned);
    process::run(Command::new("npm").args(pack).current_dir(&fetched))
        .context("it takes npm (`apt-get install npm`, or Node.js) and a way to its registry")?;
    let archive = format!("{plain}-{version}.tgz");
    process::run(Command::new("tar").args(["xzf", &archive]).current_dir(&fetched))?;
    drop(std::fs::remove_dir_all(&folder));
    // Named last: a folder of this name is whole.
    std::fs::rename(&fetched, &folder).with_context(|| format!("failed to create {}", folder.display()))?;
    Ok(folder.join("package"))
}
