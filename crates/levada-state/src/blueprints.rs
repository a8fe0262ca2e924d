//! Blueprints: every generation that was ever in force, and the pointers of the platforms.
//!
//! A node is stored once per content, and once per span of generations that has it, so that what
//! an apply writes follows what it changes.

mod apply;
mod choices;

use crate::contents::{from_bytes, read_node};
use crate::db::{DatabaseError, Row, Transaction, values};
use crate::{State, StateError};
use levada_model::NodeAddress;
use levada_model::fingerprint::Fingerprint;
use levada_model::name::PlatformName;
use levada_planner::blueprint::Choices;
use levada_planner::{Blueprint, Generation, Node};
use std::collections::BTreeMap;

/// The `until_generation` of what is still so.
const OPEN: i64 = i64::MAX;

/// One applied blueprint, without its nodes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GenerationRow {
    /// Its number.
    pub generation: Generation,
    /// The one it was made on.
    pub parent: Option<Generation>,
    /// The model's revision, for people.
    pub revision: String,
    /// When, µs.
    pub applied_at: i64,
    /// Nodes it added.
    pub added: i64,
    /// Nodes it changed.
    pub changed: i64,
    /// Nodes it removed.
    pub removed: i64,
}

/// What became of a node in a generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum NodeDifference {
    Added,
    Changed,
    Removed,
}

/// Columns as [`generation_row`] expects them.
macro_rules! generation_columns {
    () => {
        "SELECT generation, parent, revision, applied_at, added, changed, removed FROM generations"
    };
}

impl State {
    /// The newest blueprint, but for nodes that this build can't read; `None`: none was ever applied.
    pub async fn in_force(&self) -> Result<Option<Blueprint>, StateError> {
        self.read("read the blueprint in force", |transaction| match newest(transaction)? {
            None => Ok(None),
            Some(generation) => Ok(blueprint(transaction, generation)?),
        })
        .await
    }

    /// The number of the newest blueprint.
    pub async fn generation_in_force(&self) -> Result<Option<Generation>, StateError> {
        self.read("read the generation in force", |transaction| Ok(newest(transaction)?)).await
    }

    /// A blueprint as it was applied, but for nodes that this build can't read; `None`: there is none of this number.
    pub async fn blueprint(&self, generation: Generation) -> Result<Option<Blueprint>, StateError> {
        self.read("read a blueprint", move |transaction| Ok(blueprint(transaction, generation)?)).await
    }

    /// The content hashes of a generation's nodes: enough to see what differs, without reading it.
    pub async fn node_contents(
        &self,
        generation: Generation,
    ) -> Result<BTreeMap<NodeAddress, Fingerprint>, StateError> {
        self.read("read the contents of a blueprint", move |transaction| {
            let sql = "SELECT address, content FROM node_versions \
                       WHERE until_generation > ?1 AND from_generation <= ?1";
            let rows = transaction.query(sql, values![generation.0])?;
            let read = |mut row: Row| Ok((row.parsed(0, "node address")?, from_bytes(&row.bytes(1)?)?));
            Ok(rows.into_iter().map(read).collect::<Result<_, DatabaseError>>()?)
        })
        .await
    }

    /// The nodes that a generation has in another way than the one before it.
    pub async fn changed_nodes(
        &self,
        generation: Generation,
    ) -> Result<BTreeMap<NodeAddress, NodeDifference>, StateError> {
        self.read("read what a blueprint changed", move |transaction| {
            let sql = "SELECT address, from_generation = ?1, until_generation = ?1 FROM node_versions \
                       WHERE from_generation = ?1 OR until_generation = ?1";
            let mut changes = BTreeMap::new();
            for row in transaction.query(sql, values![generation.0])? {
                let (begins, ends) = (row.flag(1)?, row.flag(2)?);
                let address: NodeAddress = row.parsed(0, "node address")?;
                let change = match changes.get(&address) {
                    // The old version ends where the new one begins.
                    Some(_) => NodeDifference::Changed,
                    None if begins && !ends => NodeDifference::Added,
                    None => NodeDifference::Removed,
                };
                changes.insert(address, change);
            }
            Ok(changes)
        })
        .await
    }

    /// The broker's choices of a generation.
    pub async fn choices(&self, generation: Generation) -> Result<Choices, StateError> {
        self.read("read the choices of a blueprint", move |transaction| Ok(choices::read(transaction, generation)?))
            .await
    }

    /// All applied blueprints, the oldest first.
    pub async fn generations(&self) -> Result<Vec<GenerationRow>, StateError> {
        self.read("read the generations", |transaction| {
            let rows = transaction.query(concat!(generation_columns!(), " ORDER BY generation"), values![])?;
            Ok(rows.into_iter().map(generation_row).collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Which generation each platform is at.
    pub async fn pointers(&self) -> Result<BTreeMap<PlatformName, Generation>, StateError> {
        self.read("read the pointers of the platforms", |transaction| {
            let rows = transaction.query("SELECT platform, generation FROM pointers", values![])?;
            let read = |row: &Row| Ok((row.parsed(0, "platform")?, Generation(row.int(1)?)));
            Ok(rows.iter().map(read).collect::<Result<_, DatabaseError>>()?)
        })
        .await
    }

    /// Makes a blueprint the target, if its parent is still in force: one transaction that writes
    /// what changes and nothing else.
    ///
    /// `changes` are the nodes in which it differs from its parent: `Some` for added and changed
    /// ones, `None` for removed ones; entries that change nothing are passed over. Moves the
    /// pointers of all platforms. `now` is µs.
    ///
    /// What it makes due: ingests of a container that are new or read other datasets or columns
    /// than before, new and changed links and exports whose stream has a batch, new and changed
    /// triggers. An export that left is due for its retirement.
    ///
    /// # Errors
    /// [`StateError::BaseMoved`] where another blueprint was applied meanwhile.
    pub async fn apply(
        &self,
        blueprint: &Blueprint,
        changes: &[(NodeAddress, Option<Node>)],
        now: i64,
    ) -> Result<(), StateError> {
        let apply = apply::Apply::new(blueprint, changes, now, &self.inner.contents)?;
        self.write("apply a blueprint", move |transaction| apply.run(transaction)).await
    }
}

fn newest(transaction: &mut dyn Transaction) -> Result<Option<Generation>, DatabaseError> {
    let row = transaction.query_first("SELECT generation FROM target", values![])?;
    let number = row.map_or(Ok(0), |row| row.int(0))?;
    Ok((number > 0).then_some(Generation(number)))
}

fn generation(transaction: &mut dyn Transaction, number: Generation) -> Result<Option<GenerationRow>, DatabaseError> {
    let sql = concat!(generation_columns!(), " WHERE generation = ?1");
    transaction.query_first(sql, values![number.0])?.map(generation_row).transpose()
}

fn generation_row(mut row: Row) -> Result<GenerationRow, DatabaseError> {
    Ok(GenerationRow {
        generation: Generation(row.int(0)?),
        parent: row.int_or_null(1)?.map(Generation),
        revision: row.text(2)?,
        applied_at: row.int(3)?,
        added: row.int(4)?,
        changed: row.int(5)?,
        removed: row.int(6)?,
    })
}

fn blueprint(transaction: &mut dyn Transaction, number: Generation) -> Result<Option<Blueprint>, DatabaseError> {
    let Some(row) = generation(transaction, number)? else {
        return Ok(None);
    };
    let sql = "SELECT node_contents.node, node_contents.format FROM node_versions \
               JOIN node_contents ON node_contents.content = node_versions.content \
               WHERE node_versions.until_generation > ?1 AND node_versions.from_generation <= ?1";
    let rows = transaction.query(sql, values![number.0])?;
    let nodes = rows.iter().filter_map(read_node);
    Ok(Some(Blueprint {
        generation: row.generation,
        parent: row.parent,
        revision: row.revision,
        choices: choices::read(transaction, number)?,
        nodes: nodes.map(|node| (node.address.clone(), node)).collect(),
    }))
}
