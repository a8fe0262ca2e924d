//! An earlier revision of a model's folder, laid out beside it for a look: the checkout and its git
//! repository stay as they are, and may be read-only.

use crate::git::{Git, GitError};
use std::path::{Path, PathBuf};

/// Why an earlier revision can't be looked at.
#[derive(Debug, thiserror::Error)]
pub enum EarlierError {
    /// Git failed.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The folder is not in a git checkout.
    #[error("compare with a revision: {path} is in no git checkout")]
    NoCheckout {
        /// The model's folder.
        path: PathBuf,
    },
    /// Git knows no such commit.
    #[error("compare with a revision: git knows no commit {revision:?}")]
    Unknown {
        /// As given.
        revision: String,
    },
    /// The folder was not there yet.
    #[error("compare with revision {revision}: the model's folder is not in it")]
    NoFolder {
        /// As given.
        revision: String,
    },
    /// The file system refused.
    #[error("write {path}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl EarlierError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unknown { .. } => Some(
                "name a branch, a tag or a commit that is here, such as origin/main; in a shallow clone: git fetch origin main",
            ),
            Self::Git(_) | Self::NoCheckout { .. } | Self::NoFolder { .. } | Self::File { .. } => None,
        }
    }
}

/// A revision that is laid out; its folder goes with the value.
#[derive(Debug)]
pub struct Earlier {
    folder: PathBuf,
    /// The model's folder in it.
    pub root: PathBuf,
    /// Its commit.
    pub commit: String,
}

impl Drop for Earlier {
    fn drop(&mut self) {
        // What stays is a temporary folder's rest.
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// Lays the model's folder out as it was in a revision, below the system's temporary folder.
///
/// # Errors
/// There is no such revision, or it can't be laid out.
pub fn earlier(root: &Path, revision: &str) -> Result<Earlier, EarlierError> {
    let git = Git::new(root);
    let below = git.below_checkout()?.ok_or_else(|| EarlierError::NoCheckout { path: root.to_owned() })?;
    let unknown = || EarlierError::Unknown { revision: revision.to_owned() };
    let output =
        git.run(&["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{revision}^{{commit}}")])?;
    if !output.status.success() {
        return Err(unknown());
    }
    let commit = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let tree = format!("{commit}:{}", below.trim_end_matches('/'));
    if !git.run(&["rev-parse", "--verify", "--quiet", &tree])?.status.success() {
        return Err(EarlierError::NoFolder { revision: revision.to_owned() });
    }
    let mark = levada_model::Fingerprint::of_bytes(format!("{}\0{tree}", root.display()).as_bytes());
    let folder = std::env::temp_dir().join(format!("levada-earlier-{}-{mark}", std::process::id()));
    let earlier = Earlier { root: folder.join("model"), folder, commit };
    std::fs::create_dir_all(&earlier.root)
        .map_err(|source| EarlierError::File { path: earlier.root.clone(), source })?;
    // Below the checkout's root git would lay out only what lies below the same folder.
    let up = git.text("find the checkout's root", &["rev-parse", "--show-cdup"])?;
    let git = Git::new(&root.join(up.trim_end_matches('\n'))).with_index(&earlier.folder.join("index"));
    git.text("read the revision", &["read-tree", &tree])?;
    let prefix = format!("--prefix={}/", earlier.root.display());
    git.text("lay the revision out", &["checkout-index", "--all", "--force", "--quiet", &prefix])?;
    Ok(earlier)
}
