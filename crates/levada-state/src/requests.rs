//! What other commands ask of the worker: rebuilding a consumer, pausing, resuming.

use crate::db::{DatabaseError, Row, values};
use crate::nodes::mark;
use crate::{State, StateError};

/// One request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Its number; grows.
    pub id: i64,
    /// What is asked.
    pub kind: String,
    /// Of what: opaque JSON.
    pub argument: String,
    /// When it was asked, µs.
    pub requested_at: i64,
    /// What became of it: opaque JSON or text; `None`: it is open.
    pub outcome: Option<String>,
}

/// Columns as [`read`] expects them.
macro_rules! request_columns {
    () => {
        "SELECT id, kind, argument, requested_at, outcome FROM requests"
    };
}

impl State {
    /// Leaves a request and gives its number.
    pub async fn request(&self, kind: &str, argument: &str, now: i64) -> Result<i64, StateError> {
        let (kind, argument, mark) = (kind.to_owned(), argument.to_owned(), mark());
        self.write("leave a request", move |transaction| {
            let insert = "INSERT INTO requests (mark, kind, argument, requested_at) VALUES (?1, ?2, ?3, ?4) \
                          ON CONFLICT (mark) DO NOTHING";
            transaction.execute(insert, values![mark, &kind, &argument, now])?;
            let row = transaction.query_first("SELECT id FROM requests WHERE mark = ?1", values![mark])?;
            Ok(row.ok_or(DatabaseError::Column { column: 0, expected: "the new request" })?.int(0)?)
        })
        .await
    }

    /// The requests that nobody has closed, the oldest first.
    pub async fn open_requests(&self) -> Result<Vec<Request>, StateError> {
        self.read("read the open requests", |transaction| {
            let sql = concat!(request_columns!(), " WHERE outcome IS NULL ORDER BY id");
            Ok(transaction.query(sql, values![])?.into_iter().map(read).collect::<Result<_, _>>()?)
        })
        .await
    }

    /// One request, open or closed.
    pub async fn request_by_id(&self, id: i64) -> Result<Option<Request>, StateError> {
        self.read("read a request", move |transaction| {
            let sql = concat!(request_columns!(), " WHERE id = ?1");
            Ok(transaction.query_first(sql, values![id])?.map(read).transpose()?)
        })
        .await
    }

    /// Closes a request with what became of it.
    ///
    /// # Errors
    /// [`StateError::RequestNotOpen`] where it is unknown or closed with another outcome.
    pub async fn close_request(&self, id: i64, outcome: &str) -> Result<(), StateError> {
        let outcome = outcome.to_owned();
        self.write("close a request", move |transaction| {
            // Closing twice with the same outcome is one closing whose answer got lost.
            let sql = "UPDATE requests SET outcome = ?2 WHERE id = ?1 AND (outcome IS NULL OR outcome = ?2)";
            match transaction.execute(sql, values![id, &outcome])? {
                0 => Err(StateError::RequestNotOpen { id }.into()),
                _ => Ok(()),
            }
        })
        .await
    }
}

fn read(mut row: Row) -> Result<Request, DatabaseError> {
    Ok(Request {
        id: row.int(0)?,
        kind: row.text(1)?,
        argument: row.text(2)?,
        requested_at: row.int(3)?,
        outcome: row.text_or_null(4)?,
    })
}
