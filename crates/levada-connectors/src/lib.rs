//! Connectors: a folder per system, the same file names in each.
//!
//! `source.rs` reads, `sink.rs` delivers, `types.rs` maps values both ways, `config.rs` turns a
//! connection and a secret into a client. A new system is one folder and one line in each of the
//! two functions below.
//!
//! Architecture invariant: no store, no state, no scheduling; a connector knows one system and the
//! contracts of `levada-flow`.

pub mod files;
pub mod literal;
pub mod mysql;
pub mod postgres;
pub mod sqlite;

mod change_log;
mod changes;
mod database;
mod thread;

use levada_flow::{FlowError, Secret, Sink, Source};
use levada_model::connection::{Connection, ContainerKind};
use std::path::Path;

/// Opens a producer's container.
///
/// `root` is the model's folder: relative paths start there.
///
/// # Errors
/// The system is unknown to this build, or can't be reached.
pub async fn open_source(connection: &Connection, secret: Secret, root: &Path) -> Result<Box<dyn Source>, FlowError> {
    Ok(match connection.kind {
        ContainerKind::Postgres => Box::new(postgres::source::open(connection, secret).await?),
        ContainerKind::Mysql | ContainerKind::Mariadb => Box::new(mysql::source::open(connection, secret).await?),
        ContainerKind::Sqlite => Box::new(sqlite::source::open(connection, root)?),
        ContainerKind::Files => Box::new(files::source::open(connection, root)?),
        kind => return Err(unknown(kind)),
    })
}

/// Opens a consumer's container.
///
/// # Errors
/// The system is unknown to this build, or can't be reached.
pub async fn open_sink(connection: &Connection, secret: Secret, root: &Path) -> Result<Box<dyn Sink>, FlowError> {
    Ok(match connection.kind {
        ContainerKind::Postgres => Box::new(postgres::sink::open(connection, secret).await?),
        ContainerKind::Mysql | ContainerKind::Mariadb => Box::new(mysql::sink::open(connection, secret).await?),
        ContainerKind::Sqlite => Box::new(sqlite::sink::open(connection, root)?),
        ContainerKind::Files => Box::new(files::sink::open(connection, root)?),
        kind => return Err(unknown(kind)),
    })
}

fn unknown(kind: ContainerKind) -> FlowError {
    FlowError::never(format!("this build has no connector for {} containers", kind.word()))
}
