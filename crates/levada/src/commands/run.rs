//! `levada run`: the worker.

use crate::cli::{Format, RunArgs};
use crate::commands::serve::TOKEN_HINT;
use crate::project::{Project, host, in_force};
use crate::waiting::Waiting;
use crate::{show, stop};
use anyhow::Result;
use levada_model::NodeAddress;
use levada_runtime::{Ending, Mode, Progress, Runtime, Worker};
use levada_server::Door;
use levada_state::Host;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Runs until idle, or until it is told to stop.
pub async fn run(args: &RunArgs) -> Result<bool> {
    let project = Project::open(&args.dir.dir)?;
    let runtime = project.runtime().await?;
    let blueprint = in_force(&runtime.state).await?;
    let host = host(&runtime.state, &blueprint, args.platform.as_ref()).await?;
    let mode = if args.until_idle { Mode::UntilIdle } else { Mode::Continuous };
    let is_own = |node: &&NodeAddress| Host::of(&blueprint.choices, node.platform()).as_ref() == Some(&host);
    let nodes = blueprint.nodes.keys().filter(is_own).count();
    let (generation, root) = (blueprint.generation, project.root.display());
    show::talk(format!("running generation {generation} of {root} ({nodes} nodes)"));
    let stop = stop::signal()?;
    let server = match args.listen {
        None => None,
        Some(address) => Some(listen(&project, &runtime, address, stop.clone())?),
    };
    let ending = work(runtime, host, usize::from(args.workers), mode, args.format, stop).await?;
    if let Some(server) = server {
        server.abort();
    }
    summary(&ending, args.format);
    Ok(ending.failed.is_empty() || mode == Mode::Continuous)
}

/// Serves health and metrics beside the worker; a server that fails is told, and the worker goes on.
fn listen(
    project: &Project,
    runtime: &Runtime,
    address: SocketAddr,
    stop: watch::Receiver<bool>,
) -> Result<JoinHandle<()>> {
    let token = project.settings.serve_token()?;
    let door = Door { state: Some(runtime.state.clone()), token, ..Door::default() };
    door.check(address).map_err(|error| show::failure(&error, Some(TOKEN_HINT)))?;
    let told = |address| show::talk(format!("listening on http://{address}/healthz and /metrics"));
    Ok(tokio::spawn(async move {
        if let Err(error) = levada_server::serve(door, address, stop, told).await {
            show::talk(format!("error: {:#}", show::failure(&error, None)));
        }
    }))
}

/// Runs a worker that tells its progress: to people on stderr, to programs on stdout.
pub async fn work(
    runtime: Runtime,
    host: Host,
    jobs_max: usize,
    mode: Mode,
    format: Format,
    stop: watch::Receiver<bool>,
) -> Result<Ending> {
    let owner = format!("{}@{}", std::process::id(), hostname());
    let (waiting, running) = (Waiting::for_nothing(), Mutex::new(Vec::new()));
    let tell = move |progress: Progress| {
        // Only a panic while telling poisons it, and that ends the worker.
        let mut running = running.lock().expect("nobody panics while telling");
        note_running(&mut running, &progress);
        waiting.now_for(longest_running(&running));
        match format {
            Format::Text => tell(progress),
            Format::Json => show::data(event(&progress)),
        }
    };
    Ok(Worker::new(runtime, host, owner, jobs_max, mode, tell).run(stop).await?)
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

/// Keeps the list of running jobs, the oldest first.
fn note_running(running: &mut Vec<Vec<NodeAddress>>, progress: &Progress) {
    match progress {
        Progress::Started(nodes) => running.push(nodes.clone()),
        Progress::Done(nodes, _) | Progress::Failed(nodes, ..) | Progress::TakenOver(nodes) => {
            running.retain(|one| one != nodes);
        }
        Progress::Waiting(_) => running.clear(),
    }
}

fn longest_running(running: &[Vec<NodeAddress>]) -> Option<String> {
    let oldest = label(running.first()?);
    Some(match running.len() {
        1 => format!("{oldest} is running"),
        jobs => format!("{oldest} is running, and {} jobs more", jobs - 1),
    })
}

fn tell(progress: Progress) {
    match progress {
        Progress::Done(nodes, report) if !report.news.is_empty() => {
            show::talk(format!("  {}  {}", label(&nodes), report.news));
        }
        Progress::Started(_) | Progress::Done(..) => {}
        Progress::Failed(nodes, error, again) => {
            let then = again.map_or("waits for its next turn".to_owned(), |at| format!("again at {}", show::time(at)));
            show::talk(format!("  {}  failed ({then}): {error}", label(&nodes)));
        }
        Progress::TakenOver(nodes) => show::talk(format!("  {}  taken over by another worker", label(&nodes))),
        Progress::Waiting(error) => show::talk(format!("waiting for the state: {error}")),
    }
}

/// What happened, for programs; times are µs since 1970.
fn event(progress: &Progress) -> serde_json::Value {
    match progress {
        Progress::Started(nodes) => json!({ "event": "started", "nodes": nodes }),
        Progress::Done(nodes, report) => {
            json!({ "event": "done", "nodes": nodes, "rows": report.rows, "bytes": report.bytes, "news": report.news })
        }
        Progress::Failed(nodes, error, again) => {
            json!({ "event": "failed", "nodes": nodes, "error": error, "again_at": again })
        }
        Progress::TakenOver(nodes) => json!({ "event": "taken over", "nodes": nodes }),
        Progress::Waiting(error) => json!({ "event": "waiting", "error": error }),
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
pub fn summary(ending: &Ending, format: Format) {
    if format == Format::Json {
        let failed = &ending.failed;
        return show::data(json!({ "event": "ended", "jobs": ending.jobs, "rows": ending.rows, "failed": failed }));
    }
    for (node, error) in &ending.failed {
        show::talk(format!("failed: {node}: {error}"));
    }
    show::talk(format!("{} jobs done, {} rows moved, {} failed", ending.jobs, ending.rows, ending.failed.len()));
}
