//! The state goes away under a worker that works continuously, on PostgreSQL.

use crate::world::*;
use levada_flow::sink::Form;
use levada_runtime::{Mode, Progress, Worker};
use levada_testbed::PostgresCluster;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_outlives_its_server_and_the_loss_of_its_lock() {
    let cluster = PostgresCluster::start().expect("a server");
    cluster.create_database("state").expect("a database");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let world = World::on(&cluster.url("state"), folder, Form::Changes, nodes("Shop")).await;
    world.producer.set_table("orders", rows(&[(1, "one")]));

    let (told, outages) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let tell = {
        let (told, outages) = (told.clone(), outages.clone());
        move |progress| {
            if matches!(progress, Progress::Waiting(_)) {
                outages.fetch_add(1, Ordering::Relaxed);
            }
            told.notify_one();
        }
    };
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let worker = Worker::new(world.runtime.clone(), "worker".to_owned(), 4, Mode::Continuous, tell);
    let working = tokio::spawn(worker.run(stopped));
    let delivered = async |expected: &[(i64, &str)]| {
        world.consumer.view("w", "copy_orders").is_some() && world.seen("copy_orders") == owned(expected)
    };
    until(&told, async || delivered(&[(1, "one")]).await).await;

    // The session that holds the lock is cut; the others go on.
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = \
               (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid <> pg_backend_pid()";
    cluster.sql("state", cut).expect("it is cut");
    until(&told, async || outages.load(Ordering::Relaxed) == 1).await;
    world.producer.set_table("orders", rows(&[(1, "uno")]));
    world.make_due("Ingest/P/Shop", None).await;
    until(&told, async || delivered(&[(1, "uno")]).await).await;

    // The server is away for longer than a call tries again by itself.
    cluster.kill().expect("it is killed");
    until(&told, async || outages.load(Ordering::Relaxed) == 2).await;
    cluster.restart().expect("it is back");
    world.producer.set_table("orders", rows(&[(2, "two")]));
    world.make_due("Ingest/P/Shop", None).await;
    until(&told, async || delivered(&[(2, "two")]).await).await;
    assert_eq!(outages.load(Ordering::Relaxed), 2, "each outage is told once");

    stop.send(true).expect("the worker listens");
    let ending = working.await.expect("it ends").expect("without an error");
    assert!(ending.failed.is_empty(), "{ending:?}");
}
