//! The worked example of the design: 8 nodes, 7 edges, in all four formats.

use crate::models::northwind;
use crate::platforms::registry;
use levada_planner::{GraphFormat, PlanOutcome, graph, plan};

fn outcome() -> PlanOutcome {
    plan(&northwind().build(), &registry(), None, "first".to_owned()).expect("the worked example has no errors")
}

#[test]
fn the_worked_example_weaves_exactly_its_eight_nodes_and_seven_edges() {
    let json = graph::format::to_json(&outcome().graphs);
    let nodes = [
        ("Export/Azure Platform/Test Azure SQL/Masked_NW_Data/customers", "export", "critical"),
        ("Export/Azure Platform/Test Azure SQL/NW_Data/customers", "export", "critical"),
        ("Export/Azure Platform/Test Azure SQL/NW_Data/products", "export", "critical"),
        ("Export/Azure Platform/Test Azure SQL/NW_Data/suppliers", "export", "critical"),
        ("Ingest/Azure Platform/Masked_NW_Data", "ingest", "critical"),
        ("Ingest/Azure Platform/NW_Data", "ingest", "critical"),
        ("Transform/Azure Platform/MaskCustomersWorkSpace", "transform", "critical"),
        ("Trigger/Azure Platform/MaskCustomersWorkSpace", "trigger", "critical"),
    ];
    let nodes = nodes
        .map(|(address, kind, priority)| serde_json::json!({ "address": address, "kind": kind, "priority": priority }));
    let edges = [
        ("Export/Azure Platform/Test Azure SQL/NW_Data/customers", "Trigger/Azure Platform/MaskCustomersWorkSpace"),
        ("Ingest/Azure Platform/Masked_NW_Data", "Export/Azure Platform/Test Azure SQL/Masked_NW_Data/customers"),
        ("Ingest/Azure Platform/NW_Data", "Export/Azure Platform/Test Azure SQL/NW_Data/customers"),
        ("Ingest/Azure Platform/NW_Data", "Export/Azure Platform/Test Azure SQL/NW_Data/products"),
        ("Ingest/Azure Platform/NW_Data", "Export/Azure Platform/Test Azure SQL/NW_Data/suppliers"),
        ("Transform/Azure Platform/MaskCustomersWorkSpace", "Ingest/Azure Platform/Masked_NW_Data"),
        ("Trigger/Azure Platform/MaskCustomersWorkSpace", "Transform/Azure Platform/MaskCustomersWorkSpace"),
    ];
    let edges = edges.map(|(from, to)| serde_json::json!({ "from": from, "to": to }));
    let expected = serde_json::json!({
        "platforms": [{ "platform": "Azure Platform", "nodes": nodes, "edges": edges }]
    });
    assert_eq!(json, expected);
}

#[test]
fn drawings_add_nothing_but_the_dashed_lines_to_the_readers() {
    let graphs = outcome().graphs;
    let mermaid = graph::write(&graphs, GraphFormat::Mermaid);
    assert_eq!(mermaid.matches(" --> ").count(), 7, "{mermaid}");
    assert_eq!(mermaid.matches("[\"").count() - 1, 8 + 2, "eight nodes and two workspaces: {mermaid}");
    assert_eq!(mermaid.matches(" -.-> ").count(), 4, "{mermaid}");
    let dot = graph::write(&graphs, GraphFormat::Dot);
    assert_eq!(dot.matches(" -> ").count(), 7, "{dot}");
    let text = graph::write(&graphs, GraphFormat::Text);
    assert!(text.starts_with("Azure Platform: 8 nodes, 7 edges\n"), "{text}");
    assert_eq!(text.matches("    -> ").count(), 7, "{text}");
}
