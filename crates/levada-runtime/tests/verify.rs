//! Comparisons of which a side can't be read.

use crate::world::{World, rows};
use levada_flow::memory::Fault;
use levada_flow::sink::Form;
use levada_runtime::verify::{Scope, verify};

#[tokio::test]
async fn an_unreadable_side_fails_its_own_comparison_and_hides_no_other() {
    let world = World::new(Form::Changes).await;
    world.producer.set_table("orders", rows(&[(1, "one")]));
    assert!(world.run().await.failed.is_empty());
    world.break_sink(Fault::Before(1));
    let mut told = 0;
    let scope = Scope { with_source: true, ..Scope::default() };
    let comparisons = verify(&world.runtime, &world.in_force(), &scope, |_| told += 1).await;
    assert_eq!((comparisons.len(), told), (5, 5), "two exports with two readings, one source");
    assert!(comparisons[0].failure.as_ref().is_some_and(|reason| reason.contains("broke off")));
    assert!(!comparisons[0].is_equal() && comparisons[1..].iter().all(|comparison| comparison.is_equal()));

    world.break_source(Fault::Before(1));
    let comparisons = verify(&world.runtime, &world.in_force(), &scope, |_| ()).await;
    let failed: Vec<_> = comparisons.iter().filter(|comparison| comparison.failure.is_some()).collect();
    assert!(comparisons.len() == 5 && failed.len() == 1 && failed[0].dataset.to_string() == "Shop.orders");
}

#[tokio::test]
async fn a_history_is_compared_with_the_store_as_both_were() {
    let world = World::new(Form::Changes).await;
    world.producer.set_table("orders", rows(&[(1, "one"), (2, "two")]));
    assert!(world.run().await.failed.is_empty());
    let moment = world.runtime.clock.now();
    world.producer.set_table("orders", rows(&[(1, "another"), (3, "three"), (4, "four")]));
    assert!(world.run().await.failed.is_empty());
    let ask = |as_of| {
        let scope = Scope { as_of: Some(as_of), ..Scope::default() };
        let (runtime, blueprint) = (&world.runtime, world.in_force());
        async move { verify(runtime, &blueprint, &scope, |_| ()).await }
    };
    for (as_of, expected) in [(moment, 2), (world.runtime.clock.now(), 3)] {
        let comparisons = ask(as_of).await;
        assert_eq!(comparisons.len(), 2, "two histories, and no live table");
        for comparison in &comparisons {
            assert!(comparison.is_equal() && comparison.store.rows == expected, "{comparison:?}");
        }
    }
    let before_all = ask(1).await;
    assert!(
        before_all.len() == 2 && before_all.iter().all(|comparison| comparison.failure.is_some()),
        "{before_all:?}"
    );
}
