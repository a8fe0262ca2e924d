//! Planning on the blueprint in force, at the cost of what changed: the model is looked over, only what
//! the change can reach is loaded, and that part is planned.
//!
//! The whole model is loaded and planned where a part will not do: nothing is in force yet, another build
//! froze it, the ecosystem or a zone changed, some platform renders files (out of all of its nodes), or
//! something is wrong, which is told in full.

use crate::compile::{Compiler, revision_of};
use crate::project::Project;
use crate::settings::Settings;
use crate::waiting::Waiting;
use anyhow::Result;
use levada_model::{Address, Outlines};
use levada_planner::blueprint::Choices;
use levada_planner::reach::{self, Reach};
use levada_planner::{Blueprint, PartOutcome, Plan, PlanOutcome};
use levada_repo::{FileTable, Folder, Loaded, Survey};
use levada_state::State;
use levada_state::blueprints::Frozen;
use std::collections::BTreeSet;
use std::path::Path;

/// A plan, and what was looked at for it.
pub struct Planned {
    /// What was loaded.
    pub looked: Looked,
    /// How much that was.
    pub effort: Effort,
}

/// How far the model had to be looked at.
pub enum Looked {
    /// As far as the change reaches; no platform renders files.
    Part(Box<Plan>, FileTable),
    /// At everything.
    Whole(Box<(Compiler, PlanOutcome)>),
}

/// How much was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Effort {
    /// Files of the model.
    pub files: usize,
    /// Those that had to be parsed.
    pub parsed: usize,
    /// Objects of the model that say something else than in force; `None`: not known.
    pub changed: Option<usize>,
    /// Objects that were loaded.
    pub loaded: usize,
    /// Nodes that were woven anew and compared.
    pub nodes: usize,
}

impl Planned {
    /// The plan.
    pub fn plan(&self) -> &Plan {
        match &self.looked {
            Looked::Part(plan, _) => plan,
            Looked::Whole(whole) => &whole.1.plan,
        }
    }

    /// Where the lines of the model are.
    pub fn files(&self) -> &FileTable {
        match &self.looked {
            Looked::Part(_, files) => files,
            Looked::Whole(whole) => &whole.0.files,
        }
    }
}

impl std::fmt::Display for Effort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { files, parsed, changed, loaded, nodes } = self;
        write!(f, "{parsed} of {files} files parsed, ")?;
        if let Some(changed) = changed {
            write!(f, "{changed} object{} changed, ", if *changed == 1 { "" } else { "s" })?;
        }
        write!(f, "{loaded} looked at, {nodes} nodes woven anew")
    }
}

/// A model that can't be planned.
pub struct Refused {
    /// The findings, each in a line.
    pub findings: Vec<String>,
}

/// Plans a project's model. `None`: findings forbid it, and they were told.
///
/// # Errors
/// The model or the state can't be read.
pub async fn plan(project: &Project) -> Result<Option<Planned>> {
    Ok(plan_folder(&project.root, &project.settings, project.state_so_far().await?.as_ref()).await?.ok())
}

/// The same for a model in another folder, such as a revision that is laid out.
///
/// # Errors
/// As [`plan`].
pub async fn plan_folder(
    dir: &Path,
    settings: &Settings,
    state: Option<&State>,
) -> Result<std::result::Result<Planned, Refused>> {
    // Git takes as long as the survey, and needs nothing of it.
    let revision = std::thread::scope(|scope| {
        let asked = scope.spawn(|| levada_repo::revision(dir));
        let survey = survey(dir, settings);
        survey.map(|survey| (survey, asked.join().ok().flatten()))
    });
    let (survey, revision) = revision?;
    let revision = revision_of(revision, survey.content());
    if let Some(state) = state
        && let Some(planned) = plan_reached(&survey, state, &revision).await?
    {
        return Ok(Ok(planned));
    }
    let (files, parsed) = (survey.files(), survey.parsed());
    let compiler = Compiler::of(dir, settings, survey, revision)?;
    let parent = match state {
        Some(state) => state.in_force().await?,
        None => None,
    };
    let outcome = match compiler.planned(parent.as_ref()) {
        Ok(outcome) => outcome,
        Err(findings) => {
            compiler.tell(&findings);
            return Ok(Err(Refused { findings: compiler.lines(&findings) }));
        }
    };
    let (loaded, nodes) = (compiler.model.outlines.len(), outcome.blueprint.nodes.len());
    let effort = Effort { files, parsed, changed: None, loaded, nodes };
    Ok(Ok(Planned { looked: Looked::Whole(Box::new((compiler, outcome))), effort }))
}

fn survey(dir: &Path, settings: &Settings) -> Result<Survey> {
    let _waiting = Waiting::new("reading the model");
    Ok(Folder::open(dir)?.survey(settings.cache.as_deref())?)
}

/// Plans as far as the change reaches; `None`: it takes the whole model.
async fn plan_reached(survey: &Survey, state: &State, revision: &str) -> Result<Option<Planned>> {
    let Some(outlined) = survey.outlined() else { return Ok(None) };
    let Some(frozen) = state.frozen().await? else { return Ok(None) };
    let Some((mut reach, changed)) = reach_of(state, &frozen, &outlined.outlines).await? else { return Ok(None) };
    let registry = levada_platforms::registry();
    loop {
        let Loaded { model, findings, files, .. } = survey.part(reach.objects())?;
        let Some(parent) = state.part(frozen.generation, reach.owners(), reach.known()).await? else { return Ok(None) };
        if findings.has_errors() || renders_files(&parent) {
            return Ok(None);
        }
        match levada_planner::plan_part(&model, &registry, &parent, &reach, revision.to_owned()) {
            Err(_) => return Ok(None),
            Ok(PartOutcome::Wider(wider)) => reach = wider,
            Ok(PartOutcome::Planned { plan, nodes }) => {
                let loaded = reach.objects().len();
                let (files_count, parsed) = (survey.files(), survey.parsed());
                let effort = Effort { files: files_count, parsed, changed: Some(changed), loaded, nodes };
                return Ok(Some(Planned { looked: Looked::Part(Box::new(plan), files), effort }));
            }
        }
    }
}

/// What the change since the blueprint in force can reach, and how many objects changed.
async fn reach_of(state: &State, frozen: &Frozen, outlines: &Outlines) -> Result<Option<(Reach, usize)>> {
    if frozen.form != levada_platforms::FORM {
        return Ok(None);
    }
    let changed = reach::changed(&frozen.contents, outlines);
    let count = changed.len();
    let there: BTreeSet<Address> = changed.iter().filter(|it| frozen.contents.contains_key(it)).cloned().collect();
    let former = state.objects(frozen.generation, there).await?;
    let former = former.into_iter().map(|(address, object)| (address, object.names)).collect();
    Ok(Reach::of(outlines, changed, former).map(|reach| (reach, count)))
}

/// Whether some platform writes files of all its nodes.
fn renders_files(Blueprint { choices: Choices { platforms, .. }, .. }: &Blueprint) -> bool {
    platforms.values().any(|nature| nature.realizer.has_files())
}
