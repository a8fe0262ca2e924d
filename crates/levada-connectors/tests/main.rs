//! Connectors on real systems.

mod files;
mod interrupt;
mod mysql;
mod mysql_log;
mod postgres;
mod postgres_log;
mod sqlite;
