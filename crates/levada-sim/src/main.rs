//! Measurements of Levada on synthetic ecosystems; never part of the product.
//!
//! `cargo xtask bench model DIR` loads a folder and runs every pass of the compiler over it, and
//! prints what each costs: CPU seconds of the process (user and system, all threads) and its peak
//! resident memory. `cargo xtask bench plan DIR` runs the built program after changes,
//! `cargo xtask bench scheduler` the worker with jobs that do nothing. `cargo xtask bench render` renders Terraform. `cargo xtask bench log` and `latency`
//! follow a change log on a server that they start. `cargo xtask bench http HOST:PORT --path …` asks a running server.

mod http;
mod log;
mod measure;
mod model;
mod plan;
mod render;
mod scheduler;

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
    /// `levada plan` after a change of one dataset: the built program, as users run it
    Plan {
        /// The folder with ecosystem.yaml; its files are changed and put back
        dir: PathBuf,
        /// The program
        #[arg(long, default_value = "target/release/levada")]
        levada: PathBuf,
        /// How many changes, one by one
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        plans: u32,
    },
    /// The scheduler, with jobs that do nothing
    Scheduler {
        /// How many nodes
        #[arg(long, default_value_t = 100_000)]
        nodes: usize,
        /// How many ingests become due a second
        #[arg(long, default_value_t = 500)]
        rate: usize,
        /// For how long
        #[arg(long, default_value_t = 30)]
        seconds: u64,
        /// Jobs at once
        #[arg(long, default_value_t = 256)]
        jobs: usize,
    },
    /// Terraform of many datastores, made in memory
    Render {
        /// How many datastores
        #[arg(long, default_value_t = 10_000)]
        stores: usize,
        /// Datasets of each
        #[arg(long, default_value_t = 10)]
        datasets: usize,
        /// Columns of each
        #[arg(long, default_value_t = 10)]
        columns: usize,
    },
    /// The CPU of a change log's way, on a PostgreSQL server of its own
    Log {
        /// Rows before the changes
        #[arg(long, default_value_t = 1_000_000)]
        rows: u64,
        /// Changes
        #[arg(long, default_value_t = 1_000_000)]
        changes: u64,
    },
    /// The time from a change at the producer until the consumer sees it
    Latency {
        /// Changes a second
        #[arg(long, default_value_t = 1_000)]
        rate: u32,
        /// For how long
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Commits wait until they are written, as servers have it by default; else they are readable up to 0.2 s later
        #[arg(long)]
        synchronous_commit: bool,
    },
    /// The answers of a server that runs already
    Http {
        /// HOST:PORT
        address: String,
        /// What is asked, in turns; more than one may be given
        #[arg(long = "path", required = true)]
        paths: Vec<String>,
        /// Questions a second
        #[arg(long, default_value_t = 500)]
        rate: u32,
        /// For how long
        #[arg(long, default_value_t = 30)]
        seconds: u32,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Bench { what: Bench::Model { dir } } => model::run(&dir),
        Command::Bench { what: Bench::Plan { dir, levada, plans } } => plan::run(&dir, &levada, plans as usize),
        Command::Bench { what: Bench::Scheduler { nodes, rate, seconds, jobs } } => {
            on_threads(scheduler::run(nodes, rate, seconds, jobs))
        }
        Command::Bench { what: Bench::Render { stores, datasets, columns } } => render::run(stores, datasets, columns),
        Command::Bench { what: Bench::Log { rows, changes } } => on_threads(log::cost(rows, changes)),
        Command::Bench { what: Bench::Latency { rate, seconds, synchronous_commit } } => {
            on_threads(log::latency(rate, seconds, synchronous_commit))
        }
        Command::Bench { what: Bench::Http { address, paths, rate, seconds } } => {
            http::run(&address, &paths, rate, seconds)
        }
    }
}

fn on_threads(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}
