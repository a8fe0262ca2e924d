//! Lengths of time as people write them: `30s 5m 8h 30d 2w 6mo 7y`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A count of one unit; months and years follow the calendar.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period {
    /// How many.
    pub count: u32,
    /// Of what.
    pub unit: PeriodUnit,
}

/// The units of a [`Period`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PeriodUnit {
    /// `s`
    Seconds,
    /// `m`
    Minutes,
    /// `h`
    Hours,
    /// `d`
    Days,
    /// `w`
    Weeks,
    /// `mo`
    Months,
    /// `y`
    Years,
}

const UNITS: [(&str, PeriodUnit, u64); 7] = [
    ("s", PeriodUnit::Seconds, 1),
    ("m", PeriodUnit::Minutes, 60),
    ("h", PeriodUnit::Hours, 3_600),
    ("d", PeriodUnit::Days, 86_400),
    ("w", PeriodUnit::Weeks, 604_800),
    ("mo", PeriodUnit::Months, 2_629_746),
    ("y", PeriodUnit::Years, 31_556_952),
];

impl Period {
    /// Seconds, with the Gregorian average for months and years; only for comparing and sorting.
    pub fn approximate_seconds(self) -> u64 {
        let (_, _, seconds) = UNITS[self.unit as usize];
        u64::from(self.count) * seconds
    }
}

impl PartialOrd for Period {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Period {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.approximate_seconds(), self.unit, self.count).cmp(&(other.approximate_seconds(), other.unit, other.count))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.count, UNITS[self.unit as usize].0)
    }
}

/// A text is not a [`Period`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a length of time; write a whole number and one of s m h d w mo y, such as 30d")]
pub struct PeriodError(pub String);

impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, PeriodError> {
        let error = || PeriodError(text.to_owned());
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(error)?;
        let count = text[..digits].parse().map_err(|_| error())?;
        let unit = UNITS.iter().find(|(suffix, ..)| *suffix == &text[digits..]).ok_or_else(error)?.1;
        Ok(Self { count, unit })
    }
}

impl TryFrom<String> for Period {
    type Error = PeriodError;
    fn try_from(text: String) -> Result<Self, PeriodError> {
        text.parse()
    }
}

impl From<Period> for String {
    fn from(period: Period) -> String {
        period.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_print_as_they_parse_and_sort_by_length() {
        for text in ["30s", "5m", "8h", "30d", "2w", "6mo", "7y"] {
            assert_eq!(text.parse::<Period>().expect(text).to_string(), text);
        }
        assert!("1mo".parse::<Period>().expect("valid") > "4w".parse().expect("valid"));
        for text in ["", "5", "m", "-1d", "1 d", "99999999999d", "1µ"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }
}
