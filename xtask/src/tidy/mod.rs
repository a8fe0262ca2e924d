//! `cargo xtask tidy`: the rules of this workspace that the compiler does not know.
//!
//! Takes the workspace's files as text, gives findings with a place and a hint, all of them in one
//! run and sorted. Builds and runs nothing; each rule is a function from a [`Tree`] to findings.

mod crate_table;
mod mask;
mod modules;
mod rust_source;
mod text;
pub(crate) mod tree;

use anyhow::Context;
use std::path::Path;
use std::process::ExitCode;
use tree::Tree;

/// One broken rule at one place.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Finding {
    /// From the workspace's root, `/`-separated.
    pub(crate) path: String,
    /// From 1.
    pub(crate) line: usize,
    /// What is wrong.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into(), hint: hint.into() }
    }
}

/// Every rule, in the order of their pages' names.
const RULES: &[fn(&Tree) -> Vec<Finding>] = &[
    crate_table::edges_are_in_the_table,
    crate_table::no_cycle_through_dev_dependencies,
    crate_table::only_levada_sql_names_datafusion,
    crate_table::each_dependency_has_a_reason,
    modules::every_file_is_reached,
    modules::one_test_program_per_crate,
    rust_source::every_module_says_what_it_is,
    rust_source::nothing_is_left_unfinished,
    rust_source::lints_are_expected_with_a_reason,
    rust_source::pure_crates_are_pure,
    rust_source::files_are_named_after_what_they_hold,
    text::no_path_of_one_machine,
    text::no_huge_file,
    text::no_trailing_whitespace,
];

/// Checks the workspace at `root` and prints what breaks a rule.
pub(crate) fn run(root: &Path) -> anyhow::Result<ExitCode> {
    let tree = Tree::read(root).with_context(|| format!("failed to read {}", root.display()))?;
    let findings = check(&tree);
    for finding in &findings {
        println!("{}:{}: {}\n    hint: {}", finding.path, finding.line, finding.message, finding.hint);
    }
    let file_count = tree.len();
    if findings.is_empty() {
        println!("tidy: {file_count} files, all tidy");
        return Ok(ExitCode::SUCCESS);
    }
    println!("tidy: {file_count} files, {} findings", findings.len());
    Ok(ExitCode::FAILURE)
}

fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings: Vec<Finding> = RULES.iter().flat_map(|rule| rule(tree)).collect();
    findings.sort();
    findings.dedup();
    findings
}

#[cfg(test)]
mod tests {
    use super::tree::{Tree, scratch::Scratch};
    use super::{check, run};
    use std::process::ExitCode;

    const ROOT: &str =
        "[workspace]\nmembers = [\"crates/*\"]\n\n[workspace.dependencies]\n# Why it is there.\nserde = \"1\"\n";
    const MODEL: &str = "[package]\nname = \"levada-model\"\n\n[dependencies]\nserde.workspace = true\n";

    #[test]
    fn small_tidy_workspace_on_disk_passes() {
        let scratch = Scratch::new("tidy-passes");
        scratch.write("Cargo.toml", ROOT);
        scratch.write("crates/levada-model/Cargo.toml", MODEL);
        scratch.write("crates/levada-model/src/lib.rs", "//! The model.\n\nmod name;\n");
        scratch.write("crates/levada-model/src/name.rs", "//! Names.\n");
        scratch.write("target/debug/broken.rs", "todo!() ");
        assert_eq!(run(scratch.path()).expect("the folder was just written"), ExitCode::SUCCESS);
    }

    #[test]
    fn findings_of_all_rules_come_in_one_run_sorted_by_place() {
        let tree = Tree::of(&[
            ("Cargo.toml", ROOT),
            ("crates/levada-model/Cargo.toml", MODEL),
            ("crates/levada-model/src/lib.rs", "fn a() { todo!() } \n"),
            ("crates/levada-model/src/dead.rs", "//! Nobody names it.\n"),
        ]);
        let places: Vec<_> = check(&tree).into_iter().map(|finding| (finding.path, finding.line)).collect();
        let lib = || ("crates/levada-model/src/lib.rs".to_owned(), 1);
        assert_eq!(places, [("crates/levada-model/src/dead.rs".to_owned(), 1), lib(), lib(), lib()]);
    }
}
