//! The model: everything the files of an ecosystem say, with the places where they say it.
//!
//! Lists are sorted by name (ignoring case); references are names, not yet known to be right: the
//! planner's lint says so. Ids are positions in these lists and live as long as this value.

use crate::connection::{Connection, ContainerKind};
use crate::name::*;
use crate::outline::Outlines;
use crate::period::Period;
use crate::schema::Schema;
use crate::{DataType, Span, Spanned};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// The whole ecosystem.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// The ecosystem's own keys.
    pub ecosystem: Ecosystem,
    /// Governance zones.
    pub zones: Vec<Zone>,
    /// Teams, by zone and name.
    pub teams: Vec<Team>,
    /// Containers.
    pub containers: Vec<Container>,
    /// Datastores; the outputs of transformers are among them.
    pub datastores: Vec<Datastore>,
    /// Workspaces.
    pub workspaces: Vec<Workspace>,
    /// Calendars.
    pub calendars: Vec<Calendar>,
    /// Operations' choices of platforms for groups.
    pub assignments: Vec<AssignmentEntry>,
    /// Operations' choices of primaries.
    pub primaries: Vec<PrimaryEntry>,
    /// What was declared and could not be read.
    pub unread: Unread,
    /// Finds objects by folded name. Made by [`Model::index`].
    pub index: Index,
    /// Every object of the whole model, also where this value is a part of it.
    pub outlines: Arc<Outlines>,
}

/// What was declared and could not be read: a finding says why, and whoever refers to it makes no
/// mistake of his own.
#[derive(Clone, Debug, Default)]
pub struct Unread {
    /// Whether some document could not be read at all: any name may stand in it.
    pub has_documents: bool,
    /// Whether the ecosystem's own document is among them: the names that only it declares may
    /// stand there.
    pub is_ecosystem_among_them: bool,
    /// The objects whose names are known, folded.
    pub objects: BTreeSet<(ObjectKind, String)>,
}

/// The kinds of objects that others refer to and that may be unreadable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[expect(missing_docs, reason = "the names are the model's own words")]
pub enum ObjectKind {
    Container,
    Datastore,
    Workspace,
    Platform,
    Infrastructure,
    Regulator,
}

impl Unread {
    /// Whether an object of this name may have been declared.
    pub fn may_have(&self, kind: ObjectKind, name: &str) -> bool {
        self.has_documents_of(kind) || self.objects.contains(&(kind, name.to_lowercase()))
    }

    /// Whether any object of this kind may have been declared.
    pub fn may_have_some(&self, kind: ObjectKind) -> bool {
        self.has_documents_of(kind) || self.objects.iter().any(|(unread, _)| *unread == kind)
    }

    /// Whether a document that may declare objects of this kind could not be read.
    fn has_documents_of(&self, kind: ObjectKind) -> bool {
        match kind {
            ObjectKind::Platform | ObjectKind::Infrastructure => self.is_ecosystem_among_them,
            _ => self.has_documents,
        }
    }
}

/// Positions by folded name.
#[derive(Clone, Debug, Default)]
pub struct Index {
    zones: HashMap<String, u32>,
    teams: HashMap<(String, String), u32>,
    containers: HashMap<String, u32>,
    datastores: HashMap<String, u32>,
    workspaces: HashMap<String, u32>,
    platforms: HashMap<String, u32>,
    calendars: HashMap<String, u32>,
}

/// `ecosystem.yaml`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ecosystem {
    /// Its name; empty only in [`Model::default`].
    pub name: String,
    /// For people.
    pub documentation: Option<String>,
    /// Where `ecosystem:` stands.
    pub span: Span,
    /// From least to most sensitive; the five usual ones when the file gives none.
    pub classifications: Vec<Spanned<ClassificationName>>,
    /// Who hosts, where.
    pub vendors: Vec<Vendor>,
    /// What platforms share.
    pub infrastructures: Vec<Infrastructure>,
    /// Platforms, by name.
    pub platforms: Vec<PlatformEntry>,
}

/// Who hosts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Vendor {
    /// Its name.
    pub name: VendorName,
    /// The place of the name.
    pub span: Span,
    /// For people.
    pub documentation: Option<String>,
    /// `aws`, `azure`, `gcp`, `private`, …
    pub cloud: String,
    /// Every location as a path from the top: `us`, `us/east`.
    pub locations: Vec<String>,
}

/// `VENDOR:path/below`, or `VENDOR` alone in a policy.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct LocationRef {
    /// The vendor.
    pub vendor: VendorName,
    /// The path; empty: all of the vendor's.
    pub path: String,
}

impl LocationRef {
    /// Whether `other` is this place or lies in it.
    pub fn covers(&self, other: &LocationRef) -> bool {
        self.vendor == other.vendor
            && (self.path.is_empty()
                || other.path == self.path
                || other.path.strip_prefix(&self.path).is_some_and(|rest| rest.starts_with('/')))
    }
}

impl std::fmt::Display for LocationRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.path.is_empty() {
            true => write!(f, "{}", self.vendor),
            false => write!(f, "{}:{}", self.vendor, self.path),
        }
    }
}

/// Free-form settings of a platform or an infrastructure, checked by the platform.
pub type Settings = BTreeMap<String, serde_json::Value>;

/// What several platforms share.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Infrastructure {
    pub name: InfrastructureName,
    pub span: Span,
    pub documentation: Option<String>,
    pub kind: Spanned<String>,
    pub settings: Settings,
}

/// The philosophy of a platform.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Style {
    Batch,
    Streaming,
    Forensic,
}

/// Whether an object is for real.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Status {
    #[default]
    Development,
    Production,
}

/// One configured platform.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlatformEntry {
    /// Its name.
    pub name: PlatformName,
    /// The place of the name.
    pub span: Span,
    /// For people.
    pub documentation: Option<String>,
    /// `embedded`, `aws-batch`, `kubernetes`, `external`; which exist, the registry knows.
    pub kind: Spanned<String>,
    /// Whose settings underlie its own.
    pub infrastructure: Option<Spanned<InfrastructureName>>,
    /// Its philosophy.
    pub style: Style,
    /// Production or development.
    pub status: Status,
    /// Relative cost, in thousandths; `None`: the style's default.
    pub cost_milli: Option<u64>,
    /// Where it keeps data.
    pub locations: Vec<Spanned<LocationRef>>,
    /// Which branch it follows, when, and who agrees.
    pub follow: Option<Follow>,
    /// Stand its image up on Kubernetes.
    pub host: Option<Host>,
    /// The program of an external platform.
    pub run: Option<Run>,
    /// Secrets its program needs.
    pub credentials: Vec<Spanned<CredentialName>>,
    /// Its own settings.
    pub settings: Settings,
    /// What its program said of itself when it was asked last; `None`: it never was.
    #[serde(skip)]
    pub described: Option<Described>,
}

/// What an external platform's program said of itself: its entry in `describe.json`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Described {
    /// The fingerprint of the `run:` that was asked; another one may answer otherwise.
    pub run: String,
    /// Its answer, as it came.
    pub answer: serde_json::Value,
}

/// `describe.json`: what the programs of the platforms in the file beside it said of themselves;
/// version 1.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DescribeFile {
    /// Of this format.
    pub version: u32,
    /// By the platform's name.
    pub platforms: BTreeMap<String, Described>,
}

/// The file that holds a [`DescribeFile`].
pub const DESCRIBE_FILE: &str = "describe.json";

/// The version of `describe.json` that this build reads and writes.
pub const DESCRIBE_VERSION: u32 = 1;

/// `follow:` of a platform.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Follow {
    pub branch: String,
    pub calendar: Option<Spanned<CalendarName>>,
    pub approval_required: bool,
}

/// `host:` of a platform.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Host {
    pub kubernetes: String,
    pub image: String,
}

/// A program: an image or a command line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Run {
    Image(String),
    Command(Vec<String>),
}

/// `zone.yaml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Zone {
    pub name: ZoneName,
    pub span: Span,
    pub documentation: Option<String>,
    /// Appended to the ecosystem's.
    pub classifications: Vec<Spanned<ClassificationName>>,
    pub regulators: Vec<Regulator>,
    pub holds: Vec<Hold>,
    pub policies: Vec<Policy>,
}

/// Somebody who asks for a retention by law.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Regulator {
    pub name: RuleName,
    pub span: Span,
    pub documentation: Option<String>,
    pub retention: Period,
}

/// Data that may not be deleted while a case is open.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Hold {
    pub name: RuleName,
    pub span: Span,
    pub documentation: Option<String>,
    pub datasets: Vec<Spanned<crate::address::DatasetRef>>,
    /// ISO date.
    pub since: String,
}

/// Which data a policy binds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Binds {
    /// What the zone's teams produce, wherever it goes.
    #[default]
    Produced,
    /// What the zone's teams consume, wherever it comes from.
    Consumed,
    /// Both.
    Both,
}

/// A rule of a zone.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Policy {
    pub name: RuleName,
    pub span: Span,
    pub documentation: Option<String>,
    pub binds: Binds,
    /// What it is about; empty: everything.
    pub classifications: Vec<Spanned<ClassificationName>>,
    /// Where data may be; `None`: anywhere that is not denied.
    pub allow: Option<Places>,
    /// Where data may not be.
    pub deny: Option<Places>,
    /// The least retention.
    pub retention_at_least: Option<Period>,
}

/// A set of places; a place is in it when any list covers it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Places {
    pub locations: Vec<Spanned<LocationRef>>,
    pub clouds: Vec<Spanned<String>>,
    pub vendors: Vec<Spanned<VendorName>>,
    pub platforms: Vec<Spanned<PlatformName>>,
    pub containers: Vec<Spanned<ContainerName>>,
}

/// `team.yaml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Team {
    pub zone: ZoneName,
    pub name: TeamName,
    pub span: Span,
    pub documentation: Option<String>,
}

/// Who owns an object: the zone and team whose folders enclose it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Owner {
    pub zone: ZoneName,
    pub team: TeamName,
}

impl Owner {
    /// Stands for the owner of an object outside any team. Such an object comes with a finding.
    pub(crate) fn unknown() -> Self {
        Self { zone: Self::unknown_zone(), team: TeamName::parse("(no team)").expect("it is printable") }
    }

    /// Stands for a zone that no folder names. Such an object comes with a finding.
    pub(crate) fn unknown_zone() -> ZoneName {
        ZoneName::parse("(no zone)").expect("it is printable")
    }
}

/// A container of a team.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Container {
    /// Its name.
    pub name: ContainerName,
    /// The place of the name.
    pub span: Span,
    /// Who owns it.
    pub owner: Owner,
    /// For people.
    pub documentation: Option<String>,
    /// Where it is.
    pub location: Spanned<LocationRef>,
    /// How it is reached.
    pub connection: Connection,
    /// When it may be used.
    pub calendar: Option<Spanned<CalendarName>>,
}

impl Container {
    /// The kind of system.
    pub fn kind(&self) -> ContainerKind {
        self.connection.kind
    }
}

/// An announced end.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Deprecated {
    pub span: Span,
    pub reason: String,
    /// ISO date.
    pub until: Option<String>,
    pub instead: Option<String>,
}

/// What a producer offers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Datastore {
    /// Its name.
    pub name: DatastoreName,
    /// The place of the name.
    pub span: Span,
    /// Who owns it.
    pub owner: Owner,
    /// For people.
    pub documentation: Option<String>,
    /// Production or development.
    pub status: Status,
    /// Where its data comes from.
    pub origin: Origin,
    /// Who may consume: a workspace, or `WORKSPACE/GROUP`; `None`: everybody.
    pub approved: Option<Vec<Spanned<String>>>,
    /// An announced end.
    pub deprecated: Option<Deprecated>,
    /// By name.
    pub datasets: Vec<Dataset>,
}

/// Where a datastore's data comes from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Origin {
    /// A producer's container.
    Container {
        /// The container.
        container: Spanned<ContainerName>,
        /// How it is read.
        ingest: Ingest,
    },
    /// A transformer: the datastore is its output.
    Transformer {
        /// The workspace of the transformer.
        workspace: WorkspaceName,
        /// How its runs replace each other.
        mode: OutputMode,
    },
}

/// How a producer is read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ingest {
    /// The place of `ingest:`.
    pub span: Span,
    /// The way of reading.
    pub kind: IngestKind,
    /// All datasets in one batch, or one by one.
    pub is_multi: bool,
    /// When; `None`: continuous, or every ten minutes.
    pub trigger: Option<CronTrigger>,
    /// When this source may be read.
    pub calendar: Option<Spanned<CalendarName>>,
}

/// The way of reading a producer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum IngestKind {
    /// Everything, diffed with what is stored.
    Snapshot,
    /// What is newer than a column's last value.
    Watermark {
        /// The column; a dataset may name another.
        column: Option<ColumnName>,
        /// How far back each pull looks again.
        overlap: Option<Period>,
        /// When to look for vanished keys.
        deletes: Option<Cron>,
    },
    /// The source's own change log.
    Cdc {
        /// Most bytes the source may hold back for us.
        wal_max_bytes: Option<u64>,
    },
    /// Files in a folder or bucket.
    Files {
        /// Such as `{dataset}/*.csv`.
        pattern: String,
        /// Their format.
        format: FileFormat,
        /// Options of the format, such as `delimiter`.
        options: BTreeMap<String, String>,
        /// What each file means.
        each_file: EachFile,
    },
    /// Messages of a topic.
    Topic,
}

/// The formats of files.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum FileFormat {
    Csv,
    Parquet,
}

/// What a new file means for its dataset.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EachFile {
    /// It is the whole dataset.
    Replaces,
    /// Its rows come on top.
    Adds,
}

/// A cron expression and its time zone.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Cron {
    /// Five fields.
    pub expression: String,
    /// IANA name; `None`: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
}

/// What happens with ticks that were missed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CatchUp {
    /// They become one.
    #[default]
    Latest,
    /// Each is made up for.
    All,
    /// They are forgotten.
    None,
}

impl CatchUp {
    /// The word in the model.
    pub fn word(self) -> &'static str {
        match self {
            Self::Latest => "latest",
            Self::All => "all",
            Self::None => "none",
        }
    }
}

/// When something runs by the clock.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct CronTrigger {
    /// The ticks.
    pub cron: Cron,
    /// Missed ticks.
    pub catch_up: CatchUp,
    /// Spread by up to so much, always the same for one stream.
    pub jitter: Option<Period>,
}

/// One table-like thing in a datastore.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Dataset {
    /// Its name.
    pub name: DatasetName,
    /// The place of the name.
    pub span: Span,
    /// For people.
    pub documentation: Option<String>,
    /// Of all its columns.
    pub classification: Option<Spanned<ClassificationName>>,
    /// An announced end.
    pub deprecated: Option<Deprecated>,
    /// Its table at the source, `schema.table` or `table`; `None`: its name.
    pub table: Option<String>,
    /// Its own watermark column.
    pub watermark: Option<Spanned<ColumnName>>,
    /// A hint for layout.
    pub partition: Vec<Spanned<ColumnName>>,
    /// In their order.
    pub columns: Vec<Column>,
}

impl Dataset {
    /// The columns without places and classifications.
    pub fn schema(&self) -> Schema {
        Schema {
            columns: self
                .columns
                .iter()
                .map(|column| crate::SchemaColumn {
                    name: column.name.clone(),
                    from: column.from.clone(),
                    data_type: column.data_type.clone(),
                    nullable: column.nullable && !column.key,
                    key: column.key,
                })
                .collect(),
        }
    }
}

/// One column of a dataset. Its place is found by re-reading the dataset's file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Column {
    pub name: ColumnName,
    pub documentation: Option<Box<str>>,
    /// Its name at the source, where that is another.
    pub from: Option<ColumnName>,
    pub data_type: DataType,
    pub nullable: bool,
    pub key: bool,
    pub classification: Option<ClassificationName>,
}

/// What a consumer needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Workspace {
    /// Its name.
    pub name: WorkspaceName,
    /// The place of the name.
    pub span: Span,
    /// Who owns it.
    pub owner: Owner,
    /// For people.
    pub documentation: Option<String>,
    /// Production or development.
    pub status: Status,
    /// Where it wants its data.
    pub container: Spanned<ContainerName>,
    /// How much it matters.
    pub priority: Priority,
    /// `role:NAME` or `user:NAME`.
    pub readers: Vec<Spanned<Reader>>,
    /// By name.
    pub groups: Vec<Group>,
    /// The code that runs on its data.
    pub transformer: Option<Transformer>,
}

/// How much a workspace matters; the least comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Priority {
    Low,
    #[default]
    Medium,
    High,
    Critical,
}

/// Who may read a workspace's views.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reader {
    /// A role of the container's system.
    Role(String),
    /// A user of it.
    User(String),
}

/// Datasets under one set of requirements.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Group {
    pub name: GroupName,
    pub span: Span,
    pub documentation: Option<String>,
    /// `None`: `{ latency: hours, milestoning: live, retention: 7d }`, or, in a transformer's
    /// workspace, the strictest of whoever consumes its output.
    pub requires: Option<Requirements>,
    pub sinks: Vec<Sink>,
}

/// How old data may be.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Latency {
    /// The strictest.
    Seconds,
    Minutes,
    Hours,
    Days,
}

/// Which readings a consumer gets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Milestoning {
    Live,
    History,
    Both,
}

/// The terms of a group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Requirements {
    pub span: Span,
    pub latency: Latency,
    pub milestoning: Milestoning,
    pub retention: Period,
    pub regulator: Option<Spanned<RuleName>>,
}

/// One dataset that a group asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Sink {
    pub dataset: Spanned<crate::address::DatasetRef>,
    pub is_deprecated_allowed: bool,
}

/// Code that makes data from data.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Transformer {
    pub name: TransformerName,
    pub span: Span,
    pub documentation: Option<String>,
    /// The datastore it writes; it is in [`Model::datastores`] with [`Origin::Transformer`].
    pub output: Spanned<DatastoreName>,
    pub mode: OutputMode,
    pub trigger: TransformTrigger,
    pub code: Code,
}

/// How a transformer's runs replace each other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputMode {
    /// The whole output, diffed.
    #[default]
    Snapshot,
    /// Rows on top.
    Append,
    /// Rows with an `lv_op` column.
    Changes,
}

/// When a transformer runs.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum TransformTrigger {
    OnChange,
    Cron(CronTrigger),
}

/// A transformer's code.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// One query per output dataset. `(dataset, path from the model's root, the text)`; the dataset
    /// is `None` in the short form for one output. The text is `None` where the file is missing.
    Sql(Vec<SqlFile>),
    /// A program, run in the folder of the file that names it.
    Program(Program),
}

/// One SQL file of a transformer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct SqlFile {
    pub dataset: Option<DatasetName>,
    /// From the model's root.
    pub path: String,
    /// `None`: the file can't be read; lint says so.
    pub text: Option<String>,
}

/// A transformer's program.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Program {
    pub run: Run,
    /// The folder it runs in, from the model's root.
    pub folder: String,
    /// Longest run; `None`: one hour.
    pub timeout: Option<Period>,
    /// Most memory; `None`: no limit.
    pub memory_bytes: Option<u64>,
    pub credentials: Vec<CredentialName>,
}

/// When something may happen; deny wins.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Calendar {
    pub name: CalendarName,
    pub span: Span,
    pub documentation: Option<String>,
    /// IANA name; `None`: UTC.
    pub timezone: Option<String>,
    pub windows: Windows,
}

/// The windows of a calendar.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Windows {
    /// Empty: always, but for `deny`.
    pub allow: Vec<Window>,
    pub deny: Vec<Window>,
}

/// A stretch of time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// From each tick on.
    Cron {
        /// The ticks, in the calendar's time zone.
        expression: String,
        /// How long.
        lasts: Period,
    },
    /// From one day to the day before another; ISO dates in the calendar's time zone.
    Dates {
        /// First day.
        from: String,
        /// The day after the last.
        to: String,
    },
}

/// How far operations are with a choice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum AssignmentState {
    Provisioning,
    #[default]
    Active,
    Decommissioning,
}

/// `assign:` in `assignments.yaml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct AssignmentEntry {
    pub span: Span,
    pub workspace: WorkspaceName,
    pub group: GroupName,
    pub platform: Spanned<PlatformName>,
    pub state: AssignmentState,
}

/// `primary:` in `assignments.yaml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct PrimaryEntry {
    pub span: Span,
    pub datastore: DatastoreName,
    pub platform: Spanned<PlatformName>,
}

macro_rules! find {
    ($($(#[$doc:meta])* $method:ident, $id:ident: $index:ident, $($path:ident).+, $name:ty => $object:ty;)*) => {
        impl Model {$(
            $(#[$doc])*
            pub fn $method(&self, name: &$name) -> Option<&$object> {
                let position = *self.index.$index.get(&name.folded())?;
                self.$($path).+.get(position as usize).filter(|object| object.name == *name)
            }

            /// The position of the same; `None` where there is none.
            pub fn $id(&self, name: &$name) -> Option<u32> {
                self.$method(name).and_then(|_| self.index.$index.get(&name.folded()).copied())
            }
        )*}
    };
}

find! {
    /// Finds a zone.
    zone, zone_id: zones, zones, ZoneName => Zone;
    /// Finds a container.
    container, container_id: containers, containers, ContainerName => Container;
    /// Finds a datastore.
    datastore, datastore_id: datastores, datastores, DatastoreName => Datastore;
    /// Finds a workspace.
    workspace, workspace_id: workspaces, workspaces, WorkspaceName => Workspace;
    /// Finds a platform.
    platform, platform_id: platforms, ecosystem.platforms, PlatformName => PlatformEntry;
    /// Finds a calendar.
    calendar, calendar_id: calendars, calendars, CalendarName => Calendar;
}

impl Model {
    /// Finds a dataset.
    pub fn dataset(&self, of: &crate::address::DatasetRef) -> Option<&Dataset> {
        self.datastore(&of.datastore)?.dataset(&of.dataset)
    }

    /// The infrastructure whose settings underlie a platform's own.
    pub fn infrastructure_of(&self, platform: &PlatformEntry) -> Option<&Infrastructure> {
        let named = platform.infrastructure.as_ref()?;
        self.ecosystem.infrastructures.iter().find(|it| it.name == named.value)
    }

    /// Finds a team.
    pub fn team(&self, owner: &Owner) -> Option<&Team> {
        let position = *self.index.teams.get(&(owner.zone.folded(), owner.team.folded()))?;
        self.teams.get(position as usize)
    }

    /// Sorts every list and makes the index; of two objects with one name the first one counts.
    pub fn index(&mut self) {
        self.zones.sort_by_cached_key(|zone| zone.name.folded());
        self.teams.sort_by_cached_key(|team| (team.zone.folded(), team.name.folded()));
        self.containers.sort_by_cached_key(|container| container.name.folded());
        self.datastores.sort_by_cached_key(|datastore| datastore.name.folded());
        self.workspaces.sort_by_cached_key(|workspace| workspace.name.folded());
        self.ecosystem.platforms.sort_by_cached_key(|platform| platform.name.folded());
        self.calendars.sort_by_cached_key(|calendar| calendar.name.folded());
        for datastore in &mut self.datastores {
            datastore.datasets.sort_by_cached_key(|dataset| dataset.name.folded());
        }
        self.index = Index {
            zones: positions(self.zones.iter().map(|zone| zone.name.folded())),
            teams: positions(self.teams.iter().map(|team| (team.zone.folded(), team.name.folded()))),
            containers: positions(self.containers.iter().map(|container| container.name.folded())),
            datastores: positions(self.datastores.iter().map(|datastore| datastore.name.folded())),
            workspaces: positions(self.workspaces.iter().map(|workspace| workspace.name.folded())),
            platforms: positions(self.ecosystem.platforms.iter().map(|platform| platform.name.folded())),
            calendars: positions(self.calendars.iter().map(|calendar| calendar.name.folded())),
        };
    }
}

fn positions<K: std::hash::Hash + Eq>(names: impl Iterator<Item = K>) -> HashMap<K, u32> {
    let mut positions = HashMap::new();
    for (position, name) in (0..).zip(names) {
        positions.entry(name).or_insert(position);
    }
    positions
}

impl Datastore {
    /// Finds a dataset in it; binary search, since datasets are sorted by folded name.
    pub fn dataset(&self, name: &DatasetName) -> Option<&Dataset> {
        let folded = name.folded();
        let position = self.datasets.binary_search_by(|dataset| dataset.name.folded().cmp(&folded)).ok()?;
        Some(&self.datasets[position]).filter(|dataset| dataset.name == *name)
    }

    /// Whether all datasets are pulled in one batch; a transformer's output always is.
    pub fn is_multi(&self) -> bool {
        match &self.origin {
            Origin::Container { ingest, .. } => ingest.is_multi,
            Origin::Transformer { .. } => true,
        }
    }
}
