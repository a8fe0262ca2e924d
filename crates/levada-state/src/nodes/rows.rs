//! How a hot row is read, and who lies above and below it.

use super::{Host, HotNode, Wish};
use crate::contents::{Contents, from_bytes};
use crate::db::{DatabaseError, Row, Transaction, Value, values};
use crate::{State, StateError};
use levada_model::NodeAddress;
use levada_model::fingerprint::Fingerprint;
use levada_model::model::Priority;
use levada_planner::Generation;
use std::sync::Arc;

/// The columns that [`read_rows`] expects, in its order.
macro_rules! hot_columns {
    () => {
        "address, content, generation, is_retiring, priority, due_at, is_changed, lease_owner, lease_until, \
         epoch, attempt, is_failed, error, COALESCE(payload, claimed_payload), memory, succeeded_at, host"
    };
}
pub(crate) use hot_columns;

/// The stored form of a priority: the least is 0.
pub(crate) fn priority_value(priority: Priority) -> Value {
    Value::Int(priority as i64)
}

/// All priorities, the highest first.
pub(super) const PRIORITIES: [Priority; 4] = [Priority::Critical, Priority::High, Priority::Medium, Priority::Low];

fn priority(number: i64) -> Option<Priority> {
    PRIORITIES.into_iter().find(|&priority| priority as i64 == number)
}

/// Reads hot rows with their nodes, in the order of the rows. One whose node can't be read is left
/// out: it fails alone.
pub(super) fn read_rows(
    transaction: &mut dyn Transaction,
    contents: &Contents,
    rows: Vec<Row>,
) -> Result<Vec<HotNode>, DatabaseError> {
    let mut keyed = Vec::with_capacity(rows.len());
    for mut row in rows {
        keyed.push((from_bytes(&row.bytes(1)?)?, row));
    }
    let nodes = contents.load(transaction, keyed.iter().map(|(content, _)| *content).collect())?;
    let readable = keyed.into_iter().filter_map(|(content, row)| Some((content, nodes.get(&content)?, row)));
    readable.map(|(content, node, row)| hot_node(content, node, row)).collect()
}

fn hot_node(content: Fingerprint, node: &Arc<levada_planner::Node>, mut row: Row) -> Result<HotNode, DatabaseError> {
    let lease = match (row.text_or_null(7)?, row.int_or_null(8)?) {
        (Some(owner), Some(until)) => Some((owner, until)),
        _ => None,
    };
    let unknown = DatabaseError::Column { column: 4, expected: "a priority" };
    Ok(HotNode {
        node: Arc::clone(node),
        content,
        generation: Generation(row.int(2)?),
        wish: if row.flag(3)? { Wish::Retire } else { Wish::Run },
        priority: priority(row.int(4)?).ok_or(unknown)?,
        due_at: row.int_or_null(5)?,
        is_changed: row.flag(6)?,
        lease,
        epoch: row.int(9)?,
        attempt: row.int(10)?,
        is_failed: row.flag(11)?,
        error: row.text_or_null(12)?,
        host: if row.str(16)?.is_empty() { Host::Anywhere } else { Host::Pods(row.parsed(16, "platform name")?) },
        payload: row.text_or_null(13)?,
        memory: row.text_or_null(14)?,
        succeeded_at: row.int_or_null(15)?,
    })
}

impl State {
    /// All hot rows, by address; without those whose node can't be read.
    pub async fn nodes(&self) -> Result<Vec<HotNode>, StateError> {
        let contents = Arc::clone(&self.inner.contents);
        let mut nodes = self
            .read("read the nodes", move |transaction| {
                let rows = transaction.query(concat!("SELECT ", hot_columns!(), " FROM hot_nodes"), values![])?;
                Ok(read_rows(transaction, &contents, rows)?)
            })
            .await?;
        nodes.sort_by(|left, right| left.node.address.cmp(&right.node.address));
        Ok(nodes)
    }

    /// One hot row; `None`: no blueprint in force has the node.
    pub async fn node(&self, address: &NodeAddress) -> Result<Option<HotNode>, StateError> {
        let contents = Arc::clone(&self.inner.contents);
        let key = address.to_string();
        self.read("read a node", move |transaction| {
            let sql = concat!("SELECT ", hot_columns!(), " FROM hot_nodes WHERE address = ?1");
            let rows = transaction.query(sql, values![&key])?;
            let is_there = !rows.is_empty();
            match read_rows(transaction, &contents, rows)?.into_iter().next() {
                None if is_there => Err(DatabaseError::Column { column: 1, expected: "a readable node" }.into()),
                found => Ok(found),
            }
        })
        .await
    }

    /// The nodes that wait for this one, by address, each with whether the edge is a self edge.
    pub async fn lower(&self, address: &NodeAddress) -> Result<Vec<(NodeAddress, bool)>, StateError> {
        self.neighbours(address, "SELECT lower, is_self FROM edges WHERE upper = ?1").await
    }

    /// The nodes that this one waits for, by address, each with whether the edge is a self edge.
    pub async fn upper(&self, address: &NodeAddress) -> Result<Vec<(NodeAddress, bool)>, StateError> {
        self.neighbours(address, "SELECT upper, is_self FROM edges WHERE lower = ?1").await
    }

    async fn neighbours(
        &self,
        address: &NodeAddress,
        sql: &'static str,
    ) -> Result<Vec<(NodeAddress, bool)>, StateError> {
        let key = address.to_string();
        let mut neighbours: Vec<(NodeAddress, bool)> = self
            .read("read the edges of a node", move |transaction| {
                let rows = transaction.query(sql, values![&key])?;
                let read = |row: &Row| Ok((row.parsed(0, "node address")?, row.flag(1)?));
                Ok(rows.iter().map(read).collect::<Result<_, DatabaseError>>()?)
            })
            .await?;
        neighbours.sort();
        Ok(neighbours)
    }
}
