//! Blocking work on threads of its own, and rows to and from there.

use arrow::array::RecordBatch;
use futures::StreamExt;
use levada_flow::{FlowError, RowStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Where a thread puts the rows it makes; bounded, so that it waits for its reader.
pub(crate) type Out = mpsc::Sender<Result<RecordBatch, FlowError>>;

/// Batches that a thread makes ahead of its reader.
const BATCHES_AHEAD: usize = 2;

/// Runs blocking work and gives what it gives.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FlowError> + Send + 'static,
) -> Result<T, FlowError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(ended(error)),
    }
}

/// The rows that a thread puts out, and at last its error.
pub(crate) fn rows(work: impl FnOnce(&Out) -> Result<(), FlowError> + Send + 'static) -> RowStream {
    let (out, rows) = mpsc::channel(BATCHES_AHEAD);
    let work = tokio::task::spawn_blocking(move || work(&out));
    futures::stream::unfold((rows, Some(work)), next).boxed()
}

type Working = (mpsc::Receiver<Result<RecordBatch, FlowError>>, Option<JoinHandle<Result<(), FlowError>>>);

async fn next((mut rows, work): Working) -> Option<(Result<RecordBatch, FlowError>, Working)> {
    if let Some(batch) = rows.recv().await {
        return Some((batch, (rows, work)));
    }
    let failed = match work?.await {
        Ok(Ok(())) => return None,
        Ok(Err(error)) => error,
        Err(error) => ended(error),
    };
    Some((Err(failed), (rows, None)))
}

/// Waits for each batch on the thread that uses it.
pub(crate) fn batches(mut rows: RowStream) -> impl Iterator<Item = Result<RecordBatch, FlowError>> {
    let runtime = tokio::runtime::Handle::current();
    std::iter::from_fn(move || runtime.block_on(rows.next()))
}

/// Puts rows out; the error says that nobody reads any more.
pub(crate) fn put<T>(out: &mpsc::Sender<T>, rows: T) -> Result<(), FlowError> {
    out.blocking_send(rows).map_err(|_| FlowError::later("the reading was given up by its receiver"))
}

/// A panic is our bug, and the same value would run into it again.
fn ended(error: tokio::task::JoinError) -> FlowError {
    match error.is_panic() {
        true => FlowError::never("a connector ran into a bug of Levada").because(error),
        false => FlowError::later("a connector's thread ended early").because(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use levada_flow::Retry;

    #[tokio::test]
    async fn a_panic_is_not_tried_again() {
        let error = run::<()>(|| panic!("a value that nobody thought of")).await.expect_err("it panics");
        assert_eq!(error.retry, Retry::Never);
        let mut rows = rows(|_| panic!("a value that nobody thought of"));
        let error = rows.next().await.expect("an answer").expect_err("it panics");
        assert_eq!(error.retry, Retry::Never);
    }
}
