//! A file renderer that writes down what it is told: one JSON file per node.
//!
//! The second implementation of the platform trait, for tests of whatever handles renderings. It
//! declares that it can do everything, and shares a feed with nobody but its own kind.

use levada_model::Findings;
use levada_model::connection::ContainerKind;
use levada_model::model::{CatchUp, Infrastructure, PlatformEntry};
use levada_planner::blueprint::Realizer;
use levada_planner::platform::{Capabilities, CodeKind, IngestMode, Part, Platform, Rendering};
use std::collections::BTreeMap;

/// `kind: recording`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recording;

const MODES: [IngestMode; 5] =
    [IngestMode::Snapshot, IngestMode::Watermark, IngestMode::Cdc, IngestMode::Files, IngestMode::Topic];

impl Platform for Recording {
    fn kind(&self) -> &str {
        "recording"
    }

    fn realizer(&self, _platform: &PlatformEntry) -> Realizer {
        Realizer::Files
    }

    fn capabilities(&self, _platform: &PlatformEntry) -> Option<Capabilities> {
        Some(Capabilities {
            sources: ContainerKind::ALL.into_iter().map(|kind| (kind, MODES.into())).collect(),
            sinks: ContainerKind::ALL.into(),
            code: [CodeKind::Sql, CodeKind::Command, CodeKind::Image].into(),
            feeds: ["recording".to_owned()].into(),
            catch_up: [CatchUp::Latest].into(),
        })
    }

    fn lint(&self, _platform: &PlatformEntry, _infrastructure: Option<&Infrastructure>) -> Findings {
        Findings::default()
    }

    fn render(&self, part: &Part<'_>) -> Rendering {
        let mut files = BTreeMap::new();
        for node in &part.nodes {
            let mut text = serde_json::to_string_pretty(node).expect("plain data with text keys always serialises");
            text.push('\n');
            files.insert(file_name(&node.address.to_string()), text.into_bytes());
        }
        Rendering::Files(files)
    }
}

/// The path of a node's file: its address, with what a file system might not take written as `%XX`.
fn file_name(address: &str) -> String {
    let mut path = String::new();
    for byte in address.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'/' => path.push(char::from(byte)),
            other => path.push_str(&format!("%{other:02X}")),
        }
    }
    path + ".json"
}
