//! Physical names: from addresses alone, never from positions in lists.
//!
//! A table's name is readable first (`nw_data_customers_`) and unique by its end, a hash of the full
//! address. In folders of files one platform has the plain folder of a dataset; where others deliver
//! it into the same container, their folders end in a hash.

use super::{DeliveredReading, ExportSpec};
use levada_model::address::DatasetRef;
use levada_model::connection::ContainerKind;
use levada_model::name::{ContainerName, PlatformName};
use std::collections::HashMap;

/// The longest physical name, in bytes: PostgreSQL's limit, the smallest of all systems.
pub const PHYSICAL_NAME_BYTES_MAX: usize = 63;

/// Crockford's digits in lower case: no letter that reads like a digit.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const HASH_DIGITS: usize = 13;

/// What a physical name is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NameForm {
    /// A table of a database.
    Table,
    /// `levada/STORE/DATASET/READING`, which one platform has.
    PlainFolder,
    /// `levada/STORE/DATASET~HASH/READING`, for every other platform.
    HashedFolder,
}

/// Whether such a container keeps files in folders instead of tables.
pub(crate) fn keeps_folders(kind: ContainerKind) -> bool {
    matches!(kind, ContainerKind::Files | ContainerKind::ObjectStore)
}

/// Whether an export has the plain folder of its dataset.
pub(super) fn is_plain_folder(export: &ExportSpec) -> bool {
    let is_plain =
        |(name, reading): (&Option<String>, DeliveredReading)| *name == Some(folder(&export.source, None, reading));
    is_plain((&export.live, DeliveredReading::Live)) || is_plain((&export.history, DeliveredReading::History))
}

/// Gives each delivered table its name and makes sure that no two addresses share one.
#[derive(Default)]
pub(super) struct NameRegistry {
    taken: HashMap<(ContainerName, String), (PlatformName, DatasetRef, DeliveredReading)>,
}

impl NameRegistry {
    /// The physical table, or folder, of a delivered reading.
    pub fn name(
        &mut self,
        form: NameForm,
        platform: &PlatformName,
        container: &ContainerName,
        of: &DatasetRef,
        reading: DeliveredReading,
    ) -> String {
        let address = (platform.clone(), of.clone(), reading);
        let mut salt = 0;
        loop {
            let name = match form {
                NameForm::Table => table(platform, container, of, reading, salt),
                NameForm::PlainFolder if salt == 0 => folder(of, None, reading),
                NameForm::PlainFolder | NameForm::HashedFolder => {
                    folder(of, Some(address_hash(platform, container, of, "", salt)), reading)
                }
            };
            let owner = self.taken.entry((container.clone(), name.clone())).or_insert_with(|| address.clone());
            if *owner == address {
                return name;
            }
            // Two of 2^64 hashes are equal, or two platforms want one folder: the later address
            // takes the next name.
            salt += 1;
        }
    }
}

fn folder(of: &DatasetRef, hash: Option<String>, reading: DeliveredReading) -> String {
    let hash = hash.map(|hash| format!("~{hash}")).unwrap_or_default();
    format!("levada/{}/{}{hash}/{}", of.datastore, of.dataset, reading_word(reading))
}

fn reading_word(reading: DeliveredReading) -> &'static str {
    match reading {
        DeliveredReading::Live => "live",
        DeliveredReading::History => "history",
    }
}

fn table(
    platform: &PlatformName,
    container: &ContainerName,
    of: &DatasetRef,
    reading: DeliveredReading,
    salt: u32,
) -> String {
    let hash = address_hash(platform, container, of, reading_word(reading), salt);
    let suffix = match reading {
        DeliveredReading::Live => format!("_{hash}"),
        DeliveredReading::History => format!("_history_{hash}"),
    };
    let mut name = format!("{}_{}", slug(of.datastore.as_str()), slug(of.dataset.as_str()));
    name.truncate(PHYSICAL_NAME_BYTES_MAX - suffix.len());
    name + &suffix
}

fn address_hash(
    platform: &PlatformName,
    container: &ContainerName,
    of: &DatasetRef,
    reading: &str,
    salt: u32,
) -> String {
    let salt = if salt == 0 { String::new() } else { salt.to_string() };
    let (store, dataset) = (of.datastore.as_str(), of.dataset.as_str());
    hash(&[platform.as_str(), container.as_str(), store, dataset, reading, &salt])
}

/// Lower case `[a-z0-9_]`.
fn slug(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    text.chars().map(plain).collect()
}

/// Hashes the parts, each framed by its length, to 64 bits in 13 digits.
fn hash(parts: &[&str]) -> String {
    let mut framed = Vec::new();
    for part in parts {
        framed.extend((part.len() as u64).to_le_bytes());
        framed.extend(part.as_bytes());
    }
    let mut rest = xxhash_rust::xxh3::xxh3_64(&framed);
    let mut digits = [b'0'; HASH_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(rest % 32) as usize];
        rest /= 32;
    }
    digits.iter().map(|&digit| char::from(digit)).collect()
}

/// The schema (or name prefix) of a workspace's views.
pub fn view_schema(workspace: &str) -> String {
    workspace.to_lowercase()
}

/// The name of a workspace's view on a dataset.
pub fn view_name(of: &DatasetRef, reading: DeliveredReading) -> String {
    let name = format!("{}_{}", of.datastore, of.dataset).to_lowercase();
    match reading {
        DeliveredReading::Live => name,
        DeliveredReading::History => name + "_history",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed<T: std::str::FromStr<Err = levada_model::name::NameError>>(text: &str) -> T {
        text.parse().expect("a name")
    }

    #[test]
    fn names_fit_every_system_and_differ_by_every_part_of_the_address() {
        let long = "x".repeat(128);
        let mut registry = NameRegistry::default();
        let mut seen = std::collections::BTreeSet::new();
        for platform in ["P", "Q"] {
            for store in ["NW-Data", &long] {
                for reading in [DeliveredReading::Live, DeliveredReading::History] {
                    let of = DatasetRef::new(parsed(store), parsed(&long));
                    let container = parsed("C");
                    let name = registry.name(NameForm::Table, &parsed(platform), &container, &of, reading);
                    assert!(name.len() <= PHYSICAL_NAME_BYTES_MAX, "{name}");
                    assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
                    assert!(seen.insert(name));
                }
            }
        }
    }

    #[test]
    fn the_same_address_has_the_same_name_whatever_was_named_before() {
        let of = DatasetRef::new(parsed("NW_Data"), parsed("customers"));
        let other = DatasetRef::new(parsed("NW_Data"), parsed("products"));
        let name = |registry: &mut NameRegistry, of: &DatasetRef| {
            registry.name(NameForm::Table, &parsed("P"), &parsed("C"), of, DeliveredReading::Live)
        };
        let mut registry = NameRegistry::default();
        let first = name(&mut registry, &of);
        name(&mut registry, &other);
        let mut reversed = NameRegistry::default();
        name(&mut reversed, &other);
        assert_eq!(name(&mut reversed, &of), first);
        assert!(first.starts_with("nw_data_customers_"), "{first}");
    }

    #[test]
    fn no_two_platforms_share_a_folder() {
        let of = DatasetRef::new(parsed("NW_Data"), parsed("customers"));
        let mut registry = NameRegistry::default();
        let mut name =
            |form, platform: &str, reading| registry.name(form, &parsed(platform), &parsed("C"), &of, reading);
        let (plain, hashed) = (NameForm::PlainFolder, NameForm::HashedFolder);
        assert_eq!(name(plain, "P", DeliveredReading::Live), "levada/NW_Data/customers/live");
        let live = name(hashed, "Q", DeliveredReading::Live);
        let history = name(hashed, "Q", DeliveredReading::History);
        assert!(live.starts_with("levada/NW_Data/customers~") && live.ends_with("/live"), "{live}");
        assert_eq!(live.trim_end_matches("/live"), history.trim_end_matches("/history"), "one folder for both");
        assert_ne!(name(hashed, "R", DeliveredReading::Live), live);
        assert_ne!(name(plain, "S", DeliveredReading::Live), "levada/NW_Data/customers/live");
    }
}
