//! How much of an account's quotas a platform uses, cell by cell: a report for people, and what is
//! too much.
//!
//! The limits are AWS's defaults per account and region (DMS user guide, "Quotas").

use super::layout::{Layout, stack_of};
use super::settings::AwsSettings;
use std::collections::BTreeMap;

/// Resources a stack should hold at most.
pub const STACK_RESOURCES_MAX: usize = 300;
/// Resources a stack may hold.
pub const STACK_RESOURCES_LIMIT: usize = 500;

const DMS_ENDPOINTS: usize = 1_000;
const DMS_TASKS: usize = 600;
const DMS_INSTANCES: usize = 60;

/// What a cell needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Quota {
    /// DMS endpoints: one for each source, and one for staging.
    pub endpoints: usize,
    /// DMS tasks.
    pub tasks: usize,
    /// DMS instances.
    pub instances: usize,
}

/// One quota.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line {
    /// Of what.
    pub what: &'static str,
    /// How many are needed.
    pub used: usize,
    /// How many there may be.
    pub limit: usize,
}

impl Quota {
    /// What each cell needs, by its name.
    pub fn of_cells<'s>(platform: &str, settings: &'s AwsSettings, layout: &Layout<'_>) -> BTreeMap<&'s str, Self> {
        let start = Self { endpoints: 1, tasks: 0, instances: settings.instances as usize };
        let mut cells: BTreeMap<&str, Self> = settings.cells.keys().map(|name| (name.as_str(), start)).collect();
        for (name, _) in layout.stores.iter().filter(|(_, store)| store.source().is_some()) {
            let (cell, _) = settings.cell_of(stack_of(platform, name.as_str(), settings));
            let quota = cells.entry(cell).or_default();
            quota.endpoints += 1;
            quota.tasks += 1;
        }
        cells
    }

    /// All of them.
    pub fn lines(&self) -> [Line; 3] {
        [
            Line { what: "DMS endpoints", used: self.endpoints, limit: DMS_ENDPOINTS },
            Line { what: "DMS tasks", used: self.tasks, limit: DMS_TASKS },
            Line { what: "DMS instances", used: self.instances, limit: DMS_INSTANCES },
        ]
    }

    /// Those that are not enough.
    pub fn exceeded(&self) -> impl Iterator<Item = Line> {
        self.lines().into_iter().filter(|line| line.used > line.limit)
    }
}

/// The report, in Markdown. Numbers that change with every store stay out of it, but for what a
/// quota is about.
pub fn report(platform: &str, settings: &AwsSettings, layout: &Layout<'_>) -> String {
    let mut text = String::from(
        "# Quotas\n\nWhat each cell needs of its account's quotas in its region (AWS's defaults).\n\n| cell | quota | needed | of |\n|---|---|---|---|\n",
    );
    for (cell, quota) in Quota::of_cells(platform, settings, layout) {
        for line in quota.lines() {
            text.push_str(&format!("| {cell} | {} | {} | {} |\n", line.what, line.used, line.limit));
        }
    }
    let sources = layout.stores.values().filter(|store| store.source().is_some()).count();
    text.push_str(&format!(
        "\nThe platform's own account: {sources} schedules of 1,000,000; up to {} Glue runs at once (`runs_max`), {} workers each.\n",
        settings.runs_max, settings.workers
    ));
    text
}
