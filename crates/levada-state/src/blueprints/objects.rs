//! The objects of the model that generations were frozen from, one row per object and span of generations.

use super::OPEN;
use crate::contents::{from_bytes, to_bytes};
use crate::db::{DatabaseError, Row, Transaction, Value, values};
use levada_model::Address;
use levada_model::fingerprint::Fingerprint;
use levada_planner::Generation;
use levada_planner::blueprint::Object;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

const INSERT: &str = "INSERT INTO object_versions (object, from_generation, until_generation, content, said) \
     VALUES (?1, ?2, ?3, ?4, ?5)";
const END: &str = "UPDATE object_versions SET until_generation = ?2 WHERE object = ?1 AND until_generation = ?3";

/// The column `said`.
#[derive(Serialize, Deserialize)]
struct Said<'a> {
    names: Cow<'a, [Address]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    demand: Option<Fingerprint>,
}

/// Writes what became of objects.
pub(super) fn write(
    transaction: &mut dyn Transaction,
    changes: &BTreeMap<Address, Option<Object>>,
    generation: Generation,
) -> Result<(), DatabaseError> {
    let ended: Vec<_> = changes.keys().map(|address| values![address.to_string(), generation.0, OPEN]).collect();
    transaction.execute_many(END, &ended)?;
    let begun = changes.iter().filter_map(|(address, object)| Some(row(address, object.as_ref()?, generation)));
    transaction.execute_many(INSERT, &begun.collect::<Vec<_>>()).map(drop)
}

fn row(address: &Address, object: &Object, generation: Generation) -> Vec<Value> {
    let said = Said { names: Cow::Borrowed(&object.names), demand: object.demand };
    let said = serde_json::to_string(&said).expect("plain data always serialises");
    values![address.to_string(), generation.0, OPEN, to_bytes(object.content), said]
}

/// What all objects of a generation say.
pub(super) fn contents(
    transaction: &mut dyn Transaction,
    generation: Generation,
) -> Result<BTreeMap<Address, Fingerprint>, DatabaseError> {
    let sql = "SELECT object, content FROM object_versions WHERE until_generation > ?1 AND from_generation <= ?1";
    let rows = transaction.query(sql, values![generation.0])?;
    rows.into_iter().map(|mut row| Ok((row.parsed(0, "object")?, from_bytes(&row.bytes(1)?)?))).collect()
}

/// All objects of a generation.
pub(super) fn all(
    transaction: &mut dyn Transaction,
    generation: Generation,
) -> Result<BTreeMap<Address, Object>, DatabaseError> {
    let sql = "SELECT object, content, said FROM object_versions WHERE until_generation > ?1 AND from_generation <= ?1";
    transaction.query(sql, values![generation.0])?.into_iter().map(object).collect()
}

/// Some objects of a generation.
pub(super) fn some(
    transaction: &mut dyn Transaction,
    generation: Generation,
    wanted: &BTreeSet<Address>,
) -> Result<BTreeMap<Address, Object>, DatabaseError> {
    let sql = "SELECT object, content, said FROM object_versions \
         WHERE object = ?1 AND until_generation > ?2 AND from_generation <= ?2";
    let sets: Vec<_> = wanted.iter().map(|address| values![address.to_string(), generation.0]).collect();
    transaction.query_many(sql, &sets)?.into_iter().flatten().map(object).collect()
}

fn object(mut row: Row) -> Result<(Address, Object), DatabaseError> {
    let said: Said<'static> = row.json(2, "what an object says")?;
    let content = from_bytes(&row.bytes(1)?)?;
    Ok((row.parsed(0, "object")?, Object { content, names: said.names.into_owned(), demand: said.demand }))
}
