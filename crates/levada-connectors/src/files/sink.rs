//! Not there yet.
use levada_flow::{FlowError, Sink};
use levada_model::connection::Connection;
use std::path::Path;

/// Opens a folder.
pub fn open(connection: &Connection, _root: &Path) -> Result<Box<dyn Sink>, FlowError> {
    Err(FlowError::never(format!("{} can't be opened by this build", connection.container)))
}
