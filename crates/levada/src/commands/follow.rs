//! `levada follow`: the model's branch, as far as it holds, becomes the target.

use crate::cli::FollowArgs;
use crate::commands::apply::apply;
use crate::compile::Compiler;
use crate::planning;
use crate::project::Project;
use crate::show;
use anyhow::{Result, bail};
use levada_model::Model;
use levada_repo::{Checkout, FollowError};

/// Fetches, checks what is new beside the checkout, advances, applies, and brings files to their
/// places. What a run before this one left undone is done, too.
pub async fn run(args: &FollowArgs) -> Result<bool> {
    let project = Project::open(&args.dir.dir)?;
    let checkout = Checkout::open(&project.root, &project.workshop("follow")?).map_err(with_hint)?;
    let fetched = checkout.fetch().map_err(with_hint)?;
    if fetched != checkout.commit().map_err(with_hint)? {
        // A broken revision is refused where nobody works; the one that is checked out goes on.
        let laid_out = checkout.lay_out(&fetched).map_err(with_hint)?;
        let state = project.state_so_far().await?;
        if planning::plan_folder(&laid_out.root, &project.settings, state.as_ref()).await?.is_none() {
            show::talk(format!("revision {fetched} is refused; what is in force goes on"));
            return Ok(false);
        }
        must_not_wait(&Compiler::load_with(&laid_out.root, &project.settings)?.model)?;
        drop(laid_out);
        checkout.advance(&fetched).map_err(with_hint)?;
        show::talk(format!("advanced to revision {fetched}"));
    }
    // The checkout may have got its settings only now.
    let project = Project::open(&args.dir.dir)?;
    must_not_wait(&Compiler::load(&project.root)?.model)?;
    let Some(applied) = apply(&project, true).await? else { return Ok(false) };
    applied.show(args.format);
    Ok(true)
}

/// Refuses to roll out what somebody has to agree to, or what has its windows.
fn must_not_wait(model: &Model) -> Result<()> {
    for platform in &model.ecosystem.platforms {
        let Some(follow) = &platform.follow else { continue };
        if follow.approval_required || follow.calendar.is_some() {
            bail!(
                "platform {} waits for an approval or a window, which this build does not know yet\n  = hint: look at \
                 `levada plan`, then `levada apply` when the time has come",
                platform.name
            );
        }
    }
    Ok(())
}

fn with_hint(error: FollowError) -> anyhow::Error {
    show::failure(&error, error.hint())
}
