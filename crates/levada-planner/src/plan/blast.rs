//! Whom a plan concerns: who sees a difference, who gets it through transformers, and whose all that is.

use super::contract::ContractLine;
use crate::blueprint::{Blueprint, NodeSpec};
use crate::diff::{Delta, NodeChange};
use crate::evolution::ContractEffect;
use levada_model::address::NodeAddress;
use levada_model::model::Owner;
use levada_model::name::WorkspaceName;
use levada_model::{Address, Model};
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};

/// The blast radius of a plan.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Blast {
    /// Workspaces whose own views are different.
    pub seen: BTreeSet<WorkspaceName>,
    /// Others that get data which transformers make of what is different.
    pub derived: BTreeSet<WorkspaceName>,
    /// Who owns what is different and whom it concerns, as `ZONE/TEAM`; whoever has left the model is not
    /// among them.
    pub owners: BTreeSet<String>,
}

/// Finds whom the changes concern. Linear in the nodes around the delta.
pub(super) fn of(model: &Model, delta: &Delta, contracts: &[ContractLine], around: &Blueprint) -> Blast {
    let seen: BTreeSet<WorkspaceName> = contracts
        .iter()
        .filter(|line| line.effect != ContractEffect::None)
        .map(|line| line.workspace.clone())
        .collect();
    let derived = behind(model, delta, &seen, around).into_iter().filter(|it| !seen.contains(it)).collect();
    let mut blast = Blast { seen, derived, owners: BTreeSet::new() };
    let workspaces = blast.seen.iter().chain(&blast.derived).filter_map(|name| model.workspace(name));
    let mut owners: BTreeSet<&Owner> = workspaces.map(|workspace| &workspace.owner).collect();
    for address in delta.changes.keys() {
        owners.extend(match Address::Node(address.clone()).object() {
            Address::Datastore(name) => model.datastore(&name).map(|store| &store.owner),
            Address::Workspace(name) => model.workspace(&name).map(|workspace| &workspace.owner),
            _ => None,
        });
    }
    blast.owners = owners.into_iter().map(|owner| format!("{}/{}", owner.zone, owner.team)).collect();
    blast
}

/// The workspaces that are delivered what transformers make of something that is different.
fn behind(model: &Model, delta: &Delta, seen: &BTreeSet<WorkspaceName>, around: &Blueprint) -> BTreeSet<WorkspaceName> {
    let transforms = delta.changes.values().filter_map(NodeChange::after).filter_map(|node| match &node.address {
        NodeAddress::Transform(_, workspace) => Some(workspace),
        _ => None,
    });
    let mut open: Vec<&WorkspaceName> = transforms.collect();
    // Whoever sees a difference and makes something of it hands it on.
    open.extend(seen.iter().filter_map(|name| Some(&model.workspace(name)?.name)));
    let mut consumers: HashMap<&levada_model::name::DatastoreName, Vec<&WorkspaceName>> = HashMap::new();
    for node in around.nodes.values() {
        if let NodeSpec::Export(spec) = &node.spec {
            consumers.entry(&spec.source.datastore).or_default().extend(spec.views.iter().map(|view| &view.workspace));
        }
    }
    let mut done: BTreeSet<&WorkspaceName> = BTreeSet::new();
    let mut behind = BTreeSet::new();
    while let Some(name) = open.pop() {
        if !done.insert(name) {
            continue;
        }
        let output = model.workspace(name).and_then(|workspace| workspace.transformer.as_ref());
        let Some(output) = output.map(|transformer| &transformer.output.value) else { continue };
        let readers = consumers.get(output).into_iter().flatten().copied();
        for reader in readers.filter(|reader| *reader != name) {
            behind.insert(reader.clone());
            open.push(reader);
        }
    }
    behind
}
