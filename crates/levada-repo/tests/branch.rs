//! Rendered trees on branches of real repositories.

use levada_repo::GitError;
use levada_repo::rendered::{BranchTarget, MANIFEST, Manifest, Pushed, RenderedError, Tree, prepare_push};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A bare repository, and a folder for commits that are made.
struct Setting {
    folder: tempfile::TempDir,
    target: BranchTarget,
}

impl Setting {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let remote = folder.path().join("remote.git");
        git(folder.path(), &["init", "--quiet", "--bare", "--initial-branch=main", "remote.git"]);
        let target = format!("{}#deploy", remote.display()).parse().expect("a repository and a branch");
        Self { folder, target }
    }

    fn remote(&self) -> PathBuf {
        self.folder.path().join("remote.git")
    }

    fn prepare(&self, tree: &Tree, gives_up_edits: bool) -> Result<levada_repo::rendered::PreparedPush, RenderedError> {
        let work = self.folder.path().join("work");
        prepare_push(&self.target, &work, tree, &Manifest::of("P", "abc123", 1, tree), gives_up_edits)
    }

    fn push(&self, tree: &Tree) -> Result<Pushed, RenderedError> {
        self.prepare(tree, false)?.push()
    }

    fn git(&self, arguments: &[&str]) -> String {
        git(&self.remote(), arguments)
    }

    fn show(&self, path: &str) -> String {
        self.git(&["show", &format!("deploy:{path}")])
    }

    /// Commits a file as somebody else would.
    fn somebody_commits(&self, path: &str, text: &str) {
        let clone = tempfile::tempdir().expect("a temporary folder");
        let remote = self.remote().display().to_string();
        git(clone.path(), &["clone", "--quiet", "--branch", "deploy", &remote, "."]);
        std::fs::write(clone.path().join(path), text).expect("write");
        git(clone.path(), &["add", "."]);
        let me = ["-c", "user.name=me", "-c", "user.email=me@localhost"];
        git(clone.path(), &[&me[..], &["commit", "--quiet", "--message", "mine"]].concat());
        git(clone.path(), &["push", "--quiet", "origin", "deploy"]);
    }
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().expect("git is installed");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn tree(files: &[(&str, &str)]) -> Tree {
    files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
}

fn numbered(count: usize, text: &str) -> Tree {
    (0..count).map(|number| (format!("stacks/{number:03}/a.tf"), text.as_bytes().to_vec())).collect()
}

#[test]
fn a_branch_is_made_then_left_alone_then_gets_only_what_differs() {
    let setting = Setting::new();
    let first = tree(&[("a.tf", "a"), ("deep/b \"quoted\" ü.tf", "b"), ("c.tf", "c")]);
    assert_eq!(setting.push(&first).expect("it pushes"), Pushed { commits: 1, files: 3 });
    assert_eq!(setting.show("deep/b \"quoted\" ü.tf"), "b");
    assert_eq!(setting.push(&first).expect("it looks"), Pushed { commits: 0, files: 0 });
    let second = tree(&[("a.tf", "a2"), ("deep/b \"quoted\" ü.tf", "b")]);
    assert_eq!(setting.push(&second).expect("it pushes"), Pushed { commits: 1, files: 2 });
    let changed = setting.git(&["diff", "--name-status", "deploy~1", "deploy"]);
    assert_eq!(changed, "M\ta.tf\nD\tc.tf\nM\trender-manifest.json");
    let trailer = setting.git(&["log", "-1", "--format=%(trailers:key=Levada-Revision,valueonly)", "deploy"]);
    assert_eq!(trailer, "abc123");
    assert_eq!(setting.git(&["rev-list", "--count", "deploy"]), "2");
}

#[test]
fn many_files_are_a_chain_of_small_commits_in_one_push_with_the_manifest_last() {
    let setting = Setting::new();
    assert_eq!(setting.push(&numbered(700, "a")).expect("it pushes"), Pushed { commits: 3, files: 700 });
    let counts = setting.git(&["log", "--format=", "--shortstat", "--root", "deploy"]);
    let counts: Vec<usize> = counts.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
    assert!(counts.len() == 3 && counts.iter().all(|count| *count < 300), "{counts:?}");
    let parts = setting.git(&["log", "--format=%(trailers:key=Levada-Part,valueonly,separator=%x2C)", "deploy"]);
    assert_eq!(parts.split_whitespace().collect::<Vec<_>>(), ["3/3", "2/3", "1/3"]);
    let with_manifest = setting.git(&["log", "--format=%s", "deploy", "--", MANIFEST]);
    assert_eq!(with_manifest.lines().count(), 1);
}

#[test]
fn what_others_commit_beside_stays_and_what_they_edit_is_named() {
    let setting = Setting::new();
    setting.push(&tree(&[("a.tf", "a"), ("b.tf", "b")])).expect("it pushes");
    setting.somebody_commits("README.md", "mine");
    let next = tree(&[("a.tf", "a2"), ("b.tf", "b")]);
    assert_eq!(setting.push(&next).expect("it pushes"), Pushed { commits: 1, files: 1 });
    assert_eq!(setting.show("README.md"), "mine");
    setting.somebody_commits("b.tf", "edited");
    match setting.push(&next) {
        Err(RenderedError::Edited { paths }) => assert_eq!(paths, ["b.tf"]),
        other => panic!("{other:?}"),
    }
    let pushed = setting.prepare(&next, true).expect("it gives the edit up").push().expect("it pushes");
    assert_eq!((pushed, setting.show("b.tf")), (Pushed { commits: 1, files: 1 }, "b".to_owned()));
}

#[test]
fn a_branch_that_moved_is_never_pushed_over() {
    let setting = Setting::new();
    setting.push(&tree(&[("a.tf", "a")])).expect("it pushes");
    let prepared = setting.prepare(&tree(&[("a.tf", "a2")]), false).expect("it prepares");
    setting.somebody_commits("README.md", "mine");
    assert!(matches!(prepared.push(), Err(RenderedError::BranchMoved { .. })));
    assert_eq!((setting.show("a.tf"), setting.show("README.md")), ("a".to_owned(), "mine".to_owned()));
    // The next try begins at the new tip.
    setting.push(&tree(&[("a.tf", "a2")])).expect("it pushes");
    assert_eq!((setting.show("a.tf"), setting.show("README.md")), ("a2".to_owned(), "mine".to_owned()));
}

#[test]
fn a_branch_of_somebody_else_and_a_repository_that_is_not_there_are_told() {
    let setting = Setting::new();
    let clone = tempfile::tempdir().expect("a temporary folder");
    let remote = setting.remote().display().to_string();
    git(clone.path(), &["clone", "--quiet", &remote, "."]);
    std::fs::write(clone.path().join("thesis.txt"), "mine").expect("write");
    git(clone.path(), &["add", "."]);
    git(clone.path(), &["-c", "user.name=me", "-c", "user.email=me@localhost", "commit", "--quiet", "-m", "mine"]);
    git(clone.path(), &["push", "--quiet", "origin", "HEAD:deploy"]);
    assert!(matches!(setting.push(&tree(&[("a.tf", "a")])), Err(RenderedError::ForeignBranch { .. })));
    let nowhere: BranchTarget = "/nowhere.git#main".parse().expect("a repository and a branch");
    let files = tree(&[("a.tf", "a")]);
    let told =
        prepare_push(&nowhere, clone.path().join("work").as_path(), &files, &Manifest::of("P", "r", 1, &files), false);
    match told {
        Err(RenderedError::Git(GitError::Said { output, .. })) => assert!(output.contains("/nowhere.git"), "{output}"),
        other => panic!("{other:?}"),
    }
    for text in ["", "repository", "#main", "repository#", "--upload-pack=evil#main"] {
        assert!(text.parse::<BranchTarget>().is_err(), "{text}");
    }
}

#[test]
fn nobody_takes_another_platforms_branch_and_nothing_goes_backwards_unasked() {
    let setting = Setting::new();
    let work = setting.folder.path().join("work");
    let push = |platform: &str, generation: i64, text: &str, goes_back: bool| {
        let files: Tree = [("a.tf".to_owned(), text.as_bytes().to_vec())].into();
        let manifest = Manifest::of(platform, "r", generation, &files);
        prepare_push(&setting.target, &work, &files, &manifest, goes_back)?.push()
    };
    push("P", 2, "two", false).expect("it is pushed");
    assert!(matches!(push("Q", 3, "q", true), Err(RenderedError::Occupied { .. })));
    assert!(matches!(push("P", 1, "one", false), Err(RenderedError::Newer { found: 2, generation: 1 })));
    assert_eq!(push("P", 1, "one", true).expect("it goes back on purpose").commits, 1);
    assert_eq!(setting.show("a.tf"), "one");
}
