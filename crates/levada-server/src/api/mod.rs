//! The REST API under `/api/v1`: read only, one revision a request.
//!
//! A request passes the token, then gets the revision of that moment and its ETag, then its handler.
//! Handlers take a [`Snapshot`] and parameters and give JSON; what they refuse is a [`Problem`].

pub(crate) mod auth;
mod blueprints;
mod graphs;
mod objects;
mod openapi;
mod page;
mod problem;

use crate::Door;
use crate::snapshot::{Served, Snapshot};
use axum::Router;
use axum::extract::{FromRequestParts, OriginalUri, Path, Query, Request, State as Shared};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use problem::Problem;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use utoipa::OpenApi;

/// All paths of the API; the door has something to serve.
pub(crate) fn router(door: &Door) -> Router<Door> {
    let api = Router::new()
        .route("/revision", get(blueprints::revision))
        .route("/ecosystem", get(objects::ecosystem))
        .route("/zones", get(objects::zones))
        .route("/zones/{zone}", get(objects::zone))
        .route("/teams", get(objects::teams))
        .route("/datastores", get(objects::datastores))
        .route("/datastores/{datastore}", get(objects::datastore))
        .route("/datastores/{datastore}/datasets", get(objects::datasets))
        .route("/datastores/{datastore}/datasets/{dataset}", get(objects::dataset))
        .route("/workspaces", get(objects::workspaces))
        .route("/workspaces/{workspace}", get(objects::workspace))
        .route("/transformers", get(objects::transformers))
        .route("/transformers/{workspace}", get(objects::transformer))
        .route("/platforms", get(objects::platforms))
        .route("/platforms/{platform}", get(objects::platform))
        .route("/assignments/{workspace}", get(graphs::assignments))
        .route("/primaries/{datastore}", get(graphs::primary))
        .route("/graphs/{platform}/nodes", get(graphs::graph_nodes))
        .route("/nodes/{*address}", get(graphs::neighbourhood))
        .route("/lineage/{datastore}/{dataset}", get(graphs::lineage))
        .route("/search", get(graphs::search))
        .route("/blueprints", get(blueprints::blueprints))
        .route("/blueprints/{generation}/changes", get(blueprints::changes))
        .route("/plan", get(blueprints::plan))
        .layer(from_fn_with_state(door.clone(), one_revision));
    Router::new().nest("/api/v1", api).route("/openapi.json", get(document))
}

/// Everything else.
pub(crate) async fn no_path(OriginalUri(uri): OriginalUri) -> Problem {
    Problem::no_path(uri.path())
}

/// Everything that would change something.
pub(crate) async fn no_method() -> Problem {
    Problem::method()
}

async fn document() -> Response {
    problem::json(&openapi::Api::openapi())
}

/// Lets nobody in without the token, where one is configured; `/healthz` says nothing but that
/// somebody is alive.
pub(crate) async fn with_token(Shared(door): Shared<Door>, request: Request, next: Next) -> Response {
    let is_open = request.uri().path() == "/healthz";
    match &door.token {
        Some(token) if !is_open && !token.is_in(request.headers()) => Problem::unauthorized().into_response(),
        _ => next.run(request).await,
    }
}

/// Gives a request the revision of this moment, and its answer an ETag.
async fn one_revision(Shared(door): Shared<Door>, mut request: Request, next: Next) -> Response {
    let Some(served) = door.served.as_ref().map(|served| served.borrow().clone()) else {
        return Problem::no_path(request.uri().path()).into_response();
    };
    let tag = match tag(&served, request.uri().path()).await {
        Ok(tag) => tag,
        Err(problem) => return problem.into_response(),
    };
    if let Some(tag) = &tag
        && is_known(request.headers(), tag)
    {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag.clone())]).into_response();
    }
    request.extensions_mut().insert(served);
    let mut response = next.run(request).await;
    if let Some(tag) = tag.filter(|_| response.status() == StatusCode::OK) {
        response.headers_mut().insert(header::ETAG, tag);
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    response
}

/// The ETag of whatever is at a path: of the revision and, where the state is asked, the generation.
async fn tag(served: &Served, path: &str) -> Result<Option<HeaderValue>, Problem> {
    let content = &served.snapshot.revision.content;
    let path = path.trim_start_matches("/api/v1");
    let tag = match path {
        "/revision" => return Ok(None),
        _ if path.starts_with("/blueprints") || path == "/plan" => {
            let generation = blueprints::in_force(served).await?.map_or(0, |it| it.0);
            format!("\"{content}-{generation}\"")
        }
        _ => format!("\"{content}\""),
    };
    Ok(HeaderValue::from_str(&tag).ok())
}

/// Whether `If-None-Match` names a tag.
fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let tag = tag.as_bytes();
    headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').map(|one| one.trim().trim_start_matches("W/")).any(|one| one == "*" || one.as_bytes() == tag)
    })
}

/// What is served to this request.
pub(crate) struct Seen(pub(crate) Served);

impl<S: Send + Sync> FromRequestParts<S> for Seen {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let served = parts.extensions.get::<Served>().cloned();
        served.map(Self).ok_or_else(|| Problem::no_path(parts.uri.path()))
    }
}

/// The revision that this request sees.
pub(crate) struct Current(pub(crate) Arc<Snapshot>);

impl<S: Send + Sync> FromRequestParts<S> for Current {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Seen::from_request_parts(parts, state).await.map(|Seen(served)| Self(served.snapshot))
    }
}

/// Query parameters; one that is unknown or of another type is a finding.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Query::<T>::from_request_parts(parts, state).await;
        read.map(|Query(params)| Self(params)).map_err(|error| Problem::parameter(error.body_text()))
    }
}

/// The parameters in a path.
pub(crate) struct Segments<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Segments<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Path::<T>::from_request_parts(parts, state).await;
        read.map(|Path(segments)| Self(segments)).map_err(|error| Problem::parameter(error.body_text()))
    }
}
