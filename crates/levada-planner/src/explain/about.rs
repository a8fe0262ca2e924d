//! What an address stands for: facts of the model, choices of the broker, nodes of the graphs.

use super::Choice;
use crate::broker::{Assignment, Terms, TermsOrigin, cost_milli};
use crate::graph::IntentionGraph;
use crate::graph::format::priority_word;
use crate::platform::{CodeKind, IngestMode};
use levada_model::address::{DatasetRef, NodeAddress};
use levada_model::model::{Datastore, Latency, Origin, TransformTrigger, Workspace};
use levada_model::name::{ContainerName, DatastoreName, PlatformName, WorkspaceName};
use levada_model::{Address, Model};
use serde::Serialize;

/// What was found behind an address.
pub(super) struct Found<'g> {
    pub facts: Vec<String>,
    pub choices: Vec<Choice>,
    pub nodes: Vec<&'g NodeAddress>,
}

/// Finds it; `None` where nothing has the address.
pub(super) fn find<'g>(
    model: &Model,
    assignment: &Assignment,
    graphs: &'g [IntentionGraph],
    address: &Address,
) -> Option<Found<'g>> {
    let search = Search { model, assignment, graphs };
    match address {
        Address::Ecosystem => Some(search.ecosystem()),
        Address::Zone(zone) => {
            let zone = model.zone(zone)?;
            let teams = model.teams.iter().filter(|team| team.zone == zone.name).map(|team| team.name.to_string());
            let policies = zone.policies.iter().map(|policy| policy.name.to_string());
            Some(search.facts(vec![listed("teams", teams), listed("policies", policies)]))
        }
        Address::Team(zone, name) => search.team(zone, name),
        Address::Container(name) => search.container(name),
        Address::Datastore(name) => search.datastore(model.datastore(name)?),
        Address::Dataset(store, name) => search.dataset(&DatasetRef::new(store.clone(), name.clone()), None),
        Address::Column(store, dataset, column) => {
            search.dataset(&DatasetRef::new(store.clone(), dataset.clone()), Some(column.as_str()))
        }
        Address::Workspace(name) => Some(search.workspace(model.workspace(name)?)),
        Address::Group(workspace, name) => search.group(model.workspace(workspace)?, name.as_str()),
        Address::Transformer(name) => search.transformer(model.workspace(name)?),
        Address::Platform(name) => search.platform(name),
        Address::Infrastructure(name) => {
            let found = model.ecosystem.infrastructures.iter().find(|it| it.name == *name)?;
            let platforms = model.ecosystem.platforms.iter();
            let on_it = platforms.filter(|it| it.infrastructure.as_ref().is_some_and(|named| named.value == *name));
            let on_it = on_it.map(|platform| platform.name.to_string());
            Some(search.facts(vec![format!("kind {}", found.kind.value), listed("platforms", on_it)]))
        }
        Address::Calendar(name) => {
            let calendar = model.calendar(name)?;
            let (allow, deny) = (calendar.windows.allow.len(), calendar.windows.deny.len());
            let zone = calendar.timezone.as_deref().unwrap_or("UTC");
            Some(search.facts(vec![format!("{allow} windows allow, {deny} deny, time zone {zone}")]))
        }
        Address::Node(node) => search.node(node),
    }
}

/// The nearest address of the same kind that something has.
pub(super) fn nearest(model: &Model, graphs: &[IntentionGraph], address: &Address) -> Option<String> {
    let known: Vec<String> = match address {
        Address::Container(_) => {
            model.containers.iter().map(|it| Address::Container(it.name.clone())).map(text).collect()
        }
        Address::Datastore(_) => {
            model.datastores.iter().map(|it| Address::Datastore(it.name.clone())).map(text).collect()
        }
        Address::Dataset(..) | Address::Column(..) => {
            let sets = |store: &Datastore| -> Vec<String> {
                let address = |it: &levada_model::model::Dataset| Address::Dataset(store.name.clone(), it.name.clone());
                store.datasets.iter().map(address).map(text).collect()
            };
            model.datastores.iter().flat_map(sets).collect()
        }
        Address::Workspace(_) | Address::Group(..) | Address::Transformer(_) => {
            model.workspaces.iter().map(|it| Address::Workspace(it.name.clone())).map(text).collect()
        }
        Address::Platform(_) => {
            model.ecosystem.platforms.iter().map(|it| Address::Platform(it.name.clone())).map(text).collect()
        }
        Address::Node(_) => graphs.iter().flat_map(|it| &it.nodes).map(|node| node.address.to_string()).collect(),
        _ => Vec::new(),
    };
    levada_model::nearest::nearest(&address.to_string(), known.iter().map(String::as_str)).map(str::to_owned)
}

fn text(address: Address) -> String {
    address.to_string()
}

fn listed(what: &str, names: impl Iterator<Item = String>) -> String {
    let names: Vec<String> = names.collect();
    match names.is_empty() {
        true => format!("{what}: none"),
        false => format!("{what}: {}", names.join(", ")),
    }
}

fn word<T: Serialize>(value: T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

struct Search<'a, 'g> {
    model: &'a Model,
    assignment: &'a Assignment,
    graphs: &'g [IntentionGraph],
}

impl<'g> Search<'_, 'g> {
    fn facts(&self, facts: Vec<String>) -> Found<'g> {
        Found { facts, choices: Vec::new(), nodes: Vec::new() }
    }

    fn nodes(&self, is_wanted: impl Fn(&NodeAddress) -> bool) -> Vec<&'g NodeAddress> {
        let all = self.graphs.iter().flat_map(|graph| &graph.nodes).map(|node| &node.address);
        all.filter(|address| is_wanted(address)).collect()
    }

    fn ecosystem(&self) -> Found<'g> {
        let model = self.model;
        let datasets: usize = model.datastores.iter().map(|store| store.datasets.len()).sum();
        let platforms = model.ecosystem.platforms.iter().map(|platform| platform.name.to_string());
        self.facts(vec![
            format!("ecosystem {}", model.ecosystem.name),
            format!(
                "{} datastores with {datasets} datasets, {} workspaces, {} containers",
                model.datastores.len(),
                model.workspaces.len(),
                model.containers.len()
            ),
            listed("platforms", platforms),
        ])
    }

    fn team(&self, zone: &levada_model::name::ZoneName, name: &levada_model::name::TeamName) -> Option<Found<'g>> {
        let owner = levada_model::model::Owner { zone: zone.clone(), team: name.clone() };
        self.model.team(&owner)?;
        let stores = self.model.datastores.iter().filter(|it| it.owner == owner).map(|it| it.name.to_string());
        let workspaces = self.model.workspaces.iter().filter(|it| it.owner == owner).map(|it| it.name.to_string());
        let containers = self.model.containers.iter().filter(|it| it.owner == owner).map(|it| it.name.to_string());
        Some(self.facts(vec![
            listed("datastores", stores),
            listed("workspaces", workspaces),
            listed("containers", containers),
        ]))
    }

    fn container(&self, name: &ContainerName) -> Option<Found<'g>> {
        let container = self.model.container(name)?;
        let holds = |store: &&Datastore| match &store.origin {
            Origin::Container { container, .. } => container.value == *name,
            Origin::Transformer { .. } => false,
        };
        let stores = self.model.datastores.iter().filter(holds);
        let workspaces = self.model.workspaces.iter().filter(|workspace| workspace.container.value == *name);
        let facts = vec![
            format!("{} container in {}", container.kind().word(), container.location.value),
            listed("datastores", stores.clone().map(|store| store.name.to_string())),
            listed("workspaces", workspaces.map(|workspace| workspace.name.to_string())),
        ];
        let stores: Vec<&DatastoreName> = stores.map(|store| &store.name).collect();
        let nodes = self.nodes(|address| match address {
            NodeAddress::Export(_, container, _) => container == name,
            NodeAddress::Ingest(_, stream) => stores.contains(&&stream.datastore),
            _ => false,
        });
        Some(Found { facts, choices: Vec::new(), nodes })
    }

    fn datastore(&self, store: &Datastore) -> Option<Found<'g>> {
        let consumers = self.consumers(|of| of.datastore == store.name);
        let facts = vec![
            format!("{} data of team {} in zone {}", word(store.status), store.owner.team, store.owner.zone),
            origin(store),
            listed("consumers", consumers.into_iter()),
        ];
        let nodes = self.nodes(|address| match address {
            NodeAddress::Ingest(_, stream) | NodeAddress::Link(_, stream) => stream.datastore == store.name,
            _ => false,
        });
        Some(Found { facts, choices: self.primary(store).into_iter().collect(), nodes })
    }

    fn consumers(&self, is_asked_for: impl Fn(&DatasetRef) -> bool) -> Vec<String> {
        let groups =
            self.model.workspaces.iter().flat_map(|workspace| workspace.groups.iter().map(move |it| (workspace, it)));
        let asking = groups.filter(|(_, group)| group.sinks.iter().any(|sink| is_asked_for(&sink.dataset.value)));
        asking.map(|(workspace, group)| format!("{}/{}", workspace.name, group.name)).collect()
    }

    fn primary(&self, store: &Datastore) -> Option<Choice> {
        let choice = self.assignment.primaries.get(&store.name)?;
        let kind = match &store.origin {
            Origin::Container { container, ingest } => {
                let kind =
                    self.model.container(&container.value).map_or("unknown", |container| container.kind().word());
                format!("reads {kind} by {}", IngestMode::of(&ingest.kind).word())
            }
            Origin::Transformer { workspace, .. } => {
                let transformer = self.model.workspace(workspace).and_then(|workspace| workspace.transformer.as_ref());
                format!("runs {} code", transformer.map_or("unknown", |it| CodeKind::of(&it.code).word()))
            }
        };
        let latency: Latency = choice.latency;
        let asked = format!("the one platform that {kind}, for all consumers within {}", word(latency));
        let about = Address::Datastore(store.name.clone());
        Some(Choice { about, asked, terms: None, candidates: choice.candidates.clone() })
    }

    fn dataset(&self, of: &DatasetRef, column: Option<&str>) -> Option<Found<'g>> {
        let store = self.model.datastore(&of.datastore)?;
        let dataset = store.dataset(&of.dataset)?;
        let mut facts = Vec::new();
        if let Some(name) = column {
            let column = dataset.columns.iter().find(|column| column.name.as_str() == name)?;
            let key = if column.key { ", key" } else { "" };
            let null = if column.nullable && !column.key { "may be null" } else { "never null" };
            facts.push(format!("{}{key}, {null}", String::from(column.data_type.clone())));
        }
        let key: Vec<&str> = dataset.columns.iter().filter(|it| it.key).map(|it| it.name.as_str()).collect();
        facts.push(format!(
            "{} columns, key {}",
            dataset.columns.len(),
            if key.is_empty() { "none".to_owned() } else { key.join(", ") }
        ));
        let classes: std::collections::BTreeSet<String> =
            crate::policy::classifications(dataset).map(ToString::to_string).collect();
        facts.push(listed("classified", classes.into_iter()));
        facts.push(listed("consumers", self.consumers(|other| other == of).into_iter()));
        let nodes = self.nodes(|address| match address {
            NodeAddress::Export(_, _, source) => source == of,
            NodeAddress::Ingest(_, stream) | NodeAddress::Link(_, stream) => {
                stream.datastore == of.datastore && stream.dataset.as_ref().is_none_or(|dataset| *dataset == of.dataset)
            }
            _ => false,
        });
        // A stream of the store is about this dataset only where somebody consumes that.
        let is_consumed = nodes.iter().any(|address| matches!(address, NodeAddress::Export(..)));
        let nodes = if is_consumed { nodes } else { Vec::new() };
        Some(Found { facts, choices: self.primary(store).into_iter().collect(), nodes })
    }

    fn workspace(&self, workspace: &Workspace) -> Found<'g> {
        let transformer = workspace.transformer.as_ref();
        let mut facts = vec![
            format!(
                "{} workspace of team {} in zone {}",
                word(workspace.status),
                workspace.owner.team,
                workspace.owner.zone
            ),
            format!(
                "in container {:?}, priority {}",
                workspace.container.value.as_str(),
                priority_word(workspace.priority)
            ),
        ];
        facts.extend(transformer.map(|it| format!("transformer {} makes {}", it.name, it.output.value)));
        let choices = workspace.groups.iter().filter_map(|group| self.group_choice(workspace, group)).collect();
        Found { facts, choices, nodes: self.nodes_of_workspace(&workspace.name) }
    }

    fn nodes_of_workspace(&self, name: &WorkspaceName) -> Vec<&'g NodeAddress> {
        let mut nodes = self.nodes(|address| match address {
            NodeAddress::Trigger(_, workspace) | NodeAddress::Transform(_, workspace) => workspace == name,
            _ => false,
        });
        for graph in self.graphs {
            let read = graph.readings.iter().filter(|reading| reading.workspace == *name);
            nodes.extend(read.map(|reading| graph.address(reading.export)));
        }
        nodes
    }

    fn group_choice(&self, workspace: &Workspace, group: &levada_model::model::Group) -> Option<Choice> {
        let choice = self.assignment.groups.get(&(workspace.name.clone(), group.name.clone()))?;
        let about = Address::Group(workspace.name.clone(), group.name.clone());
        let (asked, terms) = (terms_text(&choice.terms), Some(choice.terms.clone()));
        Some(Choice { about, asked, terms, candidates: choice.candidates.clone() })
    }

    fn group(&self, workspace: &Workspace, name: &str) -> Option<Found<'g>> {
        let group = workspace.groups.iter().find(|group| group.name.as_str() == name)?;
        let sinks = group.sinks.iter().map(|sink| sink.dataset.value.to_string());
        let facts = vec![listed("datasets", sinks)];
        let asks = |of: &DatasetRef| group.sinks.iter().any(|sink| sink.dataset.value == *of);
        let nodes = self.nodes_of_workspace(&workspace.name).into_iter();
        let nodes = nodes.filter(|address| matches!(address, NodeAddress::Export(_, _, of) if asks(of))).collect();
        Some(Found { facts, choices: self.group_choice(workspace, group).into_iter().collect(), nodes })
    }

    fn transformer(&self, workspace: &Workspace) -> Option<Found<'g>> {
        let transformer = workspace.transformer.as_ref()?;
        let trigger = match &transformer.trigger {
            TransformTrigger::OnChange => "fires on change".to_owned(),
            TransformTrigger::Cron(cron) => format!("fires at {}", cron.cron.expression),
        };
        let nodes = self.nodes(|address| match address {
            NodeAddress::Trigger(_, name) | NodeAddress::Transform(_, name) => *name == workspace.name,
            _ => false,
        });
        let mut facts = vec![
            format!("{} code of workspace {}", CodeKind::of(&transformer.code).word(), workspace.name),
            format!("makes {}, {trigger}", transformer.output.value),
        ];
        if nodes.is_empty() {
            facts.push("does not run: nobody consumes its output".to_owned());
        }
        let store = self.model.datastore(&transformer.output.value);
        Some(Found { facts, choices: store.and_then(|store| self.primary(store)).into_iter().collect(), nodes })
    }

    fn platform(&self, name: &PlatformName) -> Option<Found<'g>> {
        let platform = self.model.platform(name)?;
        let groups = self.assignment.groups.iter().filter(|(_, it)| it.platforms.iter().any(|by| by.platform == *name));
        let groups = groups.map(|((workspace, group), _)| format!("{workspace}/{group}"));
        let stores = self.assignment.primaries.iter().filter(|(_, choice)| choice.platform.as_ref() == Some(name));
        let facts = vec![
            format!("{} platform of style {}, {}", platform.kind.value, word(platform.style), word(platform.status)),
            format!("cost {}", cost_text(cost_milli(platform))),
            listed("locations", platform.locations.iter().map(|location| location.value.to_string())),
            listed("delivers", groups),
            listed("primary of", stores.map(|(store, _)| store.to_string())),
        ];
        Some(Found { facts, choices: Vec::new(), nodes: self.nodes(|address| address.platform() == name) })
    }

    fn node(&self, node: &NodeAddress) -> Option<Found<'g>> {
        let graph = self.graphs.iter().find(|graph| graph.platform == *node.platform())?;
        let position = graph.position(node)?;
        let found = &graph.nodes[position as usize];
        let readers = graph.readings.iter().filter(|reading| reading.export == position);
        let mut facts =
            vec![format!("priority {}, the highest of all that depend on it", priority_word(found.priority))];
        let choice = match node {
            NodeAddress::Ingest(_, stream) | NodeAddress::Link(_, stream) => {
                self.model.datastore(&stream.datastore).and_then(|store| self.primary(store)).into_iter().collect()
            }
            NodeAddress::Export(_, _, of) => {
                facts.push(listed("read by", readers.clone().map(|reading| reading.workspace.to_string())));
                self.choices_of_export(readers.map(|reading| &reading.workspace), of)
            }
            NodeAddress::Trigger(_, name) | NodeAddress::Transform(_, name) => {
                self.transformer(self.model.workspace(name)?)?.choices
            }
        };
        Some(Found { facts, choices: choice, nodes: vec![&found.address] })
    }

    fn choices_of_export<'w>(&self, readers: impl Iterator<Item = &'w WorkspaceName>, of: &DatasetRef) -> Vec<Choice> {
        let workspaces = readers.filter_map(|name| self.model.workspace(name));
        let groups = workspaces.flat_map(|workspace| workspace.groups.iter().map(move |group| (workspace, group)));
        let asking = groups.filter(|(_, group)| group.sinks.iter().any(|sink| sink.dataset.value == *of));
        asking.filter_map(|(workspace, group)| self.group_choice(workspace, group)).collect()
    }
}

fn origin(store: &Datastore) -> String {
    match &store.origin {
        Origin::Container { container, ingest } => {
            let how = if ingest.is_multi { "in one batch" } else { "one by one" };
            format!(
                "read from container {:?} by {}, all datasets {how}",
                container.value.as_str(),
                IngestMode::of(&ingest.kind).word()
            )
        }
        Origin::Transformer { workspace, .. } => format!("made by the transformer of workspace {workspace}"),
    }
}

fn terms_text(terms: &Terms) -> String {
    let from = match terms.origin {
        TermsOrigin::Stated => "",
        TermsOrigin::Default => " (by default)",
        TermsOrigin::Consumers => " (the strictest of whoever consumes the transformer's output)",
    };
    let (latency, milestoning) = (word(terms.latency), word(terms.milestoning));
    let regulator = terms.regulator.as_ref().map_or_else(String::new, |it| format!(", regulator {it}"));
    format!("latency {latency}, milestoning {milestoning}, retention {}{regulator}{from}", terms.retention)
}

/// A cost in thousandths as people write it.
pub(super) fn cost_text(milli: u64) -> String {
    match milli % 1_000 {
        0 => format!("{}", milli / 1_000),
        rest => format!("{}.{rest:03}", milli / 1_000).trim_end_matches('0').to_owned(),
    }
}
