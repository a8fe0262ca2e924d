//! What is served: one revision of the model, compiled, with the indexes that make requests cheap.
//!
//! Takes what the compiler made of a revision, gives an immutable [`Snapshot`]. A request sees one
//! snapshot from its begin to its end; the next revision is another value.

use levada_model::address::{DatasetRef, NodeAddress};
use levada_model::model::{Origin, Workspace};
use levada_model::{Address, Model, Span};
use levada_planner::graph::{NodeAt, joins};
use levada_planner::{Assignment, Generation, IntentionGraph, PlatformRegistry};
use levada_state::State;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::Mutex;

/// What the compiler made of one revision.
pub struct Revision {
    /// The commit or content hash, for people.
    pub revision: String,
    /// Changes whenever anything that is served changes.
    pub content: String,
    /// When it was loaded, µs since 1970.
    pub loaded_at: i64,
    /// The model; without errors.
    pub model: Model,
    /// The kinds of platforms.
    pub registry: PlatformRegistry,
    /// The broker's choices and reasons.
    pub assignment: Assignment,
    /// The graphs of all platforms.
    pub graphs: Vec<IntentionGraph>,
    /// What somebody should look at, as `levada check --format json` prints it.
    pub findings: Vec<Value>,
    /// Places of spans, as `file:line:column`.
    pub place: Box<dyn Fn(Span) -> String + Send + Sync>,
}

/// A revision that was refused.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The commit or content hash.
    pub revision: String,
    /// When it was looked at, µs since 1970.
    pub at: i64,
    /// Why, as `levada check --format json` prints it.
    pub findings: Vec<Value>,
}

/// What is served at one moment.
#[derive(Clone, Debug)]
pub struct Served {
    /// The last revision that holds.
    pub snapshot: Arc<Snapshot>,
    /// A newer one that does not.
    pub refused: Option<Arc<Refused>>,
    /// The state, once something was applied.
    pub state: Option<State>,
}

/// A dataset's consumer: the positions of the workspace and of the group in it.
pub(crate) type ConsumerAt = (u32, u32);

/// Generation → the plan on top of it, as it was printed.
type KeptPlan = Option<(Option<Generation>, Arc<str>)>;

/// One revision, ready to be asked.
pub struct Snapshot {
    pub(crate) revision: Revision,
    pub(crate) lower: HashMap<NodeAt, Vec<NodeAt>>,
    pub(crate) upper: HashMap<NodeAt, Vec<NodeAt>>,
    pub(crate) consumers: HashMap<DatasetRef, Vec<ConsumerAt>>,
    pub(crate) names: Names,
    /// Of the generation that was in force when somebody asked last.
    pub(crate) plan: Mutex<KeptPlan>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Snapshot").field(&self.revision.revision).finish()
    }
}

impl Snapshot {
    /// Makes the indexes. Linear in the model, but for sorting names.
    pub fn of(revision: Revision) -> Self {
        let (mut lower, mut upper) = (HashMap::<NodeAt, Vec<NodeAt>>::new(), HashMap::<NodeAt, Vec<NodeAt>>::new());
        for (from, to) in joins(&revision.graphs) {
            lower.entry(from).or_default().push(to);
            upper.entry(to).or_default().push(from);
        }
        let mut consumers = HashMap::<DatasetRef, Vec<ConsumerAt>>::new();
        for (position, workspace) in (0..).zip(&revision.model.workspaces) {
            for (group, found) in (0..).zip(&workspace.groups) {
                for sink in &found.sinks {
                    consumers.entry(sink.dataset.value.clone()).or_default().push((position, group));
                }
            }
        }
        let names = Names::of(&revision.model);
        Self { revision, lower, upper, consumers, names, plan: Mutex::new(None) }
    }

    pub(crate) fn model(&self) -> &Model {
        &self.revision.model
    }

    pub(crate) fn node(&self, (graph, node): NodeAt) -> &levada_planner::graph::GraphNode {
        &self.revision.graphs[graph as usize].nodes[node as usize]
    }

    pub(crate) fn find_node(&self, address: &NodeAddress) -> Option<NodeAt> {
        let graph = self.revision.graphs.iter().position(|graph| graph.platform == *address.platform())?;
        Some((graph as u32, self.revision.graphs[graph].position(address)?))
    }

    /// The datasets that a transformer of this workspace reads, and whose output its datastore is.
    pub(crate) fn inputs(workspace: &Workspace) -> impl Iterator<Item = &DatasetRef> {
        workspace.groups.iter().flat_map(|group| &group.sinks).map(|sink| &sink.dataset.value)
    }

    /// The workspace whose transformer makes a dataset.
    pub(crate) fn maker(&self, dataset: &DatasetRef) -> Option<&Workspace> {
        match &self.model().datastore(&dataset.datastore)?.origin {
            Origin::Transformer { workspace, .. } => self.model().workspace(workspace),
            Origin::Container { .. } => None,
        }
    }
}

/// How many characters of a name are looked up at once.
const GRAM: usize = 3;

/// All names of a model, to be found by a part of them.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// By folded name.
    entries: Vec<(String, Address)>,
    /// Three bytes of a folded name → positions of the names that have them, ascending.
    grams: HashMap<[u8; GRAM], Vec<u32>>,
    /// How many names of each kind there are, by the address's first word in lower case.
    pub(crate) counts: BTreeMap<String, u64>,
}

impl Names {
    fn of(model: &Model) -> Self {
        let mut entries: Vec<(String, Address)> = Vec::new();
        let mut add = |name: String, address: Address| entries.push((name, address));
        model.zones.iter().for_each(|it| add(it.name.folded(), Address::Zone(it.name.clone())));
        model.teams.iter().for_each(|it| add(it.name.folded(), Address::Team(it.zone.clone(), it.name.clone())));
        model.ecosystem.platforms.iter().for_each(|it| add(it.name.folded(), Address::Platform(it.name.clone())));
        for store in &model.datastores {
            add(store.name.folded(), Address::Datastore(store.name.clone()));
            for dataset in &store.datasets {
                add(dataset.name.folded(), Address::Dataset(store.name.clone(), dataset.name.clone()));
            }
        }
        for workspace in &model.workspaces {
            add(workspace.name.folded(), Address::Workspace(workspace.name.clone()));
            if let Some(transformer) = &workspace.transformer {
                add(transformer.name.folded(), Address::Transformer(workspace.name.clone()));
            }
        }
        entries.sort();
        let mut counts = BTreeMap::new();
        for (_, address) in &entries {
            let text = address.to_string();
            let kind = text.split('/').next().unwrap_or_default().to_lowercase();
            *counts.entry(kind).or_default() += 1;
        }
        let mut grams = HashMap::<[u8; GRAM], Vec<u32>>::new();
        for (position, (name, _)) in (0..).zip(&entries) {
            for gram in name.as_bytes().windows(GRAM) {
                let positions = grams.entry(gram.try_into().expect("three bytes")).or_default();
                if positions.last() != Some(&position) {
                    positions.push(position);
                }
            }
        }
        Self { entries, grams, counts }
    }

    /// The names that have a text in them, ignoring case: those that begin with it first.
    pub(crate) fn find(&self, text: &str, max: usize) -> Vec<&Address> {
        let text = text.to_lowercase();
        let start = self.entries.partition_point(|(name, _)| *name < text);
        let begins = self.entries[start..].iter().take_while(|(name, _)| name.starts_with(&text));
        let mut found: Vec<&Address> = begins.take(max).map(|(_, address)| address).collect();
        // The rarest three bytes of the text have the fewest names to look at.
        let grams = text.as_bytes().windows(GRAM).map(|gram| self.grams.get(gram).map_or(&[][..], Vec::as_slice));
        for position in grams.min_by_key(|positions| positions.len()).into_iter().flatten() {
            if found.len() >= max {
                break;
            }
            let (name, address) = &self.entries[*position as usize];
            if name.contains(&text) && !name.starts_with(&text) {
                found.push(address);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_any_part_and_those_that_begin_with_it_come_first() {
        let entries: Vec<(String, Address)> = ["abcd", "bcd", "bcde", "xbcd"]
            .map(|name| (name.to_owned(), Address::Workspace(name.parse().expect("a name"))))
            .into();
        let mut names = Names { entries, ..Names::default() };
        for (position, (name, _)) in (0..).zip(&names.entries) {
            for gram in name.as_bytes().windows(GRAM) {
                names.grams.entry(gram.try_into().expect("three bytes")).or_default().push(position);
            }
        }
        let find = |text: &str, max| names.find(text, max).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(find("BCD", 9), ["Workspace/bcd", "Workspace/bcde", "Workspace/abcd", "Workspace/xbcd"]);
        assert_eq!(find("bcd", 3).len(), 3);
        assert_eq!(find("bc", 9), ["Workspace/bcd", "Workspace/bcde"], "short texts are looked for at the front");
        assert_eq!(find("bcx", 9), Vec::<String>::new());
    }
}
