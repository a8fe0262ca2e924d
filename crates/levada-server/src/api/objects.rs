//! The model's objects: lists in the order of names, and each one by its name.

use super::page::{Page, PageParams, Slice};
use super::problem::{Findings, Problem, json};
use super::{Current, Params, Segments};
use crate::snapshot::Snapshot;
use axum::response::Response;
use levada_model::address::DatasetRef;
use levada_model::model::{
    Code, Column, Dataset, Datastore, Deprecated, Group, Origin, PlatformEntry, Reader, Workspace,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// A word of the model, such as `production`, as it is written there.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

fn plain(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("plain data with text keys always serialises")
}

/// The ecosystem.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EcosystemView<'a> {
    name: &'a str,
    documentation: Option<&'a str>,
    /// From least to most sensitive.
    classifications: Vec<&'a str>,
    vendors: Vec<VendorView<'a>>,
    /// How many objects there are, by the first word of their addresses.
    counts: &'a BTreeMap<String, u64>,
}

/// Who hosts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VendorView<'a> {
    name: &'a str,
    cloud: &'a str,
    /// Each as a path from the top, such as `us/east`.
    locations: &'a [String],
}

/// The ecosystem, with what it counts.
#[utoipa::path(get, path = "/api/v1/ecosystem", tag = "model", responses((status = 200, body = EcosystemView<'_>)))]
pub(crate) async fn ecosystem(Current(snapshot): Current) -> Response {
    let ecosystem = &snapshot.model().ecosystem;
    let vendors = ecosystem.vendors.iter();
    json(&EcosystemView {
        name: &ecosystem.name,
        documentation: ecosystem.documentation.as_deref(),
        classifications: ecosystem.classifications.iter().map(|it| it.value.as_str()).collect(),
        vendors: vendors
            .map(|it| VendorView { name: it.name.as_str(), cloud: &it.cloud, locations: &it.locations })
            .collect(),
        counts: &snapshot.names.counts,
    })
}

/// A zone with its rules.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ZoneView<'a> {
    name: &'a str,
    documentation: Option<&'a str>,
    policies: Vec<PolicyView<'a>>,
    /// Name → retention that the law asks for.
    regulators: BTreeMap<&'a str, String>,
    /// Cases for which data may not be deleted.
    holds: Vec<HoldView<'a>>,
}

/// A policy.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PolicyView<'a> {
    name: &'a str,
    documentation: Option<&'a str>,
    /// `produced`, `consumed` or `both`.
    binds: String,
    /// Empty: all.
    classifications: Vec<&'a str>,
    retention_at_least: Option<String>,
}

/// A hold.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HoldView<'a> {
    name: &'a str,
    datasets: Vec<String>,
    /// ISO date.
    since: &'a str,
}

/// All zones, by name.
#[utoipa::path(get, path = "/api/v1/zones", tag = "model", params(PageParams),
    responses((status = 200, body = Page<ZoneView<'_>>), (status = 400, body = Findings)))]
pub(crate) async fn zones(Current(snapshot): Current, Params(page): Params<PageParams>) -> Result<Response, Problem> {
    let zones = &snapshot.model().zones;
    Ok(json(&page.slice()?.cut(zones, |it| it.name.folded(), |_| true, zone_view)))
}

/// One zone.
#[utoipa::path(get, path = "/api/v1/zones/{zone}", tag = "model", params(("zone" = String, Path)),
    responses((status = 200, body = ZoneView<'_>), (status = 404, body = Findings)))]
pub(crate) async fn zone(Current(snapshot): Current, Segments(name): Segments<String>) -> Result<Response, Problem> {
    let found = name.parse().ok().and_then(|name| snapshot.model().zone(&name));
    found.map(|zone| json(&zone_view(zone))).ok_or_else(|| Problem::unknown("zone", &name))
}

fn zone_view(zone: &levada_model::model::Zone) -> ZoneView<'_> {
    ZoneView {
        name: zone.name.as_str(),
        documentation: zone.documentation.as_deref(),
        policies: zone
            .policies
            .iter()
            .map(|it| PolicyView {
                name: it.name.as_str(),
                documentation: it.documentation.as_deref(),
                binds: word(&it.binds),
                classifications: it.classifications.iter().map(|it| it.value.as_str()).collect(),
                retention_at_least: it.retention_at_least.map(|it| it.to_string()),
            })
            .collect(),
        regulators: zone.regulators.iter().map(|it| (it.name.as_str(), it.retention.to_string())).collect(),
        holds: zone
            .holds
            .iter()
            .map(|it| HoldView {
                name: it.name.as_str(),
                datasets: it.datasets.iter().map(|it| it.value.to_string()).collect(),
                since: &it.since,
            })
            .collect(),
    }
}

/// What lists of owned things can be narrowed to.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OwnedParams {
    /// Only those of this zone.
    zone: Option<String>,
    /// Only those of this team.
    team: Option<String>,
    /// Most items of the page.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
    /// `next` of the page before.
    #[param(pattern = "^([0-9a-f]{2})+$")]
    cursor: Option<String>,
}

impl OwnedParams {
    fn slice(&self) -> Result<Slice, Problem> {
        Slice::of(self.limit, self.cursor.as_deref())
    }

    fn keeps(&self, zone: &str, team: &str) -> bool {
        self.zone.as_ref().is_none_or(|wanted| wanted == zone) && self.team.as_ref().is_none_or(|wanted| wanted == team)
    }
}

/// A team.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TeamView<'a> {
    zone: &'a str,
    name: &'a str,
    documentation: Option<&'a str>,
}

/// All teams, by zone and name.
#[utoipa::path(get, path = "/api/v1/teams", tag = "model", params(OwnedParams),
    responses((status = 200, body = Page<TeamView<'_>>), (status = 400, body = Findings)))]
pub(crate) async fn teams(
    Current(snapshot): Current,
    Params(params): Params<OwnedParams>,
) -> Result<Response, Problem> {
    let page = params.slice()?.cut(
        &snapshot.model().teams,
        // A slash is in no name, so that the order of keys is that of pairs.
        |it| format!("{}\u{0}{}", it.zone.folded(), it.name.folded()),
        |it| params.keeps(it.zone.as_str(), it.name.as_str()),
        |it| TeamView { zone: it.zone.as_str(), name: it.name.as_str(), documentation: it.documentation.as_deref() },
    );
    Ok(json(&page))
}

/// An announced end.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeprecatedView<'a> {
    reason: &'a str,
    /// ISO date.
    until: Option<&'a str>,
    instead: Option<&'a str>,
}

impl<'a> DeprecatedView<'a> {
    fn of(deprecated: &'a Deprecated) -> Self {
        let Deprecated { reason, until, instead, .. } = deprecated;
        Self { reason, until: until.as_deref(), instead: instead.as_deref() }
    }
}

/// A datastore.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DatastoreView<'a> {
    name: &'a str,
    zone: &'a str,
    team: &'a str,
    documentation: Option<&'a str>,
    /// `production` or `development`.
    status: String,
    origin: OriginView<'a>,
    deprecated: Option<DeprecatedView<'a>>,
    /// The platform that ingests it; null: nobody consumes it, or nothing fits.
    primary: Option<&'a str>,
    /// The names of its datasets.
    datasets: Vec<&'a str>,
}

/// Where a datastore's data comes from.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "from", rename_all = "snake_case")]
pub(crate) enum OriginView<'a> {
    /// A producer's container.
    Container {
        container: &'a str,
        /// The way of reading, as nodes of the graph have it.
        #[schema(value_type = Object)]
        ingest: Value,
        /// Whether all datasets come in one batch.
        is_multi: bool,
        /// Five fields; null: continuous, or every ten minutes.
        cron: Option<&'a str>,
    },
    /// A transformer.
    Transformer {
        /// The workspace of the transformer.
        workspace: &'a str,
        /// `snapshot`, `append` or `changes`.
        mode: String,
    },
}

/// All datastores, by name.
#[utoipa::path(get, path = "/api/v1/datastores", tag = "model", params(OwnedParams),
    responses((status = 200, body = Page<DatastoreView<'_>>), (status = 400, body = Findings)))]
pub(crate) async fn datastores(
    Current(snapshot): Current,
    Params(params): Params<OwnedParams>,
) -> Result<Response, Problem> {
    let page = params.slice()?.cut(
        &snapshot.model().datastores,
        |it| it.name.folded(),
        |it| params.keeps(it.owner.zone.as_str(), it.owner.team.as_str()),
        |it| datastore_view(&snapshot, it),
    );
    Ok(json(&page))
}

/// One datastore.
#[utoipa::path(get, path = "/api/v1/datastores/{datastore}", tag = "model", params(("datastore" = String, Path)),
    responses((status = 200, body = DatastoreView<'_>), (status = 404, body = Findings)))]
pub(crate) async fn datastore(
    Current(snapshot): Current,
    Segments(name): Segments<String>,
) -> Result<Response, Problem> {
    Ok(json(&datastore_view(&snapshot, find_store(&snapshot, &name)?)))
}

fn find_store<'a>(snapshot: &'a Snapshot, name: &str) -> Result<&'a Datastore, Problem> {
    let found = name.parse().ok().and_then(|name| snapshot.model().datastore(&name));
    found.ok_or_else(|| Problem::unknown("datastore", name))
}

fn datastore_view<'a>(snapshot: &'a Snapshot, store: &'a Datastore) -> DatastoreView<'a> {
    let origin = match &store.origin {
        Origin::Container { container, ingest } => OriginView::Container {
            container: container.value.as_str(),
            ingest: plain(&ingest.kind),
            is_multi: ingest.is_multi,
            cron: ingest.trigger.as_ref().map(|trigger| trigger.cron.expression.as_str()),
        },
        Origin::Transformer { workspace, mode } => {
            OriginView::Transformer { workspace: workspace.as_str(), mode: word(mode) }
        }
    };
    let primary = snapshot.revision.assignment.primaries.get(&store.name).and_then(|it| it.platform.as_ref());
    DatastoreView {
        name: store.name.as_str(),
        zone: store.owner.zone.as_str(),
        team: store.owner.team.as_str(),
        documentation: store.documentation.as_deref(),
        status: word(&store.status),
        origin,
        deprecated: store.deprecated.as_ref().map(DeprecatedView::of),
        primary: primary.map(|platform| platform.as_str()),
        datasets: store.datasets.iter().map(|it| it.name.as_str()).collect(),
    }
}

/// A dataset with its columns and consumers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DatasetView<'a> {
    datastore: &'a str,
    name: &'a str,
    documentation: Option<&'a str>,
    /// Of all columns; null: each its own, or none.
    classification: Option<&'a str>,
    deprecated: Option<DeprecatedView<'a>>,
    columns: Vec<ColumnView<'a>>,
    /// `WORKSPACE/GROUP` of everybody who asks for it.
    consumers: Vec<String>,
}

/// A column.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ColumnView<'a> {
    name: &'a str,
    /// A type of the model, such as `decimal(10,2)`.
    r#type: String,
    nullable: bool,
    key: bool,
    classification: Option<&'a str>,
    documentation: Option<&'a str>,
    /// Its name at the source, where that is another.
    from: Option<&'a str>,
}

/// The datasets of a datastore, by name.
#[utoipa::path(get, path = "/api/v1/datastores/{datastore}/datasets", tag = "model",
    params(("datastore" = String, Path), PageParams),
    responses((status = 200, body = Page<DatasetView<'_>>), (status = 400, body = Findings), (status = 404, body = Findings)))]
pub(crate) async fn datasets(
    Current(snapshot): Current,
    Segments(store): Segments<String>,
    Params(page): Params<PageParams>,
) -> Result<Response, Problem> {
    let store = find_store(&snapshot, &store)?;
    let show = |dataset| dataset_view(&snapshot, store, dataset);
    Ok(json(&page.slice()?.cut(&store.datasets, |it| it.name.folded(), |_| true, show)))
}

/// One dataset.
#[utoipa::path(get, path = "/api/v1/datastores/{datastore}/datasets/{dataset}", tag = "model",
    params(("datastore" = String, Path), ("dataset" = String, Path)),
    responses((status = 200, body = DatasetView<'_>), (status = 404, body = Findings)))]
pub(crate) async fn dataset(
    Current(snapshot): Current,
    Segments((store, name)): Segments<(String, String)>,
) -> Result<Response, Problem> {
    let store = find_store(&snapshot, &store)?;
    let found = name.parse().ok().and_then(|name| store.dataset(&name));
    let found = found.ok_or_else(|| Problem::unknown("dataset", &format!("{}.{name}", store.name)))?;
    Ok(json(&dataset_view(&snapshot, store, found)))
}

fn dataset_view<'a>(snapshot: &'a Snapshot, store: &'a Datastore, dataset: &'a Dataset) -> DatasetView<'a> {
    let of = DatasetRef::new(store.name.clone(), dataset.name.clone());
    let consumer = |(workspace, group): &(u32, u32)| {
        let workspace = &snapshot.model().workspaces[*workspace as usize];
        format!("{}/{}", workspace.name, workspace.groups[*group as usize].name)
    };
    DatasetView {
        datastore: store.name.as_str(),
        name: dataset.name.as_str(),
        documentation: dataset.documentation.as_deref(),
        classification: dataset.classification.as_ref().map(|it| it.value.as_str()),
        deprecated: dataset.deprecated.as_ref().map(DeprecatedView::of),
        columns: dataset.columns.iter().map(column_view).collect(),
        consumers: snapshot.consumers.get(&of).into_iter().flatten().map(consumer).collect(),
    }
}

fn column_view(column: &Column) -> ColumnView<'_> {
    ColumnView {
        name: column.name.as_str(),
        r#type: column.data_type.to_string(),
        nullable: column.nullable && !column.key,
        key: column.key,
        classification: column.classification.as_ref().map(|it| it.as_str()),
        documentation: column.documentation.as_deref(),
        from: column.from.as_ref().map(|it| it.as_str()),
    }
}

/// A workspace.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkspaceView<'a> {
    name: &'a str,
    zone: &'a str,
    team: &'a str,
    documentation: Option<&'a str>,
    status: String,
    container: &'a str,
    /// `low`, `medium`, `high` or `critical`.
    priority: String,
    /// `role:NAME` or `user:NAME`.
    readers: Vec<String>,
    groups: Vec<GroupView<'a>>,
    /// The name of its transformer.
    transformer: Option<&'a str>,
}

/// Datasets under one set of terms.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GroupView<'a> {
    name: &'a str,
    documentation: Option<&'a str>,
    /// `STORE.DATASET`
    datasets: Vec<String>,
    /// Who delivers it; empty: nothing fits.
    platforms: Vec<&'a str>,
}

/// All workspaces, by name.
#[utoipa::path(get, path = "/api/v1/workspaces", tag = "model", params(OwnedParams),
    responses((status = 200, body = Page<WorkspaceView<'_>>), (status = 400, body = Findings)))]
pub(crate) async fn workspaces(
    Current(snapshot): Current,
    Params(params): Params<OwnedParams>,
) -> Result<Response, Problem> {
    let page = params.slice()?.cut(
        &snapshot.model().workspaces,
        |it| it.name.folded(),
        |it| params.keeps(it.owner.zone.as_str(), it.owner.team.as_str()),
        |it| workspace_view(&snapshot, it),
    );
    Ok(json(&page))
}

/// One workspace.
#[utoipa::path(get, path = "/api/v1/workspaces/{workspace}", tag = "model", params(("workspace" = String, Path)),
    responses((status = 200, body = WorkspaceView<'_>), (status = 404, body = Findings)))]
pub(crate) async fn workspace(
    Current(snapshot): Current,
    Segments(name): Segments<String>,
) -> Result<Response, Problem> {
    Ok(json(&workspace_view(&snapshot, find_workspace(&snapshot, &name)?)))
}

pub(super) fn find_workspace<'a>(snapshot: &'a Snapshot, name: &str) -> Result<&'a Workspace, Problem> {
    let found = name.parse().ok().and_then(|name| snapshot.model().workspace(&name));
    found.ok_or_else(|| Problem::unknown("workspace", name))
}

fn workspace_view<'a>(snapshot: &'a Snapshot, workspace: &'a Workspace) -> WorkspaceView<'a> {
    let reader = |reader: &Reader| match reader {
        Reader::Role(name) => format!("role:{name}"),
        Reader::User(name) => format!("user:{name}"),
    };
    let group = |group: &'a Group| {
        let choice = snapshot.revision.assignment.groups.get(&(workspace.name.clone(), group.name.clone()));
        GroupView {
            name: group.name.as_str(),
            documentation: group.documentation.as_deref(),
            datasets: group.sinks.iter().map(|sink| sink.dataset.value.to_string()).collect(),
            platforms: choice.into_iter().flat_map(|it| &it.platforms).map(|it| it.platform.as_str()).collect(),
        }
    };
    WorkspaceView {
        name: workspace.name.as_str(),
        zone: workspace.owner.zone.as_str(),
        team: workspace.owner.team.as_str(),
        documentation: workspace.documentation.as_deref(),
        status: word(&workspace.status),
        container: workspace.container.value.as_str(),
        priority: word(&workspace.priority),
        readers: workspace.readers.iter().map(|it| reader(&it.value)).collect(),
        groups: workspace.groups.iter().map(group).collect(),
        transformer: workspace.transformer.as_ref().map(|it| it.name.as_str()),
    }
}

/// A transformer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TransformerView<'a> {
    workspace: &'a str,
    name: &'a str,
    documentation: Option<&'a str>,
    /// `sql` or `program`.
    code: &'a str,
    /// The datastore it writes.
    output: &'a str,
    mode: String,
    /// What it may read, `STORE.DATASET`.
    inputs: Vec<String>,
}

/// All transformers, by workspace.
#[utoipa::path(get, path = "/api/v1/transformers", tag = "model", params(OwnedParams),
    responses((status = 200, body = Page<TransformerView<'_>>), (status = 400, body = Findings)))]
pub(crate) async fn transformers(
    Current(snapshot): Current,
    Params(params): Params<OwnedParams>,
) -> Result<Response, Problem> {
    let owns = |it: &Workspace| params.keeps(it.owner.zone.as_str(), it.owner.team.as_str());
    let page = params.slice()?.cut(
        &snapshot.model().workspaces,
        |it| it.name.folded(),
        |it| it.transformer.is_some() && owns(it),
        transformer_view,
    );
    let Page { items, next } = page;
    Ok(json(&Page { items: items.into_iter().flatten().collect(), next }))
}

/// The transformer of a workspace.
#[utoipa::path(get, path = "/api/v1/transformers/{workspace}", tag = "model", params(("workspace" = String, Path)),
    responses((status = 200, body = TransformerView<'_>), (status = 404, body = Findings)))]
pub(crate) async fn transformer(
    Current(snapshot): Current,
    Segments(name): Segments<String>,
) -> Result<Response, Problem> {
    let view = transformer_view(find_workspace(&snapshot, &name)?);
    view.map(|view| json(&view)).ok_or_else(|| Problem::unknown("transformer in workspace", &name))
}

fn transformer_view(workspace: &Workspace) -> Option<TransformerView<'_>> {
    let transformer = workspace.transformer.as_ref()?;
    Some(TransformerView {
        workspace: workspace.name.as_str(),
        name: transformer.name.as_str(),
        documentation: transformer.documentation.as_deref(),
        code: if matches!(transformer.code, Code::Sql(_)) { "sql" } else { "program" },
        output: transformer.output.value.as_str(),
        mode: word(&transformer.mode),
        inputs: Snapshot::inputs(workspace).map(ToString::to_string).collect(),
    })
}

/// A platform.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlatformView<'a> {
    name: &'a str,
    kind: &'a str,
    style: String,
    status: String,
    documentation: Option<&'a str>,
    /// `VENDOR:LOCATION`
    locations: Vec<String>,
    /// How many nodes its intention graph has.
    nodes: u64,
    edges: u64,
}

/// All platforms, by name.
#[utoipa::path(get, path = "/api/v1/platforms", tag = "model", params(PageParams),
    responses((status = 200, body = Page<PlatformView<'_>>), (status = 400, body = Findings)))]
pub(crate) async fn platforms(
    Current(snapshot): Current,
    Params(page): Params<PageParams>,
) -> Result<Response, Problem> {
    let platforms = &snapshot.model().ecosystem.platforms;
    Ok(json(&page.slice()?.cut(platforms, |it| it.name.folded(), |_| true, |it| platform_view(&snapshot, it))))
}

/// One platform.
#[utoipa::path(get, path = "/api/v1/platforms/{platform}", tag = "model", params(("platform" = String, Path)),
    responses((status = 200, body = PlatformView<'_>), (status = 404, body = Findings)))]
pub(crate) async fn platform(
    Current(snapshot): Current,
    Segments(name): Segments<String>,
) -> Result<Response, Problem> {
    let found = name.parse().ok().and_then(|name| snapshot.model().platform(&name));
    found.map(|it| json(&platform_view(&snapshot, it))).ok_or_else(|| Problem::unknown("platform", &name))
}

fn platform_view<'a>(snapshot: &'a Snapshot, entry: &'a PlatformEntry) -> PlatformView<'a> {
    let graph = snapshot.revision.graphs.iter().find(|graph| graph.platform == entry.name);
    PlatformView {
        name: entry.name.as_str(),
        kind: &entry.kind.value,
        style: word(&entry.style),
        status: word(&entry.status),
        documentation: entry.documentation.as_deref(),
        locations: entry.locations.iter().map(|it| it.value.to_string()).collect(),
        nodes: graph.map_or(0, |graph| graph.nodes.len() as u64),
        edges: graph.map_or(0, |graph| graph.edges.len() as u64),
    }
}
