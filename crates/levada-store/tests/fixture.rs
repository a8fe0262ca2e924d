//! A store in a temporary folder, rows as plain values, and batches committed one by one.

use arrow::array::{Array, AsArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use futures::TryStreamExt;
use levada_flow::arrow_schema::arrow_schema;
use levada_flow::source::Coverage;
use levada_model::address::{DatasetRef, Stream};
use levada_model::{Schema, SchemaColumn};
use levada_state::{BatchCommit, State};
use levada_store::{BatchWriter, Reading, Staged, Store, StoreDataset, StoreError};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A row of the dataset `D.d`: key, text, number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Row {
    pub key: i32,
    pub text: Option<String>,
    pub number: Option<i64>,
}

pub fn row(key: i32, text: &str, number: i64) -> Row {
    Row { key, text: Some(text.to_owned()), number: Some(number) }
}

/// A text that takes about 20 kB in any file, so that its batch is no inline one.
pub fn long_text(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let digit = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'0' + u8::try_from(state % 64).expect("below 64"))
    };
    (0..20_000).map(digit).collect()
}

/// One change as the log gives it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    pub batch: i64,
    pub operation: i32,
    pub previous: Option<i64>,
    pub key_hash: Vec<u8>,
    pub row: Row,
}

/// One version as history gives it, times in µs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Version {
    pub from: i64,
    pub to: Option<i64>,
    pub row: Row,
}

pub fn column(name: &str, data_type: &str, nullable: bool, key: bool) -> SchemaColumn {
    let data_type = data_type.parse().expect("a type");
    SchemaColumn { name: name.parse().expect("a name"), from: None, data_type, nullable, key }
}

/// `k int32 (key), t text, n int64`
pub fn schema(has_key: bool) -> Schema {
    let columns =
        vec![column("k", "int32", false, has_key), column("t", "text", true, false), column("n", "int64", true, false)];
    Schema { columns }
}

pub fn record_batch(schema: &Schema, rows: &[Row]) -> RecordBatch {
    let keys = Int32Array::from_iter_values(rows.iter().map(|row| row.key));
    let texts = StringArray::from_iter(rows.iter().map(|row| row.text.as_deref()));
    let numbers = Int64Array::from_iter(rows.iter().map(|row| row.number));
    let columns = vec![Arc::new(keys) as _, Arc::new(texts) as _, Arc::new(numbers) as _];
    RecordBatch::try_new(arrow_schema(schema), columns).expect("the fixture's columns")
}

pub fn key_batch(keys: &[i32]) -> RecordBatch {
    let keys = Int32Array::from_iter_values(keys.iter().copied());
    RecordBatch::try_from_iter([("k", Arc::new(keys) as _)]).expect("one column")
}

pub fn change_batch(schema: &Schema, changes: &[(i32, Row)]) -> RecordBatch {
    let rows: Vec<Row> = changes.iter().map(|(_, row)| row.clone()).collect();
    let batch = record_batch(schema, &rows);
    let operations = Int32Array::from_iter_values(changes.iter().map(|(operation, _)| *operation));
    let named = batch.schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
    let columns = named.into_iter().zip(batch.columns().iter().cloned());
    RecordBatch::try_from_iter(columns.chain([("lv_op".to_owned(), Arc::new(operations) as _)])).expect("columns")
}

fn rows_of(batch: &RecordBatch) -> Vec<Row> {
    let keys = batch["k"].as_primitive::<Int32Type>();
    let texts = batch["t"].as_string::<i32>();
    let numbers = batch["n"].as_primitive::<Int64Type>();
    let row = |at| Row {
        key: keys.value(at),
        text: texts.is_valid(at).then(|| texts.value(at).to_owned()),
        number: numbers.is_valid(at).then(|| numbers.value(at)),
    };
    (0..batch.num_rows()).map(row).collect()
}

/// A store and its state.
pub struct Stand {
    pub folder: tempfile::TempDir,
    pub state: State,
    pub store: Store,
    pub stream: Stream,
    pub dataset: DatasetRef,
    runs: u64,
    commits: commits::Commits,
}

impl Stand {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let state = State::open(&format!("sqlite:{}", folder.path().join("state.db").display())).await.expect("opens");
        let store = Store::open(state.clone(), folder.path().join("data")).expect("opens");
        let stream: Stream = "D".parse().expect("a stream");
        let dataset = "D.d".parse().expect("a dataset");
        let commits = commits::Commits::new(&state, &stream).await;
        Self { folder, state, store, stream, dataset, runs: 0, commits }
    }

    pub async fn begin(&mut self, schema: &Schema) -> Result<BatchWriter, StoreError> {
        self.runs += 1;
        let dataset = StoreDataset { dataset: self.dataset.clone(), schema: schema.clone() };
        self.store.begin(&self.stream, vec![dataset], &format!("run-{}", self.runs)).await
    }

    pub async fn commit(&mut self, staged: Staged) -> Option<i64> {
        self.commits.commit(&self.state, &self.stream, staged).await
    }

    /// One pull, committed; `None`: nothing changed.
    pub async fn pull(&mut self, schema: &Schema, rows: &[Row], coverage: Coverage) -> Result<Option<i64>, StoreError> {
        let mut writer = self.begin(schema).await?;
        for piece in rows.chunks(3) {
            writer.write(0, record_batch(schema, piece)).await?;
        }
        let staged = writer.finish(&[coverage]).await?;
        Ok(self.commit(staged).await)
    }

    pub async fn read(&self, schema: &Schema, reading: Reading) -> Result<Vec<RecordBatch>, levada_flow::FlowError> {
        self.store.read(&self.dataset, schema, reading).await?.try_collect().await
    }

    /// The live rows, sorted.
    pub async fn live(&self, schema: &Schema, as_of: Option<i64>) -> Vec<Row> {
        let batches = self.read(schema, Reading::Live { as_of }).await.expect("reads");
        let mut rows: Vec<Row> = batches.iter().flat_map(rows_of).collect();
        rows.sort();
        rows
    }

    /// The changes after a batch, in the log's order.
    pub async fn changes(&self, schema: &Schema, after: i64) -> Vec<Change> {
        self.changes_of(schema, Reading::Changes { after, up_to: None }).await
    }

    /// Of all changes after a batch the last one of each key.
    pub async fn net_changes(&self, schema: &Schema, after: i64) -> Vec<Change> {
        let changes = self.changes_of(schema, Reading::NetChanges { after, up_to: None }).await;
        let keys: std::collections::BTreeSet<_> = changes.iter().map(|change| &change.key_hash).collect();
        assert_eq!(keys.len(), changes.len(), "each key once");
        changes
    }

    async fn changes_of(&self, schema: &Schema, reading: Reading) -> Vec<Change> {
        let batches = self.read(schema, reading).await.expect("reads");
        let mut changes = Vec::new();
        for batch in &batches {
            let batches = batch["lv_batch"].as_primitive::<Int64Type>();
            let operations = batch["lv_op"].as_primitive::<Int32Type>();
            let previous = batch["lv_prev_batch"].as_primitive::<Int64Type>();
            let key_hashes = batch["lv_key_hash"].as_fixed_size_binary();
            changes.extend(rows_of(batch).into_iter().enumerate().map(|(at, row)| Change {
                batch: batches.value(at),
                operation: operations.value(at),
                previous: previous.is_valid(at).then(|| previous.value(at)),
                key_hash: key_hashes.value(at).to_vec(),
                row,
            }));
        }
        changes
    }

    /// The history, sorted.
    pub async fn history(&self, schema: &Schema, as_of: Option<i64>, since: Option<i64>) -> Vec<Version> {
        let batches = self.read(schema, Reading::History { as_of, since }).await.expect("reads");
        let mut versions = Vec::new();
        for batch in &batches {
            let from = batch["valid_from"].as_primitive::<TimestampMicrosecondType>();
            let to = batch["valid_to"].as_primitive::<TimestampMicrosecondType>();
            versions.extend(rows_of(batch).into_iter().enumerate().map(|(at, row)| Version {
                from: from.value(at),
                to: to.is_valid(at).then(|| to.value(at)),
                row,
            }));
        }
        versions.sort();
        versions
    }

    pub async fn times(&self) -> BTreeMap<i64, i64> {
        self.state.times(&self.stream, 0, i64::MAX).await.expect("reads")
    }

    /// The segment files, as paths from the store's folder.
    pub fn files(&self) -> Vec<String> {
        let folder = self.folder.path().join("data/D/d");
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
        let mut files: Vec<String> = entries.map(|entry| format!("D/d/{}", name(entry).display())).collect();
        files.sort();
        files
    }
}

/// What it takes to commit: a blueprint with one ingest, and a claim for each batch.
mod commits {
    use super::*;
    use levada_model::NodeAddress;
    use levada_model::model::{OutputMode, Priority, Style};
    use levada_planner::blueprint::{IngestOrigin, IngestSpec, NodeSpec};
    use levada_planner::{Advance, Blueprint, Generation, Node};
    use levada_state::{Completion, Fence, Outcome, Successor};

    pub struct Commits {
        node: NodeAddress,
        now: i64,
    }

    impl Commits {
        pub async fn new(state: &State, stream: &Stream) -> Self {
            let platform: levada_model::name::PlatformName = "P".parse().expect("a name");
            let address = NodeAddress::Ingest(platform.clone(), stream.clone());
            let transform = NodeAddress::Transform(platform, "W".parse().expect("a name"));
            let origin = IngestOrigin::Transformer { transform, mode: OutputMode::Snapshot };
            let spec = IngestSpec { stream: stream.clone(), style: Style::Batch, origin, datasets: Vec::new() };
            let spec = NodeSpec::Ingest(spec);
            let node = Node { address: address.clone(), priority: Priority::Medium, inputs: Vec::new(), spec };
            let blueprint = Blueprint {
                generation: Generation(1),
                parent: None,
                revision: "one".to_owned(),
                choices: Default::default(),
                nodes: BTreeMap::from([(address.clone(), node)]),
                objects: BTreeMap::new(),
            };
            state.apply(&Advance::between(None, &blueprint), "test", 1).await.expect("applies");
            Self { node: address, now: 1_000_000 }
        }

        pub async fn commit(&mut self, state: &State, stream: &Stream, staged: Staged) -> Option<i64> {
            self.now += 1_000_000;
            let due = Successor { node: self.node.clone(), due_at: self.now, payload: None };
            state.make_due(&[due]).await.expect("makes due");
            let candidates = std::slice::from_ref(&self.node);
            let claimed = state.claim("test", self.now, self.now + 1, candidates).await.expect("claims");
            let done = Completion {
                started_at: self.now,
                outcome: Outcome::Done,
                next_due_at: None,
                memory: None,
                successors: Vec::new(),
                rows: staged.rows,
                bytes: staged.bytes,
            };
            let commit = BatchCommit {
                fence: Fence { node: self.node.clone(), epoch: claimed[0].epoch },
                stream: stream.clone(),
                previous: staged.previous,
                position: self.now.to_le_bytes().to_vec(),
                batch_position: self.now.to_le_bytes().to_vec(),
                incarnation: "one".to_owned(),
                now: self.now,
                manifests: staged.manifests,
                covered: staged.covered,
                due_even_if_empty: Vec::new(),
                done,
            };
            state.commit_batch(commit).await.expect("commits")
        }
    }
}
