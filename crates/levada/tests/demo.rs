//! The demo shows what it claims.

use std::process::Command;

/// The demo's text from one title to the next.
fn section<'t>(text: &'t str, title: &str) -> &'t str {
    let start = text.find(title).unwrap_or_else(|| panic!("no section {title:?} in\n{text}"));
    let rest = &text[start..];
    rest[1..].find("\n── ").map_or(rest, |end| &rest[..=end])
}

fn check_claims((text, progress): &(String, String)) {
    let graph = section(text, "woven into a graph");
    for node in [
        "Ingest/Azure Platform/NW_Data",
        "Export/Azure Platform/Test Azure SQL/NW_Data/products",
        "Trigger/Azure Platform/MaskCustomersWorkSpace",
        "Transform/Azure Platform/MaskCustomersWorkSpace",
        "Ingest/Azure Platform/Masked_NW_Data",
        "Export/Azure Platform/Test Azure SQL/Masked_NW_Data/customers",
    ] {
        assert!(graph.contains(node), "{node} is missing in\n{graph}");
    }
    let seen = section(text, "What the analysts see");
    assert!(seen.contains("… 900 rows") && !seen.contains("Ana "), "{seen}");

    let later = section(text, "A day later");
    let row =
        later.lines().find(|line| line.starts_with("NW_Data ") && line.contains(" 2 ")).expect("batch 2 is listed");
    let numbers: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(numbers[4..7], ["1", "3", "1"], "inserts, updates, deletes of the day: {row}");

    let versions = section(text, "Every version is kept");
    assert!(versions.contains("Machico"), "{versions}");
    let orders = section(text, "The analysts need orders too");
    assert!(orders.contains("+ Export/Azure Platform/Test Azure SQL/NW_Data/orders"), "{orders}");
    assert!(!orders.contains("NW_Data/products") && !orders.contains("- Export"), "{orders}");
    assert!(orders.contains("… 2500 rows"), "{orders}");
    let (_, moved) = progress.rsplit_once("running generation 2").expect("the progress of the second generation");
    let mut nodes: Vec<&str> =
        moved.lines().filter_map(|line| line.trim_start().split_once("  ")).map(|(node, _)| node).collect();
    nodes.dedup();
    assert_eq!(
        nodes,
        ["Ingest/Azure Platform/NW_Data", "Export/Azure Platform/Test Azure SQL/NW_Data/orders"],
        "{moved}"
    );
    let verified = section(text, "hold the same rows");
    assert!(verified.contains("equal") && !verified.contains("DIFFER"), "{verified}");
    assert!(text.contains("Try next:"), "{text}");
}

/// What the demo prints, and its progress.
fn demo(arguments: &[&str]) -> (String, String) {
    demo_with_state(arguments, None)
}

fn demo_with_state(arguments: &[&str], state: Option<&str>) -> (String, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let keep = folder.path().join("demo");
    let mut command = Command::new(env!("CARGO_BIN_EXE_levada"));
    match state {
        Some(url) => command.env("LEVADA_STATE", url),
        None => command.env_remove("LEVADA_STATE"),
    };
    command.arg("demo").arg("--keep").arg(&keep).args(arguments);
    let output = command.output().expect("the built binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    (out, err)
}

#[test]
fn the_demo_on_sqlite_shows_what_it_claims() {
    check_claims(&demo(&[]));
}

#[test]
fn the_demo_on_postgres_shows_what_it_claims_twice() {
    let cluster = levada_testbed::PostgresCluster::start().expect("a PostgreSQL server");
    cluster.create_database("shop").expect("a database");
    cluster.create_database("reporting").expect("a database");
    let (source, target) = (cluster.url("shop"), cluster.url("reporting"));
    // The second run finds what the first one left at the producer's and the consumer's.
    for _ in 0..2 {
        check_claims(&demo(&["--source", &source, "--target", &target]));
    }
}

#[test]
fn the_demo_with_its_state_in_postgres_shows_what_it_claims() {
    let cluster = levada_testbed::PostgresCluster::start().expect("a PostgreSQL server");
    cluster.create_database("state").expect("a database");
    check_claims(&demo_with_state(&[], Some(&cluster.url("state"))));
}
