//! Values that connectors get wrong: extremes, nothings, quotes, scripts of all directions.

use crate::arrow_schema::arrow_type;
use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType as Arrow, Float32Type};
use levada_model::{DataType, Schema, SchemaColumn};
use std::sync::Arc;

/// Which extremes a system has.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Limits {
    /// The first and last day, since 1970-01-01.
    pub days: (i32, i32),
    /// The first and last timestamp, in µs since 1970-01-01.
    pub micros: (i64, i64),
    /// Whether floats have a NaN.
    pub has_nan: bool,
    /// Whether floats have infinities.
    pub has_infinity: bool,
    /// Whether a text may hold U+0000.
    pub has_nul_in_text: bool,
    /// Whether JSON's null inside of a list, struct or map differs from no value.
    pub has_json_null_inside: bool,
}

impl Limits {
    /// What Arrow's types hold, and every Unicode text.
    pub const ALL: Self = Self {
        days: (i32::MIN, i32::MAX),
        micros: (i64::MIN, i64::MAX),
        has_nan: true,
        has_infinity: true,
        has_nul_in_text: true,
        has_json_null_inside: true,
    };
}

/// Every type of the model, with the arguments that matter.
pub fn all_types() -> Vec<DataType> {
    let types = [
        "boolean",
        "int8",
        "int16",
        "int32",
        "int64",
        "float32",
        "float64",
        "decimal(5,0)",
        "decimal(15,2)",
        "decimal(18,4)",
        "decimal(38,10)",
        "decimal(38,38)",
        "date",
        "time",
        "timestamp",
        "timestamptz",
        "interval",
        "char(3)",
        "varchar(5)",
        "text",
        "binary",
        "binary(4)",
        "uuid",
        "json",
        "list<int32>",
        "list<text>",
        "list<json>",
        "list<list<decimal(20,2)>>",
        "struct<doc: json, n: int32>",
        "struct<a: int64, \"b \"\"c\": text>",
        "map<text, float64>",
        "map<date, list<timestamptz>>",
        "vector(3)",
    ];
    types.iter().map(|text| text.parse().expect("a type of the model")).collect()
}

/// Names that are no SQL identifiers, and some that are commands.
pub fn hostile_names() -> Vec<&'static str> {
    vec![
        "select",
        "a b",
        "a\"b",
        "a'b",
        "x\"; DROP TABLE levada__applied; --",
        "..",
        "a.b",
        "Größe ß",
        "😀 emoji",
        "عربى",
        "%s $1 ?1 :x @y",
        "back\\slash`tick",
        "[bracket]",
        "UPPER",
    ]
}

/// A schema from columns as the model writes them: name, type, whether key.
///
/// # Panics
/// A name or type is none.
pub fn schema_of(columns: &[(&str, &str, bool)]) -> Schema {
    let column = |(name, data_type, key): &(&str, &str, bool)| SchemaColumn {
        name: name.parse().expect("a column's name"),
        from: None,
        data_type: data_type.parse().expect("a type of the model"),
        nullable: !key,
        key: *key,
    };
    Schema { columns: columns.iter().map(column).collect() }
}

const TEXTS: [&str; 16] = [
    "",
    " ",
    "a",
    "  both  ",
    "'",
    "\"",
    "''; DROP TABLE x; --",
    "\\",
    "\\N",
    "NULL",
    "line\nfeed\r\n\ttab",
    "e\u{301} é",
    "😀👩‍👩‍👧",
    "עברית عربى \u{202b}",
    "comma,semicolon;pipe|",
    "\u{feff}\u{fffd}\u{10ffff}",
];

/// The interesting values of a type, none of them null.
pub fn sample(data_type: &DataType, limits: &Limits) -> ArrayRef {
    match data_type {
        DataType::Boolean => Arc::new(BooleanArray::from(vec![true, false])),
        DataType::Int8 => int32s([i8::MIN.into(), -1, 0, 1, i8::MAX.into()]),
        DataType::Int16 => int32s([i16::MIN.into(), -1, 0, 1, i16::MAX.into()]),
        DataType::Int32 => int32s([i32::MIN, -1, 0, 1, i32::MAX]),
        DataType::Int64 => Arc::new(Int64Array::from(vec![i64::MIN, -1, 0, 1, (1 << 53) + 1, i64::MAX])),
        DataType::Float32 => {
            let mut values =
                vec![f32::MIN, -1.5, -0.0, 0.0, 0.1, f32::MIN_POSITIVE, f32::from_bits(1), 16_777_216.0, f32::MAX];
            values.extend(limits.has_nan.then_some(f32::NAN));
            values.extend(limits.has_infinity.then_some([f32::INFINITY, f32::NEG_INFINITY]).into_iter().flatten());
            Arc::new(Float32Array::from(values))
        }
        DataType::Float64 => {
            let mut values =
                vec![f64::MIN, -1.5, -0.0, 0.0, 0.1, 0.1 + 0.2, f64::MIN_POSITIVE, f64::from_bits(1), 1e23, f64::MAX];
            values.extend(limits.has_nan.then_some(f64::NAN));
            values.extend(limits.has_infinity.then_some([f64::INFINITY, f64::NEG_INFINITY]).into_iter().flatten());
            Arc::new(Float64Array::from(values))
        }
        DataType::Decimal(precision, _) => {
            let most = 10_i128.pow((*precision).into()) - 1;
            let values = Decimal128Array::from(vec![-most, -1, 0, 1, 10, most / 7, most - 1, most]);
            Arc::new(values.with_data_type(arrow_type(data_type)))
        }
        DataType::Date => {
            let (first, last) = limits.days;
            Arc::new(Date32Array::from(vec![first, -719_162, -1, 0, 11_016, 20_000, 2_932_896, last]))
        }
        DataType::Time => Arc::new(Time64MicrosecondArray::from(vec![0, 1, 43_200_000_000, 86_399_999_999])),
        DataType::Timestamp | DataType::Timestamptz => {
            let (first, last) = limits.micros;
            let values =
                vec![first, -62_135_596_800_000_000, -1, 0, 1, 1_790_000_000_123_456, 253_402_300_799_999_999, last];
            Arc::new(TimestampMicrosecondArray::from(values).with_data_type(arrow_type(data_type)))
        }
        DataType::Interval => {
            intervals(&[(0, 0, 0), (14, -3, 1), (-1, 0, -1_500_000), (1_200, 30_000, i64::from(i32::MAX))])
        }
        DataType::Char(length) => texts(["", "a", "ab", "ä€", "'"].map(|text| padded(text, *length)).to_vec()),
        DataType::Varchar(length) => {
            let fit = |text: &&str| text.chars().count() <= *length as usize;
            texts(TEXTS.iter().filter(|text| fit(text)).map(|text| (*text).to_owned()).collect())
        }
        DataType::Text => {
            let mut values: Vec<String> = TEXTS.iter().map(|text| (*text).to_owned()).collect();
            values.push("long ".repeat(30_000));
            values.extend(limits.has_nul_in_text.then_some("a\0b".to_owned()));
            texts(values)
        }
        DataType::Json => {
            let values =
                [r#"{"a": [1, 2.50, null, "x\"y"]}"#, r#""text""#, "null", "true", "1", "[]", r#"{"é": "😀"}"#];
            texts(values.map(str::to_owned).to_vec())
        }
        DataType::Binary => {
            let all: Vec<u8> = (0..=255).collect();
            Arc::new(BinaryArray::from_iter_values([b"".as_slice(), b"\0", b"'\"\\", &all]))
        }
        DataType::BinaryFixed(length) => {
            fixed([0x00, 0x27, 0xff].map(|byte| vec![byte; *length as usize]).to_vec(), *length)
        }
        DataType::Uuid => fixed(vec![vec![0; 16], (0..16).collect(), vec![0xff; 16]], 16),
        DataType::List(_) | DataType::Map(..) | DataType::Struct(_) | DataType::Vector(_) => nested(data_type, limits),
    }
}

fn int32s(values: [i32; 5]) -> ArrayRef {
    Arc::new(Int32Array::from(values.to_vec()))
}

fn texts(values: Vec<String>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

fn padded(text: &str, length: u32) -> String {
    format!("{text:<width$}", width = length as usize).chars().take(length as usize).collect()
}

fn fixed(values: Vec<Vec<u8>>, length: u32) -> ArrayRef {
    let mut builder = FixedSizeBinaryBuilder::new(i32::try_from(length).expect("a sample is small"));
    values.iter().for_each(|value| builder.append_value(value).expect("the length is the type's"));
    Arc::new(builder.finish())
}

fn intervals(values: &[(i32, i32, i64)]) -> ArrayRef {
    let bytes = |(months, days, micros): &(i32, i32, i64)| {
        [months.to_le_bytes().as_slice(), &days.to_le_bytes(), &micros.to_le_bytes()].concat()
    };
    fixed(values.iter().map(bytes).collect(), 16)
}

/// The values of a type inside of another.
fn inner_sample(data_type: &DataType, limits: &Limits) -> ArrayRef {
    let values = sample(data_type, limits);
    match data_type {
        DataType::Json if !limits.has_json_null_inside => {
            let texts = values.as_string::<i32>().iter().flatten().filter(|text| *text != "null");
            Arc::new(StringArray::from_iter_values(texts))
        }
        _ => values,
    }
}

/// All values of the inner types: in one list, alone, beside a null, none at all.
fn nested(data_type: &DataType, limits: &Limits) -> ArrayRef {
    match (data_type, arrow_type(data_type)) {
        (DataType::List(item), Arrow::List(field)) => {
            let items = with_null(&inner_sample(item, limits));
            let ends = [0, items.len(), 1, 0, 1];
            let last = i32::try_from(items.len()).expect("a sample is small");
            let items = arrow::compute::concat(&[&items, &items.slice(0, 1), &items.slice(items.len() - 1, 1)]);
            let offsets = OffsetBuffer::from_lengths(ends);
            assert_eq!(offsets.last().copied(), Some(last + 2), "every element has its list");
            Arc::new(ListArray::new(field, offsets, items.expect("arrays of one type"), None))
        }
        (DataType::Struct(types), Arrow::Struct(fields)) => {
            let samples: Vec<ArrayRef> =
                types.iter().map(|(_, field)| with_null(&inner_sample(field, limits))).collect();
            let rows = samples.iter().map(Array::len).max().expect("a struct has fields");
            let cycle = |array: &ArrayRef| {
                let indices: UInt32Array = (0..rows).map(|row| Some((row % array.len()) as u32)).collect();
                arrow::compute::take(array, &indices, None).expect("the indices are within")
            };
            Arc::new(StructArray::new(fields, samples.iter().map(cycle).collect(), None))
        }
        (DataType::Map(key, value), Arrow::Map(field, is_sorted)) => {
            let keys = sample(key, limits);
            let values = with_null(&inner_sample(value, limits));
            let indices: UInt32Array = (0..keys.len()).map(|row| Some((row % values.len()) as u32)).collect();
            let values = arrow::compute::take(&values, &indices, None).expect("the indices are within");
            let Arrow::Struct(fields) = field.data_type() else { unreachable!("entries are structs") };
            let offsets = OffsetBuffer::from_lengths([0, 1, keys.len() - 1]);
            let entries = StructArray::new(fields.clone(), vec![keys, values], None);
            Arc::new(MapArray::new(field, offsets, entries, None, is_sorted))
        }
        (DataType::Vector(length), _) => {
            let length = i32::try_from(*length).expect("a sample is small");
            let rows = [0.0, 1.5, -0.1].map(|value| Some(vec![Some(value); length as usize]));
            let vectors = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(rows, length);
            let Arrow::FixedSizeList(field, _) = arrow_type(data_type) else {
                unreachable!("vectors have a fixed size")
            };
            Arc::new(FixedSizeListArray::new(field, length, vectors.values().clone(), None))
        }
        _ => unreachable!("only nested types come here"),
    }
}

/// The same values and one null behind them.
pub(super) fn with_null(values: &ArrayRef) -> ArrayRef {
    let null = new_null_array(values.data_type(), 1);
    let null = match values.data_type() {
        // Arrow's null list of a non-null element would not be valid.
        Arrow::FixedSizeList(field, length) => Arc::new(FixedSizeListArray::new(
            field.clone(),
            *length,
            Arc::new(Float32Array::from(vec![0.0; *length as usize])),
            Some(NullBuffer::new_null(1)),
        )),
        _ => null,
    };
    arrow::compute::concat(&[values, &null]).expect("arrays of one type")
}
