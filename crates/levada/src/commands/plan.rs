//! `levada plan`: what would change, for whom, how, and because of which line.

use crate::cli::{PlanArgs, PlanFormat};
use crate::planning::{self, Planned};
use crate::project::Project;
use crate::saved::SavedPlan;
use crate::show;
use anyhow::Result;
use levada_flow::{Clock, SystemClock};
use levada_model::Span;
use levada_planner::plan::Measured;
use levada_planner::plan::write::{LINES_SHOWN, Shown, write};
use levada_repo::FileTable;
use levada_state::State;
use std::process::ExitCode;

/// The exit code of `--detailed-exitcode` when something would change.
const EXIT_CHANGES: u8 = 3;

/// Plans and prints.
pub async fn run(args: &PlanArgs) -> Result<ExitCode> {
    let project = Project::open(&args.dir.dir)?;
    let Some(planned) = planning::plan(&project).await? else { return Ok(ExitCode::FAILURE) };
    show::talk(planned.effort.to_string());
    let plan = planned.plan();
    let format = match args.format {
        PlanFormat::Text => levada_planner::plan::PlanFormat::Text,
        PlanFormat::Json => levada_planner::plan::PlanFormat::Json,
        PlanFormat::Markdown => levada_planner::plan::PlanFormat::Markdown,
    };
    let state = project.state_so_far().await?;
    if let Some(path) = &args.save {
        let text = in_words(&planned, state.as_ref(), levada_planner::plan::PlanFormat::Text, LINES_SHOWN).await?;
        let saved = SavedPlan::of(plan, state.as_ref(), text);
        saved.write(path, &project.root)?;
        saved.tell(path);
    }
    let lines_max = if args.details { usize::MAX } else { LINES_SHOWN };
    show::data(in_words(&planned, state.as_ref(), format, lines_max).await?.trim_end());
    if let Some(state) = &state {
        for (platform, nodes) in state.behind().await? {
            show::talk(format!("platform {platform} has {nodes} nodes of the target to take up: levada status"));
        }
    }
    let has_changes = !plan.is_empty();
    Ok(if has_changes && args.detailed_exitcode { EXIT_CHANGES.into() } else { ExitCode::SUCCESS })
}

/// A plan with what was measured of what it is about.
///
/// # Errors
/// The state can't be read.
pub async fn in_words(
    planned: &Planned,
    state: Option<&State>,
    format: levada_planner::plan::PlanFormat,
    lines_max: usize,
) -> Result<String> {
    let plan = planned.plan();
    let mut measured = Measured { now: Some(Clock::now(&SystemClock)), ..Measured::default() };
    if let Some(state) = state {
        measured.datasets = state.volumes(Measured::wanted(plan)).await?;
        measured.rows_per_second = state.rows_per_second().await?;
    }
    let shown = Shown { place: &|span| place(planned.files(), span), measured: &measured, lines_max };
    Ok(write(plan, format, &shown))
}

/// `file:line:column`
pub fn place(files: &FileTable, span: Span) -> String {
    files.place(span).map_or_else(String::new, |place| format!("{}:{}:{}", place.path, place.line, place.column))
}
