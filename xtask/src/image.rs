//! The image's root filesystem: the program, the libraries that it loads, and what those read.
//!
//! Takes a built `levada` on a machine with glibc, gives `target/image/rootfs`, which
//! `docker/Dockerfile` copies. No container engine is needed, nor used: the test enters the tree by
//! `chroot`.

use crate::{process, python};
use anyhow::{Context, bail};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Who runs in it.
const USER: u32 = 65_532;
/// Whom the program trusts.
const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";
const PASSWD: &str = "root:x:0:0:root:/:/sbin/nologin\nlevada:x:65532:65532:levada:/data:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nlevada:x:65532:\n";
/// Names are looked up in files first, then asked of DNS.
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\n";

/// Assembles the tree from a release build.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    process::run(process::cargo(root).args(["build", "--release", "--package", "levada"]))?;
    let made = assemble(root, &process::target(root).join("release/levada"))?;
    eprintln!("{} is ready: docker build --file docker/Dockerfile {}", made.display(), parent(&made)?.display());
    Ok(())
}

/// Fails where the Dockerfile is not what linters want, or the program does not run in the tree.
pub(crate) fn check(root: &Path) -> anyhow::Result<()> {
    let python = python::environment(root, "hadolint", &root.join("xtask/python/hadolint.txt"))?;
    let mut lint = Command::new(python.with_file_name("hadolint"));
    process::run(lint.args(["--failure-threshold", "style"]).arg(root.join("docker/Dockerfile")))?;
    let made = assemble(root, &process::target(root).join("debug/levada"))?;
    runs(&made).context("levada does not run in the image's root filesystem")
}

/// Puts the tree together, in place of what is there.
fn assemble(root: &Path, program: &Path) -> anyhow::Result<PathBuf> {
    let tree = process::target(root).join("image/rootfs");
    if tree.exists() {
        fs::remove_dir_all(&tree).with_context(|| format!("failed to remove {}", tree.display()))?;
    }
    for folder in ["usr/bin", "usr/lib64", "etc/ssl/certs", "proc", "dev", "model", "secrets", "data", "tmp"] {
        fs::create_dir_all(tree.join(folder)).with_context(|| format!("failed to create {folder}"))?;
    }
    let target = tree.join("usr/bin/levada");
    process::run(Command::new("strip").arg("--strip-debug").arg("-o").arg(&target).arg(program))
        .context("`strip` comes with gcc's binutils")?;
    for library in libraries(program)? {
        // Where the program looks for it, whatever folder this machine has it in.
        let place = tree.join(library.strip_prefix("/").unwrap_or(&library));
        fs::create_dir_all(parent(&place)?)?;
        fs::copy(&library, &place).with_context(|| format!("failed to copy {}", library.display()))?;
    }
    fs::copy(Path::new("/").join(AUTHORITIES), tree.join(AUTHORITIES)).context(
        "the image takes this machine's authorities: `apt-get install ca-certificates` on Debian and Ubuntu",
    )?;
    for (path, text) in [("etc/passwd", PASSWD), ("etc/group", GROUP), ("etc/nsswitch.conf", NSSWITCH)] {
        fs::write(tree.join(path), text)?;
    }
    symlink("/data", tree.join("home")).context("failed to make the home folder")?;
    let mode = |path: &str, mode: u32| fs::set_permissions(tree.join(path), fs::Permissions::from_mode(mode));
    mode("tmp", 0o1777)?;
    mode("usr/bin/levada", 0o755)?;
    // An engine gives its own volumes the mode of the folder below; without one the user writes here.
    mode("data", 0o777)?;
    Ok(tree)
}

/// The libraries that a program loads, its loader included, as it names them.
fn libraries(program: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("`ldd` comes with glibc")?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() || told.contains("not found") {
        bail!("ldd says of {}: {told}{}", program.display(), String::from_utf8_lossy(&output.stderr));
    }
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    Ok(told.lines().filter_map(path).collect())
}

/// Enters a copy of the tree as the image's user, with a model that nobody may write, and has it run.
fn runs(tree: &Path) -> anyhow::Result<()> {
    if !process::succeeds(Command::new("chroot").args(["/", "true"])) {
        bail!("entering the image's root filesystem by chroot takes root");
    }
    let inside = tree.with_file_name("tried");
    drop(fs::remove_dir_all(&inside));
    process::run(Command::new("cp").args(["--archive"]).arg(tree).arg(&inside))?;
    for (path, text) in MODEL {
        let file = inside.join("model").join(path);
        fs::create_dir_all(parent(&file)?)?;
        fs::write(&file, text)?;
    }
    // A volume of its own, as an engine would mount it.
    fs::remove_dir_all(inside.join("data"))?;
    fs::create_dir(inside.join("data"))?;
    chown(inside.join("data"), Some(USER), Some(USER)).context("failed to give the data folder to its user")?;
    let levada = |arguments: &[&str]| {
        let mut command = Command::new("chroot");
        command
            .arg(format!("--userspec={USER}:{USER}"))
            .arg(&inside)
            .arg("/usr/bin/levada")
            .args(arguments)
            .arg("/model");
        command.env_clear().envs(ENVIRONMENT);
        command
    };
    process::run(&mut levada(&["check"]))?;
    process::run(&mut levada(&["apply", "--yes"]))?;
    process::run(&mut levada(&["run", "--until-idle"]))?;
    process::run(&mut levada(&["verify"]))?;
    let delivered = inside.join("data/out/levada/Shop/orders/live");
    if !delivered.is_dir() {
        bail!("nothing was delivered to {}", delivered.display());
    }
    Ok(())
}

/// What the Dockerfile sets, and the path that every engine does.
const ENVIRONMENT: [(&str, &str); 5] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("LEVADA_STATE", "sqlite:/data/state.db"),
    ("LEVADA_DATA", "/data/store"),
    ("LEVADA_SECRETS", "/secrets"),
    ("LEVADA_CACHE", "off"),
];

/// A producer's file, and a consumer's folder on the data's volume.
const MODEL: [(&str, &str); 5] = [
    (
        "ecosystem.yaml",
        "ecosystem: image\nvendors: [{ vendor: home, cloud: private, locations: { here: {} } }]\n\
         platforms: [{ platform: P, kind: embedded, style: batch, locations: [\"home:here\"] }]\n",
    ),
    ("z/zone.yaml", "zone: Z\n"),
    (
        "z/t/team.yaml",
        "team: T\ncontainers:\n  - { container: landing, kind: files, location: \"home:here\", path: landing }\n\
         \x20 - { container: out, kind: files, location: \"home:here\", path: /data/out }\n",
    ),
    (
        "z/t/shop.yaml",
        "datastore: Shop\ncontainer: landing\ningest:\n  kind: files\n  pattern: \"{dataset}.csv\"\n  format: csv\n  each-file: replaces\n\
         \x20 trigger: { cron: \"*/10 * * * *\", timezone: Europe/Lisbon }\ndatasets:\n  orders:\n    classification: pub\n    columns:\n\
         \x20     id: { type: int64, key: true }\n      what: text\n---\nworkspace: W\ncontainer: out\ngroups:\n  G: { datasets: [Shop.orders] }\n",
    ),
    ("z/t/landing/orders.csv", "id,what\n1,tea\n2,port\n"),
];

fn parent(path: &Path) -> anyhow::Result<&Path> {
    path.parent().with_context(|| format!("{} has no folder", path.display()))
}
