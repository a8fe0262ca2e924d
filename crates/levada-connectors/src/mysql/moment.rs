//! One consistent state of a server: a snapshot, its place in the binary log, and who the server is.
//!
//! The incarnation is the server's identity and the database. MySQL has a `server_uuid`, which goes
//! with the data directory. MariaDB has none: there it is `server_id`, by which a replica that took
//! over differs, and the time at which the table `mysql.global_priv` was made, which a re-created data
//! directory changes and a physical copy keeps. A user who may not see that table is not told the
//! time; then only `server_id` counts.

use super::config::Session;
use super::error::During;
use levada_flow::FlowError;
use mysql_async::prelude::Queryable;

/// One consistent state of the server.
pub(super) struct Moment {
    /// The place in the binary log that it is the state of, or the time where there is no log.
    pub(super) mark: String,
    pub(super) incarnation: String,
}

const MARIADB: &str = "
    SELECT CONCAT('server ', @@server_id, '/', COALESCE(
        (SELECT create_time FROM information_schema.tables
         WHERE table_schema = 'mysql' AND table_name = 'global_priv'), 'unknown'))";

impl Moment {
    /// Starts the transaction that sees it.
    pub(super) async fn begin(session: &mut Session, place: &str, database: &str) -> Result<Self, FlowError> {
        let taken = || format!("no consistent snapshot can be taken at {place}");
        session.run("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ", taken).await?;
        session.run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", taken).await?;
        let incarnation = Self::identity(session, place, database).await?;
        let mark = Self::mark(session).await.during(taken)?;
        Ok(Self { mark, incarnation })
    }

    /// Who the server is, and which of its databases this is.
    pub(super) async fn identity(session: &mut Session, place: &str, database: &str) -> Result<String, FlowError> {
        let identity = if session.is_mariadb { MARIADB } else { "SELECT @@server_uuid" };
        let server: Result<Option<String>, _> = session.query_first(identity).await;
        let server = server.during(|| format!("the server of {place} does not say who it is"))?;
        Ok(format!("{}/{database}", server.unwrap_or_else(|| "unknown".to_owned())))
    }

    async fn mark(session: &mut Session) -> Result<String, mysql_async::Error> {
        let log = match session.is_mariadb {
            // What the snapshot sees, and not what the log has meanwhile.
            true => {
                let status = "SHOW STATUS WHERE Variable_name IN ('Binlog_snapshot_file', 'Binlog_snapshot_position')";
                let rows: Vec<(String, String)> = session.query(status).await?;
                let has_log = rows.iter().any(|(name, value)| name == "Binlog_snapshot_file" && !value.is_empty());
                has_log.then(|| rows.into_iter().map(|(_, value)| value).collect::<Vec<_>>().join(":"))
            }
            false => session.query_first("SELECT @@GLOBAL.gtid_executed").await?.filter(|set: &String| !set.is_empty()),
        };
        match log {
            Some(log) => Ok(log),
            None => Ok(session.query_first("SELECT CAST(UTC_TIMESTAMP(6) AS CHAR)").await?.unwrap_or_default()),
        }
    }
}
