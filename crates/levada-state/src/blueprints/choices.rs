//! The broker's choices, one row per choice and span of generations.

use super::OPEN;
use crate::db::{DatabaseError, Row, Transaction, values};
use levada_model::Address;
use levada_model::name::{DatastoreName, PlatformName};
use levada_planner::Generation;
use levada_planner::blueprint::{Choices, ChoicesChange};
use std::collections::{BTreeMap, BTreeSet};

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

/// Choices as rows: kind and name → choice; `None`: it goes.
pub(super) type Rows = BTreeMap<(&'static str, String), Option<String>>;

/// The rows in which choices differ.
pub(super) fn rows(change: &ChoicesChange) -> Rows {
    let ChoicesChange { groups, primaries, platforms } = change;
    let mut rows = Rows::new();
    for (workspace, groups) in groups {
        let groups = groups.as_ref().map(|it| serde_json::to_string(it).expect("maps of names always serialise"));
        rows.insert((WORKSPACE, workspace.to_string()), groups);
    }
    for (datastore, platform) in primaries {
        rows.insert((PRIMARY, datastore.to_string()), platform.as_ref().map(ToString::to_string));
    }
    for (platform, nature) in platforms {
        let nature = nature.as_ref().map(|it| serde_json::to_string(it).expect("plain data always serialises"));
        rows.insert((PLATFORM, platform.to_string()), nature);
    }
    rows
}

/// Writes what became of choices; rows that change nothing are passed over.
pub(super) fn write(
    transaction: &mut dyn Transaction,
    wanted: &Rows,
    generation: Generation,
) -> Result<(), DatabaseError> {
    let found = find(transaction, wanted.keys().map(|(kind, name)| (*kind, name.as_str())), Generation(OPEN - 1))?;
    let mut ended = Vec::new();
    let mut begun = Vec::new();
    for (((kind, name), choice), found) in wanted.iter().zip(found) {
        let found = found.map(|mut row| row.text(2)).transpose()?;
        if *choice == found {
            continue;
        }
        ended.extend(found.is_some().then(|| values![*kind, name, generation.0, OPEN]));
        begun.extend(choice.as_ref().map(|choice| values![*kind, name, generation.0, OPEN, choice]));
    }
    transaction.execute_many(END, &ended)?;
    transaction.execute_many(INSERT, &begun).map(drop)
}

/// The rows of a generation that have these kinds and names.
fn find<'a>(
    transaction: &mut dyn Transaction,
    keys: impl Iterator<Item = (&'static str, &'a str)>,
    generation: Generation,
) -> Result<Vec<Option<Row>>, DatabaseError> {
    let sql = "SELECT kind, name, choice FROM choice_versions \
         WHERE kind = ?1 AND name = ?2 AND until_generation > ?3 AND from_generation <= ?3";
    let sets: Vec<_> = keys.map(|(kind, name)| values![kind, name, generation.0]).collect();
    Ok(transaction.query_many(sql, &sets)?.into_iter().map(|rows| rows.into_iter().next()).collect())
}

/// The platform that ingests a datastore in a generation.
pub(super) fn primary(
    transaction: &mut dyn Transaction,
    store: &DatastoreName,
    generation: Generation,
) -> Result<Option<PlatformName>, DatabaseError> {
    let row = find(transaction, [(PRIMARY, store.as_str())].into_iter(), generation)?.pop().flatten();
    row.map(|row| row.parsed(2, "platform")).transpose()
}

/// The choices of a generation about some objects, and what its platforms are.
pub(super) fn some(
    transaction: &mut dyn Transaction,
    generation: Generation,
    wanted: &BTreeSet<Address>,
) -> Result<Choices, DatabaseError> {
    let mut choices = Choices::default();
    let sql = "SELECT kind, name, choice FROM choice_versions \
         WHERE kind = ?1 AND until_generation > ?2 AND from_generation <= ?2";
    for row in transaction.query(sql, values![PLATFORM, generation.0])? {
        read_choice(&row, &mut choices)?;
    }
    let keys = wanted.iter().filter_map(|address| match address {
        Address::Workspace(name) => Some((WORKSPACE, name.as_str())),
        Address::Datastore(name) => Some((PRIMARY, name.as_str())),
        _ => None,
    });
    for row in find(transaction, keys, generation)?.iter().flatten() {
        read_choice(row, &mut choices)?;
    }
    Ok(choices)
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
