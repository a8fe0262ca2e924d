//! `levada sql`: the four readings of the store.

use crate::cli::{Format, SqlArgs};
use crate::project::{Project, in_force, readable_datasets};
use crate::show;
use crate::waiting::Waiting;
use anyhow::{Result, bail};
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use levada_connectors::literal::ColumnReader;
use levada_flow::arrow_schema::arrow_type;
use levada_model::DataType;
use levada_sql::MODEL_TYPE;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Rows that a table on the terminal is laid out for; later ones keep these widths.
const TABLE_ROWS_MAX: usize = 10_000;

/// Runs one query and prints its rows.
pub async fn run(args: &SqlArgs) -> Result<bool> {
    let project = Project::open(&args.dir.dir)?;
    let runtime = project.runtime().await?;
    let datasets = readable_datasets(&runtime.state, &in_force(&runtime.state).await?).await?;
    let waiting = Waiting::new("reading the store");
    let answer = levada_sql::query(&runtime.store, &datasets, &args.query).await?;
    let head: Vec<String> = answer.schema.fields().iter().map(|field| field.name().clone()).collect();
    if args.format == Format::Json {
        each_once(&head)?;
    }
    let mut rows = answer.rows;
    let mut cells = Vec::new();
    let mut is_first = true;
    while let Some(batch) = rows.try_next().await? {
        match args.format {
            Format::Text => cells.extend(texts(&batch)?),
            Format::Json => json_lines(&batch)?,
        }
        if cells.len() >= TABLE_ROWS_MAX {
            print_table(&head, &mut cells, &mut is_first);
        }
        if !show::is_heard() {
            break;
        }
    }
    drop(waiting);
    if args.format == Format::Text && (is_first || !cells.is_empty()) {
        print_table(&head, &mut cells, &mut is_first);
    }
    Ok(true)
}

fn print_table(head: &[String], cells: &mut Vec<Vec<String>>, is_first: &mut bool) {
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let text = show::table(&head, cells);
    match std::mem::replace(is_first, false) {
        true => show::data(text),
        false => show::data(text.split_once('\n').map_or("", |(_, rows)| rows)),
    }
    cells.clear();
}

/// A JSON object has each name once.
fn each_once(names: &[String]) -> Result<()> {
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !seen.insert(*name)) {
        Some(name) => bail!("two columns of the result are called {name}; name one of them with AS"),
        None => Ok(()),
    }
}

/// Reads the values of one column as the model's types print them, or as Arrow does what is computed.
enum Column<'a> {
    Model(ColumnReader<'a>, &'a DataType),
    Computed(ArrayFormatter<'a>, &'a arrow::datatypes::DataType),
}

impl<'a> Column<'a> {
    fn new(array: &'a ArrayRef, model_type: Option<&'a DataType>) -> Result<Self> {
        // A function may have kept its argument's name of a type, but not the type. Arrow prints
        // decimals with all their digits.
        let model_type =
            model_type.filter(|it| arrow_type(it) == *array.data_type() && !matches!(it, DataType::Decimal(..)));
        Ok(match model_type {
            Some(model_type) => Self::Model(ColumnReader::new(array.as_ref(), model_type)?, model_type),
            None => {
                let options = FormatOptions::default().with_display_error(false);
                Self::Computed(ArrayFormatter::try_new(array.as_ref(), &options)?, array.data_type())
            }
        })
    }

    /// A value as text; null is empty.
    fn text(&self, row: usize) -> Result<String> {
        Ok(match self {
            Self::Model(reader, _) => reader.text(row).unwrap_or_default(),
            Self::Computed(formatter, _) => formatter.value(row).try_to_string()?,
        })
    }

    /// A value as JSON: what is nested as such, numbers that JSON holds exactly and booleans bare,
    /// everything else as its text.
    fn json(&self, row: usize) -> Result<Value> {
        use DataType as T;
        let text = self.text(row)?;
        let is_bare = match self {
            Self::Model(_, T::Boolean | T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::Float32 | T::Float64) => true,
            Self::Model(_, T::Json | T::List(_) | T::Struct(_) | T::Map(..) | T::Vector(_)) => true,
            Self::Model(..) => false,
            Self::Computed(_, data_type) => {
                data_type.is_integer() || data_type.is_floating() || **data_type == arrow::datatypes::DataType::Boolean
            }
        };
        Ok(match is_bare {
            true => serde_json::from_str(&text).unwrap_or(Value::String(text)),
            false => Value::String(text),
        })
    }
}

/// The model's types of a result's columns; `None`: computed.
fn model_types(batch: &RecordBatch) -> Vec<Option<DataType>> {
    let of = |field: &Arc<arrow::datatypes::Field>| field.metadata().get(MODEL_TYPE)?.parse().ok();
    batch.schema().fields().iter().map(of).collect()
}

fn columns<'a>(batch: &'a RecordBatch, types: &'a [Option<DataType>]) -> Result<Vec<Column<'a>>> {
    batch.columns().iter().zip(types).map(|(array, model_type)| Column::new(array, model_type.as_ref())).collect()
}

fn texts(batch: &RecordBatch) -> Result<Vec<Vec<String>>> {
    let types = model_types(batch);
    let columns = columns(batch, &types)?;
    (0..batch.num_rows()).map(|row| columns.iter().map(|column| column.text(row)).collect()).collect()
}

/// One JSON object per line.
fn json_lines(batch: &RecordBatch) -> Result<()> {
    let types = model_types(batch);
    let columns = columns(batch, &types)?;
    let schema = batch.schema();
    for row in 0..batch.num_rows() {
        let mut object = serde_json::Map::new();
        for ((field, array), column) in schema.fields().iter().zip(batch.columns()).zip(&columns) {
            let value = if array.is_null(row) { Value::Null } else { column.json(row)? };
            object.insert(field.name().clone(), value);
        }
        show::data(Value::Object(object));
    }
    Ok(())
}
