//! What all change logs have in common: a pull that has begun, and how a position remembers each dataset.
//! Knows no system.

use arrow::array::{ArrayRef, Int32Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use levada_flow::source::{PullDataset, Pulled, UPSERT, Until};
use levada_flow::{FlowError, Position};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// After so many changes a pull ends with the transaction at hand, and the next one goes on.
const CHANGES_MAX: usize = 100_000;

/// How long to wait for news before looking whether everything is there.
const ASK_AFTER: Duration = Duration::from_millis(50);

/// A pull that has begun.
pub(crate) struct Pull<'p> {
    pub(crate) out: &'p mpsc::Sender<Pulled>,
    pub(crate) until: Until,
    began_at: Instant,
    first_change_at: Option<Instant>,
    changes: usize,
    /// Whether it has to end, because a dataset was read whole at its place.
    pub(crate) must_end: bool,
}

impl<'p> Pull<'p> {
    /// Begins one.
    pub(crate) fn new(out: &'p mpsc::Sender<Pulled>, until: Until) -> Self {
        Self { out, until, began_at: Instant::now(), first_change_at: None, changes: 0, must_end: false }
    }

    /// Sends what was read, as soon as there is room for it.
    pub(crate) async fn send(&self, pulled: Pulled) -> Result<(), FlowError> {
        self.out.send(pulled).await.map_err(|_| FlowError::later("nobody takes the rows of the pull any more"))
    }

    /// Begins the list of a dataset's keys, which needs changes and a key to come first, if only none of each.
    pub(crate) async fn begin_keys(&self, dataset: usize, columns: SchemaRef, key: SchemaRef) -> Result<(), FlowError> {
        let rows = as_upserts(&RecordBatch::new_empty(columns));
        self.send(Pulled::Changes { dataset, rows, kept: Vec::new() }).await?;
        self.send(Pulled::Keys { dataset, keys: RecordBatch::new_empty(key) }).await
    }

    /// Counts what was sent, or is going to be.
    pub(crate) fn count(&mut self, changes: usize) {
        self.changes += changes;
        self.first_change_at.get_or_insert_with(Instant::now);
    }

    /// Whether nothing more may come into it than what is at hand.
    pub(crate) fn is_full(&self) -> bool {
        self.must_end || self.changes >= CHANGES_MAX
    }

    /// Whether it ends between the transactions at hand; `has_all`: whether it has what it is to read up to now.
    pub(crate) fn is_enough(&self, has_all: bool) -> bool {
        self.is_full()
            || match self.until {
                Until::Now => has_all,
                Until::News { .. } => self.left().is_zero(),
            }
    }

    /// How long to wait for news; `looks_often`: something besides them is waited for.
    pub(crate) fn wait(&self, looks_often: bool) -> Duration {
        match self.until {
            Until::News { .. } if !looks_often => self.left(),
            _ => ASK_AFTER,
        }
    }

    /// How long it still waits for news, or for more of them.
    fn left(&self) -> Duration {
        match (self.until, self.first_change_at) {
            (Until::Now, _) => Duration::ZERO,
            (Until::News { linger_ms, .. }, Some(at)) => Duration::from_millis(linger_ms).saturating_sub(at.elapsed()),
            (Until::News { idle_ms, .. }, None) => {
                Duration::from_millis(idle_ms).saturating_sub(self.began_at.elapsed())
            }
        }
    }
}

/// A place in a log, and how each dataset stands there, by name.
pub(crate) type InLog<A, S> = (A, BTreeMap<String, S>);

/// Reads a position of a change log; `None`: it is of another way of reading.
pub(crate) fn from_position<A, S>(position: &Position) -> Result<Option<InLog<A, S>>, FlowError>
where
    A: FromStr<Err: std::error::Error + Send + Sync + 'static>,
    S: DeserializeOwned,
{
    let Position::Log { at, datasets } = position else { return Ok(None) };
    let unreadable = || FlowError::never(format!("the stored place in the change log, {at:?}, can't be read"));
    let at = at.parse().map_err(|error| unreadable().because(error))?;
    let standing = |(name, text): (&String, &String)| {
        let standing = serde_json::from_str(text).map_err(|error| unreadable().because(error))?;
        Ok((name.clone(), standing))
    };
    Ok(Some((at, datasets.iter().map(standing).collect::<Result<_, FlowError>>()?)))
}

/// Writes one.
pub(crate) fn to_position<'s, S: Serialize + 's>(
    at: &impl Display,
    datasets: impl Iterator<Item = (&'s str, &'s S)>,
) -> Position {
    let text = |standing| serde_json::to_string(standing).expect("plain data always serialises");
    Position::Log { at: at.to_string(), datasets: datasets.map(|(name, one)| (name.to_owned(), text(one))).collect() }
}

/// Whether two requests mean the same reading of a dataset.
pub(crate) fn is_same_reading(one: &PullDataset, other: &PullDataset) -> bool {
    (&one.dataset, &one.table, &one.schema) == (&other.dataset, &other.table, &other.schema)
}

/// What is told of a dataset that stays where it is.
pub(crate) fn stopped(dataset: &PullDataset, reason: &str) -> FlowError {
    let hint = "the other datasets of the stream go on; correct the source or the model, and it is read anew";
    FlowError::never(format!("dataset {}: {reason}", dataset.dataset)).hint(hint)
}

/// Rows as changes: each is as it is now, whatever was there.
pub(crate) fn as_upserts(rows: &RecordBatch) -> RecordBatch {
    let operations: ArrayRef = Arc::new(Int32Array::from_value(UPSERT, rows.num_rows()));
    let fields = rows.schema().fields().iter().map(|field| field.as_ref().clone()).collect::<Vec<_>>();
    let schema = Schema::new([fields, vec![Field::new("lv_op", DataType::Int32, false)]].concat());
    let columns = rows.columns().iter().cloned().chain([operations]).collect();
    RecordBatch::try_new(Arc::new(schema), columns).expect("one operation per row")
}
