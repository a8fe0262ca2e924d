//! One dataset's part of a batch as its source's change log tells it. Blocks.
//!
//! Rows are appended as they come, without a look at what is stored: a key's last row of the batch is
//! its net change, and what was stored before it shows by itself when the log is read. Only what a
//! source leaves open is looked up: the values it did not send because they did not change, what a
//! TRUNCATE or a list of all keys takes away, and keys that are stored under another type's hash.
//!
//! Memory: some 50 bytes for each key of the batch; the rows themselves spill. Values that are looked
//! up are in memory for one record batch at a time.

use super::dataset::DatasetWriter;
use crate::StoreError;
use crate::columns::{DELETE, Hash, INSERT, KEY_HASH, OPERATION, UPDATE, UPSERT, field, hash_array, hash_at};
use crate::diff::{Changes, Closed};
use crate::index::{ByHash, LiveIndex};
use crate::segment::{Asked, PieceReader};
use crate::shape::Shape;
use crate::spool::{Sealed, Spool};
use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, Int32Array, RecordBatch, UInt32Array};
use arrow::compute::{interleave, take, take_record_batch};
use arrow::datatypes::{Field, Int32Type, Schema as ArrowSchema};
use levada_flow::arrow_schema::arrow_type;
use levada_flow::canonical::RowHasher;
use levada_flow::source::{Coverage, Kept};
use levada_model::Schema;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

/// The changes of one dataset in one batch, as they came.
pub(super) struct LogRows {
    /// The rows: the dataset's columns, operations, key hashes.
    spool: Spool,
    told: Told,
}

/// What the rows of a batch say, without their values.
struct Told {
    hasher: RowHasher,
    /// By key what the last row about it was.
    keys: ByHash<Touched>,
    /// (row, column) → what has its value.
    kept: BTreeMap<(u64, u32), Origin>,
    /// What had the values of the key that the last row says is gone.
    gone: Option<Origin>,
    /// Rows before this one were taken away by a TRUNCATE.
    first: u64,
    is_truncated: bool,
    /// The last list of all keys, where there was one.
    listing: Option<Listing>,
}

/// All keys that existed at the source, at a moment between two rows.
struct Listing {
    /// The first row after that moment.
    from: u64,
    keys: ByHash<()>,
    /// Whether more of it may come.
    is_open: bool,
}

/// What has the value of a cell that did not come.
#[derive(Clone, Copy)]
enum Origin {
    /// An earlier row of the batch.
    Row(u64),
    /// The stored version of a key.
    Stored(Hash),
}

/// What a batch says of a key.
#[derive(Clone, Copy)]
struct Touched {
    last: u64,
    is_gone: bool,
    /// Whether it began with this batch: gone again, it was never there.
    is_new: bool,
}

impl LogRows {
    /// An empty part for rows of a schema; `path` is where it may spill, beyond so many bytes.
    pub(super) fn new(schema: &Schema, path: PathBuf, memory_bytes_max: usize) -> Self {
        let columns =
            schema.columns.iter().map(|column| Field::new(column.name.as_str(), arrow_type(&column.data_type), true));
        let fields: Vec<Field> = columns.chain([field(OPERATION), field(KEY_HASH)]).collect();
        let spool = Spool::new(Arc::new(ArrowSchema::new(fields)), path, memory_bytes_max);
        let (hasher, keys, kept) = (RowHasher::new(schema), ByHash::default(), BTreeMap::new());
        let told = Told { hasher, keys, kept, gone: None, first: 0, is_truncated: false, listing: None };
        Self { spool, told }
    }

    /// Appends rows with their operations; `kept` is in the order of rows.
    pub(super) fn append(
        &mut self,
        data: &RecordBatch,
        operations: Int32Array,
        kept: &[Kept],
    ) -> Result<(), StoreError> {
        if let Some(listing) = &mut self.told.listing {
            listing.is_open = false;
        }
        let key_hashes = self.told.hasher.key_hashes(data);
        let mut kept = kept.iter().peekable();
        for (row, key) in key_hashes.iter().enumerate() {
            let number = self.spool.rows() + row as u64;
            while let Some(cell) = kept.next_if(|cell| cell.row as usize == row) {
                self.told.keep(key, number, cell.column, operations.value(row));
            }
            self.told.touch(*key, number, operations.value(row));
        }
        let own: [ArrayRef; 2] = [Arc::new(operations), hash_array(&key_hashes)];
        let columns = data.columns().iter().cloned().chain(own).collect();
        self.spool.push(RecordBatch::try_new(self.spool.schema().clone(), columns).expect("the columns were checked"))
    }

    /// Notes that everything is gone, stored or from an earlier row.
    pub(super) fn truncate(&mut self) {
        self.told.keys = ByHash::default();
        self.told.kept.clear();
        (self.told.first, self.told.is_truncated) = (self.spool.rows(), true);
    }

    /// Notes keys that exist at the source; what it said before of others counts no more.
    pub(super) fn list(&mut self, keys: &RecordBatch) {
        let listing = match self.told.listing.take() {
            Some(listing) if listing.is_open => listing,
            _ => Listing { from: self.spool.rows(), keys: ByHash::default(), is_open: true },
        };
        let listing = self.told.listing.insert(listing);
        listing.keys.extend(self.told.hasher.key_hashes(keys).into_iter().map(|key| (key, ())));
    }
}

impl Told {
    /// Notes a cell that has the value of the key's version before.
    fn keep(&mut self, key: &Hash, number: u64, column: u32, operation: i32) {
        let before = match self.gone {
            Some(before) if operation == UPSERT => before,
            _ => self.last(key),
        };
        let from = match before {
            Origin::Row(row) => self.kept.get(&(row, column)).copied().unwrap_or(before),
            Origin::Stored(_) => before,
        };
        self.kept.insert((number, column), from);
    }

    /// What has the values of a key so far.
    fn last(&self, key: &Hash) -> Origin {
        let touched = self.keys.get(key).filter(|touched| !touched.is_gone);
        touched.map_or(Origin::Stored(*key), |touched| Origin::Row(touched.last))
    }

    fn touch(&mut self, key: Hash, number: u64, operation: i32) {
        let is_gone = operation == DELETE;
        self.gone = is_gone.then(|| self.last(&key));
        match self.keys.entry(key) {
            Entry::Vacant(place) => {
                let is_new = operation == INSERT && !self.is_truncated;
                place.insert(Touched { last: number, is_gone, is_new });
            }
            Entry::Occupied(mut place) => {
                let touched = place.get_mut();
                (touched.last, touched.is_gone) = (number, is_gone);
            }
        }
    }

    /// Whether a row is the net change of its key, and is none that came and went within the batch.
    fn is_net(&self, key: &Hash, number: u64) -> bool {
        let touched = self.keys.get(key).filter(|touched| touched.last == number && number >= self.first);
        let touched = touched.filter(|touched| touched.is_gone || !self.is_missing(key, Some(touched)));
        touched.is_some_and(|touched| !touched.is_gone || (!touched.is_new && !self.is_truncated))
    }

    /// Whether a stored key ends with this batch, and no row of it says so.
    fn ends(&self, key: &Hash) -> bool {
        match self.keys.get(key) {
            // Inserted and deleted again: of what was stored before only the list of all keys knows.
            Some(touched) if touched.is_gone => self.is_truncated || (touched.is_new && self.listing.is_some()),
            touched => (touched.is_none() && self.is_truncated) || self.is_missing(key, touched),
        }
    }

    /// Whether a key was not in the list of all keys, and nothing was said of it since.
    fn is_missing(&self, key: &Hash, touched: Option<&Touched>) -> bool {
        let listing = self.listing.as_ref();
        listing.is_some_and(|listing| {
            touched.is_none_or(|touched| touched.last < listing.from) && !listing.keys.contains_key(key)
        })
    }

    /// The operation of a net change where nobody looks at what is stored.
    fn operation(&self, key: &Hash, told: i32) -> i32 {
        match told {
            DELETE => DELETE,
            INSERT | UPDATE if !self.keys[key].is_new => UPDATE,
            _ => INSERT,
        }
    }
}

impl DatasetWriter {
    /// Writes the net changes of a log's rows.
    pub(super) fn finish_log(&mut self, rows: LogRows, coverage: Coverage) -> Result<(), StoreError> {
        let LogRows { spool, told } = rows;
        if coverage == Coverage::ChangesAndKeys && told.listing.is_none() {
            return Err(self.misuse("the keys of a dataset were to be listed, and none came"));
        }
        let mut index = match told.is_truncated || told.listing.is_some() || self.stores_other_keys() {
            true => Some(LiveIndex::load(&self.inner, &self.log, &self.stored.schema)?),
            false => None,
        };
        let mut sealed = spool.seal()?;
        for batch in 0..sealed.batches() {
            self.write_net(&told, index.as_mut(), &mut sealed, batch)?;
        }
        let Some(index) = index else { return Ok(()) };
        let ended = index.iter().filter(|(key, _)| told.ends(key)).filter_map(|(key, known)| {
            let closed = Closed { batch: known.batch()?, row_hash: known.row_hash };
            Some((index.stored_key(key), closed))
        });
        self.close_versions(&ended.collect())
    }

    /// Whether some version may be stored under a key hash that is another one today.
    fn stores_other_keys(&self) -> bool {
        let today = Shape::of_keys(&self.stored.schema);
        self.log.schemas.iter().any(|stored| Shape::of_keys(&stored.schema) != today)
    }

    /// Writes those rows of a record batch that are net changes.
    fn write_net(
        &mut self,
        told: &Told,
        mut index: Option<&mut LiveIndex>,
        sealed: &mut Sealed,
        batch: usize,
    ) -> Result<(), StoreError> {
        let rows = sealed.read(batch)?;
        let numbers = sealed.first(batch)..;
        let places = rows.num_columns() - 2;
        let key_hashes = rows.column(places + 1).as_fixed_size_binary();
        let net = (0..rows.num_rows()).zip(numbers).map(|(row, number)| (row, number, hash_at(key_hashes, row)));
        let net: Vec<_> = net.filter(|(_, number, key)| told.is_net(key, *number)).collect();
        if net.is_empty() {
            return Ok(());
        }
        let positions = UInt32Array::from_iter_values(net.iter().map(|(row, ..)| *row as u32));
        let taken = match net.len() == rows.num_rows() {
            true => rows,
            false => take_record_batch(&rows, &positions).expect("positions of this batch"),
        };
        let operations = taken.column(places).as_primitive::<Int32Type>();
        let data = taken.project(&(0..places).collect::<Vec<_>>()).expect("its own columns");
        let data = self.with_kept(told, sealed, data, &net)?;
        let mut changes = Changes::default();
        for (row, ((_, _, key), row_hash)) in net.into_iter().zip(told.hasher.row_hashes(&data)).enumerate() {
            match &mut index {
                None => changes.push_operation(row, told.operation(&key, operations.value(row)), None, key, row_hash),
                Some(index) => push_compared(&mut changes, index, row, operations.value(row), key, row_hash),
            }
        }
        self.stage(data.columns(), changes)
    }

    /// Fills the cells that the source did not send.
    fn with_kept(
        &self,
        told: &Told,
        sealed: &mut Sealed,
        data: RecordBatch,
        net: &[(usize, u64, Hash)],
    ) -> Result<RecordBatch, StoreError> {
        let mut cells: Vec<Cell> = Vec::new();
        for (row, (_, number, _)) in net.iter().enumerate() {
            let kept = told.kept.range((*number, 0)..=(*number, u32::MAX));
            cells.extend(kept.map(|((_, column), from)| Cell { row, column: *column as usize, from: *from }));
        }
        if cells.is_empty() {
            return Ok(data);
        }
        let mut values = batch_values(&cells, sealed)?;
        values.extend(self.stored_values(&cells)?);
        let mut columns = data.columns().to_vec();
        for (at, column) in columns.iter_mut().enumerate() {
            let filled: HashMap<usize, &ArrayRef> = cells
                .iter()
                .filter(|cell| cell.column == at)
                .map(|cell| Ok((cell.row, values.get(&cell.place()).ok_or_else(|| self.kept_unknown(at))?)))
                .collect::<Result<_, StoreError>>()?;
            if !filled.is_empty() {
                *column = fill(column, &filled);
            }
        }
        Ok(RecordBatch::try_new(data.schema(), columns).expect("the same types in the same places"))
    }

    fn kept_unknown(&self, column: usize) -> StoreError {
        let column = self.stored.schema.columns[column].name.to_string();
        StoreError::KeptUnknown { dataset: self.log.dataset.clone(), column }
    }

    /// The values that live versions have, by key and column.
    fn stored_values(&self, cells: &[Cell]) -> Result<HashMap<Place, ArrayRef>, StoreError> {
        let mut wanted: ByHash<Vec<usize>> = ByHash::default();
        for cell in cells {
            if let Origin::Stored(key) = cell.from {
                wanted.entry(key).or_default().push(cell.column);
            }
        }
        let mut columns: Vec<usize> = wanted.values().flatten().copied().collect();
        columns.sort_unstable();
        columns.dedup();
        let asked = |columns: &[usize]| {
            let columns = columns.iter().map(|at| self.stored.schema.columns[*at].clone()).collect();
            Asked::new(&Schema { columns }, &self.log.schemas, false)
        };
        let (nothing, values) = (asked(&[]), asked(&columns));
        let mut found = HashMap::new();
        for piece in self.log.newest_first(0) {
            if wanted.is_empty() {
                break;
            }
            let piece = piece?;
            let names = PieceReader::new(&self.inner, &self.log.dataset, &nothing);
            let speaks_of =
                |keys: &FixedSizeBinaryArray| (0..keys.len()).any(|row| wanted.contains_key(&hash_at(keys, row)));
            let mut is_here = false;
            for rows in names.read(&piece)? {
                is_here |= speaks_of(&rows?.key_hashes);
            }
            if !is_here {
                continue;
            }
            for rows in PieceReader::new(&self.inner, &self.log.dataset, &values).read(&piece)? {
                let rows = rows?;
                for row in 0..rows.key_hashes.len() {
                    let key = hash_at(&rows.key_hashes, row);
                    let Some(cells) = wanted.remove(&key) else { continue };
                    for column in cells.into_iter().filter(|_| rows.operations.value(row) != DELETE) {
                        let at = columns.binary_search(&column).expect("every wanted column is asked for");
                        found.insert(Place::Stored(key, column), one(rows.data.column(at), row));
                    }
                }
            }
        }
        Ok(found)
    }
}

/// Adds a net change as it is beside what is stored; one that changes nothing is passed over.
fn push_compared(changes: &mut Changes, index: &mut LiveIndex, row: usize, told: i32, key: Hash, row_hash: Hash) {
    let known = index.get(&key).and_then(|known| Some((known.batch()?, known.row_hash)));
    match (told, known) {
        (DELETE, None) => {}
        (DELETE, Some((batch, _))) => {
            changes.push_operation(row, DELETE, Some(batch), index.stored_key(&key), row_hash);
        }
        (_, Some((_, stored))) if stored == row_hash => {}
        (_, Some((batch, _))) => changes.push_operation(row, UPDATE, Some(batch), index.stored_key(&key), row_hash),
        (_, None) => changes.push_operation(row, INSERT, None, index.new_stored_key(key), row_hash),
    }
}

/// A cell that has to be filled.
struct Cell {
    /// In the record batch at hand.
    row: usize,
    column: usize,
    from: Origin,
}

/// Where a value comes from.
#[derive(PartialEq, Eq, Hash)]
enum Place {
    Batch(u64, usize),
    Stored(Hash, usize),
}

impl Cell {
    fn place(&self) -> Place {
        match self.from {
            Origin::Row(number) => Place::Batch(number, self.column),
            Origin::Stored(key) => Place::Stored(key, self.column),
        }
    }
}

/// The values that earlier rows of the batch have.
fn batch_values(cells: &[Cell], sealed: &mut Sealed) -> Result<HashMap<Place, ArrayRef>, StoreError> {
    let place = |cell: &Cell| match cell.from {
        Origin::Row(number) => Some((sealed.batch_of(number), number, cell.column)),
        Origin::Stored(_) => None,
    };
    let mut wanted: Vec<(usize, u64, usize)> = cells.iter().filter_map(place).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut found = HashMap::with_capacity(wanted.len());
    for of_batch in wanted.chunk_by(|one, other| one.0 == other.0) {
        let batch = of_batch[0].0;
        let rows = sealed.read(batch)?;
        for (_, number, column) in of_batch {
            let row = usize::try_from(number - sealed.first(batch)).expect("a record batch is small");
            found.insert(Place::Batch(*number, *column), one(rows.column(*column), row));
        }
    }
    Ok(found)
}

/// A copy of one value, without the rest of its column.
fn one(column: &ArrayRef, row: usize) -> ArrayRef {
    let row = u32::try_from(row).expect("a record batch is small");
    take(column, &UInt32Array::from(vec![row]), None).expect("a row of this column")
}

fn fill(column: &ArrayRef, filled: &HashMap<usize, &ArrayRef>) -> ArrayRef {
    let mut arrays: Vec<&dyn Array> = vec![column.as_ref()];
    let mut places = Vec::with_capacity(column.len());
    for row in 0..column.len() {
        match filled.get(&row) {
            None => places.push((0, row)),
            Some(value) => {
                places.push((arrays.len(), 0));
                arrays.push(value.as_ref());
            }
        }
    }
    interleave(&arrays, &places).expect("values of one column")
}
