//! Who owns what lies in which folder: the nearest team's folder around it.

use super::paths::folder;
use crate::model::Owner;
use crate::name::{TeamName, ZoneName};
use std::collections::HashMap;

/// Which folder is whose.
#[derive(Default)]
pub(super) struct Owners {
    zones: HashMap<String, ZoneName>,
    teams: HashMap<String, Owner>,
}

impl Owners {
    /// Gives a folder to a zone; the zone that has it already keeps it, and is given back.
    pub(super) fn add_zone(&mut self, folder: &str, zone: &ZoneName) -> Option<&ZoneName> {
        if !self.zones.contains_key(folder) {
            self.zones.insert(folder.to_owned(), zone.clone());
            return None;
        }
        self.zones.get(folder)
    }

    /// Gives a folder to a team, once all zones have theirs; as [`Owners::add_zone`].
    pub(super) fn add_team(&mut self, folder: &str, team: &TeamName) -> Option<&Owner> {
        if !self.teams.contains_key(folder) {
            let owner = Owner { zone: self.zone(folder), team: team.clone() };
            self.teams.insert(folder.to_owned(), owner);
            return None;
        }
        self.teams.get(folder)
    }

    /// The zone around a folder, or the one that stands for none.
    pub(super) fn zone(&self, folder: &str) -> ZoneName {
        nearest_above(&self.zones, folder).cloned().unwrap_or_else(Owner::unknown_zone)
    }

    /// The team around a folder.
    pub(super) fn owner(&self, folder: &str) -> Option<&Owner> {
        nearest_above(&self.teams, folder)
    }
}

/// The nearest of a folder and the folders around it that has an entry.
pub(super) fn nearest_above<'f, T>(folders: &'f HashMap<String, T>, from: &str) -> Option<&'f T> {
    let mut at = from;
    loop {
        if let Some(found) = folders.get(at) {
            return Some(found);
        }
        if at.is_empty() {
            return None;
        }
        at = folder(at);
    }
}
