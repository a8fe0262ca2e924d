//! Reading the catalog.

use super::{BatchRow, Body, Manifest, StreamHead};
use crate::db::{DatabaseError, Row, values};
use crate::{State, StateError};
use levada_model::Schema;
use levada_model::address::{DatasetRef, Stream};
use std::collections::BTreeMap;

/// How many manifests one page of [`KnownFiles`] reads.
const MANIFESTS_PER_PAGE: i64 = 4_096;

/// Columns as [`head`] expects them.
macro_rules! head_columns {
    () => {
        "SELECT stream, batch, position, incarnation, committed_at FROM streams"
    };
}

impl State {
    /// How far a stream is; `None`: it was never pulled.
    pub async fn head(&self, stream: &Stream) -> Result<Option<StreamHead>, StateError> {
        let stream = stream.to_string();
        self.read("read a stream", move |transaction| {
            let sql = concat!(head_columns!(), " WHERE stream = ?1");
            Ok(transaction.query_first(sql, values![&stream])?.map(head).transpose()?)
        })
        .await
    }

    /// How far all streams are, by stream.
    pub async fn heads(&self) -> Result<Vec<StreamHead>, StateError> {
        let read_all = self.read("read the streams", |transaction| {
            let rows = transaction.query(head_columns!(), values![])?;
            Ok(rows.into_iter().map(head).collect::<Result<Vec<_>, _>>()?)
        });
        let mut heads = read_all.await?;
        heads.sort_by(|left, right| left.stream.cmp(&right.stream));
        Ok(heads)
    }

    /// The last batches of a stream, the newest first.
    pub async fn batches(&self, stream: &Stream, limit: usize) -> Result<Vec<BatchRow>, StateError> {
        let stream = stream.clone();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read("read the batches of a stream", move |transaction| {
            let sql = "SELECT batch, committed_at, incarnation, position, inserts, updates, deletes, bytes \
                       FROM batches WHERE stream = ?1 ORDER BY batch DESC LIMIT ?2";
            let rows = transaction.query(sql, values![stream.to_string(), limit])?;
            Ok(rows.into_iter().map(|row| batch(&stream, row)).collect::<Result<_, _>>()?)
        })
        .await
    }

    /// The last batch of a stream that was committed at or before a time, µs; `None`: none was.
    pub async fn batch_at(&self, stream: &Stream, time_us: i64) -> Result<Option<i64>, StateError> {
        let stream = stream.to_string();
        self.read("find the batch of a time", move |transaction| {
            let sql = "SELECT batch FROM batches WHERE stream = ?1 AND committed_at <= ?2 \
                       ORDER BY committed_at DESC LIMIT 1";
            Ok(transaction.query_first(sql, values![&stream, time_us])?.map(|row| row.int(0)).transpose()?)
        })
        .await
    }

    /// The commit times, µs, of the batches with `after < batch <= up_to`.
    pub async fn times(&self, stream: &Stream, after: i64, up_to: i64) -> Result<BTreeMap<i64, i64>, StateError> {
        let stream = stream.to_string();
        self.read("read commit times", move |transaction| {
            let sql = "SELECT batch, committed_at FROM batches WHERE stream = ?1 AND batch > ?2 AND batch <= ?3";
            let rows = transaction.query(sql, values![&stream, after, up_to])?;
            Ok(rows.iter().map(|row| Ok((row.int(0)?, row.int(1)?))).collect::<Result<_, DatabaseError>>()?)
        })
        .await
    }

    /// What changed in a dataset in the batches with `after < batch <= up_to`, by batch.
    pub async fn manifests(&self, dataset: &DatasetRef, after: i64, up_to: i64) -> Result<Vec<Manifest>, StateError> {
        let dataset = dataset.clone();
        self.read("read the manifests of a dataset", move |transaction| {
            let sql = "SELECT batch, schema_id, inline_body, files, inserts, updates, deletes, bytes FROM manifests \
                       WHERE dataset = ?1 AND batch > ?2 AND batch <= ?3 ORDER BY batch";
            let rows = transaction.query(sql, values![dataset.to_string(), after, up_to])?;
            Ok(rows.into_iter().map(|row| manifest(&dataset, row)).collect::<Result<_, _>>()?)
        })
        .await
    }

    /// The first batch after `after` that changed a dataset; `None`: none did.
    pub async fn first_change(&self, dataset: &DatasetRef, after: i64) -> Result<Option<i64>, StateError> {
        let dataset = dataset.to_string();
        self.read("find the next change of a dataset", move |transaction| {
            let sql = "SELECT MIN(batch) FROM manifests WHERE dataset = ?1 AND batch > ?2";
            let row = transaction.query_first(sql, values![&dataset, after])?;
            Ok(row.map_or(Ok(None), |row| row.int_or_null(0))?)
        })
        .await
    }

    /// By which stream and with which columns a dataset was pulled last; `None`: it never was.
    pub async fn pulled(&self, dataset: &DatasetRef) -> Result<Option<(Stream, Schema)>, StateError> {
        let dataset = dataset.to_string();
        self.read("read how a dataset was pulled", move |transaction| {
            let sql = "SELECT datasets.stream, schemas.columns FROM datasets JOIN schemas \
                       ON schemas.dataset = datasets.dataset AND schemas.schema_id = datasets.schema_id \
                       WHERE datasets.dataset = ?1";
            let row = transaction.query_first(sql, values![&dataset])?;
            Ok(row.map(|row| Ok::<_, DatabaseError>((row.parsed(0, "stream")?, row.json(1, "schema")?))).transpose()?)
        })
        .await
    }

    /// The datasets that were ever pulled, each with the stream that did last.
    pub async fn stored_datasets(&self) -> Result<Vec<(DatasetRef, Stream)>, StateError> {
        let read_all = self.read("read the stored datasets", |transaction| {
            let rows = transaction.query("SELECT dataset, stream FROM datasets", values![])?;
            let read = |row: &Row| Ok((row.parsed(0, "dataset")?, row.parsed(1, "stream")?));
            Ok(rows.iter().map(read).collect::<Result<Vec<_>, DatabaseError>>()?)
        });
        let mut datasets = read_all.await?;
        datasets.sort();
        Ok(datasets)
    }

    /// Walks all files that manifests name, page by page.
    ///
    /// A file that is committed while the walk is under way may be missed; a sweep passes over
    /// files that are younger than its own beginning.
    pub fn known_files(&self) -> KnownFiles {
        KnownFiles { state: self.clone(), after: Some((String::new(), 0)) }
    }
}

/// A walk through all files that manifests name.
#[derive(Debug)]
pub struct KnownFiles {
    state: State,
    after: Option<(String, i64)>,
}

impl KnownFiles {
    /// The next paths from the store's root, in no particular order; `None`: that was all.
    ///
    /// A page may be empty.
    pub async fn next_page(&mut self) -> Result<Option<Vec<String>>, StateError> {
        let Some((dataset, batch)) = self.after.take() else {
            return Ok(None);
        };
        let read_page = self.state.read("read the known files", move |transaction| {
            let sql = "SELECT dataset, batch, files FROM manifests WHERE (dataset, batch) > (?1, ?2) \
                       ORDER BY dataset, batch LIMIT ?3";
            Ok(transaction.query(sql, values![&dataset, batch, MANIFESTS_PER_PAGE])?)
        });
        let rows = read_page.await?;
        let failed = |source| StateError::Database { operation: "read the known files", source };
        if let Some(row) = rows.last() {
            self.after = Some((row.str(0).map_err(failed)?.to_owned(), row.int(1).map_err(failed)?));
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let mut paths = Vec::new();
        for mut row in rows {
            if let Some(files) = row.text_or_null(2).map_err(failed)? {
                paths.extend(from_json(&files).map_err(failed)?);
            }
        }
        Ok(Some(paths))
    }
}

fn from_json(files: &str) -> Result<Vec<String>, DatabaseError> {
    serde_json::from_str(files).map_err(|error| DatabaseError::content("list of files", error))
}

fn head(mut row: Row) -> Result<StreamHead, DatabaseError> {
    Ok(StreamHead {
        stream: row.parsed(0, "stream")?,
        batch: row.int(1)?,
        position: row.bytes(2)?,
        incarnation: row.text(3)?,
        committed_at: row.int(4)?,
    })
}

fn batch(stream: &Stream, mut row: Row) -> Result<BatchRow, DatabaseError> {
    Ok(BatchRow {
        stream: stream.clone(),
        batch: row.int(0)?,
        committed_at: row.int(1)?,
        incarnation: row.text(2)?,
        position: row.bytes(3)?,
        inserts: row.int(4)?,
        updates: row.int(5)?,
        deletes: row.int(6)?,
        bytes: row.int(7)?,
    })
}

fn manifest(dataset: &DatasetRef, mut row: Row) -> Result<Manifest, DatabaseError> {
    let body = match (row.bytes_or_null(2)?, row.text_or_null(3)?) {
        (Some(bytes), None) => Body::Inline(bytes),
        (None, Some(files)) => Body::Files(from_json(&files)?),
        _ => return Err(DatabaseError::Column { column: 3, expected: "either a body or files" }),
    };
    Ok(Manifest {
        dataset: dataset.clone(),
        batch: row.int(0)?,
        schema_id: row.int(1)?,
        body,
        inserts: row.int(4)?,
        updates: row.int(5)?,
        deletes: row.int(6)?,
        bytes: row.int(7)?,
    })
}
