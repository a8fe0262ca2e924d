//! What a pull goes on from, and what starts over.

use crate::world::{Nodes, World, address, nodes, owned, rows};
use levada_flow::sink::Form;
use levada_model::model::IngestKind;
use levada_planner::NodeSpec;
use levada_planner::blueprint::{IngestDataset, IngestOrigin, IngestSpec};

/// The nodes of the world, its producer read by the watermark `id`.
fn by_watermark() -> Nodes {
    let mut nodes = nodes("Shop");
    let IngestOrigin::Container { ingest, .. } = &mut shop(&mut nodes).origin else {
        unreachable!("it reads a container")
    };
    *ingest = IngestKind::Watermark { column: Some("id".parse().expect("a name")), overlap: None, deletes: None };
    nodes
}

fn shop(nodes: &mut Nodes) -> &mut IngestSpec {
    match &mut nodes.get_mut(&address("Ingest/P/Shop")).expect("it is there").spec {
        NodeSpec::Ingest(spec) => spec,
        _ => unreachable!("it is an ingest"),
    }
}

#[tokio::test]
async fn another_incarnation_is_read_from_the_beginning() {
    let world = World::of(Form::Changes, by_watermark()).await;
    world.producer.set_table("orders", rows(&[(10, "ten"), (20, "twenty")]));
    assert!(world.run().await.failed.is_empty());
    world.replace_producer();
    world.producer.set_table("orders", rows(&[(1, "one")]));
    assert!(world.run().await.failed.is_empty());
    assert_eq!(world.seen("shop_orders"), owned(&[(1, "one")]), "what the other producer had is gone");
    world.producer.set_table("orders", rows(&[(1, "one"), (2, "two")]));
    assert!(world.run().await.failed.is_empty());
    assert_eq!(world.seen("shop_orders"), owned(&[(1, "one"), (2, "two")]), "and it goes on from there");
}

#[tokio::test]
async fn a_dataset_that_joins_leaves_the_rows_of_the_others_alone() {
    let world = World::of(Form::Changes, by_watermark()).await;
    world.producer.set_table("orders", rows(&[(1, "one"), (2, "two")]));
    world.producer.set_table("items", rows(&[(7, "seven")]));
    assert!(world.run().await.failed.is_empty());
    // The producer keeps the newest only; nobody looks for deletes.
    world.producer.set_table("orders", rows(&[(2, "two")]));
    let mut more = by_watermark();
    let datasets = &mut shop(&mut more).datasets;
    let items =
        IngestDataset { dataset: "items".parse().expect("a name"), table: "items".to_owned(), ..datasets[0].clone() };
    datasets.push(items);
    world.apply(more).await;
    assert!(world.run().await.failed.is_empty());
    assert_eq!(world.seen("shop_orders"), owned(&[(1, "one"), (2, "two")]));
    assert_eq!(world.batch("Shop").await, 2, "the second batch is the other dataset's");
}

#[tokio::test]
async fn a_dataset_that_changes_starts_over_alone() {
    let mut both = by_watermark();
    let datasets = &mut shop(&mut both).datasets;
    let items =
        IngestDataset { dataset: "items".parse().expect("a name"), table: "items".to_owned(), ..datasets[0].clone() };
    datasets.push(items);
    let world = World::of(Form::Changes, both.clone()).await;
    world.producer.set_table("orders", rows(&[(1, "one"), (2, "two")]));
    world.producer.set_table("items", rows(&[(1, "one")]));
    assert!(world.run().await.failed.is_empty());
    world.producer.set_table("orders", rows(&[(2, "two")]));
    world.producer.set_table("things", rows(&[(7, "seven")]));
    shop(&mut both).datasets[1].table = "things".to_owned();
    world.apply(both).await;
    assert!(world.run().await.failed.is_empty());
    assert_eq!(world.seen("shop_orders"), owned(&[(1, "one"), (2, "two")]));
    let things = world.stored("Shop.items").await;
    assert_eq!(things, owned(&[(7, "seven")]), "another table is another dataset");
}
