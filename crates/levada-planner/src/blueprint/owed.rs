//! Whom the milestones of a dataset are owed, and why.

use super::Owed;
use crate::binding::{DatasetId, SinkUse, dataset_id};
use crate::broker::Assignment;
use crate::graph::demand::Demand;
use crate::policy::{PolicyBook, is_about};
use levada_model::model::Zone;
use levada_model::name::RuleName;
use levada_model::period::Period;
use levada_model::{Address, Model};
use std::collections::{BTreeMap, HashMap};

/// Everything that asks for a retention, found once for all datasets.
pub(super) struct Obligations<'m> {
    model: &'m Model,
    assignment: &'m Assignment,
    book: PolicyBook<'m>,
    regulators: HashMap<(&'m str, &'m RuleName), Period>,
    holds: BTreeMap<DatasetId, Vec<(&'m Zone, &'m RuleName)>>,
}

impl<'m> Obligations<'m> {
    pub fn of(model: &'m Model, assignment: &'m Assignment) -> Self {
        let mut regulators = HashMap::new();
        let mut holds: BTreeMap<DatasetId, Vec<_>> = BTreeMap::new();
        for zone in &model.zones {
            for regulator in &zone.regulators {
                regulators.insert((zone.name.as_str(), &regulator.name), regulator.retention);
            }
            for hold in &zone.holds {
                for dataset in hold.datasets.iter().filter_map(|held| dataset_id(model, &held.value)) {
                    holds.entry(dataset).or_default().push((zone, &hold.name));
                }
            }
        }
        Self { model, assignment, book: PolicyBook::of(model), regulators, holds }
    }

    /// What is owed for one dataset, sorted. Linear in its consumers.
    pub fn owed(&self, demand: &Demand, id: DatasetId) -> Vec<Owed> {
        let mut owed = self.to_zone(demand, id);
        let uses = &demand.bindings.uses_of_store[id.store as usize];
        let from = uses.partition_point(|of| of.dataset < id);
        for of in uses[from..].iter().take_while(|of| of.dataset == id) {
            self.to_group(demand, *of, &mut owed);
        }
        owed.sort();
        owed.dedup();
        owed
    }

    fn to_zone(&self, demand: &Demand, id: DatasetId) -> Vec<Owed> {
        let dataset = &self.model.datastores[id.store as usize].datasets[id.dataset as usize];
        let produced = self.book.produced(demand.bindings.zone_of_store[id.store as usize]);
        let policies = produced.iter().filter_map(|&policy_id| {
            let policy = self.book.policy(policy_id);
            let retention = policy.retention_at_least.filter(|_| is_about(policy, dataset))?;
            let because = format!("policy {}", policy.name);
            Some(Owed { to: Address::Zone(self.book.zone(policy_id).clone()), because, retention: Some(retention) })
        });
        let held = self.holds.get(&id).into_iter().flatten();
        let holds = held.map(|(zone, hold)| Owed {
            to: Address::Zone(zone.name.clone()),
            because: format!("hold {hold}"),
            retention: None,
        });
        policies.chain(holds).collect()
    }

    fn to_group(&self, demand: &Demand, of: SinkUse, owed: &mut Vec<Owed>) {
        let workspace = &self.model.workspaces[of.group.workspace as usize];
        let group = &workspace.groups[of.group.group as usize];
        let Some(choice) = self.assignment.groups.get(&(workspace.name.clone(), group.name.clone())) else { return };
        let to = Address::Group(workspace.name.clone(), group.name.clone());
        let retention = Some(choice.terms.retention);
        owed.push(Owed { to: to.clone(), because: "requires".to_owned(), retention });
        if let Some(regulator) = &choice.terms.regulator
            && let Some(&retention) = self.regulators.get(&(workspace.owner.zone.as_str(), regulator))
        {
            let because = format!("regulator {regulator}");
            owed.push(Owed { to: to.clone(), because, retention: Some(retention) });
        }
        let dataset = &self.model.datastores[of.dataset.store as usize].datasets[of.dataset.dataset as usize];
        for &id in self.book.consumed(demand.bindings.zone_of_workspace[of.group.workspace as usize]) {
            let policy = self.book.policy(id);
            if let Some(retention) = policy.retention_at_least.filter(|_| is_about(policy, dataset)) {
                let because = format!("policy {}", policy.name);
                owed.push(Owed { to: to.clone(), because, retention: Some(retention) });
            }
        }
    }
}
