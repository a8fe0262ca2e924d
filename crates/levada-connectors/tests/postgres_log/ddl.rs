//! Tables that are changed while they are read.

use super::{Stream, create_plain, dataset, plain, roomy, schema_of};
use levada_flow::source::Coverage;

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_is_renamed_stops_its_dataset_until_it_has_its_name_back() {
    let database = roomy("ddl_renamed_column");
    create_plain(&database, "others").await;
    create_plain(&database, "orders").await;
    database.run("INSERT INTO orders VALUES (1, 'one', 1)").await;
    let datasets = vec![dataset("orders", &plain()), dataset("others", &plain())];
    let mut stream = Stream::begin(&database, datasets).await;
    stream.run("INSERT INTO orders VALUES (2, 'two', 2)").await;
    stream.run("ALTER TABLE orders RENAME n TO number").await;
    stream.run("INSERT INTO orders VALUES (3, 'three', 3); INSERT INTO others VALUES (1, 'one', 1)").await;
    let reason = stream.stops(0, "renamed").await;
    assert!(reason.contains("orders") && reason.contains("\"n\""), "{reason}");
    stream.assert_same_one(1, "the other one goes on").await;

    stream.run("UPDATE orders SET number = 33 WHERE id = 3; DELETE FROM orders WHERE id = 1").await;
    stream.run("ALTER TABLE orders RENAME number TO n").await;
    stream.run("INSERT INTO orders VALUES (4, 'four', 4); INSERT INTO others VALUES (2, 'two', 2)").await;
    stream.reopen().await;
    stream.follow("named back").await;
    let end = stream.step("UPDATE orders SET n = 0; DELETE FROM others").await;
    assert_eq!(end.coverage, [Coverage::Changes, Coverage::Changes]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_is_renamed_and_named_back_between_two_pulls_loses_nothing() {
    let mut stream = Stream::of_plain(&roomy("ddl_renamed_back"), "orders").await;
    stream.run("INSERT INTO orders VALUES (4, 'four', 4)").await;
    stream.run("ALTER TABLE orders RENAME n TO number").await;
    stream.run("INSERT INTO orders VALUES (5, 'five', 5)").await;
    stream.run("UPDATE orders SET number = -1 WHERE id = 1").await;
    stream.run("ALTER TABLE orders RENAME number TO n").await;
    stream.run("DELETE FROM orders WHERE id = 2").await;
    stream.follow("named back").await;
    stream.step("UPDATE orders SET n = 0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_columns_that_swap_their_names_are_read_anew() {
    let database = roomy("ddl_swapped");
    database.run("CREATE TABLE orders (id bigint PRIMARY KEY, a bigint, b bigint)").await;
    database.run("INSERT INTO orders VALUES (1, 1, 10), (2, 2, 20)").await;
    let schema = schema_of(&[("id", "int64", true), ("a", "int64", false), ("b", "int64", false)]);
    let mut stream = Stream::begin(&database, vec![dataset("orders", &schema)]).await;
    stream.run("INSERT INTO orders VALUES (3, 3, 30)").await;
    stream
        .run("ALTER TABLE orders RENAME a TO c; ALTER TABLE orders RENAME b TO a; ALTER TABLE orders RENAME c TO b")
        .await;
    stream.run("INSERT INTO orders (id, a, b) VALUES (4, 40, 4)").await;
    stream.follow("swapped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_grows_wider_is_read_on() {
    let database = roomy("ddl_wider");
    database.run("CREATE TABLE orders (id int PRIMARY KEY, name varchar(5), n int)").await;
    database.run("INSERT INTO orders VALUES (1, 'one', 1)").await;
    let mut stream = Stream::begin(&database, vec![dataset("orders", &plain())]).await;
    stream.run("INSERT INTO orders VALUES (2, 'two', 2)").await;
    stream.run("ALTER TABLE orders ALTER n TYPE bigint").await;
    stream.run("INSERT INTO orders VALUES (3, 'three', 3000000000)").await;
    stream.follow("int is bigint").await;
    stream.step("ALTER TABLE orders ALTER id TYPE bigint").await;
    stream.step("INSERT INTO orders VALUES (4000000000, 'four', 4)").await;
    stream.step("DELETE FROM orders WHERE id = 1; ALTER TABLE orders ALTER name TYPE varchar(50)").await;
    stream.step("UPDATE orders SET name = repeat('x', 50)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_takes_a_type_that_is_not_the_model_s_stops_its_dataset() {
    let mut stream = Stream::of_plain(&roomy("ddl_type"), "orders").await;
    stream.run("INSERT INTO orders VALUES (4, 'four', 4)").await;
    stream.run("ALTER TABLE orders ALTER n TYPE text").await;
    stream.run("INSERT INTO orders VALUES (5, 'five', 'five')").await;
    let reason = stream.stops(0, "a text").await;
    assert!(reason.contains("\"n\"") && reason.contains("text") && reason.contains("int64"), "{reason}");
    stream.run("DELETE FROM orders WHERE id = 5").await;
    stream.run("ALTER TABLE orders ALTER n TYPE bigint USING n::bigint * 2").await;
    stream.reopen().await;
    stream.follow("a number again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_was_rewritten_with_its_type_is_read_anew() {
    let database = roomy("ddl_rewritten");
    database.run("CREATE TABLE orders (id bigint PRIMARY KEY, name varchar(20), n bigint)").await;
    database.run("INSERT INTO orders VALUES (1, 'one', 1), (2, 'two', 2)").await;
    let mut stream = Stream::begin(&database, vec![dataset("orders", &plain())]).await;
    stream.run("ALTER TABLE orders ALTER name TYPE text USING upper(name)").await;
    stream.run("INSERT INTO orders VALUES (3, 'three', 3)").await;
    stream.follow("a text").await;
    stream.run("ALTER TABLE orders ALTER name TYPE varchar(30) USING lower(name)").await;
    stream.reopen().await;
    stream.follow("nothing was written since").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_comes_back_under_its_name_is_another_one() {
    let mut stream = Stream::of_plain(&roomy("ddl_dropped_added"), "orders").await;
    stream.run("INSERT INTO orders VALUES (4, 'four', 4)").await;
    stream.run("ALTER TABLE orders DROP n").await;
    stream.run("INSERT INTO orders VALUES (5, 'five')").await;
    stream.run("ALTER TABLE orders ADD n bigint DEFAULT 77").await;
    stream.run("INSERT INTO orders VALUES (6, 'six', 6)").await;
    stream.follow("it came back").await;
    stream.run("ALTER TABLE orders DROP n, ADD n bigint DEFAULT 88").await;
    stream.reopen().await;
    stream.follow("nothing was written since").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_the_model_does_not_have_is_no_matter() {
    let mut stream = Stream::of_plain(&roomy("ddl_added"), "orders").await;
    stream.run("ALTER TABLE orders ADD extra bigint DEFAULT 7").await;
    let end = stream.step("INSERT INTO orders VALUES (4, 'four', 4, 4)").await;
    assert_eq!(end.coverage, [Coverage::Changes]);
    stream.run("ALTER TABLE orders ADD dice float DEFAULT random()").await;
    let end = stream.step("UPDATE orders SET n = 5 WHERE id = 4").await;
    assert_eq!(end.coverage, [Coverage::Changes]);
    stream.run("ALTER TABLE orders DROP extra").await;
    let end = stream.step("UPDATE orders SET n = 6").await;
    assert_eq!(end.coverage, [Coverage::Changes]);
    stream.run("VACUUM FULL orders").await;
    stream.run("CLUSTER orders USING orders_pkey").await;
    let end = stream.step("DELETE FROM orders WHERE id = 1").await;
    assert_eq!(end.coverage, [Coverage::Changes]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_renamed_stops_its_dataset_until_it_is_back() {
    let mut stream = Stream::of_plain(&roomy("ddl_renamed"), "orders").await;
    stream.run("INSERT INTO orders VALUES (4, 'four', 4)").await;
    stream.run("ALTER TABLE orders RENAME TO old_orders").await;
    stream.run("INSERT INTO old_orders VALUES (5, 'five', 5)").await;
    let reason = stream.stops(0, "renamed").await;
    assert!(reason.contains("orders"), "{reason}");
    stream.run("UPDATE old_orders SET n = 0").await;
    stream.run("ALTER TABLE old_orders RENAME TO orders").await;
    stream.reopen().await;
    stream.follow("it is back").await;
    stream.step("UPDATE orders SET n = 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_table_under_the_name_is_read_anew() {
    let mut stream = Stream::of_plain(&roomy("ddl_replaced"), "orders").await;
    stream.run("INSERT INTO orders VALUES (4, 'four', 4)").await;
    stream.run("ALTER TABLE orders RENAME TO old_orders").await;
    create_plain(&stream.database, "orders").await;
    stream.run("INSERT INTO orders VALUES (1, 'new', 1), (9, 'nine', 9)").await;
    stream.run("INSERT INTO old_orders VALUES (5, 'five', 5)").await;
    stream.follow("another one").await;
    stream.run("INSERT INTO old_orders VALUES (6, 'six', 6)").await;
    stream.step("UPDATE orders SET n = 2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_replaced_by_a_full_copy_of_it_is_read_anew() {
    let mut stream = Stream::of_plain(&roomy("ddl_swapped_table"), "orders").await;
    let swap = "CREATE TABLE new_orders (LIKE orders INCLUDING ALL); \
                INSERT INTO new_orders SELECT id, upper(name), n FROM orders; \
                DROP TABLE orders; ALTER TABLE new_orders RENAME TO orders";
    stream.run(&format!("BEGIN; INSERT INTO orders VALUES (4, 'four', 4); {swap}; COMMIT")).await;
    stream.run("INSERT INTO orders VALUES (5, 'five', 5)").await;
    stream.reopen().await;
    stream.follow("a copy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_dropped_stops_its_dataset_alone() {
    let database = roomy("ddl_dropped");
    create_plain(&database, "others").await;
    create_plain(&database, "orders").await;
    let datasets = vec![dataset("orders", &plain()), dataset("others", &plain())];
    let mut stream = Stream::begin(&database, datasets).await;
    stream.run("INSERT INTO orders VALUES (1, 'one', 1)").await;
    stream.run("DROP TABLE orders").await;
    stream.run("INSERT INTO others VALUES (1, 'one', 1)").await;
    // Where nothing else asks for it, the catalog is looked at when the stream is opened.
    stream.reopen().await;
    let reason = stream.stops(0, "dropped").await;
    assert!(reason.contains("orders") && reason.contains("does not exist"), "{reason}");
    stream.assert_same_one(1, "the other one goes on").await;
    create_plain(&database, "orders").await;
    stream.run("INSERT INTO orders VALUES (2, 'two', 2)").await;
    stream.reopen().await;
    stream.follow("there is one again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_table_that_is_dropped_stops_its_dataset() {
    let mut stream = Stream::of_plain(&roomy("ddl_dropped_only"), "orders").await;
    stream.run("INSERT INTO orders VALUES (4, 'four', 4)").await;
    stream.run("DROP TABLE orders").await;
    stream.reopen().await;
    stream.stops(0, "dropped").await;
    create_plain(&stream.database, "orders").await;
    stream.run("INSERT INTO orders VALUES (2, 'zwei', 2)").await;
    stream.reopen().await;
    stream.follow("there is one again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_whose_key_is_dropped_stops_its_dataset_and_leaves_the_publication() {
    let database = roomy("ddl_key_dropped");
    create_plain(&database, "others").await;
    create_plain(&database, "orders").await;
    database.run("INSERT INTO orders VALUES (1, 'one', 1)").await;
    let datasets = vec![dataset("orders", &plain()), dataset("others", &plain())];
    let mut stream = Stream::begin(&database, datasets).await;
    stream.run("INSERT INTO orders VALUES (2, 'two', 2)").await;
    stream.run("ALTER TABLE orders DROP CONSTRAINT orders_pkey").await;
    stream.run("INSERT INTO orders VALUES (3, 'three', 3)").await;
    let reason = stream.stops(0, "the key is dropped").await;
    assert!(reason.contains("orders") && reason.contains("replica identity"), "{reason}");
    // Published, its updates would be refused.
    stream.run("UPDATE orders SET n = 0").await;
    stream.run("ALTER TABLE orders ADD PRIMARY KEY (id)").await;
    stream.reopen().await;
    stream.follow("it has a key again").await;
    stream.step("DELETE FROM orders WHERE id = 2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_identity_that_no_longer_has_the_key_stops_its_dataset() {
    let database = roomy("ddl_identity");
    database.run("CREATE TABLE orders (id bigint PRIMARY KEY, name text NOT NULL UNIQUE, n bigint)").await;
    database.run("INSERT INTO orders VALUES (1, 'one', 1), (2, 'two', 2)").await;
    let mut stream = Stream::begin(&database, vec![dataset("orders", &plain())]).await;
    stream.run("UPDATE orders SET id = 11 WHERE id = 1").await;
    stream.run("ALTER TABLE orders REPLICA IDENTITY USING INDEX orders_name_key").await;
    stream.run("UPDATE orders SET id = 12 WHERE id = 2").await;
    let reason = stream.stops(0, "another identity").await;
    assert!(reason.contains("replica identity") && reason.contains("(name)") && reason.contains("(id)"), "{reason}");
    stream.run("ALTER TABLE orders REPLICA IDENTITY FULL").await;
    stream.reopen().await;
    stream.follow("whole rows").await;
    stream.step("UPDATE orders SET id = id + 10").await;
    stream.step("ALTER TABLE orders REPLICA IDENTITY DEFAULT; UPDATE orders SET id = id + 10").await;
    stream.step("UPDATE orders SET id = id + 10; DELETE FROM orders WHERE name = 'one'").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_was_other_for_a_while_between_two_pulls_loses_nothing() {
    let database = roomy("ddl_identity_while");
    database.run("CREATE TABLE orders (id bigint PRIMARY KEY, name text NOT NULL UNIQUE, n bigint)").await;
    database.run("INSERT INTO orders VALUES (1, 'one', 1), (2, 'two', 2)").await;
    let mut stream = Stream::begin(&database, vec![dataset("orders", &plain())]).await;
    stream.run("ALTER TABLE orders REPLICA IDENTITY USING INDEX orders_name_key").await;
    stream.run("UPDATE orders SET id = 12 WHERE id = 2").await;
    stream.run("DELETE FROM orders WHERE id = 1").await;
    stream.run("ALTER TABLE orders REPLICA IDENTITY DEFAULT").await;
    stream.follow("the key went and came").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_changes_of_a_table_with_rows_between_them_come_in_one_pull() {
    let database = roomy("ddl_many");
    create_plain(&database, "others").await;
    database.run("CREATE TABLE orders (id int PRIMARY KEY, name varchar(10), n int)").await;
    database.run("INSERT INTO orders SELECT n, 'name ' || n, n FROM generate_series(1, 50) n").await;
    let datasets = vec![dataset("orders", &plain()), dataset("others", &plain())];
    let mut stream = Stream::begin(&database, datasets).await;
    let changes = [
        "ADD extra text DEFAULT 'x'",
        "ALTER n TYPE bigint",
        "DROP extra",
        "ALTER name TYPE text USING upper(name)",
        "RENAME n TO m",
        "ADD n bigint DEFAULT 5",
        "ALTER id TYPE bigint",
        "DROP m",
        "REPLICA IDENTITY FULL",
        "DROP CONSTRAINT orders_pkey",
        "ADD PRIMARY KEY (id)",
        "REPLICA IDENTITY DEFAULT",
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let id = 100 + number;
        stream
            .run(&format!("INSERT INTO orders (id, name) VALUES ({id}, 'r'); DELETE FROM orders WHERE id = {number}"))
            .await;
        stream
            .run(&format!(
                "BEGIN; UPDATE orders SET name = 'u' WHERE id = {id}; ALTER TABLE orders {change}; \
                             INSERT INTO orders (id, name) VALUES ({}, 'same'); COMMIT",
                id + 100
            ))
            .await;
        stream.run(&format!("INSERT INTO others VALUES ({number}, 'o', 1)")).await;
    }
    stream.follow("all changes").await;
    let end = stream.step("UPDATE orders SET n = 1; UPDATE others SET n = 2").await;
    assert_eq!(end.coverage, [Coverage::Changes, Coverage::Changes]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_changed_while_it_joins_is_whole_in_the_end() {
    let database = roomy("ddl_joining");
    database.run("CREATE TABLE joining (id int PRIMARY KEY, name text, n int)").await;
    database.run("INSERT INTO joining SELECT n, repeat('x', 300), n FROM generate_series(1, 20000) n").await;
    let mut stream = Stream::of_plain(&database, "orders").await;
    stream.mirror.join(dataset("joining", &plain()));
    let changes = [
        "ALTER TABLE joining ALTER n TYPE bigint",
        "ALTER TABLE joining DROP name, ADD name text DEFAULT 'new'",
        "ALTER TABLE joining ADD dice float DEFAULT random()",
        "VACUUM FULL joining",
        "ALTER TABLE joining RENAME n TO m",
        "ALTER TABLE joining RENAME m TO n",
        "TRUNCATE joining",
        "ALTER TABLE joining ALTER id TYPE bigint",
    ];
    let writer = database.client().await;
    let write = async {
        for (number, change) in changes.into_iter().enumerate() {
            let rows = format!("SELECT {number} * 10000 + n, 'r', n FROM generate_series(100001, 105000) n");
            writer
                .batch_execute(&format!("INSERT INTO joining (id, name) SELECT id, name FROM ({rows}) AS r (id, name)"))
                .await
                .expect("rows");
            writer.batch_execute(change).await.expect(change);
            writer.batch_execute(&format!("DELETE FROM joining WHERE id % 10 = {number}")).await.expect("rows go");
        }
    };
    let follow = async {
        for _ in 0..20 {
            stream.mirror.pull(stream.source.as_mut()).await.unwrap_or_else(|error| panic!("{}", error.chain()));
        }
    };
    futures::join!(follow, write);
    stream.reopen().await;
    stream.follow("at the end").await;
}
