//! `levada plan`: what would change, for whom, how, and because of which line.

use crate::cli::{PlanArgs, PlanFormat};
use crate::planning;
use crate::project::Project;
use crate::show;
use anyhow::Result;
use levada_model::Span;
use levada_repo::FileTable;
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
    let text = levada_planner::plan::write::write(plan, format, &|span| place(planned.files(), span));
    show::data(text.trim_end());
    let has_changes = !plan.is_empty();
    Ok(if has_changes && args.detailed_exitcode { EXIT_CHANGES.into() } else { ExitCode::SUCCESS })
}

/// `file:line:column`
pub fn place(files: &FileTable, span: Span) -> String {
    files.place(span).map_or_else(String::new, |place| format!("{}:{}:{}", place.path, place.line, place.column))
}
