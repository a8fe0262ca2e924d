//! What a change of the model can reach: which nodes have to be woven anew, and which objects have to be
//! looked at for that.
//!
//! Takes the outline of the model now and what the blueprint in force says of the objects that it was
//! frozen from; gives a [`Reach`]. Whoever has one loads that part of the model and of the blueprint in
//! force, and plans it: [`crate::plan_part`]. The part is compiled by the very passes that compile the
//! whole, for a part of a model is a model. Where an outcome at its edge is not what is in force (another
//! platform for a group, another priority), the reach grows by whom that concerns, and the part is planned
//! again; it ends since a reach only grows.
//!
//! Why the nodes inside are as a whole plan would have them:
//! - The nodes of a datastore depend on it, on all who ask for it, and on whom those serve: they are in it.
//! - Those of a workspace depend on it and on all that it asks for.
//! - What is at the edge keeps its platforms, because choices in force stay while nothing speaks against
//!   them, and a part only ever leaves out reasons to speak.

mod grow;
mod outcome;

pub(crate) use outcome::{restrict, wider};

use crate::blueprint::Blueprint;
use levada_model::fingerprint::Fingerprint;
use levada_model::{Address, Findings, Outlines};
use std::collections::{BTreeMap, BTreeSet};

/// What a change can reach.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reach {
    /// Objects that say something else than in force, and those that stand on them.
    focus: BTreeSet<Address>,
    /// Objects that have to be looked at as if they had changed; with time also those whose outcome did.
    changed: BTreeSet<Address>,
    /// Of the objects that changed: whom they named.
    former: BTreeMap<Address, Vec<Address>>,
    /// Datastores whose nodes are made anew.
    stores: BTreeSet<Address>,
    /// Workspaces whose nodes are made anew, with everything that they ask for.
    workspaces: BTreeSet<Address>,
    /// Workspaces that are loaded with all whom they serve: what these demand is known.
    served: BTreeSet<Address>,
    /// Whatever has to be loaded for that.
    objects: BTreeSet<Address>,
}

impl Reach {
    /// The objects to load; those that have gone are not among them.
    pub fn objects(&self) -> &BTreeSet<Address> {
        &self.objects
    }

    /// The objects whose nodes in force are compared: all others stay as they are.
    pub fn owners(&self) -> BTreeSet<Address> {
        self.stores.union(&self.workspaces).cloned().collect()
    }

    /// Objects whose choices and demands in force have to be known.
    pub fn known(&self) -> BTreeSet<Address> {
        let all = [&self.stores, &self.workspaces, &self.changed, &self.objects];
        all.into_iter().flatten().cloned().collect()
    }
}

/// The objects that say something else than in force, came, or went.
pub fn changed(in_force: &BTreeMap<Address, Fingerprint>, outlines: &Outlines) -> BTreeSet<Address> {
    let gone = in_force.keys().filter(|address| !outlines.contains_key(address));
    let is_other = |address: &&Address| in_force.get(*address) != outlines.get(*address).map(|it| &it.content);
    gone.chain(outlines.keys().filter(is_other)).cloned().collect()
}

/// What a plan is about: warnings about anything else are left to a check of the whole model.
pub(crate) enum Focus {
    All,
    On(BTreeSet<Address>),
}

impl Focus {
    /// The focus of a plan of the whole model.
    pub(crate) fn of(parent: Option<&Blueprint>, outlines: &Outlines) -> Self {
        // One that knows no objects was frozen by an older build.
        let Some(parent) = parent.filter(|parent| !parent.objects.is_empty()) else { return Self::All };
        let contents = parent.objects.iter().map(|(address, object)| (address.clone(), object.content)).collect();
        let changed = changed(&contents, outlines);
        let names = |address: &Address| Some((address.clone(), parent.objects.get(address)?.names.clone()));
        let former = changed.iter().filter_map(names).collect();
        grow::focus(outlines, changed, &former).map_or(Self::All, Self::On)
    }

    /// The focus of a plan of a part.
    pub(crate) fn of_part(reach: &Reach) -> Self {
        Self::On(reach.focus.clone())
    }

    /// Leaves out what is about something else.
    pub(crate) fn keep(&self, findings: &mut Findings) {
        if let Self::On(focus) = self {
            findings.0.retain(|finding| finding.address.as_ref().is_none_or(|about| focus.contains(&about.object())));
        }
    }
}
