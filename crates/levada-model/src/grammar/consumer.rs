//! Workspaces, their groups and transformers.

use super::producer::{APPROVED, DATASETS, DEPRECATED_KEY, TRIGGER};
use super::{
    CREDENTIALS, DATASET_REF, DOCUMENTATION, Form, IDENTIFIER, LABEL, Names, Object, PERIOD, Rule, STATUS, Shape,
    TEXTS, What, optional, required,
};

pub(super) const WORKSPACE: Object = Object {
    name: "a workspace",
    doc: "What a consumer needs, and the code that it runs on it.",
    what: What::Workspace,
    keys: &[
        required("workspace", IDENTIFIER, "The workspace's name.", "Reporting"),
        DOCUMENTATION,
        optional("status", STATUS, "Whether it is for real.", "development"),
        required("container", LABEL, "Where the data is delivered.", "Test Azure SQL"),
        optional("priority", Shape::Word(&["critical", "high", "medium", "low"]), "How much it matters.", "medium"),
        optional(
            "readers",
            Shape::List(&Shape::Form(Form::Reader)),
            "Who may read; who leaves the list loses the grant.",
            "[role:analysts, user:eva]",
        ),
        required("groups", Shape::Map(Names::Identifier, &Shape::Object(&GROUP)), "Its datasets, by group.", ""),
        optional("transformer", Shape::Object(&TRANSFORMER), "The code that runs on its data.", ""),
        optional("datasets", DATASETS, "The datasets of the transformer's output.", ""),
    ],
    variants: None,
    rules: &[Rule::OnlyWith("datasets", &["transformer"])],
};

const GROUP: Object = Object {
    name: "a group",
    doc: "Datasets under one set of requirements.",
    what: What::Group,
    keys: &[
        DOCUMENTATION,
        optional(
            "requires",
            Shape::Object(&REQUIRES),
            "The terms.",
            "{ latency: minutes, milestoning: live, retention: 30d }",
        ),
        required("datasets", Shape::List(&SINK), "What it needs.", "[NW_Data.products]"),
    ],
    variants: None,
    rules: &[],
};

const SINK: Shape = Shape::Either(&DATASET_REF, &Shape::Object(&SINK_OBJECT));

const SINK_OBJECT: Object = Object {
    name: "a dataset of a group",
    doc: "One dataset that a group asks for; the short form is its name alone.",
    what: What::Part,
    keys: &[
        required("dataset", DATASET_REF, "The dataset.", "D.orders"),
        optional("deprecated", Shape::Word(&["allowed"]), "Whether it may be deprecated.", "allowed"),
    ],
    variants: None,
    rules: &[],
};

const REQUIRES: Object = Object {
    name: "`requires`",
    doc: "The terms of a group.",
    what: What::Part,
    keys: &[
        optional("latency", Shape::Word(&["seconds", "minutes", "hours", "days"]), "How old the data may be.", "hours"),
        optional("milestoning", Shape::Word(&["live", "history", "both"]), "Which readings it gets.", "live"),
        optional("retention", PERIOD, "How long every version is kept for it.", "7d"),
        optional("regulator", LABEL, "A regulator of the zone, whose retention holds as well.", "SEC-17a-4"),
    ],
    variants: None,
    rules: &[],
};

const TRANSFORMER: Object = Object {
    name: "a transformer",
    doc: "Code run on a workspace's data; its output is a datastore again.",
    what: What::Transformer,
    keys: &[
        required("transformer", IDENTIFIER, "The transformer's name.", "MaskCustomers"),
        DOCUMENTATION,
        required(
            "output",
            Shape::Either(&IDENTIFIER, &Shape::Object(&OUTPUT)),
            "The datastore that it writes.",
            "Masked_NW_Data",
        ),
        optional(
            "mode",
            Shape::Word(&["snapshot", "append", "changes"]),
            "The whole output, rows on top, or rows with an `lv_op` column.",
            "snapshot",
        ),
        optional("trigger", TRANSFORM_TRIGGER, "When it runs.", "on-change"),
        required("code", Shape::Object(&CODE), "What it runs.", "{ sql: mask_customers.sql }"),
    ],
    variants: None,
    rules: &[],
};

const TRANSFORM_TRIGGER: Shape = Shape::Either(&Shape::Word(&["on-change"]), &Shape::Object(&TRIGGER));

const OUTPUT: Object = Object {
    name: "`output`",
    doc: "The datastore that a transformer writes; the short form is its name alone.",
    what: What::Part,
    keys: &[
        required("datastore", IDENTIFIER, "The datastore's name.", "O"),
        DOCUMENTATION,
        optional("status", STATUS, "Whether it is for real.", "development"),
        APPROVED,
        DEPRECATED_KEY,
    ],
    variants: None,
    rules: &[],
};

const SQL: Shape = Shape::Either(&Shape::Text, &Shape::Map(Names::Identifier, &Shape::Text));

const CODE: Object = Object {
    name: "`code`",
    doc: "The code of a transformer: queries, a command or an image.",
    what: What::Part,
    keys: &[
        optional(
            "sql",
            SQL,
            "A file beside this one; one for each output dataset where there are several.",
            "mask.sql",
        ),
        optional("command", TEXTS, "The program and its arguments.", "[python3, m.py]"),
        optional("image", Shape::Text, "The image, by digest.", "\"registry.example/m@sha256:…\""),
        optional("timeout", PERIOD, "The longest run.", "10m"),
        optional("memory", Shape::Form(Form::Bytes), "The most memory.", "2GB"),
        optional("credentials", CREDENTIALS, "Names of the secrets that it needs.", "[vault]"),
    ],
    variants: None,
    rules: &[
        Rule::ExactlyOne(&["sql", "command", "image"]),
        Rule::OnlyWith("timeout", &["command", "image"]),
        Rule::OnlyWith("memory", &["command", "image"]),
        Rule::OnlyWith("credentials", &["command", "image"]),
    ],
};
