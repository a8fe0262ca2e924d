//! The files that tidy looks at.
//!
//! Takes a folder, gives its files' texts by path in order. Build output, hidden state and caches
//! are not looked into.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Files above this are not read, only reported; in bytes.
pub(crate) const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Folders that are nobody's source.
const SKIPPED_FOLDERS: &[&str] = &["target", ".git", ".levada", "__pycache__", ".venv"];

/// A file of the workspace.
pub(crate) struct File {
    /// In bytes.
    pub(crate) size: u64,
    /// `None`: not UTF-8, or too large to be read.
    pub(crate) text: Option<String>,
}

/// All files of a workspace, by path from its root, `/`-separated.
pub(crate) struct Tree {
    files: BTreeMap<String, File>,
}

impl Tree {
    /// Reads all files below a folder.
    pub(crate) fn read(root: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        read_folder(root, "", &mut files)?;
        Ok(Self { files })
    }

    /// A tree that exists nowhere, for tests of the rules.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let file = |text: &str| File { size: text.len() as u64, text: Some(text.to_owned()) };
        Self { files: files.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect() }
    }

    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &File)> {
        self.files.iter().map(|(path, file)| (path.as_str(), file))
    }

    /// The files that are text.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter_map(|(path, file)| Some((path, file.text.as_deref()?)))
    }

    /// The Rust files.
    pub(crate) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts().filter(|(path, _)| path.ends_with(".rs"))
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.text.as_deref()
    }

    pub(crate) fn contains(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// The folders with a package's `Cargo.toml`, and its text; the virtual workspace root is none.
    pub(crate) fn packages(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts().filter_map(|(path, text)| Some((path.strip_suffix("/Cargo.toml")?, text)))
    }
}

fn read_folder(folder: &Path, prefix: &str, files: &mut BTreeMap<String, File>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if !SKIPPED_FOLDERS.contains(&name.as_str()) {
                read_folder(&entry.path(), &format!("{path}/"), files)?;
            }
        } else if kind.is_file() {
            let size = entry.metadata()?.len();
            let is_read = size <= FILE_BYTES_MAX;
            let bytes = if is_read { std::fs::read(entry.path())? } else { Vec::new() };
            let text = String::from_utf8(bytes).ok().filter(|_| is_read);
            files.insert(path, File { size, text });
        }
    }
    Ok(())
}

/// The line of a byte in a text, from 1.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
pub(crate) mod scratch {
    //! A folder for one test, gone when the test ends.

    use std::path::{Path, PathBuf};

    /// A folder below the system's temporary one.
    pub(crate) struct Scratch(PathBuf);

    impl Scratch {
        /// Makes the folder; `name` is the test's own.
        pub(crate) fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("levada-xtask-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
            Self(folder)
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }

        /// Writes a file and the folders above it.
        pub(crate) fn write(&self, path: &str, text: &str) {
            let path = self.0.join(path);
            let folder = path.parent().expect("the path is below the folder");
            std::fs::create_dir_all(folder).expect("the temporary folder can be written");
            std::fs::write(path, text).expect("the temporary folder can be written");
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            // A folder that stays behind is the system's to clean; failing here would hide the test's own failure.
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
