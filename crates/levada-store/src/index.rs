//! The live versions of a dataset, by key: what a pull is compared with.
//!
//! Takes the change log, gives per key the hash of its row and the batch that wrote it. Reads only
//! the store's own columns, but for pieces written under a schema of another [`Shape`]: their
//! values are hashed again as the schema of today would, so that a new column full of nulls is no
//! change of any row.
//!
//! Where the *key's* hash has another shape too (a key of another type; any change of a dataset
//! without key), a version keeps the key hash it was stored under, so that its history is not cut:
//! the index knows it under today's hash and as which it is stored ([`LiveIndex::stored_key`]). A key
//! that is new then, and whose hash is the one that another version is stored under, gets a free one.
//!
//! Costs 41 bytes a live row, in a table that is between 7/16 and 7/8 full: 47 to 94.

use crate::catalog::{Log, Piece};
use crate::columns::{DELETE, Hash, hash_at};
use crate::segment::{Asked, PieceReader};
use crate::shape::Shape;
use crate::{Inner, StoreError};
use arrow::array::AsArray;
use levada_flow::canonical::{RowHasher, with_occurrence};
use levada_model::Schema;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::hash::{BuildHasherDefault, Hasher};

/// The most live rows of a dataset that a pull can be compared with: 47 to 94 bytes of memory each.
pub const LIVE_KEYS_MAX: usize = 50_000_000;

/// A table by hashes that are hashes already.
pub(crate) type ByHash<V> = HashMap<Hash, V, BuildHasherDefault<HashOfHash>>;

/// Takes the first eight bytes of a hash as the hash.
#[derive(Default)]
pub(crate) struct HashOfHash(u64);

impl Hasher for HashOfHash {
    fn write(&mut self, bytes: &[u8]) {
        let first = bytes.first_chunk::<8>().expect("a hash has 16 bytes");
        self.0 = u64::from_le_bytes(*first);
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What is known of a key, and what the pull has said about it so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// The hash of the stored row; of the pulled one where nothing is stored.
    pub(crate) row_hash: Hash,
    /// The batch that wrote the stored row, shifted by the flags; 0: nothing is stored.
    mark: i64,
}

const ROW_CAME: i64 = 1;
const KEY_CAME: i64 = 2;
const GONE: i64 = 4;
const FLAG_BITS: u32 = 3;

impl Known {
    fn stored(row_hash: Hash, batch: i64) -> Self {
        Self { row_hash, mark: batch << FLAG_BITS }
    }

    /// A key that is not stored and came with a row.
    pub(crate) fn new(row_hash: Hash) -> Self {
        Self { row_hash, mark: ROW_CAME }
    }

    /// The batch that wrote the stored row; `None`: nothing is stored.
    pub(crate) fn batch(&self) -> Option<i64> {
        Some(self.mark >> FLAG_BITS).filter(|batch| *batch != 0)
    }

    /// Whether the pull sent a row for it.
    pub(crate) fn row_came(&self) -> bool {
        self.mark & ROW_CAME != 0
    }

    /// Whether the pull listed it among the keys.
    pub(crate) fn key_came(&self) -> bool {
        self.mark & KEY_CAME != 0
    }

    /// Whether the last the pull said is that it is gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.mark & GONE != 0
    }

    /// Whether it is there after all that the pull has said.
    pub(crate) fn is_live(&self) -> bool {
        !self.is_gone() && (self.batch().is_some() || self.row_came())
    }

    /// Notes a row.
    pub(crate) fn note_row(&mut self) {
        self.mark = (self.mark | ROW_CAME) & !GONE;
    }

    /// Notes a listed key.
    pub(crate) fn note_key(&mut self) {
        self.mark |= KEY_CAME;
    }

    /// Notes a delete.
    pub(crate) fn note_gone(&mut self) {
        self.mark |= GONE;
    }
}

/// The live versions of one dataset by key hash.
#[derive(Default)]
pub(crate) struct LiveIndex {
    entries: ByHash<Known>,
    /// Today's key hash → the one it is stored under, where they differ.
    stored_keys: ByHash<Hash>,
    /// The other way round.
    todays_keys: ByHash<Hash>,
}

impl LiveIndex {
    /// Reads the log up to its end, for rows of `schema`. Blocks.
    pub(crate) fn load(inner: &Inner, log: &Log, schema: &Schema) -> Result<Self, StoreError> {
        let key_shape = Shape::of_keys(schema);
        match log.schemas.iter().all(|stored| Shape::of_keys(&stored.schema) == key_shape) {
            true => Self::load_by_stored_keys(inner, log, schema),
            false => Self::load_by_todays_keys(inner, log, schema),
        }
    }

    fn load_by_stored_keys(inner: &Inner, log: &Log, schema: &Schema) -> Result<Self, StoreError> {
        let nothing = Schema { columns: Vec::new() };
        let shape = Shape::of_rows(schema);
        let asked = Asked::new(schema, &log.schemas, true);
        let mut index = Self::default();
        for piece in log.oldest_first(0) {
            let piece = piece?;
            let is_same = Shape::of_rows(&piece.schema.schema) == shape;
            let own_hashes = Asked::hashes_as_stored(&nothing, &piece.schema);
            let asked = if is_same { &own_hashes } else { &asked };
            index.apply(inner, log, &piece, asked)?;
        }
        Ok(index)
    }

    /// Takes over the changes of the next piece.
    fn apply(&mut self, inner: &Inner, log: &Log, piece: &Piece, asked: &Asked) -> Result<(), StoreError> {
        for rows in PieceReader::new(inner, &log.dataset, asked).read(piece)? {
            let rows = rows?;
            let row_hashes = rows.row_hashes.as_ref().expect("hashes are asked for").as_fixed_size_binary();
            for row in 0..rows.operations.len() {
                let key = hash_at(&rows.key_hashes, row);
                match rows.operations.value(row) {
                    DELETE => _ = self.entries.remove(&key),
                    _ => _ = self.entries.insert(key, Known::stored(hash_at(row_hashes, row), piece.batch)),
                }
            }
            self.check_size(log)?;
        }
        Ok(())
    }

    /// As stored, then every live row's values are hashed as today's schema does.
    fn load_by_todays_keys(inner: &Inner, log: &Log, schema: &Schema) -> Result<Self, StoreError> {
        let nothing = Schema { columns: Vec::new() };
        let mut live = Self::default();
        for piece in log.oldest_first(0) {
            let piece = piece?;
            live.apply(inner, log, &piece, &Asked::hashes_as_stored(&nothing, &piece.schema))?;
        }
        let asked = Asked::new(schema, &log.schemas, true);
        let hasher = RowHasher::new(schema);
        let mut versions = Vec::with_capacity(live.entries.len());
        for piece in log.oldest_first(0) {
            let piece = piece?;
            for rows in PieceReader::new(inner, &log.dataset, &asked).read(&piece)? {
                let rows = rows?;
                let row_hashes = rows.row_hashes.as_ref().expect("hashes are asked for").as_fixed_size_binary();
                for (row, key) in hasher.key_hashes(&rows.data).into_iter().enumerate() {
                    let stored_key = hash_at(&rows.key_hashes, row);
                    let opened = live.entries.get(&stored_key).and_then(Known::batch);
                    if rows.operations.value(row) != DELETE && opened == Some(piece.batch) {
                        let known = Known::stored(hash_at(row_hashes, row), piece.batch);
                        versions.push(Version { key, stored_key, known });
                    }
                }
            }
        }
        drop(live);
        let has_key = !schema.key().is_empty();
        Ok(Self::from_versions(versions, has_key))
    }

    /// Numbers the versions that share a key hash of today. Of a dataset without key those are its
    /// equal rows, from 0, and one that is stored under such a number keeps it. Of one with a key
    /// they were told apart by what is no longer in the key: the first stays, the others get a
    /// number that no pull finds, so that they go with the next complete one.
    fn from_versions(mut versions: Vec<Version>, has_key: bool) -> Self {
        versions.sort_unstable_by_key(|version| (version.key, version.stored_key));
        let mut index = Self::default();
        for equal in versions.chunk_by(|one, other| one.key == other.key) {
            let numbered = |number| match has_key && number == 0 {
                true => equal[0].key,
                false => with_occurrence(equal[0].key, number),
            };
            let names: Vec<Hash> = (0..).take(equal.len()).map(numbered).collect();
            let taken: ByHash<()> = names.iter().map(|name| (*name, ())).collect();
            let mut others = equal.iter().filter(|version| !taken.contains_key(&version.stored_key));
            for name in &names {
                let own = equal.binary_search_by_key(name, |version| version.stored_key).ok().map(|at| &equal[at]);
                let version = own.or_else(|| others.next()).expect("there are as many versions as names");
                index.entries.insert(*name, version.known);
                if version.stored_key != *name {
                    index.store_under(*name, version.stored_key);
                }
            }
        }
        index
    }

    /// What is known of a key.
    pub(crate) fn get(&self, key: &Hash) -> Option<&Known> {
        self.entries.get(key)
    }

    /// The place of a key, known or not.
    pub(crate) fn place(&mut self, key: Hash) -> Place<'_, Hash, Known> {
        self.entries.entry(key)
    }

    /// The key hash that the versions of a key have in the log.
    pub(crate) fn stored_key(&self, key: &Hash) -> Hash {
        self.stored_keys.get(key).copied().unwrap_or(*key)
    }

    /// The other way round.
    pub(crate) fn todays_key(&self, stored_key: &Hash) -> Hash {
        self.todays_keys.get(stored_key).copied().unwrap_or(*stored_key)
    }

    /// The key hash under which the first version of a key is stored: today's, unless a version of
    /// another key is stored under that one since the key was made of other columns.
    pub(crate) fn new_stored_key(&mut self, key: Hash) -> Hash {
        if !self.todays_keys.contains_key(&key) {
            return key;
        }
        let is_free = |name: &Hash| !self.entries.contains_key(name) && !self.todays_keys.contains_key(name);
        let free = (1..).map(|number| with_occurrence(key, number)).find(is_free);
        let free = free.expect("there are more numbers than keys");
        self.store_under(key, free);
        free
    }

    fn store_under(&mut self, key: Hash, stored_key: Hash) {
        self.stored_keys.insert(key, stored_key);
        self.todays_keys.insert(stored_key, key);
    }

    /// Says of everything that it is gone.
    pub(crate) fn note_all_gone(&mut self) {
        self.entries.values_mut().for_each(Known::note_gone);
    }

    /// All keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Hash, &Known)> {
        self.entries.iter()
    }

    /// How many of the numbers from 0 on, which have no gap, `holds` for: the count of equal rows.
    /// Logarithmic in it.
    pub(crate) fn count_equal(&self, row_hash: &Hash, holds: impl Fn(&Known) -> bool) -> u64 {
        let has = |number: u64| self.entries.get(&with_occurrence(*row_hash, number)).is_some_and(&holds);
        let mut above = 1;
        while has(above - 1) {
            above *= 2;
        }
        let mut below = above / 2;
        above -= 1;
        while below < above {
            let middle = below + (above - below) / 2;
            match has(middle) {
                true => below = middle + 1,
                false => above = middle,
            }
        }
        below
    }

    /// Refuses to grow beyond [`LIVE_KEYS_MAX`].
    pub(crate) fn check_size(&self, log: &Log) -> Result<(), StoreError> {
        match self.entries.len() > LIVE_KEYS_MAX {
            true => Err(StoreError::TooManyRows { dataset: log.dataset.clone(), limit: LIVE_KEYS_MAX }),
            false => Ok(()),
        }
    }
}

/// A live version under today's key hash and the one it is stored under.
struct Version {
    key: Hash,
    stored_key: Hash,
    known: Known,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rows_are_counted_whatever_their_number() {
        for count in 0..70 {
            let mut index = LiveIndex::default();
            for number in 0..count {
                index.entries.insert(with_occurrence([7; 16], number), Known::stored([7; 16], 1));
            }
            assert_eq!(index.count_equal(&[7; 16], Known::is_live), count);
        }
    }

    #[test]
    fn rows_that_become_equal_keep_the_keys_they_are_stored_under() {
        let version = |stored_key| Version { key: [1; 16], stored_key, known: Known::stored([1; 16], 3) };
        let own = with_occurrence([1; 16], 1);
        let index = LiveIndex::from_versions(vec![version([8; 16]), version(own), version([9; 16])], false);
        let stored = |number| index.stored_key(&with_occurrence([1; 16], number));
        assert_eq!([stored(0), stored(1), stored(2)], [[8; 16], own, [9; 16]]);
        assert_eq!(index.count_equal(&[1; 16], Known::is_live), 3);
    }
}
