//! What came out of a part: whether it stays inside, and the piece of a blueprint that it decides.

use super::Reach;
use crate::blueprint::Blueprint;
use levada_model::{Address, Model};
use std::collections::BTreeSet;

/// A wider reach, where something at the edge is not as it is in force: what a workspace demands of those
/// who feed it, who delivers its groups, or where its transformer runs. `None`: it stays inside.
pub(crate) fn wider(reach: &Reach, model: &Model, parent: &Blueprint, next: &Blueprint) -> Option<Reach> {
    let mut others = BTreeSet::new();
    for workspace in &model.workspaces {
        let address = Address::Workspace(workspace.name.clone());
        let demand = |blueprint: &Blueprint| blueprint.objects.get(&address).and_then(|object| object.demand);
        let is_delivered_by_others = || {
            reach.workspaces.contains(&address)
                && parent.choices.groups.get(&workspace.name) != next.choices.groups.get(&workspace.name)
        };
        let runs_elsewhere = || {
            let output = workspace.transformer.as_ref().map(|transformer| &transformer.output.value);
            output.is_some_and(|output| {
                reach.stores.contains(&Address::Datastore(output.clone()))
                    && parent.choices.primaries.get(output) != next.choices.primaries.get(output)
            })
        };
        if reach.served.contains(&address)
            && !reach.changed.contains(&address)
            && (demand(parent) != demand(next) || is_delivered_by_others() || runs_elsewhere())
        {
            others.insert(address);
        }
    }
    (!others.is_empty()).then(|| reach.wider(&model.outlines, others))
}

/// The piece of a blueprint that a reach decides.
pub(crate) fn restrict(reach: &Reach, blueprint: &Blueprint) -> Blueprint {
    let mut piece = blueprint.clone();
    piece.nodes.retain(|address, _| {
        let owner = Address::Node(address.clone()).object();
        reach.stores.contains(&owner) || reach.workspaces.contains(&owner)
    });
    let choices = &mut piece.choices;
    choices.groups.retain(|workspace, _| reach.workspaces.contains(&Address::Workspace(workspace.clone())));
    choices.primaries.retain(|store, _| reach.stores.contains(&Address::Datastore(store.clone())));
    piece.objects.retain(|address, _| reach.changed.contains(address));
    piece
}
