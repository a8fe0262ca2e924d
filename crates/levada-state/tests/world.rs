//! A small ecosystem to apply: nodes by a few words, and blueprints of sets of them.

use levada_model::address::{DatasetRef, NodeAddress, Stream};
use levada_model::connection::{Connection, ContainerKind, Place};
use levada_model::model::{Code, IngestKind, Latency, OutputMode, Priority, Style, TransformTrigger};
use levada_model::{DataType, Schema, SchemaColumn};
use levada_planner::blueprint::*;
use levada_planner::{Advance, Blueprint, Generation, Node, NodeSpec};
use levada_state::{
    BatchCommit, Body, Completion, Covered, Delivery, Fence, Host, HotNode, Manifest, Outcome, State, Successor,
};
use std::collections::BTreeMap;

/// A moment, µs.
pub const NOW: i64 = 1_700_000_000_000_000;

pub fn address(text: &str) -> NodeAddress {
    text.parse().expect("a node address")
}

pub fn stream(text: &str) -> Stream {
    text.parse().expect("a stream")
}

pub fn dataset(text: &str) -> DatasetRef {
    text.parse().expect("a dataset")
}

pub fn schema(columns: &[(&str, DataType)]) -> Schema {
    let column = |(name, data_type): &(&str, DataType)| SchemaColumn {
        name: name.parse().expect("a column name"),
        from: None,
        data_type: data_type.clone(),
        nullable: true,
        key: false,
    };
    Schema { columns: columns.iter().map(column).collect() }
}

fn connection(container: &str) -> Connection {
    Connection {
        container: container.parse().expect("a container name"),
        kind: ContainerKind::Sqlite,
        place: Place::Path { path: format!("{container}.db") },
        credential: None,
        connections_max: None,
    }
}

fn node(address: &NodeAddress, inputs: &[&str], spec: NodeSpec) -> Node {
    let inputs = inputs.iter().map(|text| match text.strip_prefix("self ") {
        Some(text) => Input { node: text.parse().expect("a node address"), is_self: true },
        None => Input { node: text.parse().expect("a node address"), is_self: false },
    });
    Node { address: address.clone(), priority: Priority::Medium, inputs: inputs.collect(), spec }
}

/// `Ingest/P/STREAM` of a container, with one text column per dataset.
pub fn ingest(stream_text: &str, datasets: &[&str]) -> Node {
    let origin = IngestOrigin::Container {
        connection: connection("source"),
        ingest: IngestKind::Snapshot,
        trigger: None,
        calendars: Vec::new(),
    };
    ingest_from(stream_text, datasets, origin, &[])
}

/// The ingest of `Transform/P/WORKSPACE`'s output.
pub fn output_ingest(stream_text: &str, datasets: &[&str], workspace: &str) -> Node {
    let transform = format!("Transform/P/{workspace}");
    let origin = IngestOrigin::Transformer { transform: address(&transform), mode: OutputMode::Snapshot };
    ingest_from(stream_text, datasets, origin, &[&transform])
}

fn ingest_from(stream_text: &str, datasets: &[&str], origin: IngestOrigin, inputs: &[&str]) -> Node {
    let each = |name: &&str| IngestDataset {
        dataset: name.parse().expect("a dataset name"),
        table: (*name).to_owned(),
        schema: schema(&[("a", DataType::Text)]),
        watermark: None,
        owed: Vec::new(),
    };
    let datasets = datasets.iter().map(each).collect();
    let spec = IngestSpec { stream: stream(stream_text), style: Style::Batch, origin, datasets };
    node(&address(&format!("Ingest/P/{stream_text}")), inputs, NodeSpec::Ingest(spec))
}

/// Gives every dataset of an ingest this obligation.
pub fn owing(mut node: Node, to: &str, retention: Option<&str>) -> Node {
    let NodeSpec::Ingest(spec) = &mut node.spec else { panic!("only an ingest owes") };
    for dataset in &mut spec.datasets {
        dataset.owed.push(Owed {
            to: to.parse().expect("an address"),
            because: "requires".to_owned(),
            retention: retention.map(|text| text.parse().expect("a period")),
        });
    }
    node
}

/// `Export/P/warehouse/STORE/DATASET` of a `multi` store.
pub fn export(store: &str, name: &str) -> Node {
    let spec = ExportSpec {
        connection: connection("warehouse"),
        source: dataset(&format!("{store}.{name}")),
        stream: stream(store),
        schema: schema(&[("a", DataType::Text)]),
        live: Some(format!("{store}__{name}")),
        history: None,
        history_retention: None,
        latency: Latency::Hours,
        views: Vec::new(),
        calendars: Vec::new(),
    };
    let upper = format!("Ingest/P/{store}");
    node(&address(&format!("Export/P/warehouse/{store}/{name}")), &[&upper], NodeSpec::Export(spec))
}

pub fn trigger(workspace: &str, inputs: &[&str]) -> Node {
    let name = workspace.parse().expect("a workspace name");
    let spec = TriggerSpec { workspace: name, trigger: TransformTrigger::OnChange, inputs: Vec::new() };
    node(&address(&format!("Trigger/P/{workspace}")), inputs, NodeSpec::Trigger(spec))
}

pub fn transform(workspace: &str, output: &str) -> Node {
    let spec = TransformSpec {
        workspace: workspace.parse().expect("a workspace name"),
        transformer: workspace.parse().expect("a transformer name"),
        code: Code::Sql(Vec::new()),
        inputs: Vec::new(),
        output: output.parse().expect("a datastore name"),
        outputs: Vec::new(),
        mode: OutputMode::Snapshot,
    };
    let upper = format!("Trigger/P/{workspace}");
    node(&address(&format!("Transform/P/{workspace}")), &[&upper], NodeSpec::Transform(spec))
}

/// Makes something else of a node's definition.
pub fn redefined(mut node: Node) -> Node {
    match &mut node.spec {
        NodeSpec::Export(spec) => spec.live = Some(format!("{}_2", spec.live.clone().unwrap_or_default())),
        NodeSpec::Ingest(spec) => spec.datasets[0].table.push_str("_2"),
        other => panic!("no other definition for {other:?}"),
    }
    node
}

/// The chain of the worked example in small: two exports, one of which feeds a transformer.
pub fn chain() -> Vec<Node> {
    vec![
        ingest("Orders", &["lines", "heads"]),
        export("Orders", "lines"),
        export("Orders", "heads"),
        trigger("Mask", &["Export/P/warehouse/Orders/lines", "self Export/P/warehouse/Masked/lines"]),
        transform("Mask", "Masked"),
        output_ingest("Masked", &["lines"], "Mask"),
        export("Masked", "lines"),
    ]
}

/// The blueprints of a test, each made on the one before.
#[derive(Default)]
pub struct Plans {
    pub in_force: Option<Blueprint>,
}

impl Plans {
    /// The blueprint of these nodes on the one in force.
    pub fn plan(&self, nodes: &[Node]) -> Blueprint {
        let parent = self.in_force.as_ref().map(|blueprint| blueprint.generation);
        let nodes = nodes.iter().map(|node| (node.address.clone(), node.clone())).collect();
        let generation = Generation(parent.map_or(1, |parent| parent.0 + 1));
        let revision = format!("revision {generation}");
        Blueprint { generation, parent, revision, choices: Choices::default(), nodes, objects: BTreeMap::new() }
    }

    /// The step from the blueprint in force to another one.
    pub fn advance(&self, next: &Blueprint) -> Advance {
        Advance::between(self.in_force.as_ref(), next)
    }

    pub async fn apply(&mut self, state: &State, nodes: &[Node], now: i64) {
        let blueprint = self.plan(nodes);
        state.apply(&self.advance(&blueprint), FORM, now).await.expect("the blueprint applies");
        self.in_force = Some(blueprint);
    }
}

/// The build that freezes a test's blueprints.
pub const FORM: &str = "a build";

/// The fence of one node, claimed by `worker`; the node is due.
pub async fn claim(state: &State, node: &str, now: i64) -> Fence {
    let claimed = state.claim("worker", now, now + 10_000_000, &[address(node)]).await.expect("the claim is made");
    assert_eq!(claimed.len(), 1, "{node} is due and free");
    Fence { node: address(node), epoch: claimed[0].epoch }
}

/// All rows that are due, read in pages of so many.
pub async fn all_due(state: &State, now: i64, page_rows: usize) -> Vec<HotNode> {
    let (mut walk, mut rows) = (state.due(&Host::Anywhere, now, page_rows), Vec::new());
    while let Some(page) = walk.next_page().await.expect("reads") {
        rows.extend(page);
    }
    rows
}

pub fn ended(outcome: Outcome) -> Completion {
    Completion { started_at: NOW, outcome, next_due_at: None, memory: None, successors: Vec::new(), rows: 3, bytes: 30 }
}

pub fn done() -> Completion {
    ended(Outcome::Done)
}

pub fn due(node: &str, due_at: i64) -> Successor {
    Successor { node: address(node), due_at, payload: None }
}

pub fn manifest(of: &str, inserts: i64) -> Manifest {
    Manifest {
        dataset: dataset(of),
        batch: 0,
        schema_id: 1,
        body: Body::Inline(vec![1, 2, 3]),
        inserts,
        updates: 1,
        deletes: 0,
        bytes: 3,
    }
}

pub fn covered(of: &str) -> Covered {
    Covered { dataset: dataset(of), schema_id: 1 }
}

/// A pull of `Orders` that changed both datasets and makes their exports due.
pub fn pull(fence: Fence, previous: i64, now: i64) -> BatchCommit {
    let exports = ["lines", "heads"].map(|name| due(&format!("Export/P/warehouse/Orders/{name}"), now));
    BatchCommit {
        fence,
        stream: stream("Orders"),
        previous,
        position: format!("after {previous}").into_bytes(),
        batch_position: format!("after {previous}").into_bytes(),
        incarnation: "one".to_owned(),
        now,
        manifests: vec![manifest("Orders.lines", 2), manifest("Orders.heads", 5)],
        covered: vec![covered("Orders.lines"), covered("Orders.heads")],
        due_even_if_empty: Vec::new(),
        done: Completion { successors: exports.to_vec(), ..done() },
    }
}

pub fn delivery(export: &str, batch: i64, epoch: i64) -> Delivery {
    Delivery {
        export: address(export),
        batch,
        incarnation: "one".to_owned(),
        shape: "shape".to_owned(),
        epoch,
        delivered_at: NOW + 7,
        rows: 3,
        bytes: 30,
    }
}

/// Choices by which somebody in particular makes the platform P real.
pub fn made_real_by(realizer: Realizer) -> Choices {
    let nature = PlatformNature { kind: "embedded".to_owned(), realizer, described: None, layout: None };
    Choices { platforms: BTreeMap::from([("P".parse().expect("a name"), nature)]), ..Choices::default() }
}
