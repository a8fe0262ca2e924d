//! What starting any server of one's own takes: a folder that its user may enter, a free port, a
//! guard that cleans up, programs and what they print.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// What the machine refused.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// A folder could not be prepared.
    #[error("prepare {path}")]
    Prepare {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A program could not be started at all.
    #[error("start {program}")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A program failed.
    #[error("{program} failed: {output}")]
    Failed {
        /// The program.
        program: PathBuf,
        /// What it said, and the end of the server's log.
        output: String,
    },
}

/// Runs a shell script when it is dropped, or when this process ends without that.
#[derive(Debug)]
pub(crate) struct Guard(Option<(Child, ChildStdin)>);

impl Guard {
    /// Starts the process that runs `script` when its standard input closes; `$1` is `folder`.
    pub(crate) fn spawn(script: &str, folder: &Path) -> Result<Self, SystemError> {
        let mut child = Command::new("/bin/sh")
            .args([OsStr::new("-c"), OsStr::new(script), OsStr::new("guard"), folder.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C reaches the test's process group; the guard has to outlive it.
            .process_group(0)
            .spawn()
            .map_err(|source| SystemError::Spawn { program: "/bin/sh".into(), source })?;
        let pipe = child.stdin.take().expect("stdin was piped");
        Ok(Self(Some((child, pipe))))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some((mut guard, pipe)) = self.0.take() {
            drop(pipe);
            let _ = guard.wait();
        }
    }
}

/// A new folder, which the caller removes.
pub(crate) fn new_folder(prefix: &str) -> Result<PathBuf, SystemError> {
    let made = tempfile::Builder::new().prefix(prefix).tempdir_in("/tmp");
    Ok(made.map_err(|source| SystemError::Prepare { path: "/tmp".into(), source })?.keep())
}

/// Who a server runs as.
pub(crate) enum Owner {
    /// Whoever runs the test.
    Us,
    /// This user and group.
    Other(u32, u32),
    /// We are root, and there is nobody else.
    Nobody,
}

/// Makes a folder reachable for the server's user and lets that user own it: the first of `users`
/// that the machine has, where the test runs as root.
pub(crate) fn hand_over(folder: &Path, users: &[&str]) -> Result<Owner, SystemError> {
    let prepare = |source| SystemError::Prepare { path: folder.to_owned(), source };
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).map_err(prepare)?;
    if std::fs::metadata(folder).map_err(prepare)?.uid() != 0 {
        return Ok(Owner::Us);
    }
    let Some((user, group)) = known_user(users) else { return Ok(Owner::Nobody) };
    chown(folder, Some(user), Some(group)).map_err(prepare)?;
    Ok(Owner::Other(user, group))
}

/// User and group ids of the first of these that the machine has.
fn known_user(users: &[&str]) -> Option<(u32, u32)> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    users.iter().find_map(|wanted| {
        let line = passwd.lines().find(|line| line.split(':').next() == Some(wanted))?;
        let fields: Vec<&str> = line.split(':').collect();
        Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
    })
}

/// Lets a program run as the server's user.
pub(crate) fn become_owner(command: &mut Command, owner: Option<(u32, u32)>) {
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
}

/// Writes a file that only the server's user may read.
pub(crate) fn write_private(path: &Path, text: &str, owner: Option<(u32, u32)>) -> Result<(), SystemError> {
    let prepare = |source| SystemError::Prepare { path: path.to_owned(), source };
    std::fs::write(path, text).map_err(prepare)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(prepare)?;
    match owner {
        Some((user, group)) => chown(path, Some(user), Some(group)).map_err(prepare),
        None => Ok(()),
    }
}

/// Runs a program and gives what it printed, on both of its outputs. Into a file: a server that it
/// leaves behind would hold a pipe open.
pub(crate) fn output_of(command: &mut Command) -> Result<String, SystemError> {
    let program = PathBuf::from(command.get_program());
    let spawn = |source| SystemError::Spawn { program: program.clone(), source };
    let mut file = tempfile::tempfile().map_err(spawn)?;
    let (stdout, stderr) = (file.try_clone().map_err(spawn)?, file.try_clone().map_err(spawn)?);
    let status = command.stdout(stdout).stderr(stderr).status().map_err(spawn)?;
    let mut output = String::new();
    std::io::Seek::rewind(&mut file).map_err(spawn)?;
    std::io::Read::read_to_string(&mut file, &mut output).map_err(spawn)?;
    let output = output.trim_end_matches('\n').to_owned();
    match status.success() {
        true => Ok(output),
        false => Err(SystemError::Failed { program, output }),
    }
}

/// A port that nobody had a moment ago.
pub(crate) fn free_port() -> Result<u16, SystemError> {
    let bound = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    let address = bound.map_err(|source| SystemError::Prepare { path: "127.0.0.1:0".into(), source })?;
    Ok(address.port())
}

/// Whether something holds within so many seconds; looks often.
pub(crate) fn wait_until(seconds_max: u64, mut holds: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + Duration::from_secs(seconds_max);
    while !holds() {
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}
