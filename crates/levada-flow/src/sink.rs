//! The contract of consumers.

use crate::{FlowError, RowStream};
use async_trait::async_trait;
use levada_model::address::DatasetRef;
use levada_model::model::Reader;
use levada_model::name::{PlatformName, WorkspaceName};
use levada_model::{DataType, Schema, SchemaColumn};

/// A delivered dataset, as its sink has to show it.
#[derive(Clone, PartialEq, Debug)]
pub struct DeliveredTable {
    /// Who delivers it. With the dataset it tells apart what is delivered into one container.
    pub platform: PlatformName,
    /// The dataset.
    pub source: DatasetRef,
    /// Its columns.
    pub schema: Schema,
    /// The physical name of the live table, where there is one.
    pub live: Option<String>,
    /// The physical name of the history table, where there is one.
    pub history: Option<String>,
    /// What the workspaces see.
    pub views: Vec<DeliveredView>,
}

/// One view of one workspace.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DeliveredView {
    /// Whose view.
    pub workspace: WorkspaceName,
    /// The workspace's schema, lower case, where a system has schemas.
    pub schema: String,
    /// The view's name in it.
    pub name: String,
    /// Whether it shows the history table.
    pub is_history: bool,
    /// A history view hides versions closed before (µs since 1970).
    pub since: Option<i64>,
    /// Who may read it; everybody else whom Levada let in before is let out.
    pub readers: Vec<Reader>,
}

/// How far a delivered dataset is, as its row in `levada.applied` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The last batch that is in.
    pub batch: i64,
    /// The incarnation of the source it came from.
    pub incarnation: String,
    /// The epoch of the job that wrote it; a smaller one may not write any more.
    pub epoch: i64,
    /// Fingerprint of columns and physical shape; another one means: build anew, beside.
    pub shape: String,
}

/// What to do with one dataset in a delivery.
pub struct TableDelivery {
    /// How it has to look.
    pub table: DeliveredTable,
    /// What to write.
    pub content: Content,
    /// The row to leave in `levada.applied`, in the same transaction.
    pub mark: Mark,
    /// The row that must be there now (`None`: none); otherwise the delivery is refused.
    pub expected: Option<Mark>,
}

/// The rows of a delivery.
pub enum Content {
    /// Net changes since the expected mark: the schema's columns, then `lv_batch` int64, `lv_op`
    /// int32 (0 insert, 1 update, 2 delete; a delete carries the last values), `lv_key_hash` and
    /// `lv_row_hash` fixed binary(16). At most one row per key and batch, ordered by batch.
    /// `times` gives the commit time (µs) of each batch.
    Changes {
        /// The rows.
        rows: RowStream,
        /// Batch → commit time in µs.
        times: std::collections::BTreeMap<i64, i64>,
        /// Whether of all batches together only the last change of each key is there, in no order; never
        /// where there is a history table.
        is_net: bool,
    },
    /// Everything, built beside and swapped in.
    Everything {
        /// The net changes since the expected mark, where the sink keeps them beside
        /// ([`Form::Everything`]) and there are some.
        changes: Option<(RowStream, std::collections::BTreeMap<i64, i64>)>,
        /// The live rows: the schema's columns, then `lv_key_hash`. `None` where no live table is asked for.
        live: Option<RowStream>,
        /// All versions: the schema's columns, `valid_from` and `valid_to` (timestamptz µs, null =
        /// open), `lv_key_hash`. `None` where no history table is asked for.
        history: Option<RowStream>,
    },
    /// No rows: only views, grants and the mark.
    Nothing,
}

/// What a sink wants for a dataset that it already has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// [`Content::Changes`]: it updates rows.
    Changes,
    /// [`Content::Everything`]: it only replaces.
    Everything,
}

/// What a delivery did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Delivered {
    /// Rows written, by any statement.
    pub rows: u64,
    /// Bytes sent, as the wire or file format counts them.
    pub bytes: u64,
    /// Readers whom the system does not know; everybody else sees what was delivered.
    pub unknown_readers: Vec<UnknownReader>,
}

/// A reader who could not be let in, because the system does not know them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct UnknownReader {
    /// The dataset.
    pub source: DatasetRef,
    /// The workspace that names them.
    pub workspace: WorkspaceName,
    /// The role or user.
    pub reader: String,
}

/// A consumer's container.
///
/// **Delivery**: exactly once: rows and marks are one transaction (or one atomic replacement of
/// the file that names what to read). **Order**: deliveries of one stream come in the order of
/// batches. **Concurrency**: one delivery per stream; different streams at once. **Fencing**: a
/// delivery whose epoch is smaller than the one in its row, or whose expected mark is not there,
/// is refused and changes nothing. **Visibility**: readers use the views only; nobody ever sees an
/// empty table, half a delivery or a step back. **Departure**: a reading that a delivery of its
/// platform and dataset no longer names goes in the same transaction, its views, table and mark
/// with it; a view of another dataset is never taken. **Readers** whom the system does not know
/// are told in the answer; they keep nobody else from reading. **Names** are quoted, never pasted.
#[async_trait]
pub trait Sink: Send {
    /// What it wants for a dataset that it already has.
    fn form(&self) -> Form;

    /// The marks of these datasets. `None`: never delivered by this platform.
    async fn marks(&mut self, tables: &[DeliveredTable]) -> Result<Vec<Option<Mark>>, FlowError>;

    /// Brings tables, rows, views, grants and marks of all these datasets forward, all or nothing.
    async fn deliver(&mut self, deliveries: Vec<TableDelivery>) -> Result<Delivered, FlowError>;

    /// Takes views and grants of these datasets away, and the tables behind them, also those that
    /// were delivered before and are not named any more.
    async fn remove(&mut self, tables: &[DeliveredTable], epoch: i64) -> Result<(), FlowError>;

    /// Reads a delivered table back, for `verify`: the schema's columns (and `valid_from`,
    /// `valid_to` for history).
    async fn read_back(&mut self, table: &DeliveredTable, is_history: bool) -> Result<RowStream, FlowError>;
}

/// The columns of a history table as its readers see them: the dataset's, `valid_from` and
/// `valid_to` (timestamptz, null = open).
pub fn history_schema(schema: &Schema) -> Schema {
    let bound = |name: &str, nullable| SchemaColumn {
        name: name.parse().expect("a plain word is a name"),
        from: None,
        data_type: DataType::Timestamptz,
        nullable,
        key: false,
    };
    let mut columns = schema.columns.clone();
    columns.extend([bound("valid_from", false), bound("valid_to", true)]);
    Schema { columns }
}

/// Whether a delivery may go on where `there` is the mark in place.
///
/// # Errors
/// A later worker was here (never to be tried again), or something else than expected is there
/// (the caller looks again).
pub fn fence(source: &DatasetRef, there: Option<&Mark>, mark: &Mark, expected: Option<&Mark>) -> Result<(), FlowError> {
    if let Some(there) = there {
        fence_epoch(source, there, mark.epoch)?;
    }
    match there == expected {
        true => Ok(()),
        false => {
            let said = |mark: Option<&Mark>| mark.map_or("nothing".to_owned(), |mark| format!("batch {}", mark.batch));
            let (there, expected) = (said(there), said(expected));
            Err(FlowError::later(format!("{source} has {there} delivered where {expected} was expected")))
        }
    }
}

/// Whether a worker of this epoch may still write.
///
/// # Errors
/// A later worker was here.
pub fn fence_epoch(source: &DatasetRef, there: &Mark, epoch: i64) -> Result<(), FlowError> {
    match there.epoch > epoch {
        true => Err(FlowError::never(format!(
            "{source} was delivered under epoch {} and this worker has epoch {epoch}",
            there.epoch
        ))),
        false => Ok(()),
    }
}
