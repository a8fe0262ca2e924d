//! Datasets whose columns change between batches.

use crate::fixture::{Row, Stand, column, row, schema};
use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use levada_flow::arrow_schema::arrow_schema;
use levada_flow::canonical::RowHasher;
use levada_flow::source::Coverage;
use levada_model::Schema;
use levada_store::Reading;
use std::sync::Arc;

fn with_city(has_key: bool) -> Schema {
    let mut schema = schema(has_key);
    schema.columns.insert(1, column("city", "text", true, false));
    schema
}

fn city_batch(has_key: bool, rows: &[(Row, Option<&str>)]) -> RecordBatch {
    let schema = with_city(has_key);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|(row, _)| row.key))),
        Arc::new(StringArray::from_iter(rows.iter().map(|(_, city)| *city))),
        Arc::new(StringArray::from_iter(rows.iter().map(|(row, _)| row.text.as_deref()))),
        Arc::new(Int64Array::from_iter(rows.iter().map(|(row, _)| row.number))),
    ];
    RecordBatch::try_new(arrow_schema(&schema), columns).expect("the columns")
}

async fn pull(stand: &mut Stand, schema: &Schema, rows: RecordBatch) -> Option<i64> {
    let mut writer = stand.begin(schema).await.expect("begins");
    writer.write(0, rows).await.expect("writes");
    let staged = writer.finish(&[Coverage::Complete]).await.expect("finishes");
    stand.commit(staged).await
}

async fn added_column(has_key: bool) {
    let mut stand = Stand::new().await;
    let rows = [row(1, "a", 1), row(2, "b", 2), row(2, "b", 2)];
    let rows = &rows[..if has_key { 2 } else { 3 }];
    stand.pull(&schema(has_key), rows, Coverage::Complete).await.expect("pulls");

    let new = with_city(has_key);
    let empty: Vec<_> = rows.iter().map(|row| (row.clone(), None)).collect();
    assert_eq!(pull(&mut stand, &new, city_batch(has_key, &empty)).await, None, "a column of nulls is no change");

    let mut filled = empty.clone();
    filled[0].1 = Some("Funchal");
    assert_eq!(pull(&mut stand, &new, city_batch(has_key, &filled)).await, Some(2));
    let changes = stand.changes(&new, 1).await;
    assert_eq!(changes.len(), if has_key { 1 } else { 2 }, "only the row with a city changed: {changes:?}");
    assert_eq!(pull(&mut stand, &new, city_batch(has_key, &filled)).await, None);

    assert_eq!(pull(&mut stand, &new, city_batch(has_key, &filled[..1])).await, Some(3));
    assert_eq!(stand.live(&new, None).await, [row(1, "a", 1)]);
    assert_eq!(stand.history(&new, None, None).await.iter().filter(|version| version.to.is_none()).count(), 1);

    let batches = stand.read(&new, Reading::Live { as_of: Some(1) }).await.expect("reads");
    assert!(batches.iter().all(|batch| batch["city"].null_count() == batch.num_rows()));
    for batch in &batches {
        let hashes = batch["lv_row_hash"].as_fixed_size_binary();
        let expected = RowHasher::new(&new).row_hashes(batch);
        assert!(
            (0..hashes.len()).all(|row| hashes.value(row) == expected[row]),
            "hashes are those of the schema asked for"
        );
    }
    assert_eq!(stand.live(&schema(has_key), Some(2)).await, rows, "the old columns can still be asked for");
}

#[tokio::test]
async fn an_added_column_changes_only_the_rows_that_have_a_value() {
    added_column(true).await;
}

#[tokio::test]
async fn an_added_column_of_a_dataset_without_key_changes_only_the_rows_that_have_a_value() {
    added_column(false).await;
}

#[tokio::test]
async fn a_widened_column_changes_nothing_and_reads_as_the_wider_type() {
    let mut stand = Stand::new().await;
    let column_of =
        |data_type| Schema { columns: vec![column("k", data_type, false, true), column("v", data_type, true, false)] };
    let (narrow, wide, decimal) = (column_of("int32"), column_of("int64"), column_of("decimal(20,0)"));
    let batch = |schema: &Schema, array: ArrayRef| {
        RecordBatch::try_new(arrow_schema(schema), vec![array.clone(), array]).expect("two columns")
    };
    let integers = Arc::new(Int32Array::from(vec![1, 2, 3]));
    assert_eq!(pull(&mut stand, &narrow, batch(&narrow, integers)).await, Some(1));
    let wider = Arc::new(Int64Array::from(vec![1, 2, 3]));
    assert_eq!(pull(&mut stand, &wide, batch(&wide, wider)).await, None);
    let read = stand.read(&wide, Reading::Live { as_of: None }).await.expect("reads");
    assert_eq!(read[0]["v"].as_primitive::<Int64Type>().values(), &[1, 2, 3]);

    let decimals = |values: Vec<i128>| {
        let array = Decimal128Array::from(values).with_precision_and_scale(20, 0).expect("it fits");
        batch(&decimal, Arc::new(array))
    };
    assert_eq!(pull(&mut stand, &decimal, decimals(vec![1, 2, 3])).await, None, "the key's hash has another form");
    assert_eq!(pull(&mut stand, &decimal, decimals(vec![1, 3, 4])).await, Some(2));
    let changes = stand.read(&decimal, Reading::Changes { after: 0, up_to: None }).await.expect("reads");
    let rows: usize = changes.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(rows, 5, "three inserts, then 2 goes and 4 comes");
    assert_eq!(pull(&mut stand, &decimal, decimals(vec![1, 3, 4])).await, None);
    let live = stand.read(&decimal, Reading::Live { as_of: None }).await.expect("reads");
    assert_eq!(live.iter().map(RecordBatch::num_rows).sum::<usize>(), 3, "2 is deleted under the key it was stored by");
}

#[tokio::test]
async fn a_removed_column_merges_what_it_told_apart() {
    for has_key in [true, false] {
        let mut stand = Stand::new().await;
        let full = with_city(has_key);
        let rows = [(row(1, "a", 1), Some("x")), (row(2, "b", 2), Some("y")), (row(2, "b", 2), Some("z"))];
        let count = if has_key { 2 } else { 3 };
        assert_eq!(pull(&mut stand, &full, city_batch(has_key, &rows[..count])).await, Some(1));
        let plain = schema(has_key);
        let remaining: Vec<Row> = rows[..count].iter().map(|(row, _)| row.clone()).collect();
        let batch = stand.pull(&plain, &remaining, Coverage::Complete).await.expect("pulls");
        assert_eq!(batch, None, "no remaining value changed");
        let batch = stand.pull(&plain, &remaining[..2], Coverage::Complete).await.expect("pulls");
        assert_eq!(batch, (!has_key).then_some(2));
        assert_eq!(stand.live(&plain, None).await, &remaining[..2]);
    }
}

#[tokio::test]
async fn values_that_a_narrower_type_can_t_hold_are_an_error_that_names_the_column() {
    let mut stand = Stand::new().await;
    let of = |data_type| Schema { columns: vec![column("k", data_type, false, true)] };
    let (wide, narrow) = (of("int64"), of("int32"));
    let keys: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX]));
    let rows = RecordBatch::try_new(arrow_schema(&wide), vec![keys]).expect("one column");
    assert_eq!(pull(&mut stand, &wide, rows).await, Some(1));
    let error = stand.read(&narrow, Reading::Live { as_of: None }).await.expect_err("it can't fit");
    assert!(error.chain().contains("\"k\"") && error.chain().contains("D.d batch 1"), "{}", error.chain());
}

/// `schema(true)` with another key.
fn keyed_by(keys: &[&str]) -> Schema {
    let mut schema = schema(true);
    schema.columns.iter_mut().for_each(|column| column.key = keys.contains(&column.name.as_str()));
    schema
}

#[tokio::test]
async fn another_key_loses_no_row_whose_hash_is_another_row_s_old_one() {
    let mut stand = Stand::new().await;
    let first = [row(3, "a", 7)];
    stand.pull(&keyed_by(&["k"]), &first, Coverage::Complete).await.expect("pulls");
    // The new row's key n = 3 has the hash that the first is stored under for k = 3.
    let both = [row(3, "a", 7), row(9, "b", 3)];
    assert_eq!(stand.pull(&keyed_by(&["n"]), &both, Coverage::Complete).await.expect("pulls"), Some(2));
    assert_eq!(stand.live(&keyed_by(&["n"]), None).await, both);
    assert_eq!(stand.pull(&keyed_by(&["n"]), &both, Coverage::Complete).await.expect("pulls"), None);
    assert_eq!(stand.pull(&keyed_by(&["n"]), &both[1..], Coverage::Complete).await.expect("pulls"), Some(3));
    assert_eq!(stand.live(&keyed_by(&["n"]), None).await, both[1..]);
}

#[tokio::test]
async fn whatever_the_key_is_a_complete_pull_is_what_is_live() {
    let keys: [&[&str]; 4] = [&["k"], &["n"], &["k", "n"], &[]];
    for seed in 0..40_u64 {
        let mut stand = Stand::new().await;
        let mut number = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut random = move |below: u64| {
            number ^= number << 13;
            number ^= number >> 7;
            number ^= number << 17;
            number % below
        };
        for pull in 0..8 {
            let schema = keyed_by(keys[random(4) as usize]);
            let mut rows = std::collections::BTreeMap::new();
            for _ in 0..random(6) {
                let (k, n) = (random(4) as i32, random(4) as i64);
                let key = [("k", i64::from(k)), ("n", n)].into_iter().filter(|(name, _)| {
                    schema.columns.iter().any(|column| column.key && column.name.as_str() == *name)
                });
                rows.insert(key.map(|(_, value)| value).collect::<Vec<_>>(), row(k, "t", n));
            }
            let mut rows: Vec<Row> = rows.into_values().collect();
            rows.sort();
            stand.pull(&schema, &rows, Coverage::Complete).await.expect("pulls");
            assert_eq!(stand.live(&schema, None).await, rows, "seed {seed}, pull {pull}");
            let open = stand.history(&schema, None, None).await;
            let open: Vec<Row> = open.into_iter().filter(|it| it.to.is_none()).map(|it| it.row).collect();
            assert_eq!(open.len(), rows.len(), "seed {seed}, pull {pull}");
        }
    }
}
