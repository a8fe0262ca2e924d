//! Removes what writers left behind.
//!
//! A file belongs to a running writer, or a manifest names it, or it is litter of a run that
//! never committed.

use crate::{Inner, StoreError};
use std::collections::BTreeSet;
use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

/// The runs of this process whose files may lie there uncommitted.
#[derive(Clone, Default)]
pub(crate) struct Running(Arc<Mutex<BTreeSet<String>>>);

/// Keeps the files of a run from the sweep while it lives.
#[derive(Debug)]
pub(crate) struct RunGuard {
    runs: Arc<Mutex<BTreeSet<String>>>,
    run: String,
}

impl Running {
    /// Enters a run.
    pub(crate) fn enter(&self, run: &str) -> RunGuard {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(run.to_owned());
        RunGuard { runs: self.0.clone(), run: run.to_owned() }
    }

    fn owns(&self, file: &str) -> bool {
        let runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = file.rsplit('/').next().unwrap_or(file);
        let run = name.rsplit_once('-').map_or(name, |(run, _)| run);
        runs.contains(run)
    }
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.run);
    }
}

/// See [`crate::Store::sweep`]. The order makes it safe beside running writers: a file that is
/// listed first and then is neither running nor known was dropped, for a run that has ended in
/// between has committed before it ended.
pub(crate) async fn sweep(inner: &Inner, written_before: i64) -> Result<usize, StoreError> {
    let mut litter = BTreeSet::new();
    list(&inner.root, written_before, &mut litter)?;
    litter.retain(|file| !inner.running.owns(file));
    if litter.is_empty() {
        return Ok(0);
    }
    let mut known = inner.state.known_files();
    while let Some(page) = known.next_page().await? {
        page.iter().for_each(|file| _ = litter.remove(file));
    }
    let removed = litter.iter().filter(|file| remove(&inner.root.join(file)));
    Ok(removed.count())
}

/// Removes one file; whether it is gone by that.
fn remove(path: &Path) -> bool {
    let path_text = path.display();
    match std::fs::remove_file(path) {
        Ok(()) => tracing::info!(path = %path_text, "removed a file of a run that never committed"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return false,
        Err(error) => {
            tracing::warn!(path = %path_text, %error, "a file of a run that never committed can't be removed");
            return false;
        }
    }
    true
}

/// The store's own files, `STORE/DATASET/RUN-NNN….parquet`, that are old enough.
fn list(root: &Path, written_before: i64, files: &mut BTreeSet<String>) -> Result<(), StoreError> {
    for store in folders(root)? {
        for dataset in folders(&store)? {
            for entry in entries(&dataset)? {
                let path = entry.path();
                let name = entry.file_name();
                let is_own = name.to_str().is_some_and(is_own_name) && path.is_file();
                if is_own && modified_at(&entry).is_some_and(|at| at < written_before) {
                    let relative = path.strip_prefix(root).expect("the walk began there");
                    files.extend(relative.to_str().map(str::to_owned));
                }
            }
        }
    }
    Ok(())
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let folders = entries(folder)?.into_iter().map(|entry| entry.path()).filter(|path| path.is_dir());
    Ok(folders.collect())
}

fn entries(folder: &Path) -> Result<Vec<DirEntry>, StoreError> {
    let listed = std::fs::read_dir(folder).and_then(Iterator::collect);
    listed.map_err(|source| StoreError::file("list", folder, source))
}

/// When a file was written last, µs since 1970; `None`: it is gone, or the system can't tell.
fn modified_at(entry: &DirEntry) -> Option<i64> {
    let modified = entry.metadata().ok()?.modified().ok()?;
    i64::try_from(modified.duration_since(UNIX_EPOCH).ok()?.as_micros()).ok()
}

/// Whether a file has a name that a segment writer gives: `RUN-NNN.parquet` while it is written,
/// `RUN-NNN.CHECKSUM.parquet` then.
fn is_own_name(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".parquet") else { return false };
    let (stem, checksum) = stem.rsplit_once('.').map_or((stem, None), |(stem, checksum)| (stem, Some(checksum)));
    let is_checksum = |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number =
        stem.rsplit_once('-').filter(|(run, _)| !run.is_empty() && !run.contains('.')).map(|(_, number)| number);
    let is_number = |text: &str| text.len() >= 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    number.is_some_and(is_number) && checksum.is_none_or(is_checksum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_a_writer_gives_are_its_own() {
        for name in ["run-1-000.parquet", "S-4-17-1234.0123456789abcdef.parquet"] {
            assert!(is_own_name(name), "{name}");
        }
        for name in ["customers.parquet", "part-1.parquet", "run-000.csv", "a.b-000.parquet", "run-000.backup.parquet"]
        {
            assert!(!is_own_name(name), "{name}");
        }
    }
}
