//! Ingest of a transformer's output: commits what a run staged, as one batch whose position is the
//! run's vector.

use super::ingest::{due_after, store_datasets, wake_undelivered};
use super::staging::staging;
use super::transform::StagedOutput;
use super::{Report, done, fence, payload};
use crate::{JobError, Runtime};
use arrow::array::RecordBatch;
use levada_flow::source::Coverage;
use levada_flow::{BATCH_ROWS_MAX, FlowError, Position};
use levada_model::model::OutputMode;
use levada_planner::blueprint::IngestSpec;
use levada_state::BatchCommit;
use levada_state::nodes::HotNode;
use levada_store::BatchWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::fs::File;
use std::path::Path;

pub(super) async fn run(
    runtime: &Runtime,
    row: &HotNode,
    spec: &IngestSpec,
    mode: OutputMode,
    started_at: i64,
) -> Result<Report, JobError> {
    let staged_output = payload::<StagedOutput>(row)?;
    let folder = staged_output.as_ref().map(|staged| runtime.staging.join(&staged.folder));
    // Without a folder the run was committed by a try that died before it cleaned up.
    let (Some(output), Some(folder)) = (staged_output, folder.filter(|folder| folder.is_dir())) else {
        runtime.state.complete(&fence(row), done(runtime, row, started_at), runtime.clock.now()).await?;
        return Ok(Report::default());
    };
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
    let (rows, bytes) = (staged.rows, staged.bytes);
    let mut completion = done(runtime, row, started_at);
    completion.successors = due_after(runtime, row, &staged.manifests).await?;
    completion.rows = rows;
    completion.bytes = bytes;
    let waiting = completion.successors.clone();
    let position = Position::Vector { batches: output.firing.vector, run: output.firing.run };
    let batch = runtime
        .state
        .commit_batch(BatchCommit {
            fence: fence(row),
            stream: spec.stream.clone(),
            previous: staged.previous,
            position: position.to_bytes(),
            incarnation: "transformer".to_owned(),
            now: runtime.clock.now(),
            manifests: staged.manifests,
            done: completion,
        })
        .await?;
    wake_undelivered(runtime, batch, &waiting).await?;
    std::fs::remove_dir_all(&folder).map_err(|source| staging("remove", &folder, source))?;
    let news = batch.map_or_else(String::new, |batch| format!("batch {batch}: {rows} rows changed"));
    Ok(Report { rows, bytes, news, ..Report::default() })
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
