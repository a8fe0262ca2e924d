//! The way back: an earlier blueprint as a new generation.

use super::{choices, generation, newest, objects};
use crate::contents::{Contents, from_bytes};
use crate::db::{DatabaseError, Row, Transaction, values};
use levada_model::NodeAddress;
use levada_model::fingerprint::Fingerprint;
use levada_planner::blueprint::ChoicesChange;
use levada_planner::{Advance, Generation};
use std::collections::{BTreeMap, BTreeSet};

/// The step from the newest blueprint to the content of an earlier one, and by which build that was frozen.
/// `None`: there is none of this number before the newest. Linear in what changed since.
pub(super) fn advance(
    transaction: &mut dyn Transaction,
    contents: &Contents,
    to: Generation,
) -> Result<Option<(Advance, String)>, DatabaseError> {
    let Some(from) = newest(transaction)?.filter(|from| to < *from) else { return Ok(None) };
    let Some(row) = generation(transaction, to)? else { return Ok(None) };
    let nodes = nodes(transaction, contents, from, to)?;
    let (now, then) = (choices::read(transaction, from)?, choices::read(transaction, to)?);
    let objects = objects::between(transaction, from, to)?;
    let advance = Advance {
        generation: Generation(from.0 + 1),
        parent: Some(from),
        revision: format!("generation {to} again: {}", row.revision),
        nodes,
        choices: ChoicesChange::between(&now, &then),
        objects,
        platforms: then.platforms,
    };
    Ok(Some((advance, row.form)))
}

/// The nodes that were others.
fn nodes(
    transaction: &mut dyn Transaction,
    contents: &Contents,
    from: Generation,
    to: Generation,
) -> Result<BTreeMap<NodeAddress, Option<levada_planner::Node>>, DatabaseError> {
    let mut addresses: BTreeSet<String> = BTreeSet::new();
    for sql in [
        "SELECT address FROM node_versions WHERE from_generation > ?1 AND from_generation <= ?2",
        "SELECT address FROM node_versions WHERE until_generation > ?1 AND until_generation <= ?2",
    ] {
        let rows = transaction.query(sql, values![to.0, from.0])?;
        addresses.extend(rows.into_iter().map(|mut row| row.text(0)).collect::<Result<Vec<_>, _>>()?);
    }
    let sql =
        "SELECT content FROM node_versions WHERE address = ?1 AND from_generation <= ?2 AND until_generation > ?2";
    let sets: Vec<_> = addresses.iter().map(|address| values![address, to.0]).collect();
    let content = |rows: Vec<Row>| -> Result<Option<Fingerprint>, DatabaseError> {
        rows.into_iter().next().map(|mut row| from_bytes(&row.bytes(0)?)).transpose()
    };
    let then: Vec<Option<Fingerprint>> =
        transaction.query_many(sql, &sets)?.into_iter().map(content).collect::<Result<_, _>>()?;
    let loaded = contents.load(transaction, then.iter().flatten().copied().collect())?;
    let mut nodes = BTreeMap::new();
    for (address, content) in addresses.iter().zip(then) {
        let address: NodeAddress = address.parse().map_err(|error| DatabaseError::content("node address", error))?;
        let node = match content {
            None => None,
            Some(content) => match loaded.get(&content) {
                Some(node) => Some(node.as_ref().clone()),
                // One that this build can't read stays as it is.
                None => continue,
            },
        };
        nodes.insert(address, node);
    }
    Ok(nodes)
}
