//! Laws of schemas and of the walk through known files.

use crate::bed::{Bed, on_both};
use crate::world::*;
use levada_model::DataType;
use levada_state::{BatchCommit, Body, State};

on_both! {
    field_ids_stay_with_their_columns,
    one_schema_is_registered_once_by_many,
    all_files_are_known,
}

async fn field_ids_stay_with_their_columns(bed: Bed) {
    let state = bed.state().await;
    let of = dataset("Orders.lines");
    let first = schema(&[("a", DataType::Int32), ("b", DataType::Text)]);
    let stored = state.schema_for(&of, &first).await.expect("registers");
    assert_eq!((stored.id, stored.field_ids.as_slice()), (1, [1, 2].as_slice()));
    assert_eq!(state.schema_for(&of, &first).await.expect("finds"), stored);

    // Dropped, reordered, retyped, added.
    let second = schema(&[("c", DataType::Date), ("a", DataType::Int64)]);
    let stored = state.schema_for(&of, &second).await.expect("registers");
    assert_eq!((stored.id, stored.field_ids.as_slice()), (2, [3, 1].as_slice()));

    // Back again, with one more.
    let third = schema(&[("b", DataType::Text), ("d", DataType::Text)]);
    let stored = state.schema_for(&of, &third).await.expect("registers");
    assert_eq!((stored.id, stored.field_ids.as_slice()), (3, [2, 4].as_slice()));
    assert_eq!(state.schema_for(&of, &first).await.expect("finds").id, 1);
    let all: Vec<_> = state.schemas(&of).await.expect("reads").into_iter().map(|stored| stored.schema).collect();
    assert_eq!(all, [first, second, third]);
    assert_eq!(state.schemas(&dataset("Orders.heads")).await.expect("reads"), []);
}

async fn one_schema_is_registered_once_by_many(bed: Bed) {
    let of = dataset("Orders.lines");
    // The tables are there before the race begins.
    let state = bed.state().await;
    let mut races = Vec::new();
    for number in 0..6 {
        let (url, of) = (bed.url(), of.clone());
        races.push(tokio::spawn(async move {
            let state = State::open(&url).await.expect("the state opens");
            let name = ["a", "b"][number % 2];
            state.schema_for(&of, &schema(&[(name, DataType::Text)])).await.expect("registers").id
        }));
    }
    for race in races {
        assert!((1..=2).contains(&race.await.expect("ends")));
    }
    let stored = state.schemas(&of).await.expect("reads");
    assert_eq!(
        stored.iter().map(|stored| (stored.id, stored.field_ids.clone())).collect::<Vec<_>>(),
        [(1, vec![1]), (2, vec![2])]
    );
}

async fn all_files_are_known(bed: Bed) {
    let state = bed.state().await;
    Plans::default().apply(&state, &chain(), NOW).await;
    for previous in 0..3 {
        state.make_due(&[due("Ingest/P/Orders", NOW)]).await.expect("becomes due");
        let fence = claim(&state, "Ingest/P/Orders", NOW).await;
        let mut commit: BatchCommit = pull(fence, previous, NOW);
        commit.manifests[0].body = Body::Files(vec![format!("{previous}/a"), format!("{previous}/b")]);
        state.commit_batch(commit).await.expect("commits");
    }
    let mut walk = state.known_files();
    let mut known = Vec::new();
    while let Some(page) = walk.next_page().await.expect("reads") {
        known.extend(page);
    }
    known.sort();
    assert_eq!(known, ["0/a", "0/b", "1/a", "1/b", "2/a", "2/b"]);
}
