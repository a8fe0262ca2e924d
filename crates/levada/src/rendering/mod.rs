//! From a plan to files: asking the programs of external platforms, and bringing trees to their place.

pub mod ask;
pub mod conformance;

use crate::compile::Compiler;
use crate::project::Project;
use crate::show;
use crate::waiting::Waiting;
use anyhow::{Result, anyhow, bail};
use ask::{SHOWN_BYTES_MAX, ask};
use levada_model::model::PlatformEntry;
use levada_model::name::PlatformName;
use levada_model::{Findings, Model};
use levada_planner::PlanOutcome;
use levada_planner::platform::{Part, parts};
use levada_platforms::external::External;
use levada_platforms::external::answer::{LintAnswer, Problem, RenderAnswer};
use levada_platforms::external::question::{Ask, Question};
use levada_platforms::kubernetes::taken_path;
use levada_platforms::output::{Output, settings};
use levada_repo::rendered::{self, BranchTarget, Manifest, RenderedError, Tree};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where a rendering goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A folder.
    Folder(PathBuf),
    /// A branch of a git repository.
    Branch(BranchTarget),
}

/// What was brought to a place.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Delivered {
    /// Files that differed.
    pub written: Option<Vec<String>>,
    /// Files that are gone.
    pub removed: Option<Vec<String>>,
    /// Commits that were pushed; `None`: it is a folder.
    pub commits: Option<usize>,
    /// How many files differed.
    #[serde(skip)]
    pub changed: usize,
}

impl Place {
    /// Where a platform's settings say that its rendering goes.
    ///
    /// # Errors
    /// They say nothing, or nothing that can be read.
    pub fn of_settings(project: &Project, model: &Model, entry: &PlatformEntry) -> Result<Self> {
        Self::in_settings(project, model, entry)?.ok_or_else(|| {
            anyhow!(
                "platform {} has neither settings.out nor settings.git; use --out FOLDER or --git REPOSITORY#BRANCH",
                entry.name
            )
        })
    }

    /// The same; `None` where they say nothing.
    ///
    /// # Errors
    /// They can't be read.
    pub fn in_settings(project: &Project, model: &Model, entry: &PlatformEntry) -> Result<Option<Self>> {
        let settings = settings(entry, model.infrastructure_of(entry));
        let output = Output::of(&settings).map_err(|problem| anyhow!("platform {}: {problem}", entry.name))?;
        let below = |path: &str| project.root.join(path);
        Ok(match output {
            None => None,
            Some(Output::Folder(out)) => Some(Self::Folder(below(&out))),
            Some(Output::Branch { repository, branch }) => {
                // A path is one from the model's folder; whatever else git knows stays as it is.
                let local = below(&repository);
                let repository = if local.exists() { local.display().to_string() } else { repository };
                Some(Self::Branch(BranchTarget::new(&repository, &branch).map_err(with_hint)?))
            }
        })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::Branch(BranchTarget { repository, branch }) => write!(f, "{repository}#{branch}"),
        }
    }
}

impl Delivered {
    /// What happened, for people.
    pub fn in_words(&self, place: &Place) -> String {
        match (self.changed, self.commits) {
            (0, _) => format!("{place} is as it should be"),
            (files, None) => format!("{place}: {files} files brought up to date"),
            (files, Some(1)) => format!("{place}: {files} files brought up to date by one commit"),
            (files, Some(commits)) => format!("{place}: {files} files brought up to date by {commits} commits"),
        }
    }
}

/// A platform of the model.
///
/// # Errors
/// There is none of this name.
pub fn entry<'m>(model: &'m Model, platform: &PlatformName) -> Result<&'m PlatformEntry> {
    model.platform(platform).ok_or_else(|| anyhow!("there is no platform {platform} in the ecosystem"))
}

/// The folder of the file that names a platform: its program is at home there.
pub fn home(compiler: &Compiler, entry: &PlatformEntry) -> PathBuf {
    let path = compiler.files.path(entry.span.file).unwrap_or_default();
    compiler.files.root().join(Path::new(path).parent().unwrap_or(Path::new("")))
}

/// The platforms of a model that render files.
pub fn file_platforms(compiler: &Compiler) -> impl Iterator<Item = &PlatformEntry> {
    let renders = |entry: &&PlatformEntry| {
        compiler.registry.platform(&entry.kind.value).is_some_and(|kind| kind.realizer(entry).has_files())
    };
    compiler.model.ecosystem.platforms.iter().filter(renders)
}

/// Renders the parts of some platforms that write files. `None`: a program found errors, and they
/// were told.
///
/// # Errors
/// A program can't be asked, or answers what is no answer.
pub async fn render(
    project: &Project,
    compiler: &Compiler,
    outcome: &PlanOutcome,
    places: &BTreeMap<PlatformName, Place>,
) -> Result<Option<BTreeMap<PlatformName, Tree>>> {
    let parts = parts(&compiler.model, &outcome.blueprint, &outcome.plan.delta);
    let mut external = External::default();
    let mut is_clean = true;
    for entry in file_platforms(compiler).filter(|entry| entry.kind.value == levada_platforms::external::KIND) {
        let Some(place) = places.get(&entry.name) else { continue };
        let nothing = Part::new(&compiler.model, &entry.name);
        let part = parts.get(&entry.name).unwrap_or(&nothing);
        match ask_to_render(project, compiler, outcome, entry, part, place).await? {
            Some(tree) => external = external.with_rendered(entry.name.clone(), tree),
            None => is_clean = false,
        }
    }
    if !is_clean {
        return Ok(None);
    }
    let registry = levada_platforms::registry_with(external, &compiler.copy);
    let rendered = levada_planner::render(&compiler.model, &registry, &outcome.blueprint, &outcome.plan.delta);
    let wanted = rendered.into_iter().filter(|(platform, _)| places.contains_key(platform));
    Ok(Some(wanted.filter_map(|(platform, rendering)| Some((platform, rendering.into_files()?))).collect()))
}

async fn ask_to_render(
    project: &Project,
    compiler: &Compiler,
    outcome: &PlanOutcome,
    entry: &PlatformEntry,
    part: &Part<'_>,
    place: &Place,
) -> Result<Option<Tree>> {
    if !lint(project, compiler, outcome, entry, part).await? {
        return Ok(None);
    }
    let previous = last_manifest(project, entry, place)?;
    let previous = previous.as_ref().map(|manifest| &manifest.files);
    let revision = &outcome.blueprint.revision;
    let question = Question::about_part(Ask::Render, entry, part, revision, previous);
    let answer = answer(project, compiler, entry, Ask::Render, &question).await?;
    let (findings, tree) =
        RenderAnswer::read(&answer).map_err(|problem| useless(entry, Ask::Render, &problem, &answer))?;
    if let Some(path) = tree.keys().find(|path| entry.host.is_some() && taken_path(path)) {
        bail!("platform {} stands on Kubernetes, and its program rendered {path}, where the manifests go", entry.name);
    }
    Ok(is_clean(compiler, &findings).then_some(tree))
}

/// Asks a program what it has against its part, and tells it; whether nothing is an error.
///
/// # Errors
/// It can't be asked, or answers what is no answer.
pub async fn lint(
    project: &Project,
    compiler: &Compiler,
    outcome: &PlanOutcome,
    entry: &PlatformEntry,
    part: &Part<'_>,
) -> Result<bool> {
    let question = Question::about_part(Ask::Lint, entry, part, &outcome.blueprint.revision, None);
    let answer = answer(project, compiler, entry, Ask::Lint, &question).await?;
    let findings = LintAnswer::read(&answer).map_err(|problem| useless(entry, Ask::Lint, &problem, &answer))?;
    Ok(is_clean(compiler, &findings))
}

async fn answer(
    project: &Project,
    compiler: &Compiler,
    entry: &PlatformEntry,
    what: Ask,
    question: &Question<'_>,
) -> Result<Vec<u8>> {
    let _waiting = Waiting::new(&format!("asking platform {} to {}", entry.name, what.word()));
    ask(&project.settings, entry, &home(compiler, entry), what, &question.to_bytes()).await
}

fn is_clean(compiler: &Compiler, findings: &Findings) -> bool {
    compiler.tell(findings);
    !findings.has_errors()
}

/// Why an answer can't be used, with its beginning.
pub fn useless(entry: &PlatformEntry, ask: Ask, Problem(problem): &Problem, answer: &[u8]) -> anyhow::Error {
    let (name, word) = (&entry.name, ask.word());
    let shown = String::from_utf8_lossy(&answer[..answer.len().min(SHOWN_BYTES_MAX)]);
    let shown = levada_model::printable::one_line(&shown);
    anyhow!("the answer of platform {name} to `{word}` can't be used: {problem}; it begins with {shown:?}")
}

/// Where commits for branches are made.
fn work(project: &Project, entry: &PlatformEntry) -> Result<PathBuf> {
    let name = levada_model::fingerprint::fingerprint(&entry.name).to_string();
    Ok(project.workshop("rendered")?.join(name))
}

/// What was rendered to a place last.
fn last_manifest(project: &Project, entry: &PlatformEntry, place: &Place) -> Result<Option<Manifest>> {
    let last = match place {
        Place::Folder(folder) => rendered::last_in_folder(folder),
        Place::Branch(target) => rendered::last_on_branch(target, &work(project, entry)?),
    };
    last.map_err(with_hint)
}

/// Describes a platform's files under a plan.
pub fn manifest(platform: &PlatformName, outcome: &PlanOutcome, tree: &Tree) -> Manifest {
    let generation = outcome.plan.leads_to().map_or(0, |generation| generation.0);
    Manifest::of(platform.as_str(), &outcome.blueprint.revision, generation, tree)
}

/// A tree and what its place still lacks; nothing is changed yet.
pub struct Delivery<'t> {
    place: &'t Place,
    prepared: Prepared<'t>,
}

enum Prepared<'t> {
    Folder(rendered::PreparedFolder<'t>),
    Branch(rendered::PreparedPush),
}

impl<'t> Delivery<'t> {
    /// Finds out what a place lacks.
    ///
    /// # Errors
    /// What is there is somebody else's, or was edited; the file system or git refuses.
    pub fn prepare(
        project: &Project,
        entry: &PlatformEntry,
        (tree, manifest): (&'t Tree, &'t Manifest),
        place: &'t Place,
        gives_up_edits: bool,
    ) -> Result<Self> {
        let prepared = match place {
            Place::Folder(folder) => {
                rendered::prepare_folder(folder, tree, manifest, gives_up_edits).map(Prepared::Folder)
            }
            Place::Branch(target) => {
                rendered::prepare_push(target, &work(project, entry)?, tree, manifest, gives_up_edits)
                    .map(Prepared::Branch)
            }
        };
        Ok(Self { place, prepared: prepared.map_err(with_hint)? })
    }

    /// Brings it there.
    ///
    /// # Errors
    /// The file system or git refuses; the branch has moved meanwhile.
    pub fn deliver(self) -> Result<Delivered> {
        match self.prepared {
            Prepared::Folder(prepared) => {
                let rendered::Written { written, removed } = prepared.write().map_err(with_hint)?;
                let changed = written.len() + removed.len();
                Ok(Delivered { written: Some(written), removed: Some(removed), commits: None, changed })
            }
            Prepared::Branch(prepared) => {
                let pushed = prepared.push().map_err(with_hint)?;
                Ok(Delivered { commits: Some(pushed.commits), changed: pushed.files, ..Delivered::default() })
            }
        }
    }

    /// Where it goes.
    pub fn place(&self) -> &'t Place {
        self.place
    }
}

fn with_hint(error: RenderedError) -> anyhow::Error {
    show::failure(&error, error.hint())
}
