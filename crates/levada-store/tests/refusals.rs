//! What the store refuses, and what it says.

use crate::fixture::{Row, Stand, change_batch, column, key_batch, long_text, record_batch, row, schema};
use arrow::array::RecordBatch;
use levada_flow::source::Coverage;
use levada_model::Schema;
use levada_store::{AsOf, StoreError};

#[tokio::test]
async fn a_key_that_comes_twice_in_a_snapshot_is_named() {
    let mut stand = Stand::new().await;
    let rows = [row(7, "a", 1), row(8, "b", 1), row(7, "c", 1)];
    let error = stand.pull(&schema(true), &rows, Coverage::Complete).await.expect_err("a key twice");
    assert!(matches!(&error, StoreError::KeyTwice { key, .. } if key == "k = 7"), "{error}");
    assert!(!error.is_retryable());
    assert_eq!(stand.live(&schema(true), None).await, [] as [Row; 0]);
}

#[tokio::test]
async fn of_several_upserts_of_a_key_the_last_one_wins_in_files_too() {
    let mut stand = Stand::new().await;
    let last = Row { text: Some(long_text(2)), ..row(7, "", 2) };
    let rows = [row(7, &long_text(1), 1), row(8, &long_text(3), 1), last.clone()];
    assert_eq!(stand.pull(&schema(true), &rows, Coverage::Upserts).await.expect("pulls"), Some(1));
    assert_eq!(stand.live(&schema(true), None).await, [last, rows[1].clone()]);
    assert_eq!(stand.files().len(), 1, "the first writing is gone");
}

async fn refusal(stand: &mut Stand, schema: &Schema, rows: RecordBatch) -> String {
    let mut writer = stand.begin(schema).await.expect("begins");
    writer.write(0, rows).await.expect_err("other columns").to_string()
}

#[tokio::test]
async fn rows_of_other_columns_are_refused_before_anything_is_written() {
    let mut stand = Stand::new().await;
    let mut other = schema(true);
    other.columns[1] = column("t2", "text", true, false);
    let text = refusal(&mut stand, &other, record_batch(&schema(true), &[row(1, "a", 1)])).await;
    assert!(text.contains("they have the columns k, t, n, not k, t2, n"), "{text}");
    other.columns[1] = column("t", "int32", true, false);
    let text = refusal(&mut stand, &other, record_batch(&schema(true), &[row(1, "a", 1)])).await;
    assert!(text.contains("column \"t\" is Utf8, not Int32"), "{text}");
    other.columns[1] = column("t", "text", false, false);
    let rows = [row(1, "a", 1), Row { text: None, ..row(2, "", 1) }];
    let text = refusal(&mut stand, &other, record_batch(&schema(true), &rows)).await;
    assert!(text.contains("column \"t\" is not nullable and row 2"), "{text}");
    other.columns[1] = column("LV_OP", "text", false, false);
    assert!(matches!(stand.begin(&other).await, Err(StoreError::ColumnReserved { .. })));
}

#[tokio::test]
async fn operations_are_checked_row_by_row() {
    let mut stand = Stand::new().await;
    let mut writer = stand.begin(&schema(true)).await.expect("begins");
    let changes = change_batch(&schema(true), &[(0, row(1, "a", 1)), (3, row(2, "b", 1))]);
    let error = writer.write_changes(0, changes).await.expect_err("3 is none");
    assert!(error.to_string().contains("row 2 of a batch has lv_op 3"), "{error}");
    let mut writer = stand.begin(&schema(false)).await.expect("begins");
    let error = writer.write_changes(0, change_batch(&schema(false), &[(1, row(1, "a", 1))])).await;
    assert!(matches!(error, Err(StoreError::KeyMissing { what: "updates", .. })));
    let mut writer = stand.begin(&schema(false)).await.expect("begins");
    assert!(matches!(writer.keys(0, key_batch(&[1])).await, Err(StoreError::KeyMissing { what: "keys", .. })));
}

#[tokio::test]
async fn rows_and_changes_don_t_mix_and_changes_are_never_complete() {
    let mut stand = Stand::new().await;
    let changes = || change_batch(&schema(true), &[(0, row(1, "a", 1))]);
    let mut writer = stand.begin(&schema(true)).await.expect("begins");
    writer.write(0, record_batch(&schema(true), &[row(1, "a", 1)])).await.expect("writes");
    assert!(matches!(writer.write_changes(0, changes()).await, Err(StoreError::Misuse { .. })));
    assert!(matches!(writer.finish(&[Coverage::Upserts]).await, Err(StoreError::Misuse { .. })));
    let mut writer = stand.begin(&schema(true)).await.expect("begins");
    writer.write_changes(0, changes()).await.expect("writes");
    assert!(matches!(writer.finish(&[Coverage::Complete]).await, Err(StoreError::Misuse { .. })));
}

#[tokio::test]
async fn points_in_the_past_resolve_to_batches() {
    let mut stand = Stand::new().await;
    for number in 1..4 {
        stand.pull(&schema(true), &[row(1, "a", number)], Coverage::Complete).await.expect("pulls");
    }
    let times = stand.times().await;
    let resolve = async |as_of| stand.store.resolve(&stand.dataset, as_of).await;
    assert_eq!(resolve(AsOf::Batch(2)).await.expect("it exists"), 2);
    assert_eq!(resolve(AsOf::Time(times[&2])).await.expect("it exists"), 2);
    assert_eq!(resolve(AsOf::Time(times[&3] - 1)).await.expect("it exists"), 2);
    assert_eq!(resolve(AsOf::Time(i64::MAX)).await.expect("it exists"), 3);
    let text = resolve(AsOf::Batch(4)).await.expect_err("too late").to_string();
    assert_eq!(text, "find batch 4 of D.d, which has 3");
    assert!(matches!(resolve(AsOf::Time(times[&1] - 1)).await, Err(StoreError::TimeUnknown { .. })));
}
