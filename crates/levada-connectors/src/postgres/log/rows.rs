//! Rows of the change log as columns: one builder per dataset.
//!
//! Takes tuples of a table's pieces, gives record batches with operations, and the cells that the
//! source did not send. An update of a key becomes a delete and a row. Knows no transactions.

use super::message::{Field, Old, Relation, Tuple};
use super::render::{LogReading, Render, log_reading};
use crate::postgres::copy::{ReadColumn, schema_of, shown};
use crate::postgres::decode::ColumnReader;
use crate::postgres::types::{Problem, Wire};
use arrow::array::{ArrayRef, Int32Array, RecordBatch};
use arrow::datatypes::{DataType, Field as ArrowField, Schema as ArrowSchema, SchemaRef};
use levada_flow::source::{DELETE, INSERT, Kept, PullDataset, UPDATE, UPSERT};
use levada_flow::{BATCH_BYTES_MAX, BATCH_ROWS_MAX, FlowError};
use postgres_types::Type;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where a table's piece has the columns of a dataset, and how they are read.
#[derive(Debug)]
pub(super) struct Places {
    columns: Vec<Place>,
    is_full: bool,
}

#[derive(Debug)]
struct Place {
    at: usize,
    type_id: u32,
    modifier: i32,
    render: Option<Render>,
    column: ReadColumn,
}

/// Why rows of a table's piece can't be read as a dataset.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Misfit {
    #[error("column {0:?} was dropped or renamed")]
    Missing(String),
    #[error("column {name:?} is {found}, which the change log can't give as {wanted}")]
    Type { name: String, found: String, wanted: String },
    #[error("column {0:?} of the key is not in the table's replica identity")]
    Identity(String),
}

impl Places {
    /// Finds a dataset's columns in a relation; `types` knows every type of it.
    pub(super) fn find(
        dataset: &PullDataset,
        relation: &Relation,
        types: &BTreeMap<u32, Type>,
    ) -> Result<Self, Misfit> {
        let place = |column: &levada_model::SchemaColumn| {
            let name = column.source_name();
            let found = relation.columns.iter().enumerate().find(|(_, there)| there.name == name);
            let (at, there) = found.ok_or_else(|| Misfit::Missing(name.to_owned()))?;
            if column.key && !there.is_identity && !relation.is_full {
                return Err(Misfit::Identity(name.to_owned()));
            }
            let pg_type = types.get(&there.type_id);
            let reading = pg_type.and_then(|pg_type| log_reading(&column.data_type, pg_type));
            let LogReading { reading, render } = reading.ok_or_else(|| Misfit::Type {
                name: name.to_owned(),
                found: pg_type.map_or_else(|| "a type that is gone".to_owned(), ToString::to_string),
                wanted: column.data_type.to_string(),
            })?;
            let column = ReadColumn {
                name: column.name.as_str().to_owned(),
                source_name: name.to_owned(),
                data_type: column.data_type.clone(),
                is_nullable: column.nullable && !column.key,
                is_key: column.key,
                reading,
            };
            Ok(Place { at, type_id: there.type_id, modifier: there.modifier, render, column })
        };
        let columns = dataset.schema.columns.iter().map(place).collect::<Result<_, Misfit>>()?;
        Ok(Self { columns, is_full: relation.is_full })
    }

    /// By column name the type and modifier that rows of this piece have.
    pub(super) fn types(&self) -> impl Iterator<Item = (&str, (u32, i32))> {
        self.columns.iter().map(|place| (place.column.source_name.as_str(), (place.type_id, place.modifier)))
    }

    /// What says whether rows of two pieces can go into one builder.
    fn wires(&self) -> Vec<&Wire> {
        self.columns.iter().map(|place| &place.column.reading.wire).collect()
    }
}

/// A value that has no image in the model's type.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct BadValue {
    /// The key of its row, for people.
    pub(super) row: String,
    pub(super) column: String,
    pub(super) problem: Problem,
}

/// Rows that are complete.
pub(super) struct Built {
    /// The dataset's columns and `lv_op`.
    pub(super) rows: RecordBatch,
    pub(super) kept: Vec<Kept>,
}

/// Collects the rows of one dataset.
pub(super) struct RowsBuilder {
    readers: Vec<ColumnReader>,
    wires: Vec<Wire>,
    schema: SchemaRef,
    operations: Vec<i32>,
    kept: Vec<Kept>,
    bytes: usize,
    has_key: bool,
}

impl RowsBuilder {
    /// A builder for rows of pieces that have their columns so.
    pub(super) fn new(places: &Places) -> Self {
        let columns: Vec<ReadColumn> = places.columns.iter().map(|place| place.column.clone()).collect();
        // What is gone has only its key, and what was kept is not there.
        let reader = |column: &ReadColumn| ColumnReader::new(&column.data_type, &column.reading.wire, true);
        let fields = schema_of(&columns)
            .fields()
            .iter()
            .map(|field| field.as_ref().clone().with_nullable(true))
            .collect::<Vec<_>>();
        let operation = ArrowField::new("lv_op", DataType::Int32, false);
        Self {
            readers: columns.iter().map(reader).collect(),
            wires: places.wires().into_iter().cloned().collect(),
            schema: Arc::new(ArrowSchema::new([fields, vec![operation]].concat())),
            operations: Vec::new(),
            kept: Vec::new(),
            bytes: 0,
            has_key: columns.iter().any(|column| column.is_key),
        }
    }

    /// Whether rows of another piece can go on in it.
    pub(super) fn takes(&self, places: &Places) -> bool {
        places.wires().into_iter().eq(&self.wires)
    }

    /// Whether the rows should be taken out.
    pub(super) fn is_full(&self) -> bool {
        self.operations.len() + 2 > BATCH_ROWS_MAX || self.bytes > BATCH_BYTES_MAX
    }

    /// Appends a new row.
    pub(super) fn insert(&mut self, places: &Places, new: &Tuple) -> Result<(), BadValue> {
        self.append(places, INSERT, new, None)
    }

    /// Appends a change.
    pub(super) fn update(&mut self, places: &Places, old: Option<&Old>, new: &Tuple) -> Result<(), BadValue> {
        let Some(old) = old else { return self.append(places, UPDATE, new, None) };
        if self.has_key && !places.changes_key(old.tuple(), new) {
            // Even a key may be left out of the new row, where it lies outside of it.
            return self.append(places, UPDATE, new, Some(old.tuple()));
        }
        self.delete(places, old)?;
        self.append(places, if self.has_key { UPSERT } else { INSERT }, new, Some(old.tuple()))
    }

    /// Appends the end of a row.
    pub(super) fn delete(&mut self, places: &Places, old: &Old) -> Result<(), BadValue> {
        let tells = |column: &ReadColumn| column.is_key || matches!(old, Old::Row(_));
        for (reader, place) in self.readers.iter_mut().zip(&places.columns) {
            let field = if tells(&place.column) { old.tuple().get(place.at) } else { None };
            let field = field.filter(|field| !matches!(field, Field::Null | Field::Unchanged));
            self.bytes += put(reader, place, field).map_err(|problem| places.bad(old.tuple(), place, problem))?;
        }
        self.operations.push(DELETE);
        Ok(())
    }

    fn append(&mut self, places: &Places, operation: i32, new: &Tuple, old: Option<&Tuple>) -> Result<(), BadValue> {
        let row = self.operations.len() as u32;
        for (column, (reader, place)) in self.readers.iter_mut().zip(&places.columns).enumerate() {
            let bad = |problem| places.bad(new, place, problem);
            let new_field = new.get(place.at).ok_or_else(|| bad(Problem::Malformed))?;
            // An old row of the replica identity has nulls where it tells nothing.
            let is_told = |old: &&Tuple| places.is_full || place.column.is_key && !old.is_empty();
            let field = match new_field {
                Field::Unchanged => old.filter(is_told).and_then(|old| old.get(place.at)),
                field => Some(field),
            };
            match field.filter(|field| **field != Field::Unchanged) {
                None => {
                    self.kept.push(Kept { row, column: column as u32 });
                    put(reader, place, None).map_err(bad)?;
                }
                Some(Field::Null) if !place.column.is_nullable => return Err(bad(Problem::Null)),
                field => self.bytes += put(reader, place, field).map_err(bad)?,
            }
        }
        self.operations.push(operation);
        Ok(())
    }

    /// Takes the rows out; `None`: there are none.
    pub(super) fn finish(&mut self) -> Result<Option<Built>, FlowError> {
        if self.operations.is_empty() {
            return Ok(None);
        }
        let columns = self.readers.iter_mut().map(ColumnReader::finish);
        let mut columns: Vec<ArrayRef> = columns.collect::<Result<_, _>>()?;
        columns.push(Arc::new(Int32Array::from(std::mem::take(&mut self.operations))));
        self.bytes = 0;
        let rows = RecordBatch::try_new(self.schema.clone(), columns).expect("every reader has a value for each row");
        Ok(Some(Built { rows, kept: std::mem::take(&mut self.kept) }))
    }
}

impl Places {
    /// Whether a row has another key than before.
    fn changes_key(&self, old: &Tuple, new: &Tuple) -> bool {
        let is_other = |place: &Place| match (old.get(place.at), new.get(place.at)) {
            (_, Some(Field::Unchanged)) => false,
            (old, new) => old != new,
        };
        self.columns.iter().filter(|place| place.column.is_key).any(is_other)
    }

    fn bad(&self, row: &Tuple, place: &Place, problem: Problem) -> BadValue {
        let part = |place: &Place| {
            let value = match row.get(place.at) {
                Some(Field::Binary(bytes) | Field::Text(bytes)) => shown(&place.column.reading.wire, Some(bytes)),
                _ => "NULL".to_owned(),
            };
            format!("{} = {value}", place.column.source_name)
        };
        let key = self.columns.iter().filter(|place| place.column.is_key).map(part).collect::<Vec<_>>().join(", ");
        BadValue { row: key, column: place.column.source_name.clone(), problem }
    }
}

/// Appends one field; gives its bytes.
fn put(reader: &mut ColumnReader, place: &Place, field: Option<&Field>) -> Result<usize, Problem> {
    match (field, place.render) {
        (None | Some(Field::Null | Field::Unchanged), _) => reader.append(None).map(|()| 0),
        (Some(Field::Binary(bytes)), None) => reader.append(Some(bytes)).map(|()| bytes.len()),
        (Some(Field::Binary(bytes)), Some(render)) => {
            let rendered = render(bytes)?;
            reader.append(Some(&rendered)).map(|()| rendered.len())
        }
        // Types without a binary form are read as texts only.
        (Some(Field::Text(bytes)), _) if place.column.reading.wire == Wire::Text => {
            reader.append(Some(bytes)).map(|()| bytes.len())
        }
        (Some(Field::Text(_)), _) => Err(Problem::Malformed),
    }
}
