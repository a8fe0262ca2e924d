//! A small world: producer and consumer in memory, state and store in a temporary folder, and the
//! blueprint `Shop.orders → transformer → Copy.orders`, delivered live and as history.

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use levada_flow::conformance::schema_of;
use levada_flow::engine::{EngineInput, EngineQuery};
use levada_flow::memory::{Fault, FaultySink, FaultySource, MemoryDatabase, MemorySink, MemorySource};
use levada_flow::sink::{Delivered, DeliveredTable, Form, Mark, TableDelivery, UnknownReader};
use levada_flow::{Clock, Engine, FlowError, RowStream, Sink, Source, SystemClock};
use levada_model::address::{DatasetRef, NodeAddress, Stream};
use levada_model::connection::{Connection, ContainerKind, Place};
use levada_model::model::{
    Code, IngestKind, Latency, OutputMode, Priority, Reader, SqlFile, Style, TransformTrigger, Window, Windows,
};
use levada_model::name::CredentialName;
use levada_model::{Address, Schema};
use levada_planner::blueprint::*;
use levada_planner::{Advance, Blueprint, Generation, Node, NodeSpec};
use levada_runtime::{Connect, Ending, Mode, Runtime, Worker};
use levada_state::nodes::{HotNode, Successor};
use levada_state::{Host, State};
use levada_store::{Reading, Store};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// Everything a test looks at.
pub struct World {
    pub producer: MemoryDatabase,
    pub consumer: MemoryDatabase,
    pub runtime: Runtime,
    pub folder: TempDir,
    faults: Arc<Faults>,
    clock: Arc<HandClock>,
    in_force: Mutex<Blueprint>,
}

/// The machine's clock, and what a test has let pass.
#[derive(Default)]
struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> i64 {
        SystemClock.now() + self.0.load(Ordering::Relaxed)
    }
}

/// What is wrong with the world. Of the faults each opened source or sink takes one.
#[derive(Default)]
struct Faults {
    source_refuses: AtomicBool,
    sink_refuses: AtomicBool,
    engine_doubles: AtomicBool,
    source: Mutex<VecDeque<Fault>>,
    sink: Mutex<VecDeque<Fault>>,
    /// How often the producer was replaced by another one.
    incarnation: AtomicU32,
    /// Readers whom the consumer does not know.
    unknown_readers: Mutex<BTreeSet<String>>,
}

/// A sink of a system with roles.
struct SinkWithRoles {
    inner: MemorySink,
    faults: Arc<Faults>,
}

#[async_trait]
impl Sink for SinkWithRoles {
    fn form(&self) -> Form {
        self.inner.form()
    }

    async fn marks(&mut self, tables: &[DeliveredTable]) -> Result<Vec<Option<Mark>>, FlowError> {
        self.inner.marks(tables).await
    }

    async fn deliver(&mut self, deliveries: Vec<TableDelivery>) -> Result<Delivered, FlowError> {
        let unknown = self.faults.unknown_readers.lock().expect("no panic holds it").clone();
        let views = deliveries.iter().flat_map(|one| one.table.views.iter().map(|view| (&one.table.source, view)));
        let readers = views.flat_map(|(source, view)| {
            view.readers.iter().map(|(Reader::Role(reader) | Reader::User(reader))| UnknownReader {
                source: source.clone(),
                workspace: view.workspace.clone(),
                reader: reader.clone(),
            })
        });
        let unknown_readers = readers.filter(|one| unknown.contains(&one.reader)).collect();
        Ok(Delivered { unknown_readers, ..self.inner.deliver(deliveries).await? })
    }

    async fn remove(&mut self, tables: &[DeliveredTable], epoch: i64) -> Result<(), FlowError> {
        self.inner.remove(tables, epoch).await
    }

    async fn read_back(&mut self, table: &DeliveredTable, is_history: bool) -> Result<RowStream, FlowError> {
        self.inner.read_back(table, is_history).await
    }
}

struct Memory {
    producer: MemoryDatabase,
    consumer: MemoryDatabase,
    form: Form,
    faults: Arc<Faults>,
}

#[async_trait]
impl Connect for Memory {
    async fn source(&self, _: &Connection) -> Result<Box<dyn Source>, FlowError> {
        refuse_if(&self.faults.source_refuses)?;
        let incarnation = self.faults.incarnation.load(Ordering::Relaxed);
        let source = MemorySource::new(self.producer.clone(), format!("memory {incarnation}"));
        Ok(match self.faults.source.lock().expect("no panic holds it").pop_front() {
            None => Box::new(source),
            Some(fault) => Box::new(FaultySource::new(source, fault)),
        })
    }

    async fn sink(&self, _: &Connection) -> Result<Box<dyn Sink>, FlowError> {
        refuse_if(&self.faults.sink_refuses)?;
        let inner = MemorySink::new(self.consumer.clone(), self.form);
        let sink = SinkWithRoles { inner, faults: self.faults.clone() };
        Ok(match self.faults.sink.lock().expect("no panic holds it").pop_front() {
            None => Box::new(sink),
            Some(fault) => Box::new(FaultySink::new(sink, fault)),
        })
    }

    fn environment(&self, _: &[CredentialName]) -> Result<Vec<(String, String)>, FlowError> {
        Ok(Vec::new())
    }
}

fn refuse_if(flag: &AtomicBool) -> Result<(), FlowError> {
    match flag.load(Ordering::Relaxed) {
        true => Err(FlowError::never("nobody is let in, as the test wants it")),
        false => Ok(()),
    }
}

/// An engine whose every query gives its one input as it is, or twice.
struct CopyEngine(Arc<Faults>);

#[async_trait]
impl Engine for CopyEngine {
    async fn query(&self, inputs: Vec<EngineInput>, _: EngineQuery) -> Result<RowStream, FlowError> {
        let input = inputs.first().expect("the blueprint gives one input");
        let rows = (input.open)().await?;
        match self.0.engine_doubles.load(Ordering::Relaxed) {
            true => Ok(rows.chain((input.open)().await?).boxed()),
            false => Ok(rows),
        }
    }
}

pub fn schema() -> Schema {
    schema_of(&[("id", "int64", true), ("name", "text", false)])
}

pub fn rows(rows: &[(i64, &str)]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|(id, _)| Some(*id)).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|(_, name)| Some(*name)).collect::<StringArray>()),
    ];
    RecordBatch::try_new(levada_flow::arrow_schema::arrow_schema(&schema()), columns).expect("rows of the schema")
}

impl World {
    pub async fn new(form: Form) -> Self {
        Self::of(form, nodes("Shop")).await
    }

    pub async fn of(form: Form, nodes: Nodes) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let url = format!("sqlite:{}", folder.path().join("state.db").display());
        Self::on(&url, folder, form, nodes).await
    }

    /// A world whose state lies at `url`, and whose store in this folder.
    pub async fn on(url: &str, folder: TempDir, form: Form, nodes: Nodes) -> Self {
        let state = State::open(url).await.expect("a state");
        let store = Store::open(state.clone(), folder.path().join("data")).expect("a store");
        let (producer, consumer, faults) =
            (MemoryDatabase::default(), MemoryDatabase::default(), Arc::<Faults>::default());
        let connect = Memory { producer: producer.clone(), consumer: consumer.clone(), form, faults: faults.clone() };
        let clock = Arc::<HandClock>::default();
        let runtime = Runtime {
            state,
            store,
            connect: Arc::new(connect),
            engine: Arc::new(CopyEngine(faults.clone())),
            clock: clock.clone(),
            root: folder.path().to_owned(),
            staging: folder.path().join("staging"),
        };
        let nothing = Blueprint {
            generation: Generation(0),
            parent: None,
            revision: "test".to_owned(),
            choices: Choices::default(),
            nodes: Nodes::new(),
            objects: BTreeMap::new(),
        };
        let world = Self { producer, consumer, runtime, folder, faults, clock, in_force: Mutex::new(nothing) };
        world.apply(nodes).await;
        world
    }

    /// Makes these nodes the blueprint in force.
    pub async fn apply(&self, nodes: Nodes) {
        let before = self.in_force();
        let parent = Some(before.generation).filter(|generation| generation.0 > 0);
        let generation = Generation(before.generation.0 + 1);
        let blueprint = Blueprint { generation, parent, nodes, ..before.clone() };
        let advance = Advance::between(parent.map(|_| &before), &blueprint);
        self.runtime.state.apply(&advance, "test", self.now()).await.expect("the blueprint applies");
        *self.in_force.lock().expect("no panic holds it") = blueprint;
    }

    pub fn in_force(&self) -> Blueprint {
        self.in_force.lock().expect("no panic holds it").clone()
    }

    pub fn now(&self) -> i64 {
        self.clock.now()
    }

    /// Lets so many days pass.
    pub fn pass_days(&self, days: i64) {
        self.clock.0.fetch_add(days * 86_400_000_000, Ordering::Relaxed);
    }

    pub fn source_refuses(&self, is_so: bool) {
        self.faults.source_refuses.store(is_so, Ordering::Relaxed);
    }

    pub fn sink_refuses(&self, is_so: bool) {
        self.faults.sink_refuses.store(is_so, Ordering::Relaxed);
    }

    pub fn engine_doubles(&self, is_so: bool) {
        self.faults.engine_doubles.store(is_so, Ordering::Relaxed);
    }

    pub fn break_source(&self, fault: Fault) {
        self.faults.source.lock().expect("no panic holds it").push_back(fault);
    }

    pub fn break_sink(&self, fault: Fault) {
        self.faults.sink.lock().expect("no panic holds it").push_back(fault);
    }

    /// Puts another producer into the place of the one before.
    pub fn replace_producer(&self) {
        self.faults.incarnation.fetch_add(1, Ordering::Relaxed);
    }

    pub fn set_unknown_readers(&self, readers: &[&str]) {
        let readers = readers.iter().map(|reader| (*reader).to_owned()).collect();
        *self.faults.unknown_readers.lock().expect("no panic holds it") = readers;
    }

    /// Pulls everything once and follows all that results.
    pub async fn run(&self) -> Ending {
        self.run_in(Mode::UntilIdle).await
    }

    /// Does what is due and follows all that results; pulls nothing.
    pub async fn run_due(&self) -> Ending {
        self.run_in(Mode::UntilDone).await
    }

    async fn run_in(&self, mode: Mode) -> Ending {
        let (_stop, stopped) = tokio::sync::watch::channel(false);
        let worker = Worker::new(self.runtime.clone(), Host::Anywhere, "test".to_owned(), 4, mode, |_| {});
        worker.run(stopped).await.expect("the worker runs")
    }

    /// Makes a node due now.
    pub async fn make_due(&self, node: &str, payload: Option<&str>) {
        let due = Successor { node: address(node), due_at: self.now(), payload: payload.map(str::to_owned) };
        self.runtime.state.make_due(&[due]).await.expect("the state");
    }

    pub async fn node(&self, text: &str) -> HotNode {
        self.runtime.state.node(&address(text)).await.expect("the state").expect("the node")
    }

    /// What the workspace sees, sorted.
    pub fn seen(&self, view: &str) -> Vec<(i64, String)> {
        let rows = self.consumer.view("w", view).unwrap_or_else(|| panic!("there is no view {view}"));
        let mut seen = pairs(&rows);
        seen.sort();
        seen
    }

    /// The live rows of a dataset in the store, sorted.
    pub async fn stored(&self, dataset: &str) -> Vec<(i64, String)> {
        let dataset: DatasetRef = dataset.parse().expect("a dataset");
        let live =
            self.runtime.store.read(&dataset, &schema(), Reading::Live { as_of: None }).await.expect("a reading");
        let batches: Vec<RecordBatch> = live.try_collect().await.expect("all of it");
        let mut rows: Vec<_> = batches.iter().flat_map(pairs).collect();
        rows.sort();
        rows
    }

    /// The last batch of a stream.
    pub async fn batch(&self, stream: &str) -> i64 {
        let stream: Stream = stream.parse().expect("a stream");
        self.runtime.state.head(&stream).await.expect("the state").map_or(0, |head| head.batch)
    }
}

fn pairs(rows: &RecordBatch) -> Vec<(i64, String)> {
    let ids = rows.column(0).as_primitive::<Int64Type>();
    let names = rows.column(1).as_string::<i32>();
    (0..rows.num_rows()).map(|row| (ids.value(row), names.value(row).to_owned())).collect()
}

pub fn owned(rows: &[(i64, &str)]) -> Vec<(i64, String)> {
    rows.iter().map(|(id, name)| (*id, (*name).to_owned())).collect()
}

fn connection() -> Connection {
    Connection {
        container: "memory".parse().expect("a name"),
        kind: ContainerKind::Sqlite,
        place: Place::Path { path: "memory".to_owned() },
        credential: None,
        connections_max: None,
    }
}

pub fn address(text: &str) -> NodeAddress {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The nodes of a blueprint.
pub type Nodes = BTreeMap<NodeAddress, Node>;

pub fn export_spec<'a>(nodes: &'a mut Nodes, text: &str) -> &'a mut ExportSpec {
    match &mut nodes.get_mut(&address(text)).expect("the node is there").spec {
        NodeSpec::Export(spec) => spec,
        other => panic!("{other:?} is no export"),
    }
}

pub fn ingest_spec<'a>(nodes: &'a mut Nodes, text: &str) -> &'a mut IngestSpec {
    match &mut nodes.get_mut(&address(text)).expect("the node is there").spec {
        NodeSpec::Ingest(spec) => spec,
        other => panic!("{other:?} is no ingest"),
    }
}

pub fn transform_spec(nodes: &mut Nodes) -> &mut TransformSpec {
    match &mut nodes.get_mut(&address("Transform/P/W")).expect("the node is there").spec {
        NodeSpec::Transform(spec) => spec,
        other => panic!("{other:?} is no transform"),
    }
}

pub fn sql(text: &str) -> Code {
    Code::Sql(vec![SqlFile { dataset: None, path: "copy.sql".to_owned(), text: Some(text.to_owned()) }])
}

pub fn dataset(name: &str) -> IngestDataset {
    let owed = Owed { to: Address::Ecosystem, because: "requires".to_owned(), retention: None };
    IngestDataset {
        dataset: name.parse().expect("a name"),
        table: name.to_owned(),
        schema: schema(),
        watermark: None,
        owed: vec![owed],
    }
}

fn ingest(stream: &str, origin: IngestOrigin) -> NodeSpec {
    NodeSpec::Ingest(IngestSpec {
        stream: stream.parse().expect("a stream"),
        style: Style::Batch,
        origin,
        datasets: vec![dataset("orders")],
    })
}

fn export(store: &str, stream: &str) -> NodeSpec {
    let view = |reading, suffix: &str| ViewSpec {
        workspace: "W".parse().expect("a name"),
        schema: "w".to_owned(),
        name: format!("{}_orders{suffix}", store.to_lowercase()),
        reading,
        retention: None,
        readers: Vec::new(),
    };
    NodeSpec::Export(ExportSpec {
        connection: connection(),
        source: format!("{store}.orders").parse().expect("a dataset"),
        stream: stream.parse().expect("a stream"),
        schema: schema(),
        live: Some(format!("{store}_live")),
        history: Some(format!("{store}_history")),
        history_retention: None,
        latency: Latency::Minutes,
        views: vec![view(DeliveredReading::Live, ""), view(DeliveredReading::History, "_history")],
        calendars: Vec::new(),
    })
}

pub fn node(text: &str, inputs: &[&str], spec: NodeSpec) -> Node {
    let inputs = inputs.iter().map(|input| Input { node: address(input), is_self: false }).collect();
    Node { address: address(text), priority: Priority::Medium, inputs, spec }
}

/// A calendar that lets nothing run.
pub fn never_open() -> CalendarSpec {
    let past = Window::Dates { from: "2001-01-01".to_owned(), to: "2001-01-02".to_owned() };
    CalendarSpec { name: "never".to_owned(), timezone: None, windows: Windows { allow: vec![past], deny: Vec::new() } }
}

/// `Shop.orders → transformer → Copy.orders`; Shop's stream is `Shop` or `Shop/orders`.
pub fn nodes(shop: &str) -> Nodes {
    let source: DatasetRef = "Shop.orders".parse().expect("a dataset");
    let stream: Stream = shop.parse().expect("a stream");
    let shop_ingest = format!("Ingest/P/{shop}");
    let container = IngestOrigin::Container {
        connection: connection(),
        ingest: IngestKind::Snapshot,
        trigger: None,
        calendars: Vec::new(),
    };
    let output = IngestOrigin::Transformer { transform: address("Transform/P/W"), mode: OutputMode::Snapshot };
    let trigger = TriggerSpec {
        workspace: "W".parse().expect("a name"),
        trigger: TransformTrigger::OnChange,
        inputs: vec![TriggerInput {
            source: source.clone(),
            stream: stream.clone(),
            export: address("Export/P/memory/Shop/orders"),
        }],
    };
    let transform = TransformSpec {
        workspace: "W".parse().expect("a name"),
        transformer: "Copy".parse().expect("a name"),
        code: sql("the engine copies"),
        inputs: vec![TransformInput { source, stream, schema: schema(), is_self: false }],
        output: "Copy".parse().expect("a name"),
        outputs: vec![TransformOutput {
            dataset: "orders".parse().expect("a name"),
            schema: schema(),
            is_consumed: true,
        }],
        mode: OutputMode::Snapshot,
    };
    let nodes = [
        node(&shop_ingest, &[], ingest(shop, container)),
        node("Export/P/memory/Shop/orders", &[&shop_ingest], export("Shop", shop)),
        node("Trigger/P/W", &["Export/P/memory/Shop/orders"], NodeSpec::Trigger(trigger)),
        node("Transform/P/W", &["Trigger/P/W"], NodeSpec::Transform(transform)),
        node("Ingest/P/Copy", &["Transform/P/W"], ingest("Copy", output)),
        node("Export/P/memory/Copy/orders", &["Ingest/P/Copy"], export("Copy", "Copy")),
    ];
    nodes.into_iter().map(|node| (node.address.clone(), node)).collect()
}
