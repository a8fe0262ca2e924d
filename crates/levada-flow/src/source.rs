//! The contract of producers.

use crate::{FlowError, Position};
use arrow::array::RecordBatch;
use async_trait::async_trait;
use levada_model::Schema;
use levada_model::model::IngestKind;
use levada_model::name::{ColumnName, DatasetName};
use tokio::sync::mpsc;

/// One dataset to pull.
#[derive(Clone, Debug)]
pub struct PullDataset {
    /// Its name.
    pub dataset: DatasetName,
    /// Its table at the source, `schema.table` or `table`.
    pub table: String,
    /// The columns to read, with their names at the source.
    pub schema: Schema,
    /// The column of a watermark ingest.
    pub watermark: Option<ColumnName>,
}

/// The last committed pull of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Previous {
    /// Where it ended. A dataset that it does not know is read from the beginning.
    pub position: Position,
    /// The identity that the source had.
    pub incarnation: String,
}

/// What to pull.
#[derive(Clone, Debug)]
pub struct PullRequest {
    /// The datasets of the stream that somebody consumes.
    pub datasets: Vec<PullDataset>,
    /// The way of reading.
    pub kind: IngestKind,
    /// The last committed pull; `None`: this is the first one.
    pub previous: Option<Previous>,
    /// Whether a watermark pull also lists all keys, to find vanished ones.
    pub finds_deletes: bool,
}

impl PullRequest {
    /// Where a source of this identity goes on; `None`: from the beginning, because nothing was
    /// pulled yet or from another incarnation.
    pub fn position(&self, incarnation: &str) -> Option<&Position> {
        let previous = self.previous.as_ref().filter(|previous| previous.incarnation == incarnation);
        previous.map(|previous| &previous.position)
    }
}

/// What a pull sends while it reads.
#[derive(Debug)]
pub enum Pulled {
    /// Rows of one dataset: the columns of its schema in their order, as
    /// [`crate::arrow_schema::arrow_schema`] types them. What they mean, [`Coverage`] says.
    Rows {
        /// Position in [`PullRequest::datasets`].
        dataset: usize,
        /// At most [`crate::BATCH_ROWS_MAX`] rows.
        rows: RecordBatch,
    },
    /// Keys that exist at the source: only the key columns, in the schema's order.
    Keys {
        /// Position in [`PullRequest::datasets`].
        dataset: usize,
        /// The keys.
        keys: RecordBatch,
    },
}

/// What the rows of one dataset in a pull mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Coverage {
    /// They are the whole dataset: what is stored and not among them is gone.
    Complete,
    /// They are the new state of their keys: insert or update; nothing is gone.
    Upserts,
    /// As [`Coverage::Upserts`], and all keys were listed: a stored key not among them is gone.
    UpsertsAndKeys,
    /// They come on top, whatever is stored.
    Appends,
}

/// How a pull ended.
#[derive(Clone, Debug)]
pub struct PullEnd {
    /// Where the next pull goes on.
    pub position: Position,
    /// Per dataset of the request.
    pub coverage: Vec<Coverage>,
    /// The source's identity; where it is another one than before, everything was read anew.
    pub incarnation: String,
}

/// A producer's container, opened for one stream.
///
/// **Consistency**: all rows of one pull are one consistent state of the source, however many
/// sessions read them. **Order**: none between rows. **Concurrency**: one pull at a time.
/// **Back-pressure**: `out` is bounded; a source waits and holds no more than a few batches.
/// **Incarnation**: a position counts for the identity that it was reached on; a source that is
/// another one now (restored, replaced, failed over) reads everything and says that it is complete.
/// **Durability**: a pull has no effect at the source; only [`Source::acknowledge`] may, and it is
/// called after the batch is committed. **Types**: every value arrives as the model's type or the
/// pull fails naming table, column and row; never NULL instead of a value.
#[async_trait]
pub trait Source: Send {
    /// Compares the request with what is there: tables, columns and types. All mismatches at once.
    async fn inspect(&mut self, request: &PullRequest) -> Result<(), FlowError>;

    /// Reads one consistent state into `out`.
    async fn pull(&mut self, request: &PullRequest, out: mpsc::Sender<Pulled>) -> Result<PullEnd, FlowError>;

    /// Tells the source that everything up to `position` is durable.
    async fn acknowledge(&mut self, position: &Position) -> Result<(), FlowError>;
}
