//! `levada apply`: makes the model the target, in one transaction; the worker makes it real.

use crate::cli::{ApplyArgs, Format};
use crate::commands::plan::place;
use crate::compile::Compiler;
use crate::project::Project;
use crate::show;
use anyhow::{Result, bail};
use levada_model::NodeAddress;
use levada_model::name::CredentialName;
use levada_planner::blueprint::IngestOrigin;
use levada_planner::{Blueprint, Node, NodeSpec, Plan, Rendering};
use serde_json::json;
use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};

/// Plans, asks, applies.
pub async fn run(args: &ApplyArgs) -> Result<bool> {
    let project = Project::open(&args.dir.dir)?;
    let compiler = Compiler::load(&project.root)?;
    let state = project.state().await?;
    let parent = state.in_force().await?;
    let Some(outcome) = compiler.plan(parent.as_ref()) else { return Ok(false) };
    let plan = outcome.plan;
    if plan.is_empty() {
        match args.format {
            Format::Json => show::json(&json!({ "generation": plan.base, "changed": 0 })),
            Format::Text => show::data("nothing to change"),
        }
        return Ok(true);
    }
    if !args.yes {
        let text = levada_planner::plan::write::write(&plan, levada_planner::plan::PlanFormat::Text, &|span| {
            place(&compiler.files, span)
        });
        // What is asked about is talk; where a program reads stdout it gets the answer alone.
        show::talk(text.trim_end());
        if !is_agreed()? {
            show::talk("nothing was applied");
            return Ok(false);
        }
    }
    let missing = missing_secrets(&project, &plan.blueprint);
    if !missing.is_empty() {
        bail!("{}", missing.join("\n"));
    }
    let changes = rendered_changes(&compiler, &plan)?;
    let now = levada_flow::Clock::now(&levada_flow::SystemClock);
    state.apply(&plan.blueprint, &changes, now).await?;
    let generation = plan.blueprint.generation;
    match args.format {
        Format::Json => show::json(&json!({ "generation": generation, "changed": changes.len() })),
        Format::Text => {
            show::data(format!("generation {generation} is the target: {} nodes changed", changes.len()));
            show::talk("a running worker takes it up; otherwise start one: levada run");
        }
    }
    Ok(true)
}

/// What the platforms make of the plan: the nodes that workers run.
fn rendered_changes(compiler: &Compiler, plan: &Plan) -> Result<Vec<(NodeAddress, Option<Node>)>> {
    let renderings = levada_planner::render(&compiler.model, &compiler.registry, &plan.blueprint, &plan.delta);
    let mut all = Vec::with_capacity(plan.delta.changes.len());
    for (platform, rendering) in renderings {
        match rendering {
            Rendering::Nodes(changes) => {
                all.extend(changes.into_iter().map(|(address, change)| (address, change.after().cloned())));
            }
            Rendering::Files(_) => bail!("platform {platform} renders files, which this build does not write"),
        }
    }
    Ok(all)
}

fn is_agreed() -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("nobody is there to agree; use `levada apply --yes`");
    }
    let mut stderr = std::io::stderr();
    write!(stderr, "Apply this plan? [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// One sentence for each credential without a secret.
fn missing_secrets(project: &Project, blueprint: &Blueprint) -> Vec<String> {
    let names: BTreeSet<CredentialName> = blueprint.nodes.values().filter_map(credential).collect();
    names.iter().filter_map(|name| project.settings.secret(name).err()).map(|error| error.chain()).collect()
}

fn credential(node: &Node) -> Option<CredentialName> {
    match &node.spec {
        NodeSpec::Ingest(spec) => match &spec.origin {
            IngestOrigin::Container { connection, .. } => connection.credential.clone(),
            IngestOrigin::Transformer { .. } => None,
        },
        NodeSpec::Export(spec) => spec.connection.credential.clone(),
        _ => None,
    }
}
