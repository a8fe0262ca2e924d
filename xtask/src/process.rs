//! Child processes of tasks: they inherit the terminal, and what they are is printed before they run.
//!
//! Takes a command line, gives its success. Knows nothing about why it is run.

use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Which of the two build profiles a started program uses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// The one that everything but installs and benchmarks uses.
    Dev,
    /// For figures that are worth writing down.
    Release,
}

/// Cargo itself, as a fresh call: without what the outer `cargo run` says about *this* crate, which
/// some build scripts would take for a change and rebuild.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    for (name, _) in std::env::vars_os() {
        let is_about_this_crate = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name == "CARGO_BIN_NAME"
        });
        if is_about_this_crate {
            command.env_remove(&name);
        }
    }
    command
}

/// Where cargo builds.
pub(crate) fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder))
}

/// Prints a command and runs it to its end; any other end than success is an error.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let line = line(command);
    eprintln!("==> {line}");
    let status = command.status().with_context(|| format!("failed to start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}

/// Whether a command exists and ends with success; its output is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Starts `levada-sim TASK ARGUMENTS…` and hands on its exit code.
pub(crate) fn simulation(root: &Path, task: &str, arguments: &[String], profile: Profile) -> anyhow::Result<ExitCode> {
    let mut command = cargo(root);
    command.args(["run", "--quiet", "--package", "levada-sim"]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    command.arg("--").arg(task).args(arguments);
    let status = command.status().context("failed to start levada-sim")?;
    // A program that a signal ended has no code; 1 says that it did not do its work.
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
