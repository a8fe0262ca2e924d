//! Writes one dataset's part of a batch.
//!
//! Takes record batches of the segment's schema, gives a [`Body`]: inline while it is small, files
//! as it grows. Rows wait in memory only as the encoded row group that is being filled.

use super::INLINE_BYTES_MAX;
use crate::StoreError;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use levada_model::address::DatasetRef;
use levada_state::catalog::Body;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

/// The next file begins when one has this many bytes.
const FILE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The most rows of a row group.
const ROW_GROUP_ROWS_MAX: usize = 131_072;

/// What a segment has become; durable.
pub(crate) struct Written {
    /// Where the rows lie; `None`: there were none.
    pub(crate) body: Option<Body>,
    /// Of all files, or of the inline body.
    pub(crate) bytes: usize,
}

/// A segment being written.
pub(crate) struct SegmentWriter {
    root: PathBuf,
    /// `STORE/DATASET/RUN`
    stem: String,
    schema: SchemaRef,
    row_group_bytes: usize,
    current: Option<ArrowWriter<Spill>>,
    files: Vec<String>,
    file_bytes: usize,
    next_file: usize,
}

impl SegmentWriter {
    /// Prepares; nothing is written before the first row. `row_group_bytes` bounds its memory.
    pub(crate) fn new(root: &Path, dataset: &DatasetRef, run: &str, schema: SchemaRef, row_group_bytes: usize) -> Self {
        let stem = format!("{}/{}/{run}", dataset.datastore, dataset.dataset);
        let (files, root) = (Vec::new(), root.to_owned());
        Self { root, stem, schema, row_group_bytes, current: None, files, file_bytes: 0, next_file: 0 }
    }

    /// A second writer of the same segment, whose files take the place of this one's.
    pub(crate) fn successor(&self) -> Self {
        Self {
            root: self.root.clone(),
            stem: self.stem.clone(),
            schema: self.schema.clone(),
            row_group_bytes: self.row_group_bytes,
            current: None,
            files: Vec::new(),
            file_bytes: 0,
            next_file: self.next_file + 1,
        }
    }

    /// The columns it takes.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Appends rows.
    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<(), StoreError> {
        if self.current.is_none() {
            self.current = Some(self.open().map_err(|source| self.failed(source))?);
        }
        let writer = self.current.as_mut().expect("it was just opened");
        let result = writer.write(rows);
        let is_full = writer.bytes_written() >= FILE_BYTES_MAX;
        result.map_err(|source| self.failed(source))?;
        match is_full {
            true => self.close().map(|_| ()),
            false => Ok(()),
        }
    }

    /// Ends the segment; what it gives survives a loss of power.
    pub(crate) fn finish(mut self) -> Result<Written, StoreError> {
        let inline = self.close()?;
        if let Some(bytes) = inline {
            return Ok(Written { bytes: bytes.len(), body: Some(Body::Inline(bytes)) });
        }
        if self.files.is_empty() {
            return Ok(Written { body: None, bytes: 0 });
        }
        self.sync_folders()?;
        Ok(Written { bytes: self.file_bytes, body: Some(Body::Files(std::mem::take(&mut self.files))) })
    }

    fn open(&mut self) -> Result<ArrowWriter<Spill>, ParquetError> {
        let stem = format!("{}-{:03}", self.stem, self.next_file);
        self.next_file += 1;
        let must_be_file = !self.files.is_empty();
        let spill = Spill::new(self.root.join(format!("{stem}.parquet")), must_be_file)?;
        ArrowWriter::try_new(spill, self.schema.clone(), Some(self.properties()))
    }

    fn properties(&self) -> WriterProperties {
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true)
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
            .set_max_row_group_bytes(Some(self.row_group_bytes));
        for hash in [crate::KEY_HASH, crate::ROW_HASH] {
            let column = ColumnPath::from(hash);
            properties = properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_compression(column.clone(), Compression::UNCOMPRESSED)
                .set_column_statistics_enabled(column, EnabledStatistics::None);
        }
        properties.build()
    }

    /// Ends the current file; gives the bytes where there is none, because they are few.
    fn close(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(writer) = self.current.take() else { return Ok(None) };
        let mut spill = writer.into_inner().map_err(|source| self.failed(source))?;
        let Some(file) = &spill.file else { return Ok(Some(std::mem::take(&mut spill.memory))) };
        let fail = |operation, source| StoreError::file(operation, &spill.path, source);
        file.sync_all().map_err(|source| fail("make durable", source))?;
        let path = spill.path.with_extension(format!("{:016x}.parquet", spill.checksum.digest()));
        std::fs::rename(&spill.path, &path).map_err(|source| fail("rename", source))?;
        spill.file = None;
        let relative = path.strip_prefix(&self.root).expect("the path was made below the root");
        self.files.push(relative.to_str().expect("names and runs are ASCII").to_owned());
        self.file_bytes += spill.length;
        Ok(None)
    }

    /// A file is there after a crash only if its folder, and the folder's folder, say so.
    fn sync_folders(&self) -> Result<(), StoreError> {
        let folder = self.root.join(&self.stem);
        for folder in folder.ancestors().skip(1).take(3) {
            let result = File::open(folder).and_then(|folder| folder.sync_all());
            result.map_err(|source| StoreError::file("make durable", folder, source))?;
        }
        Ok(())
    }

    fn failed(&self, source: ParquetError) -> StoreError {
        StoreError::WriteSegment { path: format!("{}-{:03}", self.stem, self.next_file.saturating_sub(1)), source }
    }
}

impl Drop for SegmentWriter {
    /// A segment that was not finished leaves no files.
    fn drop(&mut self) {
        self.files.iter().for_each(|file| remove_litter(&self.root.join(file)));
    }
}

/// Removes a file that no manifest will name; where that fails, the sweep will do it.
pub(crate) fn remove_litter(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "a file of a run that failed can't be removed");
    }
}

/// Bytes that become a file when they are too many to lie in the catalog.
struct Spill {
    path: PathBuf,
    memory: Vec<u8>,
    /// `None`: there is no file yet, or it has its final name.
    file: Option<File>,
    checksum: Xxh3,
    length: usize,
}

impl Spill {
    fn new(path: PathBuf, must_be_file: bool) -> std::io::Result<Self> {
        let mut spill = Self { path, memory: Vec::new(), file: None, checksum: Xxh3::new(), length: 0 };
        if must_be_file {
            spill.open_file()?;
        }
        Ok(spill)
    }

    fn open_file(&mut self) -> std::io::Result<()> {
        std::fs::create_dir_all(self.path.parent().expect("the path has a store and a dataset"))?;
        let mut file = OpenOptions::new().write(true).create_new(true).open(&self.path)?;
        file.write_all(&self.memory)?;
        self.memory = Vec::new();
        self.file = Some(file);
        Ok(())
    }
}

impl Drop for Spill {
    /// A file without its final name is of no use to anybody.
    fn drop(&mut self) {
        if self.file.take().is_some() {
            remove_litter(&self.path);
        }
    }
}

impl Write for Spill {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.file.is_none() && self.memory.len() + bytes.len() > INLINE_BYTES_MAX {
            self.open_file()?;
        }
        match &mut self.file {
            Some(file) => file.write_all(bytes)?,
            None => self.memory.extend_from_slice(bytes),
        }
        self.checksum.update(bytes);
        self.length += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
