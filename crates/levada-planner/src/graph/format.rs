//! The four ways to show intention graphs: for people, for Mermaid, for Graphviz, for programs.

use super::IntentionGraph;
use crate::text::line;
use levada_model::model::Priority;
use serde_json::{Value, json};

/// How graphs are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum GraphFormat {
    Text,
    Mermaid,
    Dot,
    Json,
}

/// Writes graphs, each format ending with a newline.
pub fn write(graphs: &[IntentionGraph], format: GraphFormat) -> String {
    match format {
        GraphFormat::Text => text(graphs),
        GraphFormat::Mermaid => mermaid(graphs),
        GraphFormat::Dot => dot(graphs),
        GraphFormat::Json => format!("{:#}\n", to_json(graphs)),
    }
}

/// The word in the model.
pub fn priority_word(priority: Priority) -> &'static str {
    match priority {
        Priority::Low => "low",
        Priority::Medium => "medium",
        Priority::High => "high",
        Priority::Critical => "critical",
    }
}

fn text(graphs: &[IntentionGraph]) -> String {
    let mut out = String::new();
    for graph in graphs {
        let (nodes, edges) = (graph.nodes.len(), graph.edges.len());
        line(&mut out, format_args!("{}: {}, {}", graph.platform, count(nodes, "node"), count(edges, "edge")));
        let mut edges = graph.edges.as_slice();
        for (position, node) in (0..).zip(&graph.nodes) {
            line(&mut out, format_args!("  {}  ({})", node.address, priority_word(node.priority)));
            let own = edges.partition_point(|edge| edge.from <= position);
            for edge in &edges[..own] {
                let mark = if edge.is_self { "  (self)" } else { "" };
                line(&mut out, format_args!("    -> {}{mark}", graph.address(edge.to)));
            }
            edges = &edges[own..];
        }
    }
    if graphs.is_empty() {
        out.push_str("nothing to do: no group is delivered by any platform\n");
    }
    out
}

fn mermaid(graphs: &[IntentionGraph]) -> String {
    let mut out = "flowchart LR\n".to_owned();
    for (number, graph) in graphs.iter().enumerate() {
        let label = |text: &str| text.replace('&', "#amp;").replace('"', "#quot;").replace('<', "#lt;");
        line(&mut out, format_args!("  subgraph p{number}[\"{}\"]", label(graph.platform.as_str())));
        for (position, node) in graph.nodes.iter().enumerate() {
            line(&mut out, format_args!("    p{number}n{position}[\"{}\"]", label(&node.address.to_string())));
        }
        for edge in &graph.edges {
            let mark = if edge.is_self { "|self|" } else { "" };
            line(&mut out, format_args!("    p{number}n{} -->{mark} p{number}n{}", edge.from, edge.to));
        }
        out.push_str("  end\n");
        let mut workspaces: Vec<_> = graph.readings.iter().map(|reading| &reading.workspace).collect();
        workspaces.sort_unstable();
        workspaces.dedup();
        for (position, workspace) in workspaces.iter().enumerate() {
            line(&mut out, format_args!("  p{number}w{position}([\"{}\"])", label(workspace.as_str())));
        }
        for reading in &graph.readings {
            let workspace = workspaces.binary_search(&&reading.workspace).expect("all readers are listed");
            line(&mut out, format_args!("  p{number}n{} -.-> p{number}w{workspace}", reading.export));
        }
    }
    out
}

fn dot(graphs: &[IntentionGraph]) -> String {
    let quote = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut out = "digraph levada {\n  rankdir=LR;\n  node [shape=box];\n".to_owned();
    for (number, graph) in graphs.iter().enumerate() {
        line(&mut out, format_args!("  subgraph cluster_{number} {{"));
        line(&mut out, format_args!("    label={};", quote(graph.platform.as_str())));
        for node in &graph.nodes {
            line(&mut out, format_args!("    {};", quote(&node.address.to_string())));
        }
        for edge in &graph.edges {
            let (from, to) = (graph.address(edge.from).to_string(), graph.address(edge.to).to_string());
            let mark = if edge.is_self { " [label=self]" } else { "" };
            line(&mut out, format_args!("    {} -> {}{mark};", quote(&from), quote(&to)));
        }
        out.push_str("  }\n");
    }
    out.push_str("}\n");
    out
}

/// The graphs as JSON, every list sorted by the printed addresses.
pub fn to_json(graphs: &[IntentionGraph]) -> Value {
    let platforms: Vec<Value> = graphs.iter().map(platform_json).collect();
    json!({ "platforms": platforms })
}

fn platform_json(graph: &IntentionGraph) -> Value {
    let mut nodes: Vec<(String, Value)> = graph
        .nodes
        .iter()
        .map(|node| {
            let address = node.address.to_string();
            let value = json!({ "address": address, "kind": node.kind, "priority": node.priority });
            (address, value)
        })
        .collect();
    nodes.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut edges: Vec<(String, String, bool)> = graph
        .edges
        .iter()
        .map(|edge| (graph.address(edge.from).to_string(), graph.address(edge.to).to_string(), edge.is_self))
        .collect();
    edges.sort_unstable();
    let edge = |(from, to, is_self): (String, String, bool)| match is_self {
        true => json!({ "from": from, "to": to, "self": true }),
        false => json!({ "from": from, "to": to }),
    };
    json!({
        "platform": graph.platform,
        "nodes": nodes.into_iter().map(|(_, value)| value).collect::<Vec<_>>(),
        "edges": edges.into_iter().map(edge).collect::<Vec<_>>(),
    })
}

fn count(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}
