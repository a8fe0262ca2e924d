//! The one byte form of a row, and its hashes.
//!
//! Takes record batches as [`crate::arrow_schema::arrow_schema`] types them, gives 128-bit hashes
//! that the store diffs by and `verify` compares. Knows no file and no system.
//!
//! The form, version [`CANONICAL_VERSION`], is framed, so that no two rows share it: per column
//! one byte, 0 for null or 1, and then the value. Integers, dates and times are 8 bytes (a widened
//! integer keeps its hash), floats the 8 bytes of the same float64 with one zero and one NaN,
//! decimals 16 bytes and the scale, texts and bytes a 4-byte length and themselves (`char(n)`
//! without its trailing blanks, which systems add and drop as they like, JSON without the white
//! space around it), lists a 4-byte count and
//! their elements, structs their fields in order, maps their entries in the order of their bytes.
//! All numbers are little-endian. The hash is xxh3-128, seeded with the version.

use crate::arrow_schema::arrow_type;
use arrow::array::*;
use arrow::buffer::NullBuffer;
use arrow::datatypes::*;
use levada_model::{DataType, Schema};
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// The version of the byte form; hashes of different versions never meet.
pub const CANONICAL_VERSION: u64 = 1;

/// Hashes rows of one schema.
#[derive(Clone, Debug)]
pub struct RowHasher {
    columns: Vec<(String, DataType)>,
    key: Vec<usize>,
}

impl RowHasher {
    /// Prepares for rows of `schema`.
    pub fn new(schema: &Schema) -> Self {
        let columns = schema.columns.iter().map(|column| (column.name.as_str().to_owned(), column.data_type.clone()));
        Self { columns: columns.collect(), key: schema.key() }
    }

    /// The hash of each row's key columns, found by name; a batch of keys alone will do. Without a
    /// key: of all columns, and the caller counts equal rows with [`with_occurrence`].
    ///
    /// # Panics
    /// The batch lacks a column, or holds one that can't be the column's type.
    pub fn key_hashes(&self, batch: &RecordBatch) -> Vec<[u8; 16]> {
        match self.key.is_empty() {
            true => self.row_hashes(batch),
            false => hashes(batch, self.key.iter().map(|index| &self.columns[*index])),
        }
    }

    /// The hash of each row's columns, all of the schema, found by name; others are not looked at.
    ///
    /// # Panics
    /// The batch lacks a column, or holds one that can't be the column's type.
    pub fn row_hashes(&self, batch: &RecordBatch) -> Vec<[u8; 16]> {
        hashes(batch, self.columns.iter())
    }
}

/// Tells equal rows of a dataset without key apart: the hash of the `n`-th one (from 0).
pub fn with_occurrence(hash: [u8; 16], n: u64) -> [u8; 16] {
    let mut bytes = [0; 24];
    bytes[..16].copy_from_slice(&hash);
    bytes[16..].copy_from_slice(&n.to_le_bytes());
    hash_of(&bytes)
}

/// The byte form of each row, as it is hashed.
///
/// # Panics
/// As [`RowHasher::row_hashes`].
pub fn canonical_rows(schema: &Schema, batch: &RecordBatch) -> Vec<Vec<u8>> {
    let hasher = RowHasher::new(schema);
    let arrays = arrays(batch, hasher.columns.iter());
    let encoders = encoders(&arrays);
    let canonical = |row| {
        let mut bytes = Vec::new();
        encoders.iter().for_each(|encoder| encoder.append(row, &mut bytes));
        bytes
    };
    (0..batch.num_rows()).map(canonical).collect()
}

/// The byte form of one row.
///
/// # Panics
/// As [`RowHasher::row_hashes`]; or there is no such row.
pub fn canonical_row(schema: &Schema, batch: &RecordBatch, row: usize) -> Vec<u8> {
    canonical_rows(schema, &batch.slice(row, 1)).remove(0)
}

fn hash_of(bytes: &[u8]) -> [u8; 16] {
    xxh3_128_with_seed(bytes, CANONICAL_VERSION).to_be_bytes()
}

fn hashes<'a>(batch: &RecordBatch, columns: impl Iterator<Item = &'a (String, DataType)>) -> Vec<[u8; 16]> {
    let arrays = arrays(batch, columns);
    let encoders = encoders(&arrays);
    let mut bytes = Vec::with_capacity(256);
    (0..batch.num_rows())
        .map(|row| {
            bytes.clear();
            for encoder in &encoders {
                encoder.append(row, &mut bytes);
            }
            hash_of(&bytes)
        })
        .collect()
}

/// The columns by name, cast where an engine holds them in another of Arrow's forms.
fn arrays<'a>(
    batch: &RecordBatch,
    columns: impl Iterator<Item = &'a (String, DataType)>,
) -> Vec<(ArrayRef, &'a DataType)> {
    columns
        .map(|(name, data_type)| {
            let array = batch.column_by_name(name).unwrap_or_else(|| panic!("the batch has no column {name:?}"));
            if encoder(array.as_ref(), data_type).is_some() {
                return (array.clone(), data_type);
            }
            let cast = arrow::compute::cast(array, &arrow_type(data_type));
            (cast.unwrap_or_else(|error| panic!("column {name:?} is no {data_type}: {error}")), data_type)
        })
        .collect()
}

fn encoders<'a>(arrays: &'a [(ArrayRef, &'a DataType)]) -> Vec<Encoder<'a>> {
    let of = |(array, data_type): &'a (ArrayRef, &'a DataType)| encoder(array.as_ref(), data_type);
    arrays.iter().map(|column| of(column).expect("arrays of other types were cast")).collect()
}

/// One column of a batch, ready to be read row by row.
struct Encoder<'a> {
    nulls: Option<&'a NullBuffer>,
    values: Values<'a>,
}

/// What stands in a column, by its byte form.
enum Values<'a> {
    Boolean(&'a BooleanArray),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    Float32(&'a [f32]),
    Float64(&'a [f64]),
    Decimal(&'a [i128], u8),
    Text(&'a StringArray),
    Json(&'a StringArray),
    BlankPadded(&'a StringArray),
    Binary(&'a BinaryArray),
    Fixed(&'a FixedSizeBinaryArray),
    List(&'a [i32], Box<Encoder<'a>>),
    Struct(Vec<Encoder<'a>>),
    Map(&'a [i32], Box<Encoder<'a>>, Box<Encoder<'a>>),
    Vector(usize, Box<Encoder<'a>>),
}

/// Reads the array as the type, or `None` where it is in another form.
fn encoder<'a>(array: &'a dyn Array, data_type: &DataType) -> Option<Encoder<'a>> {
    let values = match data_type {
        DataType::Boolean => Values::Boolean(array.as_boolean_opt()?),
        DataType::Int8 | DataType::Int16 | DataType::Int32 => {
            Values::Int32(array.as_primitive_opt::<Int32Type>()?.values())
        }
        DataType::Int64 => Values::Int64(array.as_primitive_opt::<Int64Type>()?.values()),
        DataType::Date => Values::Int32(array.as_primitive_opt::<Date32Type>()?.values()),
        DataType::Time => Values::Int64(array.as_primitive_opt::<Time64MicrosecondType>()?.values()),
        DataType::Timestamp | DataType::Timestamptz => {
            Values::Int64(array.as_primitive_opt::<TimestampMicrosecondType>()?.values())
        }
        DataType::Float32 => Values::Float32(array.as_primitive_opt::<Float32Type>()?.values()),
        DataType::Float64 => Values::Float64(array.as_primitive_opt::<Float64Type>()?.values()),
        DataType::Decimal(_, scale) => {
            let decimals = array.as_primitive_opt::<Decimal128Type>()?;
            (decimals.scale() == *scale as i8).then(|| Values::Decimal(decimals.values(), *scale))?
        }
        DataType::Char(_) => Values::BlankPadded(array.as_string_opt()?),
        DataType::Varchar(_) | DataType::Text => Values::Text(array.as_string_opt()?),
        DataType::Json => Values::Json(array.as_string_opt()?),
        DataType::Binary => Values::Binary(array.as_binary_opt()?),
        DataType::BinaryFixed(_) | DataType::Uuid | DataType::Interval => {
            Values::Fixed(array.as_fixed_size_binary_opt()?)
        }
        DataType::List(item) => {
            let lists = array.as_list_opt::<i32>()?;
            Values::List(lists.value_offsets(), Box::new(encoder(lists.values().as_ref(), item)?))
        }
        DataType::Struct(fields) => {
            let structs = array.as_struct_opt()?;
            let inner = fields.iter().zip(structs.columns()).map(|((_, field), inner)| encoder(inner.as_ref(), field));
            let inner = inner.collect::<Option<Vec<_>>>()?;
            (inner.len() == fields.len()).then_some(Values::Struct(inner))?
        }
        DataType::Map(key, value) => {
            let maps = array.as_map_opt()?;
            let keys = encoder(maps.keys().as_ref(), key)?;
            Values::Map(maps.value_offsets(), Box::new(keys), Box::new(encoder(maps.values().as_ref(), value)?))
        }
        DataType::Vector(length) => {
            let vectors = array.as_fixed_size_list_opt()?;
            let elements = encoder(vectors.values().as_ref(), &DataType::Float32)?;
            Values::Vector(usize::try_from(*length).ok()?, Box::new(elements))
        }
    };
    Some(Encoder { nulls: array.nulls(), values })
}

impl Encoder<'_> {
    fn append(&self, row: usize, bytes: &mut Vec<u8>) {
        if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
            bytes.push(0);
            return;
        }
        bytes.push(1);
        match &self.values {
            Values::Boolean(values) => bytes.push(u8::from(values.value(row))),
            Values::Int32(values) => bytes.extend_from_slice(&i64::from(values[row]).to_le_bytes()),
            Values::Int64(values) => bytes.extend_from_slice(&values[row].to_le_bytes()),
            Values::Float32(values) => append_float(f64::from(values[row]), bytes),
            Values::Float64(values) => append_float(values[row], bytes),
            Values::Decimal(values, scale) => {
                bytes.extend_from_slice(&values[row].to_le_bytes());
                bytes.push(*scale);
            }
            Values::Text(values) => append_framed(values.value(row).as_bytes(), bytes),
            Values::Json(values) => append_framed(trim_json(values.value(row)).as_bytes(), bytes),
            Values::BlankPadded(values) => append_framed(values.value(row).trim_end_matches(' ').as_bytes(), bytes),
            Values::Binary(values) => append_framed(values.value(row), bytes),
            Values::Fixed(values) => append_framed(values.value(row), bytes),
            Values::List(offsets, items) => {
                let range = range(offsets, row);
                append_length(range.len(), bytes);
                range.for_each(|item| items.append(item, bytes));
            }
            Values::Struct(fields) => fields.iter().for_each(|field| field.append(row, bytes)),
            Values::Map(offsets, keys, values) => append_map(range(offsets, row), keys, values, bytes),
            Values::Vector(length, elements) => {
                append_length(*length, bytes);
                (row * length..(row + 1) * length).for_each(|element| elements.append(element, bytes));
            }
        }
    }
}

fn range(offsets: &[i32], row: usize) -> std::ops::Range<usize> {
    let offset = |at: usize| usize::try_from(offsets[at]).expect("offsets are never negative");
    offset(row)..offset(row + 1)
}

fn append_length(length: usize, bytes: &mut Vec<u8>) {
    let length = u32::try_from(length).expect("Arrow's offsets are 31 bits");
    bytes.extend_from_slice(&length.to_le_bytes());
}

/// A JSON text without the white space around it, which is no part of the value.
fn trim_json(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\r', '\n'])
}

fn append_framed(value: &[u8], bytes: &mut Vec<u8>) {
    append_length(value.len(), bytes);
    bytes.extend_from_slice(value);
}

fn append_float(value: f64, bytes: &mut Vec<u8>) {
    let value = match value {
        0.0 => 0.0,
        nan if nan.is_nan() => f64::NAN,
        other => other,
    };
    bytes.extend_from_slice(&value.to_bits().to_le_bytes());
}

/// Entries have no order of their own, so their bytes give it.
fn append_map(range: std::ops::Range<usize>, keys: &Encoder<'_>, values: &Encoder<'_>, bytes: &mut Vec<u8>) {
    append_length(range.len(), bytes);
    let mut entries: Vec<Vec<u8>> = range
        .map(|entry| {
            let mut one = Vec::new();
            keys.append(entry, &mut one);
            values.append(entry, &mut one);
            one
        })
        .collect();
    entries.sort_unstable();
    entries.iter().for_each(|entry| bytes.extend_from_slice(entry));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrow_schema::arrow_schema;
    use levada_model::SchemaColumn;
    use std::sync::Arc;

    fn schema(columns: &[(&str, &str, bool)]) -> Schema {
        let column = |(name, data_type, key): &(&str, &str, bool)| SchemaColumn {
            name: name.parse().expect("a name"),
            from: None,
            data_type: data_type.parse().expect("a type"),
            nullable: !key,
            key: *key,
        };
        Schema { columns: columns.iter().map(column).collect() }
    }

    fn texts(columns: [Vec<Option<&str>>; 2]) -> Vec<[u8; 16]> {
        let schema = schema(&[("a", "text", false), ("b", "text", false)]);
        let arrays = columns.map(|values| Arc::new(StringArray::from(values)) as ArrayRef).to_vec();
        let batch = RecordBatch::try_new(arrow_schema(&schema), arrays).expect("two columns");
        RowHasher::new(&schema).row_hashes(&batch)
    }

    #[test]
    fn neighbours_never_run_into_each_other_and_null_is_not_empty() {
        let left = vec![Some("ab"), Some("a"), None, Some(""), Some(""), None];
        let right = vec![Some("c"), Some("bc"), Some(""), None, Some(""), None];
        let mut hashes = texts([left, right]);
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 6);
    }

    #[test]
    fn one_row_has_one_form_wherever_it_stands() {
        let schema = schema(&[("k", "int32", true), ("l", "list<char(3)>", false), ("m", "map<text, float64>", false)]);
        let mut lists = ListBuilder::new(StringBuilder::new());
        let mut maps = MapBuilder::new(None, StringBuilder::new(), Float64Builder::new());
        for (texts, entries) in
            [(["x", "y  "], [("a", 0.0), ("b", f64::NAN)]), (["x  ", "y"], [("b", -f64::NAN), ("a", -0.0)])]
        {
            texts.iter().for_each(|text| lists.values().append_value(text));
            lists.append(true);
            for (key, value) in entries {
                maps.keys().append_value(key);
                maps.values().append_value(value);
            }
            maps.append(true).expect("keys and values are in step");
        }
        let batch = RecordBatch::try_from_iter([
            ("m", Arc::new(maps.finish()) as ArrayRef),
            ("k", Arc::new(Int64Array::from(vec![7, 7]))),
            ("l", Arc::new(lists.finish())),
        ])
        .expect("three columns");
        let hasher = RowHasher::new(&schema);
        let rows = hasher.row_hashes(&batch);
        assert_eq!(rows[0], rows[1]);
        assert_eq!(hasher.row_hashes(&batch.slice(1, 1)), rows[1..]);
        assert_eq!(canonical_row(&schema, &batch, 0), canonical_row(&schema, &batch, 1));
        let keys = batch.project(&[1]).expect("it has the column");
        assert_eq!(hasher.key_hashes(&keys), hasher.key_hashes(&batch));
        assert_ne!(hasher.key_hashes(&batch), rows);
    }

    #[test]
    fn an_integer_keeps_its_hash_when_its_column_is_widened() {
        let narrow = RecordBatch::try_from_iter([("a", Arc::new(Int32Array::from(vec![-5])) as ArrayRef)]);
        let wide = RecordBatch::try_from_iter([("a", Arc::new(Int64Array::from(vec![-5])) as ArrayRef)]);
        let hash =
            |data_type, batch: &RecordBatch| RowHasher::new(&schema(&[("a", data_type, false)])).row_hashes(batch);
        assert_eq!(hash("int8", &narrow.expect("one column")), hash("int64", &wide.expect("one column")));
    }

    #[test]
    fn equal_rows_are_told_apart_by_their_number() {
        let hash = [3; 16];
        assert_ne!(with_occurrence(hash, 0), with_occurrence(hash, 1));
        assert_ne!(with_occurrence(hash, 0), hash);
    }

    #[test]
    fn the_form_is_what_version_one_says() {
        let schema = schema(&[("a", "int32", false), ("b", "text", false)]);
        let arrays =
            vec![Arc::new(Int32Array::from(vec![1])) as ArrayRef, Arc::new(StringArray::from(vec![Some("hé")]))];
        let batch = RecordBatch::try_new(arrow_schema(&schema), arrays).expect("two columns");
        let bytes = canonical_row(&schema, &batch, 0);
        assert_eq!(bytes, [1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 3, 0, 0, 0, b'h', 0xc3, 0xa9]);
    }
}
