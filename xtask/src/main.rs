//! The workspace's own tasks: `cargo xtask TASK`.
//!
//! Takes a task's name and its arguments, gives exit code 0 when all is well, 1 when a task finds
//! something or fails, 2 when it was called wrongly. Knows the workspace's files, not Levada's code.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a task talks to the person who called it")]

mod airflow;
mod aws;
mod debian;
mod everything;
mod faults;
mod generate;
mod image;
mod kubernetes;
mod mariadb;
mod npm;
mod postgres;
mod process;
mod python;
mod rest_api;
mod shared_build;
mod spark;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
The workspace's own tasks.

cargo xtask test [--no-clippy]   everything that CI runs: formatting, tidy, clippy, all tests;
                                 installs Debian's PostgreSQL and MariaDB where no server of them
                                 is found (as root)
cargo xtask aws                  what aws-batch renders, proved on the real Terraform and its scanners
cargo xtask spark                the program of its job, on real Spark, Iceberg and PostgreSQL
cargo xtask kubernetes           what stands on Kubernetes, proved on its schemas, Kustomize and scanners
cargo xtask image [--check]      the container image's root filesystem, from a release build; or
                                 whether it holds, from a dev build
cargo xtask tidy                 the rules that the compiler does not know, within seconds
cargo xtask gen scale --out DIR [--stores 1000] [--datasets 10] [--columns 10] [--seed 1]
                                 a synthetic ecosystem, the same bytes for the same numbers
cargo xtask faults [--fault NAME] [--seed 1] [--seeds 1]
                                 what streams come through: the built worker between real databases,
                                 broken in every way that has a name, for each seed
cargo xtask sim ARGS…            starts levada-sim
cargo xtask bench ARGS…          the same, as a release build
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let root = workspace_root();
    let Some((task, rest)) = arguments.split_first() else { return Ok(usage("no task given")) };
    match (task.as_str(), rest) {
        ("help" | "--help" | "-h", _) => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        ("aws", []) => aws::check(&root).map(|()| ExitCode::SUCCESS),
        ("image", [flag]) if flag == "--check" => image::check(&root).map(|()| ExitCode::SUCCESS),
        ("kubernetes", []) => kubernetes::check(&root).map(|()| ExitCode::SUCCESS),
        ("image", []) => image::run(&root).map(|()| ExitCode::SUCCESS),
        ("spark", []) => spark::check(&root).map(|()| ExitCode::SUCCESS),
        ("tidy", []) => tidy::run(&root),
        ("test", flags) if flags.iter().all(|flag| flag == "--no-clippy") => everything::run(&root, flags.is_empty()),
        ("gen", [what, options @ ..]) if what == "scale" => match generate::Options::parse(options) {
            Ok(options) => generate::run(&options),
            Err(complaint) => Ok(usage(&complaint)),
        },
        ("faults", rest) => match faults::Options::parse(rest) {
            Ok(options) => faults::run(&root, &options),
            Err(complaint) => Ok(usage(&complaint)),
        },
        ("sim", rest) => process::simulation(&root, task, rest, process::Profile::Dev),
        ("bench", rest) => process::simulation(&root, task, rest, process::Profile::Release),
        _ => Ok(usage(&format!("`{}` is not a task", arguments.join(" ")))),
    }
}

fn usage(complaint: &str) -> ExitCode {
    eprint!("xtask: {complaint}\n\n{USAGE}");
    ExitCode::from(2)
}

/// The folder of the workspace, which encloses this crate's.
fn workspace_root() -> PathBuf {
    let xtask = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("xtask"), PathBuf::from);
    xtask.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}
