//! A rendered tree into a folder, so that it may stop anywhere.
//!
//! Steps: compare what is there with the last manifest (and with the one of a run that broke off);
//! announce the new manifest; write what differs, each file by rename; remove what is no longer
//! rendered; put the new manifest in its place. Files that no manifest names are somebody else's.

use super::manifest::hash;
use super::{MANIFEST, Manifest, RenderedError, Tree, check_paths};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Write};
use std::path::Path;

/// The manifests of renderings that are under way, one a line: of this one, and of those before it
/// that broke off.
const ANNOUNCED: &str = "render-manifest.json.new";

/// Where files are written before they take their places.
const PARTS: &str = ".levada-part";

/// What a rendering changed in a folder.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Written {
    /// Files that are new or differ, sorted.
    pub written: Vec<String>,
    /// Files that are no longer rendered, sorted.
    pub removed: Vec<String>,
}

impl Written {
    /// Whether the folder was as it should be already.
    pub fn is_nothing(&self) -> bool {
        self.written.is_empty() && self.removed.is_empty()
    }
}

/// What a folder still lacks; nothing is changed yet.
#[derive(Debug)]
pub struct PreparedFolder<'t> {
    folder: &'t Path,
    tree: &'t Tree,
    manifest: &'t Manifest,
    announcement: Vec<u8>,
    changes: Written,
    /// Whether the manifest is there already.
    is_same: bool,
}

/// Finds out what makes `folder` hold exactly `tree` and its manifest, beside whatever is somebody
/// else's.
///
/// `gives_up_edits`: files that somebody edited since are written over all the same, and so are those
/// of a later generation.
///
/// # Errors
/// [`RenderedError::Edited`], [`RenderedError::Newer`], [`RenderedError::Occupied`],
/// [`RenderedError::Foreign`]; the file system.
pub fn prepare_folder<'t>(
    folder: &'t Path,
    tree: &'t Tree,
    manifest: &'t Manifest,
    gives_up_edits: bool,
) -> Result<PreparedFolder<'t>, RenderedError> {
    check_paths(tree)?;
    std::fs::create_dir_all(folder).map_err(|error| RenderedError::file("create", folder, error))?;
    let known = Known::read(folder)?;
    known.last.iter().chain(&known.announced).try_for_each(|last| manifest.may_follow(last, gives_up_edits))?;
    let (now, edited) = known.compare(folder, tree)?;
    if !gives_up_edits && !edited.is_empty() {
        return Err(RenderedError::Edited { paths: edited });
    }
    let differs = |path: &&String| now.get(*path) != manifest.files.get(*path);
    let written: Vec<String> = tree.keys().filter(differs).cloned().collect();
    let removed: Vec<String> = now.keys().filter(|path| !tree.contains_key(*path)).cloned().collect();
    let is_same = known.last.as_ref() == Some(manifest);
    let announcement = known.announcing(manifest);
    Ok(PreparedFolder { folder, tree, manifest, announcement, changes: Written { written, removed }, is_same })
}

impl PreparedFolder<'_> {
    /// Writes it. May stop anywhere: the next rendering goes on.
    ///
    /// # Errors
    /// The file system.
    pub fn write(self) -> Result<Written, RenderedError> {
        let Self { folder, tree, manifest, announcement, changes, is_same } = self;
        let announced = folder.join(ANNOUNCED);
        if is_same && changes.is_nothing() {
            remove(&announced)?;
            return Ok(changes);
        }
        replace(folder, ANNOUNCED, &announcement)?;
        for path in &changes.written {
            replace(folder, path, &tree[path])?;
        }
        for path in &changes.removed {
            remove(&folder.join(path))?;
            remove_empty(folder, path);
        }
        replace(folder, MANIFEST, &manifest.to_bytes())?;
        remove(&announced)?;
        let parts = folder.join(PARTS);
        std::fs::remove_dir_all(&parts).map_err(|error| RenderedError::file("remove", parts, error))?;
        Ok(changes)
    }
}

/// What was rendered into a folder last; `None`: nothing, or it never came to its end.
///
/// # Errors
/// The manifest can't be read.
pub fn last_in_folder(folder: &Path) -> Result<Option<Manifest>, RenderedError> {
    let path = folder.join(MANIFEST);
    read(&path)?.map(|bytes| Manifest::from_bytes(&bytes, &path)).transpose()
}

/// What earlier renderings left, or were about to.
struct Known {
    last: Option<Manifest>,
    announced: Vec<Manifest>,
}

impl Known {
    fn read(folder: &Path) -> Result<Self, RenderedError> {
        let (last, announced) = (folder.join(MANIFEST), folder.join(ANNOUNCED));
        let lines = read(&announced)?.unwrap_or_default();
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let known = Self {
            last: read(&last)?.map(|bytes| Manifest::from_bytes(&bytes, &last)).transpose()?,
            announced: lines.map(|line| Manifest::from_bytes(line, &announced)).collect::<Result<_, _>>()?,
        };
        if known.last.is_none() && known.announced.is_empty() && !is_empty(folder)? {
            return Err(RenderedError::Foreign { path: folder.to_owned() });
        }
        Ok(known)
    }

    /// The announcement of one more rendering.
    fn announcing(&self, manifest: &Manifest) -> Vec<u8> {
        let all = self.announced.iter().chain([manifest]);
        all.flat_map(|manifest| [manifest.to_line(), vec![b'\n']].concat()).collect()
    }

    /// The files of ours that are there, with their hashes, and which of all were edited.
    fn compare(&self, folder: &Path, tree: &Tree) -> Result<(BTreeMap<String, String>, Vec<String>), RenderedError> {
        let manifests = || self.last.iter().chain(&self.announced);
        let ours = manifests().flat_map(|manifest| manifest.files.keys());
        let paths: BTreeSet<&String> = ours.chain(tree.keys()).collect();
        let (mut now, mut edited) = (BTreeMap::new(), Vec::new());
        for path in paths {
            let Some(found) = read(&folder.join(path))?.map(|bytes| hash(&bytes)) else { continue };
            let is_ours = manifests().any(|manifest| manifest.files.get(path) == Some(&found));
            let is_right = tree.get(path).is_some_and(|bytes| hash(bytes) == found);
            if !is_ours && !is_right {
                edited.push(path.clone());
            }
            now.insert(path.clone(), found);
        }
        Ok((now, edited))
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, RenderedError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(RenderedError::file("read", path, error)),
    }
}

fn is_empty(folder: &Path) -> Result<bool, RenderedError> {
    let mut entries = std::fs::read_dir(folder).map_err(|error| RenderedError::file("read", folder, error))?;
    Ok(entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == PARTS)))
}

/// Writes a file apart and puts it in its place, durably.
fn replace(root: &Path, path: &str, bytes: &[u8]) -> Result<(), RenderedError> {
    let (place, apart) = (root.join(path), root.join(PARTS).join("file"));
    for folder in [&place, &apart].map(|path| path.parent().expect("files lie in a folder")) {
        std::fs::create_dir_all(folder).map_err(|error| RenderedError::file("create", folder, error))?;
    }
    let written = std::fs::File::create(&apart).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_data()
    });
    written.map_err(|error| RenderedError::file("write", &place, error))?;
    std::fs::rename(&apart, &place).map_err(|error| RenderedError::file("replace", &place, error))
}

fn remove(path: &Path) -> Result<(), RenderedError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(RenderedError::file("remove", path, error)),
        _ => Ok(()),
    }
}

/// Removes the folders of a removed file that are empty now.
fn remove_empty(root: &Path, path: &str) {
    let mut folder = Path::new(path).parent();
    while let Some(at) = folder.filter(|at| !at.as_os_str().is_empty()) {
        // One that is not empty stays, and so do those around it.
        if std::fs::remove_dir(root.join(at)).is_err() {
            return;
        }
        folder = at.parent();
    }
}
