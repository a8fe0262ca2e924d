//! Python environments that proofs run in: one folder each under `target/python`, made once.
//!
//! Takes a name and a file of pinned requirements, gives the environment's `python`. Installs from
//! PyPI; never touches the machine's own Python.

use crate::process;
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::process::Command;

const BY_HAND: &str =
    "it takes Python 3.9 or later with `venv` (`apt-get install python3-venv` on Debian and Ubuntu) and a way to PyPI";

/// The `python` of an environment that has exactly these requirements.
pub(crate) fn environment(root: &Path, name: &str, requirements: &Path) -> anyhow::Result<PathBuf> {
    let folder = root.join("target/python").join(name);
    let python = folder.join("bin/python");
    let wanted = std::fs::read(requirements).with_context(|| format!("failed to read {}", requirements.display()))?;
    // Written last: an environment without it was not finished, or is of other requirements.
    let installed = folder.join("installed.txt");
    if std::fs::read(&installed).is_ok_and(|found| found == wanted) && python.is_file() {
        return Ok(python);
    }
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("failed to remove {}", folder.display()))?;
    }
    process::run(Command::new("python3").args(["-m", "venv"]).arg(&folder)).context(BY_HAND)?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    process::run(Command::new(&python).args(install).arg(requirements)).context(BY_HAND)?;
    std::fs::write(&installed, wanted).with_context(|| format!("failed to write {}", installed.display()))?;
    Ok(python)
}
