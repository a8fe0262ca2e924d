//! What every change log keeps.

use super::mirror::Mirror;
use super::source::{SourceHarness, read_table};
use super::{all_types, assert_same_rows, hostile_names, sample, schema_of};
use crate::arrow_schema::arrow_schema;
use crate::source::{Coverage, PullDataset, PullEnd, Until};
use crate::{BATCH_ROWS_MAX, FlowError, Source};
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use async_trait::async_trait;
use levada_model::Schema;
use std::sync::Arc;

/// A real system with a change log, seen as its owner sees it.
#[async_trait]
pub trait LogHarness: SourceHarness {
    /// Runs statements, one transaction each unless they say otherwise.
    async fn run(&self, statements: &str);

    /// Gives a table a primary key, or has it log whole rows where there is none.
    async fn identify(&self, table: &str, key: &[&str]);

    /// A table, as the model writes it, in the system's SQL.
    fn table(&self, written: &str) -> String;

    /// A column in the system's SQL.
    fn column(&self, name: &str) -> String;

    /// Whether the system keeps its log for a reader, and may forget it when the reader leaves; else it keeps it
    /// for a while whoever reads.
    fn keeps_log_for_readers(&self) -> bool {
        true
    }
}

/// Runs the whole suite.
///
/// # Panics
/// The source breaks its contract.
pub async fn check_log(harness: &dyn LogHarness) {
    what_changes_arrives_once_and_in_whole_transactions(harness).await;
    what_was_not_committed_comes_again_and_what_was_does_not(harness).await;
    every_type_arrives_by_the_log_as_it_is(harness).await;
    hostile_names_are_only_names(harness).await;
    a_table_without_a_key_keeps_the_count_of_equal_rows(harness).await;
    a_truncated_table_is_empty(harness).await;
    a_large_transaction_is_one_pull(harness).await;
    a_stream_without_changes_moves_on_while_others_write(harness).await;
    a_pull_waits_for_news_and_gathers_them(harness).await;
    a_dataset_joins_while_others_write(harness).await;
    a_column_that_goes_stops_its_dataset_alone(harness).await;
    a_column_that_comes_is_read_when_the_model_has_it(harness).await;
    a_reader_that_leaves_leaves_nothing(harness).await;
}

fn dataset(table: &str, schema: &Schema) -> PullDataset {
    let name: String = table.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let name = format!("d{name}").parse().expect("letters, digits and underscores");
    PullDataset { dataset: name, table: table.to_owned(), schema: schema.clone(), watermark: None }
}

/// `id int64 (key), name text, n int64`
fn plain() -> Schema {
    schema_of(&[("id", "int64", true), ("name", "text", false), ("n", "int64", false)])
}

/// An empty table of these columns.
async fn create(harness: &dyn LogHarness, table: &str, schema: &Schema) {
    harness.create(table, schema, &RecordBatch::new_empty(arrow_schema(schema))).await;
    let key: Vec<&str> = schema.columns.iter().filter(|column| column.key).map(|it| it.name.as_str()).collect();
    harness.identify(table, &key).await;
}

/// Compares a mirror with what stands in the tables.
async fn assert_mirrors(harness: &dyn LogHarness, mirror: &Mirror, what: &str) {
    for (index, dataset) in mirror.request.datasets.iter().enumerate() {
        let found = mirror.rows(index).unwrap_or_else(|| panic!("{what}: {} was never told whole", dataset.table));
        let mut source = harness.open().await;
        let there = read_table(source.as_mut(), &dataset.table, &dataset.schema).await.expect("the table is there");
        assert_same_rows(&dataset.schema, &found, &there, &format!("{what}: {}", dataset.table));
    }
}

async fn begin(harness: &dyn LogHarness, reader: &str, datasets: Vec<PullDataset>) -> (Mirror, Box<dyn Source>) {
    let mut mirror = Mirror::new(reader, datasets);
    let mut source = harness.open().await;
    let end = mirror.catch_up(source.as_mut()).await.expect("the first pull reads everything");
    assert!(end.stopped.is_empty() && end.coverage.iter().all(|coverage| *coverage == Coverage::Complete), "{end:?}");
    assert_mirrors(harness, &mirror, "at the beginning").await;
    (mirror, source)
}

async fn end_of(harness: &dyn LogHarness, mirror: Mirror, mut source: Box<dyn Source>) {
    assert_mirrors(harness, &mirror, "at the end").await;
    source.forget(&mirror.request.reader).await.expect("the source forgets its reader");
}

async fn what_changes_arrives_once_and_in_whole_transactions(harness: &dyn LogHarness) {
    create(harness, "log_first", &plain()).await;
    create(harness, "log_second", &plain()).await;
    harness.run("INSERT INTO log_first VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3)").await;
    let datasets = vec![dataset("log_first", &plain()), dataset("log_second", &plain())];
    let (mut mirror, mut source) = begin(harness, "levada_first", datasets).await;
    let steps = [
        "INSERT INTO log_first VALUES (4, 'four', 4)",
        "UPDATE log_first SET n = n + 10 WHERE id IN (1, 2)",
        "DELETE FROM log_first WHERE id = 3",
        "BEGIN; INSERT INTO log_second VALUES (1, NULL, NULL); UPDATE log_first SET name = NULL; COMMIT",
        "BEGIN; INSERT INTO log_second VALUES (9, 'never', 9); ROLLBACK",
        "UPDATE log_first SET id = 5 WHERE id = 4",
        "BEGIN; DELETE FROM log_first WHERE id = 5; INSERT INTO log_first VALUES (5, 'again', 5); COMMIT",
        "BEGIN; INSERT INTO log_first VALUES (6, 'short', 6); DELETE FROM log_first WHERE id = 6; COMMIT",
        "BEGIN; UPDATE log_first SET id = 7 WHERE id = 1; UPDATE log_first SET id = 1 WHERE id = 2; COMMIT",
        "BEGIN; SAVEPOINT a; INSERT INTO log_second VALUES (10, 'undone', 1); ROLLBACK TO SAVEPOINT a; \
         INSERT INTO log_second VALUES (11, 'done', 1); COMMIT",
    ];
    for step in steps {
        harness.run(step).await;
        mirror.catch_up(source.as_mut()).await.expect("the log goes on");
        assert_mirrors(harness, &mirror, step).await;
    }
    for step in [steps[1], steps[6], steps[7], steps[4]] {
        harness.run(step).await;
    }
    mirror.catch_up(source.as_mut()).await.expect("several transactions in one pull");
    end_of(harness, mirror, source).await;
}

async fn what_was_not_committed_comes_again_and_what_was_does_not(harness: &dyn LogHarness) {
    create(harness, "log_again", &plain()).await;
    let (mut mirror, mut source) = begin(harness, "levada_again", vec![dataset("log_again", &plain())]).await;
    for number in 0..6 {
        harness.run(&format!("INSERT INTO log_again VALUES ({number}, 'n', {number})")).await;
        match number % 3 {
            0 => drop(mirror.pull_in_vain(source.as_mut()).await.expect("the log goes on")),
            1 => drop(mirror.pull_and_lose_the_answer(source.as_mut()).await.expect("the log goes on")),
            _ => drop(mirror.catch_up(source.as_mut()).await.expect("the log goes on")),
        }
        // Whoever dies leaves a connection behind that the next one must not mind.
        let died = std::mem::replace(&mut source, harness.open().await);
        mirror.catch_up(source.as_mut()).await.expect("the next one goes on from the last commit");
        drop(died);
        assert_mirrors(harness, &mirror, "after a reader died").await;
    }
    end_of(harness, mirror, source).await;
}

async fn every_type_arrives_by_the_log_as_it_is(harness: &dyn LogHarness) {
    let (mut datasets, mut samples) = (Vec::new(), Vec::new());
    for (number, data_type) in all_types().into_iter().enumerate().filter(|(_, data_type)| harness.has(data_type)) {
        let schema = schema_of(&[("id", "int64", true), ("value", &data_type.to_string(), false)]);
        let values = super::sample::with_null(&sample(&data_type, &harness.limits()));
        let ids: ArrayRef = Arc::new((0..values.len() as i64).map(Some).collect::<Int64Array>());
        let rows = RecordBatch::try_new(arrow_schema(&schema), vec![ids, values]).expect("samples are of their type");
        let table = format!("log_type_{number}");
        create(harness, &table, &schema).await;
        datasets.push(dataset(&table, &schema));
        samples.push((table, schema, rows));
    }
    let (mut mirror, mut source) = begin(harness, "levada_types", datasets).await;
    for (table, schema, rows) in &samples {
        harness.insert(table, schema, rows).await;
    }
    let end = mirror.catch_up(source.as_mut()).await.expect("every value has an image");
    assert!(end.stopped.is_empty(), "every value has an image: {:?}", end.stopped);
    for (index, (table, schema, rows)) in samples.iter().enumerate() {
        let found = mirror.rows(index).expect("it is whole");
        assert_same_rows(schema, &found, std::slice::from_ref(rows), table);
    }
    for (table, ..) in &samples {
        harness.run(&format!("UPDATE {table} SET id = id + 1000 WHERE id % 2 = 0")).await;
        harness.run(&format!("DELETE FROM {table} WHERE id % 3 = 0")).await;
    }
    mirror.catch_up(source.as_mut()).await.expect("keys change and go");
    end_of(harness, mirror, source).await;
}

async fn hostile_names_are_only_names(harness: &dyn LogHarness) {
    let names: Vec<&str> = hostile_names().into_iter().filter(|name| harness.has_name(name)).collect();
    let columns: Vec<(&str, &str, bool)> = names.iter().map(|name| (*name, "text", false)).collect();
    let schema = schema_of(&[vec![("id", "int64", true)], columns].concat());
    let tables: Vec<String> = names.iter().enumerate().map(|(number, name)| format!("log x{name} {number}")).collect();
    for table in &tables {
        create(harness, table, &schema).await;
    }
    let datasets = tables.iter().map(|table| dataset(table, &schema)).collect();
    let (mut mirror, mut source) = begin(harness, "levada_hostile", datasets).await;
    for table in &tables {
        let (table, name) = (harness.table(table), harness.column(names[0]));
        harness.run(&format!("INSERT INTO {table} (id, {name}) VALUES (1, 'x')")).await;
        harness.run(&format!("UPDATE {table} SET {name} = 'y'")).await;
    }
    mirror.catch_up(source.as_mut()).await.expect("names are quoted");
    end_of(harness, mirror, source).await;
}

async fn a_table_without_a_key_keeps_the_count_of_equal_rows(harness: &dyn LogHarness) {
    let schema = schema_of(&[("name", "text", false), ("n", "int64", false)]);
    create(harness, "log_keyless", &schema).await;
    harness.run("INSERT INTO log_keyless VALUES ('a', 1), ('a', 1), ('b', NULL), (NULL, NULL)").await;
    let (mut mirror, mut source) = begin(harness, "levada_keyless", vec![dataset("log_keyless", &schema)]).await;
    for step in [
        "INSERT INTO log_keyless VALUES ('a', 1), ('c', 3)",
        "UPDATE log_keyless SET n = 2 WHERE name = 'c'",
        "DELETE FROM log_keyless WHERE name IS NULL",
        "UPDATE log_keyless SET name = 'd' WHERE name = 'a'",
        "DELETE FROM log_keyless WHERE name = 'd'",
    ] {
        harness.run(step).await;
        mirror.catch_up(source.as_mut()).await.expect("the log goes on");
        assert_mirrors(harness, &mirror, step).await;
    }
    end_of(harness, mirror, source).await;
}

async fn a_truncated_table_is_empty(harness: &dyn LogHarness) {
    create(harness, "log_truncated", &plain()).await;
    harness.run("INSERT INTO log_truncated VALUES (1, 'one', 1), (2, 'two', 2)").await;
    let (mut mirror, mut source) = begin(harness, "levada_truncated", vec![dataset("log_truncated", &plain())]).await;
    harness.run("INSERT INTO log_truncated VALUES (3, 'three', 3)").await;
    harness.run("TRUNCATE TABLE log_truncated").await;
    harness.run("INSERT INTO log_truncated VALUES (2, 'zwei', 2), (4, 'vier', 4)").await;
    mirror.catch_up(source.as_mut()).await.expect("the log goes on");
    assert_mirrors(harness, &mirror, "rows before and after").await;
    harness.run("TRUNCATE TABLE log_truncated").await;
    mirror.catch_up(source.as_mut()).await.expect("the log goes on");
    end_of(harness, mirror, source).await;
}

async fn a_large_transaction_is_one_pull(harness: &dyn LogHarness) {
    create(harness, "log_large", &plain()).await;
    let (mut mirror, mut source) = begin(harness, "levada_large", vec![dataset("log_large", &plain())]).await;
    let rows = 20 * BATCH_ROWS_MAX as i64;
    let row = |id: i64| format!("({id}, 'name {id}', {id})");
    let ids: Vec<i64> = (0..rows).collect();
    let inserts: Vec<String> = ids
        .chunks(2_000)
        .map(|ids| {
            let rows: Vec<String> = ids.iter().map(|id| row(*id)).collect();
            format!("INSERT INTO log_large VALUES {}", rows.join(", "))
        })
        .collect();
    harness.run(&format!("BEGIN; {}; COMMIT", inserts.join("; "))).await;
    let end = mirror.pull(source.as_mut()).await.expect("the log goes on");
    assert_eq!(mirror.rows(0).expect("it is whole").len() as i64, rows, "all of it in one pull: {end:?}");
    end_of(harness, mirror, source).await;
}

async fn a_stream_without_changes_moves_on_while_others_write(harness: &dyn LogHarness) {
    create(harness, "log_idle", &plain()).await;
    create(harness, "log_others", &plain()).await;
    let (mut mirror, mut source) = begin(harness, "levada_idle", vec![dataset("log_idle", &plain())]).await;
    let before = mirror.request.previous.clone();
    harness.run("INSERT INTO log_others VALUES (1, 'one', 1)").await;
    mirror.catch_up(source.as_mut()).await.expect("the log goes on");
    assert_ne!(before, mirror.request.previous, "the source may forget what others wrote");
    end_of(harness, mirror, source).await;
}

async fn a_pull_waits_for_news_and_gathers_them(harness: &dyn LogHarness) {
    create(harness, "log_news", &plain()).await;
    let (mut mirror, mut source) = begin(harness, "levada_news", vec![dataset("log_news", &plain())]).await;
    mirror.request.until = Until::News { linger_ms: 50, idle_ms: 100 };
    mirror.pull(source.as_mut()).await.expect("nothing comes, and the pull ends");
    mirror.request.until = Until::News { linger_ms: 50, idle_ms: 60_000 };
    let write = harness.run("INSERT INTO log_news VALUES (1, 'one', 1)");
    let (end, ()) = futures::join!(mirror.pull(source.as_mut()), write);
    end.expect("news come, and the pull ends long before its time");
    assert_eq!(mirror.rows(0).expect("it is whole").len(), 1);
    end_of(harness, mirror, source).await;
}

async fn a_dataset_joins_while_others_write(harness: &dyn LogHarness) {
    let keyless = schema_of(&[("name", "text", false), ("n", "int64", false)]);
    create(harness, "log_running", &plain()).await;
    create(harness, "log_joining", &plain()).await;
    create(harness, "log_joining_keyless", &keyless).await;
    for start in (0..12_000).step_by(2_000) {
        let rows = |id: i64| format!("({id}, '{:0>300}', {id})", id);
        let rows: Vec<String> = (start..start + 2_000).map(rows).collect();
        harness.run(&format!("INSERT INTO log_joining VALUES {}", rows.join(", "))).await;
    }
    harness.run("INSERT INTO log_joining_keyless VALUES ('a', 1), ('a', 1), ('b', 2)").await;
    let (mut mirror, mut source) = begin(harness, "levada_join", vec![dataset("log_running", &plain())]).await;
    mirror.join(dataset("log_joining", &plain()));
    mirror.join(dataset("log_joining_keyless", &keyless));
    let (done, mut is_done) = tokio::sync::oneshot::channel::<()>();
    let write = async {
        for number in 0_i64.. {
            if is_done.try_recv().is_ok() {
                break;
            }
            let id = number * 7_919 % 12_000;
            harness.run(&format!("UPDATE log_joining SET n = -{number}, name = 'short' WHERE id = {id}")).await;
            harness.run(&format!("DELETE FROM log_joining WHERE id = {}", (id + 6_000) % 12_000)).await;
            harness.run(&format!("INSERT INTO log_joining VALUES ({}, 'new', 1)", 20_000 + number)).await;
            harness.run(&format!("INSERT INTO log_running VALUES ({number}, 'r', 1)")).await;
            harness.run(&format!("INSERT INTO log_joining_keyless VALUES ('a', {})", number % 2)).await;
            harness.run("UPDATE log_joining_keyless SET n = 5 WHERE name = 'b'").await;
        }
    };
    let follow = async {
        let end = catch_up_joins(&mut mirror, source.as_mut()).await.expect("the stream goes on");
        let _ = done.send(());
        end
    };
    let (end, ()) = futures::join!(follow, write);
    assert!(end.stopped.is_empty(), "{end:?}");
    mirror.catch_up(source.as_mut()).await.expect("the log goes on");
    end_of(harness, mirror, source).await;
}

/// Pulls until every dataset is whole.
async fn catch_up_joins(mirror: &mut Mirror, source: &mut dyn Source) -> Result<PullEnd, FlowError> {
    loop {
        let end = mirror.pull(source).await?;
        if (0..mirror.request.datasets.len()).all(|index| mirror.rows(index).is_some()) {
            return Ok(end);
        }
    }
}

async fn a_column_that_goes_stops_its_dataset_alone(harness: &dyn LogHarness) {
    create(harness, "log_dropped", &plain()).await;
    create(harness, "log_goes_on", &plain()).await;
    let datasets = vec![dataset("log_dropped", &plain()), dataset("log_goes_on", &plain())];
    let (mut mirror, mut source) = begin(harness, "levada_dropped", datasets).await;
    harness.run("INSERT INTO log_dropped VALUES (1, 'one', 1)").await;
    harness.run("ALTER TABLE log_dropped DROP COLUMN n").await;
    harness.run("INSERT INTO log_dropped VALUES (2, 'two')").await;
    harness.run("INSERT INTO log_goes_on VALUES (1, 'one', 1)").await;
    let end = mirror.catch_up(source.as_mut()).await.expect("the stream goes on");
    assert_eq!(end.stopped.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0], "{end:?}");
    assert!(end.stopped[0].1.chain().contains('n'), "{end:?}");
    assert_eq!(end.coverage[0], Coverage::Nothing);
    assert_eq!(mirror.rows(1).expect("it is whole").len(), 1, "the other one goes on");

    harness.run("ALTER TABLE log_dropped ADD COLUMN n bigint").await;
    harness.run("UPDATE log_dropped SET n = id * 10").await;
    // Found when the stream is opened again, if not before.
    let mut again = harness.open().await;
    drop(source);
    let end = catch_up_joins(&mut mirror, again.as_mut()).await.expect("the stream goes on");
    assert!(end.stopped.is_empty(), "{end:?}");
    end_of(harness, mirror, again).await;
}

async fn a_column_that_comes_is_read_when_the_model_has_it(harness: &dyn LogHarness) {
    create(harness, "log_wider", &plain()).await;
    harness.run("INSERT INTO log_wider VALUES (1, 'one', 1), (2, 'two', 2)").await;
    let (mut mirror, mut source) = begin(harness, "levada_wider", vec![dataset("log_wider", &plain())]).await;
    harness.run("ALTER TABLE log_wider ADD COLUMN extra bigint DEFAULT 7").await;
    harness.run("INSERT INTO log_wider VALUES (3, 'three', 3, 33)").await;
    let end = mirror.catch_up(source.as_mut()).await.expect("a column more is no matter");
    assert!(end.stopped.is_empty(), "{end:?}");
    assert_mirrors(harness, &mirror, "without the new column").await;
    let wider =
        schema_of(&[("id", "int64", true), ("name", "text", false), ("n", "int64", false), ("extra", "int64", false)]);
    mirror.change(0, dataset("log_wider", &wider));
    catch_up_joins(&mut mirror, source.as_mut()).await.expect("the dataset is read anew beside the stream");
    end_of(harness, mirror, source).await;
}

async fn a_reader_that_leaves_leaves_nothing(harness: &dyn LogHarness) {
    create(harness, "log_left", &plain()).await;
    let (mut mirror, mut source) = begin(harness, "levada_left", vec![dataset("log_left", &plain())]).await;
    let incarnation = mirror.request.previous.as_ref().map(|previous| previous.incarnation.clone());
    source.forget("levada_left").await.expect("the source forgets its reader");
    source.forget("levada_left").await.expect("and does not mind a reader that it does not know");
    harness.run("INSERT INTO log_left VALUES (1, 'one', 1)").await;
    let end = mirror.catch_up(source.as_mut()).await.expect("who comes back begins anew, or goes on");
    let now = mirror.request.previous.as_ref().map(|previous| previous.incarnation.clone());
    let is_anew = harness.keeps_log_for_readers();
    assert_eq!(end.coverage, [if is_anew { Coverage::Complete } else { Coverage::Changes }]);
    assert_eq!(now != incarnation, is_anew);
    end_of(harness, mirror, source).await;
}
