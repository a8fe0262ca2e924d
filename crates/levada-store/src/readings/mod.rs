//! The readings of a dataset, as streams of record batches.
//!
//! Takes a dataset, the columns asked for and a [`Reading`]; gives what was committed when it was
//! called. A blocking thread reads ahead by a few batches and ends when nobody listens any more.

mod changes;
mod history;
mod live;

use crate::catalog::{self, Log};
use crate::columns::{self, BATCH, KEY_HASH, OPERATION, PREVIOUS_BATCH, ROW_HASH, VALID_FROM, VALID_TO};
use crate::segment::{Asked, PieceReader};
use crate::{Inner, StoreError};
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{BatchCoalescer, filter_record_batch};
use arrow::datatypes::{Schema as ArrowSchema, SchemaRef};
use futures::StreamExt;
use levada_flow::{BATCH_BYTES_MAX, BATCH_ROWS_MAX, FlowError, RowStream};
use levada_model::Schema;
use levada_model::address::DatasetRef;
use levada_state::State;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;

/// How many record batches are read ahead.
const AHEAD_BATCHES: usize = 2;

/// What of a dataset's past to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// The rows that were live at a batch.
    Live {
        /// `None`: the last one.
        as_of: Option<i64>,
    },
    /// The net changes between two batches.
    Changes {
        /// The batch before the first one; 0: from the beginning.
        after: i64,
        /// The last one; `None`: the last there is.
        up_to: Option<i64>,
    },
    /// Of all changes between two batches the last one of each key, in no order.
    NetChanges {
        /// The batch before the first one; 0: from the beginning.
        after: i64,
        /// The last one; `None`: the last there is.
        up_to: Option<i64>,
    },
    /// All versions that were ever live.
    History {
        /// As known at this batch; `None`: the last one.
        as_of: Option<i64>,
        /// Hides versions that ended before, µs since 1970; `None`: hides none.
        since: Option<i64>,
    },
}

/// A point in a dataset's past.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AsOf {
    /// A batch.
    Batch(i64),
    /// The last batch of its stream committed at or before a time, µs since 1970.
    Time(i64),
}

/// See [`crate::Store::resolve`].
pub(crate) async fn resolve(state: &State, dataset: &DatasetRef, as_of: AsOf) -> Result<i64, StoreError> {
    match as_of {
        AsOf::Batch(batch) => {
            let last = catalog::last_batch(state, dataset).await?;
            match (1..=last).contains(&batch) {
                true => Ok(batch),
                false => Err(StoreError::BatchUnknown { dataset: dataset.clone(), batch, last }),
            }
        }
        AsOf::Time(time) => {
            let batch = catalog::batch_at(state, dataset, time).await?;
            batch.ok_or_else(|| StoreError::TimeUnknown { dataset: dataset.clone(), time })
        }
    }
}

/// See [`crate::Store::read`].
pub(crate) async fn read(
    inner: &Arc<Inner>,
    dataset: &DatasetRef,
    schema: &Schema,
    reading: Reading,
    has_hashes: bool,
) -> Result<RowStream, StoreError> {
    if let Some(column) = schema.columns.iter().find(|column| columns::is_reserved(column.name.as_str())) {
        return Err(StoreError::ColumnReserved { dataset: dataset.clone(), column: column.name.to_string() });
    }
    let last = catalog::last_batch(&inner.state, dataset).await?;
    let (Reading::Live { as_of: up_to }
    | Reading::History { as_of: up_to, .. }
    | Reading::Changes { up_to, .. }
    | Reading::NetChanges { up_to, .. }) = reading;
    let up_to = up_to.unwrap_or(last).min(last);
    let log = Log::open(&inner.state, dataset, up_to).await?;
    let times = match reading {
        Reading::History { .. } => catalog::times(&inner.state, dataset, 0, up_to).await?,
        _ => BTreeMap::new(),
    };
    let asked = Asked::new(schema, &log.schemas, has_hashes);
    let (sender, receiver) = mpsc::channel(AHEAD_BATCHES);
    let inner = inner.clone();
    let name = dataset.to_string();
    let task = tokio::task::spawn_blocking(move || {
        let reader = PieceReader::new(&inner, &log.dataset, &asked);
        let mut output = Output::new(&asked, &reading, sender.clone());
        let result = match reading {
            Reading::Live { .. } => live::read(&log, &reader, &mut output),
            Reading::Changes { after, .. } => changes::read(&log, &reader, after, &mut output),
            Reading::NetChanges { after, .. } => changes::read_net(&log, &reader, after, &mut output),
            Reading::History { since, .. } => history::read(&log, &reader, &times, since, &mut output),
        };
        if let Err(error) = result.and_then(|_| output.finish()) {
            // Nobody may be listening any more; then nobody needs the error either.
            let _ = sender.blocking_send(Err(error.into()));
        }
    });
    Ok(stream(receiver, task, name))
}

/// Rows as they come; a thread that broke off is an error and not an early end.
fn stream(
    receiver: mpsc::Receiver<Result<RecordBatch, FlowError>>,
    task: tokio::task::JoinHandle<()>,
    dataset: String,
) -> RowStream {
    let state = (receiver, Some((task, dataset)));
    let next = |(mut receiver, mut running): (mpsc::Receiver<_>, Option<(tokio::task::JoinHandle<()>, String)>)| async {
        if let Some(rows) = receiver.recv().await {
            return Some((rows, (receiver, running)));
        }
        let (task, dataset) = running.take()?;
        let source = task.await.err()?;
        Some((Err(StoreError::BrokenOff { dataset, source }.into()), (receiver, running)))
    };
    futures::stream::unfold(state, next).boxed()
}

/// Whether somebody still listens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listening {
    Yes,
    No,
}

/// Collects rows into batches of a good size and sends them.
struct Output {
    schema: SchemaRef,
    /// Before rows are left out that only say that their key is gone.
    unfiltered: SchemaRef,
    has_hashes: bool,
    coalescer: BatchCoalescer,
    /// Of what was pushed since the last batch was ended for its size.
    bytes: usize,
    sender: mpsc::Sender<Result<RecordBatch, FlowError>>,
}

impl Output {
    fn new(asked: &Asked, reading: &Reading, sender: mpsc::Sender<Result<RecordBatch, FlowError>>) -> Self {
        let own: &[&str] = match reading {
            Reading::Live { .. } => &[BATCH],
            Reading::Changes { .. } | Reading::NetChanges { .. } => &[BATCH, OPERATION, PREVIOUS_BATCH],
            Reading::History { .. } => &[VALID_FROM, VALID_TO, BATCH],
        };
        let hashes: &[&str] = if asked.has_hashes() { &[KEY_HASH, ROW_HASH] } else { &[] };
        let own = own.iter().chain(hashes).map(|name| Arc::new(columns::field(name)));
        let own: Vec<_> = own.collect();
        let with_own = |columns: &SchemaRef| -> SchemaRef {
            Arc::new(ArrowSchema::new(columns.fields().iter().chain(&own).cloned().collect::<Vec<_>>()))
        };
        let unfiltered = with_own(asked.nullable_columns());
        let schema = match reading {
            Reading::Changes { .. } | Reading::NetChanges { .. } => unfiltered.clone(),
            Reading::Live { .. } | Reading::History { .. } => with_own(asked.columns()),
        };
        let coalescer = BatchCoalescer::new(schema.clone(), BATCH_ROWS_MAX);
        Self { schema, unfiltered, has_hashes: asked.has_hashes(), coalescer, bytes: 0, sender }
    }

    /// Takes the rows that `shows` says, with the reading's own columns behind them.
    fn push(
        &mut self,
        rows: &crate::segment::PieceRows,
        own: Vec<ArrayRef>,
        shows: Option<Vec<bool>>,
    ) -> Result<Listening, StoreError> {
        let mut columns: Vec<ArrayRef> = rows.data.columns().iter().cloned().chain(own).collect();
        if self.has_hashes {
            columns.push(Arc::new(rows.key_hashes.clone()));
            columns.push(rows.row_hashes.clone().expect("hashes are asked for"));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.data.num_rows()));
        let all = RecordBatch::try_new_with_options(self.unfiltered.clone(), columns, &options)
            .expect("the columns were made for this schema");
        let shown = match shows {
            None => all,
            Some(shows) => filter_record_batch(&all, &BooleanArray::from(shows)).expect("one flag per row"),
        };
        let options = RecordBatchOptions::new().with_row_count(Some(shown.num_rows()));
        let shown = RecordBatch::try_new_with_options(self.schema.clone(), shown.columns().to_vec(), &options)
            .map_err(|source| StoreError::damaged("a row that is live", source))?;
        self.bytes += shown.get_array_memory_size();
        self.coalescer.push_batch(shown).expect("the schema is the coalescer's");
        if self.bytes > BATCH_BYTES_MAX {
            self.bytes = 0;
            self.coalescer.finish_buffered_batch().expect("the rows have the coalescer's schema");
        }
        self.send()
    }

    fn send(&mut self) -> Result<Listening, StoreError> {
        while let Some(rows) = self.coalescer.next_completed_batch() {
            if self.sender.blocking_send(Ok(rows)).is_err() {
                return Ok(Listening::No);
            }
        }
        Ok(Listening::Yes)
    }

    fn finish(mut self) -> Result<(), StoreError> {
        self.coalescer.finish_buffered_batch().expect("the rows have the coalescer's schema");
        self.send().map(|_| ())
    }
}
