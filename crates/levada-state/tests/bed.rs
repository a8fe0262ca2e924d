//! Where a test's state lives: a file of its own, or a database of its own on one shared server.

use levada_state::State;
use levada_testbed::PostgresCluster;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

/// One server for all tests of the process; its guard stops it when the process ends.
static CLUSTER: LazyLock<PostgresCluster> =
    LazyLock::new(|| PostgresCluster::start().expect("a PostgreSQL server for the tests"));
static DATABASES: AtomicUsize = AtomicUsize::new(0);

/// One of the two systems, ready for a new state.
pub enum Bed {
    Sqlite(TempDir),
    Postgres(String),
}

/// A writer that has not come to an end.
pub enum Writer {
    Sqlite(rusqlite::Connection),
    Postgres(tokio_postgres::Client),
}

impl Bed {
    pub fn sqlite() -> Self {
        Self::Sqlite(TempDir::new().expect("a temporary folder"))
    }

    pub fn postgres() -> Self {
        let name = format!("state_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        CLUSTER.create_database(&name).expect("a new database");
        Self::Postgres(name)
    }

    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(_) => format!("sqlite:{}", self.path()),
            Self::Postgres(name) => CLUSTER.url(name),
        }
    }

    pub async fn state(&self) -> State {
        State::open(&self.url()).await.expect("the state opens")
    }

    fn path(&self) -> String {
        match self {
            Self::Sqlite(folder) => folder.path().join("below/state.db").display().to_string(),
            Self::Postgres(name) => panic!("{name} is no file"),
        }
    }

    fn connection(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).expect("the state's file opens")
    }

    /// Runs SQL beside the state; tables are found without a schema.
    pub fn sql(&self, sql: &str) {
        match self {
            Self::Sqlite(_) => self.connection().execute_batch(sql).expect("the statement runs"),
            Self::Postgres(name) => {
                let sql = format!("SET search_path = levada_state; {sql}");
                CLUSTER.sql(name, &sql).expect("the statement runs");
            }
        }
    }

    /// The one number that a query gives.
    pub fn number(&self, sql: &str) -> i64 {
        match self {
            Self::Sqlite(_) => self.connection().query_row(sql, [], |row| row.get(0)).expect("the query runs"),
            Self::Postgres(name) => {
                let sql = format!("SET search_path = levada_state; {sql}");
                CLUSTER.sql(name, &sql).expect("the query runs").parse().expect("a number")
            }
        }
    }

    /// Counts every row that is written from now on, in the table `written`.
    pub fn watch_writes(&self) {
        let sqlite = "SELECT group_concat(name, ' ') FROM sqlite_master WHERE type = 'table'";
        let tables: String = match self {
            Self::Sqlite(_) => self.connection().query_row(sqlite, [], |row| row.get(0)).expect("the query runs"),
            Self::Postgres(name) => {
                let sql = "SELECT string_agg(tablename, ' ') FROM pg_tables WHERE schemaname = 'levada_state'";
                CLUSTER.sql(name, sql).expect("the query runs")
            }
        };
        self.sql("CREATE TABLE written (name TEXT)");
        if let Self::Postgres(_) = self {
            self.sql(
                "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 INSERT INTO levada_state.written VALUES (TG_TABLE_NAME); RETURN NULL; END $$",
            );
        }
        for table in tables.split_whitespace() {
            for event in ["INSERT", "UPDATE", "DELETE"] {
                let action = match self {
                    Self::Sqlite(_) => format!("BEGIN INSERT INTO written VALUES ('{table}'); END"),
                    Self::Postgres(_) => "FOR EACH ROW EXECUTE FUNCTION note()".to_owned(),
                };
                self.sql(&format!("CREATE TRIGGER note_{table}_{event} AFTER {event} ON {table} {action}"));
            }
        }
    }

    /// A transaction that has written to the streams and stays open.
    pub async fn open_writer(&self) -> Writer {
        let begin = "INSERT INTO streams (stream, batch, position, incarnation, committed_at) VALUES ('Held', 1, ";
        match self {
            Self::Sqlite(_) => {
                let connection = self.connection();
                connection.execute_batch(&format!("BEGIN IMMEDIATE; {begin}x'00', 'i', 1)")).expect("it writes");
                Writer::Sqlite(connection)
            }
            Self::Postgres(_) => {
                let connected = tokio_postgres::connect(&self.url(), tokio_postgres::NoTls).await;
                let (client, connection) = connected.expect("the server answers");
                tokio::spawn(connection);
                let sql = format!("SET search_path = levada_state; BEGIN; {begin}'\\x00', 'i', 1)");
                client.batch_execute(&sql).await.expect("it writes");
                Writer::Postgres(client)
            }
        }
    }
}

impl Writer {
    pub async fn commit(self) {
        match self {
            Self::Sqlite(connection) => connection.execute_batch("COMMIT").expect("it commits"),
            Self::Postgres(client) => client.batch_execute("COMMIT").await.expect("it commits"),
        }
    }
}

/// Makes each law a test on both systems.
macro_rules! on_both {
    ($($law:ident,)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $law() {
                super::$law($crate::bed::Bed::sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $law() {
                super::$law($crate::bed::Bed::postgres()).await;
            })*
        }
    };
}
pub(crate) use on_both;
