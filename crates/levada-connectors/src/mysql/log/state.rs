//! How each dataset stands in the binary log: what the position remembers of it between pulls.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One dataset in a position. Persisted as JSON; later versions only add fields that may be missing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Standing {
    /// The table as the catalog had it when it was read whole: another one means that its rows may have
    /// changed without the log's saying so.
    pub(super) layout: String,
    /// Whether it has to be read whole before anything of the log counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_unread: bool,
    /// Why it stays where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stopped: Option<String>,
}

/// How each dataset of a stream stands, by name.
pub(super) type Standings = BTreeMap<String, Standing>;
