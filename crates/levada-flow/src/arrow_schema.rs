//! The one image of the model's types in Arrow.
//!
//! int8 and int16 become Int32 (files hold no smaller ones), `time` is Time64 µs, `timestamp` is
//! Timestamp µs without a zone, `timestamptz` Timestamp µs with "UTC", `char`/`varchar`/`text`/
//! `json` Utf8, `uuid` FixedSizeBinary(16), `binary(n)` FixedSizeBinary(n), `binary` Binary,
//! `interval` FixedSizeBinary(16): int32 months, int32 days, int64 µs, little-endian; `list`, `struct`, `map` their Arrow
//! namesakes, `vector(n)` FixedSizeList of non-null Float32, `decimal(p,s)` Decimal128(p,s).

use arrow::datatypes::{DataType as Arrow, Field, Fields, SchemaRef, TimeUnit};
use levada_model::{DataType, Schema};
use std::sync::Arc;

/// The Arrow type of a model type.
pub fn arrow_type(data_type: &DataType) -> Arrow {
    match data_type {
        DataType::Boolean => Arrow::Boolean,
        DataType::Int8 | DataType::Int16 | DataType::Int32 => Arrow::Int32,
        DataType::Int64 => Arrow::Int64,
        DataType::Float32 => Arrow::Float32,
        DataType::Float64 => Arrow::Float64,
        DataType::Decimal(precision, scale) => Arrow::Decimal128(*precision, *scale as i8),
        DataType::Date => Arrow::Date32,
        DataType::Time => Arrow::Time64(TimeUnit::Microsecond),
        DataType::Timestamp => Arrow::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamptz => Arrow::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Interval | DataType::Uuid => Arrow::FixedSizeBinary(16),
        DataType::Char(_) | DataType::Varchar(_) | DataType::Text | DataType::Json => Arrow::Utf8,
        DataType::Binary => Arrow::Binary,
        DataType::BinaryFixed(length) => Arrow::FixedSizeBinary(i32::try_from(*length).unwrap_or(i32::MAX)),
        DataType::List(item) => Arrow::List(Arc::new(Field::new("element", arrow_type(item), true))),
        DataType::Struct(fields) => Arrow::Struct(
            fields.iter().map(|(name, data_type)| Field::new(name, arrow_type(data_type), true)).collect::<Fields>(),
        ),
        DataType::Map(key, value) => Arrow::Map(
            Arc::new(Field::new(
                "key_value",
                Arrow::Struct(Fields::from(vec![
                    Field::new("key", arrow_type(key), false),
                    Field::new("value", arrow_type(value), true),
                ])),
                false,
            )),
            false,
        ),
        DataType::Vector(length) => Arrow::FixedSizeList(
            Arc::new(Field::new("element", Arrow::Float32, false)),
            i32::try_from(*length).unwrap_or(i32::MAX),
        ),
    }
}

/// The Arrow schema of a dataset's rows.
pub fn arrow_schema(schema: &Schema) -> SchemaRef {
    Arc::new(arrow::datatypes::Schema::new(
        schema
            .columns
            .iter()
            .map(|column| {
                Field::new(column.name.as_str(), arrow_type(&column.data_type), column.nullable && !column.key)
            })
            .collect::<Fields>(),
    ))
}
