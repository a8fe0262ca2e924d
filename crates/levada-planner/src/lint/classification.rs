//! Classifications: production data has one, at the dataset or at its columns, not at both.

use super::{Context, codes};
use levada_model::model::{Dataset, Datastore, Status};
use levada_model::{Address, Finding, Findings};

pub(super) fn check(context: &Context<'_>, findings: &mut Findings) {
    for store in &context.model.datastores {
        for dataset in &store.datasets {
            findings.0.extend(dataset_finding(store, dataset));
        }
    }
}

fn dataset_finding(store: &Datastore, dataset: &Dataset) -> Option<Finding> {
    let classified = dataset.columns.iter().filter(|column| column.classification.is_some()).count();
    let all = dataset.columns.len();
    let is_production = store.status == Status::Production;
    let (code, message, hint) = match (&dataset.classification, classified) {
        (Some(_), 0) => return None,
        (Some(own), _) => (
            codes::CLASSIFIED_TWICE,
            format!("dataset {} is classified {} and so are {classified} of its columns", dataset.name, own.value),
            "keep the classification of the dataset, or those of all its columns",
        ),
        (None, 0) if is_production => (
            codes::UNCLASSIFIED,
            format!("dataset {} is production data without classification", dataset.name),
            "add `classification:` to the dataset or to all its columns",
        ),
        (None, 1..) if classified < all && is_production => (
            codes::PARTLY_CLASSIFIED,
            format!("only {classified} of the {all} columns of dataset {} are classified", dataset.name),
            "classify the other columns too",
        ),
        (None, _) => return None,
    };
    let span = dataset.classification.as_ref().map_or(dataset.span, |own| own.span);
    let about = Address::Dataset(store.name.clone(), dataset.name.clone());
    Some(Finding::error(code, message).at(span).about(about).hint(hint))
}
