//! What may be consumed: by status, by deprecation, by the producer's approval.

use super::{Context, codes};
use crate::binding::dataset_id;
use levada_model::model::{Datastore, Deprecated, Group, ObjectKind, Sink, Status, Workspace};
use levada_model::{Address, Finding, Findings, Model};
use std::collections::{BTreeSet, HashMap, HashSet};

pub(super) fn check(context: &Context<'_>, findings: &mut Findings) {
    let approvals = approvals(context);
    for workspace in &context.model.workspaces {
        for group in &workspace.groups {
            for sink in &group.sinks {
                let Some(id) = dataset_id(context.model, &sink.dataset.value) else { continue };
                let consumed = Consumed { context, workspace, group, sink, store_id: id.store };
                findings.0.extend(consumed.status());
                findings.0.extend(consumed.deprecation(id.dataset));
                findings.0.extend(consumed.approval(&approvals));
            }
        }
    }
    replacements(context, findings);
}

/// Per datastore with a list: everybody on it.
fn approvals<'m>(context: &Context<'m>) -> HashMap<u32, HashSet<&'m str>> {
    let stores = (0..).zip(&context.model.datastores);
    let lists = stores.filter_map(|(id, store)| Some((id, store.approved.as_ref()?)));
    lists.map(|(id, list)| (id, list.iter().map(|approved| approved.value.as_str()).collect())).collect()
}

struct Consumed<'a> {
    context: &'a Context<'a>,
    workspace: &'a Workspace,
    group: &'a Group,
    sink: &'a Sink,
    store_id: u32,
}

impl Consumed<'_> {
    fn store(&self) -> &Datastore {
        &self.context.model.datastores[self.store_id as usize]
    }

    fn finding(&self, code: levada_model::Code, message: String, hint: &str) -> Finding {
        let about = Address::Group(self.workspace.name.clone(), self.group.name.clone());
        Finding::error(code, message).at(self.sink.dataset.span).about(about).hint(hint)
    }

    fn status(&self) -> Option<Finding> {
        let is_wrong = self.workspace.status == Status::Production && self.store().status != Status::Production;
        is_wrong.then(|| {
            let (workspace, of) = (&self.workspace.name, &self.sink.dataset.value);
            let message = format!("workspace {workspace} is production, {of} is not");
            let hint = "set `status: production` at the datastore, or take the dataset out";
            self.finding(codes::STATUS_CONSUMED, message, hint)
        })
    }

    fn deprecation(&self, dataset: u32) -> Option<Finding> {
        let store = self.store();
        let dataset = &store.datasets[dataset as usize];
        let of = &self.sink.dataset.value;
        match (dataset.deprecated.as_ref().or(store.deprecated.as_ref()), self.sink.is_deprecated_allowed) {
            (Some(deprecated), false) => {
                let message = format!("{of} is deprecated: {}", deprecated.reason);
                let hint = format!("{}write {{ dataset: {of}, deprecated: allowed }}", instead(deprecated));
                Some(self.finding(codes::DEPRECATED_CONSUMED, message, &hint))
            }
            (None, true) => {
                let message = format!("{of} is not deprecated");
                let about = Address::Group(self.workspace.name.clone(), self.group.name.clone());
                let finding = Finding::warning(codes::DEPRECATED_NOT, message).at(self.sink.dataset.span);
                Some(finding.about(about).hint("remove `deprecated: allowed`"))
            }
            _ => None,
        }
    }

    fn approval(&self, approvals: &HashMap<u32, HashSet<&str>>) -> Option<Finding> {
        let approved = approvals.get(&self.store_id)?;
        let group = format!("{}/{}", self.workspace.name, self.group.name);
        if approved.contains(self.workspace.name.as_str()) || approved.contains(group.as_str()) {
            return None;
        }
        // What a transformer makes, its own workspace may read.
        if self.context.bindings.transformer_of_store[self.store_id as usize]
            .is_some_and(|id| self.context.model.workspaces[id as usize].name == self.workspace.name)
        {
            return None;
        }
        let store = self.store();
        let message = format!("datastore {} does not approve {group}", store.name);
        let (zone, team) = (&store.owner.zone, &store.owner.team);
        let hint = format!("ask team {team} of zone {zone} to add it to `approved:`");
        Some(self.finding(codes::NOT_APPROVED, message, &hint))
    }
}

fn instead(deprecated: &Deprecated) -> String {
    deprecated.instead.as_ref().map_or_else(String::new, |instead| format!("use {instead} instead, or "))
}

/// The names of all datastores, also those of the whole that this part does not have; sorted.
fn datastores(model: &Model) -> BTreeSet<&str> {
    let elsewhere = model.outlines.keys().filter_map(|address| match address {
        Address::Datastore(name) => Some(name.as_str()),
        _ => None,
    });
    elsewhere.chain(model.datastores.iter().map(|store| store.name.as_str())).collect()
}

/// `instead` names a datastore, or a dataset of the same store or of another one.
fn replacements(context: &Context<'_>, findings: &mut Findings) {
    for store in &context.model.datastores {
        let of_store = store.deprecated.iter().map(|deprecated| (Address::Datastore(store.name.clone()), deprecated));
        let of_datasets = store.datasets.iter().filter_map(|dataset| {
            let address = Address::Dataset(store.name.clone(), dataset.name.clone());
            Some((address, dataset.deprecated.as_ref()?))
        });
        for (about, deprecated) in of_store.chain(of_datasets) {
            let Some(instead) = &deprecated.instead else { continue };
            let is_store = instead.parse().is_ok_and(|name| context.model.datastore(&name).is_some());
            let is_own = instead.parse().is_ok_and(|name| store.dataset(&name).is_some());
            let is_other = instead.parse().is_ok_and(|of| context.model.dataset(&of).is_some());
            if !(is_store || is_own || is_other || context.model.unread.may_have_some(ObjectKind::Datastore)) {
                let message = format!("nothing is called {instead:?}");
                let mut finding =
                    Finding::warning(codes::UNKNOWN_REPLACEMENT, message).at(deprecated.span).about(about);
                let known = datastores(context.model);
                finding.hint = context.did_you_mean(instead, known);
                findings.push(finding);
            }
        }
    }
}
