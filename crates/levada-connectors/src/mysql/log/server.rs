//! The server's side of a stream: who it is, whether it logs what is needed, and which part of its log is
//! still there. Nothing is kept at the server for a reader: it throws its log away when it likes.

use super::place::{FIRST, Place, Reached};
use crate::mysql::config::Session;
use crate::mysql::error::During;
use levada_flow::FlowError;
use mysql_async::Row;
use mysql_async::prelude::Queryable;

const SETTINGS: &str = "SELECT @@log_bin, @@binlog_format, @@binlog_row_image, @@log_bin_compress";

/// Makes sure that the server logs what it takes.
pub(super) async fn check(session: &mut Session, place: &str) -> Result<(), FlowError> {
    if !session.is_mariadb {
        return Err(FlowError::never(format!(
            "the server of {place} is MySQL, and the binary log is read of MariaDB only"
        ))
        .hint("use ingest kind snapshot or watermark"));
    }
    let row: Option<(bool, String, String, bool)> =
        session.query_first(SETTINGS).await.during(|| format!("the settings of {place} can't be read"))?;
    let (has_log, format, image, is_compressed) = row.unwrap_or_default();
    let refused = |what: String, hint: &str| {
        Err(FlowError::never(format!("the server of {place} logs no rows that can be read: {what}"))
            .hint(hint.to_owned()))
    };
    match (has_log, format.as_str(), image.as_str(), is_compressed) {
        (false, ..) => refused("it has no binary log".to_owned(), "start it with log_bin and binlog_format = ROW"),
        (_, format, ..) if !format.eq_ignore_ascii_case("row") => {
            refused(format!("its binlog_format is {format}"), "set binlog_format = ROW")
        }
        (_, _, image, _) if !image.eq_ignore_ascii_case("full") => {
            refused(format!("its binlog_row_image is {image}"), "set binlog_row_image = FULL")
        }
        (.., true) => refused("its log_bin_compress is on".to_owned(), "set log_bin_compress = OFF"),
        _ => Ok(()),
    }
}

/// Whether this server has committed prepared transactions since it was started.
pub(super) async fn commits_prepared(session: &mut Session, place: &str) -> Result<bool, FlowError> {
    let row: Result<Option<(String, u64)>, _> = session.query_first("SHOW GLOBAL STATUS LIKE 'Com_xa_commit'").await;
    let row = row.during(|| format!("the status of {place} can't be read"))?;
    Ok(row.is_some_and(|(_, commits)| commits > 0))
}

/// Where the next event goes.
pub(super) async fn end(session: &mut Session, place: &str) -> Result<Place, FlowError> {
    let row: Result<Option<Row>, _> = session.query_first("SHOW MASTER STATUS").await;
    let row = row.during(|| format!("the end of the binary log at {place} can't be found"));
    let row = row.map_err(|error| error.hint("GRANT BINLOG MONITOR, REPLICATION SLAVE ON *.* TO this user"))?;
    let found = row.and_then(|row| Some((row.get::<String, _>(0)?, row.get::<u64, _>(1)?)));
    let none = || FlowError::never(format!("the server of {place} has no binary log"));
    found.map(|(file, position)| Place { file, position }).ok_or_else(none)
}

/// The transactions before a place, as the server names the last of each domain.
pub(super) async fn transactions(session: &mut Session, at: &Place) -> Result<Vec<String>, FlowError> {
    let found: Result<Option<Option<String>>, _> =
        session.exec_first("SELECT BINLOG_GTID_POS(?, ?)", (&at.file, at.position)).await;
    let found = found.during(|| format!("what was committed before {at} can't be found"))?.flatten();
    Ok(found.unwrap_or_default().split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

/// Where the log can be read on, if it has the history that was read; else why it can't be.
pub(super) async fn resume_at(
    session: &mut Session,
    place: &str,
    at: &Reached,
) -> Result<Result<Place, String>, FlowError> {
    let from = begin_at(session, place, &at.place).await?;
    if let (Ok(_), Some(last)) = (&from, &at.transaction)
        && !transactions(session, &at.place).await?.contains(last)
    {
        return Ok(Err(format!("the binary log has another history before {}: the server was restored", at.place)));
    }
    Ok(from)
}

/// Where to begin reading behind a place; else why that can't be.
async fn begin_at(session: &mut Session, place: &str, at: &Place) -> Result<Result<Place, String>, FlowError> {
    let rows: Result<Vec<Row>, _> = session.query("SHOW BINARY LOGS").await;
    let rows = rows.during(|| format!("the binary logs of {place} can't be listed"));
    let rows = rows.map_err(|error| error.hint("GRANT BINLOG MONITOR, REPLICATION SLAVE ON *.* TO this user"))?;
    let files: Vec<(String, u64)> =
        rows.iter().filter_map(|row| Some((row.get::<String, _>(0)?, row.get::<u64, _>(1)?))).collect();
    let Some(index) = files.iter().position(|(file, _)| *file == at.file) else {
        return Ok(Err(format!("the server has thrown {} of its binary log away, or begun a new one", at.file)));
    };
    if files[index].1 < at.position {
        return Ok(Err(format!("the binary log ends before {at}, which was read: the server was restored")));
    }
    // A reader can't name places beyond 4 GiB: such a file ends with the transaction that made it so long.
    match (at.position > u64::from(u32::MAX), files.get(index + 1)) {
        (true, Some((file, _))) => Ok(Ok(Place { file: file.clone(), position: FIRST })),
        (true, None) => Err(FlowError::later(format!("{place} has not begun the file behind {at} yet"))),
        _ => Ok(Ok(at.clone())),
    }
}
