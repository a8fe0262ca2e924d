//! How jobs reach containers without knowing any system.

use async_trait::async_trait;
use levada_flow::{FlowError, Sink, Source};
use levada_model::connection::Connection;
use levada_model::name::CredentialName;

/// Opens containers and secrets; the binary implements it over its connectors.
#[async_trait]
pub trait Connect: Send + Sync {
    /// Opens a producer's container.
    async fn source(&self, connection: &Connection) -> Result<Box<dyn Source>, FlowError>;

    /// Opens a consumer's container.
    async fn sink(&self, connection: &Connection) -> Result<Box<dyn Sink>, FlowError>;

    /// The environment variables that give a program these secrets.
    ///
    /// # Errors
    /// A secret is missing.
    fn environment(&self, credentials: &[CredentialName]) -> Result<Vec<(String, String)>, FlowError>;
}
