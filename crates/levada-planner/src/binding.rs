//! The model's references, resolved once to positions in its lists.
//!
//! Everything behind works on these numbers instead of names. A reference to nothing is `None`:
//! lint says so, the passes behind step over it. Linear in sinks.

use levada_model::Model;
use levada_model::address::DatasetRef;
use levada_model::model::{Datastore, Owner};
use std::collections::HashMap;

/// A dataset: positions of its datastore in the model and of itself in that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct DatasetId {
    pub store: u32,
    pub dataset: u32,
}

/// A group: positions of its workspace in the model and of itself in that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct GroupId {
    pub workspace: u32,
    pub group: u32,
}

/// One dataset asked for by one group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct SinkUse {
    pub dataset: DatasetId,
    pub group: GroupId,
}

/// All references of a model as positions.
#[derive(Debug)]
pub(crate) struct Bindings {
    /// Per workspace: its container.
    pub container_of_workspace: Vec<Option<u32>>,
    /// Per workspace: the datastore that its transformer writes.
    pub output_of_workspace: Vec<Option<u32>>,
    /// Per workspace: the zone that owns it.
    pub zone_of_workspace: Vec<Option<u32>>,
    /// Per datastore: the zone that owns it.
    pub zone_of_store: Vec<Option<u32>>,
    /// Per datastore: its container; `None` also for a transformer's output.
    pub container_of_store: Vec<Option<u32>>,
    /// Per datastore: the workspace whose transformer writes it.
    pub transformer_of_store: Vec<Option<u32>>,
    /// Per datastore: everybody who asks for something of it, sorted.
    pub uses_of_store: Vec<Vec<SinkUse>>,
    /// Per workspace: everything it asks for, sorted.
    pub uses_of_workspace: Vec<Vec<SinkUse>>,
}

impl Bindings {
    /// Resolves all references.
    pub fn of(model: &Model) -> Self {
        let mut zones = ZoneCache::new(model);
        let mut bindings = Self {
            container_of_workspace: Vec::with_capacity(model.workspaces.len()),
            output_of_workspace: Vec::with_capacity(model.workspaces.len()),
            zone_of_workspace: model.workspaces.iter().map(|workspace| zones.find(&workspace.owner)).collect(),
            zone_of_store: model.datastores.iter().map(|store| zones.find(&store.owner)).collect(),
            container_of_store: model.datastores.iter().map(|store| container_of(model, store)).collect(),
            transformer_of_store: vec![None; model.datastores.len()],
            uses_of_store: vec![Vec::new(); model.datastores.len()],
            uses_of_workspace: vec![Vec::new(); model.workspaces.len()],
        };
        for (workspace_id, workspace) in (0..).zip(&model.workspaces) {
            bindings.container_of_workspace.push(model.container_id(&workspace.container.value));
            let output = workspace.transformer.as_ref().and_then(|code| model.datastore_id(&code.output.value));
            bindings.output_of_workspace.push(output);
            if let Some(store) = output {
                bindings.transformer_of_store[store as usize] = Some(workspace_id);
            }
            for (group_id, group) in (0..).zip(&workspace.groups) {
                let group_id = GroupId { workspace: workspace_id, group: group_id };
                for sink in &group.sinks {
                    if let Some(dataset) = dataset_id(model, &sink.dataset.value) {
                        let sink_use = SinkUse { dataset, group: group_id };
                        bindings.uses_of_store[dataset.store as usize].push(sink_use);
                        bindings.uses_of_workspace[workspace_id as usize].push(sink_use);
                    }
                }
            }
        }
        for uses in bindings.uses_of_store.iter_mut().chain(&mut bindings.uses_of_workspace) {
            uses.sort_unstable();
            uses.dedup();
        }
        bindings
    }

    /// Whether somebody asks for something of it.
    pub fn is_consumed(&self, store: u32) -> bool {
        !self.uses_of_store[store as usize].is_empty()
    }
}

/// Finds zones without folding a name per object: owners repeat.
struct ZoneCache<'m> {
    model: &'m Model,
    found: HashMap<&'m str, Option<u32>>,
}

impl<'m> ZoneCache<'m> {
    fn new(model: &'m Model) -> Self {
        Self { model, found: HashMap::new() }
    }

    fn find(&mut self, owner: &'m Owner) -> Option<u32> {
        *self.found.entry(owner.zone.as_str()).or_insert_with(|| self.model.zone_id(&owner.zone))
    }
}

fn container_of(model: &Model, store: &Datastore) -> Option<u32> {
    match &store.origin {
        levada_model::model::Origin::Container { container, .. } => model.container_id(&container.value),
        levada_model::model::Origin::Transformer { .. } => None,
    }
}

/// The positions of a dataset; `None` where there is none.
pub(crate) fn dataset_id(model: &Model, of: &DatasetRef) -> Option<DatasetId> {
    let store_id = model.datastore_id(&of.datastore)?;
    let datasets = &model.datastores[store_id as usize].datasets;
    let folded = of.dataset.folded();
    let position = datasets.binary_search_by(|dataset| dataset.name.folded().cmp(&folded)).ok()?;
    (datasets[position].name == of.dataset).then_some(DatasetId { store: store_id, dataset: position as u32 })
}

/// The name of a dataset.
pub(crate) fn dataset_ref(model: &Model, id: DatasetId) -> DatasetRef {
    let store = &model.datastores[id.store as usize];
    DatasetRef::new(store.name.clone(), store.datasets[id.dataset as usize].name.clone())
}
