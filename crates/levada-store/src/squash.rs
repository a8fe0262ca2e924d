//! Keeps the last row of each key in a segment that was just written.
//!
//! A pull may say several things about one key; a batch holds at most one net change of it. Which
//! row was the last is known at the end, so such a segment is written again. Rare: a source's
//! consistent state has each key once.

use crate::catalog::Piece;
use crate::columns::{DELETE, INSERT, hash_at};
use crate::diff::Diff;
use crate::index::ByHash;
use crate::segment::{Asked, PieceReader, PieceRows, SegmentWriter};
use crate::writer::{Counts, segment_rows};
use crate::{Inner, StoreError};
use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use levada_model::address::DatasetRef;

/// Copies what remains of `piece` into `target`; gives its counts.
pub(crate) fn squash(
    inner: &Inner,
    dataset: &DatasetRef,
    piece: &Piece,
    diff: &Diff,
    target: &mut SegmentWriter,
) -> Result<Counts, StoreError> {
    let asked = Asked::new(&piece.schema.schema, std::slice::from_ref(&piece.schema), true);
    let reader = PieceReader::new(inner, dataset, &asked);
    let mut last = ByHash::default();
    let mut ordinal = 0_u64;
    for rows in reader.read(piece)? {
        let rows = rows?;
        for row in 0..rows.key_hashes.len() {
            last.insert(hash_at(&rows.key_hashes, row), ordinal);
            ordinal += 1;
        }
    }
    let mut counts = Counts::default();
    let mut ordinal = 0_u64;
    for rows in reader.read(piece)? {
        let rows = rows?;
        let row_hashes = rows.row_hashes.as_ref().expect("hashes are asked for").as_fixed_size_binary();
        let mut stays = Vec::with_capacity(rows.key_hashes.len());
        for row in 0..rows.key_hashes.len() {
            let stored_key = hash_at(&rows.key_hashes, row);
            let key = diff.index.todays_key(&stored_key);
            let is_last = last.get(&stored_key) == Some(&ordinal);
            let is_kept = is_last && diff.is_change(&key, &hash_at(row_hashes, row));
            stays.push(is_kept);
            ordinal += 1;
            match rows.operations.value(row) {
                _ if !is_kept => {}
                INSERT => counts.inserts += 1,
                DELETE => counts.deletes += 1,
                _ => counts.updates += 1,
            }
        }
        target.write(&kept(&rows, piece.batch, stays, target)?)?;
    }
    Ok(counts)
}

fn kept(rows: &PieceRows, batch: i64, stays: Vec<bool>, target: &SegmentWriter) -> Result<RecordBatch, StoreError> {
    let own = (rows.operations.clone(), rows.previous.clone(), rows.key_hashes.clone());
    let row_hashes = rows.row_hashes.clone().expect("hashes are asked for");
    let whole = segment_rows(target.schema(), rows.data.columns(), batch, own, row_hashes);
    Ok(filter_record_batch(&whole, &BooleanArray::from(stays)).expect("one flag per row"))
}
