//! Whether a transformer's result is what the model promises, and its rows as the model types them.
//!
//! Takes the result's columns before the first row, compares all of them with the output's and
//! tells everything that is wrong at once. Then takes rows, casts them, and stops at the first
//! value that the column can't hold, naming column and row.

use crate::FlowError;
use crate::arrow_schema::{arrow_schema, arrow_type};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use arrow::datatypes::{
    DataType as Arrow, Field, Float32Type, Float64Type, Int32Type, Schema as ArrowSchema, SchemaRef,
};
use levada_model::nearest::nearest;
use levada_model::{DataType, Schema, SchemaColumn};
use std::sync::Arc;

/// The column that says what a row of changes does.
const OPERATION: &str = "lv_op";

/// How a result becomes rows of the output.
#[derive(Debug)]
pub struct Fit {
    columns: Vec<FitColumn>,
    schema: SchemaRef,
    rows_before: usize,
}

/// One column of the output.
#[derive(Debug)]
struct FitColumn {
    /// Its position in the result.
    position: usize,
    column: SchemaColumn,
}

impl Fit {
    /// Compares the result's columns with those of the output, by name, ignoring case;
    /// `has_operations` asks for an int32 `lv_op` besides.
    ///
    /// # Errors
    /// Some are missing, too many, twice, or of a type that doesn't become the promised one: all of
    /// them in one error.
    pub fn new(result: &ArrowSchema, schema: &Schema, has_operations: bool) -> Result<Self, FlowError> {
        let mut expected = schema.columns.clone();
        if has_operations {
            let name = OPERATION.parse().expect("it is a name");
            expected.push(SchemaColumn { name, from: None, data_type: DataType::Int32, nullable: false, key: false });
        }
        let found: Vec<String> = result.fields().iter().map(|field| field.name().to_lowercase()).collect();
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        let mut problems = Vec::new();
        let mut columns = Vec::with_capacity(expected.len());
        for column in &expected {
            let folded = column.name.folded();
            match found.iter().position(|name| *name == folded) {
                None => problems.push(missing(column, &expected, &found)),
                Some(position) => {
                    problems.extend(misfit(column, result.field(position)));
                    columns.push(FitColumn { position, column: column.clone() });
                }
            }
        }
        for (position, name) in found.iter().enumerate() {
            let is_expected = expected.iter().any(|column| column.name.folded() == *name);
            if found[..position].contains(name) {
                problems.push(format!("column {name} comes twice"));
            } else if !is_expected && *name == OPERATION {
                problems.push(format!("column {name} goes with `mode: changes` only"));
            } else if !is_expected {
                problems.push(format!("column {name} is not in the model: leave it out or declare it"));
            }
        }
        match problems.is_empty() {
            true => Ok(Self { columns, schema: output_schema(schema, has_operations), rows_before: 0 }),
            false => Err(FlowError::never(format!("the result's columns don't fit: {}", problems.join("; ")))),
        }
    }

    /// The rows as the output has them.
    ///
    /// # Errors
    /// A value doesn't fit its column.
    pub fn apply(&mut self, rows: &RecordBatch) -> Result<RecordBatch, FlowError> {
        let fitted = self.columns.iter().map(|FitColumn { position, column }| {
            fitted(rows.column(*position), column).map_err(|(row, problem)| {
                let row = self.rows_before + row + 1;
                FlowError::never(format!("column {:?}, row {row} of the result: {problem}", column.name.as_str()))
            })
        });
        let fitted = fitted.collect::<Result<Vec<_>, _>>()?;
        self.rows_before += rows.num_rows();
        RecordBatch::try_new(self.schema.clone(), fitted)
            .map_err(|error| FlowError::never("the result can't be typed as the model says").because(error))
    }
}

/// The columns of an output: the dataset's, and an int32 `lv_op` where `has_operations`.
pub fn output_schema(schema: &Schema, has_operations: bool) -> SchemaRef {
    let schema = arrow_schema(schema);
    if !has_operations {
        return schema;
    }
    let operation = Arc::new(Field::new(OPERATION, Arrow::Int32, false));
    Arc::new(ArrowSchema::new(schema.fields().iter().cloned().chain([operation]).collect::<Vec<_>>()))
}

fn missing(column: &SchemaColumn, expected: &[SchemaColumn], found: &[&str]) -> String {
    let is_extra = |name: &&&str| !expected.iter().any(|column| column.name.folded() == **name);
    let near = nearest(&column.name.folded(), found.iter().filter(is_extra).copied());
    let hint = near.map(|near| format!(" (there is {near}: name it AS \"{}\"?)", column.name)).unwrap_or_default();
    format!("column {} {} is missing{hint}", column.name, column.data_type)
}

fn misfit(column: &SchemaColumn, found: &Field) -> Option<String> {
    let hint = match becomes(found.data_type(), &column.data_type) {
        Becomes::Fits => return None,
        Becomes::By(hint) => format!(" ({hint})"),
        Becomes::Never => String::new(),
    };
    Some(format!("column {} is {}, not {}{hint}", column.name, found.data_type(), column.data_type))
}

/// Whether values of one type become another without somebody's decision.
enum Becomes {
    Fits,
    /// Only by what the hint says.
    By(&'static str),
    Never,
}

fn becomes(from: &Arrow, to: &DataType) -> Becomes {
    use DataType as Model;
    let target = arrow_type(to);
    match (from, to) {
        (Arrow::Dictionary(_, values), _) => becomes(values, to),
        (Arrow::Null, _) => Becomes::Fits,
        (from, _) if *from == target => Becomes::Fits,
        (from, Model::Int8 | Model::Int16 | Model::Int32 | Model::Int64) => match from {
            from if from.is_integer() => Becomes::Fits,
            Arrow::Decimal128(_, 0) | Arrow::Decimal256(_, 0) => Becomes::Fits,
            from if from.is_numeric() => Becomes::By("say how to round: CAST(ROUND(…) AS BIGINT)"),
            _ => Becomes::Never,
        },
        (Arrow::Decimal128(_, scale) | Arrow::Decimal256(_, scale), Model::Decimal(_, target))
            if i64::from(*scale) <= i64::from(*target) =>
        {
            Becomes::Fits
        }
        (from, Model::Decimal(..)) if from.is_numeric() && !from.is_integer() => {
            Becomes::By("say how to round: CAST(ROUND(…) AS DECIMAL(…))")
        }
        (from, Model::Float32 | Model::Float64 | Model::Decimal(..)) if from.is_numeric() => Becomes::Fits,
        (
            Arrow::Utf8 | Arrow::LargeUtf8 | Arrow::Utf8View,
            Model::Char(_) | Model::Varchar(_) | Model::Text | Model::Json,
        ) => Becomes::Fits,
        (_, Model::Char(_) | Model::Varchar(_) | Model::Text) => Becomes::By("CAST(… AS VARCHAR)"),
        (Arrow::Timestamp(_, None), Model::Timestamp) => Becomes::Fits,
        (Arrow::Timestamp(_, Some(_)), Model::Timestamptz) => Becomes::Fits,
        (Arrow::Date32 | Arrow::Date64, Model::Date | Model::Timestamp) => Becomes::Fits,
        (Arrow::Timestamp(_, Some(_)), Model::Timestamp) => {
            Becomes::By("say in which zone: CAST(… AS TIMESTAMP) is UTC")
        }
        (Arrow::Timestamp(_, None) | Arrow::Date32, Model::Timestamptz) => {
            Becomes::By("say in which zone: … AT TIME ZONE 'UTC'")
        }
        (Arrow::Timestamp(..), Model::Date) => Becomes::By("CAST(… AS DATE)"),
        (Arrow::Time32(_) | Arrow::Time64(_), Model::Time) => Becomes::Fits,
        (
            Arrow::Binary | Arrow::LargeBinary | Arrow::BinaryView | Arrow::FixedSizeBinary(_),
            Model::Binary | Model::BinaryFixed(_) | Model::Uuid,
        ) => Becomes::Fits,
        (
            Arrow::List(_) | Arrow::LargeList(_) | Arrow::FixedSizeList(..) | Arrow::Struct(_) | Arrow::Map(..),
            Model::List(_) | Model::Struct(_) | Model::Map(..) | Model::Vector(_),
        ) if can_cast_types(from, &target) => Becomes::Fits,
        _ => Becomes::Never,
    }
}

/// A row's position and what is wrong with its value.
type Misfit = (usize, String);

fn fitted(array: &ArrayRef, column: &SchemaColumn) -> Result<ArrayRef, Misfit> {
    let target = arrow_type(&column.data_type);
    let cast = match *array.data_type() == target {
        true => array.clone(),
        false => cast(array, &target, column)?,
    };
    if (column.key || !column.nullable) && cast.null_count() > 0 {
        let row = (0..cast.len()).find(|row| cast.is_null(*row)).expect("there is a null");
        return Err((row, "it is NULL, and the column is not nullable".to_owned()));
    }
    match &column.data_type {
        DataType::Varchar(length) => check_length(&cast, *length, str::len, str::chars, column)?,
        DataType::Char(length) => {
            let kept = |text: &str| text.trim_end_matches(' ').len();
            check_length(&cast, *length, kept, |text| text.trim_end_matches(' ').chars(), column)?;
        }
        DataType::Int8 => check_range(&cast, i32::from(i8::MIN), i32::from(i8::MAX), column)?,
        DataType::Int16 => check_range(&cast, i32::from(i16::MIN), i32::from(i16::MAX), column)?,
        _ => {}
    }
    Ok(cast)
}

/// Casts; what has no image becomes null, which is then an error.
fn cast(array: &ArrayRef, target: &Arrow, column: &SchemaColumn) -> Result<ArrayRef, Misfit> {
    if let Some(row) = wrong_bytes(array, target) {
        return Err((row, format!("its length is not that of {}", column.data_type)));
    }
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let cast = cast_with_options(array, target, &options)
        .map_err(|error| (0, format!("it can't become {}: {error}", column.data_type)))?;
    let is_lost = |row: &usize| cast.is_null(*row) && !array.is_null(*row);
    let lost = (cast.null_count() > array.logical_null_count()).then(|| (0..cast.len()).find(is_lost)).flatten();
    match lost.or_else(|| infinite(array, &cast)) {
        Some(row) => Err((row, format!("the value doesn't fit {}", column.data_type))),
        None => Ok(cast),
    }
}

/// The first finite value that is none any more as a 32-bit float.
fn infinite(array: &ArrayRef, cast: &ArrayRef) -> Option<usize> {
    let floats = cast.as_primitive_opt::<Float32Type>()?;
    let is_infinite = |row: &usize| floats.is_valid(*row) && floats.value(*row).is_infinite();
    let mut infinite = (0..floats.len()).filter(is_infinite);
    match array.as_primitive_opt::<Float64Type>() {
        Some(before) => infinite.find(|row| before.value(*row).is_finite()),
        None => infinite.next(),
    }
}

/// The first value that is not as long as fixed binaries have to be.
fn wrong_bytes(array: &ArrayRef, target: &Arrow) -> Option<usize> {
    let Arrow::FixedSizeBinary(length) = target else { return None };
    let length = usize::try_from(*length).ok()?;
    let plain = cast_with_options(array, &Arrow::Binary, &CastOptions::default()).ok()?;
    let plain = plain.as_binary_opt::<i32>()?;
    (0..plain.len()).find(|row| plain.is_valid(*row) && plain.value(*row).len() != length)
}

/// Lengths count characters; bytes are never fewer, so most texts are seen to fit without counting.
fn check_length<'a, C: Iterator>(
    array: &'a ArrayRef,
    length: u32,
    bytes: impl Fn(&str) -> usize,
    characters: impl Fn(&'a str) -> C,
    column: &SchemaColumn,
) -> Result<(), Misfit> {
    let texts = array.as_string::<i32>();
    let length = usize::try_from(length).expect("32 bits fit");
    for (row, text) in texts.iter().enumerate() {
        if let Some(text) = text.filter(|text| bytes(text) > length) {
            let found = characters(text).count();
            if found > length {
                return Err((row, format!("it has {found} characters, {} holds {length}", column.data_type)));
            }
        }
    }
    Ok(())
}

fn check_range(array: &ArrayRef, least: i32, most: i32, column: &SchemaColumn) -> Result<(), Misfit> {
    let integers = array.as_primitive::<Int32Type>();
    match integers.iter().position(|value| value.is_some_and(|value| !(least..=most).contains(&value))) {
        Some(row) => Err((row, format!("the value doesn't fit {}", column.data_type))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Decimal128Array, Float64Array, Int64Array, StringArray};
    use levada_model::SchemaColumn;
    use levada_model::name::ColumnName;

    fn schema() -> Schema {
        let column = |name: &str, data_type, nullable| SchemaColumn {
            name: ColumnName::parse(name).expect("a name"),
            from: None,
            data_type,
            nullable,
            key: false,
        };
        Schema { columns: vec![column("id", DataType::Int32, false), column("name", DataType::Varchar(3), true)] }
    }

    fn rows(ids: Vec<Option<i64>>, names: Vec<Option<&str>>) -> RecordBatch {
        let columns: [(&str, ArrayRef); 2] =
            [("name", Arc::new(StringArray::from(names))), ("id", Arc::new(Int64Array::from(ids)))];
        RecordBatch::try_from_iter(columns).expect("two columns of one length")
    }

    fn fit(rows: &RecordBatch) -> Result<RecordBatch, FlowError> {
        Fit::new(&rows.schema(), &schema(), false)?.apply(rows)
    }

    #[test]
    fn columns_are_matched_by_name_and_cast() {
        let fitted = fit(&rows(vec![Some(7)], vec![Some("äöü")])).expect("fits");
        assert_eq!(fitted.schema().field(0).name(), "id");
        assert_eq!(fitted.column(0).data_type(), &Arrow::Int32);
    }

    #[test]
    fn what_does_not_fit_names_column_and_row() {
        let first = rows(vec![Some(1)], vec![None]);
        let mut started = Fit::new(&first.schema(), &schema(), false).expect("the columns fit");
        started.apply(&first).expect("fits");
        let long = started.apply(&rows(vec![Some(2)], vec![Some("abcd")])).expect_err("too long").to_string();
        assert!(long.contains("row 2") && long.contains("\"name\""), "{long}");
        assert!(fit(&rows(vec![None], vec![None])).is_err());
        assert!(fit(&rows(vec![Some(i64::MAX)], vec![None])).is_err());
    }

    fn fit_one(values: ArrayRef, data_type: DataType) -> Result<RecordBatch, FlowError> {
        let rows = RecordBatch::try_from_iter([("name", values)]).expect("one column");
        let mut column = schema().columns.remove(1);
        column.data_type = data_type;
        Fit::new(&rows.schema(), &Schema { columns: vec![column] }, false)?.apply(&rows)
    }

    #[test]
    fn nothing_is_rounded_unless_the_query_says_how() {
        let decimals = |scale| {
            let decimals = Decimal128Array::from(vec![2_239]).with_precision_and_scale(10, scale).expect("it fits");
            Arc::new(decimals) as ArrayRef
        };
        assert!(fit_one(decimals(2), DataType::Decimal(10, 2)).is_ok());
        assert!(fit_one(decimals(2), DataType::Decimal(12, 4)).is_ok());
        for values in [decimals(3), Arc::new(Float64Array::from(vec![2.239]))] {
            let error = fit_one(values, DataType::Decimal(10, 2)).expect_err("a digit would be lost").to_string();
            assert!(error.contains("say how to round"), "{error}");
        }
    }

    #[test]
    fn finite_values_stay_finite() {
        let floats = |values: Vec<f64>| Arc::new(Float64Array::from(values)) as ArrayRef;
        assert!(fit_one(floats(vec![1.5, f64::INFINITY]), DataType::Float32).is_ok());
        let error = fit_one(floats(vec![f64::INFINITY, 1e300]), DataType::Float32).expect_err("too large").to_string();
        assert!(error.contains("row 2"), "{error}");
    }

    #[test]
    fn operations_are_told_to_go_with_changes() {
        let fields = [Field::new("id", Arrow::Int32, false), Field::new("name", Arrow::Utf8, true)];
        let operation = Field::new(OPERATION, Arrow::Int32, false);
        let found = arrow::datatypes::Schema::new(fields.into_iter().chain([operation]).collect::<Vec<_>>());
        assert!(Fit::new(&found, &schema(), true).is_ok());
        let error = Fit::new(&found, &schema(), false).expect_err("nobody asked for operations").to_string();
        assert!(error.contains("`mode: changes`"), "{error}");
    }

    #[test]
    fn all_wrong_columns_are_told_at_once() {
        let found = arrow::datatypes::Schema::new(vec![Field::new("x", Arrow::Int32, true)]);
        let error = Fit::new(&found, &schema(), true).expect_err("three problems").to_string();
        for part in ["id int32 is missing", "lv_op int32 is missing", "x is not in the model"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
