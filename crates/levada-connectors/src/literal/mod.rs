//! Values as databases and files without our types write them: numbers, texts, bytes.
//!
//! Takes such scalars and gives typed Arrow columns ([`RowsBuilder`]), and the other way round
//! ([`ColumnReader`]). A scalar becomes a value only where it denotes exactly one: nothing is
//! rounded, cut or guessed. Knows no system; `docs/types.md` has the table.
//!
//! Dates and times are ISO 8601 with a space (`2026-02-28 13:05:00.000001+00:00`), intervals ISO
//! durations, uuids their 36 characters, lists, structs and maps JSON.

mod calendar;
mod json;
mod parse;
mod print;
mod rows;

pub(crate) use parse::{Float, written_float};
pub use print::{ColumnReader, PrintError};
pub use rows::{ColumnBuilder, RowsBuilder, ValueError};

use arrow::datatypes::{Decimal128Type, DecimalType};
use levada_model::DataType;
use std::borrow::Cow;

/// The most digits of a decimal that a float64 carries unharmed: up to here decimals are numbers,
/// beyond they are text.
pub const DECIMAL_DIGITS_AS_NUMBER_MAX: u8 = 15;

/// The place of a value in the order of its type: numbers, unscaled decimals, days or µs. `None`:
/// the type has no such order.
pub(crate) fn ordinal(scalar: &Scalar<'_>, data_type: &DataType) -> Option<Result<i128, ValueError>> {
    let place = match data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            parse::integer(scalar, i64::MIN, i64::MAX).map(i128::from)
        }
        DataType::Decimal(precision, scale) => parse::decimal(scalar, *precision, *scale),
        DataType::Date => parse::date(scalar).map(i128::from),
        DataType::Timestamp => parse::timestamp(scalar).map(i128::from),
        DataType::Timestamptz => parse::timestamptz(scalar).map(i128::from),
        _ => return None,
    };
    Some(place.map_err(|reason| ValueError { value: scalar.shown(), wanted: data_type.to_string(), reason }))
}

/// The inverse of [`ordinal`].
pub(crate) fn print_ordinal(place: i128, data_type: &DataType) -> String {
    let small = || i64::try_from(place).expect("places of 64-bit types fit");
    match data_type {
        DataType::Decimal(precision, scale) => Decimal128Type::format_decimal(place, *precision, *scale as i8),
        DataType::Date => calendar::print_date(small()),
        DataType::Timestamp => calendar::print_timestamp(small()),
        DataType::Timestamptz => calendar::print_timestamp(small()) + "+00:00",
        _ => place.to_string(),
    }
}

/// One value without a type of ours.
#[derive(Clone, PartialEq, Debug)]
pub enum Scalar<'a> {
    /// No value.
    Null,
    /// A whole number.
    Integer(i64),
    /// A float64.
    Real(f64),
    /// Unicode text.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
}

impl Scalar<'_> {
    /// How many bytes the value is.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Null => 0,
            Self::Integer(_) | Self::Real(_) => 8,
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    /// The value as a message shows it: at most 60 characters.
    pub fn shown(&self) -> String {
        let text = match self {
            Self::Null => return "NULL".to_owned(),
            Self::Integer(number) => return number.to_string(),
            Self::Real(number) => return format!("{number:?}"),
            Self::Text(text) => format!("{text:?}"),
            Self::Bytes(bytes) => format!("x'{}'", hex(bytes.get(..40).unwrap_or(bytes))),
        };
        match text.char_indices().nth(60) {
            None => text,
            Some((end, _)) => format!("{}…", &text[..end]),
        }
    }
}

/// Lower-case hexadecimal digits, two a byte.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

/// The bytes of hexadecimal digits in either case, or `None`.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match digits.len() % 2 {
        0 => digits.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect(),
        _ => None,
    }
}
