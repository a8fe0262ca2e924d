//! Which schemas give the same row the same hash.
//!
//! Takes schemas, gives shapes: equal shapes, equal hashes of equal rows. Hashes stored under
//! another shape are made anew from the values before they are compared. Follows the byte form of
//! `levada_flow::canonical`, where an integer keeps its bytes when its column is widened.

use levada_model::{DataType, Schema};

/// What decides the hash of a row, or of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Shape(Vec<(String, String)>);

impl Shape {
    /// The shape of row hashes.
    pub(crate) fn of_rows(schema: &Schema) -> Self {
        Self::of(schema, |_| true)
    }

    /// The shape of key hashes; without a key, that of rows.
    pub(crate) fn of_keys(schema: &Schema) -> Self {
        let has_key = schema.columns.iter().any(|column| column.key);
        Self::of(schema, |is_key| is_key || !has_key)
    }

    fn of(schema: &Schema, takes: impl Fn(bool) -> bool) -> Self {
        let columns = schema.columns.iter().filter(|column| takes(column.key));
        Self(columns.map(|column| (column.name.as_str().to_owned(), form(&column.data_type))).collect())
    }
}

/// The byte form of a type's values; equal names mean equal bytes for equal values.
fn form(data_type: &DataType) -> String {
    match data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => "integer".to_owned(),
        DataType::Float32 | DataType::Float64 => "float".to_owned(),
        DataType::Decimal(_, scale) => format!("decimal {scale}"),
        DataType::Varchar(_) | DataType::Text | DataType::Json => "text".to_owned(),
        DataType::Char(_) => "char".to_owned(),
        DataType::List(item) => format!("list<{}>", form(item)),
        DataType::Map(key, value) => format!("map<{},{}>", form(key), form(value)),
        DataType::Struct(fields) => {
            let fields: Vec<String> = fields.iter().map(|(name, field)| format!("{name:?}:{}", form(field))).collect();
            format!("struct<{}>", fields.join(","))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use levada_model::SchemaColumn;

    fn schema(columns: &[(&str, &str)]) -> Schema {
        let column = |(name, data_type): &(&str, &str)| SchemaColumn {
            name: name.parse().expect("a name"),
            from: None,
            data_type: data_type.parse().expect("a type"),
            nullable: true,
            key: *name == "k",
        };
        Schema { columns: columns.iter().map(column).collect() }
    }

    #[test]
    fn widening_keeps_the_shape_and_everything_else_changes_it() {
        let base = Shape::of_rows(&schema(&[("k", "int32"), ("a", "varchar(3)")]));
        assert_eq!(base, Shape::of_rows(&schema(&[("k", "int64"), ("a", "text")])));
        for other in
            [&[("k", "int32"), ("a", "char(3)")][..], &[("a", "varchar(3)"), ("k", "int32")], &[("k", "int32")]]
        {
            assert_ne!(base, Shape::of_rows(&schema(other)));
        }
    }

    #[test]
    fn a_new_column_keeps_the_key_s_shape_where_there_is_a_key() {
        let keyed = [schema(&[("k", "int32")]), schema(&[("k", "int32"), ("a", "text")])];
        assert_eq!(Shape::of_keys(&keyed[0]), Shape::of_keys(&keyed[1]));
        let keyless = [schema(&[("a", "int32")]), schema(&[("a", "int32"), ("b", "text")])];
        assert_ne!(Shape::of_keys(&keyless[0]), Shape::of_keys(&keyless[1]));
    }
}
