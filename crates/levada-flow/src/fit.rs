//! Brings rows from outside (a program, a query) into a dataset's schema, or says why they don't fit.
//!
//! Columns are matched by name and cast without loss; a value that does not fit stops the rows with
//! its column and row, it never becomes NULL.

use crate::FlowError;
use crate::arrow_schema::arrow_schema;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType as Arrow, Field, SchemaRef};
use levada_model::{DataType, Schema};
use std::sync::Arc;

/// Fits rows to one schema; counts them to name the row that does not fit.
#[derive(Debug)]
pub struct Fit {
    dataset: String,
    schema: Schema,
    target: SchemaRef,
    rows_seen: usize,
}

impl Fit {
    /// Fits to a dataset's columns, plus an int32 `lv_op` where `has_operations`.
    pub fn new(dataset: impl Into<String>, schema: &Schema, has_operations: bool) -> Self {
        let target = arrow_schema(schema);
        let target = match has_operations {
            false => target,
            true => {
                let mut fields: Vec<Arc<Field>> = target.fields().iter().cloned().collect();
                fields.push(Arc::new(Field::new("lv_op", Arrow::Int32, false)));
                Arc::new(arrow::datatypes::Schema::new(fields))
            }
        };
        Self { dataset: dataset.into(), schema: schema.clone(), target, rows_seen: 0 }
    }

    /// The Arrow schema of what [`Fit::fit`] gives.
    pub fn target(&self) -> SchemaRef {
        self.target.clone()
    }

    /// Compares the columns alone, before any row: missing and surplus ones, and types that no cast
    /// reaches, all in one error.
    ///
    /// # Errors
    /// The columns don't fit.
    pub fn check(&self, found: &arrow::datatypes::Schema) -> Result<(), FlowError> {
        let mut problems = Vec::new();
        for field in self.target.fields() {
            match found.field_with_name(field.name()) {
                Err(_) => problems.push(format!("column {:?} is missing", field.name())),
                Ok(from) if !arrow::compute::can_cast_types(from.data_type(), field.data_type()) => problems
                    .push(format!("column {:?} is {}, not {}", field.name(), from.data_type(), field.data_type())),
                Ok(_) => {}
            }
        }
        for field in found.fields() {
            if self.target.field_with_name(field.name()).is_err() {
                problems.push(format!("column {:?} is not declared", field.name()));
            }
        }
        if problems.is_empty() {
            return Ok(());
        }
        Err(FlowError::never(format!("the output for {} has other columns: {}", self.dataset, problems.join(", ")))
            .hint("name and type the columns as the model declares them"))
    }

    /// Fits one batch of rows.
    ///
    /// # Errors
    /// A value has no image in its column's type, is too long, or is NULL where none may be.
    pub fn fit(&mut self, rows: &RecordBatch) -> Result<RecordBatch, FlowError> {
        self.check(&rows.schema())?;
        let mut columns = Vec::with_capacity(self.target.fields().len());
        for (index, field) in self.target.fields().iter().enumerate() {
            let from = rows.column_by_name(field.name()).expect("the columns were just compared");
            let column = self.cast(from, field)?;
            if !field.is_nullable() && column.null_count() > 0 {
                let row = (0..column.len()).find(|&row| column.is_null(row)).expect("there is a null");
                return Err(self.misfit(field.name(), row, "is NULL, which the column does not allow"));
            }
            if let Some(declared) = self.schema.columns.get(index) {
                self.check_lengths(&column, &declared.data_type, field.name())?;
            }
            columns.push(column);
        }
        self.rows_seen += rows.num_rows();
        RecordBatch::try_new(self.target.clone(), columns)
            .map_err(|error| FlowError::never(format!("the output for {} can't be typed", self.dataset)).because(error))
    }

    fn cast(&self, from: &ArrayRef, field: &Field) -> Result<ArrayRef, FlowError> {
        if from.data_type() == field.data_type() {
            return Ok(from.clone());
        }
        let options = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(from, field.data_type(), &options).map_err(|error| {
            FlowError::never(format!(
                "a value of column {:?} in the output for {} does not fit",
                field.name(),
                self.dataset
            ))
            .because(error)
        })
    }

    fn check_lengths(&self, column: &ArrayRef, data_type: &DataType, name: &str) -> Result<(), FlowError> {
        let (DataType::Char(most) | DataType::Varchar(most)) = data_type else { return Ok(()) };
        let texts = column.as_string::<i32>();
        for (row, text) in texts.iter().enumerate() {
            let Some(text) = text else { continue };
            // Bytes bound characters from above, so most texts need no counting.
            if text.len() > *most as usize && text.chars().count() > *most as usize {
                return Err(self.misfit(name, row, &format!("is longer than {most} characters")));
            }
        }
        Ok(())
    }

    fn misfit(&self, column: &str, row: usize, what: &str) -> FlowError {
        let row = self.rows_seen + row + 1;
        FlowError::never(format!("column {column:?} in row {row} of the output for {} {what}", self.dataset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray};
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

    #[test]
    fn columns_are_matched_by_name_and_cast() {
        let fitted = Fit::new("O.d", &schema(), false).fit(&rows(vec![Some(7)], vec![Some("äöü")])).expect("fits");
        assert_eq!(fitted.schema().field(0).name(), "id");
        assert_eq!(fitted.column(0).data_type(), &Arrow::Int32);
    }

    #[test]
    fn what_does_not_fit_names_column_and_row() {
        let mut fit = Fit::new("O.d", &schema(), false);
        fit.fit(&rows(vec![Some(1)], vec![None])).expect("fits");
        let long = fit.fit(&rows(vec![Some(2)], vec![Some("abcd")])).expect_err("too long").to_string();
        assert!(long.contains("row 2") && long.contains("\"name\""), "{long}");
        assert!(fit.fit(&rows(vec![None], vec![None])).is_err());
        assert!(fit.fit(&rows(vec![Some(i64::MAX)], vec![None])).is_err());
    }

    #[test]
    fn all_wrong_columns_are_told_at_once() {
        let found = arrow::datatypes::Schema::new(vec![Field::new("x", Arrow::Int32, true)]);
        let error = Fit::new("O.d", &schema(), true).check(&found).expect_err("three problems").to_string();
        for part in ["\"id\" is missing", "\"lv_op\" is missing", "\"x\" is not declared"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
