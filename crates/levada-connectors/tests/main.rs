//! Connectors on real systems.

mod files;
mod postgres;
mod sqlite;
