//! Places in model files, eight bytes each.
//!
//! A span knows a file and a byte offset; line and column are found by re-reading the file, which
//! only happens when a finding is shown.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cell::Cell;
use std::fmt;

/// Index of a file in the folder's sorted list of files.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct FileId(pub u32);

/// The first byte of something in a model file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// Byte offset of the first character.
    pub offset: u32,
}

impl Span {
    /// Names the byte `offset` of `file`.
    pub fn new(file: FileId, offset: u32) -> Self {
        Self { file, offset }
    }
}

thread_local! {
    /// The file whose cached fragment this thread is reading.
    static FILE: Cell<FileId> = const { Cell::new(FileId(0)) };
    /// Whether this thread writes values without their places.
    static IS_UNPLACED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `read`, in which every span that is read is one of `file`.
pub(crate) fn within<T>(file: FileId, read: impl FnOnce() -> T) -> T {
    let before = FILE.replace(file);
    let read = read();
    FILE.set(before);
    read
}

/// Runs `write`, in which all places look alike: what is written says what stands there, not where.
pub(crate) fn unplaced<T>(write: impl FnOnce() -> T) -> T {
    let before = IS_UNPLACED.replace(true);
    let written = write();
    IS_UNPLACED.set(before);
    written
}

/// The offset alone: which number its file has is known only when a folder is loaded.
impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if IS_UNPLACED.get() { 0.serialize(serializer) } else { self.offset.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { file: FILE.get(), offset: u32::deserialize(deserializer)? })
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.file.0, self.offset)
    }
}

/// A value and the place where somebody wrote it.
///
/// Equality, order and hash look at the value alone: moving a line changes no meaning.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spanned<T> {
    /// What was written.
    pub value: T,
    /// Where.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// Joins a value and its place.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Spanned<T> {}
