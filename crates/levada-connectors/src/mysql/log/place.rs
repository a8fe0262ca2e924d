//! Places in a server's binary log, which is a row of numbered files.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Between two events of one file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) file: String,
    /// In bytes from the file's beginning.
    pub(super) position: u64,
}

/// Where a file's first event is.
pub(super) const FIRST: u64 = 4;

impl Place {
    /// The files' order: the number behind the last point.
    fn number(&self) -> u64 {
        self.file.rsplit('.').next().and_then(|number| number.parse().ok()).unwrap_or(0)
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.number(), &self.file, self.position).cmp(&(other.number(), &other.file, other.position))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.position)
    }
}

/// A text that names no place.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no place in a binary log")]
pub(super) struct NoPlace(String);

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let parts = text.rsplit_once(':').filter(|(file, _)| !file.is_empty());
        let place = parts.and_then(|(file, position)| Some((file, position.parse().ok()?)));
        let (file, position) = place.ok_or_else(|| NoPlace(text.to_owned()))?;
        Ok(Self { file: file.to_owned(), position })
    }
}

/// Up to where a log was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Reached {
    pub(super) place: Place,
    /// The last transaction before it, as MariaDB names it (`domain-server-sequence`): on another history
    /// there is another one at that place.
    pub(super) transaction: Option<String>,
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.transaction {
            Some(transaction) => write!(f, "{}@{transaction}", self.place),
            None => self.place.fmt(f),
        }
    }
}

impl FromStr for Reached {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        match text.rsplit_once('@') {
            Some((place, transaction)) => Ok(Self { place: place.parse()?, transaction: Some(transaction.to_owned()) }),
            None => Ok(Self { place: text.parse()?, transaction: None }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_print_as_they_parse_and_follow_the_files() {
        for text in ["changes.000001:4", "b:n.999999:18446744073709551615", "changes.000007:342@0-1-17"] {
            assert_eq!(text.parse::<Reached>().expect("a place").to_string(), text);
        }
        for text in ["", "changes.000001", ":4", "changes.000001:", "changes.000001:-4", "changes.000001:x@0-1-1"] {
            assert!(text.parse::<Reached>().is_err(), "{text}");
        }
        let place = |text: &str| text.parse::<Place>().expect("a place");
        assert!(place("changes.000002:4") > place("changes.000001:9000"));
        assert!(place("changes.1000000:4") > place("changes.999999:4"));
    }
}
