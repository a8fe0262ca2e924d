//! Connectors on real systems.

mod files;
mod postgres;
mod postgres_log;
mod sqlite;
