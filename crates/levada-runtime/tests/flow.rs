//! Without faults: data flows to its end, once, and only what changed.

use crate::world::{World, address, ingest_spec, nodes, owned, rows};
use levada_flow::sink::Form;
use levada_model::model::{IngestKind, Style};
use levada_planner::blueprint::IngestOrigin;
use levada_runtime::jobs::REHYDRATE;

#[tokio::test]
async fn everything_flows_from_the_producer_through_the_transformer_to_both_readings() {
    for form in [Form::Changes, Form::Everything] {
        let world = World::new(form).await;
        world.producer.set_table("orders", rows(&[(1, "one"), (2, "two")]));
        assert!(world.run().await.failed.is_empty());
        world.producer.set_table("orders", rows(&[(1, "uno"), (3, "three")]));
        assert!(world.run().await.failed.is_empty());
        for store in ["shop", "copy"] {
            assert_eq!(world.seen(&format!("{store}_orders")), owned(&[(1, "uno"), (3, "three")]));
            let versions = owned(&[(1, "one"), (1, "uno"), (2, "two"), (3, "three")]);
            assert_eq!(world.seen(&format!("{store}_orders_history")), versions);
        }
        assert_eq!((world.batch("Shop").await, world.batch("Copy").await), (2, 2));
    }
}

#[tokio::test]
async fn a_pull_without_changes_makes_no_batch_and_nothing_due() {
    let world = World::new(Form::Changes).await;
    world.producer.set_table("orders", rows(&[(1, "one")]));
    world.run().await;
    assert_eq!(world.run().await.jobs, 1, "only the pull itself");
    assert_eq!((world.batch("Shop").await, world.batch("Copy").await), (1, 1));
}

#[tokio::test]
async fn an_empty_dataset_is_delivered_as_an_empty_view_and_fires_its_transformer() {
    let world = World::new(Form::Changes).await;
    world.producer.set_table("orders", rows(&[]));
    assert!(world.run().await.failed.is_empty());
    assert_eq!(world.seen("shop_orders"), owned(&[]));
    assert_eq!(world.seen("copy_orders"), owned(&[]));
}

#[tokio::test]
async fn rehydration_rebuilds_from_the_store_without_asking_the_producer() {
    let world = World::new(Form::Changes).await;
    world.producer.set_table("orders", rows(&[(1, "one")]));
    world.run().await;
    world.make_due("Export/P/memory/Shop/orders", Some(REHYDRATE)).await;
    world.producer.set_table("orders", rows(&[]));
    let ending = world.run_due().await;
    assert!(ending.failed.is_empty());
    assert_eq!(world.seen("shop_orders"), owned(&[(1, "one")]));
    assert_eq!(world.batch("Shop").await, 1);
    let payload = world.node("Export/P/memory/Shop/orders").await.payload;
    assert_eq!(payload, None, "the next delivery moves only what changes");
}

/// Leaves a node with another worker for so many days.
async fn keep_busy(world: &World, node: &str, days: i64) {
    world.make_due(node, None).await;
    let until = world.now() + days * 86_400_000_000;
    let claimed = world.runtime.state.claim("another", world.now(), until, &[address(node)]).await.expect("the state");
    assert_eq!(claimed.len(), 1, "{node}");
}

#[tokio::test]
async fn only_a_trigger_on_a_stream_with_an_end_waits_until_its_exports_rest() {
    for is_endless in [false, true] {
        let mut nodes = nodes("Shop");
        let ingest = ingest_spec(&mut nodes, "Ingest/P/Shop");
        if let (true, IngestOrigin::Container { ingest: kind, .. }) = (is_endless, &mut ingest.origin) {
            (*kind, ingest.style) = (IngestKind::Cdc { wal_max_bytes: None }, Style::Streaming);
        }
        let world = World::of(Form::Changes, nodes).await;
        world.producer.set_table("orders", rows(&[(1, "one")]));
        assert!(world.run().await.failed.is_empty());
        // The next batch is delivered, and the trigger has not looked yet.
        keep_busy(&world, "Trigger/P/W", 1).await;
        world.producer.set_table("orders", rows(&[(1, "uno")]));
        world.run().await;
        assert_eq!(
            (world.seen("shop_orders"), world.seen("copy_orders")),
            (owned(&[(1, "uno")]), owned(&[(1, "one")]))
        );
        // When it looks, the export is delivering again.
        world.pass_days(2);
        keep_busy(&world, "Export/P/memory/Shop/orders", 10).await;
        world.run_due().await;
        let expected = if is_endless { "uno" } else { "one" };
        assert_eq!(world.seen("copy_orders"), owned(&[(1, expected)]), "endless: {is_endless}");
    }
}
