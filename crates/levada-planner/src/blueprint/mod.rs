//! The frozen plan: every node with all it needs to run, immutable, with its generation.

mod advance;
mod freeze;
mod names;
mod owed;
pub mod spec;

pub use advance::{Advance, ChoicesChange};
pub use freeze::freeze;
pub(crate) use names::keeps_folders;
pub use names::{PHYSICAL_NAME_BYTES_MAX, view_name, view_schema};
pub use spec::*;

use levada_model::Address;
use levada_model::address::{NodeAddress, Stream};
use levada_model::connection::Connection;
use levada_model::fingerprint::Fingerprint;
use levada_model::model::Priority;
use levada_model::name::{DatastoreName, GroupName, PlatformName, WorkspaceName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The number of a blueprint; the first one is 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub i64);

impl std::fmt::Display for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One node, self-contained: whoever runs it never looks at the model.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Node {
    /// Where it is.
    pub address: NodeAddress,
    /// The highest priority of all workspaces that depend on it.
    pub priority: Priority,
    /// The nodes it waits for, sorted; across platforms a Link waits for the primary's Ingest.
    pub inputs: Vec<Input>,
    /// What to do.
    pub spec: NodeSpec,
}

/// An edge, kept at its lower end.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Input {
    /// The upper end.
    pub node: NodeAddress,
    /// A transformer's own output, which feeds it but doesn't fire it.
    #[serde(rename = "self", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_self: bool,
}

/// The choices of the broker that stay in force while they can.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Choices {
    /// Which platforms deliver a group.
    pub groups: BTreeMap<WorkspaceName, BTreeMap<GroupName, Vec<PlatformName>>>,
    /// Which platform ingests a datastore.
    pub primaries: BTreeMap<DatastoreName, PlatformName>,
    /// What the platforms of the ecosystem are.
    #[serde(default)]
    pub platforms: BTreeMap<PlatformName, PlatformNature>,
}

/// What a platform is as long as it has nodes, and what was believed of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PlatformNature {
    /// Its kind.
    pub kind: String,
    /// Who makes its nodes real.
    pub realizer: Realizer,
    /// The fingerprint of what its program said of itself; `None`: it has none.
    pub described: Option<Fingerprint>,
    /// How it shares its nodes out, where moving them is a migration; `None`: it shares out nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<String>,
}

/// Who makes the nodes of a platform real.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Realizer {
    /// Levada's workers, wherever they are started.
    Workers,
    /// Whoever takes up the files that it renders.
    Files,
    /// Levada's workers in pods of its own, which the files that it renders stand up.
    Pods,
}

impl Realizer {
    /// Whether workers run the nodes, each by its row in the state.
    pub fn runs_nodes(self) -> bool {
        matches!(self, Self::Workers | Self::Pods)
    }

    /// Whether there are files that somebody takes up.
    pub fn has_files(self) -> bool {
        matches!(self, Self::Files | Self::Pods)
    }
}

impl Choices {
    /// Who makes a platform's nodes real; whoever is unknown left them to workers.
    pub fn realizer(&self, platform: &PlatformName) -> Realizer {
        self.platforms.get(platform).map_or(Realizer::Workers, |nature| nature.realizer)
    }
}

/// The frozen plan of the whole ecosystem.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Blueprint {
    /// Its number.
    pub generation: Generation,
    /// The one it was made on; `None` for the first.
    pub parent: Option<Generation>,
    /// The model's git revision or content fingerprint, for people.
    pub revision: String,
    /// The broker's choices.
    pub choices: Choices,
    /// By address; `Node::fingerprint` is the content hash each is stored under.
    pub nodes: BTreeMap<NodeAddress, Node>,
    /// The objects of the model that it was frozen from, by address.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub objects: BTreeMap<Address, Object>,
}

/// An object of the model as it was when a blueprint was frozen: enough to see what has changed since.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Object {
    /// Differs where the object says something else.
    pub content: Fingerprint,
    /// The objects that it names; sorted.
    pub names: Vec<Address>,
    /// Of a workspace: its terms and priority, derived ones included, which reach whatever feeds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demand: Option<Fingerprint>,
}

impl Node {
    /// The content hash the node is stored under.
    pub fn fingerprint(&self) -> Fingerprint {
        levada_model::fingerprint::fingerprint(self)
    }

    /// The container that the node reads or writes, if it does.
    pub fn connection(&self) -> Option<&Connection> {
        match &self.spec {
            NodeSpec::Ingest(spec) => match &spec.origin {
                IngestOrigin::Container { connection, .. } => Some(connection),
                IngestOrigin::Transformer { .. } => None,
            },
            NodeSpec::Export(spec) => Some(&spec.connection),
            NodeSpec::Link(_) | NodeSpec::Trigger(_) | NodeSpec::Transform(_) => None,
        }
    }

    /// What the node pulls or receives, if it does.
    pub fn stream(&self) -> Option<&Stream> {
        match &self.address {
            NodeAddress::Ingest(_, stream) | NodeAddress::Link(_, stream) => Some(stream),
            _ => None,
        }
    }
}
