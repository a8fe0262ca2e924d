//! The PostgreSQL server programs that the tests start their own clusters with.
//!
//! Takes a machine, gives the folder with its programs, installing Debian's package where
//! that is possible. Starts no server.

use crate::debian;
use anyhow::Context;
use std::path::{Path, PathBuf};

/// The oldest major version that the tests are meant for.
const VERSION_MIN: u32 = 15;

/// What the tests start.
const PROGRAMS: &[&str] = &["initdb", "pg_ctl", "postgres", "psql", "createdb"];

/// What to do where the programs can't be had automatically.
const BY_HAND: &str = "install PostgreSQL 15 or later with its server programs (initdb, postgres): \
    `apt-get install postgresql` on Debian and Ubuntu, `dnf install postgresql-server` on Fedora, \
    `brew install postgresql@17` on macOS with its bin folder on PATH";

/// Finds the server programs, or installs Debian's package `postgresql` and finds them then.
pub(crate) fn find_or_install() -> anyhow::Result<PathBuf> {
    if let Some(folder) = find() {
        return Ok(folder);
    }
    eprintln!("No PostgreSQL server programs found: installing Debian's package.");
    debian::install(&["postgresql"]).context(BY_HAND)?;
    find().with_context(|| format!("the package is installed, but no programs of it are to be found: {BY_HAND}"))
}

/// What PATH has, as the tests prefer it, else Debian's newest version of at least [`VERSION_MIN`].
fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).find(|folder| has_server_programs(folder));
    in_path.or_else(|| newest_version(Path::new("/usr/lib/postgresql")))
}

/// The `bin` folder of the newest version below a folder with one folder per major version.
fn newest_version(versions: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(versions).ok()?;
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let usable = numbers.filter(|version| {
        *version >= VERSION_MIN && has_server_programs(&versions.join(version.to_string()).join("bin"))
    });
    usable.max().map(|version| versions.join(version.to_string()).join("bin"))
}

fn has_server_programs(folder: &Path) -> bool {
    PROGRAMS.iter().all(|program| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::{PROGRAMS, newest_version};
    use crate::tidy::tree::scratch::Scratch;

    #[test]
    fn newest_version_with_server_programs_wins_and_old_or_client_only_ones_do_not_count() {
        let scratch = Scratch::new("postgres-versions");
        for version in ["9", "15", "beta"] {
            PROGRAMS.iter().for_each(|program| scratch.write(&format!("{version}/bin/{program}"), ""));
        }
        scratch.write("17/bin/psql", "");
        assert_eq!(newest_version(scratch.path()), Some(scratch.path().join("15/bin")));
    }

    #[test]
    fn machine_without_the_folder_has_no_version() {
        let scratch = Scratch::new("postgres-none");
        assert_eq!(newest_version(&scratch.path().join("missing")), None);
    }
}
