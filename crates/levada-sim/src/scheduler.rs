//! What the scheduler itself costs: the product's worker on the product's state, with jobs that do nothing.
//!
//! A pair of nodes for each stream: an ingest, and an export that its end makes due. First all are due at
//! once and are worked off; then so many ingests a second become due, and it is measured how late jobs start.

use crate::measure::cpu_seconds;
use anyhow::{Result, ensure};
use async_trait::async_trait;
use levada_flow::{Clock, SystemClock};
use levada_model::address::{DatasetRef, Stream};
use levada_model::connection::{Connection, ContainerKind, Place};
use levada_model::model::{Cron, CronTrigger, IngestKind, Latency, Priority, Style};
use levada_model::{NodeAddress, Schema};
use levada_planner::blueprint::{Choices, ExportSpec, IngestDataset, IngestOrigin, IngestSpec, Input};
use levada_planner::{Advance, Blueprint, Generation, Node, NodeSpec};
use levada_runtime::jobs::{Report, Turn};
use levada_runtime::{JobError, Mode, Tools, Work, Worker};
use levada_state::nodes::{Completion, HotNode, Outcome, Successor};
use levada_state::{Fence, Host, State};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How many streams share a container.
const STREAMS_PER_CONTAINER: usize = 500;

/// Works off all nodes at once, then at a rate.
#[expect(clippy::print_stdout, reason = "the figures are this program's output")]
pub async fn run(nodes: usize, rate: usize, seconds: u64, jobs_max: usize) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("levada-bench-{}", std::process::id()));
    let state = State::open(&format!("sqlite:{}", folder.join("state.db").display())).await?;
    let streams = nodes / 2;
    let blueprint = blueprint(streams)?;
    state.apply(&Advance::between(None, &blueprint), levada_platforms::FORM, SystemClock.now()).await?;
    let work = Arc::new(Nothing { state: state.clone(), told: Mutex::default() });
    let tools = Tools { state: state.clone(), clock: Arc::new(SystemClock), work: Arc::clone(&work) as Arc<dyn Work> };
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let worker = Worker::new(tools, Host::Anywhere, "bench".to_owned(), jobs_max, Mode::Continuous, |_| {});
    let (began, before) = (Instant::now(), cpu_seconds());
    let worker = tokio::spawn(worker.run(stopped));
    while work.ended() < 2 * streams {
        tokio::time::sleep(Duration::from_millis(20)).await;
        ensure!(!worker.is_finished(), "the worker ended");
    }
    let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - before);
    let jobs = (2 * streams) as f64;
    println!(
        "{} nodes due at once: {:.0} jobs/s, {:.0} transitions/s (a claim and an end each), {:.0} µs CPU a job",
        2 * streams,
        jobs / wall,
        2.0 * jobs / wall,
        cpu / jobs * 1e6
    );
    work.forget();
    let before = cpu_seconds();
    let ingests: Vec<NodeAddress> =
        blueprint.nodes.keys().filter(|it| matches!(it, NodeAddress::Ingest(..))).cloned().collect();
    let began = Instant::now();
    let mut made = 0;
    while began.elapsed() < Duration::from_secs(seconds) {
        let wanted = (began.elapsed().as_secs_f64() * rate as f64) as usize;
        let now = SystemClock.now();
        // Spread over all streams, and none twice within a round of them.
        let due = (made..wanted).map(|number| ingests[number * 7919 % ingests.len()].clone());
        let due: Vec<Successor> = due.map(|node| Successor { node, due_at: now, payload: None }).collect();
        state.make_due(&due).await?;
        made = wanted;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let cpu = cpu_seconds() - before;
    stop.send(true)?;
    worker.await??;
    let told = work.told.lock().expect("no job panics");
    println!(
        "{rate} ingests due a second, {} jobs: due to started p50 {:.1} p99 {:.1} ms, end to successor started p50 {:.1} \
         p99 {:.1} ms; {:.2} of one CPU",
        told.ended,
        percentile(&told.due_to_started, 50),
        percentile(&told.due_to_started, 99),
        percentile(&told.end_to_started, 50),
        percentile(&told.end_to_started, 99),
        cpu / seconds as f64
    );
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

/// In ms.
fn percentile(micros: &[i64], percent: usize) -> f64 {
    let mut sorted = micros.to_vec();
    sorted.sort_unstable();
    sorted.get((sorted.len().saturating_sub(1)) * percent / 100).map_or(f64::NAN, |micros| *micros as f64 / 1e3)
}

/// Does nothing, and keeps account of it.
struct Nothing {
    state: State,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    ended: usize,
    /// µs.
    due_to_started: Vec<i64>,
    /// µs.
    end_to_started: Vec<i64>,
    /// When each export's ingest ended, µs.
    ends: HashMap<NodeAddress, i64>,
}

impl Nothing {
    fn ended(&self) -> usize {
        self.told.lock().expect("no job panics").ended
    }

    fn forget(&self) {
        *self.told.lock().expect("no job panics") = Told::default();
    }
}

#[async_trait]
impl Work for Nothing {
    async fn run(&self, rows: &[HotNode], turn: &Turn) -> Result<Report, JobError> {
        let now = SystemClock.now();
        for row in rows {
            let address = &row.node.address;
            let mut successors = Vec::new();
            if let NodeSpec::Ingest(spec) = &row.node.spec {
                let node = export_address(&spec.stream).expect("its names are names");
                successors.push(Successor { node, due_at: now, payload: None });
            }
            {
                let mut told = self.told.lock().expect("no job panics");
                match told.ends.remove(address) {
                    Some(ended) => told.end_to_started.push(now - ended),
                    None => told.due_to_started.extend(row.due_at.map(|due_at| now - due_at)),
                }
            }
            let next = successors.first().map(|successor| successor.node.clone());
            let completion = Completion {
                started_at: turn.started_at,
                outcome: Outcome::Done,
                next_due_at: None,
                memory: None,
                successors,
                rows: 0,
                bytes: 0,
            };
            let fence = Fence { node: address.clone(), epoch: row.epoch };
            self.state.complete(&fence, completion, now).await?;
            let mut told = self.told.lock().expect("no job panics");
            told.ended += 1;
            told.ends.extend(next.map(|next| (next, SystemClock.now())));
        }
        Ok(Report::default())
    }

    fn goes_on(&self, _row: &HotNode) -> bool {
        false
    }

    async fn sweep(&self, _before: i64, _wanted: &[String]) -> Result<(), JobError> {
        Ok(())
    }
}

fn export_address(stream: &Stream) -> Result<NodeAddress> {
    Ok(format!("Export/P/out/{}/d", stream.datastore).parse()?)
}

fn connection(name: &str) -> Result<Connection> {
    Ok(Connection {
        container: name.parse()?,
        kind: ContainerKind::Sqlite,
        place: Place::Path { path: "db".to_owned() },
        credential: None,
        connections_max: Some(1_000),
    })
}

/// So many ingests, each with an export.
fn blueprint(streams: usize) -> Result<Blueprint> {
    let mut nodes = BTreeMap::new();
    let yearly = Cron { expression: "0 0 1 1 *".to_owned(), timezone: None };
    for number in 0..streams {
        let stream: Stream = format!("S{number:06}").parse()?;
        let address: NodeAddress = format!("Ingest/P/{stream}").parse()?;
        let dataset = IngestDataset {
            dataset: "d".parse()?,
            table: "d".to_owned(),
            schema: Schema { columns: Vec::new() },
            watermark: None,
            owed: Vec::new(),
        };
        let origin = IngestOrigin::Container {
            connection: connection(&format!("C{}", number / STREAMS_PER_CONTAINER))?,
            ingest: IngestKind::Snapshot,
            trigger: Some(CronTrigger { cron: yearly.clone(), catch_up: Default::default(), jitter: None }),
            calendars: Vec::new(),
        };
        let spec = IngestSpec { stream: stream.clone(), style: Style::Batch, origin, datasets: vec![dataset] };
        let node = |address: NodeAddress, inputs, spec| Node { address, priority: Priority::Medium, inputs, spec };
        nodes.insert(address.clone(), node(address.clone(), Vec::new(), NodeSpec::Ingest(spec)));
        let spec = ExportSpec {
            connection: connection("out")?,
            source: DatasetRef::new(stream.datastore.clone(), "d".parse()?),
            stream: stream.clone(),
            schema: Schema { columns: Vec::new() },
            live: Some("t".to_owned()),
            history: None,
            history_retention: None,
            latency: Latency::Hours,
            views: Vec::new(),
            calendars: Vec::new(),
        };
        let inputs = vec![Input { node: address, is_self: false }];
        let export = export_address(&stream)?;
        nodes.insert(export.clone(), node(export, inputs, NodeSpec::Export(spec)));
    }
    Ok(Blueprint {
        generation: Generation(1),
        parent: None,
        revision: "bench".to_owned(),
        choices: Choices::default(),
        nodes,
        objects: BTreeMap::new(),
    })
}
