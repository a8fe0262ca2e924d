//! `levada render`: one platform's part of the model as files, in a folder or on a branch.

use crate::cli::{Format, RenderArgs};
use crate::compile::Compiler;
use crate::project::Project;
use crate::rendering::{Delivery, Place, file_platforms, manifest, render};
use crate::show;
use anyhow::{Result, bail};
use levada_model::name::PlatformName;
use serde_json::json;
use std::collections::BTreeMap;

/// Renders what the model says now, on the blueprint in force, and changes neither.
pub async fn run(args: &RenderArgs) -> Result<bool> {
    let project = Project::open(&args.dir.dir)?;
    let compiler = Compiler::load(&project.root)?;
    let parent = match project.state_so_far().await? {
        Some(state) => state.in_force().await?,
        None => None,
    };
    let Some(outcome) = compiler.plan(parent.as_ref()) else { return Ok(false) };
    let platform: PlatformName = args.platform.parse()?;
    let entry = crate::rendering::entry(&compiler.model, &platform)?;
    let place = match (&args.out, &args.git) {
        (Some(folder), _) => Place::Folder(folder.clone()),
        (None, Some(target)) => Place::Branch(target.parse()?),
        (None, None) => Place::of_settings(&project, &compiler.model, entry)?,
    };
    if !file_platforms(&compiler).any(|entry| entry.name == platform) {
        bail!("platform {platform} is run by workers and renders no files");
    }
    let places = BTreeMap::from([(platform.clone(), place)]);
    let Some(trees) = render(&project, &compiler, &outcome, &places).await? else { return Ok(false) };
    let (tree, place) = (&trees[&platform], &places[&platform]);
    let manifest = manifest(&platform, &outcome, tree);
    let delivered = Delivery::prepare(&project, entry, (tree, &manifest), place, args.force)?.deliver()?;
    match args.format {
        Format::Json => show::json(&json!({
            "platform": platform, "files": tree.len(), "written": delivered.written, "removed": delivered.removed,
            "commits": delivered.commits,
        })),
        Format::Text => show::data(delivered.in_words(place)),
    }
    Ok(true)
}
