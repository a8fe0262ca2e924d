//! One dataset as DataFusion sees it: folded column names, rows when they are asked for.

use async_trait::async_trait;
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{Field, Schema as ArrowSchema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::datasource::TableType;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use levada_flow::{FlowError, RowStream};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Opens the rows of a dataset with the columns at these positions, in this order.
pub(crate) type Open = Arc<dyn Fn(Vec<usize>) -> BoxFuture<'static, Result<RowStream, FlowError>> + Send + Sync>;

/// A dataset that can be scanned, any number of times.
pub(crate) struct DatasetTable {
    name: String,
    schema: SchemaRef,
    open: Open,
}

impl DatasetTable {
    /// Makes a table of columns, which `open` gives.
    ///
    /// # Errors
    /// Two columns differ in letter case only.
    pub(crate) fn new(name: String, columns: &[Field], open: Open) -> Result<Self, FlowError> {
        let mut seen: BTreeMap<String, &str> = BTreeMap::new();
        let mut fields = Vec::with_capacity(columns.len());
        for column in columns {
            let folded = column.name().to_lowercase();
            if let Some(other) = seen.insert(folded.clone(), column.name()) {
                let message =
                    format!("{name} has the columns {other:?} and {:?}, which SQL can't tell apart", column.name());
                return Err(FlowError::never(message));
            }
            fields.push(column.clone().with_name(folded).with_nullable(true));
        }
        Ok(Self { name, schema: Arc::new(ArrowSchema::new(fields)), open })
    }
}

impl fmt::Debug for DatasetTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DatasetTable").field(&self.name).finish()
    }
}

#[async_trait]
impl TableProvider for DatasetTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let schema: SchemaRef = Arc::new(self.schema.project(&columns)?);
        let part = Scan { name: self.name.clone(), schema: schema.clone(), columns, open: self.open.clone() };
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![Arc::new(part)], None, [], false, limit)?))
    }
}

/// One scan of a dataset.
struct Scan {
    name: String,
    schema: SchemaRef,
    columns: Vec<usize>,
    open: Open,
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("table", &self.name).field("columns", &self.columns).finish()
    }
}

impl PartitionStream for Scan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = self.schema.clone();
        let rows = futures::stream::once((self.open)(self.columns.clone()))
            .try_flatten()
            .map(move |rows| folded(rows.map_err(|error| DataFusionError::External(Box::new(error)))?, &schema));
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), rows))
    }
}

/// The same rows under the folded names.
fn folded(rows: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), rows.columns().to_vec(), &options)?)
}
