//! What was measured: how much there is of datasets, and how fast the last runs were. For estimates.

use crate::db::{DatabaseError, Row, values};
use crate::{State, StateError};
use levada_model::address::DatasetRef;
use levada_model::{NodeAddress, NodeKind};
use levada_planner::plan::Volume;
use std::collections::{BTreeMap, BTreeSet};

impl State {
    /// How much the store has of some datasets, by what their batches say: open versions, and bytes of all.
    /// One that was never pulled is not in it. Linear in the batches that are kept.
    pub async fn volumes(&self, wanted: BTreeSet<DatasetRef>) -> Result<BTreeMap<DatasetRef, Volume>, StateError> {
        self.read("measure datasets", move |transaction| {
            let sql = "SELECT CAST(SUM(inserts) - SUM(deletes) AS BIGINT), CAST(SUM(bytes) AS BIGINT) \
                       FROM manifests WHERE dataset = ?1 HAVING COUNT(*) > 0";
            let sets: Vec<_> = wanted.iter().map(|dataset| values![dataset.to_string()]).collect();
            let mut volumes = BTreeMap::new();
            for (dataset, rows) in wanted.iter().zip(transaction.query_many(sql, &sets)?) {
                if let Some(row) = rows.first() {
                    // Retention takes old inserts away, and leaves the deletes that ended them.
                    volumes.insert(dataset.clone(), Volume { rows: row.int(0)?.max(0), bytes: row.int(1)? });
                }
            }
            Ok(volumes)
        })
        .await
    }

    /// Rows a second of the last few thousand runs that moved some, by kind of node.
    pub async fn rows_per_second(&self) -> Result<BTreeMap<NodeKind, f64>, StateError> {
        self.read("measure runs", |transaction| {
            let sql = "SELECT node, rows_moved, ended_at - started_at FROM \
                       (SELECT node, rows_moved, started_at, ended_at FROM runs ORDER BY id DESC LIMIT 4000) AS last \
                       WHERE rows_moved > 0";
            let mut sums: BTreeMap<NodeKind, (f64, f64)> = BTreeMap::new();
            let read = |row: &Row| -> Result<_, DatabaseError> {
                Ok((row.parsed::<NodeAddress>(0, "node address")?, row.int(1)?, row.int(2)?))
            };
            for row in transaction.query(sql, values![])? {
                let (node, rows, micros) = read(&row)?;
                let sum = sums.entry(node.kind()).or_default();
                *sum = (sum.0 + rows as f64, sum.1 + micros.max(1) as f64);
            }
            Ok(sums.into_iter().map(|(kind, (rows, micros))| (kind, rows / micros * 1e6)).collect())
        })
        .await
    }
}
