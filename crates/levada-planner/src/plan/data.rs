//! What a change means for the data itself: whether anything is read or built again, and of which datasets.

use super::{PhysicalEffect, physical_effect};
use crate::blueprint::{IngestOrigin, IngestSpec, NodeSpec};
use crate::diff::{ColumnDifference, Delta, Difference, NodeChange};
use levada_model::address::{DatasetRef, NodeAddress};
use levada_model::name::DatasetName;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What is done with data because of a change; the later, the more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DataEffect {
    /// Nothing.
    None,
    /// It holds for what comes from now on.
    ForwardOnly,
    /// A consumer's copy is built from the store; no producer is asked.
    Backfill,
    /// A producer is read in full, once.
    Reingest,
}

impl DataEffect {
    /// The words in plans.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ForwardOnly => "forward only",
            Self::Backfill => "backfill",
            Self::Reingest => "re-ingest",
        }
    }
}

/// What one change means for the data.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct DataLine {
    /// What is done.
    pub effect: DataEffect,
    /// The datasets that are built or read again.
    pub datasets: BTreeSet<DatasetRef>,
}

/// The effects of all changes that have one.
pub(super) fn effects(delta: &Delta) -> BTreeMap<NodeAddress, DataLine> {
    let line = |(address, change): (&NodeAddress, &NodeChange)| Some((address.clone(), effect(change)?));
    delta.changes.iter().filter_map(line).filter(|(_, line)| line.effect != DataEffect::None).collect()
}

fn effect(change: &NodeChange) -> Option<DataLine> {
    let node = change.after()?;
    let all = |effect, datasets: BTreeSet<DatasetRef>| Some(DataLine { effect, datasets });
    match &node.spec {
        NodeSpec::Ingest(spec) => ingest(spec, change),
        NodeSpec::Export(spec) => match physical_effect(change) {
            PhysicalEffect::Create | PhysicalEffect::Beside => all(DataEffect::Backfill, [spec.source.clone()].into()),
            _ => None,
        },
        NodeSpec::Transform(_) => all(DataEffect::ForwardOnly, BTreeSet::new()).filter(|_| runs_again(change)),
        NodeSpec::Link(_) | NodeSpec::Trigger(_) => None,
    }
}

fn ingest(spec: &IngestSpec, change: &NodeChange) -> Option<DataLine> {
    let of = |dataset: &DatasetName| DatasetRef::new(spec.stream.datastore.clone(), dataset.clone());
    let every = || spec.datasets.iter().map(|it| of(&it.dataset)).collect();
    let NodeChange::Changed { before, what, .. } = change else {
        let effect = match spec.origin {
            IngestOrigin::Container { .. } => DataEffect::Reingest,
            IngestOrigin::Transformer { .. } => DataEffect::ForwardOnly,
        };
        return Some(DataLine { effect, datasets: every() });
    };
    let mut line = DataLine { effect: DataEffect::None, datasets: BTreeSet::new() };
    for difference in what {
        let (effect, datasets) = match difference {
            Difference::DatasetAdded { dataset } | Difference::Table { dataset, .. } => {
                (DataEffect::Reingest, [of(dataset)].into())
            }
            Difference::Column { dataset, column } if is_read_again(column) => {
                (DataEffect::Reingest, [of(dataset)].into())
            }
            Difference::Connection if lies_elsewhere(before.connection(), spec) => (DataEffect::Reingest, every()),
            Difference::Ingest | Difference::Origin | Difference::Stream => (DataEffect::Reingest, every()),
            Difference::Column { .. } | Difference::Watermark { .. } | Difference::Trigger => {
                (DataEffect::ForwardOnly, BTreeSet::new())
            }
            Difference::Style | Difference::Mode | Difference::Calendars => (DataEffect::ForwardOnly, BTreeSet::new()),
            _ => (DataEffect::None, BTreeSet::new()),
        };
        line.effect = line.effect.max(effect);
        line.datasets.extend(datasets);
    }
    // What a transformer makes it makes again from the store.
    if matches!(spec.origin, IngestOrigin::Transformer { .. }) && line.effect == DataEffect::Reingest {
        line = DataLine { effect: DataEffect::ForwardOnly, datasets: BTreeSet::new() };
    }
    Some(line)
}

/// Whether a column has values that only the producer knows.
fn is_read_again(column: &ColumnDifference) -> bool {
    matches!(
        column,
        ColumnDifference::Added { .. }
            | ColumnDifference::Retyped { .. }
            | ColumnDifference::Source { .. }
            | ColumnDifference::Key { .. }
    )
}

fn lies_elsewhere(before: Option<&levada_model::connection::Connection>, spec: &IngestSpec) -> bool {
    match (&spec.origin, before) {
        (IngestOrigin::Container { connection, .. }, Some(before)) => {
            (before.kind, &before.place) != (connection.kind, &connection.place)
        }
        _ => true,
    }
}

/// Whether a transformer does something else than before.
fn runs_again(change: &NodeChange) -> bool {
    match change {
        NodeChange::Changed { what, .. } => what.iter().any(|it| {
            !matches!(it, Difference::Priority { .. } | Difference::InputAdded { .. } | Difference::InputRemoved { .. })
        }),
        _ => true,
    }
}
