//! PostgreSQL 13 and later (tested with 15): a producer and a consumer.
//!
//! Rows travel by binary COPY in both directions and are turned into Arrow columns and back here;
//! nothing is parsed from text. See `docs/types.md` for what each type becomes.
//!
//! Architecture invariant: every name and text that comes from a model or a database passes
//! through [`quote`] before it is part of a statement.

mod catalog;
mod civil;
pub mod config;
mod copy;
mod decode;
mod delivery;
mod encode;
pub mod error;
mod grants;
mod json;
mod log;
mod numeric;
pub mod quote;
pub mod sink;
pub mod source;
mod tables;
pub mod types;
mod views;
