//! The place in the model that makes a node change.
//!
//! A node that comes is there because of a sink; one that changes, because of whatever says the
//! most telling of its differences; one that goes, because of the object that no longer asks for it.

use crate::blueprint::{Blueprint, CalendarSpec, Choices, IngestOrigin, IngestSpec, Node, NodeSpec, Owed};
use crate::diff::{Delta, Difference, NodeChange};
use levada_model::address::{DatasetRef, NodeAddress, Stream};
use levada_model::model::{AssignmentEntry, Datastore, Group, Origin, Priority, Workspace};
use levada_model::name::{DatasetName, GroupName, PlatformName, WorkspaceName};
use levada_model::{Address, Model, Span};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// The causes of all changes that have one.
///
/// Linear in the changes, their consumers, and the sinks of the workspaces among those; where some
/// priority changes, in the nodes of the blueprint, too.
pub(super) fn causes(model: &Model, delta: &Delta, parent: Option<&Blueprint>, next: &Blueprint) -> Causes {
    let sinks = Sinks { model, by_group: RefCell::default() };
    let choices = parent.map(|parent| &parent.choices);
    let mut search = Search { model, choices, sinks, links: HashMap::new(), dependants: dependants(delta, next) };
    search.links = search.links(delta);
    let cause = |(address, change): (&NodeAddress, &NodeChange)| Some((address.clone(), search.cause(change)?));
    delta.changes.iter().filter_map(cause).collect()
}

pub(super) type Causes = BTreeMap<NodeAddress, Span>;

struct Search<'m> {
    model: &'m Model,
    /// The choices in force; `None`: there are none yet.
    choices: Option<&'m Choices>,
    sinks: Sinks<'m>,
    /// What makes an export come, for the link behind it.
    links: HashMap<(PlatformName, DatasetRef), Span>,
    dependants: Dependants<'m>,
}

/// The nodes that wait for each node, where some priority changes.
type Dependants<'m> = HashMap<&'m NodeAddress, Vec<&'m Node>>;

fn dependants<'m>(delta: &Delta, next: &'m Blueprint) -> Dependants<'m> {
    let is_lifted = |change: &NodeChange| match change {
        NodeChange::Changed { what, .. } => what.iter().any(|it| matches!(it, Difference::Priority { .. })),
        _ => false,
    };
    let mut dependants = Dependants::new();
    if delta.changes.values().any(is_lifted) {
        for node in next.nodes.values() {
            node.inputs.iter().for_each(|input| dependants.entry(&input.node).or_default().push(node));
        }
    }
    dependants
}

/// The sinks of groups by dataset, each group looked through once and only when it is asked for.
struct Sinks<'m> {
    model: &'m Model,
    by_group: RefCell<HashMap<(WorkspaceName, GroupName), SinkSpans<'m>>>,
}

type SinkSpans<'m> = HashMap<&'m DatasetRef, Span>;

impl<'m> Sinks<'m> {
    /// Where a workspace asks for a dataset, and in which group.
    fn of_workspace(&self, workspace: &WorkspaceName, of: &DatasetRef) -> Option<(&'m Group, Span)> {
        let workspace = self.model.workspace(workspace)?;
        workspace.groups.iter().find_map(|group| Some((group, self.of_group(workspace, group, of)?)))
    }

    fn of_group(&self, workspace: &'m Workspace, group: &'m Group, of: &DatasetRef) -> Option<Span> {
        let mut by_group = self.by_group.borrow_mut();
        let sinks = by_group.entry((workspace.name.clone(), group.name.clone())).or_insert_with(|| {
            let mut sinks = SinkSpans::with_capacity(group.sinks.len());
            for sink in &group.sinks {
                sinks.entry(&sink.dataset.value).or_insert(sink.dataset.span);
            }
            sinks
        });
        sinks.get(of).copied()
    }
}

impl<'m> Search<'m> {
    fn links(&self, delta: &Delta) -> HashMap<(PlatformName, DatasetRef), Span> {
        let mut links = HashMap::new();
        for change in delta.changes.values() {
            let Some(node) = change.after().or(change.before()) else { continue };
            if let (NodeAddress::Export(platform, _, of), NodeSpec::Export(export)) = (&node.address, &node.spec)
                && let Some(span) = export.views.iter().find_map(|view| self.of_sink(platform, &view.workspace, of))
            {
                links.insert((platform.clone(), of.clone()), span);
            }
        }
        links
    }

    /// Why a platform delivers a dataset to a workspace: the pin that brought its group there, else
    /// the sink.
    fn of_sink(&self, platform: &PlatformName, workspace: &WorkspaceName, of: &DatasetRef) -> Option<Span> {
        let (group, span) = self.sinks.of_workspace(workspace, of)?;
        let in_force = self.choices.and_then(|choices| choices.groups.get(workspace)?.get(&group.name));
        let is_moved = in_force.is_some_and(|platforms| !platforms.contains(platform));
        let pin = || self.pins(workspace).find(|pin| pin.group == group.name && pin.platform.value == *platform);
        is_moved.then(pin).flatten().map(|pin| pin.platform.span).or(Some(span))
    }

    fn pins<'s>(&'s self, workspace: &'s WorkspaceName) -> impl Iterator<Item = &'m AssignmentEntry> + 's {
        // Sorted by workspace, ignoring case.
        let (model, folded) = (self.model, workspace.folded());
        let start = model.assignments.partition_point(|entry| entry.workspace.folded() < folded);
        model.assignments[start..].iter().take_while(move |entry| entry.workspace == *workspace)
    }

    /// The entry that moved a datastore's ingestion, where one did.
    fn of_primary(&self, node: &Node) -> Option<Span> {
        let NodeAddress::Ingest(platform, stream) = &node.address else { return None };
        let in_force = self.choices?.primaries.get(&stream.datastore)?;
        let pin = self.model.primaries.iter().find(|pin| pin.datastore == stream.datastore)?;
        let is_moved = in_force != &pin.platform.value && [in_force, &pin.platform.value].contains(&platform);
        is_moved.then_some(pin.platform.span)
    }

    fn cause(&self, change: &NodeChange) -> Option<Span> {
        match change {
            NodeChange::Added(node) => {
                self.of_primary(node).or_else(|| self.of_demand(node)).or_else(|| self.of_object(node))
            }
            NodeChange::Changed { before, after, what } => what
                .iter()
                .find_map(|difference| self.of_difference(before, after, difference))
                .or_else(|| self.of_object(after)),
            NodeChange::Removed(node) => {
                self.of_primary(node).or_else(|| self.of_former_demand(node)).or_else(|| self.of_object(node))
            }
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
            Address::Group(workspace, group) => {
                let (workspace, group) = self.group(workspace, group)?;
                self.sinks.of_group(workspace, group, &of)
            }
            _ => None,
        })
    }

    /// The pin that took a workspace away, or the workspace, as far as it is still there.
    fn of_former_demand(&self, node: &Node) -> Option<Span> {
        let still_there = |name: &WorkspaceName| self.model.workspace(name).map(|workspace| workspace.span);
        match &node.spec {
            NodeSpec::Export(export) => export.views.iter().find_map(|view| {
                let still_asked = self.sinks.of_workspace(&view.workspace, &export.source);
                let pin =
                    still_asked.and_then(|(group, _)| self.pins(&view.workspace).find(|pin| pin.group == group.name));
                pin.map(|pin| pin.platform.span).or_else(|| still_there(&view.workspace))
            }),
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
            Difference::Priority { to, .. } => self.of_priority(after, *to),
            Difference::Calendars => self.of_calendars(before, after),
            Difference::Style => self.model.platform(after.address.platform()).map(|platform| platform.span),
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

    /// The nearest workspace of this priority that depends on a node.
    fn of_priority(&self, node: &Node, priority: Priority) -> Option<Span> {
        let mut seen: HashSet<&NodeAddress> = HashSet::from([&node.address]);
        let mut open: VecDeque<&Node> = VecDeque::from([node]);
        while let Some(node) = open.pop_front() {
            let mut workspaces = workspaces(node).filter_map(|name| self.model.workspace(name));
            if let Some(found) = workspaces.find(|workspace| workspace.priority == priority) {
                return Some(found.span);
            }
            let dependants = self.dependants.get(&node.address).into_iter().flatten();
            open.extend(dependants.copied().filter(|dependant| seen.insert(&dependant.address)));
        }
        None
    }

    /// The calendar that came or changed; where one only went, the object that named it.
    fn of_calendars(&self, before: &Node, after: &Node) -> Option<Span> {
        let (old, new) = (calendars(before), calendars(after));
        let changed = new.iter().find(|calendar| !old.contains(calendar));
        let named = changed.and_then(|changed| changed.name.parse().ok());
        let calendar = named.and_then(|name| self.model.calendar(&name)).map(|calendar| calendar.span);
        calendar.or_else(|| self.ingest_span(after)).or_else(|| self.container_span(after))
    }

    fn store(&self, node: &Node) -> Option<&'m Datastore> {
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
        let of_sink = || self.of_sink(node.address.platform(), &shown.workspace, &export.source);
        wants_sink.then(of_sink).flatten().or_else(|| Some(self.model.workspace(&shown.workspace)?.span))
    }

    fn group(&self, workspace: &WorkspaceName, group: &GroupName) -> Option<(&'m Workspace, &'m Group)> {
        let workspace = self.model.workspace(workspace)?;
        Some((workspace, workspace.groups.iter().find(|it| it.name == *group)?))
    }
}

/// The workspaces that a node is for.
fn workspaces(node: &Node) -> impl Iterator<Item = &WorkspaceName> {
    let (views, own) = match &node.spec {
        NodeSpec::Export(export) => (export.views.as_slice(), None),
        NodeSpec::Trigger(trigger) => (&[][..], Some(&trigger.workspace)),
        NodeSpec::Transform(transform) => (&[][..], Some(&transform.workspace)),
        NodeSpec::Ingest(_) | NodeSpec::Link(_) => (&[][..], None),
    };
    views.iter().map(|view| &view.workspace).chain(own)
}

fn calendars(node: &Node) -> &[CalendarSpec] {
    match &node.spec {
        NodeSpec::Export(export) => &export.calendars,
        NodeSpec::Ingest(IngestSpec { origin: IngestOrigin::Container { calendars, .. }, .. }) => calendars,
        _ => &[],
    }
}
