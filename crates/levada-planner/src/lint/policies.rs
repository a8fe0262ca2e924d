//! Policies of both zones against containers: the producer's and the consumer's.
//!
//! Platforms are the broker's matter: it rejects those that a policy doesn't want.

use super::{Context, codes};
use crate::binding::{DatasetId, SinkUse, dataset_ref};
use crate::policy::{BrokenPolicy, PolicyBook, PolicyId, is_about};
use levada_model::{Address, Finding, Findings};
use std::collections::{BTreeMap, HashMap};

/// How many datasets a finding names before it counts the others.
const NAMES_SHOWN_MAX: usize = 8;

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
                let named: Vec<_> = store.datasets.iter().filter(|dataset| is_about(about, dataset)).collect();
                let Some(first) = named.first() else { continue };
                let container = &model.containers[container as usize].name;
                let names = enumerate(named.iter().map(|dataset| dataset.name.to_string()));
                let word = if named.len() == 1 { "dataset" } else { "datasets" };
                let message = format!("{broken}: container {:?} holds {word} {names}", container.as_str());
                let finding = Finding::error(codes::POLICY_CONTAINER, message).at(store.span);
                findings.push(finding.about(Address::Dataset(store.name.clone(), first.name.clone())));
            }
        }
    }

    /// What goes to a consumer may lie in its container, and comes from where its zone allows.
    /// Each group hears of a policy and a container once, with all datasets.
    fn consumers(&mut self, findings: &mut Findings) {
        let (model, bindings) = (self.context.model, self.context.bindings);
        for (workspace_id, workspace) in model.workspaces.iter().enumerate() {
            let mut broken: BTreeMap<(u32, PolicyId, u32), Vec<DatasetId>> = BTreeMap::new();
            for of in &bindings.uses_of_workspace[workspace_id] {
                for (policy, container) in self.places_of(of) {
                    if self.verdict(policy, container).is_some() {
                        broken.entry((of.group.group, policy, container)).or_default().push(of.dataset);
                    }
                }
            }
            for ((group, policy, container), datasets) in broken {
                let Some(broken) = self.verdict(policy, container) else { continue };
                let group = &workspace.groups[group as usize];
                let about = Address::Group(workspace.name.clone(), group.name.clone());
                let span = super::sink_span(group, &dataset_ref(model, datasets[0]));
                let container = &model.containers[container as usize].name;
                let names = enumerate(datasets.iter().map(|id| dataset_ref(model, *id).to_string()));
                let message = format!("{broken}: {names} and container {:?}", container.as_str());
                findings.push(Finding::error(codes::POLICY_CONTAINER, message).at(span).about(about));
            }
        }
    }

    /// The policies about a sink, each with a container that it has to accept.
    fn places_of(&self, of: &SinkUse) -> Vec<(PolicyId, u32)> {
        let (model, bindings) = (self.context.model, self.context.bindings);
        let store_id = of.dataset.store as usize;
        let dataset = &model.datastores[store_id].datasets[of.dataset.dataset as usize];
        let target = bindings.container_of_workspace[of.group.workspace as usize];
        let source = bindings.container_of_store[store_id];
        let produced = self.book.produced(bindings.zone_of_store[store_id]);
        let policies = self.book.on_the_way(bindings, of.dataset.store, of.group.workspace);
        let about_it = policies.filter(|policy| is_about(self.book.policy(*policy), dataset));
        // The producer's own policy about its own container is the producer's finding.
        let places = |policy: PolicyId| [target, source.filter(|_| !produced.contains(&policy))];
        about_it.flat_map(|policy| places(policy).into_iter().flatten().map(move |place| (policy, place))).collect()
    }
}

/// Names in a sentence, as many as fit.
fn enumerate(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    let more = names.len().saturating_sub(NAMES_SHOWN_MAX);
    names.truncate(NAMES_SHOWN_MAX);
    let shown = names.join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}
