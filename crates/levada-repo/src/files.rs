//! The files of a loaded model, and the places of spans in them.

use levada_model::address::DatasetRef;
use levada_model::locate::column_spans;
use levada_model::name::ColumnName;
use levada_model::{Address, FileId, Findings, Model, Span};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// How much text is kept for places; beyond it all of it is dropped and read again.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// The files of a model, in the order of their ids.
#[derive(Clone, Debug, Default)]
pub struct FileTable {
    root: PathBuf,
    paths: Vec<String>,
    /// Files that were read again for the places in them.
    kept: Arc<Mutex<KeptFiles>>,
}

/// Files by id, as long as they are small enough together.
#[derive(Debug, Default)]
struct KeptFiles {
    files: HashMap<FileId, Arc<KeptFile>>,
    bytes: usize,
}

/// A file's text and where its lines begin.
#[derive(Debug)]
struct KeptFile {
    text: String,
    line_starts: Vec<usize>,
}

impl KeptFile {
    fn new(text: String) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, line_starts }
    }

    /// Line and column of an offset, both from 1, and the line's text. An offset beyond the end is
    /// the end.
    fn place(&self, offset: u32) -> (u32, u32, &str) {
        let mut offset = (offset as usize).min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = self.line_starts[line - 1];
        let end = self.line_starts.get(line).map_or(self.text.len(), |next| next - 1);
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let column = self.text[start..offset].chars().count() + 1;
        (count(line), count(column), self.text[start..end].trim_end_matches('\r'))
    }
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
        Self { root, paths, kept: Arc::default() }
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

    /// The paths of all files, from the root.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(String::as_str)
    }

    /// The text of a file, read again; what is not UTF-8 is replaced byte by byte, so that offsets
    /// hold. `None` where the file has gone.
    pub fn text(&self, file: FileId) -> Option<String> {
        let bytes = std::fs::read(self.root.join(self.path(file)?)).ok()?;
        Some(String::from_utf8(bytes).unwrap_or_else(|error| without_invalid(error.as_bytes())))
    }

    /// A file's text with its lines, read once for all places in it.
    fn kept(&self, file: FileId) -> Arc<KeptFile> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = kept.files.get(&file) {
            return found.clone();
        }
        let read = Arc::new(KeptFile::new(self.text(file).unwrap_or_default()));
        if kept.bytes + read.text.len() > KEPT_BYTES_MAX {
            *kept = KeptFiles::default();
        }
        kept.bytes += read.text.len();
        kept.files.insert(file, read.clone());
        read
    }

    /// Where a span is. A file that has gone, or changed, gives the nearest place that is left.
    pub fn place(&self, span: Span) -> Option<Place> {
        let path = self.path(span.file)?.to_owned();
        let file = self.kept(span.file);
        let (line, column, text) = file.place(span.offset);
        Some(Place { path, line, column, text: text.to_owned() })
    }

    /// Moves findings about columns from their datasets, where the model knows places, to the
    /// columns themselves, found by reading each file again. What stands at a place of its own stays.
    pub fn locate_columns(&self, model: &Model, findings: &mut Findings) {
        let mut by_file: BTreeMap<FileId, Vec<(usize, u32, ColumnName)>> = BTreeMap::new();
        for (position, finding) in findings.0.iter().enumerate() {
            let Some(Address::Column(store, dataset, column)) = &finding.address else { continue };
            let dataset = model.dataset(&DatasetRef::new(store.clone(), dataset.clone()));
            if let Some(span) = dataset.map(|dataset| dataset.span).filter(|span| Some(*span) == finding.span) {
                by_file.entry(span.file).or_default().push((position, span.offset, column.clone()));
            }
        }
        for (file, found) in by_file {
            let wanted: Vec<(u32, &ColumnName)> = found.iter().map(|(_, offset, column)| (*offset, column)).collect();
            let offsets = column_spans(&self.kept(file).text, &wanted);
            for ((position, ..), offset) in found.iter().zip(offsets) {
                let place = offset.map(|offset| Span::new(file, offset));
                findings.0[*position].span = place.or(findings.0[*position].span);
            }
        }
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
