//! Typed Arrow columns into scalars, row by row: the inverse of the parser.

use super::{DECIMAL_DIGITS_AS_NUMBER_MAX, Scalar, calendar, hex};
use arrow::array::*;
use arrow::datatypes::*;
use levada_model::DataType;
use std::borrow::Cow;

/// A column that is not what its type says.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a column of {wanted} came as Arrow's {found}")]
pub struct PrintError {
    /// The model's type.
    pub wanted: String,
    /// What the array is.
    pub found: String,
}

/// Reads one column of a batch.
pub struct ColumnReader<'a> {
    array: &'a dyn Array,
    values: Values<'a>,
}

enum Values<'a> {
    Boolean(&'a BooleanArray),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    Float32(&'a Float32Array),
    Float64(&'a Float64Array),
    DecimalNumber(&'a Decimal128Array),
    DecimalText(&'a Decimal128Array),
    Date(&'a Date32Array),
    Time(&'a Time64MicrosecondArray),
    Timestamp(&'a TimestampMicrosecondArray, &'static str),
    Text(&'a StringArray),
    Json(&'a StringArray),
    Binary(&'a BinaryArray),
    Fixed(&'a FixedSizeBinaryArray),
    Uuid(&'a FixedSizeBinaryArray),
    Interval(&'a FixedSizeBinaryArray),
    List(&'a ListArray, Box<ColumnReader<'a>>),
    Vector(&'a FixedSizeListArray, Box<ColumnReader<'a>>),
    Struct(&'a [(String, DataType)], Vec<ColumnReader<'a>>),
    Map(&'a MapArray, Box<ColumnReader<'a>>, Box<ColumnReader<'a>>),
}

impl<'a> ColumnReader<'a> {
    /// Reads `array` as `data_type`.
    ///
    /// # Errors
    /// The array is not of the type's image in Arrow.
    pub fn new(array: &'a dyn Array, data_type: &'a DataType) -> Result<Self, PrintError> {
        let wrong = || PrintError { wanted: data_type.to_string(), found: array.data_type().to_string() };
        let values = Self::values(array, data_type)?.ok_or_else(wrong)?;
        Ok(Self { array, values })
    }

    fn values(array: &'a dyn Array, data_type: &'a DataType) -> Result<Option<Values<'a>>, PrintError> {
        let nested = |array: &'a ArrayRef, data_type| Self::new(array.as_ref(), data_type).map(Box::new);
        let timestamps = || array.as_primitive_opt::<TimestampMicrosecondType>();
        Ok(match data_type {
            DataType::Boolean => array.as_boolean_opt().map(Values::Boolean),
            DataType::Int8 | DataType::Int16 | DataType::Int32 => array.as_primitive_opt().map(Values::Int32),
            DataType::Int64 => array.as_primitive_opt().map(Values::Int64),
            DataType::Float32 => array.as_primitive_opt().map(Values::Float32),
            DataType::Float64 => array.as_primitive_opt().map(Values::Float64),
            DataType::Decimal(precision, scale) => {
                let decimals = array.as_primitive_opt::<Decimal128Type>();
                let decimals = decimals.filter(|decimals| decimals.scale() == *scale as i8);
                match *precision <= DECIMAL_DIGITS_AS_NUMBER_MAX {
                    true => decimals.map(Values::DecimalNumber),
                    false => decimals.map(Values::DecimalText),
                }
            }
            DataType::Date => array.as_primitive_opt().map(Values::Date),
            DataType::Time => array.as_primitive_opt().map(Values::Time),
            DataType::Timestamp => timestamps().map(|values| Values::Timestamp(values, "")),
            DataType::Timestamptz => timestamps().map(|values| Values::Timestamp(values, "+00:00")),
            DataType::Char(_) | DataType::Varchar(_) | DataType::Text => array.as_string_opt().map(Values::Text),
            DataType::Json => array.as_string_opt().map(Values::Json),
            DataType::Binary => array.as_binary_opt().map(Values::Binary),
            DataType::BinaryFixed(_) => array.as_fixed_size_binary_opt().map(Values::Fixed),
            DataType::Uuid => array.as_fixed_size_binary_opt().map(Values::Uuid),
            DataType::Interval => array.as_fixed_size_binary_opt().map(Values::Interval),
            DataType::List(item) => match array.as_list_opt() {
                Some(lists) => Some(Values::List(lists, nested(lists.values(), item)?)),
                None => None,
            },
            DataType::Vector(_) => match array.as_fixed_size_list_opt() {
                Some(vectors) => Some(Values::Vector(vectors, nested(vectors.values(), &DataType::Float32)?)),
                None => None,
            },
            DataType::Struct(fields) => match array.as_struct_opt() {
                Some(structs) if structs.num_columns() == fields.len() => {
                    let readers = fields
                        .iter()
                        .zip(structs.columns())
                        .map(|((_, field), column)| Self::new(column.as_ref(), field));
                    Some(Values::Struct(fields, readers.collect::<Result<_, _>>()?))
                }
                _ => None,
            },
            DataType::Map(key, value) => match array.as_map_opt() {
                Some(maps) => Some(Values::Map(maps, nested(maps.keys(), key)?, nested(maps.values(), value)?)),
                None => None,
            },
        })
    }

    /// The value of one row.
    pub fn scalar(&self, row: usize) -> Scalar<'a> {
        if self.array.is_null(row) {
            return Scalar::Null;
        }
        match &self.values {
            Values::Boolean(values) => Scalar::Integer(values.value(row).into()),
            Values::Int32(values) => Scalar::Integer(values.value(row).into()),
            Values::Int64(values) => Scalar::Integer(values.value(row)),
            Values::Float32(values) => Scalar::Real(values.value(row).into()),
            Values::Float64(values) => Scalar::Real(values.value(row)),
            Values::DecimalNumber(values) => match values.scale() {
                0 => Scalar::Integer(i64::try_from(values.value(row)).expect("at most 15 digits")),
                _ => Scalar::Real(values.value_as_string(row).parse().expect("decimals print as numbers")),
            },
            Values::DecimalText(values) => text(values.value_as_string(row)),
            Values::Date(values) => text(calendar::print_date(values.value(row).into())),
            Values::Time(values) => text(calendar::print_time(values.value(row))),
            Values::Timestamp(values, zone) => text(calendar::print_timestamp(values.value(row)) + zone),
            Values::Text(values) | Values::Json(values) => Scalar::Text(Cow::Borrowed(values.value(row))),
            Values::Binary(values) => Scalar::Bytes(Cow::Borrowed(values.value(row))),
            Values::Fixed(values) => Scalar::Bytes(Cow::Borrowed(values.value(row))),
            Values::Uuid(values) => text(print_uuid(values.value(row))),
            Values::Interval(values) => text(print_interval(values.value(row))),
            Values::List(..) | Values::Vector(..) | Values::Struct(..) | Values::Map(..) => {
                let mut json = String::new();
                self.print_json(row, &mut json);
                text(json)
            }
        }
    }

    /// Whether JSON's null stands inside of a list, struct or map of one row: printed, it could not
    /// be told from no value.
    pub fn has_json_null_inside(&self, row: usize) -> bool {
        let is_in = |reader: &Self, row: usize| match &reader.values {
            Values::Json(values) => !reader.array.is_null(row) && values.value(row).trim() == "null",
            _ => reader.has_json_null_inside(row),
        };
        match &self.values {
            _ if self.array.is_null(row) => false,
            Values::List(lists, items) => range(lists.value_offsets(), row).any(|item| is_in(items, item)),
            Values::Struct(_, readers) => readers.iter().any(|reader| is_in(reader, row)),
            Values::Map(maps, _, values) => range(maps.value_offsets(), row).any(|entry| is_in(values, entry)),
            _ => false,
        }
    }

    /// Appends one value as JSON: numbers bare, everything else in quotes.
    fn print_json(&self, row: usize, json: &mut String) {
        if self.array.is_null(row) {
            json.push_str("null");
            return;
        }
        match &self.values {
            Values::List(lists, items) => print_array(items, range(lists.value_offsets(), row), json),
            Values::Vector(vectors, items) => {
                let length = usize::try_from(vectors.value_length()).expect("a length is never negative");
                print_array(items, row * length..(row + 1) * length, json);
            }
            Values::Struct(fields, readers) => {
                let members = fields.iter().zip(readers);
                print_object(members.map(|((name, _), reader)| (name.clone(), reader, row)), json);
            }
            Values::Map(maps, keys, values) => {
                let entries = range(maps.value_offsets(), row).map(|entry| (keys.key(entry), &**values, entry));
                print_object(entries, json);
            }
            Values::Boolean(values) => json.push_str(if values.value(row) { "true" } else { "false" }),
            Values::Json(values) => json.push_str(values.value(row)),
            Values::Float32(values) if values.value(row).is_finite() => json.push_str(&values.value(row).to_string()),
            _ => match self.scalar(row) {
                Scalar::Integer(number) => json.push_str(&number.to_string()),
                Scalar::Real(number) if number.is_finite() => json.push_str(&number.to_string()),
                other => print_string(&plain(other), json),
            },
        }
    }

    /// A value as the key of a JSON object.
    fn key(&self, row: usize) -> String {
        match &self.values {
            Values::Boolean(values) => values.value(row).to_string(),
            Values::Float32(values) => values.value(row).to_string(),
            _ => plain(self.scalar(row)),
        }
    }

    /// The value of one row as text, bytes as hexadecimal digits; `None`: null.
    pub fn text(&self, row: usize) -> Option<String> {
        (!self.array.is_null(row)).then(|| self.key(row))
    }
}

fn text(text: String) -> Scalar<'static> {
    Scalar::Text(Cow::Owned(text))
}

fn plain(scalar: Scalar<'_>) -> String {
    match scalar {
        Scalar::Null => String::new(),
        Scalar::Integer(number) => number.to_string(),
        Scalar::Real(number) => number.to_string(),
        Scalar::Text(text) => text.into_owned(),
        Scalar::Bytes(bytes) => hex(&bytes),
    }
}

fn range(offsets: &[i32], row: usize) -> std::ops::Range<usize> {
    let offset = |at: usize| usize::try_from(offsets[at]).expect("offsets are never negative");
    offset(row)..offset(row + 1)
}

fn print_array(items: &ColumnReader<'_>, range: std::ops::Range<usize>, json: &mut String) {
    json.push('[');
    let first = range.start;
    for item in range {
        json.push_str(if item == first { "" } else { "," });
        items.print_json(item, json);
    }
    json.push(']');
}

fn print_object<'r, 'a: 'r>(members: impl Iterator<Item = (String, &'r ColumnReader<'a>, usize)>, json: &mut String) {
    json.push('{');
    for (index, (name, reader, row)) in members.enumerate() {
        json.push_str(if index == 0 { "" } else { "," });
        print_string(&name, json);
        json.push(':');
        reader.print_json(row, json);
    }
    json.push('}');
}

fn print_string(text: &str, json: &mut String) {
    json.push_str(&serde_json::to_string(text).expect("text always serialises"));
}

fn print_uuid(bytes: &[u8]) -> String {
    let digits = hex(bytes);
    format!("{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..])
}

fn print_interval(bytes: &[u8]) -> String {
    let part = |from: usize| bytes[from..from + 4].try_into().expect("four bytes");
    let micros = i64::from_le_bytes(bytes[8..16].try_into().expect("an interval has 16 bytes"));
    calendar::print_interval(i32::from_le_bytes(part(0)), i32::from_le_bytes(part(4)), micros)
}
