//! A transaction body on its way to the thread that owns the connection.

use super::{DatabaseError, Transaction};
use crate::StateError;
use tokio::sync::oneshot;

/// Why a body ended without a result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The database failed.
    Database(DatabaseError),
    /// The body refused what was asked.
    Refused(StateError),
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        Self::Refused(error)
    }
}

/// What becomes of a transaction whose body has run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// It is committed.
    Commit,
    /// It leaves no trace.
    Undo,
    /// It leaves no trace, and the body may run again.
    Retry,
}

/// A body with the place its result goes to.
pub(crate) trait Job: Send {
    /// Runs the body and keeps its result.
    fn run(&mut self, transaction: &mut dyn Transaction) -> Verdict;

    /// Gives the result to who waits for it, now that the end of the transaction is known.
    fn finish(self: Box<Self>, commit: Result<(), DatabaseError>);
}

struct TypedJob<T, F> {
    body: F,
    result: Option<Result<T, Failure>>,
    answer: oneshot::Sender<Result<T, Failure>>,
}

/// Makes a job of a body.
pub(crate) fn boxed<T, F>(body: F, answer: oneshot::Sender<Result<T, Failure>>) -> Box<dyn Job>
where
    T: Send + 'static,
    F: FnMut(&mut dyn Transaction) -> Result<T, Failure> + Send + 'static,
{
    Box::new(TypedJob { body, result: None, answer })
}

impl<T, F> Job for TypedJob<T, F>
where
    T: Send,
    F: FnMut(&mut dyn Transaction) -> Result<T, Failure> + Send,
{
    fn run(&mut self, transaction: &mut dyn Transaction) -> Verdict {
        let result = (self.body)(transaction);
        let verdict = match &result {
            Ok(_) => Verdict::Commit,
            Err(Failure::Database(error)) if error.is_retryable() => Verdict::Retry,
            Err(_) => Verdict::Undo,
        };
        self.result = Some(result);
        verdict
    }

    fn finish(self: Box<Self>, commit: Result<(), DatabaseError>) {
        let result = match (self.result, commit) {
            (Some(Ok(value)), Ok(())) => Ok(value),
            // Whatever later tries ran into, the first one may have been committed.
            (_, Err(error @ DatabaseError::OutcomeUnknown(_))) => Err(Failure::Database(error)),
            (Some(Err(failure)), _) => Err(failure),
            (_, Err(error)) => Err(Failure::Database(error)),
            (None, Ok(())) => Err(Failure::Database(DatabaseError::Stopped)),
        };
        // Who asked may have stopped waiting; the transaction ended all the same.
        drop(self.answer.send(result));
    }
}
