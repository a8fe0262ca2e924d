//! The store's own columns: their names, types and reserved field ids.

use arrow::array::{ArrayRef, FixedSizeBinaryArray};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, FieldRef, Schema as ArrowSchema, SchemaRef, TimeUnit};
use levada_flow::arrow_schema::arrow_type;
use levada_state::catalog::StoredSchema;
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use std::collections::HashMap;
use std::sync::Arc;

/// The batch of the change, int64.
pub const BATCH: &str = "lv_batch";
/// The change, int32: 0 insert, 1 update, 2 delete.
pub const OPERATION: &str = "lv_op";
/// The batch that opened the version which the change closes, int64; null for an insert.
pub const PREVIOUS_BATCH: &str = "lv_prev_batch";
/// The hash of the key, fixed binary(16).
pub const KEY_HASH: &str = "lv_key_hash";
/// The hash of the row, fixed binary(16).
pub const ROW_HASH: &str = "lv_row_hash";
/// When a version began, timestamptz.
pub const VALID_FROM: &str = "valid_from";
/// When a version ended, timestamptz; null: it is live.
pub const VALID_TO: &str = "valid_to";

/// The values of [`OPERATION`]; UPSERT, a key that may be new, only comes from change logs and is never stored.
pub(crate) use levada_flow::source::{DELETE, INSERT, UPDATE, UPSERT};

/// A 128-bit hash, as `levada_flow::canonical` makes them.
pub(crate) type Hash = [u8; 16];

/// The field ids of the store's own columns in files; the catalog gives columns small ones, and
/// Iceberg keeps those from 2,147,483,447 on.
pub(crate) const OWN_FIELD_IDS: [(&str, i32); 5] = [
    (BATCH, 2_000_000_001),
    (OPERATION, 2_000_000_002),
    (PREVIOUS_BATCH, 2_000_000_003),
    (KEY_HASH, 2_000_000_004),
    (ROW_HASH, 2_000_000_005),
];

/// Whether a name belongs to the store.
pub(crate) fn is_reserved(name: &str) -> bool {
    let folded = name.to_ascii_lowercase();
    folded.starts_with("lv_") && OWN_FIELD_IDS.iter().any(|(own, _)| *own == folded)
}

/// One of the store's own columns, as readings give it.
pub(crate) fn field(name: &str) -> Field {
    match name {
        BATCH => Field::new(BATCH, DataType::Int64, false),
        OPERATION => Field::new(OPERATION, DataType::Int32, false),
        PREVIOUS_BATCH => Field::new(PREVIOUS_BATCH, DataType::Int64, true),
        VALID_FROM | VALID_TO => {
            let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
            Field::new(name, instant, name == VALID_TO)
        }
        _ => Field::new(name, DataType::FixedSizeBinary(16), false),
    }
}

fn with_field_id(field: Field, id: i32) -> FieldRef {
    Arc::new(field.with_metadata(HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())])))
}

/// The columns of a segment: the dataset's, then the store's own, all with their field ids. The
/// dataset's are nullable whatever the model says: the delete of a row that is older than a column
/// has no value for it.
pub(crate) fn file_schema(stored: &StoredSchema) -> SchemaRef {
    let columns =
        stored.schema.columns.iter().zip(&stored.field_ids).map(|(column, id)| {
            with_field_id(Field::new(column.name.as_str(), arrow_type(&column.data_type), true), *id)
        });
    let own = OWN_FIELD_IDS.iter().map(|(name, id)| with_field_id(field(name), *id));
    Arc::new(ArrowSchema::new(columns.chain(own).collect::<Vec<_>>()))
}

/// Hashes as a column.
pub(crate) fn hash_array(hashes: &[Hash]) -> ArrayRef {
    Arc::new(FixedSizeBinaryArray::new(16, Buffer::from(hashes.as_flattened()), None))
}

/// One hash of a column.
pub(crate) fn hash_at(hashes: &FixedSizeBinaryArray, row: usize) -> Hash {
    hashes.value(row).try_into().expect("the column's type was checked: 16 bytes")
}
