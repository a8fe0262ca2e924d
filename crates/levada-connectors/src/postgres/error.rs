//! PostgreSQL's errors as the data plane's: one sentence, and whether trying again can help.
//!
//! Takes the driver's errors, gives [`FlowError`]. Never sees a password.

use levada_flow::{FlowError, Retry};
use tokio_postgres::error::SqlState;

/// What the server or the driver said, on one line with its causes.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ServerSays {
    message: String,
}

/// Whether trying again can help against an error of this class.
pub fn retry_of(code: &SqlState) -> Retry {
    let code = code.code();
    let is_passing = match code.get(..2) {
        // Connection lost; transaction rolled back (serialization, deadlock); out of resources,
        // too many connections among them; shut down, starting, cancelled; system errors.
        Some("08" | "40" | "53" | "57" | "58") => true,
        // Idle timeouts end a session, not the plan to use it.
        Some("25") => matches!(code, "25P03" | "25P04"),
        // A lock was not to be had; an object is in use.
        Some("55") => matches!(code, "55P03" | "55006"),
        // "Tuple concurrently updated" and other internal clashes; never corrupt data.
        Some("XX") => code == "XX000",
        _ => false,
    };
    if is_passing { Retry::Later } else { Retry::Never }
}

/// Puts an error under a sentence that says what was tried on what.
pub fn failed(what: impl Into<String>, error: tokio_postgres::Error) -> FlowError {
    let (retry, says) = told(error);
    let mut failed = FlowError::later(what).because(says);
    failed.retry = retry;
    failed
}

/// The retryability of an error and its text on one line.
pub fn told(error: tokio_postgres::Error) -> (Retry, ServerSays) {
    let Some(server) = error.as_db_error() else {
        // No answer of the server: the connection. Except for what our own side refuses.
        let text = chain(&error);
        let is_ours = text.contains("password missing") || text.contains("invalid configuration");
        let retry = if is_ours { Retry::Never } else { Retry::Later };
        return (retry, ServerSays { message: text });
    };
    let mut message = server.message().to_owned();
    for more in [server.detail(), server.hint(), server.where_()].into_iter().flatten() {
        message.push_str(" (");
        message.push_str(&more.replace('\n', "; "));
        message.push(')');
    }
    message.push_str(&format!(" [{}]", server.code().code()));
    (retry_of(server.code()), ServerSays { message })
}

/// An error and all its causes on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Adds to [`FlowError`]'s constructors what a driver's result needs.
pub trait During<T> {
    /// Puts the error under a sentence.
    ///
    /// # Errors
    /// The driver's error, told.
    fn during(self, what: impl FnOnce() -> String) -> Result<T, FlowError>;
}

impl<T> During<T> for Result<T, tokio_postgres::Error> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, FlowError> {
        self.map_err(|error| failed(what(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_tried_again_and_what_somebody_must_change_is_not() {
        use SqlState as S;
        for code in [
            S::CANNOT_CONNECT_NOW,
            S::TOO_MANY_CONNECTIONS,
            S::T_R_SERIALIZATION_FAILURE,
            S::T_R_DEADLOCK_DETECTED,
            S::LOCK_NOT_AVAILABLE,
            S::ADMIN_SHUTDOWN,
            S::CONNECTION_FAILURE,
            S::DISK_FULL,
        ] {
            assert_eq!(retry_of(&code), Retry::Later, "{}", code.code());
        }
        for code in [
            S::INVALID_PASSWORD,
            S::INVALID_CATALOG_NAME,
            S::UNDEFINED_TABLE,
            S::UNDEFINED_COLUMN,
            S::INSUFFICIENT_PRIVILEGE,
            S::DATATYPE_MISMATCH,
            S::DATA_CORRUPTED,
        ] {
            assert_eq!(retry_of(&code), Retry::Never, "{}", code.code());
        }
    }
}
