//! How a job's end is recorded: the row, its successors and its history, under its fence.

use super::{Completion, Fence, Outcome, Successor};
use crate::db::{DatabaseError, Failure, Row, Transaction, Value, values};
use crate::deliveries::forget_delivery;
use crate::runs::{has_run, record_run};
use crate::{State, StateError};

/// What every outcome does and tells.
macro_rules! end_of_lease {
    ($assignments:literal) => {
        concat!(
            "UPDATE hot_nodes SET lease_owner = NULL, lease_until = NULL, claimed_payload = NULL, \
             memory = COALESCE(?3, memory), ",
            $assignments,
            " WHERE address = ?1 AND epoch = ?2 AND lease_owner IS NOT NULL \
             RETURNING is_output, is_retiring, claimed_retiring, generation, claimed_generation, epoch"
        )
    };
}

const DONE: &str = end_of_lease!(
    "attempt = 0, is_failed = 0, error = NULL, succeeded_at = ?5, \
     is_changed = CASE WHEN generation > claimed_generation THEN is_changed ELSE 0 END, \
     due_at = CASE WHEN due_at IS NULL OR due_at > ?4 THEN ?4 ELSE due_at END"
);
const RETRY: &str =
    end_of_lease!("attempt = attempt + 1, error = ?5, due_at = ?4, payload = COALESCE(payload, claimed_payload)");
const FAILED: &str = end_of_lease!(
    "attempt = attempt + 1, is_failed = 1, error = ?5, payload = COALESCE(payload, claimed_payload), \
     due_at = CASE WHEN due_at IS NULL OR due_at > ?4 THEN ?4 ELSE due_at END"
);
// The lease stays.
const CONTINUES: &str = "UPDATE hot_nodes SET claimed_payload = NULL, memory = COALESCE(?3, memory), attempt = 0, \
     is_failed = 0, error = NULL, succeeded_at = ?4, \
     is_changed = CASE WHEN generation > claimed_generation THEN is_changed ELSE 0 END \
     WHERE address = ?1 AND epoch = ?2 AND lease_owner IS NOT NULL \
     RETURNING is_output, is_retiring, claimed_retiring, generation, claimed_generation, epoch";
const RELEASED: &str = end_of_lease!("due_at = ?4, payload = COALESCE(payload, claimed_payload)");

// A new payload is other work: what failed with the one before says nothing about it.
const MAKE_DUE: &str = "UPDATE hot_nodes SET payload = COALESCE(?3, payload), \
     attempt = CASE WHEN ?3 IS NULL THEN attempt ELSE 0 END, \
     is_failed = CASE WHEN ?3 IS NULL THEN is_failed ELSE 0 END, \
     due_at = CASE WHEN due_at IS NULL OR due_at > ?2 THEN ?2 ELSE due_at END \
     WHERE address = ?1 AND is_retiring = 0";

const RAISE_EPOCH_FLOOR: &str = "UPDATE target SET epoch_floor = ?1 WHERE epoch_floor < ?1";

impl State {
    /// Records the end of a job: its row, the nodes it makes due, its run; one transaction.
    ///
    /// A node that has left the blueprint meanwhile is passed over. Exports that delivered
    /// something end by [`State::complete_export`], ingests by [`State::commit_batch`].
    ///
    /// # Errors
    /// [`StateError::Fenced`] where another claim has taken over.
    pub async fn complete(&self, fence: &Fence, completion: Completion, now: i64) -> Result<(), StateError> {
        let fence = fence.clone();
        self.write("record the end of a job", move |transaction| {
            match complete_job(transaction, &fence, &completion, now)? {
                Effect::Recorded { .. } => follow_up(transaction, &fence, &completion, now),
                Effect::Gone | Effect::Repeated => Ok(()),
            }
        })
        .await
    }
}

fn follow_up(
    transaction: &mut dyn Transaction,
    fence: &Fence,
    completion: &Completion,
    now: i64,
) -> Result<(), Failure> {
    make_due(transaction, &completion.successors)?;
    Ok(record_run(transaction, fence, completion, now, None)?)
}

/// What a completion found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    /// The row's lease has ended as asked.
    Recorded {
        /// Whether the node ingests a transformer's output.
        is_output: bool,
    },
    /// An earlier try of the same call has done it.
    Repeated,
    /// The node has left the blueprint.
    Gone,
}

/// Ends the lease of a row; successors and history are the caller's.
pub(crate) fn complete_job(
    transaction: &mut dyn Transaction,
    fence: &Fence,
    completion: &Completion,
    now: i64,
) -> Result<Effect, Failure> {
    let address = fence.node.to_string();
    let memory = completion.memory.as_deref();
    let next = completion.next_due_at;
    let (sql, due_at, last): (_, Option<i64>, Value) = match &completion.outcome {
        Outcome::Done => (DONE, next, now.into()),
        Outcome::Retry { error, at } => (RETRY, Some(*at), error.into()),
        Outcome::Failed { error } => (FAILED, next, error.into()),
        Outcome::Released => (RELEASED, Some(now), Value::Null),
        Outcome::Continues => (CONTINUES, Some(now), Value::Null),
    };
    let mut values = values![&address, fence.epoch, memory, due_at, last];
    if matches!(completion.outcome, Outcome::Released | Outcome::Continues) {
        values.pop();
    }
    let Some(row) = transaction.query_first(sql, values)? else {
        return refused(transaction, fence, &address, now);
    };
    if completion.outcome == Outcome::Done {
        retire(transaction, &address, &row)?;
    }
    Ok(Effect::Recorded { is_output: row.flag(0)? })
}

/// Why a fence found nothing to end.
fn refused(transaction: &mut dyn Transaction, fence: &Fence, address: &str, now: i64) -> Result<Effect, Failure> {
    let there = "SELECT 1 FROM hot_nodes WHERE address = ?1";
    if transaction.query_first(there, values![address])?.is_none() {
        return Ok(Effect::Gone);
    }
    // Every end leaves a run: where it is there, the first try was committed.
    if transaction.is_repeated() && has_run(transaction, fence, now)? {
        return Ok(Effect::Repeated);
    }
    Err(StateError::Fenced { node: fence.node.clone(), epoch: fence.epoch }.into())
}

/// A retirement that is through leaves nothing delivered, and no row unless the node came back.
fn retire(transaction: &mut dyn Transaction, address: &str, row: &Row) -> Result<(), DatabaseError> {
    let [is_retiring, claimed_retiring] = [row.flag(1)?, row.flag(2)?];
    if !claimed_retiring {
        return Ok(());
    }
    forget_delivery(transaction, address)?;
    let is_same = row.int(3)? <= row.int(4)?;
    if is_retiring && is_same {
        transaction.execute("DELETE FROM hot_nodes WHERE address = ?1", values![address])?;
        raise_epoch_floor(transaction, row.int(5)?)?;
    }
    Ok(())
}

/// Makes sure that no row begins at or below an epoch that was used.
pub(crate) fn raise_epoch_floor(transaction: &mut dyn Transaction, epoch: i64) -> Result<(), DatabaseError> {
    transaction.execute(RAISE_EPOCH_FLOOR, values![epoch]).map(drop)
}

/// Makes nodes due; unknown and retiring ones are passed over.
pub(crate) fn make_due(transaction: &mut dyn Transaction, successors: &[Successor]) -> Result<(), DatabaseError> {
    let mut sets: Vec<(String, Vec<Value>)> = successors
        .iter()
        .map(|successor| {
            let address = successor.node.to_string();
            let values = values![&address, successor.due_at, successor.payload.as_deref()];
            (address, values)
        })
        .collect();
    // One order for everybody, so that two transactions never wait for each other.
    sets.sort_by(|left, right| left.0.cmp(&right.0));
    let sets: Vec<_> = sets.into_iter().map(|(_, values)| values).collect();
    transaction.execute_many(MAKE_DUE, &sets).map(drop)
}
