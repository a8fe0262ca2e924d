//! `levada serve`: the REST API over the newest revision of the model that holds.

use crate::cli::ServeArgs;
use crate::commands::check::finding_json;
use crate::commands::plan::place;
use crate::compile::{Compiler, Woven};
use crate::project::Project;
use crate::{show, stop};
use anyhow::{Context, Result};
use levada_flow::{Clock, SystemClock};
use levada_model::Findings;
use levada_model::fingerprint::{Fingerprint, fingerprint};
use levada_repo::Folder;
use levada_server::{Door, Refused, Revision, Served, Snapshot};
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What to do where an address is not this machine's alone.
pub const TOKEN_HINT: &str =
    "set LEVADA_SERVE_TOKEN, or `token` in levada.toml to a file that holds one; or listen on 127.0.0.1";

/// How often the model's files are looked at, at most.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(2);
/// So many times longer than a look takes is the pause before the next one.
const PAUSE_PER_LOOK: u32 = 50;

/// What became of one look at the model.
enum Looked {
    Holds(Box<Revision>),
    Refused(Refused),
}

/// Serves until it is told to stop.
pub async fn run(args: &ServeArgs) -> Result<bool> {
    let project = Project::open(&args.dir.dir)?;
    let stop = stop::signal()?;
    let token = project.settings.serve_token()?;
    Door { token: token.clone(), ..Door::default() }
        .check(args.listen)
        .map_err(|error| show::failure(&error, Some(TOKEN_HINT)))?;
    let folder = Folder::open(&project.root)?;
    let stamp = folder.stamp()?;
    let compiler = Compiler::load(&project.root)?;
    let snapshot = match look(compiler) {
        Looked::Holds(revision) => Arc::new(Snapshot::of(*revision)),
        Looked::Refused(_) => {
            let compiler = Compiler::load(&project.root)?;
            compiler.accept(&compiler.weave().findings);
            return Ok(false);
        }
    };
    let state = project.state_so_far().await?;
    let (sender, served) = watch::channel(Served { snapshot, refused: None, state });
    let following = tokio::spawn(follow(project, folder, stamp, sender));
    let door = Door { state: None, served: Some(served), token };
    let told = |address| show::talk(format!("listening on http://{address}/api/v1, documented at /openapi.json"));
    let ended = levada_server::serve(door, args.listen, stop, told).await;
    following.abort();
    ended.map(|()| true).map_err(|error| show::failure(&error, None))
}

/// Looks at the files now and then, and serves each revision that holds.
async fn follow(project: Project, folder: Folder, mut seen: Fingerprint, sender: watch::Sender<Served>) {
    let folder = Arc::new(folder);
    let mut pause = LOOKED_AT_EVERY;
    loop {
        tokio::time::sleep(pause).await;
        if sender.borrow().state.is_none() {
            // Nothing is applied yet, or the database is away: the next look tries again.
            let state = project.state_so_far().await.ok().flatten();
            sender.send_if_modified(|served| {
                served.state = state;
                served.state.is_some()
            });
        }
        let (started, looked_at) = (Instant::now(), Arc::clone(&folder));
        let stamp = tokio::task::spawn_blocking(move || looked_at.stamp()).await;
        pause = LOOKED_AT_EVERY.max(started.elapsed() * PAUSE_PER_LOOK);
        let Ok(Ok(stamp)) = stamp else { continue };
        if stamp == seen {
            continue;
        }
        let root = project.root.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let looked = look(Compiler::load(&root)?);
            Ok::<_, anyhow::Error>(match looked {
                Looked::Holds(revision) => Ok(Arc::new(Snapshot::of(*revision))),
                Looked::Refused(refused) => Err(refused),
            })
        });
        let looked = looked.await.context("a look at the model broke off").and_then(|looked| looked);
        match looked {
            Ok(Ok(snapshot)) => {
                seen = stamp;
                show::talk("the model has changed; the new revision is served");
                sender.send_modify(|served| {
                    served.snapshot = snapshot;
                    served.refused = None;
                });
            }
            Ok(Err(refused)) => {
                seen = stamp;
                let count = refused.findings.len();
                show::talk(format!(
                    "the model has changed and does not hold ({count} findings); the old one is served"
                ));
                sender.send_modify(|served| served.refused = Some(Arc::new(refused)));
            }
            // A file that is being written: the next look is at a whole one.
            Err(error) => show::talk(format!("failed to look at the model: {error:#}")),
        }
    }
}

/// Compiles what was loaded.
fn look(compiler: Compiler) -> Looked {
    let Woven { assignment, graphs, findings } = compiler.weave();
    let told = told(&compiler, &findings);
    let at = SystemClock.now();
    if findings.has_errors() {
        return Looked::Refused(Refused { revision: compiler.revision, at, findings: told });
    }
    let content = fingerprint(&(&compiler.revision, compiler.content, &told)).to_string();
    let Compiler { model, files, registry, revision, .. } = compiler;
    let place = Box::new(move |span| place(&files, span));
    Looked::Holds(Box::new(Revision {
        revision,
        content,
        loaded_at: at,
        model,
        registry,
        assignment,
        graphs,
        findings: told,
        place,
    }))
}

fn told(compiler: &Compiler, findings: &Findings) -> Vec<Value> {
    findings.0.iter().map(|finding| finding_json(compiler, finding)).collect()
}
