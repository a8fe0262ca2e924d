//! `levada check`: every mistake of the model, at once; and what a change means for whoever consumes it.

use crate::cli::{CheckArgs, CheckFormat};
use crate::compile::{Compiler, count};
use crate::sarif;
use crate::settings::Settings;
use crate::show;
use crate::waiting::Waiting;
use anyhow::Result;
use levada_model::printable::one_line;
use levada_model::{Finding, Findings};
use levada_planner::evolution::{self, Evolution};
use levada_planner::evolve;
use serde_json::{Value, json};

/// What changed since an earlier revision.
struct Against {
    commit: String,
    evolutions: Vec<Evolution>,
}

/// Loads, lints, assigns and weaves; needs neither state nor secrets.
pub fn run(args: &CheckArgs) -> Result<bool> {
    let compiler = Compiler::load(&args.dir.dir)?;
    let mut findings = compiler.weave_and_review().findings;
    let against = match &args.against {
        Some(revision) => Some(against(&compiler, args, revision)?),
        None => None,
    };
    if let Some(against) = &against {
        findings.extend(evolution::broken(&against.evolutions));
        findings.sort();
    }
    match args.format {
        CheckFormat::Json => show::json(&to_json(&compiler, &findings, against.as_ref())),
        CheckFormat::Sarif => show::json(&sarif::of(&findings, &compiler.files)),
        CheckFormat::Text => tell(&compiler, &findings, against.as_ref()),
    }
    Ok(!findings.has_errors())
}

/// Compares with an earlier revision. What could not be read of it is not compared.
fn against(compiler: &Compiler, args: &CheckArgs, revision: &str) -> Result<Against> {
    let _waiting = Waiting::new("comparing with the earlier revision");
    let earlier = levada_repo::earlier(&args.dir.dir, revision).map_err(|error| show::failure(&error, error.hint()))?;
    // A cache of its own: one holds what was loaded last.
    let cache = Settings::read(&args.dir.dir)?.cache.map(|cache| cache.join("against"));
    let before = match &cache {
        Some(cache) => levada_repo::load_cached(&earlier.root, cache),
        None => levada_repo::load(&earlier.root),
    };
    let evolutions = evolve(&before?.model, &compiler.model);
    Ok(Against { commit: earlier.commit.clone(), evolutions })
}

fn tell(compiler: &Compiler, findings: &Findings, against: Option<&Against>) {
    for finding in &findings.0 {
        show::data(show::finding(finding, &compiler.files));
    }
    if let Some(against) = against {
        tell_evolutions(compiler, against);
    }
    let model = &compiler.model;
    let datasets: usize = model.datastores.iter().map(|store| store.datasets.len()).sum();
    show::data(format!(
        "{}: {} datastores, {datasets} datasets, {} workspaces, {} platforms; {}",
        one_line(&model.ecosystem.name),
        model.datastores.len(),
        model.workspaces.len(),
        model.ecosystem.platforms.len(),
        if findings.0.is_empty() { "no findings".to_owned() } else { count(findings) }
    ));
}

fn tell_evolutions(compiler: &Compiler, against: &Against) {
    show::data(format!("since {}, for whoever consumes it:", against.commit));
    if against.evolutions.is_empty() {
        show::data("  nothing that anybody consumes has changed");
    }
    for evolution in &against.evolutions {
        let Evolution { dataset, change, effect, consumers, span, .. } = evolution;
        let place = span.and_then(|span| compiler.files.place(span)).map(|place| format!("   {place}"));
        let consumers: Vec<String> =
            consumers.iter().map(|it| format!("{}/{} ({})", it.workspace, it.group, it.owner)).collect();
        let (effect, consumers) = (effect.word(), consumers.join(", "));
        show::data(format!("  {effect:<10} {dataset}: {change}; {consumers}{}", place.unwrap_or_default()));
    }
}

fn to_json(compiler: &Compiler, findings: &Findings, against: Option<&Against>) -> Value {
    let mut all =
        json!({ "findings": findings.0.iter().map(|finding| finding_json(compiler, finding)).collect::<Vec<_>>() });
    if let Some(Against { commit, evolutions }) = against {
        let changes = evolutions.iter().map(|evolution| {
            let mut change = json!(evolution);
            let place = evolution.span.and_then(|span| compiler.files.place(span));
            change["place"] = json!(place.map(|place| place.to_string()));
            change
        });
        all["against"] = json!({ "commit": commit, "changes": changes.collect::<Vec<_>>() });
    }
    all
}

/// One finding, for programs.
pub fn finding_json(compiler: &Compiler, finding: &Finding) -> Value {
    let place = finding.span.and_then(|span| compiler.files.place(span));
    json!({
        "code": finding.code, "severity": finding.severity, "address": finding.address,
        "message": finding.message, "hint": finding.hint,
        "file": place.as_ref().map(|place| &place.path),
        "line": place.as_ref().map(|place| place.line),
        "column": place.as_ref().map(|place| place.column),
    })
}
