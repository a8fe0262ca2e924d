//! A checkout of the model that follows a branch: fetch, look at what is new beside it, advance.
//!
//! The checkout moves forward only, and only when whoever holds it says so; what is new is laid out
//! in a folder of its own until then, so that a broken revision never stands where workers look.

use crate::git::{Git, GitError};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Why a checkout can't follow. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// Git failed.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The folder is not in a git checkout.
    #[error("follow a branch: {path} is in no git checkout")]
    NoCheckout {
        /// The model's folder.
        path: PathBuf,
    },
    /// Its branch has no upstream, or no branch is checked out.
    #[error("follow a branch: what is checked out in {path} has no upstream branch")]
    NoUpstream {
        /// The model's folder.
        path: PathBuf,
    },
    /// Files were changed by hand.
    #[error("follow the branch: files are changed here and not committed: {}", .paths.join(", "))]
    Changed {
        /// From the checkout's root.
        paths: Vec<String>,
    },
    /// There are commits here that the branch lacks: somebody committed here, or the branch was
    /// force-pushed.
    #[error("follow {upstream}: it does not contain {commits} of the commits that are checked out")]
    Diverged {
        /// The upstream branch.
        upstream: String,
        /// How many.
        commits: String,
    },
    /// Another process follows here right now.
    #[error("follow the branch: another process does so right now")]
    Busy,
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

impl FollowError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoCheckout { .. } => Some("clone the model's repository, and follow in the clone"),
            Self::NoUpstream { .. } => {
                Some("`git switch BRANCH` in the clone; a branch that was cloned has an upstream")
            }
            Self::Changed { .. } => Some("commit and push them from another clone, then `git restore .` here"),
            Self::Diverged { .. } => Some(
                "if the branch was rewritten on purpose, `git reset --hard @{upstream}` here makes it the model's again",
            ),
            Self::Git(_) | Self::Busy | Self::File { .. } => None,
        }
    }
}

/// A model's folder in a git checkout.
#[derive(Debug)]
pub struct Checkout {
    git: Git,
    root: PathBuf,
    /// The model's folder below the checkout's root; empty: it is the root.
    below: PathBuf,
    /// Where revisions are laid out.
    area: PathBuf,
    lock: File,
}

impl Drop for Checkout {
    fn drop(&mut self) {
        // A process that this one is just starting keeps the file open until its program is there:
        // closing would not give the lock back yet. Where this fails, closing does in the end.
        drop(self.lock.unlock());
    }
}

/// A revision laid out beside the checkout; its folder goes with the value.
#[derive(Debug)]
pub struct LaidOut {
    git: Git,
    folder: PathBuf,
    /// The model's folder in it.
    pub root: PathBuf,
}

impl Checkout {
    /// Opens the checkout that a folder is in; `area` is a folder for what is laid out.
    ///
    /// # Errors
    /// [`FollowError::NoCheckout`], [`FollowError::Busy`]; the file system.
    pub fn open(root: &Path, area: &Path) -> Result<Self, FollowError> {
        let file = |path: &Path, source| FollowError::File { path: path.to_owned(), source };
        let git = Git::new(root);
        let below = git.below_checkout()?.ok_or_else(|| FollowError::NoCheckout { path: root.to_owned() })?;
        std::fs::create_dir_all(area).map_err(|error| file(area, error))?;
        let lock = area.join("lock");
        let opened = File::create(&lock).map_err(|error| file(&lock, error))?;
        match opened.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(FollowError::Busy),
            Err(std::fs::TryLockError::Error(error)) => return Err(file(&lock, error)),
        }
        Ok(Self { git, root: root.to_owned(), below: below.into(), area: area.to_owned(), lock: opened })
    }

    /// The commit that is checked out.
    ///
    /// # Errors
    /// Git, with what it says.
    pub fn commit(&self) -> Result<String, FollowError> {
        self.id("HEAD")
    }

    /// The branch that is checked out.
    ///
    /// # Errors
    /// Git, with what it says: no branch is.
    pub fn branch(&self) -> Result<String, FollowError> {
        let branch = self.git.text("look at the branch", &["symbolic-ref", "--short", "HEAD"])?;
        Ok(branch.trim().to_owned())
    }

    /// Fetches the upstream branch and gives its commit, to which the checkout could advance.
    ///
    /// # Errors
    /// [`FollowError::NoUpstream`], [`FollowError::Changed`], [`FollowError::Diverged`]; git.
    pub fn fetch(&self) -> Result<String, FollowError> {
        let upstream = self.git.run(&["rev-parse", "--abbrev-ref", "--symbolic-full-name", "@{upstream}"])?;
        if !upstream.status.success() {
            return Err(FollowError::NoUpstream { path: self.root.clone() });
        }
        let upstream = String::from_utf8_lossy(&upstream.stdout).trim().to_owned();
        self.git.remote_text("fetch the branch", &["fetch", "--quiet", "--no-tags"])?;
        let changed = self.git.text(
            "look for changed files",
            &["status", "--porcelain", "-z", "--untracked-files=no", "--no-renames", "--", "."],
        )?;
        let paths: Vec<String> = changed.split('\0').filter_map(|line| line.get(3..)).map(str::to_owned).collect();
        if !paths.is_empty() {
            return Err(FollowError::Changed { paths });
        }
        let ahead = self.git.text("compare with the branch", &["rev-list", "--count", "@{upstream}..HEAD"])?;
        match ahead.trim() {
            "0" => self.id("@{upstream}"),
            commits => Err(FollowError::Diverged { upstream, commits: commits.to_owned() }),
        }
    }

    /// Lays a commit out beside the checkout.
    ///
    /// # Errors
    /// Git, with what it says.
    pub fn lay_out(&self, commit: &str) -> Result<LaidOut, FollowError> {
        let folder = self.area.join("revision");
        let laid_out = LaidOut { git: self.git.clone(), root: folder.join(&self.below), folder };
        // What a run that was killed left behind.
        laid_out.remove();
        let path = laid_out.folder.display().to_string();
        self.git.text("lay the revision out", &["worktree", "add", "--quiet", "--force", "--detach", &path, commit])?;
        Ok(laid_out)
    }

    /// Advances to a fetched commit.
    ///
    /// # Errors
    /// Git, with what it says; the checkout stays where it was.
    pub fn advance(&self, commit: &str) -> Result<(), FollowError> {
        let merge = ["-c", "advice.diverging=false", "merge", "--quiet", "--ff-only", commit];
        Ok(self.git.text("advance the checkout", &merge).map(drop)?)
    }

    fn id(&self, of: &str) -> Result<String, FollowError> {
        Ok(self.git.text("look at the commit", &["rev-parse", "--verify", of])?.trim().to_owned())
    }
}

impl LaidOut {
    /// Takes the folder away. Where that fails the next revision that is laid out tries again.
    fn remove(&self) {
        let path = self.folder.display().to_string();
        drop(self.git.run(&["worktree", "remove", "--force", &path]));
        drop(std::fs::remove_dir_all(&self.folder));
        drop(self.git.run(&["worktree", "prune"]));
    }
}

impl Drop for LaidOut {
    fn drop(&mut self) {
        self.remove();
    }
}
