//! The only place where data becomes part of the store.

use super::{BatchCommit, Body, Covered, Manifest};
use crate::db::{DatabaseError, Failure, Transaction, values};
use crate::nodes::{Effect, Outcome, complete_job, make_due};
use crate::runs::record_run;
use crate::{State, StateError};
use levada_model::address::Stream;

const ADVANCE: &str = "UPDATE streams SET batch = ?3, position = ?4, incarnation = ?5, committed_at = ?6 \
     WHERE stream = ?1 AND batch = ?2";

const INSERT_STREAM: &str = "INSERT INTO streams (stream, batch, position, incarnation, committed_at) \
     VALUES (?1, 0, ?2, ?3, 0) ON CONFLICT (stream) DO NOTHING";

const INSERT_BATCH: &str = "INSERT INTO batches (stream, batch, committed_at, incarnation, position, inserts, updates, \
     deletes, bytes, node, epoch) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";

const INSERT_MANIFEST: &str = "INSERT INTO manifests (dataset, batch, schema_id, inline_body, files, inserts, updates, \
     deletes, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

const PLACE_DATASET: &str = "INSERT INTO datasets (dataset, stream, schema_id) VALUES (?1, ?2, ?3) \
     ON CONFLICT (dataset) DO UPDATE SET stream = excluded.stream, schema_id = excluded.schema_id \
     WHERE datasets.stream <> excluded.stream OR datasets.schema_id <> excluded.schema_id";

impl State {
    /// Commits one pull of a stream with everything it entails, in one transaction: the manifests,
    /// the position, the end of the job, the nodes it makes due.
    ///
    /// Gives the number of the new batch, or `None` where nothing changed: then the position
    /// advances, the job ends, and only what is due even then becomes due. A job that continues keeps its
    /// lease and epoch for its next batch. The output of a transformer is committed
    /// once per position: the same position again counts as nothing changed.
    ///
    /// # Errors
    /// [`StateError::Fenced`] where another claim has taken over or the node has left the
    /// blueprint, [`StateError::PositionMoved`] where the stream has moved on; both commit nothing.
    pub async fn commit_batch(&self, commit: BatchCommit) -> Result<Option<i64>, StateError> {
        self.write("commit a batch", move |transaction| run(transaction, &commit)).await
    }
}

/// The last commit of a stream.
struct Last {
    batch: i64,
    committed_at: i64,
    position: Vec<u8>,
}

/// How far the batches of a stream's datasets are, whichever stream brought them.
struct Reached {
    batch: i64,
    committed_at: i64,
}

fn run(transaction: &mut dyn Transaction, commit: &BatchCommit) -> Result<Option<i64>, Failure> {
    // A job that goes on leaves no run by which an earlier try would be known.
    let may_be_known = transaction.is_repeated() && commit.done.outcome == Outcome::Continues;
    if may_be_known && let Some(batch) = committed_before(transaction, commit)? {
        return Ok(Some(batch));
    }
    let is_output = match complete_job(transaction, &commit.fence, &commit.done, commit.now)? {
        Effect::Recorded { is_output } => is_output,
        Effect::Repeated => return committed_before(transaction, commit),
        Effect::Gone => return Err(fenced(commit)),
    };
    let last = last(transaction, commit)?;
    let is_known = is_output && last.batch > 0 && last.position == commit.position;
    let reached = reached(transaction, commit, &last)?;
    let batch = (!commit.manifests.is_empty() && !is_known).then_some(reached.batch + 1);
    let committed_at = batch.map_or(reached.committed_at, |_| commit.now.max(reached.committed_at + 1));
    advance(transaction, commit, batch.unwrap_or(reached.batch), committed_at)?;
    place_datasets(transaction, commit)?;
    make_due(transaction, &commit.due_even_if_empty)?;
    if let Some(batch) = batch {
        insert_batch(transaction, commit, batch, committed_at)?;
        insert_manifests(transaction, commit, batch)?;
        make_due(transaction, &commit.done.successors)?;
    }
    record_run(transaction, &commit.fence, &commit.done, commit.now, batch)?;
    Ok(batch)
}

fn fenced(commit: &BatchCommit) -> Failure {
    StateError::Fenced { node: commit.fence.node.clone(), epoch: commit.fence.epoch }.into()
}

/// What an earlier try under the same fence has committed, now that its answer got lost.
fn committed_before(transaction: &mut dyn Transaction, commit: &BatchCommit) -> Result<Option<i64>, Failure> {
    let sql = "SELECT batch FROM batches WHERE stream = ?1 AND batch > ?2 AND node = ?3 AND epoch = ?4";
    let values = values![commit.stream.to_string(), commit.previous, commit.fence.node.to_string(), commit.fence.epoch];
    Ok(transaction.query_first(sql, values)?.map(|row| row.int(0)).transpose()?)
}

fn last(transaction: &mut dyn Transaction, commit: &BatchCommit) -> Result<Last, Failure> {
    let stream = commit.stream.to_string();
    let sql = "SELECT batch, committed_at, position FROM streams WHERE stream = ?1";
    match transaction.query_first(sql, values![&stream])? {
        Some(mut row) => Ok(Last { batch: row.int(0)?, committed_at: row.int(1)?, position: row.bytes(2)? }),
        None => {
            transaction.execute(INSERT_STREAM, values![&stream, commit.position.as_slice(), &commit.incarnation])?;
            Ok(Last { batch: 0, committed_at: 0, position: Vec::new() })
        }
    }
}

/// A store that turns from `multi` to `single` or back goes on counting from the streams that
/// brought its datasets before, so that batches and commit times of a dataset only ever grow. The
/// store says in its manifests which number is next as far as it sees.
fn reached(transaction: &mut dyn Transaction, commit: &BatchCommit, last: &Last) -> Result<Reached, DatabaseError> {
    let staged = commit.manifests.iter().map(|manifest| manifest.batch - 1);
    let mut reached = Reached { batch: staged.fold(commit.previous, i64::max), committed_at: last.committed_at };
    let sql = "SELECT batch, committed_at FROM streams WHERE stream = ?1";
    let sets: Vec<_> = other_streams(commit).into_iter().map(|stream| values![stream.to_string()]).collect();
    for row in transaction.query_many(sql, &sets)?.iter().flatten() {
        reached.batch = reached.batch.max(row.int(0)?);
        reached.committed_at = reached.committed_at.max(row.int(1)?);
    }
    Ok(reached)
}

/// The streams that may have brought the datasets of this one before.
fn other_streams(commit: &BatchCommit) -> Vec<Stream> {
    let datastore = &commit.stream.datastore;
    match &commit.stream.dataset {
        Some(_) => vec![Stream { datastore: datastore.clone(), dataset: None }],
        None => {
            let single =
                |of: &Covered| Stream { datastore: datastore.clone(), dataset: Some(of.dataset.dataset.clone()) };
            commit.covered.iter().map(single).collect()
        }
    }
}

fn advance(
    transaction: &mut dyn Transaction,
    commit: &BatchCommit,
    batch: i64,
    committed_at: i64,
) -> Result<(), Failure> {
    let stream = commit.stream.to_string();
    let values =
        values![&stream, commit.previous, batch, commit.position.as_slice(), &commit.incarnation, committed_at];
    if transaction.execute(ADVANCE, values)? > 0 {
        return Ok(());
    }
    let found = transaction.query_first("SELECT batch FROM streams WHERE stream = ?1", values![&stream])?;
    let found = found.map_or(Ok(0), |row| row.int(0))?;
    Err(StateError::PositionMoved { stream: commit.stream.clone(), expected: commit.previous, found }.into())
}

fn insert_batch(
    transaction: &mut dyn Transaction,
    commit: &BatchCommit,
    batch: i64,
    committed_at: i64,
) -> Result<(), DatabaseError> {
    let sum = |count: fn(&Manifest) -> i64| commit.manifests.iter().map(count).sum::<i64>();
    let values = values![
        commit.stream.to_string(),
        batch,
        committed_at,
        &commit.incarnation,
        commit.batch_position.as_slice(),
        sum(|manifest| manifest.inserts),
        sum(|manifest| manifest.updates),
        sum(|manifest| manifest.deletes),
        sum(|manifest| manifest.bytes),
        commit.fence.node.to_string(),
        commit.fence.epoch,
    ];
    transaction.execute(INSERT_BATCH, values).map(drop)
}

fn insert_manifests(transaction: &mut dyn Transaction, commit: &BatchCommit, batch: i64) -> Result<(), DatabaseError> {
    let mut manifests = Vec::with_capacity(commit.manifests.len());
    for manifest in &commit.manifests {
        let dataset = manifest.dataset.to_string();
        let (inline_body, files) = match &manifest.body {
            Body::Inline(bytes) => (Some(bytes.as_slice()), None),
            Body::Files(files) => (None, Some(to_json(files))),
        };
        manifests.push(values![
            dataset,
            batch,
            manifest.schema_id,
            inline_body,
            files,
            manifest.inserts,
            manifest.updates,
            manifest.deletes,
            manifest.bytes,
        ]);
    }
    transaction.execute_many(INSERT_MANIFEST, &manifests).map(drop)
}

fn place_datasets(transaction: &mut dyn Transaction, commit: &BatchCommit) -> Result<(), DatabaseError> {
    let stream = commit.stream.to_string();
    let place = |of: &Covered| values![of.dataset.to_string(), &stream, of.schema_id];
    let places: Vec<_> = commit.covered.iter().map(place).collect();
    transaction.execute_many(PLACE_DATASET, &places).map(drop)
}

fn to_json(files: &[String]) -> String {
    serde_json::to_string(files).expect("a list of texts always serialises")
}
