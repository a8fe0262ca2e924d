//! A rendered tree as commits on a branch.
//!
//! Steps: look at the branch's tip; compare its manifest with the new one; write the difference as
//! one commit, or as a chain of small ones, with git's own fast-import into a repository of ours;
//! push once, only if the tip is still where it was. What others commit beside our files stays.

use super::{MANIFEST, Manifest, RenderedError, Tree, check_paths};
use crate::git::{Git, GitError};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

/// The most files that one commit changes: reviews and web pages stop showing more.
const COMMIT_FILES_MAX: usize = 299;

/// Marks a commit as ours; carries the model's revision.
const REVISION_TRAILER: &str = "Levada-Revision";

/// Where the commits are made before they are pushed.
const NEW_REFERENCE: &str = "refs/levada/new";

const COMMITTER: &str = "Levada <levada@localhost>";

/// A branch of a repository: `REPOSITORY#BRANCH`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BranchTarget {
    /// Whatever git fetches from: a path or a URL.
    pub repository: String,
    /// The branch's short name.
    pub branch: String,
}

impl BranchTarget {
    /// A branch of a repository.
    ///
    /// # Errors
    /// A name is empty, or begins with a dash: git would take it for an option.
    pub fn new(repository: &str, branch: &str) -> Result<Self, RenderedError> {
        let is_name = |name: &str| !name.is_empty() && !name.starts_with('-');
        match is_name(repository) && is_name(branch) {
            true => Ok(Self { repository: repository.to_owned(), branch: branch.to_owned() }),
            false => Err(RenderedError::Target { text: format!("{repository}#{branch}") }),
        }
    }
}

impl std::str::FromStr for BranchTarget {
    type Err = RenderedError;

    fn from_str(text: &str) -> Result<Self, RenderedError> {
        let (repository, branch) =
            text.rsplit_once('#').ok_or_else(|| RenderedError::Target { text: text.to_owned() })?;
        Self::new(repository, branch)
    }
}

/// What a push brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pushed {
    /// How many commits; 0: the branch was as it should be.
    pub commits: usize,
    /// Files that differed, removed ones included; the manifest does not count.
    pub files: usize,
}

/// Commits that are made and not yet pushed.
#[derive(Debug)]
pub struct PreparedPush {
    workshop: Workshop,
    target: BranchTarget,
    /// The tip that they follow; `None`: there is no such branch yet.
    tip: Option<String>,
    pushed: Pushed,
}

/// What was rendered to a branch last; `None`: there is no such branch, or none of ours.
///
/// # Errors
/// The manifest can't be read; git, with what it says.
pub fn last_on_branch(target: &BranchTarget, work: &Path) -> Result<Option<Manifest>, RenderedError> {
    let workshop = Workshop::open(work)?;
    let Some(tip) = workshop.fetch(target)? else { return Ok(None) };
    workshop.show(&tip, MANIFEST)?.map(|bytes| Manifest::from_bytes(&bytes, Path::new(MANIFEST))).transpose()
}

/// Makes the commits that bring a branch to `tree`, in a repository of ours in the folder `work`.
///
/// `gives_up_edits`: files that somebody edited on the branch are written over all the same, and so are
/// those of a later generation.
///
/// # Errors
/// [`RenderedError::Edited`], [`RenderedError::Newer`], [`RenderedError::Occupied`],
/// [`RenderedError::ForeignBranch`]; git, with what it says.
pub fn prepare_push(
    target: &BranchTarget,
    work: &Path,
    tree: &Tree,
    manifest: &Manifest,
    gives_up_edits: bool,
) -> Result<PreparedPush, RenderedError> {
    check_paths(tree)?;
    let workshop = Workshop::open(work)?;
    let tip = workshop.fetch(target)?;
    let last = match &tip {
        Some(tip) => Some(last_rendering(&workshop, target, tip, tree, gives_up_edits)?),
        None => None,
    };
    last.iter().try_for_each(|last| manifest.may_follow(last, gives_up_edits))?;
    let changed = changed_files(last.as_ref(), manifest);
    let is_same = last.as_ref().is_some_and(|last| last.is_of_same_files(manifest));
    let parts = if is_same { Vec::new() } else { in_parts(&changed) };
    if !parts.is_empty() {
        workshop.import(tip.as_deref(), &parts, tree, manifest)?;
    }
    let pushed = Pushed { commits: parts.len(), files: changed.len() };
    Ok(PreparedPush { workshop, target: target.clone(), tip, pushed })
}

impl PreparedPush {
    /// Pushes the commits, in one push, if the branch is still where it was.
    ///
    /// # Errors
    /// [`RenderedError::BranchMoved`]; git, with what it says.
    pub fn push(self) -> Result<Pushed, RenderedError> {
        if self.pushed.commits == 0 {
            return Ok(self.pushed);
        }
        let branch = format!("refs/heads/{}", self.target.branch);
        let lease = format!("--force-with-lease={branch}:{}", self.tip.as_deref().unwrap_or_default());
        let reference = format!("{NEW_REFERENCE}:{branch}");
        let output = self.workshop.git.run(&["push", "--porcelain", &lease, &self.target.repository, &reference])?;
        let said = String::from_utf8_lossy(&output.stdout);
        match output.status.success() {
            true => Ok(self.pushed),
            false if said.contains("stale info") || said.contains("fetch first") => {
                let BranchTarget { repository, branch } = self.target;
                Err(RenderedError::BranchMoved { repository, branch })
            }
            false => Err(GitError::said("push", &output).into()),
        }
    }
}

/// The manifest at the tip, once it is sure that our files are as we left them.
fn last_rendering(
    workshop: &Workshop,
    target: &BranchTarget,
    tip: &str,
    tree: &Tree,
    gives_up_edits: bool,
) -> Result<Manifest, RenderedError> {
    let foreign =
        || RenderedError::ForeignBranch { repository: target.repository.clone(), branch: target.branch.clone() };
    let ours =
        workshop.git.text("find the last rendering", &["log", "-1", "--format=%H", "--grep", &grep_ours(), tip])?;
    let ours = ours.trim();
    if ours.is_empty() {
        return Err(foreign());
    }
    let bytes = workshop.show(ours, MANIFEST)?.ok_or_else(foreign)?;
    let last = Manifest::from_bytes(&bytes, Path::new(MANIFEST))?;
    let edited = workshop
        .git
        .text("compare with the last rendering", &["diff", "--name-only", "-z", "--no-renames", ours, tip])?;
    let is_needed = |path: &&str| *path == MANIFEST || last.files.contains_key(*path) || tree.contains_key(*path);
    let edited: Vec<String> = edited.split('\0').filter(is_needed).map(str::to_owned).collect();
    match edited.is_empty() || gives_up_edits {
        true if edited.is_empty() => Ok(last),
        // Whatever was edited is written again, whether it differs from the last rendering or not.
        true => Ok(last.without(&edited)),
        false => Err(RenderedError::Edited { paths: edited }),
    }
}

fn grep_ours() -> String {
    format!("^{REVISION_TRAILER}: ")
}

/// Files that differ between two manifests, sorted.
fn changed_files(last: Option<&Manifest>, next: &Manifest) -> Vec<String> {
    let before = |path: &String| last.and_then(|last| last.files.get(path));
    let written = next.files.iter().filter(|(path, hash)| before(path) != Some(hash)).map(|(path, _)| path);
    let removed = last.into_iter().flat_map(|last| last.files.keys()).filter(|path| !next.files.contains_key(*path));
    written.chain(removed).cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

/// The files of each commit; the manifest goes with the last one.
fn in_parts(changed: &[String]) -> Vec<&[String]> {
    match changed.len() < COMMIT_FILES_MAX {
        true => vec![changed],
        // One file less in each leaves room for the manifest in the last.
        false => changed.chunks(COMMIT_FILES_MAX - 1).collect(),
    }
}

/// A repository of ours, without files, in which commits are made.
#[derive(Debug)]
struct Workshop {
    git: Git,
    /// Keeps another rendering from making its commits here meanwhile.
    _lock: File,
}

impl Workshop {
    fn open(folder: &Path) -> Result<Self, RenderedError> {
        std::fs::create_dir_all(folder).map_err(|error| RenderedError::file("create", folder, error))?;
        let lock = folder.join("levada.lock");
        let opened = File::create(&lock).and_then(|file| file.lock().map(|()| file));
        let git = Git::new(folder);
        let _lock = opened.map_err(|error| RenderedError::file("lock", lock, error))?;
        if !folder.join("HEAD").is_file() {
            git.text("make a repository", &["init", "--quiet", "--bare", "."])?;
        }
        Ok(Self { git, _lock })
    }

    /// Fetches the branch with its history; gives its tip, `None` where there is no such branch.
    fn fetch(&self, target: &BranchTarget) -> Result<Option<String>, RenderedError> {
        let BranchTarget { repository, branch } = target;
        let listed = self
            .git
            .text("look at the repository", &["ls-remote", "--", repository, &format!("refs/heads/{branch}")])?;
        let Some(tip) = listed.split_whitespace().next() else { return Ok(None) };
        let reference = format!("+refs/heads/{branch}:refs/levada/tip");
        self.git.text("fetch the branch", &["fetch", "--quiet", "--no-tags", "--", repository, &reference])?;
        // Somebody may have pushed between the two: what was fetched counts.
        let fetched = self
            .git
            .text("fetch the branch", &["rev-parse", "--verify", "refs/levada/tip"])
            .map(|it| it.trim().to_owned())?;
        debug_assert_eq!(fetched.len(), tip.len());
        Ok(Some(fetched))
    }

    /// A file of a commit.
    fn show(&self, commit: &str, path: &str) -> Result<Option<Vec<u8>>, RenderedError> {
        let output = self.git.run(&["cat-file", "blob", &format!("{commit}:{path}")])?;
        Ok(output.status.success().then_some(output.stdout))
    }

    /// Makes one commit per part, the first one on `tip`.
    fn import(
        &self,
        tip: Option<&str>,
        parts: &[&[String]],
        tree: &Tree,
        manifest: &Manifest,
    ) -> Result<(), RenderedError> {
        // What an earlier try left must not become a parent.
        self.git.text("forget earlier commits", &["update-ref", "-d", NEW_REFERENCE])?;
        let mut stream = Vec::new();
        for (index, paths) in parts.iter().enumerate() {
            let from = tip.filter(|_| index == 0);
            commit(&mut stream, &message(manifest, index + 1, parts.len(), paths.len()), from);
            paths.iter().for_each(|path| change(&mut stream, path, tree.get(path).map(Vec::as_slice)));
            if index + 1 == parts.len() {
                change(&mut stream, MANIFEST, Some(&manifest.to_bytes()));
            }
        }
        stream.extend(b"done\n");
        let import = ["fast-import", "--quiet", "--done", "--date-format=now"];
        Ok(self.git.feed("make the commits", &import, &stream)?)
    }
}

fn message(manifest: &Manifest, part: usize, parts: usize, files: usize) -> String {
    let Manifest { platform, revision, .. } = manifest;
    let what = if parts == 1 { String::new() } else { format!(", part {part} of {parts}") };
    let mut text = format!("Render {platform}{what}: {files} files\n\n{REVISION_TRAILER}: {revision}\n");
    if parts > 1 {
        text.push_str(&format!("Levada-Part: {part}/{parts}\n"));
    }
    text
}

fn commit(stream: &mut Vec<u8>, message: &str, from: Option<&str>) {
    stream.extend(format!("commit {NEW_REFERENCE}\ncommitter {COMMITTER} now\n").bytes());
    data(stream, message.as_bytes());
    if let Some(from) = from {
        stream.extend(format!("from {from}\n").bytes());
    }
}

/// Writes a file, or removes it.
fn change(stream: &mut Vec<u8>, path: &str, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            stream.extend(format!("M 100644 inline {}\n", quoted(path)).bytes());
            data(stream, bytes);
        }
        None => stream.extend(format!("D {}\n", quoted(path)).bytes()),
    }
}

fn data(stream: &mut Vec<u8>, bytes: &[u8]) {
    stream.extend(format!("data {}\n", bytes.len()).bytes());
    stream.extend(bytes);
    stream.push(b'\n');
}

/// A path in the manner of fast-import's quotes.
fn quoted(path: &str) -> String {
    let mut text = String::from("\"");
    for character in path.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
    text + "\""
}
