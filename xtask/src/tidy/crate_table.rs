//! The crates of the workspace and which of each other they may use.
//!
//! [`TABLE`] is the one place that says it; ARCHITECTURE.md says why. Reads `Cargo.toml` files as text
//! and knows nothing of Cargo's resolution.

use super::Finding;
use super::mask::{mask, words};
use super::tree::{Tree, line_of};
use std::collections::{BTreeMap, BTreeSet};

/// Every crate and the crates of the workspace it may use directly, in code that ships.
const TABLE: &[(&str, &[&str])] = &[
    ("levada-model", &[]),
    ("levada-planner", &["levada-model"]),
    ("levada-repo", &["levada-model", "levada-planner"]),
    ("levada-platforms", &["levada-model", "levada-planner"]),
    ("levada-flow", &["levada-model"]),
    ("levada-state", &["levada-model", "levada-planner"]),
    ("levada-store", &["levada-model", "levada-flow", "levada-state"]),
    ("levada-sql", &["levada-model", "levada-flow", "levada-store"]),
    ("levada-connectors", &["levada-model", "levada-flow"]),
    ("levada-runtime", &["levada-model", "levada-planner", "levada-flow", "levada-state", "levada-store"]),
    ("levada-server", &["levada-model", "levada-planner", "levada-flow", "levada-state", "levada-store", "levada-sql"]),
    (
        "levada",
        &[
            "levada-model",
            "levada-planner",
            "levada-repo",
            "levada-platforms",
            "levada-flow",
            "levada-state",
            "levada-store",
            "levada-sql",
            "levada-connectors",
            "levada-runtime",
            "levada-server",
        ],
    ),
    // Starts real servers for tests: a dev-dependency of whoever wants it, of the measurements, and of nothing that ships.
    ("levada-testbed", &[]),
    (
        "levada-sim",
        &[
            "levada-model",
            "levada-planner",
            "levada-repo",
            "levada-platforms",
            "levada-flow",
            "levada-state",
            "levada-store",
            "levada-sql",
            "levada-connectors",
            "levada-runtime",
            "levada-testbed",
        ],
    ),
    ("xtask", &[]),
];

/// What dev-dependencies may name besides all that the crate reaches through the table: the conformance
/// suites, the connectors, real servers.
const DEV_ONLY: &[&str] = &["levada-flow", "levada-connectors", "levada-testbed"];

/// The crate that may name DataFusion.
const DATAFUSION_CRATE: &str = "levada-sql";

/// How a dependency is meant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Use {
    /// `dependencies` and `build-dependencies`.
    Ships,
    /// `dev-dependencies`.
    Tests,
}

/// One line of one `Cargo.toml`.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Dependency {
    name: String,
    used: Use,
    line: usize,
}

/// A package of the workspace.
struct Package {
    name: String,
    /// The path of its `Cargo.toml`.
    manifest: String,
    dependencies: Vec<Dependency>,
}

/// Direct edges between crates are those of [`TABLE`].
pub(crate) fn edges_are_in_the_table(tree: &Tree) -> Vec<Finding> {
    let (packages, mut findings) = packages(tree);
    for package in &packages {
        let Some((_, allowed)) = TABLE.iter().find(|(name, _)| *name == package.name) else {
            let hint = "add it to ARCHITECTURE.md and to TABLE in xtask/src/tidy/crate_table.rs";
            findings.push(Finding::new(
                &package.manifest,
                1,
                format!("`{}` is not in the crate table", package.name),
                hint,
            ));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|dependency| is_ours(&dependency.name)) {
            let name = dependency.name.as_str();
            let is_for_tests = DEV_ONLY.contains(&name) || reaches(&table_edges(), &package.name, name);
            let is_allowed = allowed.contains(&name) || (dependency.used == Use::Tests && is_for_tests);
            if !is_allowed {
                findings.push(edge_finding(package, dependency, allowed));
            }
        }
    }
    findings
}

fn edge_finding(package: &Package, dependency: &Dependency, allowed: &[&str]) -> Finding {
    let may = if allowed.is_empty() { "no other crate".to_owned() } else { allowed.join(", ") };
    let (message, hint) = match dependency.used {
        Use::Ships => ("may not use", format!("it may use {may}; see ARCHITECTURE.md")),
        Use::Tests => {
            let besides = DEV_ONLY.join(", ");
            ("may not use, even in tests,", format!("its tests may use what it reaches itself, and {besides}"))
        }
    };
    let message = format!("`{}` {message} `{}`", package.name, dependency.name);
    Finding::new(&package.manifest, dependency.line, message, hint)
}

/// Dev-dependencies close no circle, so that each crate's tests can be built without its own users.
pub(crate) fn no_cycle_through_dev_dependencies(tree: &Tree) -> Vec<Finding> {
    let (packages, _) = packages(tree);
    let edges: BTreeMap<&str, Vec<&str>> = packages
        .iter()
        .map(|package| (package.name.as_str(), package.dependencies.iter().map(|to| to.name.as_str()).collect()))
        .collect();
    let mut findings = Vec::new();
    for package in &packages {
        for dependency in package.dependencies.iter().filter(|dependency| dependency.used == Use::Tests) {
            if reaches(&edges, &dependency.name, &package.name) {
                let message = format!("`{}` and `{}` use each other", package.name, dependency.name);
                let hint = "move the test to the crate that knows both";
                findings.push(Finding::new(&package.manifest, dependency.line, message, hint));
            }
        }
    }
    findings
}

fn table_edges() -> BTreeMap<&'static str, Vec<&'static str>> {
    TABLE.iter().map(|(name, used)| (*name, used.to_vec())).collect()
}

fn reaches(edges: &BTreeMap<&str, Vec<&str>>, from: &str, to: &str) -> bool {
    let (mut seen, mut waiting) = (BTreeSet::new(), vec![from]);
    while let Some(name) = waiting.pop() {
        if name == to {
            return true;
        }
        if seen.insert(name) {
            waiting.extend(edges.get(name).into_iter().flatten());
        }
    }
    false
}

/// DataFusion stays behind one door, so that it can be upgraded, or left out, in one place.
pub(crate) fn only_levada_sql_names_datafusion(tree: &Tree) -> Vec<Finding> {
    let hint = format!("only {DATAFUSION_CRATE} names it; use that crate, or move the code there");
    let mut findings = Vec::new();
    for package in packages(tree).0.iter().filter(|package| package.name != DATAFUSION_CRATE) {
        let named = package.dependencies.iter().filter(|dependency| dependency.name.starts_with("datafusion"));
        findings.extend(named.map(|dependency| {
            let message = format!("`{}` depends on {}", package.name, dependency.name);
            Finding::new(&package.manifest, dependency.line, message, &hint)
        }));
    }
    let home = format!("crates/{DATAFUSION_CRATE}/");
    for (path, text) in tree.rust().filter(|(path, _)| !path.starts_with(&home)) {
        let code = mask(text);
        findings.extend(
            words(&code, "datafusion").map(|at| Finding::new(path, line_of(text, at), "names `datafusion`", &hint)),
        );
    }
    findings
}

/// Above each dependency of the workspace stands the reason it is there; members of one family
/// (`serde`, `serde_json`) may share it.
pub(crate) fn each_dependency_has_a_reason(tree: &Tree) -> Vec<Finding> {
    const MANIFEST: &str = "Cargo.toml";
    let (mut section, mut reasoned_family, mut findings) = ("", None::<&str>, Vec::new());
    let mut follows_comment = false;
    for (index, line) in tree.text(MANIFEST).unwrap_or_default().lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            (section, reasoned_family) = (line, None);
        }
        let is_dependency = section == "[workspace.dependencies]" && !line.starts_with(['#', '[']);
        if let Some(name) = line.split_once(['=', '.']).map(|(name, _)| name.trim()).filter(|_| is_dependency) {
            let is_reasoned = follows_comment || reasoned_family.is_some_and(|family| name.starts_with(family));
            if follows_comment {
                reasoned_family = Some(name);
            }
            if !is_reasoned && !is_ours(name) {
                let hint = "write a sentence above it that says what it is for";
                findings.push(Finding::new(MANIFEST, index + 1, format!("`{name}` comes without a reason"), hint));
            }
        }
        follows_comment = line.starts_with('#');
    }
    findings
}

fn is_ours(name: &str) -> bool {
    name == "xtask" || name == "levada" || name.starts_with("levada-")
}

/// The packages of the workspace, and a finding for each `Cargo.toml` that can't be read.
fn packages(tree: &Tree) -> (Vec<Package>, Vec<Finding>) {
    let (mut packages, mut findings) = (Vec::new(), Vec::new());
    for (folder, text) in tree.packages() {
        let manifest = format!("{folder}/Cargo.toml");
        match text.parse::<toml::Table>() {
            Ok(table) => {
                if let Some(name) = table.get("package").and_then(|package| package.get("name")?.as_str()) {
                    let dependencies = dependencies(&table, text);
                    packages.push(Package { name: name.to_owned(), manifest, dependencies });
                }
            }
            Err(error) => {
                let line = error.span().map_or(1, |span| line_of(text, span.start));
                findings.push(Finding::new(&manifest, line, error.message(), "mend the file"));
            }
        }
    }
    (packages, findings)
}

fn dependencies(manifest: &toml::Table, text: &str) -> Vec<Dependency> {
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let tables = targets.into_iter().flat_map(|targets| targets.values().filter_map(toml::Value::as_table));
    let mut found = Vec::new();
    for table in std::iter::once(manifest).chain(tables) {
        let kinds =
            [("dependencies", Use::Ships), ("build-dependencies", Use::Ships), ("dev-dependencies", Use::Tests)];
        for (kind, used) in kinds {
            for (key, value) in table.get(kind).and_then(toml::Value::as_table).into_iter().flatten() {
                let name = value.get("package").and_then(toml::Value::as_str).unwrap_or(key);
                found.push(Dependency { name: name.to_owned(), used, line: dependency_line(text, kind, key) });
            }
        }
    }
    found.sort();
    found
}

/// The line of a key in a table such as `[dependencies]` or `[target.'…'.dependencies]`.
fn dependency_line(text: &str, kind: &str, key: &str) -> usize {
    let mut is_inside = false;
    for (index, line) in text.lines().enumerate() {
        if let Some(header) = line.trim().strip_prefix('[').and_then(|header| header.strip_suffix(']')) {
            let tail = header.rsplit('.').next().unwrap_or(header);
            is_inside = tail == kind;
            if tail == key && header.contains(kind) {
                return index + 1;
            }
        } else if is_inside && line.split(['=', '.', ' ']).next() == Some(key) {
            return index + 1;
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, rest: &str) -> String {
        format!("[package]\nname = \"{name}\"\n\n{rest}")
    }

    fn findings(rule: fn(&Tree) -> Vec<Finding>, manifests: &[(&str, &str)]) -> Vec<(String, usize)> {
        let files: Vec<(String, String)> =
            manifests.iter().map(|(name, rest)| (format!("crates/{name}/Cargo.toml"), manifest(name, rest))).collect();
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        rule(&Tree::of(&files)).into_iter().map(|finding| (finding.message, finding.line)).collect()
    }

    #[test]
    fn every_edge_of_the_table_leads_to_a_crate_above_it_so_it_has_no_cycle() {
        for (position, (name, allowed)) in TABLE.iter().enumerate() {
            let above: Vec<_> = TABLE[..position].iter().map(|(name, _)| *name).collect();
            assert!(allowed.iter().all(|used| above.contains(used)), "{name}");
        }
    }

    #[test]
    fn edges_outside_the_table_are_found_where_they_stand_in_any_spelling() {
        let rest = "[dependencies]\nserde = \"1\"\nlevada-model.workspace = true\nlevada-state = { path = \"x\" }\n\n\
            [target.'cfg(unix)'.build-dependencies]\nstore = { package = \"levada-store\", path = \"y\" }\n";
        assert_eq!(
            findings(edges_are_in_the_table, &[("levada-planner", rest)]),
            [
                ("`levada-planner` may not use `levada-state`".to_owned(), 7),
                ("`levada-planner` may not use `levada-store`".to_owned(), 10),
            ]
        );
    }

    #[test]
    fn tests_may_use_connectors_and_servers_but_shipped_code_may_not() {
        let tests = "[dev-dependencies]\nlevada-connectors.workspace = true\nlevada-testbed.workspace = true\n";
        assert_eq!(findings(edges_are_in_the_table, &[("levada-runtime", tests)]), []);
        let ships = tests.replace("dev-dependencies", "dependencies");
        assert_eq!(findings(edges_are_in_the_table, &[("levada-runtime", &ships)]).len(), 2);
        let others = "[dev-dependencies]\nlevada-sql.workspace = true\n";
        assert_eq!(findings(edges_are_in_the_table, &[("levada-runtime", others)]).len(), 1);
    }

    #[test]
    fn tests_may_name_what_the_crate_reaches_anyway_and_shipped_code_names_only_the_table() {
        let tests = "[dev-dependencies]\nlevada-planner.workspace = true\n";
        assert_eq!(findings(edges_are_in_the_table, &[("levada-store", tests)]), []);
        let ships = tests.replace("dev-dependencies", "dependencies");
        assert_eq!(findings(edges_are_in_the_table, &[("levada-store", &ships)]).len(), 1);
    }

    #[test]
    fn crate_that_nobody_planned_and_manifest_that_nobody_can_read_are_found() {
        let found = findings(edges_are_in_the_table, &[("levada-extra", ""), ("levada-flow", "[oops")]);
        assert_eq!(found.len(), 2);
        assert!(found.iter().any(|(message, _)| message == "`levada-extra` is not in the crate table"), "{found:?}");
    }

    #[test]
    fn dev_dependency_that_closes_a_circle_is_found() {
        let flow = "[dev-dependencies]\nlevada-connectors.workspace = true\n";
        let connectors = "[dependencies]\nlevada-flow.workspace = true\n";
        let found =
            findings(no_cycle_through_dev_dependencies, &[("levada-flow", flow), ("levada-connectors", connectors)]);
        assert_eq!(found, [("`levada-flow` and `levada-connectors` use each other".to_owned(), 5)]);
        assert_eq!(findings(no_cycle_through_dev_dependencies, &[("levada-connectors", connectors)]), []);
    }

    #[test]
    fn datafusion_is_found_in_manifests_and_code_of_all_crates_but_one() {
        let named = "[dependencies]\ndatafusion.workspace = true\n";
        assert_eq!(findings(only_levada_sql_names_datafusion, &[("levada-sql", named)]), []);
        assert_eq!(findings(only_levada_sql_names_datafusion, &[("levada-store", named)]).len(), 1);
        let source = "//! As datafusion does.\nuse datafusion::prelude::*;\n";
        let tree = Tree::of(&[("crates/levada-sql/src/a.rs", source), ("crates/levada/src/a.rs", source)]);
        let found = only_levada_sql_names_datafusion(&tree);
        assert_eq!(
            found.iter().map(|finding| (finding.path.as_str(), finding.line)).collect::<Vec<_>>(),
            [("crates/levada/src/a.rs", 2)]
        );
    }

    #[test]
    fn dependency_without_a_sentence_above_it_is_found_unless_its_family_has_one() {
        let text = "[workspace.dependencies]\nlevada-model = { path = \"x\" }\n# Why.\nserde = \"1\"\nserde_json = \"1\"\n\
            toml = \"1\"\n\n# Why.\narrow.version = \"1\"\nparquet = \"1\"\n[profile.dev]\ndebug = false\n";
        let found = each_dependency_has_a_reason(&Tree::of(&[("Cargo.toml", text)]));
        assert_eq!(found.iter().map(|finding| finding.line).collect::<Vec<_>>(), [6, 10]);
    }
}
