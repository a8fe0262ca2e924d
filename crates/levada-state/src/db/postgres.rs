//! The PostgreSQL door: a few threads with a connection each take transactions from one queue.
//!
//! Bodies are synchronous; a thread drives its connection on its own runtime while a statement is
//! under way. Statements of one call are pipelined. What is known to be rolled back (deadlock,
//! serialization, a connection lost before COMMIT) runs again; a COMMIT without an answer makes
//! the body run again as *repeated*, so that it finds out what became of the first try.

use super::{Access, DatabaseError, Job, Row, Transaction, Value, Verdict};
use bytes::BytesMut;
use futures::TryStreamExt;
use futures::future::try_join_all;
use std::collections::HashMap;
use std::error::Error;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Config, NoTls, Statement};

/// The schema that holds the state's tables.
pub(crate) const SCHEMA: &str = "levada_state";
/// How many connections one process holds at most.
const CONNECTIONS_MAX: usize = 6;
/// How many transactions may wait before more are held up.
const QUEUE_JOBS_MAX: usize = 1_024;
/// How many statements of one call are under way at once.
const PIPELINE_STATEMENTS_MAX: usize = 256;
/// How many tries a transaction has.
const TRIES_MAX: u32 = 7;
/// The wait before the second try, in milliseconds; it doubles from try to try.
const BACK_OFF_MS: u64 = 20;
/// How long making a connection may take, in seconds, where the URL doesn't say.
const CONNECT_SECONDS: u64 = 10;
/// The key of the advisory lock that migrations take: "levada" in ASCII.
const MIGRATION_LOCK: i64 = 0x6c65_7661_6461;

/// A state on a server.
pub(crate) struct Postgres {
    config: Config,
    jobs: Option<mpsc::Sender<PostgresJob>>,
    threads: Vec<JoinHandle<()>>,
}

struct PostgresJob {
    access: Access,
    job: Box<dyn Job>,
}

type Queue = Arc<Mutex<mpsc::Receiver<PostgresJob>>>;

impl Postgres {
    /// Starts the threads; each connects with its first transaction.
    pub(crate) fn open(url: &str) -> Result<Self, DatabaseError> {
        let mut config = Config::from_str(url)?;
        if config.get_application_name().is_none() {
            config.application_name("levada");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(CONNECT_SECONDS));
        }
        let (jobs, queue) = mpsc::channel(QUEUE_JOBS_MAX);
        let queue = Arc::new(Mutex::new(queue));
        let threads = (0..CONNECTIONS_MAX)
            .map(|index| start_thread(index, config.clone(), Arc::clone(&queue)))
            .collect::<Result<_, _>>()?;
        Ok(Self { config, jobs: Some(jobs), threads })
    }

    /// How the server is reached.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) async fn run(&self, access: Access, job: Box<dyn Job>) -> Result<(), DatabaseError> {
        let jobs = self.jobs.as_ref().expect("the sender is there until the value is dropped");
        jobs.send(PostgresJob { access, job }).await.map_err(|_| DatabaseError::Stopped)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has already answered by hanging up.
            drop(thread.join());
        }
    }
}

fn start_thread(index: usize, config: Config, queue: Queue) -> Result<JoinHandle<()>, DatabaseError> {
    let mut worker = Worker { config, session: None };
    let name = format!("levada-state-{index}");
    Ok(std::thread::Builder::new().name(name).spawn(move || {
        while let Some(job) = next(&queue) {
            worker.serve(job);
        }
    })?)
}

fn next(queue: &Queue) -> Option<PostgresJob> {
    queue.lock().expect("nothing panics while holding the queue").blocking_recv()
}

/// Whether the same may work a moment later, and is known to have had no effect.
pub(super) fn is_transient(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        Some(code) => [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::TOO_MANY_CONNECTIONS,
            SqlState::LOCK_NOT_AVAILABLE,
        ]
        .contains(code),
        None => is_lost(error),
    }
}

/// Whether the connection is gone.
fn is_lost(error: &tokio_postgres::Error) -> bool {
    error.is_closed() || error.source().is_some_and(|cause| cause.is::<std::io::Error>())
}

/// One thread's connection.
struct Worker {
    config: Config,
    session: Option<Session>,
}

/// How one try of a transaction ended.
enum Try {
    /// The answer is known.
    Ended(Result<(), DatabaseError>),
    /// It left no trace and may be tried again.
    Undone(DatabaseError),
    /// It was perhaps committed.
    Unknown(Arc<tokio_postgres::Error>),
}

impl Worker {
    fn serve(&mut self, PostgresJob { access, mut job }: PostgresJob) {
        let mut unknown: Option<Arc<tokio_postgres::Error>> = None;
        for number in 1..=TRIES_MAX {
            let last = match self.attempt(access, &mut *job, unknown.is_some()) {
                Try::Ended(outcome) => return job.finish(outcome),
                Try::Undone(error) => error,
                Try::Unknown(error) => DatabaseError::Postgres(Arc::clone(unknown.insert(error))),
            };
            if number == TRIES_MAX {
                let error = unknown.map_or(last, DatabaseError::OutcomeUnknown);
                return job.finish(Err(error));
            }
            std::thread::sleep(Duration::from_millis(BACK_OFF_MS << (number - 1)));
        }
    }

    fn attempt(&mut self, access: Access, job: &mut dyn Job, is_repeated: bool) -> Try {
        let mut session = match self.session.take().map_or_else(|| Session::connect(&self.config), Ok) {
            Ok(session) => session,
            Err(error) if error.is_retryable() => return Try::Undone(error),
            Err(error) => return Try::Ended(Err(error)),
        };
        session.is_repeated = is_repeated;
        let outcome = session.attempt(access, job);
        if !session.client.is_closed() {
            self.session = Some(session);
        }
        outcome
    }
}

/// An open connection with the runtime that drives it.
struct Session {
    runtime: Runtime,
    client: Client,
    statements: HashMap<&'static str, Statement>,
    is_repeated: bool,
}

impl Session {
    fn connect(config: &Config) -> Result<Self, DatabaseError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(connect(config))?;
        Ok(Self { runtime, client, statements: HashMap::new(), is_repeated: false })
    }

    fn command(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        self.runtime.block_on(self.client.batch_execute(sql))
    }

    fn attempt(&mut self, access: Access, job: &mut dyn Job) -> Try {
        let begin = match access {
            Access::Read => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Access::Write => "BEGIN ISOLATION LEVEL READ COMMITTED",
        };
        if let Err(error) = self.command(begin) {
            return match is_transient(&error) {
                true => Try::Undone(error.into()),
                false => Try::Ended(Err(error.into())),
            };
        }
        match job.run(self) {
            Verdict::Commit => self.commit(access),
            Verdict::Undo => {
                self.undo();
                Try::Ended(Ok(()))
            }
            Verdict::Retry => {
                self.undo();
                Try::Undone(DatabaseError::Stopped)
            }
        }
    }

    fn undo(&mut self) {
        // Where this fails the connection is gone, and the server undoes by itself.
        drop(self.command("ROLLBACK"));
    }

    fn commit(&mut self, access: Access) -> Try {
        match self.command("COMMIT") {
            Ok(()) => Try::Ended(Ok(())),
            Err(_) if access == Access::Read => Try::Ended(Ok(())),
            // A server that stops may have committed before it could say so.
            Err(error) if is_lost(&error) || is_stopping(&error) => Try::Unknown(Arc::new(error)),
            Err(error) if is_transient(&error) => Try::Undone(error.into()),
            Err(error) => Try::Ended(Err(error.into())),
        }
    }

    fn statement(&mut self, sql: &'static str) -> Result<Statement, DatabaseError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.runtime.block_on(self.client.prepare(&sql.replace('?', "$")))?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }
}

/// Connects and leaves the connection to the runtime it is called on.
pub(crate) async fn connect(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection to the state ended");
        }
    });
    client.batch_execute(&format!("SET search_path = {SCHEMA}; SET client_min_messages = warning")).await?;
    Ok(client)
}

fn is_stopping(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN].contains(code))
}

impl Transaction for Session {
    fn execute_many(&mut self, sql: &'static str, sets: &[Vec<Value>]) -> Result<Vec<u64>, DatabaseError> {
        let statement = self.statement(sql)?;
        let mut counts = Vec::with_capacity(sets.len());
        for chunk in sets.chunks(PIPELINE_STATEMENTS_MAX) {
            let all = chunk.iter().map(|set| self.client.execute_raw(&statement, set));
            counts.extend(self.runtime.block_on(try_join_all(all))?);
        }
        Ok(counts)
    }

    fn query_many(&mut self, sql: &'static str, sets: &[Vec<Value>]) -> Result<Vec<Vec<Row>>, DatabaseError> {
        let statement = self.statement(sql)?;
        let mut answers = Vec::with_capacity(sets.len());
        for chunk in sets.chunks(PIPELINE_STATEMENTS_MAX) {
            let all = chunk.iter().map(|set| query(&self.client, &statement, set));
            for rows in self.runtime.block_on(try_join_all(all))? {
                answers.push(rows.iter().map(row).collect::<Result<_, _>>()?);
            }
        }
        Ok(answers)
    }

    fn run_script(&mut self, script: &str) -> Result<(), DatabaseError> {
        let script = script
            .replace(" IDENTITY", " BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY")
            .replace(" CLUSTERED", "");
        Ok(self.command(&script)?)
    }

    fn lock_migrations(&mut self) -> Result<(), DatabaseError> {
        let lock = format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK}); CREATE SCHEMA IF NOT EXISTS {SCHEMA}");
        Ok(self.command(&lock)?)
    }

    fn has_table(&mut self, table: &str) -> Result<bool, DatabaseError> {
        let name = format!("{SCHEMA}.{table}");
        let row = self.runtime.block_on(self.client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&name]))?;
        Ok(row.try_get(0)?)
    }

    fn is_repeated(&self) -> bool {
        self.is_repeated
    }
}

async fn query(
    client: &Client,
    statement: &Statement,
    set: &[Value],
) -> Result<Vec<tokio_postgres::Row>, tokio_postgres::Error> {
    client.query_raw(statement, set).await?.try_collect().await
}

fn row(row: &tokio_postgres::Row) -> Result<Row, DatabaseError> {
    let values = row.columns().iter().enumerate().map(|(index, column)| {
        let value = match *column.type_() {
            Type::INT8 => row.try_get::<_, Option<i64>>(index)?.into(),
            Type::INT4 => row.try_get::<_, Option<i32>>(index)?.map(i64::from).into(),
            Type::BOOL => row.try_get::<_, Option<bool>>(index)?.into(),
            Type::TEXT | Type::VARCHAR | Type::NAME => row.try_get::<_, Option<String>>(index)?.into(),
            Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(index)?.into(),
            _ => return Err(DatabaseError::Column { column: index, expected: "a type of the state's tables" }),
        };
        Ok(value)
    });
    values.collect::<Result<_, _>>().map(Row)
}

impl ToSql for Value {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(value) if *ty == Type::INT4 => i32::try_from(*value)?.to_sql(ty, out),
            Self::Int(value) if *ty == Type::INT8 => value.to_sql(ty, out),
            Self::Text(value) if <String as ToSql>::accepts(ty) => value.to_sql(ty, out),
            Self::Bytes(value) if *ty == Type::BYTEA => value.to_sql(ty, out),
            _ => Err(format!("a value of the state doesn't go into a parameter of type {ty}").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
