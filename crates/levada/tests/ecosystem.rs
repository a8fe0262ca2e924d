//! A model's folder for a test, and the `levada` command in it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A folder with a model, removed at the end of the test.
pub struct Ecosystem {
    folder: TempDir,
}

/// What a command printed and how it ended.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    fn of(command: &mut Command) -> Self {
        let output = command.output().expect("the built binary starts");
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Stops the test where the command did not succeed.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert_eq!(self.code, 0, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Its output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {}", self.stdout))
    }
}

impl Ecosystem {
    /// Makes an empty one.
    pub fn new() -> Self {
        Self { folder: tempfile::Builder::new().prefix("levada-test-").tempdir().expect("a temporary folder") }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// Writes a file of the model.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("folders can be made");
        std::fs::write(path, text).expect("files can be written");
    }

    /// Leaves a secret where a credential finds it.
    pub fn secret(&self, credential: &str, user: &str, password: &str) {
        self.write("levada.toml", "secrets = \"secrets\"\n");
        self.write(&format!("secrets/{credential}/user"), user);
        self.write(&format!("secrets/{credential}/password"), password);
    }

    /// Runs a script on a SQLite database in the folder.
    pub fn sqlite(&self, name: &str, script: &str) {
        let connection = rusqlite::Connection::open(self.path(name)).expect("a SQLite database");
        connection.execute_batch(script).unwrap_or_else(|error| panic!("{error} in {script}"));
    }

    /// Rows of a query on a SQLite database in the folder, cells separated by `|`.
    pub fn sqlite_rows(&self, name: &str, query: &str) -> Vec<String> {
        let connection = rusqlite::Connection::open(self.path(name)).expect("a SQLite database");
        let mut statement = connection.prepare(query).unwrap_or_else(|error| panic!("{error} in {query}"));
        let columns = statement.column_count();
        let cell = |value: rusqlite::types::Value| match value {
            rusqlite::types::Value::Null => String::new(),
            rusqlite::types::Value::Integer(number) => number.to_string(),
            rusqlite::types::Value::Real(number) => number.to_string(),
            rusqlite::types::Value::Text(text) => text,
            rusqlite::types::Value::Blob(bytes) => format!("{} bytes", bytes.len()),
        };
        let row = |row: &rusqlite::Row<'_>| {
            (0..columns).map(|column| row.get(column).map(cell)).collect::<Result<Vec<_>, _>>()
        };
        let rows = statement.query_map([], row).expect("the query runs");
        rows.map(|row| row.expect("a row").join("|")).collect()
    }

    /// Runs a command on the folder to its end.
    pub fn levada(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    /// Runs a command in a folder below to its end.
    pub fn run_in(&self, folder: &str, arguments: &[&str]) -> Ran {
        Ran::of(Self::bare().args(arguments).current_dir(self.path(folder)))
    }

    /// Runs a command that names its folder itself, with an environment of its own.
    pub fn run_anywhere(arguments: &[String], environment: &[(String, String)]) -> Ran {
        let of = environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Ran::of(Self::bare().args(arguments).envs(of))
    }

    /// Starts a command and leaves it running.
    pub fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the built binary starts")
    }

    /// Starts the command in a folder of the ecosystem.
    pub fn start_in(&self, folder: &str, arguments: &[&str]) -> Child {
        let mut command = Self::bare();
        command.args(arguments).arg(self.path(folder)).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("the built binary starts")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Self::bare();
        command.args(arguments).arg(self.root());
        command
    }

    fn bare() -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_levada"));
        for name in ["LEVADA_STATE", "LEVADA_DATA", "LEVADA_SECRETS", "LEVADA_CACHE", "LEVADA_RUNNER"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null());
        command
    }
}

/// What git prints in a folder; the test ends where git fails.
#[track_caller]
pub fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().expect("git");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}
