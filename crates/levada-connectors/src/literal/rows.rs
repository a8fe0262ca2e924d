//! Scalars, row by row, into the typed columns of a record batch.

use super::{Scalar, json, parse, unhex};
use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType as Arrow, SchemaRef};
use levada_flow::arrow_schema::{arrow_schema, arrow_type};
use levada_flow::{BATCH_BYTES_MAX, BATCH_ROWS_MAX};
use levada_model::{DataType, Schema};
use std::sync::Arc;

/// A scalar that is not a value of its column.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{value} is no {wanted}: {reason}")]
pub struct ValueError {
    /// The scalar, shortened.
    pub value: String,
    /// The type of the column, or of the part of it that is wrong.
    pub wanted: String,
    /// A lower-case sentence.
    pub reason: &'static str,
}

/// Collects rows of one schema into record batches.
pub struct RowsBuilder {
    schema: SchemaRef,
    is_nullable: Vec<bool>,
    columns: Vec<ColumnBuilder>,
    /// What the scalars so far took, in bytes.
    bytes: usize,
}

impl RowsBuilder {
    /// Starts an empty batch.
    pub fn new(schema: &Schema) -> Self {
        Self {
            schema: arrow_schema(schema),
            is_nullable: schema.columns.iter().map(|column| column.nullable && !column.key).collect(),
            columns: schema.columns.iter().map(|column| ColumnBuilder::new(&column.data_type)).collect(),
            bytes: 0,
        }
    }

    /// Appends to one column; each column gets one scalar a row.
    ///
    /// # Errors
    /// The scalar is not a value of the column. What was collected is of no use then.
    pub fn append(&mut self, column: usize, scalar: &Scalar<'_>) -> Result<(), ValueError> {
        let builder = &mut self.columns[column];
        if matches!(scalar, Scalar::Null) && !self.is_nullable[column] {
            return Err(builder.error(scalar, "the model says that it is never null"));
        }
        self.bytes += scalar.bytes();
        builder.append(scalar)
    }

    /// Appends to one column from text: bytes are hexadecimal digits there. `None`: null.
    ///
    /// # Errors
    /// The text is not a value of the column.
    pub fn append_text(&mut self, column: usize, text: Option<&str>) -> Result<(), ValueError> {
        match text {
            Some(text) => {
                self.bytes += text.len();
                self.columns[column].append_text(text)
            }
            None => self.append(column, &Scalar::Null),
        }
    }

    /// Rows so far.
    pub fn len(&self) -> usize {
        self.columns.first().map_or(0, |column| column.len)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the batch has as many rows, or bytes, as one may have: it ends after its last row.
    pub fn is_full(&self) -> bool {
        self.len() >= BATCH_ROWS_MAX || self.bytes >= BATCH_BYTES_MAX
    }

    /// The rows so far as a batch; goes on with none.
    pub fn finish(&mut self) -> RecordBatch {
        let options = RecordBatchOptions::new().with_row_count(Some(self.len()));
        self.bytes = 0;
        let arrays = self.columns.iter_mut().map(ColumnBuilder::finish).collect();
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .expect("the builders were made from the schema, and nulls were refused where it has none")
    }
}

/// Collects one column.
pub struct ColumnBuilder {
    data_type: DataType,
    len: usize,
    values: Values,
}

enum Values {
    Boolean(BooleanBuilder),
    Int32(Int32Builder, i64, i64),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal(Decimal128Builder, u8, u8),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Text(StringBuilder),
    Binary(BinaryBuilder),
    Fixed(FixedSizeBinaryBuilder),
    /// Nulls, where each list ends, all elements.
    List(Vec<bool>, Vec<i32>, Box<ColumnBuilder>),
    Struct(Vec<bool>, Vec<ColumnBuilder>),
    Map(Vec<bool>, Vec<i32>, Box<ColumnBuilder>, Box<ColumnBuilder>),
    Vector(Vec<bool>, Box<ColumnBuilder>),
}

impl ColumnBuilder {
    /// Starts an empty column.
    pub fn new(data_type: &DataType) -> Self {
        let nested = |inner: &DataType| Box::new(Self::new(inner));
        let values = match data_type {
            DataType::Boolean => Values::Boolean(BooleanBuilder::new()),
            DataType::Int8 => Values::Int32(Int32Builder::new(), i8::MIN.into(), i8::MAX.into()),
            DataType::Int16 => Values::Int32(Int32Builder::new(), i16::MIN.into(), i16::MAX.into()),
            DataType::Int32 => Values::Int32(Int32Builder::new(), i32::MIN.into(), i32::MAX.into()),
            DataType::Int64 => Values::Int64(Int64Builder::new()),
            DataType::Float32 => Values::Float32(Float32Builder::new()),
            DataType::Float64 => Values::Float64(Float64Builder::new()),
            DataType::Decimal(precision, scale) => {
                let builder = Decimal128Builder::new().with_data_type(arrow_type(data_type));
                Values::Decimal(builder, *precision, *scale)
            }
            DataType::Date => Values::Date(Date32Builder::new()),
            DataType::Time => Values::Time(Time64MicrosecondBuilder::new()),
            DataType::Timestamp | DataType::Timestamptz => {
                Values::Timestamp(TimestampMicrosecondBuilder::new().with_data_type(arrow_type(data_type)))
            }
            DataType::Char(_) | DataType::Varchar(_) | DataType::Text | DataType::Json => {
                Values::Text(StringBuilder::new())
            }
            DataType::Binary => Values::Binary(BinaryBuilder::new()),
            DataType::Interval | DataType::Uuid => Values::Fixed(FixedSizeBinaryBuilder::new(16)),
            DataType::BinaryFixed(length) => {
                Values::Fixed(FixedSizeBinaryBuilder::new(i32::try_from(*length).unwrap_or(i32::MAX)))
            }
            DataType::List(item) => Values::List(Vec::new(), vec![0], nested(item)),
            DataType::Struct(fields) => {
                Values::Struct(Vec::new(), fields.iter().map(|(_, field)| Self::new(field)).collect())
            }
            DataType::Map(key, value) => Values::Map(Vec::new(), vec![0], nested(key), nested(value)),
            DataType::Vector(_) => Values::Vector(Vec::new(), nested(&DataType::Float32)),
        };
        Self { data_type: data_type.clone(), len: 0, values }
    }

    /// Appends one value.
    ///
    /// # Errors
    /// The scalar is not a value of the type.
    pub fn append(&mut self, scalar: &Scalar<'_>) -> Result<(), ValueError> {
        self.len += 1;
        if matches!(scalar, Scalar::Null) {
            self.append_null();
            return Ok(());
        }
        if let Values::List(..) | Values::Struct(..) | Values::Map(..) | Values::Vector(..) = self.values {
            let text = parse::json(scalar).map_err(|_| self.error(scalar, "it is not valid JSON"))?.to_owned();
            return self.append_nested(&text);
        }
        let appended = match &mut self.values {
            Values::Boolean(builder) => parse::boolean(scalar).map(|value| builder.append_value(value)),
            Values::Int32(builder, least, greatest) => parse::integer(scalar, *least, *greatest)
                .map(|value| builder.append_value(i32::try_from(value).expect("the bounds lie within"))),
            Values::Int64(builder) => {
                parse::integer(scalar, i64::MIN, i64::MAX).map(|value| builder.append_value(value))
            }
            Values::Float32(builder) => parse::float32(scalar).map(|value| builder.append_value(value)),
            Values::Float64(builder) => parse::float64(scalar).map(|value| builder.append_value(value)),
            Values::Decimal(builder, precision, scale) => {
                parse::decimal(scalar, *precision, *scale).map(|value| builder.append_value(value))
            }
            Values::Date(builder) => parse::date(scalar).map(|value| builder.append_value(value)),
            Values::Time(builder) => parse::time(scalar).map(|value| builder.append_value(value)),
            Values::Timestamp(builder) => match self.data_type {
                DataType::Timestamp => parse::timestamp(scalar),
                _ => parse::timestamptz(scalar),
            }
            .map(|value| builder.append_value(value)),
            Values::Text(builder) => match self.data_type {
                DataType::Json => parse::json(scalar),
                DataType::Char(most) => parse::text(scalar, Some(most), true),
                DataType::Varchar(most) => parse::text(scalar, Some(most), false),
                _ => parse::text(scalar, None, false),
            }
            .map(|value| builder.append_value(value)),
            Values::Binary(builder) => parse::bytes(scalar).map(|value| builder.append_value(value)),
            Values::Fixed(builder) => match self.data_type {
                DataType::Uuid => parse::uuid(scalar).map(|value| builder.append_value(value)),
                DataType::Interval => parse::interval(scalar).map(|value| builder.append_value(value)),
                _ => parse::bytes(scalar).map(|value| builder.append_value(value)),
            }
            .and_then(|fits| fits.map_err(|_| "it has another length")),
            Values::List(..) | Values::Struct(..) | Values::Map(..) | Values::Vector(..) => {
                unreachable!("nested values went another way")
            }
        };
        appended.map_err(|reason| self.error(scalar, reason))
    }

    fn error(&self, scalar: &Scalar<'_>, reason: &'static str) -> ValueError {
        ValueError { value: scalar.shown(), wanted: self.data_type.to_string(), reason }
    }

    fn append_null(&mut self) {
        match &mut self.values {
            Values::Boolean(builder) => builder.append_null(),
            Values::Int32(builder, ..) => builder.append_null(),
            Values::Int64(builder) => builder.append_null(),
            Values::Float32(builder) => builder.append_null(),
            Values::Float64(builder) => builder.append_null(),
            Values::Decimal(builder, ..) => builder.append_null(),
            Values::Date(builder) => builder.append_null(),
            Values::Time(builder) => builder.append_null(),
            Values::Timestamp(builder) => builder.append_null(),
            Values::Text(builder) => builder.append_null(),
            Values::Binary(builder) => builder.append_null(),
            Values::Fixed(builder) => builder.append_null(),
            Values::List(valid, ends, _) | Values::Map(valid, ends, ..) => {
                valid.push(false);
                ends.push(*ends.last().expect("it starts with zero"));
            }
            Values::Struct(valid, fields) => {
                valid.push(false);
                for field in fields {
                    field.len += 1;
                    field.append_null();
                }
            }
            Values::Vector(valid, elements) => {
                valid.push(false);
                let DataType::Vector(length) = self.data_type else { unreachable!("vectors hold vectors") };
                for _ in 0..length {
                    elements.append(&Scalar::Real(0.0)).expect("zero is a float32");
                }
            }
        }
    }

    /// Appends a list, struct, map or vector from valid JSON.
    fn append_nested(&mut self, text: &str) -> Result<(), ValueError> {
        let wrong = |reason| ValueError {
            value: Scalar::Text(text.into()).shown(),
            wanted: self.data_type.to_string(),
            reason,
        };
        match &mut self.values {
            Values::List(valid, ends, items) => {
                let elements = json::elements(text).ok_or_else(|| wrong("it is not a JSON array"))?;
                elements.into_iter().try_for_each(|element| items.append_json(element))?;
                valid.push(true);
                ends.push(i32::try_from(items.len).map_err(|_| wrong("there are too many elements"))?);
            }
            Values::Vector(valid, items) => {
                let elements = json::elements(text).ok_or_else(|| wrong("it is not a JSON array"))?;
                if !matches!(self.data_type, DataType::Vector(length) if length as usize == elements.len()) {
                    return Err(wrong("it has another length"));
                }
                if elements.contains(&"null") {
                    return Err(wrong("an element of a vector is never null"));
                }
                elements.into_iter().try_for_each(|element| items.append_json(element))?;
                valid.push(true);
            }
            Values::Map(valid, ends, keys, values) => {
                let entries = json::entries(text).ok_or_else(|| wrong("it is not a JSON object"))?;
                for (key, value) in entries {
                    keys.append_text(&key)?;
                    values.append_json(value)?;
                }
                valid.push(true);
                ends.push(i32::try_from(keys.len).map_err(|_| wrong("there are too many entries"))?);
            }
            Values::Struct(valid, builders) => {
                let DataType::Struct(fields) = &self.data_type else { unreachable!("structs hold structs") };
                let entries = json::entries(text).ok_or_else(|| wrong("it is not a JSON object"))?;
                let mut members = vec![None; fields.len()];
                for (name, value) in entries {
                    let at = fields.iter().position(|(known, _)| *known == name);
                    let at = at.ok_or_else(|| wrong("it has a member that the struct has not"))?;
                    if members[at].replace(value).is_some() {
                        return Err(wrong("it has a member twice"));
                    }
                }
                for (builder, member) in builders.iter_mut().zip(members) {
                    builder.append_json(member.unwrap_or("null"))?;
                }
                valid.push(true);
            }
            _ => unreachable!("simple values went another way"),
        }
        Ok(())
    }

    /// Appends one member of a JSON text.
    fn append_json(&mut self, json: &str) -> Result<(), ValueError> {
        let is_raw = matches!(self.data_type, DataType::Json);
        match json.as_bytes().first() {
            Some(b'n') => self.append(&Scalar::Null),
            Some(b'"') if !is_raw => {
                let text: String = serde_json::from_str(json).expect("the whole text is valid JSON");
                self.append_text(&text)
            }
            _ => self.append(&Scalar::Text(json.into())),
        }
    }

    /// Appends a value from text: as it is, bytes from hexadecimal digits.
    ///
    /// # Errors
    /// The text is not a value of the type.
    pub fn append_text(&mut self, text: &str) -> Result<(), ValueError> {
        match self.data_type {
            DataType::Binary | DataType::BinaryFixed(_) => {
                let scalar = Scalar::Text(text.into());
                let digits = text.strip_prefix("\\x").or_else(|| text.strip_prefix("0x")).unwrap_or(text);
                let bytes = unhex(digits).ok_or_else(|| self.error(&scalar, "it is not hexadecimal digits"))?;
                self.append(&Scalar::Bytes(bytes.into()))
            }
            _ => self.append(&Scalar::Text(text.into())),
        }
    }

    /// The column so far; goes on with none.
    pub fn finish(&mut self) -> ArrayRef {
        self.len = 0;
        let arrow = arrow_type(&self.data_type);
        match &mut self.values {
            Values::Boolean(builder) => Arc::new(builder.finish()),
            Values::Int32(builder, ..) => Arc::new(builder.finish()),
            Values::Int64(builder) => Arc::new(builder.finish()),
            Values::Float32(builder) => Arc::new(builder.finish()),
            Values::Float64(builder) => Arc::new(builder.finish()),
            Values::Decimal(builder, ..) => Arc::new(builder.finish()),
            Values::Date(builder) => Arc::new(builder.finish()),
            Values::Time(builder) => Arc::new(builder.finish()),
            Values::Timestamp(builder) => Arc::new(builder.finish()),
            Values::Text(builder) => Arc::new(builder.finish()),
            Values::Binary(builder) => Arc::new(builder.finish()),
            Values::Fixed(builder) => Arc::new(builder.finish()),
            Values::List(valid, ends, items) => {
                let Arrow::List(field) = arrow else { unreachable!("lists are Arrow's lists") };
                Arc::new(ListArray::new(field, taken_ends(ends), items.finish(), taken_nulls(valid)))
            }
            Values::Struct(valid, builders) => {
                let Arrow::Struct(fields) = arrow else { unreachable!("structs are Arrow's structs") };
                let arrays = builders.iter_mut().map(Self::finish).collect();
                Arc::new(StructArray::new(fields, arrays, taken_nulls(valid)))
            }
            Values::Map(valid, ends, keys, values) => {
                let Arrow::Map(field, is_sorted) = arrow else { unreachable!("maps are Arrow's maps") };
                let Arrow::Struct(fields) = field.data_type() else { unreachable!("entries are structs") };
                let entries = StructArray::new(fields.clone(), vec![keys.finish(), values.finish()], None);
                Arc::new(MapArray::new(field, taken_ends(ends), entries, taken_nulls(valid), is_sorted))
            }
            Values::Vector(valid, items) => {
                let Arrow::FixedSizeList(field, length) = arrow else { unreachable!("vectors have a fixed size") };
                Arc::new(FixedSizeListArray::new(field, length, items.finish(), taken_nulls(valid)))
            }
        }
    }
}

fn taken_nulls(valid: &mut Vec<bool>) -> Option<NullBuffer> {
    Some(NullBuffer::from(std::mem::take(valid)))
}

fn taken_ends(ends: &mut Vec<i32>) -> OffsetBuffer<i32> {
    OffsetBuffer::new(std::mem::replace(ends, vec![0]).into())
}
