//! One ecosystem on disk with its settings, and the doors behind them, opened when needed.

use crate::connect::Connectors;
use crate::settings::Settings;
use anyhow::{Context, Result, anyhow, bail};
use levada_flow::SystemClock;
use levada_model::Schema;
use levada_model::address::DatasetRef;
use levada_model::name::PlatformName;
use levada_planner::{Blueprint, NodeSpec};
use levada_runtime::Runtime;
use levada_sql::SqlEngine;
use levada_state::{Host, State};
use levada_store::Store;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One ecosystem on disk.
#[derive(Clone, Debug)]
pub struct Project {
    /// The model's folder.
    pub root: PathBuf,
    /// Its settings.
    pub settings: Settings,
}

impl Project {
    /// Reads the settings of a folder; the model and the state stay closed.
    ///
    /// # Errors
    /// The folder or its settings can't be read.
    pub fn open(dir: &Path) -> Result<Self> {
        let root = dir.canonicalize().with_context(|| format!("failed to open the folder {}", dir.display()))?;
        let settings = Settings::read(&root)?;
        Ok(Self { root, settings })
    }

    /// Opens the state, making it where there is none.
    ///
    /// # Errors
    /// The database can't be opened, or belongs to a newer build.
    pub async fn state(&self) -> Result<State> {
        if let Some(folder) = self.settings.state.strip_prefix("sqlite:").and_then(|path| Path::new(path).parent()) {
            make_private(folder)?;
        }
        Ok(State::open(&self.settings.state).await?)
    }

    /// Opens the state where there is one; a SQLite state is not made by looking for it.
    ///
    /// # Errors
    /// The database can't be opened, or belongs to a newer build.
    pub async fn state_so_far(&self) -> Result<Option<State>> {
        match self.settings.state.strip_prefix("sqlite:") {
            Some(path) if !Path::new(path).exists() => Ok(None),
            _ => self.state().await.map(Some),
        }
    }

    /// Opens the state that an `apply` has made.
    ///
    /// # Errors
    /// Nothing was applied yet, or as [`Project::state_so_far`].
    pub async fn applied_state(&self) -> Result<State> {
        self.state_so_far().await?.ok_or_else(nothing_applied)
    }

    /// A folder of ours below the data, made where it is not there.
    ///
    /// # Errors
    /// It can't be made.
    pub fn workshop(&self, name: &str) -> Result<PathBuf> {
        make_private(&self.settings.data)?;
        let folder = self.settings.data.join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
        Ok(folder)
    }

    /// Opens everything a job may reach.
    ///
    /// # Errors
    /// The state or the store can't be opened.
    pub async fn runtime(&self) -> Result<Runtime> {
        let state = self.applied_state().await?;
        make_private(&self.settings.data)?;
        // Apart from the staging area: the store removes whatever in its folder nobody committed.
        let store = Store::open(state.clone(), self.settings.data.join("store"))?;
        Ok(Runtime {
            state,
            store,
            connect: Arc::new(Connectors { settings: self.settings.clone(), root: self.root.clone() }),
            engine: Arc::new(SqlEngine::default()),
            clock: Arc::new(SystemClock),
            root: self.root.clone(),
            staging: self.settings.data.join("staging"),
        })
    }
}

fn make_private(folder: &Path) -> Result<()> {
    levada_repo::make_private(folder).with_context(|| format!("failed to create {}", folder.display()))
}

/// The blueprint in force.
///
/// # Errors
/// Nothing was applied yet.
pub async fn in_force(state: &State) -> Result<Blueprint> {
    state.in_force().await?.ok_or_else(nothing_applied)
}

/// Whose work a command is about: that of workers started anywhere, or that of a platform's pods.
///
/// # Errors
/// The platform has no pods; the state fails.
pub async fn host(state: &State, blueprint: &Blueprint, pods_of: Option<&PlatformName>) -> Result<Host> {
    let Some(platform) = pods_of else { return Ok(Host::Anywhere) };
    let host = Host::Pods(platform.clone());
    let is_hosted = Host::of(&blueprint.choices, platform).as_ref() == Some(&host);
    // One that has left the model may still have deliveries to take away.
    if is_hosted || state.nodes().await?.iter().any(|row| row.host == host) {
        return Ok(host);
    }
    bail!(
        "platform {platform} is not run by pods of its own in generation {}; leave --platform out",
        blueprint.generation
    )
}

fn nothing_applied() -> anyhow::Error {
    anyhow!("nothing is applied yet; run `levada apply` first")
}

/// Every dataset that can be read: those the blueprint keeps, with the columns it has them with,
/// and those that have left it and whose milestones are still there, as they were last.
///
/// # Errors
/// The state fails.
pub async fn readable_datasets(state: &State, blueprint: &Blueprint) -> Result<Vec<(DatasetRef, Schema)>> {
    let mut datasets: BTreeMap<DatasetRef, Schema> = BTreeMap::new();
    for (dataset, _) in state.stored_datasets().await? {
        if let Some(last) = state.schemas(&dataset).await?.pop() {
            datasets.insert(dataset, last.schema);
        }
    }
    for node in blueprint.nodes.values() {
        let NodeSpec::Ingest(spec) = &node.spec else { continue };
        for dataset in &spec.datasets {
            let of = DatasetRef::new(spec.stream.datastore.clone(), dataset.dataset.clone());
            datasets.insert(of, dataset.schema.clone());
        }
    }
    Ok(datasets.into_iter().collect())
}
