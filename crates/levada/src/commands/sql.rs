//! `levada sql`: the four readings of the store.

use crate::cli::{Format, SqlArgs};
use crate::project::{Project, in_force, kept_datasets};
use crate::show;
use anyhow::Result;
use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;

/// Rows that a table on the terminal is laid out for; later ones keep these widths.
const TABLE_ROWS_MAX: usize = 10_000;

/// Runs one query and prints its rows.
pub async fn run(args: &SqlArgs) -> Result<bool> {
    let project = Project::open(&args.dir.dir)?;
    let runtime = project.runtime().await?;
    let datasets = kept_datasets(&in_force(&runtime.state).await?);
    let answer = levada_sql::query(&runtime.store, &datasets, &args.query).await?;
    let head: Vec<String> = answer.schema.fields().iter().map(|field| field.name().clone()).collect();
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
    }
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

fn texts(batch: &RecordBatch) -> Result<Vec<Vec<String>>> {
    let options = FormatOptions::default();
    let columns: Vec<ArrayFormatter<'_>> =
        batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options)).collect::<Result<_, _>>()?;
    Ok((0..batch.num_rows()).map(|row| columns.iter().map(|column| column.value(row).to_string()).collect()).collect())
}

/// One JSON object per line.
fn json_lines(batch: &RecordBatch) -> Result<()> {
    let rows = texts(batch)?;
    for (index, row) in rows.into_iter().enumerate() {
        let object: serde_json::Map<String, serde_json::Value> = batch
            .schema()
            .fields()
            .iter()
            .zip(batch.columns())
            .zip(row)
            .map(|((field, column), text)| {
                (field.name().clone(), json_value(column.is_null(index), field.data_type(), text))
            })
            .collect();
        show::data(serde_json::Value::Object(object));
    }
    Ok(())
}

/// Numbers that JSON holds exactly and booleans as such, everything else as its text.
fn json_value(is_null: bool, data_type: &arrow::datatypes::DataType, text: String) -> serde_json::Value {
    use arrow::datatypes::DataType;
    let is_plain = data_type.is_integer() || data_type.is_floating() || *data_type == DataType::Boolean;
    match (is_null, is_plain) {
        (true, _) => serde_json::Value::Null,
        (false, true) => serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text)),
        (false, false) => serde_json::Value::String(text),
    }
}
