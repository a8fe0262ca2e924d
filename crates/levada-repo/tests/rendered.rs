//! Rendered trees in folders: what is there afterwards, whatever was there before.

use levada_repo::rendered::{MANIFEST, Manifest, RenderedError, Tree, Written, prepare_folder};
use std::path::Path;

fn tree(files: &[(&str, &str)]) -> Tree {
    files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
}

fn render(folder: &Path, tree: &Tree) -> Result<Written, RenderedError> {
    prepare_folder(folder, tree, &Manifest::of("P", "r1", 1, tree), false)?.write()
}

fn changed(written: &[&str], removed: &[&str]) -> Written {
    let owned = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
    Written { written: owned(written), removed: owned(removed) }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn text(folder: &Path, path: &str) -> Option<String> {
    std::fs::read_to_string(folder.join(path)).ok()
}

#[test]
fn only_what_differs_is_written_and_what_is_gone_is_removed_with_its_folder() {
    let folder = folder();
    let out = folder.path().join("out");
    let first = tree(&[("stacks/001/a.tf", "a"), ("stacks/002/b.tf", "b"), ("top.tf", "t")]);
    let all = changed(&["stacks/001/a.tf", "stacks/002/b.tf", "top.tf"], &[]);
    assert_eq!(render(&out, &first).expect("it renders"), all);
    assert!(render(&out, &first).expect("it renders").is_nothing());
    let second = tree(&[("stacks/001/a.tf", "a2"), ("top.tf", "t")]);
    assert_eq!(render(&out, &second).expect("it renders"), changed(&["stacks/001/a.tf"], &["stacks/002/b.tf"]));
    assert!(!out.join("stacks/002").exists());
    let manifest = Manifest::from_bytes(&std::fs::read(out.join(MANIFEST)).expect("it is there"), Path::new("m"));
    assert_eq!(manifest.expect("it reads"), Manifest::of("P", "r1", 1, &second));
}

#[test]
fn a_new_revision_of_the_same_files_rewrites_the_manifest_alone() {
    let folder = folder();
    let files = tree(&[("a.tf", "a")]);
    render(folder.path(), &files).expect("it renders");
    let later = Manifest::of("P", "r2", 1, &files);
    assert!(
        prepare_folder(folder.path(), &files, &later, false)
            .expect("it renders")
            .write()
            .expect("it writes")
            .is_nothing()
    );
    assert!(text(folder.path(), MANIFEST).expect("it is there").contains("r2"));
}

#[test]
fn what_somebody_edited_is_named_and_kept_until_it_is_given_up() {
    let folder = folder();
    let out = folder.path();
    render(out, &tree(&[("a.tf", "a"), ("b.tf", "b")])).expect("it renders");
    std::fs::write(out.join("a.tf"), "mine").expect("edit");
    std::fs::write(out.join("notes.md"), "mine").expect("a file of somebody else");
    let next = tree(&[("a.tf", "a2"), ("b.tf", "b2")]);
    match render(out, &next) {
        Err(RenderedError::Edited { paths }) => assert_eq!(paths, ["a.tf"]),
        other => panic!("{other:?}"),
    }
    assert_eq!(text(out, "b.tf").as_deref(), Some("b"), "nothing else was changed");
    prepare_folder(out, &next, &Manifest::of("P", "r1", 1, &next), true)
        .expect("it renders")
        .write()
        .expect("it writes");
    assert_eq!(text(out, "a.tf").as_deref(), Some("a2"));
    assert_eq!(text(out, "notes.md").as_deref(), Some("mine"));
    // A file of somebody else that a later rendering would need is an edit as well.
    match render(out, &tree(&[("notes.md", "ours")])) {
        Err(RenderedError::Edited { paths }) => assert_eq!(paths, ["notes.md"]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_folder_of_somebody_else_is_left_alone() {
    let folder = folder();
    std::fs::write(folder.path().join("thesis.txt"), "mine").expect("a file");
    assert!(matches!(render(folder.path(), &tree(&[("a.tf", "a")])), Err(RenderedError::Foreign { .. })));
}

/// What a rendering leaves that dies after so many of its files.
fn break_off(out: &Path, tree: &Tree, files: usize) {
    let announced = out.join(format!("{MANIFEST}.new"));
    let mut lines = std::fs::read(&announced).unwrap_or_default();
    lines.extend(serde_json::to_vec(&Manifest::of("P", "r2", 1, tree)).expect("it serialises"));
    lines.push(b'\n');
    std::fs::write(announced, lines).expect("announce");
    for (path, bytes) in tree.iter().take(files) {
        std::fs::write(out.join(path), bytes).expect("write");
    }
}

#[test]
fn a_rendering_that_broke_off_anywhere_is_finished_by_the_next() {
    let (old, new) = (tree(&[("a.tf", "a"), ("b.tf", "b"), ("c.tf", "c")]), tree(&[("a.tf", "a2"), ("b.tf", "b2")]));
    let newest = tree(&[("a.tf", "a3"), ("b.tf", "b2")]);
    for (files, has_last) in [(0, true), (1, true), (2, true), (0, false), (1, false), (2, false)] {
        let folder = folder();
        let out = folder.path();
        if has_last {
            render(out, &old).expect("it renders");
        }
        // The model changed meanwhile, and that rendering broke off before its first file.
        break_off(out, &new, files);
        break_off(out, &newest, 0);
        render(out, &newest).expect("it finishes");
        assert_eq!(text(out, "a.tf").as_deref(), Some("a3"));
        assert_eq!(text(out, "b.tf").as_deref(), Some("b2"));
        assert_eq!((text(out, "c.tf"), text(out, "render-manifest.json.new")), (None, None));
    }
}

#[test]
fn paths_that_leave_the_output_are_refused() {
    let folder = folder();
    for path in ["../x", "/etc/x", "a//b", "a/./b", "", "a/..", "render-manifest.json", "a\\b"] {
        let refused = render(&folder.path().join("out"), &tree(&[(path, "x")]));
        assert!(matches!(refused, Err(RenderedError::Path { .. })), "{path}");
    }
    assert!(!folder.path().join("out").exists());
}

#[test]
fn a_damaged_manifest_is_told_and_nothing_is_changed() {
    let folder = folder();
    render(folder.path(), &tree(&[("a.tf", "a")])).expect("it renders");
    std::fs::write(folder.path().join(MANIFEST), "{").expect("damage");
    assert!(matches!(render(folder.path(), &tree(&[("a.tf", "b")])), Err(RenderedError::Manifest { .. })));
    assert_eq!(text(folder.path(), "a.tf").as_deref(), Some("a"));
}

#[test]
fn nobody_takes_another_platforms_place_and_nothing_goes_backwards_unasked() {
    let folder = folder();
    let files = tree(&[("a.tf", "a")]);
    let render = |platform: &str, generation: i64, goes_back: bool| {
        let manifest = Manifest::of(platform, "r", generation, &files);
        prepare_folder(folder.path(), &files, &manifest, goes_back)
            .and_then(levada_repo::rendered::PreparedFolder::write)
    };
    render("P", 2, false).expect("it renders");
    for goes_back in [false, true] {
        let occupied = render("Q", 3, goes_back).expect_err("it is P's");
        assert!(matches!(&occupied, RenderedError::Occupied { platform } if platform == "P"), "{occupied}");
        assert!(occupied.hint().is_some());
    }
    let newer = render("P", 1, false).expect_err("generation 2 is there");
    assert!(matches!(newer, RenderedError::Newer { found: 2, generation: 1 }) && newer.hint().is_some());
    render("P", 1, true).expect("it goes back on purpose");
    render("P", 1, false).expect("it renders");
}
