//! What each export has delivered last.

use crate::db::{DatabaseError, Row, Transaction, values};
use crate::nodes::{Completion, Effect, Fence, complete_job, make_due};
use crate::runs::record_run;
use crate::{State, StateError};
use levada_model::NodeAddress;

/// What lies at the consumer because of one export.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// The export.
    pub export: NodeAddress,
    /// The batch it has reached.
    pub batch: i64,
    /// The source's identity at that batch.
    pub incarnation: String,
    /// How the delivered tables and views are shaped: opaque.
    pub shape: String,
    /// The epoch that delivered it.
    pub epoch: i64,
    /// When, µs.
    pub delivered_at: i64,
    /// Rows moved by that delivery.
    pub rows: i64,
    /// Bytes moved by that delivery.
    pub bytes: i64,
}

const RECORD: &str = "INSERT INTO deliveries (export, batch, incarnation, shape, epoch, delivered_at, rows_moved, \
     bytes_moved) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (export) DO UPDATE SET \
     batch = excluded.batch, incarnation = excluded.incarnation, shape = excluded.shape, epoch = excluded.epoch, \
     delivered_at = excluded.delivered_at, rows_moved = excluded.rows_moved, bytes_moved = excluded.bytes_moved";

/// Columns as [`read`] expects them.
macro_rules! delivery_columns {
    () => {
        "SELECT export, batch, incarnation, shape, epoch, delivered_at, rows_moved, bytes_moved FROM deliveries"
    };
}

impl State {
    /// Records the end of exports that were one transaction at the consumer, with what each has
    /// delivered; all or nothing. Ended at `delivered_at` of each.
    ///
    /// An export that has left the blueprint meanwhile is passed over.
    ///
    /// # Errors
    /// [`StateError::Fenced`] where another claim has taken one of them over.
    pub async fn complete_export(&self, ends: &[(Fence, Completion, Delivery)]) -> Result<(), StateError> {
        let mut ends = ends.to_vec();
        // One order for everybody, so that two transactions never wait for each other.
        ends.sort_by_cached_key(|(fence, ..)| fence.node.to_string());
        self.write("record deliveries", move |transaction| {
            for (fence, completion, delivery) in &ends {
                let now = delivery.delivered_at;
                if let Effect::Recorded { .. } = complete_job(transaction, fence, completion, now)? {
                    record(transaction, delivery)?;
                    make_due(transaction, &completion.successors)?;
                    record_run(transaction, fence, completion, now, Some(delivery.batch))?;
                }
            }
            Ok(())
        })
        .await
    }

    /// What an export has delivered last; `None`: nothing.
    pub async fn delivery(&self, export: &NodeAddress) -> Result<Option<Delivery>, StateError> {
        let key = export.to_string();
        self.read("read a delivery", move |transaction| {
            let sql = concat!(delivery_columns!(), " WHERE export = ?1");
            Ok(transaction.query_first(sql, values![&key])?.map(read).transpose()?)
        })
        .await
    }

    /// What all exports have delivered last, by export.
    pub async fn deliveries(&self) -> Result<Vec<Delivery>, StateError> {
        let read_all = self.read("read the deliveries", |transaction| {
            let rows = transaction.query(delivery_columns!(), values![])?;
            Ok(rows.into_iter().map(read).collect::<Result<Vec<_>, _>>()?)
        });
        let mut deliveries = read_all.await?;
        deliveries.sort_by(|left, right| left.export.cmp(&right.export));
        Ok(deliveries)
    }
}

fn record(transaction: &mut dyn Transaction, delivery: &Delivery) -> Result<(), DatabaseError> {
    let values = values![
        delivery.export.to_string(),
        delivery.batch,
        &delivery.incarnation,
        &delivery.shape,
        delivery.epoch,
        delivery.delivered_at,
        delivery.rows,
        delivery.bytes,
    ];
    transaction.execute(RECORD, values).map(drop)
}

/// Forgets what a retired export had delivered.
pub(crate) fn forget_delivery(transaction: &mut dyn Transaction, export: &str) -> Result<(), DatabaseError> {
    transaction.execute("DELETE FROM deliveries WHERE export = ?1", values![export]).map(drop)
}

fn read(mut row: Row) -> Result<Delivery, DatabaseError> {
    Ok(Delivery {
        export: row.parsed(0, "node address")?,
        batch: row.int(1)?,
        incarnation: row.text(2)?,
        shape: row.text(3)?,
        epoch: row.int(4)?,
        delivered_at: row.int(5)?,
        rows: row.int(6)?,
        bytes: row.int(7)?,
    })
}
