//! Measurements of Levada on synthetic ecosystems; never part of the product.
//!
//! `cargo xtask bench model DIR` loads a folder and runs every pass of the compiler over it, and
//! prints what each costs: CPU seconds of the process (user and system, all threads) and its peak
//! resident memory.

mod measure;
mod model;

use clap::{Parser, Subcommand};
use std::path::PathBuf;

#[derive(Parser)]
#[command(name = "levada-sim")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures a part of Levada
    Bench {
        #[command(subcommand)]
        what: Bench,
    },
}

#[derive(Subcommand)]
enum Bench {
    /// The compiler's passes over a model's folder
    Model {
        /// The folder with ecosystem.yaml
        dir: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Bench { what: Bench::Model { dir } } => model::run(&dir),
    }
}
