//! Policies of both zones against containers: the producer's and the consumer's.
//!
//! Platforms are the broker's matter: it rejects those that a policy doesn't want.

use super::{Context, codes};
use crate::binding::dataset_ref;
use crate::policy::{BrokenPolicy, PolicyBook, PolicyId, is_about};
use levada_model::{Address, Finding, Findings};
use std::collections::{HashMap, HashSet};

pub(super) fn check(context: &Context<'_>, findings: &mut Findings) {
    let mut pass = Pass { context, book: PolicyBook::of(context.model), verdicts: HashMap::new() };
    pass.producers(findings);
    pass.consumers(findings);
}

struct Pass<'p, 'm> {
    context: &'p Context<'m>,
    book: PolicyBook<'m>,
    /// Policies against containers, each looked at once.
    verdicts: HashMap<(PolicyId, u32), Option<BrokenPolicy>>,
}

impl Pass<'_, '_> {
    fn verdict(&mut self, policy: PolicyId, container: u32) -> Option<BrokenPolicy> {
        let (book, model) = (&self.book, self.context.model);
        let check = || book.check_container(policy, &model.containers[container as usize]);
        self.verdicts.entry((policy, container)).or_insert_with(check).clone()
    }

    /// What a zone produces lies where the zone allows it.
    fn producers(&mut self, findings: &mut Findings) {
        let (model, bindings) = (self.context.model, self.context.bindings);
        for (store_id, store) in model.datastores.iter().enumerate() {
            let Some(container) = bindings.container_of_store[store_id] else { continue };
            let policies = self.book.produced(bindings.zone_of_store[store_id]).to_vec();
            for policy in policies {
                let Some(broken) = self.verdict(policy, container) else { continue };
                let about = self.book.policy(policy);
                if let Some(dataset) = store.datasets.iter().find(|dataset| is_about(about, dataset)) {
                    let container = &model.containers[container as usize].name;
                    let message =
                        format!("{broken}: container {:?} holds dataset {}", container.as_str(), dataset.name);
                    let finding = Finding::error(codes::POLICY_CONTAINER, message).at(store.span);
                    findings.push(finding.about(Address::Dataset(store.name.clone(), dataset.name.clone())));
                }
            }
        }
    }

    /// What goes to a consumer may lie in its container, and comes from where its zone allows.
    /// Each group hears of a policy and a container once, with the first dataset.
    fn consumers(&mut self, findings: &mut Findings) {
        let mut reported = HashSet::new();
        let (model, bindings) = (self.context.model, self.context.bindings);
        for (workspace_id, workspace) in model.workspaces.iter().enumerate() {
            for of in &bindings.uses_of_workspace[workspace_id] {
                let store_id = of.dataset.store as usize;
                let dataset = &model.datastores[store_id].datasets[of.dataset.dataset as usize];
                let target = bindings.container_of_workspace[workspace_id];
                let source = bindings.container_of_store[store_id];
                let produced = self.book.produced(bindings.zone_of_store[store_id]);
                let on_the_way: Vec<(PolicyId, bool)> = self
                    .book
                    .on_the_way(bindings, of.dataset.store, of.group.workspace)
                    .map(|policy| (policy, produced.contains(&policy)))
                    .collect();
                let group = &workspace.groups[of.group.group as usize];
                for (policy, is_producers) in on_the_way {
                    // The producer's own policy about its own container is the producer's finding.
                    let places = [target, source.filter(|_| !is_producers)];
                    for container in places.into_iter().flatten() {
                        if !is_about(self.book.policy(policy), dataset) {
                            continue;
                        }
                        let Some(broken) = self.verdict(policy, container) else { continue };
                        if !reported.insert((of.group, policy, container)) {
                            continue;
                        }
                        let about = Address::Group(workspace.name.clone(), group.name.clone());
                        let span = super::sink_span(group, &dataset_ref(model, of.dataset));
                        let container = &model.containers[container as usize].name;
                        let of = dataset_ref(model, of.dataset);
                        let message = format!("{broken}: {of} and container {:?}", container.as_str());
                        findings.push(Finding::error(codes::POLICY_CONTAINER, message).at(span).about(about));
                    }
                }
            }
        }
    }
}
