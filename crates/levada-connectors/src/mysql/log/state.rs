//! How each dataset stands in the binary log: what the position remembers of it between pulls.

use super::place::Reached;
use levada_flow::{FlowError, Position};
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

/// Reads a position of a binary log; `None`: it is of another way of reading.
pub(super) fn from_position(position: &Position) -> Result<Option<(Reached, Standings)>, FlowError> {
    let Position::Log { at, datasets } = position else { return Ok(None) };
    let unreadable = || FlowError::never(format!("the stored place in the binary log, {at:?}, can't be read"));
    let at = at.parse().map_err(|error| unreadable().because(error))?;
    let standing = |(name, text): (&String, &String)| {
        let standing = serde_json::from_str(text).map_err(|error| unreadable().because(error))?;
        Ok((name.clone(), standing))
    };
    Ok(Some((at, datasets.iter().map(standing).collect::<Result<_, FlowError>>()?)))
}

/// Writes one.
pub(super) fn to_position<'s>(at: &Reached, datasets: impl Iterator<Item = (&'s str, &'s Standing)>) -> Position {
    let text = |standing| serde_json::to_string(standing).expect("plain data always serialises");
    Position::Log { at: at.to_string(), datasets: datasets.map(|(name, one)| (name.to_owned(), text(one))).collect() }
}
