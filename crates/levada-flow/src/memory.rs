//! Sources and sinks in memory, for tests of everything above them.
//!
//! They keep the contracts: both pass the conformance suites. [`MemoryDatabase`] is the system
//! that tests look into, [`MemorySource`] and [`MemorySink`] open it, [`FaultySource`] and
//! [`FaultySink`] fail where they are told to.

mod faulty;
mod sink;
mod source;

pub use faulty::{Fault, FaultySink, FaultySource};
pub use sink::MemorySink;
pub use source::MemorySource;

use crate::FlowError;
use crate::sink::{DeliveredView, Mark};
use arrow::array::RecordBatch;
use levada_model::address::DatasetRef;
use levada_model::name::PlatformName;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// A database in memory, shared by everybody who holds a clone.
#[derive(Clone, Default, Debug)]
pub struct MemoryDatabase {
    state: Arc<Mutex<State>>,
}

/// What stands in a database; cloned by whoever changes several things at once.
#[derive(Clone, Default, Debug)]
struct State {
    /// A producer's tables.
    tables: BTreeMap<String, RecordBatch>,
    /// Delivered tables by physical name.
    delivered: BTreeMap<String, DeliveredRows>,
    /// What was delivered, by platform and dataset.
    applied: BTreeMap<Export, Applied>,
    /// Views by schema and name.
    views: BTreeMap<(String, String), View>,
}

/// The rows behind a delivered table: by key hash and, for history, the time each version began.
#[derive(Clone, Debug)]
struct DeliveredRows {
    rows: BTreeMap<([u8; 16], i64), RecordBatch>,
}

/// Who delivers which dataset.
type Export = (PlatformName, DatasetRef);

#[derive(Clone, Debug)]
struct Applied {
    mark: Mark,
    live: Option<String>,
    history: Option<String>,
}

#[derive(Clone, Debug)]
struct View {
    physical: String,
    of: Export,
    empty: RecordBatch,
    view: DeliveredView,
}

impl MemoryDatabase {
    /// Makes or replaces a producer's table.
    pub fn set_table(&self, name: &str, rows: RecordBatch) {
        self.state().tables.insert(name.to_owned(), rows);
    }

    /// The rows of a producer's table, or `None` where there is no such table.
    pub fn table(&self, name: &str) -> Option<RecordBatch> {
        self.state().tables.get(name).cloned()
    }

    /// The rows that a workspace sees, or `None` where there is no such view.
    pub fn view(&self, schema: &str, name: &str) -> Option<RecordBatch> {
        let state = self.state();
        let view = state.views.get(&(schema.to_owned(), name.to_owned()))?;
        let rows = state.delivered.get(&view.physical).map(|table| table.rows.values());
        let rows: Vec<&RecordBatch> =
            rows.into_iter().flatten().filter(|row| sink::is_shown(row, &view.view)).collect();
        let all = arrow::compute::concat_batches(&view.empty.schema(), rows);
        Some(all.expect("a table's rows have one schema"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding the lock")
    }

    /// Changes everything or, where `change` fails, nothing.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> Result<T, FlowError>) -> Result<T, FlowError> {
        let mut state = self.state();
        let mut changed = state.clone();
        let result = change(&mut changed)?;
        *state = changed;
        Ok(result)
    }
}
