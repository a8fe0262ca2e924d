//! Evolution: what may change under consumers without breaking them.
//!
//! A new type holds every old value, a new column is nullable, a key never changes in place, and
//! nothing in use goes without being deprecated first.

mod against;
mod in_force;

pub use against::{Consumer, Evolution, broken, evolve};
pub(crate) use in_force::check;

use crate::diff::ColumnDifference;
use crate::lint::codes;
use levada_model::{Code, DataType};
use serde::{Deserialize, Serialize};

/// How many consumers a finding names before it counts the others.
const HIT_SHOWN_MAX: usize = 5;

/// What a change means for a consumer who does nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContractEffect {
    /// It sees no difference.
    None,
    /// It sees one and goes on working.
    Compatible,
    /// Its code may fail or tell lies.
    Breaking,
}

impl ContractEffect {
    /// The word in plans.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Compatible => "compatible",
            Self::Breaking => "breaking",
        }
    }
}

/// What a column's difference means for its consumers.
pub fn effect_of(difference: &ColumnDifference) -> ContractEffect {
    match difference {
        ColumnDifference::Source { .. } => ContractEffect::None,
        ColumnDifference::Added { .. } | ColumnDifference::Reordered => ContractEffect::Compatible,
        ColumnDifference::Retyped { from, to, .. } if widens(from, to) => ContractEffect::Compatible,
        ColumnDifference::Nullability { nullable: false, .. } => ContractEffect::Compatible,
        ColumnDifference::Nullability { nullable: true, .. }
        | ColumnDifference::Retyped { .. }
        | ColumnDifference::Removed { .. }
        | ColumnDifference::Key { .. } => ContractEffect::Breaking,
    }
}

/// The law that a difference breaks in place, whoever consumes it.
fn broken_law(difference: &ColumnDifference) -> Option<Code> {
    match difference {
        ColumnDifference::Retyped { from, to, .. } if !widens(from, to) => Some(codes::TYPE_NARROWED),
        ColumnDifference::Added { column } if !column.nullable => Some(codes::COLUMN_NOT_NULLABLE),
        ColumnDifference::Key { .. } => Some(codes::KEY_CHANGED),
        ColumnDifference::Removed { column } if column.key => Some(codes::KEY_CHANGED),
        _ => None,
    }
}

/// Names the consumers that a change hits, as many as fit in a sentence.
fn hit(mut consumers: Vec<String>) -> String {
    let more = consumers.len().saturating_sub(HIT_SHOWN_MAX);
    consumers.truncate(HIT_SHOWN_MAX);
    let names = consumers.join(", ");
    if more > 0 { format!("{names} and {more} more") } else { names }
}

/// Whether the new type holds every value of the old one, exactly.
pub fn widens(old: &DataType, new: &DataType) -> bool {
    use DataType as T;
    if old == new {
        return true;
    }
    match (old, new) {
        (T::Int8 | T::Int16 | T::Int32 | T::Int64, _) => integer_widens(old, new),
        (T::Float32, T::Float64) => true,
        (T::Decimal(precision, scale), T::Decimal(wider, finer)) => {
            finer >= scale && i16::from(*wider) - i16::from(*finer) >= i16::from(*precision) - i16::from(*scale)
        }
        (T::Decimal(precision, 0), _) => whole_digits(new).is_some_and(|digits| *precision < digits),
        (T::Char(length), T::Char(longer) | T::Varchar(longer)) | (T::Varchar(length), T::Varchar(longer)) => {
            longer >= length
        }
        (T::Char(_) | T::Varchar(_), T::Text) => true,
        (T::BinaryFixed(_), T::Binary) => true,
        (T::Date, T::Timestamp) => true,
        (T::List(old), T::List(new)) => widens(old, new),
        (T::Map(old_key, old_value), T::Map(new_key, new_value)) => old_key == new_key && widens(old_value, new_value),
        (T::Struct(old), T::Struct(new)) => {
            let holds = |(name, data_type): &(String, DataType)| {
                new.iter().any(|(other, wider)| other == name && widens(data_type, wider))
            };
            old.iter().all(holds)
        }
        _ => false,
    }
}

/// The decimal digits of the largest value of an integer type.
fn whole_digits(data_type: &DataType) -> Option<u8> {
    match data_type {
        DataType::Int8 => Some(3),
        DataType::Int16 => Some(5),
        DataType::Int32 => Some(10),
        DataType::Int64 => Some(19),
        _ => None,
    }
}

fn integer_widens(old: &DataType, new: &DataType) -> bool {
    let Some(digits) = whole_digits(old) else { return false };
    match new {
        DataType::Decimal(precision, scale) => precision - scale >= digits,
        // The digits that a float keeps exactly: 24 bits hold every int16, 53 bits every int32.
        DataType::Float32 => digits <= 5,
        DataType::Float64 => digits <= 10,
        other => whole_digits(other).is_some_and(|wider| wider > digits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DataType as T;

    #[test]
    fn a_new_type_holds_every_old_value() {
        let wider = [
            (T::Int8, T::Int64),
            (T::Int32, T::Decimal(10, 0)),
            (T::Int32, T::Float64),
            (T::Decimal(10, 2), T::Decimal(12, 4)),
            (T::Decimal(9, 0), T::Int32),
            (T::Varchar(5), T::Varchar(6)),
            (T::Char(5), T::Text),
            (T::BinaryFixed(3), T::Binary),
            (T::List(Box::new(T::Int8)), T::List(Box::new(T::Int16))),
        ];
        for (old, new) in &wider {
            assert!(widens(old, new), "{old:?} -> {new:?}");
            assert!(!widens(new, old), "{new:?} -> {old:?}");
        }
        let others = [
            (T::Int64, T::Float64),
            (T::Int32, T::Decimal(9, 0)),
            (T::Decimal(10, 2), T::Decimal(11, 4)),
            (T::Decimal(10, 0), T::Int32),
            (T::Text, T::Json),
            (T::Timestamp, T::Timestamptz),
            (T::Int32, T::Text),
        ];
        for (old, new) in &others {
            assert!(!widens(old, new), "{old:?} -> {new:?}");
        }
    }

    #[test]
    fn structs_may_gain_fields_and_lose_none() {
        let one = T::Struct(vec![("a".into(), T::Int8)]);
        let two = T::Struct(vec![("a".into(), T::Int16), ("b".into(), T::Text)]);
        assert!(widens(&one, &two) && !widens(&two, &one));
    }
}
