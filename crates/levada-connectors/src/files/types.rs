//! The columns of other people's Parquet files as the model's types: exactly, or not at all.

use crate::literal::{ColumnBuilder, Scalar};
use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, ListArray, MapArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::kernels::cmp::not_distinct;
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType as Arrow, Int32Type};
use levada_flow::arrow_schema::arrow_type;
use levada_model::DataType;
use std::sync::Arc;

/// A column that is not of the model's type; `row` counts from 0 in its batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    pub(super) row: Option<usize>,
    pub(super) reason: String,
}

/// A column as the model's type.
pub(super) fn exactly(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, Misfit> {
    let target = arrow_type(data_type);
    let array = plain(array)?;
    match (array.data_type(), data_type) {
        (Arrow::Utf8, DataType::Text) => Ok(array),
        (Arrow::Utf8, _) => {
            built(&array, data_type, |builder, row| builder.append_text(array.as_string::<i32>().value(row)))
        }
        (found, DataType::Uuid | DataType::Interval | DataType::BinaryFixed(_)) if *found == target => Ok(array),
        (Arrow::Binary, DataType::Binary) => Ok(array),
        (Arrow::Binary, DataType::Uuid | DataType::BinaryFixed(_)) => built(&array, data_type, |builder, row| {
            builder.append(&Scalar::Bytes(array.as_binary::<i32>().value(row).into()))
        }),
        (Arrow::FixedSizeBinary(_), DataType::Binary) => built(&array, data_type, |builder, row| {
            builder.append(&Scalar::Bytes(array.as_fixed_size_binary().value(row).into()))
        }),
        (Arrow::Timestamp(_, Some(_)), DataType::Timestamp) => Err(unfit(&array, "times with a zone are timestamptz")),
        (_, DataType::Int8) => ranged(number(&array, &target)?, i8::MIN.into(), i8::MAX.into()),
        (_, DataType::Int16) => ranged(number(&array, &target)?, i16::MIN.into(), i16::MAX.into()),
        (_, DataType::List(_) | DataType::Struct(_) | DataType::Map(..) | DataType::Vector(_)) => {
            nested(&array, data_type, target)
        }
        _ => number(&array, &target),
    }
}

/// Texts and bytes in Arrow's first forms, dictionaries spelled out.
fn plain(array: &ArrayRef) -> Result<ArrayRef, Misfit> {
    let target = match array.data_type() {
        Arrow::LargeUtf8 | Arrow::Utf8View => Arrow::Utf8,
        Arrow::LargeBinary | Arrow::BinaryView => Arrow::Binary,
        Arrow::Dictionary(_, values) => values.as_ref().clone(),
        _ => return Ok(array.clone()),
    };
    let array = cast(array, &target).map_err(|error| Misfit { row: None, reason: error.to_string() })?;
    if *array.data_type() == target && !matches!(target, Arrow::LargeUtf8 | Arrow::Utf8View) {
        Ok(array)
    } else {
        plain(&array)
    }
}

fn unfit(array: &ArrayRef, why: &str) -> Misfit {
    Misfit { row: None, reason: format!("the file has {}: {why}", array.data_type()) }
}

/// Value by value through the parser.
fn built(
    array: &ArrayRef,
    data_type: &DataType,
    append: impl Fn(&mut ColumnBuilder, usize) -> Result<(), crate::literal::ValueError>,
) -> Result<ArrayRef, Misfit> {
    let mut builder = ColumnBuilder::new(data_type);
    for row in 0..array.len() {
        let appended = if array.is_null(row) { builder.append(&Scalar::Null) } else { append(&mut builder, row) };
        appended.map_err(|error| Misfit { row: Some(row), reason: error.to_string() })?;
    }
    Ok(builder.finish())
}

/// A cast that loses nothing: the way back gives the same.
fn number(array: &ArrayRef, target: &Arrow) -> Result<ArrayRef, Misfit> {
    if array.data_type() == target {
        return Ok(array.clone());
    }
    if !has_same_meaning(array.data_type(), target) {
        return Err(unfit(array, "that is another type"));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let lost = |error: arrow::error::ArrowError| unfit(array, &error.to_string());
    let there = cast_with_options(array, target, &options).map_err(lost)?;
    let back = cast_with_options(&there, array.data_type(), &options).map_err(lost)?;
    let is_same = not_distinct(array, &back).map_err(lost)?;
    match (0..array.len()).find(|row| !is_same.value(*row)) {
        None => Ok(there),
        Some(row) => Err(Misfit { row: Some(row), reason: "the value would lose digits".to_owned() }),
    }
}

/// Whether a cast between both keeps what a value means.
fn has_same_meaning(from: &Arrow, to: &Arrow) -> bool {
    let is_number = |data_type: &Arrow| data_type.is_numeric();
    let is_date = |data_type: &Arrow| matches!(data_type, Arrow::Date32 | Arrow::Date64);
    let is_time = |data_type: &Arrow| matches!(data_type, Arrow::Time32(_) | Arrow::Time64(_));
    let is_instant = |data_type: &Arrow| matches!(data_type, Arrow::Timestamp(..));
    [&is_number as &dyn Fn(&Arrow) -> bool, &is_date, &is_time, &is_instant].iter().any(|is| is(from) && is(to))
}

fn ranged(array: ArrayRef, least: i32, greatest: i32) -> Result<ArrayRef, Misfit> {
    let numbers = array.as_primitive::<Int32Type>();
    match numbers.iter().position(|number| number.is_some_and(|number| !(least..=greatest).contains(&number))) {
        None => Ok(array),
        Some(row) => Err(Misfit { row: Some(row), reason: format!("{} is out of range", numbers.value(row)) }),
    }
}

/// Lists, structs, maps and vectors, what is inside by the same rules; structs by the same names in
/// the same order.
fn nested(array: &ArrayRef, data_type: &DataType, target: Arrow) -> Result<ArrayRef, Misfit> {
    let unfit_by = |error: arrow::error::ArrowError| unfit(array, &error.to_string());
    Ok(match (array.data_type(), data_type, target) {
        (Arrow::List(_), DataType::List(item), Arrow::List(field)) => {
            let lists = array.as_list::<i32>();
            let items = exactly(lists.values(), item).map_err(|misfit| misfit.in_list(lists.offsets()))?;
            let made = ListArray::try_new(field, lists.offsets().clone(), items, lists.nulls().cloned());
            Arc::new(made.map_err(unfit_by)?)
        }
        (Arrow::FixedSizeList(_, found), DataType::Vector(_), Arrow::FixedSizeList(field, length))
            if *found == length =>
        {
            let vectors = array.as_fixed_size_list();
            let width = usize::try_from(length).unwrap_or(0).max(1);
            let in_vector = |misfit: Misfit| Misfit { row: misfit.row.map(|row| row / width), ..misfit };
            let items = exactly(vectors.values(), &DataType::Float32).map_err(in_vector)?;
            let made = FixedSizeListArray::try_new(field, length, items, vectors.nulls().cloned());
            Arc::new(made.map_err(unfit_by)?)
        }
        (Arrow::Map(..), DataType::Map(key, value), Arrow::Map(field, is_sorted)) => {
            let maps = array.as_map();
            let in_map = |misfit: Misfit| misfit.in_list(maps.offsets());
            let columns =
                vec![exactly(maps.keys(), key).map_err(in_map)?, exactly(maps.values(), value).map_err(in_map)?];
            let Arrow::Struct(fields) = field.data_type() else { unreachable!("entries are structs") };
            let entries = StructArray::try_new(fields.clone(), columns, None).map_err(unfit_by)?;
            let made = MapArray::try_new(field, maps.offsets().clone(), entries, maps.nulls().cloned(), is_sorted);
            Arc::new(made.map_err(unfit_by)?)
        }
        (Arrow::Struct(found), DataType::Struct(members), Arrow::Struct(fields))
            if found.iter().map(|field| field.name()).eq(members.iter().map(|(name, _)| name)) =>
        {
            let structs = array.as_struct();
            let columns = structs.columns().iter().zip(members).map(|(column, (_, member))| exactly(column, member));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            Arc::new(StructArray::try_new(fields, columns, structs.nulls().cloned()).map_err(unfit_by)?)
        }
        (_, _, target) => return Err(unfit(array, &format!("the model needs {target}"))),
    })
}

impl Misfit {
    /// The same, told by the row that the element lies in.
    fn in_list(self, offsets: &OffsetBuffer<i32>) -> Self {
        let is_before = |element: usize| move |start: &i32| usize::try_from(*start).is_ok_and(|start| start <= element);
        let row = self.row.map(|element| offsets.partition_point(is_before(element)).saturating_sub(1));
        Self { row, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        Decimal128Array, Float64Array, Int32Array, Int32Builder, Int64Array, MapBuilder, StringArray, StringBuilder,
        TimestampNanosecondArray, UInt64Array,
    };
    use arrow::datatypes::{Field, Fields};

    fn try_as(array: impl Array + 'static, data_type: &str) -> Result<ArrayRef, Misfit> {
        exactly(&(Arc::new(array) as ArrayRef), &data_type.parse().expect("a type"))
    }

    #[test]
    fn a_value_arrives_whole_or_its_row_is_named() {
        assert!(try_as(UInt64Array::from(vec![7]), "int64").is_ok());
        assert!(try_as(UInt64Array::from(vec![u64::MAX]), "int64").is_err());
        assert_eq!(try_as(Int64Array::from(vec![1, 300]), "int8").expect_err("it is no int8").row, Some(1));
        assert_eq!(try_as(Float64Array::from(vec![1.0, 1.5]), "int32").expect_err("it is not whole").row, Some(1));
        assert_eq!(
            try_as(TimestampNanosecondArray::from(vec![1_000, 1_001]), "timestamp").expect_err("ns").row,
            Some(1)
        );
        let decimals = || Decimal128Array::from(vec![100, 125]).with_precision_and_scale(9, 2).expect("valid");
        assert!(try_as(decimals(), "decimal(12,3)").is_ok());
        assert_eq!(try_as(decimals(), "decimal(9,1)").expect_err("1.25 has two digits").row, Some(1));
        assert!(try_as(StringArray::from(vec!["00112233-4455-6677-8899-aabbccddeeff"]), "uuid").is_ok());
        assert!(try_as(Int64Array::from(vec![1]), "date").is_err(), "a number is no date");
        assert_eq!(try_as(StringArray::from(vec!["ab", "abc"]), "varchar(2)").expect_err("too long").row, Some(1));
    }

    /// Two lists: the first two values, and the last.
    fn lists(values: impl Array + 'static) -> ListArray {
        let field = Arc::new(Field::new("item", values.data_type().clone(), true));
        let lengths = [2, values.len() - 2];
        ListArray::new(field, OffsetBuffer::from_lengths(lengths), Arc::new(values), None)
    }

    #[test]
    fn what_is_inside_of_a_value_is_checked_like_the_value() {
        let texts = |last: &str| lists(StringArray::from(vec!["1", "ab", last]));
        assert!(try_as(lists(Int32Array::from(vec![1, -128, 127])), "list<int8>").is_ok());
        assert_eq!(
            try_as(lists(Int32Array::from(vec![1, 2, 300])), "list<int8>").expect_err("out of range").row,
            Some(1)
        );
        assert_eq!(try_as(texts("toolong"), "list<varchar(2)>").expect_err("too long").row, Some(1));
        assert_eq!(try_as(texts("1"), "list<json>").expect_err("ab is no JSON").row, Some(0));
        assert!(try_as(lists(Int64Array::from(vec![1, 2, 3])), "list<int32>").is_ok(), "no digit is lost");

        let fields = Fields::from(vec![Field::new("a", Arrow::Int32, true)]);
        let structs = |value| StructArray::new(fields.clone(), vec![Arc::new(Int32Array::from(vec![1, value]))], None);
        assert!(try_as(structs(2), "struct<a: int8>").is_ok());
        assert_eq!(try_as(structs(300), "struct<a: int8>").expect_err("out of range").row, Some(1));
        assert!(try_as(structs(2), "struct<b: int8>").is_err(), "names are what they are");

        let mut maps = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
        for value in [1, 300] {
            maps.keys().append_value("k");
            maps.values().append_value(value);
            maps.append(true).expect("a key and a value");
        }
        assert_eq!(try_as(maps.finish(), "map<text, int8>").expect_err("out of range").row, Some(1));
    }
}
