//! How many jobs may use one container at once.

use levada_model::NodeAddress;
use levada_model::name::ContainerName;
use levada_planner::blueprint::IngestOrigin;
use levada_planner::{Node, NodeSpec};
use levada_state::nodes::{HotNode, Wish};
use std::collections::HashMap;

/// Jobs on one container at once, where the model names no `connections_max`.
pub const JOBS_PER_CONTAINER: u32 = 4;

/// Counts running jobs per container.
#[derive(Debug, Default)]
pub struct Caps {
    running: HashMap<ContainerName, u32>,
}

/// The container a node uses and how many jobs may do so.
pub fn container(node: &Node) -> Option<(&ContainerName, u32)> {
    let connection = match &node.spec {
        NodeSpec::Ingest(spec) => match &spec.origin {
            IngestOrigin::Container { connection, .. } => connection,
            IngestOrigin::Transformer { .. } => return None,
        },
        NodeSpec::Export(spec) => &spec.connection,
        NodeSpec::Link(_) | NodeSpec::Trigger(_) | NodeSpec::Transform(_) => return None,
    };
    Some((&connection.container, connection.connections_max.unwrap_or(JOBS_PER_CONTAINER).max(1)))
}

impl Caps {
    /// Takes a place on the node's container, if it has one and there is one left; gives the
    /// container to leave again.
    pub fn enter(&mut self, node: &Node) -> Option<Option<ContainerName>> {
        let Some((name, most)) = container(node) else { return Some(None) };
        let running = self.running.entry(name.clone()).or_default();
        if *running >= most {
            return None;
        }
        *running += 1;
        Some(Some(name.clone()))
    }

    /// Gives the place back.
    pub fn leave(&mut self, container: Option<&ContainerName>) {
        if let Some(name) = container {
            let running = self.running.get_mut(name).expect("whoever leaves has entered");
            *running -= 1;
        }
    }
}

/// What runs as one job: exports of one stream into one container, everything else alone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum JobKey {
    /// One node.
    Node(NodeAddress),
    /// All exports of a stream into a container by one platform.
    Delivery(String),
}

/// The job a row belongs to.
pub fn job_key(row: &HotNode) -> JobKey {
    let address = &row.node.address;
    match &row.node.spec {
        NodeSpec::Export(spec) if row.wish == Wish::Run => {
            JobKey::Delivery(format!("{}/{}/{}", address.platform(), spec.connection.container, spec.stream))
        }
        _ => JobKey::Node(address.clone()),
    }
}
