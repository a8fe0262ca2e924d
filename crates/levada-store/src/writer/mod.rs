//! Writes one batch: all datasets of one pull, side by side.
//!
//! Takes rows, keys and changes as they come and what they cover at the end; gives durable files
//! and the manifests that name them. What is not a change is not written. Nothing is committed.

mod dataset;
mod log;

pub(crate) use dataset::{Counts, segment_rows};

use crate::catalog::{self, Log};
use crate::segment::remove_litter;
use crate::sweep::RunGuard;
use crate::{Inner, StoreError, columns};
use arrow::array::RecordBatch;
use dataset::DatasetWriter;
use levada_flow::source::{Coverage, Kept};
use levada_model::Schema;
use levada_model::address::{DatasetRef, Stream};
use levada_state::catalog::Body;
use levada_state::{Covered, Manifest};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::task::spawn_blocking;
use xxhash_rust::xxh3::xxh3_64;

/// The encoded rows that wait in memory, over all datasets of a batch.
const BUFFER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The least of it that one dataset gets, however many there are.
const BUFFER_BYTES_MIN: usize = 256 * 1024;

/// The longest run name that is used as it is, in bytes.
const RUN_BYTES_MAX: usize = 100;

/// A dataset of a batch, with the columns its rows have.
#[derive(Clone, Debug)]
pub struct StoreDataset {
    /// The dataset.
    pub dataset: DatasetRef,
    /// Its columns today.
    pub schema: Schema,
}

/// A batch being written. Dropping it takes its files away.
pub struct BatchWriter {
    /// `None` while a call works on it, and after one failed.
    datasets: Vec<(DatasetRef, Option<DatasetWriter>)>,
    covered: Vec<Covered>,
    previous: i64,
    root: PathBuf,
    guard: RunGuard,
}

/// A batch that is durable and not committed. Dropping it leaves its files, for a commit whose answer
/// got lost may need them; the sweep takes away what nobody committed.
#[derive(Debug)]
pub struct Staged {
    /// Of the datasets with a net change.
    pub manifests: Vec<Manifest>,
    /// All datasets that the pull saw whole, changed or not, with the schemas of their rows.
    pub covered: Vec<Covered>,
    /// Changed rows.
    pub rows: i64,
    /// Bytes of their bodies.
    pub bytes: i64,
    /// The stream's last batch, which it was compared with: the commit's `previous`.
    pub previous: i64,
    /// Keeps the files from the sweep until the commit is through, or not.
    _guard: RunGuard,
}

impl BatchWriter {
    pub(crate) async fn begin(
        inner: Arc<Inner>,
        stream: &Stream,
        datasets: Vec<StoreDataset>,
        run: &str,
    ) -> Result<Self, StoreError> {
        let run = file_name(run);
        let guard = inner.running.enter(&run);
        let previous = inner.state.head(stream).await?.map_or(0, |head| head.batch);
        let buffer = (BUFFER_BYTES_MAX / datasets.len().max(1)).max(BUFFER_BYTES_MIN);
        let mut last = previous;
        for StoreDataset { dataset, .. } in &datasets {
            last = last.max(catalog::last_batch(&inner.state, dataset).await?);
        }
        let mut covered = Vec::with_capacity(datasets.len());
        let mut writers = Vec::with_capacity(datasets.len());
        for StoreDataset { dataset, schema } in datasets {
            if let Some(column) = schema.columns.iter().find(|column| columns::is_reserved(column.name.as_str())) {
                return Err(StoreError::ColumnReserved { dataset, column: column.name.to_string() });
            }
            let stored = inner.state.schema_for(&dataset, &schema).await?;
            let log = Log::open(&inner.state, &dataset, last).await?;
            covered.push(Covered { dataset: dataset.clone(), schema_id: stored.id });
            writers.push((dataset, Some(DatasetWriter::new(inner.clone(), log, stored, &run, buffer))));
        }
        Ok(Self { datasets: writers, covered, previous, root: inner.root.clone(), guard })
    }

    /// Takes rows that say how their keys are now; what they mean for others, the coverage says.
    /// `dataset` is the position in the list that the batch began with.
    ///
    /// # Errors
    /// The rows don't have the dataset's columns, the catalog, a file or an older segment fails.
    /// After an error the batch can only be dropped.
    pub async fn write(&mut self, dataset: usize, rows: RecordBatch) -> Result<(), StoreError> {
        self.work(dataset, move |writer| writer.write(&rows)).await
    }

    /// Takes keys that exist at the source: the key columns alone, in the schema's order.
    ///
    /// # Errors
    /// As [`BatchWriter::write`]; or the dataset has no key.
    pub async fn keys(&mut self, dataset: usize, keys: RecordBatch) -> Result<(), StoreError> {
        self.work(dataset, move |writer| writer.keys(&keys)).await
    }

    /// Takes rows of a source's change log: the schema's columns and `lv_op` int32, as in
    /// [`Pulled::Changes`](levada_flow::source::Pulled). They are appended as they come, and of several
    /// about one key the last one counts; without a key they are compared with what is stored.
    ///
    /// # Errors
    /// As [`BatchWriter::write`]; or a kept cell has no version to keep it of.
    pub async fn append(&mut self, dataset: usize, rows: RecordBatch, kept: Vec<Kept>) -> Result<(), StoreError> {
        self.work(dataset, move |writer| writer.append(&rows, &kept)).await
    }

    /// Forgets what a dataset was given in this batch.
    ///
    /// # Errors
    /// An earlier call for it failed.
    pub async fn discard(&mut self, dataset: usize) -> Result<(), StoreError> {
        self.work(dataset, |writer| {
            writer.discard();
            Ok(())
        })
        .await
    }

    /// Takes a source's word that everything the dataset had is gone.
    ///
    /// # Errors
    /// As [`BatchWriter::write`].
    pub async fn truncate(&mut self, dataset: usize) -> Result<(), StoreError> {
        self.work(dataset, DatasetWriter::truncate).await
    }

    /// Takes changes: the schema's columns and `lv_op` int32. The last one of a key wins; what
    /// changes nothing is passed over. Without a key an insert comes on top, a delete takes one of
    /// the equal rows away, and there are no updates.
    ///
    /// # Errors
    /// As [`BatchWriter::write`]; or an `lv_op` is none.
    pub async fn write_changes(&mut self, dataset: usize, rows: RecordBatch) -> Result<(), StoreError> {
        self.work(dataset, move |writer| writer.write_changes(&rows)).await
    }

    /// Ends the batch: compares what is stored and did not come with the coverage (per dataset, in
    /// their order), and makes the files durable.
    ///
    /// # Errors
    /// A key came twice in a complete snapshot; or as [`BatchWriter::write`].
    pub async fn finish(mut self, coverage: &[Coverage]) -> Result<Staged, StoreError> {
        if let Some((dataset, _)) = self.datasets.first().filter(|_| coverage.len() != self.datasets.len()) {
            return Err(StoreError::Misuse { dataset: dataset.clone(), problem: "each dataset needs one coverage" });
        }
        let mut manifests = Vec::new();
        for (at, coverage) in coverage.iter().copied().enumerate() {
            match self.finish_one(at, coverage).await {
                Ok(finished) => manifests.extend(finished),
                Err(error) => {
                    remove_files(&self.root, &manifests);
                    return Err(error);
                }
            }
        }
        // A part of a dataset is not the dataset.
        let is_whole = |coverage: &Coverage| !matches!(coverage, Coverage::Part | Coverage::Nothing);
        let covered = self.covered.into_iter().zip(coverage).filter(|(_, coverage)| is_whole(coverage));
        Ok(Staged {
            covered: covered.map(|(covered, _)| covered).collect(),
            rows: manifests.iter().map(|manifest| manifest.inserts + manifest.updates + manifest.deletes).sum(),
            bytes: manifests.iter().map(|manifest| manifest.bytes).sum(),
            manifests,
            previous: self.previous,
            _guard: self.guard,
        })
    }

    async fn finish_one(&mut self, at: usize, coverage: Coverage) -> Result<Option<Manifest>, StoreError> {
        let writer = self.take(at)?;
        let finished = spawn_blocking(move || writer.finish(coverage)).await;
        finished.map_err(|source| self.broken_off(at, source))?
    }

    /// Hashing and files keep a thread busy, and not one of the async runtime's.
    async fn work<F>(&mut self, at: usize, work: F) -> Result<(), StoreError>
    where
        F: FnOnce(&mut DatasetWriter) -> Result<(), StoreError> + Send + 'static,
    {
        let mut writer = self.take(at)?;
        let done = spawn_blocking(move || work(&mut writer).map(|()| writer)).await;
        self.datasets[at].1 = Some(done.map_err(|source| self.broken_off(at, source))??);
        Ok(())
    }

    fn take(&mut self, at: usize) -> Result<DatasetWriter, StoreError> {
        let (dataset, writer) = &mut self.datasets[at];
        let problem = "an earlier call for it failed or was not awaited";
        writer.take().ok_or_else(|| StoreError::Misuse { dataset: dataset.clone(), problem })
    }

    fn broken_off(&self, at: usize, source: tokio::task::JoinError) -> StoreError {
        StoreError::BrokenOff { dataset: self.datasets[at].0.to_string(), source }
    }
}

/// Takes away the files of manifests that will not be committed.
fn remove_files(root: &Path, manifests: &[Manifest]) {
    for manifest in manifests {
        if let Body::Files(files) = &manifest.body {
            files.iter().for_each(|file| remove_litter(&root.join(file)));
        }
    }
}

/// A run's name as a part of file names: other characters than letters, digits and `_-`, and
/// length, give way to a hash, so that two runs never share one.
fn file_name(run: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !run.is_empty() && run.len() <= RUN_BYTES_MAX && run.chars().all(is_plain) {
        return run.to_owned();
    }
    let plain: String = run.chars().map(|c| if is_plain(c) { c } else { '_' }).take(RUN_BYTES_MAX).collect();
    format!("{plain}-{:016x}", xxh3_64(run.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_names_become_file_names_that_differ_where_they_do() {
        assert_eq!(file_name("run-1_a"), "run-1_a");
        let strange = ["", "..", "a/b", "a b", "../../etc", &"x".repeat(300), &"x".repeat(301)].map(file_name);
        for name in &strange {
            assert!(name.len() <= RUN_BYTES_MAX + 17 && !name.contains(['/', '.', ' ']), "{name}");
        }
        let distinct: std::collections::BTreeSet<_> = strange.iter().collect();
        assert_eq!(distinct.len(), strange.len());
    }
}
