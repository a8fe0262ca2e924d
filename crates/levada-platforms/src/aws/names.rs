//! Names of resources: from addresses alone, within each service's limits and alphabet.
//!
//! Readable first, unique by 64 bits of a hash of the full address; nothing of a model's text
//! reaches a name but letters and digits.

use crate::plain::{hash, prefix, slug};

/// The same of a datastore's name: the whole stays within EventBridge's 64.
const STORE_SLUG_BYTES: usize = 20;
/// The whole of a container's name, which has 128 characters at most.
const CERTIFICATE_SLUG_BYTES: usize = 128;
/// The same of each half of a table's name: the whole stays within Glue's 255.
const TABLE_SLUG_BYTES: usize = 60;

/// What a datastore's own resources are called by.
pub fn store(platform: &str, datastore: &str) -> String {
    format!("levada-{}-{}", slug(datastore, '-', STORE_SLUG_BYTES), hash(&[platform, datastore]))
}

/// What a transformer's own resources are called by.
pub fn transformer(platform: &str, workspace: &str) -> String {
    format!("levada-{}-{}", slug(workspace, '-', STORE_SLUG_BYTES), hash(&[platform, "transformer", workspace]))
}

/// A platform's database in the Glue catalog.
pub fn database(platform: &str) -> String {
    prefix(platform).replace('-', "_")
}

/// The milestoned table of a dataset.
pub fn table(datastore: &str, dataset: &str) -> String {
    let (store, name) = (slug(datastore, '_', TABLE_SLUG_BYTES), slug(dataset, '_', TABLE_SLUG_BYTES));
    format!("{store}__{name}_{}", hash(&[datastore, dataset]))
}

/// The table of what a platform has delivered, in a consumer's database.
pub fn applied(platform: &str) -> String {
    format!("applied_{}", hash(&[platform]))
}

/// What the certificate of a container's authority is called in DMS; people type it there.
pub fn certificate(container: &str) -> String {
    format!("levada-{}", slug(container, '-', CERTIFICATE_SLUG_BYTES))
}

/// A value that a tag takes: its own alphabet, 256 characters.
pub fn tag(text: &str) -> String {
    let allowed = |c: char| if c.is_alphanumeric() || " +-=._:/@".contains(c) { c } else { '_' };
    text.chars().take(256).map(allowed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_become_plain_and_distinct() {
        let long = "x".repeat(128);
        let names = ["${file(\"a\")}", "A \"Team\"", "漢字", "a", "A", "a-", "-", "--", long.as_str(), "Ünï"];
        let mut seen = std::collections::BTreeSet::new();
        for name in names {
            for made in [prefix(name), store("P", name), store(name, "s"), table("s", name)] {
                assert!(made.len() <= 160 && !made.contains("--"), "{made}");
                assert!(made.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_'));
                assert!(made.starts_with(|c: char| c.is_ascii_lowercase()) && !made.ends_with('-'), "{made}");
                assert!(seen.insert(made.clone()), "{made} twice");
            }
            assert!(prefix(name).len() <= 40 && store("P", name).len() <= 64);
        }
    }

    #[test]
    fn a_tag_keeps_what_a_tag_may_hold() {
        assert_eq!(tag("Team A/b: ${x}\n"), "Team A/b: __x__");
        assert_eq!(tag(&"ü".repeat(300)).chars().count(), 256);
    }
}
