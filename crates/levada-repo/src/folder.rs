//! A model folder: which files belong to it, and loading them.

use crate::files::FileTable;
use crate::revision::{Revision, revision};
use ignore::{DirEntry, WalkBuilder};
use levada_model::fingerprint::Fingerprint;
use levada_model::{Findings, Model};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The names that mark a folder as the root of a model.
const ROOT_NAMES: [&str; 3] = ["ecosystem.yaml", "ecosystem.yml", "ecosystem.json"];

/// A folder with this file was rendered by a platform and is no part of the model.
const RENDER_MANIFEST: &str = "render-manifest.json";

/// What an external platform's program answered; lies beside the model, and is no document.
const DESCRIBE: &str = "describe.json";

/// Names files and folders that are no part of the model, in the manner of `.gitignore`.
const IGNORE_FILE: &str = ".levadaignore";

/// A folder can't be loaded at all. What is wrong *in* its files are findings.
#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    /// The folder is not there, or is no folder.
    #[error("open the folder {path}")]
    OpenFolder {
        /// As given.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No `ecosystem.yaml` marks it as a model.
    #[error("find ecosystem.yaml in {path}; `levada init` makes a starter")]
    FindEcosystem {
        /// As given.
        path: PathBuf,
    },
    /// The walk through the folder failed: permissions, or a link to nowhere.
    #[error("walk through the folder {path}")]
    Walk {
        /// As given.
        path: PathBuf,
        /// Why.
        #[source]
        source: ignore::Error,
    },
    /// A file can't be read.
    #[error("read {path}")]
    ReadFile {
        /// From the root.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl RepoError {
    /// Whether the same call may work later without a change by anybody: never, but where the
    /// system was interrupted.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::OpenFolder { source, .. } | Self::ReadFile { source, .. } => {
                source.kind() == std::io::ErrorKind::Interrupted
            }
            Self::FindEcosystem { .. } | Self::Walk { .. } => false,
        }
    }
}

/// A model on disk.
#[derive(Clone, Debug)]
pub struct Folder {
    /// Where `ecosystem.yaml` lies.
    pub root: PathBuf,
}

/// A model, what is wrong with it, and where its words stand.
#[derive(Debug)]
pub struct Loaded {
    /// Everything that could be read.
    pub model: Model,
    /// Of the reader, sorted; lint's come on top.
    pub findings: Findings,
    /// Resolves spans.
    pub files: FileTable,
    /// Of all files of the model as they were read: paths and bytes.
    pub content: Fingerprint,
}

/// Loads the model of a folder, and parses all of it.
///
/// # Errors
/// Where the folder is no model, or can't be read. Mistakes in files are findings.
pub fn load(root: &Path) -> Result<Loaded, RepoError> {
    Folder::open(root)?.load(None)
}

/// Loads the model of a folder, and parses what is not in the cache, a folder that is made and
/// filled as far as it can be. The result is the same.
///
/// # Errors
/// As [`load`].
pub fn load_cached(root: &Path, cache: &Path) -> Result<Loaded, RepoError> {
    Folder::open(root)?.load(Some(cache))
}

impl Folder {
    /// Opens the folder of a model.
    ///
    /// # Errors
    /// Where it is not there, or has no `ecosystem.yaml`.
    pub fn open(root: &Path) -> Result<Self, RepoError> {
        let open = |source| RepoError::OpenFolder { path: root.to_owned(), source };
        std::fs::read_dir(root).map_err(open)?;
        match ROOT_NAMES.iter().any(|name| root.join(name).is_file()) {
            true => Ok(Self { root: root.to_owned() }),
            false => Err(RepoError::FindEcosystem { path: root.to_owned() }),
        }
    }

    /// Loads the model: walks, reads and parses on all cores, and joins what the files say.
    ///
    /// # Errors
    /// Where a file or folder can't be read.
    pub fn load(&self, cache: Option<&Path>) -> Result<Loaded, RepoError> {
        self.survey(cache)?.whole()
    }

    /// The bytes of a file below the folder.
    pub(crate) fn text(&self, path: &str) -> Result<Vec<u8>, RepoError> {
        let read = |source| RepoError::ReadFile { path: PathBuf::from(path), source };
        std::fs::read(self.root.join(path)).map_err(read)
    }

    /// The git revision of the folder; `None` outside git, or without git.
    pub fn revision(&self) -> Option<Revision> {
        revision(&self.root)
    }

    /// Differs whenever a file below the folder may have changed: of all paths, sizes and times. Reads
    /// no file.
    ///
    /// # Errors
    /// Where a folder can't be read.
    pub fn stamp(&self) -> Result<Fingerprint, RepoError> {
        let mut parts = Vec::new();
        for entry in self.entries() {
            let entry = entry?;
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_file() {
                let changed = metadata.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
                let nanos = changed.map_or(0, |since| since.as_nanos());
                let line = format!("{}\0{}\0{nanos}", entry.path().display(), metadata.len());
                parts.push(Fingerprint::of_bytes(line.as_bytes()));
            }
        }
        parts.sort();
        Ok(Fingerprint::of_all(parts))
    }

    /// All files below the folder as they are, by path with `/`, for a copy of it elsewhere: without what
    /// is hidden, rendered, ignored by git (as folders around it say, too, where those count), or lies at
    /// or below one of these paths.
    ///
    /// # Errors
    /// Where a file or folder can't be read.
    pub fn files(&self, without: &[PathBuf], do_others_count: bool) -> Result<BTreeMap<String, Vec<u8>>, RepoError> {
        let mut walk = WalkBuilder::new(&self.root);
        walk.standard_filters(false).hidden(true).follow_links(true);
        walk.git_ignore(true).parents(do_others_count).require_git(false);
        let mut files = BTreeMap::new();
        for entry in self.walk(walk) {
            let entry = entry?;
            let is_left_out = without.iter().any(|path| entry.path().starts_with(path));
            if is_left_out || !entry.file_type().is_some_and(|kind| kind.is_file()) {
                continue;
            }
            if let Some(path) = entry.path().strip_prefix(&self.root).ok().and_then(slashed) {
                let bytes = self.text(&path)?;
                files.insert(path, bytes);
            }
        }
        Ok(files)
    }

    /// Everything below the folder that may be part of the model.
    fn entries(&self) -> impl Iterator<Item = Result<DirEntry, RepoError>> {
        let mut walk = WalkBuilder::new(&self.root);
        walk.standard_filters(false).hidden(true).follow_links(true).add_custom_ignore_filename(IGNORE_FILE);
        self.walk(walk)
    }

    fn walk(&self, mut walk: WalkBuilder) -> impl Iterator<Item = Result<DirEntry, RepoError>> {
        walk.filter_entry(|entry| !is_rendered(entry));
        let root = self.root.clone();
        walk.build().filter_map(move |entry| match entry {
            // What lies in a loop of links is reached without the loop, too.
            Err(error) if is_loop(&error) => None,
            entry => Some(entry.map_err(|source| RepoError::Walk { path: root.clone(), source })),
        })
    }

    /// The paths of all files of the model, from the root and with `/`, sorted.
    pub(crate) fn paths(&self) -> Result<Vec<String>, RepoError> {
        let mut paths = Vec::new();
        for entry in self.entries() {
            let entry = entry?;
            if entry.file_type().is_some_and(|kind| kind.is_file()) && is_model_file(entry.path()) {
                paths.extend(entry.path().strip_prefix(&self.root).ok().and_then(slashed));
            }
        }
        paths.sort_unstable();
        Ok(paths)
    }
}

fn is_loop(error: &ignore::Error) -> bool {
    match error {
        ignore::Error::Loop { .. } => true,
        ignore::Error::WithPath { err, .. } | ignore::Error::WithDepth { err, .. } => is_loop(err),
        _ => false,
    }
}

fn is_rendered(entry: &DirEntry) -> bool {
    entry.file_type().is_some_and(|kind| kind.is_dir()) && entry.path().join(RENDER_MANIFEST).exists()
}

fn is_model_file(path: &Path) -> bool {
    let has_extension =
        path.extension().is_some_and(|extension| matches!(extension.to_str(), Some("yaml" | "yml" | "json")));
    has_extension && path.file_name().is_some_and(|name| name != DESCRIBE)
}

/// A path with `/` on every system; a name that is not UTF-8 keeps its replacement characters.
fn slashed(path: &Path) -> Option<String> {
    let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    (!parts.is_empty()).then(|| parts.join("/"))
}
