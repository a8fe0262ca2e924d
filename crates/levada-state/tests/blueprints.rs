//! Laws of blueprints: compare-and-set, what becomes due, what is written, what can be read back.

use crate::bed::{Bed, on_both};
use crate::world::*;
use levada_model::model::Priority;
use levada_model::{Address, Fingerprint};
use levada_planner::blueprint::{Choices, Object, Realizer};
use levada_planner::{Blueprint, Generation, Node};
use levada_state::blueprints::NodeDifference;
use levada_state::{BatchCommit, State, StateError, Wish};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::collections::BTreeMap;

on_both! {
    a_blueprint_is_read_as_it_was_applied,
    a_part_of_a_blueprint_has_the_nodes_of_its_owners_and_what_is_known_of_others,
    what_a_platform_renders_has_versions_and_no_rows,
    another_parent_is_refused,
    of_two_applies_on_one_parent_one_wins,
    a_generation_comes_after_its_parent,
    an_apply_makes_due_what_has_something_to_do,
    a_changed_node_is_due_where_it_matters,
    an_export_that_leaves_is_retired,
    an_export_that_comes_back_runs_again,
    a_change_during_a_run_is_not_forgotten,
    obligations_outlive_who_asked,
    what_an_apply_writes_follows_what_it_changes,
    every_generation_can_be_read_back,
}

const INGEST: &str = "Ingest/P/Orders";
const LINES: &str = "Export/P/warehouse/Orders/lines";
const HEADS: &str = "Export/P/warehouse/Orders/heads";

async fn row(state: &State, text: &str) -> Option<levada_state::HotNode> {
    state.node(&address(text)).await.expect("reads")
}

async fn due_at(state: &State, text: &str) -> Option<i64> {
    row(state, text).await.expect("is there").due_at
}

/// Commits the first batch of `Orders`; its exports have run since.
async fn first_batch(state: &State) {
    let fence = claim(state, INGEST, NOW).await;
    let commit = BatchCommit { done: done(), ..pull(fence, 0, NOW) };
    assert_eq!(state.commit_batch(commit).await.expect("commits"), Some(1));
}

async fn a_blueprint_is_read_as_it_was_applied(bed: Bed) {
    let state = bed.state().await;
    assert_eq!(state.in_force().await.expect("reads"), None);
    assert_eq!(state.generation_in_force().await.expect("reads"), None);
    let mut plans = Plans::default();
    let mut blueprint = plans.plan(&chain());
    let groups = BTreeMap::from([("G".parse().expect("a name"), vec!["P".parse().expect("a name")])]);
    let choices = Choices {
        groups: BTreeMap::from([
            ("W".parse().expect("a name"), groups),
            ("V".parse().expect("a name"), BTreeMap::new()),
        ]),
        primaries: BTreeMap::from([("Orders".parse().expect("a name"), "P".parse().expect("a name"))]),
        platforms: made_real_by(Realizer::Workers).platforms,
    };
    blueprint.choices = choices.clone();
    state.apply(&plans.advance(&blueprint), FORM, NOW).await.expect("applies");
    assert_eq!(state.in_force().await.expect("reads").as_ref(), Some(&blueprint));
    assert_eq!(state.pointers().await.expect("reads").into_values().collect::<Vec<_>>(), [Generation(1)]);

    plans.in_force = Some(blueprint.clone());
    let mut second = plans.plan(&chain()[..2]);
    second.choices = Choices { groups: BTreeMap::new(), ..choices.clone() };
    state.apply(&plans.advance(&second), FORM, NOW + 1).await.expect("applies");
    assert_eq!(state.in_force().await.expect("reads").as_ref(), Some(&second));
    assert_eq!(state.blueprint(Generation(1)).await.expect("reads").as_ref(), Some(&blueprint));
    assert_eq!(state.blueprint(Generation(3)).await.expect("reads"), None);
    assert_eq!(state.choices(Generation(1)).await.expect("reads"), choices);
    let contents = state.node_contents(Generation(2)).await.expect("reads");
    let expected = second.nodes.iter().map(|(address, node)| (address.clone(), node.fingerprint()));
    assert_eq!(contents, expected.collect());
    let generations = state.generations().await.expect("reads");
    let counted: Vec<_> = generations.iter().map(|it| (it.generation.0, it.added, it.changed, it.removed)).collect();
    assert_eq!(counted, [(1, 7, 0, 0), (2, 0, 0, 5)]);
    assert_eq!(generations[1].parent, Some(Generation(1)));
    assert_eq!((generations[1].revision.as_str(), generations[1].applied_at), ("revision 2", NOW + 1));
    assert_eq!(state.pointers().await.expect("reads").into_values().collect::<Vec<_>>(), [Generation(2)]);
}

async fn a_part_of_a_blueprint_has_the_nodes_of_its_owners_and_what_is_known_of_others(bed: Bed) {
    let state = bed.state().await;
    let address = |text: &str| text.parse::<Address>().expect("an address");
    let object = |content: u128| Object {
        content: Fingerprint(content),
        names: vec![address("Container/C"), address("Datastore/Orders")],
        demand: (content % 2 == 1).then_some(Fingerprint(content)),
    };
    assert_eq!(state.frozen().await.expect("reads"), None);
    let mut plans = Plans::default();
    let mut first = plans.plan(&chain());
    first.choices.primaries =
        ["Orders", "Masked"].map(|it| (it.parse().expect("a name"), "P".parse().expect("a name"))).into();
    first.objects = ["Datastore/Orders", "Datastore/Masked", "Workspace/Mask"]
        .map(address)
        .into_iter()
        .zip((1..).map(object))
        .collect();
    state.apply(&plans.advance(&first), FORM, NOW).await.expect("applies");
    plans.in_force = Some(first.clone());
    let mut second =
        Blueprint { objects: first.objects.clone(), choices: first.choices.clone(), ..plans.plan(&chain()) };
    second.objects.insert(address("Workspace/Mask"), object(9));
    second.objects.remove(&address("Datastore/Orders"));
    state.apply(&plans.advance(&second), "another build", NOW + 1).await.expect("applies");

    let frozen = state.frozen().await.expect("reads").expect("it is there");
    assert_eq!((frozen.generation, frozen.form.as_str()), (Generation(2), "another build"));
    let contents = second.objects.iter().map(|(address, object)| (address.clone(), object.content));
    assert_eq!(frozen.contents, contents.collect());
    assert_eq!(state.in_force().await.expect("reads").as_ref(), Some(&second));
    assert_eq!(state.blueprint(Generation(1)).await.expect("reads").as_ref(), Some(&first));

    let owners = [address("Datastore/Masked"), address("Datastore/Gone")].into();
    let known = [address("Datastore/Masked"), address("Workspace/Mask")].into();
    let part = state.part(Generation(1), owners, known).await.expect("reads").expect("it is there");
    let mut expected = first.clone();
    expected.nodes.retain(|node, _| node.to_string().contains("Masked"));
    expected.choices.primaries.remove(&"Orders".parse().expect("a name"));
    expected.objects.remove(&address("Datastore/Orders"));
    assert_eq!(part, expected);
    let objects = state.objects(Generation(1), [address("Datastore/Orders")].into()).await.expect("reads");
    assert_eq!(objects, [(address("Datastore/Orders"), object(1))].into());
    assert_eq!(state.part(Generation(3), [].into(), [].into()).await.expect("reads"), None);
}

async fn what_a_platform_renders_has_versions_and_no_rows(bed: Bed) {
    let state = bed.state().await;
    let choices = made_real_by(Realizer::Files);
    let mut plans = Plans::default();
    let changed = [ingest("Orders", &["lines"]), export("Orders", "lines")];
    for (now, nodes) in [(NOW, &chain()[..3]), (NOW + 1, &changed), (NOW + 2, &[])] {
        let mut blueprint = plans.plan(nodes);
        blueprint.choices = if nodes.is_empty() { Choices::default() } else { choices.clone() };
        state.apply(&plans.advance(&blueprint), FORM, now).await.expect("applies");
        assert_eq!(state.in_force().await.expect("reads").as_ref(), Some(&blueprint));
        assert_eq!(state.nodes().await.expect("reads"), []);
        plans.in_force = Some(blueprint);
    }
    let generations = state.generations().await.expect("reads");
    let counted: Vec<_> = generations.iter().map(|it| (it.added, it.changed, it.removed)).collect();
    assert_eq!(counted, [(3, 0, 0), (0, 1, 1), (0, 0, 2)]);
    // What a generation changed is what its row counts.
    for row in generations {
        let changes = state.changed_nodes(row.generation).await.expect("reads");
        let count = |wanted| changes.values().filter(|change| **change == wanted).count() as i64;
        let counted = (count(NodeDifference::Added), count(NodeDifference::Changed), count(NodeDifference::Removed));
        assert_eq!(counted, (row.added, row.changed, row.removed), "generation {}", row.generation);
    }
}

async fn another_parent_is_refused(bed: Bed) {
    let state = bed.state().await;
    let mut plans = Plans::default();
    let first = plans.advance(&plans.plan(&chain()));
    plans.apply(&state, &[], NOW).await;
    let refused = state.apply(&first, FORM, NOW).await;
    let Err(StateError::BaseMoved { base: None, found: Some(Generation(1)) }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(state.nodes().await.expect("reads"), []);
    assert_eq!(state.generations().await.expect("reads").len(), 1);
}

async fn of_two_applies_on_one_parent_one_wins(bed: Bed) {
    let state = bed.state().await;
    let plans = Plans::default();
    let mut applies = Vec::new();
    for number in 0..6 {
        let advance = plans.advance(&plans.plan(&[ingest(&format!("S{number}"), &["d"])]));
        let url = bed.url();
        applies.push(tokio::spawn(async move {
            let state = State::open(&url).await.expect("the state opens");
            state.apply(&advance, FORM, NOW + number).await
        }));
    }
    let mut won = 0;
    for apply in applies {
        match apply.await.expect("ends") {
            Ok(()) => won += 1,
            Err(error) => assert!(matches!(error, StateError::BaseMoved { .. }), "{error:?}"),
        }
    }
    assert_eq!(won, 1);
    assert_eq!(state.nodes().await.expect("reads").len(), 1);
}

async fn a_generation_comes_after_its_parent(bed: Bed) {
    let state = bed.state().await;
    let mut blueprint = Plans::default().plan(&chain());
    blueprint.generation = Generation(0);
    let refused = state.apply(&Plans::default().advance(&blueprint), FORM, NOW).await;
    assert!(matches!(refused, Err(StateError::GenerationOrder { .. })), "{refused:?}");
}

async fn an_apply_makes_due_what_has_something_to_do(bed: Bed) {
    let state = bed.state().await;
    let mut plans = Plans::default();
    let chain = chain();
    plans.apply(&state, &chain[..2], NOW).await;
    assert_eq!(due_at(&state, INGEST).await, Some(NOW));
    assert_eq!(due_at(&state, LINES).await, None);
    first_batch(&state).await;
    plans.apply(&state, &chain, NOW + 5).await;
    let mut due = all_due(&state, NOW + 9, 99).await;
    due.sort_by(|left, right| left.node.address.cmp(&right.node.address));
    let due: Vec<_> = due.iter().map(|row| row.node.address.to_string()).collect();
    assert_eq!(due, [HEADS, "Trigger/P/Mask"]);
    assert!(state.nodes().await.expect("reads").iter().all(|node| !node.is_changed));
}

async fn a_changed_node_is_due_where_it_matters(bed: Bed) {
    let state = bed.state().await;
    let mut plans = Plans::default();
    let mut nodes = chain();
    plans.apply(&state, &nodes, NOW).await;
    nodes[2] = redefined(nodes[2].clone());
    plans.apply(&state, &nodes, NOW + 1).await;
    let heads = row(&state, HEADS).await.expect("is there");
    assert_eq!((heads.due_at, heads.is_changed), (None, true), "nothing was ever pulled");
    first_batch(&state).await;

    // Who depends on a node, and how much, is no other work.
    nodes[1].priority = Priority::Critical;
    nodes[0] = owing(nodes[0].clone(), "Group/W/G", Some("7d"));
    plans.apply(&state, &nodes, NOW + 2).await;
    let lines = row(&state, LINES).await.expect("is there");
    assert_eq!((lines.due_at, lines.is_changed, lines.generation), (None, false, Generation(3)));
    assert_eq!((lines.priority, lines.node.priority), (Priority::Critical, Priority::Critical));
    let ingest = row(&state, INGEST).await.expect("is there");
    assert_eq!((ingest.due_at, ingest.is_changed), (None, false), "for whom it reads is no other reading");

    nodes[0] = redefined(nodes[0].clone());
    nodes[1] = redefined(nodes[1].clone());
    plans.apply(&state, &nodes, NOW + 3).await;
    for text in [INGEST, LINES] {
        let changed = row(&state, text).await.expect("is there");
        assert_eq!((changed.due_at, changed.is_changed), (Some(NOW + 3), true));
        assert_eq!(Some(changed.node.as_ref()), nodes.iter().find(|node| node.address == address(text)));
        let fence = claim(&state, text, NOW + 3).await;
        state.complete(&fence, done(), NOW + 4).await.expect("is recorded");
        assert!(!row(&state, text).await.expect("is there").is_changed);
    }
}

async fn an_export_that_leaves_is_retired(bed: Bed) {
    let state = bed.state().await;
    let mut plans = Plans::default();
    let nodes = chain();
    plans.apply(&state, &nodes, NOW).await;
    first_batch(&state).await;
    state.make_due(&[due(LINES, NOW)]).await.expect("becomes due");
    let running = claim(&state, LINES, NOW).await;
    plans.apply(&state, &nodes[..1], NOW + 1).await;

    // The run ends as it began; the retirement comes after it.
    state.complete_export(&[(running.clone(), done(), delivery(LINES, 1, running.epoch))]).await.expect("is recorded");
    let lines = row(&state, LINES).await.expect("is there until nothing is left");
    assert_eq!((lines.wish, lines.due_at, lines.node), (Wish::Retire, Some(NOW + 1), nodes[1].clone().into()));
    state.make_due(&[due(LINES, NOW - 5)]).await.expect("is passed over");
    assert_eq!(due_at(&state, LINES).await, Some(NOW + 1));
    assert_eq!(row(&state, "Transform/P/Mask").await, None);
    assert_eq!(state.lower(&address(INGEST)).await.expect("reads"), []);

    let fence = claim(&state, LINES, NOW + 1).await;
    let retry = levada_state::Outcome::Retry { error: "down".to_owned(), at: NOW + 2 };
    state.complete(&fence, ended(retry), NOW + 1).await.expect("is recorded");
    assert!(state.delivery(&fence.node).await.expect("reads").is_some());
    let fence = claim(&state, LINES, NOW + 2).await;
    state.complete(&fence, done(), NOW + 3).await.expect("is recorded");
    assert_eq!(row(&state, LINES).await, None);
    assert_eq!(state.delivery(&fence.node).await.expect("reads"), None);
}

async fn an_export_that_comes_back_runs_again(bed: Bed) {
    let state = bed.state().await;
    let mut plans = Plans::default();
    let nodes = chain();
    plans.apply(&state, &nodes, NOW).await;
    first_batch(&state).await;

    plans.apply(&state, &nodes[..1], NOW + 1).await;
    plans.apply(&state, &nodes, NOW + 2).await;
    let lines = row(&state, LINES).await.expect("is there");
    assert_eq!((lines.wish, lines.is_changed, lines.due_at), (Wish::Run, true, Some(NOW + 1)));
    assert_eq!(state.lower(&address(INGEST)).await.expect("reads").len(), 2);

    // It comes back while its retirement runs: what was delivered is gone, the row is not.
    plans.apply(&state, &nodes[..1], NOW + 3).await;
    let retiring = claim(&state, LINES, NOW + 3).await;
    plans.apply(&state, &nodes, NOW + 4).await;
    state.complete(&retiring, done(), NOW + 5).await.expect("is recorded");
    let lines = row(&state, LINES).await.expect("is there");
    assert_eq!((lines.wish, lines.is_changed, lines.due_at), (Wish::Run, true, Some(NOW + 4)));

    // It comes back after its retirement is through: with a new row and a higher epoch.
    plans.apply(&state, &nodes[..1], NOW + 5).await;
    let retiring = claim(&state, LINES, NOW + 5).await;
    state.complete(&retiring, done(), NOW + 6).await.expect("is recorded");
    plans.apply(&state, &nodes, NOW + 7).await;
    let lines = row(&state, LINES).await.expect("is there");
    assert_eq!((lines.wish, lines.is_changed, lines.due_at), (Wish::Run, false, Some(NOW + 7)));
    assert!(claim(&state, LINES, NOW + 7).await.epoch > retiring.epoch);
}

async fn a_change_during_a_run_is_not_forgotten(bed: Bed) {
    let state = bed.state().await;
    let mut plans = Plans::default();
    let mut nodes = chain();
    plans.apply(&state, &nodes, NOW).await;
    first_batch(&state).await;
    state.make_due(&[due(LINES, NOW)]).await.expect("becomes due");
    let fence = claim(&state, LINES, NOW).await;
    nodes[1] = redefined(nodes[1].clone());
    plans.apply(&state, &nodes, NOW + 1).await;
    state.complete(&fence, done(), NOW + 2).await.expect("is recorded");
    let lines = row(&state, LINES).await.expect("is there");
    assert_eq!((lines.is_changed, lines.due_at), (true, Some(NOW + 1)));
}

async fn obligations_outlive_who_asked(bed: Bed) {
    let state = bed.state().await;
    let mut plans = Plans::default();
    let plain = ingest("Orders", &["lines"]);
    let owed = owing(owing(plain.clone(), "Group/W/G", Some("7y")), "Group/W/H", None);
    plans.apply(&state, &[owed.clone(), ingest("Other", &["d"])], NOW).await;
    let seen = async |of: Option<&str>| {
        let of = of.map(dataset);
        let obligations = state.obligations(of.as_ref()).await.expect("reads");
        let seen = |it: &levada_state::Obligation| {
            (it.to.to_string(), it.retention.map(|it| it.to_string()), it.since, it.left_at)
        };
        obligations.iter().map(seen).collect::<Vec<_>>()
    };
    let years = Some("7y".to_owned());
    let (g, h) = ("Group/W/G".to_owned(), "Group/W/H".to_owned());
    assert_eq!(seen(Some("Orders.lines")).await, [(g.clone(), years.clone(), NOW, None), (h.clone(), None, NOW, None)]);
    assert_eq!(seen(Some("Other.d")).await, []);

    plans.apply(&state, &[owing(plain.clone(), "Group/W/H", None)], NOW + 1).await;
    let left = [(g.clone(), years.clone(), NOW, Some(NOW + 1)), (h.clone(), None, NOW, None)];
    assert_eq!(seen(None).await, left);

    // Another stream that takes the dataset over goes on with what it owes.
    let single = owing(owing(ingest("Orders/lines", &["lines"]), "Group/W/H", None), "Group/W/G", Some("7y"));
    plans.apply(&state, &[single], NOW + 2).await;
    assert_eq!(seen(None).await, [(g.clone(), years.clone(), NOW, None), (h.clone(), None, NOW, None)]);
    plans.apply(&state, &[], NOW + 3).await;
    assert_eq!(seen(None).await, [(g, years, NOW, Some(NOW + 3)), (h, None, NOW, Some(NOW + 3))]);
}

/// Rows that one more dataset in one store writes, in an ecosystem of so many stores.
async fn written(bed: Bed, stores: usize) -> i64 {
    let state = bed.state().await;
    let mut nodes: Vec<Node> = Vec::new();
    for store in (0..stores).map(|number| format!("S{number}")) {
        nodes.extend([ingest(&store, &["a"]), export(&store, "a")]);
    }
    let mut plans = Plans::default();
    plans.apply(&state, &nodes, NOW).await;
    bed.watch_writes();
    nodes[0] = ingest("S0", &["a", "b"]);
    nodes.push(export("S0", "b"));
    plans.apply(&state, &nodes, NOW + 1).await;
    bed.number("SELECT count(*) FROM written")
}

async fn what_an_apply_writes_follows_what_it_changes(bed: Bed) {
    let again = match &bed {
        Bed::Sqlite(_) => Bed::sqlite(),
        Bed::Postgres(_) => Bed::postgres(),
    };
    let small = written(bed, 2).await;
    assert!(small < 20, "{small} rows for two nodes");
    assert_eq!(written(again, 300).await, small);
}

/// For each generation: which of a handful of nodes it has, and in which of two forms.
fn histories() -> impl Strategy<Value = Vec<Vec<Option<bool>>>> {
    prop::collection::vec(prop::collection::vec(prop::option::of(any::<bool>()), 6), 1..7)
}

fn nodes_of(forms: &[Option<bool>]) -> Vec<Node> {
    let all = [
        ingest("A", &["x"]),
        export("A", "x"),
        ingest("B", &["y"]),
        export("B", "y"),
        ingest("C/z", &["z"]),
        ingest("C/w", &["w"]),
    ];
    let shaped = all.into_iter().zip(forms).filter_map(|(node, form)| match form {
        None => None,
        Some(false) => Some(node),
        Some(true) => Some(redefined(node)),
    });
    shaped.collect()
}

async fn every_generation_can_be_read_back(bed: Bed) {
    let is_sqlite = matches!(bed, Bed::Sqlite(_));
    let cases = if is_sqlite { 24 } else { 8 };
    let runtime = tokio::runtime::Handle::current();
    let run = move || {
        let mut runner = TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..Default::default() });
        runner.run(&histories(), |history| {
            let bed = if is_sqlite { Bed::sqlite() } else { Bed::postgres() };
            runtime.block_on(apply_and_read(&bed, &history));
            Ok(())
        })
    };
    tokio::task::spawn_blocking(run).await.expect("ends").expect("holds for all histories");
}

async fn apply_and_read(bed: &Bed, history: &[Vec<Option<bool>>]) {
    let state = bed.state().await;
    let mut plans = Plans::default();
    let mut applied = Vec::new();
    for forms in history {
        plans.apply(&state, &nodes_of(forms), NOW).await;
        applied.push(plans.in_force.clone());
    }
    for blueprint in &applied {
        let generation = blueprint.as_ref().expect("was applied").generation;
        assert_eq!(&state.blueprint(generation).await.expect("reads"), blueprint);
    }
    let last = applied.last().cloned().flatten().expect("there is one");
    assert_eq!(state.in_force().await.expect("reads").as_ref(), Some(&last));
    let hot = state.nodes().await.expect("reads");
    let running = hot
        .into_iter()
        .filter(|row| row.wish == Wish::Run)
        .map(|row| (row.node.address.clone(), row.node.as_ref().clone()));
    assert_eq!(running.collect::<BTreeMap<_, _>>(), last.nodes);
}
