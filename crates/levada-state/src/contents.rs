//! Node contents by their hash, read once and kept.
//!
//! A content never changes, so what is kept here is never wrong; when it has grown to its limit it
//! is dropped as a whole. One that can't be read is told once and then counts as missing.

use crate::db::{DatabaseError, Row, Transaction, values};
use levada_model::fingerprint::Fingerprint;
use levada_planner::Node;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

/// How many contents are kept.
const CONTENTS_MAX: usize = 32_768;
/// The version of the JSON that this build writes and reads.
pub(crate) const FORMAT: i64 = 1;

/// Nodes by content; `None`: it is there and can't be read.
type Nodes = HashMap<Fingerprint, Option<Arc<Node>>>;

/// What was read so far.
#[derive(Default)]
pub(crate) struct Contents {
    kept: Mutex<Nodes>,
}

impl Contents {
    /// Gives the nodes of these contents that are there and can be read; whatever is not kept is read.
    pub(crate) fn load(
        &self,
        transaction: &mut dyn Transaction,
        wanted: BTreeSet<Fingerprint>,
    ) -> Result<HashMap<Fingerprint, Arc<Node>>, DatabaseError> {
        let (mut found, missing) = self.split(wanted);
        let keys: Vec<_> = missing.iter().map(|&content| values![to_bytes(content)]).collect();
        let answers = transaction.query_many("SELECT node, format FROM node_contents WHERE content = ?1", &keys)?;
        for (content, rows) in missing.into_iter().zip(answers) {
            if let Some(row) = rows.first() {
                found.insert(content, read_node(row).map(Arc::new));
            }
        }
        self.keep(&found);
        Ok(found.into_iter().filter_map(|(content, node)| Some((content, node?))).collect())
    }

    /// Keeps contents that were just written.
    pub(crate) fn keep_all(&self, written: impl Iterator<Item = (Fingerprint, Arc<Node>)>) {
        self.keep(&written.map(|(content, node)| (content, Some(node))).collect());
    }

    fn split(&self, wanted: BTreeSet<Fingerprint>) -> (Nodes, Vec<Fingerprint>) {
        let kept = self.kept.lock().expect("nothing panics while holding the contents");
        let mut found = HashMap::with_capacity(wanted.len());
        let mut missing = Vec::new();
        for content in wanted {
            match kept.get(&content) {
                Some(node) => drop(found.insert(content, node.clone())),
                None => missing.push(content),
            }
        }
        (found, missing)
    }

    fn keep(&self, found: &Nodes) {
        let mut kept = self.kept.lock().expect("nothing panics while holding the contents");
        if kept.len() + found.len() > CONTENTS_MAX {
            kept.clear();
        }
        if found.len() <= CONTENTS_MAX {
            kept.extend(found.iter().map(|(&content, node)| (content, node.clone())));
        }
    }
}

/// Reads the columns `node, format`; one that can't be read is told, and fails alone.
pub(crate) fn read_node(row: &Row) -> Option<Node> {
    let node = match row.int(1) {
        Ok(FORMAT) => row.json(0, "node"),
        Ok(_) => Err(DatabaseError::Column { column: 1, expected: "a format that this build knows" }),
        Err(error) => Err(error),
    };
    let why = |error: &DatabaseError| std::error::Error::source(error).map(ToString::to_string);
    node.inspect_err(|error| {
        tracing::error!(%error, why = why(error), "a node of the blueprint can't be read and is left out");
    })
    .ok()
}

/// The stored form of a content hash: 16 bytes, the most significant first.
pub(crate) fn to_bytes(content: Fingerprint) -> Vec<u8> {
    content.0.to_be_bytes().to_vec()
}

/// Reads [`to_bytes`].
pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Fingerprint, DatabaseError> {
    let bytes = bytes.try_into().map_err(|error| DatabaseError::content("content hash", error))?;
    Ok(Fingerprint(u128::from_be_bytes(bytes)))
}
