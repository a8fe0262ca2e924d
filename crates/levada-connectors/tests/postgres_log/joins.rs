//! Tables that join a stream: what others do meanwhile is in them, once.

use super::{Stream, create_plain, dataset, plain, roomy, schema_of, until};
use crate::postgres::Database;
use levada_flow::source::Coverage;
use levada_testbed::PostgresCluster;

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_open_while_a_table_joins_is_in_it() {
    let database = roomy("joins_open");
    create_plain(&database, "joining").await;
    database
        .run("CREATE TABLE joining_keyless (name text, n bigint); ALTER TABLE joining_keyless REPLICA IDENTITY FULL")
        .await;
    database
        .run("INSERT INTO joining VALUES (1, 'one', 1), (2, 'two', 2); INSERT INTO joining_keyless VALUES ('a', 1)")
        .await;
    let mut stream = Stream::of_plain(&database, "orders").await;
    let open = database.client().await;
    let changes = "INSERT INTO joining VALUES (3, 'three', 3); UPDATE joining SET n = 11 WHERE id = 1; \
                   DELETE FROM joining WHERE id = 2; INSERT INTO joining_keyless VALUES ('b', 2)";
    open.batch_execute(&format!("BEGIN; {changes}")).await.expect("a transaction");
    stream.mirror.join(dataset("joining", &plain()));
    let keyless = schema_of(&[("name", "text", false), ("n", "int64", false)]);
    stream.mirror.join(dataset("joining_keyless", &keyless));
    for round in 0..3 {
        stream.run(&format!("INSERT INTO orders VALUES ({}, 'more', 1)", 10 + round)).await;
        stream.mirror.pull(stream.source.as_mut()).await.unwrap_or_else(|error| panic!("{}", error.chain()));
        stream.assert_same_one(0, "the stream goes on meanwhile").await;
        if round == 1 {
            stream.reopen().await;
        }
    }
    open.batch_execute("INSERT INTO joining VALUES (4, 'four', 4); COMMIT").await.expect("it commits");
    stream.follow("it was committed").await;
    let end = stream.step("UPDATE joining SET n = 0; UPDATE joining_keyless SET n = 0").await;
    assert_eq!(end.coverage, [Coverage::Changes; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_the_log_tells_before_it_can_be_seen_is_in_a_table_that_joins() {
    let cluster = PostgresCluster::start().expect("a server");
    let database = Database::create(&cluster, "joins_unseen");
    create_plain(&database, "joining").await;
    database.run("INSERT INTO joining VALUES (1, 'one', 1), (2, 'two', 2)").await;
    let mut stream = Stream::of_plain(&database, "orders").await;
    database.run("ALTER SYSTEM SET synchronous_commit = local").await;
    database.run("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await;
    database.run("SELECT pg_reload_conf()").await;
    until(&database, "SELECT current_setting('synchronous_standby_names') = 'nobody'").await;
    stream.mirror.join(dataset("joining", &plain()));
    stream.follow("it has joined").await;
    let waiting = database.client().await;
    waiting.batch_execute("SET synchronous_commit = on").await.expect("a session");
    let wait = tokio::spawn(async move { waiting.batch_execute("UPDATE joining SET n = 11 WHERE id = 1").await });
    until(&database, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')").await;
    // The log has told it, and a query does not see it yet.
    stream.mirror.pull(stream.source.as_mut()).await.expect("the log goes on");
    // A new revision of the model has a column less: the table is read anew.
    let narrow = schema_of(&[("id", "int64", true), ("n", "int64", false)]);
    stream.mirror.change(1, dataset("joining", &narrow));
    stream.mirror.pull(stream.source.as_mut()).await.expect("the log goes on");
    database.run("ALTER SYSTEM RESET synchronous_standby_names").await;
    database.run("SELECT pg_reload_conf()").await;
    wait.await.expect("it ends").expect("it is committed");
    stream.follow("it can be seen").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_rewritten_while_its_keys_are_listed_keeps_its_rows() {
    let database = roomy("joins_rewritten");
    database
        .run(
            "CREATE TABLE orders (id bigint PRIMARY KEY, name text, n bigint) PARTITION BY RANGE (id);
             CREATE TABLE orders_0 PARTITION OF orders FOR VALUES FROM (MINVALUE) TO (100);
             CREATE TABLE orders_1 PARTITION OF orders DEFAULT;
             INSERT INTO orders SELECT n * 30, 'name ' || n, n FROM generate_series(0, 9) n",
        )
        .await;
    let mut stream = Stream::begin(&database, vec![dataset("orders", &plain())]).await;
    // A part of it is truncated: its keys will be listed.
    stream.run("TRUNCATE orders_0").await;
    let writer = database.client().await;
    writer.batch_execute("BEGIN; ALTER TABLE orders ADD dice float DEFAULT random()").await.expect("it is rewritten");
    let commit = async {
        until(&database, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)").await;
        writer.batch_execute("COMMIT").await.expect("it commits");
    };
    let (end, ()) = futures::join!(stream.mirror.catch_up(stream.source.as_mut()), commit);
    end.unwrap_or_else(|error| panic!("{}", error.chain()));
    stream.follow("it was rewritten").await;
}
