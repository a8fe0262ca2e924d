//! PostgreSQL's change log under faults.

use super::seed;
use super::world::{Plan, World};

const SMALL: Plan = Plan {
    has_own_consumer: false,
    has_state_server: false,
    ingest: "",
    settings: &[],
    rows: 60,
    has_transformer: false,
};

/// Works through a failpoint that kills the worker, once in a running stream, and goes on without.
fn killed_at(place: &str, passes_max: u64) {
    let mut world = World::new(seed(), SMALL);
    world.start();
    world.settle();
    world.kill_workers();
    let pass = 1 + world.chance.below(passes_max);
    world.start_to_fail(&format!("{place}:{pass}=kill"));
    world.work_until_the_worker_dies();
    world.work(3);
    world.start();
    world.work(5);
    world.prove();
}

#[test]
fn kill_before_commit() {
    killed_at("ingest.staged", 4);
}

#[test]
fn kill_after_commit_before_acknowledging() {
    killed_at("ingest.committed", 4);
}

#[test]
fn kill_after_acknowledging() {
    killed_at("ingest.acknowledged", 4);
}

#[test]
fn kill_in_mid_batch() {
    killed_at("ingest.rows", 12);
}

#[test]
fn kill_with_the_consumer_s_transaction_open() {
    killed_at("sink.written", 4);
}

#[test]
fn kill_after_delivering_before_recording() {
    killed_at("export.delivered", 4);
}
