//! Rows of the binary log as changes of a dataset: the columns that the model reads, in its types, and what
//! happened to each row.

use super::images::Image;
use super::tables::{LogColumn, LogTable, Shape};
use crate::mysql::civil;
use crate::mysql::decode::{ColumnDecoder, shown};
use crate::mysql::rows::ReadColumn;
use crate::mysql::types::Problem;
use arrow::array::{ArrayRef, Int32Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use levada_flow::arrow_schema::arrow_type;
use levada_flow::source::{DELETE, INSERT, UPDATE, UPSERT};
use levada_flow::{BATCH_BYTES_MAX, BATCH_ROWS_MAX, FlowError};
use mysql_async::Value;
use std::borrow::Cow;
use std::sync::Arc;

/// Seconds of a day.
const DAY_SECONDS: i64 = 86_400;

/// Collects the changes of one dataset.
pub(super) struct ChangesBuilder {
    table: String,
    columns: Vec<(ReadColumn, LogColumn)>,
    decoders: Vec<ColumnDecoder>,
    schema: SchemaRef,
    operations: Vec<i32>,
    bytes: usize,
    has_key: bool,
}

impl ChangesBuilder {
    /// A builder for rows of this table.
    pub(super) fn new(table: &LogTable) -> Self {
        let columns: Vec<(ReadColumn, LogColumn)> =
            table.plan.columns.iter().cloned().zip(table.columns.iter().cloned()).collect();
        // What is gone has only its key.
        let decoder = |(read, _): &(ReadColumn, LogColumn)| ColumnDecoder::new(&read.data_type, read.wire, true);
        let field = |(read, _): &(ReadColumn, LogColumn)| Field::new(&read.name, arrow_type(&read.data_type), true);
        let operation = Field::new("lv_op", DataType::Int32, false);
        Self {
            table: table.name.to_string(),
            decoders: columns.iter().map(decoder).collect(),
            schema: Arc::new(Schema::new(columns.iter().map(field).chain([operation]).collect::<Vec<_>>())),
            operations: Vec::new(),
            bytes: 0,
            has_key: columns.iter().any(|(read, _)| read.is_key),
            columns,
        }
    }

    /// Whether the rows should be taken out.
    pub(super) fn is_full(&self) -> bool {
        self.operations.len() + 2 > BATCH_ROWS_MAX || self.bytes > BATCH_BYTES_MAX
    }

    /// Appends what happened to one row, by its images; a sentence where a value has none in the model.
    pub(super) fn append(&mut self, before: Option<&Image>, after: Option<&Image>) -> Result<(), String> {
        match (before, after) {
            (None, Some(after)) => self.put(after, INSERT),
            (Some(before), None) => self.put(before, DELETE),
            (Some(before), Some(after)) if self.has_key && self.has_same_key(before, after) => self.put(after, UPDATE),
            (Some(before), Some(after)) => {
                self.put(before, DELETE)?;
                self.put(after, if self.has_key { UPSERT } else { INSERT })
            }
            (None, None) => Ok(()),
        }
    }

    fn has_same_key(&self, before: &Image, after: &Image) -> bool {
        let mut keys = self.columns.iter().filter(|(read, _)| read.is_key);
        keys.all(|(_, column)| before[column.at] == after[column.at])
    }

    fn put(&mut self, image: &Image, operation: i32) -> Result<(), String> {
        let only_key = operation == DELETE && self.has_key;
        for ((read, column), decoder) in self.columns.iter().zip(&mut self.decoders) {
            let is_told = read.is_key || !only_key;
            let appended = match column.shape.shaped(&image[column.at]) {
                _ if !is_told => decoder.append(&Value::NULL),
                value if *value == Value::NULL && !read.is_nullable => Err(Problem::Null),
                value => decoder.append(&value),
            };
            self.bytes += appended.map_err(|problem| {
                let keys = self.columns.iter().filter(|(read, _)| read.is_key);
                let shown = |(read, column): &(ReadColumn, LogColumn)| {
                    format!("{} = {}", read.source_name, shown(&column.shape.shaped(&image[column.at])))
                };
                let key = keys.map(shown).collect::<Vec<_>>().join(", ");
                format!("table {}, row ({key}): column {:?} {problem}", self.table, read.source_name)
            })?;
        }
        self.operations.push(operation);
        Ok(())
    }

    /// Takes the rows out; `None`: there are none.
    pub(super) fn finish(mut self) -> Result<Option<RecordBatch>, FlowError> {
        if self.operations.is_empty() {
            return Ok(None);
        }
        let mut columns: Vec<ArrayRef> = self.decoders.iter_mut().map(ColumnDecoder::finish).collect();
        columns.push(Arc::new(Int32Array::from(self.operations)));
        let rows = RecordBatch::try_new(self.schema, columns);
        rows.map(Some).map_err(|error| {
            FlowError::never(format!("the changes of table {} don't fit together as columns", self.table))
                .because(error)
        })
    }
}

impl Shape {
    /// A value as a query would give it.
    fn shaped<'v>(&self, value: &'v Value) -> Cow<'v, Value> {
        match (self, value) {
            (Self::Unsigned(bits), Value::Int(number)) if *number < 0 => {
                Cow::Owned(Value::UInt(number.cast_unsigned() & (u64::MAX >> (64 - bits))))
            }
            (Self::Medium, Value::Int(number)) if *number >= 1 << 23 => Cow::Owned(Value::Int(number - (1 << 24))),
            (Self::Year, Value::Bytes(digits)) => match std::str::from_utf8(digits).ok().and_then(|it| it.parse().ok())
            {
                // Nothing is counted from 1900 on, and no year is before 1901.
                Some(1900) => Cow::Owned(Value::Int(0)),
                Some(year) => Cow::Owned(Value::Int(year)),
                None => Cow::Borrowed(value),
            },
            (Self::Instant, Value::Int(seconds)) => Cow::Owned(instant(*seconds, 0)),
            (Self::Instant, Value::Bytes(text)) => {
                let text = std::str::from_utf8(text).unwrap_or_default();
                let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
                match (seconds.parse(), fraction.parse()) {
                    (Ok(seconds), Ok(micros)) => Cow::Owned(instant(seconds, micros)),
                    _ => Cow::Borrowed(value),
                }
            }
            (Self::Text(charset), Value::Bytes(bytes)) if *charset != super::charset::Charset::Utf8 => {
                Cow::Owned(Value::Bytes(charset.decode(bytes.clone())))
            }
            (Self::Padded(length), Value::Bytes(bytes)) if bytes.len() < *length => {
                let mut bytes = bytes.clone();
                bytes.resize(*length, 0);
                Cow::Owned(Value::Bytes(bytes))
            }
            (Self::Uuid, Value::Bytes(bytes)) => Cow::Owned(Value::Bytes(uuid(bytes).into_bytes())),
            (Self::Enum(labels), Value::Int(number)) => {
                let label = usize::try_from(*number - 1).ok().and_then(|index| labels.get(index));
                Cow::Owned(Value::Bytes(label.cloned().unwrap_or_default().into_bytes()))
            }
            (Self::Set(labels), Value::Bytes(bits)) => {
                let is_in = |index: usize| bits.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1);
                let chosen = labels.iter().enumerate().filter(|(index, _)| is_in(*index));
                let chosen: Vec<&str> = chosen.map(|(_, label)| label.as_str()).collect();
                Cow::Owned(Value::Bytes(chosen.join(",").into_bytes()))
            }
            _ => Cow::Borrowed(value),
        }
    }
}

/// A stored UUID as its text. MariaDB turns those of versions 1 to 5 around, part by part, so that times sort.
fn uuid(stored: &[u8]) -> String {
    let mut bytes = stored.to_vec();
    // The last zeros are left out.
    bytes.resize(16, 0);
    let is_turned = bytes[6] & 0x80 != 0 && bytes[8] < 0x60;
    if is_turned {
        bytes = [&bytes[12..16], &bytes[10..12], &bytes[8..10], &bytes[6..8], &bytes[..6]].concat();
    }
    let part = |from: usize, to: usize| crate::literal::hex(&bytes[from..to]);
    [part(0, 4), part(4, 6), part(6, 8), part(8, 10), part(10, 16)].join("-")
}

/// An instant in UTC; MySQL's zero date where it is none.
fn instant(seconds: i64, micros: u32) -> Value {
    let date = civil::date(seconds.div_euclid(DAY_SECONDS)).filter(|_| (seconds, micros) != (0, 0));
    let Some((year, month, day)) = date else { return Value::Date(0, 0, 0, 0, 0, 0, 0) };
    let (hour, minute, second, _) = civil::time(seconds.rem_euclid(DAY_SECONDS) * 1_000_000);
    Value::Date(year, month, day, hour, minute, second, micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_as_a_query_gives_them() {
        let is = |shape: &Shape, value: Value, wanted: Value| assert_eq!(*shape.shaped(&value), wanted, "{shape:?}");
        is(&Shape::Unsigned(8), Value::Int(-1), Value::UInt(255));
        is(&Shape::Unsigned(24), Value::Int(-1), Value::UInt(16_777_215));
        is(&Shape::Unsigned(64), Value::Int(-1), Value::UInt(u64::MAX));
        is(&Shape::Unsigned(64), Value::Int(7), Value::Int(7));
        is(&Shape::Medium, Value::Int(0x00FF_8000), Value::Int(-32_768));
        is(&Shape::Medium, Value::Int(-1), Value::Int(-1));
        is(&Shape::Year, Value::Bytes(b"2026".to_vec()), Value::Int(2026));
        is(&Shape::Year, Value::Bytes(b"1900".to_vec()), Value::Int(0));
        is(&Shape::Instant, Value::Bytes(b"86399.000007".to_vec()), Value::Date(1970, 1, 1, 23, 59, 59, 7));
        is(&Shape::Instant, Value::Bytes(b"0".to_vec()), Value::Date(0, 0, 0, 0, 0, 0, 0));
        is(&Shape::Padded(3), Value::Bytes(vec![1]), Value::Bytes(vec![1, 0, 0]));
        let text = "00112233-4455-1677-8899-aabbccddeeff";
        let turned = [0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x88, 0x99, 0x16, 0x77, 0x44, 0x55, 0, 0x11, 0x22, 0x33];
        is(&Shape::Uuid, Value::Bytes(turned.to_vec()), Value::Bytes(text.into()));
        let nothing = "00000000-0000-0000-0000-000000000000";
        is(&Shape::Uuid, Value::Bytes(Vec::new()), Value::Bytes(nothing.into()));
        let labels = || ["a", "b", "c"].map(str::to_owned).to_vec();
        is(&Shape::Enum(labels()), Value::Int(2), Value::Bytes(b"b".to_vec()));
        is(&Shape::Enum(labels()), Value::Int(0), Value::Bytes(Vec::new()));
        is(&Shape::Set(labels()), Value::Bytes(vec![0b101]), Value::Bytes(b"a,c".to_vec()));
        let latin = Shape::Text(super::super::charset::Charset::Latin1);
        is(&latin, Value::Bytes(vec![0xE4, 0x80]), Value::Bytes("ä€".as_bytes().to_vec()));
    }
}
