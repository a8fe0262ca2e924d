//! Making a blueprint the target: the compare-and-set, and what each changed node's rows become.

use super::{OPEN, choices, generation, newest, objects};
use crate::StateError;
use crate::contents::{Contents, FORMAT, from_bytes, to_bytes};
use crate::db::{DatabaseError, Failure, Row, Transaction, Value, values};
use crate::nodes::{Host, Successor, make_due, priority_value, raise_epoch_floor};
use crate::obligations;
use levada_model::address::Stream;
use levada_model::fingerprint::Fingerprint;
use levada_model::name::PlatformName;
use levada_model::{Address, NodeAddress};
use levada_planner::blueprint::{Choices, IngestOrigin, IngestSpec, Object};
use levada_planner::{Advance, Generation, Node, NodeSpec};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

const MOVE_TARGET: &str = "UPDATE target SET generation = ?1 WHERE generation = ?2";

const INSERT_GENERATION: &str = "INSERT INTO generations (generation, parent, revision, applied_at, added, changed, \
     removed, form) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

const END_VERSION: &str = "UPDATE node_versions SET until_generation = ?2 WHERE address = ?1 AND until_generation = ?3";

const INSERT_VERSION: &str = "INSERT INTO node_versions (address, from_generation, until_generation, content, owner) \
     VALUES (?1, ?2, ?3, ?4, ?5)";

const UNOWNED: &str = "SELECT address FROM node_versions WHERE owner = '' AND until_generation = ?1";

const OWN: &str = "UPDATE node_versions SET owner = ?2 WHERE address = ?1 AND until_generation = ?3";

const INSERT_CONTENT: &str = "INSERT INTO node_contents (content, node, format) VALUES (?1, ?2, ?3) \
     ON CONFLICT (content) DO UPDATE SET node = excluded.node, format = excluded.format \
     WHERE node_contents.node <> excluded.node OR node_contents.format <> excluded.format";

const INSERT_HOT: &str = "INSERT INTO hot_nodes (address, content, generation, is_retiring, is_output, priority, \
     due_at, host, is_changed, epoch, claim_mark, claimed_generation, claimed_retiring, attempt, is_failed) \
     SELECT ?1, ?2, ?3, 0, ?4, ?5, ?6, ?7, 0, epoch_floor, 0, 0, 0, 0, 0 FROM target";

const UPDATE_HOT: &str = "UPDATE hot_nodes SET content = ?2, generation = ?3, is_output = ?4, priority = ?5, \
     due_at = CASE WHEN due_at IS NULL OR due_at > ?6 THEN ?6 ELSE due_at END, host = ?7, is_retiring = 0, \
     is_changed = CASE WHEN ?8 = 1 THEN 1 ELSE is_changed END, \
     attempt = CASE WHEN ?8 = 1 THEN 0 ELSE attempt END, \
     is_failed = CASE WHEN ?8 = 1 THEN 0 ELSE is_failed END WHERE address = ?1";

const RETIRE_HOT: &str = "UPDATE hot_nodes SET generation = ?2, is_retiring = 1, due_at = ?3, attempt = 0, is_failed = 0 \
     WHERE address = ?1";

const DELETE_HOT: &str = "DELETE FROM hot_nodes WHERE address = ?1 RETURNING epoch";

const INSERT_POINTER: &str = "INSERT INTO pointers (platform, generation) VALUES (?1, ?2) \
     ON CONFLICT (platform) DO UPDATE SET generation = excluded.generation";

/// All that a transaction needs, taken from the advance beforehand.
pub(super) struct Apply {
    generation: Generation,
    parent: Option<Generation>,
    revision: String,
    form: String,
    now: i64,
    choices: choices::Rows,
    objects: BTreeMap<Address, Option<Object>>,
    /// Those of the ecosystem, and whose workers run them; `None`: the platform renders them to files.
    platforms: BTreeMap<PlatformName, Option<Host>>,
    wanted: BTreeMap<NodeAddress, Option<Wanted>>,
    contents: Arc<Contents>,
}

/// A node as it is to be.
struct Wanted {
    node: Node,
    content: Fingerprint,
    json: String,
}

/// A node as it is: its hot row, or the version in force of one that its platform renders.
struct Found {
    /// `None`: it can't be read, and counts as other work than what is wanted.
    node: Option<Arc<Node>>,
    content: Fingerprint,
    is_retiring: bool,
}

/// One difference that is really one.
struct Change<'a> {
    address: &'a NodeAddress,
    key: String,
    wanted: Option<&'a Wanted>,
    found: Option<Found>,
    /// Whether its platform renders it to files: then it has versions, and no row that a worker sees.
    is_rendered: bool,
}

impl Change<'_> {
    /// Whether a blueprint had the node so far; a row that retires belongs to none.
    fn was_there(&self) -> bool {
        self.found.as_ref().is_some_and(|found| !found.is_retiring)
    }

    /// Whether anything is different at all.
    fn is_real(&self) -> bool {
        match (self.wanted, &self.found) {
            (Some(wanted), Some(found)) => found.is_retiring || found.node.is_none() || found.content != wanted.content,
            (Some(_), None) => true,
            (None, _) => self.was_there(),
        }
    }

    /// Whether what the node does is different, rather than only its priority, its inputs, or for
    /// whom an ingest keeps what it reads.
    fn does_other_work(&self) -> bool {
        let (Some(wanted), Some(found)) = (self.wanted, &self.found) else { return true };
        let Some(node) = found.node.as_ref().filter(|_| !found.is_retiring) else { return true };
        match (&node.spec, &wanted.node.spec) {
            (NodeSpec::Ingest(before), NodeSpec::Ingest(ingest)) => reads_other(before, ingest),
            (before, spec) => before != spec,
        }
    }
}

impl Apply {
    pub(super) fn new(advance: &Advance, form: &str, now: i64, contents: &Arc<Contents>) -> Result<Self, StateError> {
        let &Advance { generation, parent, .. } = advance;
        if generation.0 <= parent.map_or(0, |parent| parent.0) || generation.0 >= OPEN - 1 {
            return Err(StateError::GenerationOrder { generation, parent });
        }
        let natures = Choices { platforms: advance.platforms.clone(), ..Choices::default() };
        let with_nodes = advance.nodes.iter().filter(|(_, node)| node.is_some()).map(|(address, _)| address.platform());
        let platforms: BTreeSet<_> = advance.platforms.keys().chain(with_nodes).collect();
        let hosted = |platform: &PlatformName| (platform.clone(), Host::of(&natures, platform));
        let wanted = advance.nodes.iter().map(|(address, node)| (address.clone(), node.as_ref().map(Wanted::new)));
        Ok(Self {
            generation,
            parent,
            revision: advance.revision.clone(),
            form: form.to_owned(),
            now,
            choices: choices::rows(&advance.choices),
            objects: advance.objects.clone(),
            platforms: platforms.into_iter().map(hosted).collect(),
            wanted: wanted.collect(),
            contents: Arc::clone(contents),
        })
    }

    pub(super) fn run(&self, transaction: &mut dyn Transaction) -> Result<(), Failure> {
        if !self.move_target(transaction)? {
            return Ok(());
        }
        let mut changes = self.changes(transaction)?;
        self.insert_generation(transaction, &changes)?;
        choices::write(transaction, &self.choices, self.generation)?;
        objects::write(transaction, &self.objects, self.generation)?;
        self.move_pointers(transaction)?;
        own(transaction)?;
        self.write_versions(transaction, &changes)?;
        changes.retain(|change| !change.is_rendered);
        write_edges(transaction, &changes)?;
        self.update_obligations(transaction, &changes)?;
        self.remove_rows(transaction, &changes)?;
        Ok(self.write_rows(transaction, &changes)?)
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

    /// Pairs what is wanted with what is there, and leaves out what is the same.
    fn changes(&self, transaction: &mut dyn Transaction) -> Result<Vec<Change<'_>>, DatabaseError> {
        let keys: Vec<_> = self.wanted.keys().map(ToString::to_string).collect();
        let rows = found_rows(transaction, &keys)?;
        let contents = rows.iter().flatten().map(|row| row.content).collect();
        let nodes = self.contents.load(transaction, contents)?;
        let mut changes = Vec::with_capacity(keys.len());
        for (((address, wanted), key), row) in self.wanted.iter().zip(keys).zip(rows) {
            let is_rendered = match wanted {
                Some(_) => self.host(address).is_none(),
                None => row.as_ref().is_some_and(|row| !row.is_hot),
            };
            let found = row.map(|FoundRow { content, is_retiring, .. }| Found {
                node: nodes.get(&content).cloned(),
                content,
                is_retiring,
            });
            changes.push(Change { address, key, wanted: wanted.as_ref(), found, is_rendered });
        }
        changes.retain(Change::is_real);
        Ok(changes)
    }

    fn insert_generation(
        &self,
        transaction: &mut dyn Transaction,
        changes: &[Change<'_>],
    ) -> Result<(), DatabaseError> {
        let count = |is_wanted: bool, was_there: bool| {
            let counted =
                |change: &&Change<'_>| (change.wanted.is_some(), change.was_there()) == (is_wanted, was_there);
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

    fn move_pointers(&self, transaction: &mut dyn Transaction) -> Result<(), DatabaseError> {
        transaction.execute("UPDATE pointers SET generation = ?1", values![self.generation.0])?;
        let names: BTreeSet<_> =
            self.wanted.iter().filter(|(_, node)| node.is_some()).map(|(address, _)| address.platform()).collect();
        let names = names.into_iter();
        let sets: Vec<_> = names.map(|platform| values![platform.as_str(), self.generation.0]).collect();
        transaction.execute_many(INSERT_POINTER, &sets).map(drop)
    }

    fn write_versions(&self, transaction: &mut dyn Transaction, changes: &[Change<'_>]) -> Result<(), DatabaseError> {
        let ended = changes.iter().filter(|change| change.was_there());
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
        transaction.execute_many(INSERT_VERSION, &versions).map(drop)
    }

    fn update_obligations(
        &self,
        transaction: &mut dyn Transaction,
        changes: &[Change<'_>],
    ) -> Result<(), DatabaseError> {
        let there = changes.iter().filter(|change| change.was_there());
        let before =
            there.filter_map(|change| change.found.as_ref()?.node.as_ref()).flat_map(|node| obligations::owing(node));
        let after = changes.iter().filter_map(|change| change.wanted);
        let after = after.flat_map(|wanted| obligations::owing(&wanted.node));
        obligations::update(transaction, &before.collect(), &after.collect(), self.now)
    }

    /// Exports stay until what they delivered is taken away; other rows go at once, and a job that
    /// runs on one ends without a trace.
    fn remove_rows(&self, transaction: &mut dyn Transaction, changes: &[Change<'_>]) -> Result<(), DatabaseError> {
        let removed = changes.iter().filter(|change| change.wanted.is_none());
        let (retiring, deleted): (Vec<_>, Vec<_>) =
            removed.partition(|change| matches!(change.address, NodeAddress::Export(..)));
        let retiring: Vec<_> =
            retiring.iter().map(|change| values![&change.key, self.generation.0, self.now]).collect();
        transaction.execute_many(RETIRE_HOT, &retiring)?;
        let deleted: Vec<_> = deleted.iter().map(|change| values![&change.key]).collect();
        let epochs = transaction.query_many(DELETE_HOT, &deleted)?;
        let epochs: Vec<i64> = epochs.iter().flatten().map(|row| row.int(0)).collect::<Result<_, _>>()?;
        epochs.into_iter().max().map_or(Ok(()), |epoch| raise_epoch_floor(transaction, epoch))
    }

    fn write_rows(&self, transaction: &mut dyn Transaction, changes: &[Change<'_>]) -> Result<(), DatabaseError> {
        let streams = streams_with_batches(transaction, changes)?;
        let mut updates = Vec::new();
        let mut inserts = Vec::new();
        for (change, wanted) in changes.iter().filter_map(|change| Some((change, change.wanted?))) {
            let due_at = is_due(change, &wanted.node, &streams).then_some(self.now);
            let row = self.row(change, wanted, due_at);
            match change.found {
                None => inserts.push(row),
                Some(_) => updates.push((change.does_other_work(), row)),
            }
        }
        let with_flag = |(is_other, row): &(bool, Vec<Value>)| {
            let mut row = row.clone();
            row.push((*is_other).into());
            row
        };
        let sets: Vec<_> = updates.iter().map(with_flag).collect();
        let counts = transaction.execute_many(UPDATE_HOT, &sets)?;
        // A retirement may have ended, and its row gone, since the rows were read.
        let gone = updates.into_iter().zip(counts).filter(|(_, count)| *count == 0);
        inserts.extend(gone.map(|((_, row), _)| row));
        transaction.execute_many(INSERT_HOT, &inserts)?;
        self.wake_triggers(transaction, changes)
    }

    /// A transformer that changed runs again, even on the inputs it has seen: its trigger decides.
    fn wake_triggers(&self, transaction: &mut dyn Transaction, changes: &[Change<'_>]) -> Result<(), DatabaseError> {
        let wakes = |change: &&Change<'_>| change.wanted.is_some() && change.does_other_work();
        let trigger = |change: &Change<'_>| match change.address {
            NodeAddress::Transform(platform, workspace) => {
                let node = NodeAddress::Trigger(platform.clone(), workspace.clone());
                Some(Successor { node, due_at: self.now, payload: None })
            }
            _ => None,
        };
        let triggers: Vec<Successor> = changes.iter().filter(wakes).filter_map(trigger).collect();
        make_due(transaction, &triggers)
    }

    fn row(&self, change: &Change<'_>, wanted: &Wanted, due_at: Option<i64>) -> Vec<Value> {
        values![
            &change.key,
            to_bytes(wanted.content),
            self.generation.0,
            is_output(&wanted.node),
            priority_value(wanted.node.priority),
            due_at,
            self.host(change.address).map_or("", Host::column),
        ]
    }

    /// Whose workers run a node; `None`: none do.
    fn host(&self, address: &NodeAddress) -> Option<&Host> {
        self.platforms.get(address.platform())?.as_ref()
    }
}

/// The datastore or workspace that a node belongs to.
fn owner(address: &NodeAddress) -> Address {
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

/// What is known of a node before anything changes.
struct FoundRow {
    content: Fingerprint,
    is_retiring: bool,
    is_hot: bool,
}

/// By address the hot row or, where there is none, the version in force.
fn found_rows(transaction: &mut dyn Transaction, keys: &[String]) -> Result<Vec<Option<FoundRow>>, DatabaseError> {
    let first = |mut answer: Vec<Row>| (!answer.is_empty()).then(|| answer.swap_remove(0));
    let sql = "SELECT content, is_retiring FROM hot_nodes WHERE address = ?1";
    let sets: Vec<_> = keys.iter().map(|key| values![key]).collect();
    let mut rows = Vec::with_capacity(keys.len());
    for answer in transaction.query_many(sql, &sets)? {
        rows.push(match first(answer) {
            Some(mut row) => {
                Some(FoundRow { content: from_bytes(&row.bytes(0)?)?, is_retiring: row.flag(1)?, is_hot: true })
            }
            None => None,
        });
    }
    let without: Vec<usize> = (0..keys.len()).filter(|index| rows[*index].is_none()).collect();
    let sql = "SELECT content FROM node_versions WHERE address = ?1 AND until_generation = ?2";
    let sets: Vec<_> = without.iter().map(|index| values![&keys[*index], OPEN]).collect();
    for (index, answer) in without.into_iter().zip(transaction.query_many(sql, &sets)?) {
        if let Some(mut row) = first(answer) {
            let content = from_bytes(&row.bytes(0)?)?;
            rows[index] = Some(FoundRow { content, is_retiring: false, is_hot: false });
        }
    }
    Ok(rows)
}

impl Wanted {
    fn new(node: &Node) -> Self {
        let json = serde_json::to_string(node).expect("plain data with text keys always serialises");
        Self { node: node.clone(), content: node.fingerprint(), json }
    }
}

fn write_edges(transaction: &mut dyn Transaction, changes: &[Change<'_>]) -> Result<(), DatabaseError> {
    let lower: Vec<_> =
        changes.iter().filter(|change| change.found.is_some()).map(|change| values![&change.key]).collect();
    transaction.execute_many("DELETE FROM edges WHERE lower = ?1", &lower)?;
    let mut edges = Vec::new();
    for (change, wanted) in changes.iter().filter_map(|change| Some((change, change.wanted?))) {
        let inputs = &wanted.node.inputs;
        edges.extend(inputs.iter().map(|input| values![&change.key, input.node.to_string(), input.is_self]));
    }
    transaction.execute_many("INSERT INTO edges (lower, upper, is_self) VALUES (?1, ?2, ?3)", &edges).map(drop)
}

/// What a link or export delivers.
fn delivered_stream(node: &Node) -> Option<&Stream> {
    match &node.spec {
        NodeSpec::Link(link) => Some(&link.stream),
        NodeSpec::Export(export) => Some(&export.stream),
        NodeSpec::Ingest(_) | NodeSpec::Trigger(_) | NodeSpec::Transform(_) => None,
    }
}

fn streams_with_batches(
    transaction: &mut dyn Transaction,
    changes: &[Change<'_>],
) -> Result<HashSet<Stream>, DatabaseError> {
    let wanted = changes.iter().filter_map(|change| change.wanted);
    let streams: BTreeSet<&Stream> = wanted.filter_map(|wanted| delivered_stream(&wanted.node)).collect();
    let sets: Vec<_> = streams.iter().map(|stream| values![stream.to_string()]).collect();
    let answers = transaction.query_many("SELECT 1 FROM streams WHERE stream = ?1 AND batch > 0", &sets)?;
    let found = streams.into_iter().zip(answers).filter(|(_, rows)| !rows.is_empty());
    Ok(found.map(|(stream, _)| stream.clone()).collect())
}

/// Whether a changed node has something to do at once.
fn is_due(change: &Change<'_>, node: &Node, streams: &HashSet<Stream>) -> bool {
    match &node.spec {
        NodeSpec::Link(_) | NodeSpec::Export(_) => {
            change.does_other_work() && delivered_stream(node).is_some_and(|stream| streams.contains(stream))
        }
        NodeSpec::Trigger(_) => change.does_other_work(),
        NodeSpec::Transform(_) => false,
        NodeSpec::Ingest(_) => !is_output(node) && change.does_other_work(),
    }
}

fn is_output(node: &Node) -> bool {
    matches!(&node.spec, NodeSpec::Ingest(IngestSpec { origin: IngestOrigin::Transformer { .. }, .. }))
}

/// Whether an ingest reads other datasets, tables or columns than so far, from elsewhere, in another
/// way, or by another clock: a new clock is followed from now on, not after the old one's next tick.
fn reads_other(before: &IngestSpec, ingest: &IngestSpec) -> bool {
    let reads = |ingest: &IngestSpec| -> Vec<_> {
        let each = ingest.datasets.iter();
        each.map(|it| (it.dataset.clone(), it.table.clone(), it.schema.clone(), it.watermark.clone())).collect()
    };
    reads(before) != reads(ingest) || before.origin != ingest.origin
}
