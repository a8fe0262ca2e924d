//! Ingest: pulls a producer's stream into the store, one batch.
//!
//! Write files → `commit_batch` → acknowledge. A crash before the commit leaves files that the next
//! sweep removes; a crash after it is found by the next pull, which starts at the new position.

use super::deliver::is_pulled;
use super::{Report, done, fence, successors};
use crate::{JobError, Runtime, schedule};
use levada_flow::source::{Previous, PullDataset, PullEnd, PullRequest, Pulled, Source};
use levada_flow::{FlowError, Position};
use levada_model::connection::Connection;
use levada_model::fingerprint::fingerprint;
use levada_model::model::{EachFile, IngestKind};
use levada_model::{NodeAddress, NodeKind};
use levada_planner::NodeSpec;
use levada_planner::blueprint::{IngestDataset, IngestOrigin, IngestSpec};
use levada_state::catalog::StreamHead;
use levada_state::nodes::{HotNode, Successor};
use levada_state::{BatchCommit, Manifest};
use levada_store::{BatchWriter, StoreDataset};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tokio::sync::mpsc;

/// Record batches between source and store; a slow store holds the source back.
const PULLED_BATCHES_MAX: usize = 8;

/// What an ingest remembers between its pulls.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct Memory {
    /// By dataset the fingerprint of its columns and the way of reading.
    #[serde(default)]
    shapes: BTreeMap<String, String>,
    /// The last look for vanished keys, µs.
    deletes_found_at: i64,
}

pub(super) async fn run(
    runtime: &Runtime,
    row: &HotNode,
    spec: &IngestSpec,
    connections_max: u32,
    started_at: i64,
) -> Result<Report, JobError> {
    let IngestOrigin::Container { connection, ingest, .. } = &spec.origin else {
        unreachable!("the caller matched the origin")
    };
    let head = runtime.state.head(&spec.stream).await?;
    let mut memory: Memory = row.memory.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let shapes = shapes(spec, ingest);
    let previous = head.as_ref().map(|head| previous(head, ingest, &memory.shapes, &shapes)).transpose()?;
    let finds_deletes = looks_for_deletes(ingest, memory.deletes_found_at, started_at);
    let request = pull_request(spec, ingest, previous, finds_deletes);

    let connection = Connection { connections_max: Some(connections_max), ..connection.clone() };
    let mut source = runtime.connect.source(&connection).await?;
    source.inspect(&request).await?;
    let run = format!("{}-{}-{}", spec.stream.datastore, row.epoch, started_at);
    let writer = runtime.store.begin(&spec.stream, store_datasets(spec), &run).await?;
    let (writer, end) = pull_into(source.as_mut(), &request, writer).await?;
    let staged = writer.finish(&end.coverage).await?;

    memory.shapes = shapes;
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
    Ok(Report { rows, bytes, news, ..Report::default() })
}

/// What each dataset's position holds for: its table, its columns, the way of reading. How far back
/// a pull looks, and when for vanished keys, is not among it.
fn shapes(spec: &IngestSpec, kind: &IngestKind) -> BTreeMap<String, String> {
    let kind = match kind.clone() {
        IngestKind::Watermark { column, .. } => IngestKind::Watermark { column, overlap: None, deletes: None },
        other => other,
    };
    let shape = |dataset: &IngestDataset| fingerprint(&(&kind, &dataset.table, &dataset.schema, &dataset.watermark));
    spec.datasets.iter().map(|dataset| (dataset.dataset.to_string(), shape(dataset).to_string())).collect()
}

/// The last committed pull, without the datasets that are new or changed: they start over, the
/// others stay where they are. Files that add are never read twice, whatever has changed.
fn previous(
    head: &StreamHead,
    kind: &IngestKind,
    before: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
) -> Result<Previous, FlowError> {
    let mut position = Position::from_bytes(&head.position)?;
    if !matches!(kind, IngestKind::Files { each_file: EachFile::Adds, .. }) {
        let is_changed = |dataset: &&String| before.get(*dataset) != now.get(*dataset);
        now.keys().filter(is_changed).for_each(|dataset| position.forget(dataset));
    }
    Ok(Previous { position, incarnation: head.incarnation.clone() })
}

/// What a source is asked for, from an ingest's definition.
pub fn pull_request(
    spec: &IngestSpec,
    kind: &IngestKind,
    previous: Option<Previous>,
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
    let of = |dataset: &IngestDataset| StoreDataset {
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
/// dataset is delivered, too), and those that the first pull of a definition makes ready.
pub(super) async fn due_even_if_empty(runtime: &Runtime, row: &HotNode) -> Result<Vec<Successor>, JobError> {
    let is_first = row.is_changed || row.succeeded_at.is_none();
    let mut due = Vec::new();
    for successor in successors(runtime, row, &[NodeKind::Export, NodeKind::Link]).await? {
        let is_waiting = match &successor.node {
            export @ NodeAddress::Export(..) => {
                runtime.state.delivery(export).await?.is_none() || is_first && is_held_back(runtime, export).await?
            }
            _ => true,
        };
        if is_waiting {
            due.push(successor);
        }
    }
    Ok(due)
}

/// Whether an export has waited until now for its dataset, or a column of it, to be pulled.
async fn is_held_back(runtime: &Runtime, export: &NodeAddress) -> Result<bool, JobError> {
    match runtime.state.node(export).await?.map(|row| row.node.spec) {
        Some(NodeSpec::Export(spec)) => Ok(!is_pulled(runtime, &spec).await?),
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use levada_model::model::{Cron, Style};

    #[test]
    fn a_dataset_starts_over_for_what_it_is_and_not_for_how_far_back_a_pull_looks() {
        let cron = Cron { expression: "0 3 * * 7".to_owned(), timezone: None };
        let by = |column: &str, deletes: Option<Cron>| {
            let overlap = deletes.as_ref().map(|_| "5m".parse().expect("a period"));
            IngestKind::Watermark { column: Some(column.parse().expect("a name")), overlap, deletes }
        };
        let spec = |table: &str| IngestSpec {
            stream: "Shop".parse().expect("a stream"),
            style: Style::Batch,
            origin: IngestOrigin::Transformer {
                transform: "Transform/P/W".parse().expect("an address"),
                mode: levada_model::model::OutputMode::Snapshot,
            },
            datasets: vec![IngestDataset {
                dataset: "orders".parse().expect("a name"),
                table: table.to_owned(),
                schema: levada_model::Schema { columns: Vec::new() },
                watermark: None,
                owed: Vec::new(),
            }],
        };
        let before = shapes(&spec("orders"), &by("changed", None));
        assert_eq!(shapes(&spec("orders"), &by("changed", Some(cron))), before);
        assert_ne!(shapes(&spec("orders"), &by("created", None)), before);
        assert_ne!(shapes(&spec("purchases"), &by("changed", None)), before);
    }
}
