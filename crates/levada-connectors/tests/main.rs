//! Connectors on real systems.

mod files;
mod mysql;
mod postgres;
mod sqlite;
