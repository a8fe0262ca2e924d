//! Who owns, offers and consumes what, decided before anything is written.
//!
//! Takes the options, gives plain data. Keeps to the rules of the model, so that nothing that is
//! written breaks one: private data stays in its region, production consumes production, chains of
//! transformers only lead forward.

use super::Options;
use super::random::Choices;
use std::collections::BTreeMap;

pub(crate) const ZONES_MAX: usize = 10;
pub(crate) const TEAMS_MAX: usize = 100;
/// How many stores share a producer's container.
const STORES_PER_CONTAINER: usize = 20;
/// One workspace for so many stores.
const STORES_PER_WORKSPACE: usize = 5;
/// One workspace in so many runs a transformer, …
const WORKSPACES_PER_TRANSFORMER: usize = 10;
/// … and so many of these feed each other in a row before a new chain begins.
const CHAIN_LENGTH: usize = 4;
/// One store in so many says who may consume it.
const STORES_PER_APPROVAL: usize = 25;

const NOUNS: &[&str] = &[
    "customers",
    "orders",
    "order_lines",
    "products",
    "suppliers",
    "invoices",
    "payments",
    "shipments",
    "employees",
    "accounts",
    "contacts",
    "prices",
    "stock",
    "returns",
    "contracts",
    "sites",
    "events",
    "sessions",
    "claims",
    "assets",
];

/// Where a zone and all that belongs to it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Region {
    Europe,
    America,
}

impl Region {
    /// The first part of the location, such as `eu` in `aws:eu/west`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Europe => "eu",
            Self::America => "us",
        }
    }

    /// The end of the platforms' names.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Europe => "EU",
            Self::America => "US",
        }
    }
}

/// A datastore.
pub(crate) struct Store {
    pub(crate) container: usize,
    pub(crate) is_production: bool,
    /// The workspaces that may consume it, by number; `None`: everybody.
    pub(crate) approved: Option<Vec<usize>>,
}

/// One thing that a group asks for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Sink {
    /// A dataset of a store, both by number.
    Store(usize, usize),
    /// The output of the transformer of a workspace.
    Output(usize),
}

/// What a group requires.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Terms {
    /// The model's defaults.
    Default,
    /// Fresh data, now.
    Live,
    /// Everything that ever was.
    Audit,
}

/// A group of a workspace.
pub(crate) struct Group {
    pub(crate) terms: Terms,
    /// Sorted, none twice in a workspace.
    pub(crate) sinks: Vec<Sink>,
}

/// A workspace.
pub(crate) struct Workspace {
    pub(crate) team: usize,
    pub(crate) is_production: bool,
    pub(crate) priority: Option<&'static str>,
    pub(crate) groups: Vec<Group>,
    pub(crate) transforms: bool,
}

impl Workspace {
    pub(crate) fn sink_count(&self) -> usize {
        self.groups.iter().map(|group| group.sinks.len()).sum()
    }
}

/// The whole ecosystem but for its columns.
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) datasets: u32,
    pub(crate) columns: u32,
    pub(crate) zone_count: usize,
    pub(crate) team_count: usize,
    pub(crate) container_count: usize,
    pub(crate) stores: Vec<Store>,
    pub(crate) workspaces: Vec<Workspace>,
}

impl Plan {
    /// Decides everything; linear in stores and sinks.
    pub(crate) fn new(options: &Options) -> Self {
        let store_count = options.stores as usize;
        let team_count = TEAMS_MAX.min(store_count);
        let mut plan = Self {
            seed: options.seed,
            datasets: options.datasets,
            columns: options.columns,
            zone_count: ZONES_MAX.min(team_count),
            team_count,
            container_count: store_count.div_ceil(STORES_PER_CONTAINER),
            stores: (0..store_count).map(|store| new_store(options.seed, store)).collect(),
            workspaces: Vec::new(),
        };
        for workspace in 0..store_count.div_ceil(STORES_PER_WORKSPACE) {
            plan.workspaces.push(plan.new_workspace(workspace));
        }
        plan.approve();
        plan
    }

    fn new_workspace(&self, number: usize) -> Workspace {
        let mut choices = Choices::of(self.seed, "workspace", number as u64);
        // The next workspace reads its output, so there has to be one.
        let is_read = number + 1 < self.stores.len().div_ceil(STORES_PER_WORKSPACE);
        let transforms = is_read && number % WORKSPACES_PER_TRANSFORMER == WORKSPACES_PER_TRANSFORMER / 2;
        let is_production = transforms || choices.percent(70);
        let priority = match choices.below(100) {
            0..2 => Some("critical"),
            2..12 => Some("high"),
            12..30 => Some("low"),
            _ => None,
        };
        let team = number % self.team_count;
        let mut workspace = Workspace { team, is_production, priority, groups: Vec::new(), transforms };
        let mut sinks = self.choose_sinks(&mut choices, &workspace);
        sinks.extend(self.choose_outputs(number, transforms).map(Sink::Output));
        workspace.groups = groups(sinks, transforms, &mut choices);
        workspace
    }

    /// Some datasets of a few stores, each at most once, that this workspace may have.
    fn choose_sinks(&self, choices: &mut Choices, workspace: &Workspace) -> Vec<Sink> {
        let region = self.region_of_team(workspace.team);
        let mut sinks = Vec::new();
        for _ in 0..2 + choices.below(3) {
            let store = choices.below(self.stores.len());
            for _ in 0..1 + choices.below(3) {
                let dataset = choices.below(self.datasets as usize);
                let is_private = self.classification(store, dataset) == "pc3";
                let stays = !is_private || (self.region_of_store(store) == region && !workspace.transforms);
                let is_ready = !workspace.is_production || self.stores[store].is_production;
                if stays && is_ready {
                    sinks.push(Sink::Store(store, dataset));
                }
            }
        }
        if sinks.is_empty() {
            // Store 0 is in production and its first dataset public: everybody may have it.
            sinks.push(Sink::Store(0, 0));
        }
        sinks.sort();
        sinks.dedup();
        sinks
    }

    /// The transformers' outputs that a workspace consumes: the one before it in its chain, or, for
    /// a reader, the one of its own block of workspaces.
    fn choose_outputs(&self, number: usize, transforms: bool) -> Option<usize> {
        let block = number / WORKSPACES_PER_TRANSFORMER;
        let transformer = block * WORKSPACES_PER_TRANSFORMER + WORKSPACES_PER_TRANSFORMER / 2;
        match transforms {
            true => (!block.is_multiple_of(CHAIN_LENGTH)).then(|| number - WORKSPACES_PER_TRANSFORMER),
            false => (number > transformer).then_some(transformer),
        }
    }

    /// Lets some stores name their consumers, all of them.
    fn approve(&mut self) {
        let mut consumers = BTreeMap::<usize, Vec<usize>>::new();
        for (number, workspace) in self.workspaces.iter().enumerate() {
            for sink in workspace.groups.iter().flat_map(|group| &group.sinks) {
                if let Sink::Store(store, _) = sink
                    && store % STORES_PER_APPROVAL == STORES_PER_APPROVAL - 1
                {
                    let consumers = consumers.entry(*store).or_default();
                    if consumers.last() != Some(&number) {
                        consumers.push(number);
                    }
                }
            }
        }
        for (store, consumers) in consumers {
            self.stores[store].approved = Some(consumers);
        }
    }

    /// How sensitive a dataset is; the model's own words.
    pub(crate) fn classification(&self, store: usize, dataset: usize) -> &'static str {
        if (store, dataset) == (0, 0) {
            return "pub";
        }
        let mut choices = Choices::of(self.seed, "classification", (store as u64) << 32 | dataset as u64);
        match choices.below(100) {
            0..15 => "pc3",
            15..30 => "pc1",
            30..65 => "internal",
            _ => "pub",
        }
    }

    pub(crate) fn zone_of_team(&self, team: usize) -> usize {
        team * self.zone_count / self.team_count
    }

    pub(crate) fn team_of_container(&self, container: usize) -> usize {
        container % self.team_count
    }

    pub(crate) fn region_of_zone(&self, zone: usize) -> Region {
        if zone.is_multiple_of(2) { Region::Europe } else { Region::America }
    }

    pub(crate) fn region_of_team(&self, team: usize) -> Region {
        self.region_of_zone(self.zone_of_team(team))
    }

    fn region_of_store(&self, store: usize) -> Region {
        self.region_of_team(self.team_of_container(self.stores[store].container))
    }

    /// The folder of a team's files.
    pub(crate) fn team_folder(&self, team: usize) -> String {
        format!("zones/z{:02}/teams/t{team:03}", self.zone_of_team(team))
    }
}

fn new_store(seed: u64, number: usize) -> Store {
    let is_production = number == 0 || Choices::of(seed, "store", number as u64).percent(80);
    Store { container: number / STORES_PER_CONTAINER, is_production, approved: None }
}

/// One group, or two with other terms where there is enough for two.
fn groups(mut sinks: Vec<Sink>, transforms: bool, choices: &mut Choices) -> Vec<Group> {
    if transforms {
        // Without terms of its own it gets the strictest of whoever consumes its output.
        return vec![Group { terms: Terms::Default, sinks }];
    }
    let first = if choices.percent(40) { Terms::Default } else { Terms::Live };
    let audited = if choices.percent(35) { sinks.split_off(sinks.len() / 2) } else { Vec::new() };
    let groups = [Group { terms: first, sinks }, Group { terms: Terms::Audit, sinks: audited }];
    groups.into_iter().filter(|group| !group.sinks.is_empty()).collect()
}

/// The name of a store's dataset by its number; unique in the store.
pub(crate) fn dataset_name(dataset: usize) -> String {
    let noun = NOUNS[dataset % NOUNS.len()];
    match dataset / NOUNS.len() {
        0 => noun.to_owned(),
        round => format!("{noun}_{round}"),
    }
}

pub(crate) fn store_name(store: usize) -> String {
    format!("S{store:06}")
}

pub(crate) fn workspace_name(workspace: usize) -> String {
    format!("W{workspace:06}")
}

pub(crate) fn output_name(workspace: usize) -> String {
    format!("T{workspace:06}")
}

/// The one dataset of each transformer's output.
pub(crate) const OUTPUT_DATASET: &str = "summary";

pub(crate) fn sink_name(sink: Sink) -> String {
    match sink {
        Sink::Store(store, dataset) => format!("{}.{}", store_name(store), dataset_name(dataset)),
        Sink::Output(workspace) => format!("{}.{OUTPUT_DATASET}", output_name(workspace)),
    }
}
