//! Plans in files: made by one, looked at by another, applied as they are or not at all.
//!
//! A saved plan says on which generation of which state it was made and by which build, and has all that an
//! apply writes: the model is not asked again. Where a platform renders files the model is planned once
//! more, since files are made of all nodes, and has to come to the same plan.

use crate::show;
use anyhow::{Context, Result, bail};
use levada_model::fingerprint::{Fingerprint, fingerprint};
use levada_model::name::PlatformName;
use levada_planner::{Advance, Generation, Plan};
use levada_state::State;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The version of the format that this build reads and writes.
const VERSION: u32 = 1;

/// A plan in a file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SavedPlan {
    version: u32,
    /// Which state it was made on; `None`: there was none yet.
    state: Option<String>,
    /// Which build made it.
    form: String,
    /// The generation it was made on; `None`: the first.
    pub base: Option<Generation>,
    /// Of everything else in it.
    pub hash: Fingerprint,
    /// What an apply writes.
    pub advance: Advance,
    /// Platforms that share their nodes out anew.
    pub moved: Vec<PlatformName>,
    /// The plan as people read it.
    pub text: String,
}

impl SavedPlan {
    /// A plan with its text.
    pub fn of(plan: &Plan, state: Option<&State>, text: String) -> Self {
        let saved = Self {
            version: VERSION,
            state: state.map(|state| state.id().to_owned()),
            form: levada_platforms::FORM.to_owned(),
            base: plan.base,
            hash: Fingerprint(0),
            advance: plan.advance.clone(),
            moved: plan.moved.clone(),
            text,
        };
        Self { hash: saved.content(), ..saved }
    }

    /// The fingerprint of everything but the hash itself.
    fn content(&self) -> Fingerprint {
        fingerprint(&Self { hash: Fingerprint(0), ..self.clone() })
    }

    /// Whether another plan changes the same. The revision is for people: a file that was saved into the
    /// checkout makes it another one.
    pub fn is_same(&self, plan: &Plan) -> bool {
        let unnamed = |advance: &Advance| Advance { revision: String::new(), ..advance.clone() };
        unnamed(&self.advance) == unnamed(&plan.advance)
    }

    /// Writes it; a file that is there is replaced as a whole.
    ///
    /// # Errors
    /// It would become a document of the model in `root`; the file system refuses.
    pub fn write(&self, path: &Path, root: &Path) -> Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder =
            folder.canonicalize().with_context(|| format!("failed to open the folder {}", folder.display()))?;
        let is_document = path.extension().is_some_and(|end| ["json", "yaml", "yml"].iter().any(|it| end == *it));
        if is_document && folder.starts_with(root) {
            let (shown, other) = (path.display(), path.with_extension("plan"));
            bail!("{shown} would be read as a document of the model; save the plan as {}", other.display());
        }
        let text = serde_json::to_vec_pretty(self).expect("plain data with text keys always serialises");
        let beside = path.with_added_extension("new");
        std::fs::write(&beside, text).with_context(|| format!("failed to write {}", beside.display()))?;
        std::fs::rename(&beside, path).with_context(|| format!("failed to write {}", path.display()))
    }

    /// Reads one and makes sure that it is whole.
    ///
    /// # Errors
    /// The file can't be read, is none of this build's plans, or was changed.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let bytes = std::fs::read(path).with_context(|| format!("failed to read {shown}"))?;
        let version = serde_json::from_slice::<serde_json::Value>(&bytes)
            .with_context(|| format!("{shown} is no saved plan"))?
            .get("version")
            .and_then(serde_json::Value::as_u64);
        if version != Some(u64::from(VERSION)) {
            let found = version.map_or_else(|| "no version".to_owned(), |version| format!("version {version}"));
            bail!("{shown} has {found}, this build reads version {VERSION}; make the plan again: levada plan --save");
        }
        let saved: Self = serde_json::from_slice(&bytes).with_context(|| format!("{shown} is no saved plan"))?;
        if saved.form != levada_platforms::FORM {
            bail!("{shown} was made by another build of levada; make it again: levada plan --save");
        }
        if saved.content() != saved.hash {
            bail!("{shown} was changed after it was made; make it again: levada plan --save");
        }
        Ok(saved)
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.advance.nodes.is_empty() && self.moved.is_empty()
    }

    /// Whether some platform writes files of all its nodes.
    pub fn renders_files(&self) -> bool {
        self.advance.platforms.values().any(|nature| nature.realizer.has_files())
    }

    /// Makes sure that a state is still where it was when the plan was made.
    ///
    /// # Errors
    /// It is another one, or has moved on; or it can't be read.
    pub async fn check(&self, state: &State) -> Result<()> {
        if self.state.as_deref().is_some_and(|made_on| made_on != state.id()) {
            bail!("the plan was made on another state; point LEVADA_STATE, or `state` in levada.toml, to that one");
        }
        let in_force = state.generation_in_force().await?;
        if in_force != self.base {
            let generation = |it: Option<Generation>| it.map_or("nothing".to_owned(), |it| format!("generation {it}"));
            let (made_on, now) = (generation(self.base), generation(in_force));
            bail!("the plan was made on {made_on}, and {now} is in force; make it again: levada plan --save");
        }
        Ok(())
    }

    /// Says that it was saved.
    pub fn tell(&self, path: &Path) {
        show::talk(format!("saved to {0}; to apply it: levada apply --plan {0}", path.display()));
    }
}
