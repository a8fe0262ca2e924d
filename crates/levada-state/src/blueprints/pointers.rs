//! The pointers of the platforms: which generation each has taken up, and moving one to the target.
//!
//! A datastore's ingestion changes hands only when both platforms have reached a generation that hands it
//! over: until then its nodes stay as they are on either side, so that it is never ingested twice, nor by
//! nobody.

use super::freeze::owner;
use super::take_up::{TakeUp, Wanted};
use super::{choices, newest};
use crate::contents::{Contents, from_bytes};
use crate::db::{DatabaseError, Row, Transaction, values};
use crate::nodes::Host;
use levada_model::fingerprint::Fingerprint;
use levada_model::name::{DatastoreName, PlatformName};
use levada_model::{Address, NodeAddress};
use levada_planner::blueprint::{IngestOrigin, IngestSpec};
use levada_planner::{Generation, Node, NodeSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const SET_POINTER: &str = "INSERT INTO pointers (platform, generation) VALUES (?1, ?2) \
     ON CONFLICT (platform) DO UPDATE SET generation = excluded.generation";

/// Generations by platform; one that has none yet has taken nothing up.
pub(super) type Pointers = BTreeMap<PlatformName, Generation>;

/// Reads all pointers.
pub(super) fn read(transaction: &mut dyn Transaction) -> Result<Pointers, DatabaseError> {
    let rows = transaction.query("SELECT platform, generation FROM pointers", values![])?;
    rows.iter().map(|row| Ok((row.parsed(0, "platform")?, Generation(row.int(1)?)))).collect()
}

/// The platforms that have something to take up of the target, with how many nodes that is.
pub(super) fn behind(transaction: &mut dyn Transaction) -> Result<BTreeMap<PlatformName, usize>, DatabaseError> {
    let Some(target) = newest(transaction)? else { return Ok(BTreeMap::new()) };
    let pointers = read(transaction)?;
    let mut counts = BTreeMap::new();
    for address in changed(transaction, &pointers, None, target)? {
        *counts.entry(address.platform().clone()).or_default() += 1;
    }
    Ok(counts)
}

/// Moves some platforms, or all, to the target; gives how many nodes may have changed.
pub(super) fn advance(
    transaction: &mut dyn Transaction,
    contents: &Contents,
    moving: Option<&BTreeSet<PlatformName>>,
    now: i64,
) -> Result<usize, DatabaseError> {
    let Some(target) = newest(transaction)? else { return Ok(0) };
    let before = read(transaction)?;
    let mut addresses = changed(transaction, &before, moving, target)?;
    let mut after = before.clone();
    after.iter_mut().filter(|(platform, _)| moves(moving, platform)).for_each(|(_, pointer)| *pointer = target);
    after.extend(addresses.iter().map(|address| (address.platform().clone(), target)));
    let sets: Vec<_> = after.iter().map(|(platform, pointer)| values![platform.as_str(), pointer.0]).collect();
    transaction.execute_many(SET_POINTER, &sets)?;
    if moving.is_some() {
        hand_over(transaction, contents, &after, target, &mut addresses)?;
    }
    let natures = choices::some(transaction, target, &BTreeSet::new())?;
    let platforms = natures.platforms.keys().chain(addresses.iter().map(NodeAddress::platform));
    let hosts = platforms.map(|platform| (platform.clone(), Host::of(&natures, platform))).collect();
    let wanted = wanted(transaction, contents, &after, addresses)?;
    let count = wanted.len();
    TakeUp { wanted, hosts: &hosts, now }.run(transaction, contents)?;
    Ok(count)
}

fn moves(moving: Option<&BTreeSet<PlatformName>>, platform: &PlatformName) -> bool {
    moving.is_none_or(|moving| moving.contains(platform))
}

/// The nodes of some platforms, or of all, that are others in the target than where their platforms are.
/// Linear in what was frozen since the last of them moved.
fn changed(
    transaction: &mut dyn Transaction,
    pointers: &Pointers,
    moving: Option<&BTreeSet<PlatformName>>,
    target: Generation,
) -> Result<BTreeSet<NodeAddress>, DatabaseError> {
    let mut changed = BTreeSet::new();
    for sql in [
        "SELECT address, from_generation FROM node_versions WHERE from_generation > ?1 AND from_generation <= ?2",
        "SELECT address, until_generation FROM node_versions WHERE until_generation > ?1 AND until_generation <= ?2",
    ] {
        let at = |platform: &PlatformName| pointers.get(platform).map_or(0, |pointer| pointer.0);
        // A platform without nodes so far has no pointer, and all that it gets is new.
        let lowest = match moving {
            Some(moving) => moving.iter().map(at).min(),
            None => pointers.values().map(|pointer| pointer.0).min(),
        };
        for row in transaction.query(sql, values![lowest.unwrap_or(0), target.0])? {
            let address: NodeAddress = row.parsed(0, "node address")?;
            if moves(moving, address.platform()) && row.int(1)? > at(address.platform()) {
                changed.insert(address);
            }
        }
    }
    Ok(changed)
}

/// Leaves out the nodes of datastores whose ingestion may not change hands yet, and brings in those of
/// datastores that were waiting for this. The transformer that makes a datastore goes with it.
fn hand_over(
    transaction: &mut dyn Transaction,
    contents: &Contents,
    pointers: &Pointers,
    target: Generation,
    addresses: &mut BTreeSet<NodeAddress>,
) -> Result<(), DatabaseError> {
    let mut by_store: BTreeMap<DatastoreName, BTreeSet<NodeAddress>> = BTreeMap::new();
    for address in addresses.iter() {
        if let Some(store) = store(transaction, contents, address)? {
            by_store.entry(store).or_default().insert(address.clone());
        }
    }
    for (store, own) in by_store {
        let (holder, next) = (holder(transaction, &store)?, choices::primary(transaction, &store, target)?);
        let (Some(holder), Some(next)) = (holder, next) else { continue };
        if next == holder {
            continue;
        }
        if !is_seen_by(transaction, pointers, &store, &next, &[&holder, &next])? {
            addresses.retain(|address| !own.contains(address));
            continue;
        }
        for address in family(transaction, contents, &store)? {
            if is_seen_by(transaction, pointers, &store, &next, &[address.platform()])? {
                addresses.insert(address);
            }
        }
        feed_from(transaction, &store, &holder, &next)?;
    }
    Ok(())
}

/// Whether all these platforms have reached a generation in which another one ingests the datastore.
fn is_seen_by(
    transaction: &mut dyn Transaction,
    pointers: &Pointers,
    store: &DatastoreName,
    primary: &PlatformName,
    platforms: &[&PlatformName],
) -> Result<bool, DatabaseError> {
    for platform in platforms {
        let Some(&pointer) = pointers.get(*platform) else { return Ok(false) };
        if choices::primary(transaction, store, pointer)?.as_ref() != Some(primary) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The datastore that a node belongs to, or that its transformer makes.
fn store(
    transaction: &mut dyn Transaction,
    contents: &Contents,
    address: &NodeAddress,
) -> Result<Option<DatastoreName>, DatabaseError> {
    match owner(address) {
        Address::Datastore(store) => Ok(Some(store)),
        workspace => {
            let transform = last_of_kind(transaction, contents, &workspace, "Transform/%")?;
            Ok(transform.and_then(|node| match &node.spec {
                NodeSpec::Transform(spec) => Some(spec.output.clone()),
                _ => None,
            }))
        }
    }
}

/// The newest version of an owner's nodes whose addresses look like this.
fn last_of_kind(
    transaction: &mut dyn Transaction,
    contents: &Contents,
    owner: &Address,
    like: &'static str,
) -> Result<Option<Arc<Node>>, DatabaseError> {
    let sql = "SELECT content FROM node_versions WHERE owner = ?1 AND address LIKE ?2 \
         ORDER BY from_generation DESC, address LIMIT 1";
    let row = transaction.query_first(sql, values![owner.to_string(), like])?;
    let Some(content) = row.map(|mut row| from_bytes(&row.bytes(0)?)).transpose()? else { return Ok(None) };
    Ok(contents.load(transaction, [content].into())?.remove(&content))
}

/// The platform that ingests a datastore as workers see it; `None`: nobody does.
fn holder(transaction: &mut dyn Transaction, store: &DatastoreName) -> Result<Option<PlatformName>, DatabaseError> {
    for address in of_owner(transaction, &Address::Datastore(store.clone()))? {
        let sql = "SELECT 1 FROM hot_nodes WHERE address = ?1 AND is_retiring = 0";
        if matches!(address, NodeAddress::Ingest(..))
            && transaction.query_first(sql, values![address.to_string()])?.is_some()
        {
            return Ok(Some(address.platform().clone()));
        }
    }
    Ok(None)
}

/// All addresses that the nodes of a datastore, and of the transformer that makes it, ever had.
fn family(
    transaction: &mut dyn Transaction,
    contents: &Contents,
    store: &DatastoreName,
) -> Result<BTreeSet<NodeAddress>, DatabaseError> {
    let owner = Address::Datastore(store.clone());
    let mut family = of_owner(transaction, &owner)?;
    let ingest = last_of_kind(transaction, contents, &owner, "Ingest/%")?;
    if let Some(NodeSpec::Ingest(IngestSpec { origin: IngestOrigin::Transformer { transform, .. }, .. })) =
        ingest.as_ref().map(|node| &node.spec)
    {
        family.extend(of_owner(transaction, &self::owner(transform))?);
    }
    Ok(family)
}

/// All addresses that the nodes of an object ever had.
fn of_owner(transaction: &mut dyn Transaction, owner: &Address) -> Result<BTreeSet<NodeAddress>, DatabaseError> {
    let sql = "SELECT DISTINCT address FROM node_versions WHERE owner = ?1";
    let rows = transaction.query(sql, values![owner.to_string()])?;
    rows.iter().map(|row| row.parsed(0, "node address")).collect()
}

/// Links of platforms that have not reached the new primary's generation are fed by it all the same.
fn feed_from(
    transaction: &mut dyn Transaction,
    store: &DatastoreName,
    from: &PlatformName,
    to: &PlatformName,
) -> Result<(), DatabaseError> {
    let mut sets = Vec::new();
    for address in of_owner(transaction, &Address::Datastore(store.clone()))? {
        if let NodeAddress::Ingest(platform, stream) = &address
            && platform == from
        {
            let next = NodeAddress::Ingest(to.clone(), stream.clone());
            sets.push(values![address.to_string(), next.to_string()]);
        }
    }
    let sql = "UPDATE edges SET upper = ?2 WHERE upper = ?1 AND lower LIKE 'Link/%'";
    transaction.execute_many(sql, &sets).map(drop)
}

/// Each node as the generation of its platform has it.
fn wanted(
    transaction: &mut dyn Transaction,
    contents: &Contents,
    pointers: &Pointers,
    addresses: BTreeSet<NodeAddress>,
) -> Result<BTreeMap<NodeAddress, (Generation, Option<Wanted>)>, DatabaseError> {
    let at = |address: &NodeAddress| pointers.get(address.platform()).copied().unwrap_or(Generation(0));
    let sql = "SELECT content FROM node_versions \
         WHERE address = ?1 AND from_generation <= ?2 AND until_generation > ?2";
    let sets: Vec<_> = addresses.iter().map(|address| values![address.to_string(), at(address).0]).collect();
    let content = |rows: Vec<Row>| -> Result<Option<Fingerprint>, DatabaseError> {
        rows.into_iter().next().map(|mut row| from_bytes(&row.bytes(0)?)).transpose()
    };
    let found: Vec<Option<Fingerprint>> =
        transaction.query_many(sql, &sets)?.into_iter().map(content).collect::<Result<_, _>>()?;
    let nodes = contents.load(transaction, found.iter().flatten().copied().collect())?;
    let mut wanted = BTreeMap::new();
    for (address, content) in addresses.into_iter().zip(found) {
        let node = match content {
            // One that this build can't read stays as it is.
            Some(content) => match nodes.get(&content) {
                Some(node) => Some(Wanted { node: node.clone(), content }),
                None => continue,
            },
            None => None,
        };
        wanted.insert(address.clone(), (at(&address), node));
    }
    Ok(wanted)
}
