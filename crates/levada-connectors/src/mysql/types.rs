//! The model's types and MySQL's: what a sink creates, what a source may hold.
//!
//! Knows no values: `decode` and `encode` move them. The table for people is in `docs/types.md`.

use levada_model::{DataType, Schema};

/// Why a value has no image on the other side.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("is NULL, but the model says it never is")]
    Null,
    #[error("is {0}, which is no day of the calendar")]
    NoDay(String),
    #[error("is {value}, outside of {range}")]
    OutOfRange { value: String, range: &'static str },
    #[error("is {value}, and a {wanted} can't hold all its digits")]
    Inexact { value: String, wanted: &'static str },
    #[error("is {0}, which MySQL can't hold")]
    NotFinite(&'static str),
    #[error("has {characters} characters, {characters_max} are allowed")]
    TooLong { characters: usize, characters_max: u32 },
    #[error("has {bytes} bytes instead of {bytes_wanted}")]
    Length { bytes: usize, bytes_wanted: u32 },
    #[error("is no valid UTF-8 text")]
    Utf8,
    #[error("holds JSON's null inside of a value, where it would be NULL")]
    JsonNull,
    #[error("{0}")]
    Literal(String),
    #[error("came as {0}, which MySQL would not send for its type")]
    Malformed(String),
}

/// What kind of values a source's column has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wire {
    /// Of any size, signed or not; years, too.
    Integer,
    /// Up to 64 bits, most significant byte first.
    Bit,
    Float,
    Double,
    /// As its digits.
    Decimal,
    Date,
    Datetime,
    /// An instant, which the session sees in UTC.
    Timestamp,
    Time,
    Text,
    Json,
    Bytes,
    /// MariaDB's uuid, as its text.
    Uuid,
    /// MariaDB's inet4 and inet6, as their text.
    Address,
}

impl Wire {
    /// What `information_schema.columns` calls a `data_type`; `None` where we read none.
    pub(super) fn of(data_type: &str) -> Option<Self> {
        Some(match data_type.to_ascii_lowercase().as_str() {
            "tinyint" | "smallint" | "mediumint" | "int" | "integer" | "bigint" | "year" => Self::Integer,
            "bit" => Self::Bit,
            "float" => Self::Float,
            "double" => Self::Double,
            "decimal" => Self::Decimal,
            "date" => Self::Date,
            "datetime" => Self::Datetime,
            "timestamp" => Self::Timestamp,
            "time" => Self::Time,
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" | "set" => Self::Text,
            "json" => Self::Json,
            "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Self::Bytes,
            "uuid" => Self::Uuid,
            "inet4" | "inet6" => Self::Address,
            _ => return None,
        })
    }

    /// Whether each value either is one of the model's type or can be refused.
    pub(super) fn is_readable_as(self, model: &DataType) -> bool {
        use DataType as M;
        use Wire as W;
        match model {
            M::Boolean => matches!(self, W::Integer | W::Bit),
            M::Int8 | M::Int16 | M::Int32 | M::Int64 => matches!(self, W::Integer | W::Bit | W::Decimal),
            M::Float32 => self == W::Float,
            M::Float64 => matches!(self, W::Float | W::Double | W::Integer),
            M::Decimal(..) => matches!(self, W::Integer | W::Decimal | W::Text),
            M::Date => self == W::Date,
            M::Time => self == W::Time,
            M::Timestamp => matches!(self, W::Datetime | W::Date),
            M::Timestamptz => matches!(self, W::Timestamp | W::Datetime),
            M::Interval => matches!(self, W::Time | W::Text),
            M::Char(_) | M::Varchar(_) | M::Text => {
                matches!(self, W::Text | W::Json | W::Uuid | W::Address | W::Decimal)
            }
            M::Binary | M::BinaryFixed(_) => self == W::Bytes,
            M::Uuid => matches!(self, W::Uuid | W::Text | W::Bytes),
            M::Json | M::List(_) | M::Struct(_) | M::Map(..) | M::Vector(_) => matches!(self, W::Json | W::Text),
        }
    }
}

/// The most digits behind the point of MySQL's decimals (MariaDB has 38).
const DECIMAL_SCALE_MAX: u8 = 30;

/// The longest `char(n)` and `binary(n)`.
const FIXED_LENGTH_MAX: u32 = 255;

/// How many bytes of a row may lie in columns with a length. MySQL has 65,535 in all, and every
/// text and blob takes a dozen of them.
const ROW_BYTES_MAX: u64 = 40_000;

/// Every text that we store: compared as its code points, whatever the server's default is.
const UTF8: &str = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

/// Plain words.
const ASCII: &str = "CHARACTER SET ascii COLLATE ascii_bin";

/// The types that a sink gives the columns of a table, in their order.
///
/// Texts and bytes with a length keep it as long as the row has room; beyond they are `longtext`
/// and `longblob`. `json` is `longtext`, because MySQL's own `json` rewrites the text.
pub(super) fn ddl(schema: &Schema) -> Vec<String> {
    let mut room = ROW_BYTES_MAX;
    let mut types = vec![String::new(); schema.columns.len()];
    // What a row is found by must find room.
    for is_key in [true, false] {
        for (column, ddl) in schema.columns.iter().zip(&mut types).filter(|(column, _)| column.key == is_key) {
            *ddl = column_ddl(&column.data_type, &mut room);
        }
    }
    types
}

fn column_ddl(data_type: &DataType, room: &mut u64) -> String {
    // Whether so many bytes are left, which are then taken.
    let mut takes = |bytes: u64| match room.checked_sub(bytes + 2) {
        Some(left) => {
            *room = left;
            true
        }
        None => false,
    };
    match data_type {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 => "tinyint".to_owned(),
        DataType::Int16 => "smallint".to_owned(),
        DataType::Int32 => "int".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Float32 => "float".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Decimal(precision, scale) if *scale <= DECIMAL_SCALE_MAX => format!("decimal({precision},{scale})"),
        DataType::Decimal(precision, _) if takes(u64::from(*precision) + 3) => {
            format!("varchar({}) {ASCII}", u32::from(*precision) + 3)
        }
        DataType::Date => "date".to_owned(),
        DataType::Time => "time(6)".to_owned(),
        // MySQL's own timestamp ends in 2038.
        DataType::Timestamp | DataType::Timestamptz => "datetime(6)".to_owned(),
        DataType::Interval if takes(100) => format!("varchar(100) {ASCII}"),
        DataType::Uuid if takes(36) => format!("char(36) {ASCII}"),
        DataType::Char(length) if *length <= FIXED_LENGTH_MAX && takes(4 * u64::from(*length)) => {
            format!("char({length}) {UTF8}")
        }
        DataType::Char(length) | DataType::Varchar(length) if takes(4 * u64::from(*length)) => {
            format!("varchar({length}) {UTF8}")
        }
        DataType::BinaryFixed(length) if *length <= FIXED_LENGTH_MAX && takes((*length).into()) => {
            format!("binary({length})")
        }
        DataType::BinaryFixed(length) if takes((*length).into()) => format!("varbinary({length})"),
        DataType::Binary | DataType::BinaryFixed(_) => "longblob".to_owned(),
        _ => format!("longtext {UTF8}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use levada_flow::conformance::{all_types, schema_of};

    #[test]
    fn a_wider_source_is_read_and_a_foreign_one_is_not() {
        let reads = |model: &str, data_type: &str| {
            Wire::of(data_type).is_some_and(|wire| wire.is_readable_as(&model.parse().expect("a type")))
        };
        for (model, data_type) in [
            ("int16", "bigint"),
            ("boolean", "tinyint"),
            ("boolean", "bit"),
            ("decimal(20,0)", "bigint"),
            ("int32", "year"),
            ("text", "enum"),
            ("text", "set"),
            ("json", "longtext"),
            ("uuid", "binary"),
            ("uuid", "uuid"),
            ("text", "inet6"),
            ("timestamptz", "timestamp"),
            ("timestamptz", "datetime"),
        ] {
            assert!(reads(model, data_type), "{model} from {data_type}");
        }
        for (model, data_type) in [
            ("int32", "varchar"),
            ("float32", "double"),
            ("timestamp", "timestamp"),
            ("date", "datetime"),
            ("text", "blob"),
            ("binary", "text"),
            ("text", "geometry"),
        ] {
            assert!(!reads(model, data_type), "{model} from {data_type}");
        }
    }

    #[test]
    fn what_is_created_can_be_read_back_as_the_same_type() {
        for data_type in all_types() {
            let created = ddl(&schema_of(&[("value", &data_type.to_string(), false)])).remove(0);
            let word: String = created.chars().take_while(char::is_ascii_alphabetic).collect();
            let word = if word == "boolean" { "tinyint" } else { &word };
            assert!(Wire::of(word).is_some_and(|wire| wire.is_readable_as(&data_type)), "{data_type} as {created}");
        }
    }

    #[test]
    fn a_row_of_many_texts_has_room() {
        let names: Vec<String> = (0..300).map(|number| format!("c{number}")).collect();
        let columns: Vec<_> = names.iter().map(|name| (name.as_str(), "varchar(255)", false)).collect();
        let types = ddl(&schema_of(&columns));
        assert!(types[0].starts_with("varchar(255)") && types[299].starts_with("longtext"));
        let long = ddl(&schema_of(&[("a", "varchar(20000)", false), ("b", "varchar(5)", false)]));
        assert!(long[0].starts_with("longtext") && long[1].starts_with("varchar(5)"), "{long:?}");
    }
}
