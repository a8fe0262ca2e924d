//! SQL transformers: a run's inputs, one query, the columns that the model promises.

use crate::names::Names;
use crate::session::{QuerySession, SESSION_MEMORY_BYTES_MAX};
use crate::table::{DatasetTable, Open};
use crate::text::{Text, table_and_point};
use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use futures::{FutureExt, StreamExt};
use levada_flow::arrow_schema::arrow_schema;
use levada_flow::engine::{EngineInput, EngineQuery};
use levada_flow::fit::Fit;
use levada_flow::{Engine, FlowError, RowStream};
use std::sync::Arc;

/// Runs SQL transformers.
#[derive(Clone, Copy, Debug)]
pub struct SqlEngine {
    memory_bytes: usize,
}

impl Default for SqlEngine {
    fn default() -> Self {
        Self { memory_bytes: SESSION_MEMORY_BYTES_MAX }
    }
}

impl SqlEngine {
    /// An engine whose queries have so much memory each.
    pub fn with_memory(memory_bytes: usize) -> Self {
        Self { memory_bytes }
    }
}

#[async_trait]
impl Engine for SqlEngine {
    async fn query(&self, inputs: Vec<EngineInput>, query: EngineQuery) -> Result<RowStream, FlowError> {
        let named = |error: FlowError| for_output(&query, error);
        let text = Text::parse(&query.sql).map_err(named)?;
        let session = QuerySession::open(self.memory_bytes)?;
        let names = Names::new(inputs.iter().map(|input| &input.source));
        let inputs: Vec<Arc<EngineInput>> = inputs.into_iter().map(Arc::new).collect();
        for table in session.tables(&text).map_err(named)? {
            let (dataset, point) = table_and_point(table.table());
            if point.is_some() || dataset.contains('$') {
                let error = FlowError::never(format!("{dataset}: a transformer reads its inputs as they are"));
                return Err(named(error.hint("leave out FOR … AS OF, $changes and $history")));
            }
            let input = &inputs[names.find(&table, dataset).map_err(named)?];
            session.register(&table, table_of(input).map_err(named)?)?;
        }
        let plan = session.plan(text).await.map_err(named)?;
        let mut fit = Fit::new(plan.schema().as_arrow(), &query.schema, query.has_operations).map_err(named)?;
        let rows = session.run(plan).await.map_err(named)?;
        let dataset = query.dataset.clone();
        let rows = rows.map(move |rows| fit.apply(&rows?).map_err(|error| in_output(dataset.as_str(), error)));
        // After an error nothing that follows means anything.
        let rows = rows.scan(false, |has_failed, rows| {
            let is_over = std::mem::replace(has_failed, rows.is_err());
            futures::future::ready((!is_over).then_some(rows))
        });
        Ok(rows.boxed())
    }
}

fn for_output(query: &EngineQuery, error: FlowError) -> FlowError {
    in_output(query.dataset.as_str(), error)
}

fn in_output(dataset: &str, error: FlowError) -> FlowError {
    FlowError { message: format!("output {dataset}: {}", error.message), ..error }
}

fn table_of(input: &Arc<EngineInput>) -> Result<DatasetTable, FlowError> {
    let columns = arrow_schema(&input.schema);
    let columns: Vec<_> = columns.fields().iter().map(|field| field.as_ref().clone()).collect();
    let opened = input.clone();
    let open: Open = Arc::new(move |columns| {
        let rows = (opened.open)();
        async move {
            let project = move |rows: Result<RecordBatch, FlowError>| {
                rows?.project(&columns).map_err(|error| FlowError::never("an input lacks columns").because(error))
            };
            Ok(rows.await?.map(project).boxed())
        }
        .boxed()
    });
    DatasetTable::new(input.source.to_string(), &columns, open)
}
