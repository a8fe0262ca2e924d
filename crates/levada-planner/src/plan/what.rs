//! What is different in the model: its objects, and what only goes by another name.

use crate::blueprint::{Blueprint, DeliveredReading, IngestDataset, IngestOrigin, Node, NodeSpec, Object};
use crate::diff::{Delta, NodeChange};
use levada_model::address::{DatasetRef, NodeAddress};
use levada_model::fingerprint::{Fingerprint, fingerprint};
use levada_model::name::{ContainerName, DatastoreName, WorkspaceName};
use levada_model::{Address, Schema};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The objects of the model that are different from those in force.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct What {
    /// Those that come; all, where nothing is in force.
    pub added: Vec<Address>,
    /// Those that say something else.
    pub changed: Vec<Address>,
    /// Those that go.
    pub removed: Vec<Address>,
    /// What goes and comes back as it was under another name. To consumers it is another thing.
    pub renamed: Vec<Renamed>,
}

/// A datastore, a dataset or a workspace that looks like one that goes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Renamed {
    pub from: Address,
    pub to: Address,
}

impl What {
    /// Compares the objects of two blueprints. Linear in both, and in the delta.
    pub(super) fn of(parent: Option<&Blueprint>, next: &Blueprint, delta: &Delta) -> Self {
        let nothing = BTreeMap::new();
        let before = parent.map_or(&nothing, |parent| &parent.objects);
        let mut what = Self { renamed: renamed(delta), ..Self::default() };
        for (address, object) in &next.objects {
            match before.get(address) {
                None => what.added.push(address.clone()),
                Some(Object { content, .. }) if *content != object.content => what.changed.push(address.clone()),
                Some(_) => {}
            }
        }
        what.removed = before.keys().filter(|address| !next.objects.contains_key(address)).cloned().collect();
        what
    }
}

/// Things by what they look like.
type Looks = BTreeMap<Fingerprint, BTreeSet<Address>>;

fn renamed(delta: &Delta) -> Vec<Renamed> {
    let before: Vec<&Node> = delta.changes.values().filter_map(NodeChange::before).collect();
    let after: Vec<&Node> = delta.changes.values().filter_map(NodeChange::after).collect();
    let mut renamed = Vec::new();
    for looks in [datastores, datasets, workspaces] {
        let (old, new) = (looks(&before), looks(&after));
        for (look, from) in &old {
            let to = new.get(look);
            // Where several look alike nobody knows which is which.
            if let (1, Some(to)) = (from.len(), to.filter(|to| to.len() == 1 && *to != from)) {
                renamed.extend(from.iter().cloned().zip(to.iter().cloned()).map(|(from, to)| Renamed { from, to }));
            }
        }
    }
    // A dataset of a datastore that goes by another name has only moved with it.
    let stores: BTreeSet<Address> = renamed.iter().map(|it| it.from.clone()).collect();
    renamed.retain(|it| it.from == it.from.object() || !stores.contains(&it.from.object()));
    renamed.sort();
    renamed
}

fn ingests<'n>(nodes: &[&'n Node]) -> impl Iterator<Item = (&'n DatastoreName, &'n IngestOrigin, &'n [IngestDataset])> {
    nodes.iter().filter_map(|node| match &node.spec {
        NodeSpec::Ingest(spec) => Some((&spec.stream.datastore, &spec.origin, spec.datasets.as_slice())),
        _ => None,
    })
}

/// The container that a stream is read from; what a transformer makes is told by its workspace.
fn container(origin: &IngestOrigin) -> Option<&ContainerName> {
    match origin {
        IngestOrigin::Container { connection, .. } => Some(&connection.container),
        IngestOrigin::Transformer { .. } => None,
    }
}

/// Datasets by name, table and columns.
type Held<'n> = Vec<(&'n str, &'n str, &'n Schema)>;

/// Datastores look like where they are read from and what they hold.
fn datastores(nodes: &[&Node]) -> Looks {
    let mut stores: BTreeMap<&DatastoreName, (&ContainerName, Held<'_>)> = BTreeMap::new();
    for (store, origin, datasets) in ingests(nodes) {
        let Some(container) = container(origin) else { continue };
        let held = datasets.iter().map(|it| (it.dataset.as_str(), it.table.as_str(), &it.schema));
        stores.entry(store).or_insert((container, Vec::new())).1.extend(held);
    }
    looks(stores.into_iter().map(|(store, look)| (Address::Datastore(store.clone()), fingerprint(&look))))
}

/// Datasets look like their columns, in one datastore.
fn datasets(nodes: &[&Node]) -> Looks {
    let each = ingests(nodes).flat_map(|(store, _, datasets)| {
        datasets.iter().map(move |it| {
            let address = Address::Dataset(store.clone(), it.dataset.clone());
            (address, fingerprint(&(store, &it.schema)))
        })
    });
    looks(each)
}

/// Workspaces look like what they see, and where.
fn workspaces(nodes: &[&Node]) -> Looks {
    let mut seen: BTreeMap<&WorkspaceName, BTreeSet<(&ContainerName, &DatasetRef, DeliveredReading)>> = BTreeMap::new();
    for node in nodes {
        if let (NodeAddress::Export(_, container, of), NodeSpec::Export(spec)) = (&node.address, &node.spec) {
            for view in &spec.views {
                seen.entry(&view.workspace).or_default().insert((container, of, view.reading));
            }
        }
    }
    looks(seen.into_iter().map(|(workspace, look)| (Address::Workspace(workspace.clone()), fingerprint(&look))))
}

fn looks(things: impl Iterator<Item = (Address, Fingerprint)>) -> Looks {
    let mut looks = Looks::new();
    for (address, look) in things {
        looks.entry(look).or_default().insert(address);
    }
    looks
}
