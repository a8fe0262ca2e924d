//! Arrow columns into values as the driver takes them: the inverse of `decode`.
//!
//! Knows what MySQL can't hold: NaN, infinity, dates beyond its calendar.

use super::civil::{self, DAY};
use super::types::Problem;
use crate::literal::{ColumnReader, Scalar};
use arrow::array::*;
use arrow::datatypes::*;
use levada_flow::FlowError;
use levada_model::DataType;
use mysql_async::Value;

/// Reads one column of a batch.
pub(super) struct ColumnEncoder<'a> {
    array: &'a dyn Array,
    values: Values<'a>,
}

enum Values<'a> {
    Boolean(&'a BooleanArray),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    Float32(&'a Float32Array),
    Float64(&'a Float64Array),
    Decimal(&'a Decimal128Array),
    Date(&'a Date32Array),
    Time(&'a Time64MicrosecondArray),
    Timestamp(&'a TimestampMicrosecondArray),
    Text(&'a StringArray),
    Binary(&'a BinaryArray),
    Fixed(&'a FixedSizeBinaryArray),
    /// Everything that is written as its text.
    Literal(ColumnReader<'a>),
}

impl<'a> ColumnEncoder<'a> {
    /// Reads `array` as `data_type`.
    ///
    /// # Errors
    /// The array is not of the type's image in Arrow.
    pub(super) fn new(array: &'a dyn Array, data_type: &'a DataType) -> Result<Self, FlowError> {
        let values = match data_type {
            DataType::Boolean => array.as_boolean_opt().map(Values::Boolean),
            DataType::Int8 | DataType::Int16 | DataType::Int32 => array.as_primitive_opt().map(Values::Int32),
            DataType::Int64 => array.as_primitive_opt().map(Values::Int64),
            DataType::Float32 => array.as_primitive_opt().map(Values::Float32),
            DataType::Float64 => array.as_primitive_opt().map(Values::Float64),
            DataType::Decimal(_, scale) => {
                let decimals = array.as_primitive_opt::<Decimal128Type>();
                decimals.filter(|decimals| decimals.scale() == *scale as i8).map(Values::Decimal)
            }
            DataType::Date => array.as_primitive_opt().map(Values::Date),
            DataType::Time => array.as_primitive_opt().map(Values::Time),
            DataType::Timestamp | DataType::Timestamptz => array.as_primitive_opt().map(Values::Timestamp),
            DataType::Char(_) | DataType::Varchar(_) | DataType::Text | DataType::Json => {
                array.as_string_opt().map(Values::Text)
            }
            DataType::Binary => array.as_binary_opt().map(Values::Binary),
            DataType::BinaryFixed(_) => array.as_fixed_size_binary_opt().map(Values::Fixed),
            _ => ColumnReader::new(array, data_type).ok().map(Values::Literal),
        };
        match values {
            Some(values) => Ok(Self { array, values }),
            None => Err(FlowError::never(format!("a column of {data_type} came as Arrow's {}", array.data_type()))),
        }
    }

    /// The value of one row.
    pub(super) fn value(&self, row: usize) -> Result<Value, Problem> {
        if self.array.is_null(row) {
            return Ok(Value::NULL);
        }
        Ok(match &self.values {
            Values::Boolean(values) => Value::Int(values.value(row).into()),
            Values::Int32(values) => Value::Int(values.value(row).into()),
            Values::Int64(values) => Value::Int(values.value(row)),
            Values::Float32(values) => {
                check_finite(values.value(row).into())?;
                Value::Float(values.value(row))
            }
            Values::Float64(values) => {
                check_finite(values.value(row))?;
                Value::Double(values.value(row))
            }
            Values::Decimal(values) => Value::Bytes(values.value_as_string(row).into_bytes()),
            Values::Date(values) => date(values.value(row).into())?,
            Values::Time(values) => time(values.value(row)),
            Values::Timestamp(values) => instant(values.value(row))?,
            Values::Text(values) => Value::Bytes(values.value(row).as_bytes().to_vec()),
            Values::Binary(values) => Value::Bytes(values.value(row).to_vec()),
            Values::Fixed(values) => Value::Bytes(values.value(row).to_vec()),
            Values::Literal(reader) if reader.has_json_null_inside(row) => return Err(Problem::JsonNull),
            Values::Literal(reader) => match reader.scalar(row) {
                Scalar::Text(text) => Value::Bytes(text.into_owned().into_bytes()),
                other => return Err(Problem::Malformed(other.shown())),
            },
        })
    }
}

fn check_finite(value: f64) -> Result<(), Problem> {
    match value {
        finite if finite.is_finite() => Ok(()),
        nan if nan.is_nan() => Err(Problem::NotFinite("NaN")),
        positive if positive > 0.0 => Err(Problem::NotFinite("infinity")),
        _ => Err(Problem::NotFinite("-infinity")),
    }
}

const CALENDAR: &str = "the years 1 to 9999";

fn date(days: i64) -> Result<Value, Problem> {
    let (year, month, day) = civil::date(days)
        .ok_or_else(|| Problem::OutOfRange { value: format!("day {days} from 1970-01-01"), range: CALENDAR })?;
    Ok(Value::Date(year, month, day, 0, 0, 0, 0))
}

fn time(micros: i64) -> Value {
    let days = u32::try_from(micros / DAY).expect("a time is at most a day");
    let (hour, minute, second, micros) = civil::time(micros % DAY);
    Value::Time(false, days, hour, minute, second, micros)
}

fn instant(micros: i64) -> Result<Value, Problem> {
    let (year, month, day) = civil::date(micros.div_euclid(DAY))
        .ok_or_else(|| Problem::OutOfRange { value: format!("{micros} µs from 1970-01-01"), range: CALENDAR })?;
    let (hour, minute, second, micros) = civil::time(micros.rem_euclid(DAY));
    Ok(Value::Date(year, month, day, hour, minute, second, micros))
}
