//! What a PostgreSQL state does while its server goes away and comes back.

use crate::world::*;
use levada_state::{Host, State};
use levada_testbed::PostgresCluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_and_doubles_nothing() {
    let cluster = PostgresCluster::start().expect("a PostgreSQL server");
    cluster.create_database("state").expect("a new database");
    let state = State::open(&cluster.url("state")).await.expect("the state opens");
    Plans::default().apply(&state, &chain(), NOW).await;
    let mut previous = 0;
    for round in 0..4 {
        state.make_due(&[due("Ingest/P/Orders", NOW)]).await.expect("becomes due");
        let fence = claim(&state, "Ingest/P/Orders", NOW).await;
        let commit = pull(fence.clone(), previous, NOW);
        let (running, again) = (state.clone(), commit.clone());
        let answer = tokio::spawn(async move { running.commit_batch(commit).await });
        if round % 2 == 0 {
            // The commit may be anywhere between its first statement and its answer.
            tokio::task::yield_now().await;
        }
        cluster.kill().expect("killed");
        cluster.restart().expect("recovers");
        let answer = answer.await.expect("ends");
        let found = state.head(&stream("Orders")).await.expect("reads").map_or(0, |head| head.batch);
        match answer {
            Ok(batch) => assert_eq!((batch, found), (Some(previous + 1), previous + 1)),
            Err(error) => {
                // Whoever was not told looks again: the batch is there, or the same commit makes it.
                assert!(error.is_retryable(), "{error:?}");
                if found == previous {
                    assert_eq!(state.commit_batch(again).await.expect("commits"), Some(previous + 1));
                }
            }
        }
        previous += 1;
        let manifests = state.manifests(&dataset("Orders.lines"), 0, 99).await.expect("reads");
        assert_eq!(manifests.len() as i64, previous);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_are_cut_are_made_again() {
    let cluster = PostgresCluster::start().expect("a PostgreSQL server");
    cluster.create_database("state").expect("a new database");
    let state = State::open(&cluster.url("state")).await.expect("the state opens");
    Plans::default().apply(&state, &chain(), NOW).await;
    let lock = state.take_worker_lock(&Host::Anywhere).await.expect("nobody else is there");
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE datname = 'state' AND pid <> pg_backend_pid()";
    for _ in 0..5 {
        cluster.sql("state", cut).expect("cuts");
        let claimed = state.claim("worker", NOW, NOW + 9, &[address("Ingest/P/Orders")]).await.expect("claims");
        assert_eq!(claimed.len(), 1);
        cluster.sql("state", cut).expect("cuts");
        let fence = levada_state::Fence { node: address("Ingest/P/Orders"), epoch: claimed[0].epoch };
        state.complete(&fence, levada_state::Completion { next_due_at: Some(NOW), ..done() }, NOW).await.expect("ends");
    }
    while lock.is_held() {
        tokio::task::yield_now().await;
    }
}
