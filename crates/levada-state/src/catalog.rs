//! The store's catalog: streams, batches, manifests, schemas.

mod commit;
mod reading;
mod schemas;

pub use reading::KnownFiles;

use crate::nodes::{Completion, Fence, Successor};
use levada_model::Schema;
use levada_model::address::{DatasetRef, Stream};

/// How far a stream is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamHead {
    /// The stream.
    pub stream: Stream,
    /// Its last batch; counts from 1. 0: every pull so far was empty. Where its datasets came by
    /// another stream before (a store that turns from `multi` to `single` or back), it goes on
    /// from that one's last batch.
    pub batch: i64,
    /// Where the next pull goes on: opaque, versioned bytes.
    pub position: Vec<u8>,
    /// The source's identity.
    pub incarnation: String,
    /// µs; strictly growing from batch to batch.
    pub committed_at: i64,
}

/// One committed batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BatchRow {
    /// The stream.
    pub stream: Stream,
    /// Its number.
    pub batch: i64,
    /// µs.
    pub committed_at: i64,
    /// The source's identity.
    pub incarnation: String,
    /// The position it reached.
    pub position: Vec<u8>,
    /// Rows inserted, updated, deleted, over all its datasets.
    pub inserts: i64,
    /// See `inserts`.
    pub updates: i64,
    /// See `inserts`.
    pub deletes: i64,
    /// Bytes of all bodies.
    pub bytes: i64,
}

/// Where the rows of one dataset in one batch lie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// A small Parquet file, in the catalog itself.
    Inline(Vec<u8>),
    /// Parquet files, as paths from the store's root.
    Files(Vec<String>),
}

/// What one batch changed in one dataset. Datasets without a change have no manifest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// The dataset.
    pub dataset: DatasetRef,
    /// The batch of its stream; set by the commit.
    pub batch: i64,
    /// The schema its rows were written under; see [`StoredSchema::id`].
    pub schema_id: i64,
    /// The rows: a piece of the change log.
    pub body: Body,
    /// Rows by operation.
    pub inserts: i64,
    /// See `inserts`.
    pub updates: i64,
    /// See `inserts`.
    pub deletes: i64,
    /// Bytes of the body.
    pub bytes: i64,
}

/// A schema of a dataset's change log; columns keep their field id for ever.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredSchema {
    /// Counts from 1 per dataset.
    pub id: i64,
    /// The columns.
    pub schema: Schema,
    /// A Parquet field id per column; the same column name and dataset: the same id.
    pub field_ids: Vec<i32>,
}

/// A dataset that a pull has covered, whether it changed or not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Covered {
    /// The dataset.
    pub dataset: DatasetRef,
    /// The schema it was read with; see [`StoredSchema::id`].
    pub schema_id: i64,
}

/// Everything that becomes true with a batch, in one transaction.
#[derive(Clone, PartialEq, Debug)]
pub struct BatchCommit {
    /// The node and epoch that commit.
    pub fence: Fence,
    /// The stream.
    pub stream: Stream,
    /// The stream's last batch as the pull saw it; 0: none. Another one refuses the commit.
    pub previous: i64,
    /// The position reached.
    pub position: Vec<u8>,
    /// What the batch's own row remembers of it.
    pub batch_position: Vec<u8>,
    /// The source's identity.
    pub incarnation: String,
    /// Now, µs; the commit time is max(now, last + 1).
    pub now: i64,
    /// The changes, without batch numbers. Empty: the position advances, no batch is made and no
    /// successor is due.
    pub manifests: Vec<Manifest>,
    /// All datasets that the pull has covered, those of the manifests among them.
    pub covered: Vec<Covered>,
    /// Nodes that become due even where nothing changed.
    pub due_even_if_empty: Vec<Successor>,
    /// The end of the job and what it makes due.
    pub done: Completion,
}
