//! The tests of aws-batch's program: real Spark, real Iceberg, a real PostgreSQL.
//!
//! Takes a built `levada` and PostgreSQL's server programs. Installs what Spark needs beside what
//! PyPI has: Debian's jarjar and PostgreSQL's driver for Java.

use crate::{debian, process, python};
use anyhow::{Context, bail};
use std::path::Path;
use std::process::Command;

/// What Debian's packages put there.
const JARS: [(&str, &str); 2] =
    [("/usr/share/java/jarjar.jar", "libjarjar-java"), ("/usr/share/java/postgresql.jar", "libpostgresql-jdbc-java")];

/// Fails where a test fails.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    install_jars()?;
    if !process::succeeds(Command::new("java").arg("-version")) {
        bail!("Spark takes Java 17 (`apt-get install openjdk-17-jre-headless` on Debian and Ubuntu)");
    }
    let tests = root.join("crates/levada-platforms/tests/spark");
    let python = python::environment(root, "spark", &tests.join("requirements.txt"))?;
    process::run(process::cargo(root).args(["build", "--quiet", "--package", "levada"]))?;
    let mut unittest = Command::new(&python);
    unittest
        .args(["-W", "ignore::ResourceWarning", "-m", "unittest", "discover", "--pattern", "test_*.py"])
        .current_dir(&tests);
    unittest.env("LEVADA", process::target(root).join("debug/levada")).env("PYTHONDONTWRITEBYTECODE", "1");
    process::run(&mut unittest).context("the program of aws-batch's job does not do what it should")
}

fn install_jars() -> anyhow::Result<()> {
    let missing: Vec<&str> =
        JARS.iter().filter(|(jar, _)| !Path::new(jar).is_file()).map(|(_, package)| *package).collect();
    match missing.is_empty() {
        true => Ok(()),
        false => debian::install(&missing).with_context(|| format!("install {} by hand", missing.join(" and "))),
    }
}
