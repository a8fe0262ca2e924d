//! Who agreed that a platform takes a generation up.

use crate::db::{DatabaseError, Row, values};
use crate::{State, StateError};
use levada_model::name::PlatformName;
use levada_planner::Generation;
use std::collections::BTreeMap;

/// Somebody's word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Approval {
    /// For this generation, and for none after it.
    pub generation: Generation,
    /// When, µs.
    pub at: i64,
    /// Whose.
    pub by: String,
}

impl State {
    /// Records that a platform may take a generation up; a later word replaces an earlier one.
    pub async fn approve(&self, platform: PlatformName, approval: Approval) -> Result<(), StateError> {
        self.write("record an approval", move |transaction| {
            let sql = "INSERT INTO approvals (platform, generation, approved_at, approved_by) VALUES (?1, ?2, ?3, ?4) \
                       ON CONFLICT (platform) DO UPDATE SET generation = excluded.generation, \
                       approved_at = excluded.approved_at, approved_by = excluded.approved_by";
            let Approval { generation, at, by } = &approval;
            transaction.execute(sql, values![platform.as_str(), generation.0, *at, by])?;
            Ok(())
        })
        .await
    }

    /// The last approval of each platform that ever had one.
    pub async fn approvals(&self) -> Result<BTreeMap<PlatformName, Approval>, StateError> {
        self.read("read the approvals", |transaction| {
            let sql = "SELECT platform, generation, approved_at, approved_by FROM approvals";
            let read = |mut row: Row| -> Result<_, DatabaseError> {
                let approval = Approval { generation: Generation(row.int(1)?), at: row.int(2)?, by: row.text(3)? };
                Ok((row.parsed(0, "platform")?, approval))
            };
            Ok(transaction.query(sql, values![])?.into_iter().map(read).collect::<Result<_, _>>()?)
        })
        .await
    }
}
