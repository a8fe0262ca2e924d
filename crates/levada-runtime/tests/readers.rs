//! Readers whom a consumer does not know.

use crate::world::{World, address, nodes, owned, rows};
use levada_flow::sink::Form;
use levada_model::model::Reader;
use levada_planner::NodeSpec;

#[tokio::test]
async fn an_unknown_reader_fails_its_own_export_and_keeps_nobody_from_the_rows() {
    let mut nodes = nodes("Shop");
    let export = address("Export/P/memory/Shop/orders");
    let NodeSpec::Export(spec) = &mut nodes.get_mut(&export).expect("it is there").spec else {
        unreachable!("it is an export")
    };
    spec.views[0].readers = vec![Reader::Role("anna".to_owned())];
    let world = World::of(Form::Changes, nodes).await;
    world.producer.set_table("orders", rows(&[(1, "one")]));
    world.set_unknown_readers(&["anna"]);
    let ending = world.run().await;
    let failed: Vec<_> = ending.failed.iter().collect();
    let [(node, reason)] = failed[..] else { panic!("one export has failed: {failed:?}") };
    assert!(*node == export && reason.contains("\"anna\" of workspace W"), "{reason}");
    assert_eq!(world.seen("shop_orders"), owned(&[(1, "one")]), "the rows are delivered");
    assert_eq!(world.seen("copy_orders"), owned(&[(1, "one")]), "and what follows from them goes on");
    let row = world.runtime.state.node(&export).await.expect("the state").expect("the node");
    assert!(row.is_failed && row.due_at.is_some(), "the export is tried again: {row:?}");

    world.set_unknown_readers(&[]);
    assert!(world.run().await.failed.is_empty(), "the role has come");
    let row = world.runtime.state.node(&export).await.expect("the state").expect("the node");
    assert!(!row.is_failed);
}
