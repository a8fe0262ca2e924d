//! The watermark of one dataset in one pull: which rows are new, and the greatest value among them.
//!
//! SQLite compares values by what they happen to be stored as, so its own condition only skips
//! what is certainly old (and may use an index); each row is then judged by its parsed value.

use super::config::quoted;
use super::tables::SourceTable;
use crate::literal::{Scalar, ValueError, ordinal, print_ordinal};
use levada_flow::source::{PullDataset, PullRequest};
use levada_flow::{FlowError, Position};
use levada_model::DataType;
use levada_model::model::IngestKind;
use levada_model::period::Period;
use rusqlite::types::Value;

const DAY_SECONDS: u64 = 86_400;

/// A value in the order of its type.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Place {
    Number(i128),
    Text(String),
}

/// Judges the rows of one dataset.
pub(super) struct Watermark {
    position: usize,
    source_column: String,
    data_type: DataType,
    least: Option<Place>,
    greatest: Option<Place>,
}

impl Watermark {
    /// Prepares for one dataset; `None`: the pull is a snapshot.
    pub(super) fn new(
        request: &PullRequest,
        previous: Option<&Position>,
        dataset: &PullDataset,
    ) -> Result<Option<Self>, FlowError> {
        let IngestKind::Watermark { column, overlap, .. } = &request.kind else {
            return Ok(None);
        };
        let name = &dataset.dataset;
        let column = dataset.watermark.as_ref().or(column.as_ref());
        let column = column.ok_or_else(|| FlowError::never(format!("dataset {name} names no watermark column")))?;
        let position = dataset.schema.position(column.as_str()).ok_or_else(|| {
            FlowError::never(format!("the watermark column {column:?} is not a column of dataset {name}"))
        })?;
        let of = &dataset.schema.columns[position];
        let mut watermark = Self {
            position,
            source_column: of.source_name().to_owned(),
            data_type: of.data_type.clone(),
            least: None,
            greatest: None,
        };
        if let Some(Position::Watermark { greatest }) = previous
            && let Some(greatest) = greatest.get(name.as_str())
        {
            let place = watermark.place(&Scalar::Text(greatest.into()));
            let stored = || format!("the stored watermark of dataset {name} can't be read");
            watermark.greatest = Some(place.map_err(|error| FlowError::never(stored()).because(error))?);
        }
        watermark.least = match (&watermark.greatest, overlap) {
            (Some(Place::Number(number)), Some(overlap)) => {
                let back = back(*overlap, &watermark.data_type)
                    .ok_or_else(|| unfit_overlap(column.as_str(), name.as_str()))?;
                Some(Place::Number(number - back))
            }
            (Some(Place::Text(_)), Some(_)) => return Err(unfit_overlap(column.as_str(), name.as_str())),
            (greatest, _) => greatest.clone(),
        };
        match watermark.data_type {
            DataType::Char(_) | DataType::Varchar(_) | DataType::Text => Ok(Some(watermark)),
            _ if ordinal(&Scalar::Null, &watermark.data_type).is_some() => Ok(Some(watermark)),
            _ => Err(FlowError::never(format!(
                "the watermark column {column:?} of dataset {name} is {}, which has no order to go by",
                watermark.data_type
            ))),
        }
    }

    /// Whether nothing was read before, so that all rows are taken.
    pub(super) fn is_first(&self) -> bool {
        self.least.is_none()
    }

    /// The column's position in the dataset's schema.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// The column's name at the source.
    pub(super) fn source_column(&self) -> &str {
        &self.source_column
    }

    /// Whether a row with this value is new enough; remembers the greatest.
    pub(super) fn takes(&mut self, scalar: &Scalar<'_>) -> Result<bool, ValueError> {
        if matches!(scalar, Scalar::Null) {
            return Ok(true);
        }
        let place = Some(self.place(scalar)?);
        let is_new = place >= self.least;
        self.greatest = self.greatest.take().max(place);
        Ok(is_new)
    }

    /// The greatest value so far, as it is stored; `None`: there was none.
    pub(super) fn greatest(&self) -> Option<String> {
        Some(match self.greatest.as_ref()? {
            Place::Number(number) => print_ordinal(*number, &self.data_type),
            Place::Text(text) => text.clone(),
        })
    }

    /// SQLite's condition and its parameter; `None`: all rows have to be looked at.
    pub(super) fn condition(&self, table: &SourceTable) -> Option<(String, Value)> {
        let column = format!("t.{}", quoted(&self.source_column));
        // Before '/' sort numbers, which the row's own check has to refuse, and signed years; every
        // four-digit year sorts behind. (A '0' here would be compared as a number.)
        let text = |before: &str| {
            format!("{column} COLLATE BINARY >= ?1 OR {column} COLLATE BINARY < '{before}' OR {column} IS NULL")
        };
        match (self.least.as_ref()?, &self.data_type) {
            (Place::Text(least), _) => Some((text(""), Value::Text(least.clone()))),
            (Place::Number(least), DataType::Date | DataType::Timestamp | DataType::Timestamptz) => {
                Some((text("/"), Value::Text(day_before(*least, &self.data_type)?)))
            }
            (Place::Number(least), data_type) if table.is_numeric(&self.source_column) => {
                let unit = if let DataType::Decimal(_, scale) = data_type { 10_i128.pow((*scale).into()) } else { 1 };
                let least = i64::try_from(least.div_euclid(unit)).ok()?;
                Some((format!("{column} >= ?1 OR {column} IS NULL"), Value::Integer(least)))
            }
            _ => None,
        }
    }

    fn place(&self, scalar: &Scalar<'_>) -> Result<Place, ValueError> {
        match (ordinal(scalar, &self.data_type), scalar) {
            (Some(number), _) => number.map(Place::Number),
            (None, Scalar::Text(text)) => Ok(Place::Text(text.clone().into_owned())),
            (None, other) => {
                Err(ValueError { value: other.shown(), wanted: self.data_type.to_string(), reason: "it is not text" })
            }
        }
    }
}

fn unfit_overlap(column: &str, dataset: &str) -> FlowError {
    FlowError::never(format!("the watermark column {column:?} of dataset {dataset} is no date or time"))
        .hint("take `overlap` away, it is a length of time")
}

/// An overlap in the units of the type; months and years by their average length.
fn back(overlap: Period, data_type: &DataType) -> Option<i128> {
    let seconds = overlap.approximate_seconds();
    match data_type {
        DataType::Date => Some(seconds.div_ceil(DAY_SECONDS).into()),
        DataType::Timestamp | DataType::Timestamptz => Some(i128::from(seconds) * 1_000_000),
        _ => None,
    }
}

/// The day before, as every spelling of a date or time from `least` on sorts behind it: whether
/// with `T` or a space, in whatever zone. `None`: its year has not four digits.
fn day_before(least: i128, data_type: &DataType) -> Option<String> {
    let days = if *data_type == DataType::Date { least } else { least.div_euclid(86_400_000_000) };
    let text = print_ordinal(days - 1, &DataType::Date);
    text.starts_with(|c: char| c.is_ascii_digit()).then_some(text)
}
