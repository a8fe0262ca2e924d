//! The suites that every source and sink passes: in memory, faulty and real.
//!
//! A connector's test implements [`SourceHarness`], [`LogHarness`] or [`SinkHarness`] on its real system
//! and calls [`check_source`], [`check_log`] or [`check_sink`]. The suites panic where a contract is broken, as tests do.
//!
//! Architecture invariant: nothing but tests calls this module.

mod ledger;
mod log;
mod mirror;
mod sample;
mod sink;
mod source;

pub use ledger::Ledger;
pub use log::{LogHarness, check_log};
pub use mirror::Mirror;
pub use sample::{Limits, all_types, hostile_names, sample, schema_of};
pub use sink::{SinkHarness, check_sink};
pub use source::{SourceHarness, check_source, pull_all, read_table};

use crate::canonical::canonical_rows;
use arrow::array::RecordBatch;
use levada_model::Schema;
use std::collections::BTreeMap;

/// Compares two sets of rows, however ordered and cut, and panics with the first difference.
///
/// # Panics
/// A row is in one of both only, or oftener in one.
pub fn assert_same_rows(schema: &Schema, found: &[RecordBatch], expected: &[RecordBatch], what: &str) {
    let (found, expected) = (counted(schema, found), counted(schema, expected));
    let total = |rows: &Rows<'_>| rows.values().map(|places| places.len()).sum::<usize>();
    let extra = |rows: &Rows<'_>, others: &Rows<'_>| {
        let has_less = |bytes: &Vec<u8>, count| others.get(bytes).is_none_or(|there| there.len() < count);
        let first = rows.iter().find(|(bytes, places)| has_less(bytes, places.len()));
        first.map_or("nothing".to_owned(), |(_, places)| shown(schema, places[0]))
    };
    if found
        .iter()
        .map(|(bytes, places)| (bytes, places.len()))
        .ne(expected.iter().map(|(bytes, places)| (bytes, places.len())))
    {
        panic!(
            "{what}: found {} rows, expected {}; too many is {}; missing is {}",
            total(&found),
            total(&expected),
            extra(&found, &expected),
            extra(&expected, &found),
        );
    }
}

/// Canonical bytes → where such rows are.
type Rows<'a> = BTreeMap<Vec<u8>, Vec<(&'a RecordBatch, usize)>>;

fn counted<'a>(schema: &Schema, batches: &'a [RecordBatch]) -> Rows<'a> {
    let mut rows = Rows::new();
    for batch in batches {
        for (row, bytes) in canonical_rows(schema, batch).into_iter().enumerate() {
            rows.entry(bytes).or_default().push((batch, row));
        }
    }
    rows
}

fn shown(schema: &Schema, (batch, row): (&RecordBatch, usize)) -> String {
    let columns = schema.columns.iter().filter_map(|column| batch.column_by_name(column.name.as_str()));
    let text = columns.map(|column| format!("{:?}", column.slice(row, 1))).collect::<Vec<_>>().join(" ");
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(600).collect()
}
