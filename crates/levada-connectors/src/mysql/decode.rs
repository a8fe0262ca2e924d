//! Values as the driver gives them, into typed Arrow columns.
//!
//! Takes one value a row, gives a column of the model's type; a value that is none of it is a
//! [`Problem`]. Knows neither queries nor logs: both read through here.

use super::civil::{self, DAY};
use super::types::{Problem, Wire};
use crate::literal::{ColumnBuilder, Scalar};
use arrow::array::*;
use levada_flow::arrow_schema::arrow_type;
use levada_model::DataType;
use mysql_async::Value;
use std::sync::Arc;

/// Collects one column.
pub(super) struct ColumnDecoder {
    data_type: DataType,
    wire: Wire,
    is_nullable: bool,
    values: Values,
}

enum Values {
    Boolean(BooleanBuilder),
    /// With the least and greatest value of the type.
    Int32(Int32Builder, i64, i64),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    /// With the most characters, and whether trailing blanks count.
    Text(StringBuilder, Option<u32>, bool),
    Binary(BinaryBuilder),
    Fixed(FixedSizeBinaryBuilder, u32),
    /// Everything that is read from its text.
    Literal(ColumnBuilder),
}

impl ColumnDecoder {
    /// Starts an empty column.
    pub(super) fn new(data_type: &DataType, wire: Wire, is_nullable: bool) -> Self {
        let fixed = |length: u32| FixedSizeBinaryBuilder::new(i32::try_from(length).unwrap_or(i32::MAX));
        let values = match data_type {
            DataType::Boolean => Values::Boolean(BooleanBuilder::new()),
            DataType::Int8 => Values::Int32(Int32Builder::new(), i8::MIN.into(), i8::MAX.into()),
            DataType::Int16 => Values::Int32(Int32Builder::new(), i16::MIN.into(), i16::MAX.into()),
            DataType::Int32 => Values::Int32(Int32Builder::new(), i32::MIN.into(), i32::MAX.into()),
            DataType::Int64 => Values::Int64(Int64Builder::new()),
            DataType::Float32 => Values::Float32(Float32Builder::new()),
            DataType::Float64 => Values::Float64(Float64Builder::new()),
            DataType::Date => Values::Date(Date32Builder::new()),
            DataType::Time => Values::Time(Time64MicrosecondBuilder::new()),
            DataType::Timestamp | DataType::Timestamptz => {
                Values::Timestamp(TimestampMicrosecondBuilder::new().with_data_type(arrow_type(data_type)))
            }
            DataType::Char(length) => Values::Text(StringBuilder::new(), Some(*length), false),
            DataType::Varchar(length) => Values::Text(StringBuilder::new(), Some(*length), true),
            DataType::Text => Values::Text(StringBuilder::new(), None, true),
            DataType::Binary => Values::Binary(BinaryBuilder::new()),
            DataType::BinaryFixed(length) => Values::Fixed(fixed(*length), *length),
            _ => Values::Literal(ColumnBuilder::new(data_type)),
        };
        Self { data_type: data_type.clone(), wire, is_nullable, values }
    }

    /// Appends one value and gives how many bytes it took.
    pub(super) fn append(&mut self, value: &Value) -> Result<usize, Problem> {
        if *value == Value::NULL {
            return if self.is_nullable { self.append_null() } else { Err(Problem::Null) };
        }
        match &mut self.values {
            Values::Boolean(builder) => match integer(value, self.wire)? {
                bit @ (0 | 1) => builder.append_value(bit == 1),
                other => return Err(Problem::OutOfRange { value: other.to_string(), range: "0 and 1" }),
            },
            Values::Int32(builder, least, greatest) => {
                let found = integer(value, self.wire)?;
                let fits = i64::try_from(found).ok().filter(|found| (*least..=*greatest).contains(found));
                let found = fits.ok_or_else(|| Problem::OutOfRange { value: found.to_string(), range: "its type" })?;
                builder.append_value(i32::try_from(found).expect("the bounds lie within"));
            }
            Values::Int64(builder) => {
                let found = integer(value, self.wire)?;
                let fits = i64::try_from(found);
                builder.append_value(
                    fits.map_err(|_| Problem::OutOfRange { value: found.to_string(), range: "64 bits with a sign" })?,
                );
            }
            Values::Float32(builder) => match value {
                Value::Float(value) => builder.append_value(*value),
                other => return Err(malformed(other)),
            },
            Values::Float64(builder) => builder.append_value(float64(value, self.wire)?),
            Values::Date(builder) => builder.append_value(day(value)?),
            Values::Time(builder) => builder.append_value(time_of_day(value)?),
            Values::Timestamp(builder) => builder.append_value(instant(value)?),
            Values::Text(builder, characters_max, counts_blanks) => {
                let text = text(value)?;
                check_length(text, *characters_max, *counts_blanks)?;
                builder.append_value(text);
            }
            Values::Binary(builder) => builder.append_value(bytes(value)?),
            Values::Fixed(builder, bytes_wanted) => {
                let bytes = bytes(value)?;
                let wrong = |_| Problem::Length { bytes: bytes.len(), bytes_wanted: *bytes_wanted };
                builder.append_value(bytes).map_err(wrong)?;
            }
            Values::Literal(builder) => {
                let scalar = scalar(value, self.wire, &self.data_type)?;
                builder.append(&scalar).map_err(|error| Problem::Literal(format!("is wrong: {error}")))?;
            }
        }
        Ok(match value {
            Value::Bytes(bytes) => bytes.len(),
            _ => 8,
        })
    }

    fn append_null(&mut self) -> Result<usize, Problem> {
        match &mut self.values {
            Values::Boolean(builder) => builder.append_null(),
            Values::Int32(builder, ..) => builder.append_null(),
            Values::Int64(builder) => builder.append_null(),
            Values::Float32(builder) => builder.append_null(),
            Values::Float64(builder) => builder.append_null(),
            Values::Date(builder) => builder.append_null(),
            Values::Time(builder) => builder.append_null(),
            Values::Timestamp(builder) => builder.append_null(),
            Values::Text(builder, ..) => builder.append_null(),
            Values::Binary(builder) => builder.append_null(),
            Values::Fixed(builder, _) => builder.append_null(),
            Values::Literal(builder) => {
                builder.append(&Scalar::Null).map_err(|error| Problem::Literal(error.to_string()))?;
            }
        }
        Ok(1)
    }

    /// The column so far; goes on with none.
    pub(super) fn finish(&mut self) -> ArrayRef {
        match &mut self.values {
            Values::Boolean(builder) => Arc::new(builder.finish()),
            Values::Int32(builder, ..) => Arc::new(builder.finish()),
            Values::Int64(builder) => Arc::new(builder.finish()),
            Values::Float32(builder) => Arc::new(builder.finish()),
            Values::Float64(builder) => Arc::new(builder.finish()),
            Values::Date(builder) => Arc::new(builder.finish()),
            Values::Time(builder) => Arc::new(builder.finish()),
            Values::Timestamp(builder) => Arc::new(builder.finish()),
            Values::Text(builder, ..) => Arc::new(builder.finish()),
            Values::Binary(builder) => Arc::new(builder.finish()),
            Values::Fixed(builder, _) => Arc::new(builder.finish()),
            Values::Literal(builder) => builder.finish(),
        }
    }
}

/// A value in a message.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => format!("'{}'", text.chars().take(80).collect::<String>()),
            Err(_) => format!("0x{}", crate::literal::hex(bytes.get(..40).unwrap_or(bytes))),
        },
        Value::NULL => "NULL".to_owned(),
        other => other.as_sql(true).trim_matches('\'').to_owned(),
    }
}

fn malformed(value: &Value) -> Problem {
    Problem::Malformed(shown(value))
}

fn bytes(value: &Value) -> Result<&[u8], Problem> {
    match value {
        Value::Bytes(bytes) => Ok(bytes),
        other => Err(malformed(other)),
    }
}

fn text(value: &Value) -> Result<&str, Problem> {
    std::str::from_utf8(bytes(value)?).map_err(|_| Problem::Utf8)
}

fn check_length(text: &str, characters_max: Option<u32>, counts_blanks: bool) -> Result<(), Problem> {
    let Some(characters_max) = characters_max else { return Ok(()) };
    let counted = if counts_blanks { text } else { text.trim_end_matches(' ') };
    // Bytes are never fewer than characters: most texts are seen to fit without counting.
    if counted.len() <= characters_max as usize {
        return Ok(());
    }
    match counted.chars().count() {
        characters if characters > characters_max as usize => Err(Problem::TooLong { characters, characters_max }),
        _ => Ok(()),
    }
}

/// A whole number: an integer with or without a sign, bits, a decimal without a fraction.
fn integer(value: &Value, wire: Wire) -> Result<i128, Problem> {
    match (value, wire) {
        (Value::Int(number), _) => Ok((*number).into()),
        (Value::UInt(number), _) => Ok((*number).into()),
        (Value::Bytes(bytes), Wire::Bit) if bytes.len() <= 8 => {
            Ok(bytes.iter().fold(0, |number, byte| number << 8 | i128::from(*byte)))
        }
        (Value::Bytes(_), Wire::Decimal) => {
            let digits = text(value)?;
            let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
            match whole.parse() {
                Ok(number) if fraction.bytes().all(|digit| digit == b'0') => Ok(number),
                _ => Err(Problem::Inexact { value: digits.to_owned(), wanted: "whole number" }),
            }
        }
        _ => Err(malformed(value)),
    }
}

/// The greatest whole number up to which every one is a float64.
const FLOAT_WHOLE_MAX: i128 = 1 << 53;

fn float64(value: &Value, wire: Wire) -> Result<f64, Problem> {
    match value {
        Value::Double(value) => Ok(*value),
        Value::Float(value) => Ok((*value).into()),
        _ => {
            let number = integer(value, wire)?;
            match number.abs() <= FLOAT_WHOLE_MAX {
                // Exact, as was just looked at.
                true => Ok(number as f64),
                false => Err(Problem::Inexact { value: number.to_string(), wanted: "float64" }),
            }
        }
    }
}

fn day(value: &Value) -> Result<i32, Problem> {
    let Value::Date(year, month, day, ..) = value else { return Err(malformed(value)) };
    civil::days(*year, *month, *day).ok_or_else(|| Problem::NoDay(format!("{year:04}-{month:02}-{day:02}")))
}

fn instant(value: &Value) -> Result<i64, Problem> {
    let Value::Date(_, _, _, hour, minute, second, micros) = value else { return Err(malformed(value)) };
    let time = civil::micros((*hour).into(), *minute, *second, *micros);
    Ok(i64::from(day(value)?) * DAY + time)
}

/// µs, negative ones too: MySQL's times are durations of up to 838 hours.
fn duration(value: &Value) -> Result<i64, Problem> {
    let Value::Time(is_negative, days, hours, minutes, seconds, micros) = value else { return Err(malformed(value)) };
    let all = civil::micros(u64::from(*days) * 24 + u64::from(*hours), *minutes, *seconds, *micros);
    Ok(if *is_negative { -all } else { all })
}

fn time_of_day(value: &Value) -> Result<i64, Problem> {
    match duration(value)? {
        micros if (0..=DAY).contains(&micros) => Ok(micros),
        _ => Err(Problem::OutOfRange { value: shown(value), range: "00:00:00 to 24:00:00" }),
    }
}

/// The value as the parser of texts takes it.
fn scalar<'v>(value: &'v Value, wire: Wire, data_type: &DataType) -> Result<Scalar<'v>, Problem> {
    Ok(match (wire, data_type) {
        (Wire::Time, _) => {
            let micros = duration(value)?;
            let (sign, micros) = if micros < 0 { ("-", -micros) } else { ("", micros) };
            Scalar::Text(format!("PT{sign}{}.{:06}S", micros / 1_000_000, micros % 1_000_000).into())
        }
        (Wire::Integer, _) => Scalar::Text(integer(value, wire)?.to_string().into()),
        (Wire::Bytes, _) => Scalar::Bytes(bytes(value)?.into()),
        _ => Scalar::Text(text(value)?.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{Decimal128Type, Int64Type, Time64MicrosecondType};

    fn decoded(data_type: &str, wire: Wire, value: Value) -> Result<ArrayRef, Problem> {
        let mut decoder = ColumnDecoder::new(&data_type.parse().expect("a type"), wire, true);
        decoder.append(&value).map(|_| decoder.finish())
    }

    #[test]
    fn a_wider_value_is_taken_where_it_fits_and_named_where_it_does_not() {
        let wide = decoded("decimal(20,0)", Wire::Integer, Value::UInt(u64::MAX)).expect("20 digits");
        assert_eq!(wide.as_primitive::<Decimal128Type>().value(0), u64::MAX.into());
        let error = decoded("int64", Wire::Integer, Value::UInt(u64::MAX)).expect_err("63 bits").to_string();
        assert!(error.contains("18446744073709551615"), "{error}");
        let bits = decoded("int64", Wire::Bit, Value::Bytes(vec![1, 0])).expect("256");
        assert_eq!(bits.as_primitive::<Int64Type>().value(0), 256);
        assert!(decoded("boolean", Wire::Integer, Value::Int(2)).is_err());
        assert!(decoded("int8", Wire::Integer, Value::Int(128)).is_err());
        assert!(decoded("int32", Wire::Decimal, Value::Bytes(b"7.00".to_vec())).is_ok());
        assert!(decoded("int32", Wire::Decimal, Value::Bytes(b"7.10".to_vec())).is_err());
        assert!(decoded("float64", Wire::Integer, Value::Int((1 << 53) + 1)).is_err());
        assert!(decoded("varchar(2)", Wire::Text, Value::Bytes("äöü".into())).is_err());
    }

    #[test]
    fn zero_dates_and_long_times_are_named() {
        let zero = decoded("date", Wire::Date, Value::Date(0, 0, 0, 0, 0, 0, 0)).expect_err("no day").to_string();
        assert_eq!(zero, "is 0000-00-00, which is no day of the calendar");
        assert!(decoded("timestamp", Wire::Datetime, Value::Date(2026, 0, 10, 1, 0, 0, 0)).is_err());
        assert!(decoded("time", Wire::Time, Value::Time(false, 2, 0, 0, 0, 0)).is_err());
        assert!(decoded("time", Wire::Time, Value::Time(true, 0, 0, 0, 1, 0)).is_err());
        let last = decoded("time", Wire::Time, Value::Time(false, 0, 23, 59, 59, 999_999)).expect("a time of day");
        assert_eq!(last.as_primitive::<Time64MicrosecondType>().value(0), DAY - 1);
        let long = decoded("interval", Wire::Time, Value::Time(true, 34, 22, 59, 59, 0)).expect("a duration");
        let micros = i64::from_le_bytes(long.as_fixed_size_binary().value(0)[8..].try_into().expect("16 bytes"));
        assert_eq!(micros, -(838 * 3_600 + 59 * 60 + 59) * 1_000_000);
    }
}
