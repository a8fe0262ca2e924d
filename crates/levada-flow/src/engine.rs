//! The contract of whatever runs a transformer's code.

use crate::{FlowError, RowStream};
use async_trait::async_trait;
use levada_model::Schema;
use levada_model::address::DatasetRef;
use levada_model::name::DatasetName;

/// One input of a run; its rows are read only when the code asks for them.
pub struct EngineInput {
    /// Its name in the code: `STORE.DATASET`.
    pub source: DatasetRef,
    /// Its columns.
    pub schema: Schema,
    /// Opens the rows at the run's vector; may be called several times.
    pub open: Box<dyn Fn() -> futures::future::BoxFuture<'static, Result<RowStream, FlowError>> + Send + Sync>,
}

/// One query of a run.
pub struct EngineQuery {
    /// The output dataset.
    pub dataset: DatasetName,
    /// The SQL text.
    pub sql: String,
    /// The columns the output must have; the result is cast to them by name or refused.
    pub schema: Schema,
    /// Whether the result also has an int32 column `lv_op`.
    pub has_operations: bool,
}

/// An engine for SQL transformers.
///
/// Pure as far as Levada sees: it reads inputs, gives rows, writes nothing.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Types the query against the inputs and starts it.
    ///
    /// # Errors
    /// The SQL is wrong, or its columns don't fit: before any row is given.
    async fn query(&self, inputs: Vec<EngineInput>, query: EngineQuery) -> Result<RowStream, FlowError>;
}
