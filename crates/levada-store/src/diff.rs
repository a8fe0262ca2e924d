//! What a pull changes: its rows against the live versions, while they stream in.
//!
//! Takes rows, listed keys or changes of one dataset, gives those that are changes, with their
//! operations; at the end, what its coverage says is gone. Knows no file.

use crate::columns::{DELETE, Hash, INSERT, UPDATE};
use crate::index::{ByHash, Known, LiveIndex};
use arrow::array::{ArrayRef, Int32Array, RecordBatch};
use arrow::util::display::array_value_to_string;
use levada_flow::canonical::{RowHasher, with_occurrence};
use levada_flow::source::Coverage;
use levada_model::Schema;
use std::collections::hash_map::Entry as Place;

/// Rows of one record batch that are changes, column by column.
#[derive(Default)]
pub(crate) struct Changes {
    /// Their positions in the record batch.
    pub(crate) rows: Vec<u32>,
    pub(crate) operations: Vec<i32>,
    pub(crate) previous: Vec<Option<i64>>,
    pub(crate) key_hashes: Vec<Hash>,
    pub(crate) row_hashes: Vec<Hash>,
}

impl Changes {
    /// Adds an insert, or an update where a version is closed by it.
    fn push(&mut self, row: usize, previous: Option<i64>, key_hash: Hash, row_hash: Hash) {
        let operation = if previous.is_some() { UPDATE } else { INSERT };
        self.push_operation(row, operation, previous, key_hash, row_hash);
    }

    /// Adds a change.
    pub(crate) fn push_operation(&mut self, row: usize, operation: i32, previous: Option<i64>, key: Hash, hash: Hash) {
        self.rows.push(u32::try_from(row).expect("a record batch has fewer than 2^32 rows"));
        self.operations.push(operation);
        self.previous.push(previous);
        self.key_hashes.push(key);
        self.row_hashes.push(hash);
    }
}

/// A live version that the batch closes without a successor.
#[derive(Clone, Copy)]
pub(crate) struct Closed {
    /// The batch that wrote it.
    pub(crate) batch: i64,
    /// The hash of its row.
    pub(crate) row_hash: Hash,
}

/// Stored rows that come once more, on top.
#[derive(Clone, Copy)]
pub(crate) struct Copies {
    /// The batch that wrote the row.
    pub(crate) batch: i64,
    /// The hash of the row.
    pub(crate) row_hash: Hash,
    /// The number of the first copy.
    pub(crate) first: u64,
    /// How many.
    pub(crate) count: u64,
}

/// The comparison of one pull of one dataset with what is live.
pub(crate) struct Diff {
    hasher: RowHasher,
    key_columns: Vec<(usize, String)>,
    /// What is live, and what the pull has said about it.
    pub(crate) index: LiveIndex,
    /// Whether some key came in more than one row, so that the last one has to win.
    pub(crate) is_repeated: bool,
    /// The first such key, for people.
    pub(crate) first_repeated: Option<String>,
}

impl Diff {
    /// Compares rows of `schema` with `index`.
    pub(crate) fn new(schema: &Schema, index: LiveIndex) -> Self {
        let name = |at: &usize| (*at, schema.columns[*at].name.as_str().to_owned());
        let key_columns = schema.key().iter().map(name).collect();
        Self { hasher: RowHasher::new(schema), key_columns, index, is_repeated: false, first_repeated: None }
    }

    fn has_key(&self) -> bool {
        !self.key_columns.is_empty()
    }

    /// Compares rows that say how their keys are now.
    pub(crate) fn rows(&mut self, rows: &RecordBatch) -> Changes {
        let mut changes = Changes::default();
        let row_hashes = self.hasher.row_hashes(rows);
        if !self.has_key() {
            for (row, row_hash) in row_hashes.into_iter().enumerate() {
                let number = self.index.count_equal(&row_hash, Known::row_came);
                self.equal_row(row, row_hash, number, &mut changes);
            }
            return changes;
        }
        for (row, (key, row_hash)) in self.hasher.key_hashes(rows).into_iter().zip(row_hashes).enumerate() {
            self.keyed_row(rows, row, key, row_hash, &mut changes);
        }
        changes
    }

    /// A row of a dataset with a key. From its second row on, a key's rows are all kept: which one
    /// is the last is known at the end.
    fn keyed_row(&mut self, rows: &RecordBatch, row: usize, key: Hash, row_hash: Hash, changes: &mut Changes) {
        match self.index.place(key) {
            Place::Vacant(place) => {
                place.insert(Known::new(row_hash));
                changes.push(row, None, self.index.new_stored_key(key), row_hash);
            }
            Place::Occupied(mut place) => {
                let known = place.get_mut();
                let is_second = known.row_came();
                known.note_row();
                let (previous, is_equal) = (known.batch(), known.row_hash == row_hash);
                if is_second {
                    self.is_repeated = true;
                    if self.first_repeated.is_none() {
                        self.first_repeated = Some(key_text(&self.key_columns, rows, row));
                    }
                }
                if is_second || !is_equal {
                    changes.push(row, previous, self.index.stored_key(&key), row_hash);
                }
            }
        }
    }

    /// A row of a dataset without key, the `number`-th of its equals.
    fn equal_row(&mut self, row: usize, row_hash: Hash, number: u64, changes: &mut Changes) {
        let key = with_occurrence(row_hash, number);
        match self.index.place(key) {
            Place::Vacant(place) => {
                place.insert(Known::new(row_hash));
                changes.push(row, None, self.index.new_stored_key(key), row_hash);
            }
            Place::Occupied(mut place) => {
                place.get_mut().note_row();
                if place.get().batch().is_none() {
                    changes.push(row, None, self.index.stored_key(&key), row_hash);
                }
            }
        }
    }

    /// Compares rows that each come with an operation; the last one of a key wins.
    pub(crate) fn changes(&mut self, rows: &RecordBatch, operations: &Int32Array) -> Changes {
        let mut changes = Changes::default();
        let row_hashes = self.hasher.row_hashes(rows);
        if !self.has_key() {
            for (row, row_hash) in row_hashes.into_iter().enumerate() {
                let count = self.index.count_equal(&row_hash, Known::is_live);
                match operations.value(row) {
                    DELETE => {
                        count.checked_sub(1).into_iter().for_each(|last| self.gone(with_occurrence(row_hash, last)))
                    }
                    _ => self.equal_row(row, row_hash, count, &mut changes),
                }
            }
            return changes;
        }
        for (row, (key, row_hash)) in self.hasher.key_hashes(rows).into_iter().zip(row_hashes).enumerate() {
            match operations.value(row) {
                DELETE => self.gone(key),
                _ => self.keyed_row(rows, row, key, row_hash, &mut changes),
            }
        }
        changes
    }

    /// Notes that everything is gone, stored or from an earlier row.
    pub(crate) fn truncate(&mut self) {
        self.is_repeated |= self.index.iter().any(|(_, known)| known.row_came());
        self.index.note_all_gone();
    }

    fn gone(&mut self, key: Hash) {
        if let Place::Occupied(mut place) = self.index.place(key) {
            place.get_mut().note_gone();
            self.is_repeated |= place.get().row_came();
        }
    }

    /// Notes keys that exist at the source.
    pub(crate) fn keys(&mut self, keys: &RecordBatch) {
        for key in self.hasher.key_hashes(keys) {
            if let Place::Occupied(mut place) = self.index.place(key) {
                place.get_mut().note_key();
            }
        }
    }

    /// The live versions that end with this batch, by the keys they are stored under.
    pub(crate) fn closed(&self, coverage: Coverage) -> ByHash<Closed> {
        let is_missing = |known: &Known| match coverage {
            Coverage::Complete => !known.row_came(),
            Coverage::UpsertsAndKeys => !known.row_came() && !known.key_came(),
            Coverage::Upserts | Coverage::Appends | Coverage::Changes | Coverage::ChangesAndKeys => false,
            Coverage::Part | Coverage::Nothing => false,
        };
        let closed = self.index.iter().filter(|(_, known)| known.is_gone() || is_missing(known));
        let closed = closed.filter_map(|(key, known)| {
            let batch = known.batch()?;
            Some((self.index.stored_key(key), Closed { batch, row_hash: known.row_hash }))
        });
        closed.collect()
    }

    /// The stored rows that appended ones are equal to, by the keys they are stored under: they
    /// come on top all the same. Only for datasets without key.
    pub(crate) fn copies(&self) -> ByHash<Copies> {
        let mut counts: ByHash<u64> = ByHash::default();
        if !self.has_key() {
            let met = self.index.iter().filter(|(_, known)| known.row_came() && known.batch().is_some());
            met.for_each(|(_, known)| *counts.entry(known.row_hash).or_default() += 1);
        }
        let copies = counts.into_iter().map(|(row_hash, count)| {
            let original = with_occurrence(row_hash, 0);
            let batch = self.index.get(&original).and_then(Known::batch).expect("numbers have no gap");
            let first = self.index.count_equal(&row_hash, Known::is_live);
            (self.index.stored_key(&original), Copies { batch, row_hash, first, count })
        });
        copies.collect()
    }

    /// Whether a row that was kept for a repeated key is a change after all.
    pub(crate) fn is_change(&self, key: &Hash, row_hash: &Hash) -> bool {
        self.index
            .get(key)
            .is_some_and(|known| !known.is_gone() && (known.batch().is_none() || known.row_hash != *row_hash))
    }
}

/// A key as people read it: `a = 1, b = x`.
fn key_text(key_columns: &[(usize, String)], rows: &RecordBatch, row: usize) -> String {
    let part = |(at, name): &(usize, String)| {
        let column: &ArrayRef = rows.column(*at);
        format!("{name} = {}", array_value_to_string(column, row).unwrap_or_else(|_| "?".to_owned()))
    };
    key_columns.iter().map(part).collect::<Vec<_>>().join(", ")
}
