//! A PostgreSQL cluster of one's own.
//!
//! `initdb` and the server run as an unprivileged user where the test runs as root, because
//! PostgreSQL refuses root. A guard process holds the other end of a pipe: when the test process
//! ends, however it ends, the guard stops the server and removes the folder.

use crate::system::{self, Guard, Owner, SystemError};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often a start is tried: another process may take the free port first, and the processes of
/// a killed server take a moment to go.
const START_ATTEMPTS_MAX: usize = 20;

/// How long a killed server may take to vanish.
const GONE_SECONDS_MAX: u64 = 30;

/// The superuser of every cluster.
pub const SUPERUSER: &str = "postgres";

/// Its password.
pub const PASSWORD: &str = "levada test 'password'";

/// What the guard does when the pipe closes: stop the server at once, then remove the folder `$1`.
const GUARD: &str = r#"
cat >/dev/null
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid" 2>/dev/null
tries=0
while [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && [ $tries -lt 100 ]; do tries=$((tries + 1)); sleep 0.05; done
rm -rf "$1"
"#;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum TestbedError {
    /// No server binaries on this machine.
    #[error(
        "found no PostgreSQL server (`initdb`, `pg_ctl`, `postgres`, `psql`, `createdb`) in PATH or /usr/lib/postgresql/*/bin; install it: \
         `apt-get install postgresql` on Debian, `brew install postgresql` on macOS"
    )]
    NoServer,
    /// PostgreSQL refuses root, and no user of the machine can stand in.
    #[error("PostgreSQL refuses to run as root and this machine has neither a user `postgres` nor `nobody`")]
    NoUser,
    /// A folder or program of the machine.
    #[error(transparent)]
    System(#[from] SystemError),
    /// A killed server did not go away.
    #[error("the killed server {pid} is still there after {GONE_SECONDS_MAX} s")]
    StillThere {
        /// Its process id.
        pid: String,
    },
}

/// A running PostgreSQL server. Dropping it stops the server and removes its folder.
#[derive(Debug)]
pub struct PostgresCluster {
    binaries: PathBuf,
    folder: PathBuf,
    port: u16,
    /// User and group that the server runs as, where that is not ours.
    owner: Option<(u32, u32)>,
    _guard: Guard,
}

impl PostgresCluster {
    /// Creates a cluster and starts it: UTF-8, `wal_level=logical`, no fsync, password logins only.
    ///
    /// # Errors
    /// No server is installed, or it does not start.
    pub fn start() -> Result<Self, TestbedError> {
        Self::start_with(&[])
    }

    /// As [`Self::start`], with further settings, such as `("max_connections", "20")`.
    ///
    /// # Errors
    /// No server is installed, or it does not start.
    pub fn start_with(settings: &[(&str, &str)]) -> Result<Self, TestbedError> {
        let mut cluster = Self::create(settings)?;
        cluster.start_server()?;
        Ok(cluster)
    }

    /// Creates a cluster that does not run yet.
    fn create(settings: &[(&str, &str)]) -> Result<Self, TestbedError> {
        let cluster = Self::prepare()?;
        cluster.initialize(settings)?;
        Ok(cluster)
    }

    /// Creates a guarded folder without data.
    fn prepare() -> Result<Self, TestbedError> {
        let binaries = find_binaries().ok_or(TestbedError::NoServer)?;
        let folder = system::new_folder("levada-pg-")?;
        let guard = Guard::spawn(GUARD, &folder)?;
        let owner = match system::hand_over(&folder, &["postgres", "nobody"])? {
            Owner::Us => None,
            Owner::Other(user, group) => Some((user, group)),
            Owner::Nobody => return Err(TestbedError::NoUser),
        };
        Ok(Self { binaries, folder, port: 0, owner, _guard: guard })
    }

    /// What a failover leaves: a standby with what this running server has now, promoted. As every standby
    /// before PostgreSQL 17 it has no logical slots.
    ///
    /// # Errors
    /// The copy can't be made, or does not start.
    pub fn promoted_copy(&self) -> Result<Self, TestbedError> {
        let mut copy = Self::prepare()?;
        self.run("pg_basebackup", |command| {
            command.args(self.login()).args(["--no-sync", "--checkpoint=fast", "--pgdata"]).arg(copy.data())
        })?;
        system::write_private(&copy.data().join("standby.signal"), "", copy.owner)?;
        copy.start_server()?;
        copy.control("promote", &[])?;
        Ok(copy)
    }

    /// Copies the data folder aside, as a backup of the stopped server; it runs again afterwards.
    ///
    /// # Errors
    /// The server does not stop or start, or its folder can't be copied.
    pub fn back_up(&self) -> Result<(), TestbedError> {
        self.stop()?;
        system::output_of(Command::new("cp").arg("-a").arg(self.data()).arg(self.backup()))?;
        self.restart()
    }

    /// Puts the copy of [`Self::back_up`] in the place of what there is now, and starts it.
    ///
    /// # Errors
    /// The server does not stop or start, or there is no copy.
    pub fn restore(&self) -> Result<(), TestbedError> {
        self.stop()?;
        system::output_of(Command::new("rm").arg("-r").arg(self.data()))?;
        system::output_of(Command::new("mv").arg(self.backup()).arg(self.data()))?;
        self.restart()
    }

    /// As [`Self::start`], with encryption on: a certificate and its key as PEM.
    ///
    /// # Errors
    /// No server is installed, or it does not start.
    pub fn start_encrypted(certificate: &str, key: &str) -> Result<Self, TestbedError> {
        let mut cluster = Self::create(&[("ssl", "on")])?;
        for (name, pem) in [("server.crt", certificate), ("server.key", key)] {
            system::write_private(&cluster.data().join(name), pem, cluster.owner)?;
        }
        cluster.start_server()?;
        Ok(cluster)
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the Unix socket; a host for clients that take one.
    pub fn socket_folder(&self) -> &Path {
        &self.folder
    }

    /// One of the server's programs, such as `psql`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }

    /// The process id of the running server.
    ///
    /// # Errors
    /// It does not run.
    pub fn pid(&self) -> Result<String, TestbedError> {
        let path = self.data().join("postmaster.pid");
        let text = std::fs::read_to_string(&path).map_err(|source| SystemError::Prepare { path, source })?;
        Ok(text.lines().next().unwrap_or_default().trim().to_owned())
    }

    /// The URL of a database, for [`SUPERUSER`], over TCP.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://{SUPERUSER}:{}@127.0.0.1:{}/{}",
            percent_encoded(PASSWORD),
            self.port,
            percent_encoded(database)
        )
    }

    /// Creates an empty database.
    ///
    /// # Errors
    /// It exists, or the server is down.
    pub fn create_database(&self, name: &str) -> Result<(), TestbedError> {
        self.run("createdb", |command| command.args(self.login()).arg("--").arg(name)).map(drop)
    }

    /// Runs SQL as the superuser and gives what it prints: rows as lines, columns separated by `|`.
    ///
    /// # Errors
    /// The first statement that fails.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String, TestbedError> {
        self.run("psql", |command| {
            command.args(self.login()).args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-d",
                database,
                "-c",
                sql,
            ])
        })
    }

    /// Stops the server cleanly; [`Self::restart`] brings it back.
    ///
    /// # Errors
    /// It does not stop.
    pub fn stop(&self) -> Result<(), TestbedError> {
        self.control("stop", &["-m", "fast"])
    }

    /// Kills the server with SIGKILL, as a power cut would, and waits until it is gone.
    ///
    /// # Errors
    /// It is still there afterwards.
    pub fn kill(&self) -> Result<(), TestbedError> {
        let pid = self.pid()?;
        let script = r#"kill -9 "$1"; tries=0
            while kill -0 "$1" 2>/dev/null && [ $tries -lt 600 ]; do tries=$((tries + 1)); sleep 0.05; done
            ! kill -0 "$1" 2>/dev/null"#;
        match system::output_of(Command::new("/bin/sh").args(["-c", script, "kill", &pid]).stdin(Stdio::null())) {
            Ok(_) => Ok(()),
            Err(SystemError::Failed { .. }) => Err(TestbedError::StillThere { pid }),
            Err(error) => Err(error.into()),
        }
    }

    /// Starts the server again on the same port, after [`Self::stop`] or [`Self::kill`], or
    /// restarts a running one.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&self) -> Result<(), TestbedError> {
        if self.data().join("postmaster.pid").exists() {
            // A killed server leaves its file behind: then there is nothing to stop.
            let _ = self.stop();
        }
        let until = Instant::now() + Duration::from_secs(GONE_SECONDS_MAX);
        loop {
            match self.control("start", &["-o", &self.server_options(self.port)]) {
                Err(TestbedError::System(SystemError::Failed { .. })) if Instant::now() < until => {}
                other => return other,
            }
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn backup(&self) -> PathBuf {
        self.folder.join("backup")
    }

    fn login(&self) -> Vec<String> {
        let socket = self.folder.display().to_string();
        ["-h", &socket, "-p", &self.port.to_string(), "-U", SUPERUSER].map(str::to_owned).to_vec()
    }

    fn server_options(&self, port: u16) -> String {
        format!("-p {port} -k {}", self.folder.display())
    }

    fn initialize(&self, settings: &[(&str, &str)]) -> Result<(), TestbedError> {
        // md5, because SCRAM's thousands of hashes per login cost more than most tests in a debug
        // build. Roles that are created with SCRAM passwords still log in by SCRAM.
        let password_file = self.folder.join("password");
        let prepare = |path: &Path, source| SystemError::Prepare { path: path.to_owned(), source };
        std::fs::write(&password_file, PASSWORD).map_err(|source| prepare(&password_file, source))?;
        self.run("initdb", |command| {
            command
                .args(["--no-sync", "--encoding=UTF8", "--locale=C", "--auth=md5", "--username", SUPERUSER])
                .arg("--pwfile")
                .arg(&password_file)
                .arg("--pgdata")
                .arg(self.data())
        })?;
        // Commits stay synchronous: a killed server must not forget what it has answered.
        let own = [
            ("listen_addresses", "127.0.0.1"),
            ("fsync", "off"),
            ("full_page_writes", "off"),
            ("wal_level", "logical"),
            ("max_connections", "100"),
            ("shared_buffers", "64MB"),
            ("max_wal_size", "512MB"),
            ("autovacuum", "off"),
            ("logging_collector", "off"),
        ];
        // Included last: a later line wins over an earlier one.
        let lines =
            own.iter().chain(settings).map(|(name, value)| format!("{name} = '{}'\n", value.replace('\'', "''")));
        let path = self.data().join("postgresql.auto.conf");
        Ok(system::write_private(&path, &lines.collect::<String>(), self.owner)?)
    }

    fn start_server(&mut self) -> Result<(), TestbedError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let port = system::free_port()?;
            match self.control("start", &["-o", &self.server_options(port)]) {
                Ok(()) => {
                    self.port = port;
                    return Ok(());
                }
                Err(TestbedError::System(SystemError::Failed { .. })) if attempt < START_ATTEMPTS_MAX => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn control(&self, action: &str, arguments: &[&str]) -> Result<(), TestbedError> {
        let log = self.folder.join("server.log");
        let done = self.run("pg_ctl", |command| {
            command.arg("-D").arg(self.data()).args(["-w", "-t", "60", "-l"]).arg(&log).arg(action).args(arguments)
        });
        match done {
            Ok(_) => Ok(()),
            Err(TestbedError::System(SystemError::Failed { program, output })) => {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(20).collect();
                let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
                Err(SystemError::Failed { program, output: format!("{output}\n{tail}") }.into())
            }
            Err(error) => Err(error),
        }
    }

    /// Runs one of PostgreSQL's programs as the server's user and gives what it printed.
    fn run(&self, program: &str, arguments: impl FnOnce(&mut Command) -> &mut Command) -> Result<String, TestbedError> {
        let mut command = Command::new(self.binaries.join(program));
        arguments(&mut command);
        // The folder that the test was started in may be closed to the server's user.
        command.current_dir("/").stdin(Stdio::null()).process_group(0).env("PGPASSWORD", PASSWORD);
        system::become_owner(&mut command, self.owner);
        Ok(system::output_of(&mut command)?)
    }
}

/// The folder of PostgreSQL's server binaries: the one in PATH, or Debian's highest version.
fn find_binaries() -> Option<PathBuf> {
    let programs = ["initdb", "pg_ctl", "postgres", "psql", "createdb"];
    let is_complete = |folder: &PathBuf| programs.iter().all(|name| folder.join(name).is_file());
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(folder) = std::env::split_paths(&path).find(is_complete) {
        return Some(folder);
    }
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, folder)| is_complete(folder))
        .collect();
    versions.sort();
    versions.pop().map(|(_, folder)| folder)
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_starts_survives_a_kill_and_leaves_nothing_behind() {
        let cluster = PostgresCluster::start().expect("a server is installed");
        cluster.create_database("quote\"d").expect("created");
        cluster.sql("quote\"d", "CREATE TABLE t AS SELECT 7 AS a").expect("runs");
        cluster.kill().expect("killed");
        assert!(cluster.sql("quote\"d", "SELECT 1").is_err());
        cluster.restart().expect("recovers");
        assert_eq!(cluster.sql("quote\"d", "SELECT a FROM t").expect("still there"), "7");
        let folder = cluster.folder.clone();
        drop(cluster);
        assert!(!folder.exists());
    }
}
