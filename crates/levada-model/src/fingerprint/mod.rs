//! Content hashes of values: the same content, the same 128 bits, on every machine.
//!
//! A value is written as canonical JSON (no spaces, keys in byte order at every level) and hashed
//! with xxh3-128. Two types that serialize to the same JSON have the same fingerprint. Not a
//! defence against somebody who wants two values to collide.

mod canonical;

use canonical::Canonical;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// 128 bits that stand for a content; prints as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(pub u128);

impl Fingerprint {
    /// The fingerprint of bytes as they are.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(xxh3_128(bytes))
    }

    /// The fingerprint of several in their order.
    pub fn of_all(parts: impl IntoIterator<Item = Fingerprint>) -> Self {
        let mut hasher = Xxh3::new();
        for part in parts {
            hasher.update(&part.0.to_be_bytes());
        }
        Self(hasher.digest128())
    }
}

/// The fingerprint of a value.
///
/// # Panics
/// Where `T` does not serialize to JSON: a map whose keys are not texts or numbers.
pub fn fingerprint<T: Serialize + ?Sized>(value: &T) -> Fingerprint {
    let mut canonical = Canonical::default();
    value.serialize(&mut canonical).expect("fingerprinted types serialize to JSON");
    Fingerprint::of_bytes(&canonical.bytes)
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is not 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a fingerprint of 32 hexadecimal digits")]
pub struct FingerprintError(pub String);

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let is_hexadecimal = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let bits = if is_hexadecimal { u128::from_str_radix(text, 16).ok() } else { None };
        bits.map(Self).ok_or_else(|| FingerprintError(text.to_owned()))
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = FingerprintError;
    fn try_from(text: String) -> Result<Self, FingerprintError> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> String {
        fingerprint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, HashMap};

    #[test]
    fn equal_content_has_one_fingerprint_whatever_holds_it() {
        let pairs = (0..100).map(|number| (format!("key{number}"), number));
        let sorted: BTreeMap<String, i32> = pairs.clone().collect();
        let hashed: HashMap<String, i32> = pairs.collect();
        assert_eq!(fingerprint(&sorted), fingerprint(&hashed));
        assert_ne!(fingerprint(&["a", "bc"]), fingerprint(&["ab", "c"]));
        assert_ne!(fingerprint(&1), fingerprint(&"1"));
    }

    #[test]
    fn a_fingerprint_never_changes_between_versions() {
        let value = serde_json::json!({ "b": [1, null, "ü"], "a": { "d": 1.5, "c": true } });
        assert_eq!(
            fingerprint(&value),
            Fingerprint::of_bytes(r#"{"a":{"c":true,"d":1.5},"b":[1,null,"ü"]}"#.as_bytes())
        );
        let printed = fingerprint("levada").to_string();
        assert_eq!(printed.parse(), Ok(fingerprint("levada")));
        assert!("xyz".parse::<Fingerprint>().is_err());
    }
}
