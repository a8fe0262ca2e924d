//! MySQL's and MariaDB's errors as the data plane's: one sentence, and whether trying again can help.
//!
//! Takes the driver's errors, gives [`FlowError`]. Never sees a password.

use levada_flow::{FlowError, Retry};
use mysql_async::{DriverError, Error};

/// A lock was not to be had in time.
pub(super) const LOCK_WAIT_TIMEOUT: u16 = 1205;

/// What the server or the driver said, on one line with its causes.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ServerSays {
    message: String,
}

/// Whether trying again can help against an error of the server.
pub fn retry_of(code: u16) -> Retry {
    let is_passing = match code {
        // Locks and deadlocks; a table that changed under a snapshot; a statement to be prepared again.
        LOCK_WAIT_TIMEOUT | 1213 | 1412 | 1615 => true,
        // Connections, memory and space run out and come back.
        1021 | 1037 | 1038 | 1040 | 1041 | 1114 | 1203 | 1226 => true,
        // The server ends or ended us; the network.
        1053 | 1077 | 1080 | 1152 | 1158..=1161 | 1184 | 1317 | 1927 | 3024 | 1969 | 3169 | 4031 => true,
        _ => false,
    };
    if is_passing { Retry::Later } else { Retry::Never }
}

/// Puts an error under a sentence that says what was tried on what.
pub fn failed(what: impl Into<String>, error: Error) -> FlowError {
    let says = ServerSays { message: chain(&error).replace('\n', "; ") };
    let retry = match &error {
        Error::Server(server) => retry_of(server.code),
        Error::Io(_) | Error::Driver(DriverError::ConnectionClosed | DriverError::PacketOutOfOrder) => Retry::Later,
        _ => Retry::Never,
    };
    let mut failed = FlowError::later(what).because(says);
    failed.retry = retry;
    failed
}

/// The number of a server's error.
pub(super) fn code(error: &Error) -> Option<u16> {
    match error {
        Error::Server(server) => Some(server.code),
        _ => None,
    }
}

/// An error and all its causes on one line. The driver's own texts hold their causes already.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

/// Adds to [`FlowError`]'s constructors what a driver's result needs.
pub trait During<T> {
    /// Puts the error under a sentence.
    ///
    /// # Errors
    /// The driver's error, told.
    fn during(self, what: impl FnOnce() -> String) -> Result<T, FlowError>;
}

impl<T> During<T> for Result<T, Error> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, FlowError> {
        self.map_err(|error| failed(what(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: u16) -> Error {
        Error::Server(mysql_async::ServerError { code, message: "said".to_owned(), state: "HY000".to_owned() })
    }

    #[test]
    fn what_passes_by_itself_is_tried_again_and_what_somebody_must_change_is_not() {
        for code in [1040, 1205, 1213, 1053, 1927, 1114, 1412] {
            assert_eq!(failed("x", server(code)).retry, Retry::Later, "{code}");
        }
        // Password, right, database, table, column, duplicate key, too long a value.
        for code in [1045, 1142, 1049, 1146, 1054, 1062, 1406] {
            assert_eq!(failed("x", server(code)).retry, Retry::Never, "{code}");
        }
        assert_eq!(failed("x", Error::Driver(DriverError::ConnectionClosed)).retry, Retry::Later);
    }
}
