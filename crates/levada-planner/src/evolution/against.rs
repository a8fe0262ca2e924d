//! One revision of a model against an earlier one: what breaks, and who is hit.
//!
//! Takes both models, gives findings about data that somebody consumed before. Linear in datasets
//! and their consumers.

use super::{broken_law, hit};
use crate::binding::Bindings;
use crate::diff::{ColumnDifference, of_schemas};
use crate::lint::codes;
use levada_model::model::{Dataset, Datastore};
use levada_model::{Address, Code, Finding, Findings, Model, Span};

/// Compares a model with an earlier revision of it; places are those of the later one.
pub fn evolve(before: &Model, after: &Model) -> Findings {
    let bindings = Bindings::of(before);
    let mut findings = Findings::default();
    for (store, uses_of_store) in before.datastores.iter().zip(&bindings.uses_of_store) {
        let new_store = after.datastore(&store.name);
        for uses in uses_of_store.chunk_by(|a, b| a.dataset == b.dataset) {
            let dataset = &store.datasets[uses[0].dataset.dataset as usize];
            let groups = uses.iter().map(|of| {
                let workspace = &before.workspaces[of.group.workspace as usize];
                format!("{}/{}", workspace.name, workspace.groups[of.group.group as usize].name)
            });
            let change = Change { store, dataset, hit: hit(groups.collect()), new_store };
            match new_store.and_then(|store| store.dataset(&dataset.name)) {
                None => findings.0.extend(change.removed()),
                Some(new) => change.columns(new, &mut findings),
            }
        }
    }
    findings.sort();
    findings
}

struct Change<'m> {
    store: &'m Datastore,
    dataset: &'m Dataset,
    hit: String,
    new_store: Option<&'m Datastore>,
}

impl Change<'_> {
    fn finding(&self, code: Code, what: &str, span: Option<Span>, hint: &str) -> Finding {
        let (store, dataset) = (&self.store.name, &self.dataset.name);
        let message = format!("{store}.{dataset}: {what}; it hits {}", self.hit);
        let about = Address::Dataset(store.clone(), dataset.clone());
        let finding = Finding::error(code, message).about(about).hint(hint);
        Finding { span, ..finding }
    }

    fn removed(&self) -> Option<Finding> {
        if self.dataset.deprecated.is_some() || self.store.deprecated.is_some() {
            return None;
        }
        let span = self.new_store.map(|store| store.span);
        let hint = "bring it back with `deprecated: { reason: … }`, and remove it when nobody consumes it";
        Some(self.finding(codes::REMOVED_IN_USE, "removed while in use", span, hint))
    }

    fn columns(&self, new: &Dataset, findings: &mut Findings) {
        for difference in of_schemas(&self.dataset.schema(), &new.schema()) {
            let (code, hint) = match broken_law(&difference) {
                Some(code) => (code, "offer a new dataset beside it, and deprecate this one"),
                None if matches!(difference, ColumnDifference::Removed { .. }) => {
                    (codes::COLUMN_DROPPED, "keep the column, or offer a new dataset without it")
                }
                None => continue,
            };
            findings.push(self.finding(code, &difference.to_string(), Some(new.span), hint));
        }
    }
}
