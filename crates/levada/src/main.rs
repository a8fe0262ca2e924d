//! The `levada` command: the only place where concrete meets concrete.
//!
//! Data goes to stdout, talk to stderr. Exit codes: 0 done, 1 findings or a failed operation,
//! 2 usage, 3 a plan has changes, 70 our bug.

mod cli;
mod commands;
mod compile;
mod connect;
mod demo;
mod planning;
mod project;
mod rendering;
mod rollout;
mod sarif;
mod saved;
mod settings;
mod show;
mod stop;
mod waiting;

use clap::Parser;
use cli::{Cli, Command, PlatformCommand};
use std::process::ExitCode;

/// The exit code of a bug of ours, as in sysexits.h.
const EXIT_BUG: u8 = 70;

/// How long threads may take to end after the command has.
const SHUTDOWN: std::time::Duration = std::time::Duration::from_secs(1);

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_env("LEVADA_LOG"))
        .with_writer(std::io::stderr)
        .init();
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            show::talk(format!("error: failed to start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    // A task of its own, so that a panic is told as a bug and not as a failure of the operation.
    let ended = runtime.block_on(async { tokio::spawn(dispatch(cli.command)).await });
    // Blocking work of jobs that were given back ends by itself; nobody waits for it.
    runtime.shutdown_timeout(SHUTDOWN);
    match ended {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            show::talk(format!("error: {}{}", verb(&error), chain(&error)));
            ExitCode::FAILURE
        }
        Err(_) => EXIT_BUG.into(),
    }
}

async fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    let is_done = match command {
        Command::Init(args) => commands::init::init(&args)?,
        Command::Schema => commands::init::schema(),
        Command::Demo(args) => demo::run(&args).await?,
        Command::Check(args) => commands::check::run(&args)?,
        Command::Graph(args) => commands::graph::run(&args)?,
        Command::Explain(args) => commands::explain::run(&args)?,
        Command::Plan(args) => return commands::plan::run(&args).await,
        Command::Apply(args) => commands::apply::run(&args).await?,
        Command::Run(args) => commands::run::run(&args).await?,
        Command::Migrate(args) => commands::migrate::run(&args).await?,
        Command::Status(args) => commands::status::status(&args).await?,
        Command::Jobs(args) => commands::status::jobs(&args).await?,
        Command::Batches(args) => commands::status::batches(&args).await?,
        Command::Store(args) => commands::status::store(&args).await?,
        Command::Sql(args) => commands::sql::run(&args).await?,
        Command::Rehydrate(args) => commands::rehydrate::run(&args).await?,
        Command::Verify(args) => commands::verify::run(&args).await?,
        Command::Serve(args) => commands::serve::run(&args).await?,
        Command::Follow(args) => commands::follow::run(&args).await?,
        Command::Approve(args) => commands::approve::run(&args).await?,
        Command::Rollback(args) => commands::rollback::run(&args).await?,
        Command::Render(args) => commands::render::run(&args).await?,
        Command::Platform(PlatformCommand::Describe(args)) => commands::platform::describe(&args).await?,
        Command::Platform(PlatformCommand::Schema) => {
            show::data(levada_platforms::external::PROTOCOL_SCHEMA.trim_end());
            true
        }
        Command::Platform(PlatformCommand::Test(args)) => commands::platform::test(&args).await?,
    };
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Errors of the libraries are named after what failed, as a fragment; those of commands are sentences.
fn verb(error: &anyhow::Error) -> &'static str {
    let is_fragment = error.is::<levada_repo::RepoError>()
        || error.is::<levada_state::StateError>()
        || error.is::<levada_store::StoreError>()
        || error.is::<levada_server::ServerError>()
        || error.is::<levada_planner::ExplainError>()
        || error.downcast_ref::<levada_runtime::JobError>().is_some_and(levada_runtime::JobError::is_fragment);
    if is_fragment { "failed to " } else { "" }
}

/// An error and its causes on one line; hints on lines of their own.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let part = cause.to_string();
        if !text.ends_with(&part) {
            text = if text.is_empty() { part } else { format!("{text}: {part}") };
        }
    }
    let hints = error.chain().filter_map(|cause| cause.downcast_ref::<levada_flow::FlowError>()?.hint.clone());
    hints.fold(text, |text, hint| format!("{text}\n  = hint: {hint}"))
}
