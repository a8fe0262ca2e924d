//! The broker: which platforms deliver each group, and which one ingests each datastore.
//!
//! Takes the model, what the kinds of platforms can do and the choices in force; gives an
//! [`Assignment`] in which every choice and every rejection has its reason. Requirements and
//! policies decide; then pin, choice in force, cost, name. Linear in sinks times platforms.

mod candidates;
mod groups;
mod links;
mod primaries;
mod reason;
mod style;
mod terms;

pub use candidates::{Candidate, Verdict};
pub use reason::{ChoiceReason, PassedOver, Rejection};
pub use style::{cost_milli, delivers, meets};
pub(crate) use terms::resolve;
pub use terms::{Terms, TermsOrigin};

use crate::binding::Bindings;
use crate::blueprint::{Choices, PlatformNature};
use crate::platform::{Capabilities, PlatformRegistry};
use crate::policy::PolicyBook;
use levada_model::fingerprint::fingerprint;
use levada_model::model::{AssignmentState, Latency, PlatformEntry};
use levada_model::name::{DatastoreName, GroupName, PlatformName, WorkspaceName};
use levada_model::{Findings, Model};
use serde::Serialize;
use std::collections::BTreeMap;

/// All choices of the broker, with their reasons.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Assignment {
    /// Per group: who delivers it.
    pub groups: BTreeMap<(WorkspaceName, GroupName), GroupChoice>,
    /// Per datastore that somebody consumes: who ingests it.
    pub primaries: BTreeMap<DatastoreName, PrimaryChoice>,
    /// Per platform whose kind this build serves: what it is.
    pub platforms: BTreeMap<PlatformName, PlatformNature>,
}

/// Who delivers a group, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct GroupChoice {
    /// What the group asks for, stated or derived.
    pub terms: Terms,
    /// Who delivers, the one that shows the views first; several in a parallel run; empty where
    /// nothing fits.
    pub platforms: Vec<Delivering>,
    /// Every platform of the ecosystem with what the broker thinks of it, by name.
    pub candidates: Vec<Candidate>,
}

/// One platform that delivers a group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Delivering {
    /// The platform.
    pub platform: PlatformName,
    /// How far operations are with it; `active` unless they say otherwise.
    pub state: AssignmentState,
}

/// Who ingests a datastore, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PrimaryChoice {
    /// The strictest latency of all its consumers, on any platform.
    pub latency: Latency,
    /// The primary; `None` where nothing fits.
    pub platform: Option<PlatformName>,
    /// Every platform of the ecosystem with what the broker thinks of it, by name.
    pub candidates: Vec<Candidate>,
}

impl Assignment {
    /// The choices alone, as they stay in force.
    pub fn choices(&self) -> Choices {
        let mut choices = Choices { platforms: self.platforms.clone(), ..Choices::default() };
        for ((workspace, group), choice) in &self.groups {
            let platforms: Vec<_> = choice.platforms.iter().map(|chosen| chosen.platform.clone()).collect();
            if !platforms.is_empty() {
                choices.groups.entry(workspace.clone()).or_default().insert(group.clone(), platforms);
            }
        }
        let chosen =
            |(store, choice): (&DatastoreName, &PrimaryChoice)| Some((store.clone(), choice.platform.clone()?));
        choices.primaries = self.primaries.iter().filter_map(chosen).collect();
        choices
    }
}

/// Chooses platforms for every group and a primary for every datastore in use.
pub fn assign(model: &Model, registry: &PlatformRegistry, in_force: &Choices) -> (Assignment, Findings) {
    let bindings = Bindings::of(model);
    let terms = resolve(model, &bindings);
    let table =
        Table { model, bindings: &bindings, platforms: platforms(model, registry), book: PolicyBook::of(model) };
    let mut findings = Findings::default();
    let groups = groups::choose(&table, &terms, in_force, &mut findings);
    let primaries = primaries::choose(&table, &terms, in_force, &mut findings);
    let assignment = Assignment { groups, primaries, platforms: natures(model, registry) };
    links::check(&table, &assignment, &mut findings);
    findings.sort();
    (assignment, findings)
}

/// What the broker has before it.
struct Table<'m> {
    model: &'m Model,
    bindings: &'m Bindings,
    /// In the order of the model.
    platforms: Vec<Offer<'m>>,
    book: PolicyBook<'m>,
}

/// A platform and what it can do.
struct Offer<'m> {
    entry: &'m PlatformEntry,
    /// `None`: this build has no renderer for its kind, or nobody knows what it can do.
    capabilities: Option<Capabilities>,
    is_served: bool,
}

impl Offer<'_> {
    /// Why a platform without capabilities can't be used.
    fn unusable(&self) -> Rejection {
        match self.is_served {
            true => Rejection::Undescribed,
            false => Rejection::Kind(self.entry.kind.value.clone()),
        }
    }
}

fn natures(model: &Model, registry: &PlatformRegistry) -> BTreeMap<PlatformName, PlatformNature> {
    let nature = |entry: &PlatformEntry| {
        let kind = registry.platform(&entry.kind.value)?;
        let (realizer, layout) =
            (kind.realizer(entry), kind.layout(entry, model.infrastructure_of(entry)).map(|it| it.is));
        let described = entry.described.as_ref().map(fingerprint);
        Some((entry.name.clone(), PlatformNature { kind: entry.kind.value.clone(), realizer, described, layout }))
    };
    model.ecosystem.platforms.iter().filter_map(nature).collect()
}

fn platforms<'m>(model: &'m Model, registry: &PlatformRegistry) -> Vec<Offer<'m>> {
    let offer = |entry: &'m PlatformEntry| {
        let is_served = registry.platform(&entry.kind.value).is_some();
        Offer { entry, capabilities: registry.capabilities(entry), is_served }
    };
    model.ecosystem.platforms.iter().map(offer).collect()
}
