//! Transform: runs a transformer's code at its trigger's vector and stages what it made.
//!
//! It reads the store, never delivered tables. Its output lies in a folder of its run until the
//! ingest of the output commits it as one batch.

use super::staging::{RunFolder, open_input, output_columns, remove, write_parquet};
use super::trigger::Firing;
use super::{Report, done, fence, payload, program, successors};
use crate::{JobError, Runtime};
use futures::FutureExt;
use levada_flow::engine::{EngineInput, EngineQuery};
use levada_flow::{FlowError, failpoint};
use levada_model::NodeKind;
use levada_model::model::{Code, OutputMode, SqlFile};
use levada_planner::blueprint::{TransformOutput, TransformSpec};
use levada_state::nodes::{HotNode, Successor};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What a transformer hands to the ingest of its output.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct StagedOutput {
    /// The firing it answers.
    pub(super) firing: Firing,
    /// The run's folder below the staging area: `DATASET.parquet` each.
    pub(super) folder: String,
}

pub(super) async fn run(
    runtime: &Runtime,
    row: &HotNode,
    spec: &TransformSpec,
    started_at: i64,
) -> Result<Report, JobError> {
    let now = runtime.clock.now();
    let Some(firing) = payload::<Firing>(row)? else {
        runtime.state.complete(&fence(row), done(runtime, row, started_at), now).await?;
        return Ok(Report::default());
    };
    let folder = format!("{}-{}-{}", spec.workspace, firing.run, row.epoch);
    let path = runtime.staging.join(&folder);
    let run_folder = RunFolder::create(&path)?;
    let rows = match &spec.code {
        Code::Sql(files) => run_sql(runtime, spec, files, &firing, &path).await?,
        Code::Program(code) => program::run(runtime, spec, code, &firing, &path).await?,
    };
    failpoint("transform.run")?;
    let staged = StagedOutput { firing, folder };
    let mut completion = done(runtime, row, started_at);
    completion.rows = rows;
    completion.successors = successors(runtime, row, &[NodeKind::Ingest]).await?;
    let replaced = replaced_folders(runtime, &completion.successors).await?;
    for successor in &mut completion.successors {
        successor.payload = Some(serde_json::to_string(&staged).expect("plain data always serialises"));
    }
    // From here on the output may be somebody's, even where the answer gets lost.
    run_folder.hand_over();
    failpoint("transform.staged")?;
    runtime.state.complete(&fence(row), completion, runtime.clock.now()).await?;
    replaced.iter().for_each(|folder| remove(folder));
    Ok(Report { rows, news: format!("{rows} rows out"), ..Report::default() })
}

/// The folders of outputs that could not be committed, and that this run's take the place of.
async fn replaced_folders(runtime: &Runtime, outputs: &[Successor]) -> Result<Vec<PathBuf>, JobError> {
    let mut folders = Vec::new();
    for output in outputs {
        let row = runtime.state.node(&output.node).await?.filter(|row| row.lease.is_none());
        // One that can't be read names no folder; the sweep will find what it left.
        let staged = row.and_then(|row| payload::<StagedOutput>(&row).ok().flatten());
        folders.extend(staged.map(|staged| runtime.staging.join(staged.folder)));
    }
    Ok(folders)
}

async fn run_sql(
    runtime: &Runtime,
    spec: &TransformSpec,
    files: &[SqlFile],
    firing: &Firing,
    folder: &Path,
) -> Result<i64, JobError> {
    let mut rows = 0;
    for output in &spec.outputs {
        let sql = query_of(spec, files, output)?;
        let query = EngineQuery {
            dataset: output.dataset.clone(),
            sql,
            schema: output.schema.clone(),
            has_operations: spec.mode == OutputMode::Changes,
        };
        let stream = runtime.engine.query(inputs(runtime, spec, firing), query).await?;
        let columns = output_columns(output, spec.mode);
        rows += write_parquet(stream, columns, &folder.join(format!("{}.parquet", output.dataset))).await?;
    }
    Ok(rows)
}

fn query_of(spec: &TransformSpec, files: &[SqlFile], output: &TransformOutput) -> Result<String, JobError> {
    let file =
        files.iter().find(|file| file.dataset.as_ref().is_none_or(|dataset| *dataset == output.dataset)).ok_or_else(
            || FlowError::never(format!("transformer {} has no query for {}", spec.transformer, output.dataset)),
        )?;
    let text = file.text.clone();
    Ok(text.ok_or_else(|| FlowError::never(format!("the file {} was missing when the plan was made", file.path)))?)
}

fn inputs(runtime: &Runtime, spec: &TransformSpec, firing: &Firing) -> Vec<EngineInput> {
    spec.inputs
        .iter()
        .map(|input| {
            let (runtime, input, firing) = (runtime.clone(), input.clone(), firing.clone());
            EngineInput {
                source: input.source.clone(),
                schema: input.schema.clone(),
                open: Box::new(move || {
                    let (runtime, input, firing) = (runtime.clone(), input.clone(), firing.clone());
                    async move { open_input(&runtime, &input, &firing).await }.boxed()
                }),
            }
        })
        .collect()
}
