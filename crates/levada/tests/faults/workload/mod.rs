//! What a producer's users do: random transactions over six tables with keys and without, with long texts, with
//! partitions, with values of every type.
//!
//! The same tables and habits for every system, each in its own words.

mod mariadb;
mod postgres;

pub use self::mariadb::MARIADB;
pub use self::postgres::POSTGRES;

use super::chance::Chance;

/// A producer and its users.
pub struct Workload {
    /// Statements that make the tables.
    pub tables: &'static str,
    /// The datasets that are not the same everywhere, as the model has them.
    pub datasets: &'static str,
    /// What is compared.
    pub compared: &'static [Table],
    /// Statements that put so many rows into each table to begin with.
    pub first_rows: fn(u64) -> String,
    /// One random transaction.
    pub transaction: fn(&mut Chance) -> String,
    /// One in two phases, if servers have them by default; not where they are killed: what MariaDB then makes of it
    /// is not what its log says.
    pub prepared: Option<fn(&mut Chance) -> String>,
    /// Changes of tables that every row comes through.
    pub alterations: &'static [&'static str],
    /// Parts of what a writer is told that got into another one's way.
    passing_errors: &'static [&'static str],
}

/// A table as it is compared between producer, store and consumer.
pub struct Table {
    pub name: &'static str,
    /// Expressions over its columns that mean the same on both sides.
    pub columns: &'static str,
    /// `None`: its rows have no key.
    pub key: Option<&'static str>,
}

impl Workload {
    /// Whether this is what a writer is told that got into another one's way.
    pub fn is_passing(&self, error: &str) -> bool {
        self.passing_errors.iter().any(|passing| error.contains(passing))
    }

    /// What is compared of a table: everything where it is none of ours.
    pub fn columns_of(&self, name: &str) -> &'static str {
        self.compared.iter().find(|table| table.name == name).map_or("*", |table| table.columns)
    }
}

/// What is compared of the tables: everywhere the same, but in the one with values of every type.
const fn compared(kinds: &'static str) -> [Table; 6] {
    [
        Table { name: "accounts", columns: "id, name, MD5(note), LENGTH(note), amount, changed", key: Some("id") },
        Table { name: "items", columns: "account, line, item, quantity", key: Some("account, line") },
        Table { name: "bag", columns: "kind, n", key: None },
        Table { name: "readings", columns: "sensor, at, value", key: Some("sensor, at") },
        Table { name: "kinds", columns: kinds, key: Some("id") },
        Table { name: "tags", columns: "name, MD5(body), weight", key: Some("name") },
    ]
}

/// The datasets that are the same everywhere, as the model has them.
pub const DATASETS: &str = "
  accounts:
    columns:
      id: { type: int64, key: true }
      name: text
      note: text
      amount: decimal(12,2)
      changed: timestamptz
  items:
    columns:
      account: { type: int64, key: true }
      line: { type: int32, key: true }
      item: text
      quantity: int32
  bag:
    columns: { kind: text, n: int32 }
  readings:
    columns:
      sensor: { type: int32, key: true }
      at: { type: timestamp, key: true }
      value: float64
";

/// Keys that somebody once forgot to think of.
const TAGS: [&str; 10] = ["plain", "it's", "", " blank", "\"quoted\"", "back\\slash", "ünï😀", "NULL", "a,b;c", "100%"];

/// One of them, sometimes with a number.
fn tag(chance: &mut Chance) -> String {
    let tag = TAGS[chance.below(TAGS.len() as u64) as usize];
    match chance.below(2) {
        0 => tag.to_owned(),
        _ => format!("{tag}{}", chance.below(20)),
    }
}

/// Statements of one transaction, which may be rolled back in all or in part.
fn transaction_of(chance: &mut Chance, statement: fn(&mut Chance) -> String) -> String {
    let count = 1 + chance.below(4);
    let statements: Vec<String> = (0..count).map(|_| statement(chance)).collect();
    match chance.below(12) {
        0 => format!("BEGIN; {}; ROLLBACK;", statements.join("; ")),
        1 => format!("BEGIN; {}; SAVEPOINT a; {}; ROLLBACK TO a; COMMIT;", statements.join("; "), statement(chance)),
        _ => format!("BEGIN; {}; COMMIT;", statements.join("; ")),
    }
}
