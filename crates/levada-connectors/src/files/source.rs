//! Reads producers that put files into a folder.
//!
//! **What a file means** (`each-file`): `replaces`: the last file by name is the whole dataset;
//! `adds`: every file is read once, and its rows come on top. **Position**: each file's size and
//! time of change when it was read. A file that was read and then changed is an error under
//! `adds`: its rows are in already. **Half-written files**: a file that changes while it is read
//! fails the pull, to be tried again, as does a broken one that changed in the last minute; the
//! option `settle: 30s` leaves files alone until they have rested that long. Producers that rename
//! finished files into the folder need none of this; a CSV file without the header that it has to
//! have is never taken for an empty dataset. **Consistency**: each file by itself.
//! **Incarnation**: always the same one; positions name every file.

use super::config::{failed, folder, refused};
use super::csv::{CsvError, CsvReader};
use super::pattern::Pattern;
use crate::literal::RowsBuilder;
use crate::thread;
use async_trait::async_trait;
use levada_flow::source::{Coverage, PullDataset, PullEnd, PullRequest, Pulled};
use levada_flow::{FlowError, Position, Retry, Source};
use levada_model::Schema;
use levada_model::connection::Connection;
use levada_model::file_options::ReadOptions;
use levada_model::model::{EachFile, FileFormat, IngestKind};
use levada_model::nearest::nearest;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;

/// A broken file that changed so recently may still be written.
const FRESH: Duration = Duration::from_secs(60);

/// A producer's folder.
pub struct FilesSource {
    root: PathBuf,
}

/// Opens a producer's folder; relative paths start at `root`.
///
/// # Errors
/// The connection has no path, or there is no such folder.
pub fn open(connection: &Connection, root: &Path) -> Result<FilesSource, FlowError> {
    let root = folder(connection, root)?;
    match root.is_dir() {
        true => Ok(FilesSource { root }),
        false => Err(FlowError::never(format!("there is no folder {}", root.display()))),
    }
}

#[async_trait]
impl Source for FilesSource {
    async fn inspect(&mut self, request: &PullRequest) -> Result<(), FlowError> {
        let (root, request) = (self.root.clone(), request.clone());
        thread::run(move || Pull::new(&root, &request)?.inspect(&request).map(|_| ())).await
    }

    async fn pull(&mut self, request: &PullRequest, out: mpsc::Sender<Pulled>) -> Result<PullEnd, FlowError> {
        let (root, request) = (self.root.clone(), request.clone());
        thread::run(move || Pull::new(&root, &request)?.pull(&request, &out)).await
    }

    async fn acknowledge(&mut self, _position: &Position) -> Result<(), FlowError> {
        Ok(())
    }
}

/// What every position here was reached on: positions name every file.
const INCARNATION: &str = "files";

/// One pull's view of the folder.
struct Pull<'a> {
    root: &'a Path,
    pattern: &'a str,
    format: FileFormat,
    options: ReadOptions,
    each_file: EachFile,
    seen: BTreeMap<String, String>,
}

/// One file to read, with what tells it from its next version.
struct Found {
    path: PathBuf,
    key: String,
    fingerprint: String,
    changed: SystemTime,
}

impl<'a> Pull<'a> {
    fn new(root: &'a Path, request: &'a PullRequest) -> Result<Self, FlowError> {
        let IngestKind::Files { pattern, format, options, each_file } = &request.kind else {
            return Err(FlowError::never("a folder is read by `kind: files` only"));
        };
        let options = ReadOptions::parse(*format, options).map_err(refused)?;
        let seen = match request.position(INCARNATION) {
            Some(Position::Files { seen }) => seen.clone(),
            _ => BTreeMap::new(),
        };
        Ok(Self { root, pattern, format: *format, options, each_file: *each_file, seen })
    }

    /// The files of every dataset, or everything that doesn't fit.
    fn inspect(&self, request: &PullRequest) -> Result<Vec<Vec<Found>>, FlowError> {
        let (mut all, mut mismatches) = (Vec::new(), Vec::new());
        for dataset in &request.datasets {
            match self.new_files(dataset) {
                Ok(files) => {
                    for file in &files {
                        match self.missing_columns(file, &dataset.schema) {
                            Ok(missing) => mismatches.extend(missing),
                            Err(error) => mismatches.push(self.maybe_growing(file, error)),
                        }
                    }
                    all.push(files);
                }
                Err(error) => mismatches.push(error),
            }
        }
        let is_never = mismatches.iter().any(|error| error.retry == Retry::Never);
        match (mismatches.len(), is_never) {
            (0, _) => Ok(all),
            (1, _) => Err(mismatches.remove(0)),
            (_, is_never) => {
                let all = mismatches.iter().map(FlowError::chain).collect::<Vec<_>>().join("; ");
                Err(if is_never { FlowError::never(all) } else { FlowError::later(all) })
            }
        }
    }

    /// The files of a dataset that this pull has to read.
    fn new_files(&self, dataset: &PullDataset) -> Result<Vec<Found>, FlowError> {
        let pattern = Pattern::parse(self.pattern, &dataset.table)?;
        let mut found = Vec::new();
        for path in pattern.files(self.root)? {
            let key = format!("{}:{path}", dataset.dataset);
            let file = Found::new(self.root.join(&path), key)?;
            let is_settled = file.changed.elapsed().is_ok_and(|age| age.as_secs() >= self.options.settle_seconds);
            if is_settled || self.options.settle_seconds == 0 {
                found.push(file);
            }
        }
        match self.each_file {
            EachFile::Replaces => {
                let last = found.pop();
                Ok(last.into_iter().filter(|file| self.seen.get(&file.key) != Some(&file.fingerprint)).collect())
            }
            EachFile::Adds => {
                found.retain(|file| self.seen.get(&file.key) != Some(&file.fingerprint));
                match found.iter().find(|file| self.seen.contains_key(&file.key)) {
                    None => Ok(found),
                    Some(file) => Err(FlowError::never(format!(
                        "file {} was read already and has changed since",
                        file.path.display()
                    ))
                    .hint("put new rows into a new file, or say `each-file: replaces`")),
                }
            }
        }
    }

    fn missing_columns(&self, file: &Found, schema: &Schema) -> Result<Vec<FlowError>, FlowError> {
        let there = match self.format {
            FileFormat::Csv => match self.csv(file)?.1 {
                Some(names) => names,
                None => return Ok(Vec::new()),
            },
            FileFormat::Parquet => super::parquet::column_names(&file.path)?,
        };
        let missing = |name: &str| {
            let near = nearest(name, there.iter().map(String::as_str));
            let near = near.map_or(String::new(), |near| format!(" (did you mean {near:?}?)"));
            FlowError::never(format!("file {} has no column {name:?}{near}", file.path.display()))
        };
        let wanted = schema.columns.iter().map(|column| column.source_name());
        Ok(wanted.filter(|name| !there.iter().any(|there| there == name)).map(missing).collect())
    }

    fn pull(mut self, request: &PullRequest, out: &mpsc::Sender<Pulled>) -> Result<PullEnd, FlowError> {
        let files = self.inspect(request)?;
        let mut coverage = Vec::new();
        for (index, (dataset, files)) in request.datasets.iter().zip(&files).enumerate() {
            coverage.push(self.coverage(dataset, files));
            for file in files {
                let mut send = |rows| thread::put(out, Pulled::Rows { dataset: index, rows });
                let read = match self.format {
                    FileFormat::Csv => self.read_csv(file, &dataset.schema, &mut send),
                    FileFormat::Parquet => super::parquet::read(&file.path, &dataset.schema, &mut send),
                };
                read.map_err(|error| self.maybe_growing(file, error))?;
                file.check_unchanged()?;
            }
            self.seen.extend(files.iter().map(|file| (file.key.clone(), file.fingerprint.clone())));
        }
        let position = Position::Files { seen: self.seen };
        Ok(PullEnd::new(position, coverage, INCARNATION.to_owned()))
    }

    /// Whether the files are all there is. Without files nothing is said; files that add come on
    /// top of those that were read before.
    fn coverage(&self, dataset: &PullDataset, files: &[Found]) -> Coverage {
        let of = format!("{}:", dataset.dataset);
        let is_first = || !self.seen.keys().any(|key| key.starts_with(&of));
        match (files.is_empty(), self.each_file) {
            (true, _) => Coverage::Appends,
            (false, EachFile::Replaces) => Coverage::Complete,
            (false, EachFile::Adds) if is_first() => Coverage::Complete,
            (false, EachFile::Adds) => Coverage::Appends,
        }
    }

    /// Opens a CSV file behind its header; `None`: such files have none.
    fn csv(&self, file: &Found) -> Result<(CsvReader<impl BufRead>, Option<Vec<String>>), FlowError> {
        let input = File::open(&file.path).map_err(|error| failed("opened", &file.path, error))?;
        let mut reader = CsvReader::new(BufReader::with_capacity(1 << 18, input), &self.options);
        if !self.options.header {
            return Ok((reader, None));
        }
        if !reader.advance().map_err(|error| file.wrong(error))? {
            return Err(FlowError::later(format!("file {} has no header line", file.path.display()))
                .hint("if it is just being written, this will pass; an empty dataset is a file with a header alone"));
        }
        let name = |at| Ok(reader.value(at).map_err(|error| file.wrong(error))?.0.to_owned());
        let names = (0..reader.len()).map(name).collect::<Result<Vec<_>, FlowError>>()?;
        Ok((reader, Some(names)))
    }

    fn read_csv(
        &self,
        file: &Found,
        schema: &Schema,
        send: &mut dyn FnMut(arrow::array::RecordBatch) -> Result<(), FlowError>,
    ) -> Result<(), FlowError> {
        let (mut reader, names) = self.csv(file)?;
        let places = self.places(file, schema, names.as_deref())?;
        let width = names.map_or(schema.columns.len(), |names| names.len());
        let mut builder = RowsBuilder::new(schema);
        while reader.advance().map_err(|error| file.wrong(error))? {
            let line = reader.line();
            if reader.len() != width {
                let reason = format!("it has {} values where there are {width} columns", reader.len());
                return Err(file.wrong(CsvError::Record { line, reason }));
            }
            for (column, place) in places.iter().enumerate() {
                let (text, is_quoted) = reader.value(*place).map_err(|error| file.wrong(error))?;
                let is_null = !is_quoted && text == self.options.null;
                builder.append_text(column, (!is_null).then_some(text)).map_err(|error| {
                    let reason = format!("column {:?}: {error}", schema.columns[column].source_name());
                    file.wrong(CsvError::Record { line, reason })
                })?;
            }
            if builder.is_full() {
                send(builder.finish())?;
            }
        }
        if builder.is_empty() { Ok(()) } else { send(builder.finish()) }
    }

    /// Where each column of the schema stands in a line.
    fn places(&self, file: &Found, schema: &Schema, names: Option<&[String]>) -> Result<Vec<usize>, FlowError> {
        let Some(names) = names else {
            return Ok((0..schema.columns.len()).collect());
        };
        let place = |wanted: &str| {
            let mut found = names.iter().enumerate().filter(|(_, name)| *name == wanted).map(|(at, _)| at);
            match (found.next(), found.next()) {
                (Some(at), None) => Ok(at),
                (Some(_), Some(_)) => {
                    Err(FlowError::never(format!("file {} has two columns {wanted:?}", file.path.display())))
                }
                (None, _) => Err(FlowError::never(format!("file {} has no column {wanted:?}", file.path.display()))),
            }
        };
        schema.columns.iter().map(|column| place(column.source_name())).collect()
    }

    /// A file that can't be read and changed a moment ago is probably not finished.
    fn maybe_growing(&self, file: &Found, mut error: FlowError) -> FlowError {
        let is_fresh = file.changed.elapsed().is_ok_and(|age| age < FRESH);
        if file.check_unchanged().is_err() || is_fresh {
            error.retry = Retry::Later;
            error.hint = Some("it changed a moment ago: if it is still being written, this will pass".to_owned());
        }
        error
    }
}

impl Found {
    fn new(path: PathBuf, key: String) -> Result<Self, FlowError> {
        let metadata = std::fs::metadata(&path).map_err(|error| failed("looked at", &path, error))?;
        let changed = metadata.modified().map_err(|error| failed("looked at", &path, error))?;
        let since = changed.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let fingerprint = format!("{} bytes, changed {}", metadata.len(), since.as_nanos());
        Ok(Self { path, key, fingerprint, changed })
    }

    fn check_unchanged(&self) -> Result<(), FlowError> {
        match Self::new(self.path.clone(), self.key.clone())?.fingerprint == self.fingerprint {
            true => Ok(()),
            false => Err(FlowError::later(format!("file {} changed while it was read", self.path.display()))),
        }
    }

    fn wrong(&self, error: CsvError) -> FlowError {
        match error {
            CsvError::Record { .. } => FlowError::never(format!("file {}, {error}", self.path.display())),
            CsvError::Read { line, source } => {
                FlowError::later(format!("file {} can't be read on from line {line}", self.path.display()))
                    .because(source)
            }
        }
    }
}
