//! Names the form of cached fragments after the sources that write and read them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=src");
    let mut hasher = DefaultHasher::new();
    hash_folder(Path::new("src"), &mut hasher);
    println!("cargo::rustc-env=LEVADA_MODEL_FORM={:016x}", hasher.finish());
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
