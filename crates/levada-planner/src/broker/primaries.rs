//! Which platform ingests each datastore: exactly one, wherever its consumers live.

use super::candidates::{exclusions, judge};
use super::groups::{broken_policies, policies_of};
use super::style::meets;
use super::{PrimaryChoice, Rejection, Table, Terms};
use crate::binding::DatasetId;
use crate::blueprint::Choices;
use crate::lint::codes;
use crate::platform::{Capabilities, CodeKind, IngestMode};
use crate::policy::PolicyId;
use levada_model::model::{
    AssignmentState, CatchUp, Datastore, Latency, ObjectKind, Origin, PrimaryEntry, Status, TransformTrigger,
};
use levada_model::name::{DatastoreName, WorkspaceName};
use levada_model::{Address, Finding, Findings};
use std::collections::{BTreeMap, HashMap};

/// Chooses for every datastore that somebody consumes.
pub(super) fn choose(
    table: &Table<'_>,
    terms: &[Vec<Terms>],
    in_force: &Choices,
    findings: &mut Findings,
) -> BTreeMap<DatastoreName, PrimaryChoice> {
    let pins: HashMap<&DatastoreName, &PrimaryEntry> =
        table.model.primaries.iter().map(|entry| (&entry.datastore, entry)).collect();
    let mut choices = BTreeMap::new();
    for (store_id, store) in table.model.datastores.iter().enumerate() {
        if table.bindings.is_consumed(store_id as u32) {
            let pin = pins.get(&store.name).copied();
            let needs = Needs::of(table, terms, store_id, store);
            choices.insert(store.name.clone(), choose_one(table, &needs, pin, in_force, findings));
        }
    }
    choices
}

/// What a datastore needs of its primary.
struct Needs<'m> {
    store_id: usize,
    store: &'m Datastore,
    latency: Latency,
    /// A workspace that is production, the first by name: a consumer, or the one whose transformer
    /// makes the datastore.
    production: Option<&'m WorkspaceName>,
    policies: BTreeMap<PolicyId, DatasetId>,
}

impl<'m> Needs<'m> {
    fn of(table: &Table<'m>, terms: &[Vec<Terms>], store_id: usize, store: &'m Datastore) -> Self {
        let uses = &table.bindings.uses_of_store[store_id];
        let latency_of = |group: crate::binding::GroupId| terms[group.workspace as usize][group.group as usize].latency;
        let latency = uses.iter().map(|of| latency_of(of.group)).min().unwrap_or(Latency::Days);
        let mut policies = policies_of(table, uses);
        // A transformer's whole workspace is woven in where its output is ingested.
        let transformer = table.bindings.transformer_of_store[store_id];
        let workspaces = uses.iter().map(|of| of.group.workspace).chain(transformer);
        let workspaces = workspaces.map(|workspace| &table.model.workspaces[workspace as usize]);
        let production = workspaces.filter(|workspace| workspace.status == Status::Production);
        if let Some(workspace) = transformer {
            for (id, dataset) in policies_of(table, &table.bindings.uses_of_workspace[workspace as usize]) {
                policies.entry(id).or_insert(dataset);
            }
        }
        let production = production.map(|workspace| &workspace.name).min();
        Self { store_id, store, latency, production, policies }
    }
}

fn choose_one(
    table: &Table<'_>,
    needs: &Needs<'_>,
    pin: Option<&PrimaryEntry>,
    in_force: &Choices,
    findings: &mut Findings,
) -> PrimaryChoice {
    let position = |name| table.model.platform_id(name).map(|id| id as usize);
    let pinned = pin.and_then(|pin| position(&pin.platform.value));
    let pinned = pinned.map(|position| (position, AssignmentState::Active)).into_iter().collect();
    let kept: Vec<usize> = in_force.primaries.get(&needs.store.name).and_then(position).into_iter().collect();
    let candidates = judge(table, &pinned, &kept, |platform| rejections(table, needs, platform));
    let chosen = candidates.iter().find(|candidate| candidate.is_chosen());
    let address = Address::Datastore(needs.store.name.clone());
    match chosen {
        None if table.model.unread.may_have_some(ObjectKind::Platform) => {}
        None => {
            let message = format!("no platform can ingest the datastore: {}", exclusions(&candidates));
            findings.push(Finding::error(codes::NO_PRIMARY_FITS, message).at(needs.store.span).about(address));
        }
        Some(candidate) if !candidate.rejections.is_empty() => {
            let reasons: Vec<String> = candidate.rejections.iter().map(ToString::to_string).collect();
            let platform = candidate.platform.as_str();
            let message = format!("the primary is pinned to platform {platform:?}: {}", reasons.join("; "));
            let span = pin.map_or(needs.store.span, |pin| pin.platform.span);
            findings.push(Finding::error(codes::PIN_REJECTED, message).at(span).about(address));
        }
        Some(_) => {}
    }
    let platform = chosen.map(|candidate| candidate.platform.clone());
    PrimaryChoice { latency: needs.latency, platform, candidates }
}

fn rejections(table: &Table<'_>, needs: &Needs<'_>, platform: usize) -> Vec<Rejection> {
    let offer = &table.platforms[platform];
    let entry = offer.entry;
    let Some(capabilities) = &offer.capabilities else { return vec![offer.unusable()] };
    let mut rejections = Vec::new();
    if !meets(entry.style, needs.latency) {
        rejections.push(Rejection::Latency { needed: needs.latency, style: entry.style });
    }
    if let Some(workspace) = needs.production.filter(|_| entry.status != Status::Production) {
        rejections.push(Rejection::Development(workspace.clone()));
    }
    match &needs.store.origin {
        Origin::Container { ingest, .. } => {
            let container = table.bindings.container_of_store[needs.store_id];
            let kind = container.map(|container| table.model.containers[container as usize].kind());
            let mode = IngestMode::of(&ingest.kind);
            if let Some(container) = kind.filter(|&kind| !capabilities.reads(kind, mode)) {
                rejections.push(Rejection::Source { container, ingest: mode });
            }
            let catch_up = ingest.trigger.as_ref().map(|trigger| trigger.catch_up);
            rejections.extend(unserved(catch_up, capabilities));
        }
        Origin::Transformer { .. } => {
            let Some(workspace) = table.bindings.transformer_of_store[needs.store_id] else { return rejections };
            let transformer = table.model.workspaces[workspace as usize].transformer.as_ref();
            let code = transformer.map(|it| CodeKind::of(&it.code));
            let catch_up = transformer.and_then(|it| match &it.trigger {
                TransformTrigger::Cron(trigger) => Some(trigger.catch_up),
                TransformTrigger::OnChange => None,
            });
            rejections.extend(unserved(catch_up, capabilities));
            if let Some(code) = code.filter(|code| !capabilities.code.contains(code)) {
                rejections.push(Rejection::Code(code));
            }
            let container = table.bindings.container_of_workspace[workspace as usize];
            let kind = container.map(|container| table.model.containers[container as usize].kind());
            if let Some(kind) = kind.filter(|kind| !capabilities.sinks.contains(kind)) {
                rejections.push(Rejection::Sink(kind));
            }
        }
    }
    rejections.extend(broken_policies(table, &needs.policies, platform));
    rejections
}

fn unserved(catch_up: Option<CatchUp>, capabilities: &Capabilities) -> Option<Rejection> {
    catch_up.filter(|wanted| !capabilities.catch_up.contains(wanted)).map(Rejection::CatchUp)
}
