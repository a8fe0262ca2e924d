//! Memory passes the suites that real systems pass, and faults happen where they are told to.

use arrow::array::{Int64Array, RecordBatch};
use arrow::compute::concat_batches;
use async_trait::async_trait;
use levada_flow::conformance::{Limits, SinkHarness, SourceHarness, check_sink, check_source, pull_all, schema_of};
use levada_flow::memory::{Fault, FaultySink, FaultySource, MemoryDatabase, MemorySink, MemorySource};
use levada_flow::sink::{DeliveredTable, DeliveredView, Form};
use levada_flow::source::{PullDataset, PullRequest};
use levada_flow::{BATCH_ROWS_MAX, Sink, Source};
use levada_model::model::IngestKind;
use levada_model::{DataType, Schema};
use std::sync::Arc;

struct Memory {
    database: MemoryDatabase,
    form: Form,
}

impl Memory {
    fn new(form: Form) -> Self {
        Self { database: MemoryDatabase::default(), form }
    }
}

#[async_trait]
impl SourceHarness for Memory {
    fn limits(&self) -> Limits {
        Limits::ALL
    }

    fn has(&self, _data_type: &DataType) -> bool {
        true
    }

    async fn create(&self, table: &str, _schema: &Schema, rows: &RecordBatch) {
        self.database.set_table(table, rows.clone());
    }

    async fn insert(&self, table: &str, _schema: &Schema, rows: &RecordBatch) {
        let there = self.database.table(table).expect("it was made");
        let both = concat_batches(&there.schema(), [&there, rows]).expect("rows of one schema");
        self.database.set_table(table, both);
    }

    async fn clear(&self, table: &str) {
        let there = self.database.table(table).expect("it was made");
        self.database.set_table(table, there.slice(0, 0));
    }

    async fn open(&self) -> Box<dyn Source> {
        Box::new(MemorySource::new(self.database.clone(), "memory"))
    }
}

#[async_trait]
impl SinkHarness for Memory {
    fn limits(&self) -> Limits {
        Limits::ALL
    }

    fn has(&self, _data_type: &DataType) -> bool {
        true
    }

    async fn open(&self) -> Box<dyn Sink> {
        Box::new(MemorySink::new(self.database.clone(), self.form))
    }

    async fn read_view(&self, _: &DeliveredTable, view: &DeliveredView, _: &Schema) -> Option<Vec<RecordBatch>> {
        self.database.view(&view.schema, &view.name).map(|rows| vec![rows])
    }
}

#[tokio::test]
async fn memory_keeps_the_contract_of_sources() {
    check_source(&Memory::new(Form::Changes)).await;
}

#[tokio::test]
async fn memory_keeps_the_contract_of_sinks_by_changes() {
    check_sink(&Memory::new(Form::Changes)).await;
}

#[tokio::test]
async fn memory_keeps_the_contract_of_sinks_by_everything() {
    check_sink(&Memory::new(Form::Everything)).await;
}

fn three_batches() -> (MemoryDatabase, PullRequest) {
    let schema = schema_of(&[("id", "int64", true)]);
    let ids = Int64Array::from_iter_values(0..3 * BATCH_ROWS_MAX as i64);
    let rows = RecordBatch::try_new(levada_flow::arrow_schema::arrow_schema(&schema), vec![Arc::new(ids)]);
    let database = MemoryDatabase::default();
    database.set_table("t", rows.expect("one column"));
    let dataset = "t".parse().expect("a name");
    let dataset = PullDataset { dataset, table: "t".to_owned(), schema, watermark: None };
    let request = PullRequest::new(IngestKind::Snapshot, vec![dataset], "levada_test");
    (database, request)
}

#[tokio::test]
async fn a_faulty_source_fails_once_where_it_is_told_to() {
    for fault in [Fault::Before(2), Fault::After(2), Fault::Batch(1)] {
        let (database, request) = three_batches();
        let mut source = FaultySource::new(MemorySource::new(database, "memory"), fault);
        source.inspect(&request).await.expect("the first call goes through");
        let error = pull_all(&mut source, &request).await.expect_err("the second doesn't");
        assert!(error.message.contains("as the test wants it"), "{fault:?}: {error}");
        let (rows, ..) = pull_all(&mut source, &request).await.expect("the third does again");
        assert_eq!(rows[0].len(), 3, "{fault:?}");
    }
}

#[tokio::test]
async fn a_sink_whose_answer_is_lost_has_delivered_all_the_same() {
    let database = MemoryDatabase::default();
    let inner = || MemorySink::new(database.clone(), Form::Changes);
    let mut sink = FaultySink::new(inner(), Fault::After(1));
    sink.remove(&[], 1).await.expect_err("the answer is lost");
    sink.remove(&[], 1).await.expect("the next one is not");
}
