//! What becomes of a stream whose server dies, fails over or comes out of a backup.

use super::Stream;
use crate::postgres::Database;
use levada_testbed::PostgresCluster;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_killed_loses_and_doubles_nothing() {
    let cluster = PostgresCluster::start().expect("a server");
    let mut stream = Stream::of_plain(&Database::create(&cluster, "server_killed"), "orders").await;
    let before = stream.incarnation();
    for round in 0..4 {
        let id = 10 * (round + 1);
        stream.step(&format!("INSERT INTO orders VALUES ({id}, 'pulled', {round})")).await;
        stream
            .run(&format!(
                "INSERT INTO orders VALUES ({}, 'lost', {round}); DELETE FROM orders WHERE id = {id}",
                id + 1
            ))
            .await;
        if round % 2 == 0 {
            stream.mirror.pull_in_vain(stream.source.as_mut()).await.expect("the log goes on");
        }
        cluster.kill().expect("killed");
        let error = stream.mirror.pull(stream.source.as_mut()).await.expect_err("nobody answers").chain();
        assert!(!error.is_empty());
        cluster.restart().expect("recovers");
        stream.tables = stream.database.source().await;
        if round % 2 == 1 {
            stream.reopen().await;
        } else {
            // A log that was open is found broken once.
            let _ = stream.mirror.pull(stream.source.as_mut()).await;
        }
        stream.run(&format!("UPDATE orders SET n = {round} WHERE id <= 3")).await;
        stream.follow("after the server was killed").await;
        assert_eq!(before, stream.incarnation(), "its history is the same");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_restarted_goes_on() {
    let cluster = PostgresCluster::start().expect("a server");
    let mut stream = Stream::of_plain(&Database::create(&cluster, "server_restarted"), "orders").await;
    let before = stream.incarnation();
    // A stream that nobody pulls must not keep the server from shutting down.
    stream.run("INSERT INTO orders VALUES (4, 'four', 4)").await;
    cluster.stop().expect("it shuts down, though not everything was read");
    cluster.restart().expect("starts");
    stream.tables = stream.database.source().await;
    stream.run("DELETE FROM orders WHERE id = 1").await;
    stream.mirror.pull(stream.source.as_mut()).await.expect_err("its connection was ended");
    stream.follow("after a restart").await;
    assert_eq!(before, stream.incarnation());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_was_promoted_without_the_slot_is_a_new_incarnation() {
    let primary = PostgresCluster::start().expect("a server");
    let mut stream = Stream::of_plain(&Database::create(&primary, "server_promoted"), "orders").await;
    stream.step("UPDATE orders SET n = 11 WHERE id = 1").await;
    let promoted = primary.promoted_copy().expect("a standby");
    stream.step("UPDATE orders SET n = 12 WHERE id = 1; INSERT INTO orders VALUES (4, 'lost', 4)").await;
    drop(primary);
    stream.database = Database::there(&promoted, "server_promoted");
    stream.tables = stream.database.source().await;
    stream.reopen().await;
    stream.run("DELETE FROM orders WHERE id = 2").await;
    let end = stream.follow_anew("a failover").await;
    assert!(end.news.join(" ").contains("failed over"), "{end:?}");
    stream.step("INSERT INTO orders VALUES (4, 'four', 4)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_ends_before_what_was_read_is_a_new_incarnation() {
    let cluster = PostgresCluster::start().expect("a server");
    let mut stream = Stream::of_plain(&Database::create(&cluster, "server_restored"), "orders").await;
    stream.step("UPDATE orders SET n = 11 WHERE id = 1").await;
    stream.free_slot().await;
    cluster.back_up().expect("a backup");
    stream.reopen().await;
    stream.tables = stream.database.source().await;
    stream.step("INSERT INTO orders SELECT n, repeat('x', 200), n FROM generate_series(10, 5000) n").await;
    stream.free_slot().await;
    cluster.restore().expect("the backup");
    stream.tables = stream.database.source().await;
    stream.reopen().await;
    let end = stream.follow_anew("a restored backup").await;
    assert!(end.news.join(" ").contains("restored"), "{end:?}");
    stream.step("INSERT INTO orders VALUES (4, 'four', 4)").await;
}
