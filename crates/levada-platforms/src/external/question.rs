//! What a program is asked: one JSON document on its standard input.

use super::PROTOCOL;
use crate::output::{settings, without_output};
use levada_model::Model;
use levada_model::model::{Datastore, Infrastructure, PlatformEntry, Priority, Settings, Status, Style, Workspace};
use levada_model::name::{ClassificationName, DatasetName, DatastoreName, TeamName, WorkspaceName, ZoneName};
use levada_planner::platform::Part;
use levada_planner::{Node, NodeSpec};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ask {
    /// What it can do; needs no model.
    Describe,
    /// What it has against its part.
    Lint,
    /// Its part as files.
    Render,
}

impl Ask {
    /// The program's argument.
    pub fn word(self) -> &'static str {
        match self {
            Self::Describe => "describe",
            Self::Lint => "lint",
            Self::Render => "render",
        }
    }
}

/// A question, as it is written to the program.
#[derive(Debug, Serialize)]
pub struct Question<'a> {
    protocol: u32,
    ask: Ask,
    platform: AskedPlatform<'a>,
    /// The model's revision, for people; absent for `describe`.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<ModelSlice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    graph: Option<AskedGraph<'a>>,
    /// File → content hash of the last rendering; absent: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<&'a BTreeMap<String, String>>,
}

#[derive(Debug, Serialize)]
struct AskedPlatform<'a> {
    name: &'a str,
    style: Style,
    status: Status,
    locations: Vec<String>,
    settings: Settings,
}

#[derive(Debug, Serialize)]
struct AskedGraph<'a> {
    nodes: &'a [&'a Node],
}

/// What the model says about whatever the part is about: who owns it, and its words for people.
#[derive(Debug, Serialize)]
struct ModelSlice<'a> {
    ecosystem: &'a str,
    datastores: BTreeMap<&'a DatastoreName, SlicedStore<'a>>,
    workspaces: BTreeMap<&'a WorkspaceName, SlicedWorkspace<'a>>,
}

#[derive(Debug, Serialize)]
struct SlicedStore<'a> {
    zone: &'a ZoneName,
    team: &'a TeamName,
    status: Status,
    documentation: Option<&'a str>,
    datasets: BTreeMap<&'a DatasetName, SlicedDataset<'a>>,
}

#[derive(Debug, Serialize)]
struct SlicedDataset<'a> {
    documentation: Option<&'a str>,
    /// Of all columns; `null`: each its own, or none.
    classification: Option<&'a ClassificationName>,
    /// Columns with a classification of their own.
    column_classifications: BTreeMap<&'a str, &'a ClassificationName>,
}

#[derive(Debug, Serialize)]
struct SlicedWorkspace<'a> {
    zone: &'a ZoneName,
    team: &'a TeamName,
    status: Status,
    priority: Priority,
    documentation: Option<&'a str>,
}

impl<'a> Question<'a> {
    /// Asks what a program can do.
    pub fn describe(platform: &'a PlatformEntry, infrastructure: Option<&Infrastructure>) -> Self {
        let platform = AskedPlatform::of(platform, infrastructure);
        Self {
            protocol: PROTOCOL,
            ask: Ask::Describe,
            platform,
            revision: None,
            model: None,
            graph: None,
            previous: None,
        }
    }

    /// Asks for a part, or what is wrong with it.
    pub fn about_part(
        ask: Ask,
        platform: &'a PlatformEntry,
        part: &'a Part<'a>,
        revision: &'a str,
        previous: Option<&'a BTreeMap<String, String>>,
    ) -> Self {
        let infrastructure = part.model.infrastructure_of(platform);
        Self {
            protocol: PROTOCOL,
            ask,
            platform: AskedPlatform::of(platform, infrastructure),
            revision: Some(revision),
            model: Some(ModelSlice::of(part.model, &part.nodes)),
            graph: Some(AskedGraph { nodes: &part.nodes }),
            previous,
        }
    }

    /// The document.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data with text keys always serialises")
    }
}

impl<'a> AskedPlatform<'a> {
    fn of(platform: &'a PlatformEntry, infrastructure: Option<&Infrastructure>) -> Self {
        Self {
            name: platform.name.as_str(),
            style: platform.style,
            status: platform.status,
            locations: platform.locations.iter().map(|location| location.value.to_string()).collect(),
            settings: without_output(settings(platform, infrastructure)),
        }
    }
}

impl<'a> ModelSlice<'a> {
    fn of(model: &'a Model, nodes: &[&Node]) -> Self {
        let (mut stores, mut workspaces) = (BTreeSet::new(), BTreeSet::new());
        for node in nodes {
            match &node.spec {
                NodeSpec::Ingest(spec) => drop(stores.insert(&spec.stream.datastore)),
                NodeSpec::Link(spec) => drop(stores.insert(&spec.stream.datastore)),
                NodeSpec::Export(spec) => {
                    stores.insert(&spec.source.datastore);
                    workspaces.extend(spec.views.iter().map(|view| &view.workspace));
                }
                NodeSpec::Trigger(spec) => drop(workspaces.insert(&spec.workspace)),
                NodeSpec::Transform(spec) => {
                    stores.insert(&spec.output);
                    workspaces.insert(&spec.workspace);
                }
            }
        }
        let stores = stores.into_iter().filter_map(|name| model.datastore(name));
        let workspaces = workspaces.into_iter().filter_map(|name| model.workspace(name));
        Self {
            ecosystem: &model.ecosystem.name,
            datastores: stores.map(|store| (&store.name, SlicedStore::of(store))).collect(),
            workspaces: workspaces.map(|workspace| (&workspace.name, SlicedWorkspace::of(workspace))).collect(),
        }
    }
}

impl<'a> SlicedStore<'a> {
    fn of(store: &'a Datastore) -> Self {
        let datasets = store.datasets.iter().map(|dataset| {
            let own = dataset
                .columns
                .iter()
                .filter_map(|column| Some((column.name.as_str(), column.classification.as_ref()?)));
            let sliced = SlicedDataset {
                documentation: dataset.documentation.as_deref(),
                classification: dataset.classification.as_ref().map(|it| &it.value),
                column_classifications: own.collect(),
            };
            (&dataset.name, sliced)
        });
        Self {
            zone: &store.owner.zone,
            team: &store.owner.team,
            status: store.status,
            documentation: store.documentation.as_deref(),
            datasets: datasets.collect(),
        }
    }
}

impl<'a> SlicedWorkspace<'a> {
    fn of(workspace: &'a Workspace) -> Self {
        Self {
            zone: &workspace.owner.zone,
            team: &workspace.owner.team,
            status: workspace.status,
            priority: workspace.priority,
            documentation: workspace.documentation.as_deref(),
        }
    }
}
