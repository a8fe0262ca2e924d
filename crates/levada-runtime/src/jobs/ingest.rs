//! Ingest: pulls a producer's stream into the store, one batch a pull.
//!
//! Write files → `commit_batch` → acknowledge. A crash before the commit leaves files that the next
//! sweep removes; a crash after it is found by the next pull, which starts at the new position.
//!
//! A change log on a streaming platform is pulled continuously: the job keeps its claim, its source and its
//! epoch, and commits one small batch after the other, until its node changes, its calendar closes or the
//! worker stops. Whatever happens to it, the next claim goes on from the last commit.

use super::deliver::is_pulled;
use super::{Report, Turn, done, fence, memory, successors};
use crate::{JobError, Runtime, schedule};
use levada_flow::source::{Coverage, Held, Previous, PullDataset, PullEnd, PullRequest, Pulled, Source, Until};
use levada_flow::{FlowError, Position, failpoint};
use levada_model::address::Stream;
use levada_model::connection::Connection;
use levada_model::fingerprint::fingerprint;
use levada_model::model::{EachFile, IngestKind};
use levada_model::{NodeAddress, NodeKind};
use levada_planner::NodeSpec;
use levada_planner::blueprint::{IngestDataset, IngestOrigin, IngestSpec};
use levada_state::catalog::StreamHead;
use levada_state::nodes::{HotNode, Outcome, Successor, Wish};
use levada_state::{BatchCommit, Manifest, State, StateError};
use levada_store::{BatchWriter, Staged, StoreDataset};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tokio::sync::mpsc;
use xxhash_rust::xxh3::xxh3_64;

/// Record batches between source and store; a slow store holds the source back.
const PULLED_BATCHES_MAX: usize = 8;

/// How long a continuous stream gathers changes for one batch, in milliseconds.
const LINGER_MS: u64 = 500;

/// How long a continuous stream waits for a change before it looks around, in milliseconds.
const IDLE_MS: u64 = 2_000;

/// How often a position is committed that moved without a change, in µs: the source may forget what lies
/// before it.
const POSITION_EVERY_US: i64 = 10_000_000;

/// What an ingest remembers between its pulls.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct Memory {
    /// By dataset the fingerprint of its columns and the way of reading.
    #[serde(default)]
    shapes: BTreeMap<String, String>,
    /// The last look for vanished keys, µs.
    deletes_found_at: i64,
    #[serde(default)]
    health: StreamHealth,
}

/// How a stream is doing, as its last pull saw it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StreamHealth {
    /// By dataset why it stays where it is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stopped: BTreeMap<String, String>,
    /// What the source holds back for the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
}

/// From how many bytes on somebody should look at what a source holds back, where the model names no most.
const HELD_ALARM_BYTES: u64 = 1_000_000_000;

impl StreamHealth {
    /// Whether a source holds back so much that somebody should look: half of the most, or a gigabyte.
    pub fn is_alarming(&self) -> bool {
        let most = |held: &Held| held.bytes_max.map_or(HELD_ALARM_BYTES, |most| most / 2);
        self.held.is_some_and(|held| held.bytes > most(&held))
    }
}

/// What an ingest's row says of its stream.
pub fn stream_health(row: &HotNode) -> StreamHealth {
    memory::<Memory>(row).unwrap_or_default().health
}

/// Whether a row's next job goes on without an end: its first pull is one like any other.
pub(crate) fn goes_on(row: &HotNode) -> bool {
    let NodeSpec::Ingest(spec) = &row.node.spec else { return false };
    row.wish == Wish::Run && !row.is_changed && row.succeeded_at.is_some() && schedule::is_continuous(spec)
}

/// The name by which a source knows the reader of a stream.
pub(super) fn reader(state: &State, stream: &Stream) -> String {
    format!("levada_{:016x}", xxh3_64(format!("{}/{stream}", state.id()).as_bytes()))
}

pub(super) async fn run(runtime: &Runtime, row: &HotNode, spec: &IngestSpec, turn: &Turn) -> Result<Report, JobError> {
    let mut pulls = Pulls::open(runtime, row, spec, turn).await?;
    loop {
        let (report, goes_on) = pulls.pull().await?;
        if !goes_on {
            return Ok(report);
        }
        if report != Report::default() {
            turn.tell(&row.node.address, report);
        }
    }
}

/// The pulls of one job.
struct Pulls<'j> {
    runtime: &'j Runtime,
    row: &'j HotNode,
    spec: &'j IngestSpec,
    ingest: &'j IngestKind,
    turn: &'j Turn,
    source: Box<dyn Source>,
    /// Where the last pull ended; what lies before it is durable.
    previous: Option<Previous>,
    memory: Memory,
    finds_deletes: bool,
    /// Whether the job ends only when something ends it.
    is_endless: bool,
    /// Pulls so far.
    count: u64,
    committed_at: i64,
    /// What was told of stopped datasets.
    told: Vec<(NodeAddress, String)>,
}

impl<'j> Pulls<'j> {
    async fn open(
        runtime: &'j Runtime,
        row: &'j HotNode,
        spec: &'j IngestSpec,
        turn: &'j Turn,
    ) -> Result<Self, JobError> {
        let IngestOrigin::Container { connection, ingest, .. } = &spec.origin else {
            unreachable!("the caller matched the origin")
        };
        let head = runtime.state.head(&spec.stream).await?;
        let mut memory: Memory = memory(row).unwrap_or_default();
        let shapes = shapes(spec, ingest);
        let previous = head.as_ref().map(|head| previous(head, ingest, &memory.shapes, &shapes)).transpose()?;
        memory.shapes = shapes;
        let finds_deletes = looks_for_deletes(ingest, memory.deletes_found_at, turn.started_at);
        if finds_deletes {
            memory.deletes_found_at = turn.started_at;
        }
        let connection = Connection { connections_max: Some(turn.connections_max), ..connection.clone() };
        let mut source = runtime.connect.source(&connection).await?;
        let is_endless = turn.may_go_on() && goes_on(row);
        if !matches!(ingest, IngestKind::Cdc { .. }) && previous.as_ref().is_some_and(is_of_a_log) {
            // It was read by the change log before: the source need not keep that any more.
            source.forget(&reader(&runtime.state, &spec.stream)).await?;
        }
        let (count, committed_at, told) = (0, turn.started_at, Vec::new());
        let pulls = Self {
            runtime,
            row,
            spec,
            ingest,
            turn,
            source,
            previous,
            memory,
            finds_deletes,
            is_endless,
            count,
            committed_at,
            told,
        };
        Ok(pulls)
    }

    /// One pull, committed where it brought something; tells whether another one follows.
    async fn pull(&mut self) -> Result<(Report, bool), JobError> {
        let request = self.request();
        if self.count == 0 {
            self.source.inspect(&request).await?;
        }
        self.count += 1;
        let (staged, end) = self.read(&request).await?;
        let before = self.previous.take();
        let news = self.note(&end);
        let now = self.runtime.clock.now();
        let goes_on = end.is_behind || (self.is_endless && schedule::may_run(&self.row.node, now));
        let is_due = !goes_on || !staged.manifests.is_empty() || self.must_commit(before.as_ref(), &end, now);
        let mut report = Report { news, failed: self.stopped(&end), ..Report::default() };
        let previous = Previous { position: end.position.clone(), incarnation: end.incarnation.clone() };
        if is_due {
            self.commit(staged, end, before, goes_on, &mut report).await?;
        }
        self.previous = Some(previous);
        Ok((report, goes_on && !self.is_superseded().await?))
    }

    fn request(&self) -> PullRequest {
        let until = match self.is_endless {
            true => Until::News { linger_ms: LINGER_MS, idle_ms: IDLE_MS },
            false => Until::Now,
        };
        let reader = reader(&self.runtime.state, &self.spec.stream);
        let previous = self.previous.clone();
        PullRequest {
            previous,
            finds_deletes: self.finds_deletes,
            until,
            ..pull_request(self.spec, self.ingest, reader)
        }
    }

    async fn read(&mut self, request: &PullRequest) -> Result<(Staged, PullEnd), JobError> {
        let run = format!("{}-{}-{}-{}", self.spec.stream.datastore, self.row.epoch, self.turn.started_at, self.count);
        let writer = self.runtime.store.begin(&self.spec.stream, store_datasets(self.spec), &run).await?;
        let (writer, end) = pull_into(self.source.as_mut(), request, writer).await?;
        failpoint("ingest.pulled")?;
        Ok((writer.finish(&end.coverage).await?, end))
    }

    /// Remembers how the stream is doing; gives what is new, for people.
    fn note(&mut self, end: &PullEnd) -> String {
        let name = |index: usize| self.spec.datasets[index].dataset.to_string();
        self.memory.health.held = end.held;
        self.memory.health.stopped = end.stopped.iter().map(|(index, error)| (name(*index), error.chain())).collect();
        end.news.join("; ")
    }

    /// The datasets that have stopped and were not told of yet.
    fn stopped(&mut self, end: &PullEnd) -> Vec<(NodeAddress, String)> {
        let address = &self.row.node.address;
        let stopped: Vec<_> = end.stopped.iter().map(|(_, error)| (address.clone(), error.chain())).collect();
        let is_told = std::mem::replace(&mut self.told, stopped.clone()) == stopped;
        if is_told && self.is_endless { Vec::new() } else { stopped }
    }

    /// Whether a pull without changes has something to remember.
    fn must_commit(&self, before: Option<&Previous>, end: &PullEnd, now: i64) -> bool {
        let Some(before) = before else { return true };
        before.incarnation != end.incarnation
            || before.position.in_log() != end.position.in_log()
            || (before.position != end.position && now - self.committed_at >= POSITION_EVERY_US)
    }

    async fn commit(
        &mut self,
        staged: Staged,
        end: PullEnd,
        before: Option<Previous>,
        goes_on: bool,
        report: &mut Report,
    ) -> Result<(), JobError> {
        let (runtime, row) = (self.runtime, self.row);
        let whole = newly_whole(self.spec, before.as_ref(), &end);
        let mut completion = done(runtime, row, self.turn.started_at);
        if goes_on {
            completion.outcome = Outcome::Continues;
        }
        completion.memory = Some(serde_json::to_string(&self.memory).expect("plain data always serialises"));
        completion.successors = match staged.manifests.is_empty() {
            true => Vec::new(),
            false => due_after(runtime, row, &staged.manifests).await?,
        };
        let due_even_if_empty = match self.is_endless && whole.is_empty() {
            true => Vec::new(),
            false => due_even_if_empty(runtime, row, &whole).await?,
        };
        (completion.rows, completion.bytes) = (staged.rows, staged.bytes);
        (report.rows, report.bytes) = (staged.rows, staged.bytes);
        failpoint("ingest.staged")?;
        let now = runtime.clock.now();
        let batch = runtime
            .state
            .commit_batch(BatchCommit {
                fence: fence(row),
                stream: self.spec.stream.clone(),
                previous: staged.previous,
                position: end.position.to_bytes(),
                batch_position: end.position.brief().to_bytes(),
                incarnation: end.incarnation,
                now,
                manifests: staged.manifests,
                covered: staged.covered,
                due_even_if_empty,
                done: completion,
            })
            .await?;
        self.committed_at = now;
        failpoint("ingest.committed")?;
        self.source.acknowledge(&end.position).await?;
        failpoint("ingest.acknowledged")?;
        if let Some(batch) = batch {
            let told = format!("batch {batch}: {} rows changed", report.rows);
            report.news = if report.news.is_empty() { told } else { format!("{told}; {}", report.news) };
        }
        Ok(())
    }

    /// Whether a job that goes on has to make way: for another definition, or for the node's end.
    async fn is_superseded(&mut self) -> Result<bool, JobError> {
        if self.count == 1 && !self.is_endless {
            return Ok(false);
        }
        let Some(there) = self.runtime.state.node(&self.row.node.address).await? else { return Ok(false) };
        if there.epoch != self.row.epoch || there.lease.is_none() {
            let fence = fence(self.row);
            return Err(StateError::Fenced { node: fence.node, epoch: fence.epoch }.into());
        }
        if (there.generation, there.wish) == (self.row.generation, self.row.wish) {
            return Ok(false);
        }
        let now = self.runtime.clock.now();
        let mut completion = done(self.runtime, self.row, self.turn.started_at);
        completion.next_due_at = Some(now);
        self.runtime.state.complete(&fence(self.row), completion, now).await?;
        Ok(true)
    }
}

fn is_of_a_log(previous: &Previous) -> bool {
    previous.position.in_log().is_some()
}

/// The datasets that stand otherwise in the source's log than before, and are whole.
fn newly_whole(spec: &IngestSpec, before: Option<&Previous>, end: &PullEnd) -> Vec<String> {
    let Some(now) = end.position.in_log() else { return Vec::new() };
    let before = before.and_then(|before| before.position.in_log());
    let is_whole = |coverage: &Coverage| !matches!(coverage, Coverage::Part | Coverage::Nothing);
    let names = spec.datasets.iter().zip(&end.coverage).filter(|(_, coverage)| is_whole(coverage));
    let names = names.map(|(dataset, _)| dataset.dataset.to_string());
    names.filter(|name| before.and_then(|before| before.get(name)) != now.get(name)).collect()
}

/// What each dataset's position holds for: its table, its columns, the way of reading. How far back
/// a pull looks, and when for vanished keys, is not among it.
fn shapes(spec: &IngestSpec, kind: &IngestKind) -> BTreeMap<String, String> {
    let kind = match kind.clone() {
        IngestKind::Watermark { column, .. } => IngestKind::Watermark { column, overlap: None, deletes: None },
        IngestKind::Cdc { .. } => IngestKind::Cdc { wal_max_bytes: None },
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

/// What a source is asked for, from an ingest's definition: everything it has now.
pub fn pull_request(spec: &IngestSpec, kind: &IngestKind, reader: String) -> PullRequest {
    let dataset = |dataset: &IngestDataset| PullDataset {
        dataset: dataset.dataset.clone(),
        table: dataset.table.clone(),
        schema: dataset.schema.clone(),
        watermark: dataset.watermark.clone(),
    };
    PullRequest::new(kind.clone(), spec.datasets.iter().map(dataset).collect(), reader)
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
            failpoint("ingest.rows")?;
            match pulled {
                Pulled::Rows { dataset, rows } => writer.write(dataset, rows).await?,
                Pulled::Keys { dataset, keys } => writer.keys(dataset, keys).await?,
                Pulled::Changes { dataset, rows, kept } => writer.append(dataset, rows, kept).await?,
                Pulled::Discard { dataset } => writer.discard(dataset).await?,
                Pulled::Truncated { dataset } => writer.truncate(dataset).await?,
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
/// dataset is delivered, too), those that the first pull of a definition makes ready, and those of datasets
/// that have become whole.
pub(super) async fn due_even_if_empty(
    runtime: &Runtime,
    row: &HotNode,
    whole: &[String],
) -> Result<Vec<Successor>, JobError> {
    let is_first = row.is_changed || row.succeeded_at.is_none();
    let mut due = Vec::new();
    for successor in successors(runtime, row, &[NodeKind::Export, NodeKind::Link]).await? {
        let is_waiting = match &successor.node {
            export @ NodeAddress::Export(_, _, of) => {
                whole.iter().any(|dataset| dataset == of.dataset.as_str())
                    || runtime.state.delivery(export).await?.is_none()
                    || is_first && is_held_back(runtime, export).await?
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
    let row = runtime.state.node(export).await?;
    match row.as_ref().map(|row| &row.node.spec) {
        Some(NodeSpec::Export(spec)) => Ok(!is_pulled(runtime, spec).await?),
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
