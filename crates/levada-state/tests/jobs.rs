//! Laws of hot rows: who may run, and what an end leaves behind.

use crate::bed::{Bed, on_both};
use crate::world::*;
use levada_model::model::Priority;
use levada_state::{Completion, Host, HotNode, Outcome, State, StateError, Successor, Wish};
use std::collections::BTreeSet;

on_both! {
    claims_are_never_doubled,
    an_expired_lease_is_claimed_by_another,
    a_renewed_lease_stays,
    what_becomes_due_while_it_runs_stays_due,
    every_outcome_leaves_its_mark,
    due_rows_come_by_priority_then_time,
    a_postponed_row_is_due_later_unless_something_happened,
    a_claim_takes_the_payload_and_gives_it_back_unless_it_was_used,
    a_new_payload_is_other_work_than_what_failed,
    an_unreadable_node_fails_alone,
    an_earlier_time_stays,
    one_bad_end_does_not_hurt_the_others,
    deliveries_are_recorded_together_or_not_at_all,
    edges_lead_both_ways,
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
    assert_eq!(state.expire_leases(&Host::Anywhere, NOW + 9).await.expect("expires"), 0);
    assert_eq!(state.claim("second", NOW + 9, NOW + 20, &[address(INGEST)]).await.expect("is made"), []);
    assert_eq!(state.expire_leases(&Host::Anywhere, NOW + 10).await.expect("expires"), 1);
    assert_eq!(node(&state, INGEST).await.due_at, Some(NOW));
    let claimed = state.claim("second", NOW + 11, NOW + 20, &[address(INGEST)]).await.expect("is made");
    assert_eq!(claimed[0].epoch, 2);
}

async fn a_renewed_lease_stays(bed: Bed) {
    let state = ready(&bed).await;
    claim(&state, INGEST, NOW).await;
    let running = [address(INGEST)];
    assert_eq!(state.renew("worker", &running, NOW + 50_000_000).await.expect("renews"), 1);
    assert_eq!(state.renew("worker", &[], NOW).await.expect("renews"), 0, "what it doesn't run it doesn't keep");
    assert_eq!(state.renew("somebody else", &running, NOW).await.expect("renews"), 0);
    assert_eq!(state.expire_leases(&Host::Anywhere, NOW + 49_000_000).await.expect("expires"), 0);
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
    let names = |rows: Vec<HotNode>| rows.iter().map(|row| row.node.address.tail()).collect::<Vec<_>>();
    for page_rows in 1..6 {
        assert_eq!(names(all_due(&state, NOW + 10, page_rows).await), ["C", "D", "B", "A"], "{page_rows} rows a page");
    }
    assert_eq!(names(all_due(&state, NOW + 9, 9).await), ["D"]);
    assert_eq!(all_due(&state, NOW - 1, 9).await, []);
    let first = state.due(&Host::Anywhere, NOW + 10, 2).next_page().await.expect("reads").expect("there is one");
    assert_eq!(names(first), ["C", "D"]);
}

async fn a_postponed_row_is_due_later_unless_something_happened(bed: Bed) {
    let state = ready(&bed).await;
    let row = node(&state, INGEST).await;
    state.postpone(&[(row.clone(), NOW + 9)]).await.expect("is postponed");
    assert_eq!(node(&state, INGEST).await.due_at, Some(NOW + 9));
    state.make_due(&[due(INGEST, NOW + 1)]).await.expect("becomes due");
    state.postpone(&[(row, NOW + 9)]).await.expect("is passed over");
    assert_eq!(node(&state, INGEST).await.due_at, Some(NOW + 1));
}

async fn a_claim_takes_the_payload_and_gives_it_back_unless_it_was_used(bed: Bed) {
    let state = ready(&bed).await;
    let with = |payload: &str| Successor { payload: Some(payload.to_owned()), ..due(LINES, NOW) };
    let payload = async || node(&state, LINES).await.payload;
    for outcome in [
        Outcome::Failed { error: "why".to_owned() },
        Outcome::Retry { error: "why".to_owned(), at: NOW },
        Outcome::Released,
    ] {
        state.make_due(&[with("first")]).await.expect("becomes due");
        let fence = claim(&state, LINES, NOW).await;
        state.complete(&fence, ended(outcome.clone()), NOW).await.expect("is recorded");
        assert_eq!(payload().await.as_deref(), Some("first"), "{outcome:?}");
    }
    let claimed = state.claim("worker", NOW, NOW + 1, &[address(LINES)]).await.expect("is made");
    assert_eq!(claimed[0].payload.as_deref(), Some("first"));
    state.expire_leases(&Host::Anywhere, NOW + 1).await.expect("expires");
    assert_eq!(payload().await.as_deref(), Some("first"));

    // Made due while it runs: the payload that was used is not used again.
    let fence = claim(&state, LINES, NOW).await;
    state.make_due(&[due(LINES, NOW)]).await.expect("becomes due");
    state.complete(&fence, done(), NOW).await.expect("is recorded");
    assert_eq!((node(&state, LINES).await.due_at, payload().await), (Some(NOW), None));

    // A newer one that came meanwhile stays, however the run ends.
    for outcome in [Outcome::Released, Outcome::Done] {
        state.make_due(&[with("older")]).await.expect("becomes due");
        let fence = claim(&state, LINES, NOW).await;
        state.make_due(&[with("newer")]).await.expect("becomes due");
        state.complete(&fence, ended(outcome), NOW).await.expect("is recorded");
        assert_eq!(payload().await.as_deref(), Some("newer"));
    }
}

async fn a_new_payload_is_other_work_than_what_failed(bed: Bed) {
    let state = ready(&bed).await;
    state.make_due(&[due(LINES, NOW)]).await.expect("becomes due");
    let fence = claim(&state, LINES, NOW).await;
    state.complete(&fence, ended(Outcome::Failed { error: "why".to_owned() }), NOW).await.expect("is recorded");
    state.make_due(&[due(LINES, NOW)]).await.expect("becomes due");
    assert!(node(&state, LINES).await.is_failed);
    let other = Successor { payload: Some("other".to_owned()), ..due(LINES, NOW) };
    state.make_due(&[other]).await.expect("becomes due");
    let row = node(&state, LINES).await;
    assert_eq!((row.is_failed, row.attempt), (false, 0));
}

async fn an_unreadable_node_fails_alone(bed: Bed) {
    let state = bed.state().await;
    let nodes: Vec<_> = ["A", "B", "C"].iter().map(|name| ingest(name, &["d"])).collect();
    let mut plans = Plans::default();
    plans.apply(&state, &nodes, NOW).await;
    bed.sql("UPDATE node_contents SET node = '{}' WHERE node LIKE '%Ingest/P/A%'");
    bed.sql("UPDATE node_contents SET format = 1000 WHERE node LIKE '%Ingest/P/B%'");
    let state = bed.state().await;
    let names = |rows: Vec<HotNode>| rows.iter().map(|row| row.node.address.tail()).collect::<Vec<_>>();
    assert_eq!(names(state.nodes().await.expect("reads")), ["C"]);
    assert_eq!(names(all_due(&state, NOW, 1).await), ["C"]);
    for text in ["Ingest/P/A", "Ingest/P/B"] {
        assert!(state.node(&address(text)).await.is_err(), "{text}");
    }
    // The next plan finds them missing, and puts them back.
    plans.in_force = state.in_force().await.expect("reads");
    assert_eq!(plans.in_force.as_ref().map(|blueprint| blueprint.nodes.len()), Some(1));
    plans.apply(&state, &nodes, NOW + 1).await;
    let state = bed.state().await;
    assert_eq!(names(state.nodes().await.expect("reads")), ["A", "B", "C"]);
    assert_eq!(state.in_force().await.expect("reads"), plans.in_force);
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
