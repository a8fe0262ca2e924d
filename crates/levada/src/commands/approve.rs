//! `levada approve`: somebody agrees that a platform takes the target up.

use crate::cli::ApproveArgs;
use crate::project::Project;
use crate::show;
use anyhow::{Result, bail};
use levada_flow::{Clock, SystemClock};
use levada_planner::Generation;
use levada_state::Approval;

/// Records it; `levada follow` acts on it in the platform's next window.
pub async fn run(args: &ApproveArgs) -> Result<bool> {
    let state = Project::open(&args.dir.dir)?.applied_state().await?;
    let Some(target) = state.generation_in_force().await? else {
        bail!("nothing is frozen yet that could be taken up")
    };
    if args.generation.is_some_and(|wanted| Generation(wanted) != target) {
        bail!("generation {target} is the target; look at it with `levada status`, and approve that one");
    }
    let pointers = state.pointers().await?;
    if !pointers.contains_key(&args.platform) {
        let known: Vec<String> = pointers.keys().map(ToString::to_string).collect();
        bail!("no platform {} has ever had nodes; those that have: {}", args.platform, known.join(", "));
    }
    let by = ["USER", "LOGNAME", "USERNAME"].iter().find_map(|name| std::env::var(name).ok());
    let approval = Approval {
        generation: target,
        at: Clock::now(&SystemClock),
        by: by.filter(|by| !by.is_empty()).unwrap_or_else(|| "somebody".to_owned()),
    };
    let by = approval.by.clone();
    state.approve(args.platform.clone(), approval).await?;
    show::data(format!("platform {} may take up generation {target}: {by} agrees", args.platform));
    Ok(true)
}
