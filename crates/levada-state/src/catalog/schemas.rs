//! The schemas of a dataset's change log: a column's field id stays for ever.

use super::StoredSchema;
use crate::db::{DatabaseError, Failure, Row, Transaction, values};
use crate::{State, StateError};
use levada_model::Schema;
use levada_model::address::DatasetRef;
use std::collections::BTreeMap;

impl State {
    /// Finds the stored schema that equals this one, or registers it.
    ///
    /// A column that any earlier schema of the dataset had under the same name keeps its field id,
    /// whatever its type; a new name gets one that was never used.
    pub async fn schema_for(&self, dataset: &DatasetRef, schema: &Schema) -> Result<StoredSchema, StateError> {
        let (dataset, schema) = (dataset.to_string(), schema.clone());
        let known = {
            let (dataset, schema) = (dataset.clone(), schema.clone());
            let find = move |transaction: &mut dyn Transaction| Ok(find(&stored(transaction, &dataset)?, &schema));
            self.read("read the schemas of a dataset", find).await?
        };
        match known {
            Some(stored) => Ok(stored),
            None => self.write("register a schema", move |transaction| register(transaction, &dataset, &schema)).await,
        }
    }

    /// All schemas of a dataset's change log, by id.
    pub async fn schemas(&self, dataset: &DatasetRef) -> Result<Vec<StoredSchema>, StateError> {
        let dataset = dataset.to_string();
        self.read("read the schemas of a dataset", move |transaction| Ok(stored(transaction, &dataset)?)).await
    }
}

fn find(stored: &[StoredSchema], schema: &Schema) -> Option<StoredSchema> {
    stored.iter().find(|stored| stored.schema == *schema).cloned()
}

fn stored(transaction: &mut dyn Transaction, dataset: &str) -> Result<Vec<StoredSchema>, DatabaseError> {
    let sql = "SELECT schema_id, columns, field_ids FROM schemas WHERE dataset = ?1 ORDER BY schema_id";
    transaction.query(sql, values![dataset])?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<StoredSchema, DatabaseError> {
    Ok(StoredSchema { id: row.int(0)?, schema: row.json(1, "schema")?, field_ids: row.json(2, "list of field ids")? })
}

fn register(transaction: &mut dyn Transaction, dataset: &str, schema: &Schema) -> Result<StoredSchema, Failure> {
    loop {
        let all = stored(transaction, dataset)?;
        if let Some(found) = find(&all, schema) {
            return Ok(found);
        }
        let new = StoredSchema {
            id: all.last().map_or(1, |last| last.id + 1),
            schema: schema.clone(),
            field_ids: field_ids(&all, schema),
        };
        let columns = serde_json::to_string(&new.schema).expect("plain data always serialises");
        let field_ids = serde_json::to_string(&new.field_ids).expect("numbers always serialise");
        let sql = "INSERT INTO schemas (dataset, schema_id, columns, field_ids) VALUES (?1, ?2, ?3, ?4) \
                   ON CONFLICT (dataset, schema_id) DO NOTHING";
        // Whoever loses a race for an id reads again and takes the next one.
        if transaction.execute(sql, values![dataset, new.id, columns, field_ids])? > 0 {
            return Ok(new);
        }
    }
}

fn field_ids(earlier: &[StoredSchema], schema: &Schema) -> Vec<i32> {
    let mut known: BTreeMap<&str, i32> = BTreeMap::new();
    for stored in earlier {
        let names = stored.schema.columns.iter().map(|column| column.name.as_str());
        known.extend(names.zip(stored.field_ids.iter().copied()));
    }
    let mut last = known.values().copied().max().unwrap_or(0);
    let mut fresh = || {
        last += 1;
        last
    };
    schema.columns.iter().map(|column| known.get(column.name.as_str()).copied().unwrap_or_else(&mut fresh)).collect()
}
