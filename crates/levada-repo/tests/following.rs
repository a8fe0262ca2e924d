//! Checkouts of real repositories that follow a branch.

use levada_repo::{Checkout, FollowError};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A bare repository, somebody's clone of it, and the clone that follows.
struct Setting {
    folder: tempfile::TempDir,
}

impl Setting {
    fn new() -> Self {
        let setting = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        git(setting.folder.path(), &["init", "--quiet", "--bare", "--initial-branch=main", "remote.git"]);
        git(setting.folder.path(), &["clone", "--quiet", "remote.git", "author"]);
        setting.somebody_pushes("model/a.yaml", "1");
        git(setting.folder.path(), &["clone", "--quiet", "remote.git", "here"]);
        setting
    }

    fn author(&self) -> PathBuf {
        self.folder.path().join("author")
    }

    fn here(&self) -> PathBuf {
        self.folder.path().join("here")
    }

    fn somebody_pushes(&self, path: &str, text: &str) -> String {
        commit(&self.author(), path, text);
        git(&self.author(), &["push", "--quiet", "--force", "origin", "HEAD:main"]);
        git(&self.author(), &["rev-parse", "HEAD"])
    }

    fn checkout(&self) -> Result<Checkout, FollowError> {
        Checkout::open(&self.here().join("model"), &self.here().join(".levada/follow"))
    }

    fn file(&self) -> String {
        std::fs::read_to_string(self.here().join("model/a.yaml")).expect("the file")
    }
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().expect("git");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

fn commit(clone: &Path, path: &str, text: &str) {
    let path = clone.join(path);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
    std::fs::write(path, text).expect("a file");
    git(clone, &["add", "."]);
    git(clone, &["-c", "user.name=me", "-c", "user.email=me@localhost", "commit", "--quiet", "-m", text]);
}

#[test]
fn what_is_new_is_laid_out_beside_the_checkout_which_advances_when_it_is_told() {
    let setting = Setting::new();
    let checkout = setting.checkout().expect("a checkout");
    assert_eq!(checkout.fetch().expect("it fetches"), checkout.commit().expect("a commit"), "nothing is new");
    let pushed = setting.somebody_pushes("model/a.yaml", "2");
    let fetched = checkout.fetch().expect("it fetches");
    assert_eq!(fetched, pushed);
    let laid_out = checkout.lay_out(&fetched).expect("it is laid out");
    assert_eq!(std::fs::read_to_string(laid_out.root.join("a.yaml")).expect("the file"), "2");
    assert_eq!(setting.file(), "1");
    let folder = laid_out.root.clone();
    drop(laid_out);
    assert!(!folder.exists());
    checkout.advance(&fetched).expect("it advances");
    assert_eq!((setting.file().as_str(), checkout.commit().expect("a commit")), ("2", pushed));
    assert_eq!(git(&setting.here(), &["worktree", "list"]).lines().count(), 1);
}

#[test]
fn what_a_killed_run_laid_out_is_in_nobodys_way() {
    let setting = Setting::new();
    let checkout = setting.checkout().expect("a checkout");
    let commit = checkout.commit().expect("a commit");
    // A value that is never dropped is what a kill leaves.
    std::mem::forget(checkout.lay_out(&commit).expect("it is laid out"));
    let again = checkout.lay_out(&commit).expect("it is laid out again");
    assert!(again.root.join("a.yaml").is_file());
}

#[test]
fn two_do_not_follow_in_one_checkout_at_once() {
    let setting = Setting::new();
    let first = setting.checkout().expect("a checkout");
    assert!(matches!(setting.checkout(), Err(FollowError::Busy)));
    drop(first);
    setting.checkout().expect("it is free again");
}

#[test]
fn a_checkout_that_cannot_follow_says_why_and_stays() {
    let setting = Setting::new();
    setting.somebody_pushes("model/a.yaml", "2");
    let refused = |what: &str| {
        let error = setting.checkout().expect("a checkout").fetch().expect_err(what);
        assert!(error.hint().is_some(), "{error:?}");
        assert_eq!(git(&setting.here(), &["rev-list", "--count", "HEAD"]), if what == "committed" { "2" } else { "1" });
        error
    };
    std::fs::write(setting.here().join("model/a.yaml"), "mine").expect("a file");
    let FollowError::Changed { paths } = refused("changed") else { panic!("a changed file") };
    assert_eq!(paths, ["model/a.yaml"]);
    git(&setting.here(), &["restore", "."]);

    commit(&setting.here(), "model/b.yaml", "mine");
    assert!(matches!(refused("committed"), FollowError::Diverged { commits, .. } if commits == "1"));
    git(&setting.here(), &["reset", "--quiet", "--hard", "HEAD~1"]);

    git(&setting.author(), &["checkout", "--quiet", "--orphan", "other"]);
    setting.somebody_pushes("model/a.yaml", "rewritten");
    assert!(matches!(refused("force-pushed"), FollowError::Diverged { .. }));

    git(&setting.here(), &["checkout", "--quiet", "--detach"]);
    assert!(matches!(refused("detached"), FollowError::NoUpstream { .. }));
    let outside = tempfile::tempdir().expect("a temporary folder");
    let error = Checkout::open(outside.path(), &outside.path().join("area")).expect_err("no git here");
    assert!(matches!(error, FollowError::NoCheckout { .. }) && error.hint().is_some());
}
