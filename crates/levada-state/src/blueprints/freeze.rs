//! Freezing: a blueprint becomes the target by compare-and-set, written as what changes. No worker sees it
//! before its platform takes it up.

use super::{OPEN, choices, generation, newest, objects, versions};
use crate::StateError;
use crate::contents::{Contents, FORMAT, to_bytes};
use crate::db::{DatabaseError, Failure, Transaction, values};
use levada_model::fingerprint::Fingerprint;
use levada_model::{Address, NodeAddress};
use levada_planner::blueprint::Object;
use levada_planner::{Advance, Generation, Node};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const MOVE_TARGET: &str = "UPDATE target SET generation = ?1 WHERE generation = ?2";

const INSERT_GENERATION: &str = "INSERT INTO generations (generation, parent, revision, applied_at, added, changed, \
     removed, form) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

const END_VERSION: &str = "UPDATE node_versions SET until_generation = ?2 WHERE address = ?1 AND until_generation = ?3";

const INSERT_VERSION: &str = "INSERT INTO node_versions (address, from_generation, until_generation, content, owner) \
     VALUES (?1, ?2, ?3, ?4, ?5)";

const WAIT: &str = "INSERT INTO waiting_nodes (address, platform, since) VALUES (?1, ?2, ?3) \
     ON CONFLICT (address) DO UPDATE SET since = excluded.since";

const UNOWNED: &str = "SELECT address FROM node_versions WHERE owner = '' AND until_generation = ?1";

const OWN: &str = "UPDATE node_versions SET owner = ?2 WHERE address = ?1 AND until_generation = ?3";

const INSERT_CONTENT: &str = "INSERT INTO node_contents (content, node, format) VALUES (?1, ?2, ?3) \
     ON CONFLICT (content) DO UPDATE SET node = excluded.node, format = excluded.format \
     WHERE node_contents.node <> excluded.node OR node_contents.format <> excluded.format";

/// All that a transaction needs, taken from the advance beforehand.
pub(super) struct Freeze {
    generation: Generation,
    parent: Option<Generation>,
    revision: String,
    form: String,
    now: i64,
    choices: choices::Rows,
    objects: BTreeMap<Address, Option<Object>>,
    wanted: BTreeMap<NodeAddress, Option<Wanted>>,
    contents: Arc<Contents>,
}

/// A node as it is to be.
struct Wanted {
    node: Arc<Node>,
    content: Fingerprint,
    json: String,
}

/// One difference that is really one.
struct Change<'a> {
    address: &'a NodeAddress,
    key: String,
    wanted: Option<&'a Wanted>,
    was_there: bool,
}

impl Freeze {
    pub(super) fn new(advance: &Advance, form: &str, now: i64, contents: &Arc<Contents>) -> Result<Self, StateError> {
        let &Advance { generation, parent, .. } = advance;
        if generation.0 <= parent.map_or(0, |parent| parent.0) || generation.0 >= OPEN - 1 {
            return Err(StateError::GenerationOrder { generation, parent });
        }
        let wanted = advance.nodes.iter().map(|(address, node)| (address.clone(), node.as_ref().map(Wanted::new)));
        Ok(Self {
            generation,
            parent,
            revision: advance.revision.clone(),
            form: form.to_owned(),
            now,
            choices: choices::rows(&advance.choices),
            objects: advance.objects.clone(),
            wanted: wanted.collect(),
            contents: Arc::clone(contents),
        })
    }

    /// Gives `false` where an earlier try of the same call has done it all.
    pub(super) fn run(&self, transaction: &mut dyn Transaction) -> Result<bool, Failure> {
        if !self.move_target(transaction)? {
            return Ok(false);
        }
        let changes = self.changes(transaction)?;
        self.insert_generation(transaction, &changes)?;
        choices::write(transaction, &self.choices, self.generation)?;
        objects::write(transaction, &self.objects, self.generation)?;
        own(transaction)?;
        self.insert_pointers(transaction)?;
        self.write_versions(transaction, &changes)?;
        Ok(true)
    }

    /// The compare-and-set. Gives `false` where an earlier try of the same call has done it all.
    fn move_target(&self, transaction: &mut dyn Transaction) -> Result<bool, Failure> {
        let base = self.parent.map_or(0, |parent| parent.0);
        if transaction.execute(MOVE_TARGET, values![self.generation.0, base])? > 0 {
            return Ok(true);
        }
        if transaction.is_repeated() && self.is_there(transaction)? {
            return Ok(false);
        }
        Err(StateError::BaseMoved { base: self.parent, found: newest(transaction)? }.into())
    }

    fn is_there(&self, transaction: &mut dyn Transaction) -> Result<bool, DatabaseError> {
        let row = generation(transaction, self.generation)?;
        Ok(row.is_some_and(|row| {
            (row.parent, row.revision.as_str(), row.applied_at) == (self.parent, self.revision.as_str(), self.now)
        }))
    }

    /// Leaves out what is the same as in force.
    fn changes(&self, transaction: &mut dyn Transaction) -> Result<Vec<Change<'_>>, DatabaseError> {
        let keys: Vec<_> = self.wanted.keys().map(ToString::to_string).collect();
        let sql = "SELECT content FROM node_versions WHERE address = ?1 AND until_generation = ?2";
        let sets: Vec<_> = keys.iter().map(|key| values![key, OPEN]).collect();
        let found: Vec<Option<Fingerprint>> =
            transaction.query_many(sql, &sets)?.into_iter().map(versions::content).collect::<Result<_, _>>()?;
        // One that this build can't read is written anew.
        let readable = self.contents.load(transaction, found.iter().flatten().copied().collect())?;
        let mut changes = Vec::with_capacity(keys.len());
        for (((address, wanted), key), found) in self.wanted.iter().zip(keys).zip(found) {
            let is_same = match (wanted, found) {
                (Some(wanted), Some(found)) => found == wanted.content && readable.contains_key(&found),
                (None, None) => true,
                _ => false,
            };
            if !is_same {
                changes.push(Change { address, key, wanted: wanted.as_ref(), was_there: found.is_some() });
            }
        }
        Ok(changes)
    }

    fn insert_generation(
        &self,
        transaction: &mut dyn Transaction,
        changes: &[Change<'_>],
    ) -> Result<(), DatabaseError> {
        let count = |is_wanted: bool, was_there: bool| {
            let counted = |change: &&Change<'_>| (change.wanted.is_some(), change.was_there) == (is_wanted, was_there);
            changes.iter().filter(counted).count() as i64
        };
        let values = values![
            self.generation.0,
            self.parent.map(|parent| parent.0),
            &self.revision,
            self.now,
            count(true, false),
            count(true, true),
            count(false, true),
            &self.form,
        ];
        transaction.execute(INSERT_GENERATION, values).map(drop)
    }

    /// Platforms that get their first nodes have taken nothing up yet.
    fn insert_pointers(&self, transaction: &mut dyn Transaction) -> Result<(), DatabaseError> {
        let wanted = self.wanted.iter().filter(|(_, node)| node.is_some());
        let platforms: BTreeSet<_> = wanted.map(|(address, _)| address.platform().as_str()).collect();
        let sets: Vec<_> = platforms.into_iter().map(|platform| values![platform]).collect();
        let sql = "INSERT INTO pointers (platform, generation) VALUES (?1, 0) ON CONFLICT (platform) DO NOTHING";
        transaction.execute_many(sql, &sets).map(drop)
    }

    fn write_versions(&self, transaction: &mut dyn Transaction, changes: &[Change<'_>]) -> Result<(), DatabaseError> {
        let ended = changes.iter().filter(|change| change.was_there);
        let ended: Vec<_> = ended.map(|change| values![&change.key, self.generation.0, OPEN]).collect();
        transaction.execute_many(END_VERSION, &ended)?;
        let mut contents = Vec::new();
        let mut versions = Vec::new();
        for (change, wanted) in changes.iter().filter_map(|change| Some((change, change.wanted?))) {
            let content = to_bytes(wanted.content);
            contents.push(values![content.as_slice(), &wanted.json, FORMAT]);
            let owner = owner(change.address).to_string();
            versions.push(values![&change.key, self.generation.0, OPEN, content, owner]);
        }
        transaction.execute_many(INSERT_CONTENT, &contents)?;
        transaction.execute_many(INSERT_VERSION, &versions)?;
        let waiting = changes.iter().map(|it| values![&it.key, it.address.platform().as_str(), self.generation.0]);
        transaction.execute_many(WAIT, &waiting.collect::<Vec<_>>())?;
        // Whoever takes them up does not have to read them again.
        self.contents.keep_all(changes.iter().filter_map(|it| it.wanted).map(|it| (it.content, Arc::clone(&it.node))));
        Ok(())
    }
}

impl Wanted {
    fn new(node: &Node) -> Self {
        let json = serde_json::to_string(node).expect("plain data with text keys always serialises");
        Self { content: node.fingerprint(), node: Arc::new(node.clone()), json }
    }
}

/// The datastore or workspace that a node belongs to.
pub(super) fn owner(address: &NodeAddress) -> Address {
    Address::Node(address.clone()).object()
}

/// Says whose the nodes in force are that an older build wrote.
fn own(transaction: &mut dyn Transaction) -> Result<(), DatabaseError> {
    let mut sets = Vec::new();
    for row in transaction.query(UNOWNED, values![OPEN])? {
        let address: NodeAddress = row.parsed(0, "node address")?;
        sets.push(values![row.str(0)?, owner(&address).to_string(), OPEN]);
    }
    transaction.execute_many(OWN, &sets).map(drop)
}
