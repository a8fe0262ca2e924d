//! What it costs to render many datastores as Terraform: a synthetic ecosystem on one aws-batch
//! platform, made in memory.

use crate::measure::measure;
use anyhow::{Context, Result, bail, ensure};
use levada_model::{FileId, Findings, Model, assemble, read_file};
use levada_planner::platform::{Rendering, render};
use levada_planner::{PlanOutcome, plan};
use std::collections::BTreeMap;

/// Stores of one cell: below its account's 600 DMS tasks, however the hash spreads them.
const STORES_PER_CELL: usize = 450;
/// The most resources that a stack should have.
const STACK_RESOURCES_MAX: usize = 300;
const STACKS: usize = 512;

/// Renders it, renders it again from files in another order, and once more with one dataset more.
#[expect(clippy::print_stdout, reason = "the figures are this program's output")]
pub fn run(stores: usize, datasets: usize, columns: usize) -> Result<()> {
    let files = files(stores, datasets, columns, None);
    let model = measure("load", || load(files.iter()))?;
    let plan = measure("plan", || planned(&model))?;
    let tree = measure("render", || rendered(&model, &plan))?;
    let bytes: usize = tree.values().map(Vec::len).sum();
    println!("{} nodes, {} files, {:.1} MB", plan.blueprint.nodes.len(), tree.len(), bytes as f64 / 1e6);

    let reversed = load(files.iter().rev())?;
    ensure!(rendered(&reversed, &planned(&reversed)?)? == tree, "another order of files gives other bytes");
    let more = load(self::files(stores, datasets, columns, Some(stores / 2)).iter())?;
    let after = rendered(&more, &planned(&more)?)?;
    let changed: Vec<&String> =
        after.iter().filter(|(path, text)| tree.get(*path) != Some(text)).map(|it| it.0).collect();
    println!("one dataset more: {changed:?} differs");
    ensure!(changed.len() == 1 && after.len() == tree.len(), "one dataset more changes more than one file");

    let mut stacks: BTreeMap<&str, usize> = BTreeMap::new();
    for (path, text) in &tree {
        if let Some((stack, _)) = path.strip_prefix("stacks/").and_then(|rest| rest.split_once('/')) {
            *stacks.entry(stack).or_default() +=
                text.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"resource ")).count();
        }
    }
    let fullest = stacks.values().max().copied().unwrap_or_default();
    println!("{} stacks, the fullest has {fullest} resources", stacks.len());
    ensure!(fullest <= STACK_RESOURCES_MAX, "a stack has more than {STACK_RESOURCES_MAX} resources");
    Ok(())
}

/// The files of the ecosystem; `more`: the store that has one dataset more.
fn files(stores: usize, datasets: usize, columns: usize, more: Option<usize>) -> Vec<(String, String)> {
    let cells = stores.div_ceil(STORES_PER_CELL).max(1);
    let shares = (0..cells).map(|cell| {
        let (first, next) = (cell * STACKS / cells, (cell + 1) * STACKS / cells);
        format!("c{cell}: {{ account: \"{:012}\", stacks: [{first}, {}] }}", 100_000_000_000 + cell, next - 1)
    });
    let ecosystem = format!(
        "ecosystem: scale\nvendors: [{{ vendor: aws, cloud: aws, locations: {{ eu: {{ west: {{}} }} }} }}]\nplatforms:\n  - platform: Lake\n    kind: aws-batch\n    style: batch\n    locations: [\"aws:eu/west\"]\n    settings:\n      account: \"111122223333\"\n      region: eu-west-1\n      cells: {{ {} }}\n",
        shares.collect::<Vec<_>>().join(", ")
    );
    let team = "team: T\ncontainers:\n  - { container: source, kind: postgres, location: \"aws:eu/west\", host: a.example.com, database: d, credential: source }\n  - { container: target, kind: postgres, location: \"aws:eu/west\", host: b.example.com, database: d, credential: target }\n";
    let mut files = vec![
        ("ecosystem.yaml".to_owned(), ecosystem),
        ("z/zone.yaml".to_owned(), "zone: Z\n".to_owned()),
        ("z/t/team.yaml".to_owned(), team.to_owned()),
    ];
    for store in 0..stores {
        let count = datasets + usize::from(more == Some(store));
        files.push((format!("z/t/s{store:06}.yaml"), store_text(store, count, columns)));
    }
    files
}

fn store_text(store: usize, datasets: usize, columns: usize) -> String {
    let mut text = format!("datastore: S{store:06}\ncontainer: source\ningest: {{ kind: cdc }}\ndatasets:\n");
    for dataset in 0..datasets {
        text.push_str(&format!(
            "  d{dataset}:\n    classification: pub\n    columns:\n      id: {{ type: int64, key: true }}\n"
        ));
        for column in 1..columns {
            text.push_str(&format!("      column_{column}: varchar(40)\n"));
        }
    }
    let names: Vec<String> = (0..datasets).map(|dataset| format!("S{store:06}.d{dataset}")).collect();
    text + &format!(
        "---\nworkspace: W{store:06}\ncontainer: target\ngroups:\n  G: {{ datasets: [{}] }}\n",
        names.join(", ")
    )
}

fn load<'f>(files: impl Iterator<Item = &'f (String, String)>) -> Result<Model> {
    let mut findings = Findings::default();
    let mut fragments = Vec::new();
    for (number, (path, text)) in (0..).zip(files) {
        let (fragment, found) = read_file(FileId(number), path, text.as_bytes());
        findings.extend(found);
        fragments.push((path.clone(), fragment));
    }
    let (model, found) = assemble(fragments, &|_| None);
    findings.extend(found);
    match findings.0.first() {
        None => Ok(model),
        Some(finding) => bail!("the ecosystem has findings: {} {}", finding.code, finding.message),
    }
}

fn planned(model: &Model) -> Result<PlanOutcome> {
    match plan(model, &levada_platforms::registry(), None, "r1".to_owned()) {
        Ok(outcome) => Ok(outcome),
        Err(findings) => bail!("the plan has errors: {} {}", findings.0[0].code, findings.0[0].message),
    }
}

fn rendered(model: &Model, plan: &PlanOutcome) -> Result<BTreeMap<String, Vec<u8>>> {
    let renderings = render(model, &levada_platforms::registry(), &plan.blueprint, &plan.plan.delta);
    match renderings.into_values().next().context("one platform is rendered")? {
        Rendering::Files(tree) => Ok(tree),
        Rendering::Nodes(_) | Rendering::Pods(..) => bail!("aws-batch renders files"),
    }
}
