//! The demo's two databases: SQLite files it makes itself, or PostgreSQL databases of the reader's.

use anyhow::{Context, Result, bail};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tokio_postgres::config::Host;

/// The schema that the demo makes, and replaces, in a reader's producer database.
const SCHEMA: &str = "levada_demo";

/// A database of the demo.
#[derive(Clone, Debug)]
pub enum Database {
    /// A file, from the model's folder.
    Sqlite(PathBuf),
    /// The reader's.
    Postgres(Box<tokio_postgres::Config>),
}

impl Database {
    /// Takes what the command line gave, or a file in the model's folder.
    ///
    /// # Errors
    /// The text is no PostgreSQL URL with a host and a database.
    pub fn parse(url: Option<&str>, file: &str) -> Result<Self> {
        let Some(url) = url else { return Ok(Self::Sqlite(file.into())) };
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            bail!("this URL is of no database the demo knows; write postgres://USER:PASSWORD@HOST:PORT/DATABASE");
        }
        let config: tokio_postgres::Config = url.parse().context("failed to read the database's URL")?;
        if config.get_hosts().is_empty() || config.get_dbname().is_none() {
            bail!("the URL names no host or no database; write postgres://USER:PASSWORD@HOST:PORT/DATABASE");
        }
        Ok(Self::Postgres(Box::new(config)))
    }

    /// The container's keys in the model, after its name.
    pub fn container_yaml(&self, credential: &str, is_producer: bool) -> String {
        match self {
            Self::Sqlite(path) => format!("    kind: sqlite\n    path: ../../../../{}\n", path.display()),
            Self::Postgres(config) => {
                let host = match &config.get_hosts()[0] {
                    Host::Tcp(name) => name.clone(),
                    Host::Unix(path) => path.display().to_string(),
                };
                let port = config.get_ports().first().map_or(String::new(), |port| format!("    port: {port}\n"));
                let schema = if is_producer { format!("    schema: {SCHEMA}\n") } else { String::new() };
                let database = quoted(config.get_dbname().unwrap_or_default());
                format!(
                    "    kind: postgres\n    host: {}\n{port}    database: {database}\n{schema}    credential: {credential}\n",
                    quoted(&host)
                )
            }
        }
    }

    /// Leaves user and password where the model's credential finds them.
    ///
    /// # Errors
    /// The files can't be written.
    pub fn write_secret(&self, secrets: &Path, credential: &str) -> Result<()> {
        let Self::Postgres(config) = self else { return Ok(()) };
        let folder = secrets.join(credential);
        std::fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
        write_private(&folder.join("user"), config.get_user().unwrap_or("postgres").as_bytes())?;
        config.get_password().map_or(Ok(()), |password| write_private(&folder.join("password"), password))
    }

    /// Runs a script of the producer's.
    ///
    /// # Errors
    /// The database can't be reached or refuses the script.
    pub async fn run(&self, root: &Path, script: &str) -> Result<()> {
        match self {
            Self::Sqlite(path) => {
                let path = root.join(path);
                std::fs::create_dir_all(path.parent().expect("the demo's files lie in a folder"))?;
                let connection = rusqlite::Connection::open(&path)?;
                connection.execute_batch(&format!("BEGIN; {script} COMMIT;"))?;
            }
            Self::Postgres(config) => {
                let (client, connection) =
                    config.connect(tokio_postgres::NoTls).await.context("failed to reach the producer's database")?;
                let task = tokio::spawn(connection);
                let script = format!(
                    "BEGIN; CREATE SCHEMA IF NOT EXISTS {SCHEMA}; SET LOCAL search_path = {SCHEMA}; {script} COMMIT;"
                );
                client.batch_execute(&script).await.context("the producer's database refused the demo's script")?;
                drop(client);
                task.await??;
            }
        }
        Ok(())
    }

    /// Takes away what an earlier demo left at the producer's.
    ///
    /// # Errors
    /// The database can't be reached or refuses.
    pub async fn clear(&self, root: &Path) -> Result<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(_) => {
                self.run(root, &format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA};")).await
            }
        }
    }

    /// The first rows of a view at the consumer's, as text, and how many there are.
    ///
    /// # Errors
    /// The database can't be reached, or has no such view.
    pub async fn sample(&self, root: &Path, schema: &str, view: &str) -> Result<(i64, Vec<String>, Vec<Vec<String>>)> {
        const ROWS: usize = 4;
        match self {
            Self::Sqlite(path) => {
                let connection = rusqlite::Connection::open(root.join(path))?;
                let from = format!("\"{schema}__{view}\"");
                let count = connection.query_row(&format!("SELECT count(*) FROM {from}"), [], |row| row.get(0))?;
                let mut statement = connection.prepare(&format!("SELECT * FROM {from} ORDER BY 1 LIMIT {ROWS}"))?;
                let head: Vec<String> = statement.column_names().map(str::to_owned).collect();
                let cell = |value: rusqlite::types::ValueRef<'_>| match value {
                    rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                    rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                    rusqlite::types::ValueRef::Real(number) => number.to_string(),
                    _ => String::new(),
                };
                let rows = statement
                    .query_map([], |row| (0..head.len()).map(|column| Ok(cell(row.get_ref(column)?))).collect())?
                    .collect::<Result<_, _>>()?;
                Ok((count, head, rows))
            }
            Self::Postgres(config) => {
                let (client, connection) =
                    config.connect(tokio_postgres::NoTls).await.context("failed to reach the consumer's database")?;
                let task = tokio::spawn(connection);
                let from = format!("\"{schema}\".\"{view}\"");
                let mut count = 0;
                let (mut head, mut rows) = (Vec::new(), Vec::new());
                for query in
                    [format!("SELECT count(*) FROM {from}"), format!("SELECT * FROM {from} ORDER BY 1 LIMIT {ROWS}")]
                {
                    for message in client.simple_query(&query).await? {
                        let tokio_postgres::SimpleQueryMessage::Row(row) = message else { continue };
                        if query.starts_with("SELECT count") {
                            count = row.get(0).unwrap_or("0").parse()?;
                            continue;
                        }
                        head = row.columns().iter().map(|column| column.name().to_owned()).collect();
                        rows.push((0..row.len()).map(|index| row.get(index).unwrap_or("").to_owned()).collect());
                    }
                }
                drop(client);
                task.await??;
                Ok((count, head, rows))
            }
        }
    }
}

/// Writes a file that nobody else may read.
fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = std::fs::OpenOptions::new();
    let file = file.write(true).create(true).truncate(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(bytes));
    written.with_context(|| format!("failed to write {}", path.display()))
}

fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}
