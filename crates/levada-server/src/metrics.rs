//! Figures in the Prometheus text format, version 0.0.4.

use levada_state::{HotNode, State, StateError};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The format's content type.
pub(crate) const CONTENT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All figures of this moment.
pub(crate) async fn text(state: &State) -> Result<String, StateError> {
    let mut nodes: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for row in state.nodes().await? {
        *nodes.entry((row.node.address.kind().word(), condition(&row))).or_default() += 1;
    }
    let heads = state.heads().await?;
    let generation = state.generation_in_force().await?.map_or(0, |generation| generation.0);
    let mut text = String::new();
    family(&mut text, "levada_generation", "The generation in force.");
    line(&mut text, format_args!("levada_generation {generation}"));
    family(&mut text, "levada_nodes", "Nodes of the intention graphs by kind and condition.");
    for ((kind, condition), count) in nodes {
        line(&mut text, format_args!("levada_nodes{{kind=\"{kind}\",condition=\"{condition}\"}} {count}"));
    }
    family(&mut text, "levada_stream_batch", "The last committed batch of each stream.");
    for head in &heads {
        line(&mut text, format_args!("levada_stream_batch{{stream=\"{}\"}} {}", head.stream, head.batch));
    }
    family(&mut text, "levada_stream_committed_seconds", "When the last batch was committed, in seconds since 1970.");
    for head in &heads {
        let seconds = head.committed_at as f64 / 1e6;
        line(&mut text, format_args!("levada_stream_committed_seconds{{stream=\"{}\"}} {seconds}", head.stream));
    }
    Ok(text)
}

fn family(text: &mut String, name: &str, help: &str) {
    line(text, format_args!("# HELP {name} {help}"));
    line(text, format_args!("# TYPE {name} gauge"));
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("writing to a string never fails");
}

fn condition(row: &HotNode) -> &'static str {
    match row {
        HotNode { lease: Some(_), .. } => "running",
        HotNode { is_failed: true, .. } => "failed",
        HotNode { attempt: 1.., .. } => "retrying",
        _ => "resting",
    }
}
