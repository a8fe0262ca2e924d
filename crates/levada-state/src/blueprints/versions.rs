//! The versions of nodes: which generations changed what, and what each had.

use crate::contents::from_bytes;
use crate::db::{DatabaseError, Row, Transaction, values};
use levada_model::NodeAddress;
use levada_model::fingerprint::Fingerprint;
use levada_planner::Generation;

/// The nodes that generations after one and up to another changed, each with the generation that did; one
/// that was changed more than once comes more than once. Linear in the changes.
pub(super) fn changed(
    transaction: &mut dyn Transaction,
    after: Generation,
    until: Generation,
) -> Result<Vec<(NodeAddress, Generation)>, DatabaseError> {
    let mut changed = Vec::new();
    for sql in [
        "SELECT address, from_generation FROM node_versions WHERE from_generation > ?1 AND from_generation <= ?2",
        "SELECT address, until_generation FROM node_versions WHERE until_generation > ?1 AND until_generation <= ?2",
    ] {
        for row in transaction.query(sql, values![after.0, until.0])? {
            changed.push((row.parsed(0, "node address")?, Generation(row.int(1)?)));
        }
    }
    Ok(changed)
}

/// The contents of nodes as generations have them; `None`: that generation does not have the node.
pub(super) fn contents_at<'a>(
    transaction: &mut dyn Transaction,
    nodes: impl Iterator<Item = (&'a NodeAddress, Generation)>,
) -> Result<Vec<Option<Fingerprint>>, DatabaseError> {
    let sql = "SELECT content FROM node_versions \
         WHERE address = ?1 AND from_generation <= ?2 AND until_generation > ?2";
    let sets: Vec<_> = nodes.map(|(address, at)| values![address.to_string(), at.0]).collect();
    transaction.query_many(sql, &sets)?.into_iter().map(content).collect()
}

/// The content in the first column of the only row; `None`: there is no row.
pub(super) fn content(rows: Vec<Row>) -> Result<Option<Fingerprint>, DatabaseError> {
    rows.into_iter().next().map(|mut row| from_bytes(&row.bytes(0)?)).transpose()
}
