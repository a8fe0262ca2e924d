//! The broker's choices, one row per choice and span of generations.

use super::OPEN;
use crate::db::{DatabaseError, Row, Transaction, values};
use levada_planner::Generation;
use levada_planner::blueprint::Choices;
use std::collections::BTreeMap;

/// The platforms of a workspace's groups.
const WORKSPACE: &str = "workspace";
/// The platform that ingests a datastore.
const PRIMARY: &str = "primary";
/// What a platform is.
const PLATFORM: &str = "platform";

const INSERT: &str = "INSERT INTO choice_versions (kind, name, from_generation, until_generation, choice) \
     VALUES (?1, ?2, ?3, ?4, ?5)";
const END: &str = "UPDATE choice_versions SET until_generation = ?3 \
     WHERE kind = ?1 AND name = ?2 AND until_generation = ?4";

/// Choices as rows: kind and name → choice.
type Rows = BTreeMap<(String, String), String>;

/// The rows that say the choices.
pub(super) fn rows(choices: &Choices) -> Rows {
    let mut rows = Rows::new();
    for (workspace, groups) in &choices.groups {
        let groups = serde_json::to_string(groups).expect("maps of names always serialise");
        rows.insert((WORKSPACE.to_owned(), workspace.to_string()), groups);
    }
    for (datastore, platform) in &choices.primaries {
        rows.insert((PRIMARY.to_owned(), datastore.to_string()), platform.to_string());
    }
    for (platform, nature) in &choices.platforms {
        let nature = serde_json::to_string(nature).expect("plain data always serialises");
        rows.insert((PLATFORM.to_owned(), platform.to_string()), nature);
    }
    rows
}

/// Writes where the choices differ from those in force; reads all of them, writes the difference.
pub(super) fn write(
    transaction: &mut dyn Transaction,
    wanted: &Rows,
    generation: Generation,
) -> Result<(), DatabaseError> {
    let found = read_rows(transaction, Generation(OPEN - 1))?;
    let ended = found.iter().filter(|(key, choice)| wanted.get(*key) != Some(choice));
    let ended: Vec<_> = ended.map(|((kind, name), _)| values![kind, name, generation.0, OPEN]).collect();
    transaction.execute_many(END, &ended)?;
    let begun = wanted.iter().filter(|(key, choice)| found.get(*key) != Some(choice));
    let begun: Vec<_> = begun.map(|((kind, name), choice)| values![kind, name, generation.0, OPEN, choice]).collect();
    transaction.execute_many(INSERT, &begun).map(drop)
}

fn read_rows(transaction: &mut dyn Transaction, generation: Generation) -> Result<Rows, DatabaseError> {
    let sql = "SELECT kind, name, choice FROM choice_versions WHERE until_generation > ?1 AND from_generation <= ?1";
    let rows = transaction.query(sql, values![generation.0])?;
    rows.into_iter().map(|mut row| Ok(((row.text(0)?, row.text(1)?), row.text(2)?))).collect()
}

/// The choices of a generation.
pub(super) fn read(transaction: &mut dyn Transaction, generation: Generation) -> Result<Choices, DatabaseError> {
    let mut choices = Choices::default();
    let sql = "SELECT kind, name, choice FROM choice_versions WHERE until_generation > ?1 AND from_generation <= ?1";
    for row in transaction.query(sql, values![generation.0])? {
        read_choice(&row, &mut choices)?;
    }
    Ok(choices)
}

fn read_choice(row: &Row, choices: &mut Choices) -> Result<(), DatabaseError> {
    match row.str(0)? {
        WORKSPACE => drop(choices.groups.insert(row.parsed(1, "workspace")?, row.json(2, "choice")?)),
        PRIMARY => drop(choices.primaries.insert(row.parsed(1, "datastore")?, row.parsed(2, "platform")?)),
        PLATFORM => drop(choices.platforms.insert(row.parsed(1, "platform")?, row.json(2, "choice")?)),
        _ => return Err(DatabaseError::Column { column: 0, expected: "a kind of choice" }),
    }
    Ok(())
}
