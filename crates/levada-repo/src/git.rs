//! git, as a child process: nobody is asked for a password, and neither language nor the hooks of
//! an outer repository get in the way.
//!
//! Takes a folder and arguments, gives what git printed. Knows nothing of what it is for.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a remote repository may take to answer all that is asked of it at once.
const REMOTE_MAX: Duration = Duration::from_secs(60);
/// How often a child process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Git did not do it.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// It is not installed, or the machine can't start it.
    #[error("start git")]
    Start(#[source] std::io::Error),
    /// It ended without success.
    #[error("{operation}: git says: {output}")]
    Said {
        /// A fragment.
        operation: &'static str,
        /// Its standard error, trimmed.
        output: String,
    },
}

impl GitError {
    /// What an unsuccessful git said.
    pub(crate) fn said(operation: &'static str, output: &Output) -> Self {
        Self::Said { operation, output: String::from_utf8_lossy(&output.stderr).trim().to_owned() }
    }
}

/// Git in a folder.
#[derive(Clone, Debug)]
pub(crate) struct Git {
    folder: PathBuf,
    /// An index of its own, apart from the checkout's.
    index: Option<PathBuf>,
}

impl Git {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), index: None }
    }

    /// The same with an index in a file of its own: the checkout stays as it is.
    pub(crate) fn with_index(&self, index: &Path) -> Self {
        Self { folder: self.folder.clone(), index: Some(index.to_owned()) }
    }

    /// What it prints, once it has ended with success.
    pub(crate) fn text(&self, operation: &'static str, arguments: &[&str]) -> Result<String, GitError> {
        printed(operation, &self.run(arguments)?)
    }

    /// Where the folder lies below the root of its checkout, as `models/shop/`; empty: it is the root.
    /// `None`: it is in no checkout.
    pub(crate) fn below_checkout(&self) -> Result<Option<String>, GitError> {
        let output = self.run(&["rev-parse", "--show-prefix"])?;
        let prefix = String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned();
        Ok(output.status.success().then_some(prefix))
    }

    /// How it ends, whatever that is.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Output, GitError> {
        self.command(arguments).stdin(Stdio::null()).output().map_err(GitError::Start)
    }

    /// What it prints, as [`Git::text`], where it may wait for a network: it is ended after a while.
    pub(crate) fn remote_text(&self, operation: &'static str, arguments: &[&str]) -> Result<String, GitError> {
        let mut child = self.command(arguments).stdin(Stdio::null()).spawn().map_err(GitError::Start)?;
        let began = Instant::now();
        while child.try_wait().map_err(GitError::Start)?.is_none() {
            if began.elapsed() > REMOTE_MAX {
                // It may have ended just now.
                drop(child.kill());
                drop(child.wait());
                let output = format!("no answer within {} s", REMOTE_MAX.as_secs());
                return Err(GitError::Said { operation, output });
            }
            std::thread::sleep(LOOK_EVERY);
        }
        printed(operation, &child.wait_with_output().map_err(GitError::Start)?)
    }

    /// Writes to its standard input.
    pub(crate) fn feed(&self, operation: &'static str, arguments: &[&str], input: &[u8]) -> Result<(), GitError> {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().map_err(GitError::Start)?;
        let mut stdin = child.stdin.take().expect("standard input is piped");
        // Where git ends early its own words say why.
        let fed = stdin.write_all(input);
        drop(stdin);
        let output = child.wait_with_output().map_err(GitError::Start)?;
        match output.status.success() && fed.is_ok() {
            true => Ok(()),
            false => Err(GitError::said(operation, &output)),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.folder).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Nobody is there to be asked, and nobody's language changes what is read here.
        command.env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
        // A hook of an outer repository must not point git elsewhere.
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            command.env_remove(name);
        }
        if let Some(index) = &self.index {
            command.env("GIT_INDEX_FILE", index);
        }
        command
    }
}

/// What git printed, once it has ended with success.
fn printed(operation: &'static str, output: &Output) -> Result<String, GitError> {
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(GitError::said(operation, output)),
    }
}
