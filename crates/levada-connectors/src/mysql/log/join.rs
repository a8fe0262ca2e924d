//! What is read beside the log: tables that join, and those whose rows may have changed without its saying so.
//!
//! Every reading is one consistent snapshot, and the server tells its exact place in the log: what was read is
//! the state there. So a chunk of rows, in the order of a key, waits until the stream has come to its place,
//! and goes in between two transactions; nobody has to compare it with what the log says of them. Before
//! its first chunk the log says nothing of a table, for its definition may have been another one; at the
//! end all keys are listed, for what is gone.
//!
//! In one piece are read: everything, where no other dataset has to wait for it, in one snapshot; and tables
//! whose rows can't be put in an order (no key, none with a unique index, one with words or bits). The
//! pull then ends at the place of that snapshot.

use super::place::Place;
use super::prepared::SEEN_AFTER;
use super::reader::{Dataset, LogReader};
use super::state::Join;
use super::tables::{LogTable, Order};
use crate::change_log::{Pull, as_upserts};
use crate::mysql::error::During;
use crate::mysql::moment::Moment;
use crate::mysql::quote::identifier;
use crate::mysql::rows::{ReadColumn, RowsDecoder, read_rows, schema_of, select_list};
use crate::mysql::types::Wire;
use arrow::array::RecordBatch;
use levada_flow::source::{Coverage, Pulled};
use levada_flow::{FlowError, Retry, failpoint};
use mysql_async::prelude::Queryable;
use mysql_async::{Params, Value};
use std::time::Instant;

/// How many rows the first chunk asks for.
pub(super) const CHUNK_ROWS: usize = 1_024;

/// The most rows of one chunk.
const CHUNK_ROWS_MAX: usize = 8_192;

/// What was read and waits for its place.
pub(super) struct Window {
    pub(super) dataset: usize,
    /// Where in the log it is the state.
    seen: Place,
    read: Read,
    /// What is left to read behind it.
    next: Option<Join>,
    /// Whether the table's definition was looked at in its snapshot, and not before.
    pub(super) is_first: bool,
}

/// What a snapshot was asked for.
enum Read {
    /// Only its place: from there on the log counts.
    Beginning,
    /// A chunk of rows; `None`: there were none.
    Chunk(Option<RecordBatch>),
    /// The list of all keys, which the pull has already.
    Keys,
}

impl Window {
    /// Whether it is a list of keys, which the pull has already.
    pub(super) fn is_keys(&self) -> bool {
        matches!(self.read, Read::Keys)
    }

    /// Whether rows were looked for.
    pub(super) fn has_rows(&self) -> bool {
        !matches!(self.read, Read::Beginning)
    }
}

impl LogReader {
    /// Reads on beside the log, between two transactions: puts in what the stream has come to, and reads next.
    pub(super) async fn join(&mut self, pull: &mut Pull<'_>) -> Result<(), FlowError> {
        loop {
            if self.window.as_ref().is_some_and(|window| self.at.place < window.seen) {
                return Ok(());
            }
            self.close(pull).await?;
            if pull.is_full() || self.whole_at.is_some() {
                return Ok(());
            }
            let in_one_piece = self.in_one_piece().await?;
            if !in_one_piece.is_empty() {
                return self.read_whole(pull, in_one_piece).await;
            }
            let Some(index) = self.datasets.iter().position(|dataset| self.may_read_on(dataset)) else { return Ok(()) };
            if !self.open(pull, index).await? {
                return Ok(());
            }
        }
    }

    /// Whether the next chunk of a table may be read now.
    fn may_read_on(&self, dataset: &Dataset) -> bool {
        let has_order = dataset.table.as_ref().is_none_or(|table| table.order.is_some());
        let begins = self.sees_prepared && dataset.standing.is_unread && has_order;
        dataset.is_joining() && (begins || !dataset.is_unsettled())
    }

    /// Which tables are to be read in one piece.
    async fn in_one_piece(&mut self) -> Result<Vec<usize>, FlowError> {
        let unread = |reader: &Self| -> Vec<usize> {
            (0..reader.datasets.len()).filter(|index| reader.datasets[*index].is_to_be_read()).collect()
        };
        let nobody_waits = |reader: &Self| {
            reader.datasets.iter().all(|dataset| dataset.is_to_be_read() || dataset.standing.stopped.is_some())
        };
        let all = unread(self);
        // A second time, what the first may have lacked is waited for.
        let is_settled = |index: &usize| {
            let dataset = &self.datasets[*index];
            !dataset.is_unsettled() || dataset.standing.layout.is_empty()
        };
        if nobody_waits(self) && all.iter().all(is_settled) {
            return Ok(all);
        }
        for index in all {
            if self.datasets[index].table.is_none() {
                self.look(index).await?;
            }
        }
        let mut unread = unread(self);
        unread.retain(|index| {
            let dataset = &self.datasets[*index];
            dataset.table.as_ref().is_none_or(|table| table.order.is_none()) && !dataset.is_unsettled()
        });
        Ok(unread)
    }

    /// Begins a snapshot and gives its place; `None`: not now, because it lacks what the log has told already.
    async fn begin_reading(&mut self) -> Result<Option<Place>, FlowError> {
        if self.unsettled_until.is_some_and(|until| Instant::now() < until) {
            return Ok(None);
        }
        let place = self.settings.place().to_owned();
        let moment = Moment::begin(&mut self.session, &place, &self.settings.database).await?;
        let seen: Result<Place, _> = moment.mark.parse();
        let seen = seen.map_err(|error| {
            FlowError::never(format!("{place} does not tell at which place of its binary log a snapshot is"))
                .because(error)
        })?;
        if seen < self.at.place {
            // A transaction is in the log a moment before others see it.
            self.end_reading().await?;
            return Ok(None);
        }
        Ok(Some(seen))
    }

    async fn end_reading(&mut self) -> Result<(), FlowError> {
        let place = self.settings.place().to_owned();
        self.session.run("COMMIT", || format!("the snapshot at {place} can't be ended")).await
    }

    /// Reads the next chunk of a table, or its keys; whether it has a window now.
    async fn open(&mut self, pull: &mut Pull<'_>, index: usize) -> Result<bool, FlowError> {
        self.flush(pull, index).await?;
        // Before the snapshot: what is told after this moment is told again behind it.
        self.recent.forget_seen(index);
        let Some(seen) = self.begin_reading().await? else { return Ok(false) };
        self.look(index).await?;
        self.note_users();
        let dataset = &self.datasets[index];
        let table = dataset.table.clone();
        let order = table.as_ref().and_then(|table| table.order.clone());
        let (Some(table), Some(order)) = (table, order) else {
            // It has stopped, or can only be read in one piece from now on.
            self.datasets[index].standing.is_unread = true;
            self.end_reading().await?;
            self.discard_stopped(pull, index).await?;
            return Ok(self.datasets[index].standing.stopped.is_some());
        };
        let is_first = dataset.standing.is_unread;
        let mut join = dataset.standing.join.clone().filter(|_| !is_first).unwrap_or_default();
        let by = order.columns(&table.plan);
        if !join.is_read && join.by != by {
            // By another index the rows come in another order.
            join = Join { by, ..Join::default() };
        }
        if join.is_read && dataset.lists_later {
            pull.must_end = true;
            self.end_reading().await?;
            return Ok(false);
        }
        if is_first && self.sees_prepared {
            // From this place on the log counts, and tells again what a chunk may lack.
            self.end_reading().await?;
            self.datasets[index].unsettled_until = Some(Instant::now() + SEEN_AFTER);
            self.window = Some(Window { dataset: index, seen, read: Read::Beginning, next: Some(join), is_first });
            return Ok(true);
        }
        self.session.work();
        let read = match join.is_read {
            false => self.read_chunk(&table, &order, join).await.map(|(rows, next)| (Read::Chunk(rows), Some(next))),
            true => self.list_keys(pull, index, &table).await.map(|()| (Read::Keys, None)),
        };
        let (read, next) = match read {
            Ok(read) => read,
            // What can't be read in one table is no reason to leave the others alone.
            Err(error) if error.retry == Retry::Never => {
                self.end_reading().await?;
                self.session.rest();
                self.stop(pull, index, error.chain()).await?;
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        failpoint("join.read")?;
        self.end_reading().await?;
        self.session.rest();
        self.window = Some(Window { dataset: index, seen, read, next, is_first });
        Ok(true)
    }

    /// Reads rows behind those that were read; what is left then.
    async fn read_chunk(
        &mut self,
        table: &LogTable,
        Order { index, at }: &Order,
        join: Join,
    ) -> Result<(Option<RecordBatch>, Join), FlowError> {
        let columns = &table.plan.columns;
        let order: Vec<&ReadColumn> = at.iter().map(|at| &columns[*at]).collect();
        let name = table.name.to_string();
        let by: Vec<String> = order.iter().map(|column| identifier(&column.source_name)).collect();
        let query = format!(
            "SELECT {} FROM {} FORCE INDEX ({}){} ORDER BY {} LIMIT {}",
            select_list(columns.iter()),
            table.name.quoted(),
            identifier(index),
            behind(&order, &join.after),
            by.join(", "),
            self.chunk_rows
        );
        let failed = || format!("table {name} can't be read");
        let statement = self.session.prep(query).await.during(failed)?;
        let mut found = self.session.exec_iter(&statement, Params::Empty).await.during(failed)?;
        let (mut decoder, mut count, mut after) = (RowsDecoder::new(&name, columns), 0, None);
        let mut is_cut = false;
        while let Some(row) = found.next().await.during(failed)? {
            if is_cut {
                // The rest of the answer has to be taken.
                continue;
            }
            decoder.append(|index| row.as_ref(index).unwrap_or(&Value::NULL))?;
            count += 1;
            is_cut = decoder.is_full();
            if is_cut || count == self.chunk_rows {
                let texts = at.iter().zip(&order);
                let texts = texts.map(|(at, column)| text(column.wire, row.as_ref(*at).unwrap_or(&Value::NULL)));
                after = Some(texts.collect());
            }
        }
        drop(found);
        let rows = decoder.finish()?;
        // Rows so large that an answer was taken in vain: the next chunk asks for fewer of them.
        self.chunk_rows = if is_cut { count.max(1) } else { (self.chunk_rows * 2).min(CHUNK_ROWS_MAX) };
        let next = match after {
            Some(after) => Join { after, ..join },
            None => Join { is_read: true, ..Join::default() },
        };
        Ok((rows, next))
    }

    /// Sends all keys.
    async fn list_keys(&mut self, pull: &mut Pull<'_>, index: usize, table: &LogTable) -> Result<(), FlowError> {
        let columns: Vec<ReadColumn> = table.plan.columns.iter().filter(|column| column.is_key).cloned().collect();
        let query = format!("SELECT {} FROM {}", select_list(columns.iter()), table.name.quoted());
        self.datasets[index].is_told = true;
        pull.begin_keys(index, schema_of(&table.plan.columns), schema_of(&columns)).await?;
        let wrap = |keys| Pulled::Keys { dataset: index, keys };
        read_rows(&mut self.session, &table.name.to_string(), &query, Vec::new(), &columns, pull.out, wrap).await
    }

    /// Puts in what the stream has come to.
    async fn close(&mut self, pull: &mut Pull<'_>) -> Result<(), FlowError> {
        let Some(window) = self.window.take() else { return Ok(()) };
        let index = window.dataset;
        self.flush(pull, index).await?;
        let dataset = &mut self.datasets[index];
        (dataset.standing.is_unread, dataset.standing.join) = (false, window.next);
        if matches!(window.read, Read::Keys) {
            dataset.coverage = Coverage::ChangesAndKeys;
        }
        if let Read::Chunk(Some(rows)) = window.read {
            pull.count(rows.num_rows());
            self.datasets[index].is_told = true;
            pull.send(Pulled::Changes { dataset: index, rows: as_upserts(&rows), kept: Vec::new() }).await?;
        }
        for rows in self.recent.of(index) {
            if self.datasets[index].standing.stopped.is_none() {
                self.append(pull, index, &rows).await?;
            }
        }
        if self.datasets[index].standing.join.is_none() {
            self.recent.clear(index);
        }
        Ok(())
    }

    /// Reads tables in one piece, in one snapshot; the stream waits meanwhile.
    async fn read_whole(&mut self, pull: &mut Pull<'_>, unread: Vec<usize>) -> Result<(), FlowError> {
        if unread.iter().any(|index| self.datasets[*index].is_told) {
            // A batch has changes of it already; the next one begins with the whole.
            pull.must_end = true;
            return Ok(());
        }
        let Some(seen) = self.begin_reading().await? else { return Ok(()) };
        let is_unsettled: Vec<bool> = self.datasets.iter().map(Dataset::is_unsettled).collect();
        self.session.work();
        for index in unread {
            match self.read_table(pull, index).await {
                Ok(()) => {
                    let dataset = &mut self.datasets[index];
                    (dataset.coverage, dataset.is_told) = (Coverage::Complete, true);
                    // What this may lack is found when it is read a second time, in chunks.
                    let join = is_unsettled[index].then(Join::default);
                    (dataset.standing.is_unread, dataset.standing.join) = (false, join);
                    dataset.read_at = Some(seen.clone());
                }
                // What can't be read in one table is no reason to leave the others alone.
                Err(error) if error.retry == Retry::Never => {
                    self.datasets[index].is_told = true;
                    self.stop(pull, index, error.chain()).await?;
                }
                Err(error) => return Err(error),
            }
        }
        failpoint("join.read")?;
        self.end_reading().await?;
        self.session.rest();
        self.note_users();
        pull.count(1);
        self.whole_at = Some(seen);
        Ok(())
    }

    async fn read_table(&mut self, pull: &Pull<'_>, index: usize) -> Result<(), FlowError> {
        // The catalog may have changed since it was looked at.
        self.look(index).await?;
        let dataset = &self.datasets[index];
        let Some(table) = &dataset.table else {
            return Err(FlowError::never(dataset.standing.stopped.clone().unwrap_or_default()));
        };
        let columns = &table.plan.columns;
        let query = format!("SELECT {} FROM {}", select_list(columns.iter()), table.name.quoted());
        let wrap = |rows| Pulled::Rows { dataset: index, rows };
        read_rows(&mut self.session, &table.name.to_string(), &query, Vec::new(), columns, pull.out, wrap).await
    }
}

/// The condition for rows behind a key, column by column: a comparison of whole rows would use no index.
fn behind(order: &[&ReadColumn], after: &[String]) -> String {
    if after.is_empty() {
        return String::new();
    }
    let terms: Vec<(String, String)> = order
        .iter()
        .zip(after)
        .map(|(column, text)| (identifier(&column.source_name), literal(column.wire, text)))
        .collect();
    let mut alternatives = Vec::new();
    for (last, (column, value)) in terms.iter().enumerate() {
        let mut all: Vec<String> = terms[..last].iter().map(|(column, value)| format!("{column} = {value}")).collect();
        all.push(format!("{column} > {value}"));
        alternatives.push(format!("({})", all.join(" AND ")));
    }
    format!(" WHERE {}", alternatives.join(" OR "))
}

/// A value of a key, as it is kept.
fn text(wire: Wire, value: &Value) -> String {
    match value {
        Value::Int(number) => number.to_string(),
        Value::UInt(number) => number.to_string(),
        Value::Bytes(bytes) if wire == Wire::Bytes => hex(bytes),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Date(year, month, day, hour, minute, second, micros) => {
            format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}")
        }
        // Kinds without an order don't come here, and NULL stops a dataset before.
        Value::NULL | Value::Float(_) | Value::Double(_) | Value::Time(..) => String::new(),
    }
}

/// The same in a statement.
fn literal(wire: Wire, text: &str) -> String {
    match wire {
        Wire::Integer | Wire::Decimal if text.bytes().all(|it| it.is_ascii_digit() || b"+-.".contains(&it)) => {
            text.to_owned()
        }
        Wire::Date | Wire::Datetime | Wire::Timestamp => format!("TIMESTAMP'{text}'"),
        Wire::Bytes => format!("X'{text}'"),
        // Converted to the column's character set, and compared by its collation.
        _ => format!("_utf8mb4 X'{}'", hex(text.as_bytes())),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use levada_model::DataType;

    fn column(name: &str, wire: Wire) -> ReadColumn {
        let name = name.to_owned();
        ReadColumn {
            name: name.clone(),
            source_name: name,
            data_type: DataType::Text,
            is_nullable: false,
            is_key: true,
            wire,
        }
    }

    #[test]
    fn rows_behind_a_key_are_found_by_an_index() {
        let (number, word) = (column("n", Wire::Integer), column("w`", Wire::Text));
        let order = [&number, &word];
        assert_eq!(behind(&order, &[]), "");
        assert_eq!(
            behind(&order, &["-7".to_owned(), "it's".to_owned()]),
            " WHERE (`n` > -7) OR (`n` = -7 AND `w``` > _utf8mb4 X'69742773')"
        );
    }

    #[test]
    fn a_value_of_a_key_comes_back_as_it_was() {
        let at = Value::Date(2026, 2, 3, 4, 5, 6, 7);
        assert_eq!(literal(Wire::Datetime, &text(Wire::Datetime, &at)), "TIMESTAMP'2026-02-03 04:05:06.000007'");
        assert_eq!(literal(Wire::Bytes, &text(Wire::Bytes, &Value::Bytes(vec![0, 255]))), "X'00FF'");
        assert_eq!(literal(Wire::Integer, &text(Wire::Integer, &Value::UInt(u64::MAX))), u64::MAX.to_string());
        assert_eq!(literal(Wire::Decimal, &text(Wire::Decimal, &Value::Bytes(b"-0.50".to_vec()))), "-0.50");
        assert_eq!(literal(Wire::Text, &text(Wire::Text, &Value::Bytes("ä".into()))), "_utf8mb4 X'C3A4'");
    }
}
