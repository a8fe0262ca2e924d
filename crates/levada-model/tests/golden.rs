//! Golden cases: files, and the findings that they give.
//!
//! A case is one text under `tests/cases`: each file begins with `=== PATH`, the findings with
//! `=== findings`. `LEVADA_BLESS=1` writes the findings as they are now; read the diff.

use crate::loading::{Files, load, printed};
use std::path::Path;

const EXPECTED: &str = "findings";

#[test]
fn every_case_gives_its_findings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let is_blessing = std::env::var_os("LEVADA_BLESS").is_some();
    let mut cases: Vec<_> =
        std::fs::read_dir(folder).expect("read the cases").map(|entry| entry.expect("read a case").path()).collect();
    cases.sort();
    assert!(cases.len() >= 8, "the cases are there");
    let mut wrong = Vec::new();
    for case in cases {
        let text = std::fs::read_to_string(&case).expect("cases are UTF-8");
        let (files, expected) = parse(&text);
        let (_, findings) = load(&files);
        let found = printed(&files, &findings);
        if found == expected {
            continue;
        }
        if is_blessing {
            let kept = text.split(&format!("=== {EXPECTED}\n")).next().expect("there is a first part");
            std::fs::write(&case, format!("{kept}=== {EXPECTED}\n{found}")).expect("write the case");
        } else {
            wrong.push(format!("{}\n--- expected\n{expected}--- found\n{found}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The files of a case, and its findings.
fn parse(text: &str) -> (Files, String) {
    let mut files: Files = Vec::new();
    let mut expected = String::new();
    for part in text.split_inclusive('\n') {
        match part.strip_prefix("=== ") {
            Some(path) => files.push((path.trim_end().to_owned(), Vec::new())),
            None => files.last_mut().expect("a case begins with ===").1.extend_from_slice(part.as_bytes()),
        }
    }
    if let Some(at) = files.iter().position(|(path, _)| path == EXPECTED) {
        expected = String::from_utf8(files.remove(at).1).expect("cases are UTF-8");
    }
    (files, expected)
}
