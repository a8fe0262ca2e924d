//! Freezing: all choices, names and requirements become self-contained nodes.
//!
//! Takes the model, the broker's assignment and the woven graphs, gives the blueprint that follows
//! its parent. Linear in nodes but for sorting.

use super::names::{NameForm, NameRegistry, is_plain_folder, keeps_folders, view_name, view_schema};
use super::owed::Obligations;
use super::*;
use crate::binding::{Bindings, DatasetId, dataset_ref};
use crate::broker::{Assignment, Terms, delivers};
use crate::graph::demand::{Demand, ExportRole, ExportUse, NodeKey, StreamKey, address, stream_name};
use crate::graph::{IntentionGraph, priority};
use levada_model::address::DatasetRef;
use levada_model::fingerprint::fingerprint;
use levada_model::model::{
    Container, Dataset, IngestKind, Latency, Milestoning, Origin, Reader, Transformer, Workspace,
};
use levada_model::name::{CalendarName, ContainerName, DatasetName};
use levada_model::period::Period;
use levada_model::{Model, Outline};
use std::collections::{HashMap, HashSet};

/// Freezes the graphs into the blueprint that follows `parent`; the first has generation 1.
pub fn freeze(
    model: &Model,
    assignment: &Assignment,
    graphs: &[IntentionGraph],
    parent: Option<&Blueprint>,
    revision: String,
) -> Blueprint {
    let mut freezer = Freezer::new(model, assignment, parent);
    let mut specs = freezer.all_specs();
    let mut nodes = BTreeMap::new();
    for graph in graphs {
        nodes.extend(join(graph, &mut specs).map(|node| (node.address.clone(), node)));
    }
    let from = parent.map(|parent| parent.generation);
    let generation = Generation(from.map_or(1, |from| from.0 + 1));
    let objects = objects(model, assignment, &freezer.demand.bindings);
    Blueprint { generation, parent: from, revision, choices: assignment.choices(), nodes, objects }
}

/// All objects of the model, with what those workspaces demand that are in this part of it.
fn objects(model: &Model, assignment: &Assignment, bindings: &Bindings) -> BTreeMap<Address, Object> {
    let priorities = priority::of_workspaces(model, bindings);
    let demand = |name: &WorkspaceName| {
        let position = model.workspace_id(name)? as usize;
        let groups = model.workspaces[position].groups.iter();
        let terms = groups.filter_map(|group| {
            let choice = assignment.groups.get(&(name.clone(), group.name.clone()))?;
            Some((&group.name, &choice.terms))
        });
        Some(fingerprint(&(terms.collect::<Vec<_>>(), priorities[position])))
    };
    let object = |(address, outline): (&Address, &Outline)| {
        let demand = match address {
            Address::Workspace(name) => demand(name),
            _ => None,
        };
        (address.clone(), Object { content: outline.content, names: outline.names.clone(), demand })
    };
    model.outlines.iter().map(object).collect()
}

/// Joins a graph's nodes with their specs and the edges that end in them.
fn join<'a>(
    graph: &'a IntentionGraph,
    specs: &'a mut HashMap<NodeAddress, NodeSpec>,
) -> impl Iterator<Item = Node> + 'a {
    let mut inputs: Vec<Vec<Input>> = vec![Vec::new(); graph.nodes.len()];
    for edge in &graph.edges {
        let node = graph.address(edge.from).clone();
        inputs[edge.to as usize].push(Input { node, is_self: edge.is_self });
    }
    graph.nodes.iter().zip(inputs).filter_map(move |(node, mut inputs)| {
        let spec = specs.remove(&node.address)?;
        if let NodeSpec::Link(link) = &spec {
            inputs.push(Input { node: link.ingest.clone(), is_self: false });
        }
        inputs.sort();
        Some(Node { address: node.address.clone(), priority: node.priority, inputs, spec })
    })
}

struct Freezer<'m> {
    model: &'m Model,
    assignment: &'m Assignment,
    demand: Demand,
    names: NameRegistry,
    folders: Folders<'m>,
}

/// Who has which folder in the blueprint in force: a change of the primary moves no files.
#[derive(Default)]
struct Folders<'m> {
    /// Which platform has the plain folder of a dataset in a container.
    plain: HashMap<(&'m ContainerName, &'m DatasetRef), &'m PlatformName>,
    /// Every export into folders.
    exports: HashSet<&'m NodeAddress>,
}

impl<'m> Folders<'m> {
    fn of(parent: Option<&'m Blueprint>) -> Self {
        let mut folders = Self::default();
        for node in parent.iter().flat_map(|parent| parent.nodes.values()) {
            if let (NodeAddress::Export(platform, container, of), NodeSpec::Export(export)) =
                (&node.address, &node.spec)
                && keeps_folders(export.connection.kind)
            {
                folders.exports.insert(&node.address);
                if is_plain_folder(export) {
                    folders.plain.insert((container, of), platform);
                }
            }
        }
        folders
    }

    /// Whoever has the plain folder keeps it; a free one is the primary's.
    fn form(&self, platform: &PlatformName, container: &ContainerName, of: &DatasetRef, is_primary: bool) -> NameForm {
        let is_plain = match self.plain.get(&(container, of)) {
            Some(holder) => *holder == platform,
            None => {
                let address = NodeAddress::Export(platform.clone(), container.clone(), of.clone());
                is_primary && !self.exports.contains(&address)
            }
        };
        if is_plain { NameForm::PlainFolder } else { NameForm::HashedFolder }
    }
}

impl<'m> Freezer<'m> {
    fn new(model: &'m Model, assignment: &'m Assignment, parent: Option<&'m Blueprint>) -> Self {
        let (demand, folders) = (Demand::of(model, assignment), Folders::of(parent));
        Self { model, assignment, demand, names: NameRegistry::default(), folders }
    }

    fn all_specs(&mut self) -> HashMap<NodeAddress, NodeSpec> {
        let mut specs = HashMap::new();
        self.ingests(&mut specs);
        self.links(&mut specs);
        self.exports(&mut specs);
        self.transformers(&mut specs);
        specs
    }

    fn ingests(&self, specs: &mut HashMap<NodeAddress, NodeSpec>) {
        let obligations = Obligations::of(self.model, self.assignment);
        let is_one_stream = |a: &DatasetId, b: &DatasetId| self.demand.stream(*a) == self.demand.stream(*b);
        for datasets in self.demand.used.chunk_by(is_one_stream) {
            let stream = self.demand.stream(datasets[0]);
            let platform = self.demand.primary(stream.store);
            let Some(origin) = self.origin(stream.store, platform) else { continue };
            let mut datasets: Vec<IngestDataset> =
                datasets.iter().map(|&id| self.ingest_dataset(id, obligations.owed(&self.demand, id))).collect();
            datasets.sort_by(|a, b| a.dataset.cmp(&b.dataset));
            let spec = IngestSpec {
                stream: stream_name(self.model, stream),
                style: self.model.ecosystem.platforms[platform as usize].style,
                origin,
                datasets,
            };
            specs.insert(address(self.model, platform, NodeKey::Ingest(stream)), NodeSpec::Ingest(spec));
        }
    }

    /// Where a datastore's data comes from; `None` where the model names no such container.
    fn origin(&self, store: u32, platform: u32) -> Option<IngestOrigin> {
        match &self.model.datastores[store as usize].origin {
            Origin::Container { container, ingest } => {
                let container = self.model.container(&container.value)?;
                let named = [ingest.calendar.as_ref(), container.calendar.as_ref()];
                Some(IngestOrigin::Container {
                    connection: container.connection.clone(),
                    ingest: ingest.kind.clone(),
                    trigger: ingest.trigger.clone(),
                    calendars: self.calendars(named.into_iter().flatten().map(|calendar| &calendar.value)),
                })
            }
            Origin::Transformer { mode, .. } => {
                let workspace = self.demand.bindings.transformer_of_store[store as usize]?;
                let transform = address(self.model, platform, NodeKey::Transform(workspace));
                Some(IngestOrigin::Transformer { transform, mode: *mode })
            }
        }
    }

    fn ingest_dataset(&self, id: DatasetId, owed: Vec<Owed>) -> IngestDataset {
        let store = &self.model.datastores[id.store as usize];
        let dataset = &store.datasets[id.dataset as usize];
        let watermark = match &store.origin {
            Origin::Container { ingest, .. } => match &ingest.kind {
                IngestKind::Watermark { column, .. } => {
                    dataset.watermark.as_ref().map(|own| own.value.clone()).or_else(|| column.clone())
                }
                _ => None,
            },
            Origin::Transformer { .. } => None,
        };
        IngestDataset {
            dataset: dataset.name.clone(),
            table: dataset.table.clone().unwrap_or_else(|| dataset.name.to_string()),
            schema: dataset.schema(),
            watermark,
            owed,
        }
    }

    fn calendars<'a>(&self, names: impl Iterator<Item = &'a CalendarName>) -> Vec<CalendarSpec> {
        let mut calendars: Vec<CalendarSpec> = names
            .filter_map(|name| self.model.calendar(name))
            .map(|calendar| CalendarSpec {
                name: calendar.name.to_string(),
                timezone: calendar.timezone.clone(),
                windows: calendar.windows.clone(),
            })
            .collect();
        calendars.sort_by(|a, b| a.name.cmp(&b.name));
        calendars.dedup();
        calendars
    }

    fn links(&self, specs: &mut HashMap<NodeAddress, NodeSpec>) {
        let mut behind: BTreeMap<(u32, StreamKey), Vec<DatasetName>> = BTreeMap::new();
        for sharers in self.demand.export_groups() {
            let stream = self.demand.stream(sharers[0].of.dataset);
            if self.demand.primary(stream.store) != sharers[0].platform {
                let name = dataset_ref(self.model, sharers[0].of.dataset).dataset;
                behind.entry((sharers[0].platform, stream)).or_default().push(name);
            }
        }
        for ((platform, stream), mut datasets) in behind {
            datasets.sort();
            datasets.dedup();
            let spec = LinkSpec {
                stream: stream_name(self.model, stream),
                ingest: address(self.model, self.demand.primary(stream.store), NodeKey::Ingest(stream)),
                datasets,
            };
            specs.insert(address(self.model, platform, NodeKey::Link(stream)), NodeSpec::Link(spec));
        }
    }

    fn exports(&mut self, specs: &mut HashMap<NodeAddress, NodeSpec>) {
        let owners = self.view_owners();
        let exports = std::mem::take(&mut self.demand.exports);
        let is_same = |a: &ExportUse, b: &ExportUse| {
            (a.platform, a.container, a.of.dataset) == (b.platform, b.container, b.of.dataset)
        };
        for sharers in exports.chunk_by(is_same) {
            let key = NodeKey::Export(sharers[0].container, sharers[0].of.dataset);
            let spec = self.export(sharers, &owners);
            specs.insert(address(self.model, sharers[0].platform, key), NodeSpec::Export(spec));
        }
        self.demand.exports = exports;
    }

    fn export(&mut self, sharers: &[ExportUse], owners: &ViewOwners) -> ExportSpec {
        let ExportUse { platform, container, of, .. } = sharers[0];
        let container = &self.model.containers[container as usize];
        let source = dataset_ref(self.model, of.dataset);
        let wanted: Vec<(&ExportUse, &Terms, Milestoning)> =
            sharers.iter().map(|sharer| (sharer, self.terms(sharer), self.milestoning(sharer))).collect();
        let mut views: BTreeMap<(u32, DeliveredReading), Option<Period>> = BTreeMap::new();
        for (sharer, terms, milestoning) in &wanted {
            let workspace_id = sharer.of.group.workspace;
            for reading in readings(*milestoning) {
                if owners.get(&(workspace_id, of.dataset, reading)) != Some(&platform) {
                    continue;
                }
                let retention = (reading == DeliveredReading::History).then_some(terms.retention);
                let longest = views.entry((workspace_id, reading)).or_insert(retention);
                *longest = (*longest).max(retention);
            }
        }
        let workspace = |id: u32| &self.model.workspaces[id as usize];
        let mut views: Vec<ViewSpec> = views
            .into_iter()
            .map(|((id, reading), retention)| view(workspace(id), &source, reading, retention))
            .collect();
        views.sort();
        let has = |reading| wanted.iter().any(|(_, _, milestoning)| readings(*milestoning).contains(&reading));
        let history_retention = wanted.iter().filter(|(_, _, milestoning)| *milestoning != Milestoning::Live);
        let history_retention = history_retention.map(|(_, terms, _)| terms.retention).max();
        let latency = wanted.iter().map(|(_, terms, _)| terms.latency).min().unwrap_or(Latency::Hours);
        let form = self.name_form(platform, container, of.dataset, &source);
        let mut table = |reading| {
            let name = &self.model.ecosystem.platforms[platform as usize].name;
            has(reading).then(|| self.names.name(form, name, &container.name, &source, reading))
        };
        let (live, history) = (table(DeliveredReading::Live), table(DeliveredReading::History));
        ExportSpec {
            connection: container.connection.clone(),
            stream: stream_name(self.model, self.demand.stream(of.dataset)),
            schema: self.dataset(of.dataset).schema(),
            live,
            history,
            history_retention,
            latency,
            views,
            calendars: self.calendars(container.calendar.iter().map(|calendar| &calendar.value)),
            source,
        }
    }

    fn name_form(&self, platform: u32, to: &Container, id: DatasetId, of: &DatasetRef) -> NameForm {
        let name = &self.model.ecosystem.platforms[platform as usize].name;
        match keeps_folders(to.kind()) {
            true => self.folders.form(name, &to.name, of, self.demand.primary(id.store) == platform),
            false => NameForm::Table,
        }
    }

    fn terms(&self, sharer: &ExportUse) -> &'m Terms {
        let workspace = &self.model.workspaces[sharer.of.group.workspace as usize];
        let group = &workspace.groups[sharer.of.group.group as usize];
        let choice = self.assignment.groups.get(&(workspace.name.clone(), group.name.clone()));
        &choice.expect("the broker says something about every group").terms
    }

    /// What is delivered: what is asked for; where a transformer's workspace is woven into a
    /// platform that its group was not matched to, as much of it as the style has.
    fn milestoning(&self, sharer: &ExportUse) -> Milestoning {
        let asked = self.terms(sharer).milestoning;
        let style = self.model.ecosystem.platforms[sharer.platform as usize].style;
        match delivers(style, asked) {
            true => asked,
            false => Milestoning::Live,
        }
    }

    /// Which platform shows each view: one, also while several deliver.
    fn view_owners(&self) -> ViewOwners {
        let mut best: HashMap<(u32, DatasetId, DeliveredReading), (ExportRole, u32)> = HashMap::new();
        for export in &self.demand.exports {
            for reading in readings(self.milestoning(export)) {
                let claim = (export.role, export.platform);
                let owner = best.entry((export.of.group.workspace, export.of.dataset, reading)).or_insert(claim);
                *owner = (*owner).min(claim);
            }
        }
        best.into_iter().map(|(view, (_, platform))| (view, platform)).collect()
    }

    fn transformers(&self, specs: &mut HashMap<NodeAddress, NodeSpec>) {
        for &(workspace_id, platform) in &self.demand.transformers {
            let workspace = &self.model.workspaces[workspace_id as usize];
            let Some(transformer) = &workspace.transformer else { continue };
            let trigger = self.trigger(workspace_id, platform, transformer);
            specs.insert(address(self.model, platform, NodeKey::Trigger(workspace_id)), NodeSpec::Trigger(trigger));
            let transform = self.transform(workspace_id, transformer);
            specs.insert(
                address(self.model, platform, NodeKey::Transform(workspace_id)),
                NodeSpec::Transform(transform),
            );
        }
    }

    fn dataset(&self, id: DatasetId) -> &'m Dataset {
        &self.model.datastores[id.store as usize].datasets[id.dataset as usize]
    }

    /// The datasets of a workspace, each once, with whether it is the transformer's own output.
    fn inputs(&self, workspace: u32) -> impl Iterator<Item = (DatasetId, bool)> + '_ {
        let output = self.demand.bindings.output_of_workspace[workspace as usize];
        let uses = self.demand.bindings.uses_of_workspace[workspace as usize].chunk_by(|a, b| a.dataset == b.dataset);
        let with_primary = uses.filter(|uses| self.demand.primaries[uses[0].dataset.store as usize].is_some());
        with_primary.map(move |uses| (uses[0].dataset, Some(uses[0].dataset.store) == output))
    }

    fn trigger(&self, workspace: u32, platform: u32, transformer: &Transformer) -> TriggerSpec {
        let container = self.demand.bindings.container_of_workspace[workspace as usize];
        let mut inputs: Vec<TriggerInput> = self
            .inputs(workspace)
            .filter(|(_, is_self)| !is_self)
            .filter_map(|(id, _)| {
                Some(TriggerInput {
                    source: dataset_ref(self.model, id),
                    stream: stream_name(self.model, self.demand.stream(id)),
                    export: address(self.model, platform, NodeKey::Export(container?, id)),
                })
            })
            .collect();
        inputs.sort();
        let workspace = self.model.workspaces[workspace as usize].name.clone();
        TriggerSpec { workspace, trigger: transformer.trigger.clone(), inputs }
    }

    fn transform(&self, workspace: u32, transformer: &Transformer) -> TransformSpec {
        let mut inputs: Vec<TransformInput> = self
            .inputs(workspace)
            .map(|(id, is_self)| TransformInput {
                source: dataset_ref(self.model, id),
                stream: stream_name(self.model, self.demand.stream(id)),
                schema: self.dataset(id).schema(),
                is_self,
            })
            .collect();
        inputs.sort_by(|a, b| a.source.cmp(&b.source));
        let output = self.demand.bindings.output_of_workspace[workspace as usize].expect("only those with output run");
        let store = &self.model.datastores[output as usize];
        let mut outputs: Vec<TransformOutput> = (0..)
            .zip(&store.datasets)
            .map(|(dataset, it)| TransformOutput {
                dataset: it.name.clone(),
                schema: it.schema(),
                is_consumed: self.demand.used.binary_search(&DatasetId { store: output, dataset }).is_ok(),
            })
            .collect();
        outputs.sort_by(|a, b| a.dataset.cmp(&b.dataset));
        TransformSpec {
            workspace: self.model.workspaces[workspace as usize].name.clone(),
            transformer: transformer.name.clone(),
            code: transformer.code.clone(),
            inputs,
            output: store.name.clone(),
            outputs,
            mode: transformer.mode,
        }
    }
}

type ViewOwners = HashMap<(u32, DatasetId, DeliveredReading), u32>;

fn readings(milestoning: Milestoning) -> Vec<DeliveredReading> {
    match milestoning {
        Milestoning::Live => vec![DeliveredReading::Live],
        Milestoning::History => vec![DeliveredReading::History],
        Milestoning::Both => vec![DeliveredReading::Live, DeliveredReading::History],
    }
}

fn view(workspace: &Workspace, of: &DatasetRef, reading: DeliveredReading, retention: Option<Period>) -> ViewSpec {
    let mut readers: Vec<Reader> = workspace.readers.iter().map(|reader| reader.value.clone()).collect();
    readers.sort();
    readers.dedup();
    ViewSpec {
        workspace: workspace.name.clone(),
        schema: view_schema(workspace.name.as_str()),
        name: view_name(of, reading),
        reading,
        retention,
        readers,
    }
}
