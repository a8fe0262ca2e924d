//! `levada apply`: makes the model the target, in one transaction; the worker makes it real.

use crate::cli::{ApplyArgs, Format};
use crate::commands::plan::in_words;
use crate::compile::Compiler;
use crate::planning::{self, Looked, Planned};
use crate::project::Project;
use crate::rendering::{Delivered, Delivery, Place, entry, file_platforms, manifest, render};
use crate::saved::SavedPlan;
use crate::show;
use anyhow::{Context, Result, bail};
use levada_flow::{Clock, SystemClock};
use levada_model::NodeAddress;
use levada_model::name::{CredentialName, PlatformName};
use levada_planner::blueprint::{Choices, Realizer};
use levada_planner::plan::PlanFormat;
use levada_planner::plan::write::LINES_SHOWN;
use levada_planner::{Advance, Blueprint, Generation, Node, Plan, PlanOutcome};
use levada_state::State;
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

/// Plans, asks, applies; or applies what was planned before.
pub async fn run(args: &ApplyArgs) -> Result<bool> {
    let project = Project::open(&args.dir.dir)?;
    let applied = match &args.plan {
        Some(path) => apply_saved(&project, &SavedPlan::read(path)?).await?,
        None => apply(&project, args.yes).await?,
    };
    let Some(applied) = applied else { return Ok(false) };
    applied.show(args.format);
    Ok(true)
}

/// Applies a saved plan.
///
/// # Errors
/// The state has moved on since, or is another one; as [`apply`].
async fn apply_saved(project: &Project, saved: &SavedPlan) -> Result<Option<Applied>> {
    let state = project.state().await?;
    saved.check(&state).await?;
    if saved.renders_files() {
        // Files are made of all nodes: the model has to be there, and to come to the same plan.
        return match planning::plan_folder(&project.root, &project.settings, Some(&state)).await? {
            Ok(planned) if saved.is_same(planned.plan()) => apply_planned(project, &state, &planned).await,
            Ok(_) => bail!("the model has changed since the plan was made; make it again: levada plan --save"),
            Err(_) => Ok(None),
        };
    }
    if !saved.is_empty() {
        all_secrets_are_there(project, &saved.advance)?;
        state.apply(&saved.advance, levada_platforms::FORM, Clock::now(&SystemClock)).await?;
    }
    let leads_to = if saved.is_empty() { saved.base } else { Some(saved.advance.generation) };
    Ok(Some(Applied::of(&saved.advance, leads_to, &saved.moved, BTreeMap::new())))
}

/// Makes what the model says the target, then brings the files of platforms that render some to
/// their places. `None`: findings forbid it, or nobody agreed, and that was told.
///
/// # Errors
/// The state fails or has moved on; a program can't be asked; files can't be brought.
pub async fn apply(project: &Project, is_agreed_to: bool) -> Result<Option<Applied>> {
    let state = project.state().await?;
    let Ok(planned) = planning::plan_folder(&project.root, &project.settings, Some(&state)).await? else {
        return Ok(None);
    };
    let plan = planned.plan();
    if !plan.is_empty() && !is_agreed_to {
        let text = in_words(&planned, Some(&state), PlanFormat::Text, LINES_SHOWN).await?;
        // What is asked about is talk; where a program reads stdout it gets the answer alone.
        show::talk(text.trim_end());
        if !is_agreed()? {
            show::talk("nothing was applied");
            return Ok(None);
        }
    }
    let behind = state.behind().await?;
    if plan.is_empty() && !behind.is_empty() && !is_agreed_to {
        for (platform, nodes) in &behind {
            show::talk(format!("platform {platform} has {nodes} nodes to take up, which wait for it"));
        }
        if !is_agreed()? {
            show::talk("nothing was applied");
            return Ok(None);
        }
    }
    apply_planned(project, &state, &planned).await
}

/// Applies what was just planned.
async fn apply_planned(project: &Project, state: &State, planned: &Planned) -> Result<Option<Applied>> {
    let plan = planned.plan();
    if !plan.is_empty() {
        all_secrets_are_there(project, &plan.advance)?;
    }
    let rendered = match &planned.looked {
        Looked::Part(plan, _) => advance(state, plan).await.map(|()| Some(BTreeMap::new()))?,
        Looked::Whole(whole) => {
            shared_by_pods(project, &whole.1.blueprint)?;
            with_files(project, &whole.0, &whole.1, None, advance(state, plan)).await?
        }
    };
    Ok(rendered.map(|rendered| Applied::of(&plan.advance, plan.leads_to(), &plan.moved, rendered)))
}

/// Makes a plan's blueprint the target, and has all platforms take it up, with whatever waited for a window or
/// for somebody to agree: whoever applies agrees.
async fn advance(state: &State, plan: &Plan) -> Result<()> {
    let now = Clock::now(&SystemClock);
    if !plan.is_empty() {
        state.apply(&plan.advance, levada_platforms::FORM, now).await?;
        return Ok(());
    }
    let behind = state.behind().await?;
    if !behind.is_empty() {
        let nodes = state.take_up(behind.into_keys().collect(), now).await?;
        show::talk(format!("{nodes} nodes that waited are taken up"));
    }
    Ok(())
}

/// Renders whatever some platforms render, or all (`None`), advances the state in between, and brings the
/// files to their places. `None`: a program found errors, and they were told.
///
/// # Errors
/// A program can't be asked, files can't be brought, or the state does not advance.
pub async fn with_files(
    project: &Project,
    compiler: &Compiler,
    outcome: &PlanOutcome,
    only: Option<&BTreeSet<PlatformName>>,
    advance: impl Future<Output = Result<()>>,
) -> Result<Option<BTreeMap<PlatformName, Delivered>>> {
    // Whatever can go wrong with the files is found before anything is in force.
    let mut places = places(project, compiler, &outcome.blueprint)?;
    places.retain(|platform, _| only.is_none_or(|only| only.contains(platform)));
    let Some(trees) = render(project, compiler, outcome, &places).await? else { return Ok(None) };
    let manifests: BTreeMap<_, _> = trees.iter().map(|(name, tree)| (name, manifest(name, outcome, tree))).collect();
    let mut deliveries = Vec::new();
    for (name, tree) in &trees {
        let entry = entry(&compiler.model, name)?;
        let delivery = Delivery::prepare(project, entry, (tree, &manifests[name]), &places[name], false);
        deliveries.push((name, delivery.with_context(|| format!("platform {name}"))?));
    }
    advance.await?;
    let mut rendered = BTreeMap::new();
    for (name, delivery) in deliveries {
        let place = delivery.place();
        let delivered = delivery.deliver().with_context(|| {
            format!("platform {name}: the model is applied, its files are not all at {place}; `levada apply` goes on")
        })?;
        show::talk(format!("platform {name}: {}", delivered.in_words(place)));
        rendered.insert(name.clone(), delivered);
    }
    Ok(Some(rendered))
}

impl Applied {
    fn of(
        advance: &Advance,
        generation: Option<Generation>,
        moved: &[PlatformName],
        rendered: BTreeMap<PlatformName, Delivered>,
    ) -> Self {
        let mut changed = advance.nodes.keys();
        let is_for_workers = changed.any(|node| realizer(advance, node.platform()) == Realizer::Workers);
        Self { generation, changed: advance.nodes.len(), moved: moved.to_vec(), rendered, is_for_workers }
    }

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
pub fn shared_by_pods(project: &Project, blueprint: &Blueprint) -> Result<()> {
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

pub fn is_agreed() -> Result<bool> {
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

fn realizer(advance: &Advance, platform: &PlatformName) -> Realizer {
    Choices { platforms: advance.platforms.clone(), ..Choices::default() }.realizer(platform)
}

/// Makes sure that each credential has a secret that a new or changed node needs.
pub fn all_secrets_are_there(project: &Project, advance: &Advance) -> Result<()> {
    let is_run = |node: &&Node| realizer(advance, node.address.platform()) == Realizer::Workers;
    let nodes = advance.nodes.values().flatten().filter(is_run);
    let names: BTreeSet<CredentialName> = nodes.filter_map(|node| node.connection()?.credential.clone()).collect();
    let missing = names.iter().filter_map(|name| project.settings.secret(name).err());
    let missing: Vec<String> = missing.map(|error| error.chain()).collect();
    if missing.is_empty() { Ok(()) } else { bail!("{}", missing.join("\n")) }
}
