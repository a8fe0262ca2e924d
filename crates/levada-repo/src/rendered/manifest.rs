//! `render-manifest.json`: what was rendered, by content hashes; version 1.

use super::{RenderedError, Tree};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// The manifest's file, at the root of the output; it also tells a model's loader to pass the folder over.
pub const MANIFEST: &str = "render-manifest.json";

/// The version that this build writes and reads.
const VERSION: u32 = 1;

/// What was rendered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Of this format.
    version: u32,
    /// Whose rendering it is.
    pub platform: String,
    /// The model's revision, for people.
    pub revision: String,
    /// The generation of the blueprint; nothing older is written over it.
    pub generation: i64,
    /// Folder → hash of all files that lie right in it: what to apply is a difference of two sets.
    pub folders: BTreeMap<String, String>,
    /// File → hash of its content, xxh3-128 in hexadecimal digits.
    pub files: BTreeMap<String, String>,
}

impl Manifest {
    /// Describes a tree.
    pub fn of(platform: &str, revision: &str, generation: i64, tree: &Tree) -> Self {
        let files: BTreeMap<String, String> = tree.iter().map(|(path, bytes)| (path.clone(), hash(bytes))).collect();
        let mut folders: BTreeMap<String, Xxh3> = BTreeMap::new();
        for (path, hash) in &files {
            let (folder, name) = path.rsplit_once('/').unwrap_or((".", path));
            let of = folders.entry(folder.to_owned()).or_default();
            of.update(&(name.len() as u64).to_le_bytes());
            of.update(name.as_bytes());
            of.update(hash.as_bytes());
        }
        let folders = folders.into_iter().map(|(folder, of)| (folder, format!("{:032x}", of.digest128()))).collect();
        let (platform, revision) = (platform.to_owned(), revision.to_owned());
        Self { version: VERSION, platform, revision, generation, folders, files }
    }

    /// Refuses what would take another platform's place, or go backwards in this one's.
    ///
    /// # Errors
    /// [`RenderedError::Occupied`]; [`RenderedError::Newer`], unless `goes_back`.
    pub(super) fn may_follow(&self, last: &Self, goes_back: bool) -> Result<(), RenderedError> {
        if self.platform != last.platform {
            return Err(RenderedError::Occupied { platform: last.platform.clone() });
        }
        match goes_back || self.generation >= last.generation {
            true => Ok(()),
            false => Err(RenderedError::Newer { found: last.generation, generation: self.generation }),
        }
    }

    /// Whether another manifest is of the same files; its revision may differ.
    pub fn is_of_same_files(&self, other: &Self) -> bool {
        self.platform == other.platform && self.files == other.files
    }

    /// The same without some files.
    pub(super) fn without(mut self, paths: &[String]) -> Self {
        paths.iter().for_each(|path| drop(self.files.remove(path)));
        self
    }

    /// The manifest's file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = serde_json::to_string_pretty(self).expect("plain data always serialises");
        text.push('\n');
        text.into_bytes()
    }

    /// The manifest on one line.
    pub(super) fn to_line(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data always serialises")
    }

    /// Reads a manifest's file; `path` is for people.
    ///
    /// # Errors
    /// It is damaged, or of a newer build.
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self, RenderedError> {
        let wrong = |problem: String| RenderedError::Manifest { path: path.to_owned(), problem };
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        if version != VERSION {
            return Err(wrong(format!("it has version {version}, this build knows {VERSION}")));
        }
        serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))
    }
}

/// The hash of a file's content.
pub(super) fn hash(bytes: &[u8]) -> String {
    format!("{:032x}", xxh3_128(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_changes_its_folder_and_no_other() {
        let tree = |text: &str| -> Tree {
            [("a/x.tf", "same"), ("a/y.tf", text), ("b/x.tf", "same"), ("top", "same")]
                .map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()))
                .into()
        };
        let (before, after) = (Manifest::of("P", "r", 1, &tree("one")), Manifest::of("P", "r", 1, &tree("two")));
        let changed: Vec<&String> = after
            .folders
            .iter()
            .filter(|(path, hash)| before.folders.get(*path) != Some(hash))
            .map(|it| it.0)
            .collect();
        assert_eq!(changed, ["a"]);
        assert_eq!(before.folders.len(), 3);
        assert!(!before.is_of_same_files(&after));
        assert_eq!(Manifest::from_bytes(&after.to_bytes(), Path::new("m")).expect("it reads"), after);
        let newer =
            String::from_utf8(after.to_bytes()).expect("it is text").replace("\"version\": 1", "\"version\": 2");
        assert!(Manifest::from_bytes(newer.as_bytes(), Path::new("m")).is_err());
    }
}
