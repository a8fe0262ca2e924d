//! Rendered trees on their way out: into a folder, or into a branch of a git repository.
//!
//! Takes a tree of files that a platform rendered, gives a place that holds exactly these and a
//! manifest of them. What somebody else wrote there is never replaced in silence; a run that broke
//! off is finished by the next one. Knows nothing of what is in the files.

mod branch;
mod folder;
mod manifest;

pub use branch::{BranchTarget, PreparedPush, Pushed, last_on_branch, prepare_push};
pub use folder::{PreparedFolder, Written, last_in_folder, prepare_folder};
pub use manifest::{MANIFEST, Manifest};

use crate::git::GitError;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Bytes by path, `/`-separated and relative.
pub type Tree = BTreeMap<String, Vec<u8>>;

/// Files shown by name in an error; more are counted.
const SHOWN_MAX: usize = 10;

/// A rendered tree can't be delivered. Nothing was changed, unless a file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum RenderedError {
    /// A path of the tree leaves the place it is written to, or is no path.
    #[error("write {path:?}, which is no path below the output")]
    Path {
        /// As rendered.
        path: String,
    },
    /// Files were changed by somebody else since the last rendering.
    #[error("write over what was edited by hand: {}", shown(.paths))]
    Edited {
        /// From the output's root, sorted.
        paths: Vec<String>,
    },
    /// There is something at the output that no rendering left there.
    #[error("write into {path}, where there are files of somebody else")]
    Foreign {
        /// The folder.
        path: PathBuf,
    },
    /// Another platform renders there.
    #[error("write where platform {platform} has its files")]
    Occupied {
        /// Whose files they are.
        platform: String,
    },
    /// What is there is of a later blueprint.
    #[error("go back to generation {generation} where generation {found} is rendered")]
    Newer {
        /// What is there.
        found: i64,
        /// What would be.
        generation: i64,
    },
    /// The manifest is damaged, or of a newer build.
    #[error("read the manifest {path}: {problem}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// A fragment.
        problem: String,
    },
    /// The text names no repository and branch.
    #[error("read {text:?} as REPOSITORY#BRANCH")]
    Target {
        /// As given.
        text: String,
    },
    /// The branch holds files, and no rendering of ours.
    #[error("write into branch {branch} of {repository}, which is somebody else's")]
    ForeignBranch {
        /// As given.
        repository: String,
        /// As given.
        branch: String,
    },
    /// Somebody pushed to the branch meanwhile.
    #[error("push to branch {branch} of {repository}: it has moved meanwhile")]
    BranchMoved {
        /// As given.
        repository: String,
        /// As given.
        branch: String,
    },
    /// Git failed.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The file system refused.
    #[error("{operation} {path}")]
    File {
        /// `write`, `remove`, …
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl RenderedError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Edited { .. } => Some(
                "say it in the model or in the platform's settings, and take the edit back; `levada render --force` gives it up",
            ),
            Self::Occupied { .. } => Some("give each platform a folder or branch of its own"),
            Self::Newer { .. } => {
                Some("an older state or copy of the model is at work; `levada render --force` goes back on purpose")
            }
            Self::Foreign { .. } => Some("name a new folder, or an empty one"),
            Self::Manifest { .. } => Some("restore it from where the folder is kept, or render into a new folder"),
            Self::ForeignBranch { .. } => Some("name a branch that is Levada's alone; it is made where there is none"),
            Self::BranchMoved { .. } => Some("render again: it then begins at the new tip"),
            Self::Target { .. } => Some("such as ../deployment.git#main, or an URL that git knows"),
            Self::Path { .. } | Self::File { .. } | Self::Git(_) => None,
        }
    }

    fn file(operation: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::File { operation, path: path.into(), source }
    }
}

fn shown(paths: &[String]) -> String {
    let mut text = paths.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join(", ");
    if paths.len() > SHOWN_MAX {
        text.push_str(&format!(" and {} more", paths.len() - SHOWN_MAX));
    }
    text
}

/// Refuses paths that would leave the output: `..`, an absolute one, an empty part.
///
/// # Errors
/// [`RenderedError::Path`] names the first one.
pub fn check_paths(tree: &Tree) -> Result<(), RenderedError> {
    let is_part = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', '\0']);
    match tree.keys().find(|path| !path.split('/').all(is_part) || path.starts_with(MANIFEST)) {
        Some(path) => Err(RenderedError::Path { path: path.clone() }),
        None => Ok(()),
    }
}
