//! The datastores, one file each.

use super::Writer;
use super::ecosystem::container_name;
use super::plan::{Plan, dataset_name, store_name, workspace_name};
use super::random::Choices;
use std::fmt::Write as _;

/// The types that columns take in turn.
const TYPES: &[&str] = &[
    "varchar(40)",
    "int32",
    "decimal(12,2)",
    "date",
    "boolean",
    "text",
    "int64",
    "float64",
    "timestamp",
    "char(3)",
    "uuid",
    "varchar(200)",
    "timestamptz",
    "json",
];

/// How many columns have a name and a purpose of their own before the rest begins.
const FIXED_COLUMNS: u32 = 2;

/// Writes them all.
pub(crate) fn write(plan: &Plan, writer: &mut Writer<'_>) -> anyhow::Result<()> {
    for store in 0..plan.stores.len() {
        let team = plan.team_of_container(plan.stores[store].container);
        let path = format!("{}/stores/{}.yaml", plan.team_folder(team), store_name(store).to_lowercase());
        writer.write(&path, &store_text(plan, store))?;
    }
    Ok(())
}

fn store_text(plan: &Plan, number: usize) -> String {
    let store = &plan.stores[number];
    let mut choices = Choices::of(plan.seed, "ingest", number as u64);
    let mut text = format!("datastore: {}\n", store_name(number));
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    line(format!("documentation: Offered by application {number}."));
    if store.is_production {
        line("status: production".to_owned());
    }
    line(format!("container: {}", container_name(store.container)));
    if let Some(approved) = &store.approved {
        let names: Vec<_> = approved.iter().map(|workspace| workspace_name(*workspace)).collect();
        line(format!("approved: [{}]", names.join(", ")));
    }
    line("ingest:".to_owned());
    if plan.columns >= FIXED_COLUMNS && choices.percent(25) {
        line("  kind: watermark\n  column: updated_at\n  overlap: 5m\n  deletes: { cron: \"0 3 * * SUN\" }".to_owned());
    } else {
        line("  kind: snapshot".to_owned());
    }
    if choices.percent(10) {
        line("  consistency: single".to_owned());
    }
    let minutes = if choices.percent(25) { 5 } else { 10 };
    line(format!("  trigger: {{ cron: \"*/{minutes} * * * *\", jitter: 60s }}"));
    if choices.percent(2) {
        line("  calendar: office year".to_owned());
    }
    line("datasets:".to_owned());
    for dataset in 0..plan.datasets as usize {
        dataset_text(&mut text, plan, number, dataset);
    }
    text
}

fn dataset_text(text: &mut String, plan: &Plan, store: usize, dataset: usize) {
    let mut choices = Choices::of(plan.seed, "columns", (store as u64) << 32 | dataset as u64);
    let classification = plan.classification(store, dataset);
    // The most sensitive word stands at the dataset or at its columns, never at both.
    let is_by_column = classification == "internal" && choices.percent(20);
    writeln!(text, "  {}:", dataset_name(dataset)).expect("a string takes everything");
    if !is_by_column {
        writeln!(text, "    classification: {classification}").expect("a string takes everything");
    }
    writeln!(text, "    columns:").expect("a string takes everything");
    for column in 0..plan.columns {
        let (name, mut definition) = match column {
            0 => ("id".to_owned(), "type: int64, key: true".to_owned()),
            1 => ("updated_at".to_owned(), "type: timestamptz, nullable: false".to_owned()),
            _ => (format!("c{column:02}"), format!("type: \"{}\"", TYPES[choices.below(TYPES.len())])),
        };
        if is_by_column {
            let word = if column % 2 == 0 { "pub" } else { "internal" };
            definition = format!("{definition}, classification: {word}");
        }
        writeln!(text, "      {name}: {{ {definition} }}").expect("a string takes everything");
    }
}
