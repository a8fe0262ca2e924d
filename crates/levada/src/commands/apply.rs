//! `levada apply`: makes the model the target, in one transaction; the worker makes it real.

use crate::cli::{ApplyArgs, Format};
use crate::commands::plan::place;
use crate::compile::Compiler;
use crate::project::Project;
use crate::rendering::{Delivered, Delivery, Place, entry, file_platforms, manifest, render};
use crate::show;
use anyhow::{Context, Result, bail};
use levada_model::NodeAddress;
use levada_model::name::{CredentialName, PlatformName};
use levada_planner::blueprint::Realizer;
use levada_planner::{Blueprint, Generation, Node};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};

/// What applying brought.
#[derive(Debug, Serialize)]
pub struct Applied {
    /// What is the target now; `None`: nothing ever was.
    generation: Option<Generation>,
    /// How many nodes changed.
    changed: usize,
    /// Platforms that share their nodes out anew.
    moved: Vec<PlatformName>,
    /// What was brought to the places of platforms that render files.
    rendered: BTreeMap<PlatformName, Delivered>,
    /// Whether workers have something to do.
    #[serde(skip)]
    is_for_workers: bool,
}

/// Plans, asks, applies.
pub async fn run(args: &ApplyArgs) -> Result<bool> {
    let project = Project::open(&args.dir.dir)?;
    let compiler = Compiler::load(&project.root)?;
    let Some(applied) = apply(&project, &compiler, args.yes).await? else { return Ok(false) };
    applied.show(args.format);
    Ok(true)
}

/// Makes what the model says the target, then brings the files of platforms that render some to
/// their places. `None`: findings forbid it, or nobody agreed, and that was told.
///
/// # Errors
/// The state fails or has moved on; a program can't be asked; files can't be brought.
pub async fn apply(project: &Project, compiler: &Compiler, is_agreed_to: bool) -> Result<Option<Applied>> {
    let state = project.state().await?;
    let parent = state.in_force().await?;
    let Some(outcome) = compiler.plan(parent.as_ref()) else { return Ok(None) };
    let plan = outcome.plan;
    if !plan.is_empty() && !is_agreed_to {
        let text = levada_planner::plan::write::write(&plan, levada_planner::plan::PlanFormat::Text, &|span| {
            place(&compiler.files, span)
        });
        // What is asked about is talk; where a program reads stdout it gets the answer alone.
        show::talk(text.trim_end());
        if !is_agreed()? {
            show::talk("nothing was applied");
            return Ok(None);
        }
    }
    shared_by_pods(project, &plan.blueprint)?;
    let missing = if plan.is_empty() { Vec::new() } else { missing_secrets(project, &plan.blueprint) };
    if !missing.is_empty() {
        bail!("{}", missing.join("\n"));
    }
    // Whatever can go wrong with the files is found before anything is in force.
    let places = places(project, compiler, &plan.blueprint)?;
    let Some(trees) = render(project, compiler, &plan, &places).await? else { return Ok(None) };
    let manifests: BTreeMap<_, _> = trees.iter().map(|(name, tree)| (name, manifest(name, &plan, tree))).collect();
    let mut deliveries = Vec::new();
    for (name, tree) in &trees {
        let entry = entry(&compiler.model, name)?;
        let delivery = Delivery::prepare(project, entry, (tree, &manifests[name]), &places[name], false);
        deliveries.push((name, delivery.with_context(|| format!("platform {name}"))?));
    }
    let changes = plan.delta.changes.iter().map(|(address, change)| (address.clone(), change.after().cloned()));
    let changes: Vec<_> = changes.collect();
    let is_for_workers =
        changes.iter().any(|(node, _)| plan.blueprint.choices.realizer(node.platform()) == Realizer::Workers);
    if !plan.is_empty() {
        let now = levada_flow::Clock::now(&levada_flow::SystemClock);
        state.apply(&plan.blueprint, &changes, now).await?;
    }
    let mut rendered = BTreeMap::new();
    for (name, delivery) in deliveries {
        let place = delivery.place();
        let delivered = delivery.deliver().with_context(|| {
            format!("platform {name}: the model is applied, its files are not all at {place}; `levada apply` goes on")
        })?;
        show::talk(format!("platform {name}: {}", delivered.in_words(place)));
        rendered.insert(name.clone(), delivered);
    }
    let generation = plan.leads_to();
    Ok(Some(Applied { generation, changed: changes.len(), moved: plan.moved, rendered, is_for_workers }))
}

impl Applied {
    /// Says it.
    pub fn show(&self, format: Format) {
        match (format, self.generation, self.changed) {
            (Format::Json, ..) => show::json(self),
            (Format::Text, Some(generation), 1..) => {
                show::data(format!("generation {generation} is the target: {} nodes changed", self.changed));
                if self.is_for_workers {
                    show::talk("a running worker takes it up; otherwise start one: levada run");
                }
            }
            (Format::Text, Some(generation), 0) if !self.moved.is_empty() => {
                let moved: Vec<String> = self.moved.iter().map(ToString::to_string).collect();
                show::data(format!("generation {generation} is the target: {} moves nodes", moved.join(", ")));
            }
            (Format::Text, ..) => show::data("nothing to change"),
        }
    }
}

/// Pods work on the state that `apply` writes: one that a single machine has is none of theirs.
fn shared_by_pods(project: &Project, blueprint: &Blueprint) -> Result<()> {
    let mut hosted = blueprint.nodes.keys().map(NodeAddress::platform);
    let hosted = hosted.find(|platform| blueprint.choices.realizer(platform) == Realizer::Pods);
    match hosted.filter(|_| project.settings.state.starts_with("sqlite:")) {
        None => Ok(()),
        Some(platform) => bail!(
            "platform {platform} is run by pods, and the state is a file of this machine; set LEVADA_STATE, or `state` \
             in levada.toml, to the postgres://… that both reach"
        ),
    }
}

/// Where the platforms that render files have them brought.
fn places(project: &Project, compiler: &Compiler, blueprint: &Blueprint) -> Result<BTreeMap<PlatformName, Place>> {
    let mut places = BTreeMap::new();
    for entry in file_platforms(compiler) {
        let name = &entry.name;
        match Place::in_settings(project, &compiler.model, entry)? {
            Some(place) => {
                if let Some((other, _)) = places.iter().find(|(_, taken)| **taken == place) {
                    bail!(
                        "platforms {other} and {name} both render to {place}; give each a folder or branch of its own"
                    );
                }
                places.insert(name.clone(), place);
            }
            None if blueprint.nodes.keys().any(|node| node.platform() == name) => show::talk(format!(
                "nothing says where the files of platform {name} go: add settings.out or settings.git, or run \
                 `levada render --platform {:?} --out FOLDER`",
                name.as_str()
            )),
            None => {}
        }
    }
    Ok(places)
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
    let is_run = |node: &&Node| blueprint.choices.realizer(node.address.platform()) == Realizer::Workers;
    let names: BTreeSet<CredentialName> =
        blueprint.nodes.values().filter(is_run).filter_map(|node| node.connection()?.credential.clone()).collect();
    names.iter().filter_map(|name| project.settings.secret(name).err()).map(|error| error.chain()).collect()
}
