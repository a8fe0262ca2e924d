//! The law of the reach: the plan of a part is the plan of the whole, byte for byte, whatever was edited.

use crate::models::{Builder, name, northwind};
use crate::platforms::registry;
use crate::random::plots;
use levada_model::connection::ContainerKind;
use levada_model::model::*;
use levada_model::{Address, DataType, Model, Spanned};
use levada_planner::blueprint::Blueprint;
use levada_planner::reach::{Reach, changed};
use levada_planner::{Generation, PartOutcome, Plan, plan, plan_part};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A plan of a part, and what it took.
struct Reached {
    plan: Plan,
    /// Objects that were loaded.
    objects: usize,
    /// Nodes that were woven anew.
    nodes: usize,
    /// How often a part was planned.
    rounds: usize,
}

/// The part of a blueprint that a state gives.
fn part_of(whole: &Blueprint, owners: &BTreeSet<Address>, known: &BTreeSet<Address>) -> Blueprint {
    let mut part = whole.clone();
    part.nodes.retain(|address, _| owners.contains(&Address::Node(address.clone()).object()));
    part.choices.groups.retain(|workspace, _| known.contains(&Address::Workspace(workspace.clone())));
    part.choices.primaries.retain(|store, _| known.contains(&Address::Datastore(store.clone())));
    part.objects.retain(|address, _| known.contains(address));
    part
}

/// Plans as far as the change reaches; `None`: it takes the whole.
fn reached(model: &Model, parent: &Blueprint) -> Option<Reached> {
    let contents = parent.objects.iter().map(|(address, object)| (address.clone(), object.content)).collect();
    let changed = changed(&contents, &model.outlines);
    let names = |address: &Address| Some((address.clone(), parent.objects.get(address)?.names.clone()));
    let former: BTreeMap<_, _> = changed.iter().filter_map(names).collect();
    let mut reach = Reach::of(&model.outlines, changed, former)?;
    for rounds in 1.. {
        let part = model.clone().part(reach.objects());
        let in_force = part_of(parent, &reach.owners(), &reach.known());
        match plan_part(&part, &registry(), &in_force, &reach, "next".to_owned()) {
            Ok(PartOutcome::Planned { plan, nodes }) => {
                return Some(Reached { plan, objects: reach.objects().len(), nodes, rounds });
            }
            Ok(PartOutcome::Wider(wider)) => {
                assert!(wider.objects().is_superset(reach.objects()), "a reach only grows");
                assert_ne!(wider, reach, "a reach grows");
                reach = wider;
            }
            Err(_) => return None,
        }
    }
    unreachable!("a reach grows until it is everything")
}

/// A blueprint of the model as it is.
fn in_force(model: &Model) -> Option<Blueprint> {
    plan(model, &registry(), None, "first".to_owned()).ok().map(|outcome| outcome.blueprint)
}

/// The model without what makes most random ones break a rule, and its blueprint; `None`: it still does.
fn sound(mut model: Model) -> Option<(Model, Blueprint)> {
    model.workspaces.iter_mut().for_each(|workspace| workspace.status = Status::Development);
    model.datastores.iter_mut().for_each(|store| store.status = Status::Development);
    let sinks = |workspace: &Workspace| workspace.groups.iter().map(|group| group.sinks.len()).sum::<usize>();
    for workspace in model.workspaces.iter_mut().filter(|it| sinks(it) == 0) {
        if let Some(transformer) = &mut workspace.transformer {
            transformer.trigger = every_day_at(1);
        }
    }
    let model = model.outlined();
    if let Some(blueprint) = in_force(&model) {
        return Some((model, blueprint));
    }
    let (assignments, primaries) = (Vec::new(), Vec::new());
    let model = Model { assignments, primaries, ..model }.outlined();
    in_force(&model).map(|blueprint| (model, blueprint))
}

fn every_day_at(minute: usize) -> TransformTrigger {
    let cron = Cron { expression: format!("{minute} 3 * * *"), timezone: None };
    TransformTrigger::Cron(CronTrigger { cron, catch_up: CatchUp::default(), jitter: None })
}

/// One edit of a model, on objects chosen by number.
#[derive(Clone, Debug)]
enum Edit {
    Terms(usize, Option<&'static str>),
    Matter(usize, Priority),
    Production(usize, bool),
    Reader(usize),
    AddSink(usize, usize),
    RemoveSink(usize),
    RemoveWorkspace(usize),
    AddWorkspace(usize),
    RemoveDataset(usize),
    AddDataset(usize),
    AddColumn(usize),
    Table(usize),
    Deprecate(usize),
    Classify(usize),
    OwnStore(usize),
    OwnWorkspace(usize),
    StoreProduction(usize, bool),
    Approve(usize, usize),
    ApproveGroup(usize, usize),
    Pin(usize, usize, AssignmentState),
    Unpin(usize),
    Primary(usize, usize),
    NoPrimary(usize),
    Reconnect(usize),
    MoveWorkspace(usize, usize),
    Rest(usize),
    Output(usize),
    NoTransformer(usize),
    Trigger(usize),
    Move(usize),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    use Edit::*;
    let n = 0..64usize;
    let terms =
        prop::sample::select(vec![None, Some("hours live 7d"), Some("minutes both 2y"), Some("seconds live 9d")]);
    let priority = prop::sample::select(vec![Priority::Low, Priority::High, Priority::Critical]);
    let state = prop::sample::select(vec![AssignmentState::Active, AssignmentState::Provisioning]);
    let one = |of: fn(usize) -> Edit| (0..64usize).prop_map(of);
    let two = |of: fn(usize, usize) -> Edit| (0..64usize, 0..64usize).prop_map(move |(a, b)| of(a, b));
    let edit = prop_oneof![
        (n.clone(), terms).prop_map(|(n, terms)| Terms(n, terms)),
        (n.clone(), priority).prop_map(|(n, priority)| Matter(n, priority)),
        (n.clone(), any::<bool>()).prop_map(|(n, is)| Production(n, is)),
        (n.clone(), any::<bool>()).prop_map(|(n, is)| StoreProduction(n, is)),
        (n.clone(), n, state).prop_map(|(n, platform, state)| Pin(n, platform, state)),
        prop_oneof![one(Reader), one(RemoveSink), one(RemoveWorkspace), one(AddWorkspace), one(RemoveDataset)],
        prop_oneof![one(AddDataset), one(AddColumn), one(Table), one(Deprecate), one(Classify), one(OwnStore)],
        prop_oneof![one(OwnWorkspace), one(Unpin), one(NoPrimary), one(Reconnect), one(Rest), one(Output)],
        prop_oneof![one(NoTransformer), one(Trigger), one(Move)],
        prop_oneof![two(AddSink), two(Approve), two(ApproveGroup), two(Edit::Primary), two(MoveWorkspace)],
    ];
    prop::collection::vec(edit, 1..4)
}

/// Picks by number; `None`: there is nothing to pick.
fn pick<T>(list: &mut [T], number: usize) -> Option<&mut T> {
    let length = list.len();
    (length > 0).then(|| &mut list[number % length])
}

fn pick_sources(model: &mut Model, number: usize) -> Option<&mut Datastore> {
    let is_source = |store: &&mut Datastore| matches!(store.origin, Origin::Container { .. });
    let mut sources: Vec<&mut Datastore> = model.datastores.iter_mut().filter(is_source).collect();
    let length = sources.len();
    (length > 0).then(|| sources.swap_remove(number % length))
}

impl Edit {
    /// Changes the model; one that finds nothing to change does nothing.
    fn apply(&self, model: &mut Model) -> Option<()> {
        use crate::models::{column, requirements};
        let span = model.ecosystem.span;
        let stores: Vec<_> = model
            .datastores
            .iter()
            .flat_map(|store| store.datasets.iter().map(|it| format!("{}.{}", store.name, it.name)))
            .collect();
        let platforms: Vec<_> = model.ecosystem.platforms.iter().map(|platform| platform.name.clone()).collect();
        match *self {
            Self::Terms(n, terms) => {
                let workspace = pick(&mut model.workspaces, n)?;
                let is_free = workspace.transformer.is_some() || terms.is_some();
                let group = pick(&mut workspace.groups, n / 7)?;
                group.requires = terms.filter(|_| is_free).map(|terms| requirements(terms, span));
            }
            Self::Matter(n, priority) => pick(&mut model.workspaces, n)?.priority = priority,
            Self::Production(n, is) => {
                pick(&mut model.workspaces, n)?.status = if is { Status::Production } else { Status::Development };
            }
            Self::StoreProduction(n, is) => {
                pick(&mut model.datastores, n)?.status = if is { Status::Production } else { Status::Development };
            }
            Self::Reader(n) => {
                let reader = levada_model::model::Reader::Role(format!("role{n}"));
                pick(&mut model.workspaces, n)?.readers.push(Spanned::new(reader, span));
            }
            Self::AddSink(n, of) => {
                let of: levada_model::address::DatasetRef =
                    stores.get(of % stores.len().max(1))?.parse().expect("a dataset");
                let group = pick(&mut pick(&mut model.workspaces, n)?.groups, n / 7)?;
                group.sinks.retain(|sink| sink.dataset.value != of);
                group.sinks.push(Sink { dataset: Spanned::new(of, span), is_deprecated_allowed: n % 2 == 0 });
            }
            Self::RemoveSink(n) => {
                let sinks = &mut pick(&mut pick(&mut model.workspaces, n)?.groups, n / 7)?.sinks;
                (!sinks.is_empty()).then(|| sinks.remove(n % sinks.len()))?;
            }
            Self::RemoveWorkspace(n) => {
                let gone = pick(&mut model.workspaces, n)?.name.clone();
                model.workspaces.retain(|workspace| workspace.name != gone);
                model.assignments.retain(|entry| entry.workspace != gone);
                let is_its = |store: &Datastore| matches!(&store.origin, Origin::Transformer { workspace, .. } if *workspace == gone);
                let outputs: Vec<_> =
                    model.datastores.iter().filter(|it| is_its(it)).map(|it| it.name.clone()).collect();
                model.datastores.retain(|store| !outputs.contains(&store.name));
                model.primaries.retain(|entry| !outputs.contains(&entry.datastore));
                for group in model.workspaces.iter_mut().flat_map(|workspace| &mut workspace.groups) {
                    group.sinks.retain(|sink| !outputs.contains(&sink.dataset.value.datastore));
                }
            }
            Self::AddWorkspace(n) => {
                let mut workspace = pick(&mut model.workspaces, n)?.clone();
                workspace.name = name(&format!("{}__{n}", workspace.name));
                workspace.transformer = None;
                (!model.workspaces.iter().any(|it| it.name == workspace.name))
                    .then(|| model.workspaces.push(workspace))?;
            }
            Self::RemoveDataset(n) => {
                let store = pick_sources(model, n)?;
                let gone = (store.datasets.len() > 1).then(|| store.datasets.remove(0))?;
                let of = levada_model::address::DatasetRef::new(store.name.clone(), gone.name);
                for group in model.workspaces.iter_mut().flat_map(|workspace| &mut workspace.groups) {
                    group.sinks.retain(|sink| sink.dataset.value != of);
                }
            }
            Self::AddDataset(n) => {
                let store = pick(&mut model.datastores, n)?;
                let mut dataset = pick(&mut store.datasets, n)?.clone();
                dataset.name = name(&format!("d{n}"));
                (!store.datasets.iter().any(|it| it.name == dataset.name)).then(|| store.datasets.push(dataset))?;
            }
            Self::AddColumn(n) => {
                let dataset = pick(&mut pick(&mut model.datastores, n)?.datasets, n / 7)?;
                let new = column(&format!("c{n}"), DataType::Text, false);
                (!dataset.columns.iter().any(|it| it.name == new.name)).then(|| dataset.columns.push(new))?;
            }
            Self::Table(n) => pick(&mut pick_sources(model, n)?.datasets, n / 7)?.table = Some(format!("t{n}")),
            Self::Deprecate(n) => {
                let end =
                    Deprecated { span, reason: "old".to_owned(), until: None, instead: Some(format!("S{}", n % 9)) };
                pick(&mut model.datastores, n)?.deprecated = Some(end);
            }
            Self::Classify(n) => {
                let dataset = pick(&mut pick(&mut model.datastores, n)?.datasets, n / 7)?;
                dataset.classification = Some(Spanned::new(name("pc1"), span));
            }
            Self::OwnStore(n) => {
                let store = pick_sources(model, n)?;
                store.owner.zone = name(if store.owner.zone == name("EU") { "USA" } else { "EU" });
            }
            Self::OwnWorkspace(n) => {
                let workspace = pick(&mut model.workspaces, n)?;
                let zone = name(if workspace.owner.zone == name("EU") { "USA" } else { "EU" });
                workspace.owner.zone = zone;
                let (owner, gone) = (workspace.owner.clone(), workspace.name.clone());
                let is_its = |store: &&mut Datastore| matches!(&store.origin, Origin::Transformer { workspace, .. } if *workspace == gone);
                model.datastores.iter_mut().filter(is_its).for_each(|store| store.owner.clone_from(&owner));
            }
            Self::Approve(n, who) => {
                let who = pick(&mut model.workspaces, who)?.name.to_string();
                let consumers: Vec<_> = model.workspaces.iter().map(|it| it.name.to_string()).collect();
                let approved = consumers.into_iter().filter(|it| n % 3 > 0 || *it == who);
                pick(&mut model.datastores, n)?.approved = Some(approved.map(|it| Spanned::new(it, span)).collect());
            }
            Self::ApproveGroup(n, who) => {
                let who = &*pick(&mut model.workspaces, who)?;
                let group = format!("{}/G{}", who.name, n % 3);
                let all = model.workspaces.iter().map(|it| Spanned::new(it.name.to_string(), span));
                let approved = all.chain([Spanned::new(group, span)]).collect();
                pick(&mut model.datastores, n)?.approved = Some(approved);
            }
            Self::Pin(n, platform, state) => {
                let workspace = pick(&mut model.workspaces, n)?;
                let (group, workspace) = (pick(&mut workspace.groups, n / 7)?.name.clone(), workspace.name.clone());
                let platform = Spanned::new(platforms[platform % platforms.len()].clone(), span);
                let is_same =
                    |it: &AssignmentEntry| (&it.workspace, &it.group, &it.platform) == (&workspace, &group, &platform);
                model.assignments.retain(|it| !is_same(it));
                model.assignments.push(AssignmentEntry { span, workspace, group, platform, state });
                let key = |it: &AssignmentEntry| (it.workspace.folded(), it.group.folded(), it.platform.value.folded());
                model.assignments.sort_by_cached_key(key);
            }
            Self::Unpin(n) => {
                let gone = pick(&mut model.assignments, n)?.workspace.clone();
                model.assignments.retain(|entry| entry.workspace != gone);
            }
            Self::Primary(n, platform) => {
                let datastore = pick(&mut model.datastores, n)?.name.clone();
                let platform = Spanned::new(platforms[platform % platforms.len()].clone(), span);
                model.primaries.retain(|entry| entry.datastore != datastore);
                model.primaries.push(PrimaryEntry { span, datastore, platform });
                model.primaries.sort_by_cached_key(|it| it.datastore.folded());
            }
            Self::NoPrimary(n) => {
                let gone = pick(&mut model.primaries, n)?.datastore.clone();
                model.primaries.retain(|entry| entry.datastore != gone);
            }
            Self::Reconnect(n) => {
                let container = pick(&mut model.containers, n)?;
                let is_plain = container.connection.kind == ContainerKind::Postgres;
                if n % 2 == 0 && is_plain && container.name != name("C") {
                    container.connection.kind = ContainerKind::Mysql;
                } else {
                    container.connection.credential = Some(name(&format!("reader{n}")));
                }
            }
            Self::MoveWorkspace(n, to) => {
                let to = pick(&mut model.containers, to)?.name.clone();
                pick(&mut model.workspaces, n)?.container = Spanned::new(to, span);
            }
            Self::Rest(n) => {
                if model.calendars.is_empty() {
                    let windows = Windows {
                        allow: Vec::new(),
                        deny: vec![Window::Dates { from: "2030-01-01".into(), to: "2030-01-02".into() }],
                    };
                    model.calendars.push(Calendar {
                        name: name("Rest"),
                        span,
                        documentation: None,
                        timezone: None,
                        windows,
                    });
                }
                if n % 2 == 0 {
                    model.calendars[0].timezone = Some(["Europe/Lisbon", "UTC"][n / 2 % 2].to_owned());
                } else if let Origin::Container { ingest, .. } = &mut pick_sources(model, n)?.origin {
                    ingest.calendar = Some(Spanned::new(name("Rest"), span));
                }
            }
            Self::Output(n) => {
                let workspace = pick(&mut model.workspaces, n)?;
                let transformer = workspace.transformer.as_mut()?;
                transformer.mode = if n % 2 == 0 { OutputMode::Append } else { OutputMode::Snapshot };
                let (mode, output) = (transformer.mode, transformer.output.value.clone());
                let store = model.datastores.iter_mut().find(|store| store.name == output)?;
                if let Origin::Transformer { mode: its, .. } = &mut store.origin {
                    *its = mode;
                }
            }
            Self::NoTransformer(n) => {
                let workspace = pick(&mut model.workspaces, n)?;
                let output = workspace.transformer.take()?.output.value;
                model.datastores.retain(|store| store.name != output);
                model.primaries.retain(|entry| entry.datastore != output);
                for group in model.workspaces.iter_mut().flat_map(|workspace| &mut workspace.groups) {
                    group.sinks.retain(|sink| sink.dataset.value.datastore != output);
                }
            }
            Self::Trigger(n) => {
                pick(&mut model.workspaces, n)?.transformer.as_mut()?.trigger = every_day_at(n % 60);
            }
            Self::Move(n) => pick(&mut model.workspaces, n)?.span.offset += 100_000,
        }
        Some(())
    }
}

fn edited(model: &Model, edits: &[Edit]) -> Model {
    let mut model = model.clone();
    for edit in edits {
        // What finds nothing to change leaves the model as it is.
        let _done = edit.apply(&mut model);
        model.index();
    }
    model.outlined()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 768, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_plan_of_a_part_is_the_plan_of_the_whole(plot in plots(), steps in prop::collection::vec(edits(), 1..5)) {
        let Some((mut model, mut parent)) = sound(plot.model()) else { return Ok(()) };
        for edits in steps {
            let next = edited(&model, &edits);
            let whole = plan(&next, &registry(), Some(&parent), "next".to_owned());
            let part = reached(&next, &parent);
            match (whole, part) {
                (Ok(whole), Some(part)) => {
                    prop_assert_eq!(&part.plan, &whole.plan);
                    parent = whole.blueprint;
                    model = next;
                }
                (Ok(whole), None) => {
                    prop_assert!(false, "a part of a model without errors has none: {:?}", whole.plan.delta.changes.keys());
                }
                (Err(_), Some(_)) => prop_assert!(false, "a part hides no error"),
                (Err(_), None) => {}
            }
        }
    }
}

/// So many datastores of which each workspace consumes two.
fn wide(stores: usize) -> Builder {
    let mut builder = Builder::new().platform("P", Style::Batch).container("C").container("D");
    for number in 0..stores {
        builder = builder.store(&format!("S{number}"), "C", &["a", "b"]);
    }
    for number in 0..stores {
        let sinks = [format!("S{number}.a"), format!("S{}.b", (number + 1) % stores)];
        builder = builder.workspace(&format!("W{number}"), "D");
        builder = builder.group("G", Some("hours live 7d"), &[sinks[0].as_str(), sinks[1].as_str()]);
    }
    builder
}

#[test]
fn what_a_change_of_one_dataset_touches_does_not_grow_with_the_model() {
    let touched = |stores: usize| {
        let model = wide(stores).build();
        let parent = in_force(&model).expect("no errors");
        let next = edited(&model, &[Edit::AddColumn(7)]);
        let reached = reached(&next, &parent).expect("a part");
        assert_eq!(reached.plan.delta.changes.len(), 2, "an ingest and an export");
        (reached.objects, reached.nodes, reached.rounds)
    };
    assert_eq!(touched(20), touched(200));
    let (objects, nodes, rounds) = touched(200);
    assert!(objects <= 8 && nodes <= 4 && rounds == 1, "{objects} objects, {nodes} nodes, {rounds} rounds");
}

#[test]
fn a_demand_that_changes_reaches_up_the_chain_of_transformers() {
    let model = northwind().build();
    let parent = in_force(&model).expect("no errors");
    assert_eq!(parent.generation, Generation(1));
    let mut next = model.clone();
    let reader =
        next.workspaces.iter_mut().find(|it| it.name == name("WorkspaceUsingTransformerOutput")).expect("there");
    reader.priority = Priority::Low;
    let next = next.outlined();
    let reached = reached(&next, &parent).expect("a part");
    assert_eq!(reached.rounds, 2, "the workspace behind the transformer matters less, too");
    let whole = plan(&next, &registry(), Some(&parent), "next".to_owned()).expect("no errors");
    assert_eq!(reached.plan, whole.plan);
    assert_eq!(reached.plan.delta.changes.len(), 8, "every node has another priority");
}

#[test]
fn an_ecosystem_that_changes_takes_the_whole_model() {
    let model = northwind().build();
    let parent = in_force(&model).expect("no errors");
    let mut next = model.clone();
    next.ecosystem.platforms[0].status = Status::Production;
    assert!(reached(&next.outlined(), &parent).is_none());
}
