//! SQL over the store, and SQL transformers.
//!
//! Takes SQL and the datasets it may read, gives record batches. [`SqlEngine`] runs transformers
//! on the inputs of a run, [`query`] answers people from the store, in all four readings. Names
//! match as the model treats them, whatever their letter case, quoted or not.
//!
//! Architecture invariant: the only crate that names DataFusion; no type of it is public here.
//! Reads only; a statement that isn't a query is refused before it is planned.

mod engine;
mod names;
mod query;
mod session;
mod table;
mod text;

pub use engine::SqlEngine;
pub use query::{Answer, MODEL_TYPE, query};
pub use session::{SESSION_MEMORY_BYTES_MAX, SESSION_THREADS_MAX};
