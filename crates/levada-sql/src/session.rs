//! One DataFusion session per query: few threads, bounded memory, only the tables it names.

use crate::table::DatasetTable;
use crate::text::Text;
use datafusion::arrow::error::ArrowError;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider};
use datafusion::common::TableReference;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::resolve::resolve_table_references;
use futures::{StreamExt, TryStreamExt};
use levada_flow::{BATCH_ROWS_MAX, FlowError, RowStream};
use std::num::NonZeroUsize;
use std::sync::Arc;

/// The most threads that one query keeps busy.
pub const SESSION_THREADS_MAX: usize = 2;

/// The most memory of one query's sorts, joins and groups; what can, spills to disk before.
pub const SESSION_MEMORY_BYTES_MAX: usize = 512 * 1024 * 1024;

/// The one catalog.
const CATALOG: &str = "levada";

/// Where tables lie that a query names without their store; no store can have this name.
const WITHOUT_STORE: &str = "$";

/// How many parts of a query a message about memory names.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::new(3).expect("it is 3");

/// A session and its catalog.
pub(crate) struct QuerySession {
    context: SessionContext,
    catalog: Arc<MemoryCatalogProvider>,
}

impl QuerySession {
    /// Opens a session with so much memory.
    pub(crate) fn open(memory_bytes: usize) -> Result<Self, FlowError> {
        let config = SessionConfig::new()
            .with_target_partitions(SESSION_THREADS_MAX)
            .with_batch_size(BATCH_ROWS_MAX)
            .with_default_catalog_and_schema(CATALOG, WITHOUT_STORE)
            .set_bool("datafusion.catalog.create_default_catalog_and_schema", false);
        let pool = TrackConsumersPool::new(FairSpillPool::new(memory_bytes), CONSUMERS_NAMED);
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool)).build_arc().map_err(flow_error)?;
        let context = SessionContext::new_with_config_rt(config, runtime);
        let catalog = Arc::new(MemoryCatalogProvider::new());
        context.register_catalog(CATALOG, catalog.clone());
        let session = Self { context, catalog };
        session.schema(WITHOUT_STORE)?;
        Ok(session)
    }

    /// The tables that a query reads, each once; not what it defines itself.
    pub(crate) fn tables(&self, text: &Text) -> Result<Vec<TableReference>, FlowError> {
        let (mut tables, _) = resolve_table_references(&text.statement, true).map_err(flow_error)?;
        // `generate_series(1, 3)` stands where a table does.
        tables.retain(|table| table.schema().is_some() || self.context.table_function(table.table()).is_err());
        Ok(tables)
    }

    /// Registers a table under the name that a query gives it.
    pub(crate) fn register(&self, name: &TableReference, table: DatasetTable) -> Result<(), FlowError> {
        let schema = self.schema(name.schema().unwrap_or(WITHOUT_STORE))?;
        schema.register_table(name.table().to_owned(), Arc::new(table)).map_err(flow_error)?;
        Ok(())
    }

    fn schema(&self, name: &str) -> Result<Arc<dyn SchemaProvider>, FlowError> {
        if let Some(schema) = self.catalog.schema(name) {
            return Ok(schema);
        }
        let schema = Arc::new(MemorySchemaProvider::new());
        self.catalog.register_schema(name, schema.clone()).map_err(flow_error)?;
        Ok(schema)
    }

    /// Types a query.
    pub(crate) async fn plan(&self, text: Text) -> Result<LogicalPlan, FlowError> {
        let plan = self.context.state().statement_to_plan(text.statement).await;
        plan.map_err(flow_error)
    }

    /// Starts a planned query.
    pub(crate) async fn run(&self, plan: LogicalPlan) -> Result<RowStream, FlowError> {
        let frame = self.context.execute_logical_plan(plan).await.map_err(flow_error)?;
        let rows = frame.execute_stream().await.map_err(flow_error)?;
        Ok(rows.map_err(flow_error).boxed())
    }
}

/// What DataFusion says, for the person who wrote the SQL; a table's own failure comes through.
pub(crate) fn flow_error(error: DataFusionError) -> FlowError {
    match error {
        DataFusionError::External(source) => match source.downcast::<FlowError>() {
            Ok(error) => *error,
            Err(source) => match source.downcast::<DataFusionError>() {
                Ok(error) => flow_error(*error),
                Err(source) => FlowError::never("the query failed").because(source),
            },
        },
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => flow_error(*inner),
        DataFusionError::ArrowError(inner, backtrace) => match *inner {
            ArrowError::ExternalError(source) => flow_error(DataFusionError::External(source)),
            other => plain(&DataFusionError::ArrowError(Box::new(other), backtrace)),
        },
        DataFusionError::Shared(inner) => match Arc::try_unwrap(inner) {
            Ok(inner) => flow_error(inner),
            Err(shared) => shared_error(&shared),
        },
        DataFusionError::Collection(mut errors) if !errors.is_empty() => flow_error(errors.swap_remove(0)),
        DataFusionError::ResourcesExhausted(message) => {
            FlowError::never("the query needs more memory than it may have")
                .because(message)
                .hint("select fewer columns or rows, or group and join less at a time")
        }
        other => plain(&other),
    }
}

/// An error that several parts of a plan hold: as it prints, with what is known of a table's own.
fn shared_error(error: &DataFusionError) -> FlowError {
    match error {
        DataFusionError::External(source) => match source.downcast_ref::<FlowError>() {
            Some(FlowError { message, hint, retry, .. }) => {
                FlowError { message: message.clone(), hint: hint.clone(), retry: *retry, source: None }
            }
            None => plain(error),
        },
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => shared_error(inner),
        DataFusionError::Shared(inner) => shared_error(inner),
        other => plain(other),
    }
}

fn plain(error: &DataFusionError) -> FlowError {
    FlowError::never(format!("the query failed: {}", error.strip_backtrace()))
}
