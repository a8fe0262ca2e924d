//! Plans: what a model would change, for whom, how, and because of which line.
//!
//! Takes a model, the kinds of platforms, the blueprint in force and the model's revision; gives a
//! content-addressed [`Plan`], or the findings that forbid one. A part of a model is planned on the same
//! part of the blueprint in force, and gives the same plan: see [`crate::reach`].

mod blast;
mod cause;
mod contract;
mod data;
mod load;
mod measured;
mod physical;
mod rollout;
mod summary;
mod what;
pub mod write;

pub use blast::Blast;
pub use contract::ContractLine;
pub use data::{DataEffect, DataLine};
pub use load::{FromTo, Load};
pub use measured::{Measured, Volume};
pub use physical::{PhysicalEffect, physical_effect};
pub use rollout::Rollout;
pub use summary::Summary;
pub use what::{Renamed, What};
pub use write::PlanFormat;

use crate::blueprint::{Advance, Blueprint, Choices, Generation, PlatformNature, Realizer, freeze};
use crate::broker::{Assignment, assign};
use crate::diff::{Delta, diff};
use crate::evolution;
use crate::graph::{IntentionGraph, weave};
use crate::lint::{codes, lint};
use crate::platform::{PlatformRegistry, lint_parts};
use crate::reach::{self, Focus, Reach};
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
    /// What an apply writes.
    pub advance: Advance,
    /// The way there, node by node.
    pub delta: Delta,
    /// The objects of the model that are different.
    pub what: What,
    /// What somebody should look at: about what changed, and what stands on it.
    pub warnings: Findings,
    /// What consumers would see, view by view and column by column.
    pub contracts: Vec<ContractLine>,
    /// What happens to each changed node's tables.
    pub physical: BTreeMap<NodeAddress, PhysicalEffect>,
    /// What the changes mean for the data itself; those that mean nothing are not in it.
    pub data: BTreeMap<NodeAddress, DataLine>,
    /// Whom all that concerns.
    pub blast: Blast,
    /// How much more, or less, is pulled and run.
    pub load: Load,
    /// When and by whose leave platforms take it up.
    pub rollouts: Vec<Rollout>,
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
    /// What would be in force.
    pub blueprint: Blueprint,
    /// The broker's choices and reasons.
    pub assignment: Assignment,
    /// The graphs of all platforms.
    pub graphs: Vec<IntentionGraph>,
}

/// What became of planning a part.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(clippy::large_enum_variant, reason = "it is made once, and taken apart at once")]
pub enum PartOutcome {
    /// The plan, as the whole model would have it.
    Planned {
        /// The plan.
        plan: Plan,
        /// How many nodes were woven anew and compared.
        nodes: usize,
    },
    /// The change reaches further: load this and try again.
    Wider(Reach),
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.delta.is_empty() && self.moved.is_empty()
    }

    /// The generation in force once it is applied; `None`: nothing ever was.
    pub fn leads_to(&self) -> Option<Generation> {
        if self.is_empty() { self.base } else { Some(self.advance.generation) }
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
    let in_force = parent.map(|parent| parent.choices.clone()).unwrap_or_default();
    let mut compiled = compile(model, registry, &in_force);
    compiled.findings.extend(parent.map(|parent| changed_natures(model, registry, parent)).unwrap_or_default());
    compiled.findings.extend(parent.map(|parent| changed_layouts(model, registry, parent)).unwrap_or_default());
    let Compiled { findings, assignment, graphs } = compiled.accepted()?;
    let blueprint = freeze(model, &assignment, &graphs, parent, revision);
    let draft = Draft { model, registry, parent, next: &blueprint, around: &blueprint, findings };
    let plan = draft.plan(&Focus::of(parent, &model.outlines))?;
    Ok(PlanOutcome { plan, blueprint, assignment, graphs })
}

/// Plans a part of the model on the same part of the blueprint in force. The plan is the same as that of
/// the whole.
///
/// `model` has the objects of the reach, `parent` the nodes of its owners and, of all objects that it
/// knows, the choices and what is said of them. Linear in these but for the outline of the whole.
///
/// # Errors
/// Something is wrong: the plan of the whole model says what, in the words that are right for it.
pub fn plan_part(
    model: &Model,
    registry: &PlatformRegistry,
    parent: &Blueprint,
    reach: &Reach,
    revision: String,
) -> Result<PartOutcome, Findings> {
    let Compiled { findings, assignment, graphs } = compile(model, registry, &parent.choices).accepted()?;
    let whole_part = freeze(model, &assignment, &graphs, Some(parent), revision);
    if let Some(wider) = reach::wider(reach, model, parent, &whole_part) {
        return Ok(PartOutcome::Wider(wider));
    }
    let (parent, next) = (reach::restrict(reach, parent), reach::restrict(reach, &whole_part));
    let draft = Draft { model, registry, parent: Some(&parent), next: &next, around: &whole_part, findings };
    let plan = draft.plan(&Focus::of_part(reach))?;
    Ok(PartOutcome::Planned { plan, nodes: next.nodes.len() })
}

/// Plans the way back to what a blueprint was, without its model: a plan has no causes then. `parent` and
/// `next` may leave out the nodes that are the same in both.
///
/// # Errors
/// What is in force would lose or falsify what it holds.
pub fn plan_back(parent: &Blueprint, next: &Blueprint) -> Result<Plan, Findings> {
    let (model, registry) = (Model::default(), PlatformRegistry::default());
    let findings = Findings::default();
    let draft = Draft { model: &model, registry: &registry, parent: Some(parent), next, around: next, findings };
    draft.plan(&Focus::All)
}

/// A model up to its graphs.
struct Compiled {
    findings: Findings,
    assignment: Assignment,
    graphs: Vec<IntentionGraph>,
}

fn compile(model: &Model, registry: &PlatformRegistry, in_force: &Choices) -> Compiled {
    let mut findings = lint(model, registry);
    let (assignment, rejected) = assign(model, registry, in_force);
    let (graphs, entangled) = weave(model, &assignment);
    findings.extend(rejected);
    findings.extend(entangled);
    Compiled { findings, assignment, graphs }
}

impl Compiled {
    fn accepted(mut self) -> Result<Self, Findings> {
        self.findings.sort();
        if self.findings.has_errors() { Err(self.findings) } else { Ok(self) }
    }
}

/// Two blueprints, and what a plan needs besides to tell of the way between them.
struct Draft<'a> {
    model: &'a Model,
    registry: &'a PlatformRegistry,
    parent: Option<&'a Blueprint>,
    next: &'a Blueprint,
    /// The next one with whatever else was woven: who waits for whom.
    around: &'a Blueprint,
    findings: Findings,
}

impl Draft<'_> {
    fn plan(self, focus: &Focus) -> Result<Plan, Findings> {
        let Self { model, registry, parent, next, around, mut findings } = self;
        let delta = diff(parent, next);
        findings.extend(evolution::check(model, &delta));
        findings.extend(lint_parts(model, registry, next, &delta));
        findings.sort();
        if findings.has_errors() {
            return Err(findings);
        }
        focus.keep(&mut findings);
        let causes = cause::causes(model, &delta, parent, around);
        let contracts = contract::effects(&delta, &causes);
        let moved = parent.map(|parent| moved(parent, next)).unwrap_or_default();
        let base = parent.map(|parent| parent.generation);
        let advance = Advance::between(parent, next);
        Ok(Plan {
            base,
            what: What::of(parent, next, &delta),
            physical: physical::effects(&delta),
            data: data::effects(&delta),
            blast: blast::of(model, &delta, &contracts, around),
            load: Load::of(&delta, parent, around),
            rollouts: rollout::of(model, &delta, &moved),
            hash: fingerprint(&advance),
            warnings: findings,
            contracts,
            causes,
            moved,
            advance,
            delta,
        })
    }
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
