//! The promise that the program and the tests share one compilation of every dependency.
//!
//! Takes what Cargo resolves for both, gives the dependencies that would be compiled twice: a
//! dev-dependency that turns on a feature of, say, tokio rebuilds DataFusion, minutes of CPU that
//! nobody would notice going. Compiles nothing.

use crate::process;
use anyhow::{Context, bail};
use std::collections::BTreeSet;
use std::path::Path;

/// Fails with the dependencies whose features differ between `cargo run` and `cargo test --workspace`.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let program = resolved(root, &["--package", "levada", "--edges", "normal,build"])?;
    let tests = resolved(root, &["--workspace", "--edges", "normal,build,dev"])?;
    let twice = compiled_twice(&program, &tests);
    if !twice.is_empty() {
        bail!(
            "the tests compile these once more, with other features than the program (docs/decisions/0002-build-profile.md):\n    \
             {}\nname the missing features in the root Cargo.toml",
            twice.join("\n    ")
        );
    }
    Ok(())
}

/// One line for each package and its features.
fn resolved(root: &Path, what: &[&str]) -> anyhow::Result<String> {
    let mut command = process::cargo(root);
    command.args(["tree", "--quiet", "--prefix", "none", "--format", "{p} features: {f}"]).args(what);
    let output = command.output().context("failed to start `cargo tree`")?;
    if !output.status.success() {
        bail!("`cargo tree` ended with {}:\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8(output.stdout).context("`cargo tree` gave no text")
}

/// The lines of the program that the tests lack; crates of the workspace itself don't count.
fn compiled_twice<'a>(program: &'a str, tests: &str) -> Vec<&'a str> {
    let tests: BTreeSet<&str> = lines(tests).collect();
    lines(program).filter(|line| !tests.contains(line)).collect::<BTreeSet<_>>().into_iter().collect()
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    // A crate of the workspace has its folder in parentheses; ` (*)` marks a line that came before.
    let lines = text.lines().map(|line| line.trim_end_matches(" (*)").trim_end());
    lines.filter(|line| !line.is_empty() && !line.contains(" (/"))
}

#[cfg(test)]
mod tests {
    use super::compiled_twice;

    #[test]
    fn dependency_with_other_features_in_tests_is_found_and_what_only_tests_use_is_not() {
        let program = "levada v0.1.0 (/here/levada) features: \ntokio v1.0.0 features: fs,net\nserde v1.0.0 features: std\n\
            serde v1.0.0 features: std (*)\n";
        let tests = "levada-sim v0.1.0 (/here/sim) features: \ntokio v1.0.0 features: fs,net,test-util\n\
            serde v1.0.0 features: std (*)\nproptest v1.0.0 features: std\n";
        assert_eq!(compiled_twice(program, tests), ["tokio v1.0.0 features: fs,net"]);
        assert_eq!(compiled_twice(program, program), Vec::<&str>::new());
    }
}
