//! Findings in SARIF 2.1.0, the OASIS format that code hosts turn into annotations of a change.
//!
//! Knows the few objects of the format that findings need:
//! <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>.

use levada_model::printable::one_line;
use levada_model::{Finding, Findings, Severity};
use levada_repo::FileTable;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The log of one run with all findings. Paths are those from the root of the git checkout, where code hosts
/// look for them; outside git, from the model's folder.
pub fn of(findings: &Findings, files: &FileTable) -> Value {
    let below = levada_repo::below_checkout(files.root());
    let codes: BTreeSet<&str> = findings.0.iter().map(|finding| finding.code.0).collect();
    let rules: Vec<Value> = codes.iter().map(|code| json!({ "id": code })).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "levada", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            // Columns count characters, as people and editors do.
            "columnKind": "unicodeCodePoints",
            "originalUriBaseIds": { "%SRCROOT%": { "description": { "text": "the root of the git checkout" } } },
            "results": findings.0.iter().map(|finding| result(finding, files, &below)).collect::<Vec<_>>(),
        }],
    })
}

fn result(finding: &Finding, files: &FileTable, below: &str) -> Value {
    let level = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let hint = finding.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
    // Code hosts want a place for each; what is nowhere any more is shown at the ecosystem.
    let place = finding.span.and_then(|span| files.place(span));
    let (path, line, column) = place.map_or_else(
        || (files.paths().find(|path| path.starts_with("ecosystem.")).unwrap_or("ecosystem.yaml").to_owned(), 1, 1),
        |place| (place.path, place.line, place.column),
    );
    let mut location = json!({
        "physicalLocation": {
            "artifactLocation": { "uri": uri(&format!("{below}{path}")), "uriBaseId": "%SRCROOT%" },
            "region": { "startLine": line, "startColumn": column },
        },
    });
    if let Some(address) = &finding.address {
        location["logicalLocations"] = json!([{ "fullyQualifiedName": address.to_string() }]);
    }
    json!({
        "ruleId": finding.code,
        "level": level,
        "message": { "text": one_line(&format!("{}{hint}", finding.message)) },
        "locations": [location],
    })
}

/// A path as a relative reference: what RFC 3986 has a meaning for, and what is not ASCII, is escaped.
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => uri.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(byte)),
            byte => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}
