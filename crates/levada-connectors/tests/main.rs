//! Connectors on real systems.

mod files;
mod interrupt;
mod mysql;
mod postgres;
mod postgres_log;
mod sqlite;
