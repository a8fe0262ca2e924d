//! Laws of hot rows: who may run, and what an end leaves behind.

use crate::bed::{Bed, on_both};
use crate::world::*;
use levada_model::model::Priority;
use levada_state::{Completion, Outcome, State, StateError, Wish};
use std::collections::BTreeSet;

on_both! {
    claims_are_never_doubled,
    an_expired_lease_is_claimed_by_another,
    a_renewed_lease_stays,
    what_becomes_due_while_it_runs_stays_due,
    every_outcome_leaves_its_mark,
    due_rows_come_by_priority_then_time,
    an_earlier_time_stays,
    a_paused_node_waits,
    one_bad_end_does_not_hurt_the_others,
    deliveries_are_recorded_together_or_not_at_all,
    edges_lead_both_ways,
    requests_are_kept_until_they_are_closed,
    runs_are_read_by_prefix_and_forgotten_by_day,
}

const INGEST: &str = "Ingest/P/Orders";
const LINES: &str = "Export/P/warehouse/Orders/lines";
const HEADS: &str = "Export/P/warehouse/Orders/heads";

async fn ready(bed: &Bed) -> State {
    let state = bed.state().await;
    Plans::default().apply(&state, &chain(), NOW).await;
    state
}

async fn node(state: &State, text: &str) -> levada_state::HotNode {
    state.node(&address(text)).await.expect("reads").expect("is there")
}

async fn claims_are_never_doubled(bed: Bed) {
    let state = bed.state().await;
    let nodes: Vec<_> = (0..40).map(|number| ingest(&format!("S{number}"), &["d"])).collect();
    Plans::default().apply(&state, &nodes, NOW).await;
    let all: Vec<_> = nodes.iter().map(|node| node.address.clone()).collect();
    let mut claimers = Vec::new();
    for number in 0..8 {
        let (mut wanted, url) = (all.clone(), bed.url());
        wanted.rotate_left(number * 5);
        claimers.push(tokio::spawn(async move {
            let state = State::open(&url).await.expect("the state opens");
            let owner = format!("worker {number}");
            let mut claimed = Vec::new();
            for chunk in wanted.chunks(7) {
                claimed.extend(state.claim(&owner, NOW, NOW + 10, chunk).await.expect("the claim is made"));
            }
            claimed.iter().map(|node| (node.node.address.clone(), node.epoch)).collect::<Vec<_>>()
        }));
    }
    let mut claimed = Vec::new();
    for claimer in claimers {
        claimed.extend(claimer.await.expect("the claimer ends"));
    }
    assert_eq!(claimed.len(), all.len());
    assert_eq!(claimed.iter().map(|(address, _)| address).collect::<BTreeSet<_>>(), all.iter().collect());
    assert!(claimed.iter().all(|(_, epoch)| *epoch == 1));
}

async fn an_expired_lease_is_claimed_by_another(bed: Bed) {
    let state = ready(&bed).await;
    let claimed = state.claim("first", NOW + 3, NOW + 10, &[address(INGEST)]).await.expect("the claim is made");
    assert_eq!(claimed[0].due_at, Some(NOW));
    assert_eq!(claimed[0].lease, Some(("first".to_owned(), NOW + 10)));
    assert_eq!(state.expire_leases(NOW + 9).await.expect("expires"), 0);
    assert_eq!(state.claim("second", NOW + 9, NOW + 20, &[address(INGEST)]).await.expect("is made"), []);
    assert_eq!(state.expire_leases(NOW + 10).await.expect("expires"), 1);
    assert_eq!(node(&state, INGEST).await.due_at, Some(NOW));
    let claimed = state.claim("second", NOW + 11, NOW + 20, &[address(INGEST)]).await.expect("is made");
    assert_eq!(claimed[0].epoch, 2);
}

async fn a_renewed_lease_stays(bed: Bed) {
    let state = ready(&bed).await;
    claim(&state, INGEST, NOW).await;
    assert_eq!(state.renew("worker", NOW + 50_000_000).await.expect("renews"), 1);
    assert_eq!(state.renew("somebody else", NOW).await.expect("renews"), 0);
    assert_eq!(state.expire_leases(NOW + 49_000_000).await.expect("expires"), 0);
    assert_eq!(node(&state, INGEST).await.lease, Some(("worker".to_owned(), NOW + 50_000_000)));
}

async fn what_becomes_due_while_it_runs_stays_due(bed: Bed) {
    let state = ready(&bed).await;
    for (outcome, expected) in [
        (Outcome::Done, NOW + 1),
        (Outcome::Failed { error: "why".to_owned() }, NOW + 1),
        (Outcome::Retry { error: "why".to_owned(), at: NOW + 70 }, NOW + 70),
    ] {
        state.make_due(&[due(LINES, NOW)]).await.expect("becomes due");
        let fence = claim(&state, LINES, NOW).await;
        assert_eq!(node(&state, LINES).await.due_at, None);
        state.make_due(&[due(LINES, NOW + 1)]).await.expect("becomes due");
        let end = Completion { next_due_at: Some(NOW + 900), ..ended(outcome) };
        state.complete(&fence, end, NOW + 2).await.expect("is recorded");
        assert_eq!(node(&state, LINES).await.due_at, Some(expected));
    }
}

async fn every_outcome_leaves_its_mark(bed: Bed) {
    let state = ready(&bed).await;
    let end = |outcome| Completion { next_due_at: Some(NOW + 900), ..ended(outcome) };

    let fence = claim(&state, INGEST, NOW).await;
    let retry = Outcome::Retry { error: "no route".to_owned(), at: NOW + 5 };
    state.complete(&fence, end(retry), NOW + 1).await.expect("is recorded");
    let row = node(&state, INGEST).await;
    assert_eq!(
        (row.attempt, row.is_failed, row.error.as_deref(), row.due_at),
        (1, false, Some("no route"), Some(NOW + 5))
    );

    let fence = claim(&state, INGEST, NOW + 5).await;
    let failed = Outcome::Failed { error: "no route at all".to_owned() };
    state.complete(&fence, end(failed), NOW + 6).await.expect("is recorded");
    let row = node(&state, INGEST).await;
    assert_eq!((row.attempt, row.is_failed, row.due_at), (2, true, Some(NOW + 900)));
    assert_eq!(row.error.as_deref(), Some("no route at all"));

    let fence = claim(&state, INGEST, NOW + 900).await;
    let released = Completion { memory: Some("[1]".to_owned()), ..end(Outcome::Released) };
    state.complete(&fence, released, NOW + 901).await.expect("is recorded");
    let row = node(&state, INGEST).await;
    assert_eq!((row.attempt, row.due_at, row.memory.as_deref()), (2, Some(NOW + 901), Some("[1]")));

    let fence = claim(&state, INGEST, NOW + 901).await;
    let done = Completion { successors: vec![due(LINES, NOW + 3), due("Ingest/P/Unknown", NOW)], ..end(Outcome::Done) };
    state.complete(&fence, done, NOW + 902).await.expect("is recorded");
    let row = node(&state, INGEST).await;
    assert_eq!((row.attempt, row.is_failed, row.error, row.due_at), (0, false, None, Some(NOW + 900)));
    assert_eq!((row.succeeded_at, row.memory.as_deref()), (Some(NOW + 902), Some("[1]")));
    assert_eq!(node(&state, LINES).await.due_at, Some(NOW + 3));

    let twice = state.complete(&fence, ended(Outcome::Done), NOW).await;
    assert!(matches!(twice, Err(StateError::Fenced { .. })), "{twice:?}");
    let outcomes: Vec<_> = state.runs(None, 0, 9).await.expect("reads").iter().map(|run| run.outcome.word()).collect();
    assert_eq!(outcomes, ["done", "released", "failed", "retry"]);
}

async fn due_rows_come_by_priority_then_time(bed: Bed) {
    let state = bed.state().await;
    let mut nodes: Vec<_> = ["A", "B", "C", "D"].iter().map(|name| ingest(name, &["d"])).collect();
    nodes[2].priority = Priority::Critical;
    nodes[0].priority = Priority::Low;
    let mut plans = Plans::default();
    plans.apply(&state, &nodes[..3], NOW + 10).await;
    plans.apply(&state, &nodes, NOW).await;
    let names = |rows: Vec<levada_state::HotNode>| rows.iter().map(|row| row.node.address.tail()).collect::<Vec<_>>();
    assert_eq!(names(state.due(NOW + 10, 9).await.expect("reads")), ["C", "D", "B", "A"]);
    assert_eq!(names(state.due(NOW + 10, 2).await.expect("reads")), ["C", "D"]);
    assert_eq!(names(state.due(NOW + 9, 9).await.expect("reads")), ["D"]);
    assert_eq!(state.due(NOW - 1, 9).await.expect("reads"), []);
    assert_eq!(state.next_due_after(NOW - 1).await.expect("reads"), Some(NOW));
    assert_eq!(state.next_due_after(NOW).await.expect("reads"), Some(NOW + 10));
    assert_eq!(state.next_due_after(NOW + 10).await.expect("reads"), None);
    claim(&state, "Ingest/P/D", NOW).await;
    assert_eq!(state.next_due_after(NOW - 1).await.expect("reads"), Some(NOW + 10));
}

async fn an_earlier_time_stays(bed: Bed) {
    let state = ready(&bed).await;
    let mut successor = due(HEADS, NOW + 5);
    successor.payload = Some("first".to_owned());
    for (due_at, expected) in [(NOW + 5, NOW + 5), (NOW + 9, NOW + 5), (NOW + 2, NOW + 2)] {
        successor.due_at = due_at;
        state.make_due(&[successor.clone()]).await.expect("becomes due");
        assert_eq!(node(&state, HEADS).await.due_at, Some(expected));
    }
    state.make_due(&[due(HEADS, NOW)]).await.expect("becomes due");
    assert_eq!(node(&state, HEADS).await.payload.as_deref(), Some("first"));
}

async fn a_paused_node_waits(bed: Bed) {
    let state = ready(&bed).await;
    assert!(state.set_paused(&address(INGEST), true).await.expect("pauses"));
    assert!(!state.set_paused(&address("Ingest/P/Unknown"), true).await.expect("is passed over"));
    assert!(node(&state, INGEST).await.is_paused);
    assert!(state.due(NOW, 9).await.expect("reads").iter().all(|row| row.node.address != address(INGEST)));
    assert_eq!(state.claim("worker", NOW, NOW + 9, &[address(INGEST)]).await.expect("is made"), []);
    state.set_paused(&address(INGEST), false).await.expect("resumes");
    claim(&state, INGEST, NOW).await;
}

async fn one_bad_end_does_not_hurt_the_others(bed: Bed) {
    let state = bed.state().await;
    let nodes: Vec<_> = (0..30).map(|number| ingest(&format!("S{number}"), &["d"])).collect();
    Plans::default().apply(&state, &nodes, NOW).await;
    let mut ends = Vec::new();
    for (number, node) in nodes.iter().enumerate() {
        let mut fence = claim(&state, &node.address.to_string(), NOW).await;
        let is_stale = number % 3 == 0;
        fence.epoch -= i64::from(is_stale);
        let state = state.clone();
        ends.push((is_stale, tokio::spawn(async move { state.complete(&fence, done(), NOW).await })));
    }
    for (is_stale, end) in ends {
        assert_eq!(end.await.expect("ends").is_err(), is_stale);
    }
    let leased = state.nodes().await.expect("reads").iter().filter(|node| node.lease.is_some()).count();
    assert_eq!(leased, 10);
}

async fn deliveries_are_recorded_together_or_not_at_all(bed: Bed) {
    let state = ready(&bed).await;
    state.make_due(&[due(LINES, NOW), due(HEADS, NOW)]).await.expect("become due");
    let lines = claim(&state, LINES, NOW).await;
    let heads = claim(&state, HEADS, NOW).await;
    let mut stale = heads.clone();
    stale.epoch -= 1;
    let first = (lines.clone(), done(), delivery(LINES, 4, lines.epoch));
    let refused = state.complete_export(&[first.clone(), (stale, done(), delivery(HEADS, 4, 0))]).await;
    assert!(matches!(refused, Err(StateError::Fenced { .. })), "{refused:?}");
    assert_eq!(state.deliveries().await.expect("reads"), []);

    let end = Completion { successors: vec![due("Trigger/P/Mask", NOW + 1)], ..done() };
    let second = (heads.clone(), end, delivery(HEADS, 4, heads.epoch));
    state.complete_export(&[first.clone(), second.clone()]).await.expect("is recorded");
    assert_eq!(state.delivery(&lines.node).await.expect("reads"), Some(first.2.clone()));
    assert_eq!(state.deliveries().await.expect("reads"), [second.2, first.2]);
    let runs = state.runs(Some("Export/"), 0, 9).await.expect("reads");
    assert!(runs.len() == 2 && runs.iter().all(|run| run.batch == Some(4)));

    state.make_due(&[due(LINES, NOW)]).await.expect("becomes due");
    let lines = claim(&state, LINES, NOW).await;
    let again = delivery(LINES, 5, lines.epoch);
    state.complete_export(&[(lines.clone(), done(), again.clone())]).await.expect("is recorded");
    assert_eq!(state.delivery(&lines.node).await.expect("reads"), Some(again));
}

async fn edges_lead_both_ways(bed: Bed) {
    let state = ready(&bed).await;
    let trigger = address("Trigger/P/Mask");
    let upper = state.upper(&trigger).await.expect("reads");
    assert_eq!(upper, [(address("Export/P/warehouse/Masked/lines"), true), (address(LINES), false)]);
    assert_eq!(state.lower(&trigger).await.expect("reads"), [(address("Transform/P/Mask"), false)]);
    let lower = state.lower(&address(INGEST)).await.expect("reads");
    assert_eq!(lower, [(address(HEADS), false), (address(LINES), false)]);
    assert!(state.nodes().await.expect("reads").iter().all(|node| node.wish == Wish::Run));
}

async fn requests_are_kept_until_they_are_closed(bed: Bed) {
    let state = bed.state().await;
    let first = state.request("rehydrate", "{\"workspace\":\"W\"}", NOW).await.expect("is left");
    let second = state.request("rehydrate", "{\"workspace\":\"W\"}", NOW).await.expect("is left");
    let open = state.open_requests().await.expect("reads");
    assert_eq!(open.iter().map(|request| request.id).collect::<Vec<_>>(), [first, second]);
    assert_eq!((open[0].kind.as_str(), open[0].requested_at), ("rehydrate", NOW));
    state.close_request(first, "done").await.expect("closes");
    state.close_request(first, "done").await.expect("an answer may get lost");
    let refused = state.close_request(first, "failed").await;
    assert!(matches!(refused, Err(StateError::RequestNotOpen { id }) if id == first), "{refused:?}");
    assert_eq!(state.open_requests().await.expect("reads").len(), 1);
    let closed = state.request_by_id(first).await.expect("reads").expect("is there");
    assert_eq!(closed.outcome.as_deref(), Some("done"));
}

async fn runs_are_read_by_prefix_and_forgotten_by_day(bed: Bed) {
    const DAY: i64 = 86_400_000_000;
    let state = ready(&bed).await;
    for day in 0..3 {
        for text in [INGEST, LINES] {
            state.make_due(&[due(text, NOW)]).await.expect("becomes due");
            let fence = claim(&state, text, NOW).await;
            state.complete(&fence, done(), NOW + day * DAY).await.expect("is recorded");
        }
    }
    let ends = |rows: Vec<levada_state::RunRow>| rows.iter().map(|row| (row.ended_at - NOW) / DAY).collect::<Vec<_>>();
    assert_eq!(ends(state.runs(Some("Ingest/"), 0, 9).await.expect("reads")), [2, 1, 0]);
    assert_eq!(ends(state.runs(Some("Ingest%"), 0, 9).await.expect("reads")), [0; 0]);
    assert_eq!(ends(state.runs(None, NOW + DAY, 3).await.expect("reads")), [2, 2, 1]);
    assert_eq!(state.forget_runs(NOW + DAY).await.expect("forgets"), 2);
    assert_eq!(ends(state.runs(None, 0, 9).await.expect("reads")), [2, 2, 1, 1]);
}
