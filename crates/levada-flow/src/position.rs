//! How far a stream has been read: opaque to the state, versioned, typed here.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where the next pull goes on. Persisted as JSON with a version.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "v1", rename_all = "snake_case")]
pub enum Position {
    /// Everything is read each time; the source's own mark of the moment, for people.
    Snapshot {
        /// Such as a transaction id or LSN.
        mark: String,
    },
    /// The greatest value of the watermark column per dataset, as the source prints it.
    Watermark {
        /// By dataset; a dataset that was empty so far is missing.
        greatest: BTreeMap<String, String>,
    },
    /// The files that are in.
    Files {
        /// `DATASET:PATH` → size and time of change.
        seen: BTreeMap<String, String>,
    },
    /// The batches of its inputs that a transformer's run has read.
    Vector {
        /// Stream → batch.
        batches: BTreeMap<String, i64>,
        /// The run, so that two cron runs on one vector differ.
        run: String,
    },
    /// A place in the source's change log.
    Log {
        /// As the source writes it, such as `0/16B3748` or `binlog.000003:4567`.
        at: String,
        /// How each dataset that is in, or on its way, stands; what it means, its connector knows.
        datasets: BTreeMap<String, String>,
    },
}

impl Position {
    /// Takes out what is known of one dataset, so that its next pull begins from the beginning.
    pub fn forget(&mut self, dataset: &str) {
        match self {
            Self::Watermark { greatest } => drop(greatest.remove(dataset)),
            Self::Files { seen } => seen.retain(|file, _| file.split_once(':').is_none_or(|(of, _)| of != dataset)),
            Self::Log { datasets, .. } => drop(datasets.remove(dataset)),
            Self::Snapshot { .. } | Self::Vector { .. } => {}
        }
    }

    /// How each dataset stands in a change log; `None`: it is no place in one.
    pub fn in_log(&self) -> Option<&BTreeMap<String, String>> {
        match self {
            Self::Log { datasets, .. } => Some(datasets),
            _ => None,
        }
    }

    /// What a batch remembers of it, for people: without what only the next pull needs.
    #[must_use]
    pub fn brief(&self) -> Self {
        match self {
            Self::Log { at, .. } => Self::Log { at: at.clone(), datasets: BTreeMap::new() },
            other => other.clone(),
        }
    }

    /// The persisted form.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data always serialises")
    }

    /// Reads the persisted form.
    ///
    /// # Errors
    /// The bytes are of a version this build does not know.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, crate::FlowError> {
        serde_json::from_slice(bytes)
            .map_err(|error| crate::FlowError::never("the stored source position can't be read").because(error))
    }
}
