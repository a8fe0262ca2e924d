//! Governance zones and their rules.

use super::{
    DATASET_REF, DATE, DOCUMENTATION, LABEL, LABELS, LOCATIONS, Object, PERIOD, Rule, Shape, TEXTS, What, optional,
    required,
};

pub(super) const ZONE: Object = Object {
    name: "a zone",
    doc: "A governance zone: owns the teams in its folder, and the policies that bind their data.",
    what: What::Zone,
    keys: &[
        required("zone", LABEL, "The zone's name.", "USA"),
        DOCUMENTATION,
        optional("classifications", LABELS, "Appended to the ecosystem's.", "[trade-secret]"),
        optional("regulators", Shape::List(&Shape::Object(&REGULATOR)), "Who asks for retentions by law.", ""),
        optional("holds", Shape::List(&Shape::Object(&HOLD)), "Data that may not be deleted.", ""),
        optional("policies", Shape::List(&Shape::Object(&POLICY)), "Rules for the zone's data.", ""),
    ],
    variants: None,
    rules: &[],
};

const REGULATOR: Object = Object {
    name: "a regulator",
    doc: "Somebody who asks for a retention by law.",
    what: What::Part,
    keys: &[
        required("regulator", LABEL, "The regulator's name.", "SEC-17a-4"),
        DOCUMENTATION,
        required("retention", PERIOD, "How long everything must be kept.", "6y"),
    ],
    variants: None,
    rules: &[],
};

const HOLD: Object = Object {
    name: "a hold",
    doc: "Data that may not be deleted while a case is open.",
    what: What::Part,
    keys: &[
        required("hold", LABEL, "The hold's name.", "case-4711"),
        DOCUMENTATION,
        required("datasets", Shape::Filled(&DATASET_REF), "What must be kept.", "[NW_Data.customers]"),
        required("since", DATE, "From which day on.", "2026-05-01"),
    ],
    variants: None,
    rules: &[],
};

const POLICY: Object = Object {
    name: "a policy",
    doc: "A rule for the zone's data.",
    what: What::Part,
    keys: &[
        required("policy", LABEL, "The policy's name.", "private data stays here"),
        DOCUMENTATION,
        optional("binds", Shape::Word(&["produced", "consumed", "both"]), "Which of the zone's data.", "produced"),
        optional("classifications", LABELS, "What it is about; absent: everything.", "[pc3]"),
        optional("allow", Shape::Object(&PLACES), "Where the data may be.", "{ locations: [\"azure:us\"] }"),
        optional("deny", Shape::Object(&PLACES), "Where the data may not be.", "{ clouds: [alibaba] }"),
        optional("retention", Shape::Object(&RETENTION), "How long the data must be kept.", "{ at_least: 2y }"),
    ],
    variants: None,
    rules: &[Rule::AtLeastOne(&["allow", "deny", "retention"])],
};

const PLACES: Object = Object {
    name: "a set of places",
    doc: "A place is in it when one of the lists covers it.",
    what: What::Part,
    keys: &[
        optional("locations", LOCATIONS, "Locations, and whatever lies below them.", "[\"azure:us\"]"),
        optional("clouds", TEXTS, "Clouds of vendors.", "[alibaba]"),
        optional("vendors", LABELS, "Vendors.", "[azure]"),
        optional("platforms", LABELS, "Platforms.", "[Lake]"),
        optional("containers", LABELS, "Containers.", "[lake]"),
    ],
    variants: None,
    rules: &[Rule::AtLeastOne(&["locations", "clouds", "vendors", "platforms", "containers"])],
};

const RETENTION: Object = Object {
    name: "`retention`",
    doc: "The least time for which data must be kept.",
    what: What::Part,
    keys: &[required("at_least", PERIOD, "The least time.", "2y")],
    variants: None,
    rules: &[],
};
