//! Link: receives a stream from the platform that ingests it.
//!
//! Platforms that share one store need no copy: the primary's manifests are the feed, and the link
//! passes the turn on to the exports behind it.

use super::{Report, done, fence, successors};
use crate::{JobError, Runtime};
use levada_model::{NodeAddress, NodeKind};
use levada_planner::blueprint::LinkSpec;
use levada_state::nodes::HotNode;

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
    let received: i64 = row.memory.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0);
    // A link that is new or changed passes everything on; exports that are up to date do nothing.
    let after = if row.is_changed { 0 } else { received };
    let mut completion = done(runtime, row, started_at);
    for successor in successors(runtime, row, &[NodeKind::Export]).await? {
        let NodeAddress::Export(_, _, of) = &successor.node else { continue };
        let is_changed = !runtime.state.manifests(of, after, head.batch).await?.is_empty();
        if is_changed || runtime.state.delivery(&successor.node).await?.is_none() {
            completion.successors.push(successor);
        }
    }
    completion.memory = Some(head.batch.to_string());
    runtime.state.complete(&fence(row), completion, runtime.clock.now()).await?;
    let news = if head.batch > received { format!("received up to batch {}", head.batch) } else { String::new() };
    Ok(Report { news, ..Report::default() })
}
