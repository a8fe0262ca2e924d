//! What only MariaDB's change log has to come through.

use super::clock::Clock;
use super::database::{Database, System};
use super::seed;
use super::world::{Plan, World, running, small};
use std::sync::Arc;

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
    let many =
        "SELECT COUNT(DISTINCT valid_from) FROM reporting.shop_accounts_history WHERE id > 100000 AND name = 'many'";
    assert_eq!(world.at_consumer(many).expect("the history is there"), ["1"], "one transaction, one batch");
    world.prove();
    assert_eq!(world.incarnations().len(), 1);
}

#[test]
fn kill_in_mid_snapshot_and_the_snapshot_is_gone() {
    let mut world = World::new(seed(), Plan { rows: 30_000, ..small(System::Mariadb) });
    let pass = 1 + world.chance.below(8);
    world.start_to_fail(&format!("ingest.rows:{pass}=kill"));
    world.work_until_the_worker_dies();
    world.start();
    world.work(10);
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
    let pass = 1 + world.chance.below(3);
    world.add_dataset(
        "  joining:\n    columns:\n      id: { type: int64, key: true }\n      note: text\n      n: int32\n",
    );
    world.start_to_fail(&format!("join.read:{pass}=kill"));
    let mut number = 0;
    let mut change = |world: &mut World| {
        number += 1;
        let n = (number * 7919) % 15_000;
        world.at_source(&format!(
            "UPDATE joining SET note = 'short' WHERE n BETWEEN {n} AND {n} + 40; DELETE FROM joining WHERE n = {n} + 60; \
             UPDATE joining SET id = id + 1000000 WHERE n % 50 = 0 AND n BETWEEN {n} AND {n} + 100; \
             INSERT INTO joining VALUES (-{number}, 'new', {n})"
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
fn columns_added_dropped_renamed_retyped_mid_stream() {
    let mut world = running(small(System::Mariadb));
    world.at_source("ALTER TABLE items ADD COLUMN extra VARCHAR(9) DEFAULT 'x' AFTER account");
    world.work(2);
    world.settle();
    world.at_source("ALTER TABLE items MODIFY quantity BIGINT; UPDATE items SET quantity = quantity * 2");
    world.settle();
    world
        .at_source("ALTER TABLE items DROP COLUMN item; ALTER TABLE items ADD COLUMN item VARCHAR(40) DEFAULT 'again'");
    world.at_source("UPDATE items SET quantity = 1 WHERE account = 5");
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
    assert_eq!(world.incarnations().len(), 1, "tables are read anew within the stream");
}

#[test]
fn key_update_truncate_and_a_table_without_key() {
    let mut world = running(small(System::Mariadb));
    for step in [
        "UPDATE accounts SET id = -id",
        "BEGIN; DELETE FROM accounts WHERE id = -1; INSERT INTO accounts VALUES (-1, 'again', NULL, NULL, NULL); COMMIT",
        "BEGIN; UPDATE accounts SET id = 900 WHERE id = -2; UPDATE accounts SET id = -2 WHERE id = -3; COMMIT",
        "TRUNCATE items; INSERT INTO items VALUES (1, 1, 'after', 1)",
        "BEGIN; INSERT INTO items VALUES (2, 2, 'before', 1); DELETE FROM items; INSERT INTO items VALUES (2, 2, 'after', 1); COMMIT",
        "ALTER TABLE readings TRUNCATE PARTITION readings_old",
        "BEGIN; INSERT INTO bag VALUES ('a', 1), ('a', 1), ('a', 1); DELETE FROM bag WHERE kind = 'a' LIMIT 1; COMMIT",
        "UPDATE bag SET kind = 'b' WHERE kind = 'a'",
        "UPDATE tags SET name = UPPER(name) WHERE name LIKE 'tag 1%'",
        "TRUNCATE bag; TRUNCATE accounts",
    ] {
        world.at_source(step);
        if world.chance.below(2) == 0 {
            world.settle();
        }
    }
    world.work(3);
    world.prove();
    assert_eq!(world.incarnations().len(), 1);
}

#[test]
fn transaction_larger_than_memory() {
    let mut world = running(small(System::Mariadb));
    world.at_source(
        "BEGIN; INSERT INTO accounts SELECT 100000 + seq, 'large', REPEAT(MD5(seq), 256), 1, NOW(6) FROM seq_1_to_60000; \
         UPDATE accounts SET amount = 2 WHERE id > 100000 AND id % 10 = 0; DELETE FROM accounts WHERE id > 100000 AND id % 7 = 0; COMMIT",
    );
    world.settle();
    world.assert_memory();
    let large = "SELECT COUNT(DISTINCT valid_from) FROM reporting.shop_accounts_history WHERE id > 100000";
    assert_eq!(world.at_consumer(large).expect("the history is there"), ["1"], "one transaction, one batch");
    world.prove();
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

#[test]
fn failover_to_a_replica() {
    let mut world = running(Plan { has_own_consumer: true, ..small(System::Mariadb) });
    world.work(6);
    let Database::Mariadb(failed) = world.source.as_ref() else { unreachable!("the world is of MariaDB") };
    let copy = failed.copy(&[("server_id", "8")]).expect("the replica takes over");
    world.at_source("UPDATE accounts SET name = 'lost' WHERE id % 2 = 0");
    if world.chance.below(2) == 0 {
        world.settle();
    }
    world.fail_over(Arc::new(Database::Mariadb(copy)));
    world.work(6);
    world.prove();
    assert_eq!(world.incarnations().len(), 2, "another server, another log");
}
