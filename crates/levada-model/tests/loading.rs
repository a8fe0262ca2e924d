//! Loads files that are given as texts, as `levada-repo` does with a folder.

use levada_model::locate::line_column;
use levada_model::{FileId, Findings, Model, Span, assemble, read_file};
use std::fmt::Write as _;

/// Paths from the root and texts, in any order.
pub type Files = Vec<(String, Vec<u8>)>;

/// Loads files in the order given; ids follow the sorted paths, as they do on disk.
pub fn load(files: &Files) -> (Model, Findings) {
    let mut sorted: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    sorted.sort_unstable();
    let mut findings = Findings::default();
    let mut fragments = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| is_model_file(path)) {
        let file = sorted.binary_search(&path.as_str()).expect("every path is there");
        let (fragment, found) = read_file(FileId(file as u32), path, text);
        findings.extend(found);
        fragments.push((path.clone(), fragment));
    }
    let read = |path: &str| {
        let (_, text) = files.iter().find(|(known, _)| known == path)?;
        String::from_utf8(text.clone()).ok()
    };
    let (model, found) = assemble(fragments, &read);
    findings.extend(found);
    findings.sort();
    (model, findings)
}

fn is_model_file(path: &str) -> bool {
    path.ends_with(".yaml") || path.ends_with(".yml") || path.ends_with(".json")
}

/// Findings as people read them: code, place, address, message, hint.
pub fn printed(files: &Files, findings: &Findings) -> String {
    let mut sorted: Vec<&(String, Vec<u8>)> = files.iter().collect();
    sorted.sort_unstable();
    let place = |span: Span| {
        let (path, text) = sorted[span.file.0 as usize];
        let (line, column) = line_column(&String::from_utf8_lossy(text), span.offset);
        format!("{path}:{line}:{column}")
    };
    let mut printed = String::new();
    for finding in &findings.0 {
        let place = finding.span.map_or("-".to_owned(), place);
        let address = finding.address.as_ref().map_or(String::new(), |address| format!(" [{address}]"));
        writeln!(printed, "{} {place}{address} {}", finding.code, finding.message).expect("memory takes it");
        if let Some(hint) = &finding.hint {
            writeln!(printed, "    {hint}").expect("memory takes it");
        }
    }
    printed
}

/// The files of the worked example, from the project's examples.
pub fn northwind() -> Files {
    const TEAM: &str = "zones/usa/teams/northwind";
    let paths = [
        "ecosystem.yaml".to_owned(),
        "zones/usa/zone.yaml".to_owned(),
        format!("{TEAM}/team.yaml"),
        format!("{TEAM}/nw_data.yaml"),
        format!("{TEAM}/mask_customers.sql"),
    ];
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/northwind");
    paths.map(|path| (path.clone(), std::fs::read(root.join(&path)).expect("read the worked example"))).to_vec()
}
