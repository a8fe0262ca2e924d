//! The change log of one dataset, as the catalog lists it.
//!
//! Takes the catalog's manifests and schemas, gives pieces in the order of batches, either way,
//! a window of batches at a time, so that a long log is never in memory.

use crate::StoreError;
use levada_model::address::{DatasetRef, Stream};
use levada_state::catalog::{Body, StoredSchema};
use levada_state::{Manifest, State};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use tokio::runtime::Handle;

/// How many batches one look into the catalog covers; inline bodies make that 4 MB at most.
const WINDOW_BATCHES: i64 = 256;

/// One batch's changes of one dataset.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// The batch.
    pub(crate) batch: i64,
    /// What its rows were written under.
    pub(crate) schema: Arc<StoredSchema>,
    /// Where they lie.
    pub(crate) body: Body,
    /// How many there are.
    pub(crate) rows: i64,
}

/// The change log of one dataset up to a batch, open for reading from a blocking thread.
#[derive(Clone)]
pub(crate) struct Log {
    state: State,
    runtime: Handle,
    /// The dataset.
    pub(crate) dataset: DatasetRef,
    /// The last batch that counts.
    pub(crate) up_to: i64,
    /// Every schema it was ever written under.
    pub(crate) schemas: Vec<Arc<StoredSchema>>,
}

impl Log {
    /// Opens the log up to a batch.
    pub(crate) async fn open(state: &State, dataset: &DatasetRef, up_to: i64) -> Result<Self, StoreError> {
        let schemas = state.schemas(dataset).await?.into_iter().map(Arc::new).collect();
        let (state, runtime) = (state.clone(), Handle::current());
        Ok(Self { state, runtime, dataset: dataset.clone(), up_to, schemas })
    }

    /// The pieces from the first batch after `after` on. Blocks.
    pub(crate) fn oldest_first(&self, after: i64) -> Pieces<'_> {
        Pieces { log: self, after, up_to: self.up_to, ready: VecDeque::new(), is_newest_first: false }
    }

    /// The pieces from the last one back to the first one after `after`. Blocks.
    pub(crate) fn newest_first(&self, after: i64) -> Pieces<'_> {
        Pieces { log: self, after, up_to: self.up_to, ready: VecDeque::new(), is_newest_first: true }
    }

    /// The pieces of these batches only. Blocks.
    pub(crate) fn of_batches(&self, batches: &BTreeSet<i64>) -> impl Iterator<Item = Result<Piece, StoreError>> {
        let mut windows: Vec<(i64, i64)> = Vec::new();
        for batch in batches {
            match windows.last_mut() {
                Some((first, last)) if *batch - *first < WINDOW_BATCHES => *last = *batch,
                _ => windows.push((*batch, *batch)),
            }
        }
        let read = |(first, last): (i64, i64)| match self.window(first - 1, last) {
            Ok(pieces) => pieces.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
        let is_asked = |piece: &Result<Piece, StoreError>| match piece {
            Ok(piece) => batches.contains(&piece.batch),
            Err(_) => true,
        };
        windows.into_iter().flat_map(read).filter(is_asked)
    }

    fn window(&self, after: i64, up_to: i64) -> Result<Vec<Piece>, StoreError> {
        let manifests = self.runtime.block_on(self.state.manifests(&self.dataset, after, up_to))?;
        let mut pieces = manifests.into_iter().map(|manifest| self.piece(manifest)).collect::<Result<Vec<_>, _>>()?;
        pieces.sort_by_key(|piece| piece.batch);
        Ok(pieces)
    }

    fn piece(&self, manifest: Manifest) -> Result<Piece, StoreError> {
        let Manifest { batch, schema_id, body, inserts, updates, deletes, .. } = manifest;
        let schema = self.schemas.iter().find(|schema| schema.id == schema_id).cloned();
        let unknown = || StoreError::SchemaUnknown { dataset: self.dataset.clone(), batch, schema_id };
        Ok(Piece { batch, schema: schema.ok_or_else(unknown)?, body, rows: inserts + updates + deletes })
    }
}

/// Pieces of a log, one after the other.
pub(crate) struct Pieces<'a> {
    log: &'a Log,
    after: i64,
    up_to: i64,
    ready: VecDeque<Piece>,
    is_newest_first: bool,
}

impl Pieces<'_> {
    fn fill(&mut self) -> Result<(), StoreError> {
        while self.ready.is_empty() && self.after < self.up_to {
            let (after, up_to) = match self.is_newest_first {
                true => (self.after.max(self.up_to - WINDOW_BATCHES), self.up_to),
                false => (self.after, self.up_to.min(self.after + WINDOW_BATCHES)),
            };
            let mut window = self.log.window(after, up_to)?;
            if self.is_newest_first {
                window.reverse();
                self.up_to = after;
            } else {
                self.after = up_to;
            }
            self.ready.extend(window);
        }
        Ok(())
    }
}

impl Iterator for Pieces<'_> {
    type Item = Result<Piece, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.fill() {
            Ok(()) => self.ready.pop_front().map(Ok),
            Err(error) => {
                self.after = self.up_to;
                Some(Err(error))
            }
        }
    }
}

/// The streams that may have committed a dataset: its own, and its whole datastore's; which one it
/// is changes when a store turns from `multi` to `single` or back. A batch that the dataset's own
/// stream has is always one of its own; that is why it comes last.
fn streams_of(dataset: &DatasetRef) -> [Stream; 2] {
    let datastore = dataset.datastore.clone();
    let own = Stream { datastore: datastore.clone(), dataset: Some(dataset.dataset.clone()) };
    [Stream { datastore, dataset: None }, own]
}

/// The last batch that may have changed a dataset; 0: none.
pub(crate) async fn last_batch(state: &State, dataset: &DatasetRef) -> Result<i64, StoreError> {
    let mut last = 0;
    for stream in streams_of(dataset) {
        last = last.max(state.head(&stream).await?.map_or(0, |head| head.batch));
    }
    Ok(last)
}

/// The last batch that may have changed a dataset and was committed at or before a time, µs.
pub(crate) async fn batch_at(state: &State, dataset: &DatasetRef, time: i64) -> Result<Option<i64>, StoreError> {
    let mut batch = None;
    for stream in streams_of(dataset) {
        batch = batch.max(state.batch_at(&stream, time).await?);
    }
    Ok(batch)
}

/// The commit times, µs, of a dataset's batches with `after < batch <= up_to`.
pub(crate) async fn times(
    state: &State,
    dataset: &DatasetRef,
    after: i64,
    up_to: i64,
) -> Result<BTreeMap<i64, i64>, StoreError> {
    let mut times = BTreeMap::new();
    for stream in streams_of(dataset) {
        times.extend(state.times(&stream, after, up_to).await?);
    }
    Ok(times)
}
