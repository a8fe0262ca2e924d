//! The kinds of platforms of this build, a folder each, and the registry that names them.
//!
//! Architecture invariant: pure, like the planner whose trait they implement.

mod about;
pub mod aws;
pub mod embedded;
pub mod external;
pub mod kubernetes;
pub mod output;
mod plain;
pub mod recording;
pub mod terraform;
mod yaml;

use kubernetes::{Hosted, Kubernetes, ModelCopy};
use levada_planner::PlatformRegistry;
use std::sync::Arc;

/// Names this build's way from a model to a blueprint: what another one froze may have to be frozen anew.
pub const FORM: &str = env!("LEVADA_COMPILER_FORM");

/// All kinds of this build that a model may name; the recording kind is for tests and not among them.
pub fn registry() -> PlatformRegistry {
    registry_with(external::External::default(), &Arc::default())
}

/// The same, with what external platforms' programs answered, and with the copy of the model that
/// pods get.
pub fn registry_with(external: external::External, copy: &Arc<ModelCopy>) -> PlatformRegistry {
    let registry = PlatformRegistry::default().with(Hosted::new(aws::Aws, copy));
    let registry = registry.with(Hosted::new(embedded::Embedded, copy)).with(Hosted::new(external, copy));
    registry.with(Hosted::new(Kubernetes, copy))
}
