//! Which dataset a table's name in a query means.

use datafusion::common::TableReference;
use levada_flow::FlowError;
use levada_model::address::DatasetRef;
use levada_model::nearest::nearest;
use std::collections::BTreeMap;

/// The datasets that a query may name, by folded names.
pub(crate) struct Names {
    by_store: BTreeMap<(String, String), usize>,
    by_dataset: BTreeMap<String, Vec<usize>>,
    printed: Vec<String>,
}

impl Names {
    /// Takes the datasets in their order; what is found is a position in it.
    pub(crate) fn new<'a>(datasets: impl Iterator<Item = &'a DatasetRef>) -> Self {
        let mut names = Self { by_store: BTreeMap::new(), by_dataset: BTreeMap::new(), printed: Vec::new() };
        for (position, of) in datasets.enumerate() {
            names.by_store.insert((of.datastore.folded(), of.dataset.folded()), position);
            names.by_dataset.entry(of.dataset.folded()).or_default().push(position);
            names.printed.push(of.to_string());
        }
        names
    }

    /// Finds `STORE.DATASET`, or `DATASET` where only one store has it. `dataset` is the name
    /// without what the query says about its reading.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub(crate) fn find(&self, table: &TableReference, dataset: &str) -> Result<usize, FlowError> {
        match table {
            TableReference::Bare { .. } => self.find_bare(dataset),
            TableReference::Partial { schema, .. } => {
                let found = self.by_store.get(&(schema.to_string(), dataset.to_owned()));
                found.copied().ok_or_else(|| self.unknown(&format!("{schema}.{dataset}")))
            }
            TableReference::Full { .. } => {
                Err(FlowError::never(format!("table {table} can't be read")).hint("write STORE.DATASET"))
            }
        }
    }

    fn find_bare(&self, dataset: &str) -> Result<usize, FlowError> {
        match self.by_dataset.get(dataset).map(Vec::as_slice) {
            None => Err(self.unknown(dataset)),
            Some([position]) => Ok(*position),
            Some(several) => {
                let several: Vec<&str> = several.iter().map(|position| self.printed[*position].as_str()).collect();
                Err(FlowError::never(format!("table {dataset} is ambiguous"))
                    .hint(format!("write one of {}", several.join(", "))))
            }
        }
    }

    fn unknown(&self, name: &str) -> FlowError {
        let error = FlowError::never(format!("table {name} is not there"));
        let bare = self.printed.iter().filter_map(|printed| printed.split_once('.')).map(|(_, dataset)| dataset);
        let known: Vec<&str> = match name.contains('.') {
            true => self.printed.iter().map(String::as_str).collect(),
            false => bare.collect(),
        };
        match nearest(name, known.iter().copied()) {
            Some(near) => error.hint(format!("did you mean {near}?")),
            None if self.printed.len() <= 8 => error.hint(format!("there are {}", self.printed.join(", "))),
            None => error.hint("write STORE.DATASET as the model does"),
        }
    }
}
