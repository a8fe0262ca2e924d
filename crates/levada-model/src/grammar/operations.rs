//! Calendars, and the choices of operations.

use super::{
    CRON, DATE, DOCUMENTATION, Form, IDENTIFIER, LABEL, Object, PERIOD, Rule, Shape, TIME_ZONE, What, optional,
    required,
};

pub(super) const CALENDAR: Object = Object {
    name: "a calendar",
    doc: "When something may happen; deny wins.",
    what: What::Calendar,
    keys: &[
        required("calendar", LABEL, "The calendar's name.", "long-weekends"),
        DOCUMENTATION,
        optional("timezone", TIME_ZONE, "Absent: UTC.", "Europe/Lisbon"),
        optional("allow", WINDOWS, "Absent: always, but for `deny`.", "[{ cron: \"0 2 * * SAT\", lasts: 4h }]"),
        optional("deny", WINDOWS, "Never in these windows.", "[{ from: 2026-12-01, to: 2027-01-01 }]"),
    ],
    variants: None,
    rules: &[Rule::AtLeastOne(&["allow", "deny"])],
};

const WINDOWS: Shape = Shape::Filled(&Shape::Object(&WINDOW));

const WINDOW: Object = Object {
    name: "a window",
    doc: "From each tick on for a while, or from one day to the day before another.",
    what: What::Part,
    keys: &[
        optional("cron", CRON, "When it opens.", "\"0 2 * * SAT\""),
        optional("lasts", PERIOD, "How long it is open.", "4h"),
        optional("from", DATE, "The first day.", "2026-12-01"),
        optional("to", DATE, "The day after the last.", "2027-01-01"),
    ],
    variants: None,
    rules: &[
        Rule::ExactlyOne(&["cron", "from"]),
        Rule::Needs("cron", "lasts"),
        Rule::Needs("from", "to"),
        Rule::OnlyWith("lasts", &["cron"]),
        Rule::OnlyWith("to", &["from"]),
    ],
};

pub(super) const ASSIGN: Object = Object {
    name: "an assignment",
    doc: "Operations' choice of a platform for a group; several for one group are a parallel run.",
    what: What::Part,
    keys: &[
        required("assign", Shape::Form(Form::GroupRef), "The group.", "Reporting/G"),
        DOCUMENTATION,
        required("platform", LABEL, "The platform.", "Lake"),
        optional("state", Shape::Word(&["provisioning", "active", "decommissioning"]), "How far it is.", "active"),
    ],
    variants: None,
    rules: &[],
};

pub(super) const PRIMARY: Object = Object {
    name: "a primary",
    doc: "Operations' choice of the platform that ingests a datastore.",
    what: What::Part,
    keys: &[
        required("primary", IDENTIFIER, "The datastore.", "D"),
        DOCUMENTATION,
        required("platform", LABEL, "The platform.", "Lake"),
    ],
    variants: None,
    rules: &[],
};
