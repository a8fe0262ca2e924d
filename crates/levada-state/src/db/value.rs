//! Plain values in both directions.

use super::DatabaseError;

/// A value of a statement or a row.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// A list of values from whatever turns into one.
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::db::Value::from($value)),*] };
}
pub(crate) use values;

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Int(value.into())
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(value.clone())
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(value.to_vec())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A row in the order of its statement's columns.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Row(pub(super) Vec<Value>);

impl Row {
    fn take(&mut self, column: usize) -> Option<Value> {
        self.0.get_mut(column).map(|value| std::mem::replace(value, Value::Null))
    }

    /// A whole number.
    pub(crate) fn int(&self, column: usize) -> Result<i64, DatabaseError> {
        match self.0.get(column) {
            Some(Value::Int(value)) => Ok(*value),
            _ => Err(DatabaseError::Column { column, expected: "a whole number" }),
        }
    }

    /// A whole number or NULL.
    pub(crate) fn int_or_null(&self, column: usize) -> Result<Option<i64>, DatabaseError> {
        match self.0.get(column) {
            Some(Value::Null) => Ok(None),
            _ => self.int(column).map(Some),
        }
    }

    /// A truth value, stored as 0 or 1.
    pub(crate) fn flag(&self, column: usize) -> Result<bool, DatabaseError> {
        Ok(self.int(column)? != 0)
    }

    /// A text without copying it.
    pub(crate) fn str(&self, column: usize) -> Result<&str, DatabaseError> {
        match self.0.get(column) {
            Some(Value::Text(value)) => Ok(value),
            _ => Err(DatabaseError::Column { column, expected: "a text" }),
        }
    }

    /// A text; can be taken once.
    pub(crate) fn text(&mut self, column: usize) -> Result<String, DatabaseError> {
        match self.take(column) {
            Some(Value::Text(value)) => Ok(value),
            _ => Err(DatabaseError::Column { column, expected: "a text" }),
        }
    }

    /// A text or NULL; can be taken once.
    pub(crate) fn text_or_null(&mut self, column: usize) -> Result<Option<String>, DatabaseError> {
        match self.0.get(column) {
            Some(Value::Null) => Ok(None),
            _ => self.text(column).map(Some),
        }
    }

    /// Bytes; can be taken once.
    pub(crate) fn bytes(&mut self, column: usize) -> Result<Vec<u8>, DatabaseError> {
        match self.take(column) {
            Some(Value::Bytes(value)) => Ok(value),
            _ => Err(DatabaseError::Column { column, expected: "bytes" }),
        }
    }

    /// Bytes or NULL; can be taken once.
    pub(crate) fn bytes_or_null(&mut self, column: usize) -> Result<Option<Vec<u8>>, DatabaseError> {
        match self.0.get(column) {
            Some(Value::Null) => Ok(None),
            _ => self.bytes(column).map(Some),
        }
    }

    /// A text as what it spells.
    pub(crate) fn parsed<T>(&self, column: usize, what: &'static str) -> Result<T, DatabaseError>
    where
        T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
    {
        self.str(column)?.parse().map_err(|error| DatabaseError::content(what, error))
    }

    /// A text as the JSON value it spells.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(
        &self,
        column: usize,
        what: &'static str,
    ) -> Result<T, DatabaseError> {
        serde_json::from_str(self.str(column)?).map_err(|error| DatabaseError::content(what, error))
    }
}
