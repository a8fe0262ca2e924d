//! What fails in the store.

use levada_flow::FlowError;
use levada_model::address::DatasetRef;
use levada_state::StateError;
use std::path::Path;

/// A failure of the store; the text fits after "failed to".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The state database failed.
    #[error("use the store's catalog")]
    Catalog(#[from] StateError),
    /// A file or folder of the store failed.
    #[error("{operation} {path}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file or folder.
        path: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The folder holds the files of another state.
    #[error(
        "open the store in {path}: it belongs to state {owner}, and this is state {own}; give each state a folder of its own"
    )]
    OtherState {
        /// The folder.
        path: String,
        /// The state whose files lie there.
        owner: String,
        /// The state that was to use it.
        own: String,
    },
    /// A segment could not be written.
    #[error("write segment {path}")]
    WriteSegment {
        /// The file, or the dataset of an inline body.
        path: String,
        /// Parquet's or the system's error.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// A segment is not what was written.
    #[error("read segment {path}, which is damaged")]
    DamagedSegment {
        /// The file, or the dataset and batch of an inline body.
        path: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A column's stored values can't become the type asked for.
    #[error("read column {column:?} of segment {path} as {data_type}")]
    Retype {
        /// The file, or the dataset and batch of an inline body.
        path: String,
        /// The column.
        column: String,
        /// The type asked for.
        data_type: String,
        /// Arrow's error, which names the value.
        #[source]
        source: arrow::error::ArrowError,
    },
    /// The catalog names a schema that it does not have.
    #[error("read batch {batch} of {dataset}: its schema {schema_id} is not in the catalog")]
    SchemaUnknown {
        /// The dataset.
        dataset: DatasetRef,
        /// The batch.
        batch: i64,
        /// The schema's number.
        schema_id: i64,
    },
    /// A column has one of the names that the store keeps for itself.
    #[error("store {dataset}: the name of column {column:?} belongs to the store")]
    ColumnReserved {
        /// The dataset.
        dataset: DatasetRef,
        /// The column.
        column: String,
    },
    /// Rows don't have the dataset's columns.
    #[error("store rows of {dataset}: {problem}")]
    RowsMisfit {
        /// The dataset.
        dataset: DatasetRef,
        /// The columns at fault.
        problem: String,
    },
    /// NULL in a column that has none.
    #[error("store rows of {dataset}: column {column:?} is not nullable and row {row} of a batch has NULL")]
    NullValue {
        /// The dataset.
        dataset: DatasetRef,
        /// The column.
        column: String,
        /// Counts from 1 in its record batch.
        row: usize,
    },
    /// An `lv_op` that is no operation.
    #[error("store changes of {dataset}: row {row} of a batch has lv_op {found}; 0 is insert, 1 update, 2 delete")]
    OperationUnknown {
        /// The dataset.
        dataset: DatasetRef,
        /// Counts from 1 in its record batch.
        row: usize,
        /// What stands there.
        found: String,
    },
    /// A key that comes twice in one snapshot.
    #[error("store {dataset}: the key {key} comes more than once in one snapshot")]
    KeyTwice {
        /// The dataset.
        dataset: DatasetRef,
        /// `column = value, …`
        key: String,
    },
    /// Keys or updates for a dataset that has no key.
    #[error("store {what} of {dataset}, which has no key")]
    KeyMissing {
        /// The dataset.
        dataset: DatasetRef,
        /// `keys` or `updates`.
        what: &'static str,
    },
    /// A source left a value out because it did not change, and there is none.
    #[error("store changes of {dataset}: column {column:?} of a row is said to be as before, and no version is stored")]
    KeptUnknown {
        /// The dataset.
        dataset: DatasetRef,
        /// The column.
        column: String,
    },
    /// A dataset got rows in two ways, or what they cover does not go with them.
    #[error("store {dataset}: {problem}")]
    Misuse {
        /// The dataset.
        dataset: DatasetRef,
        /// What does not go together.
        problem: &'static str,
    },
    /// The dataset has more live rows than the diff can hold.
    #[error("compare {dataset} with its live rows: it has more than {limit}")]
    TooManyRows {
        /// The dataset.
        dataset: DatasetRef,
        /// The most rows.
        limit: usize,
    },
    /// The dataset's stream has no such batch.
    #[error("find batch {batch} of {dataset}, which has {last}")]
    BatchUnknown {
        /// The dataset.
        dataset: DatasetRef,
        /// The batch asked for.
        batch: i64,
        /// Its stream's last batch; 0: none.
        last: i64,
    },
    /// The dataset's stream has no batch that early.
    #[error("find a batch of {dataset} as early as {time}")]
    TimeUnknown {
        /// The dataset.
        dataset: DatasetRef,
        /// The time asked for, µs since 1970.
        time: i64,
    },
    /// A part of the store broke off.
    #[error("finish work on {dataset}, which broke off")]
    BrokenOff {
        /// The dataset.
        dataset: String,
        /// Why.
        #[source]
        source: tokio::task::JoinError,
    },
}

impl StoreError {
    pub(crate) fn file(operation: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::File { operation, path: path.display().to_string(), source }
    }

    pub(crate) fn damaged(path: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::DamagedSegment { path: path.to_owned(), source: source.into() }
    }

    /// Whether the same call may go through later: a full disk is emptied, a database comes back.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Catalog(error) => error.is_retryable(),
            Self::File { .. } | Self::WriteSegment { .. } => true,
            _ => false,
        }
    }
}

impl From<StoreError> for FlowError {
    fn from(error: StoreError) -> Self {
        let message = format!("failed to {error}");
        let flow = match error.is_retryable() {
            true => Self::later(message),
            false => Self::never(message),
        };
        let hint = match &error {
            StoreError::DamagedSegment { .. } => Some("restore the file from a backup of the store's folder"),
            StoreError::KeyTwice { .. } => Some("make the key unique at the source, or declare more key columns"),
            _ => None,
        };
        let flow = match hint {
            Some(hint) => flow.hint(hint),
            None => flow,
        };
        match error_source(error) {
            Some(source) => flow.because(source),
            None => flow,
        }
    }
}

/// The cause alone: the error's own text is already in the message.
fn error_source(error: StoreError) -> Option<Box<dyn std::error::Error + Send + Sync>> {
    match error {
        StoreError::Catalog(source) => Some(source.into()),
        StoreError::File { source, .. } => Some(source.into()),
        StoreError::WriteSegment { source, .. } => Some(source.into()),
        StoreError::DamagedSegment { source, .. } => Some(source),
        StoreError::Retype { source, .. } => Some(source.into()),
        StoreError::BrokenOff { source, .. } => Some(source.into()),
        _ => None,
    }
}
