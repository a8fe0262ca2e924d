//! A server of a producer or a consumer, whichever system it is: what the faults need of it.

use super::workload::{MARIADB, POSTGRES, Workload};
use levada_testbed::{MariadbServer, PostgresCluster, mariadb, postgres};
use std::fmt::Display;

/// A system that producers and consumers may be of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum System {
    #[default]
    Postgres,
    Mariadb,
}

impl System {
    /// What the model calls it.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mariadb => "mariadb",
        }
    }

    /// User and password of its servers.
    pub fn credential(self) -> (&'static str, &'static str) {
        match self {
            Self::Postgres => (postgres::SUPERUSER, postgres::PASSWORD),
            Self::Mariadb => (mariadb::SUPERUSER, mariadb::PASSWORD),
        }
    }

    pub fn workload(self) -> &'static Workload {
        match self {
            Self::Postgres => &POSTGRES,
            Self::Mariadb => &MARIADB,
        }
    }

    /// A server whose changes can be read by its log.
    pub fn start(self, settings: &[(&str, &str)]) -> Database {
        match self {
            Self::Postgres => Database::Postgres(done(PostgresCluster::start_with(settings))),
            Self::Mariadb => {
                let log = [("log_bin", "changes"), ("binlog_format", "ROW"), ("server_id", "7")];
                Database::Mariadb(done(MariadbServer::start_with(&[&log, settings].concat())))
            }
        }
    }
}

/// A running server.
#[derive(Debug)]
pub enum Database {
    Postgres(PostgresCluster),
    Mariadb(MariadbServer),
}

/// What was to be done, or the test's end.
#[track_caller]
fn done<T>(result: Result<T, impl Display>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

impl Database {
    pub fn system(&self) -> System {
        match self {
            Self::Postgres(_) => System::Postgres,
            Self::Mariadb(_) => System::Mariadb,
        }
    }

    pub fn port(&self) -> u16 {
        match self {
            Self::Postgres(cluster) => cluster.port(),
            Self::Mariadb(server) => server.port(),
        }
    }

    pub fn create_database(&self, name: &str) {
        match self {
            Self::Postgres(cluster) => done(cluster.create_database(name)),
            Self::Mariadb(server) => drop(done(server.sql(&format!("CREATE DATABASE {name} CHARACTER SET utf8mb4")))),
        }
    }

    /// Runs SQL in a database of it; what it prints, or why it failed.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String, String> {
        match self {
            Self::Postgres(cluster) => cluster.sql(database, sql).map_err(|error| error.to_string()),
            Self::Mariadb(server) => {
                let sql = format!("USE {database}; SET time_zone = '+00:00'; {sql}");
                server.sql(&sql).map_err(|error| error.to_string())
            }
        }
    }

    /// Columns of all rows as lines of text, sorted.
    pub fn rows(&self, database: &str, columns: &str, from: &str) -> Result<Vec<String>, String> {
        let query = match self {
            Self::Postgres(_) => format!("SELECT t::text FROM (SELECT {columns} FROM {from}) AS t"),
            Self::Mariadb(_) => format!("SELECT {columns} FROM {from}"),
        };
        let mut rows: Vec<String> = self.sql(database, &query)?.lines().map(str::to_owned).collect();
        rows.sort_unstable();
        Ok(rows)
    }

    /// A moment, µs since 1970, as the views' `valid_from` can be compared with it.
    pub fn moment(&self, at: i64) -> String {
        let time = jiff::Timestamp::from_microsecond(at).expect("a time").strftime("%Y-%m-%d %H:%M:%S.%6f");
        match self {
            Self::Postgres(_) => format!("timestamptz '{time}+00'"),
            Self::Mariadb(_) => format!("TIMESTAMP '{time}'"),
        }
    }

    /// Kills it with SIGKILL.
    pub fn kill(&self) {
        match self {
            Self::Postgres(cluster) => done(cluster.kill()),
            Self::Mariadb(server) => done(server.kill()),
        }
    }

    pub fn stop(&self) {
        match self {
            Self::Postgres(cluster) => done(cluster.stop()),
            Self::Mariadb(server) => done(server.stop()),
        }
    }

    /// Starts it again where it was.
    pub fn restart(&self) {
        match self {
            Self::Postgres(cluster) => done(cluster.restart()),
            Self::Mariadb(server) => done(server.restart()),
        }
    }
}
