//! How each dataset stands in the binary log: what the position remembers of it between pulls.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One dataset in a position. Persisted as JSON; later versions only add fields that may be missing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Standing {
    /// The table as the catalog had it when it was read: another one means that its rows may have
    /// changed without the log's saying so.
    pub(super) layout: String,
    /// Whether something of it has to be read before anything of the log counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_unread: bool,
    /// What of it is left to read beside the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) join: Option<Join>,
    /// Why it stays where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stopped: Option<String>,
}

impl Standing {
    /// Has everything read anew before the log counts again.
    pub(super) fn forget(&mut self) {
        (self.is_unread, self.join) = (true, None);
    }
}

/// How far a table was read beside the log.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Join {
    /// The key's columns in the index's order.
    #[serde(default)]
    pub(super) by: Vec<String>,
    /// The key of the last row that was read, a text for each of its columns in the index's order; empty: none was.
    pub(super) after: Vec<String>,
    /// Whether all rows were read, and only the list of the keys is missing.
    #[serde(default)]
    pub(super) is_read: bool,
}

/// How each dataset of a stream stands, by name.
pub(super) type Standings = BTreeMap<String, Standing>;
