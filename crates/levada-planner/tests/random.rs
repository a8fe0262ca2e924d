//! Random models: platforms of all styles, shared containers, chains of transformers.

use crate::models::{Builder, name};
use levada_model::Model;
use levada_model::connection::{ContainerKind, Place};
use levada_model::model::{AssignmentState, Container, Datastore, Origin, Priority, Status, Style};
use proptest::prelude::*;

#[derive(Clone, Debug)]
pub struct Plot {
    styles: Vec<(Style, bool)>,
    stores: Vec<(usize, bool)>,
    workspaces: Vec<WorkspacePlot>,
    primaries: Vec<(usize, usize)>,
    /// Where the other zone doesn't want what it produces.
    denied: Option<&'static str>,
}

#[derive(Clone, Debug)]
struct WorkspacePlot {
    container: usize,
    is_production: bool,
    priority: Priority,
    groups: Vec<GroupPlot>,
    outputs: usize,
}

#[derive(Clone, Debug)]
struct GroupPlot {
    terms: Option<&'static str>,
    sinks: Vec<(usize, usize)>,
    pins: Vec<(usize, AssignmentState)>,
}

/// The containers: of every kind that differs in how names are made.
const CONTAINERS: [ContainerKind; 3] = [ContainerKind::Postgres, ContainerKind::Files, ContainerKind::Sqlite];

/// Any ecosystem of two zones; every model has a streaming platform for production, in the zone's
/// own place, so that every group fits somewhere unless a policy is in the way.
pub fn plots() -> impl Strategy<Value = Plot> {
    let styles = prop::collection::vec(
        (prop::sample::select(vec![Style::Batch, Style::Forensic, Style::Streaming]), any::<bool>()),
        0..3,
    );
    let stores = prop::collection::vec((1..4usize, any::<bool>()), 1..5);
    let workspaces = prop::collection::vec(workspace(), 1..7);
    let primaries = prop::collection::vec((0..8usize, 0..4usize), 0..2);
    let denied = prop::sample::select(vec![None, None, Some("P0")]);
    (styles, stores, workspaces, primaries, denied).prop_map(|(mut styles, stores, workspaces, primaries, denied)| {
        styles.push((Style::Streaming, true));
        Plot { styles, stores, workspaces, primaries, denied }
    })
}

fn workspace() -> impl Strategy<Value = WorkspacePlot> {
    let priority = prop::sample::select(vec![Priority::Low, Priority::Medium, Priority::High, Priority::Critical]);
    (0..CONTAINERS.len(), any::<bool>(), priority, prop::collection::vec(group(), 0..3), 0..3usize).prop_map(
        |(container, is_production, priority, groups, outputs)| WorkspacePlot {
            container,
            is_production,
            priority,
            groups,
            outputs,
        },
    )
}

fn group() -> impl Strategy<Value = GroupPlot> {
    let terms = prop::sample::select(vec![
        None,
        Some("hours live 7d"),
        Some("minutes both 2y"),
        Some("days history 30d"),
        Some("seconds live 1d"),
    ]);
    let sinks = prop::collection::vec((0..12usize, 0..3usize), 0..4);
    let state = prop::sample::select(vec![
        AssignmentState::Active,
        AssignmentState::Provisioning,
        AssignmentState::Decommissioning,
    ]);
    (terms, sinks, prop::collection::vec((0..4usize, state), 0..2)).prop_map(|(terms, sinks, pins)| GroupPlot {
        terms,
        sinks,
        pins,
    })
}

impl Plot {
    /// A model without circles: a workspace consumes sources, its own output, and earlier outputs.
    pub fn model(&self) -> Model {
        self.grow(false).build()
    }

    /// A model in which anybody may consume anything.
    pub fn entangled_model(&self) -> Model {
        self.grow(true).build()
    }

    fn grow(&self, is_entangled: bool) -> Builder {
        let mut builder = Builder::new();
        for (number, &(style, is_production)) in self.styles.iter().enumerate() {
            let status = status(is_production);
            builder = builder.platform_with(&format!("P{number}"), style, |platform| platform.status = status);
        }
        builder = builder.container("C").zone("EU").team("EU", "Team");
        for (number, kind) in CONTAINERS.into_iter().enumerate() {
            builder = builder.container_with(&format!("C{number}"), |container| set_kind(container, kind));
        }
        if let Some(platform) = self.denied.filter(|_| self.styles.len() > 1) {
            builder = builder.deny_platform("EU", platform);
        }
        let mut offered: Vec<String> = Vec::new();
        for (number, &(datasets, is_multi)) in self.stores.iter().enumerate() {
            let names = &["a", "b", "c"][..datasets];
            offered.extend(names.iter().map(|dataset| format!("S{number}.{dataset}")));
            builder = builder.store_with(&format!("S{number}"), "C", names, |store| {
                set_multi(store, is_multi);
                if number % 2 == 1 {
                    store.owner.zone = name("EU");
                }
            });
        }
        let outputs_of = |number: usize, workspace: &WorkspacePlot| {
            let names = ["x", "y"][..workspace.outputs].iter();
            names.map(|dataset| format!("O{number}.{dataset}")).collect::<Vec<_>>()
        };
        if is_entangled {
            offered.extend(self.workspaces.iter().enumerate().flat_map(|(number, it)| outputs_of(number, it)));
        }
        for (number, workspace) in self.workspaces.iter().enumerate() {
            if !is_entangled {
                offered.extend(outputs_of(number, workspace));
            }
            let container = format!("C{}", workspace.container);
            builder = builder.workspace_with(&format!("W{number}"), &container, |it| {
                it.priority = workspace.priority;
                it.status = status(workspace.is_production);
            });
            for (group_number, group) in workspace.groups.iter().enumerate() {
                builder = self.grow_group(builder, &offered, &format!("W{number}"), group_number, group);
            }
            if workspace.outputs > 0 {
                builder = builder.transformer(&format!("O{number}"), &["x", "y"][..workspace.outputs]);
            }
        }
        for &(store, platform) in &self.primaries {
            let platform = format!("P{}", platform % self.styles.len());
            builder = builder.primary(&format!("S{}", store % self.stores.len()), &platform);
        }
        builder
    }

    fn grow_group(
        &self,
        builder: Builder,
        offered: &[String],
        workspace: &str,
        number: usize,
        group: &GroupPlot,
    ) -> Builder {
        let mut sinks: Vec<&str> = group
            .sinks
            .iter()
            .map(|(store, dataset)| offered[(store * 3 + dataset) % offered.len()].as_str())
            .collect();
        sinks.sort_unstable();
        sinks.dedup();
        let name = format!("G{number}");
        let mut builder = builder.group(&name, group.terms, &sinks);
        for &(pin, state) in &group.pins {
            let platform = format!("P{}", pin % self.styles.len());
            builder = builder.assign(workspace, &name, &platform, state);
        }
        builder
    }
}

fn set_multi(store: &mut Datastore, wanted: bool) {
    if let Origin::Container { ingest, .. } = &mut store.origin {
        ingest.is_multi = wanted;
    }
}

fn status(is_production: bool) -> Status {
    if is_production { Status::Production } else { Status::Development }
}

fn set_kind(container: &mut Container, kind: ContainerKind) {
    container.connection.kind = kind;
    if kind != ContainerKind::Postgres {
        container.connection.place = Place::Path { path: "data".to_owned() };
    }
}
