//! MySQL 8 and MariaDB 10.6 and later (tested with MariaDB 10.11): a producer and a consumer.
//!
//! Rows travel by prepared statements, whose binary values are turned into Arrow columns and back
//! here. See `docs/types.md` for what each type becomes, and [`delivery`] for how a delivery is
//! exactly once where every statement that defines something commits by itself.
//!
//! Architecture invariant: every name that comes from a model or a database passes through
//! [`quote`] before it is part of a statement; every value is a parameter.

mod catalog;
mod civil;
pub mod config;
mod decode;
mod delivery;
mod encode;
pub mod error;
mod grants;
mod log;
mod moment;
pub mod quote;
mod rows;
pub mod sink;
pub mod source;
mod swap;
mod tables;
pub mod types;
mod views;
