//! Taking nodes up: what workers see becomes what generations say.

use crate::contents::{Contents, from_bytes, to_bytes};
use crate::db::{DatabaseError, Row, Transaction, Value, values};
use crate::nodes::{Host, Successor, make_due, priority_value, raise_epoch_floor};
use crate::obligations;
use levada_model::NodeAddress;
use levada_model::address::Stream;
use levada_model::fingerprint::Fingerprint;
use levada_model::name::PlatformName;
use levada_planner::blueprint::{IngestOrigin, IngestSpec};
use levada_planner::{Generation, Node, NodeSpec};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

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

/// A node as a generation has it.
pub(super) struct Wanted {
    pub(super) node: Arc<Node>,
    pub(super) content: Fingerprint,
}

/// Nodes that are taken up, each as the generation of its platform has it.
pub(super) struct TakeUp<'a> {
    /// By address; `None`: that generation does not have it.
    pub(super) wanted: BTreeMap<NodeAddress, (Generation, Option<Wanted>)>,
    /// Whose workers run each platform; `None`: it renders its nodes to files.
    pub(super) hosts: &'a BTreeMap<PlatformName, Option<Host>>,
    /// µs.
    pub(super) now: i64,
}

/// A node as its row has it.
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
    generation: Generation,
    wanted: Option<&'a Wanted>,
    found: Option<Found>,
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

impl TakeUp<'_> {
    /// Brings the rows to what is wanted. Nodes of platforms that render files have no rows.
    pub(super) fn run(&self, transaction: &mut dyn Transaction, contents: &Contents) -> Result<(), DatabaseError> {
        let changes = self.changes(transaction, contents)?;
        write_edges(transaction, &changes)?;
        self.update_obligations(transaction, &changes)?;
        self.remove_rows(transaction, &changes)?;
        self.write_rows(transaction, &changes)
    }

    /// Pairs what is wanted with what is there, and leaves out what is the same.
    fn changes(
        &self,
        transaction: &mut dyn Transaction,
        contents: &Contents,
    ) -> Result<Vec<Change<'_>>, DatabaseError> {
        let keys: Vec<_> = self.wanted.keys().map(ToString::to_string).collect();
        let rows = found_rows(transaction, &keys)?;
        let nodes = contents.load(transaction, rows.iter().flatten().map(|row| row.content).collect())?;
        let mut changes = Vec::with_capacity(keys.len());
        for (((address, (generation, wanted)), key), row) in self.wanted.iter().zip(keys).zip(rows) {
            if wanted.is_some() && self.host(address).is_none() {
                continue;
            }
            let found = row.map(|FoundRow { content, is_retiring }| Found {
                node: nodes.get(&content).cloned(),
                content,
                is_retiring,
            });
            changes.push(Change { address, key, generation: *generation, wanted: wanted.as_ref(), found });
        }
        changes.retain(Change::is_real);
        Ok(changes)
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
            retiring.iter().map(|change| values![&change.key, change.generation.0, self.now]).collect();
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
            change.generation.0,
            is_output(&wanted.node),
            priority_value(wanted.node.priority),
            due_at,
            self.host(change.address).map_or("", Host::column),
        ]
    }

    /// Whose workers run a node; `None`: none do.
    fn host(&self, address: &NodeAddress) -> Option<&Host> {
        self.hosts.get(address.platform())?.as_ref()
    }
}

/// What is known of a node's row before anything changes.
struct FoundRow {
    content: Fingerprint,
    is_retiring: bool,
}

/// By address the hot row.
fn found_rows(transaction: &mut dyn Transaction, keys: &[String]) -> Result<Vec<Option<FoundRow>>, DatabaseError> {
    let sql = "SELECT content, is_retiring FROM hot_nodes WHERE address = ?1";
    let sets: Vec<_> = keys.iter().map(|key| values![key]).collect();
    let row = |mut row: Row| Ok(FoundRow { content: from_bytes(&row.bytes(0)?)?, is_retiring: row.flag(1)? });
    let first = |rows: Vec<Row>| rows.into_iter().next().map(row).transpose();
    transaction.query_many(sql, &sets)?.into_iter().map(first).collect()
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
