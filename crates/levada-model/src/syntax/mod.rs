//! From the bytes of one file to spanned node trees, one per document.
//!
//! Takes bytes, gives [`Document`]s and findings. Knows YAML (and JSON, which is read as YAML), and
//! nothing of what the documents say. Every offset is a byte offset into the file as it is on disk.

mod clean;
mod node;
mod parse;

pub(crate) use clean::clean;
pub(crate) use node::{Entry, Node, Plain, Value};
pub(crate) use parse::parse;
