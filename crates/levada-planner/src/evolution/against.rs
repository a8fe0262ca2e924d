//! One revision of a model against an earlier one: what changed of data that somebody consumed, what that
//! means, and who is hit.
//!
//! Takes both models, gives an [`Evolution`] per dataset and column. Linear in datasets and their consumers.

use super::{ContractEffect, broken_law, effect_of, hit};
use crate::binding::{Bindings, SinkUse};
use crate::diff::{ColumnDifference, of_schemas};
use crate::lint::codes;
use levada_model::address::DatasetRef;
use levada_model::model::{Dataset, Datastore, ObjectKind};
use levada_model::name::{ColumnName, GroupName, WorkspaceName};
use levada_model::{Code, Finding, Findings, Model, Span};
use serde::Serialize;

/// One change of data that somebody consumed before.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Evolution {
    /// The dataset.
    pub dataset: DatasetRef,
    /// The column; `None`: the dataset as a whole, or the order of its columns.
    pub column: Option<ColumnName>,
    /// What happened, in words.
    pub change: String,
    /// What it means for whoever does nothing.
    pub effect: ContractEffect,
    /// The law that it breaks; `None`: it breaks none.
    pub code: Option<Code>,
    /// Everybody who consumed it.
    pub consumers: Vec<Consumer>,
    /// The dataset in the later revision, or the datastore where it has gone.
    #[serde(skip)]
    pub span: Option<Span>,
    #[serde(skip)]
    hint: &'static str,
}

/// A group that consumed a dataset.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Consumer {
    /// Its workspace.
    pub workspace: WorkspaceName,
    /// The group.
    pub group: GroupName,
    /// Whose that is, as `ZONE/TEAM`.
    pub owner: String,
}

/// Compares a model with an earlier revision of it; places are those of the later one.
pub fn evolve(before: &Model, after: &Model) -> Vec<Evolution> {
    let bindings = Bindings::of(before);
    let mut evolutions = Vec::new();
    for (store, uses_of_store) in before.datastores.iter().zip(&bindings.uses_of_store) {
        let new_store = after.datastore(&store.name);
        for uses in uses_of_store.chunk_by(|a, b| a.dataset == b.dataset) {
            let dataset = &store.datasets[uses[0].dataset.dataset as usize];
            let consumers = uses.iter().map(|of| consumer(before, of)).collect();
            let change = Change { store, dataset, consumers, new_store };
            match new_store.and_then(|store| store.dataset(&dataset.name)) {
                // What could not be read may still be there.
                None if after.unread.may_have(ObjectKind::Datastore, store.name.as_str()) => {}
                None => evolutions.extend(change.removed()),
                Some(new) => change.columns(new, &mut evolutions),
            }
        }
    }
    evolutions
}

/// The findings about what breaks a law.
pub fn broken(evolutions: &[Evolution]) -> Findings {
    let mut findings = Findings(evolutions.iter().filter_map(Evolution::finding).collect());
    findings.sort();
    findings
}

impl Evolution {
    /// What is wrong with it; `None`: nothing.
    fn finding(&self) -> Option<Finding> {
        let consumers = self.consumers.iter().map(|it| format!("{}/{}", it.workspace, it.group)).collect();
        let message = format!("{}: {}; it hits {}", self.dataset, self.change, hit(consumers));
        let finding = Finding::error(self.code?, message).about(self.dataset.address()).hint(self.hint);
        Some(Finding { span: self.span, ..finding })
    }
}

fn consumer(model: &Model, of: &SinkUse) -> Consumer {
    let workspace = &model.workspaces[of.group.workspace as usize];
    let group = workspace.groups[of.group.group as usize].name.clone();
    let owner = format!("{}/{}", workspace.owner.zone, workspace.owner.team);
    Consumer { workspace: workspace.name.clone(), group, owner }
}

struct Change<'m> {
    store: &'m Datastore,
    dataset: &'m Dataset,
    consumers: Vec<Consumer>,
    new_store: Option<&'m Datastore>,
}

impl Change<'_> {
    fn removed(&self) -> Option<Evolution> {
        if self.dataset.deprecated.is_some() || self.store.deprecated.is_some() {
            return None;
        }
        Some(Evolution {
            dataset: self.name(),
            column: None,
            change: "removed while in use".to_owned(),
            effect: ContractEffect::Breaking,
            code: Some(codes::REMOVED_IN_USE),
            consumers: self.consumers.clone(),
            span: self.new_store.map(|store| store.span),
            hint: "bring it back with `deprecated: { reason: … }`, and remove it when nobody consumes it",
        })
    }

    fn name(&self) -> DatasetRef {
        DatasetRef::new(self.store.name.clone(), self.dataset.name.clone())
    }

    fn columns(&self, new: &Dataset, evolutions: &mut Vec<Evolution>) {
        for difference in of_schemas(&self.dataset.schema(), &new.schema()) {
            let (code, hint) = match broken_law(&difference) {
                Some(code) => (Some(code), "offer a new dataset beside it, and deprecate this one"),
                None if matches!(difference, ColumnDifference::Removed { .. }) => {
                    (Some(codes::COLUMN_DROPPED), "keep the column, or offer a new dataset without it")
                }
                None => (None, ""),
            };
            evolutions.push(Evolution {
                dataset: self.name(),
                column: difference.column().cloned(),
                change: difference.to_string(),
                // Whoever breaks a law breaks a consumer.
                effect: if code.is_some() { ContractEffect::Breaking } else { effect_of(&difference) },
                code,
                consumers: self.consumers.clone(),
                span: Some(new.span),
                hint,
            });
        }
    }
}
