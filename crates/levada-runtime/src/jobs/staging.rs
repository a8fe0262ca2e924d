//! The staging area: what a run of a transformer reads and leaves, as Parquet files in its folder.

use super::trigger::Firing;
use crate::{JobError, Runtime};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::{StreamExt, TryStreamExt};
use levada_flow::fit::output_schema;
use levada_flow::{FlowError, RowStream};
use levada_model::model::OutputMode;
use levada_planner::blueprint::{TransformInput, TransformOutput};
use levada_store::Reading;
use parquet::arrow::ArrowWriter;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The rows of one input at the vector: the dataset's columns only.
pub(super) async fn open_input(
    runtime: &Runtime,
    input: &TransformInput,
    firing: &Firing,
) -> Result<RowStream, FlowError> {
    let failed = |error: JobError| FlowError::later(format!("failed to read {}", input.source)).because(error);
    // An own output that was never written is empty: batch 0. So is a stream without a batch.
    let batch = match firing.vector.get(&input.stream.to_string()) {
        Some(batch) => *batch,
        None => runtime.state.head(&input.stream).await.map_err(|e| failed(e.into()))?.map_or(0, |head| head.batch),
    };
    let reading = Reading::Live { as_of: Some(batch) };
    let rows = runtime.store.read(&input.source, &input.schema, reading).await.map_err(|e| failed(e.into()))?;
    let columns: Vec<usize> = (0..input.schema.columns.len()).collect();
    let narrow = move |rows: arrow::array::RecordBatch| {
        rows.project(&columns).map_err(|error| FlowError::never("a reading can't be narrowed").because(error))
    };
    Ok(rows.map(move |rows| rows.and_then(&narrow)).boxed())
}

/// Writes a stream to one durable Parquet file, with these columns even where there are no rows;
/// gives the number of rows.
pub(super) async fn write_parquet(mut rows: RowStream, schema: SchemaRef, path: &Path) -> Result<i64, JobError> {
    let file = File::create(path).map_err(|source| staging("create", path, source))?;
    let mut writer = ArrowWriter::try_new(file, schema.clone(), None).map_err(|e| parquet(path, e))?;
    let mut count = 0;
    while let Some(batch) = rows.try_next().await? {
        count += batch.num_rows() as i64;
        let batch = RecordBatch::try_new(schema.clone(), batch.columns().to_vec()).map_err(|error| {
            FlowError::never("rows have other columns than they were announced with").because(error)
        })?;
        writer.write(&batch).map_err(|e| parquet(path, e))?;
    }
    let file = writer.into_inner().map_err(|e| parquet(path, e))?;
    file.sync_all().map_err(|source| staging("sync", path, source))?;
    Ok(count)
}

/// The columns of an output file: the dataset's, and `lv_op` where runs write changes.
pub(super) fn output_columns(output: &TransformOutput, mode: OutputMode) -> SchemaRef {
    output_schema(&output.schema, mode == OutputMode::Changes)
}

fn parquet(path: &Path, error: parquet::errors::ParquetError) -> JobError {
    FlowError::later(format!("failed to write {}", path.display())).because(error).into()
}

pub(super) fn staging(operation: &'static str, path: &Path, source: std::io::Error) -> JobError {
    JobError::Staging { operation, path: path.display().to_string(), source }
}

pub(super) fn create_folder(path: &Path) -> Result<PathBuf, JobError> {
    std::fs::create_dir_all(path).map_err(|source| staging("create", path, source))?;
    Ok(path.to_owned())
}

/// The folder of a run, which goes with it unless its output is handed over.
pub(super) struct RunFolder {
    path: PathBuf,
    is_handed_over: bool,
}

impl RunFolder {
    /// Makes the folder.
    pub(super) fn create(path: &Path) -> Result<Self, JobError> {
        Ok(Self { path: create_folder(path)?, is_handed_over: false })
    }

    /// Leaves the folder to the ingest of the output.
    pub(super) fn hand_over(mut self) {
        self.is_handed_over = true;
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if !self.is_handed_over {
            remove(&self.path);
        }
    }
}

/// Takes a run's folder away; one that can't be removed is told and left.
pub(super) fn remove(path: &Path) {
    let removed = match path.is_dir() {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "this can't be removed from the staging area");
        }
        _ => {}
    }
}

/// Takes away what runs left behind: whatever no payload names and was written before `before`, µs.
pub(crate) fn sweep_staging(staging: &Path, payloads: &[String], before: i64) {
    let Ok(entries) = std::fs::read_dir(staging) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let written_at = entry.metadata().and_then(|data| data.modified()).ok().map(micros);
        if written_at.is_some_and(|at| at < before) && !payloads.iter().any(|payload| payload.contains(&name)) {
            remove(&entry.path());
        }
    }
}

/// µs since 1970.
fn micros(time: SystemTime) -> i64 {
    let elapsed = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX)
}
