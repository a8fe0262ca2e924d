//! Connectors on real systems.

mod files;
mod interrupt;
mod mysql;
mod postgres;
mod sqlite;
