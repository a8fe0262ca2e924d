//! Node contents by their hash, read once and kept.
//!
//! A content never changes, so what is kept here is never wrong; when it has grown to its limit it
//! is dropped as a whole.

use crate::db::{DatabaseError, Transaction, values};
use levada_model::fingerprint::Fingerprint;
use levada_planner::Node;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

/// How many contents are kept.
const CONTENTS_MAX: usize = 32_768;

/// What was read so far.
#[derive(Default)]
pub(crate) struct Contents {
    kept: Mutex<HashMap<Fingerprint, Arc<Node>>>,
}

impl Contents {
    /// Gives the nodes of these contents; whatever is not kept is read.
    pub(crate) fn load(
        &self,
        transaction: &mut dyn Transaction,
        wanted: BTreeSet<Fingerprint>,
    ) -> Result<HashMap<Fingerprint, Arc<Node>>, DatabaseError> {
        let (mut found, missing) = self.split(wanted);
        let keys: Vec<_> = missing.iter().map(|&content| values![to_bytes(content)]).collect();
        let answers = transaction.query_many("SELECT node FROM node_contents WHERE content = ?1", &keys)?;
        for (content, rows) in missing.into_iter().zip(answers) {
            if let Some(row) = rows.first() {
                found.insert(content, Arc::new(row.json(0, "node")?));
            }
        }
        self.keep(&found);
        Ok(found)
    }

    fn split(&self, wanted: BTreeSet<Fingerprint>) -> (HashMap<Fingerprint, Arc<Node>>, Vec<Fingerprint>) {
        let kept = self.kept.lock().expect("nothing panics while holding the contents");
        let mut found = HashMap::with_capacity(wanted.len());
        let mut missing = Vec::new();
        for content in wanted {
            match kept.get(&content) {
                Some(node) => drop(found.insert(content, Arc::clone(node))),
                None => missing.push(content),
            }
        }
        (found, missing)
    }

    fn keep(&self, found: &HashMap<Fingerprint, Arc<Node>>) {
        let mut kept = self.kept.lock().expect("nothing panics while holding the contents");
        if kept.len() + found.len() > CONTENTS_MAX {
            kept.clear();
        }
        if found.len() <= CONTENTS_MAX {
            kept.extend(found.iter().map(|(&content, node)| (content, Arc::clone(node))));
        }
    }
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
