//! The OpenAPI document, generated from the handlers and their types.

use super::{blueprints, graphs, objects};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

/// The whole API.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Levada",
        description = "What a model says, what was decided and what is in force. Read only. Every answer but \
                       /api/v1/revision carries an ETag that changes with the revision.",
    ),
    paths(
        blueprints::revision,
        objects::ecosystem,
        objects::zones,
        objects::zone,
        objects::teams,
        objects::datastores,
        objects::datastore,
        objects::datasets,
        objects::dataset,
        objects::workspaces,
        objects::workspace,
        objects::transformers,
        objects::transformer,
        objects::platforms,
        objects::platform,
        graphs::assignments,
        graphs::primary,
        graphs::graph_nodes,
        graphs::neighbourhood,
        graphs::lineage,
        graphs::search,
        blueprints::blueprints,
        blueprints::changes,
        blueprints::plan,
    ),
    modifiers(&Bearer)
)]
pub(crate) struct Api;

/// A token, where the server asks for one.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}
