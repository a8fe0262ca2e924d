//! Trigger: decides whether a transformer runs, and at which batches of its inputs.
//!
//! The vector {stream → batch} is taken from what was delivered. It fires when some input is newer
//! than in the vector that fired last (batches of its stream that leave it alone don't count) and no
//! input export is in flight, but for those of streams without an end, which never come to rest. An input never delivered
//! holds it; an input whose retries have ended is used as far as it was delivered. No input ever
//! steps back. On a cron it fires at its ticks, whatever is new.

use super::{Report, done, fence, memory, successors};
use crate::{JobError, Runtime, schedule};
use levada_model::fingerprint::fingerprint;
use levada_model::model::TransformTrigger;
use levada_model::{NodeAddress, NodeKind};
use levada_planner::NodeSpec;
use levada_planner::blueprint::{TriggerInput, TriggerSpec};
use levada_state::nodes::HotNode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a trigger hands to its transformer, and what the transformer hands on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Firing {
    /// Stream → batch: what the run reads.
    pub vector: BTreeMap<String, i64>,
    /// The run: unique per firing.
    pub run: String,
    /// Whether it fired by the clock: then one vector is read as often as its turn comes.
    pub is_timed: bool,
}

/// What a trigger remembers of its last firing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Memory {
    vector: BTreeMap<String, i64>,
    /// What would have run; see [`code`].
    code: String,
    /// µs.
    fired_at: i64,
}

/// The payload that fires a trigger whatever is new: on a cron between its ticks, or because what it
/// fired for is lost.
pub const BY_HAND: &str = r#"{"by_hand":true}"#;

pub(super) async fn run(
    runtime: &Runtime,
    row: &HotNode,
    spec: &TriggerSpec,
    started_at: i64,
) -> Result<Report, JobError> {
    let now = runtime.clock.now();
    let mut completion = done(runtime, row, started_at);
    let last: Option<Memory> = memory(row);
    let mut news = String::new();
    if let Some(vector) = ready_vector(runtime, spec, last.as_ref(), now).await? {
        let code = code(runtime, row).await?;
        let fires = match (&spec.trigger, &last) {
            (_, None) => true,
            _ if row.payload.as_deref() == Some(BY_HAND) => true,
            (TransformTrigger::OnChange, Some(last)) => {
                code != last.code || is_newer(runtime, spec, &vector, &last.vector).await?
            }
            (TransformTrigger::Cron(trigger), Some(last)) => schedule::has_ticked(&trigger.cron, last.fired_at, now),
        };
        if fires {
            let memory = Memory { vector: vector.clone(), code, fired_at: now };
            let is_timed = matches!(spec.trigger, TransformTrigger::Cron(_));
            let firing = Firing { vector, run: format!("{}-{now}", row.epoch), is_timed };
            let text = serde_json::to_string(&firing).expect("plain data always serialises");
            completion.successors = successors(runtime, row, &[NodeKind::Transform]).await?;
            for successor in &mut completion.successors {
                successor.payload = Some(text.clone());
            }
            news = format!("fires at {}", in_words(&firing.vector));
            completion.memory = Some(serde_json::to_string(&memory).expect("plain data always serialises"));
        }
    }
    runtime.state.complete(&fence(row), completion, now).await?;
    Ok(Report { news, ..Report::default() })
}

/// What decides the output of a run but for its inputs: another code, mode or columns make the
/// transformer run on the same inputs again.
async fn code(runtime: &Runtime, row: &HotNode) -> Result<String, JobError> {
    for (lower, _) in runtime.state.lower(&row.node.address).await? {
        if let Some(transform) = runtime.state.node(&lower).await? {
            let NodeSpec::Transform(spec) = &transform.node.spec else { continue };
            let outputs: Vec<_> = spec.outputs.iter().map(|output| (&output.dataset, &output.schema)).collect();
            return Ok(fingerprint(&(&spec.code, spec.mode, outputs)).to_string());
        }
    }
    Ok(String::new())
}

/// The inputs' delivered batches; `None` while one of them is missing or in flight.
async fn ready_vector(
    runtime: &Runtime,
    spec: &TriggerSpec,
    last: Option<&Memory>,
    now: i64,
) -> Result<Option<BTreeMap<String, i64>>, JobError> {
    let mut vector = BTreeMap::new();
    for input in &spec.inputs {
        let Some(batch) = delivered_batch(runtime, input, now).await? else { return Ok(None) };
        let least = vector.entry(input.stream.to_string()).or_insert(batch);
        *least = batch.min(*least);
    }
    for (stream, batch) in &mut vector {
        let fired = last.and_then(|last| last.vector.get(stream)).copied();
        *batch = fired.map_or(*batch, |fired| fired.max(*batch));
    }
    Ok(Some(vector))
}

/// The batch up to which an input is at its consumer's; `None`: never delivered, or in flight, of a stream
/// that comes to rest.
///
/// The head is read first: a batch that commits in between makes the export due, which is seen.
async fn delivered_batch(runtime: &Runtime, input: &TriggerInput, now: i64) -> Result<Option<i64>, JobError> {
    let state = &runtime.state;
    let Some(head) = state.head(&input.stream).await? else { return Ok(None) };
    let Some(delivery) = state.delivery(&input.export).await? else { return Ok(None) };
    // A stream that takes over the datasets of another has no say before its first pull.
    if head.batch < delivery.batch {
        return Ok(None);
    }
    let undelivered = state.first_change(&input.source, delivery.batch).await?.filter(|first| *first <= head.batch);
    let export = state.node(&input.export).await?;
    let is_in_flight = export.is_some_and(|export| is_in_flight(&export, undelivered.is_some(), now));
    // Of a stream without an end something always is: waiting for rest would be waiting for ever.
    if is_in_flight && !is_endless(runtime, input).await? {
        return Ok(None);
    }
    // Batches of the stream that did not touch this dataset count as delivered.
    Ok(Some(undelivered.map_or(head.batch, |first| first - 1)))
}

/// Whether an input's stream is read without an end.
async fn is_endless(runtime: &Runtime, input: &TriggerInput) -> Result<bool, JobError> {
    let ingest = NodeAddress::Ingest(input.export.platform().clone(), input.stream.clone());
    let ingest = runtime.state.node(&ingest).await?;
    Ok(ingest.is_some_and(|row| matches!(&row.node.spec, NodeSpec::Ingest(spec) if schedule::is_continuous(spec))))
}

/// Whether an export is about to deliver: it runs, it is due, it waits for another try or for its
/// window. Its regular turn alone brings nothing.
fn is_in_flight(export: &HotNode, is_behind: bool, now: i64) -> bool {
    let waits = export.due_at.is_some_and(|due_at| due_at <= now || is_behind || export.attempt > 0);
    !export.is_failed && (export.lease.is_some() || waits)
}

/// Whether a dataset that the transformer reads changed between two vectors, or comes by a stream
/// that the earlier one lacks.
async fn is_newer(
    runtime: &Runtime,
    spec: &TriggerSpec,
    vector: &BTreeMap<String, i64>,
    last: &BTreeMap<String, i64>,
) -> Result<bool, JobError> {
    for input in &spec.inputs {
        let stream = input.stream.to_string();
        let Some(before) = last.get(&stream) else { return Ok(true) };
        let change = runtime.state.first_change(&input.source, *before).await?;
        if change.is_some_and(|first| first <= vector[&stream]) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn in_words(vector: &BTreeMap<String, i64>) -> String {
    vector.iter().map(|(stream, batch)| format!("{stream} batch {batch}")).collect::<Vec<_>>().join(", ")
}
