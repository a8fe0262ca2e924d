//! What becomes of a stream whose slot is lost, moved, taken or given up.

use super::{Stream, create_plain, dataset, plain, roomy};
use crate::postgres::Database;
use levada_flow::source::{Coverage, PullRequest};
use levada_model::model::IngestKind;
use levada_testbed::PostgresCluster;
use tokio::sync::mpsc;

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_was_dropped_begins_a_new_incarnation() {
    let mut stream = Stream::of_plain(&roomy("slot_dropped"), "orders").await;
    stream.free_slot().await;
    stream.run("SELECT pg_drop_replication_slot('slot_dropped')").await;
    stream.run("DELETE FROM orders WHERE id = 1; UPDATE orders SET n = 22 WHERE id = 2").await;
    let end = stream.follow_anew("the slot is gone").await;
    assert!(end.news.join(" ").contains("the slot is gone"), "{end:?}");
    stream.step("INSERT INTO orders VALUES (4, 'four', 4)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_somebody_made_again_under_its_name_begins_a_new_incarnation() {
    let mut stream = Stream::of_plain(&roomy("slot_again"), "orders").await;
    stream.free_slot().await;
    stream.run("SELECT pg_drop_replication_slot('slot_again')").await;
    stream.run("UPDATE orders SET n = 22 WHERE id = 2").await;
    stream.run("SELECT pg_create_logical_replication_slot('slot_again', 'pgoutput')").await;
    stream.run("DELETE FROM orders WHERE id = 1").await;
    stream.follow_anew("somebody made the slot again").await;
    stream.step("INSERT INTO orders VALUES (4, 'four', 4)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_was_made_again_while_nothing_changed_begins_a_new_incarnation() {
    let mut stream = Stream::of_plain(&roomy("slot_quiet"), "orders").await;
    stream.follow("to the end").await;
    stream.free_slot().await;
    stream.run("SELECT pg_drop_replication_slot('slot_quiet')").await;
    stream.run("SELECT pg_create_logical_replication_slot('slot_quiet', 'pgoutput')").await;
    stream.follow_anew("somebody made the slot again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_of_another_plugin_under_its_name_begins_a_new_incarnation() {
    let mut stream = Stream::of_plain(&roomy("slot_physical"), "orders").await;
    stream.free_slot().await;
    stream.run("SELECT pg_drop_replication_slot('slot_physical')").await;
    stream.run("SELECT pg_create_physical_replication_slot('slot_physical', true)").await;
    stream.run("DELETE FROM orders WHERE id = 1").await;
    stream.follow_anew("it is no logical slot").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_was_advanced_begins_a_new_incarnation() {
    let mut stream = Stream::of_plain(&roomy("slot_advanced"), "orders").await;
    stream.free_slot().await;
    stream.run("DELETE FROM orders WHERE id = 1").await;
    stream.run("SELECT pg_replication_slot_advance('slot_advanced', pg_current_wal_lsn())").await;
    stream.run("UPDATE orders SET n = 22 WHERE id = 2").await;
    stream.follow_anew("somebody advanced the slot").await;
    stream.step("INSERT INTO orders VALUES (4, 'four', 4)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_whose_log_the_server_threw_away_begins_a_new_incarnation() {
    let settings = [("max_slot_wal_keep_size", "1MB"), ("max_wal_size", "32MB"), ("min_wal_size", "32MB")];
    let cluster = PostgresCluster::start_with(&settings).expect("a server");
    let mut stream = Stream::of_plain(&Database::create(&cluster, "slot_lost"), "orders").await;
    stream.run("CREATE TABLE others (id bigint, filler text)").await;
    stream.run("UPDATE orders SET n = 22 WHERE id = 2").await;
    let status = "SELECT coalesce(wal_status, '') FROM pg_replication_slots WHERE slot_name = 'slot_lost'";
    while stream.database.text(status).await != "lost" {
        stream.run("INSERT INTO others SELECT n, repeat('x', 1000) FROM generate_series(1, 1000) n").await;
        stream.run("SELECT pg_switch_wal()").await;
        stream.run("CHECKPOINT").await;
    }
    stream.reopen().await;
    stream.follow_anew("the log is lost").await;
    stream.step("INSERT INTO orders VALUES (4, 'four', 4)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_holds_more_than_it_may_is_given_up_and_begins_a_new_incarnation() {
    // A server of its own: what others write would count as well.
    let cluster = PostgresCluster::start().expect("a server");
    let mut stream = Stream::of_plain(&Database::create(&cluster, "slot_greedy"), "orders").await;
    stream.mirror.request.kind = IngestKind::Cdc { wal_max_bytes: Some(1 << 20) };
    stream.reopen().await;
    stream.step("UPDATE orders SET n = 22 WHERE id = 2").await;
    stream.free_slot().await;
    stream.run("CREATE TABLE others (id bigint, filler text)").await;
    stream.run("INSERT INTO others SELECT n, repeat('x', 1000) FROM generate_series(1, 3000) n").await;
    stream.run("DELETE FROM orders WHERE id = 1").await;
    let end = stream.follow_anew("it held too much").await;
    assert!(end.news.join(" ").contains("given up"), "{end:?}");
    let end = stream.step("INSERT INTO orders VALUES (4, 'four', 4)").await;
    let held = end.held.expect("it says what it holds");
    assert!(held.bytes <= 1 << 20 && held.bytes_max == Some(1 << 20), "{held:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_pull_that_was_cut_off_begins_again_with_one_slot() {
    let database = roomy("slot_cut_off");
    create_plain(&database, "orders").await;
    database.run("INSERT INTO orders SELECT n, repeat('x', 200), n FROM generate_series(1, 100000) n").await;
    let request =
        PullRequest::new(IngestKind::Cdc { wal_max_bytes: None }, vec![dataset("orders", &plain())], "slot_cut_off");

    // Its future is dropped when the first rows have come.
    let mut source = database.source().await;
    let (out, mut pulled) = mpsc::channel(1);
    tokio::select! {
        end = source.pull(&request, out) => panic!("it can't be over: {end:?}"),
        first = pulled.recv() => assert!(first.is_some(), "rows come"),
    }

    // Nobody takes its rows any more; the same source goes on.
    let (out, mut pulled) = mpsc::channel(1);
    let leave = async {
        assert!(pulled.recv().await.is_some(), "rows come");
        drop(pulled);
    };
    let (end, ()) = futures::join!(source.pull(&request, out), leave);
    assert!(end.is_err(), "nobody took the rows");

    // All sessions of the database are ended at the server.
    let (out, mut pulled) = mpsc::channel(1);
    let terminate = async {
        assert!(pulled.recv().await.is_some(), "rows come");
        let all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity";
        let others = "datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'levada'";
        database.run(&format!("{all} WHERE {others}")).await;
        while pulled.recv().await.is_some() {}
    };
    let (end, ()) = futures::join!(source.pull(&request, out), terminate);
    assert!(end.is_err(), "its sessions were ended");
    database.run("DELETE FROM orders WHERE id > 500").await;

    let mut stream = Stream::begin(&database, vec![dataset("orders", &plain())]).await;
    assert_eq!(stream.slots().await, "slot_cut_off");
    stream.step("UPDATE orders SET n = -1 WHERE id = 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_reader_takes_over_and_nothing_is_doubled() {
    let mut stream = Stream::of_plain(&roomy("slot_two"), "orders").await;
    stream.step("INSERT INTO orders VALUES (4, 'four', 4)").await;
    let mut first = std::mem::replace(&mut stream.source, stream.database.source().await);
    stream.run("INSERT INTO orders VALUES (5, 'five', 5)").await;
    let stale = stream.mirror.request.clone();
    stream.follow("the second one takes over").await;
    stream.run("INSERT INTO orders VALUES (6, 'six', 6)").await;

    let (out, mut pulled) = mpsc::channel(1);
    let (end, said) = futures::join!(first.pull(&stale, out), async {
        let mut said = 0;
        while pulled.recv().await.is_some() {
            said += 1;
        }
        said
    });
    let error = end.expect_err("its connection was ended").chain();
    assert_eq!(said, 0, "{error}");
    let end = stream.step("UPDATE orders SET n = 0").await;
    assert_eq!(end.coverage, [Coverage::Changes], "the second one was not disturbed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_ended_in_the_middle_of_a_transaction_brings_it_once() {
    let mut stream = Stream::of_plain(&roomy("slot_middle"), "orders").await;
    stream.run("INSERT INTO orders SELECT n, repeat('x', 200), n FROM generate_series(10, 60000) n").await;
    let request = stream.mirror.request.clone();
    let (out, mut pulled) = mpsc::channel(1);
    let terminate = async {
        assert!(pulled.recv().await.is_some(), "changes come");
        let slot = "FROM pg_replication_slots WHERE slot_name = 'slot_middle'";
        stream.database.run(&format!("SELECT pg_terminate_backend(active_pid, 30000) {slot}")).await;
        while pulled.recv().await.is_some() {}
    };
    let (end, ()) = futures::join!(stream.source.pull(&request, out), terminate);
    assert!(end.is_err(), "the stream was ended");
    let before = stream.incarnation();
    stream.follow("all of it, once").await;
    assert_eq!(before, stream.incarnation());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_without_slots_left_says_which_settings_limit_them() {
    let cluster = PostgresCluster::start_with(&[("max_replication_slots", "1")]).expect("a server");
    let database = Database::create(&cluster, "slot_none_left");
    create_plain(&database, "orders").await;
    database.run("SELECT pg_create_physical_replication_slot('another', true)").await;
    let mut mirror = super::Mirror::new("slot_none_left", vec![dataset("orders", &plain())]);
    let error = mirror.pull(database.source().await.as_mut()).await.expect_err("no slot is left");
    let text = format!("{} {:?}", error.chain(), error);
    assert!(text.contains("max_replication_slots"), "{text}");
    database.run("SELECT pg_drop_replication_slot('another')").await;
    Stream::begin(&database, vec![dataset("orders", &plain())]).await;
}
