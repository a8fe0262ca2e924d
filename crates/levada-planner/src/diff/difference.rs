//! What can be different between two versions of one node, as typed values.

use super::ColumnDifference;
use crate::blueprint::DeliveredReading;
use levada_model::address::NodeAddress;
use levada_model::model::{Latency, Priority};
use levada_model::name::DatasetName;
use levada_model::period::Period;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One difference of a node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names and the printed sentences say it")]
pub enum Difference {
    Priority { from: Priority, to: Priority },
    InputAdded { input: NodeAddress },
    InputRemoved { input: NodeAddress },
    DatasetAdded { dataset: DatasetName },
    DatasetRemoved { dataset: DatasetName },
    Column { dataset: DatasetName, column: ColumnDifference },
    Table { dataset: DatasetName, from: String, to: String },
    Watermark { dataset: DatasetName },
    Owed { dataset: DatasetName },
    Style,
    Connection,
    Ingest,
    Trigger,
    Calendars,
    Origin,
    Stream,
    Physical { reading: DeliveredReading, from: Option<String>, to: Option<String> },
    Retention { from: Option<Period>, to: Option<Period> },
    Latency { from: Latency, to: Latency },
    ViewAdded { view: String },
    ViewRemoved { view: String },
    ViewRetention { view: String, from: Option<Period>, to: Option<Period> },
    Readers { view: String, granted: Vec<String>, revoked: Vec<String> },
    View { view: String },
    Code,
    Mode,
    Inputs,
    Transformer,
    Kind,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = |period: &Option<Period>| period.map_or_else(|| "none".to_owned(), |period| period.to_string());
        match self {
            Self::Priority { from, to } => write!(f, "priority {} -> {}", word(from), word(to)),
            Self::InputAdded { input } => write!(f, "waits for {input}"),
            Self::InputRemoved { input } => write!(f, "no longer waits for {input}"),
            Self::DatasetAdded { dataset } => write!(f, "dataset {dataset} added"),
            Self::DatasetRemoved { dataset } => write!(f, "dataset {dataset} removed"),
            Self::Column { dataset, column } => write!(f, "{dataset}: {column}"),
            Self::Table { dataset, from, to } => write!(f, "{dataset}: table {from} -> {to}"),
            Self::Watermark { dataset } => write!(f, "{dataset}: watermark column"),
            Self::Owed { dataset } => write!(f, "{dataset}: retention owed"),
            Self::Style => f.write_str("style"),
            Self::Connection => f.write_str("connection"),
            Self::Ingest => f.write_str("way of reading"),
            Self::Trigger => f.write_str("trigger"),
            Self::Calendars => f.write_str("calendars"),
            Self::Origin => f.write_str("origin"),
            Self::Stream => f.write_str("stream"),
            Self::Physical { reading, from, to } => {
                let reading = match reading {
                    DeliveredReading::Live => "live",
                    DeliveredReading::History => "history",
                };
                match (from, to) {
                    (None, Some(_)) => write!(f, "{reading} table added"),
                    (Some(_), None) => write!(f, "{reading} table removed"),
                    _ => write!(f, "{reading} table replaced"),
                }
            }
            Self::Retention { from, to } => write!(f, "history retention {} -> {}", period(from), period(to)),
            Self::Latency { from, to } => write!(f, "latency {} -> {}", word(from), word(to)),
            Self::ViewAdded { view } => write!(f, "view {view} added"),
            Self::ViewRemoved { view } => write!(f, "view {view} removed"),
            Self::ViewRetention { view, from, to } => {
                write!(f, "view {view}: retention {} -> {}", period(from), period(to))
            }
            Self::Readers { view, granted, revoked } => {
                write!(f, "view {view}:")?;
                granted.iter().try_for_each(|reader| write!(f, " +{reader}"))?;
                revoked.iter().try_for_each(|reader| write!(f, " -{reader}"))
            }
            Self::View { view } => write!(f, "view {view}"),
            Self::Code => f.write_str("code"),
            Self::Mode => f.write_str("output mode"),
            Self::Inputs => f.write_str("inputs"),
            Self::Transformer => f.write_str("transformer"),
            Self::Kind => f.write_str("kind of node"),
        }
    }
}

fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}
