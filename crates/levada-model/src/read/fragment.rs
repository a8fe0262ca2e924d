//! What one file says, before anybody knows whose it is.

use crate::model::*;
use crate::name::TeamName;
use crate::outline::Sketch;
use crate::span::within;
use crate::{FileId, Span};
use serde::{Deserialize, Serialize};

/// The objects of one file. Owners are not known yet: [`super::assemble`] fills them in.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Fragment {
    #[serde(skip)]
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
    /// Empty where there was no finding; others are not cached.
    #[serde(skip)]
    pub(super) unread: Unread,
}

/// Names the form in which this build writes fragments to a cache: another build's may differ.
pub const CACHE_FORM: &str = env!("LEVADA_MODEL_FORM");

impl Fragment {
    /// The fragment as bytes for a cache, of the form [`CACHE_FORM`].
    pub fn to_cache(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data with text keys always serialises")
    }

    /// The same without its content.
    pub fn sketch(&self) -> Sketch {
        let mut sketch = Sketch::default();
        self.ecosystems.iter().for_each(|it| sketch.ecosystem(it));
        self.zones.iter().for_each(|it| sketch.zone(it));
        self.calendars.iter().for_each(|it| sketch.calendar(it));
        for TeamPart { name, span, documentation } in &self.teams {
            let team = Team {
                zone: Owner::unknown_zone(),
                name: name.clone(),
                span: *span,
                documentation: documentation.clone(),
            };
            sketch.team(&team);
        }
        self.containers.iter().for_each(|it| sketch.container(it));
        self.datastores.iter().for_each(|it| sketch.datastore(it));
        self.workspaces.iter().for_each(|it| sketch.workspace(it));
        self.assignments.iter().for_each(|it| sketch.assignment(it));
        self.primaries.iter().for_each(|it| sketch.primary(it));
        sketch
    }

    /// Reads what [`Fragment::to_cache`] wrote, as what `file` says; `None` where the bytes are
    /// none of this form.
    pub fn from_cache(file: FileId, bytes: &[u8]) -> Option<Self> {
        let fragment: Self = within(file, || serde_json::from_slice(bytes)).ok()?;
        Some(Self { file, ..fragment })
    }
}

/// A team without its zone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TeamPart {
    pub(super) name: TeamName,
    pub(super) span: Span,
    pub(super) documentation: Option<String>,
}
