//! The parse cache: what each file of a model said when it was read last.
//!
//! A fragment is found by the hash of its file's path and content, so that nothing stale is ever
//! used and no clock matters. Files lie in [`SHARDS`] shards by their paths; a shard holds exactly
//! the files that the model had at the last load, and is written anew when one of them changed.
//! Files with findings are read again every time. All of it is best effort: a cache that can't be
//! read or written, or that another build wrote, costs time and nothing else.

use levada_model::{CACHE_FORM, FileId, Fragment};
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_128;

/// Into how many files a cache is cut: a changed file of the model rewrites one of them.
pub(crate) const SHARDS: usize = 64;

/// What every shard begins with, before the form of its fragments.
const MAGIC: &str = "levada-parse-cache-1";

type Key = [u8; 16];

/// The shard of a path.
pub(crate) fn shard_of(path: &str) -> usize {
    (xxh3_128(path.as_bytes()) % SHARDS as u128) as usize
}

/// One shard while a folder is loaded.
pub(crate) struct Shard {
    path: PathBuf,
    bytes: Vec<u8>,
    found: HashMap<Key, std::ops::Range<usize>>,
    kept: Vec<(Key, Kept)>,
    is_changed: bool,
}

/// A fragment that the shard is to hold.
enum Kept {
    /// It is there already.
    Old(std::ops::Range<usize>),
    New(Vec<u8>),
}

impl Shard {
    /// Opens a shard; one that can't be read, or is damaged, is empty.
    pub(crate) fn open(folder: &Path, number: usize) -> Self {
        let path = folder.join(format!("{number:02}.cache"));
        let bytes = std::fs::read(&path).unwrap_or_default();
        let found = entries(&bytes).unwrap_or_default();
        Self { path, bytes, found, kept: Vec::new(), is_changed: false }
    }

    /// What a file says, where it was read before.
    pub(crate) fn find(&mut self, key: Key, file: FileId) -> Option<Fragment> {
        let range = self.found.get(&key)?.clone();
        let fragment = Fragment::from_cache(file, &self.bytes[range.clone()])?;
        self.kept.push((key, Kept::Old(range)));
        Some(fragment)
    }

    /// Keeps what a file says for the next load.
    pub(crate) fn keep(&mut self, key: Key, fragment: &Fragment) {
        self.kept.push((key, Kept::New(fragment.to_cache())));
        self.is_changed = true;
    }

    /// Writes the shard, where it is not what it was.
    pub(crate) fn close(self) {
        if self.is_changed || self.kept.len() != self.found.len() {
            // Best effort: a read-only checkout still loads.
            drop(self.write());
        }
    }

    fn write(&self) -> std::io::Result<()> {
        let mut body = Vec::new();
        for (key, kept) in &self.kept {
            let fragment = match kept {
                Kept::Old(range) => &self.bytes[range.clone()],
                Kept::New(bytes) => bytes,
            };
            body.extend(key);
            body.extend((fragment.len() as u64).to_le_bytes());
            body.extend(fragment);
        }
        // A name of this process's own: two loads at once replace each other's work, and tear none.
        let beside = self.path.with_extension(format!("{}.new", std::process::id()));
        let mut file = File::create(&beside)?;
        file.write_all(&head())?;
        file.write_all(&xxh3_128(&body).to_le_bytes())?;
        file.write_all(&body)?;
        drop(file);
        std::fs::rename(&beside, &self.path)
    }
}

/// Names what a file says: the same path and content say the same.
pub(crate) fn key(path: &str, text: &[u8]) -> Key {
    let mut framed = Vec::with_capacity(8 + path.len() + text.len());
    framed.extend((path.len() as u64).to_le_bytes());
    framed.extend(path.as_bytes());
    framed.extend(text);
    xxh3_128(&framed).to_le_bytes()
}

fn head() -> Vec<u8> {
    format!("{MAGIC} {CACHE_FORM}\n").into_bytes()
}

/// The fragments of a shard by key; `None`: it is of another form, or damaged.
fn entries(bytes: &[u8]) -> Option<HashMap<Key, std::ops::Range<usize>>> {
    let head = head();
    let (sum, body) = bytes.strip_prefix(head.as_slice())?.split_first_chunk::<16>()?;
    if *sum != xxh3_128(body).to_le_bytes() {
        return None;
    }
    let mut found = HashMap::new();
    let mut at = bytes.len() - body.len();
    while at < bytes.len() {
        let (key, rest) = bytes[at..].split_first_chunk::<16>()?;
        let (length, _) = rest.split_first_chunk::<8>()?;
        let from = at + 24;
        at = from.checked_add(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        bytes.get(from..at)?;
        found.insert(*key, from..at);
    }
    Some(found)
}
