//! SQLite: one file is one container.
//!
//! `source.rs` reads any database in one read transaction, `sink.rs` delivers tables, views and
//! marks in one write transaction. SQLite runs in threads of its own (`spawn_blocking`).

pub mod config;
pub mod sink;
pub mod source;
pub mod types;

mod catalog;
mod tables;
mod watermark;
mod writer;
