//! Rules for single Rust files.

use super::Finding;
use super::mask::{is_word, mask, without_tests, words};
use super::tree::{Tree, line_of};

/// Crates that are functions of their input and nothing else.
const PURE_CRATES: &[&str] = &["levada-model", "levada-planner", "levada-platforms"];

/// Modules of the standard library that reach outside.
const IMPURE_STD: &[&str] = &["env", "fs", "net", "process", "thread", "time"];

/// Crates that reach outside, and calls that ask the clock.
const IMPURE_NAMES: &[&str] = &["tokio::", "rand::", "tracing::", "Timestamp::now", "Zoned::now", "TimeZone::system"];

/// Names that say nothing about what a file holds.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "manager", "misc", "shared"];

/// Every module opens with `//!`.
pub(crate) fn every_module_says_what_it_is(tree: &Tree) -> Vec<Finding> {
    let silent = tree.rust().filter(|(_, text)| !text.trim_start_matches('\u{feff}').starts_with("//!"));
    let hint = "open the file with `//!`: what it is, what it takes and gives, what it does not know";
    silent.map(|(path, _)| Finding::new(path, 1, "does not say what it is", hint)).collect()
}

/// No placeholder and no ignored test is left.
pub(crate) fn nothing_is_left_unfinished(tree: &Tree) -> Vec<Finding> {
    let unfinished = [
        ("todo!", "write it, or return a typed error"),
        ("unimplemented!", "write it, or return a typed error"),
        ("dbg!", "take it out"),
        ("#[ignore", "make the test run everywhere, or delete it"),
    ];
    let mut findings = Vec::new();
    for (path, text) in tree.rust() {
        let code = mask(text);
        for (word, hint) in unfinished {
            let found = words(&code, word);
            findings.extend(found.map(|at| Finding::new(path, line_of(text, at), format!("has a `{word}`"), hint)));
        }
    }
    findings
}

/// A lint is suppressed only by `#[expect(…, reason = "…")]`, which complains when it isn't needed any more.
pub(crate) fn lints_are_expected_with_a_reason(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.rust() {
        let code = mask(text);
        for (at, attribute) in attributes(&code) {
            let allows = words(attribute, "allow").any(|at| opens_list(&attribute[at + "allow".len()..]));
            if allows && is_lint_attribute(attribute) {
                let hint = "write `#[expect(lint, reason = \"…\")]`, or mend what the lint is about";
                findings.push(Finding::new(path, line_of(text, at), "allows a lint", hint));
            }
            if attribute.starts_with("expect") && words(attribute, "reason").next().is_none() {
                let hint = "end the list with `reason = \"…\"`";
                findings.push(Finding::new(path, line_of(text, at), "expects a lint without a reason", hint));
            }
        }
    }
    findings
}

/// The insides of all `#[…]` and `#![…]`, and where they begin.
fn attributes(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.match_indices('#').filter_map(|(at, _)| {
        let inside = ["#[", "#!["].iter().find_map(|opening| code[at..].strip_prefix(opening))?;
        let mut depth = 1;
        let end = inside.bytes().position(|byte| {
            depth += match byte {
                b'[' => 1,
                b']' => -1,
                _ => 0,
            };
            depth == 0
        })?;
        Some((at, inside[..end].trim_start()))
    })
}

fn opens_list(rest: &str) -> bool {
    rest.trim_start().starts_with('(')
}

fn is_lint_attribute(attribute: &str) -> bool {
    attribute.starts_with("allow") || attribute.starts_with("cfg_attr")
}

/// The pure crates name no file, clock, environment, randomness, network, async or log outside their tests.
pub(crate) fn pure_crates_are_pure(tree: &Tree) -> Vec<Finding> {
    let hint = "what is observed comes in as a value: let the caller read it, and pass it on";
    let mut findings = Vec::new();
    for (path, text) in tree.rust().filter(|(path, _)| is_pure(path)) {
        let code = without_tests(&mask(text));
        for (at, name) in impure_names(&code) {
            findings.push(Finding::new(path, line_of(text, at), format!("names `{name}` in a pure crate"), hint));
        }
    }
    findings
}

fn is_pure(path: &str) -> bool {
    let pure = |name: &&str| path.strip_prefix("crates/").and_then(|rest| rest.strip_prefix(*name));
    PURE_CRATES.iter().filter_map(pure).any(|rest| rest.starts_with("/src/"))
}

fn impure_names(code: &str) -> Vec<(usize, String)> {
    let named = IMPURE_NAMES.iter().flat_map(|name| words(code, name).map(|at| (at, name.to_string())));
    let imported = ["tokio", "rand", "tracing"].into_iter().flat_map(|name| {
        let uses = words(code, "use").filter(move |at| code[at + 3..].trim_start().starts_with(name));
        let whole = uses.filter(move |at| code[at + 3..].trim_start()[name.len()..].trim_start().starts_with(';'));
        whole.map(move |at| (at, name.to_owned()))
    });
    let std = words(code, "std::").flat_map(|at| {
        let modules = first_segments(&code[at + "std::".len()..]);
        let impure = modules.into_iter().filter(|module| IMPURE_STD.contains(module));
        impure.map(move |module| (at, format!("std::{module}"))).collect::<Vec<_>>()
    });
    named.chain(imported).chain(std).collect()
}

/// What a path goes on with: `fs::File` gives `fs`, `{fs, env::var}` gives `fs` and `env`.
fn first_segments(rest: &str) -> Vec<&str> {
    let Some(group) = rest.strip_prefix('{') else { return vec![first_word(rest)] };
    let (mut depth, mut start, mut segments) = (0, 0, Vec::new());
    for (at, byte) in group.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth > 0 => depth -= 1,
            b',' | b'}' if depth == 0 => {
                segments.push(first_word(&group[start..at]));
                start = at + 1;
                if byte == b'}' {
                    break;
                }
            }
            _ => {}
        }
    }
    segments
}

fn first_word(text: &str) -> &str {
    let text = text.trim_start();
    let length = text.bytes().position(|byte| !is_word(byte)).unwrap_or(text.len());
    &text[..length]
}

/// A file's name says what is in it.
pub(crate) fn files_are_named_after_what_they_hold(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, _) in tree.rust() {
        let mut segments = path.trim_end_matches(".rs").split('/');
        if let Some(name) = segments.find(|segment| EMPTY_NAMES.contains(segment)) {
            let hint = "name the one concept in it with a word of docs/glossary.md";
            findings.push(Finding::new(path, 1, format!("`{name}` says nothing about what is in it"), hint));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(rule: fn(&Tree) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
        rule(&Tree::of(&[(path, text)])).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn module_without_inner_doc_is_found() {
        assert_eq!(lines(every_module_says_what_it_is, "a.rs", "// A remark.\nfn a() {}\n"), [1]);
        assert_eq!(lines(every_module_says_what_it_is, "a.rs", "//! A module.\n"), [0; 0]);
    }

    #[test]
    fn placeholders_are_found_in_code_and_not_in_prose() {
        let text = "//! No todo!() here.\nfn a() { todo!() }\nlet b = \"dbg!\";\nmy_todo!();\n#[ignore = \"slow\"]\n";
        assert_eq!(lines(nothing_is_left_unfinished, "a.rs", text), [2, 5]);
    }

    #[test]
    fn allowed_lints_and_expectations_without_reason_are_found() {
        let text = "#![allow(unused)]\n#[cfg_attr(test, allow(dead_code))]\n#[expect(unused)]\n\
            #[expect(\n    unused,\n    reason = \"why\"\n)]\n#[clap(allow(x))]\nfn allow(a: u8) {}\n";
        assert_eq!(lines(lints_are_expected_with_a_reason, "a.rs", text), [1, 2, 3]);
    }

    #[test]
    fn pure_crate_reaches_for_nothing_outside_in_any_spelling() {
        let text = "use std::{collections::{BTreeMap, fs}, fmt, env::var};\nuse std::fs::File;\nlet t = Timestamp::now();\n\
            use tokio;\nrand::random();\nuse std::fmt;\n// std::fs\n#[cfg(test)]\nmod tests { use std::fs; }\n";
        let path = "crates/levada-planner/src/lib.rs";
        let mut found = lines(pure_crates_are_pure, path, text);
        found.sort_unstable();
        assert_eq!(found, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn crates_that_do_io_and_tests_of_pure_ones_may_reach_outside() {
        assert_eq!(lines(pure_crates_are_pure, "crates/levada-repo/src/lib.rs", "use std::fs;\n"), [0; 0]);
        assert_eq!(lines(pure_crates_are_pure, "crates/levada-model/tests/main.rs", "use std::fs;\n"), [0; 0]);
    }

    #[test]
    fn names_that_say_nothing_are_found_in_files_and_folders() {
        assert_eq!(lines(files_are_named_after_what_they_hold, "src/utils.rs", ""), [1]);
        assert_eq!(lines(files_are_named_after_what_they_hold, "tests/common/mod.rs", ""), [1]);
        assert_eq!(lines(files_are_named_after_what_they_hold, "src/common_feed.rs", ""), [0; 0]);
    }
}
