//! `levada run`: the worker.

use crate::cli::RunArgs;
use crate::project::{Project, in_force};
use crate::show;
use anyhow::Result;
use levada_model::NodeAddress;
use levada_runtime::{Ending, Mode, Progress, Runtime, Worker};
use tokio::sync::watch;

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
    let ending = work(runtime, usize::from(args.workers), mode, stop_signal()?).await?;
    summary(&ending);
    Ok(ending.failed.is_empty() || mode == Mode::Continuous)
}

/// Runs a worker that tells its progress on stderr.
pub async fn work(runtime: Runtime, jobs_max: usize, mode: Mode, stop: watch::Receiver<bool>) -> Result<Ending> {
    let owner = format!("{}@{}", std::process::id(), hostname());
    Ok(Worker::new(runtime, owner, jobs_max, mode, tell).run(stop).await?)
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
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
        // The worker may have ended by itself; then nobody is left to stop.
        drop(sender.send(true));
        std::future::pending::<()>().await;
    });
    Ok(receiver)
}
