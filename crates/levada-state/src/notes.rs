//! What somebody who looks at the state should know of those that work on it: one note per topic, the last
//! one counts. What a note says is up to whoever writes it.

use crate::db::{DatabaseError, Row, values};
use crate::{State, StateError};
use std::collections::BTreeMap;

/// A note.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// When, µs.
    pub at: i64,
    /// JSON.
    pub body: String,
}

impl State {
    /// Leaves a note; the one that is there goes.
    pub async fn note(&self, topic: &str, note: Note) -> Result<(), StateError> {
        let topic = topic.to_owned();
        self.write("leave a note", move |transaction| {
            let sql = "INSERT INTO notes (topic, noted_at, body) VALUES (?1, ?2, ?3) \
                       ON CONFLICT (topic) DO UPDATE SET noted_at = excluded.noted_at, body = excluded.body";
            transaction.execute(sql, values![&topic, note.at, &note.body])?;
            Ok(())
        })
        .await
    }

    /// All notes, by topic.
    pub async fn notes(&self) -> Result<BTreeMap<String, Note>, StateError> {
        self.read("read the notes", |transaction| {
            let read = |mut row: Row| -> Result<_, DatabaseError> {
                Ok((row.text(0)?, Note { at: row.int(1)?, body: row.text(2)? }))
            };
            let rows = transaction.query("SELECT topic, noted_at, body FROM notes", values![])?;
            Ok(rows.into_iter().map(read).collect::<Result<_, _>>()?)
        })
        .await
    }
}
