//! Parquet files, read and written in pieces.

use super::config::failed;
use super::types::exactly;
use crate::thread;
use ::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use ::parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY, ProjectionMask};
use ::parquet::basic::Compression;
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use ::parquet::file::properties::WriterProperties;
use arrow::array::{Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Fields, Schema as ArrowSchema, SchemaRef};
use levada_flow::arrow_schema::arrow_schema;
use levada_flow::sink::Delivered;
use levada_flow::{BATCH_BYTES_MAX, BATCH_ROWS_MAX, FlowError, RowStream};
use levada_model::Schema;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Rows in one file; a delivery of more is cut into several.
const FILE_ROWS_MAX: usize = 4_000_000;

/// Rows in one row group; bounds what a writer holds in memory.
const GROUP_ROWS_MAX: usize = 131_072;

/// The names of a file's columns.
pub(super) fn column_names(path: &Path) -> Result<Vec<String>, FlowError> {
    let file = File::open(path).map_err(|error| failed("opened", path, error))?;
    let metadata = ArrowReaderMetadata::load(&file, Default::default()).map_err(|error| corrupt(path, error))?;
    Ok(metadata.schema().fields().iter().map(|field| field.name().clone()).collect())
}

/// Reads the schema's columns of one file, found by their names at the source.
pub(super) fn read(
    path: &Path,
    schema: &Schema,
    mut send: impl FnMut(RecordBatch) -> Result<(), FlowError>,
) -> Result<(), FlowError> {
    let file = File::open(path).map_err(|error| failed("opened", path, error))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| corrupt(path, error))?;
    let wanted = |field: &Arc<Field>| schema.columns.iter().any(|column| column.source_name() == field.name());
    let roots = builder.schema().fields().iter().enumerate().filter(|(_, field)| wanted(field)).map(|(at, _)| at);
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots.collect::<Vec<_>>());
    let rows_max = batch_rows(builder.metadata());
    let reader = builder.with_projection(mask).with_batch_size(rows_max).build();
    let reader = reader.map_err(|error| corrupt(path, error))?;
    let mut rows_before = 0;
    for batch in reader {
        let batch = batch.map_err(|error| corrupt(path, ParquetError::from(error)))?;
        let rows = batch.num_rows();
        send(typed(path, schema, &batch, rows_before)?)?;
        rows_before += rows;
    }
    Ok(())
}

/// How many rows of such a file a batch may have, by the average width of its widest row group.
fn batch_rows(metadata: &ParquetMetaData) -> usize {
    let width = |group: &RowGroupMetaData| group.total_byte_size() / group.num_rows().max(1);
    let width = metadata.row_groups().iter().map(width).max().unwrap_or(0);
    let width = usize::try_from(width).unwrap_or(0).max(1);
    (BATCH_BYTES_MAX / width).clamp(1, BATCH_ROWS_MAX)
}

fn typed(path: &Path, schema: &Schema, batch: &RecordBatch, rows_before: usize) -> Result<RecordBatch, FlowError> {
    let wrong = |column: &str, row: Option<usize>, reason: &str| {
        let row = row.map_or(String::new(), |row| format!(", row {}", rows_before + row + 1));
        FlowError::never(format!("file {}, column {column:?}{row}: {reason}", path.display()))
    };
    let mut columns = Vec::with_capacity(schema.columns.len());
    for column in &schema.columns {
        let name = column.source_name();
        let array = batch.column_by_name(name).ok_or_else(|| wrong(name, None, "it is not in the file"))?;
        let typed = exactly(array, &column.data_type).map_err(|misfit| wrong(name, misfit.row, &misfit.reason))?;
        if (column.key || !column.nullable) && typed.null_count() > 0 {
            let row = (0..typed.len()).find(|row| typed.is_null(*row));
            return Err(wrong(name, row, "it is null, and the model says that it never is"));
        }
        columns.push(typed);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let batch = RecordBatch::try_new_with_options(arrow_schema(schema), columns, &options);
    batch.map_err(|error| FlowError::never(format!("file {} does not fit the model", path.display())).because(error))
}

fn corrupt(path: &Path, error: ParquetError) -> FlowError {
    FlowError::never(format!("file {} is no Parquet file that can be read", path.display()))
        .because(error)
        .hint("it may be broken, cut off or still being written")
}

/// Writes rows as `part-00000.parquet` and so on into an existing folder; at least one file, so
/// that readers find the columns. Gives the names.
pub(super) fn write(folder: &Path, schema: &SchemaRef, rows: RowStream) -> Result<(Vec<String>, Delivered), FlowError> {
    let mut delivered = Delivered::default();
    let mut names = Vec::new();
    let mut part: Option<Part> = None;
    for batch in thread::batches(rows) {
        let batch = batch?;
        let mut open = match part.take() {
            Some(open) => open,
            None => Part::create(folder, schema, &mut names)?,
        };
        delivered.rows += batch.num_rows() as u64;
        open.append(&batch)?;
        if open.rows >= FILE_ROWS_MAX {
            delivered.bytes += open.close()?;
        } else {
            part = Some(open);
        }
    }
    if names.is_empty() {
        part = Some(Part::create(folder, schema, &mut names)?);
    }
    if let Some(open) = part {
        delivered.bytes += open.close()?;
    }
    Ok((names, delivered))
}

/// Writes rows as one file of this name.
pub(super) fn write_one(path: &Path, rows: RowStream) -> Result<Delivered, FlowError> {
    let mut delivered = Delivered::default();
    let mut part: Option<Part> = None;
    for batch in thread::batches(rows) {
        let batch = batch?;
        let mut open = match part.take() {
            Some(open) => open,
            None => Part::open(path, &batch.schema())?,
        };
        delivered.rows += batch.num_rows() as u64;
        open.append(&batch)?;
        part = Some(open);
    }
    if let Some(open) = part {
        delivered.bytes = open.close()?;
    }
    Ok(delivered)
}

/// One file that is being written.
struct Part {
    path: std::path::PathBuf,
    schema: SchemaRef,
    writer: ArrowWriter<File>,
    rows: usize,
}

impl Part {
    fn create(folder: &Path, schema: &SchemaRef, names: &mut Vec<String>) -> Result<Self, FlowError> {
        let name = format!("part-{:05}.parquet", names.len());
        let part = Self::open(&folder.join(&name), schema)?;
        names.push(name);
        Ok(part)
    }

    fn open(path: &Path, schema: &SchemaRef) -> Result<Self, FlowError> {
        let file = File::create(path).map_err(|error| failed("made", path, error))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(Some(GROUP_ROWS_MAX))
            .build();
        let schema = with_field_ids(schema);
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties));
        let writer = writer.map_err(|error| unwritten(path, error))?;
        Ok(Self { path: path.to_owned(), schema, writer, rows: 0 })
    }

    /// Appends the file's columns of a batch, found by name.
    fn append(&mut self, batch: &RecordBatch) -> Result<(), FlowError> {
        let column = |field: &Arc<Field>| batch.column_by_name(field.name()).cloned();
        let columns: Option<Vec<_>> = self.schema.fields().iter().map(column).collect();
        let columns = columns.ok_or_else(|| FlowError::never("the rows came without a column of their table"))?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = columns.into_iter().zip(self.schema.fields());
        let columns =
            columns.map(|(array, field)| arrow::compute::cast(&array, field.data_type())).collect::<Result<_, _>>();
        let batch =
            columns.and_then(|columns| RecordBatch::try_new_with_options(self.schema.clone(), columns, &options));
        let batch = batch.map_err(|error| FlowError::never("the rows don't fit their table").because(error))?;
        self.rows += batch.num_rows();
        self.writer.write(&batch).map_err(|error| unwritten(&self.path, error))
    }

    /// Ends the file and makes it durable; gives its bytes.
    fn close(self) -> Result<u64, FlowError> {
        let path = self.path;
        let file = self.writer.into_inner().map_err(|error| unwritten(&path, error))?;
        let synced = file.sync_all().and_then(|()| file.metadata());
        synced.map(|metadata| metadata.len()).map_err(|error| failed("made durable", &path, error))
    }
}

fn unwritten(path: &Path, error: ParquetError) -> FlowError {
    FlowError::later(format!("file {} could not be written", path.display())).because(error)
}

/// Numbers every column and everything in it, from 1, outer before inner.
fn with_field_ids(schema: &SchemaRef) -> SchemaRef {
    let mut last = 0;
    let mut fields: Vec<Arc<Field>> = schema.fields().iter().map(|field| numbered(field, &mut last)).collect();
    fields.iter_mut().for_each(|field| *field = with_inner_ids(field, &mut last));
    Arc::new(ArrowSchema::new(fields))
}

fn numbered(field: &Arc<Field>, last: &mut i32) -> Arc<Field> {
    *last += 1;
    let mut metadata = field.metadata().clone();
    metadata.insert(PARQUET_FIELD_ID_META_KEY.to_owned(), last.to_string());
    Arc::new(field.as_ref().clone().with_metadata(metadata))
}

fn with_inner_ids(field: &Arc<Field>, last: &mut i32) -> Arc<Field> {
    let inner = |field: &Arc<Field>, last: &mut i32| {
        let field = numbered(field, last);
        with_inner_ids(&field, last)
    };
    let all = |fields: &Fields, last: &mut i32| {
        let fields: Vec<Arc<Field>> = fields.iter().map(|field| numbered(field, last)).collect();
        fields.iter().map(|field| with_inner_ids(field, last)).collect::<Fields>()
    };
    let data_type = match field.data_type() {
        DataType::List(item) => DataType::List(inner(item, last)),
        DataType::FixedSizeList(item, length) => DataType::FixedSizeList(inner(item, last), *length),
        DataType::Struct(fields) => DataType::Struct(all(fields, last)),
        DataType::Map(entries, is_sorted) => match entries.data_type() {
            // The entries themselves are no column of anybody's.
            DataType::Struct(fields) => {
                let entries = entries.as_ref().clone().with_data_type(DataType::Struct(all(fields, last)));
                DataType::Map(Arc::new(entries), *is_sorted)
            }
            _ => return field.clone(),
        },
        _ => return field.clone(),
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}
