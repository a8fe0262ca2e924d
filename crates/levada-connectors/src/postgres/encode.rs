//! Arrow columns into the rows of a binary COPY.
//!
//! Takes a record batch and the model's types, gives bytes. Knows no tables; a value that
//! PostgreSQL has no image for is a [`Problem`] with its column.

use super::decode::{EPOCH_DAYS, EPOCH_MICROS};
use super::types::{Problem, array_item_id, is_array_item};
use super::{json, numeric};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray,
    FixedSizeListArray, Float32Array, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::datatypes::DataType as Arrow;
use bytes::{BufMut, BytesMut};
use levada_flow::FlowError;
use levada_flow::arrow_schema::arrow_type;
use levada_model::DataType;

/// What a binary COPY begins with: signature, flags, length of the header's extension.
pub(super) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What it ends with.
pub(super) const TRAILER: i16 = -1;

/// Writes the values of one column.
pub(super) struct ColumnWriter<'a> {
    array: &'a dyn Array,
    values: Values<'a>,
}

enum Values<'a> {
    Boolean(&'a BooleanArray),
    Int2(&'a Int32Array),
    Int4(&'a Int32Array),
    Int8(&'a Int64Array),
    Float4(&'a Float32Array),
    Float8(&'a Float64Array),
    Numeric(&'a Decimal128Array, u8),
    Date(&'a Date32Array),
    Time(&'a Time64MicrosecondArray),
    Timestamp(&'a TimestampMicrosecondArray),
    Interval(&'a FixedSizeBinaryArray),
    Text(&'a StringArray),
    Binary(&'a BinaryArray),
    Fixed(&'a FixedSizeBinaryArray),
    Array { lists: &'a ListArray, item_id: u32, items: Box<ColumnWriter<'a>> },
    Vector { lists: &'a FixedSizeListArray, items: Box<ColumnWriter<'a>> },
    Structured(DataType),
}

impl<'a> ColumnWriter<'a> {
    /// A writer of one column.
    ///
    /// # Errors
    /// The array is not what the model's type is in Arrow.
    pub(super) fn new(array: &'a dyn Array, model: &DataType) -> Result<Self, FlowError> {
        if !is_same(array.data_type(), &arrow_type(model)) {
            let found = array.data_type();
            return Err(FlowError::never(format!("a column of {model} arrived as Arrow's {found}")));
        }
        let values = match model {
            DataType::Boolean => Values::Boolean(array.as_boolean()),
            DataType::Int8 | DataType::Int16 => Values::Int2(array.as_primitive()),
            DataType::Int32 => Values::Int4(array.as_primitive()),
            DataType::Int64 => Values::Int8(array.as_primitive()),
            DataType::Float32 => Values::Float4(array.as_primitive()),
            DataType::Float64 => Values::Float8(array.as_primitive()),
            DataType::Decimal(_, scale) => Values::Numeric(array.as_primitive(), *scale),
            DataType::Date => Values::Date(array.as_primitive()),
            DataType::Time => Values::Time(array.as_primitive()),
            DataType::Timestamp | DataType::Timestamptz => Values::Timestamp(array.as_primitive()),
            DataType::Interval => Values::Interval(array.as_fixed_size_binary()),
            DataType::Char(_) | DataType::Varchar(_) | DataType::Text | DataType::Json => {
                Values::Text(array.as_string())
            }
            DataType::Binary => Values::Binary(array.as_binary()),
            DataType::BinaryFixed(_) | DataType::Uuid => Values::Fixed(array.as_fixed_size_binary()),
            DataType::List(item) if is_array_item(item) => {
                let lists: &ListArray = array.as_list();
                let items = Box::new(ColumnWriter::new(lists.values(), item)?);
                Values::Array { lists, item_id: array_item_id(item), items }
            }
            DataType::Vector(_) => {
                let lists = array.as_fixed_size_list();
                Values::Vector { lists, items: Box::new(ColumnWriter::new(lists.values(), &DataType::Float32)?) }
            }
            DataType::List(_) | DataType::Struct(_) | DataType::Map(..) => Values::Structured(model.clone()),
        };
        Ok(Self { array, values })
    }

    /// Appends the length and the value of one row; NULL is the length -1.
    pub(super) fn write(&self, row: usize, out: &mut BytesMut) -> Result<(), Problem> {
        if self.array.is_null(row) {
            out.put_i32(-1);
            return Ok(());
        }
        match &self.values {
            Values::Boolean(array) => put(out, &[u8::from(array.value(row))]),
            Values::Int2(array) => {
                let value = array.value(row);
                let narrow = i16::try_from(value)
                    .map_err(|_| Problem::OutOfRange { value: value.to_string(), range: "int16" })?;
                put(out, &narrow.to_be_bytes());
            }
            Values::Int4(array) => put(out, &array.value(row).to_be_bytes()),
            Values::Int8(array) => put(out, &array.value(row).to_be_bytes()),
            Values::Float4(array) => put(out, &array.value(row).to_be_bytes()),
            Values::Float8(array) => put(out, &array.value(row).to_be_bytes()),
            Values::Numeric(array, scale) => with_length(out, |out| {
                numeric::encode(array.value(row), *scale, out);
                Ok(())
            })?,
            Values::Date(array) => put(out, &date(array.value(row))?.to_be_bytes()),
            Values::Time(array) => put(out, &time(array.value(row))?.to_be_bytes()),
            Values::Timestamp(array) => put(out, &timestamp(array.value(row))?.to_be_bytes()),
            Values::Interval(array) => {
                let (months, days, micros) = json::interval_parts(array.value(row));
                out.put_i32(16);
                out.put_i64(micros);
                out.put_i32(days);
                out.put_i32(months);
            }
            Values::Text(array) => {
                let text = array.value(row).as_bytes();
                if text.contains(&0) {
                    return Err(Problem::Nul);
                }
                put(out, text);
            }
            Values::Binary(array) => put(out, array.value(row)),
            Values::Fixed(array) => put(out, array.value(row)),
            Values::Array { lists, item_id, items } => {
                let offsets = lists.value_offsets();
                write_array(*item_id, items, offsets[row] as usize..offsets[row + 1] as usize, out)?;
            }
            Values::Vector { lists, items } => {
                let length = lists.value_length() as usize;
                let start = lists.value_offset(row) as usize;
                write_array(array_item_id(&DataType::Float32), items, start..start + length, out)?;
            }
            Values::Structured(data_type) => {
                let mut text = String::new();
                json::write(self.array, row, data_type, &mut text)?;
                put(out, text.as_bytes());
            }
        }
        Ok(())
    }
}

/// The columns of a batch, ready to be written row by row.
pub(super) struct RowWriter<'a> {
    columns: Vec<ColumnWriter<'a>>,
}

impl<'a> RowWriter<'a> {
    /// Takes the columns in the order of the COPY.
    pub(super) fn new(columns: &[(&'a ArrayRef, &DataType)]) -> Result<Self, FlowError> {
        let mut writers = Vec::with_capacity(columns.len());
        for &(array, model) in columns {
            writers.push(ColumnWriter::new(array.as_ref(), model)?);
        }
        Ok(Self { columns: writers })
    }

    /// Appends one row.
    ///
    /// # Errors
    /// The position of the column whose value PostgreSQL has no image for, and why.
    pub(super) fn write(&self, row: usize, out: &mut BytesMut) -> Result<(), (usize, Problem)> {
        out.put_i16(self.columns.len() as i16);
        for (index, column) in self.columns.iter().enumerate() {
            column.write(row, out).map_err(|problem| (index, problem))?;
        }
        Ok(())
    }
}

/// The values that say which row it is, for messages.
pub(super) fn row_name(batch: &RecordBatch, key: &[(usize, &str)], row: usize) -> String {
    let shown = |(index, name): &(usize, &str)| {
        let value = arrow::util::display::array_value_to_string(batch.column(*index), row).unwrap_or_default();
        format!("{name} = {value}")
    };
    match key {
        [] => format!("row {} of its batch", row + 1),
        key => format!("row ({})", key.iter().map(shown).collect::<Vec<_>>().join(", ")),
    }
}

/// Whether types agree but for the names and nullability of what is inside.
fn is_same(found: &Arrow, wanted: &Arrow) -> bool {
    found.equals_datatype(wanted)
}

fn put(out: &mut BytesMut, bytes: &[u8]) {
    out.put_i32(bytes.len() as i32);
    out.put_slice(bytes);
}

/// Appends what the closure appends, behind its length.
fn with_length(out: &mut BytesMut, append: impl FnOnce(&mut BytesMut) -> Result<(), Problem>) -> Result<(), Problem> {
    let at = out.len();
    out.put_i32(0);
    append(out)?;
    let length = (out.len() - at - 4) as i32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn write_array(
    item_id: u32,
    items: &ColumnWriter<'_>,
    rows: std::ops::Range<usize>,
    out: &mut BytesMut,
) -> Result<(), Problem> {
    with_length(out, |out| {
        let has_nulls = rows.clone().any(|row| items.array.is_null(row));
        out.put_i32(if rows.is_empty() { 0 } else { 1 });
        out.put_i32(i32::from(has_nulls));
        out.put_u32(item_id);
        if !rows.is_empty() {
            out.put_i32(rows.len() as i32);
            out.put_i32(1);
        }
        rows.into_iter().try_for_each(|row| items.write(row, out))
    })
}

fn date(days: i32) -> Result<i32, Problem> {
    let out_of_range = || Problem::OutOfRange {
        value: format!("{days} days after 1970-01-01"),
        range: "PostgreSQL's dates (4713 BC to the year 5874897)",
    };
    match days.checked_sub(EPOCH_DAYS) {
        // The smallest number means -infinity.
        None | Some(i32::MIN) => Err(out_of_range()),
        Some(days) => Ok(days),
    }
}

fn time(micros: i64) -> Result<i64, Problem> {
    match (0..=86_400_000_000).contains(&micros) {
        true => Ok(micros),
        false => Err(Problem::OutOfRange { value: format!("{micros} µs after midnight"), range: "one day" }),
    }
}

fn timestamp(micros: i64) -> Result<i64, Problem> {
    let out_of_range = || Problem::OutOfRange {
        value: format!("{micros} µs after 1970-01-01"),
        range: "PostgreSQL's timestamps (4713 BC to the year 294276)",
    };
    match micros.checked_sub(EPOCH_MICROS) {
        None | Some(i64::MIN) => Err(out_of_range()),
        Some(micros) => Ok(micros),
    }
}
