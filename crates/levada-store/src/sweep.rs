//! Removes what writers left behind.
//!
//! A file belongs to a running writer, or a manifest names it, or it is litter of a run that
//! never committed.

use crate::{Inner, StoreError};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

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
pub(crate) async fn sweep(inner: &Inner) -> Result<usize, StoreError> {
    let mut files = Vec::new();
    list(&inner.root, &inner.root, &mut files)?;
    files.retain(|file| !inner.running.owns(file));
    if files.is_empty() {
        return Ok(0);
    }
    let mut litter: BTreeSet<String> = files.into_iter().collect();
    let mut known = inner.state.known_files();
    while let Some(page) = known.next_page().await? {
        page.iter().for_each(|file| _ = litter.remove(file));
    }
    let mut removed = 0;
    for file in &litter {
        let path = inner.root.join(file);
        match std::fs::remove_file(&path) {
            Ok(()) => removed += 1,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(StoreError::file("remove", &path, source)),
        }
        tracing::info!(file, "removed a file of a run that never committed");
    }
    Ok(removed)
}

fn list(root: &Path, folder: &Path, files: &mut Vec<String>) -> Result<(), StoreError> {
    let fail = |source| StoreError::file("list", folder, source);
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let path = entry.path();
        if entry.file_type().map_err(fail)?.is_dir() {
            list(root, &path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            let relative = path.strip_prefix(root).expect("the walk began there");
            files.extend(relative.to_str().map(str::to_owned));
        }
    }
    Ok(())
}
