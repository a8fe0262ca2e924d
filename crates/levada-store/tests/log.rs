//! What a source's change log says is what is read, over random transactions.

use crate::fixture::{Row, Stand, key_batch, long_text, row, schema};
use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use levada_flow::source::{Coverage, Kept};
use levada_store::BatchWriter;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a transaction does at the source.
#[derive(Clone, Debug)]
enum Act {
    Put(Row),
    /// New number; the text was too long to be sent again.
    PutNumber(i32, Option<i64>),
    Delete(i32),
    Truncate,
    /// Another key, and a new number; the text was too long to be sent again.
    Move(i32, i32, Option<i64>),
    /// A row that somebody looked up, whether it is stored or not.
    LookUp(Row),
}

/// A row of a change log: operation, values, whether the text was kept.
type LogRow = (i32, Row, bool);

fn any_row() -> impl Strategy<Value = Row> {
    let text = prop_oneof![
        1 => Just(None),
        4 => proptest::sample::select(vec!["", "a", "b"]).prop_map(|text| Some(text.to_owned())),
        1 => (0..2_u64).prop_map(|seed| Some(long_text(seed))),
    ];
    (0..5, text, proptest::option::of(0..3_i64)).prop_map(|(key, text, number)| Row { key, text, number })
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => any_row().prop_map(Act::Put),
        5 => (0..5, proptest::option::of(0..3_i64)).prop_map(|(key, number)| Act::PutNumber(key, number)),
        5 => (0..5).prop_map(Act::Delete),
        1 => Just(Act::Truncate),
        3 => (0..5, 0..5, proptest::option::of(0..3_i64)).prop_map(|(from, to, number)| Act::Move(from, to, number)),
        2 => any_row().prop_map(Act::LookUp),
    ]
}

/// Does it at the source; gives what the log says of it, `None` for a TRUNCATE.
fn act(source: &mut BTreeMap<i32, Row>, act: &Act) -> Vec<Option<LogRow>> {
    match act {
        Act::Put(row) => {
            let operation = i32::from(source.insert(row.key, row.clone()).is_some());
            vec![Some((operation, row.clone(), false))]
        }
        Act::PutNumber(key, number) => {
            let Some(row) = source.get_mut(key) else { return Vec::new() };
            row.number = *number;
            vec![Some((1, Row { text: None, ..row.clone() }, true))]
        }
        Act::Delete(key) => match source.remove(key) {
            Some(row) => vec![Some((2, Row { text: None, number: None, ..row }, false))],
            None => Vec::new(),
        },
        Act::Truncate => {
            source.clear();
            vec![None]
        }
        Act::Move(from, to, number) => {
            if source.contains_key(to) {
                return Vec::new();
            }
            let Some(row) = source.remove(from) else { return Vec::new() };
            let gone = Row { text: None, number: None, ..row.clone() };
            let row = Row { key: *to, number: *number, ..row };
            source.insert(*to, row.clone());
            vec![Some((2, gone, false)), Some((3, Row { text: None, ..row }, true))]
        }
        Act::LookUp(row) => match source.get(&row.key) {
            Some(row) => vec![Some((3, row.clone(), false))],
            None => Vec::new(),
        },
    }
}

fn log_batch(rows: &[LogRow]) -> (RecordBatch, Vec<Kept>) {
    let columns: [(&str, ArrayRef); 4] = [
        ("k", Arc::new(Int32Array::from_iter_values(rows.iter().map(|(_, row, _)| row.key)))),
        ("t", Arc::new(StringArray::from_iter(rows.iter().map(|(_, row, _)| row.text.as_deref())))),
        ("n", Arc::new(Int64Array::from_iter(rows.iter().map(|(_, row, _)| row.number)))),
        ("lv_op", Arc::new(Int32Array::from_iter_values(rows.iter().map(|(operation, ..)| *operation)))),
    ];
    let kept = rows.iter().zip(0..).filter(|((_, _, is_kept), _)| *is_kept);
    let kept = kept.map(|(_, row)| Kept { row, column: 1 }).collect();
    (RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).expect("columns"), kept)
}

async fn append(writer: &mut BatchWriter, rows: &[Option<LogRow>], at_once: usize) {
    for part in rows.split_inclusive(Option::is_none) {
        let rows: Vec<LogRow> = part.iter().flatten().cloned().collect();
        for piece in rows.chunks(at_once) {
            let (rows, kept) = log_batch(piece);
            writer.append(0, rows, kept).await.expect("appends");
        }
        if part.last().is_some_and(Option::is_none) {
            writer.truncate(0).await.expect("truncates");
        }
    }
}

/// Runs batches of acts and compares every reading with what the source had.
async fn every_reading_is_the_source_s(batches: Vec<Vec<Act>>, at_once: usize) {
    let schema = schema(true);
    let (mut stand, mut source) = (Stand::new().await, BTreeMap::new());
    let mut states: BTreeMap<i64, Vec<Row>> = BTreeMap::from([(0, Vec::new())]);
    for acts in &batches {
        let log: Vec<_> = acts.iter().flat_map(|one| act(&mut source, one)).collect();
        let mut writer = stand.begin(&schema).await.expect("begins");
        append(&mut writer, &log, at_once).await;
        let staged = writer.finish(&[Coverage::Changes]).await.expect("finishes");
        assert_eq!(staged.covered.len(), 1);
        let batch = stand.commit(staged).await;
        let batch = batch.unwrap_or(*states.last_key_value().expect("it has one").0);
        states.insert(batch, source.values().cloned().collect());
    }
    let mut replayed: BTreeMap<i32, Row> = BTreeMap::new();
    let changes = stand.changes(&schema, 0).await;
    let times = stand.times().await;
    let history = stand.history(&schema, None, None).await;
    for (batch, expected) in states.range(1..) {
        assert_eq!(stand.live(&schema, Some(*batch)).await, *expected, "live as of batch {batch}");
        let of_batch: Vec<_> = changes.iter().filter(|change| change.batch == *batch).collect();
        let distinct: std::collections::BTreeSet<_> = of_batch.iter().map(|change| &change.key_hash).collect();
        assert_eq!(distinct.len(), of_batch.len(), "at most one net change per key and batch");
        for change in of_batch {
            match change.operation {
                2 => _ = replayed.remove(&change.row.key),
                _ => _ = replayed.insert(change.row.key, change.row.clone()),
            }
        }
        assert_eq!(replayed.values().cloned().collect::<Vec<_>>(), *expected, "changes up to batch {batch}");
        let time = times[batch];
        let valid = history.iter().filter(|version| version.from <= time && version.to.is_none_or(|to| to > time));
        let mut valid: Vec<Row> = valid.map(|version| version.row.clone()).collect();
        valid.sort();
        assert_eq!(valid, *expected, "history at batch {batch}");
        let mut forward: BTreeMap<i32, Row> = expected.iter().map(|row| (row.key, row.clone())).collect();
        for change in stand.net_changes(&schema, *batch).await {
            match change.operation {
                2 => _ = forward.remove(&change.row.key),
                _ => _ = forward.insert(change.row.key, change.row),
            }
        }
        assert_eq!(forward, source, "net changes since batch {batch}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_reading_of_a_change_log_is_what_the_source_had(
        batches in proptest::collection::vec(proptest::collection::vec(any_act(), 0..12), 1..7),
        at_once in 1..5_usize,
    ) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(every_reading_is_the_source_s(batches, at_once));
    }
}

#[tokio::test]
async fn a_transaction_larger_than_the_buffer_spills_and_keeps_its_values() {
    let (schema, mut stand) = (schema(true), Stand::new().await);
    let mut writer = stand.begin(&schema).await.expect("begins");
    let rows = 4_000;
    for key in 0..rows {
        let put = Row { key, text: Some(long_text(key as u64)), number: Some(0) };
        append(&mut writer, &[Some((0, put, false))], 1).await;
    }
    for key in 0..rows {
        let kept = Row { key, text: None, number: Some(1) };
        append(&mut writer, &[Some((1, kept, true))], 1).await;
    }
    let staged = writer.finish(&[Coverage::Changes]).await.expect("finishes");
    assert_eq!(staged.rows, i64::from(rows), "each key once");
    stand.commit(staged).await.expect("a batch");
    let live = stand.live(&schema, None).await;
    let expected = (0..rows).map(|key| Row { key, text: Some(long_text(key as u64)), number: Some(1) });
    assert!(live.iter().cloned().eq(expected));
    assert!(stand.files().iter().all(|file| file.ends_with(".parquet")), "nothing else is left: {:?}", stand.files());
}

#[tokio::test]
async fn a_part_of_a_dataset_is_stored_and_covers_nothing() {
    let (schema, mut stand) = (schema(true), Stand::new().await);
    let mut writer = stand.begin(&schema).await.expect("begins");
    append(&mut writer, &[Some((3, row(1, "a", 1), false)), Some((3, row(2, "b", 2), false))], 9).await;
    let staged = writer.finish(&[Coverage::Part]).await.expect("finishes");
    assert!(staged.covered.is_empty());
    stand.commit(staged).await.expect("a batch");
    // A row that came by the log before its part of the table did, and one that is gone meanwhile.
    let mut writer = stand.begin(&schema).await.expect("begins");
    append(&mut writer, &[Some((0, row(3, "c", 3), false)), Some((2, row(9, "", 0), false))], 9).await;
    writer.keys(0, key_batch(&[2, 3])).await.expect("lists");
    let staged = writer.finish(&[Coverage::ChangesAndKeys]).await.expect("finishes");
    assert_eq!(staged.covered.len(), 1);
    stand.commit(staged).await.expect("a batch");
    assert_eq!(stand.live(&schema, None).await, [row(2, "b", 2), row(3, "c", 3)]);
}

#[tokio::test]
async fn a_key_that_is_not_listed_is_gone_unless_something_is_said_of_it_later() {
    let (schema, mut stand) = (schema(true), Stand::new().await);
    let mut writer = stand.begin(&schema).await.expect("begins");
    append(&mut writer, &[1, 2, 3, 4].map(|key| Some((0, row(key, "a", 1), false))), 9).await;
    let staged = writer.finish(&[Coverage::Changes]).await.expect("finishes");
    stand.commit(staged).await.expect("a batch");
    let mut writer = stand.begin(&schema).await.expect("begins");
    // Said before the list: an update of a row that a part of the table takes with it, and a new one.
    append(&mut writer, &[Some((1, row(1, "b", 2), false)), Some((0, row(5, "new", 1), false))], 9).await;
    writer.keys(0, key_batch(&[2])).await.expect("lists");
    writer.keys(0, key_batch(&[4])).await.expect("lists");
    append(&mut writer, &[Some((0, row(6, "later", 1), false)), Some((2, row(4, "", 0), false))], 9).await;
    let staged = writer.finish(&[Coverage::ChangesAndKeys]).await.expect("finishes");
    stand.commit(staged).await.expect("a batch");
    assert_eq!(stand.live(&schema, None).await, [row(2, "a", 1), row(6, "later", 1)]);
}

#[tokio::test]
async fn what_is_discarded_was_never_said() {
    let (schema, mut stand) = (schema(true), Stand::new().await);
    let mut writer = stand.begin(&schema).await.expect("begins");
    for key in 0..2_000 {
        append(&mut writer, &[Some((0, Row { text: Some(long_text(1)), ..row(key, "", 1) }, false))], 1).await;
    }
    writer.discard(0).await.expect("forgets");
    append(&mut writer, &[Some((0, row(1, "a", 1), false))], 1).await;
    let staged = writer.finish(&[Coverage::Changes]).await.expect("finishes");
    stand.commit(staged).await.expect("a batch");
    assert_eq!(stand.live(&schema, None).await, [row(1, "a", 1)]);
}

#[tokio::test]
async fn a_kept_value_that_nobody_has_is_an_error_and_never_null() {
    let (schema, mut stand) = (schema(true), Stand::new().await);
    let mut writer = stand.begin(&schema).await.expect("begins");
    append(&mut writer, &[Some((1, Row { text: None, ..row(1, "", 1) }, true))], 1).await;
    let error = writer.finish(&[Coverage::Changes]).await.expect_err("no version is stored");
    assert!(error.to_string().contains("column \"t\""), "{error}");
}

#[tokio::test]
async fn without_a_key_equal_rows_keep_their_count_through_a_log() {
    let (schema, mut stand) = (schema(false), Stand::new().await);
    let one = || row(1, "a", 1);
    let log = |operations: &[i32]| operations.iter().map(|op| Some((*op, one(), false))).collect::<Vec<_>>();
    for (operations, expected) in [(&[0, 0, 0][..], 3), (&[2][..], 2), (&[2, 0, 0][..], 3)] {
        let mut writer = stand.begin(&schema).await.expect("begins");
        append(&mut writer, &log(operations), 2).await;
        let staged = writer.finish(&[Coverage::Changes]).await.expect("finishes");
        stand.commit(staged).await.expect("a batch");
        assert_eq!(stand.live(&schema, None).await, vec![one(); expected]);
    }
    let mut writer = stand.begin(&schema).await.expect("begins");
    append(&mut writer, &[Some((0, row(2, "b", 2), false)), None, Some((0, one(), false))], 9).await;
    let staged = writer.finish(&[Coverage::Changes]).await.expect("finishes");
    stand.commit(staged).await.expect("a batch");
    assert_eq!(stand.live(&schema, None).await, [one()]);
}
