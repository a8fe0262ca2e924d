//! What was delivered of one dataset, and to whom: `levada/STORE/DATASET/_applied.json`, version 1.
//!
//! This file is the commit. The `_latest.json` of each workspace follows from it, and whoever comes
//! next after a crash writes those that are behind, and takes away those of workspaces that left.

use super::config::{failed, path_part};
use super::replace::{disown_folder, make_folder, own_folder, replace, sync_folder};
use levada_flow::FlowError;
use levada_flow::sink::{DeliveredTable, Mark};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// The version of both files.
const VERSION: u32 = 1;

/// The folder of everything that is delivered; no workspace's.
pub(super) const DELIVERED: &str = "levada";

/// How many files of changes are kept; who is further behind reads the history.
pub(super) const CHANGES_MAX: usize = 128;

/// All rows of one dataset, one per pair of physical names.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Applied {
    version: u32,
    /// By the physical name that starts the row.
    pub(super) rows: BTreeMap<String, Row>,
    /// Workspaces that read nothing here any more, until their `_latest.json` is gone.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) leaving: BTreeSet<String>,
}

/// One delivery's state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    /// Who delivers it; `None`: an earlier build, which did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) platform: Option<String>,
    pub(super) batch: i64,
    pub(super) incarnation: String,
    pub(super) epoch: i64,
    pub(super) shape: String,
    pub(super) live: Option<Files>,
    pub(super) history: Option<Files>,
    /// Files of net changes, oldest first.
    pub(super) changes: Vec<String>,
    /// Folders and files that readers of the previous `_latest.json` may still hold open.
    pub(super) previous: Vec<String>,
    /// What each workspace reads, by its name.
    pub(super) workspaces: BTreeMap<String, Latest>,
}

/// The files of one reading.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Files {
    /// Their folder, from the container's root.
    pub(super) folder: String,
    /// Their names in it.
    pub(super) names: Vec<String>,
    pub(super) rows: u64,
}

/// `WORKSPACE/STORE/DATASET/_latest.json`: what a workspace may read. Paths start at the container's root.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Latest {
    /// The version of this format.
    pub version: u32,
    /// `STORE.DATASET`
    pub dataset: String,
    /// The last batch that is in.
    pub batch: i64,
    /// The incarnation of the source it came from.
    pub incarnation: String,
    /// Column → type of the model, in order.
    pub columns: Vec<(String, String)>,
    /// The files of the live reading; absent where the workspace does not get it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<Vec<String>>,
    /// The files of the history; absent where the workspace does not get it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<String>>,
    /// Versions closed up to here (µs since 1970) are not the workspace's to read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history_since: Option<i64>,
    /// The files of net changes; absent where the workspace does not get the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<String>>,
}

impl Latest {
    /// Joins what two platforms deliver to one workspace, the live reading and the history: both
    /// are there up to the older batch.
    fn join(self, other: &Latest) -> Latest {
        let Latest { live, history, history_since, changes, .. } = self.clone();
        let older = if other.batch < self.batch { other.clone() } else { self };
        Latest {
            live: live.or_else(|| other.live.clone()),
            history: history.or_else(|| other.history.clone()),
            history_since: history_since.or(other.history_since),
            changes: changes.or_else(|| other.changes.clone()),
            ..older
        }
    }
}

impl Applied {
    /// What each workspace reads, of all rows.
    fn latest(&self) -> BTreeMap<&str, Latest> {
        let mut all: BTreeMap<&str, Latest> = BTreeMap::new();
        for (workspace, latest) in self.rows.values().flat_map(|row| &row.workspaces) {
            let joined = match all.remove(workspace.as_str()) {
                Some(known) => known.join(latest),
                None => latest.clone(),
            };
            all.insert(workspace, joined);
        }
        all
    }

    /// Who reads something of it.
    fn workspaces(&self) -> impl Iterator<Item = String> {
        self.rows.values().flat_map(|row| row.workspaces.keys().cloned())
    }
}

impl Row {
    /// Leaves to another row what that one shows from now on: a view that moved to another platform.
    pub(super) fn leave_to(&mut self, other: &Row) {
        self.workspaces.retain(|workspace, latest| {
            let theirs = other.workspaces.get(workspace);
            if theirs.is_some_and(|theirs| theirs.live.is_some()) {
                latest.live = None;
            }
            if theirs.is_some_and(|theirs| theirs.history.is_some()) {
                (latest.history, latest.history_since, latest.changes) = (None, None, None);
            }
            latest.live.is_some() || latest.history.is_some()
        });
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { batch: self.batch, incarnation: self.incarnation.clone(), epoch: self.epoch, shape: self.shape.clone() }
    }

    /// What each workspace reads of this row, by the table's views.
    pub(super) fn show(&mut self, table: &DeliveredTable) -> Result<(), FlowError> {
        self.workspaces.clear();
        let paths =
            |files: &Files| files.names.iter().map(|name| format!("{}/{name}", files.folder)).collect::<Vec<_>>();
        for view in &table.views {
            if path_part(view.workspace.as_str()).eq_ignore_ascii_case(DELIVERED) {
                return Err(FlowError::never(format!("{:?} can't be the folder of a workspace", view.workspace)));
            }
            let columns = table.schema.columns.iter();
            let columns = columns.map(|column| (column.name.to_string(), column.data_type.to_string())).collect();
            let latest = self.workspaces.entry(view.workspace.to_string()).or_insert_with(|| Latest {
                version: VERSION,
                dataset: table.source.to_string(),
                batch: self.batch,
                incarnation: self.incarnation.clone(),
                columns,
                live: None,
                history: None,
                history_since: None,
                changes: None,
            });
            let missing = || FlowError::never(format!("view {} shows a table that is not delivered", view.name));
            match view.is_history {
                false if table.live.is_none() => return Err(missing()),
                true if table.history.is_none() => return Err(missing()),
                false => latest.live = Some(self.live.as_ref().map(paths).unwrap_or_default()),
                true => {
                    latest.history = Some(self.history.as_ref().map(paths).unwrap_or_default());
                    latest.history_since = view.since;
                    latest.changes = Some(self.changes.clone());
                }
            }
        }
        Ok(())
    }
}

/// One dataset's folder, held by this process alone.
pub(super) struct DatasetFolder {
    pub(super) root: PathBuf,
    /// From the container's root.
    pub(super) folder: String,
    store: String,
    dataset: String,
    lock: Option<File>,
}

impl Drop for DatasetFolder {
    fn drop(&mut self) {
        if let Some(lock) = &self.lock {
            // A process that this one is just starting keeps the file open until its program is there:
            // closing would not give the lock back yet. Where this fails, closing does in the end.
            drop(lock.unlock());
        }
    }
}

impl DatasetFolder {
    /// Names a dataset's folder, to read.
    pub(super) fn new(root: &Path, table: &DeliveredTable) -> Self {
        let (store, dataset) = (path_part(table.source.datastore.as_str()), path_part(table.source.dataset.as_str()));
        Self { root: root.to_owned(), folder: format!("{DELIVERED}/{store}/{dataset}"), store, dataset, lock: None }
    }

    /// Takes a dataset's folder, to write; another writer is told to come back later.
    pub(super) fn lock(root: &Path, table: &DeliveredTable) -> Result<Self, FlowError> {
        let mut folder = Self::new(root, table);
        let path = folder.path();
        make_folder(&path)?;
        let lock = path.join("_lock");
        let file = File::create(&lock).map_err(|error| failed("opened", &lock, error))?;
        match file.try_lock() {
            Ok(()) => folder.lock = Some(file),
            Err(TryLockError::WouldBlock) => {
                return Err(FlowError::later(format!("another process is delivering {}", table.source)));
            }
            Err(TryLockError::Error(error)) => return Err(failed("locked", &lock, error)),
        }
        Ok(folder)
    }

    /// Where it is.
    pub(super) fn path(&self) -> PathBuf {
        self.root.join(&self.folder)
    }

    /// Where the files of a row lie, from the container's root: `levada/STORE/DATASET~…` where its
    /// physical name says so, the dataset's own folder for all other names.
    pub(super) fn rows_folder(&self, name: &str) -> String {
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        let ending = folder.strip_prefix(&self.folder).and_then(|ending| ending.strip_prefix('~'));
        let is_beside = ending.is_some_and(|hash| hash.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        if is_beside { folder.to_owned() } else { self.folder.clone() }
    }

    /// What was delivered.
    pub(super) fn read(&self) -> Result<Applied, FlowError> {
        let path = self.path().join("_applied.json");
        match std::fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice::<Applied>(&bytes) {
                Ok(applied) if applied.version == VERSION => Ok(applied),
                Ok(_) => Err(FlowError::never(format!("{} is of a version this build does not know", path.display()))),
                Err(error) => Err(FlowError::never(format!("{} can't be read", path.display())).because(error)),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Applied { version: VERSION, rows: BTreeMap::new(), leaving: BTreeSet::new() })
            }
            Err(error) => Err(failed("read", &path, error)),
        }
    }

    /// Commits, then tells the workspaces.
    pub(super) fn commit(&self, before: &Applied, mut after: Applied) -> Result<(), FlowError> {
        after.leaving.extend(before.workspaces());
        let staying: BTreeSet<String> = after.workspaces().collect();
        after.leaving.retain(|workspace| !staying.contains(workspace));
        self.write(&after)?;
        self.tell(after)
    }

    /// Brings each `_latest.json` in line with what was committed.
    pub(super) fn tell(&self, mut applied: Applied) -> Result<(), FlowError> {
        for (workspace, latest) in applied.latest() {
            own_folder(&self.root.join(path_part(workspace)))?;
            let path = self.latest(workspace);
            let bytes = serde_json::to_vec_pretty(&latest).expect("plain data always serialises");
            if std::fs::read(&path).ok().as_deref() != Some(&bytes) {
                replace(&path, &bytes)?;
            }
        }
        let leaving = std::mem::take(&mut applied.leaving);
        leaving.iter().try_for_each(|workspace| self.forget(workspace))?;
        if leaving.is_empty() { Ok(()) } else { self.write(&applied) }
    }

    fn write(&self, applied: &Applied) -> Result<(), FlowError> {
        own_folder(&self.root.join(DELIVERED))?;
        let bytes = serde_json::to_vec_pretty(applied).expect("plain data always serialises");
        replace(&self.path().join("_applied.json"), &bytes)
    }

    fn latest(&self, workspace: &str) -> PathBuf {
        self.root.join(path_part(workspace)).join(&self.store).join(&self.dataset).join("_latest.json")
    }

    /// Takes a workspace's `_latest.json` away, and the folders that are empty then.
    fn forget(&self, workspace: &str) -> Result<(), FlowError> {
        let path = self.latest(workspace);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed("removed", &path, error)),
            _ => {}
        }
        let top = self.root.join(path_part(workspace));
        let mut folder = path.parent();
        while let Some(empty) = folder.filter(|folder| *folder != self.root) {
            if empty == top {
                disown_folder(&top)?;
            }
            // A folder that is not empty stays.
            if std::fs::remove_dir(empty).is_err() {
                break;
            }
            folder = empty.parent();
        }
        folder.filter(|folder| folder.is_dir()).map_or(Ok(()), sync_folder)
    }

    /// Deletes what no row needs any more, and what a crash left behind.
    pub(super) fn sweep(&self, before: &Applied, after: &Applied) -> Result<(), FlowError> {
        let folders = |applied: &Applied| -> BTreeSet<String> {
            applied.rows.keys().map(|name| self.rows_folder(name)).collect()
        };
        let (were, are) = (folders(before), folders(after));
        for gone in were.difference(&are).filter(|folder| **folder != self.folder) {
            let path = self.root.join(gone);
            match std::fs::remove_dir_all(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed("removed", &path, error));
                }
                _ => {}
            }
        }
        let needed: BTreeSet<&str> = after
            .rows
            .values()
            .flat_map(|row| {
                let folders = row.live.iter().chain(&row.history).map(|files| files.folder.as_str());
                folders.chain(row.changes.iter().chain(&row.previous).map(String::as_str))
            })
            .collect();
        are.iter().chain([&self.folder]).try_for_each(|folder| self.sweep_folder(folder, &needed))
    }

    fn sweep_folder(&self, folder: &str, needed: &BTreeSet<&str>) -> Result<(), FlowError> {
        for reading in ["live", "history", "changes"] {
            let path = self.root.join(folder).join(reading);
            let entries = match std::fs::read_dir(&path) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed("listed", &path, error)),
            };
            for entry in entries {
                let entry = entry.map_err(|error| failed("listed", &path, error))?;
                let path = entry.path();
                let name = format!("{folder}/{reading}/{}", entry.file_name().to_string_lossy());
                if !needed.contains(name.as_str()) {
                    let removed =
                        if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
                    removed.map_err(|error| failed("removed", &path, error))?;
                }
            }
        }
        Ok(())
    }
}
