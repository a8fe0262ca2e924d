//! What holds for every input: no panic, no order, every mistake.

use crate::loading::{Files, load, northwind, printed};
use levada_model::name::{ColumnName, DatastoreName};
use levada_model::{FileId, Model, json_schema, locate, read_file};
use proptest::prelude::*;
use std::fmt::Write as _;

fn described(model: &Model) -> String {
    let mut plain = model.clone();
    plain.index = Default::default();
    format!("{plain:#?}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_corrupted_byte_never_panics(file in 0..4_usize, at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let mut files = northwind();
        let text = &mut files[file].1;
        let at = at.index(text.len());
        text[at] = byte;
        let (_, findings) = load(&files);
        printed(&files, &findings);
    }

    #[test]
    fn a_file_that_was_cut_or_spliced_never_panics(
        file in 0..4_usize,
        from in any::<proptest::sample::Index>(),
        to in any::<proptest::sample::Index>(),
        into in any::<proptest::sample::Index>(),
    ) {
        let mut files = northwind();
        let text = files[file].1.clone();
        let (from, to) = (from.index(text.len()), to.index(text.len()));
        let piece = text[from.min(to)..from.max(to)].to_vec();
        let into = into.index(text.len());
        files[file].1.splice(into..into, piece);
        let (_, findings) = load(&files);
        printed(&files, &findings);
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "[-a-z:{}\\[\\],&*!|>'\"#%@ü \\n\\t0-9]{0,200}") {
        read_file(FileId(0), "x.yaml", text.as_bytes());
    }

    #[test]
    fn the_order_of_files_makes_no_difference(
        shuffled in Just(split_northwind()).prop_shuffle(),
    ) {
        let (model, findings) = load(&split_northwind());
        let (other_model, other_findings) = load(&shuffled);
        prop_assert_eq!(described(&model), described(&other_model));
        prop_assert_eq!(findings, other_findings);
    }
}

/// The worked example with more files, and with names that collide across files.
fn split_northwind() -> Files {
    let mut files = northwind();
    for copy in ["a", "b", "c"] {
        let text = files[3].1.clone();
        files.push((format!("zones/usa/teams/northwind/{copy}.yaml"), text));
        files.push((format!("zones/{copy}/zone.yaml"), b"zone: usa\n".to_vec()));
        files.push((format!("{copy}.yaml"), b"primary: NW_Data\nplatform: X\n---\necosystem: again\n".to_vec()));
    }
    files
}

#[test]
fn the_worked_example_has_no_finding() {
    let (model, findings) = load(&northwind());
    assert_eq!(findings.0, []);
    let masked =
        model.datastore(&DatastoreName::parse("Masked_NW_Data").expect("a name")).expect("the output is there");
    assert_eq!(masked.owner.team.as_str(), "NorthWindTeam");
    assert_eq!(masked.owner.zone.as_str(), "USA");
}

#[test]
fn three_hundred_mistakes_in_one_document_are_three_hundred_findings() {
    let mut text = String::from("datastore: D\ncontainer: c\ningest: { kind: cdc }\ndatasets:\n");
    for number in 0..100 {
        writeln!(text, "  d{number}:\n    clasification: ü\n    columns:\n      x{number}: varhcar(3)")
            .expect("memory takes it");
        writeln!(text, "      y: {{ type: text, key: yes }}").expect("memory takes it");
    }
    let (_, findings) = read_file(FileId(0), "d.yaml", text.as_bytes());
    assert_eq!(findings.0.len(), 300);
    for (index, finding) in findings.0.iter().enumerate() {
        let (line, column) = locate::line_column(&text, finding.span.expect("every mistake has a place").offset);
        let (expected, first_word) = [(2, "clasification"), (4, "varhcar"), (5, "yes")][index % 3];
        assert_eq!(line as usize, 4 + index / 3 * 5 + expected, "{finding:?}");
        let at = text.lines().nth(line as usize - 1).expect("the line is there");
        let from: String = at.chars().skip(column as usize - 1).collect();
        assert!(from.starts_with(first_word), "{from}");
    }
}

#[test]
fn offsets_are_bytes_in_any_script_and_with_any_line_ends() {
    for newline in ["\n", "\r\n"] {
        for start in ["", "\u{feff}"] {
            let lines = ["# ü — 漢字 🦀", "zone: \"Zürich 🦀\"", "polices: []  # ß", "---", "team: 漢字", "üß🦀: 1"];
            let text = start.to_owned() + &lines.join(newline);
            let (_, findings) = read_file(FileId(0), "z.yaml", text.as_bytes());
            let offsets: Vec<usize> =
                findings.0.iter().map(|finding| finding.span.expect("a place").offset as usize).collect();
            let expected = ["polices", "üß🦀"].map(|word| text.find(word).expect("it is there"));
            assert_eq!(offsets, expected, "{text:?} {findings:?}");
        }
    }
}

#[test]
fn a_syntax_error_costs_one_document() {
    let text = b"zone: A\n---\nteam: { a: [\n---\nzone: B\npolicies: 3\n---\nteam: \"open\n---\nzone: C\npolicies: 4\n";
    let (_, findings) = read_file(FileId(0), "z.yaml", text);
    let codes: Vec<&str> = findings.0.iter().map(|finding| finding.code.0).collect();
    assert_eq!(codes, ["E-YAML-001", "E-SCHEMA-003", "E-YAML-001", "E-SCHEMA-003"]);
}

#[test]
fn json_is_read_like_yaml() {
    let text = r#"{
	"zone": "\ud83e\udd80 \\ud83e \ud83e\udd80",
	"documentation": "a \/ b \"quoted\" \u00fc",
	"polices": [
		1
	]
}
"#;
    let files: Files = vec![("zone.json".to_owned(), text.as_bytes().to_vec())];
    let (model, findings) = load(&files);
    assert_eq!(model.zones[0].name.as_str(), "🦀 \\ud83e 🦀");
    assert_eq!(model.zones[0].documentation.as_deref(), Some("a / b \"quoted\" ü"));
    let offsets: Vec<usize> = findings.0.iter().filter_map(|it| Some(it.span?.offset as usize)).collect();
    assert_eq!(offsets, [text.find("\"polices").expect("it is there")], "{findings:?}");
}

#[test]
fn deep_nesting_is_a_finding() {
    for text in ["[".repeat(100_000), "- ".repeat(10_000), format!("zone: {}", "{a: ".repeat(5_000))] {
        let (_, findings) = read_file(FileId(0), "z.yaml", text.as_bytes());
        assert!(findings.has_errors(), "{:?}", findings.0.first());
    }
}

#[test]
fn a_column_is_found_by_reading_its_file_again() {
    let files = northwind();
    let (model, _) = load(&files);
    let store = model.datastore(&DatastoreName::parse("NW_Data").expect("a name")).expect("it is there");
    let text = String::from_utf8(files[3].1.clone()).expect("UTF-8");
    let customers = &store.datasets[1];
    let fax = ColumnName::parse("fax").expect("a name");
    let offsets = locate::column_spans(&text, &[(customers.span.offset, &fax)]);
    assert_eq!(offsets, [text.find("fax:").map(|at| at as u32)]);
}

#[test]
fn the_schema_is_that_of_json_schema_2020_12() {
    let schema = json_schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["oneOf"].as_array().map(Vec::len), Some(8));
}
