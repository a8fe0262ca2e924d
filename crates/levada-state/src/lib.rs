//! The one door to operational state and to the store's catalog.
//!
//! Blueprints, node rows, leases, batches, manifests, deliveries and obligations lie in one
//! OLTP database, so that one SQL transaction commits a batch with everything it entails.
//! SQLite is the default, PostgreSQL serves when workers share it; both run the same statements
//! and pass the same conformance suite.
//!
//! Architecture invariant: positions and node specs are opaque here; nothing outside this crate
//! writes SQL against the state. No clock: every call is told what time it is.

mod approvals;
pub mod blueprints;
pub mod catalog;
mod contents;
mod db;
pub mod deliveries;
mod error;
mod measures;
mod migrations;
pub mod nodes;
mod notes;
pub mod obligations;
pub mod runs;
mod worker_lock;

pub use approvals::Approval;
pub use blueprints::GenerationRow;
pub use catalog::{BatchCommit, BatchRow, Body, Covered, KnownFiles, Manifest, StoredSchema, StreamHead};
pub use db::DatabaseError;
pub use deliveries::Delivery;
pub use error::StateError;
pub use migrations::NEWEST as VERSION;
pub use nodes::{Completion, DueRows, Fence, Host, HotNode, Outcome, Successor, Wish};
pub use notes::Note;
pub use obligations::Obligation;
pub use runs::RunRow;
pub use worker_lock::WorkerLock;

use contents::Contents;
use db::postgres::Postgres;
use db::sqlite::Sqlite;
use db::{Access, Database, Failure, Transaction};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The state of one ecosystem; cheap to clone, shared by everything in a process.
#[derive(Clone)]
pub struct State {
    inner: Arc<Inner>,
}

struct Inner {
    database: Database,
    id: String,
    contents: Arc<Contents>,
    /// Counts what this process has written.
    writes: tokio::sync::watch::Sender<u64>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let system = match &self.inner.database {
            Database::Sqlite(database) => format!("sqlite:{}", database.path().display()),
            Database::Postgres(_) => "postgres".to_owned(),
        };
        f.debug_tuple("State").field(&system).finish()
    }
}

impl State {
    /// Opens the state at `sqlite:PATH` or `postgres://…`, creates what is missing and brings its
    /// tables up to date.
    ///
    /// # Errors
    /// An unknown kind of URL, a database out of reach or damaged, tables of a newer build.
    pub async fn open(url: &str) -> Result<Self, StateError> {
        let failed = |source| StateError::Database { operation: "open the state", source };
        let database = match url.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() && path != ":memory:" => {
                let path = Path::new(path).to_owned();
                let opened = tokio::task::spawn_blocking(move || Sqlite::open(&path)).await;
                Database::Sqlite(opened.unwrap_or(Err(DatabaseError::Stopped)).map_err(failed)?)
            }
            Some(("postgres" | "postgresql", _)) => Database::Postgres(Box::new(Postgres::open(url).map_err(failed)?)),
            other => {
                let scheme = other.map_or(url, |(scheme, _)| scheme).to_owned();
                return Err(StateError::Scheme { scheme });
            }
        };
        migrations::migrate(&database, machine_time()).await.map_err(|failure| named(failure, "open the state"))?;
        let id =
            migrations::identity(&database).await.map_err(|failure| named(failure, "read the state's identity"))?;
        let writes = tokio::sync::watch::Sender::new(0);
        Ok(Self { inner: Arc::new(Inner { database, id, contents: Arc::default(), writes }) })
    }

    /// Which state this is: 16 hexadecimal digits, drawn when it was made.
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        body: impl FnMut(&mut dyn Transaction) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StateError> {
        self.inner.database.run(Access::Read, body).await.map_err(|failure| named(failure, operation))
    }

    async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        body: impl FnMut(&mut dyn Transaction) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StateError> {
        let written = self.inner.database.run(Access::Write, body).await.map_err(|failure| named(failure, operation));
        self.inner.writes.send_modify(|count| *count = count.wrapping_add(1));
        written
    }
}

fn named(failure: Failure, operation: &'static str) -> StateError {
    match failure {
        Failure::Database(source) => StateError::Database { operation, source },
        Failure::Refused(error) => error,
    }
}

/// µs since 1970 by the machine's clock: only to stamp migrations, which nothing depends on.
fn machine_time() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX)
}
