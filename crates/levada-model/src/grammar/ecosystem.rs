//! `ecosystem.yaml`: vendors and everything that belongs to nobody in particular.

use super::platform::{INFRASTRUCTURE, PLATFORM};
use super::{DOCUMENTATION, Key, LABEL, LABELS, Object, Shape, What, optional, required};

pub(super) const ECOSYSTEM: Object = Object {
    name: "the ecosystem",
    doc: "The whole model; stands once, in `ecosystem.yaml` at the root.",
    what: What::Ecosystem,
    keys: &[
        required("ecosystem", LABEL, "The ecosystem's name.", "northwind"),
        DOCUMENTATION,
        optional(
            "classifications",
            LABELS,
            "From least to most sensitive; replaces the usual five.",
            "[pub, internal, pc1, pc2, pc3]",
        ),
        optional("vendors", Shape::List(&Shape::Object(&VENDOR)), "Who hosts, where.", ""),
        optional(
            "infrastructures",
            Shape::List(&Shape::Object(&INFRASTRUCTURE)),
            "What platforms share.",
            "[{ infrastructure: aws-prod, kind: aws-batch, settings: { region: eu-west-1 } }]",
        ),
        optional("platforms", Shape::List(&Shape::Object(&PLATFORM)), "The data platforms to choose from.", ""),
    ],
    variants: None,
    rules: &[],
};

const VENDOR_KEYS: &[Key] = &[
    required("vendor", LABEL, "The vendor's name.", "azure"),
    DOCUMENTATION,
    required("cloud", Shape::Text, "`aws`, `azure`, `gcp`, `private`, or another cloud.", "azure"),
    optional("locations", Shape::Tree, "Its locations, in each other.", "{ eu: { west: {} }, us: { east: {} } }"),
];

pub(super) const VENDOR: Object = Object {
    name: "a vendor",
    doc: "Who hosts, and in which locations.",
    what: What::Part,
    keys: VENDOR_KEYS,
    variants: None,
    rules: &[],
};
