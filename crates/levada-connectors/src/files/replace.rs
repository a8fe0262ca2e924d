//! Small files that are replaced as a whole, durably: readers see the old one or the new one.

use super::config::failed;
use levada_flow::FlowError;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Puts `bytes` into the place of a file, whose folder is made where it is missing.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), FlowError> {
    let folder = path.parent().expect("a file has a folder");
    make_folder(folder)?;
    let name = path.file_name().expect("a file has a name").to_string_lossy();
    let beside = folder.join(format!(".{name}.new"));
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    write().map_err(|error| failed("replaced", path, error))?;
    sync_folder(folder)
}

/// Says in a folder that nothing in it is anybody's model: containers may lie inside of one, and
/// what we write is JSON, too.
const IGNORE_FILE: &str = ".levadaignore";

/// Makes a folder of ours, and marks it before anything is written there.
pub(super) fn own_folder(folder: &Path) -> Result<(), FlowError> {
    let mark = folder.join(IGNORE_FILE);
    if mark.exists() { Ok(()) } else { replace(&mark, b"*\n") }
}

/// Takes the mark away where nothing else is left in the folder.
pub(super) fn disown_folder(folder: &Path) -> Result<(), FlowError> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    let mark = folder.join(IGNORE_FILE);
    let is_all = entries.flatten().all(|entry| entry.file_name() == IGNORE_FILE);
    match is_all && mark.exists() {
        true => std::fs::remove_file(&mark).map_err(|error| failed("removed", &mark, error)),
        false => Ok(()),
    }
}

/// Makes a folder and all above it, durably.
pub(super) fn make_folder(folder: &Path) -> Result<(), FlowError> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_folder(above)?;
    }
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(failed("made", folder, error)),
        _ => folder.parent().map_or(Ok(()), sync_folder),
    }
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> Result<(), FlowError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| failed("made durable", folder, error))
}
