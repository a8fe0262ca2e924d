//! `cargo xtask test`: everything that CI runs, in one command, the quick things first.
//!
//! Takes a fresh clone on a machine with Rust, gives success when nothing is wrong. Installs what is
//! missing where it may, else names it.
//!
//! Clippy checks the dependencies once more without generating their code, some four CPU minutes on a
//! fresh machine; `--no-clippy` leaves that out for people in a hurry. CI never does.

use crate::{airflow, aws, faults, image, kubernetes, mariadb, postgres, process, rest_api, shared_build, spark, tidy};
use anyhow::{Context, bail};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

/// Runs all checks and tests, and stops at the first step that fails.
pub(crate) fn run(root: &Path, with_clippy: bool) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let postgres = postgres::find_or_install()?;
    eprintln!("PostgreSQL server programs: {}", postgres.display());
    let mariadb = mariadb::find_or_install()?;
    eprintln!("MariaDB server program: {}", mariadb.display());
    faults::find_or_install_clock()?;
    need_components(root, with_clippy)?;

    process::run(process::cargo(root).args(["fmt", "--all", "--check"])).context("run `cargo fmt --all`")?;
    eprintln!("==> cargo xtask tidy");
    if tidy::run(root)? != ExitCode::SUCCESS {
        bail!("tidy found something");
    }
    eprintln!("==> program and tests share one compilation of their dependencies");
    shared_build::check(root)?;
    if with_clippy {
        let clippy = ["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"];
        process::run(process::cargo(root).args(clippy))?;
    }
    // The tests start the binary of the default member: it has to be there before they run.
    process::run(process::cargo(root).args(["build", "--package", "levada"]))?;
    process::run(process::cargo(root).args(["test", "--workspace"]))?;
    for folder in python_test_folders(&root.join("examples")) {
        let unittest = ["-m", "unittest", "discover", "--pattern", "test_*.py"];
        process::run(Command::new("python3").args(unittest).current_dir(&folder))
            .with_context(|| format!("in {}; the examples need Python 3.9 or later as `python3`", folder.display()))?;
    }
    image::check(root)?;
    airflow::check(root)?;
    aws::check(root)?;
    kubernetes::check(root)?;
    spark::check(root)?;
    rest_api::check(root)?;
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    println!("All checks and tests passed in {minutes:.1} minutes.");
    Ok(ExitCode::SUCCESS)
}

/// Makes sure that the toolchain has rustfmt and clippy; a minimal rustup profile has neither.
fn need_components(root: &Path, with_clippy: bool) -> anyhow::Result<()> {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        let is_needed = with_clippy || component != "clippy";
        if is_needed && !process::succeeds(process::cargo(root).args([subcommand, "--version"])) {
            process::run(Command::new("rustup").args(["component", "add", component]).current_dir(root))
                .with_context(|| format!("the toolchain needs its component `{component}`"))?;
        }
    }
    Ok(())
}

/// The folders below `folder` that hold a `test_*.py`, sorted.
fn python_test_folders(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if entry.path().is_dir() {
                waiting.push(entry.path());
            } else if name.starts_with("test_") && name.ends_with(".py") {
                found.insert(folder.clone());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::python_test_folders;
    use crate::tidy::tree::scratch::Scratch;

    #[test]
    fn only_folders_with_python_tests_are_run() {
        let scratch = Scratch::new("python-tests");
        for path in ["mask/test_mask.py", "mask/deeper/test_more.py", "mask/mask.py", "scale/README.md"] {
            scratch.write(path, "");
        }
        let found: Vec<_> = python_test_folders(scratch.path()).into_iter().collect();
        assert_eq!(found, [scratch.path().join("mask"), scratch.path().join("mask/deeper")]);
    }
}
