//! A stack: some datastores with a state of their own.

use super::layout::{self, Store};
use super::roots::{Root, home};
use super::settings::{AwsSettings, Cell};
use super::store::StoreFile;
use crate::terraform::{Block, Expression, print};
use levada_model::Model;
use levada_model::model::PlatformEntry;
use levada_model::name::DatastoreName;

/// The files of one stack: its own and one for each datastore.
pub(super) fn files(
    model: &Model,
    entry: &PlatformEntry,
    settings: &AwsSettings,
    number: u32,
    stores: &[(&DatastoreName, &Store<'_>)],
    leaving: &[(&DatastoreName, &Store<'_>)],
) -> Vec<(String, String)> {
    let folder = format!("stacks/{number:03}");
    let (_, cell) = settings.cell_of(number);
    let root = Root { entry, settings, folder: folder.clone(), cell: Some(cell) };
    let mut blocks = root.header();
    if !stores.is_empty() {
        let reads_sources = stores.iter().any(|(_, store)| store.source().is_some());
        blocks.extend(lookups(settings, cell, reads_sources));
    }
    let mut files = vec![(format!("{folder}/main.tf"), print(&blocks))];
    for (name, store) in leaving {
        let file = StoreFile { model, platform: entry.name.as_str(), settings, cell, name, store };
        files.push((format!("{folder}/leaves_{name}.tf"), print(&file.leaving())));
    }
    for (name, store) in stores {
        let file = StoreFile { model, platform: entry.name.as_str(), settings, cell, name, store };
        // `main` is a name that a datastore may have.
        files.push((format!("{folder}/store_{name}.tf"), print(&file.blocks())));
        if layout::moves_from(entry.name.as_str(), name.as_str(), settings).is_some() {
            files.push((format!("{folder}/joins_{name}.tf"), print(&file.joining())));
        }
    }
    files
}

/// What other roots made, by its name.
fn lookups(settings: &AwsSettings, cell: &Cell, reads_sources: bool) -> Vec<Block> {
    let name = |suffix: &str| Expression::template(&format!("{{}}{suffix}"), &["local.name"]);
    let key =
        Block::new("data", ["aws_kms_key", "home"]).with("key_id", Expression::template("alias/{}", &["local.name"]));
    let mut blocks = vec![home(key, settings, cell)];
    if reads_sources {
        let own = Expression::template("alias/{}-cell", &["local.name"]);
        blocks.push(Block::new("data", ["aws_kms_key", "cell"]).with("key_id", own));
        blocks.push(Block::new("data", ["aws_dms_endpoint", "staging"]).with("endpoint_id", name("-staging")));
        let id = Expression::template("{}-{}", &["local.name", "count.index"]);
        blocks.push(
            Block::new("data", ["aws_dms_replication_instance", "reader"])
                .with("count", Expression::Integer(i64::from(settings.instances)))
                .with("replication_instance_id", id),
        );
    }
    blocks
}
