//! Tables that consist of others: partitions and inheritance.

use super::{Stream, create_plain, dataset, plain, roomy, schema_of};
use crate::postgres::Database;
use levada_flow::source::Coverage;

/// A table `orders` by ranges of `id`: below 100, below 200, and the rest.
async fn create_partitioned(database: &Database) {
    database
        .run(
            "CREATE TABLE orders (id bigint PRIMARY KEY, name text, n bigint) PARTITION BY RANGE (id);
             CREATE TABLE orders_0 PARTITION OF orders FOR VALUES FROM (MINVALUE) TO (100);
             CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (100) TO (200);
             CREATE TABLE orders_rest PARTITION OF orders DEFAULT;
             INSERT INTO orders SELECT n * 30, 'name ' || n, n FROM generate_series(0, 9) n",
        )
        .await;
}

async fn partitioned(name: &str) -> Stream {
    let database = roomy(name);
    create_partitioned(&database).await;
    Stream::begin(&database, vec![dataset("orders", &plain())]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_move_between_partitions_stay_one_row() {
    let mut stream = partitioned("parts_moved").await;
    for step in [
        "UPDATE orders SET id = 101 WHERE id = 0",
        "UPDATE orders SET id = 1, name = 'moved' WHERE id = 101",
        "UPDATE orders SET id = id + 100 WHERE id = 30; UPDATE orders SET id = id - 100 WHERE id = 130",
        "DELETE FROM orders WHERE id = 120; INSERT INTO orders VALUES (121, 'new', 1); UPDATE orders SET id = 500 WHERE id = 121",
    ] {
        let end = stream.step(step).await;
        assert_eq!(end.coverage, [Coverage::Changes], "{step}");
        stream.reopen().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_values_of_rows_that_move_between_partitions_stay() {
    let mut stream = partitioned("parts_large").await;
    stream.run("ALTER TABLE orders ALTER name SET STORAGE EXTERNAL").await;
    for part in ["orders_0", "orders_1", "orders_rest"] {
        stream.run(&format!("ALTER TABLE {part} ALTER name SET STORAGE EXTERNAL")).await;
    }
    stream.step("UPDATE orders SET name = repeat('x', 9000) WHERE id < 100").await;
    stream.step("UPDATE orders SET n = 0 WHERE id < 100").await;
    stream.step("UPDATE orders SET id = id + 101 WHERE id < 100").await;
    stream.step("UPDATE orders SET n = 1; UPDATE orders SET id = id + 1000").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncate_of_one_partition_takes_its_rows_and_no_others() {
    let mut stream = partitioned("parts_truncated").await;
    stream.step("TRUNCATE orders_0").await;
    stream.run("INSERT INTO orders VALUES (1, 'one', 1), (101, 'more', 1); TRUNCATE orders_1").await;
    stream.step("INSERT INTO orders VALUES (102, 'after', 1)").await;
    stream.step("TRUNCATE orders_0, orders_1, orders_rest").await;
    stream.step("INSERT INTO orders VALUES (1, 'one', 1), (101, 'more', 1)").await;
    stream.step("TRUNCATE orders").await;
    let end = stream.step("INSERT INTO orders VALUES (1, 'one', 1), (101, 'more', 1)").await;
    assert_eq!(end.coverage, [Coverage::Changes]);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_detached_and_attached_take_their_rows_along() {
    let mut stream = partitioned("parts_detached").await;
    stream.run("INSERT INTO orders VALUES (2, 'before', 1)").await;
    stream.run("ALTER TABLE orders DETACH PARTITION orders_0").await;
    stream.run("INSERT INTO orders_0 VALUES (3, 'detached', 1); UPDATE orders SET n = -1 WHERE id = 120").await;
    stream.reopen().await;
    stream.follow("detached").await;
    stream.run("DELETE FROM orders_0 WHERE id = 0; UPDATE orders_0 SET n = 99 WHERE id = 30").await;
    stream.run("ALTER TABLE orders ATTACH PARTITION orders_0 FOR VALUES FROM (MINVALUE) TO (100)").await;
    stream.run("INSERT INTO orders VALUES (4, 'attached', 1)").await;
    stream.follow("attached, which the log tells").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_come_and_go_bring_and_take_their_rows() {
    let mut stream = partitioned("parts_new").await;
    stream.run("DELETE FROM orders WHERE id >= 200").await;
    stream.run("CREATE TABLE orders_2 PARTITION OF orders FOR VALUES FROM (200) TO (300)").await;
    stream.run("INSERT INTO orders VALUES (200, 'new', 1), (201, 'new', 1), (1, 'old', 1)").await;
    stream.follow("a new one").await;
    stream.run("UPDATE orders SET id = 202 WHERE id = 1").await;
    stream.run("DROP TABLE orders_0").await;
    stream.reopen().await;
    stream.follow("one is dropped").await;
    stream
        .run("CREATE TABLE orders_3 (LIKE orders INCLUDING ALL); INSERT INTO orders_3 VALUES (300, 'filled', 1)")
        .await;
    stream.run("ALTER TABLE orders ATTACH PARTITION orders_3 FOR VALUES FROM (300) TO (400)").await;
    stream.reopen().await;
    stream.follow("a filled one, of which the log tells nothing").await;
    let end = stream.step("UPDATE orders SET n = 0").await;
    assert_eq!(end.coverage, [Coverage::Changes]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partitioned_table_without_partitions_is_empty() {
    let database = roomy("parts_none");
    database.run("CREATE TABLE orders (id bigint PRIMARY KEY, name text, n bigint) PARTITION BY RANGE (id)").await;
    let mut stream = Stream::begin(&database, vec![dataset("orders", &plain())]).await;
    stream.run("CREATE TABLE orders_0 PARTITION OF orders DEFAULT").await;
    stream.step("INSERT INTO orders VALUES (1, 'one', 1)").await;
    stream.run("DROP TABLE orders_0").await;
    stream.reopen().await;
    stream.follow("its only partition is dropped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_of_partitions_with_columns_in_another_order_are_read() {
    let database = roomy("parts_deep");
    database
        .run(
            "CREATE TABLE orders (id bigint, gone int, name text, n bigint, PRIMARY KEY (id, n)) PARTITION BY RANGE (id);
             ALTER TABLE orders DROP gone;
             CREATE TABLE orders_0 (n bigint NOT NULL, extra int, name text, id bigint NOT NULL) PARTITION BY LIST (n);
             ALTER TABLE orders_0 DROP extra;
             CREATE TABLE orders_0_1 (name text, n bigint NOT NULL, id bigint NOT NULL);
             ALTER TABLE orders_0 ATTACH PARTITION orders_0_1 FOR VALUES IN (1);
             CREATE TABLE orders_0_2 PARTITION OF orders_0 DEFAULT;
             ALTER TABLE orders ATTACH PARTITION orders_0 FOR VALUES FROM (0) TO (100);
             CREATE TABLE orders_1 PARTITION OF orders DEFAULT;
             INSERT INTO orders VALUES (1, 'a', 1), (2, 'b', 2), (300, 'c', 3)",
        )
        .await;
    let schema = schema_of(&[("id", "int64", true), ("name", "text", false), ("n", "int64", true)]);
    let mut stream = Stream::begin(&database, vec![dataset("orders", &schema)]).await;
    stream
        .step("INSERT INTO orders VALUES (3, 'd', 1), (4, 'e', 4), (400, 'f', 1); UPDATE orders SET name = 'g'")
        .await;
    stream.step("UPDATE orders SET n = 3 - n WHERE n < 3").await;
    stream.step("TRUNCATE orders_0").await;
    stream.step("INSERT INTO orders VALUES (3, 'd', 1); DELETE FROM orders WHERE id > 100").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partitioned_table_without_a_key_keeps_the_count_of_equal_rows() {
    let database = roomy("parts_keyless");
    database
        .run(
            "CREATE TABLE orders (name text, n bigint) PARTITION BY RANGE (n);
             CREATE TABLE orders_0 PARTITION OF orders FOR VALUES FROM (0) TO (10);
             CREATE TABLE orders_1 PARTITION OF orders DEFAULT;
             ALTER TABLE orders_0 REPLICA IDENTITY FULL; ALTER TABLE orders_1 REPLICA IDENTITY FULL;
             INSERT INTO orders VALUES ('a', 1), ('a', 1), ('b', 20), ('b', 20)",
        )
        .await;
    let schema = schema_of(&[("name", "text", false), ("n", "int64", false)]);
    let mut stream = Stream::begin(&database, vec![dataset("orders", &schema)]).await;
    stream.step("UPDATE orders SET n = 21 WHERE name = 'a'").await;
    stream.step("INSERT INTO orders VALUES ('c', 1), ('c', 1)").await;
    stream
        .step("INSERT INTO orders VALUES ('c', 1); TRUNCATE orders_0; INSERT INTO orders VALUES ('d', 1), ('d', 1)")
        .await;
    stream.step("INSERT INTO orders VALUES ('d', 1); UPDATE orders SET name = 'e' WHERE n = 21").await;
    stream.run("ALTER TABLE orders DETACH PARTITION orders_1").await;
    stream.run("INSERT INTO orders VALUES ('d', 1)").await;
    stream.reopen().await;
    stream.follow("one is detached").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_without_a_replica_identity_is_named_and_not_published() {
    let database = roomy("parts_identity");
    database
        .run(
            "CREATE TABLE orders (id bigint NOT NULL, name text, n bigint) PARTITION BY RANGE (id);
             CREATE TABLE orders_0 PARTITION OF orders FOR VALUES FROM (0) TO (10);
             CREATE TABLE orders_1 PARTITION OF orders DEFAULT;
             ALTER TABLE orders_0 ADD PRIMARY KEY (id)",
        )
        .await;
    let mut mirror = super::Mirror::new("parts_identity", vec![dataset("orders", &plain())]);
    let error = mirror.pull(database.source().await.as_mut()).await.expect_err("one has no key").chain();
    assert!(error.contains("orders_1") && error.contains("a part of"), "{error}");
    assert_eq!(database.text("SELECT count(*)::text FROM pg_publication").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_read_with_what_inherits_from_it() {
    let database = roomy("parts_inherited");
    create_plain(&database, "orders").await;
    let child = |name: &str| format!("CREATE TABLE {name} (extra int, PRIMARY KEY (id)) INHERITS (orders)");
    database.run(&child("orders_child")).await;
    database.run("INSERT INTO orders VALUES (1, 'own', 1); INSERT INTO orders_child VALUES (2, 'child', 2, 2)").await;
    let mut stream = Stream::begin(&database, vec![dataset("orders", &plain())]).await;
    stream.step("INSERT INTO orders VALUES (3, 'own', 3); INSERT INTO orders_child VALUES (4, 'child', 4, 4)").await;
    stream.step("UPDATE orders SET n = 0").await;
    stream.step("TRUNCATE ONLY orders").await;
    stream.step("INSERT INTO orders VALUES (3, 'own', 3); DELETE FROM orders WHERE id = 2").await;
    stream.run(&child("orders_second")).await;
    stream.run("INSERT INTO orders_second VALUES (5, 'second', 5, 5)").await;
    stream.reopen().await;
    stream.follow("another child").await;
    stream.step("UPDATE orders SET n = 1; INSERT INTO orders_second VALUES (6, 'second', 6, 6)").await;
    stream.run("ALTER TABLE orders_child NO INHERIT orders").await;
    stream.run("UPDATE orders_child SET n = 7").await;
    stream.reopen().await;
    stream.follow("a child less").await;
    stream.step("TRUNCATE orders; INSERT INTO orders VALUES (8, 'eight', 8)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_comes_is_read_by_a_user_who_may_read_only_its_table() {
    let mut stream = partitioned("parts_grants").await;
    stream
        .run("CREATE USER reads_the_whole REPLICATION PASSWORD 'secret'; GRANT SELECT ON orders TO reads_the_whole")
        .await;
    let (connection, secret) = (stream.database.connection(), crate::postgres::secret("reads_the_whole", "secret"));
    stream.source = Box::new(levada_connectors::postgres::source::open(&connection, secret).await.expect("it opens"));
    stream.run("DELETE FROM orders WHERE id >= 200").await;
    stream.run("CREATE TABLE orders_2 PARTITION OF orders FOR VALUES FROM (200) TO (300)").await;
    stream.step("INSERT INTO orders VALUES (200, 'new', 1), (1, 'old', 1)").await;
    stream.step("UPDATE orders SET id = 202 WHERE id = 1").await;
}
