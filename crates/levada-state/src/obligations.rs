//! Whom milestones are owed. Who leaves stays owed until the retention runs out, counted from that
//! day; when that is, the caller computes.

use crate::db::{DatabaseError, Row, Transaction, Value, values};
use crate::{State, StateError};
use levada_model::Address;
use levada_model::address::DatasetRef;
use levada_model::period::Period;
use levada_planner::blueprint::Owed;
use levada_planner::{Node, NodeSpec};
use std::collections::BTreeSet;

/// A retention somebody is owed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Obligation {
    /// Of what.
    pub dataset: DatasetRef,
    /// The group that asked.
    pub to: Address,
    /// What asks it of the group.
    pub because: String,
    /// How long; `None`: until the hold is lifted.
    pub retention: Option<Period>,
    /// Since when, µs.
    pub since: i64,
    /// When it left the blueprint, µs; `None`: it is in force.
    pub left_at: Option<i64>,
}

const JOIN: &str = "INSERT INTO obligations (dataset, owed_to, because, retention, since) VALUES (?1, ?2, ?3, ?4, ?5) \
     ON CONFLICT (dataset, owed_to, because, retention) DO UPDATE SET left_at = NULL \
     WHERE obligations.left_at IS NOT NULL";

const LEAVE: &str = "UPDATE obligations SET left_at = ?5 \
     WHERE dataset = ?1 AND owed_to = ?2 AND because = ?3 AND retention = ?4 AND left_at IS NULL";

/// What one dataset owes.
type Owing = (DatasetRef, Owed);

/// What a node's datasets owe; nothing unless it is an ingest.
pub(crate) fn owing(node: &Node) -> BTreeSet<Owing> {
    let NodeSpec::Ingest(ingest) = &node.spec else {
        return BTreeSet::new();
    };
    let mut owing = BTreeSet::new();
    for dataset in &ingest.datasets {
        let name = DatasetRef::new(ingest.stream.datastore.clone(), dataset.dataset.clone());
        owing.extend(dataset.owed.iter().map(|owed| (name.clone(), owed.clone())));
    }
    owing
}

/// Records what is owed no longer and what newly is; what is in both goes on.
pub(crate) fn update(
    transaction: &mut dyn Transaction,
    before: &BTreeSet<Owing>,
    after: &BTreeSet<Owing>,
    now: i64,
) -> Result<(), DatabaseError> {
    let left: Vec<_> = before.difference(after).map(|owing| key(owing, now)).collect();
    transaction.execute_many(LEAVE, &left)?;
    let joined: Vec<_> = after.difference(before).map(|owing| key(owing, now)).collect();
    transaction.execute_many(JOIN, &joined).map(drop)
}

fn key((dataset, owed): &Owing, now: i64) -> Vec<Value> {
    let retention = owed.retention.map_or_else(String::new, |retention| retention.to_string());
    values![dataset.to_string(), owed.to.to_string(), &owed.because, retention, now]
}

impl State {
    /// What is and was owed, of one dataset or of all, by dataset.
    pub async fn obligations(&self, dataset: Option<&DatasetRef>) -> Result<Vec<Obligation>, StateError> {
        let only = dataset.map(ToString::to_string);
        let read_all = self.read("read the obligations", move |transaction| {
            let sql = "SELECT dataset, owed_to, because, retention, since, left_at FROM obligations \
                       WHERE CAST(?1 AS TEXT) IS NULL OR dataset = ?1";
            let rows = transaction.query(sql, values![only.as_deref()])?;
            Ok(rows.into_iter().map(read).collect::<Result<Vec<_>, _>>()?)
        });
        let mut obligations = read_all.await?;
        obligations.sort_by(|left, right| order(left).cmp(&order(right)));
        Ok(obligations)
    }
}

fn order(obligation: &Obligation) -> impl Ord {
    let Obligation { dataset, to, because, retention, .. } = obligation.clone();
    (dataset, to, because, retention)
}

fn read(mut row: Row) -> Result<Obligation, DatabaseError> {
    let retention = match row.str(3)? {
        "" => None,
        _ => Some(row.parsed(3, "retention")?),
    };
    Ok(Obligation {
        dataset: row.parsed(0, "dataset")?,
        to: row.parsed(1, "address")?,
        because: row.text(2)?,
        retention,
        since: row.int(4)?,
        left_at: row.int_or_null(5)?,
    })
}
