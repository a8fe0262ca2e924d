//! The net changes between two batches, by batch: the log as it was written.

use super::{Listening, Output};
use crate::StoreError;
use crate::catalog::Log;
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
