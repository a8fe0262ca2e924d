//! Where containers and connectors meet: the one place that knows both.

use crate::settings::Settings;
use async_trait::async_trait;
use levada_flow::{FlowError, Secret, Sink, Source};
use levada_model::connection::Connection;
use levada_model::name::CredentialName;
use levada_runtime::Connect;
use std::path::PathBuf;

/// Opens containers with the built-in connectors and the project's secrets.
#[derive(Debug)]
pub struct Connectors {
    /// Where secrets are found.
    pub settings: Settings,
    /// The model's folder: relative paths start there.
    pub root: PathBuf,
}

impl Connectors {
    fn secret(&self, connection: &Connection) -> Result<Secret, FlowError> {
        connection.credential.as_ref().map_or_else(|| Ok(Secret::default()), |name| self.settings.secret(name))
    }
}

#[async_trait]
impl Connect for Connectors {
    async fn source(&self, connection: &Connection) -> Result<Box<dyn Source>, FlowError> {
        levada_connectors::open_source(connection, self.secret(connection)?, &self.root).await
    }

    async fn sink(&self, connection: &Connection) -> Result<Box<dyn Sink>, FlowError> {
        levada_connectors::open_sink(connection, self.secret(connection)?, &self.root).await
    }

    fn environment(&self, credentials: &[CredentialName]) -> Result<Vec<(String, String)>, FlowError> {
        let mut variables = Vec::new();
        for name in credentials {
            variables.extend(self.settings.secret_variables(name)?);
        }
        Ok(variables)
    }
}
