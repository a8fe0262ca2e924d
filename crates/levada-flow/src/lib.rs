//! The contracts of the data plane: sources, sinks, engines, and what passes between them.
//!
//! Takes nothing, gives traits and plain values; `levada-connectors`, `levada-sql` and
//! `levada-store` implement them, `levada-runtime` puts them together.
//!
//! Architecture invariant: no system, no SQL, no state; whoever implements a trait passes the
//! conformance suite in [`conformance`].

pub mod arrow_schema;
pub mod canonical;
pub mod clock;
pub mod conformance;
pub mod engine;
pub mod error;
pub mod failpoint;
pub mod fit;
pub mod memory;
pub mod position;
pub mod secret;
pub mod sink;
pub mod source;

pub use clock::{Clock, SystemClock};
pub use engine::Engine;
pub use error::{FlowError, Retry};
pub use failpoint::failpoint;
pub use position::Position;
pub use secret::Secret;
pub use sink::Sink;
pub use source::Source;

/// Rows of one schema, in pieces of at most [`BATCH_ROWS_MAX`].
pub type RowStream = futures::stream::BoxStream<'static, Result<arrow::array::RecordBatch, FlowError>>;

/// The most rows in one record batch between any two parts.
pub const BATCH_ROWS_MAX: usize = 8_192;

/// A record batch that a source or a reading makes ends early, after the row that reaches so many
/// bytes: wide rows fill neither the memory nor an array.
pub const BATCH_BYTES_MAX: usize = 8 << 20;
