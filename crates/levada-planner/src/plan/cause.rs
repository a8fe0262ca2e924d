//! The place in the model that makes a node change.
//!
//! A node that comes is there because of a sink; one that changes, because of whatever says the
//! most telling of its differences; one that goes, because of the object that no longer asks for it.

use crate::blueprint::{Node, NodeSpec, Owed};
use crate::diff::{Delta, Difference, NodeChange};
use levada_model::address::{DatasetRef, NodeAddress, Stream};
use levada_model::model::{Datastore, Group, Origin, Priority, Workspace};
use levada_model::name::{DatasetName, GroupName, PlatformName, WorkspaceName};
use levada_model::{Address, Model, Span};
use std::collections::{BTreeMap, HashMap};

/// The causes of all changes that have one. Linear in the changes and their consumers.
pub(super) fn causes(model: &Model, delta: &Delta) -> BTreeMap<NodeAddress, Span> {
    let search = Search { model, links: links(model, delta), lifted: lifted(model, delta) };
    let cause = |(address, change): (&NodeAddress, &NodeChange)| Some((address.clone(), search.cause(change)?));
    delta.changes.iter().filter_map(cause).collect()
}

struct Search<'m> {
    model: &'m Model,
    /// What makes an export come, for the link behind it.
    links: HashMap<(PlatformName, DatasetRef), Span>,
    /// A workspace of each priority that some export changed to.
    lifted: BTreeMap<Priority, Span>,
}

fn links(model: &Model, delta: &Delta) -> HashMap<(PlatformName, DatasetRef), Span> {
    let mut links = HashMap::new();
    for change in delta.changes.values() {
        let Some(node) = change.after().or(change.before()) else { continue };
        if let (NodeAddress::Export(platform, _, of), NodeSpec::Export(export)) = (&node.address, &node.spec)
            && let Some(span) = export.views.iter().find_map(|view| sink(model, &view.workspace, of))
        {
            links.insert((platform.clone(), of.clone()), span);
        }
    }
    links
}

fn lifted(model: &Model, delta: &Delta) -> BTreeMap<Priority, Span> {
    let mut lifted = BTreeMap::new();
    for node in delta.changes.values().filter_map(NodeChange::after) {
        if let NodeSpec::Export(export) = &node.spec {
            for workspace in export.views.iter().filter_map(|view| model.workspace(&view.workspace)) {
                lifted.entry(workspace.priority).or_insert(workspace.span);
            }
        }
    }
    lifted
}

impl Search<'_> {
    fn cause(&self, change: &NodeChange) -> Option<Span> {
        match change {
            NodeChange::Added(node) => self.of_demand(node).or_else(|| self.of_object(node)),
            NodeChange::Changed { before, after, what } => what
                .iter()
                .find_map(|difference| self.of_difference(before, after, difference))
                .or_else(|| self.of_object(after)),
            NodeChange::Removed(node) => self.of_former_demand(node).or_else(|| self.of_object(node)),
        }
    }

    /// The sink, or the transformer, that wants a node.
    fn of_demand(&self, node: &Node) -> Option<Span> {
        match (&node.address, &node.spec) {
            (NodeAddress::Export(platform, _, of), NodeSpec::Export(_)) => {
                self.links.get(&(platform.clone(), of.clone())).copied()
            }
            (NodeAddress::Link(platform, stream), NodeSpec::Link(link)) => {
                let of = |dataset: &DatasetName| DatasetRef::new(stream.datastore.clone(), dataset.clone());
                link.datasets.iter().find_map(|dataset| self.links.get(&(platform.clone(), of(dataset))).copied())
            }
            (NodeAddress::Ingest(_, stream), NodeSpec::Ingest(ingest)) => {
                ingest.datasets.iter().find_map(|dataset| self.of_owed(stream, &dataset.dataset, &dataset.owed))
            }
            _ => None,
        }
    }

    fn of_owed(&self, stream: &Stream, dataset: &DatasetName, owed: &[Owed]) -> Option<Span> {
        let of = DatasetRef::new(stream.datastore.clone(), dataset.clone());
        owed.iter().find_map(|owed| match &owed.to {
            Address::Group(workspace, group) => sink_of_group(self.group(workspace, group)?.1, &of),
            _ => None,
        })
    }

    /// The workspace that asked for a node, as far as it is still there.
    fn of_former_demand(&self, node: &Node) -> Option<Span> {
        let still_there = |name: &WorkspaceName| self.model.workspace(name).map(|workspace| workspace.span);
        match &node.spec {
            NodeSpec::Export(export) => export.views.iter().find_map(|view| still_there(&view.workspace)),
            NodeSpec::Ingest(ingest) => {
                ingest.datasets.iter().flat_map(|dataset| &dataset.owed).find_map(|owed| match &owed.to {
                    Address::Group(workspace, _) => still_there(workspace),
                    _ => None,
                })
            }
            NodeSpec::Link(_) | NodeSpec::Trigger(_) | NodeSpec::Transform(_) => None,
        }
    }

    /// The object that a node is about.
    fn of_object(&self, node: &Node) -> Option<Span> {
        match &node.address {
            NodeAddress::Ingest(_, stream) | NodeAddress::Link(_, stream) => {
                let store = self.model.datastore(&stream.datastore)?;
                let dataset = stream.dataset.as_ref().and_then(|dataset| store.dataset(dataset));
                Some(dataset.map_or(store.span, |dataset| dataset.span))
            }
            NodeAddress::Export(_, _, of) => {
                let dataset = self.model.dataset(of).map(|dataset| dataset.span);
                dataset.or_else(|| Some(self.model.datastore(&of.datastore)?.span))
            }
            NodeAddress::Trigger(_, name) | NodeAddress::Transform(_, name) => {
                let workspace = self.model.workspace(name)?;
                Some(workspace.transformer.as_ref().map_or(workspace.span, |transformer| transformer.span))
            }
        }
    }

    fn of_difference(&self, before: &Node, after: &Node, difference: &Difference) -> Option<Span> {
        match difference {
            Difference::Priority { to, .. } => self.lifted.get(to).copied(),
            Difference::DatasetAdded { dataset } => self.of_new_dataset(after, dataset),
            Difference::Column { dataset, .. }
            | Difference::Table { dataset, .. }
            | Difference::Watermark { dataset } => self.dataset_span(after, dataset),
            Difference::Owed { dataset } => self.of_new_debt(before, after, dataset),
            Difference::Trigger | Difference::Ingest => self.ingest_span(after),
            Difference::Connection => self.container_span(after),
            Difference::ViewAdded { view } => self.of_view(after, view, true),
            Difference::ViewRemoved { view } => self.of_view(before, view, false),
            Difference::ViewRetention { view, .. } => self.of_view(after, view, true),
            Difference::Readers { view, .. } => self.of_view(after, view, false),
            _ => None,
        }
    }

    fn store(&self, node: &Node) -> Option<&Datastore> {
        match &node.address {
            NodeAddress::Ingest(_, stream) | NodeAddress::Link(_, stream) => self.model.datastore(&stream.datastore),
            NodeAddress::Export(_, _, of) => self.model.datastore(&of.datastore),
            NodeAddress::Trigger(_, name) | NodeAddress::Transform(_, name) => {
                self.model.datastore(&self.model.workspace(name)?.transformer.as_ref()?.output.value)
            }
        }
    }

    fn dataset_span(&self, node: &Node, dataset: &DatasetName) -> Option<Span> {
        self.store(node)?.dataset(dataset).map(|dataset| dataset.span)
    }

    fn ingest_span(&self, node: &Node) -> Option<Span> {
        match &self.store(node)?.origin {
            Origin::Container { ingest, .. } => Some(ingest.span),
            Origin::Transformer { .. } => None,
        }
    }

    fn container_span(&self, node: &Node) -> Option<Span> {
        let name = match &node.spec {
            NodeSpec::Export(export) => &export.connection.container,
            NodeSpec::Ingest(_) => match &self.store(node)?.origin {
                Origin::Container { container, .. } => &container.value,
                Origin::Transformer { .. } => return None,
            },
            _ => return None,
        };
        self.model.container(name).map(|container| container.span)
    }

    fn of_new_dataset(&self, after: &Node, dataset: &DatasetName) -> Option<Span> {
        match (&after.address, &after.spec) {
            (NodeAddress::Ingest(_, stream), NodeSpec::Ingest(ingest)) => {
                let added = ingest.datasets.iter().find(|it| it.dataset == *dataset)?;
                self.of_owed(stream, dataset, &added.owed)
            }
            (NodeAddress::Link(platform, stream), _) => {
                let of = DatasetRef::new(stream.datastore.clone(), dataset.clone());
                self.links.get(&(platform.clone(), of)).copied()
            }
            _ => self.dataset_span(after, dataset),
        }
    }

    /// The group that asks for what was not asked for before, or no longer asks.
    fn of_new_debt(&self, before: &Node, after: &Node, dataset: &DatasetName) -> Option<Span> {
        let owed = |node: &Node| -> Vec<Owed> {
            let NodeSpec::Ingest(ingest) = &node.spec else { return Vec::new() };
            let of_this = ingest.datasets.iter().filter(|it| it.dataset == *dataset);
            of_this.flat_map(|it| it.owed.clone()).collect()
        };
        let (old, new) = (owed(before), owed(after));
        let changed =
            new.iter().filter(|owed| !old.contains(owed)).chain(old.iter().filter(|owed| !new.contains(owed)));
        changed.into_iter().find_map(|owed| match &owed.to {
            Address::Group(workspace, group) => match self.group(workspace, group) {
                Some((_, group)) => Some(group.requires.as_ref().map_or(group.span, |requires| requires.span)),
                None => self.model.workspace(workspace).map(|workspace| workspace.span),
            },
            Address::Zone(zone) => self.model.zone(zone).map(|zone| zone.span),
            _ => None,
        })
    }

    fn of_view(&self, node: &Node, view: &str, wants_sink: bool) -> Option<Span> {
        let NodeSpec::Export(export) = &node.spec else { return None };
        let shown = export.views.iter().find(|it| format!("{}.{}", it.schema, it.name) == view)?;
        let of_sink = sink(self.model, &shown.workspace, &export.source).filter(|_| wants_sink);
        of_sink.or_else(|| Some(self.model.workspace(&shown.workspace)?.span))
    }

    fn group(&self, workspace: &WorkspaceName, group: &GroupName) -> Option<(&Workspace, &Group)> {
        let workspace = self.model.workspace(workspace)?;
        Some((workspace, workspace.groups.iter().find(|it| it.name == *group)?))
    }
}

fn sink(model: &Model, workspace: &WorkspaceName, of: &DatasetRef) -> Option<Span> {
    model.workspace(workspace)?.groups.iter().find_map(|group| sink_of_group(group, of))
}

fn sink_of_group(group: &Group, of: &DatasetRef) -> Option<Span> {
    group.sinks.iter().find(|sink| sink.dataset.value == *of).map(|sink| sink.dataset.span)
}
