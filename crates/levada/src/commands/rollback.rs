//! `levada rollback`: an earlier blueprint comes back, as a new generation.
//!
//! Nobody goes backwards: what was in force stays in the history, and `levada follow` goes on with the next
//! revision of the model. What the store holds is never falsified: a way back that would narrow a type or
//! change a key is refused.

use crate::cli::{Format, RollbackArgs};
use crate::commands::apply::is_agreed;
use crate::project::Project;
use crate::show;
use anyhow::{Result, bail};
use levada_flow::{Clock, SystemClock};
use levada_planner::plan::write::{LINES_SHOWN, Shown, write};
use levada_planner::plan::{Measured, PlanFormat};
use levada_planner::{Generation, plan_back};
use serde_json::json;

/// Plans the way back, asks, goes it.
pub async fn run(args: &RollbackArgs) -> Result<bool> {
    let project = Project::open(&args.dir.dir)?;
    let state = project.applied_state().await?;
    let to = Generation(args.generation);
    let Some(way) = state.way_back(to).await? else {
        let newest = state.generation_in_force().await?.map_or(0, |generation| generation.0);
        bail!("there is no generation {to} before the newest, which is {newest}; `levada status` tells where you are");
    };
    if let Some((platform, _)) = way.now.choices.platforms.iter().find(|(_, nature)| nature.realizer.has_files()) {
        bail!(
            "platform {platform} renders files, which are made of the model; bring the model back instead: `git revert`, \
             then `levada apply`"
        );
    }
    let plan = match plan_back(&way.now, &way.then) {
        Ok(plan) => plan,
        Err(findings) => {
            for finding in &findings.0 {
                show::talk(format!("{}: {}", finding.code, finding.message));
            }
            show::talk(format!("generation {to} can't come back over what is in force"));
            return Ok(false);
        }
    };
    if plan.is_empty() {
        show::data(format!("nothing to change: generation {to} is what is in force"));
        return Ok(true);
    }
    if !args.yes {
        let measured = Measured { now: Some(Clock::now(&SystemClock)), ..Measured::default() };
        let shown = Shown { place: &|_| String::new(), measured: &measured, lines_max: LINES_SHOWN };
        show::talk(write(&plan, PlanFormat::Text, &shown).trim_end());
        if !is_agreed()? {
            show::talk("nothing was changed");
            return Ok(false);
        }
    }
    state.apply(&plan.advance, &way.form, Clock::now(&SystemClock)).await?;
    let (generation, changed) = (plan.advance.generation, plan.delta.changes.len());
    match args.format {
        Format::Json => show::json(&json!({ "generation": generation, "content_of": to, "changed": changed })),
        Format::Text => {
            show::data(format!(
                "generation {generation} is the target, as generation {to} was: {changed} nodes changed"
            ));
            show::talk(
                "the model says something else now: the next `levada apply`, or the next revision that is followed, brings it back",
            );
        }
    }
    Ok(true)
}
