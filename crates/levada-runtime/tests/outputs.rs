//! Outputs of transformers that can't be committed, are lost, or come again.

use crate::world::*;
use levada_flow::conformance::schema_of;
use levada_flow::sink::Form;
use levada_model::model::OutputMode;
use levada_planner::blueprint::IngestOrigin;

#[tokio::test]
async fn a_mended_transformer_runs_though_its_last_output_could_not_be_committed() {
    let world = World::new(Form::Changes).await;
    world.producer.set_table("orders", rows(&[(1, "one")]));
    world.engine_doubles(true);
    let failed = world.run().await.failed;
    let reason = failed.get(&address("Ingest/P/Copy")).expect("its key comes twice");
    assert!(reason.contains("more than once"), "{reason}");

    world.engine_doubles(false);
    let mut nodes = nodes("Shop");
    transform_spec(&mut nodes).code = sql("mended");
    world.apply(nodes).await;
    assert!(world.run().await.failed.is_empty());
    assert_eq!(world.seen("copy_orders"), owned(&[(1, "one")]));
    assert!(!world.node("Ingest/P/Copy").await.is_failed);
    let left = std::fs::read_dir(world.folder.path().join("staging")).expect("the area").count();
    assert_eq!(left, 0, "the output that gave way is gone, too");
}

#[tokio::test]
async fn an_output_that_is_lost_before_its_commit_is_made_again() {
    let world = World::new(Form::Changes).await;
    world.producer.set_table("orders", rows(&[(1, "one")]));
    world.run().await;
    let ran = async || world.runtime.state.runs(Some("Transform/"), 0, 99).await.expect("the state").len();
    let lost = r#"{"firing":{"vector":{"Shop":1},"run":"7-7","is_timed":false},"folder":"W-gone"}"#;
    world.make_due("Ingest/P/Copy", Some(lost)).await;
    assert!(world.run_due().await.failed.is_empty(), "it went through in the end");
    assert_eq!(ran().await, 2);
    let runs = world.runtime.state.runs(Some("Ingest/P/Copy"), 0, 99).await.expect("the state");
    let errors: Vec<_> = runs.iter().filter_map(|run| run.error.as_deref()).collect();
    assert!(errors.len() == 1 && errors[0].contains("was lost"), "{errors:?}");

    // One that was committed is only cleaned up after.
    let head = world.runtime.state.head(&"Copy".parse().expect("a stream")).await.expect("the state").expect("a head");
    let position: serde_json::Value = serde_json::from_slice(&head.position).expect("JSON");
    let run = &position["run"];
    let there = serde_json::json!({
        "firing": { "vector": { "Shop": 1 }, "run": run, "is_timed": false }, "folder": "W-gone"
    });
    world.make_due("Ingest/P/Copy", Some(&there.to_string())).await;
    assert!(world.run_due().await.failed.is_empty());
    assert_eq!(ran().await, 2, "nothing runs again");
}

#[tokio::test]
async fn what_is_appended_at_a_vector_is_not_appended_again() {
    let keyless = schema_of(&[("id", "int64", false), ("name", "text", false)]);
    let mut nodes = nodes("Shop");
    let copy = ingest_spec(&mut nodes, "Ingest/P/Copy");
    copy.datasets[0].schema = keyless.clone();
    copy.origin = IngestOrigin::Transformer { transform: address("Transform/P/W"), mode: OutputMode::Append };
    export_spec(&mut nodes, "Export/P/memory/Copy/orders").schema = keyless.clone();
    let transform = transform_spec(&mut nodes);
    transform.outputs[0].schema = keyless;
    transform.mode = OutputMode::Append;
    let world = World::of(Form::Changes, nodes.clone()).await;
    world.producer.set_table("orders", rows(&[(1, "one")]));
    world.run().await;
    assert_eq!(world.seen("copy_orders"), owned(&[(1, "one")]));

    transform_spec(&mut nodes).outputs[0].is_consumed = false;
    world.apply(nodes.clone()).await;
    let ran = world.run().await.jobs;
    assert_eq!(ran, 2, "the pull and the trigger: nothing else has changed");
    transform_spec(&mut nodes).code = sql("another query");
    world.apply(nodes).await;
    assert!(world.run().await.failed.is_empty());
    assert_eq!(world.seen("copy_orders"), owned(&[(1, "one")]), "the same vector again adds nothing");
    world.producer.set_table("orders", rows(&[(1, "uno")]));
    world.run().await;
    assert_eq!(world.seen("copy_orders"), owned(&[(1, "one"), (1, "uno")]));
}

#[tokio::test]
async fn a_stray_file_in_the_staging_area_stops_nobody() {
    let world = World::new(Form::Changes).await;
    std::fs::create_dir_all(world.folder.path().join("staging")).expect("a folder");
    let stray = world.folder.path().join("staging/stray");
    let file = std::fs::File::create(&stray).expect("a file");
    file.set_modified(std::time::UNIX_EPOCH).expect("an old one");
    world.producer.set_table("orders", rows(&[(1, "one")]));
    assert!(world.run().await.failed.is_empty());
    assert_eq!(world.seen("copy_orders"), owned(&[(1, "one")]));
    assert!(!stray.exists());
}

#[tokio::test]
async fn a_run_that_fails_leaves_nothing_in_the_staging_area() {
    let world = World::new(Form::Changes).await;
    let mut nodes = nodes("Shop");
    transform_spec(&mut nodes).code = levada_model::model::Code::Sql(Vec::new());
    world.apply(nodes).await;
    world.producer.set_table("orders", rows(&[(1, "one")]));
    assert!(world.run().await.failed.contains_key(&address("Transform/P/W")));
    let left = std::fs::read_dir(world.folder.path().join("staging")).expect("the area").count();
    assert_eq!(left, 0);
}
