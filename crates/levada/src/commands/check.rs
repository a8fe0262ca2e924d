//! `levada check`: every mistake of the model, at once.

use crate::cli::{CheckArgs, Format};
use crate::compile::{Compiler, count};
use crate::show;
use anyhow::Result;
use levada_model::printable::one_line;
use levada_model::{Finding, Findings};
use serde_json::json;

/// Loads, lints, assigns and weaves; needs neither state nor secrets.
pub fn run(args: &CheckArgs) -> Result<bool> {
    let compiler = Compiler::load(&args.dir.dir)?;
    let findings = compiler.weave_and_review().findings;
    match args.format {
        Format::Json => show::json(&to_json(&compiler, &findings)),
        Format::Text => {
            for finding in &findings.0 {
                show::data(show::finding(finding, &compiler.files));
            }
            let model = &compiler.model;
            let datasets: usize = model.datastores.iter().map(|store| store.datasets.len()).sum();
            show::data(format!(
                "{}: {} datastores, {datasets} datasets, {} workspaces, {} platforms; {}",
                one_line(&model.ecosystem.name),
                model.datastores.len(),
                model.workspaces.len(),
                model.ecosystem.platforms.len(),
                if findings.0.is_empty() { "no findings".to_owned() } else { count(&findings) }
            ));
        }
    }
    Ok(!findings.has_errors())
}

fn to_json(compiler: &Compiler, findings: &Findings) -> serde_json::Value {
    json!({ "findings": findings.0.iter().map(|finding| finding_json(compiler, finding)).collect::<Vec<_>>() })
}

/// One finding, for programs.
pub fn finding_json(compiler: &Compiler, finding: &Finding) -> serde_json::Value {
    let place = finding.span.and_then(|span| compiler.files.place(span));
    json!({
        "code": finding.code, "severity": finding.severity, "address": finding.address,
        "message": finding.message, "hint": finding.hint,
        "file": place.as_ref().map(|place| &place.path),
        "line": place.as_ref().map(|place| place.line),
        "column": place.as_ref().map(|place| place.column),
    })
}
