//! A producer, a consumer, a state and a worker that may each be broken, and the proof that nothing was lost.

use super::chance::Chance;
use super::database::{Database, System};
use super::proxy::Proxy;
use super::seed;
use super::workload::{DATASETS, Table, Workload};
use crate::ecosystem::Ecosystem;
use levada_testbed::PostgresCluster;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the consumer may take to be as the producer is, once nothing is broken any more.
const SETTLE_SECONDS_MAX: u64 = 120;

/// What a worker may have in memory at most, in MB; the largest transaction has 480.
const MEGABYTES_MAX: u64 = 320;

/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How a world is made.
#[derive(Clone, Copy, Default)]
pub struct Plan {
    /// What producer and consumer are.
    pub system: System,
    /// Whether the consumer has a server of its own, which can be killed.
    pub has_own_consumer: bool,
    /// Whether the state lies in a server of its own, and several workers may run.
    pub has_state_server: bool,
    /// What the ingest says beside its kind, such as `, wal_max: 10MB`.
    pub ingest: &'static str,
    /// Settings of the producer's server.
    pub settings: &'static [(&'static str, &'static str)],
    /// Rows to begin with.
    pub rows: u64,
    /// Whether a transformer sums up what was delivered.
    pub has_transformer: bool,
}

pub struct World {
    pub seed: u64,
    pub chance: Chance,
    pub ecosystem: Ecosystem,
    pub source: Arc<Database>,
    consumer: Option<Database>,
    pub state: Option<PostgresCluster>,
    pub to_source: Proxy,
    pub to_consumer: Proxy,
    pub workers: Vec<Child>,
    plan: Plan,
    datasets: String,
}

/// A small world with nothing special.
pub fn small(system: System) -> Plan {
    Plan { system, rows: 60, ..Plan::default() }
}

/// A world whose stream runs and has delivered.
pub fn running(plan: Plan) -> World {
    let mut world = World::new(seed(), plan);
    world.start();
    world.settle();
    world
}

impl World {
    /// Makes the world of a seed; nothing runs yet.
    pub fn new(seed: u64, plan: Plan) -> Self {
        let source = Arc::new(plan.system.start(plan.settings));
        let consumer = plan.has_own_consumer.then(|| plan.system.start(&[]));
        let state =
            plan.has_state_server.then(|| PostgresCluster::start().expect("this machine has a PostgreSQL server"));
        let to_source = Proxy::before(source.port());
        let to_consumer = Proxy::before(consumer.as_ref().unwrap_or(&source).port());
        let workload = plan.system.workload();
        source.create_database("shop");
        consumer.as_ref().unwrap_or(&source).create_database("reports");
        source.sql("shop", workload.tables).expect("tables");
        source.sql("shop", &(workload.first_rows)(plan.rows)).expect("rows");
        let ecosystem = Ecosystem::new();
        let (user, password) = plan.system.credential();
        ecosystem.secret("db", user, password);
        if let Some(state) = &state {
            state.create_database("levada").expect("a database");
            let url = state.url("levada");
            ecosystem.write("levada.toml", &format!("secrets = \"secrets\"\nstate = \"{url}\"\n"));
        }
        let chance = Chance::new(seed);
        let datasets = format!("{DATASETS}{}", workload.datasets);
        let world = Self {
            seed,
            chance,
            ecosystem,
            source,
            consumer,
            state,
            to_source,
            to_consumer,
            workers: Vec::new(),
            plan,
            datasets,
        };
        world.write_model();
        world.ecosystem.levada(&["apply", "--yes"]).succeeded();
        world
    }

    fn write_model(&self) {
        self.ecosystem.write(
            "ecosystem.yaml",
            "ecosystem: faults\nvendors: [{ vendor: here, cloud: private, locations: { lab: {} } }]\n\
             platforms: [{ platform: Stream, kind: embedded, style: streaming, locations: [\"here:lab\"] }]\n",
        );
        let kind = self.plan.system.kind();
        let container = |name: &str, port: u16, database: &str| {
            format!(
                "  - {{ container: {name}, kind: {kind}, location: \"here:lab\", host: 127.0.0.1, port: {port}, \
                 database: {database}, credential: db }}\n"
            )
        };
        let shop = container("shop", self.to_source.port, "shop");
        let reports = container("reports", self.to_consumer.port, "reports");
        let names: Vec<String> = self.names().map(|name| format!("Shop.{name}")).collect();
        let ingest = self.plan.ingest;
        let mut model = format!(
            "zone: Z\n---\nteam: T\ncontainers:\n{shop}{reports}---\ndatastore: Shop\ncontainer: shop\n\
             ingest: {{ kind: cdc{ingest} }}\ndatasets:{}---\nworkspace: Reporting\ncontainer: reports\ngroups:\n  All:\n    \
             requires: {{ latency: seconds, milestoning: both, retention: 1y }}\n    datasets: [{}]\n",
            self.datasets,
            names.join(", ")
        );
        if self.plan.has_transformer {
            model.push_str(TRANSFORMER);
            self.ecosystem.write("totals.sql", TOTALS);
        }
        self.ecosystem.write("model.yaml", &model);
    }

    /// The datasets' names.
    fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.datasets.lines().filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':'));
        names.filter(|name| !name.starts_with(' '))
    }

    pub fn workload(&self) -> &'static Workload {
        self.plan.system.workload()
    }

    /// Adds a dataset to the model, and applies it.
    pub fn add_dataset(&mut self, text: &str) {
        self.datasets.push_str(text);
        self.write_model();
        self.ecosystem.levada(&["apply", "--yes"]).succeeded();
    }

    /// Starts a worker.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// Starts a worker with an environment of its own.
    pub fn start_with(&mut self, environment: &[(&str, String)]) {
        let log = File::options().create(true).append(true).open(self.log_path()).expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_levada"));
        command.arg("run").arg(self.ecosystem.root()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        self.workers.push(command.spawn().expect("the built binary starts"));
    }

    /// Starts a worker whose store lies on a disk of eight megabytes, mounted over this folder for it alone.
    pub fn start_on_a_small_disk(&mut self, data: &Path) {
        let log = File::options().create(true).append(true).open(self.log_path()).expect("a log");
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
        command.arg("mount -t tmpfs -o size=8m tmpfs \"$LEVADA_DATA\" && exec \"$@\"");
        command.args(["sh", env!("CARGO_BIN_EXE_levada"), "run"]).arg(self.ecosystem.root());
        command.env("LEVADA_DATA", data).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.workers.push(command.spawn().expect("unshare, of util-linux, starts"));
    }

    /// Starts a worker that breaks at a failpoint, such as `ingest.staged:2=kill`.
    pub fn start_to_fail(&mut self, failpoint: &str) {
        self.start_with(&[("LEVADA_FAILPOINT", failpoint.to_owned())]);
    }

    fn log_path(&self) -> PathBuf {
        self.ecosystem.path("worker.log")
    }

    /// What the workers have said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Kills all workers with SIGKILL.
    pub fn kill_workers(&mut self) {
        for mut worker in self.workers.drain(..) {
            let _ = worker.kill();
            worker.wait().expect("the worker is ours");
        }
    }

    /// Works at the producer until the worker has died by itself.
    pub fn work_until_the_worker_dies(&mut self) {
        let until = Instant::now() + Duration::from_secs(SETTLE_SECONDS_MAX);
        while self.workers.last_mut().expect("a worker").try_wait().expect("the worker is ours").is_none() {
            assert!(Instant::now() < until, "the worker was to die and did not:\n{}", self.log());
            self.work(1);
        }
        self.workers.pop();
    }

    /// So many random transactions at the producer.
    pub fn work(&mut self, transactions: usize) {
        for _ in 0..transactions {
            let transaction = (self.workload().transaction)(&mut self.chance);
            self.source.sql("shop", &transaction).unwrap_or_else(|error| panic!("{error} in {transaction}"));
        }
    }

    /// The rows of a query on the producer.
    pub fn at_source(&self, sql: &str) -> Vec<String> {
        let printed = self.source.sql("shop", sql).unwrap_or_else(|error| panic!("{error} in {sql}"));
        printed.lines().map(str::to_owned).collect()
    }

    /// The consumer's server.
    pub fn consumer(&self) -> &Database {
        self.consumer.as_ref().unwrap_or(self.source.as_ref())
    }

    /// The rows of a query on the consumer.
    pub fn at_consumer(&self, sql: &str) -> Result<Vec<String>, String> {
        let printed = self.consumer().sql("reports", sql)?;
        Ok(printed.lines().map(str::to_owned).collect())
    }

    /// Waits for something.
    pub fn wait_until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let until = Instant::now() + Duration::from_secs(SETTLE_SECONDS_MAX);
        while !holds(self) {
            assert!(Instant::now() < until, "seed {}: {what} does not come about:\n{}", self.seed, self.log());
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    /// Waits until the consumer has what the producer has now.
    pub fn settle(&mut self) {
        let expected: Vec<_> = self.expected();
        let mut found = Vec::new();
        let until = Instant::now() + Duration::from_secs(SETTLE_SECONDS_MAX);
        loop {
            found.clear();
            for (view, columns, rows) in &expected {
                found.push((view.clone(), self.consumer().rows("reports", columns, view), rows));
            }
            let is_same = found.iter().all(|(_, found, expected)| found.as_ref().is_ok_and(|found| found == *expected));
            if is_same {
                return;
            }
            if Instant::now() > until {
                break;
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
        for (view, found, expected) in found {
            match found {
                Ok(found) => assert_same(&format!("seed {}: {view}", self.seed), &found, expected, &self.log()),
                Err(error) => panic!("seed {}: {view}: {error}\n{}", self.seed, self.log()),
            }
        }
    }

    /// Rows of the producer's, sorted.
    pub fn rows_at_source(&self, columns: &str, from: &str) -> Vec<String> {
        self.source.rows("shop", columns, from).unwrap_or_else(|error| panic!("{error} in {from}"))
    }

    /// Views of the consumer's, the columns to compare, and what has to be in them.
    fn expected(&self) -> Vec<(String, String, Vec<String>)> {
        let mut expected = Vec::new();
        for name in self.names() {
            let columns = self.workload().columns_of(name);
            expected.push((format!("reporting.shop_{name}"), columns.to_owned(), self.rows_at_source(columns, name)));
        }
        if self.plan.has_transformer {
            let totals = "(SELECT kind, COUNT(*) AS many, SUM(n) AS total FROM bag GROUP BY kind) AS totals";
            let rows = self.rows_at_source("kind, many, total", totals);
            expected.push(("totalsreport.totals_kinds".to_owned(), "kind, many, total".to_owned(), rows));
        }
        expected
    }

    /// Starts a worker for a table that joins while it is changed, kills it in the middle of that, and proves that
    /// another one brings it to its end.
    pub fn prove_join_while(&mut self, mut change: impl FnMut(&mut Self)) {
        let pass = 1 + self.chance.below(3);
        self.start_to_fail(&format!("join.read:{pass}=kill"));
        self.wait_until("the worker's death in a chunk", |world| {
            change(world);
            world.workers.last_mut().expect("a worker").try_wait().expect("the worker is ours").is_some()
        });
        self.kill_workers();
        self.start();
        for _ in 0..40 {
            change(self);
        }
        self.work(3);
        self.prove();
        assert_eq!(self.incarnations().len(), 1, "the stream went on");
    }

    /// Ends the worker, and proves that store, consumer and producer agree, row by row, and that no history
    /// has a gap in it or two versions at once.
    pub fn prove(&mut self) {
        let data = self.ecosystem.path(".levada/data");
        self.prove_with_data(&data);
    }

    /// As [`Self::prove`], where the store lies elsewhere.
    pub fn prove_with_data(&mut self, data: &Path) {
        self.settle();
        self.kill_workers();
        for Table { name, key, .. } in self.workload().compared {
            let Some(key) = key else { continue };
            let history = format!("reporting.shop_{name}_history");
            let overlaps = format!(
                "SELECT count(*) FROM (SELECT valid_to, LEAD(valid_from) OVER (PARTITION BY {key} ORDER BY valid_from) \
                 AS next FROM {history}) AS v WHERE next < valid_to OR (valid_to IS NULL AND next IS NOT NULL)"
            );
            assert_eq!(self.at_consumer(&overlaps).expect("the history is there"), ["0"], "seed {}: {name}", self.seed);
        }
        for Table { name, columns, .. } in self.workload().compared {
            let open = format!("reporting.shop_{name}_history WHERE valid_to IS NULL");
            let open = self.consumer().rows("reports", columns, &open).expect("the history is there");
            let live = self.rows_at_source(columns, name);
            assert_same(&format!("seed {}: open versions of {name}", self.seed), &open, &live, &self.log());
        }
        let root = self.ecosystem.root().display().to_string();
        let arguments = ["verify", "--source", &root].map(str::to_owned);
        let verified = Ecosystem::run_anywhere(&arguments, &[("LEVADA_DATA".to_owned(), data.display().to_string())]);
        assert_eq!(verified.code, 0, "seed {}: {}{}\n{}", self.seed, verified.stdout, verified.stderr, self.log());
    }

    /// The batches of the stream.
    pub fn batches(&self) -> Vec<serde_json::Value> {
        let batches = self.ecosystem.levada(&["batches", "--limit", "1000000", "--format", "json"]).succeeded().json();
        let all = batches["batches"].as_array().expect("a list").iter();
        all.filter(|batch| batch["stream"] == "Shop").cloned().collect()
    }

    /// The incarnations of the stream's batches, and how many batches each has.
    pub fn incarnations(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for batch in self.batches() {
            *counts.entry(batch["incarnation"].as_str().expect("a text").to_owned()).or_default() += 1;
        }
        counts
    }

    /// The datasets of the stream that have stopped.
    pub fn stopped(&self) -> Option<Vec<String>> {
        let status = self.ecosystem.levada(&["status", "--format", "json"]).succeeded().json();
        let nodes = status["nodes"].as_array().expect("a list");
        let ingest = nodes.iter().find(|node| node["address"] == "Ingest/Stream/Shop").expect("the node");
        ingest["stream"]["stopped"].as_object().map(|stopped| stopped.keys().cloned().collect())
    }

    /// Makes sure that the worker has never had more in memory than [`MEGABYTES_MAX`].
    pub fn assert_memory(&self) {
        let pid = self.workers[0].id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the worker runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells");
        let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
        assert!(kilobytes / 1024 < MEGABYTES_MAX, "the worker had {} MB in memory", kilobytes / 1024);
    }

    /// The producer's server fails, and another one takes its place.
    pub fn fail_over(&mut self, to: Arc<Database>) {
        self.source.kill();
        self.to_source.lead_to(to.port());
        self.source = to;
    }

    /// The stream's slot.
    pub fn slot(&self) -> String {
        let slots = self.at_source("SELECT slot_name FROM pg_replication_slots");
        assert_eq!(slots.len(), 1, "seed {}: one stream, one slot", self.seed);
        slots[0].clone()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill_workers();
    }
}

const TRANSFORMER: &str = "---
workspace: Totals
container: reports
groups:
  Bag:
    requires: { latency: seconds, milestoning: live, retention: 30d }
    datasets: [Shop.bag]
transformer:
  transformer: Totals
  output: Totals
  trigger: on-change
  code: { sql: totals.sql }
datasets:
  kinds:
    columns: { kind: { type: text, key: true }, many: int64, total: int64 }
---
workspace: TotalsReport
container: reports
groups:
  Kinds:
    requires: { latency: seconds, milestoning: live, retention: 30d }
    datasets: [Totals.kinds]
";

const TOTALS: &str = "SELECT kind, count(*) AS many, sum(n) AS total FROM bag GROUP BY kind";

/// Compares sorted rows, and shows what differs.
#[track_caller]
fn assert_same(what: &str, found: &[String], expected: &[String], log: &str) {
    if found == expected {
        return;
    }
    let only = |rows: &[String], others: &[String]| {
        let mut left = others.to_vec();
        let mut only = Vec::new();
        for row in rows {
            match left.iter().position(|other| other == row) {
                Some(at) => drop(left.swap_remove(at)),
                None => only.push(row.clone()),
            }
        }
        only.truncate(8);
        only
    };
    panic!(
        "{what}: the consumer has {} rows, the producer {}; too many: {:#?}; missing: {:#?}\n{log}",
        found.len(),
        expected.len(),
        only(found, expected),
        only(expected, found),
    );
}
