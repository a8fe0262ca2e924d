//! The rule that every Rust file is a part of some crate.
//!
//! Follows `mod name;`, `#[path = "…"] mod name;` and `include!("…")` from the files that Cargo takes
//! for roots. Conditions (`#[cfg]`) count as true: a file for another system is not dead.

use super::Finding;
use super::mask::{is_word, mask, words};
use super::tree::Tree;
use std::collections::BTreeSet;

/// A file that nothing names is compiled by nobody and read by everybody.
pub(crate) fn every_file_is_reached(tree: &Tree) -> Vec<Finding> {
    let mut reached = BTreeSet::new();
    let mut waiting = roots(tree);
    while let Some(path) = waiting.pop() {
        if let Some(text) = tree.text(&path)
            && reached.insert(path.clone())
        {
            waiting.extend(named_files(&path, text, tree));
        }
    }
    let dead = tree.rust().filter(|(path, _)| !reached.contains(*path));
    let hint = "name it with `mod` in its parent, or delete it";
    dead.map(|(path, _)| Finding::new(path, 1, "no crate reaches this file", hint)).collect()
}

/// Each crate's integration tests are one program: every further one links the whole engine again.
pub(crate) fn one_test_program_per_crate(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (package, manifest) in tree.packages().filter(|(_, manifest)| finds_tests(manifest)) {
        let folder = format!("{package}/tests/");
        let names = tree.rust().filter_map(|(path, _)| path.strip_prefix(&folder));
        let programs: Vec<_> = names.filter(|name| is_conventional_root(name)).collect();
        if programs.len() > 1 {
            let message = format!("has {} test programs: {}", programs.len(), programs.join(", "));
            let hint = "make all but tests/main.rs its modules: write `autotests = false` under [package], and \
                `[[test]]` with `name = \"main\"` and `path = \"tests/main.rs\"`";
            let line = manifest.lines().position(|line| line == "[package]").map_or(1, |index| index + 1);
            findings.push(Finding::new(&format!("{package}/Cargo.toml"), line, message, hint));
        }
    }
    findings
}

/// Whether Cargo makes a program of each file in `tests`.
fn finds_tests(manifest: &str) -> bool {
    !manifest.lines().any(|line| line.replace(' ', "") == "autotests=false")
}

/// Whether Cargo finds a target in a path below `tests`, `examples`, `benches` or `src/bin`.
fn is_conventional_root(rest: &str) -> bool {
    rest.split_once('/').is_none_or(|(_, file)| file == "main.rs")
}

/// The files that Cargo compiles as roots, by its conventions and by `path = "…"` of targets.
fn roots(tree: &Tree) -> Vec<String> {
    let mut roots = Vec::new();
    for (package, manifest) in tree.packages() {
        let below = |folder: &str| format!("{package}/{folder}/");
        roots.extend(["src/lib.rs", "src/main.rs", "build.rs"].map(|file| format!("{package}/{file}")));
        let is_target = |folder: &&str| *folder != "tests" || finds_tests(manifest);
        for folder in ["src/bin", "tests", "examples", "benches"].into_iter().filter(is_target).map(below) {
            let inside = tree.rust().filter_map(|(path, _)| Some((path, path.strip_prefix(&folder)?)));
            roots.extend(inside.filter(|(_, rest)| is_conventional_root(rest)).map(|(path, _)| path.to_owned()));
        }
        let declared = manifest.lines().filter_map(|line| line.trim().strip_prefix("path")?.split('"').nth(1));
        roots.extend(declared.filter(|path| path.ends_with(".rs")).map(|path| normal(&format!("{package}/{path}"))));
    }
    roots
}

/// The files that one file's modules and inclusions lie in.
fn named_files(path: &str, text: &str, tree: &Tree) -> Vec<String> {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = file.trim_end_matches(".rs");
    let owns_folder = matches!(stem, "lib" | "main" | "mod" | "build") || is_target_root(path, tree);
    let children = if owns_folder { folder.to_owned() } else { format!("{folder}/{stem}") };
    let code = mask(text);
    let mut files = Vec::new();
    for module in modules(&code, text) {
        let inside = module.within.iter().fold(children.clone(), |folder, name| format!("{folder}/{name}"));
        match module.path {
            // `#[path]` counts from the file's folder, and from the module's own inside an inline one.
            Some(given) if module.within.is_empty() => files.push(normal(&format!("{folder}/{given}"))),
            Some(given) => files.push(normal(&format!("{inside}/{given}"))),
            None => {
                files.extend([format!("{inside}/{}.rs", module.name), format!("{inside}/{}/mod.rs", module.name)]);
            }
        }
    }
    let included = words(&code, "include!").filter_map(|at| text[at..].split('"').nth(1));
    files.extend(included.map(|given| normal(&format!("{folder}/{given}"))));
    files
}

/// Whether a file such as `tests/main.rs` or `src/bin/tool.rs` is a root whose modules lie beside it.
fn is_target_root(path: &str, tree: &Tree) -> bool {
    let (folder, _) = path.rsplit_once('/').unwrap_or(("", path));
    ["src/bin", "tests", "examples", "benches"]
        .iter()
        .any(|target| folder.strip_suffix(target).is_some_and(|package| tree.contains(&format!("{package}Cargo.toml"))))
}

/// A `mod name;` and where it stands.
struct Module<'a> {
    name: &'a str,
    /// The inline modules around it, outermost first.
    within: Vec<&'a str>,
    /// What `#[path = "…"]` says.
    path: Option<&'a str>,
}

fn modules<'a>(code: &'a str, text: &'a str) -> Vec<Module<'a>> {
    let (mut found, mut inline, mut depth, mut at) = (Vec::new(), Vec::<(&str, usize)>::new(), 0, 0);
    let starts: BTreeSet<usize> = words(code, "mod").collect();
    let bytes = code.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                inline.pop_if(|(_, opened)| *opened > depth);
            }
            b'm' if starts.contains(&at) => {
                let after = code[at + 3..].trim_start();
                let start = code.len() - after.len();
                let length = after.bytes().position(|byte| !is_word(byte)).unwrap_or(after.len());
                let name = &code[start..start + length];
                match after[length..].trim_start().bytes().next() {
                    Some(b';') => {
                        let within = inline.iter().map(|(name, _)| *name).collect();
                        found.push(Module { name, within, path: path_attribute(code, text, at) });
                    }
                    Some(b'{') => inline.push((name, depth + 1)),
                    _ => {}
                }
                at = start + length;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// The value of `#[path = "…"]` among the attributes right before `at`.
fn path_attribute<'a>(code: &str, text: &'a str, at: usize) -> Option<&'a str> {
    let start = code[..at].rfind([';', '}', '{']).map_or(0, |end| end + 1);
    let attribute = start + code[start..at].find("#[path")?;
    text[attribute..at].split('"').nth(1)
}

/// A path without `.` and `..`.
fn normal(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    segments.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: (&str, &str) =
        ("c/Cargo.toml", "[package]\nname = \"c\"\n\n[[bin]]\nname = \"tool\"\npath = \"tools/tool.rs\"\n");

    fn dead(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files.iter().copied().chain([MANIFEST]).collect();
        every_file_is_reached(&Tree::of(&files)).into_iter().map(|finding| finding.path).collect()
    }

    #[test]
    fn files_are_reached_through_every_spelling_of_a_module() {
        let found = dead(&[
            ("c/src/lib.rs", "pub mod a;\nmod b { mod inner; }\n#[cfg(windows)]\n#[path = \"odd/name.rs\"]\nmod c;\n"),
            ("c/src/a.rs", "mod deep;\ninclude!(\"tables.rs\");\n"),
            ("c/src/a/deep.rs", ""),
            ("c/src/b/inner.rs", ""),
            ("c/src/odd/name.rs", ""),
            ("c/src/tables.rs", ""),
            ("c/tests/main.rs", "mod laws;\n"),
            ("c/tests/laws.rs", ""),
            ("c/tests/single/main.rs", ""),
            ("c/src/bin/extra.rs", ""),
            ("c/tools/tool.rs", ""),
            ("c/build.rs", ""),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn second_test_program_of_a_crate_is_found() {
        let files = [("c/tests/main.rs", "mod laws;\n"), ("c/tests/laws.rs", ""), ("c/tests/more/mod.rs", "")];
        let found = |manifest| {
            let files: Vec<_> = files.into_iter().chain([("c/Cargo.toml", manifest)]).collect();
            one_test_program_per_crate(&Tree::of(&files)).into_iter().map(|finding| finding.path).collect::<Vec<_>>()
        };
        assert_eq!(found("[package]\nname = \"c\"\n"), ["c/Cargo.toml"]);
        assert_eq!(found("[package]\nname = \"c\"\nautotests = false\n"), Vec::<String>::new());
    }

    #[test]
    fn file_in_tests_is_dead_where_cargo_does_not_look_for_tests_and_main_does_not_name_it() {
        let manifest = "[package]\nautotests = false\n\n[[test]]\nname = \"main\"\npath = \"tests/main.rs\"\n";
        let files = [
            ("d/Cargo.toml", manifest),
            ("d/tests/main.rs", "mod laws;\n"),
            ("d/tests/laws.rs", ""),
            ("d/tests/old.rs", ""),
        ];
        assert_eq!(dead(&files), ["d/tests/old.rs"]);
    }

    #[test]
    fn file_that_is_named_only_in_a_comment_or_elsewhere_is_dead() {
        let found = dead(&[
            ("c/src/lib.rs", "// mod a;\nmod b;\nmod later { fn f() {} }\nmod e;\n"),
            ("c/src/a.rs", ""),
            ("c/src/b/mod.rs", "fn model() {}\n"),
            ("c/src/b/el.rs", ""),
            ("c/src/later/e.rs", ""),
            ("stray.rs", ""),
        ]);
        assert_eq!(found, ["c/src/a.rs", "c/src/b/el.rs", "c/src/later/e.rs", "stray.rs"]);
    }
}
