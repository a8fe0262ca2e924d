//! The numbers of a plan's first screen.

use super::Plan;
use crate::diff::NodeChange;
use crate::evolution::ContractEffect;
use levada_model::NodeKind;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// How much a plan changes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Summary {
    /// Nodes that come.
    pub added: usize,
    /// Nodes that become others.
    pub changed: usize,
    /// Nodes that go.
    pub removed: usize,
    /// The same by kind of node.
    pub by_kind: BTreeMap<NodeKind, [usize; 3]>,
    /// The same by platform.
    pub by_platform: BTreeMap<String, [usize; 3]>,
    /// Consumers' lines that break something.
    pub breaking: usize,
    /// Consumers' lines that don't.
    pub compatible: usize,
    /// Workspaces that see a difference.
    pub workspaces: usize,
    /// Things to look at.
    pub warnings: usize,
}

impl Summary {
    pub(super) fn of(plan: &Plan) -> Self {
        let mut summary = Self { warnings: plan.warnings.0.len(), ..Self::default() };
        for (address, change) in &plan.delta.changes {
            let position = match change {
                NodeChange::Added(_) => 0,
                NodeChange::Changed { .. } => 1,
                NodeChange::Removed(_) => 2,
            };
            summary.by_kind.entry(address.kind()).or_default()[position] += 1;
            summary.by_platform.entry(address.platform().to_string()).or_default()[position] += 1;
        }
        let total = |position: usize| summary.by_kind.values().map(|counts| counts[position]).sum();
        (summary.added, summary.changed, summary.removed) = (total(0), total(1), total(2));
        let with = |effect| plan.contracts.iter().filter(|line| line.effect == effect).count();
        summary.breaking = with(ContractEffect::Breaking);
        summary.compatible = with(ContractEffect::Compatible);
        let seen = plan.contracts.iter().filter(|line| line.effect != ContractEffect::None);
        summary.workspaces = seen.map(|line| &line.workspace).collect::<BTreeSet<_>>().len();
        summary
    }
}
