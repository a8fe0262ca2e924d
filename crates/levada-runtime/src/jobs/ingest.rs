//! Ingest: pulls a producer's stream into the store, one batch.
//!
//! Write files → `commit_batch` → acknowledge. A crash before the commit leaves files that the next
//! sweep removes; a crash after it is found by the next pull, which starts at the new position.

use super::{Report, done, fence, successors};
use crate::{JobError, Runtime, schedule};
use levada_flow::source::{PullDataset, PullEnd, PullRequest, Pulled, Source};
use levada_flow::{FlowError, Position};
use levada_model::fingerprint::fingerprint;
use levada_model::model::IngestKind;
use levada_model::{NodeAddress, NodeKind};
use levada_planner::blueprint::{IngestOrigin, IngestSpec};
use levada_state::nodes::{HotNode, Successor};
use levada_state::{BatchCommit, Manifest};
use levada_store::{BatchWriter, StoreDataset};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// Record batches between source and store; a slow store holds the source back.
const PULLED_BATCHES_MAX: usize = 8;

/// What an ingest remembers between its pulls.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct Memory {
    /// Fingerprint of the datasets and the way of reading; another one starts from the beginning.
    shape: String,
    /// The last look for vanished keys, µs.
    deletes_found_at: i64,
}

pub(super) async fn run(
    runtime: &Runtime,
    row: &HotNode,
    spec: &IngestSpec,
    started_at: i64,
) -> Result<Report, JobError> {
    let IngestOrigin::Container { connection, ingest, .. } = &spec.origin else {
        unreachable!("the caller matched the origin")
    };
    let head = runtime.state.head(&spec.stream).await?;
    let mut memory: Memory = row.memory.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let shape =
        fingerprint(&(ingest, spec.datasets.iter().map(|d| (&d.dataset, &d.table, &d.schema)).collect::<Vec<_>>()));
    let previous = match &head {
        Some(head) if memory.shape == shape.to_string() => Some(Position::from_bytes(&head.position)?),
        _ => None,
    };
    let finds_deletes = looks_for_deletes(ingest, memory.deletes_found_at, started_at);
    let request = pull_request(spec, ingest, previous, finds_deletes);

    let mut source = runtime.connect.source(connection).await?;
    source.inspect(&request).await?;
    let run = format!("{}-{}-{}", spec.stream.datastore, row.epoch, started_at);
    let writer = runtime.store.begin(&spec.stream, store_datasets(spec), &run).await?;
    let (writer, end) = pull_into(source.as_mut(), &request, writer).await?;
    let staged = writer.finish(&end.coverage).await?;

    memory.shape = shape.to_string();
    if finds_deletes {
        memory.deletes_found_at = started_at;
    }
    let (rows, bytes) = (staged.rows, staged.bytes);
    let mut completion = done(runtime, row, started_at);
    completion.memory = Some(serde_json::to_string(&memory).expect("plain data always serialises"));
    completion.successors = due_after(runtime, row, &staged.manifests).await?;
    completion.rows = rows;
    completion.bytes = bytes;
    let batch = runtime
        .state
        .commit_batch(BatchCommit {
            fence: fence(row),
            stream: spec.stream.clone(),
            previous: staged.previous,
            position: end.position.to_bytes(),
            incarnation: end.incarnation,
            now: runtime.clock.now(),
            manifests: staged.manifests,
            covered: staged.covered,
            due_even_if_empty: due_even_if_empty(runtime, row).await?,
            done: completion,
        })
        .await?;
    source.acknowledge(&end.position).await?;
    let news = batch.map_or_else(String::new, |batch| format!("batch {batch}: {rows} rows changed"));
    Ok(Report { rows, bytes, news })
}

/// What a source is asked for, from an ingest's definition.
pub fn pull_request(
    spec: &IngestSpec,
    kind: &IngestKind,
    previous: Option<Position>,
    finds_deletes: bool,
) -> PullRequest {
    let datasets = spec
        .datasets
        .iter()
        .map(|dataset| PullDataset {
            dataset: dataset.dataset.clone(),
            table: dataset.table.clone(),
            schema: dataset.schema.clone(),
            watermark: dataset.watermark.clone(),
        })
        .collect();
    PullRequest { datasets, kind: kind.clone(), previous, finds_deletes }
}

pub(super) fn store_datasets(spec: &IngestSpec) -> Vec<StoreDataset> {
    let of = |dataset: &levada_planner::blueprint::IngestDataset| StoreDataset {
        dataset: levada_model::address::DatasetRef::new(spec.stream.datastore.clone(), dataset.dataset.clone()),
        schema: dataset.schema.clone(),
    };
    spec.datasets.iter().map(of).collect()
}

fn looks_for_deletes(kind: &IngestKind, found_at: i64, now: i64) -> bool {
    match kind {
        IngestKind::Watermark { deletes: Some(cron), .. } => schedule::has_ticked(cron, found_at, now),
        _ => false,
    }
}

/// Reads and writes side by side; whichever fails first ends both.
async fn pull_into(
    source: &mut dyn Source,
    request: &PullRequest,
    mut writer: BatchWriter,
) -> Result<(BatchWriter, PullEnd), JobError> {
    let (sender, mut receiver) = mpsc::channel(PULLED_BATCHES_MAX);
    let write = async {
        while let Some(pulled) = receiver.recv().await {
            match pulled {
                Pulled::Rows { dataset, rows } => writer.write(dataset, rows).await?,
                Pulled::Keys { dataset, keys } => writer.keys(dataset, keys).await?,
            }
        }
        Ok::<_, JobError>(writer)
    };
    let pull = async { source.pull(request, sender).await.map_err(JobError::from) };
    let (end, writer) = tokio::try_join!(pull, write)?;
    if end.coverage.len() != request.datasets.len() {
        return Err(FlowError::never("the source told the coverage of another number of datasets").into());
    }
    Ok((writer, end))
}

/// Exports of what changed or was never delivered, and every link of the stream.
pub(super) async fn due_after(
    runtime: &Runtime,
    row: &HotNode,
    manifests: &[Manifest],
) -> Result<Vec<Successor>, JobError> {
    let mut due = Vec::new();
    for successor in successors(runtime, row, &[NodeKind::Export, NodeKind::Link]).await? {
        let is_due = match &successor.node {
            NodeAddress::Export(_, _, of) if manifests.iter().any(|manifest| manifest.dataset == *of) => true,
            export @ NodeAddress::Export(..) => runtime.state.delivery(export).await?.is_none(),
            _ => true,
        };
        if is_due {
            due.push(successor);
        }
    }
    Ok(due)
}

/// What waits for a pull even where it brings nothing: links, exports that never delivered (an empty
/// dataset is delivered, too), and after the first pull of a definition all of them.
pub(super) async fn due_even_if_empty(runtime: &Runtime, row: &HotNode) -> Result<Vec<Successor>, JobError> {
    let is_first = row.is_changed || row.succeeded_at.is_none();
    let mut due = Vec::new();
    for successor in successors(runtime, row, &[NodeKind::Export, NodeKind::Link]).await? {
        let is_link = successor.node.kind() == NodeKind::Link;
        if is_first || is_link || runtime.state.delivery(&successor.node).await?.is_none() {
            due.push(successor);
        }
    }
    Ok(due)
}
