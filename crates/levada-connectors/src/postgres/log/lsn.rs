//! A place in PostgreSQL's write-ahead log.

use std::fmt;
use std::str::FromStr;

/// The length of a log page.
const PAGE: u64 = 8192;

/// What begins a page, and a segment's first page.
const PAGE_HEADERS: [u64; 2] = [24, 40];

/// A log sequence number, written `16/B374D848`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub(super) struct Lsn(pub(super) u64);

impl Lsn {
    /// The place up to which records are there where the next one would begin here: a place right behind
    /// a page's header is the page's beginning, for nobody writes a header without a record.
    pub(super) fn end_of_records(self) -> Self {
        let offset = self.0 % PAGE;
        Self(self.0 - if PAGE_HEADERS.contains(&offset) { offset } else { 0 })
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// No log sequence number.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no place in a write-ahead log")]
pub(super) struct NoLsn(String);

impl FromStr for Lsn {
    type Err = NoLsn;

    fn from_str(text: &str) -> Result<Self, NoLsn> {
        let is_hexadecimal = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
        let parse = |part: &str| match (1..=8).contains(&part.len()) && is_hexadecimal(part) {
            true => u64::from_str_radix(part, 16).ok(),
            false => None,
        };
        let parts = text.split_once('/').and_then(|(high, low)| Some(parse(high)? << 32 | parse(low)?));
        parts.map(Self).ok_or_else(|| NoLsn(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_print_as_they_parse() {
        for text in ["0/0", "0/16B3748", "16/B374D848", "FFFFFFFF/FFFFFFFF"] {
            assert_eq!(text.parse::<Lsn>().expect("a place").to_string(), text);
        }
        for text in ["", "0", "/", "0/", "0/123456789", "0/+1", "x/0"] {
            assert!(text.parse::<Lsn>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_place_behind_a_page_s_header_is_the_page_s_beginning() {
        assert_eq!(Lsn(3 * PAGE + 24).end_of_records(), Lsn(3 * PAGE));
        assert_eq!(Lsn(3 * PAGE + 40).end_of_records(), Lsn(3 * PAGE));
        assert_eq!(Lsn(3 * PAGE + 48).end_of_records(), Lsn(3 * PAGE + 48));
    }
}
