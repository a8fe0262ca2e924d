//! Export: brings the datasets of one stream in one container to the stream's last batch.
//!
//! The mark in the consumer's own database says what is there; the delivery replaces exactly that
//! mark in the same transaction. Whatever happened before a crash, the next try reads the mark and
//! goes on from it, so that no change is applied twice or left out.

use super::{Report, done, fence, successors};
use crate::{JobError, Runtime, retry};
use futures::StreamExt;
use levada_flow::sink::{Content, DeliveredTable, DeliveredView, Form, Mark, TableDelivery, UnknownReader};
use levada_flow::{FlowError, RowStream, failpoint};
use levada_model::{NodeAddress, NodeKind, SchemaColumn};
use levada_planner::NodeSpec;
use levada_planner::blueprint::{DeliveredReading, ExportSpec};
use levada_state::catalog::StreamHead;
use levada_state::deliveries::Delivery;
use levada_state::nodes::{HotNode, Outcome};
use levada_store::Reading;

/// The payload that asks an export to build everything anew from the store.
pub const REHYDRATE: &str = r#"{"rehydrate":true}"#;

const DAY_US: i64 = 86_400_000_000;

pub(super) async fn run(runtime: &Runtime, claimed: &[HotNode], started_at: i64) -> Result<Report, JobError> {
    let stream = &export_spec(&claimed[0]).stream;
    let head = runtime.state.head(stream).await?;
    let mut ready = Vec::new();
    for row in claimed {
        if head.is_some() && is_pulled(runtime, export_spec(row)).await? {
            ready.push(row);
        } else {
            runtime.state.complete(&fence(row), done(runtime, row, started_at), runtime.clock.now()).await?;
        }
    }
    match head {
        Some(head) if !ready.is_empty() => deliver(runtime, &ready, &head, started_at).await,
        _ => Ok(Report::default()),
    }
}

/// Whether the dataset of an export has been pulled by the stream of today and with all its columns.
/// One that joins a running stream is not delivered, as an empty table, before its first pull has
/// ended, nor a column that joins a dataset, as NULLs.
pub(super) async fn is_pulled(runtime: &Runtime, spec: &ExportSpec) -> Result<bool, JobError> {
    let Some((stream, pulled)) = runtime.state.pulled(&spec.source).await? else { return Ok(false) };
    let is_there = |column: &SchemaColumn| {
        pulled.columns.iter().any(|there| (&there.name, &there.data_type) == (&column.name, &column.data_type))
    };
    Ok(stream == spec.stream && spec.schema.columns.iter().all(is_there))
}

async fn deliver(
    runtime: &Runtime,
    claimed: &[&HotNode],
    head: &StreamHead,
    started_at: i64,
) -> Result<Report, JobError> {
    let specs: Vec<&ExportSpec> = claimed.iter().map(|row| export_spec(row)).collect();
    let now = runtime.clock.now();
    let tables: Vec<DeliveredTable> =
        claimed.iter().zip(&specs).map(|(row, spec)| delivered_table(&row.node.address, spec, now)).collect();
    let mut sink = runtime.connect.sink(&specs[0].connection).await?;
    let marks = sink.marks(&tables).await?;
    failpoint("export.read")?;

    let mut deliveries = Vec::new();
    let mut recorded = Vec::new();
    for (((row, spec), table), found) in claimed.iter().zip(&specs).zip(tables).zip(marks) {
        let mark = next_mark(runtime, row, spec, head, found.as_ref());
        let content = content(runtime, row, spec, head, &mark, found.as_ref(), sink.form()).await?;
        recorded.push(mark.clone());
        deliveries.push(TableDelivery { table, content, mark, expected: found });
    }
    let taken_over = deliveries.iter().filter(|one| is_foreign(runtime.state.id(), one.expected.as_ref())).count();
    let rebuilt = deliveries.iter().filter(|one| matches!(one.content, Content::Everything { .. })).count();
    let delivered = sink.deliver(deliveries).await?;
    failpoint("export.delivered")?;

    let ended_at = runtime.clock.now();
    let mut completions = Vec::new();
    let mut failed = Vec::new();
    for ((row, spec), mark) in claimed.iter().zip(&specs).zip(recorded) {
        let mut completion = done(runtime, row, started_at);
        if let Some(error) = unknown_readers(spec, &delivered.unknown_readers) {
            failed.push((row.node.address.clone(), error.clone()));
            completion.outcome = Outcome::Failed { error };
            completion.next_due_at = Some(ended_at + retry::PAUSE_MS_MAX * 1_000);
        }
        completion.successors = successors(runtime, row, &[NodeKind::Trigger]).await?;
        // Rows and bytes belong to the whole delivery; its first export carries them.
        if completions.is_empty() {
            completion.rows = delivered.rows.cast_signed();
            completion.bytes = delivered.bytes.cast_signed();
        }
        let delivery = Delivery {
            export: row.node.address.clone(),
            batch: mark.batch,
            incarnation: mark.incarnation,
            shape: mark.shape,
            epoch: mark.epoch,
            delivered_at: ended_at,
            rows: completion.rows,
            bytes: completion.bytes,
        };
        completions.push((fence(row), completion, delivery));
    }
    runtime.state.complete_export(&completions).await?;
    failpoint("export.recorded")?;
    let mut how = if rebuilt > 0 { format!(", {rebuilt} built anew") } else { String::new() };
    if taken_over > 0 {
        how.push_str(&format!(", {taken_over} taken over from another state of Levada that delivered here"));
    }
    Ok(Report {
        rows: delivered.rows.cast_signed(),
        bytes: delivered.bytes.cast_signed(),
        news: format!("at batch {}: {} rows written{how}", head.batch, delivered.rows),
        failed,
    })
}

/// What to tell of an export whose rows are delivered while some of its readers are not let in.
fn unknown_readers(spec: &ExportSpec, unknown: &[UnknownReader]) -> Option<String> {
    let unknown = unknown.iter().filter(|unknown| unknown.source == spec.source);
    let named: Vec<String> = unknown.map(|one| format!("{:?} of workspace {}", one.reader, one.workspace)).collect();
    let container = &spec.connection.container;
    (!named.is_empty()).then(|| {
        FlowError::later(format!("readers that container {container} does not know: {}", named.join(", ")))
            .hint("everything else is delivered; create the roles, or take them out of the workspace's readers")
            .chain()
    })
}

fn export_spec(row: &HotNode) -> &ExportSpec {
    match &row.node.spec {
        NodeSpec::Export(spec) => spec,
        _ => unreachable!("deliveries are made of exports"),
    }
}

/// The mark that this delivery leaves.
fn next_mark(runtime: &Runtime, row: &HotNode, spec: &ExportSpec, head: &StreamHead, found: Option<&Mark>) -> Mark {
    let base = epoch_base(runtime.state.id(), found);
    Mark {
        batch: head.batch,
        incarnation: head.incarnation.clone(),
        epoch: base + row.epoch,
        shape: shape(runtime.state.id(), base, spec),
    }
}

/// `STATE+BASE:FINGERPRINT`: who delivers, where its epochs begin, and how the tables look.
fn shape(state: &str, base: i64, spec: &ExportSpec) -> String {
    format!("{state}+{base}:{}", spec.shape())
}

/// Where this state's epochs begin in a consumer's mark.
///
/// A mark of another state (ours was lost, or somebody tried Levada here before) is taken over:
/// our epochs count on from it, so that the other one may not write any more.
pub(super) fn epoch_base(state: &str, found: Option<&Mark>) -> i64 {
    found.map_or(0, |mark| own_base(state, mark).unwrap_or(mark.epoch))
}

/// Whether a mark is another state's.
fn is_foreign(state: &str, found: Option<&Mark>) -> bool {
    found.is_some_and(|mark| own_base(state, mark).is_none())
}

/// The base in a mark of this state; `None`: the mark is another state's.
fn own_base(state: &str, mark: &Mark) -> Option<i64> {
    mark.shape.split_once(':').and_then(|(who, _)| who.strip_prefix(state)?.strip_prefix('+')?.parse().ok())
}

async fn content(
    runtime: &Runtime,
    row: &HotNode,
    spec: &ExportSpec,
    head: &StreamHead,
    mark: &Mark,
    found: Option<&Mark>,
    form: Form,
) -> Result<Content, JobError> {
    let is_asked = row.payload.as_deref() == Some(REHYDRATE);
    let from = match found {
        Some(found) if found.batch > head.batch && !is_asked && !is_foreign(runtime.state.id(), Some(found)) => {
            return Err(step_back(spec, found, head).into());
        }
        Some(found) if found.shape == mark.shape && found.batch <= head.batch && !is_asked => found.batch,
        _ => return everything(runtime, spec, head, None).await,
    };
    let manifests = runtime.state.manifests(&spec.source, from, head.batch).await?;
    if manifests.is_empty() {
        return Ok(Content::Nothing);
    }
    match form {
        Form::Changes => {
            // Without a history nobody asks for what was between.
            let is_net = spec.history.is_none();
            let (rows, times) = changes(runtime, spec, from, head, is_net).await?;
            Ok(Content::Changes { rows, times, is_net })
        }
        Form::Everything => everything(runtime, spec, head, Some(from)).await,
    }
}

/// Why a consumer that is ahead of the store is left alone: an older state of Levada is at work.
fn step_back(spec: &ExportSpec, found: &Mark, head: &StreamHead) -> FlowError {
    let (source, there, here) = (&spec.source, found.batch, head.batch);
    FlowError::never(format!(
        "{source} is at batch {there} at the consumer's, and this state knows {here} batches only"
    ))
    .hint("if an older copy of the state was put back on purpose, rehydrate the consumer from it")
}

type Changes = (RowStream, std::collections::BTreeMap<i64, i64>);

async fn changes(
    runtime: &Runtime,
    spec: &ExportSpec,
    from: i64,
    head: &StreamHead,
    is_net: bool,
) -> Result<Changes, JobError> {
    let (after, up_to) = (from, Some(head.batch));
    let reading = if is_net { Reading::NetChanges { after, up_to } } else { Reading::Changes { after, up_to } };
    let rows = runtime.store.read(&spec.source, &spec.schema, reading).await?;
    let times = runtime.store.times(&spec.source, from, head.batch).await?;
    Ok((keep(rows, spec, &["lv_batch", "lv_op", "lv_key_hash", "lv_row_hash"]), times))
}

async fn everything(
    runtime: &Runtime,
    spec: &ExportSpec,
    head: &StreamHead,
    from: Option<i64>,
) -> Result<Content, JobError> {
    let live = match &spec.live {
        None => None,
        Some(_) => {
            let reading = Reading::Live { as_of: Some(head.batch) };
            let rows = runtime.store.read(&spec.source, &spec.schema, reading).await?;
            Some(keep(rows, spec, &["lv_key_hash"]))
        }
    };
    let history = match &spec.history {
        None => None,
        Some(_) => {
            let since = spec.history_retention.map(|period| retained_since(runtime.clock.now(), period));
            let reading = Reading::History { as_of: Some(head.batch), since };
            let rows = runtime.store.read(&spec.source, &spec.schema, reading).await?;
            Some(keep(rows, spec, &["valid_from", "valid_to", "lv_key_hash"]))
        }
    };
    let changes = match from {
        None => None,
        Some(from) => Some(changes(runtime, spec, from, head, false).await?),
    };
    Ok(Content::Everything { changes, live, history })
}

/// Narrows a reading to the dataset's columns and the named store columns.
fn keep(rows: RowStream, spec: &ExportSpec, store_columns: &'static [&'static str]) -> RowStream {
    let columns = spec.schema.columns.len();
    rows.map(move |rows| {
        let rows = rows?;
        let mut indices: Vec<usize> = (0..columns).collect();
        for name in store_columns {
            indices.push(
                rows.schema()
                    .index_of(name)
                    .map_err(|error| FlowError::never("a reading lacks a store column").because(error))?,
            );
        }
        rows.project(&indices).map_err(|error| FlowError::never("a reading can't be narrowed").because(error))
    })
    .boxed()
}

/// How an export has to look at the consumer's.
pub fn delivered_table(export: &NodeAddress, spec: &ExportSpec, now: i64) -> DeliveredTable {
    let views = spec.views.iter().map(|view| DeliveredView {
        workspace: view.workspace.clone(),
        schema: view.schema.clone(),
        name: view.name.clone(),
        is_history: view.reading == DeliveredReading::History,
        since: view
            .retention
            .filter(|_| view.reading == DeliveredReading::History)
            .map(|period| retained_since(now, period)),
        readers: view.readers.clone(),
    });
    DeliveredTable {
        platform: export.platform().clone(),
        source: spec.source.clone(),
        schema: spec.schema.clone(),
        live: spec.live.clone(),
        history: spec.history.clone(),
        views: views.collect(),
    }
}

/// The day a retention reaches back to; whole days, so that views change once a day at most.
fn retained_since(now: i64, retention: levada_model::period::Period) -> i64 {
    crate::schedule::before(now, retention).div_euclid(DAY_US) * DAY_US
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_count_on_from_a_mark_of_another_state_and_keep_their_base() {
        let mark = |shape: &str| Mark { batch: 1, incarnation: String::new(), epoch: 7, shape: shape.to_owned() };
        assert_eq!(epoch_base("ab", None), 0);
        assert_eq!(epoch_base("ab", Some(&mark("cd+0:x"))), 7);
        assert_eq!(epoch_base("ab", Some(&mark("ab+5:x"))), 5);
        assert_eq!(epoch_base("ab", Some(&mark("abc+5:x"))), 7);
    }
}
