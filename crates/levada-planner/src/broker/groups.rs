//! Which platforms deliver each group.

use super::candidates::{Pinned, exclusions, judge};
use super::style::{delivers, meets};
use super::{Delivering, GroupChoice, Rejection, Table, Terms, Verdict};
use crate::binding::{DatasetId, SinkUse, dataset_ref};
use crate::blueprint::Choices;
use crate::graph::demand::ExportRole;
use crate::lint::codes;
use crate::policy::{PolicyId, is_about};
use levada_model::model::{AssignmentEntry, AssignmentState, Group, ObjectKind, Status, Workspace};
use levada_model::name::{GroupName, PlatformName, WorkspaceName};
use levada_model::{Address, Finding, Findings};
use std::collections::{BTreeMap, HashMap};

type Pins<'m> = HashMap<(&'m WorkspaceName, &'m GroupName), Vec<&'m AssignmentEntry>>;

/// Chooses for every group.
pub(super) fn choose(
    table: &Table<'_>,
    terms: &[Vec<Terms>],
    in_force: &Choices,
    findings: &mut Findings,
) -> BTreeMap<(WorkspaceName, GroupName), GroupChoice> {
    let pins = pins(table);
    let mut choices = BTreeMap::new();
    for (workspace_id, workspace) in table.model.workspaces.iter().enumerate() {
        let uses = &table.bindings.uses_of_workspace[workspace_id];
        let mut by_group: Vec<Vec<SinkUse>> = vec![Vec::new(); workspace.groups.len()];
        for sink_use in uses {
            by_group[sink_use.group.group as usize].push(*sink_use);
        }
        for (group_id, group) in workspace.groups.iter().enumerate() {
            let pinned = pins.get(&(&workspace.name, &group.name)).map_or(&[][..], Vec::as_slice);
            let asked = Asked { workspace_id, workspace, group, terms: &terms[workspace_id][group_id] };
            let choice = choose_one(table, &asked, &by_group[group_id], pinned, in_force, findings);
            choices.insert((workspace.name.clone(), group.name.clone()), choice);
        }
    }
    choices
}

/// A group and what it asks for.
struct Asked<'a> {
    workspace_id: usize,
    workspace: &'a Workspace,
    group: &'a Group,
    terms: &'a Terms,
}

fn choose_one(
    table: &Table<'_>,
    asked: &Asked<'_>,
    uses: &[SinkUse],
    pins: &[&AssignmentEntry],
    in_force: &Choices,
    findings: &mut Findings,
) -> GroupChoice {
    let policies = policies_of(table, uses);
    let position = |name: &PlatformName| table.model.platform_id(name).map(|id| id as usize);
    let pinned: Pinned = pins.iter().filter_map(|pin| Some((position(&pin.platform.value)?, pin.state))).collect();
    let kept = in_force.groups.get(&asked.workspace.name).and_then(|groups| groups.get(&asked.group.name));
    let kept: Vec<usize> = kept.into_iter().flatten().filter_map(position).collect();
    let candidates = judge(table, &pinned, &kept, |platform| rejections(table, asked, &policies, platform));
    let state_of = |platform: &PlatformName| {
        pins.iter().find(|pin| pin.platform.value == *platform).map_or(AssignmentState::Active, |pin| pin.state)
    };
    let chosen = candidates.iter().filter(|candidate| candidate.is_chosen());
    let mut platforms: Vec<Delivering> = chosen
        .map(|candidate| Delivering { platform: candidate.platform.clone(), state: state_of(&candidate.platform) })
        .collect();
    platforms.sort_by_key(|by| ExportRole::of(by.state));
    let address = Address::Group(asked.workspace.name.clone(), asked.group.name.clone());
    for candidate in candidates.iter().filter(|candidate| candidate.is_chosen() && !candidate.rejections.is_empty()) {
        let pin = pins.iter().find(|pin| pin.platform.value == candidate.platform);
        let reasons: Vec<String> = candidate.rejections.iter().map(ToString::to_string).collect();
        let message = format!("group is pinned to platform {:?}: {}", candidate.platform.as_str(), reasons.join("; "));
        let finding = Finding::error(codes::PIN_REJECTED, message).about(address.clone());
        findings.push(finding.at(pin.map_or(asked.group.span, |pin| pin.platform.span)));
    }
    if platforms.is_empty() && !table.model.unread.may_have_some(ObjectKind::Platform) {
        let message = format!("no platform fits the group: {}", exclusions(&candidates));
        let hint = "relax `requires`, or add a platform that fits";
        findings.push(Finding::error(codes::NO_PLATFORM_FITS, message).at(asked.group.span).about(address).hint(hint));
    }
    debug_assert!(candidates.iter().all(|candidate| candidate.verdict != Verdict::Rejected || !candidate.is_chosen()));
    GroupChoice { terms: asked.terms.clone(), platforms, candidates }
}

fn rejections(
    table: &Table<'_>,
    asked: &Asked<'_>,
    policies: &BTreeMap<PolicyId, DatasetId>,
    platform: usize,
) -> Vec<Rejection> {
    let offer = &table.platforms[platform];
    let entry = offer.entry;
    let Some(capabilities) = &offer.capabilities else { return vec![offer.unusable()] };
    let mut rejections = Vec::new();
    if !meets(entry.style, asked.terms.latency) {
        rejections.push(Rejection::Latency { needed: asked.terms.latency, style: entry.style });
    }
    if !delivers(entry.style, asked.terms.milestoning) {
        rejections.push(Rejection::Milestoning { needed: asked.terms.milestoning, style: entry.style });
    }
    if asked.workspace.status == Status::Production && entry.status != Status::Production {
        rejections.push(Rejection::Development(asked.workspace.name.clone()));
    }
    if let Some(container) = table.bindings.container_of_workspace[asked.workspace_id] {
        let kind = table.model.containers[container as usize].kind();
        if !capabilities.sinks.contains(&kind) {
            rejections.push(Rejection::Sink(kind));
        }
    }
    rejections.extend(broken_policies(table, policies, platform));
    rejections
}

/// The policies on the way of all that is asked for, each with the first dataset it is about.
pub(super) fn policies_of(table: &Table<'_>, uses: &[SinkUse]) -> BTreeMap<PolicyId, DatasetId> {
    let mut policies = BTreeMap::new();
    for of in uses {
        let store = &table.model.datastores[of.dataset.store as usize];
        let dataset = &store.datasets[of.dataset.dataset as usize];
        for id in table.book.on_the_way(table.bindings, of.dataset.store, of.group.workspace) {
            if !policies.contains_key(&id) && is_about(table.book.policy(id), dataset) {
                policies.insert(id, of.dataset);
            }
        }
    }
    policies
}

/// Those of the policies that don't want data on a platform.
pub(super) fn broken_policies(
    table: &Table<'_>,
    policies: &BTreeMap<PolicyId, DatasetId>,
    platform: usize,
) -> impl Iterator<Item = Rejection> {
    let entry = table.platforms[platform].entry;
    policies.iter().filter_map(move |(&id, &dataset)| {
        let broken = table.book.check_platform(id, entry)?;
        Some(Rejection::Policy { dataset: dataset_ref(table.model, dataset), broken })
    })
}

/// The pins of each group.
fn pins<'m>(table: &Table<'m>) -> Pins<'m> {
    let mut pins: Pins<'m> = HashMap::new();
    for entry in &table.model.assignments {
        if table.model.platform(&entry.platform.value).is_some() {
            pins.entry((&entry.workspace, &entry.group)).or_default().push(entry);
        }
    }
    pins
}
