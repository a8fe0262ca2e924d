//! How many connections all jobs together may have to one container at once.

use levada_model::NodeAddress;
use levada_model::connection::{Connection, Place};
use levada_model::name::ContainerName;
use levada_planner::{Node, NodeSpec};
use levada_state::nodes::{HotNode, Wish};
use std::collections::HashMap;

/// Connections to one container at once, where the model names no `connections_max`.
pub const CONNECTIONS_PER_CONTAINER: u32 = 4;

/// Counts the connections of running jobs per container.
#[derive(Debug, Default)]
pub struct Caps {
    taken: HashMap<ContainerName, u32>,
}

/// The connections that a job may have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Permit {
    /// The container; `None`: the job uses none.
    pub container: Option<ContainerName>,
    /// How many connections; 0 without a container.
    pub connections: u32,
}

/// The container a node uses.
pub fn container(node: &Node) -> Option<&ContainerName> {
    node.connection().map(|connection| &connection.container)
}

/// How many connections a job can put to use: an ingest reads the tables of a server side by side.
fn connections_wanted(node: &Node, connection: &Connection) -> u32 {
    match (&node.spec, &connection.place) {
        (NodeSpec::Ingest(spec), Place::Server { .. }) => u32::try_from(spec.datasets.len()).unwrap_or(u32::MAX).max(1),
        _ => 1,
    }
}

impl Permit {
    /// What a log that is read without an end has: its own connection, and one to look things up.
    pub const OF_A_LOG: Self = Self { container: None, connections: 1 };
}

impl Caps {
    /// Takes as many connections to the node's container as it can use and are left; `None`: none
    /// is left.
    pub fn enter(&mut self, node: &Node) -> Option<Permit> {
        let Some(connection) = node.connection() else { return Some(Permit { container: None, connections: 0 }) };
        let most = connection.connections_max.unwrap_or(CONNECTIONS_PER_CONTAINER).max(1);
        let taken = self.taken.entry(connection.container.clone()).or_default();
        let connections = most.saturating_sub(*taken).min(connections_wanted(node, connection));
        *taken += connections;
        (connections > 0).then(|| Permit { container: Some(connection.container.clone()), connections })
    }

    /// Gives the connections back.
    pub fn leave(&mut self, permit: &Permit) {
        if let Some(name) = &permit.container {
            let taken = self.taken.get_mut(name).expect("whoever leaves has entered");
            *taken -= permit.connections;
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use levada_model::connection::{ContainerKind, Tls};
    use levada_model::model::{IngestKind, Priority, Style};
    use levada_planner::blueprint::{ExportSpec, IngestDataset, IngestOrigin, IngestSpec};

    /// A row of an export into a container, `CONTAINER/STORE/DATASET`.
    pub(crate) fn export(name: &str, due_at: i64, priority: Priority) -> HotNode {
        let address: NodeAddress = format!("Export/P/{name}").parse().expect("an address");
        let NodeAddress::Export(_, container, source) = &address else { panic!("{address} is an export") };
        let place = Place::Path { path: "db".to_owned() };
        let connection = Connection {
            container: container.clone(),
            kind: ContainerKind::Sqlite,
            place,
            credential: None,
            connections_max: None,
        };
        let spec = ExportSpec {
            connection,
            source: source.clone(),
            stream: source.datastore.to_string().parse().expect("a stream"),
            schema: levada_model::Schema { columns: Vec::new() },
            live: Some("t".to_owned()),
            history: None,
            history_retention: None,
            latency: levada_model::model::Latency::Hours,
            views: Vec::new(),
            calendars: Vec::new(),
        };
        let node = Node { address, priority, inputs: Vec::new(), spec: NodeSpec::Export(spec) };
        HotNode {
            content: node.fingerprint(),
            node: node.into(),
            generation: levada_planner::Generation(1),
            wish: Wish::Run,
            host: levada_state::Host::Anywhere,
            priority,
            due_at: Some(due_at),
            is_changed: false,
            lease: None,
            epoch: 0,
            attempt: 0,
            is_failed: false,
            error: None,
            payload: None,
            memory: None,
            succeeded_at: None,
        }
    }

    /// An ingest of so many tables of one server.
    fn ingest(tables: usize, connections_max: Option<u32>) -> Node {
        let place = Place::Server {
            host: "db".to_owned(),
            port: None,
            database: "sales".to_owned(),
            schema: None,
            tls: Tls::Prefer,
        };
        let container = "db".parse().expect("a name");
        let connection =
            Connection { container, kind: ContainerKind::Postgres, place, credential: None, connections_max };
        let dataset = |number| IngestDataset {
            dataset: format!("t{number}").parse().expect("a name"),
            table: format!("t{number}"),
            schema: levada_model::Schema { columns: Vec::new() },
            watermark: None,
            owed: Vec::new(),
        };
        let origin =
            IngestOrigin::Container { connection, ingest: IngestKind::Snapshot, trigger: None, calendars: Vec::new() };
        let stream = "Shop".parse().expect("a stream");
        let datasets = (0..tables).map(dataset).collect();
        Node {
            address: "Ingest/P/Shop".parse().expect("an address"),
            priority: Priority::Medium,
            inputs: Vec::new(),
            spec: NodeSpec::Ingest(IngestSpec { stream, style: Style::Batch, origin, datasets }),
        }
    }

    #[test]
    fn all_jobs_together_have_no_more_connections_than_the_container_allows() {
        let mut caps = Caps::default();
        let mut enter = |tables, most| caps.enter(&ingest(tables, most)).map(|permit| permit.connections);
        assert_eq!(enter(1, Some(4)), Some(1), "one table is read by one session");
        assert_eq!(enter(100, Some(4)), Some(3), "many tables share what is left");
        assert_eq!(enter(1, Some(4)), None);
        let (mut caps, many) = (Caps::default(), ingest(100, None));
        let permit = caps.enter(&many).expect("nobody else is there");
        assert_eq!(permit.connections, CONNECTIONS_PER_CONTAINER);
        caps.leave(&permit);
        assert_eq!(caps.enter(&many), Some(permit));
    }
}
