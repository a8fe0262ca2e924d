//! Crashes between finish and commit.

use crate::fixture::{Row, Stand, long_text, record_batch, row, schema};
use levada_flow::source::Coverage;
use levada_model::Schema;
use levada_store::{BatchWriter, Store, StoreDataset, StoreError};

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
    assert_eq!(stand.store.sweep(i64::MAX).await.expect("sweeps"), 0, "its writer still has it");

    drop(staged);
    assert_eq!(stand.store.sweep(i64::MAX).await.expect("sweeps"), 1);
    assert_eq!(stand.files(), committed);
    assert_eq!(stand.live(&schema, None).await, std::slice::from_ref(&first));
    assert_eq!(stand.history(&schema, None, None).await.len(), 1);
}

#[tokio::test]
async fn a_writer_that_dies_leaves_a_half_file_for_the_sweep() {
    let mut stand = Stand::new().await;
    let schema = schema(true);
    let mut writer = stand.begin(&schema).await.expect("begins");
    write_a_file(&mut writer, &schema).await;
    assert_eq!(stand.files(), ["D/d/run-1-000.parquet"]);
    assert_eq!(stand.store.sweep(i64::MAX).await.expect("sweeps"), 0);
    // A process that dies drops nothing.
    std::mem::forget(writer);
    let next = Store::open(stand.state.clone(), stand.folder.path().join("data")).expect("opens");
    assert_eq!(next.sweep(0).await.expect("sweeps"), 0, "it was written after that time");
    assert_eq!(next.sweep(i64::MAX).await.expect("sweeps"), 1);
    assert_eq!(stand.live(&schema, None).await, [] as [Row; 0]);
}

#[tokio::test]
async fn a_pull_that_fails_takes_its_files_away() {
    let mut stand = Stand::new().await;
    let schema = schema(true);
    let mut writer = stand.begin(&schema).await.expect("begins");
    write_a_file(&mut writer, &schema).await;
    assert_eq!(stand.files().len(), 1);
    drop(writer);
    assert_eq!(stand.files(), [] as [String; 0], "the source broke off");

    let dataset = |name: &str| StoreDataset { dataset: name.parse().expect("a dataset"), schema: schema.clone() };
    let datasets = vec![dataset("D.d"), dataset("D.e")];
    let mut writer = stand.store.begin(&stand.stream, datasets, "twice").await.expect("begins");
    write_a_file(&mut writer, &schema).await;
    writer.write(1, record_batch(&schema, &[row(1, "a", 1), row(1, "b", 1)])).await.expect("writes");
    let error = writer.finish(&[Coverage::Complete, Coverage::Complete]).await.expect_err("a key comes twice");
    assert!(matches!(error, StoreError::KeyTwice { .. }), "{error:?}");
    assert_eq!(stand.files(), [] as [String; 0], "what was finished before goes, too");
}

#[tokio::test]
async fn the_sweep_takes_only_what_looks_like_its_own() {
    let stand = Stand::new().await;
    let folder = stand.folder.path().join("data/D/d");
    std::fs::create_dir_all(folder.join("run-1-000.parquet")).expect("a folder of that name");
    for name in ["customers.parquet", "D/run-1-000.parquet", "D/d/mine.parquet", "D/d/run-2-000.parquet"] {
        std::fs::write(stand.folder.path().join("data").join(name), "rows").expect("a file");
    }
    assert_eq!(stand.store.sweep(i64::MAX).await.expect("sweeps"), 1);
    assert_eq!(stand.files(), ["D/d/mine.parquet", "D/d/run-1-000.parquet"]);
}

#[tokio::test]
async fn a_folder_of_another_state_is_refused_by_name() {
    let (stand, other) = (Stand::new().await, Stand::new().await);
    let folder = stand.folder.path().join("data");
    let Err(error) = Store::open(other.state.clone(), folder.clone()) else { panic!("it is another state's") };
    let text = error.to_string();
    for part in [stand.state.id(), other.state.id(), "a folder of its own"] {
        assert!(text.contains(part), "{text} names {part}");
    }
    assert!(Store::open(stand.state.clone(), folder).is_ok(), "its own state opens it again");
}

/// Enough for several row groups, so that the file is there before it is finished.
async fn write_a_file(writer: &mut BatchWriter, schema: &Schema) {
    for chunk in 0..40 {
        let rows: Vec<Row> = (0..8_192).map(|at| row(chunk * 8_192 + at, &format!("{at}{chunk}"), 1)).collect();
        writer.write(0, record_batch(schema, &rows)).await.expect("writes");
    }
}
