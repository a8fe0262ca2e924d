//! The types of the model: `varchar(5)`, `decimal(12,2)`, `list<struct<a: int32>>`.
//!
//! Takes and gives their one spelling. Parsing forgives spaces and letter case, printing has one
//! form, and what is printed parses to the same type. Knows no system's types: connectors map them.

use crate::nearest::nearest;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How deep lists, structs and maps may stand in each other.
pub const TYPE_DEPTH_MAX: usize = 16;

/// The most digits of a decimal.
pub const DECIMAL_DIGITS_MAX: u8 = 38;

/// The largest length of a char, varchar, binary or vector.
pub const TYPE_LENGTH_MAX: u32 = 1_000_000_000;

/// A column's type.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[expect(missing_docs, reason = "the names are the model's own words")]
pub enum DataType {
    Boolean,
    Int8,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    /// Precision 1 to 38, scale 0 to precision.
    Decimal(u8, u8),
    Date,
    /// µs since midnight.
    Time,
    /// µs, without a zone.
    Timestamp,
    /// µs, an instant.
    Timestamptz,
    /// Months, days, µs.
    Interval,
    Char(u32),
    Varchar(u32),
    Text,
    Binary,
    /// Exactly so many bytes.
    BinaryFixed(u32),
    Uuid,
    Json,
    List(Box<DataType>),
    Struct(Vec<(String, DataType)>),
    Map(Box<DataType>, Box<DataType>),
    /// So many float32.
    Vector(u32),
}

/// The types that are one word.
const SIMPLE: [(&str, DataType); 16] = [
    ("boolean", DataType::Boolean),
    ("int8", DataType::Int8),
    ("int16", DataType::Int16),
    ("int32", DataType::Int32),
    ("int64", DataType::Int64),
    ("float32", DataType::Float32),
    ("float64", DataType::Float64),
    ("date", DataType::Date),
    ("time", DataType::Time),
    ("timestamp", DataType::Timestamp),
    ("timestamptz", DataType::Timestamptz),
    ("interval", DataType::Interval),
    ("text", DataType::Text),
    ("binary", DataType::Binary),
    ("uuid", DataType::Uuid),
    ("json", DataType::Json),
];

/// The types with arguments, as people write them.
const SHAPED: [(&str, &str); 7] = [
    ("decimal", "decimal(p,s)"),
    ("char", "char(n)"),
    ("varchar", "varchar(n)"),
    ("vector", "vector(n)"),
    ("list", "list<T>"),
    ("struct", "struct<name: T, …>"),
    ("map", "map<K,V>"),
];

/// What other systems call the same, so that a hint can name ours.
const FOREIGN: [(&str, &str); 26] = [
    ("bool", "boolean"),
    ("bit", "boolean"),
    ("tinyint", "int8"),
    ("smallint", "int16"),
    ("int", "int32"),
    ("integer", "int32"),
    ("serial", "int32"),
    ("bigint", "int64"),
    ("bigserial", "int64"),
    ("long", "int64"),
    ("real", "float32"),
    ("float", "float64"),
    ("double", "float64"),
    ("numeric", "decimal(p,s)"),
    ("number", "decimal(p,s)"),
    ("money", "decimal(p,s)"),
    ("datetime", "timestamp"),
    ("string", "text"),
    ("nvarchar", "varchar(n)"),
    ("nchar", "char(n)"),
    ("clob", "text"),
    ("bytea", "binary"),
    ("blob", "binary"),
    ("bytes", "binary"),
    ("jsonb", "json"),
    ("array", "list<T>"),
];

/// Why a text is not a type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DataTypeError {
    /// No type has this name; the second is the nearest one that exists.
    #[error("{0:?} is not a type")]
    Unknown(String, Option<&'static str>),
    /// The name is right and what follows is not.
    #[error("{name} is written {shape}")]
    Shape {
        /// The type's name.
        name: &'static str,
        /// How it is written.
        shape: &'static str,
    },
    /// A decimal has 1 to 38 digits.
    #[error("a decimal has 1 to {DECIMAL_DIGITS_MAX} digits, not {0}")]
    Precision(u32),
    /// More digits behind the point than digits.
    #[error("a decimal of {0} digits can't have {1} behind the point")]
    Scale(u32, u32),
    /// A length is zero or beyond [`TYPE_LENGTH_MAX`].
    #[error("a length is 1 to {TYPE_LENGTH_MAX}, not {0}")]
    Length(u64),
    /// Deeper than [`TYPE_DEPTH_MAX`].
    #[error("types stand in each other more than {TYPE_DEPTH_MAX} deep")]
    Depth,
    /// A field without a name.
    #[error("a field of the struct has no name")]
    FieldName,
    /// Two fields of one struct with one name.
    #[error("the struct has two fields named {0:?}")]
    FieldTwice(String),
    /// Something stands behind the type.
    #[error("{0:?} stands behind the type")]
    Rest(String),
}

impl DataTypeError {
    /// What to write instead.
    pub fn hint(&self) -> String {
        match self {
            Self::Unknown(_, Some(nearest)) => format!("did you mean `{nearest}`?"),
            Self::Shape { shape, .. } => format!("write it as `{shape}`"),
            _ => "types: boolean int8 int16 int32 int64 float32 float64 decimal(p,s) date time timestamp timestamptz \
                  interval char(n) varchar(n) text binary binary(n) uuid json list<T> struct<name: T, …> map<K,V> \
                  vector(n)"
                .to_owned(),
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decimal(precision, scale) => write!(f, "decimal({precision},{scale})"),
            Self::Char(length) => write!(f, "char({length})"),
            Self::Varchar(length) => write!(f, "varchar({length})"),
            Self::BinaryFixed(length) => write!(f, "binary({length})"),
            Self::Vector(length) => write!(f, "vector({length})"),
            Self::List(item) => write!(f, "list<{item}>"),
            Self::Map(key, value) => write!(f, "map<{key}, {value}>"),
            Self::Struct(fields) => {
                f.write_str("struct<")?;
                for (index, (name, field)) in fields.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{}: {field}", FieldName(name))?;
                }
                f.write_str(">")
            }
            simple => {
                let (name, _) = SIMPLE.iter().find(|(_, known)| known == simple).expect("all others have arguments");
                f.write_str(name)
            }
        }
    }
}

/// A struct's field as printed: bare where that parses, in double quotes elsewhere.
struct FieldName<'a>(&'a str);

fn is_bare(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '$')
}

impl fmt::Display for FieldName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match !self.0.is_empty() && self.0.chars().all(is_bare) {
            true => f.write_str(self.0),
            false => write!(f, "\"{}\"", self.0.replace('"', "\"\"")),
        }
    }
}

impl FromStr for DataType {
    type Err = DataTypeError;

    fn from_str(text: &str) -> Result<Self, DataTypeError> {
        let mut parser = Parser { rest: text };
        let data_type = parser.data_type(0)?;
        parser.space();
        match parser.rest {
            "" => Ok(data_type),
            rest => Err(DataTypeError::Rest(rest.to_owned())),
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, wanted: char) -> bool {
        self.space();
        let after = self.rest.strip_prefix(wanted);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn word(&mut self, is_part: impl Fn(char) -> bool) -> &'a str {
        self.space();
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn data_type(&mut self, depth: usize) -> Result<DataType, DataTypeError> {
        if depth > TYPE_DEPTH_MAX {
            return Err(DataTypeError::Depth);
        }
        let written = self.word(|c| c.is_alphanumeric() || c == '_');
        let lower;
        let name = match written.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => {
                lower = written.to_ascii_lowercase();
                lower.as_str()
            }
            false => written,
        };
        if name == "binary" && self.take('(') {
            return Ok(DataType::BinaryFixed(self.length("binary", "binary(n)")?));
        }
        if let Some((_, simple)) = SIMPLE.iter().find(|(known, _)| *known == name) {
            return Ok(simple.clone());
        }
        let Some(&(name, shape)) = SHAPED.iter().find(|(known, _)| *known == name) else {
            return Err(DataTypeError::Unknown(written.to_owned(), nearest_type(name)));
        };
        let wrong = DataTypeError::Shape { name, shape };
        if !self.take(if shape.contains('<') { '<' } else { '(' }) {
            return Err(wrong);
        }
        match name {
            "decimal" => self.decimal(wrong),
            "char" => self.length(name, shape).map(DataType::Char),
            "varchar" => self.length(name, shape).map(DataType::Varchar),
            "vector" => self.length(name, shape).map(DataType::Vector),
            "list" => {
                let item = self.data_type(depth + 1)?;
                self.close('>', wrong)?;
                Ok(DataType::List(Box::new(item)))
            }
            "map" => {
                let key = self.data_type(depth + 1)?;
                self.close(',', wrong.clone())?;
                let value = self.data_type(depth + 1)?;
                self.close('>', wrong)?;
                Ok(DataType::Map(Box::new(key), Box::new(value)))
            }
            _ => self.fields(depth, wrong),
        }
    }

    fn close(&mut self, mark: char, wrong: DataTypeError) -> Result<(), DataTypeError> {
        if self.take(mark) { Ok(()) } else { Err(wrong) }
    }

    fn number(&mut self, wrong: &DataTypeError) -> Result<u64, DataTypeError> {
        self.word(|c| c.is_ascii_digit()).parse().map_err(|_| wrong.clone())
    }

    fn length(&mut self, name: &'static str, shape: &'static str) -> Result<u32, DataTypeError> {
        let wrong = DataTypeError::Shape { name, shape };
        let length = self.number(&wrong)?;
        self.close(')', wrong)?;
        match u32::try_from(length) {
            Ok(length @ 1..=TYPE_LENGTH_MAX) => Ok(length),
            _ => Err(DataTypeError::Length(length)),
        }
    }

    fn decimal(&mut self, wrong: DataTypeError) -> Result<DataType, DataTypeError> {
        let saturate = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let precision = saturate(self.number(&wrong)?);
        let scale = if self.take(',') { saturate(self.number(&wrong)?) } else { 0 };
        self.close(')', wrong)?;
        let digits = u8::try_from(precision).ok().filter(|digits| (1..=DECIMAL_DIGITS_MAX).contains(digits));
        let digits = digits.ok_or(DataTypeError::Precision(precision))?;
        let behind = u8::try_from(scale).ok().filter(|behind| *behind <= digits);
        Ok(DataType::Decimal(digits, behind.ok_or(DataTypeError::Scale(precision, scale))?))
    }

    fn fields(&mut self, depth: usize, wrong: DataTypeError) -> Result<DataType, DataTypeError> {
        let mut fields: Vec<(String, DataType)> = Vec::new();
        loop {
            let name = self.field_name(&wrong)?;
            if name.is_empty() {
                return Err(DataTypeError::FieldName);
            }
            if fields.iter().any(|(known, _)| *known == name) {
                return Err(DataTypeError::FieldTwice(name));
            }
            self.close(':', wrong.clone())?;
            fields.push((name, self.data_type(depth + 1)?));
            if self.take('>') {
                return Ok(DataType::Struct(fields));
            }
            self.close(',', wrong.clone())?;
        }
    }

    fn field_name(&mut self, wrong: &DataTypeError) -> Result<String, DataTypeError> {
        if !self.take('"') {
            return Ok(self.word(is_bare).to_owned());
        }
        let mut name = String::new();
        loop {
            let end = self.rest.find('"').ok_or_else(|| wrong.clone())?;
            name.push_str(&self.rest[..end]);
            self.rest = &self.rest[end + 1..];
            match self.rest.strip_prefix('"') {
                Some(rest) => {
                    name.push('"');
                    self.rest = rest;
                }
                None => return Ok(name),
            }
        }
    }
}

fn nearest_type(name: &str) -> Option<&'static str> {
    if let Some((_, ours)) = FOREIGN.iter().find(|(foreign, _)| *foreign == name) {
        return Some(ours);
    }
    let known = SIMPLE.iter().map(|(name, _)| *name).chain(SHAPED.iter().map(|(name, _)| *name));
    let near = nearest(name, known)?;
    Some(SHAPED.iter().find(|(name, _)| *name == near).map_or(near, |(_, shape)| *shape))
}

impl TryFrom<String> for DataType {
    type Error = DataTypeError;
    fn try_from(text: String) -> Result<Self, DataTypeError> {
        text.parse()
    }
}

impl From<DataType> for String {
    fn from(data_type: DataType) -> String {
        data_type.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_type() -> impl Strategy<Value = DataType> {
        let leaf = prop_oneof![
            proptest::sample::select(SIMPLE.map(|(_, simple)| simple).to_vec()),
            (1..=38u8).prop_flat_map(|digits| (Just(digits), 0..=digits)).prop_map(|(p, s)| DataType::Decimal(p, s)),
            (1..=TYPE_LENGTH_MAX).prop_map(DataType::Char),
            (1..=TYPE_LENGTH_MAX).prop_map(DataType::Varchar),
            (1..=TYPE_LENGTH_MAX).prop_map(DataType::BinaryFixed),
            (1..=TYPE_LENGTH_MAX).prop_map(DataType::Vector),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                inner.clone().prop_map(|item| DataType::List(Box::new(item))),
                (inner.clone(), inner.clone()).prop_map(|(k, v)| DataType::Map(Box::new(k), Box::new(v))),
                proptest::collection::btree_map("\\PC{1,8}", inner, 1..4)
                    .prop_map(|fields| DataType::Struct(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_type_prints_as_it_parses(data_type in any_type()) {
            prop_assert_eq!(data_type.to_string().parse::<DataType>(), Ok(data_type));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,40}|[a-z<>(),:\" 0-9]{0,40}") {
            let _ = text.parse::<DataType>();
        }
    }

    #[test]
    fn spaces_and_letter_case_are_forgiven() {
        assert_eq!(" DECIMAL ( 12 , 2 ) ".parse(), Ok(DataType::Decimal(12, 2)));
        assert_eq!("decimal(9)".parse(), Ok(DataType::Decimal(9, 0)));
        assert_eq!("Map<text,list< int32 >>".parse::<DataType>().expect("valid").to_string(), "map<text, list<int32>>");
    }

    #[test]
    fn what_is_no_type_says_what_would_be() {
        let error = |text: &str| text.parse::<DataType>().expect_err(text);
        assert_eq!(error("varhcar(5)").hint(), "did you mean `varchar(n)`?");
        assert_eq!(error("integer").hint(), "did you mean `int32`?");
        assert_eq!(error("varchar").hint(), "write it as `varchar(n)`");
        assert_eq!(error("decimal(39,1)"), DataTypeError::Precision(39));
        assert_eq!(error("decimal(5,6)"), DataTypeError::Scale(5, 6));
        assert_eq!(error("char(0)"), DataTypeError::Length(0));
        assert_eq!(error("struct<: int8>"), DataTypeError::FieldName);
        assert_eq!(error("struct<a: int8, a: text>"), DataTypeError::FieldTwice("a".into()));
        assert_eq!(error("int8 int8"), DataTypeError::Rest("int8".into()));
        assert_eq!(error(&"list<".repeat(100_000)), DataTypeError::Depth);
    }
}
