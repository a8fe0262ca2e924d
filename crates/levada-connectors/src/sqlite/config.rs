//! From a connection to an open SQLite database, and from its errors to ours.

use levada_flow::FlowError;
use levada_model::connection::{Connection, Place};
use rusqlite::{ErrorCode, OpenFlags};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a statement waits for another process's lock before the pull or delivery fails, to be
/// tried again later.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The database file of a container.
pub(super) fn path(connection: &Connection, root: &Path) -> Result<PathBuf, FlowError> {
    match &connection.place {
        Place::Path { path } => Ok(root.join(path)),
        _ => Err(FlowError::never(format!("container {} has no path", connection.container))),
    }
}

/// Opens an existing database that is only read.
pub(super) fn open_to_read(path: &Path) -> Result<rusqlite::Connection, FlowError> {
    if !path.is_file() {
        return Err(FlowError::never(format!("there is no SQLite database at {}", path.display())));
    }
    open(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

/// Opens a database to write, and makes it where there is none.
pub(super) fn open_to_write(path: &Path) -> Result<rusqlite::Connection, FlowError> {
    let is_new = !path.exists();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = open(path, flags)?;
    if is_new {
        // Readers of a file that is ours from the start never wait for a delivery.
        let switched = database.pragma_update(None, "journal_mode", "wal");
        switched.map_err(|error| failed("set the journal mode of the new database", error))?;
    }
    // Renaming a table leaves the text of all views alone: they already say the new name.
    let legacy = database.pragma_update(None, "legacy_alter_table", true);
    legacy.map_err(|error| failed("prepare the database for deliveries", error))?;
    Ok(database)
}

fn open(path: &Path, flags: OpenFlags) -> Result<rusqlite::Connection, FlowError> {
    let what = || format!("open the SQLite database {}", path.display());
    let database = rusqlite::Connection::open_with_flags(path, flags).map_err(|error| failed(what(), error))?;
    database.busy_timeout(BUSY_TIMEOUT).map_err(|error| failed(what(), error))?;
    // The first real read: says that the file is a database at all.
    let read = database.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
    read.map_err(|error| failed(what(), error))?;
    Ok(database)
}

/// A failed operation, with what SQLite says and whether waiting helps.
pub(super) fn failed(what: impl std::fmt::Display, error: rusqlite::Error) -> FlowError {
    let message = format!("SQLite could not {what}");
    let later = matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::SystemIoFailure
                | ErrorCode::DiskFull
                | ErrorCode::SchemaChanged
                | ErrorCode::OutOfMemory
        )
    );
    let made = if later { FlowError::later(message) } else { FlowError::never(message) };
    made.because(error)
}

/// Quotes a name: never pasted as it is.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
