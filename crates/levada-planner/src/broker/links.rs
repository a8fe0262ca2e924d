//! Links between platforms need a feed that both have.

use super::{Assignment, Table};
use crate::lint::codes;
use levada_model::name::PlatformName;
use levada_model::{Address, Finding, Findings, Span};
use std::collections::BTreeMap;

/// Reports every pair of platforms that would have to link and share no feed, once per datastore.
pub(super) fn check(table: &Table<'_>, assignment: &Assignment, findings: &mut Findings) {
    let mut wanted: BTreeMap<(PlatformName, u32), (Address, Span)> = BTreeMap::new();
    for (workspace_id, workspace) in table.model.workspaces.iter().enumerate() {
        let output =
            table.bindings.output_of_workspace[workspace_id].map(|id| &table.model.datastores[id as usize].name);
        let runs_on =
            output.and_then(|name| assignment.primaries.get(name)).and_then(|choice| choice.platform.as_ref());
        for of in &table.bindings.uses_of_workspace[workspace_id] {
            let group = &workspace.groups[of.group.group as usize];
            let choice = assignment.groups.get(&(workspace.name.clone(), group.name.clone()));
            let delivering = choice.into_iter().flat_map(|choice| &choice.platforms).map(|chosen| &chosen.platform);
            for platform in delivering.chain(runs_on) {
                wanted
                    .entry((platform.clone(), of.dataset.store))
                    .or_insert_with(|| (Address::Group(workspace.name.clone(), group.name.clone()), group.span));
            }
        }
    }
    for ((platform, store), (address, span)) in wanted {
        let store = &table.model.datastores[store as usize];
        let primary = assignment.primaries.get(&store.name).and_then(|choice| choice.platform.as_ref());
        let Some(primary) = primary.filter(|primary| **primary != platform) else { continue };
        if !shares_feed(table, &platform, primary) {
            let message = format!(
                "platform {:?} would receive datastore {} from its primary {:?}, but they share no feed",
                platform.as_str(),
                store.name,
                primary.as_str()
            );
            let hint = "pin the group or the primary so that both are on platforms of one kind";
            findings.push(Finding::error(codes::NO_COMMON_FEED, message).at(span).about(address).hint(hint));
        }
    }
}

fn shares_feed(table: &Table<'_>, one: &PlatformName, other: &PlatformName) -> bool {
    let capabilities =
        |name| table.model.platform_id(name).and_then(|id| table.platforms[id as usize].capabilities.as_ref());
    match (capabilities(one), capabilities(other)) {
        (Some(one), Some(other)) => one.shares_feed(other),
        // A pin on a kind without renderer is reported as such.
        _ => true,
    }
}
