//! A node that has left the blueprint: what it delivered is taken away, what is stored stays.

use super::deliver::{delivered_table, epoch_base};
use super::ingest::reader;
use super::{Report, done, fence};
use crate::{JobError, Runtime};
use levada_model::model::IngestKind;
use levada_planner::NodeSpec;
use levada_planner::blueprint::{IngestOrigin, IngestSpec};
use levada_state::nodes::HotNode;

/// Has a source forget the reader of its change log; else it would keep its log for ever.
async fn leave(runtime: &Runtime, spec: &IngestSpec) -> Result<(), JobError> {
    if let IngestOrigin::Container { connection, ingest: IngestKind::Cdc { .. }, .. } = &spec.origin {
        let mut source = runtime.connect.source(connection).await?;
        source.forget(&reader(&runtime.state, &spec.stream)).await?;
    }
    Ok(())
}

pub(super) async fn run(runtime: &Runtime, claimed: &[HotNode], started_at: i64) -> Result<Report, JobError> {
    let now = runtime.clock.now();
    for row in claimed {
        let mut completion = done(runtime, row, started_at);
        completion.next_due_at = None;
        if let NodeSpec::Export(spec) = &row.node.spec {
            let mut sink = runtime.connect.sink(&spec.connection).await?;
            let tables = [delivered_table(&row.node.address, spec, now)];
            let found = sink.marks(&tables).await?.pop().flatten();
            sink.remove(&tables, epoch_base(runtime.state.id(), found.as_ref()) + row.epoch).await?;
        }
        if let NodeSpec::Ingest(spec) = &row.node.spec {
            leave(runtime, spec).await?;
        }
        runtime.state.complete(&fence(row), completion, now).await?;
    }
    Ok(Report { news: "views, grants and tables taken away; milestones stay".to_owned(), ..Report::default() })
}
