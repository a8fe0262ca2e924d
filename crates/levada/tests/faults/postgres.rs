//! What only PostgreSQL's change log has to come through.

use super::clock::Clock;
use super::database::System;
use super::seed;
use super::world::{Plan, World, running, small};
use std::process::{Command, Stdio};

#[test]
fn acknowledging_newer_than_durable() {
    let mut world = running(small(System::Postgres));
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
    let mut world = running(small(System::Postgres));
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
    let mut world = running(small(System::Postgres));
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
    let mut world = running(Plan { settings, ..small(System::Postgres) });
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
    let mut world = running(Plan { ingest: ", wal_max: 4MB", ..small(System::Postgres) });
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
fn idle_tables_while_others_write() {
    let mut world = running(small(System::Postgres));
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
    let mut world =
        World::new(seed(), Plan { settings: &[("max_prepared_transactions", "2")], ..small(System::Postgres) });
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
    let mut world = running(small(System::Postgres));
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
fn rows_changed_between_the_watermarks_of_a_chunk() {
    let mut world = running(small(System::Postgres));
    world.at_source("CREATE TABLE joining (id uuid PRIMARY KEY, note text, n int)");
    world.at_source(
        "INSERT INTO joining SELECT md5(i::text)::uuid, repeat('n', 400) || i, i FROM generate_series(1, 15000) i; \
         UPDATE joining SET note = (SELECT string_agg(md5((i * joining.n)::text), '') FROM generate_series(1, 100) i) WHERE n % 50 = 0",
    );
    world.kill_workers();
    world.add_dataset(
        "  joining:\n    columns:\n      id: { type: uuid, key: true }\n      note: text\n      n: int32\n",
    );
    let mut number = 0;
    let change = |world: &mut World| {
        number += 1;
        let n = (number * 7919) % 15_000;
        world.at_source(&format!(
            "UPDATE joining SET n = n WHERE n BETWEEN {n} AND {n} + 40; UPDATE joining SET note = 'short' WHERE n = {n} + 50; \
             DELETE FROM joining WHERE n = {n} + 60; UPDATE joining SET id = md5(id::text)::uuid WHERE n % 50 = 0 AND n BETWEEN {n} AND {n} + 100"
        ));
    };
    world.prove_join_while(change);
}

#[test]
fn full_disk_under_the_store() {
    let mut world = World::new(seed(), small(System::Postgres));
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
