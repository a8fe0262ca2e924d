//! What only MariaDB's change log has to come through.

use super::clock::Clock;
use super::database::{Database, System};
use super::seed;
use super::world::{Plan, World, running, small};
use std::sync::Arc;
use std::thread;

/// The binary logs that the server has.
fn logs(world: &World) -> Vec<String> {
    world.at_source("SHOW BINARY LOGS").iter().filter_map(|row| Some(row.split('\t').next()?.to_owned())).collect()
}

#[test]
fn binary_log_purged() {
    let mut world = running(small(System::Mariadb));
    world.kill_workers();
    world.work(6);
    // The dead worker's place is kept until the server notices.
    world.wait_until("the end of all logs but one", |world| {
        world.at_source("FLUSH BINARY LOGS");
        let last = logs(world).pop().expect("a log");
        world.at_source(&format!("PURGE BINARY LOGS TO '{last}'"));
        logs(world).len() == 1
    });
    world.work(3);
    world.start();
    world.work(4);
    world.prove();
    assert_eq!(world.incarnations().len(), 2, "what was lost in between is read anew");
}

#[test]
fn binary_log_begun_anew_while_the_stream_runs() {
    let mut world = running(small(System::Mariadb));
    world.work(4);
    world.at_source("RESET MASTER");
    world.work(6);
    world.prove();
    assert!(world.incarnations().len() >= 2);
}

#[test]
fn binary_log_rotated_again_and_again() {
    // The smallest that the server takes: every few transactions a file.
    let mut world = running(Plan { settings: &[("max_binlog_size", "4096")], ..small(System::Mariadb) });
    for _ in 0..4 {
        world.work(5);
        if world.chance.below(2) == 0 {
            world.kill_workers();
            world.at_source("FLUSH BINARY LOGS");
            world.work(2);
            world.at_source("FLUSH BINARY LOGS");
            world.start();
        }
    }
    world.prove();
    assert_eq!(world.incarnations().len(), 1);
    assert!(logs(&world).len() > 10, "the log was rotated");
}

#[test]
fn resume_in_mid_transaction() {
    let mut world = running(small(System::Mariadb));
    world.kill_workers();
    world.at_source(
        "BEGIN; INSERT INTO accounts SELECT 100000 + seq, 'many', REPEAT('m', 300), seq, NOW(6) FROM seq_1_to_20000; \
         UPDATE accounts SET amount = 7 WHERE id > 100000 AND id % 3 = 0; DELETE FROM accounts WHERE id > 100000 AND id % 11 = 0; COMMIT",
    );
    world.work(2);
    for _ in 0..3 {
        let pass = 1 + world.chance.below(6);
        world.start_to_fail(&format!("ingest.rows:{pass}=kill"));
        world.work_until_the_worker_dies();
    }
    world.start();
    world.settle();
    let bytes = i64::try_from(world.chance.below(2_000_000)).expect("a small number");
    world.to_source.cut_after(bytes);
    world.at_source("UPDATE accounts SET name = 'again', note = REPEAT('n', 200) WHERE id > 100000");
    world.settle();
    world.to_source.cut_after(-1);
    // The workload has changed some of them meanwhile: what counts is when each came.
    let many = "SELECT COUNT(DISTINCT came) FROM (SELECT MIN(valid_from) AS came FROM reporting.shop_accounts_history \
                WHERE id BETWEEN 100001 AND 120000 AND name = 'many' GROUP BY id) AS each_one";
    assert_eq!(world.at_consumer(many).expect("the history is there"), ["1"], "one transaction, one batch");
    world.prove();
    assert_eq!(world.incarnations().len(), 1);
}

#[test]
fn kill_after_the_swap_before_the_commit() {
    let mut world = World::new(seed(), small(System::Mariadb));
    world.start_to_fail("sink.swapped:1=kill");
    world.work_until_the_worker_dies();
    world.start();
    world.work(5);
    world.prove();
}

#[test]
fn rows_changed_while_their_table_joins() {
    let mut world = running(small(System::Mariadb));
    world.at_source(
        "CREATE TABLE joining (id BIGINT PRIMARY KEY, note TEXT, n INT); \
         INSERT INTO joining SELECT seq, CONCAT(REPEAT('n', 400), seq), seq FROM seq_1_to_15000",
    );
    world.kill_workers();
    world.add_dataset(
        "  joining:\n    columns:\n      id: { type: int64, key: true }\n      note: text\n      n: int32\n",
    );
    let mut number = 0;
    let change = |world: &mut World| {
        number += 1;
        let n = (number * 7919) % 15_000;
        world.at_source(&format!(
            "UPDATE joining SET note = 'short' WHERE n BETWEEN {n} AND {n} + 40; DELETE FROM joining WHERE n = {n} + 60; \
             UPDATE joining SET id = id + 1000000 WHERE n % 50 = 0 AND n BETWEEN {n} AND {n} + 100; \
             INSERT INTO joining VALUES (-{number}, 'new', {n}); \
             XA START 'x{number}'; UPDATE joining SET note = 'prepared {number}' WHERE id BETWEEN {n} AND {n} + 10; \
             INSERT INTO joining VALUES (-1000 - {number}, 'prepared', {n}); XA END 'x{number}'; XA PREPARE 'x{number}'; \
             XA COMMIT 'x{number}'"
        ));
    };
    world.prove_join_while(change);
}

#[test]
fn prepared_transactions_are_committed_or_undone() {
    let mut world = running(small(System::Mariadb));
    let prepare = |world: &World, name: &str, id: u64, more: &str| {
        world.at_source(&format!(
            "XA START '{name}'; INSERT INTO accounts VALUES ({id}, '{name}', 'prepared', 1, NOW(6)); \
             UPDATE items SET quantity = quantity + 1 WHERE account = {id} - 5000; {more}; \
             XA END '{name}'; XA PREPARE '{name}'"
        ));
    };
    let is_read_anew = |world: &World| world.log().contains("a prepared transaction may have changed it");
    for round in 0..4 {
        let (kept, undone) = (format!("kept {round}"), format!("undone {round}"));
        prepare(&world, &kept, 5001 + round * 2, "DO 0");
        prepare(&world, &undone, 5002 + round * 2, "DO 0");
        world.at_source("UPDATE accounts SET amount = amount + 1 WHERE id = 29");
        // The server needs a moment to let go of what sessions have prepared that have ended.
        world.at_source(&format!("DO SLEEP(0.2); XA COMMIT '{kept}'; XA ROLLBACK '{undone}'"));
        world.settle();
    }
    assert!(!is_read_anew(&world), "its rows were here: {}", world.log());

    // More of them than are kept: 20 MB.
    prepare(
        &world,
        "large",
        5020,
        "INSERT INTO tags SELECT CONCAT('t', seq), REPEAT('x', 20000), 1 FROM seq_1_to_1000",
    );
    world.at_source("UPDATE accounts SET amount = amount + 1 WHERE id = 30; DO SLEEP(0.2); XA COMMIT 'large'");
    world.settle();
    assert!(is_read_anew(&world), "{}", world.log());

    // Prepared before the log was opened.
    prepare(&world, "over a kill", 5030, "DO 0");
    world.settle();
    world.kill_workers();
    world.start();
    world.at_source("UPDATE accounts SET amount = amount + 1 WHERE id = 31");
    world.settle();
    world.at_source("XA COMMIT 'over a kill'");
    world.prove();
    assert_eq!(world.incarnations().len(), 1);
}

#[test]
fn a_transaction_open_for_hours() {
    let mut world = World::new(seed(), small(System::Mariadb));
    let mut clock = Clock::new(world.ecosystem.root());
    world.start_with(&clock.environment());
    world.settle();
    world.at_source(
        "XA START 'long'; INSERT INTO accounts VALUES (5000, 'late', REPEAT('late ', 3000), 1, NOW(6)); \
         UPDATE bag SET n = 99 WHERE kind = 'kind 1'; XA END 'long'; XA PREPARE 'long'",
    );
    // It has locked every row of the bag, which has no key; the accounts are free.
    let other = "UPDATE accounts SET amount = amount + 1 WHERE id";
    for hour in 0..3 {
        world.at_source(&format!("{other} = {}", hour + 2));
        world.settle();
        clock.jump(3_600);
    }
    world.kill_workers();
    world.start_with(&clock.environment());
    world.at_source("XA COMMIT 'long'");
    world.at_source(&format!("{other} = 1"));
    world.prove();
    assert_eq!(world.incarnations().len(), 1);
}

#[test]
fn prepared_transactions_while_tables_are_read() {
    let mut world = World::new(seed(), Plan { rows: 2_000, ..small(System::Mariadb) });
    let write = |writer: u64| {
        let source = Arc::clone(&world.source);
        thread::spawn(move || {
            for number in 0..250 {
                let (xid, id) = (format!("{writer}-{number}"), 2 + (number * 3 + writer) % 40);
                let change = format!("UPDATE accounts SET amount = {number}, note = '{xid}' WHERE id = {id}");
                let follow = format!("UPDATE accounts SET name = '{xid}' WHERE id = {id}");
                let all = format!(
                    "XA START '{xid}'; {change}; XA END '{xid}'; XA PREPARE '{xid}'; DO SLEEP(0.002); XA COMMIT '{xid}'; {follow}"
                );
                source.sql("shop", &all).expect("it is committed");
            }
        })
    };
    let writers = [0, 1, 2].map(write);
    world.start();
    world.wait_until("the first delivery", |world| world.at_consumer("SELECT 1 FROM reporting.shop_tags").is_ok());
    world.kill_workers();
    world.start();
    world.at_source("ALTER TABLE accounts COMMENT 'it is read anew'");
    writers.into_iter().for_each(|writer| writer.join().expect("it has written to its end"));
    world.prove();
    assert_eq!(world.incarnations().len(), 1);
}

#[test]
fn a_restored_backup() {
    let mut world = running(Plan { has_own_consumer: true, ..small(System::Mariadb) });
    let Database::Mariadb(server) = world.source.as_ref() else { unreachable!("the world is of MariaDB") };
    server.back_up().expect("the server is backed up");
    world.work(6);
    world.settle();
    world.kill_workers();
    let Database::Mariadb(server) = world.source.as_ref() else { unreachable!("the world is of MariaDB") };
    server.restore().expect("the server is restored");
    world.work(8);
    world.start();
    world.work(2);
    world.prove();
    assert_eq!(world.incarnations().len(), 2, "another history from the backup on");
}
