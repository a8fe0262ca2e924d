//! The state, or their lock on it, goes away under workers that work continuously, on PostgreSQL.

use crate::world::*;
use levada_flow::sink::Form;
use levada_model::model::{IngestKind, Style};
use levada_planner::NodeSpec;
use levada_planner::blueprint::IngestOrigin;
use levada_runtime::{Ending, JobError, Mode, Progress, Worker, schedule};
use levada_state::Host;
use levada_testbed::PostgresCluster;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// Waits, at each report of the worker, until something holds.
async fn until(told: &Notify, holds: impl AsyncFn() -> bool) {
    loop {
        let next = told.notified();
        if holds().await {
            return;
        }
        next.await;
    }
}

/// Ends the sessions that hold the workers' locks; all others go on.
const CUT_LOCKS: &str = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = \
     (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid <> pg_backend_pid()";

/// Workers that work continuously on one world, and what they tell.
struct Workers {
    told: Arc<Notify>,
    outages: Arc<AtomicUsize>,
    stop: watch::Sender<bool>,
    working: Vec<JoinHandle<Result<Ending, JobError>>>,
}

impl Workers {
    /// All of them have one name.
    fn start(world: &World, count: usize) -> Self {
        let (told, outages) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let (stop, stopped) = watch::channel(false);
        let start = |_| {
            let (told, outages) = (told.clone(), outages.clone());
            let tell = move |progress| {
                if matches!(progress, Progress::Waiting(_)) {
                    outages.fetch_add(1, Ordering::Relaxed);
                }
                told.notify_one();
            };
            let worker =
                Worker::new(world.runtime.clone(), Host::Anywhere, "1@pod".to_owned(), 4, Mode::Continuous, tell);
            tokio::spawn(worker.run(stopped.clone()))
        };
        let working = (0..count).map(start).collect();
        Self { told, outages, stop, working }
    }

    async fn until_outages(&self, count: usize) {
        until(&self.told, async || self.outages.load(Ordering::Relaxed) == count).await;
    }

    /// Changes the source and waits until the change is at its end.
    async fn carry(&self, world: &World, change: &[(i64, &str)]) {
        world.producer.set_table("orders", rows(change));
        world.make_due("Ingest/P/Shop", None).await;
        let is_there = || world.consumer.view("w", "copy_orders").is_some();
        until(&self.told, async || is_there() && world.seen("copy_orders") == owned(change)).await;
    }

    async fn stop(self) {
        self.stop.send(true).expect("the workers listen");
        for working in self.working {
            let ending = working.await.expect("it ends").expect("without an error");
            assert!(ending.failed.is_empty(), "{ending:?}");
        }
    }
}

async fn world_on(cluster: &PostgresCluster) -> World {
    cluster.create_database("state").expect("a database");
    let folder = tempfile::tempdir().expect("a temporary folder");
    World::on(&cluster.url("state"), folder, Form::Changes, nodes("Shop")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_outlives_its_server_and_the_loss_of_its_lock() {
    let cluster = PostgresCluster::start().expect("a server");
    let world = world_on(&cluster).await;
    let workers = Workers::start(&world, 1);
    workers.carry(&world, &[(1, "one")]).await;

    cluster.sql("state", CUT_LOCKS).expect("it is cut");
    workers.until_outages(1).await;
    workers.carry(&world, &[(1, "uno")]).await;

    // The server is away for longer than a call tries again by itself.
    cluster.kill().expect("it is killed");
    workers.until_outages(2).await;
    cluster.restart().expect("it is back");
    workers.carry(&world, &[(2, "two")]).await;
    assert_eq!(workers.outages.load(Ordering::Relaxed), 2, "each outage is told once");
    workers.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_of_one_name_do_everything_once_whatever_happens_to_their_locks() {
    let cluster = PostgresCluster::start().expect("a server");
    let world = world_on(&cluster).await;
    let workers = Workers::start(&world, 2);
    workers.carry(&world, &[(1, "one")]).await;
    workers.carry(&world, &[(1, "uno"), (2, "two")]).await;
    cluster.sql("state", CUT_LOCKS).expect("they are cut");
    workers.until_outages(2).await;
    workers.carry(&world, &[(2, "two"), (3, "three")]).await;
    workers.stop().await;
    assert_eq!((world.batch("Shop").await, world.batch("Copy").await), (3, 3));
    let versions = owned(&[(1, "one"), (1, "uno"), (2, "two"), (3, "three")]);
    assert_eq!(world.seen("copy_orders_history"), versions);
}

#[test]
fn a_stream_without_an_end_rests_when_its_retries_have_ended() {
    let mut node = nodes("Shop")[&address("Ingest/P/Shop")].clone();
    let NodeSpec::Ingest(spec) = &mut node.spec else { panic!("it is one") };
    spec.style = Style::Streaming;
    let IngestOrigin::Container { ingest, .. } = &mut spec.origin else { panic!("it reads a container") };
    *ingest = IngestKind::Cdc { wal_max_bytes: None };
    assert_eq!(schedule::next_turn(&node, 7), Some(7), "its turn is always");
    assert!(
        schedule::turn_after_failure(&node, 7) >= 7 + 1_000_000,
        "but a producer that is down is left alone a while"
    );
}
