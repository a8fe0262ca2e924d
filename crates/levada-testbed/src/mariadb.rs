//! A MariaDB server of one's own.
//!
//! `mariadb-install-db` and the server run as an unprivileged user where the test runs as root. A
//! guard process holds the other end of a pipe: when the test process ends, however it ends, the
//! guard kills the server and removes the folder.

use crate::system::{self, Guard, SystemError};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How often a start is tried: another process may take the free port first.
const START_ATTEMPTS_MAX: usize = 20;

/// How long a server may take until it answers; one that was killed recovers first.
const START_SECONDS_MAX: u64 = 120;

/// How long a server may take to end when it is asked to.
const STOP_SECONDS_MAX: u64 = 60;

/// The user who may do everything, from every address.
pub const SUPERUSER: &str = "levada_admin";

/// Its password.
pub const PASSWORD: &str = "levada test 'password'";

/// What the guard does when the pipe closes: kill the server, then remove the folder `$1`.
const GUARD: &str = r#"
cat >/dev/null
pid=$(head -n 1 "$1/server.pid" 2>/dev/null) && kill -KILL "$pid" 2>/dev/null
tries=0
while [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && [ $tries -lt 100 ]; do tries=$((tries + 1)); sleep 0.05; done
rm -rf "$1"
"#;

/// What the tests start.
const PROGRAMS: [&str; 3] = ["mariadbd", "mariadb-install-db", "mariadb"];

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum MariadbError {
    /// No server programs on this machine.
    #[error(
        "found no `{missing}` of MariaDB in PATH, /usr/sbin or /usr/bin; install its server: \
         `apt-get install mariadb-server` on Debian, `brew install mariadb` on macOS"
    )]
    NoServer {
        /// The first that is not there.
        missing: &'static str,
    },
    /// MariaDB refuses root, and no user of the machine can stand in.
    #[error("MariaDB refuses to run as root and this machine has neither a user `mysql` nor `nobody`")]
    NoUser,
    /// A folder or program of the machine.
    #[error(transparent)]
    System(#[from] SystemError),
    /// The server ended, or did not answer in time.
    #[error("the MariaDB server did not start: {log}")]
    NotStarted {
        /// The end of its log.
        log: String,
    },
    /// A server did not end.
    #[error("the MariaDB server is still there after {STOP_SECONDS_MAX} s")]
    StillThere,
}

/// A running MariaDB server. Dropping it stops the server and removes its folder.
#[derive(Debug)]
pub struct MariadbServer {
    folder: PathBuf,
    port: u16,
    /// `--name=value` of each further setting.
    settings: Vec<String>,
    /// User and group that the server runs as, where that is not ours.
    owner: Option<(u32, u32)>,
    server: Mutex<Option<Child>>,
    _guard: Guard,
}

impl MariadbServer {
    /// Creates a server and starts it: password logins only, commits that survive a kill.
    ///
    /// # Errors
    /// No server is installed, or it does not start.
    pub fn start() -> Result<Self, MariadbError> {
        Self::start_with(&[])
    }

    /// As [`Self::start`], with further settings, such as `("log_bin", "changes")`.
    ///
    /// # Errors
    /// No server is installed, or it does not start.
    pub fn start_with(settings: &[(&str, &str)]) -> Result<Self, MariadbError> {
        let mut server = Self::create(settings)?;
        server.start_first()?;
        Ok(server)
    }

    /// A server of its own with all that this one has now, as a replica that takes over: its further settings
    /// come after this one's.
    ///
    /// # Errors
    /// This server does not stop or start, its folder can't be copied, or the other one does not start.
    pub fn copy(&self, settings: &[(&str, &str)]) -> Result<Self, MariadbError> {
        let mut copy = Self::prepare(settings)?;
        copy.settings.splice(0..0, self.settings.iter().cloned());
        self.stop()?;
        system::output_of(Command::new("cp").arg("-a").arg(self.data()).arg(copy.data()))?;
        copy.prepare_users()?;
        self.restart()?;
        copy.start_first()?;
        Ok(copy)
    }

    /// Copies the data folder aside, as a backup of the stopped server; it runs again afterwards.
    ///
    /// # Errors
    /// The server does not stop or start, or its folder can't be copied.
    pub fn back_up(&self) -> Result<(), MariadbError> {
        self.stop()?;
        system::output_of(Command::new("cp").arg("-a").arg(self.data()).arg(self.backup()))?;
        self.restart()
    }

    /// Puts the copy of [`Self::back_up`] in the place of what there is now, and starts it.
    ///
    /// # Errors
    /// The server does not stop or start, or there is no copy.
    pub fn restore(&self) -> Result<(), MariadbError> {
        self.stop()?;
        system::output_of(Command::new("rm").arg("-r").arg(self.data()))?;
        system::output_of(Command::new("mv").arg(self.backup()).arg(self.data()))?;
        self.restart()
    }

    /// As [`Self::start`], with encryption on: a certificate and its key as PEM.
    ///
    /// # Errors
    /// No server is installed, or it does not start.
    pub fn start_encrypted(certificate: &str, key: &str) -> Result<Self, MariadbError> {
        let mut server = Self::create(&[])?;
        for (name, setting, pem) in [("server.crt", "ssl-cert", certificate), ("server.key", "ssl-key", key)] {
            let path = server.folder.join(name);
            system::write_private(&path, pem, server.owner)?;
            server.settings.push(format!("--{setting}={}", path.display()));
        }
        server.start_first()?;
        Ok(server)
    }

    /// Creates a server that does not run yet.
    fn create(settings: &[(&str, &str)]) -> Result<Self, MariadbError> {
        let server = Self::prepare(settings)?;
        server.initialize()?;
        Ok(server)
    }

    /// Creates a guarded folder without data.
    fn prepare(settings: &[(&str, &str)]) -> Result<Self, MariadbError> {
        if let Some(missing) = PROGRAMS.iter().find(|program| find(program).is_none()) {
            return Err(MariadbError::NoServer { missing });
        }
        let folder = system::new_folder("levada-mariadb-")?;
        let guard = Guard::spawn(GUARD, &folder)?;
        let owner = match system::hand_over(&folder, &["mysql", "nobody"])? {
            system::Owner::Us => None,
            system::Owner::Other(user, group) => Some((user, group)),
            system::Owner::Nobody => return Err(MariadbError::NoUser),
        };
        let settings = settings.iter().map(|(name, value)| format!("--{name}={value}")).collect();
        Ok(Self { folder, port: 0, settings, owner, server: Mutex::new(None), _guard: guard })
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("server.sock")
    }

    /// Runs SQL as the superuser and gives what it prints: rows as lines, columns separated by tabs.
    ///
    /// # Errors
    /// The first statement that fails.
    pub fn sql(&self, sql: &str) -> Result<String, MariadbError> {
        let mut command = self.command("mariadb");
        command
            .arg("--no-defaults")
            .arg(format!("--socket={}", self.socket().display()))
            .arg(format!("--user={SUPERUSER}"))
            .args(["--default-character-set=utf8mb4", "--batch", "--raw", "--skip-column-names", "-e", sql])
            .env("MYSQL_PWD", PASSWORD);
        Ok(system::output_of(&mut command)?)
    }

    /// Kills the server with SIGKILL, as a power cut would, and waits until it is gone.
    ///
    /// # Errors
    /// It can't be killed.
    pub fn kill(&self) -> Result<(), MariadbError> {
        let Some(mut server) = self.running().take() else { return Ok(()) };
        let killed = server.kill().and_then(|()| server.wait());
        killed.map_err(|source| SystemError::Spawn { program: "kill".into(), source })?;
        Ok(())
    }

    /// Stops the server cleanly; [`Self::restart`] brings it back.
    ///
    /// # Errors
    /// It does not stop.
    pub fn stop(&self) -> Result<(), MariadbError> {
        let Some(mut server) = self.running().take() else { return Ok(()) };
        let mut terminate = Command::new("/bin/kill");
        system::output_of(terminate.args(["-TERM", &server.id().to_string()]).stdin(Stdio::null()))?;
        match system::wait_until(STOP_SECONDS_MAX, || !matches!(server.try_wait(), Ok(None))) {
            true => Ok(()),
            false => Err(MariadbError::StillThere),
        }
    }

    /// Starts the server again on the same folder and port, after [`Self::stop`] or
    /// [`Self::kill`], or restarts a running one.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart(&self) -> Result<(), MariadbError> {
        self.stop()?;
        self.start_server(self.port)
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.server.lock().expect("nobody panics while holding the server")
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn backup(&self) -> PathBuf {
        self.folder.join("backup")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// A program of MariaDB's, run as the server's user.
    fn command(&self, program: &str) -> Command {
        let path = find(program).unwrap_or_else(|| PathBuf::from(program));
        let mut command = Command::new(path);
        // The folder that the test was started in may be closed to the server's user.
        command.current_dir("/").stdin(Stdio::null());
        system::become_owner(&mut command, self.owner);
        command
    }

    fn initialize(&self) -> Result<(), MariadbError> {
        let mut command = self.command("mariadb-install-db");
        command
            .args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"])
            .arg(format!("--datadir={}", self.data().display()))
            // Two that work in one folder of temporary tables drop each other's.
            .arg(format!("--tmpdir={}", self.folder.display()))
            // Its own way of finding them depends on where it is started.
            .args(["--skip-name-resolve", "--innodb-log-file-size=16M"]);
        system::output_of(&mut command)?;
        self.prepare_users()
    }

    /// Leaves the statements that every start runs.
    fn prepare_users(&self) -> Result<(), MariadbError> {
        let quoted = PASSWORD.replace('\'', "''");
        let statements = format!(
            "CREATE USER IF NOT EXISTS {SUPERUSER}@'%' IDENTIFIED BY '{quoted}';\n\
             GRANT ALL PRIVILEGES ON *.* TO {SUPERUSER}@'%' WITH GRANT OPTION;\n\
             DROP USER IF EXISTS root@localhost, ''@localhost;\n"
        );
        Ok(system::write_private(&self.folder.join("init.sql"), &statements, self.owner)?)
    }

    fn start_first(&mut self) -> Result<(), MariadbError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let port = system::free_port()?;
            match self.start_server(port) {
                Ok(()) => {
                    self.port = port;
                    return Ok(());
                }
                Err(MariadbError::NotStarted { .. }) if attempt < START_ATTEMPTS_MAX => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Starts the server and waits until it answers a query.
    fn start_server(&self, port: u16) -> Result<(), MariadbError> {
        let log = std::fs::File::create(self.log());
        let log = log.map_err(|source| SystemError::Prepare { path: self.log(), source })?;
        let folder = self.folder.display();
        let mut command = self.command("mariadbd");
        command
            .arg("--no-defaults")
            .arg(format!("--datadir={}", self.data().display()))
            .arg(format!("--socket={folder}/server.sock"))
            .arg(format!("--pid-file={folder}/server.pid"))
            .arg(format!("--init-file={folder}/init.sql"))
            .arg(format!("--tmpdir={folder}"))
            .arg(format!("--port={port}"))
            .args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--performance-schema=OFF"])
            .args(["--innodb-buffer-pool-size=64M", "--innodb-log-file-size=64M", "--max-connections=100"])
            // Commits reach the system's cache, which outlives the process.
            .args(["--innodb-flush-log-at-trx-commit=2", "--sync-binlog=0"])
            .args(&self.settings)
            .stdout(Stdio::null())
            .stderr(Stdio::from(log));
        // Ctrl-C reaches the test's process group; the guard ends the server.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let program = PathBuf::from(command.get_program());
        let mut child = command.spawn().map_err(|source| SystemError::Spawn { program, source })?;
        let until = Instant::now() + Duration::from_secs(START_SECONDS_MAX);
        while self.sql("SELECT 1").is_err() {
            let has_ended = !matches!(child.try_wait(), Ok(None));
            if has_ended || Instant::now() > until {
                // What does not answer must not be left behind.
                drop((child.kill(), child.wait()));
                return Err(MariadbError::NotStarted { log: self.tail_of_log() });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        *self.running() = Some(child);
        Ok(())
    }

    fn tail_of_log(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for MariadbServer {
    fn drop(&mut self) {
        // The guard removes the folder; our own child has to be waited for, or it stays a zombie.
        drop(self.kill());
    }
}

/// A program in PATH, or where Debian puts it.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = ["/usr/sbin", "/usr/bin"].map(Path::new).map(Path::to_path_buf);
    std::env::split_paths(&path).chain(debian).map(|folder| folder.join(program)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_starts_survives_a_kill_and_leaves_nothing_behind() {
        let settings = [
            ("log_bin", "changes"),
            ("binlog_format", "ROW"),
            ("binlog_row_image", "FULL"),
            ("binlog_row_metadata", "FULL"),
            ("server_id", "7"),
        ];
        let server = MariadbServer::start_with(&settings).expect("a server is installed");
        server.sql("CREATE DATABASE d; CREATE TABLE d.t (a INT); INSERT INTO d.t VALUES (7)").expect("runs");
        assert_eq!(server.sql("SELECT @@log_bin, @@binlog_format, @@server_id").expect("runs"), "1\tROW\t7");
        server.kill().expect("killed");
        assert!(server.sql("SELECT 1").is_err());
        server.restart().expect("recovers");
        assert_eq!(server.sql("SELECT a FROM d.t").expect("still there"), "7");
        server.restart().expect("stops and starts");
        assert_eq!(server.sql("SELECT a FROM d.t").expect("still there"), "7");
        let folder = server.folder.clone();
        drop(server);
        assert!(!folder.exists());
    }
}
