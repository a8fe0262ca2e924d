//! Debian's packages: what a proof needs and neither crates.io, PyPI nor npm has.

use crate::process;
use anyhow::bail;
use std::process::Command;

/// Installs packages; needs apt-get and root.
pub(crate) fn install(packages: &[&str]) -> anyhow::Result<()> {
    if !process::succeeds(Command::new("apt-get").arg("--version")) {
        bail!("{} missing, and there is no apt-get here", packages.join(", "));
    }
    if !is_root() {
        bail!("{} missing, and only root may install packages", packages.join(", "));
    }
    process::run(apt_get().arg("update"))?;
    process::run(apt_get().args(["install", "--yes", "--no-install-recommends"]).args(packages))
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
