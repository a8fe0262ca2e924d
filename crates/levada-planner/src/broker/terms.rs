//! What each group really asks for: stated, defaulted, or derived from whoever consumes the output
//! of its workspace's transformer.

use crate::binding::Bindings;
use levada_model::Model;
use levada_model::model::{Group, Latency, Milestoning, Workspace};
use levada_model::name::RuleName;
use levada_model::period::{Period, PeriodUnit};
use serde::Serialize;

/// The terms of a group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Terms {
    /// How old data may be.
    pub latency: Latency,
    /// Which readings it gets.
    pub milestoning: Milestoning,
    /// How long it is owed what it saw.
    pub retention: Period,
    /// Who asks for more by law.
    pub regulator: Option<RuleName>,
    /// Where they come from.
    pub origin: TermsOrigin,
}

/// Where terms come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TermsOrigin {
    /// The group says `requires`.
    Stated,
    /// It doesn't, and these are the defaults.
    Default,
    /// It doesn't, and these are the strictest of whoever consumes the transformer's output.
    Consumers,
}

/// The strictest of several demands.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Strictest {
    latency: Latency,
    milestoning: Milestoning,
    retention: Period,
}

impl Strictest {
    /// What a group of a workspace demands, its regulator's retention included.
    fn of(model: &Model, workspace: &Workspace, terms: &Terms) -> Self {
        let zone = terms.regulator.as_ref().and_then(|_| model.zone(&workspace.owner.zone));
        let regulators = zone.into_iter().flat_map(|zone| &zone.regulators);
        let by_law = regulators.filter(|it| Some(&it.name) == terms.regulator.as_ref()).map(|it| it.retention);
        let retention = by_law.chain([terms.retention]).max().unwrap_or(terms.retention);
        Self { latency: terms.latency, milestoning: terms.milestoning, retention }
    }

    fn join(self, other: Self) -> Self {
        let milestoning = match self.milestoning == other.milestoning {
            true => self.milestoning,
            false => Milestoning::Both,
        };
        Self { latency: self.latency.min(other.latency), milestoning, retention: self.retention.max(other.retention) }
    }

    fn terms(self) -> Terms {
        let Self { latency, milestoning, retention } = self;
        Terms { latency, milestoning, retention, regulator: None, origin: TermsOrigin::Consumers }
    }
}

/// The terms of every group, by positions of workspace and group.
///
/// Derived terms flow against the data until nothing changes; joining only ever makes them
/// stricter, and there are few grades, so this is linear in sinks for any ecosystem without long
/// chains of transformers, and ends for all, cycles included.
pub(crate) fn resolve(model: &Model, bindings: &Bindings) -> Vec<Vec<Terms>> {
    let mut terms: Vec<Vec<Terms>> =
        model.workspaces.iter().map(|workspace| workspace.groups.iter().map(stated_or_default).collect()).collect();
    let mut derived: Vec<Option<Strictest>> = vec![None; model.workspaces.len()];
    let mut open: Vec<u32> = (0..model.workspaces.len() as u32).collect();
    while let Some(consumer) = open.pop() {
        for sink_use in &bindings.uses_of_workspace[consumer as usize] {
            let Some(producer) = bindings.transformer_of_store[sink_use.dataset.store as usize] else { continue };
            let group = &model.workspaces[consumer as usize].groups[sink_use.group.group as usize];
            let demand = match (group.requires.is_some(), is_derived(model, consumer), derived[consumer as usize]) {
                (false, true, Some(strictest)) => strictest,
                (false, true, None) if bindings.is_consumed_by_others(consumer) => continue,
                _ => {
                    let terms = &terms[consumer as usize][sink_use.group.group as usize];
                    Strictest::of(model, &model.workspaces[consumer as usize], terms)
                }
            };
            if producer == consumer {
                continue;
            }
            let known = derived[producer as usize];
            let joined = known.map_or(demand, |known| known.join(demand));
            if known != Some(joined) {
                derived[producer as usize] = Some(joined);
                open.push(producer);
            }
        }
    }
    for (workspace, strictest) in derived.iter().enumerate() {
        let Some(strictest) = strictest else { continue };
        for (group, terms) in model.workspaces[workspace].groups.iter().zip(&mut terms[workspace]) {
            if group.requires.is_none() {
                *terms = strictest.terms();
            }
        }
    }
    terms
}

fn is_derived(model: &Model, workspace: u32) -> bool {
    model.workspaces[workspace as usize].transformer.is_some()
}

impl Bindings {
    /// Whether another workspace asks for the output of this workspace's transformer.
    fn is_consumed_by_others(&self, workspace: u32) -> bool {
        self.output_of_workspace[workspace as usize]
            .is_some_and(|store| self.uses_of_store[store as usize].iter().any(|of| of.group.workspace != workspace))
    }
}

fn stated_or_default(group: &Group) -> Terms {
    match &group.requires {
        Some(stated) => Terms {
            latency: stated.latency,
            milestoning: stated.milestoning,
            retention: stated.retention,
            regulator: stated.regulator.as_ref().map(|regulator| regulator.value.clone()),
            origin: TermsOrigin::Stated,
        },
        None => Terms {
            latency: Latency::Hours,
            milestoning: Milestoning::Live,
            retention: Period { count: 7, unit: PeriodUnit::Days },
            regulator: None,
            origin: TermsOrigin::Default,
        },
    }
}
