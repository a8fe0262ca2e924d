//! Datastores, their datasets and columns, and how they are read.

use super::{
    CRON, DATE, DOCUMENTATION, Form, IDENTIFIER, Key, LABEL, Names, Object, PERIOD, STATUS, Shape, TIME_ZONE, Variants,
    What, optional, required,
};

pub(super) const CONSUMERS: Shape = Shape::List(&Shape::Form(Form::Consumer));
pub(super) const APPROVED: Key =
    optional("approved", CONSUMERS, "Who may consume; absent: everybody.", "[Reporting, Mask/MaskGroup]");
pub(super) const DEPRECATED_KEY: Key =
    optional("deprecated", Shape::Object(&DEPRECATED), "An announced end.", "{ reason: moved, until: 2027-06-30 }");
pub(super) const DATASETS: Shape = Shape::Map(Names::Identifier, &Shape::Object(&DATASET));

pub(super) const DATASTORE: Object = Object {
    name: "a datastore",
    doc: "What a producer offers from one container.",
    what: What::Datastore,
    keys: &[
        required("datastore", IDENTIFIER, "The datastore's name.", "NW_Data"),
        DOCUMENTATION,
        optional("status", STATUS, "Whether it is for real.", "development"),
        required("container", LABEL, "The container that holds the data.", "nw_db"),
        APPROVED,
        DEPRECATED_KEY,
        required(
            "ingest",
            Shape::Object(&INGEST),
            "How it is read.",
            "{ kind: snapshot, trigger: { cron: \"*/10 * * * *\" } }",
        ),
        required("datasets", DATASETS, "Its tables, by name.", ""),
    ],
    variants: None,
    rules: &[],
};

const DEPRECATED: Object = Object {
    name: "`deprecated`",
    doc: "An announced end.",
    what: What::Part,
    keys: &[
        required("reason", Shape::Text, "Why.", "moved"),
        optional("until", DATE, "The last day.", "2027-06-30"),
        optional("instead", Shape::Text, "What to use.", "E"),
    ],
    variants: None,
    rules: &[],
};

const INGEST: Object = Object {
    name: "`ingest`",
    doc: "How a producer is read.",
    what: What::Part,
    keys: &[
        required(
            "kind",
            Shape::Word(&["snapshot", "watermark", "cdc", "files", "topic"]),
            "The way of reading.",
            "snapshot",
        ),
        optional(
            "consistency",
            Shape::Word(&["multi", "single"]),
            "All datasets in one batch, or one by one.",
            "multi",
        ),
        optional("calendar", LABEL, "When this source may be read.", "office-hours"),
    ],
    variants: Some(&INGEST_VARIANTS),
    rules: &[],
};

const INGEST_VARIANTS: Variants = Variants {
    by: "kind",
    cases: &[
        (&["snapshot"], &[TRIGGER_REQUIRED]),
        (
            &["watermark"],
            &[
                TRIGGER_REQUIRED,
                optional("column", Shape::Name(Names::Column), "The column that only grows.", "updated_at"),
                optional("overlap", PERIOD, "How far back each pull looks again.", "5m"),
                optional(
                    "deletes",
                    Shape::Object(&DELETES),
                    "When to look for vanished keys.",
                    "{ cron: \"0 3 * * SUN\" }",
                ),
            ],
        ),
        (
            &["cdc"],
            &[
                TRIGGER_OPTIONAL,
                optional("wal_max", Shape::Form(Form::Bytes), "Most that the source may hold back.", "10GB"),
            ],
        ),
        (
            &["files"],
            &[
                TRIGGER_REQUIRED,
                required("pattern", Shape::Text, "Which files, with `{dataset}` in it.", "\"{dataset}/*.csv\""),
                required("format", Shape::Word(&["csv", "parquet"]), "The format of the files.", "csv"),
                optional(
                    "options",
                    Shape::Map(Names::Free, &Shape::Text),
                    "Options of the format.",
                    "{ delimiter: \";\" }",
                ),
                optional("each-file", Shape::Word(&["replaces", "adds"]), "What a new file means.", "replaces"),
            ],
        ),
        (&["topic"], &[TRIGGER_OPTIONAL]),
    ],
};

const TRIGGER_DOC: &str = "When it is read.";
const TRIGGER_EXAMPLE: &str = "{ cron: \"*/10 * * * *\" }";
const TRIGGER_REQUIRED: Key = required("trigger", Shape::Object(&TRIGGER), TRIGGER_DOC, TRIGGER_EXAMPLE);
const TRIGGER_OPTIONAL: Key = optional("trigger", Shape::Object(&TRIGGER), TRIGGER_DOC, TRIGGER_EXAMPLE);

const CRON_KEY: Key = required("cron", CRON, "Minute, hour, day, month, weekday.", "\"*/10 * * * *\"");
const TIME_ZONE_KEY: Key = optional("timezone", TIME_ZONE, "Absent: UTC.", "Europe/Lisbon");

pub(super) const TRIGGER: Object = Object {
    name: "`trigger`",
    doc: "When something runs by the clock.",
    what: What::Part,
    keys: &[
        CRON_KEY,
        TIME_ZONE_KEY,
        optional("catch-up", Shape::Word(&["latest", "all", "none"]), "What becomes of missed ticks.", "latest"),
        optional("jitter", PERIOD, "Spreads the ticks by up to so much.", "30s"),
    ],
    variants: None,
    rules: &[],
};

const DELETES: Object = Object {
    name: "`deletes`",
    doc: "When a watermark source is searched for vanished keys.",
    what: What::Part,
    keys: &[CRON_KEY, TIME_ZONE_KEY],
    variants: None,
    rules: &[],
};

const CLASSIFICATION_DOC: &str = "How sensitive it is; the dataset's or the columns', not both.";

const DATASET: Object = Object {
    name: "a dataset",
    doc: "One table-like thing in a datastore.",
    what: What::Dataset,
    keys: &[
        DOCUMENTATION,
        optional("classification", LABEL, CLASSIFICATION_DOC, "pc3"),
        DEPRECATED_KEY,
        optional("table", Shape::Text, "Its table at the source; absent: its name.", "sales.Customers"),
        optional("watermark", Shape::Name(Names::Column), "Its own column that only grows.", "updated_at"),
        optional("partition", Shape::List(&Shape::Name(Names::Column)), "A hint for layout.", "[region]"),
        required(
            "columns",
            COLUMNS,
            "Its columns, by name, in order.",
            "{ id: { type: int32, key: true }, name: text }",
        ),
    ],
    variants: None,
    rules: &[],
};

const COLUMNS: Shape = Shape::Map(Names::Column, &Shape::Either(&DATA_TYPE, &Shape::Object(&COLUMN)));
const DATA_TYPE: Shape = Shape::Form(Form::DataType);

const COLUMN: Object = Object {
    name: "a column",
    doc: "One column; the short form is its type alone.",
    what: What::Column,
    keys: &[
        DOCUMENTATION,
        required("type", DATA_TYPE, "Its type.", "varchar(40)"),
        optional("key", Shape::Boolean, "Whether it is part of the key.", "false"),
        optional("nullable", Shape::Boolean, "Whether NULL may stand in it; key columns never.", "true"),
        optional("from", Shape::Name(Names::Column), "Its name at the source.", "\"TAX ID\""),
        optional("classification", LABEL, CLASSIFICATION_DOC, "pc3"),
    ],
    variants: None,
    rules: &[],
};
