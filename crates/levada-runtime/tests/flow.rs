//! Without faults: data flows to its end, once, and only what changed.

use crate::world::{World, owned, rows};
use levada_flow::sink::Form;
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
