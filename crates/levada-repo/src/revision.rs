//! The git revision of a model folder.

use std::path::Path;
use std::process::{Command, Stdio};

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
    let commit = git(root, &["rev-parse", "--verify", "--quiet", "HEAD"])?.trim().to_owned();
    let changes = git(root, &["status", "--porcelain", "--untracked-files=normal", "--", "."])?;
    (!commit.is_empty()).then_some(Revision { commit, is_dirty: !changes.trim().is_empty() })
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    // A status must not write to a checkout that may be read-only.
    command.arg("--no-optional-locks").arg("-C").arg(root).args(arguments);
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
