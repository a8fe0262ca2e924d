//! The kinds of platforms of this build, a folder each, and the registry that names them.
//!
//! Architecture invariant: pure, like the planner whose trait they implement.

pub mod aws;
pub mod embedded;
pub mod external;
pub mod output;
pub mod recording;
pub mod terraform;

use levada_planner::PlatformRegistry;

/// All kinds of this build that a model may name; the recording kind is for tests and not among them.
pub fn registry() -> PlatformRegistry {
    registry_with(external::External::default())
}

/// The same, with what external platforms' programs answered.
pub fn registry_with(external: external::External) -> PlatformRegistry {
    PlatformRegistry::default().with(aws::Aws).with(embedded::Embedded).with(external)
}
