//! Values: those without an image, those that snapshots read as texts, and those of renamed columns.

use super::{Stream, create_plain, dataset, plain, roomy, schema_of};
use crate::postgres::{self, Database};
use levada_flow::conformance::read_table;
use levada_flow::source::{Coverage, PullDataset};
use levada_model::Schema;

/// What a table is, what a row without an image has in it, and what the finding says of it.
struct Bad {
    column: &'static str,
    model: &'static str,
    value: &'static str,
    said: &'static str,
}

const BAD: [Bad; 8] = [
    Bad { column: "numeric", model: "decimal(10,2)", value: "'NaN'", said: "NaN" },
    Bad { column: "numeric", model: "decimal(10,2)", value: "12345678901", said: "12345678901" },
    Bad { column: "numeric", model: "decimal(10,2)", value: "0.001", said: "0.001" },
    Bad { column: "timestamptz", model: "timestamptz", value: "'infinity'", said: "infinity" },
    Bad { column: "date", model: "date", value: "'-infinity'", said: "infinity" },
    Bad { column: "text", model: "varchar(3)", value: "'four'", said: "4 characters" },
    Bad { column: "bigint", model: "int16", value: "70000", said: "70000" },
    Bad { column: "int[]", model: "list<int32>", value: "'{{1},{2}}'", said: "2 dimensions" },
];

async fn bad_stream(name: &str, identity: &str) -> Stream {
    let database = roomy(name);
    create_plain(&database, "others").await;
    let mut datasets = vec![dataset("others", &plain())];
    for (number, Bad { column, model, .. }) in BAD.iter().enumerate() {
        let table = format!("bad_{number}");
        let columns = format!("id bigint PRIMARY KEY, value {column}");
        database
            .run(&format!("CREATE TABLE {table} ({columns}); ALTER TABLE {table} REPLICA IDENTITY {identity}"))
            .await;
        datasets.push(dataset(&table, &schema_of(&[("id", "int64", true), ("value", model, false)])));
    }
    Stream::begin(&database, datasets).await
}

async fn a_value_stops_its_dataset_until_it_is_corrected(name: &str, identity: &str) {
    let mut stream = bad_stream(name, identity).await;
    for (number, Bad { value, .. }) in BAD.iter().enumerate() {
        stream.run(&format!("INSERT INTO bad_{number} VALUES (1, NULL)")).await;
        stream.run(&format!("INSERT INTO bad_{number} VALUES (4711, {value})")).await;
        stream.run(&format!("INSERT INTO bad_{number} VALUES (3, NULL)")).await;
        stream.run(&format!("INSERT INTO others VALUES ({number}, 'o', 1)")).await;
    }
    let end = stream.catch_up("bad values").await;
    let stopped = Stream::stopped(&end);
    assert_eq!(stopped.len(), BAD.len(), "{end:?}");
    for ((index, reason), (number, bad)) in stopped.iter().zip(BAD.iter().enumerate()) {
        assert_eq!(*index, number + 1);
        for part in [&format!("bad_{number}"), "4711", "\"value\"", bad.said] {
            assert!(reason.contains(part), "{part} is missing in: {reason}");
        }
        assert_eq!(end.coverage[*index], Coverage::Nothing);
    }
    stream.assert_same_one(0, "the other one goes on").await;

    // Opened again, it finds the same row where the tables are read.
    stream.reopen().await;
    stream.run("UPDATE others SET n = 2").await;
    let end = stream.catch_up("still bad").await;
    assert_eq!(end.stopped.len(), BAD.len(), "{end:?}");
    for ((_, reason), (number, bad)) in Stream::stopped(&end).iter().zip(BAD.iter().enumerate()) {
        for part in [&format!("bad_{number}"), "4711", "\"value\"", bad.said] {
            assert!(reason.contains(part), "{part} is missing in: {reason}");
        }
    }
    stream.assert_same_one(0, "the other one goes on").await;

    for number in 0..BAD.len() {
        let correct = if number % 2 == 0 { "DELETE FROM" } else { "UPDATE" };
        let set = if number % 2 == 0 { "" } else { "SET value = NULL" };
        stream
            .run(&format!("{correct} bad_{number} {set} WHERE id = 4711; INSERT INTO bad_{number} VALUES (5, NULL)"))
            .await;
    }
    stream.reopen().await;
    stream.follow("corrected").await;
    for number in 0..BAD.len() {
        stream
            .run(&format!("DELETE FROM bad_{number} WHERE id = 1; UPDATE bad_{number} SET id = 6 WHERE id = 5"))
            .await;
    }
    let end = stream.follow("they go on").await;
    assert!(end.coverage.iter().all(|coverage| *coverage == Coverage::Changes), "{end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_without_an_image_stops_its_dataset_alone_until_it_is_corrected() {
    a_value_stops_its_dataset_until_it_is_corrected("values_bad", "DEFAULT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_without_an_image_stops_its_dataset_alone_where_whole_rows_are_logged() {
    a_value_stops_its_dataset_until_it_is_corrected("values_bad_full", "FULL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_null_that_may_not_be_stops_its_dataset_alone() {
    let database = roomy("values_null");
    create_plain(&database, "orders").await;
    create_plain(&database, "others").await;
    let mut strict = plain();
    strict.columns[2].nullable = false;
    let mut stream = Stream::begin(&database, vec![dataset("orders", &strict), dataset("others", &plain())]).await;
    stream.run("INSERT INTO orders VALUES (1, 'one', 1), (4711, 'two', 2)").await;
    stream.run("INSERT INTO others VALUES (1, 'one', NULL)").await;
    stream.run("UPDATE orders SET n = NULL WHERE id = 4711").await;
    let reason = stream.stops(0, "a NULL").await;
    assert!(reason.contains("orders") && reason.contains("4711") && reason.contains("\"n\" is NULL"), "{reason}");
    stream.assert_same_one(1, "the other one goes on").await;
    stream.run("UPDATE orders SET n = 3 WHERE id = 4711").await;
    stream.reopen().await;
    stream.follow("corrected").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_without_an_image_at_the_beginning_names_its_row_and_leaves_no_second_slot() {
    let database = roomy("values_begin");
    database.run("CREATE TABLE orders (id bigint PRIMARY KEY, value numeric)").await;
    database.run("INSERT INTO orders VALUES (1, 1), (4711, 'NaN')").await;
    let schema = schema_of(&[("id", "int64", true), ("value", "decimal(10,2)", false)]);
    let mut mirror = super::Mirror::new("values_begin", vec![dataset("orders", &schema)]);
    for _ in 0..2 {
        let error = mirror.pull(database.source().await.as_mut()).await.expect_err("it has no image").chain();
        assert!(error.contains("orders") && error.contains("4711") && error.contains("NaN"), "{error}");
    }
    database.run("UPDATE orders SET value = 2 WHERE id = 4711").await;
    let stream = Stream::begin(&database, vec![dataset("orders", &schema)]).await;
    assert_eq!(stream.slots().await, "values_begin");
}

/// A type at the source, the model's, and values as SQL.
const TEXTS: [(&str, &str, &[&str]); 26] = [
    (
        "inet",
        "text",
        &[
            "'10.1.2.3'",
            "'10.1.2.3/24'",
            "'0.0.0.0/0'",
            "'::1'",
            "'fe80::1/64'",
            "'::ffff:1.2.3.4'",
            "'::1.2.3.4'",
            "'::2'",
            "'2001:db8:0:0:1:0:0:1'",
            "'1:0:2:3:4:5:6:7'",
            "'::'",
        ],
    ),
    ("cidr", "text", &["'10.1.2.0/24'", "'10.1.2.3/32'", "'2001:db8::/32'", "'::1/128'", "'::/0'"]),
    ("macaddr", "text", &["'08:00:2b:01:02:03'"]),
    ("macaddr8", "text", &["'08:00:2b:01:02:03:04:05'"]),
    ("bit(10)", "text", &["B'1010000001'", "B'0000000000'"]),
    ("bit varying", "text", &["B''", "B'1'", "B'10101010101010101'"]),
    (
        "numeric",
        "text",
        &[
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "0",
            "-0.000",
            "1e20",
            "1e-20",
            "-12345.6700",
            "10000",
            "0.0001",
            "100000000.00010000",
        ],
    ),
    ("numeric(10,-3)", "text", &["12345", "-999", "0"]),
    ("numeric(5,4)", "text", &["1.2", "-0.0001"]),
    ("numeric(10,-3)", "int64", &["12345", "-99999"]),
    ("numeric(10,2)", "decimal(20,4)", &["12345.67", "-0.01", "0"]),
    ("uuid", "text", &["'12345678-9ABC-def0-1122-334455667788'"]),
    ("citext", "text", &["'MiXed'", "''"]),
    (
        "xml",
        "text",
        &[
            "'<a>1</a>'",
            "'<?xml version=\"1.0\"?><a/>'",
            "'<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?><a>ä</a>'",
            "XMLPARSE(CONTENT 'text <b/>')",
        ],
    ),
    ("pg_lsn", "text", &["'0/0'", "'16/B374D848'", "'FFFFFFFF/FFFFFFFF'"]),
    ("oid", "int64", &["0", "4294967295", "2147483648"]),
    ("\"char\"", "text", &["'a'", "''"]),
    ("ltree", "text", &["'a.b.c'", "''"]),
    ("positive", "int64", &["1", "2147483647"]),
    ("address", "text", &["'10.0.0.1'"]),
    ("mood", "text", &["'sad'", "'quite \"happy\", or not'"]),
    ("mood[]", "list<text>", &["'{}'", "ARRAY['sad', NULL]::mood[]", "ARRAY['quite \"happy\", or not']::mood[]"]),
    ("price", "decimal(10,2)", &["1.50", "-3"]),
    ("varchar(10)", "text", &["'a'", "' b '", "''"]),
    ("char(5)", "text", &["'a'", "'  b'", "''"]),
    ("name", "text", &["'a'", "''"]),
];

async fn create_texts(database: &Database, texts: &[(&str, &str, &[&str])]) -> Vec<PullDataset> {
    database
        .run(
            "CREATE EXTENSION citext; CREATE EXTENSION ltree; CREATE TYPE mood AS ENUM ('sad', 'quite \"happy\", or not');
             CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE DOMAIN address AS inet;
             CREATE DOMAIN money_like AS numeric(10,2); CREATE DOMAIN price AS money_like",
        )
        .await;
    let mut datasets = Vec::new();
    for (number, (column, model, _)) in texts.iter().enumerate() {
        database.run(&format!("CREATE TABLE texts_{number} (id bigint PRIMARY KEY, value {column})")).await;
        let schema = schema_of(&[("id", "int64", true), ("value", model, false)]);
        datasets.push(dataset(&format!("texts_{number}"), &schema));
    }
    datasets
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_casts_for_a_snapshot_the_log_says_in_the_same_way() {
    let database = roomy("values_texts");
    let datasets = create_texts(&database, &TEXTS).await;
    let mut stream = Stream::begin(&database, datasets).await;
    for (number, (.., values)) in TEXTS.iter().enumerate() {
        for (id, value) in values.iter().enumerate() {
            stream.run(&format!("INSERT INTO texts_{number} VALUES ({id}, {value})")).await;
        }
        stream.run(&format!("INSERT INTO texts_{number} VALUES (100, NULL)")).await;
    }
    let end = stream.catch_up("by the log").await;
    assert!(end.stopped.is_empty(), "{end:?}");
    let mut differences = Vec::new();
    for (index, (column, model, _)) in TEXTS.iter().enumerate() {
        let schema = stream.mirror.request.datasets[index].schema.clone();
        let found = stream.mirror.rows(index).expect("it is whole");
        let there = read_table(stream.tables.as_mut(), &format!("texts_{index}"), &schema).await;
        let there = there.expect("it is there");
        let compare = || super::assert_same_rows(&schema, &found, &there, &format!("{column} as {model}"));
        if let Err(difference) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(compare)) {
            differences.push(difference.downcast_ref::<String>().cloned().unwrap_or_default());
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// A type that snapshots read and the log can't give.
const UNSPEAKABLE: [(&str, &str, &str); 6] = [
    ("tsvector", "text", "'a b'"),
    ("int4range", "text", "'[1,5)'"),
    ("inet[]", "list<text>", "'{10.0.0.1}'"),
    ("numeric[]", "list<text>", "'{1.5}'"),
    ("hstore", "text", "'a=>1'"),
    ("bigint GENERATED ALWAYS AS (id * 2) STORED", "int64", "DEFAULT"),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_can_not_give_is_named_before_anything_is_made() {
    let database = roomy("values_unspeakable");
    database.run("CREATE EXTENSION hstore").await;
    let mut datasets = Vec::new();
    for (number, (column, model, _)) in UNSPEAKABLE.iter().enumerate() {
        database.run(&format!("CREATE TABLE dark_{number} (id bigint PRIMARY KEY, value {column})")).await;
        let schema = schema_of(&[("id", "int64", true), ("value", model, false)]);
        datasets.push(dataset(&format!("dark_{number}"), &schema));
    }
    let mut mirror = super::Mirror::new("values_unspeakable", datasets);
    let error = mirror.pull(database.source().await.as_mut()).await.expect_err("the log has none of this").chain();
    for number in 0..UNSPEAKABLE.len() {
        assert!(error.contains(&format!("dark_{number}")), "dark_{number} is missing in: {error}");
    }
    assert!(error.contains("\"value\"") && error.contains("tsvector"), "{error}");
    let made = "SELECT (SELECT count(*) FROM pg_publication)::text || ' ' || count(*) FROM pg_replication_slots";
    let made = database.text(&format!("{made} WHERE database = current_database()")).await;
    assert_eq!(made, "0 0", "nothing was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_becomes_what_the_log_can_not_give_stops_its_dataset_alone() {
    let database = roomy("values_became");
    create_plain(&database, "orders").await;
    create_plain(&database, "others").await;
    let mut stream = Stream::begin(&database, vec![dataset("orders", &plain()), dataset("others", &plain())]).await;
    stream.run("INSERT INTO orders VALUES (1, 'one', 1)").await;
    stream.run("ALTER TABLE orders ALTER name TYPE tsvector USING to_tsvector('simple', name)").await;
    for id in 2..5 {
        stream
            .run(&format!("INSERT INTO orders VALUES ({id}, 'two', 2); INSERT INTO others VALUES ({id}, 'o', 1)"))
            .await;
        let reason = stream.stops(0, "a tsvector").await;
        assert!(reason.contains("tsvector") && reason.contains("\"name\""), "{reason}");
        stream.assert_same_one(1, "the other one goes on").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_datasets_of_one_table_have_their_own_columns_and_names() {
    let database = roomy("values_two");
    create_plain(&database, "orders").await;
    database.run("ALTER TABLE orders ADD extra text, ADD \"Strange Name\" numeric(10,2)").await;
    database.run("INSERT INTO orders VALUES (1, 'one', 1, 'x', 1.5), (2, 'two', 2, 'y', NULL)").await;
    let mut renamed =
        schema_of(&[("number", "int64", true), ("strange", "decimal(10,2)", false), ("amount", "int64", false)]);
    for (column, from) in renamed.columns.iter_mut().zip(["id", "Strange Name", "n"]) {
        column.from = Some(from.parse().expect("a name"));
    }
    // A name of the table that means another column here.
    let mut crossed = schema_of(&[("id", "int64", true), ("name", "text", false), ("extra", "text", false)]);
    crossed.columns[1].from = Some("extra".parse().expect("a name"));
    crossed.columns[2].from = Some("name".parse().expect("a name"));
    let keyless = Schema { columns: schema_of(&[("n", "int64", false), ("name", "text", false)]).columns };
    let of = |name: &str, schema: &Schema| postgres::dataset(name, "orders", schema);
    database.run("ALTER TABLE orders REPLICA IDENTITY FULL").await;
    let datasets =
        vec![of("whole", &plain()), of("renamed", &renamed), of("crossed", &crossed), of("keyless", &keyless)];
    let mut stream = Stream::begin(&database, datasets).await;
    let steps = [
        "INSERT INTO orders VALUES (3, 'three', 3, 'z', 3.25)",
        "UPDATE orders SET \"Strange Name\" = 9 WHERE id = 1",
        "UPDATE orders SET name = 'same', n = 0",
        "UPDATE orders SET id = id + 10",
        "DELETE FROM orders WHERE id = 11",
        "TRUNCATE orders; INSERT INTO orders VALUES (1, 'one', 1, 'x', 1.5)",
    ];
    for step in steps {
        stream.step(step).await;
    }
    stream.run("ALTER TABLE orders DROP extra").await;
    stream.run("INSERT INTO orders VALUES (4, 'four', 4, 4)").await;
    let reason = stream.stops(2, "one of them has lost a column").await;
    assert!(reason.contains("\"extra\""), "{reason}");
    for index in [0, 1, 3] {
        stream.assert_same_one(index, "the others of the table go on").await;
    }
    stream.run("ALTER TABLE orders ADD extra text DEFAULT 'new'").await;
    stream.reopen().await;
    stream.follow("it is back").await;
}
