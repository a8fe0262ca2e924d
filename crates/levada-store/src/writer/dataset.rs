//! Writes one dataset's part of a batch. Blocks.

use crate::catalog::{Log, Piece};
use crate::columns::{self, DELETE, Hash, INSERT, OPERATION, UPDATE, UPSERT, hash_array, hash_at};
use crate::diff::{Changes, Closed, Diff};
use crate::index::{ByHash, LiveIndex};
use crate::segment::{Asked, PieceReader, PieceRows, SegmentWriter, Written};
use crate::squash::squash;
use crate::writer::log::LogRows;
use crate::{Inner, StoreError};
use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, Int32Array, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Int32Type, SchemaRef};
use levada_flow::BATCH_ROWS_MAX;
use levada_flow::arrow_schema::arrow_type;
use levada_flow::canonical::with_occurrence;
use levada_flow::source::{Coverage, Kept};
use levada_model::SchemaColumn;
use levada_model::address::DatasetRef;
use levada_state::Manifest;
use levada_state::catalog::{Body, StoredSchema};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Changed rows by operation.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Counts {
    pub(crate) inserts: i64,
    pub(crate) updates: i64,
    pub(crate) deletes: i64,
}

/// How a dataset gets its rows in this batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Rows,
    Changes,
    Log,
}

/// One dataset of a batch being written.
pub(crate) struct DatasetWriter {
    pub(super) inner: Arc<Inner>,
    pub(super) log: Log,
    pub(super) stored: Arc<StoredSchema>,
    /// Made when the first row comes: most pulls of most datasets bring nothing.
    diff: Option<Diff>,
    segment: SegmentWriter,
    counts: Counts,
    way: Option<Way>,
    /// What came in [`Way::Log`].
    log_rows: Option<LogRows>,
    /// Where it may spill.
    spill: PathBuf,
    buffer: usize,
}

impl DatasetWriter {
    pub(crate) fn new(inner: Arc<Inner>, log: Log, stored: StoredSchema, run: &str, buffer: usize) -> Self {
        let schema = columns::file_schema(&stored);
        let segment = SegmentWriter::new(&inner.root, &log.dataset, run, schema, buffer);
        let spill = inner.root.join(format!("{}/{}/{run}-spill", log.dataset.datastore, log.dataset.dataset));
        let (stored, counts) = (Arc::new(stored), Counts::default());
        Self { inner, log, stored, diff: None, segment, counts, way: None, log_rows: None, spill, buffer }
    }

    /// Forgets everything it was given.
    pub(crate) fn discard(&mut self) {
        // The segment that goes takes its files away.
        self.segment = self.segment.successor();
        (self.diff, self.log_rows, self.way, self.counts) = (None, None, None, Counts::default());
    }

    fn dataset(&self) -> &DatasetRef {
        &self.log.dataset
    }

    fn batch(&self) -> i64 {
        self.log.up_to + 1
    }

    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<(), StoreError> {
        self.goes(Way::Rows)?;
        self.check(rows, self.stored.schema.columns.iter())?;
        let changes = self.diff()?.rows(rows);
        self.stage(rows.columns(), changes)
    }

    pub(crate) fn keys(&mut self, keys: &RecordBatch) -> Result<(), StoreError> {
        if !self.has_key() {
            return Err(StoreError::KeyMissing { dataset: self.dataset().clone(), what: "keys" });
        }
        self.check(keys, self.stored.schema.columns.iter().filter(|column| column.key))?;
        if self.way == Some(Way::Log) {
            self.log_rows().list(keys);
            return Ok(());
        }
        self.goes(Way::Rows)?;
        self.diff()?.keys(keys);
        Ok(())
    }

    fn has_key(&self) -> bool {
        !self.stored.schema.key().is_empty()
    }

    fn log_rows(&mut self) -> &mut LogRows {
        let new = || LogRows::new(&self.stored.schema, self.spill.clone(), self.buffer);
        self.log_rows.get_or_insert_with(new)
    }

    /// Takes rows of a source's change log. Without a key they are compared with what is stored.
    pub(crate) fn append(&mut self, rows: &RecordBatch, kept: &[Kept]) -> Result<(), StoreError> {
        if !self.has_key() {
            return match kept.is_empty() {
                true => self.write_changes(rows),
                false => Err(self.misuse("a row without a key has no version to keep values of")),
            };
        }
        self.goes(Way::Log)?;
        let (data, operations) = self.split(rows)?;
        let operations = self.operations(&operations, UPSERT)?;
        self.check_types(&data, self.stored.schema.columns.iter())?;
        self.check_nulls(&data, &operations, kept)?;
        self.log_rows().append(&data, operations, kept)
    }

    /// Notes that a source's log says of everything that it is gone.
    pub(crate) fn truncate(&mut self) -> Result<(), StoreError> {
        match self.has_key() {
            true => {
                self.goes(Way::Log)?;
                self.log_rows().truncate();
            }
            false => {
                self.goes(Way::Changes)?;
                self.diff()?.truncate();
            }
        }
        Ok(())
    }

    /// The dataset's columns, and the operations behind them.
    fn split(&self, rows: &RecordBatch) -> Result<(RecordBatch, ArrayRef), StoreError> {
        let at =
            rows.schema().index_of(OPERATION).map_err(|_| self.misfit(format!("column {OPERATION} is missing")))?;
        let mut data = rows.clone();
        let operations = data.remove_column(at);
        Ok((data, operations))
    }

    pub(super) fn misuse(&self, problem: &'static str) -> StoreError {
        StoreError::Misuse { dataset: self.dataset().clone(), problem }
    }

    pub(crate) fn write_changes(&mut self, rows: &RecordBatch) -> Result<(), StoreError> {
        self.goes(Way::Changes)?;
        let (data, operations) = self.split(rows)?;
        let operations = self.operations(&operations, DELETE)?;
        self.check(&data, self.stored.schema.columns.iter())?;
        let changes = self.diff()?.changes(&data, &operations);
        self.stage(data.columns(), changes)
    }

    /// Ends the dataset's part; `None`: it has no net change.
    pub(crate) fn finish(mut self, coverage: Coverage) -> Result<Option<Manifest>, StoreError> {
        if matches!(self.way, Some(Way::Changes | Way::Log)) && coverage == Coverage::Complete {
            return Err(self.misuse("changes are never the whole dataset"));
        }
        if self.way.is_some() && coverage == Coverage::Nothing {
            return Err(self.misuse("a pull that brings rows of a dataset says something of it"));
        }
        if let Some(rows) = self.log_rows.take() {
            self.finish_log(rows, coverage)?;
            return self.manifest();
        }
        let may_close = matches!(coverage, Coverage::Complete | Coverage::UpsertsAndKeys);
        if self.diff.is_none() && !may_close {
            return Ok(None);
        }
        self.diff()?;
        let mut diff = self.diff.take().expect("it was just made");
        if let (Coverage::Complete, Some(key)) = (coverage, &diff.first_repeated) {
            return Err(StoreError::KeyTwice { dataset: self.dataset().clone(), key: key.clone() });
        }
        if diff.is_repeated {
            self.squash(&diff)?;
        }
        self.close_versions(&diff.closed(coverage))?;
        if coverage == Coverage::Appends && self.way == Some(Way::Rows) {
            self.append_copies(&mut diff)?;
        }
        drop(diff);
        self.manifest()
    }

    fn manifest(self) -> Result<Option<Manifest>, StoreError> {
        let (batch, dataset) = (self.batch(), self.dataset().clone());
        let Counts { inserts, updates, deletes } = self.counts;
        let Written { body, bytes } = self.segment.finish()?;
        Ok(body.filter(|_| inserts + updates + deletes > 0).map(|body| Manifest {
            dataset,
            batch,
            schema_id: self.stored.id,
            body,
            inserts,
            updates,
            deletes,
            bytes: i64::try_from(bytes).expect("a batch has fewer than 2^63 bytes"),
        }))
    }

    fn goes(&mut self, way: Way) -> Result<(), StoreError> {
        match *self.way.get_or_insert(way) == way {
            true => Ok(()),
            false => Err(self.misuse("one batch has either rows or changes of it")),
        }
    }

    fn diff(&mut self) -> Result<&mut Diff, StoreError> {
        if self.diff.is_none() {
            let index = LiveIndex::load(&self.inner, &self.log, &self.stored.schema)?;
            self.diff = Some(Diff::new(&self.stored.schema, index));
        }
        let diff = self.diff.as_mut().expect("it was just made");
        diff.index.check_size(&self.log)?;
        Ok(diff)
    }

    fn misfit(&self, problem: String) -> StoreError {
        StoreError::RowsMisfit { dataset: self.dataset().clone(), problem }
    }

    /// Compares a record batch with the columns it must have, in their order, and looks for nulls.
    fn check<'a>(
        &self,
        rows: &RecordBatch,
        columns: impl Iterator<Item = &'a SchemaColumn> + Clone,
    ) -> Result<(), StoreError> {
        self.check_types(rows, columns.clone())?;
        for (column, array) in columns.zip(rows.columns()) {
            self.check_column(column, array, |_| true)?;
        }
        Ok(())
    }

    /// Looks for nulls in rows of a change log: what is gone has only its key, and what was kept is null.
    fn check_nulls(&self, rows: &RecordBatch, operations: &Int32Array, kept: &[Kept]) -> Result<(), StoreError> {
        for (at, (column, array)) in self.stored.schema.columns.iter().zip(rows.columns()).enumerate() {
            let is_kept = |row: usize| {
                let cell = Kept { row: row as u32, column: at as u32 };
                kept.binary_search(&cell).is_ok()
            };
            self.check_column(column, array, |row| column.key || (operations.value(row) != DELETE && !is_kept(row)))?;
        }
        Ok(())
    }

    /// Looks for a null where there may be none.
    fn check_column(
        &self,
        column: &SchemaColumn,
        array: &ArrayRef,
        must_have: impl Fn(usize) -> bool,
    ) -> Result<(), StoreError> {
        let nulls = array.nulls().filter(|nulls| (column.key || !column.nullable) && nulls.null_count() > 0);
        let row = nulls.and_then(|nulls| (0..nulls.len()).find(|row| nulls.is_null(*row) && must_have(*row)));
        match row {
            None => Ok(()),
            Some(row) => {
                let column = column.name.as_str().to_owned();
                Err(StoreError::NullValue { dataset: self.dataset().clone(), column, row: row + 1 })
            }
        }
    }

    fn check_types<'a>(
        &self,
        rows: &RecordBatch,
        columns: impl Iterator<Item = &'a SchemaColumn>,
    ) -> Result<(), StoreError> {
        let columns: Vec<_> = columns.collect();
        let names = |names: Vec<&str>| names.join(", ");
        let schema = rows.schema();
        let found: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let expected: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        if found != expected {
            return Err(self.misfit(format!("they have the columns {}, not {}", names(found), names(expected))));
        }
        for (column, array) in columns.iter().zip(rows.columns()) {
            let data_type = arrow_type(&column.data_type);
            if *array.data_type() != data_type {
                let problem = format!("column {:?} is {}, not {data_type}", column.name.as_str(), array.data_type());
                return Err(self.misfit(problem));
            }
        }
        Ok(())
    }

    fn operations(&self, operations: &ArrayRef, greatest: i32) -> Result<Int32Array, StoreError> {
        let typed = operations.as_primitive_opt::<Int32Type>();
        let typed = typed.ok_or_else(|| self.misfit(format!("column {OPERATION} is {}", operations.data_type())))?;
        let is_keyless = self.stored.schema.key().is_empty();
        for row in 0..typed.len() {
            let found = typed.is_valid(row).then(|| typed.value(row));
            match found {
                Some(UPDATE) if is_keyless => {
                    return Err(StoreError::KeyMissing { dataset: self.dataset().clone(), what: "updates" });
                }
                Some(found) if (INSERT..=greatest).contains(&found) => {}
                other => {
                    let found = other.map_or_else(|| "NULL".to_owned(), |value| value.to_string());
                    return Err(StoreError::OperationUnknown { dataset: self.dataset().clone(), row: row + 1, found });
                }
            }
        }
        Ok(typed.clone())
    }

    /// Writes the rows of `data` that are changes.
    pub(super) fn stage(&mut self, data: &[ArrayRef], changes: Changes) -> Result<(), StoreError> {
        let Changes { rows, operations, previous, key_hashes, row_hashes } = changes;
        if rows.is_empty() {
            return Ok(());
        }
        for operation in &operations {
            match *operation {
                INSERT => self.counts.inserts += 1,
                UPDATE => self.counts.updates += 1,
                _ => self.counts.deletes += 1,
            }
        }
        let is_whole = data.first().is_some_and(|column| column.len() == rows.len()) && rows.is_sorted();
        let data: Vec<ArrayRef> = match is_whole {
            true => data.to_vec(),
            false => {
                let rows = UInt32Array::from(rows);
                let taken = data.iter().map(|column| take(column, &rows, None).expect("positions of this batch"));
                taken.collect()
            }
        };
        let key_hashes = hash_array(&key_hashes).as_fixed_size_binary().clone();
        let own = (Int32Array::from(operations), Int64Array::from(previous), key_hashes);
        let rows = segment_rows(self.segment.schema(), &data, self.batch(), own, hash_array(&row_hashes));
        self.segment.write(&rows)
    }

    /// Writes the segment again with the last row of each key.
    fn squash(&mut self, diff: &Diff) -> Result<(), StoreError> {
        let successor = self.segment.successor();
        let Counts { inserts, updates, deletes } = self.counts;
        let written = std::mem::replace(&mut self.segment, successor).finish()?;
        let Some(body) = written.body else { return Ok(()) };
        let piece = Piece { batch: self.batch(), schema: self.stored.clone(), body, rows: inserts + updates + deletes };
        self.counts = squash(&self.inner, &self.log.dataset, &piece, diff, &mut self.segment)?;
        if let Body::Files(files) = &piece.body {
            for file in files {
                let path = self.inner.root.join(file);
                std::fs::remove_file(&path).map_err(|source| StoreError::file("remove", &path, source))?;
            }
        }
        Ok(())
    }

    /// Writes a delete for each live version that ends, with its last values.
    pub(super) fn close_versions(&mut self, closed: &ByHash<Closed>) -> Result<(), StoreError> {
        let batches = closed.values().map(|version| version.batch).collect();
        self.read_back(closed, &batches, |writer, rows, batch| {
            let mut changes = Changes::default();
            for (row, key, version) in found(rows, closed) {
                if version.batch == batch {
                    changes.push_operation(row, DELETE, Some(batch), key, version.row_hash);
                }
            }
            writer.stage(rows.data.columns(), changes)
        })
    }

    /// Writes the appended rows that are equal to stored ones once more.
    fn append_copies(&mut self, diff: &mut Diff) -> Result<(), StoreError> {
        let copies = diff.copies();
        let batches = copies.values().map(|copies| copies.batch).collect();
        self.read_back(&copies, &batches, |writer, rows, batch| {
            let mut changes = Changes::default();
            for (row, _, copies) in found(rows, &copies) {
                for number in copies.first..copies.first + if copies.batch == batch { copies.count } else { 0 } {
                    let key = diff.index.new_stored_key(with_occurrence(copies.row_hash, number));
                    changes.push_operation(row, INSERT, None, key, copies.row_hash);
                    if changes.rows.len() == BATCH_ROWS_MAX {
                        writer.stage(rows.data.columns(), std::mem::take(&mut changes))?;
                    }
                }
            }
            writer.stage(rows.data.columns(), changes)
        })
    }

    /// Reads the pieces of these batches as today's schema and gives them to `each`.
    fn read_back<T>(
        &mut self,
        wanted: &ByHash<T>,
        batches: &BTreeSet<i64>,
        mut each: impl FnMut(&mut Self, &PieceRows, i64) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if wanted.is_empty() {
            return Ok(());
        }
        let (inner, log) = (self.inner.clone(), self.log.clone());
        let asked = Asked::new(&self.stored.schema, &log.schemas, false);
        let reader = PieceReader::new(&inner, &log.dataset, &asked);
        for piece in log.of_batches(batches) {
            let piece = piece?;
            for rows in reader.read(&piece)? {
                each(self, &rows?, piece.batch)?;
            }
        }
        Ok(())
    }
}

/// The rows whose stored keys are in a table, but for deletes.
fn found<'a, T: Copy>(rows: &'a PieceRows, wanted: &'a ByHash<T>) -> impl Iterator<Item = (usize, Hash, T)> + 'a {
    (0..rows.operations.len()).filter(|row| rows.operations.value(*row) != DELETE).filter_map(move |row| {
        let key = hash_at(&rows.key_hashes, row);
        wanted.get(&key).map(|value| (row, key, *value))
    })
}

/// Joins the dataset's columns and the store's own, as a segment has them.
pub(crate) fn segment_rows(
    schema: &SchemaRef,
    data: &[ArrayRef],
    batch: i64,
    own: (Int32Array, Int64Array, FixedSizeBinaryArray),
    row_hashes: ArrayRef,
) -> RecordBatch {
    let (operations, previous, key_hashes) = own;
    let batches = Int64Array::from_value(batch, operations.len());
    let own: [ArrayRef; 5] =
        [Arc::new(batches), Arc::new(operations), Arc::new(previous), Arc::new(key_hashes), row_hashes];
    let columns = data.iter().cloned().chain(own).collect();
    RecordBatch::try_new(schema.clone(), columns).expect("the columns were checked, and all are nullable")
}
