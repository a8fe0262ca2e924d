//! What was measured of what is there, for estimates: it makes no plan another one.

use super::{DataEffect, Plan};
use levada_model::NodeKind;
use levada_model::address::DatasetRef;
use std::collections::{BTreeMap, BTreeSet};

/// What was measured so far.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Measured {
    /// How much the store has of datasets; one that was never pulled is not in it.
    pub datasets: BTreeMap<DatasetRef, Volume>,
    /// Rows a second of the last runs, by kind of node.
    pub rows_per_second: BTreeMap<NodeKind, f64>,
    /// What time it is, µs since 1970; `None`: nobody asked.
    pub now: Option<i64>,
}

/// How much there is of a dataset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Volume {
    /// Open versions.
    pub rows: i64,
    /// Of all versions.
    pub bytes: i64,
}

/// How much an effect moves, as far as anything was measured.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Estimate {
    pub datasets: usize,
    /// Those that nothing is known of.
    pub unknown: usize,
    pub rows: i64,
    pub bytes: i64,
    /// `None`: nothing of the kind has run yet.
    pub seconds: Option<f64>,
}

impl Measured {
    /// The datasets that a plan wants to know about.
    pub fn wanted(plan: &Plan) -> BTreeSet<DatasetRef> {
        plan.data.values().flat_map(|line| &line.datasets).cloned().collect()
    }

    /// What all changes with an effect move together: a dataset once for each copy that is built, and once
    /// where it is read.
    pub(super) fn estimate(&self, plan: &Plan, effect: DataEffect) -> Estimate {
        let mut estimate = Estimate::default();
        let lines = plan.data.values().filter(|line| line.effect == effect);
        for dataset in lines.flat_map(|line| &line.datasets) {
            estimate.datasets += 1;
            match self.datasets.get(dataset) {
                Some(volume) => {
                    estimate.rows += volume.rows;
                    estimate.bytes += volume.bytes;
                }
                None => estimate.unknown += 1,
            }
        }
        let kind = if effect == DataEffect::Reingest { NodeKind::Ingest } else { NodeKind::Export };
        let speed = self.rows_per_second.get(&kind).filter(|speed| **speed > 0.0);
        estimate.seconds = speed.map(|speed| estimate.rows as f64 / speed);
        estimate
    }
}
