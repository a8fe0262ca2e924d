//! A thousand datastores: a small change stays small. Very many sinks: a large one stays linear.

use crate::models::Builder;
use crate::platforms::registry;
use levada_model::model::Style;
use levada_model::{Model, NodeKind, Spanned};
use levada_planner::plan;

const STORES: usize = 1_000;

/// Stores of ten datasets, each consumed by one workspace of its own, ten to a container.
fn wide(stores: usize) -> Model {
    let datasets: Vec<String> = (0..10).map(|number| format!("d{number}")).collect();
    let names: Vec<&str> = datasets.iter().map(String::as_str).collect();
    let mut builder = Builder::new().platform("P", Style::Batch).container("source");
    for store in 0..stores {
        if store % 10 == 0 {
            builder = builder.container(&format!("C{}", store / 10));
        }
        let sinks: Vec<String> = names.iter().map(|dataset| format!("S{store}.{dataset}")).collect();
        let sinks: Vec<&str> = sinks.iter().map(String::as_str).collect();
        builder = builder.store(&format!("S{store}"), "source", &names);
        builder = builder.workspace(&format!("W{store}"), &format!("C{}", store / 10)).group("G", None, &sinks[1..]);
    }
    builder.build()
}

#[test]
fn one_dataset_more_among_a_thousand_stores_changes_two_nodes() {
    let model = wide(STORES);
    let first = plan(&model, &registry(), None, "first".to_owned()).expect("no errors");
    let mut grown = model.clone();
    let position = grown.workspaces.iter().position(|it| it.name.as_str() == "W7").expect("there");
    let group = &mut grown.workspaces[position].groups[0];
    let sink = levada_model::model::Sink {
        dataset: Spanned::new("S7.d0".parse().expect("a dataset"), group.span),
        is_deprecated_allowed: false,
    };
    group.sinks.push(sink);
    let second = plan(&grown, &registry(), Some(&first.blueprint), "second".to_owned()).expect("no errors");
    let kinds: Vec<NodeKind> = second.plan.delta.changes.keys().map(|address| address.kind()).collect();
    assert_eq!(kinds, [NodeKind::Ingest, NodeKind::Export]);
}

/// How many datasets the one large workspace asks for.
const SINKS: usize = 20_000;

/// A workspace that asks for very many datasets, each with a label of this type.
fn deep(data_type: levada_model::DataType) -> Model {
    let datasets: Vec<String> = (0..SINKS).map(|number| format!("d{number}")).collect();
    let names: Vec<&str> = datasets.iter().map(String::as_str).collect();
    let sinks: Vec<String> = datasets.iter().map(|dataset| format!("S.{dataset}")).collect();
    let sinks: Vec<&str> = sinks.iter().map(String::as_str).collect();
    let builder = Builder::new().platform("P", Style::Batch).container("source").container("C");
    let builder = builder.store_with("S", "source", &names, |store| {
        for dataset in &mut store.datasets {
            dataset.columns[1].data_type = data_type.clone();
        }
    });
    builder.workspace("W", "C").group("G", None, &sinks).build()
}

#[test]
fn a_change_of_all_datasets_of_one_workspace_finds_all_causes() {
    let model = deep(levada_model::DataType::Varchar(40));
    let first = plan(&model, &registry(), None, "first".to_owned()).expect("no errors");
    assert_eq!(first.plan.causes.len(), SINKS + 1);
    let wider = deep(levada_model::DataType::Text);
    let second = plan(&wider, &registry(), Some(&first.blueprint), "second".to_owned()).expect("no errors");
    assert_eq!(second.plan.delta.changes.len(), SINKS + 1);
    assert_eq!(second.plan.causes.len(), SINKS + 1);
}
