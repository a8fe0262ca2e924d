//! The contract of producers.

use crate::{FlowError, Position};
use arrow::array::RecordBatch;
use async_trait::async_trait;
use levada_model::Schema;
use levada_model::model::IngestKind;
use levada_model::name::{ColumnName, DatasetName};
use serde::{Deserialize, Serialize};
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
    /// The name of this stream's reader, which no other stream of any state has: at most 40 lower-case
    /// letters, digits and `_`. What a source keeps for its reader (a slot) is named after it.
    pub reader: String,
    /// When a pull of a change log ends; every other pull ends by itself.
    pub until: Until,
}

/// When a pull of a change log ends. It always ends between two transactions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Until {
    /// With what the source had when the pull began.
    Now,
    /// A while after the first change came, so that more come with it, or where none does.
    News {
        /// How long after the first change, in milliseconds.
        linger_ms: u64,
        /// How long without any, in milliseconds.
        idle_ms: u64,
    },
}

impl PullRequest {
    /// Asks a reader's first pull for everything there is now.
    pub fn new(kind: IngestKind, datasets: Vec<PullDataset>, reader: impl Into<String>) -> Self {
        Self { datasets, kind, previous: None, finds_deletes: false, reader: reader.into(), until: Until::Now }
    }

    /// Where a source of this identity goes on; `None`: from the beginning, because nothing was
    /// pulled yet or from another incarnation.
    pub fn position(&self, incarnation: &str) -> Option<&Position> {
        let previous = self.previous.as_ref().filter(|previous| previous.incarnation == incarnation);
        previous.map(|previous| &previous.position)
    }
}

/// `lv_op` of a new key.
pub const INSERT: i32 = 0;
/// `lv_op` of a key with new values.
pub const UPDATE: i32 = 1;
/// `lv_op` of a key that is gone.
pub const DELETE: i32 = 2;
/// `lv_op` of a key that may be new.
pub const UPSERT: i32 = 3;

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
    /// Keys that exist at the source: only the key columns, in the schema's order. Where the dataset is read
    /// by a change log, changes of it come before them, if only none, and at least one of these, if without
    /// a key: a key that is not among them is gone, unless changes that come after them say otherwise.
    Keys {
        /// Position in [`PullRequest::datasets`].
        dataset: usize,
        /// The keys.
        keys: RecordBatch,
    },
    /// Changes of one dataset, in the order in which the source made them.
    Changes {
        /// Position in [`PullRequest::datasets`].
        dataset: usize,
        /// The columns of its schema and `lv_op` int32: [`INSERT`], [`UPDATE`], [`DELETE`] (whose other columns
        /// than the key may be null) or [`UPSERT`].
        rows: RecordBatch,
        /// The cells that the source did not send, because they did not change: null in `rows`.
        kept: Vec<Kept>,
    },
    /// What this pull has sent of the dataset counts for nothing: it can't be read on.
    Discard {
        /// Position in [`PullRequest::datasets`].
        dataset: usize,
    },
    /// Everything that the dataset had is gone.
    Truncated {
        /// Position in [`PullRequest::datasets`].
        dataset: usize,
    },
}

/// A cell whose value is that of the last version of its key; in a row with `lv_op` 3, of the key that the
/// row before it says is gone, where it does: the key itself has changed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Kept {
    /// In its record batch.
    pub row: u32,
    /// In the dataset's schema.
    pub column: u32,
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
    /// They are changes, and with them the dataset is as the source had it at the pull's position.
    Changes,
    /// As [`Coverage::Changes`], and all keys were listed: a stored key that did not come is gone.
    ChangesAndKeys,
    /// They are changes, and parts of a dataset that is not whole yet: nobody may take it for it.
    Part,
    /// The pull says nothing of the dataset.
    Nothing,
}

/// How a pull ended.
#[derive(Debug)]
pub struct PullEnd {
    /// Where the next pull goes on.
    pub position: Position,
    /// Per dataset of the request.
    pub coverage: Vec<Coverage>,
    /// The source's identity; where it is another one than before, everything was read anew.
    pub incarnation: String,
    /// Whether the source has more than the pull brought: the next one has something to do at once.
    pub is_behind: bool,
    /// Datasets that stay where they are until the model or the source is changed, by their position in
    /// the request, and why.
    pub stopped: Vec<(usize, FlowError)>,
    /// What the source holds back for this reader; `None`: nothing, or it does not say.
    pub held: Option<Held>,
    /// What somebody should know, and nobody has to act on.
    pub news: Vec<String>,
}

/// What a source keeps until its reader has taken it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Held {
    /// How much, in bytes.
    pub bytes: u64,
    /// At how much the reader gives it up and reads everything anew; `None`: never.
    pub bytes_max: Option<u64>,
}

impl PullEnd {
    /// A pull that brought all it could.
    pub fn new(position: Position, coverage: Vec<Coverage>, incarnation: String) -> Self {
        Self { position, coverage, incarnation, is_behind: false, stopped: Vec::new(), held: None, news: Vec::new() }
    }
}

/// A producer's container, opened for one stream.
///
/// **Consistency**: all rows of one pull are one consistent state of the source, however many
/// sessions read them. **Order**: none between rows. **Concurrency**: one pull at a time.
/// **Back-pressure**: `out` is bounded; a source waits and holds no more than a few batches.
/// **Incarnation**: a position counts for the identity that it was reached on; a source that is
/// another one now (restored, replaced, failed over) reads everything and says that it is complete.
/// **Transactions**: a pull of a change log brings whole ones, however large, in the order of their
/// commits; what was committed up to its position is in it, and nothing else. **Durability**: a pull
/// may keep something at the source that only it needs (a slot); what the source may forget,
/// [`Source::acknowledge`] says, and it is called after the batch is committed. **Types**: every value arrives as the model's type or the
/// pull fails naming table, column and row; never NULL instead of a value.
#[async_trait]
pub trait Source: Send {
    /// Compares the request with what is there: tables, columns and types. All mismatches at once.
    async fn inspect(&mut self, request: &PullRequest) -> Result<(), FlowError>;

    /// Reads one consistent state into `out`, or the changes since the request's position. May be called
    /// again with the position that the last pull ended at; an open change log goes on from there.
    async fn pull(&mut self, request: &PullRequest, out: mpsc::Sender<Pulled>) -> Result<PullEnd, FlowError>;

    /// Tells the source that everything up to `position` is durable.
    async fn acknowledge(&mut self, position: &Position) -> Result<(), FlowError>;

    /// Takes away what the source keeps for this reader; it does not read on. Nothing is there: fine.
    ///
    /// Most sources keep nothing.
    async fn forget(&mut self, _reader: &str) -> Result<(), FlowError> {
        Ok(())
    }
}
