//! `levada explain`: why something is as it is; of a model with errors, as far as it goes.

use crate::cli::{ExplainArgs, Format};
use crate::compile::{Compiler, Woven};
use crate::show;
use anyhow::Result;
use levada_model::Address;

/// Explains any address; needs neither state nor secrets.
pub fn run(args: &ExplainArgs) -> Result<bool> {
    let compiler = Compiler::load(&args.dir.dir)?;
    let address: Address = args.address.parse()?;
    let Woven { assignment, graphs, findings } = compiler.weave();
    let is_accepted = compiler.accept(&findings);
    let explanation = levada_planner::explain(&compiler.model, &assignment, &graphs, &address)?;
    match args.format {
        Format::Text => show::data(levada_planner::explain::write::text(&explanation).trim_end()),
        Format::Json => show::json(&explanation),
    }
    Ok(is_accepted)
}
