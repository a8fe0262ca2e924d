//! What was decided and what has to happen: assignments with their reasons, graphs, lineage.

use super::objects::find_workspace;
use super::page::{Page, PageParams, limited};
use super::problem::{Findings, Problem, json};
use super::{Current, Params, Segments};
use crate::snapshot::Snapshot;
use axum::response::Response;
use levada_model::address::{DatasetRef, NodeAddress};
use levada_model::model::Workspace;
use levada_planner::broker::{Candidate, Delivering, Terms};
use levada_planner::graph::{GraphNode, NodeAt as At};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap, VecDeque};
use utoipa::{IntoParams, ToSchema};

/// How far a neighbourhood or a lineage goes where nothing is said.
const DEPTH: u32 = 1;
/// How far it may go.
const DEPTH_MAX: u32 = 100;
/// Most nodes of a neighbourhood or a lineage; what lies behind them is left out, and that is said.
const REACHED_MAX: usize = 5_000;

/// Who delivers a group, and why.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AssignmentView<'a> {
    workspace: &'a str,
    group: &'a str,
    /// Latency, milestoning and retention, stated or derived.
    #[schema(value_type = Object)]
    terms: &'a Terms,
    /// Who delivers, the one that shows the views first.
    #[schema(value_type = Vec<Object>)]
    platforms: &'a [Delivering],
    /// Every platform with the broker's verdict.
    #[schema(value_type = Vec<Object>)]
    candidates: &'a [Candidate],
}

/// The groups of a workspace with the broker's choices.
#[utoipa::path(get, path = "/api/v1/assignments/{workspace}", tag = "decisions", params(("workspace" = String, Path)),
    responses((status = 200, body = Vec<AssignmentView<'_>>), (status = 404, body = Findings)))]
pub(crate) async fn assignments(
    Current(snapshot): Current,
    Segments(name): Segments<String>,
) -> Result<Response, Problem> {
    let workspace = find_workspace(&snapshot, &name)?;
    let view = |group: &'_ levada_model::model::Group| {
        let key = (workspace.name.clone(), group.name.clone());
        let choice = snapshot.revision.assignment.groups.get(&key)?;
        let view = AssignmentView {
            workspace: workspace.name.as_str(),
            group: group.name.as_str(),
            terms: &choice.terms,
            platforms: &choice.platforms,
            candidates: &choice.candidates,
        };
        Some(serde_json::to_value(view).expect("plain data with text keys always serialises"))
    };
    Ok(json(&workspace.groups.iter().filter_map(view).collect::<Vec<_>>()))
}

/// Who ingests a datastore, and why.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PrimaryView<'a> {
    datastore: &'a str,
    /// Null: nothing fits.
    platform: Option<&'a str>,
    /// The strictest of all consumers: `seconds`, `minutes`, `hours` or `days`.
    #[schema(value_type = String)]
    latency: levada_model::model::Latency,
    #[schema(value_type = Vec<Object>)]
    candidates: &'a [Candidate],
}

/// The primary of a datastore that somebody consumes.
#[utoipa::path(get, path = "/api/v1/primaries/{datastore}", tag = "decisions", params(("datastore" = String, Path)),
    responses((status = 200, body = PrimaryView<'_>), (status = 404, body = Findings)))]
pub(crate) async fn primary(Current(snapshot): Current, Segments(name): Segments<String>) -> Result<Response, Problem> {
    let primaries = &snapshot.revision.assignment.primaries;
    let found = name.parse().ok().and_then(|name| primaries.get_key_value(&name));
    let (store, choice) = found.ok_or_else(|| Problem::unknown("consumed datastore", &name))?;
    Ok(json(&PrimaryView {
        datastore: store.as_str(),
        platform: choice.platform.as_ref().map(|it| it.as_str()),
        latency: choice.latency,
        candidates: &choice.candidates,
    }))
}

/// A node of an intention graph.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NodeView {
    address: String,
    /// `ingest`, `link`, `export`, `trigger` or `transform`.
    kind: String,
    priority: String,
}

impl NodeView {
    fn of(node: &GraphNode) -> Self {
        Self {
            address: node.address.to_string(),
            kind: node.kind.word().to_lowercase(),
            priority: levada_planner::graph::format::priority_word(node.priority).to_owned(),
        }
    }
}

/// That one thing waits for another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, ToSchema)]
pub(crate) struct EdgeView {
    from: String,
    to: String,
}

/// The nodes of a platform's intention graph, by address.
#[utoipa::path(get, path = "/api/v1/graphs/{platform}/nodes", tag = "graphs", params(("platform" = String, Path), PageParams),
    responses((status = 200, body = Page<NodeView>), (status = 400, body = Findings), (status = 404, body = Findings)))]
pub(crate) async fn graph_nodes(
    Current(snapshot): Current,
    Segments(name): Segments<String>,
    Params(page): Params<PageParams>,
) -> Result<Response, Problem> {
    let platform = name.parse().ok().and_then(|name| snapshot.model().platform(&name));
    let platform = platform.ok_or_else(|| Problem::unknown("platform", &name))?;
    let graph = snapshot.revision.graphs.iter().find(|graph| graph.platform == platform.name);
    let nodes = graph.map_or(&[][..], |graph| &graph.nodes);
    // Addresses are sorted as values; their positions are a key that follows this order.
    let position = |node: &GraphNode| {
        let at = graph.and_then(|graph| graph.position(&node.address)).unwrap_or_default();
        format!("{at:010}")
    };
    Ok(json(&page.slice()?.cut(nodes, position, |_| true, NodeView::of)))
}

/// Which way to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Direction {
    /// To what it waits for or is made of.
    Up,
    /// To what waits for it or is made of it.
    Down,
    /// Both.
    #[default]
    Both,
}

/// How far and which way.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReachParams {
    /// How many steps.
    #[param(minimum = 1, maximum = 100, default = 1)]
    depth: Option<u32>,
    /// Which way.
    #[param(inline)]
    direction: Option<Direction>,
}

impl ReachParams {
    fn read(&self) -> Result<(u32, Direction), Problem> {
        match self.depth.unwrap_or(DEPTH) {
            depth @ 1..=DEPTH_MAX => Ok((depth, self.direction.unwrap_or_default())),
            depth => Err(Problem::parameter(format!("depth is {depth}, and goes from 1 to {DEPTH_MAX}"))),
        }
    }
}

/// A node and what lies around it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NeighbourhoodView {
    /// By address, the node itself among them.
    nodes: Vec<NodeView>,
    edges: Vec<EdgeView>,
    /// Whether there is more than is shown.
    truncated: bool,
}

/// A node, such as `Ingest/PLATFORM/STORE`, and what lies around it, across links.
#[utoipa::path(get, path = "/api/v1/nodes/{address}", tag = "graphs",
    params(("address" = String, Path, description = "With its slashes."), ReachParams),
    responses((status = 200, body = NeighbourhoodView), (status = 400, body = Findings), (status = 404, body = Findings)))]
pub(crate) async fn neighbourhood(
    Current(snapshot): Current,
    Segments(text): Segments<String>,
    Params(reach): Params<ReachParams>,
) -> Result<Response, Problem> {
    let (depth, direction) = reach.read()?;
    let at = text.parse::<NodeAddress>().ok().and_then(|address| snapshot.find_node(&address));
    let at = at.ok_or_else(|| Problem::unknown("node", &text))?;
    let step = |(at, up): &(At, Option<bool>)| {
        let next = |edges: &HashMap<At, Vec<At>>, is_up| {
            edges.get(at).into_iter().flatten().map(move |next| (*next, Some(is_up))).collect::<Vec<_>>()
        };
        let ups =
            if *up != Some(false) && direction != Direction::Down { next(&snapshot.upper, true) } else { Vec::new() };
        let downs =
            if *up != Some(true) && direction != Direction::Up { next(&snapshot.lower, false) } else { Vec::new() };
        let edge = |(from, to): (At, At)| EdgeView {
            from: snapshot.node(from).address.to_string(),
            to: snapshot.node(to).address.to_string(),
        };
        let ups = ups.into_iter().map(|next| (edge((next.0, *at)), next));
        ups.chain(downs.into_iter().map(|next| (edge((*at, next.0)), next))).collect()
    };
    let (reached, edges, truncated) = walk((at, None), depth, step);
    let nodes: BTreeSet<At> = reached.into_iter().map(|(at, _)| at).collect();
    let nodes = nodes.into_iter().map(|at| NodeView::of(snapshot.node(at))).collect();
    Ok(json(&NeighbourhoodView { nodes, edges, truncated }))
}

/// Everything within so many steps; each step names the edge it goes along. The last value tells
/// whether something was left out.
fn walk<T: Clone + Ord>(
    start: T,
    depth: u32,
    step: impl Fn(&T) -> Vec<(EdgeView, T)>,
) -> (BTreeSet<T>, Vec<EdgeView>, bool) {
    let mut seen = BTreeSet::from([start.clone()]);
    let mut edges = BTreeSet::new();
    let mut open = VecDeque::from([(start, 0)]);
    while let Some((at, steps)) = open.pop_front() {
        if steps == depth {
            continue;
        }
        for (edge, next) in step(&at) {
            if seen.len() >= REACHED_MAX || edges.len() >= REACHED_MAX {
                return (seen, edges.into_iter().collect(), true);
            }
            edges.insert(edge);
            if seen.insert(next.clone()) {
                open.push_back((next, steps + 1));
            }
        }
    }
    (seen, edges.into_iter().collect(), false)
}

/// What a dataset is made of and what is made of it, over transformers, to its consumers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LineageView {
    /// `STORE.DATASET`, the one that was asked about among them.
    datasets: Vec<String>,
    /// Workspaces that consume them or make them.
    workspaces: Vec<String>,
    /// From a dataset to a workspace that reads it, and from a workspace to a dataset it makes.
    edges: Vec<EdgeView>,
    /// Whether there is more than is shown.
    truncated: bool,
}

/// A place in the lineage.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Stop {
    Dataset(DatasetRef),
    Workspace(String),
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dataset(of) => write!(f, "Dataset/{}/{}", of.datastore, of.dataset),
            Self::Workspace(name) => write!(f, "Workspace/{name}"),
        }
    }
}

/// The lineage of a dataset.
#[utoipa::path(get, path = "/api/v1/lineage/{datastore}/{dataset}", tag = "graphs",
    params(("datastore" = String, Path), ("dataset" = String, Path), ReachParams),
    responses((status = 200, body = LineageView), (status = 400, body = Findings), (status = 404, body = Findings)))]
pub(crate) async fn lineage(
    Current(snapshot): Current,
    Segments((store, name)): Segments<(String, String)>,
    Params(reach): Params<ReachParams>,
) -> Result<Response, Problem> {
    let (depth, direction) = reach.read()?;
    let of = store.parse().ok().zip(name.parse().ok()).map(|(store, name)| DatasetRef::new(store, name));
    let of = of.filter(|of| snapshot.model().dataset(of).is_some());
    let of = of.ok_or_else(|| Problem::unknown("dataset", &format!("{store}.{name}")))?;
    let step = |(stop, up): &(Stop, Option<bool>)| {
        let mut next = Vec::new();
        if *up != Some(false) && direction != Direction::Down {
            next.extend(ups(&snapshot, stop).map(|to| (edge(&to, stop), (to, Some(true)))));
        }
        if *up != Some(true) && direction != Direction::Up {
            next.extend(downs(&snapshot, stop).map(|to| (edge(stop, &to), (to, Some(false)))));
        }
        next
    };
    // From a dataset to the next one it takes two steps, over the workspace between them.
    let (reached, edges, truncated) = walk((Stop::Dataset(of), None), depth * 2, step);
    let (mut datasets, mut workspaces) = (BTreeSet::new(), BTreeSet::new());
    for (stop, _) in reached {
        match stop {
            Stop::Dataset(of) => drop(datasets.insert(of.to_string())),
            Stop::Workspace(name) => drop(workspaces.insert(name)),
        }
    }
    let (datasets, workspaces) = (datasets.into_iter().collect(), workspaces.into_iter().collect());
    Ok(json(&LineageView { datasets, workspaces, edges, truncated }))
}

fn edge(from: &Stop, to: &Stop) -> EdgeView {
    EdgeView { from: from.to_string(), to: to.to_string() }
}

fn ups(snapshot: &Snapshot, stop: &Stop) -> std::vec::IntoIter<Stop> {
    let stops: Vec<Stop> = match stop {
        Stop::Dataset(of) => snapshot.maker(of).map(|it| Stop::Workspace(it.name.to_string())).into_iter().collect(),
        Stop::Workspace(name) => {
            workspace(snapshot, name).map(Snapshot::inputs).into_iter().flatten().cloned().map(Stop::Dataset).collect()
        }
    };
    stops.into_iter()
}

fn downs(snapshot: &Snapshot, stop: &Stop) -> std::vec::IntoIter<Stop> {
    let stops: Vec<Stop> = match stop {
        Stop::Dataset(of) => {
            let consumers = snapshot.consumers.get(of).into_iter().flatten();
            let names = consumers.map(|(workspace, _)| &snapshot.model().workspaces[*workspace as usize].name);
            names.map(|name| Stop::Workspace(name.to_string())).collect()
        }
        Stop::Workspace(name) => {
            let transformer = workspace(snapshot, name).and_then(|it| it.transformer.as_ref());
            let store = transformer.and_then(|it| snapshot.model().datastore(&it.output.value));
            let made = store.into_iter().flat_map(|store| store.datasets.iter().map(move |it| (store, it)));
            made.map(|(store, it)| Stop::Dataset(DatasetRef::new(store.name.clone(), it.name.clone()))).collect()
        }
    };
    stops.into_iter()
}

fn workspace<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a Workspace> {
    name.parse().ok().and_then(|name| snapshot.model().workspace(&name))
}

/// What is looked for.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SearchParams {
    /// A part of a name, ignoring case; shorter than three bytes: its beginning.
    #[param(required = true, min_length = 1)]
    q: Option<String>,
    /// Most names.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// Names that were found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SearchView {
    /// Addresses, such as `Dataset/STORE/DATASET`; those whose names begin with the text first.
    addresses: Vec<String>,
}

/// Finds zones, teams, platforms, datastores, datasets, workspaces and transformers by name.
#[utoipa::path(get, path = "/api/v1/search", tag = "model", params(SearchParams),
    responses((status = 200, body = SearchView), (status = 400, body = Findings)))]
pub(crate) async fn search(
    Current(snapshot): Current,
    Params(params): Params<SearchParams>,
) -> Result<Response, Problem> {
    let text = params.q.filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| Problem::parameter("q is missing: what is looked for"))?;
    let found = snapshot.names.find(&text, limited(params.limit)?);
    Ok(json(&SearchView { addresses: found.into_iter().map(ToString::to_string).collect() }))
}
