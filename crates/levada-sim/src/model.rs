//! The compiler's passes over a model's folder, one by one.

use crate::measure::measure;
use anyhow::{Result, bail};
use levada_planner::blueprint::Choices;
use levada_planner::{assign, diff, freeze, lint, weave};
use std::path::Path;

#[expect(clippy::print_stdout, reason = "the figures are this program's output")]
pub fn run(dir: &Path) -> Result<()> {
    let cache = std::env::temp_dir().join(format!("levada-bench-{}", std::process::id()));
    measure("fill cache", || levada_repo::load_cached(dir, &cache))?;
    measure("load warm", || levada_repo::load_cached(dir, &cache))?;
    std::fs::remove_dir_all(&cache)?;
    let loaded = measure("load", || levada_repo::load(dir))?;
    let registry = levada_platforms::registry();
    let model = &loaded.model;
    let datasets: usize = model.datastores.iter().map(|store| store.datasets.len()).sum();
    println!("{} datastores, {datasets} datasets, {} workspaces", model.datastores.len(), model.workspaces.len());
    let findings = measure("lint", || lint(model, &registry));
    let (assignment, rejected) = measure("assign", || assign(model, &registry, &Choices::default()));
    let (graphs, entangled) = measure("weave", || weave(model, &assignment));
    let errors = loaded.findings.0.iter().chain(&findings.0).chain(&rejected.0).chain(&entangled.0);
    if let Some(finding) = errors.into_iter().find(|finding| finding.severity == levada_model::Severity::Error) {
        bail!("the model has errors, the first one: {} {}", finding.code, finding.message);
    }
    let first = measure("freeze", || freeze(model, &assignment, &graphs, None, "first".to_owned()));
    let created = measure("diff new", || diff(None, &first));
    let again = measure("refreeze", || freeze(model, &assignment, &graphs, Some(&first), "second".to_owned()));
    let delta = measure("diff same", || diff(Some(&first), &again));
    let planned = measure("plan", || levada_planner::plan(model, &registry, None, "first".to_owned()));
    if planned.is_err() {
        bail!("the plan has errors that its passes did not have");
    }
    println!("{} nodes, {} changes at first, {} after", first.nodes.len(), created.changes.len(), delta.changes.len());
    Ok(())
}
