//! The parse cache: what each file of a model said when it was read last.
//!
//! A file is found by the hash of its path and content, so that nothing stale is ever used and no clock
//! matters. Files lie in [`SHARDS`] shards by their paths. A shard is two files: the sketches, which every
//! load reads, and the fragments, of which a load reads what it needs; each fragment has a sum of its own.
//! A shard holds exactly the files that the model had at the last load, and is written anew when one of
//! them changed. Files with findings are read again every time. All of it is best effort: a cache that
//! can't be read or written, or that another build wrote, costs time and nothing else.

use levada_model::{CACHE_FORM, FileId, Fragment, Sketch};
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_128;

/// Into how many shards a cache is cut: a changed file of the model rewrites one of them.
pub(crate) const SHARDS: usize = 64;

/// What every file of sketches begins with, before the form of what is in it.
const MAGIC: &str = "levada-parse-cache-2";

/// 128 bits of xxh3.
pub(crate) type Hash = [u8; 16];

/// The shard of a path.
pub(crate) fn shard_of(path: &str) -> usize {
    (xxh3_128(path.as_bytes()) % SHARDS as u128) as usize
}

/// Names what a file says: the same path and content say the same.
pub(crate) fn key(path: &str, text: &[u8]) -> Hash {
    let mut framed = Vec::with_capacity(8 + path.len() + text.len());
    framed.extend((path.len() as u64).to_le_bytes());
    framed.extend(path.as_bytes());
    framed.extend(text);
    hash(&framed)
}

fn hash(bytes: &[u8]) -> Hash {
    xxh3_128(bytes).to_le_bytes()
}

/// Where a fragment lies in its shard's file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    from: u64,
    length: u64,
    sum: Hash,
}

/// One shard while a folder is looked over.
pub(crate) struct Shard {
    paths: Paths,
    bytes: Vec<u8>,
    found: HashMap<Hash, (std::ops::Range<usize>, Place)>,
    kept: Vec<Kept>,
    is_changed: bool,
}

/// The two files of a shard.
#[derive(Clone, Debug)]
struct Paths {
    sketches: PathBuf,
    fragments: PathBuf,
}

impl Paths {
    fn of(folder: &Path, number: usize) -> Self {
        let path = |end: &str| folder.join(format!("{number:02}.{end}"));
        Self { sketches: path("sketches"), fragments: path("fragments") }
    }
}

/// A file of the model that the shard is to hold.
struct Kept {
    key: Hash,
    sketch: Vec<u8>,
    fragment: Body,
}

/// A fragment that the shard is to hold.
enum Body {
    /// It is there already.
    Old(Place),
    New(Vec<u8>),
}

impl Shard {
    /// Opens a shard; one that can't be read, or is damaged, is empty.
    pub(crate) fn open(folder: &Path, number: usize) -> Self {
        let paths = Paths::of(folder, number);
        let bytes = std::fs::read(&paths.sketches).unwrap_or_default();
        let found = entries(&bytes).unwrap_or_default();
        Self { paths, bytes, found, kept: Vec::new(), is_changed: false }
    }

    /// The sketch of a file that was read before; what is found is kept.
    pub(crate) fn find(&mut self, key: Hash) -> Option<Sketch> {
        let (range, place) = self.found.get(&key)?.clone();
        let bytes = &self.bytes[range];
        let sketch = serde_json::from_slice(bytes).ok()?;
        self.kept.push(Kept { key, sketch: bytes.to_vec(), fragment: Body::Old(place) });
        Some(sketch)
    }

    /// Keeps what a file says for the next load.
    pub(crate) fn keep(&mut self, key: Hash, sketch: &Sketch, fragment: &Fragment) {
        let sketch = serde_json::to_vec(sketch).expect("plain data with text keys always serialises");
        self.kept.push(Kept { key, sketch, fragment: Body::New(fragment.to_cache()) });
        self.is_changed = true;
    }

    /// Writes the shard, where it is not what it was, and gives the places of fragments by key.
    pub(crate) fn close(self) -> HashMap<Hash, Place> {
        if self.is_changed || self.kept.len() != self.found.len() {
            // Best effort: a read-only checkout still loads.
            if let Ok(places) = self.write() {
                return places;
            }
        }
        self.found.into_iter().map(|(key, (_, place))| (key, place)).collect()
    }

    fn write(&self) -> std::io::Result<HashMap<Hash, Place>> {
        let mut old = File::open(&self.paths.fragments).ok();
        let (mut sketches, mut fragments) = (Vec::new(), Vec::new());
        let mut places = HashMap::with_capacity(self.kept.len());
        for Kept { key, sketch, fragment } in &self.kept {
            let bytes = match fragment {
                Body::New(bytes) => bytes,
                // A fragment that is damaged is not kept, and read again with the next load.
                Body::Old(place) => match old.as_mut().and_then(|file| read(file, place)) {
                    Some(bytes) => &{ bytes },
                    None => continue,
                },
            };
            let place = Place { from: fragments.len() as u64, length: bytes.len() as u64, sum: hash(bytes) };
            fragments.extend(bytes);
            sketches.extend(key);
            sketches.extend(place.from.to_le_bytes());
            sketches.extend(place.length.to_le_bytes());
            sketches.extend(place.sum);
            sketches.extend((sketch.len() as u64).to_le_bytes());
            sketches.extend(sketch);
            places.insert(*key, place);
        }
        replace(&self.paths.fragments, &[&fragments])?;
        replace(&self.paths.sketches, &[&head(), &hash(&sketches), &sketches])?;
        Ok(places)
    }
}

/// Writes a file beside and puts it in its place: two loads at once replace each other's work, and tear
/// none. That one replaces the sketches and the other the fragments shows in the sums of these.
fn replace(path: &Path, parts: &[&[u8]]) -> std::io::Result<()> {
    let beside = path.with_added_extension(format!("{}.new", std::process::id()));
    let mut file = File::create(&beside)?;
    parts.iter().try_for_each(|part| file.write_all(part))?;
    drop(file);
    std::fs::rename(&beside, path)
}

/// Reads fragments of a shard; those that are not what they were when they were written are `None`.
pub(crate) fn fragments(folder: &Path, shard: usize, wanted: &[(FileId, Place)]) -> Vec<Option<Fragment>> {
    let Ok(mut file) = File::open(Paths::of(folder, shard).fragments) else { return vec![None; wanted.len()] };
    let read = |(id, place): &(FileId, Place)| Fragment::from_cache(*id, &read(&mut file, place)?);
    wanted.iter().map(read).collect()
}

fn read(file: &mut File, place: &Place) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(place.from)).ok()?;
    file.take(place.length).read_to_end(&mut bytes).ok()?;
    (hash(&bytes) == place.sum).then_some(bytes)
}

fn head() -> Vec<u8> {
    format!("{MAGIC} {CACHE_FORM}\n").into_bytes()
}

/// The sketches of a shard by key; `None`: it is of another form, or damaged.
fn entries(bytes: &[u8]) -> Option<HashMap<Hash, (std::ops::Range<usize>, Place)>> {
    let head = head();
    let (sum, body) = bytes.strip_prefix(head.as_slice())?.split_first_chunk::<16>()?;
    if *sum != hash(body) {
        return None;
    }
    let mut found = HashMap::new();
    let mut at = bytes.len() - body.len();
    while at < bytes.len() {
        let mut take = |length: usize| {
            let taken = bytes.get(at..at + length)?;
            at += length;
            Some(taken)
        };
        let key: Hash = take(16)?.try_into().ok()?;
        let from = u64::from_le_bytes(take(8)?.try_into().ok()?);
        let length = u64::from_le_bytes(take(8)?.try_into().ok()?);
        let sum: Hash = take(16)?.try_into().ok()?;
        let sketch = usize::try_from(u64::from_le_bytes(take(8)?.try_into().ok()?)).ok()?;
        let end = at.checked_add(sketch)?;
        bytes.get(at..end)?;
        found.insert(key, (at..end, Place { from, length, sum }));
        at = end;
    }
    Some(found)
}
