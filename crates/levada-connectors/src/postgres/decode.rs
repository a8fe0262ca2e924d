//! Binary values into Arrow columns: one builder tree per column, no allocation per row.
//!
//! Takes the bytes of one field as COPY sends them, gives arrays of the types that
//! `levada_flow::arrow_schema` names, or a [`Problem`] with the value. Knows no rows and no names.

use super::civil;
use super::json::{self, Json};
use super::numeric;
use super::types::{Problem, Wire};
use crate::literal::{Float, written_float};
use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, FixedSizeBinaryBuilder,
    FixedSizeListArray, Float32Builder, Float64Builder, Int32Builder, Int64Builder, ListArray, MapArray, StringBuilder,
    StructArray, Time64MicrosecondBuilder, TimestampMicrosecondBuilder,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType as Arrow, FieldRef, Fields};
use levada_flow::FlowError;
use levada_flow::arrow_schema::arrow_type;
use levada_model::DataType;
use std::sync::Arc;

/// Days from 1970-01-01 to 2000-01-01, where PostgreSQL's calendar starts.
pub(super) const EPOCH_DAYS: i32 = 10_957;

/// The same in µs.
pub(super) const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Collects the values of one column.
pub(super) struct ColumnReader {
    wire: Wire,
    is_nullable: bool,
    values: Values,
}

enum Values {
    Boolean(BooleanBuilder),
    /// With the smallest and largest value and the type's name.
    Int32(Int32Builder, i64, i64, &'static str),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal(Decimal128Builder, u8, u8),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Timestamptz(TimestampMicrosecondBuilder),
    Interval(FixedSizeBinaryBuilder),
    Uuid(FixedSizeBinaryBuilder),
    /// With the most characters; trailing spaces of the wire's padding go.
    Text(StringBuilder, Option<u32>),
    Json(StringBuilder),
    Binary(BinaryBuilder),
    Fixed(FixedSizeBinaryBuilder, u32),
    List(Items, FieldRef),
    Vector(Items, FieldRef, u32),
    Struct(Vec<(String, ColumnReader)>, Fields, Vec<bool>),
    /// Keys, values, and whether a key is an object's name in JSON.
    Map(Box<ColumnReader>, Items, FieldRef, bool),
}

/// Items of lists behind each other.
struct Items {
    reader: Box<ColumnReader>,
    offsets: Vec<i32>,
    valid: Vec<bool>,
    count: i32,
}

impl Items {
    fn new(reader: ColumnReader) -> Self {
        Self { reader: Box::new(reader), offsets: vec![0], valid: Vec::new(), count: 0 }
    }

    /// Ends the current list.
    fn close(&mut self, is_valid: bool) {
        self.offsets.push(self.count);
        self.valid.push(is_valid);
    }

    fn finish(&mut self) -> (OffsetBuffer<i32>, NullBuffer) {
        self.count = 0;
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        (OffsetBuffer::new(offsets.into()), NullBuffer::from(std::mem::take(&mut self.valid)))
    }
}

impl ColumnReader {
    /// A reader of one model type from one wire type.
    pub(super) fn new(model: &DataType, wire: &Wire, is_nullable: bool) -> Self {
        let arrow = arrow_type(model);
        let values = match (model, arrow) {
            (DataType::Boolean, _) => Values::Boolean(BooleanBuilder::new()),
            (DataType::Int8, _) => Values::Int32(Int32Builder::new(), i8::MIN.into(), i8::MAX.into(), "int8"),
            (DataType::Int16, _) => Values::Int32(Int32Builder::new(), i16::MIN.into(), i16::MAX.into(), "int16"),
            (DataType::Int32, _) => Values::Int32(Int32Builder::new(), i32::MIN.into(), i32::MAX.into(), "int32"),
            (DataType::Int64, _) => Values::Int64(Int64Builder::new()),
            (DataType::Float32, _) => Values::Float32(Float32Builder::new()),
            (DataType::Float64, _) => Values::Float64(Float64Builder::new()),
            (DataType::Decimal(precision, scale), arrow) => {
                Values::Decimal(Decimal128Builder::new().with_data_type(arrow), *precision, *scale)
            }
            (DataType::Date, _) => Values::Date(Date32Builder::new()),
            (DataType::Time, _) => Values::Time(Time64MicrosecondBuilder::new()),
            (DataType::Timestamp, _) => Values::Timestamp(TimestampMicrosecondBuilder::new()),
            (DataType::Timestamptz, arrow) => {
                Values::Timestamptz(TimestampMicrosecondBuilder::new().with_data_type(arrow))
            }
            (DataType::Interval, _) => Values::Interval(FixedSizeBinaryBuilder::new(16)),
            (DataType::Uuid, _) => Values::Uuid(FixedSizeBinaryBuilder::new(16)),
            (DataType::Char(length) | DataType::Varchar(length), _) => {
                Values::Text(StringBuilder::new(), Some(*length))
            }
            (DataType::Text, _) => Values::Text(StringBuilder::new(), None),
            (DataType::Json, _) => Values::Json(StringBuilder::new()),
            (DataType::Binary, _) => Values::Binary(BinaryBuilder::new()),
            (DataType::BinaryFixed(length), Arrow::FixedSizeBinary(width)) => {
                Values::Fixed(FixedSizeBinaryBuilder::new(width), *length)
            }
            (DataType::List(item), Arrow::List(field)) => {
                Values::List(Items::new(Self::new(item, &item_wire(wire), true)), field)
            }
            (DataType::Vector(length), Arrow::FixedSizeList(field, _)) => {
                let items = Items::new(Self::new(&DataType::Float32, &item_wire(wire), false));
                Values::Vector(items, field, *length)
            }
            (DataType::Struct(fields), Arrow::Struct(arrow_fields)) => {
                let readers = fields
                    .iter()
                    .map(|(name, field)| (name.clone(), Self::new(field, &attribute_wire(wire, name), true)))
                    .collect();
                Values::Struct(readers, arrow_fields, Vec::new())
            }
            (DataType::Map(key, value), Arrow::Map(entries, _)) => Values::Map(
                Box::new(Self::new(key, &Wire::Json, false)),
                Items::new(Self::new(value, &Wire::Json, true)),
                entries,
                json::is_text_key(key),
            ),
            (model, arrow) => unreachable!("{model} has another image than {arrow}"),
        };
        Self { wire: wire.clone(), is_nullable, values }
    }

    /// Appends one field as COPY sends it; `None` is NULL.
    pub(super) fn append(&mut self, field: Option<&[u8]>) -> Result<(), Problem> {
        let Some(bytes) = field else { return self.append_null() };
        match &mut self.values {
            Values::Boolean(builder) => builder.append_value(fixed::<1>(bytes)? != [0]),
            Values::Int32(builder, least, greatest, range) => {
                let value = whole(&self.wire, bytes)?;
                builder.append_value(in_range(value, *least, *greatest, range)? as i32);
            }
            Values::Int64(builder) => builder.append_value(whole(&self.wire, bytes)?),
            Values::Float32(builder) => builder.append_value(f32::from_be_bytes(fixed(bytes)?)),
            Values::Float64(builder) => builder.append_value(match self.wire {
                Wire::Float8 => f64::from_be_bytes(fixed(bytes)?),
                Wire::Float4 => f64::from(f32::from_be_bytes(fixed(bytes)?)),
                // Only int2 and int4 are read as float64: exact.
                _ => whole(&self.wire, bytes)? as f64,
            }),
            Values::Decimal(builder, precision, scale) => builder.append_value(match self.wire {
                Wire::Numeric => numeric::decode(bytes, *precision, *scale)?,
                _ => numeric::parse(&whole(&self.wire, bytes)?.to_string(), *precision, *scale)?,
            }),
            Values::Date(builder) => builder.append_value(date(bytes)?),
            Values::Time(builder) => builder.append_value(i64::from_be_bytes(fixed(bytes)?)),
            Values::Timestamp(builder) if self.wire == Wire::Date => {
                builder.append_value(midnight(date(bytes)?)?);
            }
            Values::Timestamp(builder) | Values::Timestamptz(builder) => builder.append_value(timestamp(bytes)?),
            Values::Interval(builder) => append_fixed(builder, &interval(bytes)?)?,
            Values::Uuid(builder) => append_fixed(builder, &fixed::<16>(bytes)?)?,
            Values::Text(builder, characters_max) => {
                let bytes = if self.wire == Wire::Jsonb { jsonb(bytes)? } else { bytes };
                let mut text = std::str::from_utf8(bytes).map_err(|_| Problem::Utf8)?;
                if self.wire == Wire::Padded {
                    text = text.trim_end_matches(' ');
                }
                builder.append_value(short_enough(text, *characters_max)?);
            }
            Values::Json(builder) => {
                let bytes = if self.wire == Wire::Jsonb { jsonb(bytes)? } else { bytes };
                builder.append_value(std::str::from_utf8(bytes).map_err(|_| Problem::Utf8)?);
            }
            Values::Binary(builder) => builder.append_value(bytes),
            Values::Fixed(builder, length) => append_fixed(builder, of_length(bytes, *length)?)?,
            Values::List(items, _) | Values::Vector(items, ..) if matches!(self.wire, Wire::Array(_)) => {
                let before = items.count;
                array_items(bytes, |item| {
                    items.count += 1;
                    items.reader.append(item)
                })?;
                items.close(true);
                let added = items.count - before;
                if let Values::Vector(_, _, length) = &self.values {
                    check_items(added, *length)?;
                }
            }
            Values::Struct(fields, _, valid) if matches!(self.wire, Wire::Composite(_)) => {
                let Wire::Composite(attributes) = &self.wire else { unreachable!("it was matched") };
                append_composite(bytes, attributes, fields)?;
                valid.push(true);
            }
            Values::List(..) | Values::Vector(..) | Values::Struct(..) | Values::Map(..) => {
                let bytes = if self.wire == Wire::Jsonb { jsonb(bytes)? } else { bytes };
                let text = std::str::from_utf8(bytes).map_err(|_| Problem::Utf8)?;
                return self.append_json(text);
            }
        }
        Ok(())
    }

    fn append_null(&mut self) -> Result<(), Problem> {
        if !self.is_nullable {
            return Err(Problem::Null);
        }
        self.append_hole();
        Ok(())
    }

    /// Appends a NULL, or what stands in its place below a NULL.
    fn append_hole(&mut self) {
        match &mut self.values {
            Values::Boolean(builder) => builder.append_null(),
            Values::Int32(builder, ..) => builder.append_null(),
            Values::Int64(builder) => builder.append_null(),
            Values::Float32(builder) if self.is_nullable => builder.append_null(),
            Values::Float32(builder) => builder.append_value(0.0),
            Values::Float64(builder) => builder.append_null(),
            Values::Decimal(builder, ..) => builder.append_null(),
            Values::Date(builder) => builder.append_null(),
            Values::Time(builder) => builder.append_null(),
            Values::Timestamp(builder) | Values::Timestamptz(builder) => builder.append_null(),
            Values::Interval(builder) | Values::Uuid(builder) | Values::Fixed(builder, _) => builder.append_null(),
            Values::Text(builder, _) | Values::Json(builder) => builder.append_null(),
            Values::Binary(builder) => builder.append_null(),
            Values::List(items, _) | Values::Map(_, items, ..) => items.close(false),
            Values::Vector(items, _, length) => {
                // A NULL among vectors still takes its places.
                for _ in 0..*length {
                    items.count += 1;
                    items.reader.append_hole();
                }
                items.close(false);
            }
            Values::Struct(fields, _, valid) => {
                fields.iter_mut().for_each(|(_, field)| field.append_hole());
                valid.push(false);
            }
        }
    }

    /// Appends one value of a JSON text, as [`json::write`] writes it.
    fn append_json(&mut self, text: &str) -> Result<(), Problem> {
        if let Values::Json(builder) = &mut self.values {
            // JSON inside of JSON stands there as it is.
            if matches!(Json::parse(text)?, Json::Null) {
                return self.append_null();
            }
            builder.append_value(text);
            return Ok(());
        }
        let value = Json::parse(text)?;
        if matches!(value, Json::Null) {
            return self.append_null();
        }
        match (&mut self.values, value) {
            (Values::Boolean(builder), Json::Boolean(value)) => builder.append_value(value),
            (Values::Int32(builder, least, greatest, range), Json::Number(written)) => {
                builder.append_value(in_range(json_whole(written, range)?, *least, *greatest, range)? as i32);
            }
            (Values::Int64(builder), Json::Number(written)) => builder.append_value(json_whole(written, "int64")?),
            (Values::Float32(builder), Json::Number(written)) => builder.append_value(json_float(written, "float32")?),
            (Values::Float32(builder), Json::Text(word)) => builder.append_value(json_word(&word)? as f32),
            (Values::Float64(builder), Json::Number(written)) => builder.append_value(json_float(written, "float64")?),
            (Values::Float64(builder), Json::Text(word)) => builder.append_value(json_word(&word)?),
            (Values::Decimal(builder, precision, scale), Json::Number(written)) => {
                builder.append_value(numeric::parse(written, *precision, *scale)?);
            }
            (Values::Decimal(builder, precision, scale), Json::Text(written)) => {
                builder.append_value(numeric::parse(&written, *precision, *scale)?);
            }
            (Values::Date(builder), Json::Text(written)) => {
                builder.append_value(civil::parse_date(&written).ok_or_else(|| not("date", &written))?);
            }
            (Values::Time(builder), Json::Text(written)) => {
                builder.append_value(civil::parse_time(&written).ok_or_else(|| not("time", &written))?);
            }
            (Values::Timestamp(builder), Json::Text(written)) => {
                builder.append_value(civil::parse_timestamp(&written).ok_or_else(|| not("timestamp", &written))?);
            }
            (Values::Timestamptz(builder), Json::Text(written)) => {
                builder.append_value(civil::parse_timestamptz(&written).ok_or_else(|| not("timestamptz", &written))?);
            }
            (Values::Interval(builder), Json::Object(entries)) => append_fixed(builder, &json_interval(&entries)?)?,
            (Values::Uuid(builder), Json::Text(written)) => {
                append_fixed(builder, &json::parse_uuid(&written).ok_or_else(|| not("uuid", &written))?)?;
            }
            (Values::Text(builder, characters_max), Json::Text(written)) => {
                builder.append_value(short_enough(&written, *characters_max)?);
            }
            (Values::Binary(builder), Json::Text(written)) => {
                builder.append_value(json::parse_hexadecimal(&written).ok_or_else(|| not("binary", &written))?);
            }
            (Values::Fixed(builder, length), Json::Text(written)) => {
                let bytes = json::parse_hexadecimal(&written).ok_or_else(|| not("binary", &written))?;
                append_fixed(builder, of_length(&bytes, *length)?)?;
            }
            (Values::List(items, _), Json::Array(values)) => append_json_items(items, &values)?,
            (Values::Vector(items, _, length), Json::Array(values)) => {
                check_items(values.len() as i32, *length)?;
                append_json_items(items, &values)?;
            }
            (Values::Struct(fields, _, valid), Json::Object(entries)) => {
                for (name, field) in fields {
                    match entries.iter().find(|(entry, _)| entry == name) {
                        Some((_, value)) => field.append_json(value.get())?,
                        None => field.append_null()?,
                    }
                }
                valid.push(true);
            }
            (Values::Map(keys, items, _, true), Json::Object(entries)) => {
                for (name, value) in &entries {
                    keys.append(Some(name.as_bytes()))?;
                    items.count += 1;
                    items.reader.append_json(value.get())?;
                }
                items.close(true);
            }
            (Values::Map(keys, items, _, false), Json::Object(entries)) => {
                for (name, value) in &entries {
                    keys.append_json_key(name)?;
                    items.count += 1;
                    items.reader.append_json(value.get())?;
                }
                items.close(true);
            }
            (Values::Map(keys, items, _, false), Json::Array(pairs)) => {
                for pair in pairs {
                    let Json::Array(pair) = Json::parse(pair.get())? else { return Err(not("map", pair.get())) };
                    let [key, value] = pair[..] else { return Err(Problem::Json("map".to_owned())) };
                    keys.append_json(key.get())?;
                    items.count += 1;
                    items.reader.append_json(value.get())?;
                }
                items.close(true);
            }
            _ => return Err(not("value of the model's type", text)),
        }
        Ok(())
    }

    /// Appends the name of an object's entry: a number or truth value as it is spelled, else a text.
    fn append_json_key(&mut self, name: &str) -> Result<(), Problem> {
        let is_bare = match &self.values {
            Values::Boolean(_) => true,
            Values::Int32(..) | Values::Int64(_) | Values::Float32(_) | Values::Float64(_) | Values::Decimal(..) => {
                name.ends_with(|c: char| c.is_ascii_digit())
            }
            _ => false,
        };
        match is_bare {
            true => self.append_json(name),
            false => self.append_json(&serde_json::to_string(name).expect("every text is JSON")),
        }
    }

    /// The column so far; the reader starts anew.
    pub(super) fn finish(&mut self) -> Result<ArrayRef, FlowError> {
        Ok(match &mut self.values {
            Values::Boolean(builder) => Arc::new(builder.finish()),
            Values::Int32(builder, ..) => Arc::new(builder.finish()),
            Values::Int64(builder) => Arc::new(builder.finish()),
            Values::Float32(builder) => Arc::new(builder.finish()),
            Values::Float64(builder) => Arc::new(builder.finish()),
            Values::Decimal(builder, ..) => Arc::new(builder.finish()),
            Values::Date(builder) => Arc::new(builder.finish()),
            Values::Time(builder) => Arc::new(builder.finish()),
            Values::Timestamp(builder) | Values::Timestamptz(builder) => Arc::new(builder.finish()),
            Values::Interval(builder) | Values::Uuid(builder) | Values::Fixed(builder, _) => Arc::new(builder.finish()),
            Values::Text(builder, _) | Values::Json(builder) => Arc::new(builder.finish()),
            Values::Binary(builder) => Arc::new(builder.finish()),
            Values::List(items, field) => {
                let (offsets, valid) = items.finish();
                let values = items.reader.finish()?;
                Arc::new(ListArray::try_new(field.clone(), offsets, values, Some(valid)).map_err(unbuilt)?)
            }
            Values::Vector(items, field, length) => {
                let (_, valid) = items.finish();
                let values = items.reader.finish()?;
                let length = i32::try_from(*length).unwrap_or(i32::MAX);
                Arc::new(FixedSizeListArray::try_new(field.clone(), length, values, Some(valid)).map_err(unbuilt)?)
            }
            Values::Struct(readers, fields, valid) => {
                let valid = NullBuffer::from(std::mem::take(valid));
                let arrays = readers.iter_mut().map(|(_, reader)| reader.finish()).collect::<Result<_, _>>()?;
                Arc::new(StructArray::try_new(fields.clone(), arrays, Some(valid)).map_err(unbuilt)?)
            }
            Values::Map(keys, items, entries, _) => {
                let (offsets, valid) = items.finish();
                let arrays = vec![keys.finish()?, items.reader.finish()?];
                let Arrow::Struct(fields) = entries.data_type() else { unreachable!("entries are a struct") };
                let values = StructArray::try_new(fields.clone(), arrays, None).map_err(unbuilt)?;
                let map = MapArray::try_new(Arc::clone(entries), offsets, values, Some(valid), false);
                Arc::new(map.map_err(unbuilt)?)
            }
        })
    }
}

fn unbuilt(error: arrow::error::ArrowError) -> FlowError {
    FlowError::never("the rows don't fit together as columns").because(error)
}

fn not(what: &str, value: &str) -> Problem {
    let shown: String = value.chars().take(60).collect();
    Problem::Json(format!("{what}: {shown}"))
}

fn item_wire(wire: &Wire) -> Wire {
    match wire {
        Wire::Array(item) => (**item).clone(),
        _ => Wire::Json,
    }
}

fn attribute_wire(wire: &Wire, name: &str) -> Wire {
    match wire {
        Wire::Composite(attributes) => {
            attributes.iter().find(|(attribute, _)| attribute == name).map_or(Wire::Json, |(_, wire)| wire.clone())
        }
        _ => Wire::Json,
    }
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Problem> {
    bytes.try_into().map_err(|_| Problem::Malformed)
}

fn append_fixed(builder: &mut FixedSizeBinaryBuilder, bytes: &[u8]) -> Result<(), Problem> {
    builder.append_value(bytes).map_err(|_| Problem::Malformed)
}

fn whole(wire: &Wire, bytes: &[u8]) -> Result<i64, Problem> {
    Ok(match wire {
        Wire::Int2 => i16::from_be_bytes(fixed(bytes)?).into(),
        Wire::Int4 => i32::from_be_bytes(fixed(bytes)?).into(),
        Wire::Int8 => i64::from_be_bytes(fixed(bytes)?),
        Wire::Numeric => {
            let value = numeric::decode(bytes, 38, 0)?;
            i64::try_from(value).map_err(|_| Problem::OutOfRange { value: value.to_string(), range: "int64" })?
        }
        _ => return Err(Problem::Malformed),
    })
}

fn in_range(value: i64, least: i64, greatest: i64, range: &'static str) -> Result<i64, Problem> {
    match (least..=greatest).contains(&value) {
        true => Ok(value),
        false => Err(Problem::OutOfRange { value: value.to_string(), range }),
    }
}

fn date(bytes: &[u8]) -> Result<i32, Problem> {
    match i32::from_be_bytes(fixed(bytes)?) {
        i32::MAX => Err(Problem::NotFinite("infinity")),
        i32::MIN => Err(Problem::NotFinite("-infinity")),
        // PostgreSQL's last date is far from where this could overflow.
        days => days.checked_add(EPOCH_DAYS).ok_or(Problem::Malformed),
    }
}

/// What µs since 1970 in 64 bits hold.
const MICROS_RANGE: &str = "µs since 1970 in 64 bits (to the year 294247)";

/// µs since 1970 of the beginning of a day.
fn midnight(days: i32) -> Result<i64, Problem> {
    let out_of_range = || Problem::OutOfRange { value: civil::date(days), range: MICROS_RANGE };
    i64::from(days).checked_mul(86_400_000_000).ok_or_else(out_of_range)
}

fn timestamp(bytes: &[u8]) -> Result<i64, Problem> {
    match i64::from_be_bytes(fixed(bytes)?) {
        i64::MAX => Err(Problem::NotFinite("infinity")),
        i64::MIN => Err(Problem::NotFinite("-infinity")),
        micros => micros
            .checked_add(EPOCH_MICROS)
            .ok_or_else(|| Problem::OutOfRange {
                value: format!("{micros} µs after 2000-01-01"), range: MICROS_RANGE
            }),
    }
}

fn interval(bytes: &[u8]) -> Result<[u8; 16], Problem> {
    let bytes = fixed::<16>(bytes)?;
    let micros = i64::from_be_bytes(fixed(&bytes[..8])?);
    let (days, months) = (i32::from_be_bytes(fixed(&bytes[8..12])?), i32::from_be_bytes(fixed(&bytes[12..])?));
    match (micros, days, months) {
        (i64::MAX, i32::MAX, i32::MAX) => Err(Problem::NotFinite("infinity")),
        (i64::MIN, i32::MIN, i32::MIN) => Err(Problem::NotFinite("-infinity")),
        _ => Ok(json::interval_bytes(months, days, micros)),
    }
}

fn jsonb(bytes: &[u8]) -> Result<&[u8], Problem> {
    match bytes.split_first() {
        Some((1, text)) => Ok(text),
        _ => Err(Problem::Malformed),
    }
}

fn short_enough(text: &str, characters_max: Option<u32>) -> Result<&str, Problem> {
    let Some(characters_max) = characters_max else { return Ok(text) };
    // No text has more characters than bytes: most need no counting.
    if text.len() <= characters_max as usize {
        return Ok(text);
    }
    match text.chars().count() {
        characters if characters > characters_max as usize => Err(Problem::TooLong { characters, characters_max }),
        _ => Ok(text),
    }
}

fn of_length(bytes: &[u8], length: u32) -> Result<&[u8], Problem> {
    match bytes.len() == length as usize {
        true => Ok(bytes),
        false => Err(Problem::Length { bytes: bytes.len(), bytes_wanted: length }),
    }
}

fn check_items(items: i32, items_wanted: u32) -> Result<(), Problem> {
    match u32::try_from(items) == Ok(items_wanted) {
        true => Ok(()),
        false => Err(Problem::Items { items: items.unsigned_abs() as usize, items_wanted }),
    }
}

/// Takes big-endian numbers and spans off the front of a value.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Problem> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Problem::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn int(&mut self) -> Result<i32, Problem> {
        Ok(i32::from_be_bytes(fixed(self.take(4)?)?))
    }

    /// A length and so many bytes; -1 is NULL.
    fn field(&mut self) -> Result<Option<&'a [u8]>, Problem> {
        match self.int()? {
            -1 => Ok(None),
            length => Ok(Some(self.take(usize::try_from(length).map_err(|_| Problem::Malformed)?)?)),
        }
    }
}

/// Calls back with each item of an array of one dimension.
fn array_items(bytes: &[u8], mut each: impl FnMut(Option<&[u8]>) -> Result<(), Problem>) -> Result<(), Problem> {
    let mut cursor = Cursor(bytes);
    let (dimensions, _has_nulls, _item_type) = (cursor.int()?, cursor.int()?, cursor.int()?);
    let items = match dimensions {
        0 => 0,
        1 => {
            let items = cursor.int()?;
            let _lower_bound = cursor.int()?;
            items
        }
        more => return Err(Problem::Dimensions(more)),
    };
    for _ in 0..items {
        each(cursor.field()?)?;
    }
    Ok(())
}

fn append_composite(
    bytes: &[u8],
    attributes: &[(String, Wire)],
    fields: &mut [(String, ColumnReader)],
) -> Result<(), Problem> {
    let mut cursor = Cursor(bytes);
    if usize::try_from(cursor.int()?) != Ok(attributes.len()) {
        return Err(Problem::Malformed);
    }
    for (attribute, _) in attributes {
        let _type_id = cursor.int()?;
        let value = cursor.field()?;
        if let Some((_, field)) = fields.iter_mut().find(|(name, _)| name == attribute) {
            field.append(value)?;
        }
    }
    Ok(())
}

fn append_json_items(items: &mut Items, values: &[&serde_json::value::RawValue]) -> Result<(), Problem> {
    for value in values {
        items.count += 1;
        items.reader.append_json(value.get())?;
    }
    items.close(true);
    Ok(())
}

fn json_whole(written: &str, range: &'static str) -> Result<i64, Problem> {
    let out_of_range = || Problem::OutOfRange { value: written.to_owned(), range };
    let value = numeric::parse(written, 38, 0).map_err(|_| out_of_range())?;
    i64::try_from(value).map_err(|_| out_of_range())
}

fn json_float<F: Float>(written: &str, wanted: &'static str) -> Result<F, Problem> {
    written_float(written).ok_or_else(|| Problem::Inexact { value: written.to_owned(), wanted })
}

/// Reads the floats that JSON has no numbers for.
fn json_word(word: &str) -> Result<f64, Problem> {
    match word {
        "NaN" => Ok(f64::NAN),
        "Infinity" => Ok(f64::INFINITY),
        "-Infinity" => Ok(f64::NEG_INFINITY),
        other => Err(not("number", other)),
    }
}

fn json_interval(entries: &[(String, &serde_json::value::RawValue)]) -> Result<[u8; 16], Problem> {
    let part = |wanted: &str| match entries.iter().find(|(name, _)| name == wanted) {
        Some((_, value)) => json_whole(value.get(), "interval"),
        None => Ok(0),
    };
    let narrow = |value: i64| {
        i32::try_from(value).map_err(|_| Problem::OutOfRange { value: value.to_string(), range: "interval" })
    };
    Ok(json::interval_bytes(narrow(part("months")?)?, narrow(part("days")?)?, part("microseconds")?))
}
