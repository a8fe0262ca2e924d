//! `levada run`: the worker.

use crate::cli::RunArgs;
use crate::project::{Project, in_force};
use crate::show;
use anyhow::{Result, bail};
use levada_model::NodeAddress;
use levada_runtime::{Ending, Mode, Progress, Runtime, Worker};
use std::net::SocketAddr;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Runs until idle, or until it is told to stop.
pub async fn run(args: &RunArgs) -> Result<bool> {
    let project = Project::open(&args.dir.dir)?;
    let runtime = project.runtime().await?;
    let blueprint = in_force(&runtime.state).await?;
    let mode = if args.until_idle { Mode::UntilIdle } else { Mode::Continuous };
    show::talk(format!(
        "running generation {} of {} ({} nodes)",
        blueprint.generation,
        project.root.display(),
        blueprint.nodes.len()
    ));
    let stop = stop_signal()?;
    let server = match args.listen {
        None => None,
        Some(address) => Some(listen(&runtime, address, stop.clone())?),
    };
    let ending = work(runtime, usize::from(args.workers), mode, stop).await?;
    if let Some(server) = server {
        server.abort();
    }
    summary(&ending);
    Ok(ending.failed.is_empty() || mode == Mode::Continuous)
}

/// Serves health and metrics beside the worker; a server that fails is told, and the worker goes on.
fn listen(runtime: &Runtime, address: SocketAddr, stop: watch::Receiver<bool>) -> Result<JoinHandle<()>> {
    if !address.ip().is_loopback() {
        bail!("{address} is no loopback address, and nobody would be asked who they are; use 127.0.0.1");
    }
    let state = runtime.state.clone();
    Ok(tokio::spawn(async move {
        if let Err(error) = levada_server::serve(state, address, stop).await {
            show::talk(format!(
                "error: failed to {error}: {}",
                std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default()
            ));
        }
    }))
}

/// Runs a worker that tells its progress on stderr.
pub async fn work(runtime: Runtime, jobs_max: usize, mode: Mode, stop: watch::Receiver<bool>) -> Result<Ending> {
    let owner = format!("{}@{}", std::process::id(), hostname());
    Ok(Worker::new(runtime, owner, jobs_max, mode, tell).run(stop).await?)
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

fn tell(progress: Progress) {
    match progress {
        Progress::Started(_) => {}
        Progress::Done(nodes, report) if !report.news.is_empty() => {
            show::talk(format!("  {}  {}", label(&nodes), report.news));
        }
        Progress::Done(..) => {}
        Progress::Failed(nodes, error, again) => {
            let then = again.map_or("waits for its next turn".to_owned(), |at| format!("again at {}", show::time(at)));
            show::talk(format!("  {}  failed ({then}): {error}", label(&nodes)));
        }
        Progress::Waiting(error) => show::talk(format!("waiting for the state: {error}")),
    }
}

fn label(nodes: &[NodeAddress]) -> String {
    let first = nodes.first().map(ToString::to_string).unwrap_or_default();
    match nodes.len() {
        0 | 1 => first,
        more => format!("{first} and {} more", more - 1),
    }
}

/// Says how a worker ended.
pub fn summary(ending: &Ending) {
    for (node, error) in &ending.failed {
        show::talk(format!("failed: {node}: {error}"));
    }
    show::talk(format!("{} jobs done, {} rows moved, {} failed", ending.jobs, ending.rows, ending.failed.len()));
}

/// Turns SIGTERM and Ctrl-C into a stop.
pub fn stop_signal() -> Result<watch::Receiver<bool>> {
    let (sender, receiver) = watch::channel(false);
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        show::talk("stopping: running jobs end or are given back");
        if sender.send(true).is_err() {
            return; // The worker has ended by itself; nobody is left to stop.
        }
        std::future::pending::<()>().await;
    });
    Ok(receiver)
}
