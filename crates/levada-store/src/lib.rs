//! The milestoned store: every change of every pull, and four ways to read it.
//!
//! Takes rows of a pull and what they cover, gives manifests that [`State::commit_batch`] commits;
//! takes a dataset and a [`Reading`], gives record batches. Per dataset it keeps an append-only
//! change log: immutable Parquet pieces, small ones inline in the catalog, the others in a folder.
//!
//! ```text
//! rows ─diff (index of live versions)→ segment ─finish→ Staged ─state.commit_batch→ log
//! log ─readings→ live | changes | history
//! ```
//!
//! Architecture invariant: nothing here commits; a reader sees committed batches only, because it
//! reads only what manifests name. No system and no SQL is known here.

mod catalog;
mod columns;
mod diff;
mod error;
mod index;
mod owner;
mod readings;
mod segment;
mod shape;
mod spool;
mod squash;
mod sweep;
mod writer;

pub use columns::{BATCH, KEY_HASH, OPERATION, PREVIOUS_BATCH, ROW_HASH, VALID_FROM, VALID_TO};
pub use error::StoreError;
pub use index::LIVE_KEYS_MAX;
pub use readings::{AsOf, Reading};
pub use segment::INLINE_BYTES_MAX;
pub use writer::{BatchWriter, Staged, StoreDataset};

use levada_flow::RowStream;
use levada_model::Schema;
use levada_model::address::{DatasetRef, Stream};
use levada_state::State;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// The store of one state: the catalog lies there, the larger files in a folder.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

/// What all clones of a store share.
pub(crate) struct Inner {
    pub(crate) state: State,
    pub(crate) root: PathBuf,
    pub(crate) running: sweep::Running,
    pub(crate) checked: segment::Checked,
}

impl Store {
    /// Opens the store in `root`, and creates the folder; from then on it belongs to this state.
    ///
    /// # Errors
    /// The folder can't be created, or belongs to another state.
    pub fn open(state: State, root: PathBuf) -> Result<Self, StoreError> {
        std::fs::create_dir_all(&root).map_err(|source| StoreError::file("create", &root, source))?;
        owner::claim(&root, state.id())?;
        let inner = Inner { state, root, running: sweep::Running::default(), checked: segment::Checked::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Starts the next batch of a stream. `run` names its files and is never used twice.
    ///
    /// # Errors
    /// The catalog fails, or a column has a name of the store's own.
    pub async fn begin(
        &self,
        stream: &Stream,
        datasets: Vec<StoreDataset>,
        run: &str,
    ) -> Result<BatchWriter, StoreError> {
        BatchWriter::begin(self.inner.clone(), stream, datasets, run).await
    }

    /// Reads a dataset; the columns of `schema` as asked and in its order (null where a piece of
    /// the log is older than a column, cast where a type was widened), then
    /// - live: `lv_batch`, `lv_key_hash`, `lv_row_hash`, in no order;
    /// - changes: `lv_batch`, `lv_op`, `lv_prev_batch`, `lv_key_hash`, `lv_row_hash`, by batch;
    /// - history: `valid_from`, `valid_to`, `lv_batch`, `lv_key_hash`, `lv_row_hash`, in no order.
    ///
    /// Row hashes are those of the schema asked for. A dataset without a batch has no rows. Memory
    /// is bounded by the keys of all batches but the first: about 40 bytes each.
    ///
    /// # Errors
    /// The catalog fails. What fails later comes in the stream.
    pub async fn read(&self, dataset: &DatasetRef, schema: &Schema, reading: Reading) -> Result<RowStream, StoreError> {
        readings::read(&self.inner, dataset, schema, reading, true).await
    }

    /// As [`Store::read`], without `lv_key_hash` and `lv_row_hash`; asked for a part of the columns
    /// it reads no others.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn read_values(
        &self,
        dataset: &DatasetRef,
        schema: &Schema,
        reading: Reading,
    ) -> Result<RowStream, StoreError> {
        readings::read(&self.inner, dataset, schema, reading, false).await
    }

    /// The batch that a point in a dataset's past means, whichever stream brought it.
    ///
    /// # Errors
    /// Its stream has no such batch, or none that early.
    pub async fn resolve(&self, dataset: &DatasetRef, as_of: AsOf) -> Result<i64, StoreError> {
        readings::resolve(&self.inner.state, dataset, as_of).await
    }

    /// The commit times, µs, of a dataset's batches with `after < batch <= up_to`, whichever stream
    /// brought them.
    ///
    /// # Errors
    /// The catalog fails.
    pub async fn times(&self, dataset: &DatasetRef, after: i64, up_to: i64) -> Result<BTreeMap<i64, i64>, StoreError> {
        catalog::times(&self.inner.state, dataset, after, up_to).await
    }

    /// Removes the store's files that were written before a time, µs since 1970, and that no
    /// manifest names and no writer of this process works on; gives how many. One that can't be
    /// removed is told and left. Only for the holder of the worker lock.
    ///
    /// # Errors
    /// The folder can't be read, or the catalog fails.
    pub async fn sweep(&self, written_before: i64) -> Result<usize, StoreError> {
        sweep::sweep(&self.inner, written_before).await
    }
}
