//! What a kind of platform can do, and how it makes its part of a blueprint real.
//!
//! Takes one platform's part of a [`Delta`], gives a [`Rendering`]. Knows no system, no file and
//! no network: the implementations live in `levada-platforms`, the registry comes in as a value.

use crate::blueprint::{Blueprint, Node, Realizer};
use crate::diff::{Delta, NodeChange};
use levada_model::address::NodeAddress;
use levada_model::connection::ContainerKind;
use levada_model::model::{CatchUp, Code, Infrastructure, IngestKind, PlatformEntry, Run};
use levada_model::name::PlatformName;
use levada_model::{Findings, Model};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The kinds that the model's format knows, whether this build serves them or not.
pub const KNOWN_KINDS: [&str; 4] = ["embedded", "aws-batch", "kubernetes", "external"];

/// The way of reading a source, without its details.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the model's own words")]
pub enum IngestMode {
    Snapshot,
    Watermark,
    Cdc,
    Files,
    Topic,
}

impl IngestMode {
    /// The mode of an ingest.
    pub fn of(kind: &IngestKind) -> Self {
        match kind {
            IngestKind::Snapshot => Self::Snapshot,
            IngestKind::Watermark { .. } => Self::Watermark,
            IngestKind::Cdc { .. } => Self::Cdc,
            IngestKind::Files { .. } => Self::Files,
            IngestKind::Topic => Self::Topic,
        }
    }

    /// The word in the model.
    pub fn word(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Watermark => "watermark",
            Self::Cdc => "cdc",
            Self::Files => "files",
            Self::Topic => "topic",
        }
    }
}

/// The kind of a transformer's code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the model's own words")]
pub enum CodeKind {
    Sql,
    Command,
    Image,
}

impl CodeKind {
    /// The kind of a code.
    pub fn of(code: &Code) -> Self {
        match code {
            Code::Sql(_) => Self::Sql,
            Code::Program(program) => match program.run {
                Run::Command(_) => Self::Command,
                Run::Image(_) => Self::Image,
            },
        }
    }

    /// The word in the model.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sql => "sql",
            Self::Command => "command",
            Self::Image => "image",
        }
    }
}

/// What a platform kind declares it can do; the broker believes it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capabilities {
    /// The sources it ingests, and how.
    pub sources: BTreeMap<ContainerKind, BTreeSet<IngestMode>>,
    /// The containers it delivers to.
    pub sinks: BTreeSet<ContainerKind>,
    /// The code it runs.
    pub code: BTreeSet<CodeKind>,
    /// The feeds it publishes and reads; two platforms link where they share one.
    pub feeds: BTreeSet<String>,
    /// What it can make of ticks that were missed.
    pub catch_up: BTreeSet<CatchUp>,
}

impl Capabilities {
    /// Whether it reads such a container in such a way.
    pub fn reads(&self, container: ContainerKind, mode: IngestMode) -> bool {
        self.sources.get(&container).is_some_and(|modes| modes.contains(&mode))
    }

    /// Whether a link between the two can carry data.
    pub fn shares_feed(&self, other: &Self) -> bool {
        !self.feeds.is_disjoint(&other.feeds)
    }
}

/// One platform's part of a blueprint and of the way there.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    /// What the model says around it: the platform's entry, owners, words for people.
    pub model: &'a Model,
    /// Whose part.
    pub platform: &'a PlatformName,
    /// What shall be, by address.
    pub nodes: Vec<&'a Node>,
    /// What changes, by address.
    pub changes: BTreeMap<&'a NodeAddress, &'a NodeChange>,
}

impl<'a> Part<'a> {
    /// The part of a platform without nodes.
    pub fn new(model: &'a Model, platform: &'a PlatformName) -> Self {
        Self { model, platform, nodes: Vec::new(), changes: BTreeMap::new() }
    }

    /// The platform in the model; `None`: it has left.
    pub fn entry(&self) -> Option<&'a PlatformEntry> {
        self.model.platform(self.platform)
    }

    /// The changes, for a platform whose nodes are run.
    pub fn owned_changes(&self) -> BTreeMap<NodeAddress, NodeChange> {
        self.changes.iter().map(|(&address, &change)| (address.clone(), change.clone())).collect()
    }
}

/// Splits a blueprint and the way there by platform; one that has nodes in neither has no part.
/// Linear in nodes.
pub fn parts<'a>(model: &'a Model, blueprint: &'a Blueprint, delta: &'a Delta) -> BTreeMap<&'a PlatformName, Part<'a>> {
    let mut parts: BTreeMap<&PlatformName, Part<'_>> = BTreeMap::new();
    for (address, node) in &blueprint.nodes {
        let platform = address.platform();
        parts.entry(platform).or_insert_with(|| Part::new(model, platform)).nodes.push(node);
    }
    for (address, change) in &delta.changes {
        let platform = address.platform();
        parts.entry(platform).or_insert_with(|| Part::new(model, platform)).changes.insert(address, change);
    }
    parts
}

/// What the kinds of platforms have against their parts. Linear in nodes.
pub fn lint_parts(model: &Model, registry: &PlatformRegistry, blueprint: &Blueprint, delta: &Delta) -> Findings {
    let mut findings = Findings::default();
    for part in parts(model, blueprint, delta).values() {
        let kind = part.entry().and_then(|entry| registry.platform(&entry.kind.value));
        findings.extend(kind.map(|kind| kind.lint_part(part)).unwrap_or_default());
    }
    findings
}

/// Has every platform render its part, and whoever writes files without nodes an empty one. A
/// platform that has left the model is of no kind any more: whoever ran its nodes takes them away.
pub fn render(
    model: &Model,
    registry: &PlatformRegistry,
    blueprint: &Blueprint,
    delta: &Delta,
) -> BTreeMap<PlatformName, Rendering> {
    let mut all = parts(model, blueprint, delta);
    let kind_of = |entry: &PlatformEntry| registry.platform(&entry.kind.value);
    for entry in &model.ecosystem.platforms {
        if kind_of(entry).is_some_and(|kind| kind.realizer(entry).has_files()) {
            all.entry(&entry.name).or_insert_with(|| Part::new(model, &entry.name));
        }
    }
    let rendered = all.into_iter().map(|(name, part)| {
        let kind = model.platform(name).and_then(kind_of);
        let rendering = kind.map_or_else(|| Rendering::Nodes(part.owned_changes()), |kind| kind.render(&part));
        (name.clone(), rendering)
    });
    rendered.collect()
}

/// How a platform shares its nodes out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// As it is, in words.
    pub is: String,
    /// What it moves from: only that may be in force, or the same.
    pub was: Option<String>,
}

/// How a platform wants its part made real.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rendering {
    /// Nodes that `levada-runtime` runs.
    Nodes(BTreeMap<NodeAddress, NodeChange>),
    /// The platform's whole folder: bytes by path, `/`-separated, relative.
    Files(BTreeMap<String, Vec<u8>>),
    /// Nodes that `levada-runtime` runs in pods, and the folder that stands those up.
    Pods(BTreeMap<NodeAddress, NodeChange>, BTreeMap<String, Vec<u8>>),
}

impl Rendering {
    /// The platform's folder; `None`: it has none.
    pub fn into_files(self) -> Option<BTreeMap<String, Vec<u8>>> {
        match self {
            Self::Nodes(_) => None,
            Self::Files(files) | Self::Pods(_, files) => Some(files),
        }
    }
}

/// A kind of platform.
///
/// All methods are pure and deterministic: the same arguments give the same bytes, in any order of
/// calls and on any thread. `render` is given all of the platform's nodes and what changes in
/// them, and may be repeated after a crash: it neither fails nor remembers. Complexity is linear in the part.
pub trait Platform: Send + Sync {
    /// The word in `kind:`.
    fn kind(&self) -> &str;

    /// Who makes the nodes of a platform of this kind real; `render` answers accordingly.
    fn realizer(&self, platform: &PlatformEntry) -> Realizer;

    /// What a platform of this kind can do; `None`: nobody knows yet, and the broker can't use it.
    fn capabilities(&self, platform: &PlatformEntry) -> Option<Capabilities>;

    /// Checks a platform of this kind: its settings over its infrastructure's.
    fn lint(&self, platform: &PlatformEntry, infrastructure: Option<&Infrastructure>) -> Findings;

    /// How it shares its nodes out, where that must not change by accident; `None`: it shares out nothing.
    fn layout(&self, _platform: &PlatformEntry, _infrastructure: Option<&Infrastructure>) -> Option<Layout> {
        None
    }

    /// Checks one platform's part: what its capabilities can't tell, such as a type, a trigger, or
    /// more of something than the system takes.
    fn lint_part(&self, _part: &Part<'_>) -> Findings {
        Findings::default()
    }

    /// Renders one platform's part.
    fn render(&self, part: &Part<'_>) -> Rendering;
}

/// The kinds of platforms that this build serves, by the word in the model.
#[derive(Clone, Default)]
pub struct PlatformRegistry {
    kinds: BTreeMap<String, Arc<dyn Platform>>,
}

impl PlatformRegistry {
    /// Adds a kind; of two with one word the later one counts.
    #[must_use]
    pub fn with(mut self, platform: impl Platform + 'static) -> Self {
        self.kinds.insert(platform.kind().to_owned(), Arc::new(platform));
        self
    }

    /// The implementation of a kind.
    pub fn platform(&self, kind: &str) -> Option<&dyn Platform> {
        self.kinds.get(kind).map(AsRef::as_ref)
    }

    /// What a platform can do; `None`: this build does not serve its kind, or nobody knows yet.
    pub fn capabilities(&self, platform: &PlatformEntry) -> Option<Capabilities> {
        self.platform(&platform.kind.value)?.capabilities(platform)
    }

    /// The words of all kinds in this build, sorted.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.kinds.keys().map(String::as_str)
    }
}

impl std::fmt::Debug for PlatformRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.kinds.keys()).finish()
    }
}
