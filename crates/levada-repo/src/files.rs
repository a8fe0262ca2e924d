//! The files of a loaded model, and the places of spans in them.

use levada_model::address::DatasetRef;
use levada_model::locate::{column_span, line_column};
use levada_model::name::ColumnName;
use levada_model::{FileId, Model, Span};
use std::path::{Path, PathBuf};

/// The files of a model, in the order of their ids.
#[derive(Clone, Debug, Default)]
pub struct FileTable {
    root: PathBuf,
    paths: Vec<String>,
}

/// A place that people can go to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// From the model's root, `/`-separated.
    pub path: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// The whole line, without its end.
    pub text: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.path, self.line, self.column)
    }
}

impl FileTable {
    pub(crate) fn new(root: PathBuf, paths: Vec<String>) -> Self {
        Self { root, paths }
    }

    /// The folder of the model.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// How many files were read.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// The path of a file, from the root.
    pub fn path(&self, file: FileId) -> Option<&str> {
        self.paths.get(file.0 as usize).map(String::as_str)
    }

    /// The text of a file, read again; what is not UTF-8 is replaced byte by byte, so that offsets
    /// hold. `None` where the file has gone.
    pub fn text(&self, file: FileId) -> Option<String> {
        let bytes = std::fs::read(self.root.join(self.path(file)?)).ok()?;
        Some(String::from_utf8(bytes).unwrap_or_else(|error| without_invalid(error.as_bytes())))
    }

    /// Where a span is. A file that has gone, or changed, gives the nearest place that is left.
    pub fn place(&self, span: Span) -> Option<Place> {
        let path = self.path(span.file)?.to_owned();
        let text = self.text(span.file).unwrap_or_default();
        let (line, column) = line_column(&text, span.offset);
        let line_text = text.split('\n').nth(line as usize - 1).unwrap_or_default();
        Some(Place { path, line, column, text: line_text.trim_end_matches('\r').to_owned() })
    }

    /// The span of a column, found by reading its dataset's file again.
    pub fn column_span(&self, model: &Model, dataset: &DatasetRef, column: &ColumnName) -> Option<Span> {
        let span = model.dataset(dataset)?.span;
        let offset = column_span(&self.text(span.file)?, span.offset, column)?;
        Some(Span::new(span.file, offset))
    }
}

fn without_invalid(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(std::iter::repeat_n('?', chunk.invalid().len()));
    }
    text
}
