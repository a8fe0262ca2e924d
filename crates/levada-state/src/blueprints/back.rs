//! The way back: an earlier blueprint as a new generation.

use super::{generation, newest, versions};
use crate::contents::Contents;
use crate::db::{DatabaseError, Transaction};
use levada_model::NodeAddress;
use levada_model::fingerprint::Fingerprint;
use levada_planner::{Blueprint, Generation, Node};
use std::collections::{BTreeMap, BTreeSet};

/// The newest blueprint and an earlier one as it would follow it, each without the nodes that are the same in
/// both.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WayBack {
    /// What is in force.
    pub now: Blueprint,
    /// The content of the earlier one, as a generation of its own.
    pub then: Blueprint,
    /// By which build that was frozen.
    pub form: String,
}

/// The way from the newest blueprint to the content of an earlier one. `None`: there is none of this number
/// before the newest. Linear in what changed since, and in the objects of the model.
pub(super) fn way(
    transaction: &mut dyn Transaction,
    contents: &Contents,
    to: Generation,
) -> Result<Option<WayBack>, DatabaseError> {
    let Some(from) = newest(transaction)?.filter(|from| to < *from) else { return Ok(None) };
    let (Some(newest), Some(earlier)) = (generation(transaction, from)?, generation(transaction, to)?) else {
        return Ok(None);
    };
    let addresses: BTreeSet<NodeAddress> =
        versions::changed(transaction, to, from)?.into_iter().map(|(address, _)| address).collect();
    let nodes = nodes_at(transaction, contents, &addresses, from)?;
    let now = newest.with_nodes(transaction, nodes)?;
    let form = earlier.form.clone();
    let nodes = nodes_at(transaction, contents, &addresses, to)?;
    let mut then = earlier.with_nodes(transaction, nodes)?;
    then.revision = format!("generation {to} again: {}", then.revision);
    (then.generation, then.parent) = (Generation(from.0 + 1), Some(from));
    Ok(Some(WayBack { now, then, form }))
}

/// Nodes as a generation has them; those that it has not, or that this build can't read, are left out.
fn nodes_at(
    transaction: &mut dyn Transaction,
    contents: &Contents,
    addresses: &BTreeSet<NodeAddress>,
    at: Generation,
) -> Result<BTreeMap<NodeAddress, Node>, DatabaseError> {
    let found = versions::contents_at(transaction, addresses.iter().map(|address| (address, at)))?;
    let loaded = contents.load(transaction, found.iter().flatten().copied().collect())?;
    let node = |(address, content): (&NodeAddress, Option<Fingerprint>)| {
        Some((address.clone(), loaded.get(&content?)?.as_ref().clone()))
    };
    Ok(addresses.iter().zip(found).filter_map(node).collect())
}
