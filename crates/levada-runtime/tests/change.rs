//! The model changes: consumers keep what they have, and get the rest from the store.

use crate::world::*;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use levada_flow::arrow_schema::arrow_schema;
use levada_flow::conformance::schema_of;
use levada_flow::sink::Form;
use levada_model::model::Priority;
use levada_planner::blueprint::{CalendarSpec, IngestOrigin};
use levada_runtime::jobs::REHYDRATE;
use std::sync::Arc;

const SHOP_EXPORT: &str = "Export/P/memory/Shop/orders";

#[tokio::test]
async fn a_store_that_turns_from_multi_to_single_and_back_keeps_what_its_consumers_have() {
    for form in [Form::Changes, Form::Everything] {
        let world = World::new(form).await;
        world.producer.set_table("orders", rows(&[(1, "one")]));
        world.run().await;
        world.producer.set_table("orders", rows(&[(1, "uno"), (2, "two")]));
        world.run().await;
        let versions = owned(&[(1, "one"), (1, "uno"), (2, "two")]);
        for shop in ["Shop/orders", "Shop"] {
            world.apply(nodes(shop)).await;
            assert!(world.run().await.failed.is_empty(), "nothing changed at the source of {shop}");
            world.make_due(SHOP_EXPORT, Some(REHYDRATE)).await;
            assert!(world.run_due().await.failed.is_empty());
            for store in ["shop", "copy"] {
                assert_eq!(world.seen(&format!("{store}_orders")), owned(&[(1, "uno"), (2, "two")]), "{shop}");
                assert_eq!(world.seen(&format!("{store}_orders_history")), versions, "{shop}");
            }
            assert_eq!((world.batch(shop).await, world.batch("Copy").await), (2, 2));
        }
        world.apply(nodes("Shop/orders")).await;
        world.producer.set_table("orders", rows(&[(2, "two")]));
        assert!(world.run().await.failed.is_empty());
        assert_eq!(world.batch("Shop/orders").await, 3);
        for store in ["shop", "copy"] {
            assert_eq!(world.seen(&format!("{store}_orders")), owned(&[(2, "two")]));
            assert_eq!(world.seen(&format!("{store}_orders_history")), versions);
        }
        // Back again: the old head of the store's stream lies behind what the consumer has.
        world.apply(nodes("Shop")).await;
        assert!(world.run().await.failed.is_empty());
        assert_eq!((world.batch("Shop").await, world.seen("copy_orders")), (3, owned(&[(2, "two")])));
    }
}

#[tokio::test]
async fn a_new_consumer_is_fed_from_the_store_without_asking_the_producer() {
    let world = World::new(Form::Changes).await;
    world.producer.set_table("orders", rows(&[(1, "one")]));
    world.run().await;
    world.source_refuses(true);

    let mut nodes = nodes("Shop");
    let owed = &mut ingest_spec(&mut nodes, "Ingest/P/Shop").datasets[0].owed;
    let another = levada_planner::blueprint::Owed { because: "another group".to_owned(), ..owed[0].clone() };
    owed.push(another);
    let mut other = nodes[&address(SHOP_EXPORT)].clone();
    other.address = address("Export/P/other/Shop/orders");
    nodes.insert(other.address.clone(), other);
    let spec = export_spec(&mut nodes, "Export/P/other/Shop/orders");
    spec.connection.container = "other".parse().expect("a name");
    spec.live = Some("Other_live".to_owned());
    spec.history = None;
    spec.views.truncate(1);
    spec.views[0].name = "other_orders".to_owned();
    world.apply(nodes).await;
    assert!(world.run_due().await.failed.is_empty());
    assert_eq!(world.seen("other_orders"), owned(&[(1, "one")]));
}

#[tokio::test]
async fn a_new_column_is_delivered_when_it_was_pulled_and_not_as_nulls_before() {
    let world = World::new(Form::Changes).await;
    world.producer.set_table("orders", rows(&[(1, "one")]));
    world.run().await;
    world.source_refuses(true);
    let wider = schema_of(&[("id", "int64", true), ("name", "text", false), ("city", "text", false)]);
    let mut nodes = nodes("Shop");
    ingest_spec(&mut nodes, "Ingest/P/Shop").datasets[0].schema = wider.clone();
    export_spec(&mut nodes, SHOP_EXPORT).schema = wider.clone();
    world.apply(nodes).await;
    world.run().await;
    let columns = |world: &World| world.consumer.view("w", "shop_orders").expect("the view").num_columns();
    assert_eq!(columns(&world), 2, "the column was never pulled");

    world.source_refuses(false);
    let columns_of: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1])),
        Arc::new(StringArray::from(vec!["one"])),
        Arc::new(StringArray::from(vec![None::<&str>])),
    ];
    let with_city = RecordBatch::try_new(arrow_schema(&wider), columns_of).expect("rows of the schema");
    world.producer.set_table("orders", with_city);
    assert!(world.run().await.failed.is_empty());
    assert_eq!(columns(&world), 3, "it was pulled, though nothing changed");
}

#[tokio::test]
async fn a_dataset_that_joins_a_running_stream_moves_alone() {
    let world = World::new(Form::Changes).await;
    world.producer.set_table("orders", rows(&[(1, "one")]));
    world.run().await;
    let before = world.now();
    world.producer.set_table("extra", rows(&[(7, "seven")]));
    let mut nodes = nodes("Shop");
    ingest_spec(&mut nodes, "Ingest/P/Shop").datasets.push(dataset("extra"));
    let mut extra = nodes[&address(SHOP_EXPORT)].clone();
    extra.address = address("Export/P/memory/Shop/extra");
    nodes.insert(extra.address.clone(), extra);
    let spec = export_spec(&mut nodes, "Export/P/memory/Shop/extra");
    spec.source = "Shop.extra".parse().expect("a dataset");
    spec.live = Some("Shop_extra_live".to_owned());
    spec.history = None;
    spec.views.truncate(1);
    spec.views[0].name = "shop_extra".to_owned();
    world.apply(nodes).await;
    assert!(world.run().await.failed.is_empty());
    assert_eq!((world.batch("Shop").await, world.seen("shop_extra")), (2, owned(&[(7, "seven")])));
    let runs = world.runtime.state.runs(None, 0, 99).await.expect("the state");
    let mut ran: Vec<String> =
        runs.iter().filter(|run| run.started_at > before).map(|run| run.node.to_string()).collect();
    ran.sort();
    ran.dedup();
    assert_eq!(ran, ["Export/P/memory/Shop/extra", "Ingest/P/Shop"]);

    // A neighbour that delivers again brings its transformer nothing new, though the stream moved on.
    world.make_due(SHOP_EXPORT, Some(REHYDRATE)).await;
    assert!(world.run_due().await.failed.is_empty());
    assert_eq!(world.batch("Copy").await, 1);
    let fired = world.node("Trigger/P/W").await.memory.expect("it has fired");
    assert!(fired.contains(r#""Shop":1"#), "{fired}");
}

#[tokio::test]
async fn an_input_whose_export_fails_is_used_as_far_as_it_was_delivered_and_never_steps_back() {
    let mut nodes = nodes("Shop");
    ingest_spec(&mut nodes, "Ingest/P/Shop").datasets.push(dataset("extra"));
    let world = World::of(Form::Changes, nodes).await;
    let fired = async || {
        let memory = world.node("Trigger/P/W").await.memory.expect("it has fired");
        let memory: serde_json::Value = serde_json::from_str(&memory).expect("JSON");
        memory["vector"]["Shop"].as_i64().expect("a batch")
    };
    world.producer.set_table("orders", rows(&[(1, "one")]));
    world.producer.set_table("extra", rows(&[]));
    world.run().await;
    world.producer.set_table("extra", rows(&[(1, "x")]));
    world.run().await;
    assert_eq!((world.batch("Shop").await, fired().await), (2, 1), "the input didn't change");
    world.sink_refuses(true);
    world.producer.set_table("orders", rows(&[(1, "uno")]));
    world.run().await;
    assert!(world.node(SHOP_EXPORT).await.is_failed);
    world.make_due("Trigger/P/W", Some(levada_runtime::jobs::BY_HAND)).await;
    world.run_due().await;
    assert_eq!(fired().await, 2, "up to the batch before the one that was not delivered");
}

#[tokio::test]
async fn a_history_ages_by_the_day_and_holds_no_trigger_meanwhile() {
    let mut nodes = nodes("Shop");
    let history = &mut export_spec(&mut nodes, SHOP_EXPORT).views[1];
    history.retention = Some("7d".parse().expect("a period"));
    let world = World::of(Form::Changes, nodes).await;
    for change in [&[(1, "one")][..], &[(1, "uno")]] {
        world.producer.set_table("orders", rows(change));
        assert!(world.run().await.failed.is_empty());
        assert_eq!(world.seen("copy_orders"), owned(change), "the next regular turn is nothing in flight");
    }
    assert_eq!(world.seen("shop_orders_history"), owned(&[(1, "one"), (1, "uno")]));
    let due_at = world.node(SHOP_EXPORT).await.due_at.expect("a next turn");
    assert!(due_at > world.now() && due_at <= world.now() + 2 * 86_400_000_000);
    world.pass_days(9);
    world.run_due().await;
    assert_eq!(world.seen("shop_orders_history"), owned(&[(1, "uno")]), "without any change at the source");
}

#[tokio::test]
async fn runs_are_forgotten_after_their_time() {
    let world = World::new(Form::Changes).await;
    world.producer.set_table("orders", rows(&[(1, "one")]));
    world.run().await;
    let before = world.now();
    world.pass_days(levada_runtime::RUNS_KEPT_DAYS + 2);
    world.run().await;
    let runs = world.runtime.state.runs(None, 0, 99).await.expect("the state");
    assert!(!runs.is_empty() && runs.iter().all(|run| run.ended_at > before), "{runs:?}");
}

/// More sources than a worker looks at at once, before all others; each of them has this calendar.
fn with_many_sources(mut nodes: Nodes, calendar: Option<CalendarSpec>) -> Nodes {
    let mut source = nodes[&address("Ingest/P/Shop")].clone();
    source.priority = Priority::Critical;
    for number in 0..4_200 {
        let name = format!("Ingest/P/Source{number}");
        source.address = address(&name);
        nodes.insert(source.address.clone(), source.clone());
        let spec = ingest_spec(&mut nodes, &name);
        spec.stream = format!("Source{number}").parse().expect("a stream");
        if let IngestOrigin::Container { calendars, .. } = &mut spec.origin {
            calendars.extend(calendar.clone());
        }
    }
    nodes
}

#[tokio::test]
async fn however_many_rows_wait_for_their_calendar_others_run() {
    let nodes = with_many_sources(nodes("Shop"), Some(never_open()));
    let world = World::of(Form::Changes, nodes).await;
    world.producer.set_table("orders", rows(&[(1, "one")]));
    assert!(world.run().await.failed.is_empty());
    assert_eq!(world.seen("copy_orders"), owned(&[(1, "one")]));
    let waiting = world.node("Ingest/P/Source7").await;
    assert!(waiting.due_at > Some(world.now()), "it waits for its opening: {waiting:?}");
}

#[tokio::test]
async fn however_many_sources_may_not_be_pulled_a_rehydration_runs() {
    let world = World::new(Form::Changes).await;
    world.producer.set_table("orders", rows(&[(1, "one")]));
    world.run().await;
    world.apply(with_many_sources(nodes("Shop"), None)).await;
    world.make_due(SHOP_EXPORT, Some(REHYDRATE)).await;
    assert!(world.run_due().await.failed.is_empty());
    let row = world.node(SHOP_EXPORT).await;
    assert_eq!((row.payload, row.due_at), (None, None));
    assert!(world.node("Ingest/P/Source7").await.due_at.is_some(), "it is still to be pulled");
}
