//! Why the state did not do what was asked.

use crate::db::DatabaseError;
use levada_model::NodeAddress;
use levada_model::address::Stream;
use levada_planner::Generation;
use std::path::PathBuf;

/// Why an operation on the state failed; the texts fit after "failed to".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The URL names no system that can hold a state.
    #[error("open the state: it is `sqlite:PATH` or `postgres://…`, not a {scheme:?} URL")]
    Scheme {
        /// What stands before the colon.
        scheme: String,
    },
    /// The state was written by a newer build.
    #[error("open the state: its tables have version {found}, this build knows up to {known}")]
    Newer {
        /// The version of the tables.
        found: i64,
        /// The newest version that this build knows.
        known: i64,
    },
    /// Another worker runs on this state.
    #[error("become the worker of this state: {by} is")]
    Locked {
        /// Process and host of the other one.
        by: String,
    },
    /// The lock file beside the state is out of reach.
    #[error("lock {path}")]
    LockFile {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// Another claim has taken the node over, or its lease has ended; nothing was recorded.
    #[error("act for {node} under epoch {epoch}: another claim has taken over")]
    Fenced {
        /// The node.
        node: NodeAddress,
        /// The epoch that is no longer the node's.
        epoch: i64,
    },
    /// The stream has moved on since the pull began; nothing was committed.
    #[error("commit after batch {expected} of {stream}: its last batch is {found}")]
    PositionMoved {
        /// The stream.
        stream: Stream,
        /// The batch that the pull went on from.
        expected: i64,
        /// The last batch.
        found: i64,
    },
    /// Another blueprint was applied since this one was made; nothing was changed.
    #[error("apply a blueprint made on {}: {} is in force", named(*.base), named(*.found))]
    BaseMoved {
        /// The parent of the blueprint.
        base: Option<Generation>,
        /// The blueprint in force.
        found: Option<Generation>,
    },
    /// A blueprint's number is not greater than its parent's.
    #[error("apply generation {generation}: it doesn't come after {}", named(*.parent))]
    GenerationOrder {
        /// Its number.
        generation: Generation,
        /// Its parent.
        parent: Option<Generation>,
    },
    /// The database failed.
    #[error("{operation}")]
    Database {
        /// What was under way.
        operation: &'static str,
        /// What the database says.
        #[source]
        source: DatabaseError,
    },
}

impl StateError {
    /// Whether the same call may succeed a moment later without anything else being done.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Database { source, .. } => source.is_retryable(),
            _ => false,
        }
    }
}

fn named(generation: Option<Generation>) -> String {
    generation.map_or_else(|| "no blueprint".to_owned(), |generation| format!("generation {generation}"))
}
