//! Structured values as JSON: structs are objects, lists and vectors arrays, maps with text keys
//! objects (others arrays of `[key, value]`), decimals exact numbers, NaN and infinities strings,
//! bytes `\x` and hexadecimal digits, intervals `{"months", "days", "microseconds"}`, dates and
//! times ISO 8601, JSON itself.
//!
//! Takes JSON text and gives its parts without losing digits; writes Arrow values.

use super::civil;
use super::numeric;
use super::types::Problem;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use levada_model::DataType;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt::Write;

/// One level of a JSON text; what is inside stays text until it is asked for.
pub(super) enum Json<'a> {
    Null,
    Boolean(bool),
    Number(&'a str),
    Text(String),
    Array(Vec<&'a RawValue>),
    Object(Vec<(String, &'a RawValue)>),
}

impl<'a> Json<'a> {
    /// Reads one level.
    pub(super) fn parse(text: &'a str) -> Result<Self, Problem> {
        let text = text.trim_matches([' ', '\t', '\r', '\n']);
        let wrong = |_| Problem::Json("JSON".to_owned());
        Ok(match text.as_bytes().first() {
            Some(b'n') if text == "null" => Self::Null,
            Some(b't') if text == "true" => Self::Boolean(true),
            Some(b'f') if text == "false" => Self::Boolean(false),
            Some(b'"') => Self::Text(serde_json::from_str(text).map_err(wrong)?),
            Some(b'[') => Self::Array(serde_json::from_str(text).map_err(wrong)?),
            Some(b'{') => Self::Object(entries(text).map_err(wrong)?),
            Some(b'-' | b'0'..=b'9') => Self::Number(text),
            _ => return Err(Problem::Json("JSON".to_owned())),
        })
    }
}

/// The entries of an object, in their order, doubles included.
fn entries(text: &str) -> Result<Vec<(String, &RawValue)>, serde_json::Error> {
    struct Entries;
    impl<'de> Visitor<'de> for Entries {
        type Value = Vec<(String, &'de RawValue)>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = map.next_entry()? {
                entries.push(entry);
            }
            Ok(entries)
        }
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let entries = reader.deserialize_map(Entries)?;
    reader.end()?;
    Ok(entries)
}

/// Appends the value of one row.
pub(super) fn write(array: &dyn Array, row: usize, data_type: &DataType, out: &mut String) -> Result<(), Problem> {
    if array.is_null(row) {
        out.push_str("null");
        return Ok(());
    }
    match data_type {
        DataType::Boolean => print(out, array.as_boolean().value(row)),
        DataType::Int8 | DataType::Int16 | DataType::Int32 => print(out, array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => print(out, array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            write_float(out, f64::from(value), format!("{value:?}"));
        }
        DataType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            write_float(out, value, format!("{value:?}"));
        }
        DataType::Decimal(_, scale) => {
            out.push_str(&numeric::print(array.as_primitive::<Decimal128Type>().value(row), *scale));
        }
        DataType::Date => print_text(out, civil::date(array.as_primitive::<Date32Type>().value(row))),
        DataType::Time => print_text(out, civil::time(array.as_primitive::<Time64MicrosecondType>().value(row))),
        DataType::Timestamp => {
            print_text(out, civil::timestamp(array.as_primitive::<TimestampMicrosecondType>().value(row)));
        }
        DataType::Timestamptz => {
            print_text(out, civil::timestamptz(array.as_primitive::<TimestampMicrosecondType>().value(row)));
        }
        DataType::Interval => {
            let (months, days, micros) = interval_parts(array.as_fixed_size_binary().value(row));
            let _ = write!(out, r#"{{"months": {months}, "days": {days}, "microseconds": {micros}}}"#);
        }
        DataType::Char(_) | DataType::Varchar(_) | DataType::Text => {
            print_text(out, array.as_string::<i32>().value(row));
        }
        DataType::Json => match array.as_string::<i32>().value(row) {
            null if null.trim() == "null" => return Err(Problem::JsonNull),
            text => out.push_str(text),
        },
        DataType::Binary => print_text(out, hexadecimal(array.as_binary::<i32>().value(row))),
        DataType::BinaryFixed(_) => print_text(out, hexadecimal(array.as_fixed_size_binary().value(row))),
        DataType::Uuid => print_text(out, uuid_text(array.as_fixed_size_binary().value(row))),
        DataType::List(item) => write_items(&*array.as_list::<i32>().value(row), item, out)?,
        DataType::Vector(_) => write_items(&*array.as_fixed_size_list().value(row), &DataType::Float32, out)?,
        DataType::Struct(fields) => {
            let array = array.as_struct();
            out.push('{');
            for (index, (name, field)) in fields.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                print_text(out, name);
                out.push_str(": ");
                write(array.column(index), row, field, out)?;
            }
            out.push('}');
        }
        DataType::Map(key, value) => {
            let entries = array.as_map().value(row);
            write_entries(entries.column(0), entries.column(1), key, value, out)?;
        }
    }
    Ok(())
}

/// Whether a map with these keys is an object.
pub(super) fn is_text_key(key: &DataType) -> bool {
    matches!(key, DataType::Char(_) | DataType::Varchar(_) | DataType::Text)
}

fn write_items(items: &dyn Array, item: &DataType, out: &mut String) -> Result<(), Problem> {
    out.push('[');
    for index in 0..items.len() {
        out.push_str(if index == 0 { "" } else { ", " });
        write(items, index, item, out)?;
    }
    out.push(']');
    Ok(())
}

fn write_entries(
    keys: &dyn Array,
    values: &dyn Array,
    key: &DataType,
    value: &DataType,
    out: &mut String,
) -> Result<(), Problem> {
    let is_object = is_text_key(key);
    let (open, colon, close) = if is_object { ('{', ": ", '}') } else { ('[', ", ", ']') };
    out.push(open);
    for index in 0..keys.len() {
        out.push_str(if index == 0 { "" } else { ", " });
        out.push_str(if is_object { "" } else { "[" });
        write(keys, index, key, out)?;
        out.push_str(colon);
        write(values, index, value, out)?;
        out.push_str(if is_object { "" } else { "]" });
    }
    out.push(close);
    Ok(())
}

fn print(out: &mut String, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("a String takes everything");
}

fn print_text(out: &mut String, text: impl AsRef<str>) {
    out.push_str(&serde_json::to_string(text.as_ref()).expect("every text is JSON"));
}

fn write_float(out: &mut String, value: f64, shortest: String) {
    match value.is_finite() {
        true => out.push_str(&shortest),
        false if value.is_nan() => out.push_str("\"NaN\""),
        false => out.push_str(if value > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" }),
    }
}

/// Months, days, µs of an interval's 16 bytes.
pub(super) fn interval_parts(bytes: &[u8]) -> (i32, i32, i64) {
    let four = |at: usize| i32::from_le_bytes(bytes[at..at + 4].try_into().expect("an interval has 16 bytes"));
    (four(0), four(4), i64::from_le_bytes(bytes[8..16].try_into().expect("an interval has 16 bytes")))
}

/// The 16 bytes of an interval.
pub(super) fn interval_bytes(months: i32, days: i32, micros: i64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&months.to_le_bytes());
    bytes[4..8].copy_from_slice(&days.to_le_bytes());
    bytes[8..].copy_from_slice(&micros.to_le_bytes());
    bytes
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("\\x");
    bytes.iter().for_each(|byte| print(&mut text, format_args!("{byte:02x}")));
    text
}

/// Bytes as [`write`] writes them.
pub(super) fn parse_hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?;
    if digits.len() % 2 != 0 || !digits.is_ascii() {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect()
}

/// A UUID as people write it.
pub(super) fn uuid_text(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    match hex.len() {
        32 => format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]),
        _ => hex,
    }
}

/// A UUID with or without its dashes.
pub(super) fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    parse_hexadecimal(&format!("\\x{digits}"))?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits_and_entries_their_order() {
        let text = r#" {"b": 12345678901234567890.10, "a": [1, {"c": null}], "b": "x"} "#;
        let Json::Object(entries) = Json::parse(text).expect("JSON") else { panic!("an object") };
        let names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["b", "a", "b"]);
        assert!(matches!(Json::parse(entries[0].1.get()), Ok(Json::Number("12345678901234567890.10"))));
        for wrong in ["", "{", "[1,", "nul", r#"{"a":1}x"#] {
            assert!(Json::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_and_uuids_survive_their_texts() {
        assert_eq!(parse_hexadecimal(&hexadecimal(&[0, 255, 7])), Some(vec![0, 255, 7]));
        assert_eq!(parse_hexadecimal("\\x0"), None);
        let id = [7; 16];
        assert_eq!(parse_uuid(&uuid_text(&id)), Some(id));
    }
}
