//! What one file says, before anybody knows whose it is.

use crate::model::*;
use crate::name::{TeamName, ZoneName};
use crate::{FileId, Span};

/// The objects of one file. Owners are not known yet: [`super::assemble`] fills them in.
#[derive(Clone, Debug, Default)]
pub struct Fragment {
    pub(super) file: FileId,
    pub(super) ecosystems: Vec<Ecosystem>,
    pub(super) calendars: Vec<Calendar>,
    pub(super) zones: Vec<Zone>,
    pub(super) teams: Vec<TeamPart>,
    pub(super) containers: Vec<Container>,
    pub(super) datastores: Vec<Datastore>,
    pub(super) workspaces: Vec<Workspace>,
    pub(super) assignments: Vec<AssignmentEntry>,
    pub(super) primaries: Vec<PrimaryEntry>,
    /// Objects with a name that could not be read otherwise, and whether a whole document is missing.
    pub(super) unread: Unread,
}

/// A team without its zone.
#[derive(Clone, Debug)]
pub(super) struct TeamPart {
    pub(super) name: TeamName,
    pub(super) span: Span,
    pub(super) documentation: Option<String>,
}

/// Stands for a zone that no folder names. Such an object comes with a finding.
pub(super) fn unknown_zone() -> ZoneName {
    ZoneName::parse("(no zone)").expect("it is printable")
}

/// Stands for the owner of an object outside any team. Such an object comes with a finding.
pub(super) fn unknown_owner() -> Owner {
    Owner { zone: unknown_zone(), team: TeamName::parse("(no team)").expect("it is printable") }
}
