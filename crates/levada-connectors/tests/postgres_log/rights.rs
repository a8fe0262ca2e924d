//! What a user may not, and what a server does not offer: named, and nothing was made at the source.

use super::{Mirror, Stream, create_plain, dataset, plain, roomy, schema_of};
use crate::postgres::{Database, secret};
use levada_connectors::postgres::source;
use levada_flow::source::PullDataset;
use levada_flow::{FlowError, Source};
use levada_testbed::PostgresCluster;

/// Opens the database as another user.
async fn open_as(database: &Database, user: &str) -> Box<dyn Source> {
    Box::new(source::open(&database.connection(), secret(user, "secret")).await.expect("it opens"))
}

/// What a first pull by this user says; nothing may have been made by it.
async fn refused(database: &Database, source: &mut dyn Source, datasets: Vec<PullDataset>) -> String {
    let error = Mirror::new(&database.name, datasets).pull(source).await.expect_err("it can't be read");
    let made = "SELECT (SELECT count(*) FROM pg_publication)::text || ' ' || count(*) FROM pg_replication_slots";
    let made = database.text(&format!("{made} WHERE database = current_database()")).await;
    assert_eq!(made, "0 0", "nothing was made: {}", error.chain());
    told(&error)
}

fn told(error: &FlowError) -> String {
    format!("{} | {}", error.chain(), error.hint.clone().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_replicate_is_told_how_to() {
    let database = roomy("rights_replication");
    create_plain(&database, "orders").await;
    database.run("CREATE USER no_replication PASSWORD 'secret'; ALTER TABLE orders OWNER TO no_replication").await;
    database.run("GRANT CREATE ON DATABASE rights_replication TO no_replication").await;
    let mut source = open_as(&database, "no_replication").await;
    let error = refused(&database, source.as_mut(), vec![dataset("orders", &plain())]).await;
    assert!(error.contains("may not") && error.contains("REPLICATION"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_owns_the_tables_can_make_the_publication_for_another_user() {
    let database = roomy("rights_owner");
    create_plain(&database, "orders").await;
    create_plain(&database, "others").await;
    database.run("INSERT INTO orders VALUES (1, 'one', 1)").await;
    database
        .run("CREATE USER only_reads REPLICATION PASSWORD 'secret'; GRANT SELECT ON orders, others TO only_reads")
        .await;
    let datasets = vec![dataset("orders", &plain()), dataset("others", &plain())];
    let mut source = open_as(&database, "only_reads").await;
    let error = refused(&database, source.as_mut(), datasets.clone()).await;
    let statement = "CREATE PUBLICATION \"rights_owner\" FOR TABLE \"public\".\"orders\", \"public\".\"others\"";
    assert!(error.contains(statement), "{error}");

    database.run(statement).await;
    let mut stream = Stream::begin(&database, datasets).await;
    stream.source = open_as(&database, "only_reads").await;
    stream.step("INSERT INTO orders VALUES (2, 'two', 2); INSERT INTO others VALUES (2, 'two', 2)").await;

    // One that stops is no reason to ask the owner for anything.
    stream.run("ALTER TABLE orders RENAME n TO m").await;
    stream.run("INSERT INTO orders VALUES (3, 'three', 3); INSERT INTO others VALUES (3, 'three', 3)").await;
    stream.stops(0, "renamed").await;
    stream.assert_same_one(1, "the other one goes on").await;
    stream.source = open_as(&database, "only_reads").await;
    stream.stops(0, "still renamed").await;
    stream.run("ALTER TABLE orders RENAME m TO n").await;
    stream.source = open_as(&database, "only_reads").await;
    stream.follow("named back").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_children_that_somebody_else_owns_is_published_once() {
    let database = roomy("rights_children");
    create_plain(&database, "orders").await;
    database.run("CREATE TABLE orders_child (PRIMARY KEY (id)) INHERITS (orders)").await;
    database.run("CREATE USER only_reads_children REPLICATION PASSWORD 'secret'").await;
    database.run("GRANT SELECT ON orders, orders_child TO only_reads_children").await;
    database.run("CREATE PUBLICATION rights_children FOR TABLE orders").await;
    let mut stream = Stream::begin(&database, vec![dataset("orders", &plain())]).await;
    stream.source = open_as(&database, "only_reads_children").await;
    stream.step("INSERT INTO orders VALUES (2, 'two', 2); INSERT INTO orders_child VALUES (3, 'three', 2)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_for_all_tables_is_taken_as_it_is() {
    let database = roomy("rights_all");
    create_plain(&database, "orders").await;
    create_plain(&database, "others").await;
    database.run("CREATE PUBLICATION rights_all FOR ALL TABLES").await;
    let mut stream = Stream::begin(&database, vec![dataset("orders", &plain())]).await;
    stream.step("INSERT INTO orders VALUES (2, 'two', 2); INSERT INTO others VALUES (2, 'two', 2)").await;
    stream
        .step("CREATE TABLE more (id bigint PRIMARY KEY); INSERT INTO more VALUES (1); UPDATE orders SET n = 1")
        .await;
    assert_eq!(database.text("SELECT puballtables::text FROM pg_publication").await, "true");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_was_narrowed_is_put_right() {
    let mut stream = Stream::of_plain(&roomy("rights_narrowed"), "orders").await;
    stream.run("ALTER PUBLICATION rights_narrowed SET (publish = 'insert')").await;
    stream.reopen().await;
    stream.follow("nothing happened").await;
    stream.step("DELETE FROM orders WHERE id = 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_logs_no_rows_is_told_how_to() {
    let cluster = PostgresCluster::start_with(&[("wal_level", "replica")]).expect("a server");
    let database = Database::create(&cluster, "rights_level");
    create_plain(&database, "orders").await;
    let error = refused(&database, database.source().await.as_mut(), vec![dataset("orders", &plain())]).await;
    assert!(error.contains("wal_level is replica") && error.contains("wal_level = logical"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_log_is_named_all_at_once() {
    let database = roomy("rights_tables");
    create_plain(&database, "orders").await;
    database
        .run(
            "CREATE VIEW seen AS SELECT * FROM orders; CREATE MATERIALIZED VIEW kept AS SELECT * FROM orders;
             CREATE UNLOGGED TABLE unlogged (id bigint PRIMARY KEY, name text, n bigint);
             CREATE TABLE nothing (id bigint NOT NULL, name text, n bigint);
             CREATE TABLE silent (id bigint PRIMARY KEY, name text, n bigint); ALTER TABLE silent REPLICA IDENTITY NOTHING;
             CREATE TABLE other_key (id bigint, name text PRIMARY KEY, n bigint);
             CREATE TABLE keyless (name text, n bigint)",
        )
        .await;
    let keyless = schema_of(&[("name", "text", false), ("n", "int64", false)]);
    let mut datasets: Vec<_> = ["orders", "seen", "kept", "unlogged", "nothing", "silent", "other_key", "nowhere"]
        .iter()
        .map(|table| dataset(table, &plain()))
        .collect();
    datasets.push(dataset("keyless", &keyless));
    let mut source = database.source().await;
    let error = refused(&database, source.as_mut(), datasets.clone()).await;
    for part in [
        "seen is a view",
        "kept is a view",
        "unlogged is unlogged",
        "nothing has no replica identity",
        "silent has no replica identity",
        "other_key (name) does not have the key (id)",
        "nowhere does not exist",
        "keyless is read without a key",
    ] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
    assert!(!error.contains("orders is") && !error.contains("orders has"), "{error}");
    // Producers go on as if nobody had asked.
    database.run("INSERT INTO nothing VALUES (1); UPDATE nothing SET n = 1; DELETE FROM keyless").await;

    // Later each stops alone, and what can't be logged is not published.
    let mut stream = Stream::begin(&database, vec![dataset("orders", &plain())]).await;
    for dataset in datasets.drain(..).skip(1) {
        stream.mirror.join(dataset);
    }
    stream.run("INSERT INTO orders VALUES (1, 'one', 1)").await;
    let end = stream.catch_up("they stop").await;
    assert_eq!(end.stopped.len(), 8, "{end:?}");
    stream.assert_same_one(0, "the one that can be read").await;
    database.run("UPDATE nothing SET n = 2; DELETE FROM keyless; UPDATE silent SET n = 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_may_not_be_read_is_named() {
    let database = roomy("rights_select");
    create_plain(&database, "orders").await;
    database.run("CREATE USER reads_nothing REPLICATION PASSWORD 'secret'").await;
    let mut source = open_as(&database, "reads_nothing").await;
    let error = refused(&database, source.as_mut(), vec![dataset("orders", &plain())]).await;
    assert!(error.contains("orders may not be read"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_somebody_took_out_of_the_publication_is_read_anew() {
    let mut stream = Stream::of_plain(&roomy("rights_taken_out"), "orders").await;
    create_plain(&stream.database, "others").await;
    stream.run("ALTER PUBLICATION rights_taken_out SET TABLE others").await;
    stream.run("UPDATE orders SET n = 77 WHERE id = 1").await;
    stream.reopen().await;
    stream.follow("it is put back").await;
    stream.step("UPDATE orders SET n = 78 WHERE id = 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_somebody_dropped_begins_a_new_incarnation() {
    let mut stream = Stream::of_plain(&roomy("rights_dropped"), "orders").await;
    stream.run("DROP PUBLICATION rights_dropped").await;
    stream.run("UPDATE orders SET n = 77 WHERE id = 1").await;
    stream.reopen().await;
    stream.follow_anew("the publication is gone").await;
    stream.step("UPDATE orders SET n = 78 WHERE id = 1").await;
}
