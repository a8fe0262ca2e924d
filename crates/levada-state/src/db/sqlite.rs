//! The SQLite door: one thread owns the writing connection, a few read-only ones serve readers.
//!
//! Writers that wait together are committed together: each runs under its own savepoint, and one
//! fsync makes all of them durable. Another process's transaction is waited for.

use super::{DatabaseError, Job, Row, Transaction, Value, Verdict};
use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, ErrorCode, OpenFlags};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};

/// How long one try waits for another process's transaction, in milliseconds.
const BUSY_MS: u64 = 5_000;
/// How many tries a transaction has to begin.
const BEGIN_TRIES_MAX: usize = 6;
/// How many waiting writers one fsync makes durable at most.
const GROUP_JOBS_MAX: usize = 128;
/// How many writers may wait before more are held up.
const QUEUE_JOBS_MAX: usize = 1_024;
/// How many connections read at once.
const READERS_MAX: usize = 8;
/// How many prepared statements a connection keeps.
const STATEMENTS_MAX: usize = 256;

/// A state in a file.
pub(crate) struct Sqlite {
    path: PathBuf,
    jobs: Option<mpsc::Sender<Box<dyn Job>>>,
    writer: Option<JoinHandle<()>>,
    readers: Arc<Readers>,
}

impl Sqlite {
    /// Opens the file, or creates it with the folders above it.
    pub(crate) fn open(path: &Path) -> Result<Self, DatabaseError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let connection = open_writer(path)?;
        let (jobs, queue) = mpsc::channel(QUEUE_JOBS_MAX);
        let writer = std::thread::Builder::new()
            .name("levada-state-writer".to_owned())
            .spawn(move || serve(&connection, queue))?;
        let readers = Readers {
            path: path.to_owned(),
            idle: Mutex::new(Vec::new()),
            permits: Arc::new(Semaphore::new(READERS_MAX)),
        };
        Ok(Self { path: path.to_owned(), jobs: Some(jobs), writer: Some(writer), readers: Arc::new(readers) })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) async fn write(&self, job: Box<dyn Job>) -> Result<(), DatabaseError> {
        let jobs = self.jobs.as_ref().expect("the sender is there until the value is dropped");
        jobs.send(job).await.map_err(|_| DatabaseError::Stopped)
    }

    pub(super) async fn read(&self, mut job: Box<dyn Job>) -> Result<(), DatabaseError> {
        let permit = Arc::clone(&self.readers.permits).acquire_owned().await.map_err(|_| DatabaseError::Stopped)?;
        let readers = Arc::clone(&self.readers);
        let run = tokio::task::spawn_blocking(move || {
            let outcome = readers.run(&mut *job);
            job.finish(outcome);
            drop(permit);
        });
        run.await.map_err(|_| DatabaseError::Stopped)
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        // The readers go first: only a connection that writes can fold the WAL into the file.
        self.readers.idle.lock().expect("nothing panics while holding the list").clear();
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has already answered everybody by hanging up.
            drop(writer.join());
        }
    }
}

/// Connections that only read.
struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    fn run(&self, job: &mut dyn Job) -> Result<(), DatabaseError> {
        let idle = self.idle.lock().expect("nothing panics while holding the list").pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open_reader(&self.path)?,
        };
        connection.execute_batch("BEGIN")?;
        job.run(&mut SqliteTransaction { connection: &connection });
        connection.execute_batch("ROLLBACK")?;
        self.idle.lock().expect("nothing panics while holding the list").push(connection);
        Ok(())
    }
}

/// How often the switch to a write-ahead log is tried, and how long after another.
const WAL_TRIES_MAX: u32 = 500;
const WAL_TRY_EVERY: std::time::Duration = std::time::Duration::from_millis(10);

fn open_writer(path: &Path) -> Result<Connection, DatabaseError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    prepare(&connection)?;
    use_wal(&connection)?;
    // FULL: what was answered as committed survives the loss of power.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}

/// Several that open a new file at once get in each other's way here, and SQLite does not wait for its turn.
fn use_wal(connection: &Connection) -> Result<(), DatabaseError> {
    let mut tries_left = WAL_TRIES_MAX;
    loop {
        match connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && tries_left > 0 => {
                tries_left -= 1;
                std::thread::park_timeout(WAL_TRY_EVERY);
            }
            switched => return Ok(switched?),
        }
    }
}

fn open_reader(path: &Path) -> Result<Connection, DatabaseError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    prepare(&connection)?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> Result<(), DatabaseError> {
    connection.busy_timeout(Duration::from_millis(BUSY_MS))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(())
}

/// The writer's life: take who waits, run them, commit, answer.
fn serve(connection: &Connection, mut queue: mpsc::Receiver<Box<dyn Job>>) {
    while let Some(first) = queue.blocking_recv() {
        let mut group = vec![first];
        while group.len() < GROUP_JOBS_MAX
            && let Ok(job) = queue.try_recv()
        {
            group.push(job);
        }
        let outcome = commit_group(connection, &mut group);
        for job in group {
            job.finish(outcome.clone());
        }
    }
}

fn commit_group(connection: &Connection, group: &mut [Box<dyn Job>]) -> Result<(), DatabaseError> {
    begin(connection)?;
    let outcome = run_group(connection, group).and_then(|()| Ok(connection.execute_batch("COMMIT")?));
    if outcome.is_err() && !connection.is_autocommit() {
        // The first error says more than one of the way back would.
        drop(connection.execute_batch("ROLLBACK"));
    }
    outcome
}

fn run_group(connection: &Connection, group: &mut [Box<dyn Job>]) -> Result<(), DatabaseError> {
    for job in group {
        connection.execute_batch("SAVEPOINT job")?;
        let verdict = job.run(&mut SqliteTransaction { connection });
        match verdict {
            Verdict::Commit => connection.execute_batch("RELEASE job")?,
            // SQLite undoes everything by itself after errors such as a full disk; then this fails
            // and ends the group.
            Verdict::Undo | Verdict::Retry => connection.execute_batch("ROLLBACK TO job; RELEASE job")?,
        }
    }
    Ok(())
}

/// Takes the write lock at the start, so that no body is ever stopped halfway by another writer.
fn begin(connection: &Connection) -> Result<(), DatabaseError> {
    let mut tries = 1;
    loop {
        match connection.execute_batch("BEGIN IMMEDIATE") {
            Err(error) if is_busy(&error) && tries < BEGIN_TRIES_MAX => tries += 1,
            outcome => return Ok(outcome?),
        }
    }
}

/// Whether another connection holds what a statement needs.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

struct SqliteTransaction<'a> {
    connection: &'a Connection,
}

impl Transaction for SqliteTransaction<'_> {
    fn execute_many(&mut self, sql: &'static str, sets: &[Vec<Value>]) -> Result<Vec<u64>, DatabaseError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut counts = Vec::with_capacity(sets.len());
        for set in sets {
            bind(&mut statement, set)?;
            counts.push(statement.raw_execute()? as u64);
        }
        Ok(counts)
    }

    fn query_many(&mut self, sql: &'static str, sets: &[Vec<Value>]) -> Result<Vec<Vec<Row>>, DatabaseError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut answers = Vec::with_capacity(sets.len());
        for set in sets {
            bind(&mut statement, set)?;
            answers.push(read_rows(&mut statement)?);
        }
        Ok(answers)
    }

    fn run_script(&mut self, script: &str) -> Result<(), DatabaseError> {
        let script = script
            .replace(" IDENTITY", " INTEGER PRIMARY KEY")
            .replace(" CLUSTERED", " WITHOUT ROWID")
            .replace(" BYTEA", " BLOB");
        Ok(self.connection.execute_batch(&script)?)
    }

    fn lock_migrations(&mut self) -> Result<(), DatabaseError> {
        // `BEGIN IMMEDIATE` already holds the only write lock there is.
        Ok(())
    }

    fn has_table(&mut self, table: &str) -> Result<bool, DatabaseError> {
        let mut statement = self.connection.prepare_cached("SELECT 1 FROM sqlite_master WHERE name = ?1")?;
        Ok(statement.exists([table])?)
    }

    fn is_repeated(&self) -> bool {
        false
    }
}

fn bind(statement: &mut CachedStatement<'_>, set: &[Value]) -> Result<(), DatabaseError> {
    for (index, value) in set.iter().enumerate() {
        match value {
            Value::Null => statement.raw_bind_parameter(index + 1, rusqlite::types::Null)?,
            Value::Int(value) => statement.raw_bind_parameter(index + 1, value)?,
            Value::Text(value) => statement.raw_bind_parameter(index + 1, value)?,
            Value::Bytes(value) => statement.raw_bind_parameter(index + 1, value)?,
        }
    }
    Ok(())
}

fn read_rows(statement: &mut CachedStatement<'_>) -> Result<Vec<Row>, DatabaseError> {
    let columns = statement.column_count();
    let mut rows = statement.raw_query();
    let mut answer = Vec::new();
    while let Some(row) = rows.next()? {
        let values = (0..columns).map(|column| value(row.get_ref(column)?, column)).collect::<Result<_, _>>()?;
        answer.push(Row(values));
    }
    Ok(answer)
}

fn value(value: ValueRef<'_>, column: usize) -> Result<Value, DatabaseError> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Int(value),
        ValueRef::Real(_) => return Err(DatabaseError::Column { column, expected: "anything but a float" }),
        ValueRef::Text(bytes) => {
            let text = std::str::from_utf8(bytes).map_err(|error| DatabaseError::content("text", error))?;
            Value::Text(text.to_owned())
        }
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
    })
}
