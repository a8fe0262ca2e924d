//! The versions of the tables, brought up to date when a state is opened.
//!
//! A version never changes once it is released; a change is a new file. A state of a newer version
//! is refused, not guessed at.

use crate::StateError;
use crate::db::{Access, Database, DatabaseError, Failure, Transaction, values};

/// The script of each version, counted from 1.
const VERSIONS: [&str; 3] =
    [include_str!("0001_first.sql"), include_str!("0002_host.sql"), include_str!("0003_objects.sql")];

/// The version of the state that this build reads and writes.
pub const NEWEST: i64 = VERSIONS.len() as i64;

/// Brings the tables to [`NEWEST`]; one transaction, and none where they are there already.
pub(crate) async fn migrate(database: &Database, now: i64) -> Result<(), Failure> {
    match database.run(Access::Read, check).await? {
        NEWEST => Ok(()),
        _ => database.run(Access::Write, move |transaction| upgrade(transaction, now)).await,
    }
}

fn check(transaction: &mut dyn Transaction) -> Result<i64, Failure> {
    let found = version(transaction)?;
    match found > NEWEST {
        true => Err(StateError::Newer { found, known: NEWEST }.into()),
        false => Ok(found),
    }
}

fn version(transaction: &mut dyn Transaction) -> Result<i64, Failure> {
    if !transaction.has_table("state_versions")? {
        return Ok(0);
    }
    let row = transaction.query_first("SELECT COALESCE(MAX(version), 0) FROM state_versions", values![])?;
    Ok(row.map_or(Ok(0), |row| row.int(0))?)
}

fn upgrade(transaction: &mut dyn Transaction, now: i64) -> Result<(), Failure> {
    transaction.lock_migrations()?;
    // Another process may have been faster.
    let found = check(transaction)?;
    if found == 0 {
        transaction.run_script(
            "CREATE TABLE state_versions (version BIGINT NOT NULL PRIMARY KEY, migrated_at BIGINT NOT NULL)",
        )?;
    }
    for (number, script) in (1..).zip(VERSIONS).skip(usize::try_from(found).unwrap_or(0)) {
        transaction.run_script(script)?;
        let sql = "INSERT INTO state_versions (version, migrated_at) VALUES (?1, ?2)";
        transaction.execute(sql, values![number, now])?;
    }
    if found == 0 {
        let id = format!("{:016x}", crate::nodes::mark());
        transaction.execute("INSERT INTO identity (id) VALUES (?1)", values![id])?;
    }
    Ok(())
}

/// The identity that the first migration gave this state.
pub(crate) async fn identity(database: &Database) -> Result<String, Failure> {
    let read = |transaction: &mut dyn Transaction| {
        let row = transaction.query_first("SELECT id FROM identity", values![])?;
        let mut row = row.ok_or(DatabaseError::Column { column: 0, expected: "the identity of the state" })?;
        Ok(row.text(0)?)
    };
    database.run(Access::Read, read).await
}
