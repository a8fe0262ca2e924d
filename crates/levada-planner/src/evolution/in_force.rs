//! A delta against the laws of evolution: what is in force never loses or falsifies what it holds.
//!
//! Takes the way from the blueprint in force to the next one, gives an error for each column that
//! may not change so. Datasets that nobody consumes are in no blueprint, and free. Linear in the
//! delta.

use super::{broken_law, hit};
use crate::blueprint::{IngestDataset, Node, NodeSpec};
use crate::diff::{ColumnDifference, Delta, NodeChange, of_schemas};
use levada_model::address::DatasetRef;
use levada_model::{Address, Finding, Findings, Model};
use std::collections::BTreeMap;

/// Checks every dataset that is ingested before and after.
pub(crate) fn check(model: &Model, delta: &Delta) -> Findings {
    let before = ingested(delta.changes.values().filter_map(NodeChange::before));
    let after = ingested(delta.changes.values().filter_map(NodeChange::after));
    let mut findings = Findings::default();
    for (of, old) in &before {
        let Some(new) = after.get(of) else { continue };
        for difference in of_schemas(&old.schema, &new.schema) {
            let (Some(code), Some(column)) = (broken_law(&difference), difference.column()) else { continue };
            let consumers = old.owed.iter().filter(|owed| matches!(owed.to, Address::Group(..)));
            let mut consumers: Vec<String> =
                consumers.map(|owed| owed.to.to_string().trim_start_matches("Group/").to_owned()).collect();
            consumers.dedup();
            let how = if matches!(difference, ColumnDifference::Added { .. }) { " and not nullable" } else { "" };
            let message = format!("{of} is in force: {difference}{how}; it hits {}", hit(consumers));
            let about = Address::Column(of.datastore.clone(), of.dataset.clone(), column.clone());
            let finding = Finding::error(code, message).about(about);
            let span = model.dataset(of).map(|dataset| dataset.span);
            let hint = "offer a new dataset beside it, and deprecate this one";
            findings.push(Finding { span, ..finding }.hint(hint));
        }
    }
    findings
}

/// What the nodes ingest, wherever they stand.
fn ingested<'d>(nodes: impl Iterator<Item = &'d Node>) -> BTreeMap<DatasetRef, &'d IngestDataset> {
    let ingests = nodes.filter_map(|node| match &node.spec {
        NodeSpec::Ingest(ingest) => Some(ingest),
        _ => None,
    });
    let datasets = ingests.flat_map(|ingest| {
        let of = |it: &IngestDataset| DatasetRef::new(ingest.stream.datastore.clone(), it.dataset.clone());
        ingest.datasets.iter().map(move |it| (of(it), it))
    });
    datasets.collect()
}
