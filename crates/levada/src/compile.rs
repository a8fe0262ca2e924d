//! From a folder to graphs and a plan: what `check`, `graph`, `explain`, `plan` and `apply` share.

use crate::settings::Settings;
use crate::show;
use crate::waiting::Waiting;
use anyhow::Result;
use levada_model::{Findings, Model, Severity};
use levada_planner::{Blueprint, PlanOutcome, PlatformRegistry};
use levada_repo::{FileTable, Loaded};
use std::path::Path;

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
    /// The model's revision, for people.
    pub revision: String,
}

impl Compiler {
    /// Loads a folder.
    ///
    /// # Errors
    /// There is no ecosystem in it, or it can't be read.
    pub fn load(dir: &Path) -> Result<Self> {
        let waiting = Waiting::new("reading the model");
        let loaded = match Settings::read(dir)?.cache {
            Some(cache) => levada_repo::load_cached(dir, &cache),
            None => levada_repo::load(dir),
        };
        let Loaded { model, findings, files } = loaded?;
        drop(waiting);
        let revision = levada_repo::revision(dir).map_or_else(
            || "without git".to_owned(),
            |revision| format!("{}{}", revision.commit, if revision.is_dirty { " with changes" } else { "" }),
        );
        Ok(Self { model, findings, files, registry: levada_platforms::registry(), revision })
    }

    /// Plans on top of a blueprint. `None`: the findings forbid it and were told on stderr.
    pub fn plan(&self, parent: Option<&Blueprint>) -> Option<PlanOutcome> {
        if self.is_broken() {
            self.tell(&self.findings);
            return None;
        }
        let outcome = match levada_planner::plan(&self.model, &self.registry, parent, self.revision.clone()) {
            Ok(outcome) if !self.findings.has_errors() => Ok(outcome),
            Ok(outcome) => Err(outcome.plan.warnings),
            Err(findings) => Err(findings),
        };
        match outcome {
            Ok(outcome) => Some(outcome),
            Err(findings) => {
                let all = self.with_loading(findings);
                self.tell(&all);
                None
            }
        }
    }

    /// Whether a document could not be read at all: what refers into it would only be reported as
    /// missing, so nothing behind the loader is worth saying.
    pub fn is_broken(&self) -> bool {
        self.findings.0.iter().any(|finding| finding.code == levada_model::codes::SYNTAX)
    }

    /// Joins what loading found with what came later, in the order of places.
    pub fn with_loading(&self, later: Findings) -> Findings {
        let mut all = self.findings.clone();
        all.extend(later);
        all.sort();
        all
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

/// `2 errors, 1 warning`
pub fn count(findings: &Findings) -> String {
    let errors = findings.0.iter().filter(|finding| finding.severity == Severity::Error).count();
    let warnings = findings.0.len() - errors;
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    format!("{}, {}", plural(errors, "error"), plural(warnings, "warning"))
}
