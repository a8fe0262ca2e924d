//! Blueprints: every generation that was ever in force, and the pointers of the platforms.
//!
//! A node is stored once per content, and once per span of generations that has it, so that what
//! an apply writes follows what it changes.

mod back;
mod choices;
mod freeze;
mod objects;
mod pointers;
mod take_up;
mod versions;

pub use back::WayBack;

use crate::contents::{from_bytes, read_node};
use crate::db::{DatabaseError, Row, Transaction, values};
use crate::{State, StateError};
use levada_model::fingerprint::Fingerprint;
use levada_model::name::PlatformName;
use levada_model::{Address, NodeAddress};
use levada_planner::blueprint::{Choices, Object};
use levada_planner::{Advance, Blueprint, Generation, Node};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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
    /// Which build froze it; empty: one that did not say.
    pub form: String,
}

/// The blueprint in force by what it was frozen from: enough to see what has changed in the model since.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frozen {
    /// Its number.
    pub generation: Generation,
    /// Which build froze it; empty: one that did not say.
    pub form: String,
    /// What each object of the model said.
    pub contents: BTreeMap<Address, Fingerprint>,
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
        "SELECT generation, parent, revision, applied_at, added, changed, removed, form \
         FROM generations"
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

    /// What the newest blueprint was frozen from; `None`: none was ever applied.
    pub async fn frozen(&self) -> Result<Option<Frozen>, StateError> {
        self.read("read what the blueprint in force was frozen from", |transaction| {
            let Some(number) = newest(transaction)? else { return Ok(None) };
            let form = generation(transaction, number)?.map(|row| row.form).unwrap_or_default();
            Ok(Some(Frozen { generation: number, form, contents: objects::contents(transaction, number)? }))
        })
        .await
    }

    /// Some objects as a generation was frozen from them.
    pub async fn objects(
        &self,
        generation: Generation,
        wanted: BTreeSet<Address>,
    ) -> Result<BTreeMap<Address, Object>, StateError> {
        self.read("read objects of a blueprint", move |transaction| {
            Ok(objects::some(transaction, generation, &wanted)?)
        })
        .await
    }

    /// A part of a blueprint: the nodes of some datastores and workspaces, and what is said and chosen of
    /// all objects that are to be known. `None`: there is none of this number.
    pub async fn part(
        &self,
        number: Generation,
        owners: BTreeSet<Address>,
        known: BTreeSet<Address>,
    ) -> Result<Option<Blueprint>, StateError> {
        self.read("read a part of a blueprint", move |transaction| {
            let Some(row) = generation(transaction, number)? else { return Ok(None) };
            let sql = "SELECT node_contents.node, node_contents.format FROM node_versions \
                       JOIN node_contents ON node_contents.content = node_versions.content \
                       WHERE node_versions.owner = ?1 \
                       AND node_versions.until_generation > ?2 AND node_versions.from_generation <= ?2";
            let sets: Vec<_> = owners.iter().map(|owner| values![owner.to_string(), number.0]).collect();
            let rows: Vec<Row> = transaction.query_many(sql, &sets)?.into_iter().flatten().collect();
            let choices = choices::some(transaction, number, &known)?;
            let objects = objects::some(transaction, number, &known)?;
            Ok(Some(row.blueprint(nodes_of(&rows), choices, objects)))
        })
        .await
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
        self.read("read the pointers of the platforms", |transaction| Ok(pointers::read(transaction)?)).await
    }

    /// The platforms that have something to take up of the target, with how many nodes that is.
    pub async fn behind(&self) -> Result<BTreeMap<PlatformName, usize>, StateError> {
        self.read("read what platforms have to take up", |transaction| Ok(pointers::behind(transaction)?)).await
    }

    /// Makes a blueprint the target, if its parent is still in force, and has all platforms take it up: one
    /// transaction that writes what changes and nothing else.
    ///
    /// Entries of the advance that change nothing are passed over. `form` names the build that froze it, `now`
    /// is µs.
    ///
    /// What it makes due: ingests of a container that are new or read other datasets or columns
    /// than before, new and changed links and exports whose stream has a batch, new and changed
    /// triggers. An export that left is due for its retirement.
    ///
    /// # Errors
    /// [`StateError::BaseMoved`] where another blueprint was applied meanwhile.
    pub async fn apply(&self, advance: &Advance, form: &str, now: i64) -> Result<(), StateError> {
        let freeze = freeze::Freeze::new(advance, form, now, &self.inner.contents)?;
        let contents = Arc::clone(&self.inner.contents);
        self.write("apply a blueprint", move |transaction| {
            if freeze.run(transaction)? {
                pointers::advance(transaction, &contents, None, now)?;
            }
            Ok(())
        })
        .await
    }

    /// The way from the newest blueprint to the content of an earlier one; [`Advance::between`] is the step to
    /// apply. `None`: there is none of this number before the newest.
    pub async fn way_back(&self, to: Generation) -> Result<Option<WayBack>, StateError> {
        let contents = Arc::clone(&self.inner.contents);
        self.read("read an earlier blueprint", move |transaction| Ok(back::way(transaction, &contents, to)?)).await
    }

    /// Makes a blueprint the target, and no platform takes it up yet: [`State::take_up`] does. Otherwise as
    /// [`State::apply`].
    ///
    /// # Errors
    /// As [`State::apply`].
    pub async fn freeze(&self, advance: &Advance, form: &str, now: i64) -> Result<(), StateError> {
        let freeze = freeze::Freeze::new(advance, form, now, &self.inner.contents)?;
        self.write("freeze a blueprint", move |transaction| freeze.run(transaction).map(drop)).await
    }

    /// Has platforms take the target up; gives how many nodes that concerns. A datastore whose ingestion
    /// changes hands goes on as it is until both of its platforms have taken that up.
    pub async fn take_up(&self, platforms: BTreeSet<PlatformName>, now: i64) -> Result<usize, StateError> {
        let contents = Arc::clone(&self.inner.contents);
        self.write("take a blueprint up", move |transaction| {
            Ok(pointers::advance(transaction, &contents, Some(&platforms), now)?)
        })
        .await
    }
}

impl GenerationRow {
    fn blueprint(
        self,
        nodes: BTreeMap<NodeAddress, Node>,
        choices: Choices,
        objects: BTreeMap<Address, Object>,
    ) -> Blueprint {
        let Self { generation, parent, revision, .. } = self;
        Blueprint { generation, parent, revision, choices, nodes, objects }
    }

    /// The blueprint with all choices and objects.
    fn with_nodes(
        self,
        transaction: &mut dyn Transaction,
        nodes: BTreeMap<NodeAddress, Node>,
    ) -> Result<Blueprint, DatabaseError> {
        let choices = choices::read(transaction, self.generation)?;
        let objects = objects::all(transaction, self.generation)?;
        Ok(self.blueprint(nodes, choices, objects))
    }
}

/// Nodes by their address; those that this build can't read are left out.
fn nodes_of(rows: &[Row]) -> BTreeMap<NodeAddress, Node> {
    rows.iter().filter_map(read_node).map(|node| (node.address.clone(), node)).collect()
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
        form: row.text(7)?,
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
    row.with_nodes(transaction, nodes_of(&rows)).map(Some)
}
