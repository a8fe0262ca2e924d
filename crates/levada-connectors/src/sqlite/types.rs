//! The model's types in SQLite, which has five of its own.
//!
//! What a delivered column is declared as, and values both ways. Declarations are chosen so that
//! SQLite's affinity never rewrites a value: texts that may look like numbers are declared TEXT.

use crate::literal::{DECIMAL_DIGITS_AS_NUMBER_MAX, Scalar};
use levada_model::DataType;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};

/// The declared type of a delivered column.
pub(super) fn declared(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => "INTEGER".to_owned(),
        DataType::Float32 | DataType::Float64 => "REAL".to_owned(),
        DataType::Decimal(precision, scale) if *precision <= DECIMAL_DIGITS_AS_NUMBER_MAX => {
            format!("DECIMAL({precision},{scale})")
        }
        DataType::Date => "DATE".to_owned(),
        DataType::Time => "TIME".to_owned(),
        DataType::Timestamp => "TIMESTAMP".to_owned(),
        DataType::Timestamptz => "TIMESTAMPTZ".to_owned(),
        DataType::Char(length) => format!("CHAR({length})"),
        DataType::Varchar(length) => format!("VARCHAR({length})"),
        DataType::Binary | DataType::BinaryFixed(_) => "BLOB".to_owned(),
        DataType::Decimal(..)
        | DataType::Interval
        | DataType::Text
        | DataType::Uuid
        | DataType::Json
        | DataType::List(_)
        | DataType::Struct(_)
        | DataType::Map(..)
        | DataType::Vector(_) => "TEXT".to_owned(),
    }
}

/// A value as SQLite hands it out; the error says that a text is not UTF-8.
pub(super) fn scalar(value: ValueRef<'_>) -> Result<Scalar<'_>, String> {
    Ok(match value {
        ValueRef::Null => Scalar::Null,
        ValueRef::Integer(number) => Scalar::Integer(number),
        ValueRef::Real(number) => Scalar::Real(number),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Scalar::Text(text.into()),
            Err(_) => return Err(format!("{} is text, but not UTF-8", Scalar::Bytes(bytes.into()).shown())),
        },
        ValueRef::Blob(bytes) => Scalar::Bytes(bytes.into()),
    })
}

/// A value as SQLite takes it. NaN has no image: SQLite would store NULL.
pub(super) fn bound<'a>(scalar: &'a Scalar<'_>) -> Result<ToSqlOutput<'a>, &'static str> {
    Ok(match scalar {
        Scalar::Null => ToSqlOutput::Owned(Value::Null),
        Scalar::Integer(number) => ToSqlOutput::Owned(Value::Integer(*number)),
        Scalar::Real(number) if number.is_nan() => return Err("NaN has no image in SQLite"),
        Scalar::Real(number) => ToSqlOutput::Owned(Value::Real(*number)),
        Scalar::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        Scalar::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
    })
}
