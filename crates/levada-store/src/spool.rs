//! Record batches in the order they came: in memory while they are small, else in a file without a
//! name, which goes with its process.

use crate::StoreError;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow_ipc::reader::FileReader;
use arrow_ipc::writer::FileWriter;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Collects record batches of one schema.
pub(crate) struct Spool {
    schema: SchemaRef,
    /// Where the file was, for messages.
    path: PathBuf,
    memory: Vec<RecordBatch>,
    memory_bytes: usize,
    memory_bytes_max: usize,
    file: Option<FileWriter<BufWriter<File>>>,
    /// The number of the first row of each batch.
    firsts: Vec<u64>,
    rows: u64,
}

impl Spool {
    /// An empty spool; beyond so many bytes it goes to a file that is made at `path` and has no name any
    /// more once it is open.
    pub(crate) fn new(schema: SchemaRef, path: PathBuf, memory_bytes_max: usize) -> Self {
        let (memory, firsts) = (Vec::new(), Vec::new());
        Self { schema, path, memory, memory_bytes: 0, memory_bytes_max, file: None, firsts, rows: 0 }
    }

    /// The columns of its rows.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How many rows it has.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Appends rows.
    pub(crate) fn push(&mut self, rows: RecordBatch) -> Result<(), StoreError> {
        self.firsts.push(self.rows);
        self.rows += rows.num_rows() as u64;
        if let Some(file) = &mut self.file {
            return file.write(&rows).map_err(|source| failed("write", &self.path, source));
        }
        self.memory_bytes += rows.get_array_memory_size();
        self.memory.push(rows);
        if self.memory_bytes > self.memory_bytes_max {
            self.spill()?;
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<(), StoreError> {
        let file = nameless(&self.path).map_err(|source| StoreError::file("make", &self.path, source))?;
        let fail = |source| failed("write", &self.path, source);
        let mut writer = FileWriter::try_new(BufWriter::new(file), &self.schema).map_err(fail)?;
        for rows in std::mem::take(&mut self.memory) {
            writer.write(&rows).map_err(fail)?;
        }
        self.file = Some(writer);
        Ok(())
    }

    /// Ends it; what it holds can then be read, in any order and as often as one likes.
    pub(crate) fn seal(self) -> Result<Sealed, StoreError> {
        let file = match self.file {
            None => None,
            Some(writer) => {
                let buffered = writer.into_inner().map_err(|source| failed("write", &self.path, source))?;
                let file = buffered.into_inner().map_err(std::io::IntoInnerError::into_error);
                let file = file.map_err(|source| StoreError::file("write", &self.path, source))?;
                let reader = FileReader::try_new(At { file, at: 0 }, None);
                Some(reader.map_err(|source| failed("read", &self.path, source))?)
            }
        };
        Ok(Sealed { path: self.path, memory: self.memory, file, firsts: self.firsts })
    }
}

/// A spool that is complete.
pub(crate) struct Sealed {
    path: PathBuf,
    memory: Vec<RecordBatch>,
    file: Option<FileReader<At>>,
    firsts: Vec<u64>,
}

impl Sealed {
    /// How many record batches it has.
    pub(crate) fn batches(&self) -> usize {
        self.firsts.len()
    }

    /// The number of the first row of a record batch.
    pub(crate) fn first(&self, batch: usize) -> u64 {
        self.firsts[batch]
    }

    /// The record batch that has a row.
    pub(crate) fn batch_of(&self, row: u64) -> usize {
        self.firsts.partition_point(|first| *first <= row) - 1
    }

    /// One record batch.
    pub(crate) fn read(&mut self, batch: usize) -> Result<RecordBatch, StoreError> {
        let Some(file) = &mut self.file else { return Ok(self.memory[batch].clone()) };
        let fail = |source| failed("read", &self.path, source);
        file.set_index(batch).map_err(fail)?;
        let rows = file.next().expect("the batch was written").map_err(fail)?;
        Ok(rows)
    }
}

fn failed(operation: &'static str, path: &Path, source: ArrowError) -> StoreError {
    StoreError::file(operation, path, std::io::Error::other(source))
}

/// A file that nobody finds, and that the system takes back when its process ends.
fn nameless(path: &Path) -> std::io::Result<File> {
    std::fs::create_dir_all(path.parent().expect("the path has a store and a dataset"))?;
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    std::fs::remove_file(path)?;
    Ok(file)
}

/// A file and a place in it; reads nothing ahead, because whole record batches are asked for.
struct At {
    file: File,
    at: u64,
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.file.read_at(buffer, self.at)?;
        self.at += length as u64;
        Ok(length)
    }
}

impl Seek for At {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let from = |base: u64, offset: i64| {
            base.checked_add_signed(offset).ok_or_else(|| std::io::Error::other("a place before the file's beginning"))
        };
        self.at = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::Current(offset) => from(self.at, offset)?,
            SeekFrom::End(offset) => from(self.file.metadata()?.len(), offset)?,
        };
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};
    use std::sync::Arc;

    #[test]
    fn what_was_pushed_is_read_in_any_order_and_leaves_no_file() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let rows = |batch: usize| {
            let from = 1_000 * batch as i64;
            let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + 1_000));
            RecordBatch::try_from_iter([("n", numbers)]).expect("one column")
        };
        for memory_bytes_max in [0, 20_000, usize::MAX] {
            let path = folder.path().join("d").join("run-spill");
            let mut spool = Spool::new(rows(0).schema(), path, memory_bytes_max);
            (0..5).for_each(|batch| spool.push(rows(batch)).expect("is written"));
            let mut sealed = spool.seal().expect("is complete");
            for batch in [4, 0, 1, 2, 3, 3] {
                assert_eq!(sealed.read(batch).expect("is read"), rows(batch));
            }
            assert_eq!((sealed.batch_of(0), sealed.batch_of(999), sealed.batch_of(1_000)), (0, 0, 1));
            let left = std::fs::read_dir(folder.path().join("d")).map_or(0, Iterator::count);
            assert_eq!(left, 0);
        }
    }
}
