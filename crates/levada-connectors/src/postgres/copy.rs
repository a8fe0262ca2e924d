//! Binary COPY as streams of record batches, in both directions.
//!
//! Format: a header of 11 bytes, flags and an extension; per row an int16 count of fields, and per
//! field an int32 length and its bytes; an int16 -1 at the end (PostgreSQL's manual, "COPY").

use super::config::Session;
use super::decode::ColumnReader;
use super::encode::{HEADER, RowWriter, TRAILER, row_name};
use super::error::During;
use super::json;
use super::quote;
use super::types::{Reading, Wire};
use crate::database::WriteColumn;
use arrow::array::RecordBatch;
use arrow::datatypes::{Field, SchemaRef};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::{SinkExt, Stream, StreamExt};
use levada_flow::arrow_schema::arrow_type;
use levada_flow::{BATCH_BYTES_MAX, BATCH_ROWS_MAX, FlowError, RowStream};
use levada_model::DataType;
use std::pin::Pin;
use std::sync::Arc;
use tokio_postgres::{Client, CopyOutStream};

/// How many bytes are collected before they go to the server.
const SEND_BYTES: usize = 128 << 10;

/// A column to read: its name at the source and how it becomes the model's.
#[derive(Clone, Debug)]
pub(super) struct ReadColumn {
    /// For consumers.
    pub(super) name: String,
    /// At the source.
    pub(super) source_name: String,
    pub(super) data_type: DataType,
    pub(super) is_nullable: bool,
    pub(super) is_key: bool,
    pub(super) reading: Reading,
}

impl ReadColumn {
    /// The column in a SELECT list.
    pub(super) fn select(&self) -> String {
        format!("{}{}", quote::identifier(&self.source_name), self.reading.cast)
    }
}

/// The Arrow schema of what is read.
pub(super) fn schema_of(columns: &[ReadColumn]) -> SchemaRef {
    let fields =
        columns.iter().map(|column| Field::new(&column.name, arrow_type(&column.data_type), column.is_nullable));
    Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()))
}

/// Reads the rows of one query.
pub(super) struct RowsReader {
    table: String,
    stream: Pin<Box<CopyOutStream>>,
    columns: Vec<ReadColumn>,
    readers: Vec<ColumnReader>,
    schema: SchemaRef,
    /// Bytes of a row whose rest has not come yet.
    carry: Vec<u8>,
    has_header: bool,
    /// The trailer was read.
    is_ended: bool,
    /// The server has sent its last chunk: the stream must not be asked again.
    is_closed: bool,
    rows: usize,
    bytes: usize,
    /// Where the fields of the current row are; `None` is NULL.
    fields: Vec<Option<(usize, usize)>>,
}

impl RowsReader {
    /// Starts `query`, whose SELECT list is that of `columns`. `table` names it in messages.
    pub(super) async fn start(
        client: &Client,
        table: &str,
        query: &str,
        columns: Vec<ReadColumn>,
    ) -> Result<Self, FlowError> {
        let copy = format!("COPY ({query}) TO STDOUT (FORMAT binary)");
        let stream = client.copy_out(&copy).await.during(|| format!("table {table} can't be read"))?;
        let readers = columns
            .iter()
            .map(|column| ColumnReader::new(&column.data_type, &column.reading.wire, column.is_nullable))
            .collect();
        Ok(Self {
            table: table.to_owned(),
            stream: Box::pin(stream),
            schema: schema_of(&columns),
            fields: vec![None; columns.len()],
            columns,
            readers,
            carry: Vec::new(),
            has_header: false,
            is_ended: false,
            is_closed: false,
            rows: 0,
            bytes: 0,
        })
    }

    /// The next rows; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>, FlowError> {
        while !self.is_closed && self.rows < BATCH_ROWS_MAX && self.bytes < BATCH_BYTES_MAX {
            let Some(chunk) = self.stream.next().await else {
                self.is_closed = true;
                if !self.is_ended {
                    return Err(FlowError::later(format!("the rows of table {} broke off", self.table)));
                }
                break;
            };
            let chunk = chunk.during(|| format!("table {} can't be read to its end", self.table))?;
            self.bytes += chunk.len();
            self.take_in(&chunk)?;
        }
        if self.rows == 0 {
            return Ok(None);
        }
        self.bytes = 0;
        self.rows = 0;
        let arrays = self.readers.iter_mut().map(ColumnReader::finish).collect::<Result<Vec<_>, _>>()?;
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays);
        Ok(Some(batch.map_err(|error| {
            FlowError::never(format!("the rows of table {} don't fit together as columns", self.table)).because(error)
        })?))
    }

    /// Reads all whole rows of a chunk. The server sends one row per chunk, but the protocol
    /// allows any cut.
    fn take_in(&mut self, chunk: &Bytes) -> Result<(), FlowError> {
        if self.carry.is_empty() {
            let used = self.read_rows(chunk)?;
            self.carry.extend_from_slice(&chunk[used..]);
            return Ok(());
        }
        let mut whole = std::mem::take(&mut self.carry);
        whole.extend_from_slice(chunk);
        let used = self.read_rows(&whole)?;
        whole.drain(..used);
        self.carry = whole;
        Ok(())
    }

    /// Reads header, rows and trailer as far as they are complete, and gives the bytes used.
    fn read_rows(&mut self, bytes: &[u8]) -> Result<usize, FlowError> {
        let mut used = 0;
        if !self.has_header {
            if bytes.len() < HEADER.len() {
                return Ok(0);
            }
            let extension = (&bytes[HEADER.len() - 4..]).get_u32() as usize;
            if bytes.len() < HEADER.len() + extension {
                return Ok(0);
            }
            used = HEADER.len() + extension;
            self.has_header = true;
        }
        while let Some(next) = self.find_fields(bytes, used)? {
            used = next;
            if self.is_ended {
                break;
            }
            self.append_row(bytes)?;
        }
        Ok(used)
    }

    /// Finds the fields of the row at `start`; gives the row's end, or `None` where the row is not
    /// complete.
    fn find_fields(&mut self, bytes: &[u8], start: usize) -> Result<Option<usize>, FlowError> {
        let Some(count) = bytes.get(start..start + 2) else { return Ok(None) };
        let count = i16::from_be_bytes([count[0], count[1]]);
        if count == TRAILER {
            self.is_ended = true;
            return Ok(Some(start + 2));
        }
        if usize::try_from(count) != Ok(self.fields.len()) {
            let (table, wanted) = (&self.table, self.fields.len());
            return Err(FlowError::never(format!("table {table} sent {count} columns instead of {wanted}")));
        }
        let mut at = start + 2;
        for field in &mut self.fields {
            let Some(length) = bytes.get(at..at + 4) else { return Ok(None) };
            let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
            at += 4;
            *field = match usize::try_from(length) {
                Err(_) => None,
                Ok(length) => {
                    if bytes.len() < at + length {
                        return Ok(None);
                    }
                    at += length;
                    Some((at - length, length))
                }
            };
        }
        Ok(Some(at))
    }

    fn append_row(&mut self, bytes: &[u8]) -> Result<(), FlowError> {
        self.rows += 1;
        for index in 0..self.readers.len() {
            let field = self.fields[index].map(|(start, length)| &bytes[start..start + length]);
            if let Err(problem) = self.readers[index].append(field) {
                let (table, column) = (&self.table, &self.columns[index].source_name);
                let row = self.row_name(bytes);
                return Err(FlowError::never(format!("table {table}, {row}: column {column:?} {problem}")));
            }
        }
        Ok(())
    }

    /// The key of the current row as people read it.
    fn row_name(&self, bytes: &[u8]) -> String {
        let key = self.columns.iter().zip(&self.fields).filter(|(column, _)| column.is_key);
        let shown: Vec<String> = key
            .map(|(column, field)| {
                let value = field.map(|(start, length)| &bytes[start..start + length]);
                format!("{} = {}", column.source_name, shown(&column.reading.wire, value))
            })
            .collect();
        match shown.is_empty() {
            true => "a row of a table without key".to_owned(),
            false => format!("row ({})", shown.join(", ")),
        }
    }

    /// The batches as a stream that keeps its session.
    pub(super) fn into_stream(self, session: Session) -> RowStream {
        futures::stream::try_unfold((self, session), |(mut rows, session)| async move {
            Ok(session.working(rows.next()).await?.map(|batch| (batch, (rows, session))))
        })
        .boxed()
    }
}

/// A key's value in a message.
pub(super) fn shown(wire: &Wire, value: Option<&[u8]>) -> String {
    let number = |bytes: &[u8]| {
        let mut wide = [if bytes.first().is_some_and(|byte| *byte >= 0x80) { 0xff } else { 0 }; 8];
        let start = 8usize.saturating_sub(bytes.len());
        wide[start..].copy_from_slice(&bytes[bytes.len() - (8 - start)..]);
        i64::from_be_bytes(wide).to_string()
    };
    let hexadecimal = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match (wire, value) {
        (_, None) => "NULL".to_owned(),
        (Wire::Int2 | Wire::Int4 | Wire::Int8, Some(bytes)) => number(bytes),
        (Wire::Text | Wire::Padded, Some(bytes)) => {
            format!("'{}'", String::from_utf8_lossy(bytes).chars().take(80).collect::<String>())
        }
        (Wire::Uuid, Some(bytes)) => json::uuid_text(bytes),
        (Wire::Numeric, Some(bytes)) => super::numeric::text(bytes),
        (_, Some(bytes)) => format!("\\x{}", hexadecimal(&bytes[..bytes.len().min(40)])),
    }
}

/// Sends all rows into `target` (a table and its columns) and gives how many rows and bytes went.
pub(super) async fn write_rows(
    client: &Client,
    label: &str,
    target: &str,
    options: &str,
    columns: &[WriteColumn],
    mut rows: impl Stream<Item = Result<RecordBatch, FlowError>> + Unpin,
) -> Result<(u64, u64), FlowError> {
    let names: Vec<String> = columns.iter().map(|column| quote::identifier(&column.name)).collect();
    let copy = format!("COPY {target} ({}) FROM STDIN (FORMAT binary{options})", names.join(", "));
    let sent = || format!("the rows of {label} can't be written");
    let sink = client.copy_in(&copy).await.during(sent)?;
    let mut sink = std::pin::pin!(sink);
    let mut buffer = BytesMut::with_capacity(SEND_BYTES + SEND_BYTES / 4);
    buffer.put_slice(HEADER);
    let (mut row_count, mut byte_count) = (0, 0);
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        row_count += batch.num_rows() as u64;
        let writer = writer_of(&batch, columns, label)?;
        for row in 0..batch.num_rows() {
            writer.write(row, &mut buffer).map_err(|(index, problem)| {
                let keys: Vec<(usize, &str)> = columns
                    .iter()
                    .enumerate()
                    .filter(|(_, column)| column.is_key)
                    .map(|(at, column)| (at, column.name.as_str()))
                    .collect();
                let row = row_name(&batch, &keys, row);
                FlowError::never(format!("{label}, {row}: column {:?} {problem}", columns[index].name))
            })?;
            if buffer.len() >= SEND_BYTES {
                byte_count += buffer.len() as u64;
                sink.feed(buffer.split().freeze()).await.during(sent)?;
            }
        }
    }
    buffer.put_i16(TRAILER);
    byte_count += buffer.len() as u64;
    sink.feed(buffer.split().freeze()).await.during(sent)?;
    sink.finish().await.during(sent)?;
    Ok((row_count, byte_count))
}

fn writer_of<'b>(batch: &'b RecordBatch, columns: &[WriteColumn], label: &str) -> Result<RowWriter<'b>, FlowError> {
    if batch.num_columns() != columns.len() {
        let (found, wanted) = (batch.num_columns(), columns.len());
        return Err(FlowError::never(format!("the rows of {label} have {found} columns instead of {wanted}")));
    }
    let pairs: Vec<_> = batch.columns().iter().zip(columns.iter().map(|column| &column.data_type)).collect();
    RowWriter::new(&pairs)
}
