//! What is different between two schemas, column by column.

use levada_model::name::ColumnName;
use levada_model::{DataType, Schema, SchemaColumn};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;

/// One difference of a column.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "difference", rename_all = "snake_case")]
pub enum ColumnDifference {
    /// It comes.
    Added {
        /// The column.
        column: SchemaColumn,
    },
    /// It goes.
    Removed {
        /// The column.
        column: SchemaColumn,
    },
    /// Its type is another.
    Retyped {
        /// The column.
        column: ColumnName,
        /// As it is.
        from: DataType,
        /// As it shall be.
        to: DataType,
    },
    /// NULL may, or may no longer, stand in it.
    Nullability {
        /// The column.
        column: ColumnName,
        /// Whether it may from now on.
        nullable: bool,
    },
    /// It joins, or leaves, the key.
    Key {
        /// The column.
        column: ColumnName,
        /// Whether it is part of the key from now on.
        key: bool,
    },
    /// It is called otherwise at the source.
    Source {
        /// The column.
        column: ColumnName,
        /// Its new name there.
        from: String,
    },
    /// The same columns stand in another order.
    Reordered,
}

impl ColumnDifference {
    /// The column that is different; `None`: their order is.
    pub fn column(&self) -> Option<&ColumnName> {
        match self {
            Self::Added { column } | Self::Removed { column } => Some(&column.name),
            Self::Retyped { column, .. }
            | Self::Nullability { column, .. }
            | Self::Key { column, .. }
            | Self::Source { column, .. } => Some(column),
            Self::Reordered => None,
        }
    }
}

impl fmt::Display for ColumnDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added { column } => write!(f, "column {} added", column.name),
            Self::Removed { column } => write!(f, "column {} removed", column.name),
            Self::Retyped { column, from, to } => {
                write!(f, "column {column}: {} -> {}", String::from(from.clone()), String::from(to.clone()))
            }
            Self::Nullability { column, nullable: true } => write!(f, "column {column} may be null"),
            Self::Nullability { column, nullable: false } => write!(f, "column {column} may no longer be null"),
            Self::Key { column, key: true } => write!(f, "column {column} joins the key"),
            Self::Key { column, key: false } => write!(f, "column {column} leaves the key"),
            Self::Source { column, from } => write!(f, "column {column} is read from {from:?}"),
            Self::Reordered => f.write_str("columns reordered"),
        }
    }
}

/// Compares two schemas; empty exactly where they are equal. Linear in columns.
pub fn of_schemas(before: &Schema, after: &Schema) -> Vec<ColumnDifference> {
    let mut differences = Vec::new();
    if before == after {
        return differences;
    }
    let old: HashMap<&ColumnName, &SchemaColumn> = before.columns.iter().map(|column| (&column.name, column)).collect();
    let new: HashMap<&ColumnName, &SchemaColumn> = after.columns.iter().map(|column| (&column.name, column)).collect();
    for column in &after.columns {
        match old.get(&column.name) {
            None => differences.push(ColumnDifference::Added { column: column.clone() }),
            Some(old) => of_columns(old, column, &mut differences),
        }
    }
    for column in before.columns.iter().filter(|column| !new.contains_key(&column.name)) {
        differences.push(ColumnDifference::Removed { column: column.clone() });
    }
    let kept_before = before.columns.iter().map(|column| &column.name).filter(|name| new.contains_key(*name));
    let kept_after = after.columns.iter().map(|column| &column.name).filter(|name| old.contains_key(*name));
    if !kept_before.eq(kept_after) || differences.is_empty() {
        differences.push(ColumnDifference::Reordered);
    }
    differences
}

fn of_columns(before: &SchemaColumn, after: &SchemaColumn, differences: &mut Vec<ColumnDifference>) {
    let column = || after.name.clone();
    if before.data_type != after.data_type {
        let (from, to) = (before.data_type.clone(), after.data_type.clone());
        differences.push(ColumnDifference::Retyped { column: column(), from, to });
    }
    if before.nullable != after.nullable {
        differences.push(ColumnDifference::Nullability { column: column(), nullable: after.nullable });
    }
    if before.key != after.key {
        differences.push(ColumnDifference::Key { column: column(), key: after.key });
    }
    if before.source_name() != after.source_name() {
        differences.push(ColumnDifference::Source { column: column(), from: after.source_name().to_owned() });
    }
}
