//! What each kind of node needs to run, as plain values; persisted as JSON, version 1.

use levada_model::address::{DatasetRef, NodeAddress, Stream};
use levada_model::connection::{Connection, ContainerKind};
use levada_model::fingerprint::{Fingerprint, fingerprint};
use levada_model::model::{
    Code, CronTrigger, IngestKind, Latency, OutputMode, Reader, Style, TransformTrigger, Windows,
};
use levada_model::name::{ColumnName, DatasetName, DatastoreName, TransformerName, WorkspaceName};
use levada_model::period::Period;
use levada_model::{Address, Schema};
use serde::{Deserialize, Serialize};

/// What a node does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NodeSpec {
    /// Takes a stream in.
    Ingest(IngestSpec),
    /// Receives a stream from its primary.
    Link(LinkSpec),
    /// Delivers one dataset to one container.
    Export(ExportSpec),
    /// Fires a transformer.
    Trigger(TriggerSpec),
    /// Runs a transformer.
    Transform(TransformSpec),
}

/// `Ingest/…`
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IngestSpec {
    /// What is pulled together.
    pub stream: Stream,
    /// The style of the primary.
    pub style: Style,
    /// Where the data comes from.
    pub origin: IngestOrigin,
    /// The datasets somebody consumes, by name.
    pub datasets: Vec<IngestDataset>,
}

/// Where an ingested stream comes from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "nearly all ingests read a container")]
pub enum IngestOrigin {
    /// A producer's container.
    Container {
        /// How it is reached.
        connection: Connection,
        /// How it is read.
        ingest: IngestKind,
        /// When; `None`: continuous on a streaming platform, else every ten minutes.
        trigger: Option<CronTrigger>,
        /// When the source may be read: the ingest's and the container's calendars.
        calendars: Vec<CalendarSpec>,
    },
    /// The output of a transformer, committed after each of its runs.
    Transformer {
        /// The node whose staged output is committed.
        transform: NodeAddress,
        /// How runs replace each other.
        mode: OutputMode,
    },
}

/// A calendar, frozen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CalendarSpec {
    /// Its name, for people.
    pub name: String,
    /// IANA name; `None`: UTC.
    pub timezone: Option<String>,
    /// Its windows.
    pub windows: Windows,
}

/// One dataset of an ingested stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IngestDataset {
    /// Its name.
    pub dataset: DatasetName,
    /// Its table at the source, `schema.table` or `table`.
    pub table: String,
    /// Its columns.
    pub schema: Schema,
    /// The column of a watermark ingest.
    pub watermark: Option<ColumnName>,
    /// Whom its milestones are owed, sorted.
    pub owed: Vec<Owed>,
}

/// A retention somebody is owed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Owed {
    /// The group that asks.
    pub to: Address,
    /// What asks it of the group: `requires`, `regulator SEC-17a-4`, `policy keep`, `hold case-4711`.
    pub because: String,
    /// How long; `None`: until the hold is lifted.
    pub retention: Option<Period>,
}

/// `Link/…`
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LinkSpec {
    /// What is received.
    pub stream: Stream,
    /// The primary's node.
    pub ingest: NodeAddress,
    /// The datasets somebody behind this link consumes, by name.
    pub datasets: Vec<DatasetName>,
}

/// `Export/…`
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExportSpec {
    /// The consumer's container.
    pub connection: Connection,
    /// What is delivered.
    pub source: DatasetRef,
    /// The stream it belongs to: exports of one stream into one container that are due together
    /// are one transaction.
    pub stream: Stream,
    /// Its columns.
    pub schema: Schema,
    /// The physical table or folder of the live reading, where somebody asks for it.
    pub live: Option<String>,
    /// The same of the history reading.
    pub history: Option<String>,
    /// The longest history any view of it shows; `None`: no history, or without end.
    pub history_retention: Option<Period>,
    /// The strictest latency of all sharers.
    pub latency: Latency,
    /// What the workspaces see, sorted by workspace and name.
    pub views: Vec<ViewSpec>,
    /// When the container may be written.
    pub calendars: Vec<CalendarSpec>,
}

impl ExportSpec {
    /// What the delivered tables are made of. Where it is another, they are built anew from the store
    /// beside the old ones; where it is the same, they are adapted and fed on.
    pub fn shape(&self) -> Fingerprint {
        let Self { stream, schema, live, history, history_retention, connection, .. } = self;
        // Consumers never see what columns are called at the source.
        let columns: Vec<_> = schema.columns.iter().map(|it| (&it.name, &it.data_type, it.nullable, it.key)).collect();
        let rest = (stream, columns, live, history, history_retention);
        match connection.kind {
            ContainerKind::Postgres | ContainerKind::Mysql | ContainerKind::Mariadb => fingerprint(&(TABLES, rest)),
            _ => fingerprint(&rest),
        }
    }
}

/// How servers' tables are laid out; where a later version does it another way, it counts on.
const TABLES: u32 = 2;

/// Which of the two delivered readings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveredReading {
    /// What is valid now.
    Live,
    /// Every version, with `valid_from` and `valid_to`.
    History,
}

/// One view of one workspace on one delivered table.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct ViewSpec {
    /// Whose view.
    pub workspace: WorkspaceName,
    /// The schema (or file-name prefix) of the workspace, lower case.
    pub schema: String,
    /// `store_dataset` or `store_dataset_history`, lower case.
    pub name: String,
    /// What it shows.
    pub reading: DeliveredReading,
    /// How far back a history view goes.
    pub retention: Option<Period>,
    /// Who may read it, sorted.
    pub readers: Vec<Reader>,
}

/// `Trigger/…`
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TriggerSpec {
    /// Whose transformer fires.
    pub workspace: WorkspaceName,
    /// When.
    pub trigger: TransformTrigger,
    /// The datasets it watches, sorted; own outputs are not among them.
    pub inputs: Vec<TriggerInput>,
}

/// One dataset a trigger watches.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct TriggerInput {
    /// The dataset.
    pub source: DatasetRef,
    /// The stream whose batches count.
    pub stream: Stream,
    /// The export that must be through.
    pub export: NodeAddress,
}

/// `Transform/…`
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TransformSpec {
    /// Whose transformer.
    pub workspace: WorkspaceName,
    /// Its name.
    pub transformer: TransformerName,
    /// Its code.
    pub code: Code,
    /// Everything it may read, sorted; own outputs included.
    pub inputs: Vec<TransformInput>,
    /// The datastore it writes.
    pub output: DatastoreName,
    /// The datasets of it, by name; all of them, consumed or not.
    pub outputs: Vec<TransformOutput>,
    /// How runs replace each other.
    pub mode: OutputMode,
}

/// One dataset a transformer may read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TransformInput {
    /// The dataset.
    pub source: DatasetRef,
    /// Its stream.
    pub stream: Stream,
    /// Its columns.
    pub schema: Schema,
    /// Whether it is the transformer's own output, read at its last batch.
    #[serde(rename = "self")]
    pub is_self: bool,
}

/// One dataset a transformer writes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TransformOutput {
    /// Its name.
    pub dataset: DatasetName,
    /// Its columns.
    pub schema: Schema,
    /// Whether somebody consumes it; only then the ingest keeps it.
    pub is_consumed: bool,
}
