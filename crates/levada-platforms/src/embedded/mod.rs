//! The embedded kind: Levada itself runs the nodes, in this process and its workers.
//!
//! Takes a part of a blueprint, gives the node changes to `levada-runtime`. Knows what the
//! connectors and engines of this build can do; that they can is their conformance suites' matter.

use crate::about::about;
use crate::output;
use levada_model::connection::ContainerKind;
use levada_model::model::{CatchUp, Infrastructure, PlatformEntry};
use levada_model::{Code, Finding, Findings};
use levada_planner::blueprint::Realizer;
use levada_planner::platform::{Capabilities, CodeKind, IngestMode, Part, Platform, Rendering};

/// The embedded kind has no such setting.
pub const UNKNOWN_SETTING: Code = Code("E-EMBEDDED-001");

/// The feed by which platforms on Levada's own store link: the manifests after a batch.
pub const STORE_FEED: &str = "levada-store";

/// `kind: embedded`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Embedded;

impl Platform for Embedded {
    fn kind(&self) -> &str {
        "embedded"
    }

    fn realizer(&self, _platform: &PlatformEntry) -> Realizer {
        Realizer::Workers
    }

    fn capabilities(&self, _platform: &PlatformEntry) -> Option<Capabilities> {
        let tables = [IngestMode::Snapshot, IngestMode::Watermark];
        let logged_tables = [IngestMode::Snapshot, IngestMode::Watermark, IngestMode::Cdc];
        Some(Capabilities {
            sources: [
                (ContainerKind::Postgres, logged_tables.into()),
                (ContainerKind::Mysql, tables.into()),
                (ContainerKind::Mariadb, logged_tables.into()),
                (ContainerKind::Sqlite, tables.into()),
                (ContainerKind::Files, [IngestMode::Files].into()),
            ]
            .into(),
            sinks: [
                ContainerKind::Postgres,
                ContainerKind::Mysql,
                ContainerKind::Mariadb,
                ContainerKind::Sqlite,
                ContainerKind::Files,
            ]
            .into(),
            code: [CodeKind::Sql, CodeKind::Command].into(),
            feeds: [STORE_FEED.to_owned()].into(),
            catch_up: [CatchUp::Latest].into(),
        })
    }

    fn lint(&self, platform: &PlatformEntry, infrastructure: Option<&Infrastructure>) -> Findings {
        lint_settings(self.kind(), platform, infrastructure)
    }

    fn render(&self, part: &Part<'_>) -> Rendering {
        Rendering::Nodes(part.owned_changes())
    }
}

/// Levada's own engine has no settings of its kind; a platform that is hosted may say where its files go.
pub(crate) fn lint_settings(kind: &str, platform: &PlatformEntry, infrastructure: Option<&Infrastructure>) -> Findings {
    let given = output::settings(platform, infrastructure);
    let unknown = if platform.host.is_some() { output::without_output(given) } else { given };
    let finding = |setting: &String| {
        let message = format!("platforms of kind {kind} have no setting {setting:?}");
        about(platform, Finding::error(UNKNOWN_SETTING, message)).hint("remove it: `levada.toml` sets the engine")
    };
    Findings(unknown.keys().map(finding).collect())
}
