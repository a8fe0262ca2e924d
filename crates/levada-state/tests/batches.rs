//! Laws of `commit_batch`: all of a batch or nothing of it, in order, once.

use crate::bed::{Bed, on_both};
use crate::world::*;
use levada_model::DataType;
use levada_state::{BatchCommit, Body, Host, Manifest, State, StateError};

on_both! {
    a_batch_comes_with_everything_it_entails,
    a_stale_fence_commits_nothing,
    a_stream_that_moved_refuses_the_commit,
    commit_times_grow_through_clock_jumps,
    a_pull_without_changes_advances_the_position_only,
    a_pull_without_changes_makes_due_what_is_due_even_then,
    a_stream_that_takes_over_goes_on_from_the_last_batch_even_without_changes,
    how_a_dataset_was_pulled_last_is_known,
    a_vector_is_committed_once,
    a_source_may_repeat_its_position,
    a_node_that_left_commits_nothing,
    batches_of_a_dataset_grow_when_its_stream_changes,
    an_impossible_batch_leaves_nothing_behind,
}

async fn ready(bed: &Bed) -> State {
    let state = bed.state().await;
    Plans::default().apply(&state, &chain(), NOW).await;
    state
}

async fn make_due(state: &State, node: &str) {
    state.make_due(&[due(node, NOW)]).await.expect("the node becomes due");
}

async fn a_batch_comes_with_everything_it_entails(bed: Bed) {
    let state = ready(&bed).await;
    assert_eq!(state.head(&stream("Orders")).await.expect("reads"), None);
    let fence = claim(&state, "Ingest/P/Orders", NOW).await;
    let mut commit = pull(fence.clone(), 0, NOW + 5);
    commit.manifests[1].body = Body::Files(vec!["a/\"1\".parquet".to_owned(), "a/2.parquet".to_owned()]);
    commit.done.next_due_at = Some(NOW + 600);
    commit.done.successors[0].payload = Some("{\"batch\":1}".to_owned());
    assert_eq!(state.commit_batch(commit.clone()).await.expect("commits"), Some(1));

    let head = state.head(&stream("Orders")).await.expect("reads").expect("is there");
    assert_eq!((head.batch, head.committed_at, head.position.as_slice()), (1, NOW + 5, b"after 0".as_slice()));
    assert_eq!(state.heads().await.expect("reads"), [head]);
    let batches = state.batches(&stream("Orders"), 10).await.expect("reads");
    assert_eq!(batches.len(), 1);
    assert_eq!((batches[0].inserts, batches[0].updates, batches[0].bytes), (7, 2, 6));
    let stored = |mut manifest: Manifest| {
        manifest.batch = 1;
        vec![manifest]
    };
    for manifest in commit.manifests {
        assert_eq!(state.manifests(&manifest.dataset.clone(), 0, 9).await.expect("reads"), stored(manifest));
    }
    let node = state.node(&fence.node).await.expect("reads").expect("is there");
    assert_eq!((node.due_at, node.lease, node.succeeded_at), (Some(NOW + 600), None, Some(NOW + 5)));
    let lines = state.node(&address("Export/P/warehouse/Orders/lines")).await.expect("reads").expect("is there");
    assert_eq!((lines.due_at, lines.payload.as_deref()), (Some(NOW + 5), Some("{\"batch\":1}")));
    let heads = state.node(&address("Export/P/warehouse/Orders/heads")).await.expect("reads").expect("is there");
    assert_eq!((heads.due_at, heads.payload), (Some(NOW + 5), None));
    let runs = state.runs(None, 0, 10).await.expect("reads");
    assert_eq!(runs.len(), 1);
    assert_eq!((runs[0].batch, runs[0].epoch, runs[0].ended_at), (Some(1), fence.epoch, NOW + 5));
}

async fn a_stale_fence_commits_nothing(bed: Bed) {
    let state = ready(&bed).await;
    let stale = claim(&state, "Ingest/P/Orders", NOW).await;
    assert_eq!(state.expire_leases(&Host::Anywhere, NOW + 60_000_000).await.expect("expires"), 1);
    let refused = state.commit_batch(pull(stale.clone(), 0, NOW)).await;
    assert!(matches!(refused, Err(StateError::Fenced { epoch, .. }) if epoch == stale.epoch), "{refused:?}");

    let fresh = claim(&state, "Ingest/P/Orders", NOW).await;
    assert!(fresh.epoch > stale.epoch);
    let refused = state.commit_batch(pull(stale, 0, NOW)).await;
    assert!(matches!(refused, Err(StateError::Fenced { .. })), "{refused:?}");
    assert_eq!(state.head(&stream("Orders")).await.expect("reads"), None);
    assert_eq!(state.commit_batch(pull(fresh.clone(), 0, NOW)).await.expect("commits"), Some(1));
    let again = state.commit_batch(pull(fresh, 1, NOW)).await;
    assert!(matches!(again, Err(StateError::Fenced { .. })), "{again:?}");
}

async fn a_stream_that_moved_refuses_the_commit(bed: Bed) {
    let state = ready(&bed).await;
    let fence = claim(&state, "Ingest/P/Orders", NOW).await;
    state.commit_batch(pull(fence, 0, NOW)).await.expect("commits");
    make_due(&state, "Ingest/P/Orders").await;
    let fence = claim(&state, "Ingest/P/Orders", NOW).await;
    let refused = state.commit_batch(pull(fence.clone(), 0, NOW)).await;
    let Err(StateError::PositionMoved { expected: 0, found: 1, .. }) = refused else {
        panic!("{refused:?}");
    };
    // The lease is untouched: the same job may look again and go on.
    let node = state.node(&fence.node).await.expect("reads").expect("is there");
    assert!(node.lease.is_some());
    assert_eq!(state.commit_batch(pull(fence, 1, NOW)).await.expect("commits"), Some(2));
}

async fn commit_times_grow_through_clock_jumps(bed: Bed) {
    let state = ready(&bed).await;
    for (previous, now) in [NOW, NOW - 9_000_000, NOW - 9_000_000, NOW + 4].into_iter().enumerate() {
        make_due(&state, "Ingest/P/Orders").await;
        let fence = claim(&state, "Ingest/P/Orders", NOW).await;
        state.commit_batch(pull(fence, previous as i64, now)).await.expect("commits");
    }
    let orders = stream("Orders");
    let times = state.times(&orders, 0, i64::MAX).await.expect("reads");
    let expected = [(1, NOW), (2, NOW + 1), (3, NOW + 2), (4, NOW + 4)];
    assert_eq!(times.into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(state.times(&orders, 1, 2).await.expect("reads").into_iter().collect::<Vec<_>>(), expected[1..2]);
    for (time, batch) in [(NOW - 1, None), (NOW, Some(1)), (NOW + 3, Some(3)), (i64::MAX, Some(4))] {
        assert_eq!(state.batch_at(&orders, time).await.expect("reads"), batch);
    }
    let newest: Vec<_> = state.batches(&orders, 2).await.expect("reads").iter().map(|row| row.batch).collect();
    assert_eq!(newest, [4, 3]);
}

async fn a_pull_without_changes_advances_the_position_only(bed: Bed) {
    let state = ready(&bed).await;
    let fence = claim(&state, "Ingest/P/Orders", NOW).await;
    let empty = BatchCommit { manifests: Vec::new(), ..pull(fence.clone(), 0, NOW) };
    assert_eq!(state.commit_batch(empty).await.expect("commits"), None);
    let head = state.head(&stream("Orders")).await.expect("reads").expect("is there");
    assert_eq!((head.batch, head.position.as_slice()), (0, b"after 0".as_slice()));
    assert_eq!(state.batches(&stream("Orders"), 9).await.expect("reads"), []);
    let export = state.node(&address("Export/P/warehouse/Orders/lines")).await.expect("reads").expect("is there");
    assert_eq!(export.due_at, None);
    assert_eq!(state.node(&fence.node).await.expect("reads").expect("is there").lease, None);
}

async fn a_vector_is_committed_once(bed: Bed) {
    let state = ready(&bed).await;
    let commit = |fence, previous, position: &[u8]| BatchCommit {
        stream: stream("Masked"),
        position: position.to_vec(),
        manifests: vec![manifest("Masked.lines", 1)],
        covered: vec![covered("Masked.lines")],
        ..pull(fence, previous, NOW)
    };
    for (previous, position, expected) in
        [(0, b"v1".as_slice(), Some(1)), (1, b"v1", None), (1, b"v2", Some(2)), (2, b"v1", Some(3))]
    {
        make_due(&state, "Ingest/P/Masked").await;
        let fence = claim(&state, "Ingest/P/Masked", NOW).await;
        assert_eq!(state.commit_batch(commit(fence, previous, position)).await.expect("commits"), expected);
    }
    assert_eq!(state.manifests(&dataset("Masked.lines"), 0, 9).await.expect("reads").len(), 3);
}

async fn a_source_may_repeat_its_position(bed: Bed) {
    let state = ready(&bed).await;
    for previous in 0..2 {
        make_due(&state, "Ingest/P/Orders").await;
        let fence = claim(&state, "Ingest/P/Orders", NOW).await;
        let commit = BatchCommit { position: b"same".to_vec(), ..pull(fence, previous, NOW) };
        assert_eq!(state.commit_batch(commit).await.expect("commits"), Some(previous + 1));
    }
}

async fn a_node_that_left_commits_nothing(bed: Bed) {
    let state = bed.state().await;
    let mut plans = Plans::default();
    plans.apply(&state, &chain(), NOW).await;
    let old = claim(&state, "Ingest/P/Orders", NOW).await;
    plans.apply(&state, &[], NOW).await;
    let refused = state.commit_batch(pull(old.clone(), 0, NOW)).await;
    assert!(matches!(refused, Err(StateError::Fenced { .. })), "{refused:?}");
    // Other ends of a node that left are of no interest to anybody.
    state.complete(&old, done(), NOW).await.expect("is passed over");

    // The node that comes back never repeats an epoch of the one that went.
    plans.apply(&state, &chain(), NOW).await;
    let new = claim(&state, "Ingest/P/Orders", NOW).await;
    assert!(new.epoch > old.epoch);
    let refused = state.commit_batch(pull(old, 0, NOW)).await;
    assert!(matches!(refused, Err(StateError::Fenced { .. })), "{refused:?}");
    assert_eq!(state.commit_batch(pull(new, 0, NOW)).await.expect("commits"), Some(1));
}

async fn batches_of_a_dataset_grow_when_its_stream_changes(bed: Bed) {
    let state = bed.state().await;
    let mut plans = Plans::default();
    plans.apply(&state, &[ingest("Orders", &["lines", "heads"])], NOW).await;
    for previous in 0..3 {
        make_due(&state, "Ingest/P/Orders").await;
        let fence = claim(&state, "Ingest/P/Orders", NOW).await;
        state.commit_batch(pull(fence, previous, NOW)).await.expect("commits");
    }
    plans.apply(&state, &[ingest("Orders/lines", &["lines"])], NOW).await;
    let fence = claim(&state, "Ingest/P/Orders/lines", NOW).await;
    let commit = BatchCommit {
        stream: stream("Orders/lines"),
        manifests: vec![manifest("Orders.lines", 1)],
        covered: vec![covered("Orders.lines")],
        ..pull(fence, 0, NOW)
    };
    assert_eq!(state.commit_batch(commit).await.expect("commits"), Some(4));
    let lines = state.manifests(&dataset("Orders.lines"), 0, 9).await.expect("reads");
    assert_eq!(lines.iter().map(|manifest| manifest.batch).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let expected = [(dataset("Orders.heads"), stream("Orders")), (dataset("Orders.lines"), stream("Orders/lines"))];
    assert_eq!(state.stored_datasets().await.expect("reads"), expected);
}

async fn an_impossible_batch_leaves_nothing_behind(bed: Bed) {
    let state = ready(&bed).await;
    let fence = claim(&state, "Ingest/P/Orders", NOW).await;
    let mut commit = pull(fence.clone(), 0, NOW);
    commit.manifests.push(manifest("Orders.lines", 1));
    let refused = state.commit_batch(commit).await;
    assert!(matches!(&refused, Err(error @ StateError::Database { .. }) if !error.is_retryable()), "{refused:?}");
    assert_eq!(state.head(&stream("Orders")).await.expect("reads"), None);
    assert_eq!(state.runs(None, 0, 9).await.expect("reads"), []);
    assert_eq!(state.commit_batch(pull(fence, 0, NOW)).await.expect("commits"), Some(1));
}

async fn a_pull_without_changes_makes_due_what_is_due_even_then(bed: Bed) {
    let state = ready(&bed).await;
    let fence = claim(&state, "Ingest/P/Orders", NOW).await;
    let lines = "Export/P/warehouse/Orders/lines";
    let empty =
        BatchCommit { manifests: Vec::new(), due_even_if_empty: vec![due(lines, NOW + 3)], ..pull(fence, 0, NOW) };
    assert_eq!(state.commit_batch(empty).await.expect("commits"), None);
    for (text, expected) in [(lines, Some(NOW + 3)), ("Export/P/warehouse/Orders/heads", None)] {
        assert_eq!(state.node(&address(text)).await.expect("reads").expect("is there").due_at, expected);
    }
}

async fn a_stream_that_takes_over_goes_on_from_the_last_batch_even_without_changes(bed: Bed) {
    let state = bed.state().await;
    let mut plans = Plans::default();
    let multi = [ingest("Orders", &["lines", "heads"])];
    plans.apply(&state, &multi, NOW).await;
    for previous in 0..3 {
        make_due(&state, "Ingest/P/Orders").await;
        let fence = claim(&state, "Ingest/P/Orders", NOW).await;
        state.commit_batch(pull(fence, previous, NOW)).await.expect("commits");
    }
    plans.apply(&state, &[ingest("Orders/lines", &["lines"])], NOW).await;
    let single = |fence, previous, manifests| BatchCommit {
        stream: stream("Orders/lines"),
        manifests,
        covered: vec![covered("Orders.lines")],
        ..pull(fence, previous, NOW)
    };
    let fence = claim(&state, "Ingest/P/Orders/lines", NOW).await;
    assert_eq!(state.commit_batch(single(fence, 0, Vec::new())).await.expect("commits"), None);
    let head = state.head(&stream("Orders/lines")).await.expect("reads").expect("is there");
    assert_eq!((head.batch, head.committed_at), (3, NOW + 2), "as far as the store's stream was");
    for previous in 3..5 {
        make_due(&state, "Ingest/P/Orders/lines").await;
        let fence = claim(&state, "Ingest/P/Orders/lines", NOW).await;
        let commit = single(fence, previous, vec![manifest("Orders.lines", 1)]);
        assert_eq!(state.commit_batch(commit).await.expect("commits"), Some(previous + 1));
    }

    // Back again: the old head of the store's stream lies behind.
    plans.apply(&state, &multi, NOW + 9).await;
    let fence = claim(&state, "Ingest/P/Orders", NOW + 9).await;
    let empty = BatchCommit { manifests: Vec::new(), ..pull(fence, 3, NOW) };
    assert_eq!(state.commit_batch(empty).await.expect("commits"), None);
    let head = state.head(&stream("Orders")).await.expect("reads").expect("is there");
    assert_eq!((head.batch, head.committed_at), (5, NOW + 4));
}

async fn how_a_dataset_was_pulled_last_is_known(bed: Bed) {
    let state = ready(&bed).await;
    let lines = dataset("Orders.lines");
    let columns = schema(&[("a", DataType::Text)]);
    assert_eq!(state.schema_for(&lines, &columns).await.expect("is registered").id, 1);
    assert_eq!(state.pulled(&lines).await.expect("reads"), None, "a schema alone is no pull");
    let fence = claim(&state, "Ingest/P/Orders", NOW).await;
    let empty = BatchCommit { manifests: Vec::new(), ..pull(fence, 0, NOW) };
    state.commit_batch(empty).await.expect("commits");
    assert_eq!(state.pulled(&lines).await.expect("reads"), Some((stream("Orders"), columns)));
    assert_eq!(state.first_change(&lines, 0).await.expect("reads"), None);
    make_due(&state, "Ingest/P/Orders").await;
    let fence = claim(&state, "Ingest/P/Orders", NOW).await;
    state.commit_batch(pull(fence, 0, NOW)).await.expect("commits");
    assert_eq!(state.first_change(&lines, 0).await.expect("reads"), Some(1));
    assert_eq!(state.first_change(&lines, 1).await.expect("reads"), None);
}
