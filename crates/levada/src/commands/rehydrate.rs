//! `levada rehydrate`: rebuilds what a workspace sees from the store, beside, and swaps it in.

use crate::cli::RehydrateArgs;
use crate::commands::run::{summary, work};
use crate::project::{Project, in_force};
use crate::{show, stop};
use anyhow::{Result, bail};
use levada_model::NodeAddress;
use levada_model::address::DatasetRef;
use levada_model::name::WorkspaceName;
use levada_planner::{Blueprint, NodeSpec};
use levada_runtime::{Mode, jobs};
use levada_state::nodes::Successor;
use levada_state::{Host, State, StateError};

/// Asks the running worker, or does the work itself where there is none.
pub async fn run(args: &RehydrateArgs) -> Result<bool> {
    let project = Project::open(&args.dir.dir)?;
    let runtime = project.runtime().await?;
    let blueprint = in_force(&runtime.state).await?;
    let exports = exports_of(&blueprint, &args.what)?;
    let hosts: Vec<Option<Host>> = exports.iter().map(|it| Host::of(&blueprint.choices, it.platform())).collect();
    if hosts.iter().all(Option::is_none) {
        bail!(
            "what is delivered to {} comes from platforms that render files: their own systems rebuild it",
            args.what
        );
    }
    let now = runtime.clock.now();
    let due: Vec<Successor> = exports
        .iter()
        .map(|node| Successor { node: node.clone(), due_at: now, payload: Some(jobs::REHYDRATE.to_owned()) })
        .collect();
    runtime.state.make_due(&due).await?;
    show::talk(format!("rebuilding {} tables from the store; producers are not asked", exports.len()));
    if hosts.iter().any(|host| matches!(host, Some(Host::Pods(_)))) {
        show::talk("what pods deliver they rebuild themselves; `levada status` shows when it is done");
    }
    if !hosts.contains(&Some(Host::Anywhere)) {
        return Ok(true);
    }
    if has_worker(&runtime.state).await? {
        show::talk("the running worker does it; `levada status` shows when it is done");
        return Ok(true);
    }
    let ending = work(runtime, Host::Anywhere, 8, Mode::UntilDone, args.format, stop::signal()?).await?;
    summary(&ending, args.format);
    Ok(ending.failed.is_empty())
}

async fn has_worker(state: &State) -> Result<bool> {
    match state.take_worker_lock(&Host::Anywhere).await {
        Ok(lock) => Ok(!lock.is_alone()),
        Err(StateError::Locked { .. }) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn exports_of(blueprint: &Blueprint, what: &str) -> Result<Vec<NodeAddress>> {
    let (workspace, dataset) = match what.split_once('/') {
        None => (what, None),
        Some((workspace, dataset)) => (workspace, Some(dataset.parse::<DatasetRef>()?)),
    };
    let workspace = WorkspaceName::parse(workspace)?;
    let exports: Vec<NodeAddress> = blueprint
        .nodes
        .iter()
        .filter(|(_, node)| match &node.spec {
            NodeSpec::Export(spec) => {
                spec.views.iter().any(|view| view.workspace == workspace)
                    && dataset.as_ref().is_none_or(|dataset| *dataset == spec.source)
            }
            _ => false,
        })
        .map(|(address, _)| address.clone())
        .collect();
    if exports.is_empty() {
        bail!("nothing is delivered to {what}; `levada graph` shows the exports there are");
    }
    Ok(exports)
}
