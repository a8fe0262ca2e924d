//! Faults that have nothing to do with how a producer keeps its log: each is run on every system.

use super::clock::Clock;
use super::database::{Database, System};
use super::seed;
use super::world::{Plan, World, running, small};
use std::process::Command;
use std::sync::Arc;

/// A test of each fault, on each system.
macro_rules! on_every_system {
    ($($fault:ident)*) => {
        mod postgres {
            $(#[test] fn $fault() { super::$fault(super::System::Postgres); })*
        }
        mod mariadb {
            $(#[test] fn $fault() { super::$fault(super::System::Mariadb); })*
        }
    };
}

on_every_system! {
    kill_before_commit
    kill_after_commit_before_acknowledging
    kill_after_acknowledging
    kill_in_mid_batch
    kill_with_the_consumer_s_transaction_open
    kill_after_delivering_before_recording
    staging_left_over_from_a_killed_run
    an_error_at_any_step_is_tried_again
    first_transaction_after_resume_shares_its_position_with_the_checkpoint
    two_workers_with_the_same_job
    consumer_down_for_an_hour
    clock_jumps_in_both_directions
    a_connection_cut_in_the_middle_of_anything
    sigkill_of_the_source_server
    sigkill_of_the_consumer_server
    sigkill_of_the_worker_at_any_moment
    kill_in_mid_snapshot_and_the_snapshot_is_gone
    columns_added_dropped_renamed_retyped_mid_stream
    key_update_truncate_and_a_table_without_key
    transaction_larger_than_memory
    failover_to_another_server
}

/// The state knows nothing of producers: once is enough.
#[test]
fn sigkill_of_the_state_server() {
    let mut world = running(Plan { has_state_server: true, ..small(System::Postgres) });
    for _ in 0..2 {
        world.work(3);
        let state = world.state.as_ref().expect("the state has a server");
        state.kill().expect("the server dies");
        world.work(3);
        let state = world.state.as_ref().expect("the state has a server");
        state.restart().expect("the server starts");
    }
    world.work(3);
    world.prove();
}

/// Works through a failpoint that breaks the worker, once in a running stream, and goes on without.
fn killed_at(place: &str, passes_max: u64, plan: Plan) {
    let mut world = running(plan);
    world.kill_workers();
    let pass = 1 + world.chance.below(passes_max);
    world.start_to_fail(&format!("{place}:{pass}=kill"));
    world.work_until_the_worker_dies();
    world.work(3);
    world.start();
    world.work(5);
    world.prove();
}

fn kill_before_commit(system: System) {
    killed_at("ingest.staged", 4, small(system));
}

fn kill_after_commit_before_acknowledging(system: System) {
    killed_at("ingest.committed", 4, small(system));
}

fn kill_after_acknowledging(system: System) {
    killed_at("ingest.acknowledged", 4, small(system));
}

fn kill_in_mid_batch(system: System) {
    killed_at("ingest.rows", 12, small(system));
}

fn kill_with_the_consumer_s_transaction_open(system: System) {
    killed_at("sink.written", 4, small(system));
}

fn kill_after_delivering_before_recording(system: System) {
    killed_at("export.delivered", 4, small(system));
}

fn staging_left_over_from_a_killed_run(system: System) {
    let places = ["transform.run", "transform.staged", "output.staged", "output.committed"];
    let place = places[(seed() % 4) as usize];
    killed_at(place, 2, Plan { has_transformer: true, ..small(system) });
}

fn an_error_at_any_step_is_tried_again(system: System) {
    let mut world = running(Plan { has_transformer: true, ..small(system) });
    for place in levada_flow::failpoint::FAILPOINTS {
        if place == "join.read" {
            continue;
        }
        world.kill_workers();
        let pass = 1 + world.chance.below(2);
        world.start_to_fail(&format!("{place}:{pass}=error"));
        world.work(6);
    }
    world.prove();
}

fn first_transaction_after_resume_shares_its_position_with_the_checkpoint(system: System) {
    let mut world = running(small(system));
    for _ in 0..4 {
        world.kill_workers();
        world.work(1);
        world.start();
        world.settle();
    }
    world.prove();
    assert_eq!(world.incarnations().len(), 1);
}

fn two_workers_with_the_same_job(system: System) {
    let mut world = World::new(seed(), Plan { has_state_server: true, ..small(system) });
    world.start();
    world.start();
    world.settle();
    for number in 0..2 {
        let pid = world.workers[number].id();
        signal(pid, "STOP");
        // One of the two has the stream; its lease ends, and the other one takes over.
        let mark = format!("UPDATE accounts SET name = 'worker {number}' WHERE id = 1");
        world.at_source(&mark);
        world.wait_until("the other worker's taking over", |world| {
            world.work(1);
            let name = world.at_source("SELECT name FROM accounts WHERE id = 1");
            world.at_consumer("SELECT name FROM reporting.shop_accounts WHERE id = 1") == Ok(name)
        });
        signal(pid, "CONT");
        world.work(3);
        world.settle();
    }
    world.prove();
    assert_eq!(world.incarnations().len(), 1);
}

fn consumer_down_for_an_hour(system: System) {
    let mut world = World::new(seed(), Plan { has_own_consumer: true, ..small(system) });
    let mut clock = Clock::new(world.ecosystem.root());
    world.start_with(&clock.environment());
    world.settle();
    world.consumer().stop();
    let failed = |world: &mut World| {
        let status = world.ecosystem.levada(&["status", "--format", "json"]).succeeded().json();
        let nodes = status["nodes"].as_array().expect("a list");
        nodes
            .iter()
            .any(|node| node["address"].as_str().is_some_and(|it| it.starts_with("Export/")) && node["attempt"] != 0)
    };
    world.work(3);
    world.wait_until("a failed delivery", failed);
    let before = world.batches().len();
    for _ in 0..4 {
        clock.jump(900);
        world.work(3);
    }
    world.wait_until("the producer's going on", |world| {
        world.work(1);
        world.batches().len() > before
    });
    world.consumer().restart();
    clock.jump(900);
    world.prove();
}

fn clock_jumps_in_both_directions(system: System) {
    let mut world = World::new(seed(), small(system));
    let mut clock = Clock::new(world.ecosystem.root());
    world.start_with(&clock.environment());
    world.settle();
    for seconds in [7_200, -3_600, 86_400 * 40, -86_400 * 40, -10] {
        clock.jump(seconds);
        world.work(3);
        world.settle();
    }
    world.kill_workers();
    world.start();
    world.work(3);
    world.prove();
}

fn a_connection_cut_in_the_middle_of_anything(system: System) {
    let mut world = running(Plan { has_own_consumer: true, ..small(system) });
    for _ in 0..6 {
        let bytes = i64::try_from(world.chance.below(20_000)).expect("a small number");
        match world.chance.below(4) {
            0 => world.to_source.cut(),
            1 => world.to_source.cut_after(bytes),
            2 => world.to_consumer.cut_after(bytes / 10),
            _ => {
                world.to_source.refuse(true);
                world.work(2);
                world.to_source.refuse(false);
            }
        }
        world.work(4);
    }
    world.to_source.cut_after(-1);
    world.to_consumer.cut_after(-1);
    world.prove();
    assert_eq!(world.incarnations().len(), 1);
}

fn sigkill_of_the_source_server(system: System) {
    let mut world = running(Plan { has_own_consumer: true, ..small(system) });
    for _ in 0..2 {
        world.work(3);
        world.source.kill();
        world.source.restart();
        world.work(3);
    }
    world.prove();
    assert_eq!(world.incarnations().len(), 1, "the same server, the same log");
}

fn sigkill_of_the_consumer_server(system: System) {
    let mut world = running(Plan { has_own_consumer: true, ..small(system) });
    for _ in 0..2 {
        world.work(3);
        world.consumer().kill();
        world.work(3);
        world.consumer().restart();
    }
    world.prove();
}

fn sigkill_of_the_worker_at_any_moment(system: System) {
    let mut world = running(Plan { has_transformer: true, ..small(system) });
    for _ in 0..6 {
        let transactions = 1 + world.chance.below(5) as usize;
        world.work(transactions);
        world.kill_workers();
        world.work(1);
        world.start();
    }
    world.prove();
    assert_eq!(world.incarnations().len(), 1);
}

fn kill_in_mid_snapshot_and_the_snapshot_is_gone(system: System) {
    let mut world = World::new(seed(), Plan { rows: 12_000, ..small(system) });
    let pass = 1 + world.chance.below(8);
    world.start_to_fail(&format!("ingest.rows:{pass}=kill"));
    world.work_until_the_worker_dies();
    let slot = |world: &World| (system == System::Postgres).then(|| world.slot());
    let first = slot(&world);
    world.start();
    world.work(10);
    world.prove();
    assert_eq!(slot(&world), first, "one slot, under its own name");
    assert_eq!(world.incarnations().len(), 1);
}

fn columns_added_dropped_renamed_retyped_mid_stream(system: System) {
    let mut world = running(small(system));
    let steps = match system {
        System::Postgres => [
            "ALTER TABLE items ADD COLUMN extra text DEFAULT 'x'",
            "ALTER TABLE items ALTER COLUMN quantity TYPE bigint USING quantity * 2",
            "ALTER TABLE items DROP COLUMN item; ALTER TABLE items ADD COLUMN item text DEFAULT 'again'",
        ],
        System::Mariadb => [
            "ALTER TABLE items ADD COLUMN extra VARCHAR(9) DEFAULT 'x' AFTER account",
            "ALTER TABLE items MODIFY quantity BIGINT; UPDATE items SET quantity = quantity * 2",
            "ALTER TABLE items DROP COLUMN item; ALTER TABLE items ADD COLUMN item VARCHAR(40) DEFAULT 'again'",
        ],
    };
    for step in steps {
        world.at_source(step);
        world.at_source("UPDATE items SET quantity = 1 WHERE account = 5; DELETE FROM items WHERE account = 6");
        if world.chance.below(2) == 0 {
            world.settle();
        }
    }
    world.settle();
    world.at_source("ALTER TABLE bag RENAME COLUMN n TO number");
    world.at_source("INSERT INTO bag VALUES ('renamed', 1)");
    world.at_source("UPDATE accounts SET name = 'goes on' WHERE id = 1");
    world.wait_until("a stop of bag alone", |world| world.stopped() == Some(vec!["bag".to_owned()]));
    world.wait_until("the others' going on", |world| {
        world.at_consumer("SELECT name FROM reporting.shop_accounts WHERE id = 1") == Ok(vec!["goes on".to_owned()])
    });
    world.at_source("ALTER TABLE bag RENAME COLUMN number TO n");
    world.at_source("INSERT INTO bag VALUES ('back', 2)");
    world.kill_workers();
    world.start();
    world.work(4);
    world.prove();
    assert_eq!(world.incarnations().len(), 1, "tables are read anew beside the stream");
}

fn key_update_truncate_and_a_table_without_key(system: System) {
    let mut world = running(small(system));
    let everywhere = [
        "UPDATE accounts SET id = -id",
        "BEGIN; DELETE FROM accounts WHERE id = -1; INSERT INTO accounts VALUES (-1, 'again', NULL, NULL, NULL); COMMIT",
        "BEGIN; UPDATE accounts SET id = 900 WHERE id = -2; UPDATE accounts SET id = -2 WHERE id = -3; COMMIT",
        "BEGIN; INSERT INTO items VALUES (2, 7, 'before', 1); DELETE FROM items; INSERT INTO items VALUES (2, 7, 'after', 1); COMMIT",
        "UPDATE tags SET name = upper(name) WHERE name LIKE 'tag 1%'",
    ];
    let here = match system {
        System::Postgres => [
            "BEGIN; TRUNCATE items; INSERT INTO items VALUES (1, 1, 'after', 1); COMMIT",
            "TRUNCATE readings_old",
            "BEGIN; INSERT INTO bag VALUES ('a', 1), ('a', 1), ('a', 1); \
             DELETE FROM bag WHERE ctid = (SELECT min(ctid) FROM bag WHERE kind = 'a'); COMMIT",
            "UPDATE bag SET kind = 'b' WHERE kind = 'a'",
            "TRUNCATE bag, accounts",
        ],
        System::Mariadb => [
            "TRUNCATE items; INSERT INTO items VALUES (1, 1, 'after', 1)",
            "ALTER TABLE readings TRUNCATE PARTITION readings_old",
            "BEGIN; INSERT INTO bag VALUES ('a', 1), ('a', 1), ('a', 1); DELETE FROM bag WHERE kind = 'a' LIMIT 1; COMMIT",
            "UPDATE bag SET kind = 'b' WHERE kind = 'a'",
            "TRUNCATE bag; TRUNCATE accounts",
        ],
    };
    for step in everywhere.into_iter().chain(here) {
        world.at_source(step);
        if world.chance.below(2) == 0 {
            world.settle();
        }
    }
    world.work(3);
    world.prove();
    assert_eq!(world.incarnations().len(), 1);
}

fn transaction_larger_than_memory(system: System) {
    let mut world = running(small(system));
    let insert = match system {
        System::Postgres => {
            "SELECT i, 'large', repeat(md5(i::text), 256), 1, now() FROM generate_series(100001, 160000) i"
        }
        System::Mariadb => "SELECT 100000 + seq, 'large', REPEAT(MD5(seq), 256), 1, NOW(6) FROM seq_1_to_60000",
    };
    world.at_source(&format!(
        "BEGIN; INSERT INTO accounts {insert}; UPDATE accounts SET amount = 2 WHERE id > 100000 AND id % 10 = 0; \
         DELETE FROM accounts WHERE id > 100000 AND id % 7 = 0; COMMIT"
    ));
    world.settle();
    world.assert_memory();
    let large = "SELECT count(DISTINCT valid_from) FROM reporting.shop_accounts_history WHERE id > 100000";
    assert_eq!(world.at_consumer(large).expect("the history is there"), ["1"], "one transaction, one batch");
    world.prove();
}

/// The standby that takes over has no slot and no name of the old server; what was not replicated is lost for everybody.
fn failover_to_another_server(system: System) {
    let mut world = running(Plan { has_own_consumer: true, ..small(system) });
    world.work(6);
    let copy = match world.source.as_ref() {
        Database::Postgres(failed) => Database::Postgres(failed.promoted_copy().expect("the standby takes over")),
        Database::Mariadb(failed) => {
            Database::Mariadb(failed.copy(&[("server_id", "8")]).expect("the replica takes over"))
        }
    };
    world.at_source("UPDATE accounts SET name = 'lost' WHERE id % 2 = 0");
    if world.chance.below(2) == 0 {
        world.settle();
    }
    world.fail_over(Arc::new(copy));
    world.work(6);
    world.prove();
    assert_eq!(world.incarnations().len(), 2, "another server, another log");
}

fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status();
    assert!(status.expect("kill runs").success());
}
