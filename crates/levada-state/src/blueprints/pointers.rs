//! The pointers of the platforms: which generation each has taken up, and moving them to the target.
//!
//! A node that a generation changes *waits* until its platform takes that generation up. Some wait longer, on
//! all platforms that have got there:
//! - the nodes of a datastore whose ingestion changes hands, with the transformer that makes it, until both
//!   platforms have reached a generation that hands it over: it is never ingested twice, nor by nobody;
//! - an export that loses views, or goes, while another platform that shall show them is not there yet, or
//!   while a trigger that waits reads it.

use super::freeze::owner;
use super::take_up::{TakeUp, Wanted};
use super::{choices, newest, versions};
use crate::contents::{Contents, from_bytes};
use crate::db::{DatabaseError, Transaction, values};
use crate::nodes::Host;
use levada_model::address::DatasetRef;
use levada_model::name::{ContainerName, DatastoreName, PlatformName};
use levada_model::{Address, NodeAddress};
use levada_planner::blueprint::ViewSpec;
use levada_planner::{Generation, Node, NodeSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const SET_POINTER: &str = "INSERT INTO pointers (platform, generation) VALUES (?1, ?2) \
     ON CONFLICT (platform) DO UPDATE SET generation = excluded.generation";

/// Generations by platform; one that has none yet has taken nothing up.
pub(super) type Pointers = BTreeMap<PlatformName, Generation>;

/// Nodes that wait, with the generation that changed each last.
type Waiting = BTreeMap<NodeAddress, Generation>;

/// Reads all pointers.
pub(super) fn read(transaction: &mut dyn Transaction) -> Result<Pointers, DatabaseError> {
    let rows = transaction.query("SELECT platform, generation FROM pointers", values![])?;
    rows.iter().map(|row| Ok((row.parsed(0, "platform")?, Generation(row.int(1)?)))).collect()
}

fn waiting(transaction: &mut dyn Transaction) -> Result<Waiting, DatabaseError> {
    let rows = transaction.query("SELECT address, since FROM waiting_nodes", values![])?;
    rows.iter().map(|row| Ok((row.parsed(0, "node address")?, Generation(row.int(1)?)))).collect()
}

/// The platforms that have something to take up, with how many nodes that is; those that wait for another
/// platform are not counted. Linear in what waits.
pub(super) fn behind(transaction: &mut dyn Transaction) -> Result<BTreeMap<PlatformName, usize>, DatabaseError> {
    let pointers = read(transaction)?;
    let mut counts = BTreeMap::new();
    for (address, since) in waiting(transaction)? {
        if since > pointer(&pointers, address.platform()) {
            *counts.entry(address.platform().clone()).or_default() += 1;
        }
    }
    Ok(counts)
}

fn pointer(pointers: &Pointers, platform: &PlatformName) -> Generation {
    pointers.get(platform).copied().unwrap_or(Generation(0))
}

/// Moves some platforms, or all, to the target; gives how many nodes were taken up. Linear in what waits.
pub(super) fn advance(
    transaction: &mut dyn Transaction,
    contents: &Contents,
    moving: Option<&BTreeSet<PlatformName>>,
    now: i64,
) -> Result<usize, DatabaseError> {
    // One at a time, where the system has several.
    transaction.execute("UPDATE target SET generation = generation", values![])?;
    let Some(target) = newest(transaction)? else { return Ok(0) };
    let waiting = waiting(transaction)?;
    let pointers = move_pointers(transaction, &waiting, moving, target)?;
    let (mut taken, left): (Waiting, Waiting) =
        waiting.into_iter().partition(|(address, since)| *since <= pointer(&pointers, address.platform()));
    let mut round = Round { transaction, contents, pointers: &pointers, target };
    round.hold_handovers(&mut taken)?;
    round.hold_exports(&mut taken, &left)?;
    let wanted = round.wanted(taken.keys())?;
    let natures = choices::some(transaction, target, &BTreeSet::new())?;
    let platforms = natures.platforms.keys().chain(wanted.keys().map(NodeAddress::platform));
    let hosts = platforms.map(|platform| (platform.clone(), Host::of(&natures, platform))).collect();
    let done: Vec<_> = wanted.keys().map(|address| values![address.to_string()]).collect();
    TakeUp { wanted, hosts: &hosts, now }.run(transaction, contents)?;
    transaction.execute_many("DELETE FROM waiting_nodes WHERE address = ?1", &done)?;
    Ok(done.len())
}

/// Moves the pointers of those that take the target up, and of all for whom nothing new waits.
fn move_pointers(
    transaction: &mut dyn Transaction,
    waiting: &Waiting,
    moving: Option<&BTreeSet<PlatformName>>,
    target: Generation,
) -> Result<Pointers, DatabaseError> {
    let mut pointers = read(transaction)?;
    let stay: BTreeSet<PlatformName> = waiting
        .iter()
        .filter(|(address, since)| **since > pointer(&pointers, address.platform()))
        .map(|(address, _)| address.platform().clone())
        .filter(|platform| moving.is_some_and(|moving| !moving.contains(platform)))
        .collect();
    let platforms: Vec<PlatformName> = pointers.keys().filter(|platform| !stay.contains(*platform)).cloned().collect();
    let sets: Vec<_> = platforms.iter().map(|platform| values![platform.as_str(), target.0]).collect();
    transaction.execute_many(SET_POINTER, &sets)?;
    pointers.extend(platforms.into_iter().map(|platform| (platform, target)));
    Ok(pointers)
}

/// What decides about one advance.
struct Round<'r> {
    transaction: &'r mut dyn Transaction,
    contents: &'r Contents,
    pointers: &'r Pointers,
    target: Generation,
}

impl Round<'_> {
    /// Leaves out the nodes of datastores whose ingestion may not change hands yet.
    fn hold_handovers(&mut self, taken: &mut Waiting) -> Result<(), DatabaseError> {
        let mut by_store: BTreeMap<DatastoreName, BTreeSet<NodeAddress>> = BTreeMap::new();
        for address in taken.keys() {
            if let Some(store) = self.store(address)? {
                by_store.entry(store).or_default().insert(address.clone());
            }
        }
        for (store, own) in by_store {
            let (holder, next) = (self.holder(&store)?, choices::primary(self.transaction, &store, self.target)?);
            let (Some(holder), Some(next)) = (holder, next) else { continue };
            if next == holder {
                continue;
            }
            match self.is_seen_by(&store, &next, &[&holder, &next])? {
                true => self.feed_from(&store, &holder, &next)?,
                false => taken.retain(|address, _| !own.contains(address)),
            }
        }
        Ok(())
    }

    /// Whether all these platforms have reached a generation in which another one ingests the datastore.
    fn is_seen_by(
        &mut self,
        store: &DatastoreName,
        primary: &PlatformName,
        platforms: &[&PlatformName],
    ) -> Result<bool, DatabaseError> {
        for platform in platforms {
            let at = pointer(self.pointers, platform);
            if choices::primary(self.transaction, store, at)?.as_ref() != Some(primary) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The datastore that a node belongs to, or that its transformer makes.
    fn store(&mut self, address: &NodeAddress) -> Result<Option<DatastoreName>, DatabaseError> {
        let workspace = match owner(address) {
            Address::Datastore(store) => return Ok(Some(store)),
            workspace => workspace.to_string(),
        };
        let sql = "SELECT content FROM node_versions WHERE owner = ?1 AND address LIKE 'Transform/%' \
             ORDER BY from_generation DESC, address LIMIT 1";
        let row = self.transaction.query_first(sql, values![workspace])?;
        let Some(content) = row.map(|mut row| from_bytes(&row.bytes(0)?)).transpose()? else { return Ok(None) };
        let transform = self.contents.load(self.transaction, [content].into())?.remove(&content);
        Ok(transform.and_then(|node| match &node.spec {
            NodeSpec::Transform(spec) => Some(spec.output.clone()),
            _ => None,
        }))
    }

    /// The platform that ingests a datastore as workers see it; `None`: none does, or it renders files.
    fn holder(&mut self, store: &DatastoreName) -> Result<Option<PlatformName>, DatabaseError> {
        for address in self.ingests(store)? {
            let sql = "SELECT 1 FROM hot_nodes WHERE address = ?1 AND is_retiring = 0";
            if self.transaction.query_first(sql, values![address.to_string()])?.is_some() {
                return Ok(Some(address.platform().clone()));
            }
        }
        Ok(None)
    }

    /// The addresses that a datastore's ingests ever had.
    fn ingests(&mut self, store: &DatastoreName) -> Result<BTreeSet<NodeAddress>, DatabaseError> {
        let sql = "SELECT DISTINCT address FROM node_versions WHERE owner = ?1 AND address LIKE 'Ingest/%'";
        let rows = self.transaction.query(sql, values![Address::Datastore(store.clone()).to_string()])?;
        rows.iter().map(|row| row.parsed(0, "node address")).collect()
    }

    /// Links of platforms that have not reached the new primary's generation are fed by it all the same.
    fn feed_from(
        &mut self,
        store: &DatastoreName,
        from: &PlatformName,
        to: &PlatformName,
    ) -> Result<(), DatabaseError> {
        let mut sets = Vec::new();
        for address in self.ingests(store)? {
            if let NodeAddress::Ingest(platform, stream) = &address
                && platform == from
            {
                let next = NodeAddress::Ingest(to.clone(), stream.clone());
                sets.push(values![address.to_string(), next.to_string()]);
            }
        }
        let sql = "UPDATE edges SET upper = ?2 WHERE upper = ?1 AND lower LIKE 'Link/%'";
        self.transaction.execute_many(sql, &sets).map(drop)
    }

    /// Leaves out exports that would take views away from consumers before somebody else shows them, and
    /// those that a trigger reads which is left as it is.
    fn hold_exports(&mut self, taken: &mut Waiting, left: &Waiting) -> Result<(), DatabaseError> {
        let all: BTreeSet<NodeAddress> = waiting(self.transaction)?.into_keys().collect();
        let left_exports: BTreeSet<(&ContainerName, &DatasetRef)> = left.keys().filter_map(shown).collect();
        let mut held = Vec::new();
        for address in taken.keys() {
            let Some(export) = shown(address) else { continue };
            let is_read_by_others = left_exports.contains(&export) && self.loses_views(address)?;
            if is_read_by_others || self.is_read_by_a_held_trigger(address, taken, &all)? {
                held.push(address.clone());
            }
        }
        taken.retain(|address, _| !held.contains(address));
        Ok(())
    }

    /// Whether an export shows views as workers have it that it does not show as it is wanted.
    fn loses_views(&mut self, address: &NodeAddress) -> Result<bool, DatabaseError> {
        let now = self.hot(address)?;
        let wanted = self.wanted([address].into_iter())?.remove(address).and_then(|(_, wanted)| wanted);
        let names = |node: Option<&Node>| -> BTreeSet<(String, String)> {
            let name = |view: &ViewSpec| (view.schema.clone(), view.name.clone());
            match node.map(|node| &node.spec) {
                Some(NodeSpec::Export(spec)) => spec.views.iter().map(name).collect(),
                _ => BTreeSet::new(),
            }
        };
        let (now, then) = (names(now.as_deref()), names(wanted.as_ref().map(|wanted| wanted.node.as_ref())));
        Ok(!now.is_subset(&then))
    }

    fn hot(&mut self, address: &NodeAddress) -> Result<Option<Arc<Node>>, DatabaseError> {
        let sql = "SELECT content FROM hot_nodes WHERE address = ?1";
        let row = self.transaction.query_first(sql, values![address.to_string()])?;
        let Some(content) = row.map(|mut row| from_bytes(&row.bytes(0)?)).transpose()? else { return Ok(None) };
        Ok(self.contents.load(self.transaction, [content].into())?.remove(&content))
    }

    /// Whether an export goes that a trigger reads which waits longer.
    fn is_read_by_a_held_trigger(
        &mut self,
        address: &NodeAddress,
        taken: &Waiting,
        all: &BTreeSet<NodeAddress>,
    ) -> Result<bool, DatabaseError> {
        let is_there = versions::contents_at(self.transaction, [(address, self.target)].into_iter())?;
        if is_there.iter().any(Option::is_some) {
            return Ok(false);
        }
        let sql = "SELECT lower FROM edges WHERE upper = ?1 AND lower LIKE 'Trigger/%'";
        for row in self.transaction.query(sql, values![address.to_string()])? {
            let trigger: NodeAddress = row.parsed(0, "node address")?;
            if all.contains(&trigger) && !taken.contains_key(&trigger) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Each node as the generation of its platform has it.
    fn wanted<'a>(
        &mut self,
        addresses: impl Iterator<Item = &'a NodeAddress> + Clone,
    ) -> Result<BTreeMap<NodeAddress, (Generation, Option<Wanted>)>, DatabaseError> {
        let pointers = self.pointers;
        let at = |address: &NodeAddress| pointer(pointers, address.platform());
        let found = versions::contents_at(self.transaction, addresses.clone().map(|address| (address, at(address))))?;
        let nodes = self.contents.load(self.transaction, found.iter().flatten().copied().collect())?;
        let mut wanted = BTreeMap::new();
        for (address, content) in addresses.zip(found) {
            let node = match content {
                // One that this build can't read stays as it is.
                Some(content) => match nodes.get(&content) {
                    Some(node) => Some(Wanted { node: node.clone(), content }),
                    None => continue,
                },
                None => None,
            };
            wanted.insert(address.clone(), (at(address), node));
        }
        Ok(wanted)
    }
}

/// What an export shows, and where; `None`: it is none.
fn shown(address: &NodeAddress) -> Option<(&ContainerName, &DatasetRef)> {
    match address {
        NodeAddress::Export(_, container, of) => Some((container, of)),
        _ => None,
    }
}
