//! The git revision of a model folder.

use crate::git::Git;
use std::path::Path;

/// What git says about a folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Revision {
    /// The id of the commit that is checked out.
    pub commit: String,
    /// Whether files of the folder differ from that commit.
    pub is_dirty: bool,
}

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.commit, if self.is_dirty { "+changes" } else { "" })
    }
}

/// Asks git for the commit of a folder; `None` outside git, before the first commit, or where git
/// is not installed.
pub fn revision(root: &Path) -> Option<Revision> {
    let git = Git::new(root);
    let commit = ask(&git, &["rev-parse", "--verify", "--quiet", "HEAD"])?.trim().to_owned();
    let changes = ask(&git, &["status", "--porcelain", "--untracked-files=normal", "--", "."])?;
    (!commit.is_empty()).then_some(Revision { commit, is_dirty: !changes.trim().is_empty() })
}

/// Where a folder lies below the root of its git checkout, as `models/shop/`; empty: it is the root, or in
/// none.
pub fn below_checkout(root: &Path) -> String {
    Git::new(root).below_checkout().ok().flatten().unwrap_or_default()
}

fn ask(git: &Git, arguments: &[&str]) -> Option<String> {
    // A status must not write to a checkout that may be read-only.
    let arguments = [&["--no-optional-locks"], arguments].concat();
    git.text("look at the revision", &arguments).ok()
}
