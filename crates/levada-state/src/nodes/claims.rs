//! Who runs what: finding due rows, claiming them, keeping and losing leases.

use super::rows::{PRIORITIES, hot_columns, priority_value, read_rows};
use super::{Host, HotNode, Successor, make_due};
use crate::contents::Contents;
use crate::db::{DatabaseError, Failure, Row, Transaction, values};
use crate::{State, StateError};
use levada_model::NodeAddress;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

const CLAIM: &str = concat!(
    "UPDATE hot_nodes SET lease_owner = ?2, lease_until = ?3, claim_mark = ?4, epoch = epoch + 1, \
     claimed_due_at = due_at, claimed_generation = generation, claimed_retiring = is_retiring, \
     claimed_payload = payload, due_at = NULL, payload = NULL \
     WHERE address = ?1 AND due_at <= ?5 AND lease_owner IS NULL RETURNING ",
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
    " FROM hot_nodes WHERE host = ?6 AND priority = ?1 AND due_at IS NOT NULL AND due_at <= ?2 AND lease_owner IS NULL \
     AND (due_at, address) > (?4, ?5) ORDER BY due_at, address LIMIT ?3"
);

const DUE_AMONG: &str =
    concat!("SELECT ", hot_columns!(), " FROM hot_nodes WHERE address = ?1 AND due_at <= ?2 AND lease_owner IS NULL");

const POSTPONE: &str = "UPDATE hot_nodes SET due_at = ?2 WHERE address = ?1 AND due_at = ?3 AND generation = ?4 \
     AND lease_owner IS NULL";

const RENEW: &str = "UPDATE hot_nodes SET lease_until = ?3 WHERE address = ?1 AND lease_owner = ?2";

pub(crate) const EXPIRE: &str = "UPDATE hot_nodes SET lease_owner = NULL, lease_until = NULL, \
     payload = COALESCE(payload, claimed_payload), claimed_payload = NULL, due_at = CASE \
     WHEN due_at IS NULL OR due_at > claimed_due_at THEN claimed_due_at ELSE due_at END \
     WHERE lease_owner IS NOT NULL AND lease_until <= ?1 AND host = ?2";

/// A number that no other call on any machine uses, so that a repeated call knows its own traces.
pub(crate) fn mark() -> i64 {
    // Every `RandomState` of a process hashes with another key, drawn from the system's randomness.
    (RandomState::new().hash_one(std::process::id()) >> 1) as i64
}

impl State {
    /// Takes the lease of those candidates that are due and not leased, and bumps their
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

    /// Walks through a host's rows that are due at `now` and free, the highest priority first, then the
    /// longest due; `page_rows` at once.
    pub fn due(&self, host: &Host, now: i64, page_rows: usize) -> DueRows {
        self.due_since(host, i64::MIN, now, page_rows)
    }

    /// The same for rows that are due since `since`, µs, or later.
    pub fn due_since(&self, host: &Host, since: i64, now: i64, page_rows: usize) -> DueRows {
        let page_rows = i64::try_from(page_rows).unwrap_or(i64::MAX);
        let next = Some(After { priority: 0, due_at: since, address: String::new() });
        DueRows { state: self.clone(), host: host.clone(), since, now, page_rows, next }
    }

    /// Those of some nodes that are due at `now`, µs, and free, whatever host they have.
    pub async fn due_among(&self, nodes: &[NodeAddress], now: i64) -> Result<Vec<HotNode>, StateError> {
        let (nodes, contents) = (in_order(nodes), Arc::clone(&self.inner.contents));
        self.read("read what is due again", move |transaction| {
            let sets: Vec<_> = nodes.iter().map(|address| values![address, now]).collect();
            let rows = transaction.query_many(DUE_AMONG, &sets)?.into_iter().flatten().collect();
            Ok(read_rows(transaction, &contents, rows)?)
        })
        .await
    }

    /// Turns another number whenever this process has written something: rows may be due that were not.
    pub fn writes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.inner.writes.subscribe()
    }

    /// Moves rows that may not run yet to the moment, µs, at which they may; a row that was made due
    /// or changed since it was read stays as it is.
    pub async fn postpone(&self, rows: &[(HotNode, i64)]) -> Result<(), StateError> {
        let mut sets: Vec<_> = rows
            .iter()
            .map(|(row, until)| (row.node.address.to_string(), *until, row.due_at, row.generation.0))
            .collect();
        // One order for everybody, so that two transactions never wait for each other.
        sets.sort();
        self.write("postpone nodes", move |transaction| {
            let values = |(address, until, due_at, generation): &(String, i64, Option<i64>, i64)| {
                values![address, *until, *due_at, *generation]
            };
            let sets: Vec<_> = sets.iter().map(values).collect();
            Ok(transaction.execute_many(POSTPONE, &sets).map(drop)?)
        })
        .await
    }

    /// Moves the end of an owner's leases on these nodes to `lease_until`, µs, and gives how many of
    /// them it holds.
    pub async fn renew(&self, owner: &str, nodes: &[NodeAddress], lease_until: i64) -> Result<u64, StateError> {
        let (owner, nodes) = (owner.to_owned(), in_order(nodes));
        self.write("renew leases", move |transaction| {
            let sets: Vec<_> = nodes.iter().map(|address| values![address, &owner, lease_until]).collect();
            Ok(transaction.execute_many(RENEW, &sets)?.into_iter().sum())
        })
        .await
    }

    /// Ends the leases of a host's rows that were to end until `now`, µs; the rows are due again since
    /// when they were. Gives how many.
    pub async fn expire_leases(&self, host: &Host, now: i64) -> Result<u64, StateError> {
        let host = host.clone();
        self.write("expire leases", move |transaction| Ok(transaction.execute(EXPIRE, values![now, host.column()])?))
            .await
    }

    /// Makes nodes due; unknown and retiring ones are passed over.
    pub async fn make_due(&self, successors: &[Successor]) -> Result<(), StateError> {
        let successors = successors.to_vec();
        self.write("make nodes due", move |transaction| Ok(make_due(transaction, &successors)?)).await
    }
}

/// A walk through the rows that are due.
#[derive(Debug)]
pub struct DueRows {
    state: State,
    host: Host,
    since: i64,
    now: i64,
    page_rows: i64,
    /// `None`: that was all.
    next: Option<After>,
}

/// The row after which a page begins.
#[derive(Clone, Debug)]
struct After {
    /// Position in [`PRIORITIES`].
    priority: usize,
    due_at: i64,
    address: String,
}

impl DueRows {
    /// The next rows; `None`: that was all. A page may be empty, and a row that becomes due during
    /// the walk may be missed.
    pub async fn next_page(&mut self) -> Result<Option<Vec<HotNode>>, StateError> {
        let Some(after) = self.next.take() else { return Ok(None) };
        let (host, since, now, page_rows) = (self.host.clone(), self.since, self.now, self.page_rows);
        let contents = Arc::clone(&self.state.inner.contents);
        let read = self.state.read("read what is due", move |transaction| {
            let (rows, next) = due_page(transaction, &host, (since, now), page_rows, after.clone())?;
            Ok((read_rows(transaction, &contents, rows)?, next))
        });
        let (rows, next) = read.await?;
        self.next = next;
        Ok(Some(rows))
    }
}

/// Up to `page_rows` rows, and where the next page begins.
fn due_page(
    transaction: &mut dyn Transaction,
    host: &Host,
    (since, now): (i64, i64),
    page_rows: i64,
    mut after: After,
) -> Result<(Vec<Row>, Option<After>), DatabaseError> {
    let mut rows: Vec<Row> = Vec::new();
    while let Some(&priority) = PRIORITIES.get(after.priority) {
        let left = page_rows - rows.len() as i64;
        let values = values![priority_value(priority), now, left, after.due_at, &after.address, host.column()];
        let found = transaction.query(DUE, values)?;
        if let Some(last) = found.last().filter(|_| found.len() as i64 == left) {
            let (due_at, address) = (last.int(5)?, last.str(0)?.to_owned());
            rows.extend(found);
            return Ok((rows, Some(After { due_at, address, ..after })));
        }
        rows.extend(found);
        after = After { priority: after.priority + 1, due_at: since, address: String::new() };
    }
    Ok((rows, None))
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
            (DUE, "USING INDEX hot_nodes_due (host=? AND priority=? AND (due_at,address)>(?,?) AND due_at<?)"),
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
