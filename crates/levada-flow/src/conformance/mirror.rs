//! What a change log says, kept as a table: the plainest reader there is.

use crate::canonical::{canonical_row, canonical_rows};
use crate::source::{Coverage, Kept, Previous, PullDataset, PullEnd, PullRequest, Pulled};
use crate::{FlowError, Source};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::Int32Type;
use levada_model::Schema;
use levada_model::model::IngestKind;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::mpsc;

/// Follows a stream as the store would, and is as strict as can be: a new key must be new, and what
/// changes or goes must be there.
#[derive(Debug)]
pub struct Mirror {
    /// What the next pull asks for.
    pub request: PullRequest,
    tables: Vec<Table>,
}

/// A dataset as far as its log has told it.
#[derive(Clone, Debug, Default)]
struct Table {
    /// With a key: its bytes → the row. Without: the row's bytes.
    rows: BTreeMap<Vec<u8>, Vec<RecordBatch>>,
    /// Whether it was ever told whole.
    is_whole: bool,
}

impl Mirror {
    /// A reader of some datasets that has read nothing.
    pub fn new(reader: &str, datasets: Vec<PullDataset>) -> Self {
        let kind = IngestKind::Cdc { wal_max_bytes: None };
        let tables = vec![Table::default(); datasets.len()];
        Self { request: PullRequest::new(kind, datasets, reader), tables }
    }

    /// Adds a dataset to the stream.
    pub fn join(&mut self, dataset: PullDataset) {
        self.request.datasets.push(dataset);
        self.tables.push(Table::default());
    }

    /// Gives a dataset another schema, as a new revision of the model does.
    pub fn change(&mut self, index: usize, dataset: PullDataset) {
        if let Some(previous) = &mut self.request.previous {
            previous.position.forget(dataset.dataset.as_str());
        }
        self.request.datasets[index] = dataset;
        // Old rows have other columns: what is told now is told whole.
        self.tables[index] = Table::default();
    }

    /// One pull, committed and acknowledged.
    ///
    /// # Errors
    /// The pull's own.
    pub async fn pull(&mut self, source: &mut dyn Source) -> Result<PullEnd, FlowError> {
        let end = self.pull_and_lose_the_answer(source).await?;
        source.acknowledge(&end.position).await?;
        Ok(end)
    }

    /// One pull, committed, whose acknowledgement never came.
    ///
    /// # Errors
    /// The pull's own.
    pub async fn pull_and_lose_the_answer(&mut self, source: &mut dyn Source) -> Result<PullEnd, FlowError> {
        let (said, end) = listen(source, &self.request).await?;
        let mut tables = self.tables.clone();
        for (index, table) in tables.iter_mut().enumerate() {
            table.take(&self.request.datasets[index].schema, &said[index], end.coverage[index]);
        }
        self.tables = tables;
        self.request.previous = Some(Previous { position: end.position.clone(), incarnation: end.incarnation.clone() });
        Ok(end)
    }

    /// One pull of which nothing is kept, as after a crash before the commit.
    ///
    /// # Errors
    /// The pull's own.
    pub async fn pull_in_vain(&mut self, source: &mut dyn Source) -> Result<PullEnd, FlowError> {
        Ok(listen(source, &self.request).await?.1)
    }

    /// Pulls until the source has no more.
    ///
    /// # Errors
    /// A pull's own.
    pub async fn catch_up(&mut self, source: &mut dyn Source) -> Result<PullEnd, FlowError> {
        loop {
            let end = self.pull(source).await?;
            if !end.is_behind {
                return Ok(end);
            }
        }
    }

    /// The rows of a dataset; `None`: it was never told whole.
    pub fn rows(&self, index: usize) -> Option<Vec<RecordBatch>> {
        let table = &self.tables[index];
        table.is_whole.then(|| table.rows.values().flatten().cloned().collect())
    }
}

/// What a pull says, dataset by dataset.
async fn listen(source: &mut dyn Source, request: &PullRequest) -> Result<(Vec<Vec<Pulled>>, PullEnd), FlowError> {
    source.inspect(request).await?;
    let (out, mut pulled) = mpsc::channel(2);
    let collect = async {
        let mut said: Vec<Vec<Pulled>> = request.datasets.iter().map(|_| Vec::new()).collect();
        while let Some(one) = pulled.recv().await {
            let (Pulled::Rows { dataset, .. }
            | Pulled::Keys { dataset, .. }
            | Pulled::Changes { dataset, .. }
            | Pulled::Discard { dataset }
            | Pulled::Truncated { dataset }) = &one;
            said[*dataset].push(one);
        }
        said
    };
    let (end, said) = futures::join!(source.pull(request, out), collect);
    let end = end?;
    assert_eq!(end.coverage.len(), request.datasets.len(), "a coverage for each dataset");
    Ok((said, end))
}

impl Table {
    fn take(&mut self, schema: &Schema, said: &[Pulled], coverage: Coverage) {
        let kept_from = said.iter().rposition(|one| matches!(one, Pulled::Discard { .. })).map_or(0, |at| at + 1);
        let said = &said[kept_from..];
        let is_strict = self.is_whole && coverage == Coverage::Changes;
        let (mut touched, mut listed, mut is_listing) = (BTreeSet::new(), None::<BTreeSet<Vec<u8>>>, false);
        if coverage == Coverage::Complete {
            self.rows.clear();
        }
        for one in said {
            match one {
                Pulled::Rows { rows, .. } => {
                    assert_eq!(coverage, Coverage::Complete, "rows are the whole dataset");
                    (0..rows.num_rows()).for_each(|row| self.put(schema, rows.slice(row, 1)));
                }
                Pulled::Changes { rows, kept, .. } => {
                    is_listing = false;
                    self.change(schema, rows, kept, is_strict, &mut touched);
                }
                Pulled::Truncated { .. } => self.rows.clear(),
                Pulled::Keys { keys, .. } => {
                    let key = Schema { columns: schema.columns.iter().filter(|column| column.key).cloned().collect() };
                    if !std::mem::replace(&mut is_listing, true) {
                        // What was said before the list is in it, or gone.
                        touched.clear();
                        listed = Some(BTreeSet::new());
                    }
                    listed.get_or_insert_default().extend(canonical_rows(&key, keys));
                }
                Pulled::Discard { .. } => unreachable!("they were passed over"),
            }
        }
        assert!(coverage != Coverage::ChangesAndKeys || listed.is_some(), "who says that keys were listed lists them");
        if let Some(listed) = listed {
            self.rows.retain(|key, _| listed.contains(key) || touched.contains(key));
        }
        match coverage {
            Coverage::Nothing => assert!(said.is_empty(), "who says nothing has said nothing"),
            Coverage::Part => self.is_whole = false,
            Coverage::Changes if !self.is_whole => panic!("changes alone are no dataset"),
            Coverage::Complete | Coverage::Changes | Coverage::ChangesAndKeys => self.is_whole = true,
            other => panic!("a change log has no {other:?}"),
        }
    }

    fn put(&mut self, schema: &Schema, row: RecordBatch) {
        let has_key = !schema.key().is_empty();
        let rows = self.rows.entry(identity(schema, &row)).or_default();
        if has_key {
            rows.clear();
        }
        rows.push(row);
    }

    fn change(
        &mut self,
        schema: &Schema,
        rows: &RecordBatch,
        kept: &[Kept],
        is_strict: bool,
        touched: &mut BTreeSet<Vec<u8>>,
    ) {
        let operations = rows.column_by_name("lv_op").expect("changes have operations").as_primitive::<Int32Type>();
        let data = rows.project(&(0..rows.num_columns() - 1).collect::<Vec<_>>()).expect("all but the operation");
        let mut gone: Option<RecordBatch> = None;
        for row in 0..data.num_rows() {
            let (operation, one) = (operations.value(row), data.slice(row, 1));
            let key = identity(schema, &one);
            let before = self.rows.get(&key).and_then(|rows| rows.last()).cloned();
            if is_strict && !schema.key().is_empty() {
                let must_be_there = match operation {
                    0 => Some(false),
                    1 | 2 => Some(true),
                    _ => None,
                };
                let is_right = must_be_there.is_none_or(|must| must == before.is_some());
                assert!(is_right, "operation {operation} of a key that is there: {}: {one:?}", before.is_some());
            }
            touched.insert(key.clone());
            if operation == 2 {
                match self.rows.get_mut(&key) {
                    Some(rows) if rows.len() > 1 => drop(rows.pop()),
                    _ => drop(self.rows.remove(&key)),
                }
                gone = before;
                continue;
            }
            let source = if operation == 3 { gone.take().or(before) } else { before };
            let cells = kept.iter().filter(|cell| cell.row as usize == row).map(|cell| cell.column as usize);
            let whole = with_kept(&one, cells, source.as_ref());
            self.put(schema, whole);
            gone = None;
        }
    }
}

/// What tells a row from others: its key, or all of it.
fn identity(schema: &Schema, row: &RecordBatch) -> Vec<u8> {
    let key: Vec<usize> = schema.key().to_vec();
    match key.is_empty() {
        true => canonical_row(schema, row, 0),
        false => {
            let columns = key.iter().map(|at| schema.columns[*at].clone()).collect();
            canonical_row(&Schema { columns }, &row.project(&key).expect("its key"), 0)
        }
    }
}

fn with_kept(row: &RecordBatch, cells: impl Iterator<Item = usize>, before: Option<&RecordBatch>) -> RecordBatch {
    let mut columns: Vec<ArrayRef> = row.columns().to_vec();
    for column in cells {
        assert!(columns[column].is_null(0), "a kept cell is null in its row");
        let before = before.expect("a kept value has a version before");
        columns[column] = take(before.column(column), &UInt32Array::from(vec![0]), None).expect("one row");
    }
    RecordBatch::try_new(row.schema(), columns).expect("the same types")
}
