//! Teams and their containers.

use super::{CREDENTIAL, DOCUMENTATION, Form, Key, LABEL, Object, Shape, Variants, What, optional, required};

pub(super) const TEAM: Object = Object {
    name: "a team",
    doc: "A team: owns the datastores, workspaces and containers of its folder.",
    what: What::Team,
    keys: &[
        required("team", LABEL, "The team's name.", "NorthWindTeam"),
        DOCUMENTATION,
        optional("containers", Shape::List(&Shape::Object(&CONTAINER)), "The places that hold the team's data.", ""),
    ],
    variants: None,
    rules: &[],
};

const KINDS: &[&str] =
    &["postgres", "mysql", "mariadb", "redshift", "snowflake", "sqlite", "files", "object-store", "kafka"];

pub(super) const CONTAINER: Object = Object {
    name: "a container",
    doc: "A place that holds data: a database, a bucket, a folder, topics.",
    what: What::Container,
    keys: &[
        required("container", LABEL, "The container's name.", "nw_db"),
        DOCUMENTATION,
        required("kind", Shape::Word(KINDS), "The kind of system.", "postgres"),
        required("location", Shape::Form(Form::Location), "Where it is.", "\"azure:us/east\""),
        optional("credential", CREDENTIAL, "The name of its secret, which is never in the model.", "nw_reader"),
        optional("connections_max", Shape::Integer(1, 10_000), "How many connections may be open at once.", "4"),
        optional("calendar", LABEL, "When it may be used.", "office-hours"),
    ],
    variants: Some(&CONTAINER_VARIANTS),
    rules: &[],
};

const CONTAINER_VARIANTS: Variants = Variants {
    by: "kind",
    cases: &[
        (&["postgres", "mysql", "mariadb", "redshift"], SERVER),
        (&["snowflake"], SNOWFLAKE),
        (&["sqlite", "files"], PATH),
        (&["object-store"], BUCKET),
        (&["kafka"], KAFKA),
    ],
};

const DATABASE: Key = required("database", Shape::Text, "The database.", "northwind");
const SCHEMA: Key = optional("schema", Shape::Text, "The schema of tables that name none.", "sales");

const SERVER: &[Key] = &[
    required("host", Shape::Text, "Host name or address.", "nw.example.com"),
    optional("port", Shape::Integer(1, 65_535), "Absent: the kind's usual one.", "5432"),
    DATABASE,
    SCHEMA,
    optional("tls", Shape::Word(&["prefer", "require", "verify-full"]), "How much encryption matters.", "prefer"),
];

const SNOWFLAKE: &[Key] = &[
    required("account", Shape::Text, "The account's locator.", "ab12345.eu-west-1"),
    required("warehouse", Shape::Text, "The virtual warehouse.", "LOADING"),
    DATABASE,
    SCHEMA,
];

const PATH: &[Key] = &[required("path", Shape::Text, "The file or folder; relative to this file.", "shop.db")];

const BUCKET: &[Key] = &[
    required("url", Shape::Text, "The bucket and prefix.", "\"s3://bucket/prefix\""),
    optional("endpoint", Shape::Text, "Another endpoint than the provider's own.", "\"https://minio.example\""),
];

const KAFKA: &[Key] = &[required(
    "brokers",
    Shape::Filled(&Shape::Form(Form::HostPort)),
    "The brokers to ask first.",
    "[\"kafka1.example:9092\"]",
)];
