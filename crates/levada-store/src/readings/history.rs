//! All versions that were ever live, with their times.
//!
//! Goes through the log from its newest piece back: the newer change of a key is what ended the
//! version at hand. The oldest piece is read without remembering its keys.

use super::{Listening, Output};
use crate::StoreError;
use crate::catalog::{Log, Piece};
use crate::columns::{DELETE, hash_at};
use crate::index::ByHash;
use crate::segment::{PieceReader, PieceRows};
use arrow::array::{ArrayRef, Int64Array, TimestampMicrosecondArray};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Gives the versions to `output`; `times` are the commit times of batches in µs, `since` hides
/// versions that ended before.
pub(super) fn read(
    log: &Log,
    reader: &PieceReader<'_>,
    times: &BTreeMap<i64, i64>,
    since: Option<i64>,
    output: &mut Output,
) -> Result<(), StoreError> {
    let mut ended_by: ByHash<i64> = ByHash::default();
    let mut pieces = log.newest_first(0).peekable();
    while let Some(piece) = pieces.next() {
        let piece = piece?;
        let is_oldest = pieces.peek().is_none();
        let begin = time_of(times, &piece)?;
        for rows in reader.read(&piece)? {
            let rows = rows?;
            let ends = ends(&rows, &mut ended_by, begin, is_oldest);
            let is_shown = |(row, end): (usize, &Option<i64>)| {
                let is_hidden = matches!((end, since), (Some(end), Some(since)) if *end < since);
                rows.operations.value(row) != DELETE && !is_hidden
            };
            let shows = ends.iter().enumerate().map(is_shown).collect();
            let begins: ArrayRef =
                Arc::new(TimestampMicrosecondArray::from_value(begin, ends.len()).with_timezone("UTC"));
            let batches: ArrayRef = Arc::new(Int64Array::from_value(piece.batch, ends.len()));
            let ends: ArrayRef = Arc::new(TimestampMicrosecondArray::from(ends).with_timezone("UTC"));
            if output.push(&rows, vec![begins, ends, batches], Some(shows))? == Listening::No {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// When each row's version ended, µs; `None`: it is live.
fn ends(rows: &PieceRows, ended_by: &mut ByHash<i64>, begin: i64, is_oldest: bool) -> Vec<Option<i64>> {
    let end = |row: usize| {
        let key = hash_at(&rows.key_hashes, row);
        match is_oldest {
            true => ended_by.get(&key).copied(),
            false => ended_by.insert(key, begin),
        }
    };
    (0..rows.data.num_rows()).map(end).collect()
}

fn time_of(times: &BTreeMap<i64, i64>, piece: &Piece) -> Result<i64, StoreError> {
    let time = times.get(&piece.batch).copied();
    time.ok_or_else(|| StoreError::damaged(&format!("batch {}", piece.batch), "the catalog has no time for it"))
}
