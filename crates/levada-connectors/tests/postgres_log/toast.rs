//! Values that the log leaves out because they lie outside of their row and did not change.

use super::{Stream, dataset, roomy, schema_of};
use crate::postgres::Database;
use levada_flow::source::Coverage;
use levada_model::Schema;

/// `id (key), big text, bytes binary, n`
fn large() -> Schema {
    schema_of(&[("id", "int64", true), ("big", "text", false), ("bytes", "binary", false), ("n", "int64", false)])
}

/// A table whose large columns are never compressed.
async fn create_large(database: &Database, table: &str, key: &str) {
    database
        .run(&format!(
            "CREATE TABLE {table} ({key}, big text, bytes bytea, n bigint);
             ALTER TABLE {table} ALTER big SET STORAGE EXTERNAL, ALTER bytes SET STORAGE EXTERNAL"
        ))
        .await;
}

const STEPS: [&str; 12] = [
    "INSERT INTO large VALUES (1, repeat('a', 9000), repeat('b', 9000)::bytea, 1), (2, repeat('c', 5000), NULL, 2)",
    "UPDATE large SET n = n + 1",
    "UPDATE large SET n = n + 1; UPDATE large SET n = n + 1; UPDATE large SET n = n + 1",
    "INSERT INTO large VALUES (3, repeat('d', 9000), repeat('e', 9000)::bytea, 1); UPDATE large SET n = 7 WHERE id = 3",
    "UPDATE large SET big = repeat('f', 8000) WHERE id = 1; UPDATE large SET n = 8 WHERE id = 1",
    "UPDATE large SET bytes = NULL WHERE id = 3; UPDATE large SET n = 9 WHERE id = 3",
    "UPDATE large SET id = 30 WHERE id = 3",
    "UPDATE large SET id = 31, n = 10 WHERE id = 30; UPDATE large SET n = 11 WHERE id = 31",
    "UPDATE large SET id = 32 WHERE id = 31; UPDATE large SET id = 33 WHERE id = 32; UPDATE large SET id = 31 WHERE id = 33",
    "UPDATE large SET id = 99 WHERE id = 1; UPDATE large SET id = 1 WHERE id = 2; UPDATE large SET id = 2 WHERE id = 99",
    "DELETE FROM large WHERE id = 1; INSERT INTO large VALUES (1, repeat('g', 9000), NULL, 1); UPDATE large SET n = 2 WHERE id = 1",
    "UPDATE large SET id = id + 1000",
];

async fn follows_large(name: &str, identity: &str, pull_each: bool) {
    let database = roomy(name);
    create_large(&database, "large", "id bigint PRIMARY KEY").await;
    database.run(&format!("ALTER TABLE large REPLICA IDENTITY {identity}")).await;
    let mut stream = Stream::begin(&database, vec![dataset("large", &large())]).await;
    for step in STEPS {
        stream.run(step).await;
        if pull_each {
            let end = stream.follow(step).await;
            assert_eq!(end.coverage, [Coverage::Changes], "{step}");
        }
    }
    stream.follow("all").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_did_not_change_stay() {
    follows_large("toast_default", "DEFAULT", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_did_not_change_stay_when_all_comes_in_one_pull() {
    follows_large("toast_default_one", "DEFAULT", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_did_not_change_stay_where_whole_rows_are_logged() {
    follows_large("toast_full", "FULL", true).await;
    follows_large("toast_full_one", "FULL", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_key_keeps_its_large_values() {
    let database = roomy("toast_keyless");
    create_large(&database, "large", "id bigint").await;
    database.run("ALTER TABLE large REPLICA IDENTITY FULL").await;
    let mut schema = large();
    schema.columns[0].key = false;
    let mut stream = Stream::begin(&database, vec![dataset("large", &schema)]).await;
    for step in STEPS {
        stream.step(step).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_lies_outside_of_its_row_is_still_the_key() {
    let database = roomy("toast_key");
    database
        .run(
            "CREATE TABLE large (id text PRIMARY KEY, big text, n bigint);
             ALTER TABLE large ALTER id SET STORAGE EXTERNAL, ALTER big SET STORAGE EXTERNAL;
             INSERT INTO large VALUES (repeat('k', 2200), repeat('b', 2000), 1), ('short', repeat('c', 9000), 2)",
        )
        .await;
    let schema = schema_of(&[("id", "text", true), ("big", "text", false), ("n", "int64", false)]);
    let mut stream = Stream::begin(&database, vec![dataset("large", &schema)]).await;
    stream.step("UPDATE large SET n = n + 1").await;
    stream.step("UPDATE large SET big = 'small'").await;
    stream.step("UPDATE large SET id = repeat('l', 2300) WHERE id = 'short'").await;
    stream.step("INSERT INTO large VALUES (repeat('m', 2200), repeat('b', 2000), 1); UPDATE large SET n = n + 1").await;
    stream.step("DELETE FROM large WHERE id = repeat('k', 2200)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_is_more_than_the_key_tells_no_more_than_the_key() {
    let database = roomy("toast_identity");
    create_large(&database, "large", "id bigint NOT NULL, part bigint NOT NULL").await;
    database
        .run("CREATE UNIQUE INDEX by_part ON large (part, id); ALTER TABLE large REPLICA IDENTITY USING INDEX by_part")
        .await;
    let schema = schema_of(&[("id", "int64", true), ("part", "int64", false), ("big", "text", false)]);
    let mut stream = Stream::begin(&database, vec![dataset("large", &schema)]).await;
    stream
        .step("INSERT INTO large VALUES (1, 1, repeat('a', 9000), NULL, 1), (2, 1, repeat('b', 9000), NULL, 1)")
        .await;
    stream.step("UPDATE large SET part = 2 WHERE id = 1").await;
    stream.step("UPDATE large SET id = 3 WHERE id = 1").await;
    stream.step("UPDATE large SET n = 3").await;
    stream.step("DELETE FROM large WHERE id = 3").await;
}

/// Columns of the key with their types, by a name, and two of its values.
type Key = (&'static str, &'static [(&'static str, &'static str)], [&'static str; 2]);

/// Key columns, their types in the model, and two keys as SQL.
const KEYS: [Key; 9] = [
    ("k uuid", &[("k", "uuid")], ["'12345678-9abc-def0-1122-334455667788'", "gen_random_uuid()"]),
    ("k text", &[("k", "text")], [r#"E'it''s \\ a "key"\n; --'"#, "''"]),
    ("k char(5)", &[("k", "char(5)")], ["'ab'", "'a b c'"]),
    ("k timestamptz", &[("k", "timestamptz")], ["'2026-03-29 02:30:00.123456+02'", "'0001-01-01 00:00:00+00 BC'"]),
    ("k timestamp", &[("k", "timestamp")], ["'1969-12-31 23:59:59.999999'", "'12026-01-01'"]),
    ("k numeric(20,4)", &[("k", "decimal(20,4)")], ["-0.0001", "1234567890123456.7891"]),
    ("k bytea", &[("k", "binary")], [r"'\x00ff27'", r"'\x'"]),
    ("k date, l boolean", &[("k", "date"), ("l", "boolean")], ["'0044-03-15 BC', true", "'2026-02-28', false"]),
    (
        r#""a b" text, l double precision, m time"#,
        &[("a b", "text"), ("l", "float64"), ("m", "time")],
        ["'x''y', 0.1, '23:59:59.999999'", "'NaN', 'NaN', '24:00:00'"],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_a_table_that_joins_is_looked_up_by_its_key_of_any_type() {
    let database = roomy("toast_joins");
    let mut stream = Stream::of_plain(&database, "orders").await;
    let mut datasets = Vec::new();
    for (number, (definition, key, values)) in KEYS.iter().enumerate() {
        let table = format!("large_{number}");
        create_large(&database, &table, definition).await;
        let names: Vec<String> = key.iter().map(|(name, _)| format!("{name:?}")).collect();
        database.run(&format!("ALTER TABLE {table} ADD PRIMARY KEY ({})", names.join(", "))).await;
        for value in values.iter().filter(|value| !value.contains("24:00:00")) {
            database.run(&format!("INSERT INTO {table} VALUES ({value}, repeat('v', 9000), NULL, 1)")).await;
        }
        let mut columns: Vec<(&str, &str, bool)> = key.iter().map(|(name, kind)| (*name, *kind, true)).collect();
        columns.extend([("big", "text", false), ("bytes", "binary", false), ("n", "int64", false)]);
        datasets.push(dataset(&table, &schema_of(&columns)));
    }
    for dataset in datasets {
        stream.mirror.join(dataset);
    }
    // The first window of each table is not closed when its rows change.
    let writer = database.client().await;
    for round in 0..3 {
        let write = async {
            for number in 0..KEYS.len() {
                let update = format!("UPDATE large_{number} SET n = n + 1");
                writer.batch_execute(&format!("{update}; {update}")).await.expect("rows change");
            }
        };
        let (end, ()) = futures::join!(stream.mirror.pull(stream.source.as_mut()), write);
        let end = end.unwrap_or_else(|error| panic!("{}", error.chain()));
        assert!(end.stopped.is_empty(), "round {round}: {end:?}");
    }
    stream.follow("all have joined").await;
    for number in 0..KEYS.len() {
        stream.step(&format!("UPDATE large_{number} SET n = n + 1")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_log_did_not_tell_whole_while_a_table_joins_are_looked_up() {
    let database = roomy("toast_window");
    create_large(&database, "large", "id bigint PRIMARY KEY").await;
    let rows = "SELECT n, repeat('v', 2500), NULL, 1 FROM generate_series(1, 3000) n";
    database.run(&format!("INSERT INTO large {rows}")).await;
    database.run("ALTER TABLE large SET (toast_tuple_target = 128)").await;
    let mut stream = Stream::of_plain(&database, "orders").await;
    stream.mirror.join(dataset("large", &large()));
    let (done, mut is_done) = tokio::sync::oneshot::channel::<()>();
    let writer = database.client().await;
    let write = async {
        for number in 0_i64.. {
            if is_done.try_recv().is_ok() {
                break;
            }
            let id = number * 7 % 3_000 + 1;
            let update = format!("UPDATE large SET n = -{number} WHERE id % 50 = {}", number % 50);
            let swap =
                format!("DELETE FROM large WHERE id = {id}; UPDATE large SET id = {id} WHERE id = {} + 1", id % 3_000);
            writer.batch_execute(&format!("{update}; {swap}")).await.expect("rows change");
        }
    };
    let follow = async {
        while stream.mirror.rows(1).is_none() {
            stream.mirror.pull(stream.source.as_mut()).await.unwrap_or_else(|error| panic!("{}", error.chain()));
        }
        let _ = done.send(());
    };
    futures::join!(follow, write);
    stream.follow("it has joined").await;
}
