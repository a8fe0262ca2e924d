//! What is read beside the log, so that a dataset that is not whole becomes so while the stream goes on:
//! a table that joins, one that was changed, a new partition, rows that the log did not tell whole.
//!
//! With a key, a table is read in chunks of blocks, each between two watermarks (Andreakis and
//! Papapanagiotou, "DBLog", 2020): the place of the stream when the chunk is read, and the end of the log
//! behind it. What the log says of a key between them is newer than the chunk's row, or the same; so the
//! row is left out, and what is left goes in at the second watermark. Nothing is written at the source.
//! A transaction is in the log a moment before other sessions see it: a chunk whose snapshot does not see all
//! that the stream has passed on is not taken, and read again.
//! A row that moves to a block that was read already is told by the log itself; where the log leaves a
//! value out that nobody has yet, the row is looked up by its key, as a chunk of its own. At the end all
//! keys are listed, in the same way, for what is gone.
//!
//! Without a key rows can't be matched: the table is read in one piece, at a moment whose transactions
//! the log then passes over; the stream waits meanwhile.

use super::lsn::Lsn;
use super::reader::LogReader;
use super::rows::Built;
use super::slot;
use super::state::{Join, Seen};
use super::tables::{Leaf, LogTable};
use crate::change_log::{Pull, as_upserts};
use crate::literal::ColumnReader as Printer;
use crate::postgres::catalog::DatasetPlan;
use crate::postgres::copy::{ReadColumn, RowsReader, schema_of};
use crate::postgres::error::During;
use crate::postgres::quote;
use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use levada_flow::source::{Coverage, Pulled};
use levada_flow::{FlowError, Retry, failpoint};
use std::collections::{BTreeSet, HashSet};

/// How many blocks one chunk has: two megabytes, and what lies outside of the rows.
const CHUNK_BLOCKS: u64 = 256;

/// How many rows are looked up at once by their keys.
const CHUNK_KEYS: usize = 1_000;

/// What was read beside the log and waits for its second watermark.
pub(super) struct Window {
    pub(super) dataset: usize,
    /// The second watermark.
    until: Lsn,
    portion: Portion,
    /// The rows that were read.
    rows: Vec<RecordBatch>,
    /// The keys that the log spoke of since the first watermark.
    spoken_of: HashSet<[u8; 16]>,
    /// Whether a TRUNCATE came between: it counts for nothing, and is read again.
    pub(super) is_void: bool,
}

/// What part of what is left to read a window has.
#[derive(Clone, Copy)]
enum Portion {
    /// So many rows by their keys.
    Rows(usize),
    /// Blocks of a piece up to this one; `None`: to its end.
    Blocks { leaf: u32, end: Option<u64> },
    /// All keys, at the end.
    Keys,
}

impl Portion {
    fn next(join: &Join, blocks: u64) -> Self {
        match join.leaves.first() {
            _ if !join.rows.is_empty() => Self::Rows(join.rows.len().min(CHUNK_KEYS)),
            Some(leaf) => {
                let end = join.block + CHUNK_BLOCKS;
                Self::Blocks { leaf: *leaf, end: (end < blocks).then_some(end) }
            }
            None => Self::Keys,
        }
    }

    /// Takes it off what is left; `None`: nothing is.
    fn taken_off(self, mut join: Join) -> Option<Join> {
        join.skip_until = None;
        match self {
            Self::Rows(count) => drop(join.rows.drain(..count)),
            Self::Blocks { leaf, end } if join.leaves.first() == Some(&leaf) => match end {
                Some(end) => join.block = end,
                None => {
                    join.leaves.remove(0);
                    join.block = 0;
                }
            },
            Self::Keys if join.leaves.is_empty() && join.rows.is_empty() => return None,
            Self::Blocks { .. } | Self::Keys => {}
        }
        Some(join)
    }
}

impl LogReader {
    /// Reads on beside the log, between two transactions: closes the window whose second watermark has
    /// been reached, and opens the next one.
    pub(super) async fn join(&mut self, pull: &mut Pull<'_>) -> Result<(), FlowError> {
        if let Some(window) = &self.window {
            if self.at < window.until {
                return Ok(());
            }
            self.close(pull).await?;
        }
        if pull.is_full() {
            return Ok(());
        }
        let is_ready = |join: &Join| join.skip_until.is_none_or(|until| self.at.0 >= until);
        let next = self.datasets.iter().position(|dataset| dataset.standing.join.as_ref().is_some_and(is_ready));
        let Some(index) = next.filter(|_| self.may_ask()) else { return Ok(()) };
        match self.open(pull, index).await {
            Ok(()) => Ok(()),
            // What can't be read in one table is no reason to leave the others alone.
            Err(error) if error.retry == Retry::Never => {
                let rolled_back = self.session.batch_execute("ROLLBACK").await;
                rolled_back.during(|| "a reading transaction can't be ended".to_owned())?;
                self.stop(pull, index, error.chain()).await
            }
            Err(error) => Err(error),
        }
    }

    async fn open(&mut self, pull: &mut Pull<'_>, index: usize) -> Result<(), FlowError> {
        self.flush(pull, index).await?;
        let dataset = &self.datasets[index];
        let Some((table, plan)) = dataset.table.clone() else { return Ok(()) };
        let join = dataset.standing.join.clone().unwrap_or_default();
        if !dataset.has_key() {
            return self.read_whole(pull, index, &table, &plan).await;
        }
        if self.begin_reading(&table).await?.is_none() {
            return Ok(());
        }
        let blocks = match join.leaves.first() {
            Some(leaf) => self.blocks(*leaf).await?,
            None => 0,
        };
        let portion = Portion::next(&join, blocks);
        if matches!(portion, Portion::Keys) && self.datasets[index].lists_later {
            pull.must_end = true;
            return self.end_reading(&table).await;
        }
        let rows = match portion {
            Portion::Rows(count) => self.read(&table, &plan, &rows_by_key(&table, &plan, &join.rows[..count])).await?,
            Portion::Blocks { leaf, end } => match table.leaves.get(&leaf) {
                Some(piece) => self.read(&table, &plan, &block_range(&table, piece, leaf, join.block, end)).await?,
                None => Vec::new(),
            },
            Portion::Keys => {
                self.list_keys(pull, index, &table, &plan).await?;
                Vec::new()
            }
        };
        failpoint("join.read")?;
        let until = slot::end(&self.session, self.settings.place()).await?;
        self.end_reading(&table).await?;
        let spoken_of = HashSet::new();
        self.window = Some(Window { dataset: index, until, portion, rows, spoken_of, is_void: false });
        Ok(())
    }

    /// Begins to read a table at one moment, and gives its snapshot; `None`: not now, because that moment
    /// would lack what the log has told already.
    ///
    /// The table is locked before the moment is taken: one that is rewritten between them would look empty.
    async fn begin_reading(&mut self, table: &LogTable) -> Result<Option<String>, FlowError> {
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; LOCK TABLE {} IN ACCESS SHARE MODE",
            table.name.quoted()
        );
        self.session.batch_execute(&begin).await.during(|| format!("table {} can't be read", table.name))?;
        let snapshot = self.whole_snapshot().await?;
        if snapshot.is_none() {
            self.end_reading(table).await?;
        }
        Ok(snapshot)
    }

    async fn end_reading(&self, table: &LogTable) -> Result<(), FlowError> {
        self.session.batch_execute("COMMIT").await.during(|| format!("table {} can't be read", table.name))
    }

    /// How many blocks a piece of a table has; none where it is gone.
    async fn blocks(&self, leaf: u32) -> Result<u64, FlowError> {
        let size = "SELECT coalesce(pg_relation_size($1::oid::regclass), 0) / current_setting('block_size')::int8";
        let row =
            self.session.query_one(size, &[&leaf]).await.during(|| "the size of a table can't be found".to_owned())?;
        Ok(row.get::<_, i64>(0).unsigned_abs())
    }

    /// Reads what a query finds behind a dataset's columns.
    async fn read(&self, table: &LogTable, plan: &DatasetPlan, from: &str) -> Result<Vec<RecordBatch>, FlowError> {
        let query = format!("SELECT {}{from}", select_list(&plan.columns));
        let mut reader =
            RowsReader::start(&self.session, &table.name.to_string(), &query, plan.columns.clone()).await?;
        let mut rows = Vec::new();
        while let Some(batch) = reader.next().await? {
            rows.push(batch);
        }
        Ok(rows)
    }

    async fn list_keys(
        &mut self,
        pull: &mut Pull<'_>,
        index: usize,
        table: &LogTable,
        plan: &DatasetPlan,
    ) -> Result<(), FlowError> {
        let columns: Vec<ReadColumn> = plan.columns.iter().filter(|column| column.is_key).cloned().collect();
        let query = format!("SELECT {} FROM {}", select_list(&columns), table.name.quoted());
        self.datasets[index].is_told = true;
        pull.begin_keys(index, schema_of(&plan.columns), schema_of(&columns)).await?;
        let mut reader = RowsReader::start(&self.session, &table.name.to_string(), &query, columns).await?;
        while let Some(keys) = reader.next().await? {
            pull.send(Pulled::Keys { dataset: index, keys }).await?;
        }
        Ok(())
    }

    /// Puts in what the log did not speak of meanwhile.
    async fn close(&mut self, pull: &mut Pull<'_>) -> Result<(), FlowError> {
        let Some(index) = self.window.as_ref().map(|window| window.dataset) else { return Ok(()) };
        self.flush(pull, index).await?;
        let Some(window) = self.window.take().filter(|window| !window.is_void) else { return Ok(()) };
        let dataset = &mut self.datasets[index];
        dataset.standing.join = window.portion.taken_off(dataset.standing.join.take().unwrap_or_default());
        if matches!(window.portion, Portion::Keys) {
            dataset.coverage = Coverage::ChangesAndKeys;
        }
        for rows in window.rows {
            let keys = dataset.hasher.key_hashes(&rows);
            let is_left = keys.iter().map(|key| !window.spoken_of.contains(key)).collect::<Vec<_>>();
            let rows = filter_record_batch(&rows, &BooleanArray::from(is_left)).expect("one flag per row");
            if rows.num_rows() > 0 {
                pull.count(rows.num_rows());
                dataset.is_told = true;
                pull.send(Pulled::Changes { dataset: index, rows: as_upserts(&rows), kept: Vec::new() }).await?;
            }
        }
        Ok(())
    }

    /// Notes what the log says of a dataset that is not whole; rows with values that it left out are taken
    /// out, and looked up.
    pub(super) fn note_in_join(&mut self, index: usize, built: Built) -> Result<Built, FlowError> {
        let dataset = &mut self.datasets[index];
        let incomplete: BTreeSet<u32> = built.kept.iter().map(|cell| cell.row).collect();
        let is_whole: Vec<bool> = (0..built.rows.num_rows() as u32).map(|row| !incomplete.contains(&row)).collect();
        let rows = filter_record_batch(&built.rows, &BooleanArray::from(is_whole)).expect("one flag per row");
        if let Some(join) = &mut dataset.standing.join {
            for row in incomplete {
                join.rows.push(key_texts(&dataset.wanted.schema, &built.rows, row as usize)?);
            }
        }
        if let Some(window) = self.window.as_mut().filter(|window| window.dataset == index) {
            let columns: Vec<usize> = (0..rows.num_columns() - 1).collect();
            let data = rows.project(&columns).expect("all but the operation");
            window.spoken_of.extend(dataset.hasher.key_hashes(&data));
        }
        Ok(Built { rows, kept: Vec::new() })
    }

    /// Reads a table without a key in one piece.
    async fn read_whole(
        &mut self,
        pull: &mut Pull<'_>,
        index: usize,
        table: &LogTable,
        plan: &DatasetPlan,
    ) -> Result<(), FlowError> {
        if self.datasets[index].is_told {
            // A batch has changes of it already; the next one begins with the whole.
            pull.must_end = true;
            return Ok(());
        }
        let Some(snapshot) = self.begin_reading(table).await? else { return Ok(()) };
        let query = format!("SELECT {} FROM {}", select_list(&plan.columns), table.name.quoted());
        let mut reader =
            RowsReader::start(&self.session, &table.name.to_string(), &query, plan.columns.clone()).await?;
        while let Some(rows) = reader.next().await? {
            pull.count(rows.num_rows());
            self.datasets[index].is_told = true;
            pull.send(Pulled::Rows { dataset: index, rows }).await?;
        }
        let until = slot::end(&self.session, self.settings.place()).await?;
        self.end_reading(table).await?;
        let dataset = &mut self.datasets[index];
        dataset.coverage = Coverage::Complete;
        dataset.standing.join = None;
        dataset.standing.seen = Some(Seen { snapshot, until: until.0 });
        pull.must_end = true;
        Ok(())
    }
}

fn select_list(columns: &[ReadColumn]) -> String {
    columns.iter().map(ReadColumn::select).collect::<Vec<_>>().join(", ")
}

/// What finds the rows in blocks of a piece; to its end where there is none.
fn block_range(table: &LogTable, piece: &Leaf, id: u32, from: u64, end: Option<u64>) -> String {
    let until = end.map(|end| format!(" AND ctid < '({end},0)'")).unwrap_or_default();
    format!(" FROM {} AND ctid >= '({from},0)'{until}", piece.only_in(&table.name, id))
}

/// What finds rows by the texts of their keys.
fn rows_by_key(table: &LogTable, plan: &DatasetPlan, rows: &[Vec<String>]) -> String {
    let names: Vec<&str> =
        plan.columns.iter().filter(|column| column.is_key).map(|column| column.source_name.as_str()).collect();
    let quoted: Vec<String> = names.iter().map(|name| quote::identifier(name)).collect();
    let row = |values: &Vec<String>| {
        let literals: Vec<String> = names.iter().zip(values).map(|(name, value)| table.literal(name, value)).collect();
        format!("({})", literals.join(", "))
    };
    let rows: Vec<String> = rows.iter().map(row).collect();
    format!(" FROM {} WHERE ({}) IN ({})", table.name.quoted(), quoted.join(", "), rows.join(", "))
}

/// The key of a row, as texts.
fn key_texts(schema: &levada_model::Schema, rows: &RecordBatch, row: usize) -> Result<Vec<String>, FlowError> {
    let text = |index: &usize| {
        let column = &schema.columns[*index];
        let printer = Printer::new(rows.column(*index).as_ref(), &column.data_type);
        let text = printer.ok().and_then(|printer| printer.text(row));
        text.ok_or_else(|| {
            FlowError::never(format!("key column {:?} can't be written as a text", column.name.as_str()))
        })
    };
    schema.key().iter().map(text).collect()
}
