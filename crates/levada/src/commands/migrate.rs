//! `levada migrate`: the state's tables, brought to this build's version.

use crate::cli::{Format, ListArgs};
use crate::project::Project;
use crate::show;
use anyhow::Result;
use serde_json::json;

/// Opens the state, which brings it up to date, and says its version.
pub async fn run(args: &ListArgs) -> Result<bool> {
    Project::open(&args.dir.dir)?.state().await?;
    let version = levada_state::VERSION;
    match args.format {
        Format::Json => show::json(&json!({ "version": version })),
        Format::Text => show::data(format!("the state is at version {version}")),
    }
    Ok(true)
}
