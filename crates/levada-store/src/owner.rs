//! Whose files lie in a folder: the sweep removes what its own state doesn't know, so that two
//! states in one folder would take each other's files away.

use crate::StoreError;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// The file that holds the identity of the state.
const MARKER: &str = "state-id";

/// Makes sure that the store in `root` is this state's: marks a folder that nobody has marked.
///
/// # Errors
/// The folder is another state's, or fails.
pub(crate) fn claim(root: &Path, state: &str) -> Result<(), StoreError> {
    let marker = root.join(MARKER);
    let failed = |operation, source| StoreError::file(operation, &marker, source);
    if !marker.exists() {
        mark(root, &marker, state).map_err(|source| failed("write", source))?;
    }
    let found = std::fs::read_to_string(&marker).map_err(|source| failed("read", source))?;
    let owner = found.trim();
    match owner == state {
        true => Ok(()),
        false => {
            let (owner, own) = (owner.to_owned(), state.to_owned());
            Err(StoreError::OtherState { path: root.display().to_string(), owner, own })
        }
    }
}

/// Writes the marker whole or not at all; where another process was faster, its marker stays.
fn mark(root: &Path, marker: &Path, state: &str) -> std::io::Result<()> {
    let whole = root.join(format!("{MARKER}.{state}.{}", std::process::id()));
    let mut file = File::create(&whole)?;
    file.write_all(format!("{state}\n").as_bytes())?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&whole, marker);
    std::fs::remove_file(&whole)?;
    match linked {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(root)?.sync_all(),
    }
}
