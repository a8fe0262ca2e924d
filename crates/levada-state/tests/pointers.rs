//! Laws of the platforms' pointers: each takes the target up by itself, ingestions change hands together,
//! and there is a way back.

use crate::bed::{Bed, on_both};
use crate::world::*;
use levada_model::NodeAddress;
use levada_model::name::PlatformName;
use levada_planner::blueprint::Choices;
use levada_planner::{Advance, Blueprint, Generation, Node, NodeSpec};
use levada_state::{Approval, Note, State};
use std::collections::{BTreeMap, BTreeSet};

on_both! {
    each_platform_takes_the_target_up_by_itself,
    several_generations_are_taken_up_as_one,
    an_ingestion_changes_hands_once_both_platforms_are_there,
    whoever_takes_a_handover_up_last_makes_it_happen,
    an_apply_moves_all_platforms_from_wherever_they_are,
    an_apply_ends_a_handover_that_is_under_way,
    two_handovers_in_a_row_end_at_the_last_one,
    a_handover_that_is_called_off_leaves_nothing_behind,
    views_stay_until_the_other_platform_shows_them,
    an_earlier_blueprint_comes_back_as_a_new_generation,
    approvals_and_notes_are_kept_by_what_they_are_about,
}

fn platform(name: &str) -> PlatformName {
    name.parse().expect("a name")
}

fn only(name: &str) -> BTreeSet<PlatformName> {
    [platform(name)].into()
}

/// The same node on another platform.
fn on(to: &str, node: Node) -> Node {
    let text = serde_json::to_string(&node).expect("serialises");
    serde_json::from_str(&text.replace("/P/", &format!("/{to}/"))).expect("parses")
}

fn choices(primary: &str) -> Choices {
    let primaries = BTreeMap::from([("Orders".parse().expect("a name"), platform(primary))]);
    Choices { primaries, ..Choices::default() }
}

async fn rows(state: &State) -> BTreeMap<NodeAddress, i64> {
    let rows = state.nodes().await.expect("reads").into_iter();
    rows.map(|row| (row.node.address.clone(), row.generation.0)).collect()
}

async fn frozen(plans: &mut Plans, state: &State, nodes: &[Node], primary: &str) -> Blueprint {
    let blueprint = Blueprint { choices: choices(primary), ..plans.plan(nodes) };
    state.freeze(&plans.advance(&blueprint), FORM, NOW).await.expect("freezes");
    plans.in_force = Some(blueprint.clone());
    blueprint
}

async fn each_platform_takes_the_target_up_by_itself(bed: Bed) {
    let state = bed.state().await;
    let mut plans = Plans::default();
    let other = on("Q", export("Orders", "lines"));
    let nodes = [ingest("Orders", &["lines"]), export("Orders", "lines"), other.clone()];
    frozen(&mut plans, &state, &nodes, "P").await;
    assert_eq!(rows(&state).await, BTreeMap::new(), "nobody has taken anything up");
    assert_eq!(
        state.pointers().await.expect("reads"),
        [(platform("P"), Generation(0)), (platform("Q"), Generation(0))].into()
    );
    assert_eq!(state.behind().await.expect("reads"), [(platform("P"), 2), (platform("Q"), 1)].into());
    assert_eq!(state.take_up(only("P"), NOW).await.expect("takes up"), 2);
    assert_eq!(rows(&state).await.len(), 2);
    assert_eq!(state.behind().await.expect("reads"), [(platform("Q"), 1)].into());
    assert_eq!(state.take_up(only("Q"), NOW).await.expect("takes up"), 1);
    assert_eq!(rows(&state).await.len(), 3);
    assert_eq!(state.behind().await.expect("reads"), BTreeMap::new());
    assert_eq!(state.take_up(only("Q"), NOW).await.expect("takes up"), 0);
}

async fn several_generations_are_taken_up_as_one(bed: Bed) {
    let state = bed.state().await;
    let mut plans = Plans::default();
    plans.apply(&state, &[ingest("Orders", &["lines"])], NOW).await;
    frozen(&mut plans, &state, &[ingest("Orders", &["lines"]), export("Orders", "lines")], "P").await;
    frozen(&mut plans, &state, &[ingest("Orders", &["lines", "heads"])], "P").await;
    let last = [ingest("Orders", &["lines", "heads"]), export("Orders", "heads")];
    frozen(&mut plans, &state, &last, "P").await;
    // An export that came and went is never seen.
    assert_eq!(state.take_up(only("P"), NOW).await.expect("takes up"), 3);
    let rows = rows(&state).await;
    assert_eq!(rows, last.iter().map(|node| (node.address.clone(), 4)).collect());
}

fn handed_over() -> ([Node; 3], [Node; 3]) {
    let (here, there) = (ingest("Orders", &["lines"]), on("Q", ingest("Orders", &["lines"])));
    let exports = [export("Orders", "lines"), on("Q", export("Orders", "lines"))];
    let [a, b] = exports;
    let changed = redefined(a.clone());
    ([here, a, b.clone()], [there, changed, b])
}

/// Both platforms have taken up what is there before; gives that, and what comes after.
async fn taken_up(state: &State, plans: &mut Plans) -> ([Node; 3], [Node; 3]) {
    let (before, after) = handed_over();
    frozen(plans, state, &before, "P").await;
    state.take_up([platform("P"), platform("Q")].into(), NOW).await.expect("takes up");
    (before, after)
}

fn ingests(rows: &BTreeMap<NodeAddress, i64>) -> Vec<String> {
    rows.keys().filter(|address| matches!(address, NodeAddress::Ingest(..))).map(ToString::to_string).collect()
}

async fn an_ingestion_changes_hands_once_both_platforms_are_there(bed: Bed) {
    let state = bed.state().await;
    let mut plans = Plans::default();
    let (_, after) = taken_up(&state, &mut plans).await;
    frozen(&mut plans, &state, &after, "Q").await;
    let held = rows(&state).await;
    state.take_up(only("P"), NOW).await.expect("takes up");
    assert_eq!(rows(&state).await, held, "all of the datastore stays where it is");
    state.take_up(only("Q"), NOW).await.expect("takes up");
    assert_eq!(ingests(&rows(&state).await), ["Ingest/Q/Orders"]);
    let export = state.node(&address("Export/P/warehouse/Orders/lines")).await.expect("reads").expect("it is there");
    let NodeSpec::Export(spec) = &export.node.spec else { panic!("an export") };
    assert!(spec.live.as_deref().is_some_and(|live| live.ends_with("_2")), "what was held is there, too");
}

async fn whoever_takes_a_handover_up_last_makes_it_happen(bed: Bed) {
    let state = bed.state().await;
    let mut plans = Plans::default();
    let (_, after) = taken_up(&state, &mut plans).await;
    frozen(&mut plans, &state, &after, "Q").await;
    state.take_up(only("Q"), NOW).await.expect("takes up");
    assert_eq!(ingests(&rows(&state).await), ["Ingest/P/Orders"], "nobody ingests it twice");
    state.take_up(only("P"), NOW).await.expect("takes up");
    assert_eq!(ingests(&rows(&state).await), ["Ingest/Q/Orders"]);
}

async fn an_apply_moves_all_platforms_from_wherever_they_are(bed: Bed) {
    let state = bed.state().await;
    let mut plans = Plans::default();
    let (before, after) = handed_over();
    frozen(&mut plans, &state, &before, "P").await;
    state.take_up(only("P"), NOW).await.expect("takes up");
    let last = Blueprint { choices: choices("Q"), ..plans.plan(&after) };
    state.apply(&plans.advance(&last), FORM, NOW).await.expect("applies");
    assert_eq!(rows(&state).await.into_keys().collect::<Vec<_>>(), last.nodes.into_keys().collect::<Vec<_>>());
    assert!(state.pointers().await.expect("reads").values().all(|pointer| *pointer == Generation(2)));
}

async fn an_apply_ends_a_handover_that_is_under_way(bed: Bed) {
    let state = bed.state().await;
    let mut plans = Plans::default();
    let (_, after) = taken_up(&state, &mut plans).await;
    frozen(&mut plans, &state, &after, "Q").await;
    state.take_up(only("Q"), NOW).await.expect("takes up");
    let mut nodes = after.to_vec();
    nodes.push(ingest("Other", &["d"]));
    let last = Blueprint { choices: choices("Q"), ..plans.plan(&nodes) };
    state.apply(&plans.advance(&last), FORM, NOW).await.expect("applies");
    assert_eq!(ingests(&rows(&state).await), ["Ingest/P/Other", "Ingest/Q/Orders"]);
}

async fn two_handovers_in_a_row_end_at_the_last_one(bed: Bed) {
    let state = bed.state().await;
    let mut plans = Plans::default();
    let (_, after) = taken_up(&state, &mut plans).await;
    frozen(&mut plans, &state, &after, "Q").await;
    state.take_up(only("P"), NOW).await.expect("takes up");
    let [_, a, b] = after;
    frozen(&mut plans, &state, &[on("R", ingest("Orders", &["lines"])), a, b], "R").await;
    state.take_up(only("R"), NOW).await.expect("takes up");
    assert_eq!(ingests(&rows(&state).await), ["Ingest/R/Orders"], "P has nothing new to take up, and is there");
    assert_eq!(state.behind().await.expect("reads"), [(platform("Q"), 1)].into());
}

async fn a_handover_that_is_called_off_leaves_nothing_behind(bed: Bed) {
    let state = bed.state().await;
    let mut plans = Plans::default();
    let (before, after) = taken_up(&state, &mut plans).await;
    let new = on("R", export("Orders", "heads"));
    let mut nodes = after.to_vec();
    nodes.push(new.clone());
    frozen(&mut plans, &state, &nodes, "Q").await;
    state.take_up(only("R"), NOW).await.expect("takes up");
    assert!(!rows(&state).await.contains_key(&new.address), "it waits for whom it is fed by");
    let mut nodes = before.to_vec();
    nodes.push(new.clone());
    frozen(&mut plans, &state, &nodes, "P").await;
    state.take_up([platform("P"), platform("Q")].into(), NOW).await.expect("takes up");
    let expected: Vec<NodeAddress> = plans.in_force.as_ref().expect("frozen").nodes.keys().cloned().collect();
    assert_eq!(rows(&state).await.into_keys().collect::<Vec<_>>(), expected);
}

async fn views_stay_until_the_other_platform_shows_them(bed: Bed) {
    use levada_planner::blueprint::{DeliveredReading, ViewSpec};
    let state = bed.state().await;
    let mut plans = Plans::default();
    let shown = |mut node: Node| {
        let NodeSpec::Export(spec) = &mut node.spec else { panic!("an export") };
        spec.views.push(ViewSpec {
            workspace: "W".parse().expect("a name"),
            schema: "w".to_owned(),
            name: "orders_lines".to_owned(),
            reading: DeliveredReading::Live,
            retention: None,
            readers: Vec::new(),
        });
        node
    };
    let source = ingest("Orders", &["lines"]);
    let (here, there) = (shown(export("Orders", "lines")), on("Q", shown(export("Orders", "lines"))));
    frozen(&mut plans, &state, &[source.clone(), here.clone()], "P").await;
    state.take_up(only("P"), NOW).await.expect("takes up");
    frozen(&mut plans, &state, &[source.clone(), there.clone()], "P").await;
    state.take_up(only("P"), NOW).await.expect("takes up");
    let row = |rows: Vec<levada_state::HotNode>, of: &Node| rows.into_iter().find(|row| row.node.address == of.address);
    let kept = row(state.nodes().await.expect("reads"), &here).expect("it is there");
    assert_eq!(kept.wish, levada_state::Wish::Run, "nobody else shows the view yet");
    state.take_up(only("Q"), NOW).await.expect("takes up");
    let rows = state.nodes().await.expect("reads");
    assert_eq!(row(rows.clone(), &here).map(|row| row.wish), Some(levada_state::Wish::Retire));
    assert_eq!(row(rows, &there).map(|row| row.wish), Some(levada_state::Wish::Run));
}

async fn an_earlier_blueprint_comes_back_as_a_new_generation(bed: Bed) {
    let state = bed.state().await;
    let mut plans = Plans::default();
    let first = Blueprint { choices: choices("P"), ..plans.plan(&chain()) };
    state.apply(&plans.advance(&first), "the first build", NOW).await.expect("applies");
    plans.in_force = Some(first.clone());
    assert_eq!(state.way_back(Generation(1)).await.expect("reads"), None, "it is in force");
    plans.apply(&state, &chain()[..3], NOW + 1).await;
    plans.apply(&state, &[redefined(chain()[1].clone())], NOW + 2).await;
    assert_eq!(state.way_back(Generation(9)).await.expect("reads"), None);
    let way = state.way_back(Generation(1)).await.expect("reads").expect("it is there");
    let (advance, form) = (Advance::between(Some(&way.now), &way.then), way.form);
    assert_eq!((advance.generation, advance.parent), (Generation(4), Some(Generation(3))));
    assert_eq!(form, "the first build");
    state.apply(&advance, &form, NOW + 3).await.expect("applies");
    let again = state.in_force().await.expect("reads").expect("it is there");
    assert_eq!((again.nodes, again.choices), (first.nodes, first.choices));
    assert_eq!(again.revision, "generation 1 again: revision 1");
}

async fn approvals_and_notes_are_kept_by_what_they_are_about(bed: Bed) {
    let state = bed.state().await;
    let approval = |generation, by: &str| Approval { generation: Generation(generation), at: NOW, by: by.to_owned() };
    state.approve(platform("P"), approval(1, "ann")).await.expect("writes");
    state.approve(platform("Q"), approval(1, "bob")).await.expect("writes");
    state.approve(platform("P"), approval(2, "cid")).await.expect("writes");
    let kept = BTreeMap::from([(platform("P"), approval(2, "cid")), (platform("Q"), approval(1, "bob"))]);
    assert_eq!(state.approvals().await.expect("reads"), kept);
    let note = |body: &str| Note { at: NOW, body: body.to_owned() };
    for (topic, body) in [("follow", "1"), ("other", "2"), ("follow", "3")] {
        state.note(topic, note(body)).await.expect("writes");
    }
    let kept = BTreeMap::from([("follow".to_owned(), note("3")), ("other".to_owned(), note("2"))]);
    assert_eq!(state.notes().await.expect("reads"), kept);
}
