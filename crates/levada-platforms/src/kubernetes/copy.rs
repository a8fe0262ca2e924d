//! The copy of the model that pods find at `/model`: files as they are, in ConfigMaps.
//!
//! Workers need no model, since each node says all that it takes; they get the folders of the programs
//! that their transformers start. Whatever else is hosted gets all of it.

use crate::plain::{hash, number};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use levada_model::model::{Code, Run};
use levada_planner::NodeSpec;
use levada_planner::platform::Part;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The most that a file takes in a ConfigMap, which holds 1 MiB with all that is around.
pub const FILE_BYTES_MAX: usize = 900 << 10;
/// The most ConfigMaps that a copy is spread over.
const MAPS_MAX: u32 = 4_096;
/// Bytes of the readable beginning of a key.
const KEY_BYTES: usize = 200;

/// The most that the list of a copy's files may take in a pod's specification, of which an object has 1.5 MiB.
pub const LIST_BYTES_MAX: usize = 512 << 10;
/// Bytes around the key and the path of a file there.
const ITEM_BYTES: usize = 48;

/// The files of a model's folder, by path from its root.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ModelCopy {
    /// Those that say what the model is.
    pub documents: BTreeMap<String, Vec<u8>>,
    /// All others: code, and what it reads.
    pub others: BTreeMap<String, Vec<u8>>,
}

/// What a platform's pods get of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Copied<'a>(BTreeMap<&'a str, &'a [u8]>);

/// A ConfigMap of a copy.
pub struct CopyMap<'a> {
    /// Its number among them.
    pub number: u32,
    /// Path and bytes of each file.
    files: Vec<(&'a str, &'a [u8])>,
}

impl ModelCopy {
    /// All of it.
    pub fn all(&self) -> Copied<'_> {
        Copied(
            self.documents.iter().chain(&self.others).map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect(),
        )
    }

    /// The folders of the programs that a platform's workers start.
    pub fn programs(&self, part: &Part<'_>) -> Copied<'_> {
        let folders = program_folders(part);
        let is_in = |path: &str| folders.iter().any(|folder| is_below(path, folder));
        let files = self.others.iter().filter(|(path, _)| is_in(path));
        Copied(files.map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect())
    }
}

fn program_folders<'a>(part: &Part<'a>) -> BTreeSet<&'a str> {
    let folder = |node: &&'a levada_planner::Node| match &node.spec {
        NodeSpec::Transform(spec) => match &spec.code {
            Code::Program(program) if matches!(program.run, Run::Command(_)) => Some(program.folder.as_str()),
            _ => None,
        },
        _ => None,
    };
    part.nodes.iter().filter_map(folder).collect()
}

fn is_below(path: &str, folder: &str) -> bool {
    let folder = folder.trim_end_matches('/');
    folder.is_empty() || folder == "." || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

impl<'a> Copied<'a> {
    /// The files that no ConfigMap takes, and their bytes.
    pub fn too_large(&self) -> impl Iterator<Item = (&'a str, usize)> {
        self.0.iter().filter(|(_, bytes)| weight(bytes) > FILE_BYTES_MAX).map(|(path, bytes)| (*path, bytes.len()))
    }

    /// Bytes that the list of its files takes in a pod's specification, more or less.
    pub fn list_bytes(&self) -> usize {
        self.0.keys().map(|path| 2 * path.len() + ITEM_BYTES).sum()
    }

    /// What it is, for whoever starts anew when it changes.
    pub fn fingerprint(&self) -> String {
        let parts: Vec<String> = self.0.iter().map(|(path, bytes)| format!("{path}\0{}", hash_of(bytes))).collect();
        hash(&parts.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The ConfigMaps that hold it: as few as do, a power of two; a file's place depends on its path
    /// alone, so that a change of one file is a change of one map.
    pub fn maps(&self) -> Vec<CopyMap<'a>> {
        let mut count = 1;
        loop {
            let mut maps: BTreeMap<u32, Vec<(&'a str, &'a [u8])>> = BTreeMap::new();
            for (&path, &bytes) in &self.0 {
                maps.entry(number(&["model copy", path], count)).or_default().push((path, bytes));
            }
            let weigh = |files: &Vec<(&str, &[u8])>| {
                files.iter().map(|(path, bytes)| path.len() + weight(bytes)).sum::<usize>()
            };
            if count >= MAPS_MAX || maps.values().all(|files| files.len() == 1 || weigh(files) <= FILE_BYTES_MAX) {
                return maps.into_iter().map(|(number, files)| CopyMap { number, files }).collect();
            }
            count *= 2;
        }
    }
}

impl CopyMap<'_> {
    /// Key and path of each file.
    pub fn items(&self) -> impl Iterator<Item = (String, &str)> {
        self.files.iter().map(|(path, _)| (key(path), *path))
    }

    /// `data` and `binaryData`.
    pub fn content(&self) -> Map<String, Value> {
        let (mut data, mut binary) = (Map::new(), Map::new());
        for (path, bytes) in &self.files {
            match std::str::from_utf8(bytes) {
                Ok(text) => data.insert(key(path), json!(text)),
                Err(_) => binary.insert(key(path), json!(BASE64_STANDARD.encode(bytes))),
            };
        }
        let parts = [("data", data), ("binaryData", binary)].into_iter().filter(|(_, part)| !part.is_empty());
        parts.map(|(name, part)| (name.to_owned(), Value::Object(part))).collect()
    }
}

/// A path as a key of a ConfigMap: readable, and no other path's.
fn key(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let mut key: String = path.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    key.truncate(KEY_BYTES);
    format!("{key}-{}", hash(&[path]))
}

fn hash_of(bytes: &[u8]) -> String {
    levada_model::fingerprint::Fingerprint::of_bytes(bytes).to_string()
}

/// The bytes of a file in a ConfigMap.
fn weight(bytes: &[u8]) -> usize {
    if std::str::from_utf8(bytes).is_ok() { bytes.len() } else { bytes.len().div_ceil(3) * 4 }
}
