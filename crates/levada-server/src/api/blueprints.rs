//! What is in force and what would change: generations, their differences, the plan.

use super::page::{Page, PageParams};
use super::problem::{Findings, Problem, json};
use super::{Current, Params, Seen, Segments};
use crate::snapshot::Served;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use levada_planner::Generation;
use levada_planner::plan::Measured;
use levada_planner::plan::PlanFormat;
use levada_planner::plan::write::{Shown, write};
use levada_state::State;
use levada_state::blueprints::{GenerationRow, NodeDifference};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use utoipa::ToSchema;

/// The revision that is served.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RevisionView<'a> {
    /// The model's git commit or content hash.
    revision: &'a str,
    /// µs since 1970.
    loaded_at: i64,
    /// What somebody should look at.
    #[schema(value_type = Vec<Object>)]
    findings: &'a [Value],
    /// A newer revision that is not served.
    refused: Option<RefusedView<'a>>,
    /// The generation in force; null: nothing was applied, or there is no state.
    generation: Option<i64>,
}

/// A revision that has errors.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RefusedView<'a> {
    revision: &'a str,
    /// When it was looked at, µs since 1970.
    at: i64,
    #[schema(value_type = Vec<Object>)]
    findings: &'a [Value],
}

/// Which revision is served, and which one is refused. Changes without a new revision: it has no ETag.
#[utoipa::path(get, path = "/api/v1/revision", tag = "model",
    responses((status = 200, body = RevisionView<'_>), (status = 503, body = Findings)))]
pub(crate) async fn revision(Seen(served): Seen) -> Result<Response, Problem> {
    let generation = in_force(&served).await?;
    let revision = &served.snapshot.revision;
    Ok(json(&RevisionView {
        revision: &revision.revision,
        loaded_at: revision.loaded_at,
        findings: &revision.findings,
        refused: served.refused.as_ref().map(|it| RefusedView {
            revision: &it.revision,
            at: it.at,
            findings: &it.findings,
        }),
        generation: generation.map(|it| it.0),
    }))
}

/// The generation in force.
///
/// # Errors
/// The state does not answer.
pub(super) async fn in_force(served: &Served) -> Result<Option<Generation>, Problem> {
    match &served.state {
        Some(state) => state.generation_in_force().await.map_err(|error| Problem::state(&error)),
        None => Ok(None),
    }
}

/// An applied blueprint.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GenerationView {
    generation: i64,
    /// The one it was made on.
    parent: Option<i64>,
    /// The model's revision.
    revision: String,
    /// µs since 1970.
    applied_at: i64,
    /// Nodes it added.
    added: i64,
    changed: i64,
    removed: i64,
}

impl GenerationView {
    fn of(row: &GenerationRow) -> Self {
        Self {
            generation: row.generation.0,
            parent: row.parent.map(|it| it.0),
            revision: row.revision.clone(),
            applied_at: row.applied_at,
            added: row.added,
            changed: row.changed,
            removed: row.removed,
        }
    }
}

/// All applied blueprints, the oldest first.
#[utoipa::path(get, path = "/api/v1/blueprints", tag = "blueprints", params(PageParams),
    responses((status = 200, body = Page<GenerationView>), (status = 400, body = Findings), (status = 503, body = Findings)))]
pub(crate) async fn blueprints(Seen(served): Seen, Params(page): Params<PageParams>) -> Result<Response, Problem> {
    let slice = page.slice()?;
    let rows = match &served.state {
        Some(state) => state.generations().await.map_err(|error| Problem::state(&error))?,
        None => Vec::new(),
    };
    Ok(json(&slice.cut(&rows, |row| format!("{:020}", row.generation.0), |_| true, GenerationView::of)))
}

/// A node that a generation has in another way than its parent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChangeView {
    address: String,
    /// `added`, `changed` or `removed`.
    change: &'static str,
}

/// The difference of a generation and its parent, by address.
#[utoipa::path(get, path = "/api/v1/blueprints/{generation}/changes", tag = "blueprints",
    params(("generation" = i64, Path), PageParams),
    responses((status = 200, body = Page<ChangeView>), (status = 400, body = Findings), (status = 404, body = Findings),
        (status = 503, body = Findings)))]
pub(crate) async fn changes(
    Seen(served): Seen,
    Segments(generation): Segments<i64>,
    Params(page): Params<PageParams>,
) -> Result<Response, Problem> {
    let slice = page.slice()?;
    let unknown = || Problem::unknown("generation", &generation.to_string());
    let state: &State = served.state.as_ref().ok_or_else(unknown)?;
    let in_force = in_force(&served).await?.map_or(0, |it| it.0);
    if !(1..=in_force).contains(&generation) {
        return Err(unknown());
    }
    let changes = state.changed_nodes(Generation(generation)).await.map_err(|error| Problem::state(&error))?;
    let mut changes: Vec<(String, NodeDifference)> =
        changes.into_iter().map(|(address, change)| (address.to_string(), change)).collect();
    changes.sort_by(|(one, _), (other, _)| one.cmp(other));
    let show = |(address, change): &(String, NodeDifference)| ChangeView {
        address: address.clone(),
        change: match change {
            NodeDifference::Added => "added",
            NodeDifference::Changed => "changed",
            NodeDifference::Removed => "removed",
        },
    };
    Ok(json(&slice.cut(&changes, |(address, _)| address.clone(), |_| true, show)))
}

/// What the model would change on what is in force: as `levada plan --format json` prints it.
#[utoipa::path(get, path = "/api/v1/plan", tag = "blueprints",
    responses((status = 200, body = Object), (status = 409, body = Findings), (status = 503, body = Findings)))]
pub(crate) async fn plan(Current(snapshot): Current, Seen(served): Seen) -> Result<Response, Problem> {
    let generation = in_force(&served).await?;
    // Whoever comes while it is made waits for it instead of making it, too.
    let mut kept = snapshot.plan.lock().await;
    let text = match &*kept {
        Some((of, text)) if *of == generation => Arc::clone(text),
        _ => {
            let parent = match &served.state {
                Some(state) => state.in_force().await.map_err(|error| Problem::state(&error))?,
                None => None,
            };
            let of = parent.as_ref().map(|parent| parent.generation);
            let making = Arc::clone(&snapshot);
            let made = tokio::task::spawn_blocking(move || {
                let revision = &making.revision;
                let (model, registry) = (&revision.model, &revision.registry);
                let planned = levada_planner::plan(model, registry, parent.as_ref(), revision.revision.clone());
                planned.map(|outcome| outcome.plan)
            });
            let made = made.await.map_err(|_| Problem::no_plan("planning broke off"))?;
            let plan = made.map_err(|findings| Problem::no_plan(first_error(&findings)))?;
            let mut measured = Measured::default();
            if let Some(state) = &served.state {
                let volumes = state.volumes(Measured::wanted(&plan)).await;
                measured.datasets = volumes.map_err(|error| Problem::state(&error))?;
                measured.rows_per_second = state.rows_per_second().await.map_err(|error| Problem::state(&error))?;
            }
            let shown = Shown { place: &snapshot.revision.place, measured: &measured, lines_max: usize::MAX };
            let text: Arc<str> = write(&plan, PlanFormat::Json, &shown).into();
            *kept = Some((of, Arc::clone(&text)));
            text
        }
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], text.to_string()).into_response())
}

fn first_error(findings: &levada_model::Findings) -> String {
    let error = findings.0.iter().find(|finding| finding.severity == levada_model::Severity::Error);
    error.map_or_else(|| "the model can't be planned".to_owned(), |finding| finding.message.clone())
}
