//! The MariaDB server programs that the tests start their own servers with.
//!
//! Takes a machine, gives the path of its server program, installing Debian's package where that
//! is possible. Starts no server: a service that the package starts is nobody's business here.

use crate::debian;
use anyhow::Context;
use std::path::{Path, PathBuf};

/// What the tests start, the server first.
const PROGRAMS: [&str; 3] = ["mariadbd", "mariadb-install-db", "mariadb"];

/// Where Debian puts them; the server is in no user's PATH.
const DEBIAN: [&str; 2] = ["/usr/sbin", "/usr/bin"];

/// What to do where the programs can't be had automatically.
const BY_HAND: &str = "install MariaDB 10.11 or later with its server programs (mariadbd, mariadb-install-db): \
    `apt-get install mariadb-server` on Debian and Ubuntu, `dnf install mariadb-server` on Fedora, \
    `brew install mariadb` on macOS";

/// Finds the server programs, or installs Debian's package `mariadb-server` and finds them then.
pub(crate) fn find_or_install() -> anyhow::Result<PathBuf> {
    if let Some(server) = find() {
        return Ok(server);
    }
    eprintln!("No MariaDB server programs found: installing Debian's package.");
    debian::install(&["mariadb-server"]).context(BY_HAND)?;
    find().with_context(|| format!("the package is installed, but no programs of it are to be found: {BY_HAND}"))
}

/// The server program, where all the others are there, too.
fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(DEBIAN.map(PathBuf::from)).collect();
    find_in(&folders)
}

fn find_in(folders: &[PathBuf]) -> Option<PathBuf> {
    let path_of =
        |program: &str| folders.iter().map(|folder| folder.join(program)).find(|path: &PathBuf| is_file(path));
    PROGRAMS.map(path_of).into_iter().collect::<Option<Vec<_>>>().map(|mut paths| paths.swap_remove(0))
}

fn is_file(path: &Path) -> bool {
    path.is_file()
}

#[cfg(test)]
mod tests {
    use super::{PROGRAMS, find_in};
    use crate::tidy::tree::scratch::Scratch;

    #[test]
    fn programs_may_lie_in_several_folders_and_none_may_be_missing() {
        let scratch = Scratch::new("mariadb-programs");
        let folders = ["sbin", "bin"].map(|folder| scratch.path().join(folder));
        scratch.write("sbin/mariadbd", "");
        scratch.write(&format!("bin/{}", PROGRAMS[1]), "");
        assert_eq!(find_in(&folders), None);
        scratch.write(&format!("bin/{}", PROGRAMS[2]), "");
        assert_eq!(find_in(&folders), Some(scratch.path().join("sbin/mariadbd")));
    }
}
