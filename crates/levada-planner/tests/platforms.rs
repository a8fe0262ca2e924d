//! Two kinds of platforms for tests: one whose nodes a runtime runs, one that writes files.

use levada_model::Findings;
use levada_model::connection::ContainerKind;
use levada_model::model::{CatchUp, Infrastructure, PlatformEntry};
use levada_planner::blueprint::Realizer;
use levada_planner::platform::{Capabilities, CodeKind, IngestMode, Part, Platform, PlatformRegistry, Rendering};
use std::collections::BTreeMap;

/// Runs nodes, like the embedded kind.
pub struct Running;

impl Platform for Running {
    fn kind(&self) -> &str {
        "embedded"
    }

    fn realizer(&self, _platform: &PlatformEntry) -> Realizer {
        Realizer::Workers
    }

    fn capabilities(&self, _platform: &PlatformEntry) -> Option<Capabilities> {
        let tables = [IngestMode::Snapshot, IngestMode::Watermark];
        Some(Capabilities {
            sources: [(ContainerKind::Postgres, tables.into()), (ContainerKind::Sqlite, tables.into())].into(),
            sinks: [ContainerKind::Postgres, ContainerKind::Sqlite, ContainerKind::Files].into(),
            code: [CodeKind::Sql].into(),
            feeds: ["store".to_owned()].into(),
            catch_up: [CatchUp::Latest].into(),
        })
    }

    fn lint(&self, _: &PlatformEntry, _: Option<&Infrastructure>) -> Findings {
        Findings::default()
    }

    fn render(&self, part: &Part<'_>) -> Rendering {
        Rendering::Nodes(part.owned_changes())
    }
}

/// Writes a file per node, and shares no feed with [`Running`].
pub struct Writing;

impl Platform for Writing {
    fn kind(&self) -> &str {
        "writing"
    }

    fn realizer(&self, _platform: &PlatformEntry) -> Realizer {
        Realizer::Files
    }

    fn capabilities(&self, platform: &PlatformEntry) -> Option<Capabilities> {
        Some(Capabilities { feeds: ["files".to_owned()].into(), ..Running.capabilities(platform)? })
    }

    fn lint(&self, _: &PlatformEntry, _: Option<&Infrastructure>) -> Findings {
        Findings::default()
    }

    fn render(&self, part: &Part<'_>) -> Rendering {
        let file = |node: &&levada_planner::Node| {
            let text = serde_json::to_vec_pretty(node).expect("nodes serialise");
            (format!("{}.json", node.address), text)
        };
        Rendering::Files(part.nodes.iter().map(file).collect::<BTreeMap<_, _>>())
    }
}

pub fn registry() -> PlatformRegistry {
    PlatformRegistry::default().with(Running).with(Writing)
}
