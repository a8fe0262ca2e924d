//! Who runs what: finding due rows, claiming them, keeping and losing leases.

use super::rows::{PRIORITIES, hot_columns, priority_value, read_rows};
use super::{HotNode, Successor, make_due};
use crate::contents::Contents;
use crate::db::{DatabaseError, Failure, Row, Transaction, values};
use crate::{State, StateError};
use levada_model::NodeAddress;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

const CLAIM: &str = concat!(
    "UPDATE hot_nodes SET lease_owner = ?2, lease_until = ?3, claim_mark = ?4, epoch = epoch + 1, \
     claimed_due_at = due_at, claimed_generation = generation, claimed_retiring = is_retiring, due_at = NULL \
     WHERE address = ?1 AND due_at <= ?5 AND lease_owner IS NULL AND is_paused = 0 RETURNING ",
    hot_columns!(),
    ", claimed_due_at"
);

const CLAIMED: &str = concat!(
    "SELECT ",
    hot_columns!(),
    ", claimed_due_at FROM hot_nodes WHERE address = ?1 AND lease_owner = ?2 AND claim_mark = ?3"
);

const DUE: &str = concat!(
    "SELECT ",
    hot_columns!(),
    " FROM hot_nodes WHERE priority = ?1 AND due_at IS NOT NULL AND due_at <= ?2 AND lease_owner IS NULL \
     AND is_paused = 0 ORDER BY due_at LIMIT ?3"
);

const NEXT_DUE: &str = "SELECT MIN(due_at) FROM hot_nodes WHERE priority = ?1 AND due_at IS NOT NULL \
     AND due_at > ?2 AND lease_owner IS NULL AND is_paused = 0";

const HELD: &str = "SELECT address FROM hot_nodes WHERE lease_owner = ?1";

pub(crate) const EXPIRE: &str = "UPDATE hot_nodes SET lease_owner = NULL, lease_until = NULL, due_at = CASE \
     WHEN due_at IS NULL OR due_at > claimed_due_at THEN claimed_due_at ELSE due_at END \
     WHERE lease_owner IS NOT NULL AND lease_until <= ?1";

/// A number that no other call on any machine uses, so that a repeated call knows its own traces.
pub(crate) fn mark() -> i64 {
    // Every `RandomState` of a process hashes with another key, drawn from the system's randomness.
    (RandomState::new().hash_one(std::process::id()) >> 1) as i64
}

impl State {
    /// Takes the lease of those candidates that are due, not leased and not paused, and bumps their
    /// epochs; gives them by address. Of several claimers of one row, exactly one gets it.
    ///
    /// `now` and `lease_until` are µs.
    pub async fn claim(
        &self,
        owner: &str,
        now: i64,
        lease_until: i64,
        candidates: &[NodeAddress],
    ) -> Result<Vec<HotNode>, StateError> {
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let call = Claim { owner: owner.to_owned(), now, lease_until, mark: mark(), candidates: in_order(candidates) };
        let contents = Arc::clone(&self.inner.contents);
        let mut claimed = self.write("claim nodes", move |transaction| call.run(transaction, &contents)).await?;
        claimed.sort_by(|left, right| left.node.address.cmp(&right.node.address));
        Ok(claimed)
    }

    /// The rows that are due at `now` and free, the highest priority first, then the longest due.
    pub async fn due(&self, now: i64, limit: usize) -> Result<Vec<HotNode>, StateError> {
        let contents = Arc::clone(&self.inner.contents);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read("read what is due", move |transaction| {
            let mut rows: Vec<Row> = Vec::new();
            for priority in PRIORITIES {
                let left = limit - rows.len() as i64;
                if left > 0 {
                    rows.extend(transaction.query(DUE, values![priority_value(priority), now, left])?);
                }
            }
            Ok(read_rows(transaction, &contents, rows)?)
        })
        .await
    }

    /// The first moment after `now`, µs, at which a free row is due; `None`: none ever.
    pub async fn next_due_after(&self, now: i64) -> Result<Option<i64>, StateError> {
        self.read("read what is due next", move |transaction| {
            let sets: Vec<_> = PRIORITIES.iter().map(|&priority| values![priority_value(priority), now]).collect();
            let answers = transaction.query_many(NEXT_DUE, &sets)?;
            let times: Vec<Option<i64>> =
                answers.iter().flatten().map(|row| row.int_or_null(0)).collect::<Result<_, _>>()?;
            Ok(times.into_iter().flatten().min())
        })
        .await
    }

    /// Moves the end of all leases of an owner to `lease_until`, µs, and gives how many it holds.
    pub async fn renew(&self, owner: &str, lease_until: i64) -> Result<u64, StateError> {
        let owner = owner.to_owned();
        self.write("renew leases", move |transaction| {
            let mut rows = transaction.query(HELD, values![&owner])?;
            let mut held = rows.iter_mut().map(|row| row.text(0)).collect::<Result<Vec<_>, _>>()?;
            // One order for everybody, so that two transactions never wait for each other.
            held.sort();
            let renew = "UPDATE hot_nodes SET lease_until = ?3 WHERE address = ?1 AND lease_owner = ?2";
            let sets: Vec<_> = held.iter().map(|address| values![address, &owner, lease_until]).collect();
            Ok(transaction.execute_many(renew, &sets)?.into_iter().sum())
        })
        .await
    }

    /// Ends the leases that were to end until `now`, µs; their rows are due again since when they
    /// were. Gives how many.
    pub async fn expire_leases(&self, now: i64) -> Result<u64, StateError> {
        self.write("expire leases", move |transaction| Ok(transaction.execute(EXPIRE, values![now])?)).await
    }

    /// Makes nodes due; unknown and retiring ones are passed over.
    pub async fn make_due(&self, successors: &[Successor]) -> Result<(), StateError> {
        let successors = successors.to_vec();
        self.write("make nodes due", move |transaction| Ok(make_due(transaction, &successors)?)).await
    }

    /// Keeps a node from being claimed, or lets it run again; a running job goes on. Gives whether
    /// the node is there.
    pub async fn set_paused(&self, node: &NodeAddress, is_paused: bool) -> Result<bool, StateError> {
        let key = node.to_string();
        self.write("pause or resume a node", move |transaction| {
            let sql = "UPDATE hot_nodes SET is_paused = ?2 WHERE address = ?1";
            Ok(transaction.execute(sql, values![&key, is_paused])? > 0)
        })
        .await
    }
}

struct Claim {
    owner: String,
    now: i64,
    lease_until: i64,
    mark: i64,
    candidates: Vec<String>,
}

impl Claim {
    fn run(&self, transaction: &mut dyn Transaction, contents: &Contents) -> Result<Vec<HotNode>, Failure> {
        let mut rows = match transaction.is_repeated() {
            true => self.taken_before(transaction)?,
            false => Vec::new(),
        };
        let take = |address: &String| values![address, &self.owner, self.lease_until, self.mark, self.now];
        let sets: Vec<_> = self.candidates.iter().map(take).collect();
        rows.extend(transaction.query_many(CLAIM, &sets)?.into_iter().flatten());
        let mut due_at = HashMap::with_capacity(rows.len());
        for row in &rows {
            due_at.insert(row.str(0)?.to_owned(), row.int_or_null(17)?);
        }
        let mut nodes = read_rows(transaction, contents, rows)?;
        for node in &mut nodes {
            node.due_at = due_at.remove(&node.node.address.to_string()).flatten();
        }
        Ok(nodes)
    }

    fn taken_before(&self, transaction: &mut dyn Transaction) -> Result<Vec<Row>, DatabaseError> {
        let sets: Vec<_> = self.candidates.iter().map(|address| values![address, &self.owner, self.mark]).collect();
        Ok(transaction.query_many(CLAIMED, &sets)?.into_iter().flatten().collect())
    }
}

/// Each once, and in one order for everybody, so that two claimers never wait for each other.
fn in_order(candidates: &[NodeAddress]) -> Vec<String> {
    let mut candidates: Vec<String> = candidates.iter().map(ToString::to_string).collect();
    candidates.sort();
    candidates.dedup();
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_due_or_leased_is_found_by_index() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("state.db");
        let state = State::open(&format!("sqlite:{}", path.display())).await.expect("the state opens");
        let connection = rusqlite::Connection::open(&path).expect("the state's file opens");
        for (sql, expected) in [
            (DUE, "USING INDEX hot_nodes_due (priority=? AND due_at>? AND due_at<?)"),
            (NEXT_DUE, "hot_nodes_due (priority=? AND due_at>?)"),
            (HELD, "hot_nodes_leased (lease_owner=?)"),
            (EXPIRE, "USING INDEX hot_nodes_leased"),
        ] {
            let explain = format!("EXPLAIN QUERY PLAN {sql}");
            let mut statement = connection.prepare(&explain).expect("the statement is right");
            let steps = statement.raw_query().mapped(|row| row.get::<_, String>(3));
            let steps: Vec<_> = steps.map(|step| step.expect("a text")).collect();
            assert!(steps.iter().any(|step| step.contains(expected)), "{steps:?} has no {expected}");
        }
        drop(state);
    }
}
