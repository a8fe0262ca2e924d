//! Fidelity: the store, the delivered copies and, on request, the producers hold the same rows.
//!
//! Rows are compared by count and by a digest of their row hashes that does not depend on order:
//! the wrapping sum of 128-bit hashes. Equal counts and sums of well mixed hashes mean equal
//! multisets of rows.

use crate::jobs::pull_request;
use crate::{JobError, Runtime, jobs, schedule};
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use futures::TryStreamExt;
use levada_flow::canonical::RowHasher;
use levada_flow::source::Pulled;
use levada_flow::{FlowError, RowStream};
use levada_model::address::DatasetRef;
use levada_model::connection::Connection;
use levada_model::model::IngestKind;
use levada_model::name::WorkspaceName;
use levada_model::{NodeAddress, Schema};
use levada_planner::blueprint::{ExportSpec, IngestDataset, IngestOrigin, IngestSpec};
use levada_planner::{Blueprint, NodeSpec};
use levada_state::Host;
use levada_store::{AsOf, Reading};
use serde::Serialize;
use tokio::sync::mpsc;

/// Count and order-free digest of rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Digest {
    /// Rows.
    pub rows: u64,
    /// The wrapping sum of their hashes.
    #[serde(serialize_with = "as_hex")]
    pub sum: u128,
}

fn as_hex<S: serde::Serializer>(sum: &u128, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{sum:032x}"))
}

/// What was compared with the store.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(tag = "copy", rename_all = "snake_case")]
pub enum Copy {
    /// A delivered live table.
    Live {
        /// Its export.
        export: NodeAddress,
    },
    /// A delivered history table.
    History {
        /// Its export.
        export: NodeAddress,
    },
    /// The producer itself, now.
    Source {
        /// Its ingest.
        ingest: NodeAddress,
    },
}

/// One comparison.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Comparison {
    /// The dataset.
    pub dataset: DatasetRef,
    /// The other side.
    #[serde(flatten)]
    pub with: Copy,
    /// The batch that was compared; `None`: nothing was ever delivered or committed.
    pub batch: Option<i64>,
    /// The store's rows.
    pub store: Digest,
    /// The other side's rows; `None`: there are none to read.
    pub other: Option<Digest>,
    /// Why the comparison could not be made; `None`: it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl Comparison {
    /// Whether both sides agree.
    pub fn is_equal(&self) -> bool {
        self.failure.is_none() && self.other == Some(self.store)
    }

    /// A comparison without anything to compare.
    fn empty(dataset: DatasetRef, with: Copy) -> Self {
        Self { dataset, with, batch: None, store: Digest::default(), other: None, failure: None }
    }

    /// A comparison of which a side can't be read.
    fn failed(dataset: DatasetRef, with: Copy, error: &JobError) -> Self {
        Self { failure: Some(error.chain()), ..Self::empty(dataset, with) }
    }
}

/// What to compare.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Scope {
    /// Whose workers' stores: others lie elsewhere.
    pub host: Host,
    /// Only what this workspace sees.
    pub workspace: Option<WorkspaceName>,
    /// Also read every producer.
    pub with_source: bool,
    /// Instead of what is there now: what the delivered histories say of this moment, µs since 1970.
    pub as_of: Option<i64>,
}

/// Compares everything in scope; `tell` hears of each comparison as it is made. A side that can't
/// be read fails its own comparisons and no others.
pub async fn verify(
    runtime: &Runtime,
    blueprint: &Blueprint,
    scope: &Scope,
    mut tell: impl FnMut(&Comparison),
) -> Vec<Comparison> {
    let mut comparisons = Vec::new();
    let mut add = |new: Vec<Comparison>| {
        new.iter().for_each(&mut tell);
        comparisons.extend(new);
    };
    let is_run = |address: &NodeAddress| Host::of(&blueprint.choices, address.platform()).as_ref() == Some(&scope.host);
    let nodes = || blueprint.nodes.iter().filter(|(address, _)| is_run(address));
    let exports: Vec<(&NodeAddress, &ExportSpec)> = nodes()
        .filter_map(|(address, node)| match &node.spec {
            NodeSpec::Export(spec) if is_seen(spec, scope) => Some((address, spec)),
            _ => None,
        })
        .collect();
    for (address, spec) in &exports {
        add(compare_export(runtime, address, spec, scope.as_of).await);
    }
    if scope.with_source && scope.as_of.is_none() {
        for (address, node) in nodes() {
            if let NodeSpec::Ingest(spec) = &node.spec {
                let is_in = |of: &DatasetRef| {
                    scope.workspace.is_none() || exports.iter().any(|(_, export)| export.source == *of)
                };
                add(compare_source(runtime, address, spec, is_in).await);
            }
        }
    }
    comparisons
}

fn is_seen(spec: &ExportSpec, scope: &Scope) -> bool {
    scope.workspace.as_ref().is_none_or(|workspace| spec.views.iter().any(|view| view.workspace == *workspace))
}

async fn compare_export(
    runtime: &Runtime,
    address: &NodeAddress,
    spec: &ExportSpec,
    as_of: Option<i64>,
) -> Vec<Comparison> {
    // A live table knows no past.
    let live = spec.live.as_ref().filter(|_| as_of.is_none());
    let live = live.map(|_| (Copy::Live { export: address.clone() }, Versions::Live));
    let versions = match (as_of, spec.history_retention) {
        (Some(moment), _) => Versions::At(moment),
        // Versions that retention lets go may be there or not, on both sides.
        (None, Some(kept)) => Versions::ClosedSince(schedule::before(runtime.clock.now(), kept)),
        (None, None) => Versions::All,
    };
    let history = spec.history.as_ref().map(|_| (Copy::History { export: address.clone() }, versions));
    let mut comparisons = Vec::new();
    for (with, versions) in live.into_iter().chain(history) {
        let compared = compare_table(runtime, address, spec, with.clone(), versions).await;
        comparisons.push(compared.unwrap_or_else(|error| Comparison::failed(spec.source.clone(), with, &error)));
    }
    comparisons
}

/// Compares one delivered table with the store at the table's own mark; reads again where a
/// delivery moved the mark meanwhile.
async fn compare_table(
    runtime: &Runtime,
    export: &NodeAddress,
    spec: &ExportSpec,
    with: Copy,
    versions: Versions,
) -> Result<Comparison, JobError> {
    let table = jobs::delivered_table(export, spec, runtime.clock.now());
    check_kept(runtime, spec, versions)?;
    let is_history = versions != Versions::Live;
    let mut sink = runtime.connect.sink(&spec.connection).await?;
    let mut mark = sink.marks(std::slice::from_ref(&table)).await?.pop().flatten();
    loop {
        let Some(found) = &mark else {
            return Ok(Comparison::empty(spec.source.clone(), with));
        };
        let other = digest(sink.read_back(&table, is_history).await?, &spec.schema, versions).await?;
        let again = sink.marks(std::slice::from_ref(&table)).await?.pop().flatten();
        if again != mark {
            mark = again;
            continue;
        }
        let (reading, batch, stored_versions) = match versions {
            Versions::At(moment) => {
                let batch = runtime.store.resolve(&spec.source, AsOf::Time(moment)).await?.min(found.batch);
                (Reading::Live { as_of: Some(batch) }, batch, Versions::Live)
            }
            _ if is_history => (Reading::History { as_of: Some(found.batch), since: None }, found.batch, versions),
            _ => (Reading::Live { as_of: Some(found.batch) }, found.batch, versions),
        };
        let stored = runtime.store.read(&spec.source, &spec.schema, reading).await?;
        let store = digest(stored, &spec.schema, stored_versions).await?;
        let (batch, other) = (Some(batch), Some(other));
        return Ok(Comparison { batch, store, other, ..Comparison::empty(spec.source.clone(), with) });
    }
}

/// Compares the datasets of one stream, which are read together.
async fn compare_source(
    runtime: &Runtime,
    address: &NodeAddress,
    spec: &IngestSpec,
    is_in: impl Fn(&DatasetRef) -> bool,
) -> Vec<Comparison> {
    let IngestOrigin::Container { connection, .. } = &spec.origin else { return Vec::new() };
    let with = Copy::Source { ingest: address.clone() };
    let dataset = |dataset: &IngestDataset| DatasetRef::new(spec.stream.datastore.clone(), dataset.dataset.clone());
    match compare_pulled(runtime, connection, spec, &with, &is_in).await {
        Ok(comparisons) => comparisons,
        Err(error) => {
            let datasets = spec.datasets.iter().map(dataset).filter(|dataset| is_in(dataset));
            datasets.map(|dataset| Comparison::failed(dataset, with.clone(), &error)).collect()
        }
    }
}

async fn compare_pulled(
    runtime: &Runtime,
    connection: &Connection,
    spec: &IngestSpec,
    with: &Copy,
    is_in: impl Fn(&DatasetRef) -> bool,
) -> Result<Vec<Comparison>, JobError> {
    let head = runtime.state.head(&spec.stream).await?;
    let mut source = runtime.connect.source(connection).await?;
    let kind = match &spec.origin {
        IngestOrigin::Container { ingest: files @ IngestKind::Files { .. }, .. } => files.clone(),
        _ => IngestKind::Snapshot,
    };
    let request = pull_request(spec, &kind, String::new());
    source.inspect(&request).await?;
    let hashers: Vec<RowHasher> = request.datasets.iter().map(|dataset| RowHasher::new(&dataset.schema)).collect();
    let (sender, mut receiver) = mpsc::channel(8);
    let count = async {
        let mut digests = vec![Digest::default(); request.datasets.len()];
        while let Some(pulled) = receiver.recv().await {
            if let Pulled::Rows { dataset, rows } = pulled {
                add(&mut digests[dataset], &hashers[dataset], &rows);
            }
        }
        Ok::<_, FlowError>(digests)
    };
    let (_, digests) = tokio::try_join!(source.pull(&request, sender), count)?;
    let mut comparisons = Vec::new();
    for (dataset, other) in request.datasets.iter().zip(digests) {
        let of = DatasetRef::new(spec.stream.datastore.clone(), dataset.dataset.clone());
        if !is_in(&of) {
            continue;
        }
        let store = match &head {
            None => Digest::default(),
            Some(head) => {
                let rows = runtime.store.read(&of, &dataset.schema, Reading::Live { as_of: Some(head.batch) }).await?;
                digest(rows, &dataset.schema, Versions::Live).await?
            }
        };
        let (batch, other) = (head.as_ref().map(|head| head.batch), Some(other));
        comparisons.push(Comparison { batch, store, other, ..Comparison::empty(of, with.clone()) });
    }
    Ok(comparisons)
}

/// The columns of a delivered history.
fn with_validity(schema: &Schema) -> Schema {
    let mut schema = schema.clone();
    for (name, nullable) in [("valid_from", false), ("valid_to", true)] {
        schema.columns.push(levada_model::SchemaColumn {
            name: levada_model::name::ColumnName::parse(name).expect("a plain word is a name"),
            from: None,
            data_type: levada_model::DataType::Timestamptz,
            nullable,
            key: false,
        });
    }
    schema
}

/// Which rows of a reading are compared. Times in µs since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Versions {
    /// Live rows: there are no versions.
    Live,
    /// All of a history, with their validity.
    All,
    /// Those of a history that are open or were closed then or later, with their validity.
    ClosedSince(i64),
    /// Those of a history that were valid at a moment, as live rows.
    At(i64),
}

impl Versions {
    /// Whether one of a history counts that is valid from one time until before another.
    fn has(self, from: i64, to: Option<i64>) -> bool {
        match self {
            Self::Live | Self::All => true,
            Self::ClosedSince(since) => to.is_none_or(|to| to >= since),
            Self::At(moment) => from <= moment && to.is_none_or(|to| to > moment),
        }
    }
}

/// Refuses a moment of which retention may have let versions go.
fn check_kept(runtime: &Runtime, spec: &ExportSpec, versions: Versions) -> Result<(), FlowError> {
    match (versions, spec.history_retention) {
        (Versions::At(moment), Some(kept)) if moment < schedule::before(runtime.clock.now(), kept) => {
            Err(FlowError::never(format!("the history of {} is kept for {kept} only", spec.source))
                .hint("what was valid before may be gone already; ask for a later moment"))
        }
        _ => Ok(()),
    }
}

/// Digests rows over the columns of a schema, which come first in each batch, and of a history over their validity,
/// which follows them.
async fn digest(mut rows: RowStream, schema: &Schema, versions: Versions) -> Result<Digest, FlowError> {
    let own = schema.columns.len();
    let (width, hasher) = match versions {
        Versions::Live => (own, RowHasher::new(schema)),
        Versions::At(_) => (own + 2, RowHasher::new(schema)),
        _ => (own + 2, RowHasher::new(&with_validity(schema))),
    };
    let columns: Vec<usize> = (0..width).collect();
    let lacking = |error| FlowError::never("a reading lacks columns of its dataset").because(error);
    let mut digest = Digest::default();
    while let Some(rows) = rows.try_next().await? {
        let mut rows = rows.project(&columns).map_err(lacking)?;
        if width > own {
            rows = filter_record_batch(&rows, &counting(&rows, own, versions)).map_err(lacking)?;
        }
        add(&mut digest, &hasher, &rows);
    }
    Ok(digest)
}

/// Which versions of a history count; their validity stands in the two columns from `own` on.
fn counting(rows: &RecordBatch, own: usize, versions: Versions) -> BooleanArray {
    let [from, to] = [own, own + 1].map(|at| rows.column(at).as_primitive::<TimestampMicrosecondType>());
    from.values().iter().zip(to).map(|(from, to)| Some(versions.has(*from, to))).collect()
}

fn add(digest: &mut Digest, hasher: &RowHasher, rows: &RecordBatch) {
    digest.rows += rows.num_rows() as u64;
    for hash in hasher.row_hashes(rows) {
        digest.sum = digest.sum.wrapping_add(u128::from_be_bytes(hash));
    }
}
