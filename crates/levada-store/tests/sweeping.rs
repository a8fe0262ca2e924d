//! Crashes between finish and commit.

use crate::fixture::{Row, Stand, long_text, record_batch, row, schema};
use levada_flow::source::Coverage;

#[tokio::test]
async fn a_crash_before_the_commit_leaves_readings_as_they_were_and_files_for_the_sweep() {
    let mut stand = Stand::new().await;
    let schema = schema(true);
    let first = Row { text: Some(long_text(1)), ..row(1, "", 1) };
    stand.pull(&schema, std::slice::from_ref(&first), Coverage::Complete).await.expect("pulls");
    let committed = stand.files();
    assert_eq!(committed.len(), 1);

    let mut writer = stand.begin(&schema).await.expect("begins");
    writer.write(0, record_batch(&schema, &[row(2, &long_text(2), 1)])).await.expect("writes");
    let staged = writer.finish(&[Coverage::Complete]).await.expect("finishes");
    assert_eq!(stand.files().len(), 2, "it is durable");
    assert_eq!(stand.live(&schema, None).await, std::slice::from_ref(&first), "and not committed");
    assert_eq!(stand.store.sweep().await.expect("sweeps"), 0, "its writer still has it");

    drop(staged);
    assert_eq!(stand.store.sweep().await.expect("sweeps"), 1);
    assert_eq!(stand.files(), committed);
    assert_eq!(stand.live(&schema, None).await, std::slice::from_ref(&first));
    assert_eq!(stand.history(&schema, None, None).await.len(), 1);
}

#[tokio::test]
async fn a_writer_that_dies_leaves_a_half_file_for_the_sweep() {
    let mut stand = Stand::new().await;
    let schema = schema(true);
    let mut writer = stand.begin(&schema).await.expect("begins");
    // Enough for several row groups, so that the file is there before it is finished.
    for chunk in 0..40 {
        let rows: Vec<Row> = (0..8_192).map(|at| row(chunk * 8_192 + at, &format!("{at}{chunk}"), 1)).collect();
        writer.write(0, record_batch(&schema, &rows)).await.expect("writes");
    }
    assert_eq!(stand.files(), ["D/d/run-1-000.parquet"]);
    assert_eq!(stand.store.sweep().await.expect("sweeps"), 0);
    drop(writer);
    assert_eq!(stand.store.sweep().await.expect("sweeps"), 1);
    assert_eq!(stand.live(&schema, None).await, [] as [Row; 0]);
}
