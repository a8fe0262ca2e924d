//! The vocabulary of Levada: what an ecosystem says, and the words to say it.
//!
//! Takes the text of model files, gives a [`Model`] and [`Findings`]. Everything here is pure.
//!
//! Architecture invariant: no file, clock, environment, randomness, async or log; the same input
//! gives the same bytes.

pub mod address;
pub mod codes;
pub mod connection;
pub mod data_type;
pub mod file_options;
pub mod finding;
pub mod fingerprint;
mod grammar;
mod json_schema;
pub mod locate;
pub mod model;
pub mod name;
pub mod nearest;
pub mod outline;
pub mod period;
pub mod printable;
mod read;
pub mod schedule;
pub mod schema;
pub mod span;
mod syntax;

pub use address::{Address, NodeAddress, NodeKind};
pub use data_type::DataType;
pub use finding::{Code, Finding, Findings, Severity};
pub use fingerprint::{Fingerprint, fingerprint};
pub use json_schema::json_schema;
pub use model::Model;
pub use outline::{Outline, Outlines, Sketch};
pub use read::{CACHE_FORM, Fragment, Outlined, assemble, describe_path, outline, read_file};
pub use schema::{Schema, SchemaColumn};
pub use span::{FileId, Span, Spanned};
