//! Something breaks in the middle: nothing is lost, doubled or half done.

use crate::world::{World, address, export_spec, nodes, owned, rows};
use levada_flow::Sink;
use levada_flow::memory::{Fault, MemorySink};
use levada_flow::sink::{Content, Form, Mark, TableDelivery};
use levada_runtime::jobs::{REHYDRATE, delivered_table};

const CHANGES: [&[(i64, &str)]; 3] =
    [&[(1, "one"), (2, "two")], &[(1, "uno"), (2, "two"), (3, "three")], &[(3, "three"), (4, "four")]];

fn versions() -> Vec<(i64, String)> {
    owned(&[(1, "one"), (1, "uno"), (2, "two"), (3, "three"), (4, "four")])
}

#[tokio::test]
async fn a_source_that_breaks_anywhere_loses_and_doubles_nothing() {
    for fault in [
        Fault::Before(1),
        Fault::After(1),
        Fault::Before(2),
        Fault::Batch(0),
        Fault::After(2),
        Fault::Before(3),
        Fault::After(3),
    ] {
        let world = World::new(Form::Changes).await;
        for change in CHANGES {
            world.producer.set_table("orders", rows(change));
            world.break_source(fault);
            assert!(world.run().await.failed.is_empty(), "{fault:?} is passed by a further try");
        }
        assert_eq!(world.seen("copy_orders"), owned(CHANGES[2]), "{fault:?}");
        assert_eq!(world.seen("shop_orders_history"), versions(), "{fault:?}");
        assert_eq!(world.batch("Shop").await, 3, "{fault:?}");
    }
}

#[tokio::test]
async fn a_delivery_whose_answer_is_lost_is_not_applied_twice() {
    for fault in [Fault::Before(1), Fault::After(1), Fault::Before(2), Fault::After(2)] {
        for form in [Form::Changes, Form::Everything] {
            let world = World::new(form).await;
            for change in CHANGES {
                world.producer.set_table("orders", rows(change));
                world.break_sink(fault);
                assert!(world.run().await.failed.is_empty(), "{fault:?} is passed by a further try");
            }
            assert_eq!(world.seen("shop_orders"), owned(CHANGES[2]), "{fault:?}");
            assert_eq!(world.seen("shop_orders_history"), versions(), "{fault:?}");
            assert_eq!(world.seen("copy_orders_history"), versions(), "{fault:?}");
        }
    }
}

#[tokio::test]
async fn a_consumer_that_is_ahead_of_the_state_is_left_alone_until_somebody_rehydrates_it() {
    let world = World::new(Form::Changes).await;
    world.producer.set_table("orders", rows(&[(1, "one")]));
    world.run().await;
    // As if an older copy of the state had been put back.
    let mut nodes = nodes("Shop");
    let export = "Export/P/memory/Shop/orders";
    let table = delivered_table(&address(export), export_spec(&mut nodes, export), world.now());
    let mut sink = MemorySink::new(world.consumer.clone(), Form::Changes);
    let expected = sink.marks(std::slice::from_ref(&table)).await.expect("it answers").remove(0).expect("a mark");
    let mark = Mark { batch: 9, ..expected.clone() };
    let ahead = TableDelivery { table, content: Content::Nothing, mark, expected: Some(expected) };
    sink.deliver(vec![ahead]).await.expect("it is delivered");

    world.producer.set_table("orders", rows(&[(2, "two")]));
    let failed = world.run().await.failed;
    let reason = failed.get(&address("Export/P/memory/Shop/orders")).expect("it steps back for nobody");
    assert!(reason.contains("batch 9") && reason.contains("knows 2"), "{reason}");
    assert_eq!(world.seen("shop_orders"), owned(&[(1, "one")]));
    world.make_due("Export/P/memory/Shop/orders", Some(REHYDRATE)).await;
    assert!(world.run_due().await.failed.is_empty());
    assert_eq!(world.seen("shop_orders"), owned(&[(2, "two")]));
}

#[tokio::test]
async fn a_missing_table_fails_at_once_and_says_why() {
    let world = World::new(Form::Changes).await;
    let ending = world.run().await;
    let reason = ending.failed.get(&address("Ingest/P/Shop")).expect("the ingest has failed");
    assert!(reason.contains("\"orders\""), "{reason}");
    let row = world.runtime.state.node(&address("Ingest/P/Shop")).await.expect("the state").expect("the node");
    assert!(row.is_failed && row.attempt == 1 && row.due_at.is_some(), "it waits for its next turn: {row:?}");
    world.producer.set_table("orders", rows(&[(1, "one")]));
    assert!(world.run().await.failed.is_empty());
    assert_eq!(world.seen("copy_orders"), owned(&[(1, "one")]));
}
