//! The aws-batch kind: Terraform for AWS.
//!
//! ```text
//! source → DMS → staging (S3) → one Spark job → milestoned Iceberg tables → exports, transformers
//! ```
//!
//! Takes a platform's part, gives three kinds of Terraform roots: `platform/` with what all share,
//! `cells/NAME/` with what reads sources, an account each, and `stacks/NNN/` with the datastores, a
//! file each. Runtimes are shared and told what to do by documents; no code is rendered for a store.
//! One state machine runs them all. `docs/aws-batch.md` has the picture.

mod cell;
mod check;
mod data;
mod layout;
mod names;
mod quota;
mod roots;
mod runtime;
mod schedule;
mod settings;
mod stack;
mod store;

pub use check::{
    CALENDAR_UNSUPPORTED, CELL_FULL, MODE_UNSUPPORTED, SNAPSHOT_TORN, STACK_FULL, TABLE_UNSUPPORTED,
    TRIGGER_UNSUPPORTED, TYPE_UNSUPPORTED,
};

use crate::about::about;
use crate::output;
use layout::Layout;
use levada_model::connection::ContainerKind;
use levada_model::model::{CatchUp, Infrastructure, PlatformEntry, Style};
use levada_model::{Code, Finding, Findings};
use levada_planner::blueprint::Realizer;
use levada_planner::platform::{Capabilities, CodeKind, IngestMode, Layout as SharedOut, Part, Platform, Rendering};
use settings::AwsSettings;
use std::collections::BTreeMap;

/// A setting is unknown, or makes no sense.
pub const SETTINGS_WRONG: Code = Code("E-AWS-001");
/// AWS's services are no streams.
pub const STYLE_UNSUPPORTED: Code = Code("E-AWS-010");

/// The kind's word in the model.
pub const KIND: &str = "aws-batch";

/// `kind: aws-batch`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Aws;

impl Platform for Aws {
    fn kind(&self) -> &str {
        KIND
    }

    fn realizer(&self, _platform: &PlatformEntry) -> Realizer {
        Realizer::Files
    }

    fn capabilities(&self, _platform: &PlatformEntry) -> Option<Capabilities> {
        let modes = [IngestMode::Snapshot, IngestMode::Cdc];
        let sources = [ContainerKind::Postgres, ContainerKind::Mysql, ContainerKind::Mariadb];
        Some(Capabilities {
            sources: sources.into_iter().map(|kind| (kind, modes.into())).collect(),
            sinks: [ContainerKind::Postgres, ContainerKind::Redshift, ContainerKind::Snowflake].into(),
            code: [CodeKind::Sql].into(),
            feeds: [].into(),
            catch_up: [CatchUp::Latest].into(),
        })
    }

    fn lint(&self, platform: &PlatformEntry, infrastructure: Option<&Infrastructure>) -> Findings {
        let mut findings = output::lint(platform, &output::settings(platform, infrastructure));
        for problem in AwsSettings::of(platform, infrastructure).err().unwrap_or_default() {
            findings.push(about(
                platform,
                Finding::error(SETTINGS_WRONG, format!("platform {}: {problem}", platform.name)),
            ));
        }
        if platform.style == Style::Streaming {
            let message = format!("platform {} is of style streaming, and {KIND} moves batches", platform.name);
            findings.push(
                about(platform, Finding::error(STYLE_UNSUPPORTED, message)).hint("`style: batch` or `style: forensic`"),
            );
        }
        findings
    }

    fn layout(&self, platform: &PlatformEntry, infrastructure: Option<&Infrastructure>) -> Option<SharedOut> {
        let settings = AwsSettings::of(platform, infrastructure).ok()?;
        let stacks = |count: u32| format!("{count} stacks");
        Some(SharedOut { is: stacks(settings.stacks), was: settings.stacks_before.map(stacks) })
    }

    fn lint_part(&self, part: &Part<'_>) -> Findings {
        settings_of(part).map(|(_, settings)| check::check(part, &settings)).unwrap_or_default()
    }

    /// Nothing where the settings can't be read: that is a finding before.
    fn render(&self, part: &Part<'_>) -> Rendering {
        let Some((entry, settings)) = settings_of(part) else { return Rendering::Files(BTreeMap::new()) };
        let layout = Layout::of(part);
        let mut files = runtime::files(entry, &settings);
        for (name, cell) in &settings.cells {
            files.extend(cell::files(entry, &settings, name, cell));
        }
        let leaving = layout.leaving(entry.name.as_str(), &settings);
        for (number, stores) in layout.stacks(entry.name.as_str(), &settings) {
            let leaving = leaving.get(&number).map(Vec::as_slice).unwrap_or_default();
            files.extend(stack::files(part.model, entry, &settings, number, &stores, leaving));
        }
        files.push(("quotas.md".to_owned(), quota::report(entry.name.as_str(), &settings, &layout)));
        Rendering::Files(files.into_iter().map(|(path, text)| (path, text.into_bytes())).collect())
    }
}

/// A part's platform and what it is told, as far as that makes sense.
fn settings_of<'a>(part: &Part<'a>) -> Option<(&'a PlatformEntry, AwsSettings)> {
    let entry = part.entry()?;
    let settings = AwsSettings::of(entry, part.model.infrastructure_of(entry)).ok()?;
    Some((entry, settings))
}
