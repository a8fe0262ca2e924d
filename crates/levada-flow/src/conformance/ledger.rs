//! A small store in memory that knows what a consumer has to see: the suites deliver from it.

use crate::arrow_schema::arrow_schema;
use crate::canonical::{RowHasher, with_occurrence};
use crate::sink::{Content, Form, history_schema};
use crate::{BATCH_ROWS_MAX, RowStream};
use arrow::array::{
    ArrayRef, FixedSizeBinaryArray, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt32Array,
};
use arrow::datatypes::{DataType as Arrow, Field};
use futures::StreamExt;
use levada_model::Schema;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One version of one row.
#[derive(Clone)]
struct Version {
    hash: [u8; 16],
    row_hash: [u8; 16],
    row: RecordBatch,
    from: i64,
    to: Option<i64>,
}

/// One net change.
struct Change {
    batch: i64,
    operation: i32,
    version: Version,
}

/// All batches of one dataset.
pub struct Ledger {
    schema: Schema,
    hasher: RowHasher,
    batch: i64,
    versions: Vec<Version>,
    changes: Vec<Change>,
}

/// The commit time of a batch of every ledger, in µs: the batch as an hour of 2026.
fn time_of(batch: i64) -> i64 {
    1_767_225_600_000_000 + batch * 3_600_000_000
}

impl Ledger {
    /// Starts without rows, at batch 0.
    pub fn new(schema: &Schema) -> Self {
        Self {
            schema: schema.clone(),
            hasher: RowHasher::new(schema),
            batch: 0,
            versions: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// The columns of the dataset.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The last batch.
    pub fn batch(&self) -> i64 {
        self.batch
    }

    /// The commit time of the last batch, in µs.
    pub fn time(&self) -> i64 {
        time_of(self.batch)
    }

    /// Commits a snapshot: `rows` are the whole dataset. At most 2^32 rows.
    pub fn commit(&mut self, rows: &RecordBatch) {
        self.batch += 1;
        let time = self.time();
        let mut occurrences: BTreeMap<[u8; 16], u64> = BTreeMap::new();
        let is_keyed = !self.schema.key().is_empty();
        let mut there: BTreeMap<[u8; 16], Version> = BTreeMap::new();
        let hashes = self.hasher.key_hashes(rows).into_iter().zip(self.hasher.row_hashes(rows));
        for (row, (hash, row_hash)) in hashes.enumerate() {
            let number = occurrences.entry(hash).or_default();
            let hash = if is_keyed { hash } else { with_occurrence(hash, *number) };
            *number += 1;
            there.insert(hash, Version { hash, row_hash, row: rows.slice(row, 1), from: time, to: None });
        }
        let batch = self.batch;
        for old in self.versions.iter_mut().filter(|version| version.to.is_none()) {
            match there.get(&old.hash) {
                Some(new) if new.row_hash == old.row_hash => {
                    there.remove(&old.hash);
                }
                Some(_) => old.to = Some(time),
                None => {
                    old.to = Some(time);
                    self.changes.push(Change { batch, operation: 2, version: old.clone() });
                }
            }
        }
        let closed = self.versions.iter().filter(|old| old.to == Some(time)).map(|old| old.hash);
        let closed: BTreeSet<[u8; 16]> = closed.collect();
        let change = |version: Version| {
            let operation = i32::from(closed.contains(&version.hash));
            Change { batch, operation, version }
        };
        let made: Vec<Change> = there.into_values().map(change).collect();
        self.versions.extend(made.iter().map(|change| change.version.clone()));
        self.changes.extend(made);
    }

    /// The live rows.
    pub fn live(&self) -> RecordBatch {
        self.concat(self.versions.iter().filter(|version| version.to.is_none()))
    }

    /// All versions with `valid_from` and `valid_to`, closed ones only where closed after `since`.
    pub fn history(&self, since: Option<i64>) -> RecordBatch {
        let is_shown = |version: &&Version| version.to.is_none_or(|to| since.is_none_or(|since| to > since));
        self.with_times(&self.versions.iter().filter(is_shown).collect::<Vec<_>>())
    }

    /// The content that brings a consumer from `after` (0: nothing) to the last batch, as its form wants it.
    pub fn content(&self, form: Form, after: i64, has_live: bool, has_history: bool) -> Content {
        if form == Form::Changes && after > 0 {
            let is_net = !has_history && self.batch > after + 1;
            let (rows, times) = self.changes(after, is_net);
            return Content::Changes { rows, times, is_net };
        }
        let live: Vec<&Version> = self.versions.iter().filter(|version| version.to.is_none()).collect();
        let versions: Vec<&Version> = self.versions.iter().collect();
        Content::Everything {
            changes: (form == Form::Everything).then(|| self.changes(after, false)),
            live: has_live.then(|| stream(with_hashes(&self.concat(live.iter().copied()), &live))),
            history: has_history.then(|| stream(with_hashes(&self.with_times(&versions), &versions))),
        }
    }

    /// The net changes after a batch; of each key the last one only, where `is_net` says so.
    fn changes(&self, after: i64, is_net: bool) -> (RowStream, BTreeMap<i64, i64>) {
        let mut changes: Vec<&Change> = self.changes.iter().filter(|change| change.batch > after).collect();
        if is_net {
            let last: BTreeMap<[u8; 16], i64> =
                changes.iter().map(|change| (change.version.hash, change.batch)).collect();
            changes.retain(|change| last[&change.version.hash] == change.batch);
        }
        let versions: Vec<&Version> = changes.iter().map(|change| &change.version).collect();
        let rows = self.concat(versions.iter().copied());
        let batches: ArrayRef = Arc::new(changes.iter().map(|change| Some(change.batch)).collect::<Int64Array>());
        let operations: ArrayRef =
            Arc::new(changes.iter().map(|change| Some(change.operation)).collect::<Int32Array>());
        let rows = with_column(&with_column(&rows, "lv_batch", batches), "lv_op", operations);
        let rows = with_hashes(&rows, &versions);
        let row_hashes = hashes(versions.iter().map(|version| version.row_hash));
        let times = (after + 1..=self.batch).map(|batch| (batch, time_of(batch))).collect();
        (stream(with_column(&rows, "lv_row_hash", row_hashes)), times)
    }

    fn concat<'a>(&self, versions: impl Iterator<Item = &'a Version>) -> RecordBatch {
        let rows: Vec<&RecordBatch> = versions.map(|version| &version.row).collect();
        arrow::compute::concat_batches(&arrow_schema(&self.schema), rows).expect("rows of one schema")
    }

    fn with_times(&self, versions: &[&Version]) -> RecordBatch {
        let instants = |times: Vec<Option<i64>>| Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"));
        let mut columns = self.concat(versions.iter().copied()).columns().to_vec();
        columns.push(instants(versions.iter().map(|version| Some(version.from)).collect()));
        columns.push(instants(versions.iter().map(|version| version.to).collect()));
        RecordBatch::try_new(arrow_schema(&history_schema(&self.schema)), columns).expect("the history's columns")
    }
}

fn hashes(values: impl Iterator<Item = [u8; 16]>) -> ArrayRef {
    let values: Vec<[u8; 16]> = values.collect();
    match values.is_empty() {
        true => arrow::array::new_empty_array(&Arrow::FixedSizeBinary(16)),
        false => Arc::new(FixedSizeBinaryArray::try_from_iter(values.into_iter()).expect("all have 16 bytes")),
    }
}

fn with_hashes(rows: &RecordBatch, versions: &[&Version]) -> RecordBatch {
    with_column(rows, "lv_key_hash", hashes(versions.iter().map(|version| version.hash)))
}

fn with_column(rows: &RecordBatch, name: &str, column: ArrayRef) -> RecordBatch {
    let mut fields: Vec<_> = rows.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(name, column.data_type().clone(), false)));
    let mut columns = rows.columns().to_vec();
    columns.push(column);
    RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), columns).expect("columns of one length")
}

/// The rows in pieces, none of them where there are none.
fn stream(rows: RecordBatch) -> RowStream {
    let starts: Vec<usize> = (0..rows.num_rows()).step_by(BATCH_ROWS_MAX).collect();
    let piece = move |start: usize| Ok(rows.slice(start, BATCH_ROWS_MAX.min(rows.num_rows() - start)));
    futures::stream::iter(starts).map(piece).boxed()
}

/// The rows at these places, in this order.
pub(super) fn rows_at(rows: &RecordBatch, places: &[u32]) -> RecordBatch {
    arrow::compute::take_record_batch(rows, &UInt32Array::from(places.to_vec())).expect("the places are within")
}
