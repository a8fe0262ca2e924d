//! The proof of the REST API: schemathesis asks whatever its OpenAPI document allows, and more.
//!
//! Takes a built `levada`, serves a copy of the worked example, and fails where an answer is none
//! that the document promises.

use crate::{process, python};
use anyhow::{Context, bail};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Requests of each kind for each operation.
const EXAMPLES: &str = "40";

/// Names of the worked example, so that the second round reaches what is behind them.
const PARAMETERS: &str = r#"
[parameters]
"path.zone" = "USA"
"path.datastore" = "NW_Data"
"path.dataset" = "customers"
"path.workspace" = "MaskCustomersWorkSpace"
"path.platform" = "Azure Platform"
"path.generation" = 1
"path.address" = "Ingest/Azure Platform/NW_Data"
"#;

/// Runs both rounds: with any names, and with those of the example.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let python = python::environment(root, "schemathesis", &root.join("xtask/python/schemathesis.txt"))?;
    let model = root.join("target/rest-api");
    copy(&root.join("examples/northwind"), &model)?;
    let levada = |arguments: &[&str]| {
        let mut command = process::cargo(root);
        command.args(["run", "--quiet", "--package", "levada", "--"]).args(arguments).arg(&model);
        command.env("LEVADA_CACHE", "off").env_remove("LEVADA_STATE").env_remove("LEVADA_SERVE_TOKEN");
        command
    };
    process::run(&mut levada(&["apply", "--yes"]))?;
    let server = Server::start(levada(&["serve", "--listen", "127.0.0.1:0"]))?;
    let config = model.join("schemathesis.toml");
    std::fs::write(&config, PARAMETERS).with_context(|| format!("failed to write {}", config.display()))?;
    for arguments in [&[][..], &["--config-file", "schemathesis.toml"]] {
        let mut command = Command::new(python.with_file_name("schemathesis"));
        command.current_dir(&model).args(arguments).args(["run", "--max-examples", EXAMPLES, "--seed", "1"]);
        process::run(command.arg(format!("{}/openapi.json", server.base)))
            .context("the REST API answers otherwise than its OpenAPI document says")?;
    }
    Ok(())
}

/// Copies a folder, in place of what is there.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to).with_context(|| format!("failed to remove {}", to.display()))?;
    }
    std::fs::create_dir_all(to).with_context(|| format!("failed to create {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("failed to read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target)?,
            false => drop(
                std::fs::copy(entry.path(), &target)
                    .with_context(|| format!("failed to write {}", target.display()))?,
            ),
        }
    }
    Ok(())
}

/// A server that ends with the value.
struct Server {
    child: Child,
    base: String,
}

impl Server {
    fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command.stderr(Stdio::piped()).spawn().context("failed to start `levada serve`")?;
        let mut line = String::new();
        let stderr = child.stderr.take().context("stderr is piped")?;
        BufReader::new(stderr).read_line(&mut line)?;
        let Some(address) = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()) else {
            bail!("`levada serve` does not listen: {line}");
        };
        Ok(Self { child, base: format!("http://{address}") })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // `cargo run` has become the program: the signal reaches it.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
