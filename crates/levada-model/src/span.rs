//! Places in model files, eight bytes each.
//!
//! A span knows a file and a byte offset; line and column are found by re-reading the file, which
//! only happens when a finding is shown.

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

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.file.0, self.offset)
    }
}

/// A value and the place where somebody wrote it.
///
/// Equality, order and hash look at the value alone: moving a line changes no meaning.
#[derive(Clone, Debug)]
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
