//! Laws of opening a state, of reading beside a writer, and of the worker's lock.

use crate::bed::{Bed, on_both};
use crate::world::*;
use levada_planner::Generation;
use levada_planner::blueprint::Realizer;
use levada_state::{Host, State, StateError};
use std::collections::BTreeSet;
use std::error::Error;

on_both! {
    a_state_is_found_as_it_was_left,
    many_may_open_a_new_state_at_once,
    a_newer_state_is_refused,
    reading_works_while_a_writer_holds_a_transaction,
    a_worker_that_is_alone_expires_all_leases,
    workers_are_alone_or_not_among_those_of_their_host,
    a_state_of_the_first_version_keeps_its_rows,
}

async fn a_state_is_found_as_it_was_left(bed: Bed) {
    let state = bed.state().await;
    Plans::default().apply(&state, &chain(), NOW).await;
    let nodes = state.nodes().await.expect("reads");
    drop(state);
    assert_eq!(bed.state().await.nodes().await.expect("reads"), nodes);
}

async fn many_may_open_a_new_state_at_once(bed: Bed) {
    let opens: Vec<_> = (0..6).map(|_| tokio::spawn(open(bed.url()))).collect();
    for opened in opens {
        let state = opened.await.expect("ends").expect("the state opens");
        assert_eq!(state.generations().await.expect("reads"), []);
    }
}

async fn open(url: String) -> Result<State, StateError> {
    State::open(&url).await
}

async fn a_newer_state_is_refused(bed: Bed) {
    drop(bed.state().await);
    bed.sql("INSERT INTO state_versions (version, migrated_at) VALUES (1000, 0)");
    let refused = State::open(&bed.url()).await;
    assert!(matches!(refused, Err(StateError::Newer { found: 1000, .. })), "{refused:?}");
}

async fn reading_works_while_a_writer_holds_a_transaction(bed: Bed) {
    let state = bed.state().await;
    Plans::default().apply(&state, &chain(), NOW).await;
    let writer = bed.open_writer().await;
    let other = bed.state().await;
    assert_eq!(other.nodes().await.expect("reads").len(), 7);
    assert_eq!(other.head(&stream("Held")).await.expect("reads"), None);
    let waiting = tokio::spawn(async move { other.make_due(&[due("Ingest/P/Orders", NOW - 1)]).await });
    assert_eq!(state.nodes().await.expect("reads").len(), 7);
    writer.commit().await;
    waiting.await.expect("ends").expect("becomes due");
    assert!(state.head(&stream("Held")).await.expect("reads").is_some());
    let node = state.node(&address("Ingest/P/Orders")).await.expect("reads").expect("is there");
    assert_eq!(node.due_at, Some(NOW - 1));
}

async fn a_worker_that_is_alone_expires_all_leases(bed: Bed) {
    let state = bed.state().await;
    Plans::default().apply(&state, &chain(), NOW).await;
    claim(&state, "Ingest/P/Orders", NOW).await;
    let mut lock = state.take_worker_lock(&Host::Anywhere).await.expect("nobody else is there");
    assert!(lock.is_held() && lock.is_alone());
    lock.settle();
    let fence = claim(&state, "Ingest/P/Orders", NOW).await;
    assert_eq!(fence.epoch, 2);

    let other = bed.state().await;
    match (&bed, other.take_worker_lock(&Host::Anywhere).await) {
        (Bed::Sqlite(_), Err(StateError::Locked { by })) => {
            assert!(by.contains(&format!("process {} on ", std::process::id())), "{by}");
        }
        // Workers share a server; the second leaves the leases of the first alone.
        (Bed::Postgres(_), Ok(second)) => assert!(second.is_held() && !second.is_alone()),
        (_, answer) => panic!("{answer:?}"),
    }
    let node = state.node(&fence.node).await.expect("reads").expect("is there");
    assert!(node.lease.is_some());
}

async fn workers_are_alone_or_not_among_those_of_their_host(bed: Bed) {
    let pods = Host::Pods("P".parse().expect("a name"));
    let state = bed.state().await;
    let plans = Plans::default();
    let mut blueprint = plans.plan(&chain());
    blueprint.choices = made_real_by(Realizer::Pods);
    state.apply(&plans.advance(&blueprint), FORM, NOW).await.expect("applies");
    assert!(state.nodes().await.expect("reads").iter().all(|row| row.host == pods));
    let due = |host: Host| {
        let state = state.clone();
        async move { state.due(&host, NOW, 10).next_page().await.expect("reads").expect("a page").len() }
    };
    assert_eq!((due(Host::Anywhere).await, due(pods.clone()).await > 0), (0, true));
    let fence = claim(&state, "Ingest/P/Orders", NOW).await;
    let expired = state.expire_leases(&Host::Anywhere, i64::MAX).await.expect("expires");
    assert_eq!(expired, 0, "the lease is a pod's");
    let first = state.take_worker_lock(&Host::Anywhere).await.expect("nobody else is there");
    assert!(first.is_alone());
    assert!(state.node(&fence.node).await.expect("reads").expect("is there").lease.is_some());
    match (&bed, bed.state().await.take_worker_lock(&pods).await) {
        (Bed::Sqlite(_), Err(StateError::Locked { .. })) => {}
        (Bed::Postgres(_), Ok(lock)) => {
            assert!(lock.is_alone(), "the other one is no pod");
            assert!(state.node(&fence.node).await.expect("reads").expect("is there").lease.is_none());
        }
        (_, answer) => panic!("{answer:?}"),
    }
}

async fn a_state_of_the_first_version_keeps_its_rows(bed: Bed) {
    let state = bed.state().await;
    let mut plans = Plans::default();
    plans.apply(&state, &chain(), NOW).await;
    let nodes = state.nodes().await.expect("reads");
    drop(state);
    // Back to what the first version had.
    for sql in [
        "DROP INDEX hot_nodes_due",
        "ALTER TABLE hot_nodes DROP COLUMN host",
        "CREATE INDEX hot_nodes_due ON hot_nodes (priority, due_at, address) WHERE due_at IS NOT NULL AND lease_owner IS NULL",
        "ALTER TABLE generations DROP COLUMN form",
        "DROP INDEX node_versions_owner",
        "ALTER TABLE node_versions DROP COLUMN owner",
        "DROP INDEX node_versions_from",
        "DROP TABLE object_versions",
        "DROP TABLE waiting_nodes",
        "DROP TABLE approvals",
        "DROP TABLE notes",
        "DELETE FROM state_versions WHERE version > 1",
    ] {
        bed.sql(sql);
    }
    let state = bed.state().await;
    assert_eq!(state.nodes().await.expect("reads"), nodes);
    let frozen = state.frozen().await.expect("reads").expect("it is there");
    assert_eq!((frozen.form.as_str(), frozen.contents.len()), ("", 0));
    // Whose the nodes are is said with the next blueprint.
    plans.apply(&state, &chain()[..6], NOW + 1).await;
    let owners = BTreeSet::from(["Datastore/Orders".parse().expect("an address")]);
    let part = state.part(Generation(2), owners, BTreeSet::new()).await.expect("reads").expect("it is there");
    assert_eq!(part.nodes.len(), 3);
}

#[tokio::test]
async fn a_dropped_lock_is_free_again() {
    let bed = Bed::sqlite();
    let state = bed.state().await;
    drop(state.take_worker_lock(&Host::Anywhere).await.expect("nobody else is there"));
    assert!(state.take_worker_lock(&Host::Anywhere).await.is_ok());
}

#[tokio::test]
async fn an_unknown_url_is_refused_by_name() {
    for (url, expected) in [("mysql://host/db", "mysql"), ("state.db", "state.db"), ("sqlite:", "sqlite")] {
        match State::open(url).await {
            Err(StateError::Scheme { scheme }) => assert_eq!(scheme, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_unreachable_or_foreign_server_is_an_error() {
    let bed = Bed::postgres();
    let wrong = bed.url().replace("test", "wrong");
    let refused = State::open(&wrong).await.expect_err("the password is wrong");
    assert!(!refused.is_retryable(), "{refused:?}");
    let refused = State::open("postgres://nobody@127.0.0.1:1/none").await.expect_err("nobody listens");
    assert!(refused.is_retryable(), "{refused:?}");
    assert!(refused.source().is_some());
}

#[tokio::test]
async fn a_corrupted_file_is_an_error() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("state.db");
    let url = format!("sqlite:{}", path.display());
    let state = State::open(&url).await.expect("the state opens");
    let nodes: Vec<_> = (0..200).map(|number| ingest(&format!("S{number}"), &["d"])).collect();
    Plans::default().apply(&state, &nodes, NOW).await;
    drop(state);

    assert!(!folder.path().join("state.db-wal").exists(), "a closed state is one file");
    let whole = std::fs::read(&path).expect("the file is there");
    let mut errors = 0;
    for page in 0..whole.len() / 4096 {
        let mut bytes = whole.clone();
        bytes[page * 4096..(page + 1) * 4096].fill(0xa5);
        put(&path, &bytes);
        errors += usize::from(use_everything(&url).await.is_err());
    }
    assert!(errors > whole.len() / 4096 / 3, "only {errors} of {} pages matter", whole.len() / 4096);
    put(&path, b"this is no database, but long enough to be taken for one at first sight");
    assert!(use_everything(&url).await.is_err());
}

/// Puts this file in the place of the state, without what the last opening left beside it.
fn put(path: &std::path::Path, bytes: &[u8]) {
    for entry in std::fs::read_dir(path.parent().expect("a file lies in a folder")).expect("it is there") {
        std::fs::remove_file(entry.expect("it is there").path()).expect("it is removed");
    }
    std::fs::write(path, bytes).expect("the file is written");
}

async fn use_everything(url: &str) -> Result<(), StateError> {
    let state = State::open(url).await?;
    state.nodes().await?;
    state.in_force().await?;
    let claimed = state.claim("worker", NOW, NOW + 1, &[address("Ingest/P/S7")]).await?;
    for node in claimed {
        let fence = levada_state::Fence { node: node.node.address.clone(), epoch: node.epoch };
        state.complete(&fence, done(), NOW).await?;
    }
    state.heads().await.map(drop)
}
