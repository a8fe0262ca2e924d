//! What the broker's choices demand of each platform, as sorted lists of interned keys.
//!
//! The weaver and the freezer read it; neither looks a name up again.

use crate::binding::{Bindings, DatasetId, SinkUse};
use crate::broker::Assignment;
use levada_model::Model;
use levada_model::address::{DatasetRef, NodeAddress, Stream};
use levada_model::model::AssignmentState;

/// What is pulled together: a datastore, or one dataset of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct StreamKey {
    pub store: u32,
    pub dataset: Option<u32>,
}

/// One workspace's use of one export.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ExportUse {
    pub platform: u32,
    pub container: u32,
    pub of: SinkUse,
    pub role: ExportRole,
}

/// Why a platform delivers a sink; the least one shows the workspace's views.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum ExportRole {
    /// The group is matched to the platform.
    Active,
    /// The same, on its way out.
    Decommissioning,
    /// The same, on its way in.
    Provisioning,
    /// The workspace's transformer runs there.
    FeedsTransformer,
}

impl ExportRole {
    /// The role of a platform that a group is matched to.
    pub fn of(state: AssignmentState) -> Self {
        match state {
            AssignmentState::Active => Self::Active,
            AssignmentState::Decommissioning => Self::Decommissioning,
            AssignmentState::Provisioning => Self::Provisioning,
        }
    }
}

/// Everything the assignment demands.
#[derive(Debug)]
pub(crate) struct Demand {
    pub bindings: Bindings,
    /// Per datastore: its primary's position.
    pub primaries: Vec<Option<u32>>,
    /// By platform, container, dataset, group.
    pub exports: Vec<ExportUse>,
    /// Datasets that somebody is delivered, sorted.
    pub used: Vec<DatasetId>,
    /// Workspaces whose transformers run, with their platforms, by workspace.
    pub transformers: Vec<(u32, u32)>,
    is_multi: Vec<bool>,
}

impl Demand {
    pub fn of(model: &Model, assignment: &Assignment) -> Self {
        let bindings = Bindings::of(model);
        let primaries = primaries(model, assignment);
        let transformers = transformers(&bindings, &primaries);
        let mut exports = matched_exports(model, assignment, &bindings);
        exports.extend(transformer_exports(&bindings, &transformers));
        exports.retain(|export| primaries[export.of.dataset.store as usize].is_some());
        exports.sort_unstable();
        exports.dedup();
        let mut used: Vec<DatasetId> = exports.iter().map(|export| export.of.dataset).collect();
        used.sort_unstable();
        used.dedup();
        let is_multi = model.datastores.iter().map(levada_model::model::Datastore::is_multi).collect();
        Self { bindings, primaries, exports, used, transformers, is_multi }
    }

    /// The stream that carries a dataset.
    pub fn stream(&self, of: DatasetId) -> StreamKey {
        let is_multi = self.is_multi[of.store as usize];
        StreamKey { store: of.store, dataset: (!is_multi).then_some(of.dataset) }
    }

    /// The primary of a datastore that is in use.
    pub fn primary(&self, store: u32) -> u32 {
        self.primaries[store as usize].expect("exports of datastores without primary were left out")
    }

    /// The exports of a dataset, as ranges of equal platform, container and dataset.
    pub fn export_groups(&self) -> impl Iterator<Item = &[ExportUse]> {
        let is_same = |a: &ExportUse, b: &ExportUse| {
            (a.platform, a.container, a.of.dataset) == (b.platform, b.container, b.of.dataset)
        };
        self.exports.chunk_by(is_same)
    }
}

fn primaries(model: &Model, assignment: &Assignment) -> Vec<Option<u32>> {
    let primary = |store: &levada_model::model::Datastore| {
        let choice = assignment.primaries.get(&store.name)?;
        model.platform_id(choice.platform.as_ref()?)
    };
    model.datastores.iter().map(primary).collect()
}

/// A transformer runs where its output is ingested, and only if somebody consumes that.
fn transformers(bindings: &Bindings, primaries: &[Option<u32>]) -> Vec<(u32, u32)> {
    let running = bindings.output_of_workspace.iter().enumerate().filter_map(|(workspace, output)| {
        let store = (*output)?;
        let is_its_own = bindings.transformer_of_store[store as usize] == Some(workspace as u32);
        let platform = primaries[store as usize].filter(|_| bindings.is_consumed(store) && is_its_own)?;
        Some((workspace as u32, platform))
    });
    running.collect()
}

fn matched_exports(model: &Model, assignment: &Assignment, bindings: &Bindings) -> Vec<ExportUse> {
    let mut exports = Vec::new();
    for (workspace_id, workspace) in model.workspaces.iter().enumerate() {
        let Some(container) = bindings.container_of_workspace[workspace_id] else { continue };
        let matched: Vec<Vec<(u32, ExportRole)>> = workspace
            .groups
            .iter()
            .map(|group| {
                let choice = assignment.groups.get(&(workspace.name.clone(), group.name.clone()));
                let delivering = choice.into_iter().flat_map(|choice| &choice.platforms);
                delivering.filter_map(|by| Some((model.platform_id(&by.platform)?, ExportRole::of(by.state)))).collect()
            })
            .collect();
        for &of in &bindings.uses_of_workspace[workspace_id] {
            let by = matched[of.group.group as usize].iter();
            exports.extend(by.map(|&(platform, role)| ExportUse { platform, container, of, role }));
        }
    }
    exports
}

fn transformer_exports<'a>(
    bindings: &'a Bindings,
    transformers: &'a [(u32, u32)],
) -> impl Iterator<Item = ExportUse> + 'a {
    transformers.iter().flat_map(|&(workspace, platform)| {
        let uses = bindings.uses_of_workspace[workspace as usize].iter();
        let container = bindings.container_of_workspace[workspace as usize];
        uses.filter_map(move |&of| {
            Some(ExportUse { platform, container: container?, of, role: ExportRole::FeedsTransformer })
        })
    })
}

/// Interned keys of nodes: as small as they get, and in the order of the model.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum NodeKey {
    Ingest(StreamKey),
    Link(StreamKey),
    Export(u32, DatasetId),
    Trigger(u32),
    Transform(u32),
}

/// The name of a stream.
pub(crate) fn stream_name(model: &Model, key: StreamKey) -> Stream {
    let store = &model.datastores[key.store as usize];
    let dataset = key.dataset.map(|dataset| store.datasets[dataset as usize].name.clone());
    Stream { datastore: store.name.clone(), dataset }
}

/// The address of a node.
pub(crate) fn address(model: &Model, platform: u32, key: NodeKey) -> NodeAddress {
    let platform = model.ecosystem.platforms[platform as usize].name.clone();
    let workspace = |id: u32| model.workspaces[id as usize].name.clone();
    match key {
        NodeKey::Ingest(stream) => NodeAddress::Ingest(platform, stream_name(model, stream)),
        NodeKey::Link(stream) => NodeAddress::Link(platform, stream_name(model, stream)),
        NodeKey::Export(container, of) => {
            let store = &model.datastores[of.store as usize];
            let of = DatasetRef::new(store.name.clone(), store.datasets[of.dataset as usize].name.clone());
            NodeAddress::Export(platform, model.containers[container as usize].name.clone(), of)
        }
        NodeKey::Trigger(id) => NodeAddress::Trigger(platform, workspace(id)),
        NodeKey::Transform(id) => NodeAddress::Transform(platform, workspace(id)),
    }
}
