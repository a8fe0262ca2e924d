//! The thin door to both databases: one set of SQL, run by synchronous transaction bodies.
//!
//! Takes statements with placeholders `?1`, `?2`, … and plain [`Value`]s, gives plain [`Row`]s.
//! A body may run more than once where a database asks for it; its effects count once. Knows
//! nothing of what the tables mean.

pub(crate) mod job;
pub(crate) mod postgres;
pub(crate) mod sqlite;
mod value;

pub(crate) use job::{Failure, Job, Verdict};
pub(crate) use value::{Row, Value, values};

use postgres::Postgres;
use sqlite::Sqlite;
use std::error::Error;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Why a database did not do what a statement asks.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// SQLite refused or failed.
    #[error("run a statement on SQLite")]
    Sqlite(#[source] Arc<rusqlite::Error>),
    /// PostgreSQL refused, failed or is out of reach.
    #[error("run a statement on PostgreSQL")]
    Postgres(#[source] Arc<tokio_postgres::Error>),
    /// The connection broke while the commit was under way, and could not be made again in time.
    #[error("learn whether the commit was done")]
    OutcomeUnknown(#[source] Arc<tokio_postgres::Error>),
    /// A stored value has another type than its table says.
    #[error("read column {column} of a row as {expected}")]
    Column {
        /// Counts from 0, in the order of the statement.
        column: usize,
        /// What was expected.
        expected: &'static str,
    },
    /// A stored text is not what it should be.
    #[error("read a stored {what}")]
    Content {
        /// What it should be.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
    /// A file or thread could not be had from the operating system.
    #[error("get a file or thread from the operating system")]
    System(#[source] Arc<std::io::Error>),
    /// The database's thread has ended.
    #[error("reach the database's thread, which has ended")]
    Stopped,
}

impl DatabaseError {
    /// Wraps what is wrong with a stored text.
    pub(crate) fn content(what: &'static str, error: impl Error + Send + Sync + 'static) -> Self {
        Self::Content { what, source: Arc::new(error) }
    }

    /// Whether the same may work a moment later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Sqlite(error) => sqlite::is_busy(error),
            Self::Postgres(error) => postgres::is_transient(error),
            Self::OutcomeUnknown(_) => true,
            Self::Column { .. } | Self::Content { .. } | Self::System(_) | Self::Stopped => false,
        }
    }
}

impl From<rusqlite::Error> for DatabaseError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(Arc::new(error))
    }
}

impl From<tokio_postgres::Error> for DatabaseError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(Arc::new(error))
    }
}

impl From<std::io::Error> for DatabaseError {
    fn from(error: std::io::Error) -> Self {
        Self::System(Arc::new(error))
    }
}

/// One open transaction. Everything runs in the order it is asked; an error ends the transaction.
pub(crate) trait Transaction {
    /// Runs a statement once per set of values and gives how many rows each changed.
    fn execute_many(&mut self, sql: &'static str, sets: &[Vec<Value>]) -> Result<Vec<u64>, DatabaseError>;

    /// Runs a statement once per set of values and gives the rows of each.
    fn query_many(&mut self, sql: &'static str, sets: &[Vec<Value>]) -> Result<Vec<Vec<Row>>, DatabaseError>;

    /// Runs a script without values: a migration.
    fn run_script(&mut self, script: &str) -> Result<(), DatabaseError>;

    /// Keeps every other process from migrating until the transaction ends.
    fn lock_migrations(&mut self) -> Result<(), DatabaseError>;

    /// Whether a table of the state is there.
    fn has_table(&mut self, table: &str) -> Result<bool, DatabaseError>;

    /// Whether an earlier try of the same body may have been committed without an answer.
    fn is_repeated(&self) -> bool;
}

impl dyn Transaction + '_ {
    /// Runs a statement and gives how many rows it changed.
    pub(crate) fn execute(&mut self, sql: &'static str, values: Vec<Value>) -> Result<u64, DatabaseError> {
        Ok(self.execute_many(sql, &[values])?.into_iter().sum())
    }

    /// Runs a query and gives its rows.
    pub(crate) fn query(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>, DatabaseError> {
        Ok(self.query_many(sql, &[values])?.into_iter().flatten().collect())
    }

    /// Runs a query that gives at most one row.
    pub(crate) fn query_first(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Option<Row>, DatabaseError> {
        Ok(self.query(sql, values)?.into_iter().next())
    }
}

/// Whether a transaction may write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// It sees one moment and changes nothing.
    Read,
    /// It takes what locks it needs.
    Write,
}

/// One of the two systems.
pub(crate) enum Database {
    /// A file.
    Sqlite(Sqlite),
    /// A server.
    Postgres(Box<Postgres>),
}

impl Database {
    /// Runs a body in one transaction and commits it, or leaves no trace of it.
    ///
    /// The body goes on to its end even where the caller stops waiting.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        access: Access,
        body: impl FnMut(&mut dyn Transaction) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (answer, result) = oneshot::channel();
        let job = job::boxed(body, answer);
        match (self, access) {
            (Self::Sqlite(database), Access::Write) => database.write(job).await?,
            (Self::Sqlite(database), Access::Read) => database.read(job).await?,
            (Self::Postgres(database), _) => database.run(access, job).await?,
        }
        result.await.unwrap_or(Err(Failure::Database(DatabaseError::Stopped)))
    }
}
