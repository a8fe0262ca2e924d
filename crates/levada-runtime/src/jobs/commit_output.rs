//! Ingest of a transformer's output: commits what a run staged, as one batch whose position is the
//! run's vector.

use super::ingest::{due_after, due_even_if_empty, store_datasets};
use super::staging::{remove, staging};
use super::transform::StagedOutput;
use super::trigger::{BY_HAND, Firing};
use super::{Report, done, fence, payload};
use crate::{JobError, Runtime};
use arrow::array::RecordBatch;
use levada_flow::source::Coverage;
use levada_flow::{BATCH_ROWS_MAX, FlowError, Position, failpoint};
use levada_model::NodeAddress;
use levada_model::model::OutputMode;
use levada_planner::blueprint::IngestSpec;
use levada_state::nodes::{HotNode, Successor};
use levada_state::{BatchCommit, StreamHead};
use levada_store::BatchWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::fs::File;
use std::path::Path;

pub(super) async fn run(
    runtime: &Runtime,
    row: &HotNode,
    spec: &IngestSpec,
    (transform, mode): (&NodeAddress, OutputMode),
    started_at: i64,
) -> Result<Report, JobError> {
    let output = payload::<StagedOutput>(row)?;
    let head = runtime.state.head(&spec.stream).await?;
    let is_done = |output: &StagedOutput| head.as_ref().is_some_and(|head| is_committed(head, &output.firing, mode));
    let output = match output {
        Some(output) if !is_done(&output) => output,
        other => {
            runtime.state.complete(&fence(row), done(runtime, row, started_at), runtime.clock.now()).await?;
            other.iter().for_each(|output| remove(&runtime.staging.join(&output.folder)));
            return Ok(Report::default());
        }
    };
    let folder = runtime.staging.join(&output.folder);
    if !folder.is_dir() {
        return Err(fire_again(runtime, transform, &output).await?.into());
    }
    let run = format!("{}-{}-{}", spec.stream.datastore, row.epoch, started_at);
    let mut writer = runtime.store.begin(&spec.stream, store_datasets(spec), &run).await?;
    for (index, dataset) in spec.datasets.iter().enumerate() {
        write_output(&mut writer, index, mode, &folder.join(format!("{}.parquet", dataset.dataset))).await?;
    }
    let coverage = match mode {
        OutputMode::Snapshot => Coverage::Complete,
        OutputMode::Append | OutputMode::Changes => Coverage::Appends,
    };
    let staged = writer.finish(&vec![coverage; spec.datasets.len()]).await?;
    failpoint("output.staged")?;
    let (rows, bytes) = (staged.rows, staged.bytes);
    let mut completion = done(runtime, row, started_at);
    completion.successors = due_after(runtime, row, &staged.manifests).await?;
    completion.rows = rows;
    completion.bytes = bytes;
    let position = Position::Vector { batches: output.firing.vector, run: output.firing.run };
    let batch = runtime
        .state
        .commit_batch(BatchCommit {
            fence: fence(row),
            stream: spec.stream.clone(),
            previous: staged.previous,
            position: position.to_bytes(),
            batch_position: position.to_bytes(),
            incarnation: "transformer".to_owned(),
            now: runtime.clock.now(),
            manifests: staged.manifests,
            covered: staged.covered,
            due_even_if_empty: due_even_if_empty(runtime, row, &[]).await?,
            done: completion,
        })
        .await?;
    failpoint("output.committed")?;
    remove(&folder);
    let news = batch.map_or_else(String::new, |batch| format!("batch {batch}: {rows} rows changed"));
    Ok(Report { rows, bytes, news, ..Report::default() })
}

/// Whether the output of this firing is in the store: a try that died before it cleaned up has
/// committed it; or it adds to the dataset, and one of the same vector was added before.
fn is_committed(head: &StreamHead, firing: &Firing, mode: OutputMode) -> bool {
    let Ok(Position::Vector { batches, run }) = Position::from_bytes(&head.position) else { return false };
    let is_added_once = mode != OutputMode::Snapshot && !firing.is_timed;
    batches == firing.vector && (run == firing.run || is_added_once)
}

/// Makes the transformer of an output that is lost run again; gives the reason for people.
async fn fire_again(runtime: &Runtime, transform: &NodeAddress, output: &StagedOutput) -> Result<FlowError, JobError> {
    let now = runtime.clock.now();
    let triggers = runtime.state.upper(transform).await?.into_iter();
    let payload = Some(BY_HAND.to_owned());
    let due: Vec<_> = triggers.map(|(node, _)| Successor { node, due_at: now, payload: payload.clone() }).collect();
    runtime.state.make_due(&due).await?;
    let run = &output.firing.run;
    Ok(FlowError::never(format!(
        "the output of run {run} was lost before it was committed; its transformer runs again"
    )))
}

async fn write_output(writer: &mut BatchWriter, index: usize, mode: OutputMode, path: &Path) -> Result<(), JobError> {
    for rows in read_parquet(path)? {
        match mode {
            OutputMode::Changes => writer.write_changes(index, rows?).await?,
            OutputMode::Snapshot | OutputMode::Append => writer.write(index, rows?).await?,
        }
    }
    Ok(())
}

/// The rows of a staged file. Every output has one, so one that is missing is an error, not no rows.
fn read_parquet(path: &Path) -> Result<Box<dyn Iterator<Item = Result<RecordBatch, JobError>> + Send>, JobError> {
    let file = File::open(path).map_err(|source| staging("open", path, source))?;
    let unreadable = |error: Box<dyn std::error::Error + Send + Sync>, path: &Path| {
        FlowError::never(format!("the staged file {} can't be read", path.display())).because(error)
    };
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(|builder| builder.with_batch_size(BATCH_ROWS_MAX).build())
        .map_err(|error| unreadable(error.into(), path))?;
    let path = path.to_owned();
    Ok(Box::new(reader.map(move |rows| rows.map_err(|error| unreadable(error.into(), &path).into()))))
}
