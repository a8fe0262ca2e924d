//! Which nodes belong to which datastore, and which stack and cell a datastore lives in.
//!
//! A stack is a Terraform root with a state of its own; a datastore's is a hash of its name, so
//! that it never moves while the number of stacks stands.

use super::settings::AwsSettings;
use crate::plain;
use levada_model::model::TransformTrigger;
use levada_model::name::{ContainerName, DatastoreName, WorkspaceName};
use levada_planner::platform::Part;
use levada_planner::{NodeSpec, blueprint};
use std::collections::{BTreeMap, BTreeSet};

/// One platform's part, by datastore.
#[derive(Debug)]
pub struct Layout<'a> {
    /// Every datastore that it ingests.
    pub stores: BTreeMap<&'a DatastoreName, Store<'a>>,
}

/// One datastore.
#[derive(Debug, Default)]
pub struct Store<'a> {
    /// Its streams: one, or one for each dataset.
    pub ingests: Vec<&'a blueprint::IngestSpec>,
    /// What is delivered of it.
    pub exports: Vec<&'a blueprint::ExportSpec>,
    /// The transformer whose output it is.
    pub transform: Option<Transform<'a>>,
    /// The transformers that a new batch of it may fire.
    pub fires: BTreeSet<&'a WorkspaceName>,
}

/// A transformer and what fires it.
#[derive(Clone, Copy, Debug)]
pub struct Transform<'a> {
    /// What it does.
    pub spec: &'a blueprint::TransformSpec,
    /// When.
    pub trigger: Option<&'a blueprint::TriggerSpec>,
}

impl<'a> Layout<'a> {
    /// Sorts a part's nodes. Linear in them.
    pub fn of(part: &Part<'a>) -> Self {
        let mut stores: BTreeMap<&DatastoreName, Store<'a>> = BTreeMap::new();
        let mut triggers = BTreeMap::new();
        for node in &part.nodes {
            match &node.spec {
                NodeSpec::Ingest(spec) => stores.entry(&spec.stream.datastore).or_default().ingests.push(spec),
                NodeSpec::Export(spec) => stores.entry(&spec.source.datastore).or_default().exports.push(spec),
                NodeSpec::Trigger(spec) => drop(triggers.insert(&spec.workspace, spec)),
                NodeSpec::Transform(spec) => {
                    let transform = Transform { spec, trigger: None };
                    stores.entry(&spec.output).or_default().transform = Some(transform);
                }
                // Platforms of this kind share no feed, so nothing is linked.
                NodeSpec::Link(_) => {}
            }
        }
        for trigger in triggers.values().filter(|trigger| trigger.trigger == TransformTrigger::OnChange) {
            for input in &trigger.inputs {
                stores.entry(&input.source.datastore).or_default().fires.insert(&trigger.workspace);
            }
        }
        for transform in stores.values_mut().filter_map(|store| store.transform.as_mut()) {
            transform.trigger = triggers.get(&transform.spec.workspace).copied();
        }
        Self { stores }
    }

    /// The stores of each stack, by number. A stack without stores is there too: applying it destroys
    /// what was in it before.
    pub fn stacks(
        &self,
        platform: &str,
        settings: &AwsSettings,
    ) -> BTreeMap<u32, Vec<(&'a DatastoreName, &Store<'a>)>> {
        let count = settings.stacks.max(settings.stacks_before.unwrap_or(0));
        let mut stacks: BTreeMap<u32, Vec<_>> = (0..count).map(|number| (number, Vec::new())).collect();
        for (name, store) in &self.stores {
            stacks.entry(stack_of(platform, name.as_str(), settings)).or_default().push((*name, store));
        }
        stacks
    }
}

impl<'a> Layout<'a> {
    /// The stores that leave each stack for another, by number.
    pub fn leaving(
        &self,
        platform: &str,
        settings: &AwsSettings,
    ) -> BTreeMap<u32, Vec<(&'a DatastoreName, &Store<'a>)>> {
        let mut leaving: BTreeMap<u32, Vec<_>> = BTreeMap::new();
        for (name, store) in &self.stores {
            if let Some(from) = moves_from(platform, name.as_str(), settings) {
                leaving.entry(from).or_default().push((*name, store));
            }
        }
        leaving
    }
}

impl<'a> Store<'a> {
    /// How a producer's container is read; `None`: a transformer fills it.
    pub fn source(&self) -> Option<Source<'a>> {
        self.ingests.first().and_then(|ingest| match &ingest.origin {
            blueprint::IngestOrigin::Container { connection, ingest, trigger, calendars } => {
                Some(Source { connection, ingest, trigger: trigger.as_ref(), calendars })
            }
            blueprint::IngestOrigin::Transformer { .. } => None,
        })
    }

    /// All its datasets that somebody consumes, by name.
    pub fn datasets(&self) -> BTreeMap<&'a str, &'a blueprint::IngestDataset> {
        let all = self.ingests.iter().flat_map(|ingest| &ingest.datasets);
        all.map(|dataset| (dataset.dataset.as_str(), dataset)).collect()
    }

    /// The containers that it is delivered to.
    pub fn containers(&self) -> BTreeSet<&'a ContainerName> {
        self.exports.iter().map(|export| &export.connection.container).collect()
    }
}

/// How a producer's container is read.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// How it is reached.
    pub connection: &'a levada_model::connection::Connection,
    /// How it is read.
    pub ingest: &'a levada_model::model::IngestKind,
    /// When; `None`: every ten minutes.
    pub trigger: Option<&'a levada_model::model::CronTrigger>,
    /// When it may be read.
    pub calendars: &'a [blueprint::CalendarSpec],
}

/// The stack of a datastore.
pub fn stack_of(platform: &str, datastore: &str, settings: &AwsSettings) -> u32 {
    plain::number(&[platform, datastore], settings.stacks)
}

/// The stack that a datastore moves from; `None`: it stays.
pub fn moves_from(platform: &str, datastore: &str, settings: &AwsSettings) -> Option<u32> {
    let before = plain::number(&[platform, datastore], settings.stacks_before?);
    (before != stack_of(platform, datastore, settings)).then_some(before)
}
