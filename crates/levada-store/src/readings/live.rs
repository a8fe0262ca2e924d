//! The rows that were live at a batch.
//!
//! Goes through the log from its newest piece back: a row is live if no newer piece speaks of its
//! key. The oldest piece, which is most of most datasets, is read without remembering its keys.

use super::{Listening, Output};
use crate::StoreError;
use crate::catalog::Log;
use crate::columns::{DELETE, hash_at};
use crate::index::ByHash;
use crate::segment::{PieceReader, PieceRows};
use arrow::array::{ArrayRef, Int64Array};
use std::sync::Arc;

/// Gives the live rows to `output`.
pub(super) fn read(log: &Log, reader: &PieceReader<'_>, output: &mut Output) -> Result<(), StoreError> {
    let mut spoken_of: ByHash<()> = ByHash::default();
    let mut pieces = log.newest_first(0).peekable();
    while let Some(piece) = pieces.next() {
        let piece = piece?;
        let is_oldest = pieces.peek().is_none();
        for rows in reader.read(&piece)? {
            let rows = rows?;
            let is_first = is_first_of_its_key(&rows, &mut spoken_of, is_oldest);
            let is_live = |(row, is_first): (usize, bool)| is_first && rows.operations.value(row) != DELETE;
            let shows = is_first.into_iter().enumerate().map(is_live).collect();
            let batches: ArrayRef = Arc::new(Int64Array::from_value(piece.batch, rows.data.num_rows()));
            if output.push(&rows, vec![batches], Some(shows))? == Listening::No {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Whether no newer piece spoke of each row's key; notes that this one did, unless it is the oldest.
pub(super) fn is_first_of_its_key(rows: &PieceRows, spoken_of: &mut ByHash<()>, is_oldest: bool) -> Vec<bool> {
    let is_first = |row: usize| {
        let key = hash_at(&rows.key_hashes, row);
        match is_oldest {
            true => !spoken_of.contains_key(&key),
            false => spoken_of.insert(key, ()).is_none(),
        }
    };
    (0..rows.data.num_rows()).map(is_first).collect()
}
