//! Trigger: decides whether a transformer runs, and at which batches of its inputs.
//!
//! The vector {stream → batch} is taken from what was delivered. It fires when some input is newer
//! than in the vector that fired last and no input export is in flight. An input never delivered
//! holds it; an input whose retries have ended is used at its last batch. On a cron it fires at its
//! ticks, whatever is new.

use super::{Report, done, fence, successors};
use crate::{JobError, Runtime, schedule};
use levada_model::NodeKind;
use levada_model::fingerprint::fingerprint;
use levada_model::model::TransformTrigger;
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

/// The payload that fires a trigger on a cron between its ticks.
pub const BY_HAND: &str = r#"{"by_hand":true}"#;

pub(super) async fn run(
    runtime: &Runtime,
    row: &HotNode,
    spec: &TriggerSpec,
    started_at: i64,
) -> Result<Report, JobError> {
    let now = runtime.clock.now();
    let mut completion = done(runtime, row, started_at);
    let last: Option<Memory> = row.memory.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let mut news = String::new();
    if let Some(vector) = ready_vector(runtime, spec).await? {
        let code = code(runtime, row).await?;
        let fires = match (&spec.trigger, &last) {
            (_, None) => true,
            (TransformTrigger::OnChange, Some(last)) => is_newer(&vector, &last.vector) || code != last.code,
            (TransformTrigger::Cron(trigger), Some(last)) => {
                row.payload.as_deref() == Some(BY_HAND) || schedule::has_ticked(&trigger.cron, last.fired_at, now)
            }
        };
        if fires {
            let memory = Memory { vector: vector.clone(), code, fired_at: now };
            let firing = Firing { vector, run: format!("{}-{now}", row.epoch) };
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

/// The content of the transformer's definition; another one runs on the same inputs again.
async fn code(runtime: &Runtime, row: &HotNode) -> Result<String, JobError> {
    for (lower, _) in runtime.state.lower(&row.node.address).await? {
        if let Some(transform) = runtime.state.node(&lower).await? {
            return Ok(fingerprint(&transform.node.spec).to_string());
        }
    }
    Ok(String::new())
}

/// The inputs' delivered batches; `None` while one of them is missing or in flight.
async fn ready_vector(runtime: &Runtime, spec: &TriggerSpec) -> Result<Option<BTreeMap<String, i64>>, JobError> {
    let mut vector = BTreeMap::new();
    for input in &spec.inputs {
        let Some(batch) = delivered_batch(runtime, input).await? else { return Ok(None) };
        let least = vector.entry(input.stream.to_string()).or_insert(batch);
        *least = batch.min(*least);
    }
    Ok(Some(vector))
}

/// The batch up to which an input is at its consumer's; `None`: never delivered, or in flight.
///
/// The head is read first: a batch that commits in between makes the export due, which is seen.
async fn delivered_batch(runtime: &Runtime, input: &TriggerInput) -> Result<Option<i64>, JobError> {
    let state = &runtime.state;
    let Some(head) = state.head(&input.stream).await? else { return Ok(None) };
    let Some(delivery) = state.delivery(&input.export).await? else { return Ok(None) };
    let export = state.node(&input.export).await?;
    if export.is_some_and(|export| !export.is_failed && (export.lease.is_some() || export.due_at.is_some())) {
        return Ok(None);
    }
    // Batches of the stream that did not touch this dataset count as delivered.
    let is_behind = !state.manifests(&input.source, delivery.batch, head.batch).await?.is_empty();
    Ok(Some(if is_behind { delivery.batch } else { head.batch }))
}

fn is_newer(vector: &BTreeMap<String, i64>, last: &BTreeMap<String, i64>) -> bool {
    vector.iter().any(|(stream, batch)| last.get(stream).is_none_or(|before| batch > before))
}

fn in_words(vector: &BTreeMap<String, i64>) -> String {
    vector.iter().map(|(stream, batch)| format!("{stream} batch {batch}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_newer_batch_or_a_new_stream_fires() {
        let vector = |pairs: &[(&str, i64)]| pairs.iter().map(|(name, batch)| ((*name).to_owned(), *batch)).collect();
        assert!(!is_newer(&vector(&[("a", 3)]), &vector(&[("a", 3), ("b", 1)])));
        assert!(is_newer(&vector(&[("a", 4)]), &vector(&[("a", 3)])));
        assert!(is_newer(&vector(&[("a", 3), ("c", 1)]), &vector(&[("a", 3)])));
    }
}
