//! History: a row per ended job, only ever appended, forgotten by whole days.

use crate::db::{DatabaseError, Row, Transaction, values};
use crate::nodes::{Completion, Fence, Outcome};
use crate::{State, StateError};
use levada_model::NodeAddress;

/// The µs of a day.
const DAY_US: i64 = 86_400_000_000;

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RunOutcome {
    /// It did what it had to.
    Done,
    /// It failed and was to be tried again.
    Retry,
    /// It failed for good.
    Failed,
    /// It was stopped.
    Released,
}

impl RunOutcome {
    /// The word for it, in lower case.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retry => "retry",
            Self::Failed => "failed",
            Self::Released => "released",
        }
    }

    /// `None`: the job goes on.
    fn of(outcome: &Outcome) -> Option<(Self, Option<&str>)> {
        Some(match outcome {
            Outcome::Done => (Self::Done, None),
            Outcome::Retry { error, .. } => (Self::Retry, Some(error)),
            Outcome::Failed { error } => (Self::Failed, Some(error)),
            Outcome::Released => (Self::Released, None),
            Outcome::Continues => return None,
        })
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Done, Self::Retry, Self::Failed, Self::Released].into_iter().find(|outcome| outcome.word() == word)
    }
}

/// One ended job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunRow {
    /// Days since 1970-01-01 at its end, UTC.
    pub day: i64,
    /// The node.
    pub node: NodeAddress,
    /// The epoch it ran under.
    pub epoch: i64,
    /// When it was claimed, µs.
    pub started_at: i64,
    /// When it ended, µs.
    pub ended_at: i64,
    /// How it ended.
    pub outcome: RunOutcome,
    /// Why it failed.
    pub error: Option<String>,
    /// Rows moved.
    pub rows: i64,
    /// Bytes moved.
    pub bytes: i64,
    /// The batch it committed or delivered.
    pub batch: Option<i64>,
}

/// Appends the run that a completion ends, if it does.
pub(crate) fn record_run(
    transaction: &mut dyn Transaction,
    fence: &Fence,
    completion: &Completion,
    now: i64,
    batch: Option<i64>,
) -> Result<(), DatabaseError> {
    let Some((outcome, error)) = RunOutcome::of(&completion.outcome) else { return Ok(()) };
    let sql = "INSERT INTO runs (day, node, epoch, started_at, ended_at, outcome, error, rows_moved, bytes_moved, \
               batch) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let values = values![
        now.div_euclid(DAY_US),
        fence.node.to_string(),
        fence.epoch,
        completion.started_at,
        now,
        outcome.word(),
        error,
        completion.rows,
        completion.bytes,
        batch,
    ];
    transaction.execute(sql, values).map(drop)
}

/// Whether the end of a job at this time, µs, was recorded.
pub(crate) fn has_run(transaction: &mut dyn Transaction, fence: &Fence, now: i64) -> Result<bool, DatabaseError> {
    let sql = "SELECT 1 FROM runs WHERE day = ?1 AND node = ?2 AND epoch = ?3 LIMIT 1";
    let values = values![now.div_euclid(DAY_US), fence.node.to_string(), fence.epoch];
    Ok(transaction.query_first(sql, values)?.is_some())
}

impl State {
    /// The runs that ended at or after `since`, µs, the newest first; with a prefix only those of
    /// nodes whose address begins with it.
    pub async fn runs(&self, node_prefix: Option<&str>, since: i64, limit: usize) -> Result<Vec<RunRow>, StateError> {
        let prefix = node_prefix.unwrap_or_default().to_owned();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read("read the runs", move |transaction| {
            let sql = "SELECT day, node, epoch, started_at, ended_at, outcome, error, rows_moved, bytes_moved, batch \
                       FROM runs WHERE day >= ?1 AND ended_at >= ?2 AND substr(node, 1, length(?3)) = ?3 \
                       ORDER BY day DESC, id DESC LIMIT ?4";
            let rows = transaction.query(sql, values![since.div_euclid(DAY_US), since, &prefix, limit])?;
            Ok(rows.into_iter().map(run_row).collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Forgets the runs of all days that ended before `before`, µs; gives how many.
    pub async fn forget_runs(&self, before: i64) -> Result<u64, StateError> {
        self.write("forget old runs", move |transaction| {
            Ok(transaction.execute("DELETE FROM runs WHERE day < ?1", values![before.div_euclid(DAY_US)])?)
        })
        .await
    }
}

fn run_row(mut row: Row) -> Result<RunRow, DatabaseError> {
    let unknown = DatabaseError::Column { column: 5, expected: "an outcome" };
    Ok(RunRow {
        day: row.int(0)?,
        node: row.parsed(1, "node address")?,
        epoch: row.int(2)?,
        started_at: row.int(3)?,
        ended_at: row.int(4)?,
        outcome: RunOutcome::from_word(row.str(5)?).ok_or(unknown)?,
        error: row.text_or_null(6)?,
        rows: row.int(7)?,
        bytes: row.int(8)?,
        batch: row.int_or_null(9)?,
    })
}
