//! Who may run jobs on a state.
//!
//! On SQLite one worker holds a file lock beside the database, which the operating system gives
//! back when the process ends, however it ends. On PostgreSQL workers share the state by leases;
//! each holds a shared advisory lock for as long as its session lives, so that one that finds
//! itself alone knows that every lease is a dead worker's.

use crate::db::postgres::{Postgres, connect};
use crate::db::{Database, DatabaseError};
use crate::nodes::{EXPIRE, Host};
use crate::{State, StateError};
use levada_model::fingerprint::fingerprint;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_postgres::{Client, Config};

/// The key of the advisory lock that the workers of a host share: "worker" in ASCII for those that are
/// started anywhere, else a hash of the platform whose pods they are.
fn lock_key(host: &Host) -> i64 {
    match host {
        Host::Anywhere => 0x776f_726b_6572,
        Host::Pods(platform) => (fingerprint(platform).0 as u64 >> 1) as i64,
    }
}
/// The longest text that is read from a lock file, in bytes.
const HOLDER_BYTES_MAX: u64 = 512;

/// The right to run jobs; given back when dropped.
#[derive(Debug)]
pub struct WorkerLock {
    held: Held,
}

#[derive(Debug)]
enum Held {
    File { _file: HeldFile },
    Session(HeldSession),
}

/// A locked file.
#[derive(Debug)]
struct HeldFile(File);

impl Drop for HeldFile {
    fn drop(&mut self) {
        // A process that this one is just starting keeps the file open until its program is there:
        // closing would not give the lock back yet. Where this fails, closing does in the end.
        drop(self.0.unlock());
    }
}

/// A thread that keeps a session open until it is told to let go.
#[derive(Debug)]
struct HeldSession {
    is_held: Arc<AtomicBool>,
    is_alone: bool,
    settled: Option<oneshot::Sender<()>>,
    release: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for HeldSession {
    fn drop(&mut self) {
        self.settled = None;
        self.release = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has let go of its session all the same.
            drop(thread.join());
        }
    }
}

impl WorkerLock {
    /// Whether no other worker was there when the lock was taken. Others wait to join until
    /// [`WorkerLock::settle`], so that what dead workers left can be swept away in peace.
    pub fn is_alone(&self) -> bool {
        match &self.held {
            Held::File { .. } => true,
            Held::Session(session) => session.is_alone,
        }
    }

    /// Lets other workers join, where the system has several.
    pub fn settle(&mut self) {
        if let Held::Session(session) = &mut self.held {
            session.settled = None;
        }
    }

    /// Whether the lock is still there; a PostgreSQL session that was cut has lost it.
    pub fn is_held(&self) -> bool {
        match &self.held {
            Held::File { .. } => true,
            Held::Session(session) => session.is_held.load(Ordering::Acquire),
        }
    }
}

impl State {
    /// Becomes a worker of this state: on SQLite the only one, on PostgreSQL one of several, and
    /// alone or not among those of its host.
    ///
    /// A worker that is alone expires all leases of its host's rows at once: whoever held them is dead.
    ///
    /// # Errors
    /// [`StateError::Locked`] names the worker that holds a SQLite state.
    pub async fn take_worker_lock(&self, host: &Host) -> Result<WorkerLock, StateError> {
        let held = match &self.inner.database {
            Database::Sqlite(database) => {
                let path = lock_path(database.path());
                let taken = tokio::task::spawn_blocking(move || lock_file(path)).await;
                let stopped = || StateError::Database { operation: "lock the state", source: DatabaseError::Stopped };
                let held = taken.map_err(|_| stopped())??;
                self.expire_leases(host, i64::MAX).await?;
                Held::File { _file: held }
            }
            Database::Postgres(database) => join_workers(database, host)
                .await
                .map_err(|source| StateError::Database { operation: "join the workers of the state", source })?,
        };
        Ok(WorkerLock { held })
    }
}

/// `state.db` → `state.db.lock`
fn lock_path(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

fn lock_file(path: PathBuf) -> Result<HeldFile, StateError> {
    let failed = |source| StateError::LockFile { path: path.clone(), source };
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = open.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(StateError::Locked { by: holder(&file) }),
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    write_holder(&mut file).map_err(failed)?;
    Ok(HeldFile(file))
}

fn write_holder(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "process {} on {}", std::process::id(), host())?;
    file.sync_data()
}

fn holder(file: &File) -> String {
    let mut text = String::new();
    match file.take(HOLDER_BYTES_MAX).read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "another process".to_owned(),
    }
}

fn host() -> String {
    let name =
        std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::fs::read_to_string("/etc/hostname"));
    match name {
        Ok(name) if !name.trim().is_empty() => name.trim().to_owned(),
        _ => "this host".to_owned(),
    }
}

/// Opens a session that holds the shared lock; where no other worker is there, expires all leases
/// and keeps others out until it has settled.
async fn join_workers(database: &Postgres, host: &Host) -> Result<Held, DatabaseError> {
    let (release, released) = oneshot::channel();
    let (settle, settled) = oneshot::channel();
    let (answer, joined) = oneshot::channel();
    let is_held = Arc::new(AtomicBool::new(true));
    let session = Session { config: database.config().clone(), host: host.clone(), is_held: Arc::clone(&is_held) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new()
        .name("levada-worker-lock".to_owned())
        .spawn(move || runtime.block_on(session.hold(answer, settled, released)))?;
    let mut held =
        HeldSession { is_held, is_alone: false, settled: Some(settle), release: Some(release), thread: Some(thread) };
    held.is_alone = joined.await.unwrap_or(Err(DatabaseError::Stopped))?;
    Ok(Held::Session(held))
}

struct Session {
    config: Config,
    host: Host,
    is_held: Arc<AtomicBool>,
}

impl Session {
    async fn hold(
        self,
        answer: oneshot::Sender<Result<bool, DatabaseError>>,
        settled: oneshot::Receiver<()>,
        released: oneshot::Receiver<()>,
    ) {
        match self.join().await {
            Ok((client, is_alone)) => {
                drop(answer.send(Ok(is_alone)));
                let settle = async {
                    // The sender says it by going away; there is nothing to read.
                    drop(settled.await);
                    if is_alone {
                        // Where this fails the session is gone, and the lock with it.
                        drop(client.execute("SELECT pg_advisory_unlock($1)", &[&lock_key(&self.host)]).await);
                    }
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    _ = released => {}
                    () = ended(&client) => {}
                    () = settle => {}
                }
            }
            Err(error) => drop(answer.send(Err(error))),
        }
        self.is_held.store(false, Ordering::Release);
    }

    async fn join(&self) -> Result<(Client, bool), DatabaseError> {
        let client = connect(&self.config).await?;
        let key = lock_key(&self.host);
        let alone = client.query_one("SELECT pg_try_advisory_lock($1)", &[&key]).await?;
        let is_alone: bool = alone.try_get(0)?;
        client.execute("SELECT pg_advisory_lock_shared($1)", &[&key]).await?;
        if is_alone {
            // Nobody joins, and so nobody claims, before the dead workers' leases are gone.
            client.execute(&EXPIRE.replace('?', "$"), &[&i64::MAX, &self.host.column()]).await?;
        }
        Ok((client, is_alone))
    }
}

/// Ends when the session does: asks now and then, since nothing else travels on it.
async fn ended(client: &Client) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    while client.check_connection().await.is_ok() {
        ticks.tick().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_given_back_although_a_starting_process_still_has_its_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.db.lock");
        let held = lock_file(path.clone()).expect("nobody has it");
        let inherited = held.0.try_clone().expect("a second handle of the open file");
        lock_file(path.clone()).expect_err("it is held");
        drop(held);
        lock_file(path).expect("it was given back");
        drop(inherited);
    }
}
