//! Plans: what a model would change, for whom, how, and because of which line.
//!
//! Takes a model, the kinds of platforms, the blueprint in force and the model's revision; gives a
//! content-addressed [`Plan`], or the findings that forbid one.

mod cause;
mod contract;
mod physical;
mod summary;
pub mod write;

pub use contract::ContractLine;
pub use physical::{PhysicalEffect, physical_effect};
pub use summary::Summary;
pub use write::PlanFormat;

use crate::blueprint::{Blueprint, Generation, PlatformNature, Realizer, freeze};
use crate::broker::{Assignment, assign};
use crate::diff::{Delta, diff};
use crate::evolution;
use crate::graph::{IntentionGraph, weave};
use crate::lint::{codes, lint};
use crate::platform::{PlatformRegistry, lint_parts};
use levada_model::address::NodeAddress;
use levada_model::fingerprint::{Fingerprint, fingerprint};
use levada_model::name::PlatformName;
use levada_model::{Address, Finding, Findings, Model, Span};
use std::collections::BTreeMap;

/// What a model would change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The generation it is made on; `None`: the first.
    pub base: Option<Generation>,
    /// What would be in force.
    pub blueprint: Blueprint,
    /// The way there.
    pub delta: Delta,
    /// What somebody should look at.
    pub warnings: Findings,
    /// What consumers would see, view by view and column by column.
    pub contracts: Vec<ContractLine>,
    /// What happens to each changed node's tables.
    pub physical: BTreeMap<NodeAddress, PhysicalEffect>,
    /// The place in the model that makes each node change.
    pub causes: BTreeMap<NodeAddress, Span>,
    /// Platforms that share their nodes out in another way than in force.
    pub moved: Vec<PlatformName>,
    /// The content hash; the same model on the same base has the same.
    pub hash: Fingerprint,
}

/// A plan with what led to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlanOutcome {
    /// The plan.
    pub plan: Plan,
    /// The broker's choices and reasons.
    pub assignment: Assignment,
    /// The graphs of all platforms.
    pub graphs: Vec<IntentionGraph>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.delta.is_empty() && self.moved.is_empty()
    }

    /// The generation in force once it is applied; `None`: nothing ever was.
    pub fn leads_to(&self) -> Option<Generation> {
        if self.is_empty() { self.base } else { Some(self.blueprint.generation) }
    }

    /// The numbers of the first screen.
    pub fn summary(&self) -> Summary {
        Summary::of(self)
    }
}

/// Plans the way from the blueprint in force, if any, to what the model says.
///
/// # Errors
/// All findings, warnings included, where at least one of them is an error.
pub fn plan(
    model: &Model,
    registry: &PlatformRegistry,
    parent: Option<&Blueprint>,
    revision: String,
) -> Result<PlanOutcome, Findings> {
    let mut findings = lint(model, registry);
    let in_force = parent.map(|parent| parent.choices.clone()).unwrap_or_default();
    let (assignment, rejected) = assign(model, registry, &in_force);
    let (graphs, entangled) = weave(model, &assignment);
    findings.extend(rejected);
    findings.extend(entangled);
    findings.extend(parent.map(|parent| changed_natures(model, registry, parent)).unwrap_or_default());
    findings.extend(parent.map(|parent| changed_layouts(model, registry, parent)).unwrap_or_default());
    findings.sort();
    if findings.has_errors() {
        return Err(findings);
    }
    let blueprint = freeze(model, &assignment, &graphs, parent, revision);
    let delta = diff(parent, &blueprint);
    let mut broken = evolution::check(model, &delta);
    broken.extend(lint_parts(model, registry, &blueprint, &delta));
    if broken.has_errors() {
        findings.extend(broken);
        findings.sort();
        return Err(findings);
    }
    findings.extend(broken);
    findings.sort();
    let physical = physical::effects(&delta);
    let causes = cause::causes(model, &delta, parent, &blueprint);
    let contracts = contract::effects(&delta, &causes);
    let moved = parent.map(|parent| moved(parent, &blueprint)).unwrap_or_default();
    let hash = match moved.is_empty() {
        true => fingerprint(&(delta.from, delta.to, &blueprint.revision, &delta)),
        false => fingerprint(&(delta.from, delta.to, &blueprint.revision, &delta, &blueprint.choices.platforms)),
    };
    let base = parent.map(|parent| parent.generation);
    let plan = Plan { base, blueprint, delta, warnings: findings, contracts, physical, causes, moved, hash };
    Ok(PlanOutcome { plan, assignment, graphs })
}

/// Platforms whose layout in force is another.
fn moved(parent: &Blueprint, next: &Blueprint) -> Vec<PlatformName> {
    let before = &parent.choices.platforms;
    let is_another = |(name, nature): &(&PlatformName, &PlatformNature)| {
        before.get(*name).is_some_and(|it| it.layout != nature.layout)
    };
    next.choices.platforms.iter().filter(is_another).map(|(name, _)| name.clone()).collect()
}

/// Platforms that share their nodes out in another way than in force, without saying so.
fn changed_layouts(model: &Model, registry: &PlatformRegistry, parent: &Blueprint) -> Findings {
    let changed = model.ecosystem.platforms.iter().filter_map(|entry| {
        let kind = registry.platform(&entry.kind.value)?;
        let layout = kind.layout(entry, model.infrastructure_of(entry))?;
        let before = parent.choices.platforms.get(&entry.name)?.layout.clone()?;
        if before == layout.is || Some(&before) == layout.was.as_ref() {
            return None;
        }
        let message = format!("platform {} has {before} in force, and now {}", entry.name, layout.is);
        let finding = Finding::error(codes::LAYOUT_IN_FORCE, message).at(entry.span);
        let finding = finding.about(Address::Platform(entry.name.clone()));
        Some(finding.hint(
            "what is there would be made anew elsewhere: docs/aws-batch.md and docs/kubernetes.md say how it moves",
        ))
    });
    Findings(changed.collect())
}

/// Platforms that are of another kind in force, or whose nodes somebody else makes real. What one
/// has made real no other can take over: each has a store of its own.
fn changed_natures(model: &Model, registry: &PlatformRegistry, parent: &Blueprint) -> Findings {
    let changed = model.ecosystem.platforms.iter().filter_map(|entry| {
        let before = parent.choices.platforms.get(&entry.name)?;
        let is_in_use = || parent.nodes.keys().any(|node| *node.platform() == entry.name);
        let realizer = registry.platform(&entry.kind.value).map(|kind| kind.realizer(entry));
        let (code, span, is) = if before.kind != entry.kind.value {
            (codes::KIND_IN_FORCE, entry.kind.span, format!("of kind {}", before.kind))
        } else if realizer.is_some_and(|realizer| realizer != before.realizer) {
            let is = if before.realizer == Realizer::Pods { "run by pods" } else { "run by no pods" };
            (codes::HOST_IN_FORCE, entry.span, is.to_owned())
        } else {
            return None;
        };
        if !is_in_use() {
            return None;
        }
        let message = format!("platform {} is {is} in force, and has nodes", entry.name);
        let finding = Finding::error(code, message).at(span).about(Address::Platform(entry.name.clone()));
        Some(finding.hint("keep it, and add a platform of the new kind under another name beside it"))
    });
    Findings(changed.collect())
}
