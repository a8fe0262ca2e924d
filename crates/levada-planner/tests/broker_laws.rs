//! The laws of the broker over random models.

use crate::models::{Builder, name};
use crate::platforms::registry;
use crate::random::plots;
use levada_model::NodeKind;
use levada_model::model::{AssignmentState, Status, Style};
use levada_planner::blueprint::Choices;
use levada_planner::broker::{Candidate, ChoiceReason, PassedOver, Verdict, meets};
use levada_planner::{assign, weave};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// What the order of the broker says about one choice.
fn is_lawful(candidates: &[Candidate]) -> bool {
    let price = |candidate: &&Candidate| (candidate.cost_milli, candidate.platform.clone());
    let chosen_by = |reason| candidates.iter().any(|it| it.verdict == Verdict::Chosen(reason));
    let is_pinned = chosen_by(ChoiceReason::Pinned) || chosen_by(ChoiceReason::Decommissioning);
    let is_provisioned = chosen_by(ChoiceReason::Provisioning);
    let is_kept = candidates.iter().any(|it| it.verdict == Verdict::Chosen(ChoiceReason::InForce));
    let best = candidates.iter().filter(|it| it.rejections.is_empty()).min_by_key(price);
    candidates.iter().all(|candidate| match candidate.verdict {
        Verdict::Chosen(ChoiceReason::Pinned | ChoiceReason::Provisioning | ChoiceReason::Decommissioning) => true,
        Verdict::Chosen(ChoiceReason::InForce) => !is_pinned && candidate.rejections.is_empty(),
        Verdict::Chosen(_) => !is_pinned && !is_kept && best == Some(candidate),
        Verdict::PassedOver(PassedOver::OtherPinned) => {
            (is_pinned || is_provisioned) && candidate.rejections.is_empty()
        }
        Verdict::PassedOver(PassedOver::OtherInForce) => is_kept && candidate.rejections.is_empty(),
        Verdict::PassedOver(_) => best.is_some_and(|best| price(&best) < price(&candidate)),
        Verdict::Rejected => !candidate.rejections.is_empty(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pin_then_choice_in_force_then_cost_then_name(plot in plots()) {
        let model = plot.model();
        let (first, _) = assign(&model, &registry(), &Choices::default());
        let (second, _) = assign(&model, &registry(), &first.choices());
        for assignment in [&first, &second] {
            for choice in assignment.groups.values() {
                prop_assert!(is_lawful(&choice.candidates), "{:?}", choice.candidates);
            }
            for choice in assignment.primaries.values() {
                prop_assert!(is_lawful(&choice.candidates), "{:?}", choice.candidates);
                prop_assert!(choice.candidates.iter().filter(|it| it.is_chosen()).count() <= 1, "one primary");
            }
        }
        prop_assert_eq!(first.choices().primaries, second.choices().primaries);
    }

    #[test]
    fn a_primary_meets_the_strictest_latency_of_all_its_consumers(plot in plots()) {
        let model = plot.model();
        let (assignment, _) = assign(&model, &registry(), &Choices::default());
        for workspace in &model.workspaces {
            for group in &workspace.groups {
                let terms = &assignment.groups[&(workspace.name.clone(), group.name.clone())].terms;
                for sink in &group.sinks {
                    let primary = &assignment.primaries[&sink.dataset.value.datastore];
                    prop_assert!(primary.latency <= terms.latency);
                    let Some(platform) = &primary.platform else { continue };
                    let choice = primary.candidates.iter().find(|it| it.platform == *platform).expect("it was judged");
                    if choice.verdict != Verdict::Chosen(ChoiceReason::Pinned) {
                        let style = model.platform(platform).expect("it is the model's").style;
                        prop_assert!(meets(style, terms.latency), "{platform} is too slow for {:?}", terms.latency);
                    }
                }
            }
        }
    }
}

#[test]
fn random_models_have_links_and_transformers_that_feed_themselves() {
    let mut runner = TestRunner::deterministic();
    let (mut links, mut selves, mut transforms) = (0, 0, 0);
    for _ in 0..100 {
        let model = plots().new_tree(&mut runner).expect("a plot").current().model();
        let (assignment, _) = assign(&model, &registry(), &Choices::default());
        for graph in weave(&model, &assignment).0 {
            links += graph.nodes.iter().filter(|node| node.kind == NodeKind::Link).count();
            transforms += graph.nodes.iter().filter(|node| node.kind == NodeKind::Transform).count();
            selves += graph.edges.iter().filter(|edge| edge.is_self).count();
        }
    }
    assert!(links > 20 && selves > 5 && transforms > 20, "{links} links, {selves} selves, {transforms} transforms");
}

/// One group on two batch platforms of one price.
fn twins() -> Builder {
    Builder::new().platform("A", Style::Batch).platform("B", Style::Batch).container("C").store("S", "C", &["d"])
}

fn platforms_of(builder: Builder, in_force: &Choices) -> Vec<String> {
    let (assignment, _) = assign(&builder.build(), &registry(), in_force);
    let choice = assignment.groups.values().next().expect("one group");
    choice.platforms.iter().map(|by| by.platform.to_string()).collect()
}

#[test]
fn a_choice_in_force_stays_while_it_fits_and_no_longer() {
    let wanting = |terms| twins().workspace("W", "C").group("G", Some(terms), &["S.d"]);
    let pinned = wanting("hours live 1d").assign("W", "G", "B", AssignmentState::Active).build();
    let in_force = assign(&pinned, &registry(), &Choices::default()).0.choices();
    assert_eq!(platforms_of(wanting("hours live 1d"), &Choices::default()), ["A"]);
    assert_eq!(platforms_of(wanting("hours live 1d"), &in_force), ["B"]);
    let history = wanting("hours history 1d").platform("Z", Style::Forensic);
    assert_eq!(platforms_of(history, &in_force), ["Z"]);
}

#[test]
fn a_platform_on_its_way_out_delivers_until_its_assignment_is_removed() {
    let wanting = || twins().workspace("W", "C").group("G", None, &["S.d"]);
    let alone = wanting().assign("W", "G", "B", AssignmentState::Decommissioning);
    assert_eq!(platforms_of(alone, &Choices::default()), ["B"]);
    let replaced = wanting().assign("W", "G", "A", AssignmentState::Decommissioning).assign(
        "W",
        "G",
        "B",
        AssignmentState::Active,
    );
    assert_eq!(platforms_of(replaced, &Choices::default()), ["B", "A"]);
}

#[test]
fn a_platform_on_its_way_in_comes_beside_the_one_in_force() {
    let wanting = || twins().workspace("W", "C").group("G", None, &["S.d"]);
    let in_force = assign(&wanting().build(), &registry(), &Choices::default()).0.choices();
    let moving = || wanting().assign("W", "G", "B", AssignmentState::Provisioning);
    assert_eq!(platforms_of(moving(), &in_force), ["A", "B"], "A serves, B is filled");
    let both = assign(&moving().build(), &registry(), &in_force).0;
    let reasons: Vec<String> =
        both.groups.values().flat_map(|choice| &choice.candidates).map(ToString::to_string).collect();
    assert_eq!(
        reasons,
        ["it fits and is in force", "provisioned by the assignments, beside the one that serves so far"]
    );
    assert_eq!(platforms_of(moving(), &both.choices()), ["A", "B"], "as long as nothing is said");
    assert_eq!(platforms_of(wanting(), &both.choices()), ["A"], "the one that served stays when the move is dropped");
    let moved = wanting().assign("W", "G", "B", AssignmentState::Active);
    assert_eq!(platforms_of(moved, &both.choices()), ["B"]);
    let parallel =
        wanting().assign("W", "G", "B", AssignmentState::Active).assign("W", "G", "A", AssignmentState::Provisioning);
    assert_eq!(platforms_of(parallel, &Choices::default()), ["B", "A"]);
}

#[test]
fn the_transformer_of_a_production_workspace_runs_on_a_production_platform() {
    let model = twins()
        .platform_with("P", Style::Batch, |platform| platform.status = Status::Production)
        .workspace_with("W", "C", |workspace| workspace.status = Status::Production)
        .group("G", None, &["S.d"])
        .transformer("O", &["x"])
        .workspace("Trial", "C")
        .group("G", None, &["O.x"])
        .build();
    let (assignment, _) = assign(&model, &registry(), &Choices::default());
    let primaries = assignment.choices().primaries;
    let (store, primary) = primaries.iter().next().expect("the output has a primary");
    assert_eq!((store.as_str(), primary.as_str()), ("O", "P"));
}

#[test]
fn production_goes_to_production_platforms_and_their_ingestion_too() {
    let model = twins()
        .platform_with("P", Style::Forensic, |platform| platform.status = Status::Production)
        .workspace_with("W", "C", |workspace| workspace.status = Status::Production)
        .group("G", None, &["S.d"])
        .build();
    let (assignment, findings) = assign(&model, &registry(), &Choices::default());
    assert!(!findings.has_errors());
    let choices = assignment.choices();
    assert_eq!(choices.primaries.values().map(ToString::to_string).collect::<Vec<_>>(), ["P"]);
    assert_eq!(assignment.groups.values().next().expect("one group").platforms[0].platform.as_str(), "P");
}

#[test]
fn derived_terms_keep_what_a_regulator_asks_of_the_consumer() {
    use levada_model::model::Regulator;
    let mut builder = twins()
        .workspace("W", "C")
        .group("G", None, &["S.d"])
        .transformer("O", &["x"])
        .workspace("Bank", "C")
        .group("G", Some("hours live 1d"), &["O.x"]);
    let span = builder.span();
    let retention = "6y".parse().expect("a period");
    builder.model.zones[0].regulators.push(Regulator { name: name("SEC"), span, documentation: None, retention });
    let requires = builder.model.workspaces[1].groups[0].requires.as_mut().expect("stated");
    requires.regulator = Some(levada_model::Spanned::new(name("SEC"), span));
    let (assignment, _) = assign(&builder.build(), &registry(), &Choices::default());
    assert_eq!(assignment.groups[&(name("W"), name("G"))].terms.retention, retention);
}
