//! PostgreSQL's change log under faults.

use super::clock::Clock;
use super::seed;
use super::world::{Plan, World};
use std::process::{Command, Stdio};

const SMALL: Plan = Plan {
    has_own_consumer: false,
    has_state_server: false,
    ingest: "",
    settings: &[],
    rows: 60,
    has_transformer: false,
};

/// A world whose stream runs and has delivered.
fn running(plan: Plan) -> World {
    let mut world = World::new(seed(), plan);
    world.start();
    world.settle();
    world
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

#[test]
fn kill_before_commit() {
    killed_at("ingest.staged", 4, SMALL);
}

#[test]
fn kill_after_commit_before_acknowledging() {
    killed_at("ingest.committed", 4, SMALL);
}

#[test]
fn kill_after_acknowledging() {
    killed_at("ingest.acknowledged", 4, SMALL);
}

#[test]
fn kill_in_mid_batch() {
    killed_at("ingest.rows", 12, SMALL);
}

#[test]
fn kill_with_the_consumer_s_transaction_open() {
    killed_at("sink.written", 4, SMALL);
}

#[test]
fn kill_after_delivering_before_recording() {
    killed_at("export.delivered", 4, SMALL);
}

#[test]
fn staging_left_over_from_a_killed_run() {
    let places = ["transform.run", "transform.staged", "output.staged", "output.committed"];
    let place = places[(seed() % 4) as usize];
    killed_at(place, 2, Plan { has_transformer: true, ..SMALL });
}

#[test]
fn an_error_at_any_step_is_tried_again() {
    let mut world = running(Plan { has_transformer: true, ..SMALL });
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

#[test]
fn kill_in_mid_snapshot_and_the_snapshot_is_gone() {
    let mut world = World::new(seed(), Plan { rows: 30_000, ..SMALL });
    let pass = 1 + world.chance.below(8);
    world.start_to_fail(&format!("ingest.rows:{pass}=kill"));
    world.work_until_the_worker_dies();
    let first = world.slot();
    world.start();
    world.work(10);
    world.prove();
    assert_eq!(world.slot(), first, "one slot, under its own name");
    assert_eq!(world.incarnations().len(), 1);
}

#[test]
fn acknowledging_newer_than_durable() {
    let mut world = running(SMALL);
    world.kill_workers();
    world.work(6);
    let slot = world.slot();
    world.at_source(&format!("SELECT pg_replication_slot_advance('{slot}', pg_current_wal_lsn())"));
    world.start();
    world.work(4);
    world.prove();
    assert_eq!(world.incarnations().len(), 2, "what was lost in between is read anew");
}

#[test]
fn slot_replaced_behind_our_back() {
    let mut world = running(SMALL);
    world.kill_workers();
    let slot = world.slot();
    world.at_source(&format!("SELECT pg_drop_replication_slot('{slot}')"));
    world.work(6);
    world.at_source(&format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"));
    world.work(2);
    world.start();
    world.work(4);
    world.prove();
    assert_eq!(world.incarnations().len(), 2, "what was lost in between is read anew");
}

#[test]
fn slot_dropped_while_the_stream_runs() {
    let mut world = running(SMALL);
    let slot = world.slot();
    let drop = format!(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{slot}' AND active_pid IS NOT NULL"
    );
    // The worker comes back for it at once; sooner or later the slot is free for a moment.
    world.wait_until("a moment without a reader", |world| {
        world.at_source(&drop);
        world.source.sql("shop", &format!("SELECT pg_drop_replication_slot('{slot}')")).is_ok()
    });
    world.work(8);
    world.prove();
    assert!(world.incarnations().len() >= 2);
}

#[test]
fn slot_invalidated_by_max_slot_wal_keep_size() {
    let settings = &[("max_slot_wal_keep_size", "16MB"), ("max_wal_size", "32MB"), ("min_wal_size", "32MB")];
    let mut world = running(Plan { settings, ..SMALL });
    world.kill_workers();
    let slot = world.slot();
    world.at_source("CREATE TABLE filler (id int, text text)");
    world.wait_until("the slot's end", |world| {
        world.at_source("INSERT INTO filler SELECT i, repeat(md5(random()::text), 30) FROM generate_series(1, 8000) i");
        world.at_source("CHECKPOINT");
        world.at_source(&format!("SELECT wal_status FROM pg_replication_slots WHERE slot_name = '{slot}'")) == ["lost"]
    });
    world.work(6);
    world.start();
    world.work(4);
    world.prove();
    assert_eq!(world.incarnations().len(), 2);
}

#[test]
fn a_slot_that_holds_more_than_its_most_is_given_up() {
    let mut world = running(Plan { ingest: ", wal_max: 4MB", ..SMALL });
    world.kill_workers();
    world.at_source("CREATE TABLE filler (id int, text text)");
    let held = "SELECT pg_current_wal_lsn() - restart_lsn > 8000000 FROM pg_replication_slots";
    world.wait_until("much to hold", |world| {
        world.at_source("INSERT INTO filler SELECT i, repeat(md5(random()::text), 30) FROM generate_series(1, 8000) i");
        world.at_source(held) == ["t"]
    });
    world.work(6);
    world.start();
    world.work(4);
    world.prove();
    assert_eq!(world.at_source(held), ["f"], "the producer's disk is free again");
    assert_eq!(world.incarnations().len(), 2);
}

#[test]
fn first_transaction_after_resume_shares_its_position_with_the_checkpoint() {
    let mut world = running(SMALL);
    for _ in 0..4 {
        world.kill_workers();
        world.work(1);
        world.start();
        world.settle();
    }
    world.prove();
    assert_eq!(world.incarnations().len(), 1);
}

#[test]
fn idle_tables_while_others_write() {
    let mut world = running(SMALL);
    world.at_source("CREATE TABLE others (id int, text text)");
    world.at_source("INSERT INTO others SELECT i, repeat('x', 500) FROM generate_series(1, 5000) i");
    let mark = world.at_source("SELECT pg_current_wal_lsn()").remove(0);
    let is_past = format!("SELECT confirmed_flush_lsn >= '{mark}' FROM pg_replication_slots");
    world.wait_until("the slot's moving on", |world| {
        world.at_source("INSERT INTO others VALUES (0, 'y')");
        world.at_source(&is_past) == ["t"]
    });
    world.work(4);
    world.prove();
}

#[test]
fn a_transaction_open_for_hours() {
    let mut world = World::new(seed(), Plan { settings: &[("max_prepared_transactions", "2")], ..SMALL });
    let mut clock = Clock::new(world.ecosystem.root());
    world.start_with(&clock.environment());
    world.settle();
    world.at_source(
        "BEGIN; INSERT INTO accounts VALUES (5000, 'late', repeat('late ', 3000), 1, now()); \
         UPDATE bag SET n = 99 WHERE kind = 'kind 1'; PREPARE TRANSACTION 'long'",
    );
    let other = "UPDATE accounts SET amount = amount + 1 WHERE id";
    for hour in 0..3 {
        world.at_source(&format!("{other} % 3 = {hour}"));
        world.settle();
        clock.jump(3_600);
    }
    world.kill_workers();
    world.start_with(&clock.environment());
    world.at_source("COMMIT PREPARED 'long'");
    world.at_source(&format!("{other} = 1"));
    world.prove();
    assert_eq!(world.incarnations().len(), 1);
}

#[test]
fn unchanged_toast_with_and_without_full_identity() {
    let mut world = running(SMALL);
    let long = |seed: u64| format!("(SELECT string_agg(md5((i * {seed})::text), '') FROM generate_series(1, 300) i)");
    for round in 0..2 {
        world.at_source(&format!("UPDATE accounts SET note = {} WHERE id % 2 = 0", long(world.seed + 7 + round)));
        world.settle();
        world.at_source("UPDATE accounts SET amount = amount + 1 WHERE id % 4 = 0");
        world.at_source(&format!(
            "BEGIN; INSERT INTO accounts VALUES ({}, 'toast', {}, 1, now()); UPDATE accounts SET amount = 2 WHERE id = {0}; \
             UPDATE accounts SET id = id + 10000 WHERE id = {0}; UPDATE accounts SET name = 'moved' WHERE id = {0} + 10000; COMMIT",
            7_000 + round,
            long(world.seed + 11)
        ));
        world.at_source("UPDATE accounts SET id = id + 20000 WHERE id % 8 = 0 AND id < 1000");
        world.kill_workers();
        world.at_source("UPDATE accounts SET name = name || '!' WHERE id % 2 = 0");
        world.start();
        world.work(3);
        world.settle();
        world.at_source("ALTER TABLE accounts REPLICA IDENTITY FULL");
    }
    world.prove();
}

#[test]
fn columns_added_dropped_renamed_retyped_mid_stream() {
    let mut world = running(SMALL);
    let stopped = |world: &World| {
        let status = world.ecosystem.levada(&["status", "--format", "json"]).succeeded().json();
        let nodes = status["nodes"].as_array().expect("a list");
        let ingest = nodes.iter().find(|node| node["address"] == "Ingest/Stream/Shop").expect("the node");
        ingest["stream"]["stopped"].as_object().map(|stopped| stopped.keys().cloned().collect::<Vec<_>>())
    };
    world.at_source("ALTER TABLE lines ADD COLUMN extra text DEFAULT 'x'");
    world.work(2);
    world.settle();
    world.at_source("ALTER TABLE lines ALTER COLUMN quantity TYPE bigint USING quantity * 2");
    world.at_source("UPDATE lines SET item = item || '.' WHERE account = 3");
    world.settle();
    world.at_source("ALTER TABLE lines DROP COLUMN item");
    world.at_source("ALTER TABLE lines ADD COLUMN item text DEFAULT 'again'");
    world.at_source("UPDATE lines SET quantity = 1 WHERE account = 5");
    world.settle();
    world.at_source("ALTER TABLE bag RENAME COLUMN n TO number");
    world.at_source("INSERT INTO bag VALUES ('renamed', 1)");
    world.at_source("UPDATE accounts SET name = 'goes on' WHERE id = 1");
    world.wait_until("a stop of bag alone", |world| stopped(world) == Some(vec!["bag".to_owned()]));
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

#[test]
fn key_update_truncate_and_a_table_without_key() {
    let mut world = running(SMALL);
    for step in [
        "UPDATE accounts SET id = -id",
        "BEGIN; DELETE FROM accounts WHERE id = -1; INSERT INTO accounts VALUES (-1, 'again', NULL, NULL, NULL); COMMIT",
        "BEGIN; UPDATE accounts SET id = 900 WHERE id = -2; UPDATE accounts SET id = -2 WHERE id = -3; COMMIT",
        "BEGIN; TRUNCATE lines; INSERT INTO lines VALUES (1, 1, 'after', 1); COMMIT",
        "TRUNCATE readings_old",
        "BEGIN; INSERT INTO bag VALUES ('a', 1), ('a', 1), ('a', 1); DELETE FROM bag WHERE ctid = (SELECT min(ctid) FROM bag WHERE kind = 'a'); COMMIT",
        "UPDATE bag SET kind = 'b' WHERE kind = 'a'",
        "TRUNCATE bag, accounts",
    ] {
        world.at_source(step);
        if world.chance.below(2) == 0 {
            world.settle();
        }
    }
    world.work(3);
    world.prove();
}

#[test]
fn rows_changed_between_the_watermarks_of_a_chunk() {
    let mut world = running(SMALL);
    world.at_source("CREATE TABLE joining (id uuid PRIMARY KEY, note text, n int)");
    world.at_source(
        "INSERT INTO joining SELECT md5(i::text)::uuid, repeat('n', 400) || i, i FROM generate_series(1, 15000) i; \
         UPDATE joining SET note = (SELECT string_agg(md5((i * joining.n)::text), '') FROM generate_series(1, 100) i) WHERE n % 50 = 0",
    );
    world.kill_workers();
    let pass = 1 + world.chance.below(3);
    world.add_dataset(
        "  joining:\n    columns:\n      id: { type: uuid, key: true }\n      note: text\n      n: int32\n",
    );
    world.start_to_fail(&format!("join.read:{pass}=kill"));
    let mut number = 0;
    let mut change = |world: &mut World| {
        number += 1;
        let n = (number * 7919) % 15_000;
        world.at_source(&format!(
            "UPDATE joining SET n = n WHERE n BETWEEN {n} AND {n} + 40; UPDATE joining SET note = 'short' WHERE n = {n} + 50; \
             DELETE FROM joining WHERE n = {n} + 60; UPDATE joining SET id = md5(id::text)::uuid WHERE n % 50 = 0 AND n BETWEEN {n} AND {n} + 100"
        ));
    };
    world.wait_until("the worker's death in a chunk", |world| {
        change(world);
        world.workers.last_mut().expect("a worker").try_wait().expect("the worker is ours").is_some()
    });
    world.kill_workers();
    world.start();
    for _ in 0..40 {
        change(&mut world);
    }
    world.work(3);
    world.prove();
    assert_eq!(world.incarnations().len(), 1, "the stream went on");
}

#[test]
fn two_workers_with_the_same_job() {
    let mut world = World::new(seed(), Plan { has_state_server: true, ..SMALL });
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

fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status();
    assert!(status.expect("kill runs").success());
}

#[test]
fn consumer_down_for_an_hour() {
    let mut world = World::new(seed(), Plan { has_own_consumer: true, ..SMALL });
    let mut clock = Clock::new(world.ecosystem.root());
    world.start_with(&clock.environment());
    world.settle();
    world.consumer().stop().expect("the consumer stops");
    let failed = |world: &mut World| {
        let status = world.ecosystem.levada(&["status", "--format", "json"]).succeeded().json();
        let nodes = status["nodes"].as_array().expect("a list");
        nodes
            .iter()
            .any(|node| node["address"].as_str().is_some_and(|it| it.starts_with("Export/")) && node["attempt"] != 0)
    };
    world.work(3);
    world.wait_until("a failed delivery", failed);
    let before = world.at_source("SELECT confirmed_flush_lsn FROM pg_replication_slots");
    for _ in 0..4 {
        clock.jump(900);
        world.work(3);
    }
    world.wait_until("the producer's going on", |world| {
        world.work(1);
        world.at_source("SELECT confirmed_flush_lsn FROM pg_replication_slots") != before
    });
    world.consumer().restart().expect("the consumer starts");
    clock.jump(900);
    world.prove();
}

#[test]
fn clock_jumps_in_both_directions() {
    let mut world = World::new(seed(), SMALL);
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

#[test]
fn a_connection_cut_in_the_middle_of_anything() {
    let mut world = running(Plan { has_own_consumer: true, ..SMALL });
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

#[test]
fn sigkill_of_the_source_server() {
    let mut world = running(Plan { has_own_consumer: true, ..SMALL });
    for _ in 0..2 {
        world.work(3);
        world.source.kill().expect("the server dies");
        world.source.restart().expect("the server starts");
        world.work(3);
    }
    world.prove();
    assert_eq!(world.incarnations().len(), 1, "the same server, the same log");
}

#[test]
fn sigkill_of_the_consumer_server() {
    let mut world = running(Plan { has_own_consumer: true, ..SMALL });
    for _ in 0..2 {
        world.work(3);
        world.consumer().kill().expect("the server dies");
        world.work(3);
        world.consumer().restart().expect("the server starts");
    }
    world.prove();
}

#[test]
fn sigkill_of_the_state_server() {
    let mut world = running(Plan { has_state_server: true, ..SMALL });
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

#[test]
fn sigkill_of_the_worker_at_any_moment() {
    let mut world = running(Plan { has_transformer: true, ..SMALL });
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

#[test]
fn transaction_larger_than_memory() {
    /// What a worker may have in memory at most, in MB; the transaction has 480.
    const MEGABYTES_MAX: u64 = 320;
    let mut world = running(SMALL);
    world.at_source(
        "BEGIN; INSERT INTO accounts SELECT i, 'large', repeat(md5(i::text), 256), 1, now() FROM generate_series(100001, 160000) i; \
         UPDATE accounts SET amount = 2 WHERE id > 100000 AND id % 10 = 0; DELETE FROM accounts WHERE id > 100000 AND id % 7 = 0; COMMIT",
    );
    world.settle();
    let pid = world.workers[0].id();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the worker runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells");
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(kilobytes / 1024 < MEGABYTES_MAX, "the worker had {} MB in memory", kilobytes / 1024);
    let large = "SELECT count(DISTINCT valid_from) FROM reporting.shop_accounts_history WHERE id > 100000";
    assert_eq!(world.at_consumer(large).expect("the history is there"), ["1"], "one transaction, one batch");
    world.prove();
}

#[test]
fn full_disk_under_the_store() {
    let mut world = World::new(seed(), SMALL);
    let data = world.ecosystem.path("data");
    std::fs::create_dir_all(&data).expect("a folder");
    world.start_on_a_small_disk(&data);
    world.settle();
    let inside = format!("/proc/{}/root{}", world.workers[0].id(), data.display());
    let fill = format!("head -c 64M /dev/zero > {inside}/ballast");
    let filled = Command::new("sh").args(["-c", &fill]).stderr(Stdio::null()).status().expect("sh runs");
    assert!(!filled.success(), "the disk is full");
    let long = "UPDATE accounts SET note = (SELECT string_agg(md5((i * accounts.id)::text), '') FROM generate_series(1, 200) i)";
    world.at_source(long);
    world.wait_until("an error that names the disk", |world| world.log().contains("No space left"));
    world.work(3);
    std::fs::remove_file(format!("{inside}/ballast")).expect("the disk is emptied");
    world.settle();
    // The small disk goes with its worker.
    let saved = Command::new("cp").args(["-r", &format!("{inside}/."), &data.display().to_string()]).status();
    assert!(saved.expect("cp runs").success());
    world.prove_with_data(&data);
}
