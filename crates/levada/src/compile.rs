//! From a folder to graphs and a plan: what `check`, `graph`, `explain`, `plan` and `apply` share.

use crate::settings::Settings;
use crate::show;
use crate::waiting::Waiting;
use anyhow::Result;
use levada_model::{Finding, Findings, Fingerprint, Model, Severity};
use levada_planner::blueprint::Choices;
use levada_planner::{Assignment, Blueprint, IntentionGraph, PlanOutcome, PlatformRegistry, diff, freeze, lint_parts};
use levada_platforms::external::External;
use levada_platforms::kubernetes::ModelCopy;
use levada_platforms::registry_with;
use levada_repo::{FileTable, Folder, Loaded, Revision, Survey};
use std::path::Path;
use std::sync::Arc;

/// A model that loaded, what its loading found, and where its lines are.
pub struct Compiler {
    /// The model.
    pub model: Model,
    /// What loading found.
    pub findings: Findings,
    /// Places of spans.
    pub files: FileTable,
    /// The kinds of platforms of this build.
    pub registry: PlatformRegistry,
    /// The folder's files, for pods; empty where no platform stands on Kubernetes.
    pub copy: Arc<ModelCopy>,
    /// The model's git revision or, outside git, the fingerprint of its content, for people.
    pub revision: String,
    /// Of all files of the model as they were read.
    pub content: Fingerprint,
}

/// Choices and graphs of a model that may have errors.
pub struct Woven {
    /// The broker's choices and reasons.
    pub assignment: Assignment,
    /// The graphs of all platforms.
    pub graphs: Vec<IntentionGraph>,
    /// Everything that was found, of loading and behind it.
    pub findings: Findings,
}

impl Compiler {
    /// Loads a folder.
    ///
    /// # Errors
    /// There is no ecosystem in it, or it can't be read.
    pub fn load(dir: &Path) -> Result<Self> {
        Self::load_with(dir, &Settings::read(dir)?)
    }

    /// The same with another folder's settings: its parse cache, and what of it is no model.
    ///
    /// # Errors
    /// As [`Compiler::load`].
    pub fn load_with(dir: &Path, settings: &Settings) -> Result<Self> {
        let waiting = Waiting::new("reading the model");
        let survey = Folder::open(dir)?.survey(settings.cache.as_deref())?;
        let revision = revision_of(levada_repo::revision(dir), survey.content());
        drop(waiting);
        Self::of(dir, settings, survey, revision)
    }

    /// Loads everything that was looked over.
    ///
    /// # Errors
    /// As [`Compiler::load`].
    pub fn of(dir: &Path, settings: &Settings, survey: Survey, revision: String) -> Result<Self> {
        let _waiting = Waiting::new("reading the model");
        let Loaded { model, findings, files, content } = survey.whole()?;
        let is_hosted = model.ecosystem.platforms.iter().any(|platform| platform.host.is_some());
        let copy = Arc::new(if is_hosted { copy(dir, settings, &files)? } else { ModelCopy::default() });
        let registry = registry_with(External::default(), &copy);
        Ok(Self { model, findings, files, registry, copy, revision, content })
    }

    /// Plans on top of a blueprint. `None`: the findings forbid it and were told on stderr.
    pub fn plan(&self, parent: Option<&Blueprint>) -> Option<PlanOutcome> {
        self.planned(parent).map_err(|findings| self.tell(&findings)).ok()
    }

    /// The same.
    ///
    /// # Errors
    /// All findings, at least one of which is an error.
    pub fn planned(&self, parent: Option<&Blueprint>) -> std::result::Result<PlanOutcome, Findings> {
        // What could not be read looks as if it had changed: it is not compared.
        if self.findings.has_errors() {
            return Err(self.weave().findings);
        }
        let planned = levada_planner::plan(&self.model, &self.registry, parent, self.revision.clone());
        planned.map_err(|findings| self.with_loading(findings))
    }

    /// Each finding in one line.
    pub fn lines(&self, findings: &Findings) -> Vec<String> {
        let place = |finding: &Finding| finding.span.and_then(|span| self.files.place(span));
        let line = |finding: &Finding| {
            let place = place(finding).map(|place| format!("{place}: ")).unwrap_or_default();
            format!("{place}{} {}", finding.code, finding.message)
        };
        findings.0.iter().map(line).collect()
    }

    /// What can be said of the model as it is, errors and all, without a blueprint in force.
    pub fn weave(&self) -> Woven {
        let mut findings = levada_planner::lint(&self.model, &self.registry);
        let (assignment, rejected) = levada_planner::assign(&self.model, &self.registry, &Choices::default());
        let (graphs, entangled) = levada_planner::weave(&self.model, &assignment);
        findings.extend(rejected);
        findings.extend(entangled);
        Woven { assignment, graphs, findings: self.with_loading(findings) }
    }

    /// The same, with what the kinds of platforms have against their parts, where nothing is wrong before.
    pub fn weave_and_review(&self) -> Woven {
        let mut woven = self.weave();
        if !woven.findings.has_errors() {
            let blueprint = freeze(&self.model, &woven.assignment, &woven.graphs, None, self.revision.clone());
            let delta = diff(None, &blueprint);
            woven.findings.extend(lint_parts(&self.model, &self.registry, &blueprint, &delta));
            self.files.locate_columns(&self.model, &mut woven.findings);
            woven.findings.sort();
        }
        woven
    }

    /// Joins what loading found with what came later, in the order of places.
    pub fn with_loading(&self, later: Findings) -> Findings {
        let mut all = self.findings.clone();
        all.extend(later);
        self.files.locate_columns(&self.model, &mut all);
        all.sort();
        all
    }

    /// Whether a command may end well: without errors. Otherwise all findings are told on stderr.
    pub fn accept(&self, findings: &Findings) -> bool {
        if findings.has_errors() {
            self.tell(findings);
        }
        !findings.has_errors()
    }

    /// Tells findings on stderr, with a last line that counts them.
    pub fn tell(&self, findings: &Findings) {
        for finding in &findings.0 {
            show::talk(show::finding(finding, &self.files));
        }
        if !findings.0.is_empty() {
            show::talk(count(findings));
        }
    }
}

/// A model's git revision or, outside git, the fingerprint of its content, for people.
pub fn revision_of(revision: Option<Revision>, content: Fingerprint) -> String {
    match revision {
        None => format!("content {content}"),
        Some(revision) => format!("{}{}", revision.commit, if revision.is_dirty { " with changes" } else { "" }),
    }
}

/// The files of a model's folder, without what its settings say is something else.
fn copy(dir: &Path, settings: &Settings, files: &FileTable) -> Result<ModelCopy> {
    let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let root = whole(dir);
    let places = settings.places().into_iter().map(|path| whole(&path));
    // A revision that is laid out for a look at it lies below our own folders, which git passes over.
    let (around, without): (Vec<_>, Vec<_>) = places.partition(|path| root.starts_with(path));
    let mut all = Folder::open(&root)?.files(&without, around.is_empty())?;
    // It may hold the state's password.
    all.remove("levada.toml");
    let documents = files.paths().filter_map(|path| all.remove_entry(path)).collect();
    Ok(ModelCopy { documents, others: all })
}

/// `2 errors, 1 warning`
pub fn count(findings: &Findings) -> String {
    let errors = findings.0.iter().filter(|finding| finding.severity == Severity::Error).count();
    let warnings = findings.0.len() - errors;
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    format!("{}, {}", plural(errors, "error"), plural(warnings, "warning"))
}
