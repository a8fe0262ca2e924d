//! Reads pieces of a change log as the columns somebody asks for.
//!
//! Takes pieces written under any of the dataset's schemas and the schema asked for; gives its
//! columns, found by field id, cast where their type has changed, null where the piece is older,
//! and the store's own columns, row hashes as the schema asked for makes them.

use super::Checked;
use crate::catalog::Piece;
use crate::columns::*;
use crate::shape::Shape;
use crate::{Inner, StoreError};
use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryArray, Int32Array, Int64Array, RecordBatch, RecordBatchOptions,
    new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{Field, Int32Type, Int64Type, Schema as ArrowSchema, SchemaRef};
use arrow::util::display::FormatOptions;
use bytes::Bytes;
use levada_flow::arrow_schema::arrow_type;
use levada_flow::canonical::RowHasher;
use levada_flow::{BATCH_BYTES_MAX, BATCH_ROWS_MAX};
use levada_model::Schema;
use levada_model::address::DatasetRef;
use levada_state::catalog::{Body, StoredSchema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::ChunkReader;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What somebody wants of each piece.
#[derive(Clone)]
pub(crate) struct Asked {
    schema: Schema,
    /// The columns of `schema`, nullable where some piece has no value.
    columns: SchemaRef,
    /// The same, all nullable: a row that only says that its key is gone may have nothing else.
    nullable: SchemaRef,
    has_hashes: bool,
    shape: Shape,
    hasher: RowHasher,
}

impl Asked {
    /// Asks for the columns of `schema`; `stored` are all schemas that the log was written under.
    pub(crate) fn new(schema: &Schema, stored: &[Arc<StoredSchema>], has_hashes: bool) -> Self {
        let columns: Vec<Field> = schema
            .columns
            .iter()
            .map(|column| {
                let is_everywhere = stored.iter().all(|stored| {
                    stored.schema.columns.iter().any(|old| old.name == column.name && (old.key || !old.nullable))
                });
                let nullable = (column.nullable && !column.key) || !is_everywhere;
                Field::new(column.name.as_str(), arrow_type(&column.data_type), nullable)
            })
            .collect();
        let nullable: Vec<Field> = columns.iter().map(|column| column.clone().with_nullable(true)).collect();
        Self {
            schema: schema.clone(),
            columns: Arc::new(ArrowSchema::new(columns)),
            nullable: Arc::new(ArrowSchema::new(nullable)),
            has_hashes,
            shape: Shape::of_rows(schema),
            hasher: RowHasher::new(schema),
        }
    }

    /// Asks for the row hashes as they are stored, and for the columns of `schema` beside them.
    pub(crate) fn hashes_as_stored(schema: &Schema, stored: &Arc<StoredSchema>) -> Self {
        let shape = Shape::of_rows(&stored.schema);
        Self { shape, ..Self::new(schema, std::slice::from_ref(stored), true) }
    }

    /// The columns of rows that are live or were, without the store's own.
    pub(crate) fn columns(&self) -> &SchemaRef {
        &self.columns
    }

    /// The columns of rows that may only say that their key is gone.
    pub(crate) fn nullable_columns(&self) -> &SchemaRef {
        &self.nullable
    }

    /// Whether hashes are wanted.
    pub(crate) fn has_hashes(&self) -> bool {
        self.has_hashes
    }
}

/// Some rows of a piece.
pub(crate) struct PieceRows {
    /// The columns asked for, all nullable.
    pub(crate) data: RecordBatch,
    /// [`OPERATION`]
    pub(crate) operations: Int32Array,
    /// [`PREVIOUS_BATCH`]
    pub(crate) previous: Int64Array,
    /// [`KEY_HASH`]
    pub(crate) key_hashes: FixedSizeBinaryArray,
    /// [`ROW_HASH`], under the schema asked for; `None` where hashes are not wanted.
    pub(crate) row_hashes: Option<ArrayRef>,
}

/// Reads pieces of one dataset. Blocks.
pub(crate) struct PieceReader<'a> {
    inner: &'a Inner,
    dataset: &'a DatasetRef,
    asked: &'a Asked,
}

impl<'a> PieceReader<'a> {
    /// A reader for what is asked.
    pub(crate) fn new(inner: &'a Inner, dataset: &'a DatasetRef, asked: &'a Asked) -> Self {
        Self { inner, dataset, asked }
    }

    /// The rows of a piece, at most [`BATCH_ROWS_MAX`] at a time.
    pub(crate) fn read(
        &self,
        piece: &'a Piece,
    ) -> Result<impl Iterator<Item = Result<PieceRows, StoreError>>, StoreError> {
        let wanted = Wanted::new(self.asked, &piece.schema);
        let mut parts = Vec::new();
        match &piece.body {
            Body::Inline(bytes) => {
                let path = format!("{} batch {}", self.dataset, piece.batch);
                parts.push(Part::open(Bytes::copy_from_slice(bytes), path, &wanted)?);
            }
            Body::Files(paths) => {
                for path in paths {
                    parts.push(self.open_file(path, &wanted)?);
                }
            }
        }
        let found: i64 = parts.iter().map(|part| part.rows).sum();
        if found != piece.rows {
            let path = parts.first().map_or_else(|| self.dataset.to_string(), |part| part.path.clone());
            let problem = format!("it has {found} rows, the catalog says {}", piece.rows);
            return Err(StoreError::damaged(&path, problem));
        }
        Ok(parts.into_iter().flat_map(move |mut part| {
            let wanted = wanted.clone();
            std::iter::from_fn(move || part.next(&wanted))
        }))
    }

    fn open_file(&self, path: &str, wanted: &Wanted<'_>) -> Result<Part, StoreError> {
        let checked: &Checked = &self.inner.checked;
        checked.check(&self.inner.root, path)?;
        let place = self.inner.root.join(path);
        let file = File::open(&place).map_err(|source| StoreError::file("open", &place, source))?;
        Part::open(file, path.to_owned(), wanted)
    }
}

/// What is wanted of a piece with a certain schema.
#[derive(Clone)]
struct Wanted<'a> {
    asked: &'a Asked,
    /// Field ids of the columns asked for; `None`: the piece is older than the column.
    field_ids: Vec<Option<i32>>,
    /// Whether the piece's own row hashes are those of the schema asked for.
    hashes_agree: bool,
}

impl<'a> Wanted<'a> {
    fn new(asked: &'a Asked, stored: &StoredSchema) -> Self {
        let field_id = |column: &levada_model::SchemaColumn| {
            let at = stored.schema.columns.iter().position(|old| old.name == column.name)?;
            stored.field_ids.get(at).copied()
        };
        let field_ids = asked.schema.columns.iter().map(field_id).collect();
        Self { asked, field_ids, hashes_agree: asked.shape == Shape::of_rows(&stored.schema) }
    }

    fn own(&self) -> impl Iterator<Item = (&'static str, i32)> {
        let reads_row_hash = self.asked.has_hashes && self.hashes_agree;
        OWN_FIELD_IDS.into_iter().filter(move |(name, _)| match *name {
            // The catalog says it of the whole piece.
            BATCH => false,
            ROW_HASH => reads_row_hash,
            _ => true,
        })
    }
}

/// One Parquet file of a piece.
struct Part {
    path: String,
    rows: i64,
    reader: ParquetRecordBatchReader,
    /// Field id → column of the reader's batches.
    places: Vec<(i32, usize)>,
}

impl Part {
    fn open<R: ChunkReader + 'static>(body: R, path: String, wanted: &Wanted<'_>) -> Result<Self, StoreError> {
        let own: Vec<i32> = wanted.own().map(|(_, id)| id).collect();
        let takes = |id: i32| own.contains(&id) || wanted.field_ids.contains(&Some(id));
        guarded(&path, || {
            let builder = ParquetRecordBatchReaderBuilder::try_new(body)?;
            let roots = builder.parquet_schema().root_schema().get_fields().iter().enumerate();
            let taken: Vec<(usize, i32)> = roots
                .filter(|(_, field)| field.get_basic_info().has_id())
                .map(|(root, field)| (root, field.get_basic_info().id()))
                .filter(|(_, id)| takes(*id))
                .collect();
            let mask = ProjectionMask::roots(builder.parquet_schema(), taken.iter().map(|(root, _)| *root));
            let rows = builder.metadata().file_metadata().num_rows();
            let places = taken.iter().enumerate().map(|(place, (_, id))| (*id, place)).collect();
            let batch_rows = batch_rows(builder.metadata(), &mask);
            let reader = builder.with_projection(mask).with_batch_size(batch_rows).build()?;
            Ok((rows, places, reader))
        })
        .map(|(rows, places, reader)| Self { path: path.clone(), rows, reader, places })
    }

    fn next(&mut self, wanted: &Wanted<'_>) -> Option<Result<PieceRows, StoreError>> {
        let reader = &mut self.reader;
        match guarded(&self.path, || Ok(reader.next().transpose()?)) {
            Ok(Some(rows)) => Some(self.rows_of(&rows, wanted)),
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }

    fn rows_of(&self, rows: &RecordBatch, wanted: &Wanted<'_>) -> Result<PieceRows, StoreError> {
        let data = self.data_of(rows, wanted)?;
        let own = |id| self.column(rows, id).ok_or_else(|| self.damaged("a column of the store's own is missing"));
        let [_, operations, previous, key_hashes, stored_hashes] = OWN_FIELD_IDS.map(|(_, id)| own(id));
        let row_hashes = match (wanted.asked.has_hashes, wanted.hashes_agree) {
            (false, _) => None,
            (true, true) => Some(stored_hashes?.clone()),
            (true, false) => Some(hash_array(&wanted.asked.hasher.row_hashes(&data))),
        };
        let mistyped = || self.damaged("a column of the store's own has another type");
        Ok(PieceRows {
            data,
            operations: operations?.as_primitive_opt::<Int32Type>().cloned().ok_or_else(mistyped)?,
            previous: previous?.as_primitive_opt::<Int64Type>().cloned().ok_or_else(mistyped)?,
            key_hashes: fixed16(key_hashes?).ok_or_else(mistyped)?,
            row_hashes,
        })
    }

    fn data_of(&self, rows: &RecordBatch, wanted: &Wanted<'_>) -> Result<RecordBatch, StoreError> {
        let fields = wanted.asked.nullable.fields().iter().zip(&wanted.field_ids);
        let arrays = fields.map(|(field, id)| match id {
            None => Ok(new_null_array(field.data_type(), rows.num_rows())),
            Some(id) => {
                let array = self.column(rows, *id).ok_or_else(|| self.damaged("a column is missing"))?;
                self.cast(array, field)
            }
        });
        let arrays = arrays.collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(wanted.asked.nullable.clone(), arrays, &options)
            .map_err(|source| StoreError::damaged(&self.path, source))
    }

    fn cast(&self, array: &ArrayRef, field: &Field) -> Result<ArrayRef, StoreError> {
        if array.data_type() == field.data_type() {
            return Ok(array.clone());
        }
        let options = CastOptions { safe: false, format_options: FormatOptions::default() };
        cast_with_options(array, field.data_type(), &options).map_err(|source| StoreError::Retype {
            path: self.path.clone(),
            column: field.name().clone(),
            data_type: field.data_type().to_string(),
            source,
        })
    }

    fn column<'b>(&self, rows: &'b RecordBatch, id: i32) -> Option<&'b ArrayRef> {
        let (_, place) = self.places.iter().find(|(known, _)| *known == id)?;
        rows.columns().get(*place)
    }

    fn damaged(&self, problem: &'static str) -> StoreError {
        StoreError::damaged(&self.path, problem)
    }
}

/// How many rows to read at once: fewer where they are wide.
fn batch_rows(metadata: &ParquetMetaData, mask: &ProjectionMask) -> usize {
    let leaves = |group: &RowGroupMetaData| {
        let columns = group.columns().iter().enumerate().filter(|(leaf, _)| mask.leaf_included(*leaf));
        columns.map(|(_, column)| column.uncompressed_size()).sum::<i64>()
    };
    let bytes: i64 = metadata.row_groups().iter().map(leaves).sum();
    let rows = metadata.file_metadata().num_rows().max(1);
    let row_bytes = usize::try_from(bytes / rows).unwrap_or(usize::MAX).max(1);
    (BATCH_BYTES_MAX / row_bytes).clamp(1, BATCH_ROWS_MAX)
}

fn fixed16(array: &ArrayRef) -> Option<FixedSizeBinaryArray> {
    array.as_fixed_size_binary_opt().filter(|hashes| hashes.value_length() == 16).cloned()
}

/// Reads bytes that may be damaged in any way; Parquet's decoders panic on some of them.
fn guarded<T>(path: &str, read: impl FnOnce() -> Result<T, parquet::errors::ParquetError>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(StoreError::damaged(path, source)),
        Err(_) => Err(StoreError::damaged(path, "its pages can't be decoded")),
    }
}
