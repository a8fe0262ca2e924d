//! Transform: runs a transformer's code at its trigger's vector and stages what it made.
//!
//! It reads the store, never delivered tables. Its output lies in a folder of its run until the
//! ingest of the output commits it as one batch.

use super::trigger::Firing;
use super::{Report, done, fence, payload, program, successors};
use crate::{JobError, Runtime};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::{FutureExt, StreamExt, TryStreamExt};
use levada_flow::arrow_schema::arrow_schema;
use levada_flow::engine::{EngineInput, EngineQuery};
use levada_flow::{FlowError, RowStream};
use levada_model::NodeKind;
use levada_model::model::{Code, OutputMode, SqlFile};
use levada_planner::blueprint::{TransformInput, TransformOutput, TransformSpec};
use levada_state::nodes::HotNode;
use levada_store::Reading;
use parquet::arrow::ArrowWriter;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    create_folder(&path)?;
    let rows = match &spec.code {
        Code::Sql(files) => run_sql(runtime, spec, files, &firing, &path).await?,
        Code::Program(code) => program::run(runtime, spec, code, &firing, &path).await?,
    };
    let staged = StagedOutput { firing, folder };
    let mut completion = done(runtime, row, started_at);
    completion.rows = rows;
    completion.successors = successors(runtime, row, &[NodeKind::Ingest]).await?;
    for successor in &mut completion.successors {
        successor.payload = Some(serde_json::to_string(&staged).expect("plain data always serialises"));
    }
    runtime.state.complete(&fence(row), completion, runtime.clock.now()).await?;
    Ok(Report { rows, bytes: 0, news: format!("{rows} rows out") })
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
    let columns = arrow_schema(&output.schema);
    if mode != OutputMode::Changes {
        return columns;
    }
    let operation = Arc::new(Field::new(levada_store::OPERATION, DataType::Int32, false));
    Arc::new(Schema::new(columns.fields().iter().cloned().chain([operation]).collect::<Vec<_>>()))
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
