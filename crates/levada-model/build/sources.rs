//! What build scripts name the form of a thing after: the sources that make it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

/// Names folders of sources, relative to the crate, by what is in them; has the build script run again when
/// that changes.
pub fn name(folders: &[&str]) -> String {
    let mut hasher = DefaultHasher::new();
    for folder in folders {
        println!("cargo::rerun-if-changed={folder}");
        hash_folder(Path::new(folder), &mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

fn hash_folder(folder: &Path, hasher: &mut DefaultHasher) {
    let entries = std::fs::read_dir(folder).expect("the sources can be read");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("the sources can be read").path()).collect();
    paths.sort();
    for path in paths {
        match path.is_dir() {
            true => hash_folder(&path, hasher),
            false => std::fs::read(&path).expect("the sources can be read").hash(hasher),
        }
    }
}
