//! How much each workspace matters, counting all that depend on it.

use crate::binding::Bindings;
use levada_model::Model;
use levada_model::model::Priority;

/// Per workspace: its own priority, or that of the most important workspace that consumes its
/// transformer's output, through any chain.
///
/// From the highest priority down, each workspace lifts the producers behind its inputs that
/// nobody lifted yet: linear in sinks, cycles or not.
pub(crate) fn of_workspaces(model: &Model, bindings: &Bindings) -> Vec<Priority> {
    let mut lifted: Vec<Option<Priority>> = vec![None; model.workspaces.len()];
    for priority in [Priority::Critical, Priority::High, Priority::Medium, Priority::Low] {
        let of_this = |(_, workspace): &(u32, &levada_model::model::Workspace)| workspace.priority == priority;
        let mut open: Vec<u32> = (0..).zip(&model.workspaces).filter(of_this).map(|(id, _)| id).collect();
        while let Some(workspace) = open.pop() {
            if lifted[workspace as usize].is_some() {
                continue;
            }
            lifted[workspace as usize] = Some(priority);
            let inputs = bindings.uses_of_workspace[workspace as usize].iter();
            open.extend(inputs.filter_map(|of| bindings.transformer_of_store[of.dataset.store as usize]));
        }
    }
    lifted.into_iter().map(Option::unwrap_or_default).collect()
}
