//! How each dataset stands in the change log: what the position remembers of it between pulls.

use super::lsn::Lsn;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One dataset in a position. Persisted as JSON; later versions only add fields that may be missing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Standing {
    /// The table and the columns that the model reads: where they differ from what the catalog says,
    /// the table was changed since it was read.
    pub(super) layout: String,
    /// The pieces of the table that hold rows: itself, or its partitions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) leaves: Vec<u32>,
    /// What of it is still to be read; `None`: it is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) join: Option<Join>,
    /// Why it stays where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stopped: Option<String>,
    /// What was read already of what the log is going to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) seen: Option<Seen>,
}

/// How each dataset of a stream stands, by name.
pub(super) type Standings = BTreeMap<String, Standing>;

/// What a dataset has to read beside the log until it is whole.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Join {
    /// The log up to here says nothing new: everything is read later than that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) skip_until: Option<u64>,
    /// The pieces of the table that are still to be read, the current one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) leaves: Vec<u32>,
    /// The next block of the current one.
    #[serde(default)]
    pub(super) block: u64,
    /// Keys of rows that the log did not tell whole, as texts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) rows: Vec<Vec<String>>,
}

/// A moment at which a table was read whole: what it saw, the log does not say again.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Seen {
    /// As `pg_current_snapshot()` prints it: `xmin:xmax:xip,…`.
    pub(super) snapshot: String,
    /// Behind this place everything is new.
    pub(super) until: u64,
}

impl Standing {
    /// Begins to read everything anew beside the log, which says nothing new up to here.
    pub(super) fn restart(&mut self, layout: String, leaves: Vec<u32>, end: Lsn) {
        let join = Join { skip_until: Some(end.0), leaves: leaves.clone(), ..Join::default() };
        *self = Self { layout, leaves, join: Some(join), stopped: None, seen: None };
    }
}

impl Seen {
    /// Whether a transaction of the log, whose id comes without its epoch, was seen.
    pub(super) fn has(&self, xid: u32) -> bool {
        Moment::parse(&self.snapshot).has(xid)
    }
}

/// Which transactions a snapshot sees.
pub(super) struct Moment {
    /// All below it have ended.
    least: u64,
    /// None from it on has.
    next: u64,
    in_progress: Vec<u64>,
}

impl Moment {
    /// Reads what `pg_current_snapshot()` prints; of another text it sees nothing.
    pub(super) fn parse(snapshot: &str) -> Self {
        let mut parts = snapshot.split(':');
        let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok()).unwrap_or(0);
        let (least, next) = (number(), number());
        let in_progress = parts.next().unwrap_or_default().split(',').filter_map(|part| part.parse().ok()).collect();
        Self { least, next, in_progress }
    }

    /// Whether it sees a transaction of the log, whose id comes without its epoch.
    pub(super) fn has(&self, xid: u32) -> bool {
        /// Two ids that are farther from each other are of different epochs.
        const HALF: u64 = 1 << 31;
        let whole = (self.next & !0xFFFF_FFFF) | u64::from(xid);
        let whole = match whole {
            ahead if ahead > self.next + HALF => ahead.saturating_sub(1 << 32),
            behind if behind + HALF < self.next => behind + (1 << 32),
            near => near,
        };
        whole < self.least || (whole < self.next && !self.in_progress.contains(&whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change_log::{from_position, to_position};

    #[test]
    fn a_moment_saw_what_was_committed_before_it_in_whatever_epoch() {
        let seen = |snapshot: &str, xid| Seen { snapshot: snapshot.to_owned(), until: 0 }.has(xid);
        assert!(seen("100:105:102", 99) && seen("100:105:102", 101) && seen("100:105:102", 104));
        assert!(!seen("100:105:102", 102) && !seen("100:105:102", 105) && !seen("100:105:102", 4_000_000));
        let next = (7_u64 << 32) + 3;
        let snapshot = format!("{next}:{next}:");
        assert!(seen(&snapshot, 2) && seen(&snapshot, u32::MAX), "the epoch before");
        assert!(!seen(&snapshot, 3) && !seen(&snapshot, 4));
        let last = (8_u64 << 32) - 2;
        assert!(!seen(&format!("{last}:{last}:"), 1), "the epoch after");
    }

    #[test]
    fn a_position_is_what_it_was_when_it_is_read_again() {
        let join = Join { skip_until: Some(7), leaves: vec![1, 2], block: 9, rows: vec![vec!["a".to_owned()]] };
        let standing = Standing { layout: "x".to_owned(), join: Some(join), ..Standing::default() };
        let position = to_position(&Lsn(77), [("orders", &standing)].into_iter());
        let (at, read) = from_position::<Lsn, Standing>(&position).expect("reads").expect("is one of a log");
        assert_eq!((at, &read["orders"]), (Lsn(77), &standing));
    }
}
