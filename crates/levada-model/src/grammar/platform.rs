//! Platforms and the infrastructures that they share.

use super::{
    CREDENTIALS, DOCUMENTATION, LABEL, LOCATIONS, Names, Object, Rule, STATUS, Shape, TEXTS, What, optional, required,
};

const SETTINGS: Shape = Shape::Map(Names::Free, &Shape::Any);
const SETTINGS_DOC: &str = "Settings that the kind of platform defines and checks.";

pub(super) const INFRASTRUCTURE: Object = Object {
    name: "an infrastructure",
    doc: "What several platforms share; its settings underlie theirs.",
    what: What::Infrastructure,
    keys: &[
        required("infrastructure", LABEL, "The infrastructure's name.", "aws-prod"),
        DOCUMENTATION,
        required("kind", Shape::Text, "The kind of platform that it is for.", "aws-batch"),
        optional("settings", SETTINGS, SETTINGS_DOC, "{ region: eu-west-1, stacks: 512 }"),
    ],
    variants: None,
    rules: &[],
};

pub(super) const PLATFORM: Object = Object {
    name: "a platform",
    doc: "A configured data platform.",
    what: What::Platform,
    keys: &[
        required("platform", LABEL, "The platform's name.", "Azure Platform"),
        DOCUMENTATION,
        required("kind", Shape::Text, "`embedded`, `aws-batch`, `kubernetes` or `external`.", "embedded"),
        optional("infrastructure", LABEL, "The infrastructure whose settings underlie its own.", "aws-prod"),
        required("style", Shape::Word(&["batch", "streaming", "forensic"]), "Its philosophy.", "batch"),
        optional("status", STATUS, "Production workspaces use production platforms.", "development"),
        optional("cost", Shape::Cost, "Relative; breaks the broker's ties. Absent: that of the style.", "2"),
        optional("locations", LOCATIONS, "Where it keeps data.", "[\"azure:us/east\"]"),
        optional("follow", Shape::Object(&FOLLOW), "Which branch it follows, when, and who agrees.", ""),
        optional("host", Shape::Object(&HOST), "Stands its image up on Kubernetes.", ""),
        optional("run", Shape::Object(&RUN), "The program of an external platform.", ""),
        optional("credentials", CREDENTIALS, "Names of the secrets that its program needs.", "[partner_token]"),
        optional("settings", SETTINGS, SETTINGS_DOC, "{ dags: 16 }"),
    ],
    variants: None,
    rules: &[],
};

const FOLLOW: Object = Object {
    name: "`follow`",
    doc: "How a platform follows the model's repository.",
    what: What::Part,
    keys: &[
        required("branch", Shape::Text, "The git branch.", "main"),
        optional("calendar", LABEL, "When a change may be rolled out.", "long-weekends"),
        optional("approval", Shape::Word(&["none", "required"]), "Whether somebody must agree.", "none"),
    ],
    variants: None,
    rules: &[],
};

const HOST: Object = Object {
    name: "`host`",
    doc: "Where and with which image a platform stands.",
    what: What::Part,
    keys: &[
        required("kubernetes", Shape::Text, "The namespace.", "levada-lake"),
        required("image", Shape::Text, "The image, by digest.", "\"registry.example/levada@sha256:…\""),
    ],
    variants: None,
    rules: &[],
};

const RUN: Object = Object {
    name: "`run`",
    doc: "A program: an image or a command.",
    what: What::Part,
    keys: &[
        optional("image", Shape::Text, "The image, by digest.", "\"registry.example/partner@sha256:…\""),
        optional("command", TEXTS, "The program and its arguments.", "[python3, partner.py]"),
    ],
    variants: None,
    rules: &[Rule::ExactlyOne(&["image", "command"])],
};
