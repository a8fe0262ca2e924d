//! Segments: immutable Parquet pieces of a change log, inline in the catalog or as files.
//!
//! A file lies at `STORE/DATASET/RUN-NNN.CHECKSUM.parquet` below the store's root. The checksum is
//! the xxh3-64 of the whole file; who reads a file first in a process checks it, so that a
//! damaged one is never read as data.

mod read;
mod write;

pub(crate) use read::{Asked, PieceReader, PieceRows};
pub(crate) use write::{SegmentWriter, Written, remove_litter};

use crate::StoreError;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Bodies up to this many bytes lie in the catalog itself.
pub const INLINE_BYTES_MAX: usize = 16 * 1024;

/// The files whose checksums this process has seen to be right, by the hash of their paths.
#[derive(Default)]
pub(crate) struct Checked(Mutex<BTreeSet<u64>>);

impl Checked {
    /// Compares a file with the checksum in its name, once per process.
    pub(crate) fn check(&self, root: &Path, path: &str) -> Result<(), StoreError> {
        let name = xxh3_64(path.as_bytes());
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&name) {
            return Ok(());
        }
        let expected = path.strip_suffix(".parquet").and_then(|path| path.rsplit_once('.')).map(|(_, sum)| sum);
        let found = checksum(&root.join(path))?;
        if expected != Some(found.as_str()) {
            let problem = format!("its checksum is {found}, not {}", expected.unwrap_or("in its name"));
            return Err(StoreError::damaged(path, problem));
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
        Ok(())
    }
}

fn checksum(path: &Path) -> Result<String, StoreError> {
    let mut file = File::open(path).map_err(|source| StoreError::file("open", path, source))?;
    let mut hash = Xxh3::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer).map_err(|source| StoreError::file("read", path, source))? {
            0 => return Ok(format!("{:016x}", hash.digest())),
            length => hash.update(&buffer[..length]),
        }
    }
}
