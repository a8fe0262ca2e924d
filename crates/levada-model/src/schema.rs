//! The columns of a dataset, as everything behind the model sees them.

use crate::DataType;
use crate::name::ColumnName;
use serde::{Deserialize, Serialize};

/// One column.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct SchemaColumn {
    /// Its name for consumers.
    pub name: ColumnName,
    /// Its name at the source, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<ColumnName>,
    /// Its type.
    pub data_type: DataType,
    /// Whether NULL may stand in it. Key columns are never nullable.
    pub nullable: bool,
    /// Whether it is part of the key.
    pub key: bool,
}

impl SchemaColumn {
    /// The column's name at the source.
    pub fn source_name(&self) -> &str {
        self.from.as_ref().unwrap_or(&self.name).as_str()
    }
}

/// The columns of a dataset in their order.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Schema {
    /// In the order of the model.
    pub columns: Vec<SchemaColumn>,
}

impl Schema {
    /// The key columns' positions; empty where the dataset has no key.
    pub fn key(&self) -> Vec<usize> {
        self.columns.iter().enumerate().filter(|(_, column)| column.key).map(|(index, _)| index).collect()
    }

    /// The position of a column.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name.as_str() == name)
    }
}
