//! The kinds of platforms of this build, a folder each, and the registry that names them.
//!
//! Architecture invariant: pure, like the planner whose trait they implement.

pub mod embedded;
#[cfg(any(test, feature = "recording"))]
pub mod recording;

use levada_planner::PlatformRegistry;

/// All kinds of this build.
pub fn registry() -> PlatformRegistry {
    PlatformRegistry::default().with(embedded::Embedded)
}
