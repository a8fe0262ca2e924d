//! `levada explain`: why something is as it is.

use crate::cli::{ExplainArgs, Format};
use crate::compile::Compiler;
use crate::show;
use anyhow::Result;
use levada_model::Address;

/// Explains any address; needs neither state nor secrets.
pub fn run(args: &ExplainArgs) -> Result<bool> {
    let compiler = Compiler::load(&args.dir.dir)?;
    let address: Address = args.address.parse()?;
    let Some(outcome) = compiler.plan(None) else { return Ok(false) };
    let explanation = levada_planner::explain(&compiler.model, &outcome.assignment, &outcome.graphs, &address)?;
    match args.format {
        Format::Text => show::data(levada_planner::explain::write::text(&explanation).trim_end()),
        Format::Json => show::json(&explanation),
    }
    Ok(true)
}
