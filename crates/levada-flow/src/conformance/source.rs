//! What every source keeps.

use super::sample::with_null;
use super::{Limits, all_types, assert_same_rows, hostile_names, sample, schema_of};
use crate::arrow_schema::arrow_schema;
use crate::source::{Coverage, Previous, PullDataset, PullEnd, PullRequest, Pulled};
use crate::{BATCH_ROWS_MAX, FlowError, Position, Source};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use async_trait::async_trait;
use levada_model::model::IngestKind;
use levada_model::{DataType, Schema};
use std::sync::Arc;
use tokio::sync::mpsc;

/// A real system under test, seen as its owner sees it.
#[async_trait]
pub trait SourceHarness: Sync {
    /// What its types hold.
    fn limits(&self) -> Limits;

    /// Whether it has the type.
    fn has(&self, data_type: &DataType) -> bool;

    /// Whether a table or column can have such a name.
    fn has_name(&self, _name: &str) -> bool {
        true
    }

    /// How it is read; [`IngestKind::Snapshot`] unless it says otherwise.
    fn kind(&self) -> IngestKind {
        IngestKind::Snapshot
    }

    /// Whether it is read by watermark, too.
    fn has_watermark(&self) -> bool {
        true
    }

    /// Whether tables can be written while a pull reads them.
    fn writes_while_reading(&self) -> bool {
        true
    }

    /// Makes a table with these rows.
    async fn create(&self, table: &str, schema: &Schema, rows: &RecordBatch);

    /// Adds rows to a table.
    async fn insert(&self, table: &str, schema: &Schema, rows: &RecordBatch);

    /// Takes all rows out of a table.
    async fn clear(&self, table: &str);

    /// Opens the system as the runtime does.
    async fn open(&self) -> Box<dyn Source>;
}

/// Runs the whole suite.
///
/// # Panics
/// The source breaks its contract.
pub async fn check_source(harness: &dyn SourceHarness) {
    every_type_arrives_as_it_is(harness).await;
    hostile_names_are_only_names(harness).await;
    empty_tables_are_complete(harness).await;
    batches_are_bounded_and_a_reader_that_leaves_ends_the_pull(harness).await;
    all_mismatches_are_named_at_once(harness).await;
    an_incarnation_stays_while_the_source_does(harness).await;
    if harness.writes_while_reading() {
        all_tables_of_a_pull_are_one_state(harness).await;
    }
    if harness.has_watermark() {
        a_watermark_finds_what_is_new_and_keys_what_is_gone(harness).await;
        an_overlap_looks_back(harness).await;
        a_new_incarnation_is_read_from_the_beginning(harness).await;
        a_dataset_that_joins_leaves_the_others_where_they_are(harness).await;
    }
}

/// Pulls everything into memory: rows and keys per dataset.
///
/// # Errors
/// The pull's own.
pub async fn pull_all(
    source: &mut dyn Source,
    request: &PullRequest,
) -> Result<(Vec<Vec<RecordBatch>>, Vec<Vec<RecordBatch>>, PullEnd), FlowError> {
    let (out, mut pulled) = mpsc::channel(2);
    let mut rows = vec![Vec::new(); request.datasets.len()];
    let mut keys = rows.clone();
    let collect = async {
        while let Some(pulled) = pulled.recv().await {
            match pulled {
                Pulled::Rows { dataset, rows: batch } => rows[dataset].push(batch),
                Pulled::Keys { dataset, keys: batch } => keys[dataset].push(batch),
                Pulled::Changes { .. } | Pulled::Truncated { .. } | Pulled::Discard { .. } => {
                    panic!("this way of reading knows no changes")
                }
            }
        }
    };
    let (end, ()) = futures::join!(source.pull(request, out), collect);
    Ok((rows, keys, end?))
}

/// Reads one table or view by snapshot, as a test looks at what a sink wrote.
///
/// # Errors
/// The pull's own, as where there is no such table.
pub async fn read_table(source: &mut dyn Source, table: &str, schema: &Schema) -> Result<Vec<RecordBatch>, FlowError> {
    let request = request_of(IngestKind::Snapshot, vec![dataset(table, schema)]);
    Ok(pull_all(source, &request).await?.0.remove(0))
}

fn dataset(table: &str, schema: &Schema) -> PullDataset {
    // A dataset's name is plainer than a table's may be.
    let name: String = table.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let name = format!("d{name}").parse().expect("letters, digits and underscores");
    PullDataset { dataset: name, table: table.to_owned(), schema: schema.clone(), watermark: None }
}

fn request_of(kind: IngestKind, datasets: Vec<PullDataset>) -> PullRequest {
    PullRequest::new(kind, datasets, "levada_conformance")
}

/// A table of all the type's samples, with a key and a null.
fn typed(data_type: &DataType, limits: &Limits) -> (Schema, RecordBatch) {
    let schema = schema_of(&[("id", "int64", true), ("value", &data_type.to_string(), false)]);
    let values = with_null(&sample(data_type, limits));
    let ids: ArrayRef = Arc::new((0..values.len() as i64).map(Some).collect::<Int64Array>());
    let rows = RecordBatch::try_new(arrow_schema(&schema), vec![ids, values]).expect("samples are of their type");
    (schema, rows)
}

fn numbered(count: usize) -> (Schema, RecordBatch) {
    let schema = schema_of(&[("id", "int64", true), ("name", "text", false)]);
    let ids: ArrayRef = Arc::new((0..count as i64).map(Some).collect::<Int64Array>());
    let names = (0..count).map(|number| Some(format!("name {number}"))).collect::<StringArray>();
    let rows = RecordBatch::try_new(arrow_schema(&schema), vec![ids, Arc::new(names)]);
    (schema, rows.expect("two columns"))
}

async fn every_type_arrives_as_it_is(harness: &dyn SourceHarness) {
    let (mut datasets, mut expected) = (Vec::new(), Vec::new());
    for (number, data_type) in all_types().into_iter().enumerate().filter(|(_, data_type)| harness.has(data_type)) {
        let (schema, rows) = typed(&data_type, &harness.limits());
        let table = format!("type_{number}");
        harness.create(&table, &schema, &rows).await;
        datasets.push(dataset(&table, &schema));
        expected.push((schema, rows, data_type));
    }
    let request = request_of(harness.kind(), datasets);
    let mut source = harness.open().await;
    source.inspect(&request).await.expect("everything is there");
    let (rows, _, end) = pull_all(source.as_mut(), &request).await.expect("every value has an image");
    assert!(end.coverage.iter().all(|coverage| *coverage == Coverage::Complete), "a snapshot is complete");
    for (found, (schema, rows, data_type)) in rows.iter().zip(&expected) {
        for batch in found {
            assert_eq!(batch.schema().fields(), arrow_schema(schema).fields(), "{data_type} has its one image");
        }
        assert_same_rows(schema, found, std::slice::from_ref(rows), &data_type.to_string());
    }
    source.acknowledge(&end.position).await.expect("what was committed can be acknowledged");
}

async fn hostile_names_are_only_names(harness: &dyn SourceHarness) {
    let names: Vec<&str> = hostile_names().into_iter().filter(|name| harness.has_name(name)).collect();
    let mut columns = vec![("id", "int64", true)];
    columns.extend(names.iter().map(|name| (*name, "text", false)));
    let schema = schema_of(&columns);
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![1]))];
    arrays.extend(names.iter().map(|name| Arc::new(StringArray::from(vec![*name])) as ArrayRef));
    let rows = RecordBatch::try_new(arrow_schema(&schema), arrays).expect("a column a name");
    let mut datasets = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let table = format!("{name} {number}");
        harness.create(&table, &schema, &rows).await;
        datasets.push(dataset(&table, &schema));
    }
    let request = request_of(harness.kind(), datasets);
    let mut source = harness.open().await;
    source.inspect(&request).await.expect("names are found as they are");
    let (found, ..) = pull_all(source.as_mut(), &request).await.expect("names are quoted");
    for (name, found) in names.iter().zip(found) {
        assert_same_rows(&schema, &found, std::slice::from_ref(&rows), name);
    }
}

async fn empty_tables_are_complete(harness: &dyn SourceHarness) {
    let (schema, rows) = numbered(0);
    harness.create("empty", &schema, &rows).await;
    let request = request_of(harness.kind(), vec![dataset("empty", &schema)]);
    let (rows, _, end) = pull_all(harness.open().await.as_mut(), &request).await.expect("an empty table is one");
    assert_eq!(rows[0].iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
    assert_eq!(end.coverage, [Coverage::Complete]);
    let position = Position::from_bytes(&end.position.to_bytes()).expect("what is stored can be read");
    assert_eq!(position, end.position);
}

async fn batches_are_bounded_and_a_reader_that_leaves_ends_the_pull(harness: &dyn SourceHarness) {
    let (schema, rows) = numbered(3 * BATCH_ROWS_MAX + 1);
    harness.create("bounded", &schema, &rows).await;
    let request = request_of(harness.kind(), vec![dataset("bounded", &schema)]);
    let mut source = harness.open().await;
    let (found, ..) = pull_all(source.as_mut(), &request).await.expect("many rows are rows");
    let most = found[0].iter().map(RecordBatch::num_rows).max();
    assert!(most <= Some(BATCH_ROWS_MAX), "a batch has {most:?} rows");
    assert_same_rows(&schema, &found[0], &[rows], "many rows");

    let (out, mut pulled) = mpsc::channel(1);
    let leave = async {
        let first = pulled.recv().await;
        assert!(first.is_some(), "rows come before the pull is over");
        drop(pulled);
    };
    let (end, ()) = futures::join!(source.pull(&request, out), leave);
    assert!(end.is_err(), "a pull that nobody reads has not ended well");
}

async fn all_mismatches_are_named_at_once(harness: &dyn SourceHarness) {
    let (schema, rows) = numbered(1);
    harness.create("customers", &schema, &rows).await;
    let wrong = schema_of(&[("id", "int64", true), ("nmae", "text", false), ("elsewhere_entirely", "text", false)]);
    let datasets = vec![dataset("customers", &wrong), dataset("custmers_nowhere", &schema)];
    let request = request_of(harness.kind(), datasets);
    let mut source = harness.open().await;
    let error = source.inspect(&request).await.expect_err("nothing of this is there").chain();
    for part in ["nmae", "elsewhere_entirely", "custmers_nowhere"] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
    assert!(error.contains("\"name\"") || error.contains("`name`"), "the nearest column is missing in: {error}");
    assert!(pull_all(source.as_mut(), &request).await.is_err(), "a pull sees the same");
}

async fn an_incarnation_stays_while_the_source_does(harness: &dyn SourceHarness) {
    let (schema, rows) = numbered(1);
    harness.create("identity", &schema, &rows).await;
    let request = request_of(harness.kind(), vec![dataset("identity", &schema)]);
    let first = pull_all(harness.open().await.as_mut(), &request).await.expect("it is there").2;
    let again = pull_all(harness.open().await.as_mut(), &request).await.expect("it is still there").2;
    assert_eq!(first.incarnation, again.incarnation);
    assert!(!first.incarnation.is_empty());
}

async fn all_tables_of_a_pull_are_one_state(harness: &dyn SourceHarness) {
    let (schema, many) = numbered(5 * BATCH_ROWS_MAX);
    let few = many.slice(0, 10);
    harness.create("state_many", &schema, &many).await;
    harness.create("state_few", &schema, &few).await;
    let request = request_of(harness.kind(), vec![dataset("state_many", &schema), dataset("state_few", &schema)]);
    let mut source = harness.open().await;
    let (out, mut pulled) = mpsc::channel(1);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let write_and_collect = async {
        let mut is_written = false;
        while let Some(next) = pulled.recv().await {
            if !is_written {
                // The pull is in the middle of everything: the channel holds one batch of at least six.
                harness.clear("state_many").await;
                harness.insert("state_few", &schema, &many.slice(10, 10)).await;
                is_written = true;
            }
            match next {
                Pulled::Rows { dataset: 0, rows } => first.push(rows),
                Pulled::Rows { rows, .. } => second.push(rows),
                other => panic!("a snapshot has only rows, not {other:?}"),
            }
        }
    };
    let (end, ()) = futures::join!(source.pull(&request, out), write_and_collect);
    end.expect("writers don't break a reading");
    assert_same_rows(&schema, &first, &[many], "the table that was cleared meanwhile");
    assert_same_rows(&schema, &second, &[few], "the table that grew meanwhile");
}

fn versioned(rows: &[(i64, &str, i64)]) -> (Schema, RecordBatch) {
    let schema = schema_of(&[("id", "int64", true), ("name", "text", false), ("version", "int64", false)]);
    let ids: ArrayRef = Arc::new(Int64Array::from(rows.iter().map(|row| row.0).collect::<Vec<_>>()));
    let names: ArrayRef = Arc::new(StringArray::from(rows.iter().map(|row| row.1).collect::<Vec<_>>()));
    let versions: ArrayRef = Arc::new(Int64Array::from(rows.iter().map(|row| row.2).collect::<Vec<_>>()));
    let rows = RecordBatch::try_new(arrow_schema(&schema), vec![ids, names, versions]);
    (schema, rows.expect("three columns"))
}

async fn a_watermark_finds_what_is_new_and_keys_what_is_gone(harness: &dyn SourceHarness) {
    let (schema, before) = versioned(&[(1, "one", 10), (2, "two", 9), (3, "three", 100)]);
    harness.create("watermark", &schema, &before).await;
    harness.create("watermark_empty", &schema, &before.slice(0, 0)).await;
    let datasets = vec![dataset("watermark", &schema), dataset("watermark_empty", &schema)];
    let mut request = request_of(by_version(), datasets);
    let mut source = harness.open().await;
    source.inspect(&request).await.expect("everything is there");
    let (rows, _, end) = pull_all(source.as_mut(), &request).await.expect("the first pull reads everything");
    assert_eq!(end.coverage[0], Coverage::Complete);
    assert_same_rows(&schema, &rows[0], &[before], "the first pull");

    let (_, after) = versioned(&[(1, "one", 10), (3, "drei", 101), (4, "four", 1_000)]);
    harness.clear("watermark").await;
    harness.insert("watermark", &schema, &after).await;
    harness.insert("watermark_empty", &schema, &after.slice(0, 1)).await;
    request.previous = Some(committed(end));
    request.finds_deletes = true;
    let (rows, keys, end) = pull_all(source.as_mut(), &request).await.expect("the second pull reads what is new");
    assert_eq!(end.coverage[0], Coverage::UpsertsAndKeys);
    assert_same_rows(&schema, &rows[0], &[after.slice(1, 2)], "what is newer than 100");
    assert_same_rows(&schema, &rows[1], &[after.slice(0, 1)], "a table that was empty before");
    let key = Schema { columns: vec![schema.columns[0].clone()] };
    assert_same_rows(&key, &keys[0], &[after.project(&[0]).expect("it has the key")], "the keys that are there");

    request.previous = Some(committed(end));
    request.finds_deletes = false;
    let (rows, keys, end) = pull_all(source.as_mut(), &request).await.expect("the third pull finds nothing new");
    assert_eq!(end.coverage[0], Coverage::Upserts);
    let seen = rows[0].iter().map(RecordBatch::num_rows).sum::<usize>();
    assert!(seen <= 1, "only the greatest row itself may come again, not {seen}");
    assert!(keys[0].is_empty(), "keys come only when asked for");
}

async fn an_overlap_looks_back(harness: &dyn SourceHarness) {
    const HOUR: i64 = 3_600_000_000;
    let schema = schema_of(&[("id", "int64", true), ("changed", "timestamptz", false)]);
    let at = |rows: &[(i64, i64)]| {
        let ids: ArrayRef = Arc::new(Int64Array::from(rows.iter().map(|row| row.0).collect::<Vec<_>>()));
        let changed: Vec<i64> = rows.iter().map(|row| 1_790_000_000_123_456 + row.1).collect();
        let changed: ArrayRef = Arc::new(TimestampMicrosecondArray::from(changed).with_timezone("UTC"));
        RecordBatch::try_new(arrow_schema(&schema), vec![ids, changed]).expect("two columns")
    };
    harness.create("overlap", &schema, &at(&[(1, 0), (2, 10 * HOUR)])).await;
    let column = Some("changed".parse().expect("a name"));
    let overlap = Some("2h".parse().expect("a period"));
    let mut request =
        request_of(IngestKind::Watermark { column, overlap, deletes: None }, vec![dataset("overlap", &schema)]);
    let mut source = harness.open().await;
    let (.., end) = pull_all(source.as_mut(), &request).await.expect("the first pull reads everything");
    harness.insert("overlap", &schema, &at(&[(3, 9 * HOUR), (4, 7 * HOUR)])).await;
    request.previous = Some(committed(end));
    let (rows, ..) = pull_all(source.as_mut(), &request).await.expect("the second pull looks back");
    assert_same_rows(&schema, &rows[0], &[at(&[(2, 10 * HOUR), (3, 9 * HOUR)])], "what is at most two hours older");
}

/// A pull that was committed.
fn committed(end: PullEnd) -> Previous {
    Previous { position: end.position, incarnation: end.incarnation }
}

fn by_version() -> IngestKind {
    IngestKind::Watermark { column: Some("version".parse().expect("a name")), overlap: None, deletes: None }
}

async fn a_new_incarnation_is_read_from_the_beginning(harness: &dyn SourceHarness) {
    let (schema, all) = versioned(&[(1, "one", 10), (2, "two", 20)]);
    harness.create("incarnation", &schema, &all).await;
    let mut request = request_of(by_version(), vec![dataset("incarnation", &schema)]);
    let mut source = harness.open().await;
    let (.., end) = pull_all(source.as_mut(), &request).await.expect("the first pull reads everything");
    let known = end.incarnation.clone();
    request.previous = Some(Previous { position: end.position, incarnation: format!("not {known}") });
    request.finds_deletes = true;
    let (rows, keys, end) = pull_all(source.as_mut(), &request).await.expect("what went before does not count");
    assert_eq!((end.coverage[0], end.incarnation), (Coverage::Complete, known));
    assert_same_rows(&schema, &rows[0], &[all], "another incarnation");
    assert!(keys[0].is_empty(), "who has all rows needs no keys");
}

async fn a_dataset_that_joins_leaves_the_others_where_they_are(harness: &dyn SourceHarness) {
    let (schema, all) = versioned(&[(1, "one", 10), (2, "two", 20)]);
    harness.create("joined_before", &schema, &all).await;
    harness.create("joined_now", &schema, &all).await;
    let mut request = request_of(by_version(), vec![dataset("joined_before", &schema)]);
    let mut source = harness.open().await;
    let (.., end) = pull_all(source.as_mut(), &request).await.expect("the first pull reads everything");
    request.previous = Some(committed(end));
    request.datasets.push(dataset("joined_now", &schema));
    let (rows, _, end) = pull_all(source.as_mut(), &request).await.expect("one dataset more");
    assert_eq!(end.coverage, [Coverage::Upserts, Coverage::Complete]);
    assert!(rows[0].iter().map(RecordBatch::num_rows).sum::<usize>() <= 1, "the greatest row may come again");
    assert_same_rows(&schema, &rows[1], &[all], "the one that joined");
}
