//! Link: receives a stream from the platform that ingests it.
//!
//! Platforms that share one store need no copy: the primary's manifests are the feed, and the link
//! passes the turn on to the exports behind it.

use super::{Report, done, fence, memory, successors};
use crate::{JobError, Runtime};
use levada_model::fingerprint::fingerprint;
use levada_model::{NodeAddress, NodeKind};
use levada_planner::blueprint::LinkSpec;
use levada_state::nodes::{HotNode, Successor};
use serde::{Deserialize, Serialize};

/// What a link remembers between its turns.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct Memory {
    /// The last batch it passed on.
    received: i64,
    /// See [`pulled_as`].
    pulled: String,
}

pub(super) async fn run(
    runtime: &Runtime,
    row: &HotNode,
    spec: &LinkSpec,
    started_at: i64,
) -> Result<Report, JobError> {
    let Some(head) = runtime.state.head(&spec.stream).await? else {
        runtime.state.complete(&fence(row), done(runtime, row, started_at), runtime.clock.now()).await?;
        return Ok(Report::default());
    };
    let last: Memory = memory(row).unwrap_or_default();
    let exports: Vec<_> = successors(runtime, row, &[NodeKind::Export]).await?;
    let pulled = pulled_as(runtime, &exports).await?;
    // A link that is new or changed passes everything on, and so does one whose datasets are pulled in
    // another way than before; exports that are up to date do nothing.
    let passes_all = row.is_changed || pulled != last.pulled;
    let mut completion = done(runtime, row, started_at);
    for successor in exports {
        let NodeAddress::Export(_, _, of) = &successor.node else { continue };
        let is_changed = runtime.state.first_change(of, last.received).await?.is_some();
        if passes_all || is_changed || runtime.state.delivery(&successor.node).await?.is_none() {
            completion.successors.push(successor);
        }
    }
    let memory = Memory { received: head.batch, pulled };
    completion.memory = Some(serde_json::to_string(&memory).expect("plain data always serialises"));
    runtime.state.complete(&fence(row), completion, runtime.clock.now()).await?;
    let news = if head.batch > last.received { format!("received up to batch {}", head.batch) } else { String::new() };
    Ok(Report { news, ..Report::default() })
}

/// The fingerprint of how the datasets of these exports were pulled last.
async fn pulled_as(runtime: &Runtime, exports: &[Successor]) -> Result<String, JobError> {
    let mut pulled = Vec::with_capacity(exports.len());
    for export in exports {
        if let NodeAddress::Export(_, _, of) = &export.node {
            pulled.push(runtime.state.pulled(of).await?);
        }
    }
    Ok(fingerprint(&pulled).to_string())
}
