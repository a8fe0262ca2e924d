//! `levada graph`: the intention graphs; of a model with errors, as far as they go.

use crate::cli::{GraphArgs, GraphFormat};
use crate::compile::{Compiler, Woven};
use crate::show;
use anyhow::{Result, bail};

/// Weaves and prints; needs neither state nor secrets.
pub fn run(args: &GraphArgs) -> Result<bool> {
    let compiler = Compiler::load(&args.dir.dir)?;
    let Woven { mut graphs, findings, .. } = compiler.weave();
    if let Some(name) = &args.platform {
        if !compiler.model.ecosystem.platforms.iter().any(|platform| platform.name.as_str() == name) {
            bail!("there is no platform {name:?} in the ecosystem");
        }
        graphs.retain(|graph| graph.platform.as_str() == name);
    }
    let format = match args.format {
        GraphFormat::Text => levada_planner::GraphFormat::Text,
        GraphFormat::Mermaid => levada_planner::GraphFormat::Mermaid,
        GraphFormat::Dot => levada_planner::GraphFormat::Dot,
        GraphFormat::Json => levada_planner::GraphFormat::Json,
    };
    show::data(levada_planner::graph::format::write(&graphs, format).trim_end());
    Ok(compiler.accept(&findings))
}
