//! Folders of files: one folder is one container.
//!
//! `source.rs` reads CSV and Parquet files that a pattern names, `sink.rs` delivers Parquet files
//! and, last, the small file that says which of them are valid.

pub mod config;
pub mod sink;
pub mod source;
pub mod types;

mod applied;
mod csv;
mod parquet;
mod pattern;
mod replace;
