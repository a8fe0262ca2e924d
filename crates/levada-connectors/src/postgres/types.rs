//! The model's types and PostgreSQL's: what a sink creates, what a source may hold.
//!
//! Knows no bytes: `decode` and `encode` move values. The table for people is in `docs/types.md`.

use levada_model::DataType;
use postgres_types::{Kind, Type};

/// Why a value has no image on the other side.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("is NULL, but the model says it never is")]
    Null,
    #[error("is {0}, which the model's type can't hold")]
    NotFinite(&'static str),
    #[error("is {value}, which is no decimal({precision},{scale})")]
    OutOfDecimal { value: String, precision: u8, scale: u8 },
    #[error("is {value}, outside of {range}")]
    OutOfRange { value: String, range: &'static str },
    #[error("is {value}, and a {wanted} can't hold all its digits")]
    Inexact { value: String, wanted: &'static str },
    #[error("has {characters} characters, {characters_max} are allowed")]
    TooLong { characters: usize, characters_max: u32 },
    #[error("has {bytes} bytes instead of {bytes_wanted}")]
    Length { bytes: usize, bytes_wanted: u32 },
    #[error("is an array of {0} dimensions, a list has one")]
    Dimensions(i32),
    #[error("has {items} elements instead of {items_wanted}")]
    Items { items: usize, items_wanted: u32 },
    #[error("has the character NUL, which PostgreSQL can't hold")]
    Nul,
    #[error("is no valid UTF-8 text")]
    Utf8,
    #[error("holds JSON that is no {0}")]
    Json(String),
    #[error("holds JSON's null inside of a value, where it would be NULL")]
    JsonNull,
    #[error("holds bytes that PostgreSQL would not send for its type")]
    Malformed,
}

/// How values of a source's column arrive in binary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Wire {
    Boolean,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
    Text,
    /// Text padded with spaces that mean nothing.
    Padded,
    Bytes,
    Uuid,
    Json,
    /// JSON behind one version byte.
    Jsonb,
    Array(Box<Wire>),
    /// Attributes by name, in their order.
    Composite(Vec<(String, Wire)>),
}

impl Wire {
    /// The binary form of a type; `None` where we read none.
    fn of(pg_type: &Type) -> Option<Self> {
        Some(match *pg_type {
            Type::BOOL => Self::Boolean,
            Type::INT2 => Self::Int2,
            Type::INT4 => Self::Int4,
            Type::INT8 => Self::Int8,
            Type::FLOAT4 => Self::Float4,
            Type::FLOAT8 => Self::Float8,
            Type::NUMERIC => Self::Numeric,
            Type::DATE => Self::Date,
            Type::TIME => Self::Time,
            Type::TIMESTAMP => Self::Timestamp,
            Type::TIMESTAMPTZ => Self::Timestamptz,
            Type::INTERVAL => Self::Interval,
            // The binary form of xml is its text without a declaration that says nothing, and the only one that
            // the change log has; the cast to text would keep it.
            Type::TEXT | Type::VARCHAR | Type::NAME | Type::XML => Self::Text,
            Type::BPCHAR => Self::Padded,
            Type::BYTEA => Self::Bytes,
            Type::UUID => Self::Uuid,
            Type::JSON => Self::Json,
            Type::JSONB => Self::Jsonb,
            _ => match pg_type.kind() {
                Kind::Enum(_) => Self::Text,
                Kind::Domain(base) => return Self::of(base),
                Kind::Array(item) => Self::Array(Box::new(Self::of(item)?)),
                Kind::Composite(fields) => Self::Composite(
                    fields
                        .iter()
                        .map(|field| Some((field.name().to_owned(), Self::of(field.type_())?)))
                        .collect::<Option<_>>()?,
                ),
                _ => return None,
            },
        })
    }

    fn is_json(&self) -> bool {
        matches!(self, Self::Json | Self::Jsonb)
    }
}

/// How a column is read: what stands behind its name in the SELECT list, and what then arrives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Reading {
    /// Such as `::text`; empty where the type is read as it is.
    pub(super) cast: &'static str,
    pub(super) wire: Wire,
}

/// How a column of this type is read as the model's type; `None` where it can't be.
///
/// A wider type at the source is fine: each value is checked against the model's type.
pub(super) fn reading(model: &DataType, pg_type: &Type) -> Option<Reading> {
    if let Some(wire) = Wire::of(pg_type).filter(|wire| is_readable(model, wire)) {
        return Some(Reading { cast: "", wire });
    }
    let (cast, wire) = match (model, pg_type.kind()) {
        (_, Kind::Domain(base)) => return reading(model, base),
        (DataType::Text | DataType::Varchar(_) | DataType::Char(_), _) if has_stable_text(pg_type) => {
            ("::text", Wire::Text)
        }
        (DataType::List(item), Kind::Array(of))
            if has_stable_text(of) && matches!(**item, DataType::Text | DataType::Varchar(_)) =>
        {
            ("::text[]", Wire::Array(Box::new(Wire::Text)))
        }
        (DataType::Int64, _) if *pg_type == Type::OID => ("::bigint", Wire::Int8),
        // The extension pgvector.
        (DataType::Vector(_), _) if matches!(pg_type.name(), "vector" | "halfvec") => {
            ("::real[]", Wire::Array(Box::new(Wire::Float4)))
        }
        _ => return None,
    };
    Some(Reading { cast, wire })
}

/// Whether each value of the wire's type either is one of the model's type or can be refused.
fn is_readable(model: &DataType, wire: &Wire) -> bool {
    use DataType as M;
    use Wire as W;
    match model {
        M::Boolean => *wire == W::Boolean,
        M::Int8 | M::Int16 | M::Int32 | M::Int64 => matches!(wire, W::Int2 | W::Int4 | W::Int8 | W::Numeric),
        M::Decimal(..) => matches!(wire, W::Int2 | W::Int4 | W::Int8 | W::Numeric),
        M::Float32 => *wire == W::Float4,
        M::Float64 => matches!(wire, W::Float4 | W::Float8 | W::Int2 | W::Int4),
        M::Date => *wire == W::Date,
        M::Time => *wire == W::Time,
        M::Timestamp => matches!(wire, W::Timestamp | W::Date),
        M::Timestamptz => *wire == W::Timestamptz,
        M::Interval => *wire == W::Interval,
        M::Char(_) | M::Varchar(_) | M::Text => matches!(wire, W::Text | W::Padded | W::Json | W::Jsonb),
        M::Binary | M::BinaryFixed(_) => *wire == W::Bytes,
        M::Uuid => *wire == W::Uuid,
        M::Json => wire.is_json(),
        M::List(item) => match wire {
            W::Array(of) => is_readable(item, of),
            other => other.is_json(),
        },
        M::Struct(fields) => match wire {
            W::Composite(attributes) => fields.iter().all(|(name, field)| {
                attributes.iter().any(|(attribute, wire)| attribute == name && is_readable(field, wire))
            }),
            other => other.is_json(),
        },
        M::Map(..) => wire.is_json(),
        M::Vector(_) => *wire == W::Array(Box::new(W::Float4)) || wire.is_json(),
    }
}

/// Types whose text is exact and the same in every session of ours.
fn has_stable_text(pg_type: &Type) -> bool {
    matches!(
        pg_type.name(),
        "numeric"
            | "citext"
            | "inet"
            | "cidr"
            | "macaddr"
            | "macaddr8"
            | "bit"
            | "varbit"
            | "char"
            | "ltree"
            | "tsvector"
            | "uuid"
            | "int4range"
            | "int8range"
            | "numrange"
            | "hstore"
            | "pg_lsn"
    )
}

/// The type that a sink gives a column.
///
/// `json` stays `json`, because `jsonb` rewrites the text. Structs, maps and nested lists are
/// `json`, too.
pub(super) fn ddl(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 | DataType::Int16 => "smallint".to_owned(),
        DataType::Int32 => "integer".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Float32 => "real".to_owned(),
        DataType::Float64 => "double precision".to_owned(),
        DataType::Decimal(precision, scale) => format!("numeric({precision},{scale})"),
        DataType::Date => "date".to_owned(),
        DataType::Time => "time".to_owned(),
        DataType::Timestamp => "timestamp".to_owned(),
        DataType::Timestamptz => "timestamptz".to_owned(),
        DataType::Interval => "interval".to_owned(),
        DataType::Char(length) if *length <= VARCHAR_MAX => format!("char({length})"),
        DataType::Varchar(length) if *length <= VARCHAR_MAX => format!("varchar({length})"),
        DataType::Char(_) | DataType::Varchar(_) | DataType::Text => "text".to_owned(),
        DataType::Binary | DataType::BinaryFixed(_) => "bytea".to_owned(),
        DataType::Uuid => "uuid".to_owned(),
        DataType::Json | DataType::Struct(_) | DataType::Map(..) => "json".to_owned(),
        DataType::List(item) if is_array_item(item) => format!("{}[]", ddl(item)),
        DataType::List(_) => "json".to_owned(),
        DataType::Vector(_) => "real[]".to_owned(),
    }
}

/// The longest `char(n)` and `varchar(n)` that PostgreSQL allows; beyond it `text`.
const VARCHAR_MAX: u32 = 10_485_760;

/// Whether a list of these is an array; of others it is JSON.
pub(super) fn is_array_item(item: &DataType) -> bool {
    !matches!(item, DataType::List(_) | DataType::Struct(_) | DataType::Map(..) | DataType::Vector(_))
}

/// The type id that an array names for its elements.
pub(super) fn array_item_id(item: &DataType) -> u32 {
    match item {
        DataType::Boolean => Type::BOOL,
        DataType::Int8 | DataType::Int16 => Type::INT2,
        DataType::Int32 => Type::INT4,
        DataType::Int64 => Type::INT8,
        DataType::Float32 => Type::FLOAT4,
        DataType::Float64 => Type::FLOAT8,
        DataType::Decimal(..) => Type::NUMERIC,
        DataType::Date => Type::DATE,
        DataType::Time => Type::TIME,
        DataType::Timestamp => Type::TIMESTAMP,
        DataType::Timestamptz => Type::TIMESTAMPTZ,
        DataType::Interval => Type::INTERVAL,
        DataType::Char(length) if *length <= VARCHAR_MAX => Type::BPCHAR,
        DataType::Varchar(length) if *length <= VARCHAR_MAX => Type::VARCHAR,
        DataType::Char(_) | DataType::Varchar(_) | DataType::Text => Type::TEXT,
        DataType::Binary | DataType::BinaryFixed(_) => Type::BYTEA,
        DataType::Uuid => Type::UUID,
        DataType::Json | DataType::List(_) | DataType::Struct(_) | DataType::Map(..) | DataType::Vector(_) => {
            Type::JSON
        }
    }
    .oid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wider_source_is_read_and_a_foreign_one_is_not() {
        let reads = |model: &str, pg_type: &Type| reading(&model.parse().expect("a type"), pg_type).map(|it| it.cast);
        assert_eq!(reads("int64", &Type::INT4), Some(""));
        assert_eq!(reads("int16", &Type::INT8), Some(""));
        assert_eq!(reads("varchar(5)", &Type::TEXT), Some(""));
        assert_eq!(reads("decimal(9,2)", &Type::INT4), Some(""));
        assert_eq!(reads("text", &Type::NUMERIC), Some("::text"));
        assert_eq!(reads("list<text>", &Type::INET_ARRAY), Some("::text[]"));
        assert_eq!(reads("map<text, int32>", &Type::JSONB), Some(""));
        assert_eq!(reads("float32", &Type::FLOAT8), None);
        assert_eq!(reads("timestamp", &Type::TIMESTAMPTZ), None);
        assert_eq!(reads("int32", &Type::TEXT), None);
        assert_eq!(reads("list<int32>", &Type::TEXT_ARRAY), None);
    }

    #[test]
    fn what_is_created_can_be_read_back_as_the_same_type() {
        let fixed = [
            (Type::BOOL, "boolean"),
            (Type::INT2, "int8"),
            (Type::INT4, "int32"),
            (Type::NUMERIC, "decimal(38,38)"),
            (Type::BPCHAR, "char(3)"),
            (Type::JSON, "list<list<int32>>"),
            (Type::JSON, "struct<a: int32>"),
            (Type::FLOAT4_ARRAY, "vector(3)"),
            (Type::INTERVAL_ARRAY, "list<interval>"),
        ];
        for (created, model) in fixed {
            let model: DataType = model.parse().expect("a type");
            assert!(reading(&model, &created).is_some(), "{model} as {}", ddl(&model));
        }
    }
}
