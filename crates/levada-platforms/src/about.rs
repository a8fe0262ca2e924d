//! Findings about a platform, at its place.

use levada_model::model::PlatformEntry;
use levada_model::{Address, Finding};

/// A finding about a platform.
pub fn about(platform: &PlatformEntry, finding: Finding) -> Finding {
    finding.at(platform.span).about(Address::Platform(platform.name.clone()))
}
