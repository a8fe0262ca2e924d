//! The changes between two batches: the log as it was written, by batch; or of each key the last one only.

use super::live::is_first_of_its_key;
use super::{Listening, Output};
use crate::StoreError;
use crate::catalog::Log;
use crate::index::ByHash;
use crate::segment::PieceReader;
use arrow::array::{ArrayRef, Int64Array};
use std::sync::Arc;

/// Gives the changes after a batch to `output`.
pub(super) fn read(log: &Log, reader: &PieceReader<'_>, after: i64, output: &mut Output) -> Result<(), StoreError> {
    for piece in log.oldest_first(after.max(0)) {
        let piece = piece?;
        for rows in reader.read(&piece)? {
            let rows = rows?;
            let batches: ArrayRef = Arc::new(Int64Array::from_value(piece.batch, rows.data.num_rows()));
            let own = vec![batches, Arc::new(rows.operations.clone()), Arc::new(rows.previous.clone())];
            if output.push(&rows, own, None)? == Listening::No {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Gives the last change of each key after a batch to `output`, the newest batch first.
pub(super) fn read_net(log: &Log, reader: &PieceReader<'_>, after: i64, output: &mut Output) -> Result<(), StoreError> {
    let mut spoken_of = ByHash::default();
    let mut pieces = log.newest_first(after.max(0)).peekable();
    while let Some(piece) = pieces.next() {
        let piece = piece?;
        let is_oldest = pieces.peek().is_none();
        for rows in reader.read(&piece)? {
            let rows = rows?;
            let shows = is_first_of_its_key(&rows, &mut spoken_of, is_oldest);
            let batches: ArrayRef = Arc::new(Int64Array::from_value(piece.batch, rows.data.num_rows()));
            let own = vec![batches, Arc::new(rows.operations.clone()), Arc::new(rows.previous.clone())];
            if output.push(&rows, own, Some(shows))? == Listening::No {
                return Ok(());
            }
        }
    }
    Ok(())
}
