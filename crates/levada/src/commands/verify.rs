//! `levada verify`: store, delivered copies and producers agree, by count and row hashes.

use crate::cli::{Format, VerifyArgs};
use crate::project::{Project, host, in_force};
use crate::show;
use crate::waiting::Waiting;
use anyhow::{Result, bail};
use levada_model::name::WorkspaceName;
use levada_runtime::verify::{Comparison, Copy, Scope, verify};

/// Compares and prints one line per comparison.
pub async fn run(args: &VerifyArgs) -> Result<bool> {
    let project = Project::open(&args.dir.dir)?;
    let runtime = project.runtime().await?;
    let blueprint = in_force(&runtime.state).await?;
    let workspace = args.workspace.as_deref().map(WorkspaceName::parse).transpose()?;
    let host = host(&runtime.state, &blueprint, args.platform.as_ref()).await?;
    let as_of = args.as_of.map(jiff::Timestamp::as_microsecond);
    let scope = Scope { host, workspace, with_source: args.source, as_of };
    let is_text = args.format == Format::Text;
    let tell = |comparison: &Comparison| {
        if is_text {
            show::data(line(comparison));
        }
    };
    let waiting = Waiting::new("comparing copies row by row");
    let comparisons = verify(&runtime, &blueprint, &scope, tell).await;
    drop(waiting);
    if !is_text {
        let rows: Vec<_> =
            comparisons.iter().map(|one| serde_json::json!({ "equal": one.is_equal(), "comparison": one })).collect();
        show::json(&serde_json::json!({ "comparisons": rows }));
    }
    if comparisons.is_empty() {
        bail!(
            "there is nothing to compare: {}",
            match &args.workspace {
                _ if args.as_of.is_some() => "no history is delivered, and live tables know no past".to_owned(),
                Some(workspace) => format!("nothing is delivered to a workspace {workspace}"),
                None => "the blueprint in force delivers nothing by the workers in question".to_owned(),
            }
        );
    }
    let failed = comparisons.iter().filter(|comparison| comparison.failure.is_some()).count();
    let unequal = comparisons.iter().filter(|comparison| !comparison.is_equal()).count();
    let of = comparisons.len();
    show::talk(match (unequal - failed, failed) {
        (0, 0) => format!("all {of} copies agree with the store"),
        (0, failed) => format!("{failed} of {of} copies could not be compared, the others agree with the store"),
        (differ, 0) => format!("{differ} of {of} copies differ; `levada rehydrate` rebuilds a delivered one"),
        (differ, failed) => format!(
            "{differ} of {of} copies differ, {failed} could not be compared; `levada rehydrate` rebuilds a delivered one"
        ),
    });
    Ok(unequal == 0)
}

fn line(comparison: &Comparison) -> String {
    let with = match &comparison.with {
        Copy::Live { export } => export.to_string(),
        Copy::History { export } => format!("{export} (history)"),
        Copy::Source { ingest } => format!("the source of {ingest}"),
    };
    if let Some(failure) = &comparison.failure {
        return format!("FAILED  {}  {with} can't be compared: {failure}", comparison.dataset);
    }
    let verdict = if comparison.is_equal() { "equal " } else { "DIFFER" };
    let batch = comparison.batch.map_or("never delivered".to_owned(), |batch| format!("batch {batch}"));
    let other = comparison.other.map_or("none".to_owned(), |other| other.rows.to_string());
    format!(
        "{verdict}  {}  {batch}  {} rows in the store, {other} in {with}",
        comparison.dataset, comparison.store.rows
    )
}
