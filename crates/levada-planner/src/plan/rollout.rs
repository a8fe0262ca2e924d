//! When and by whose leave each platform takes a plan up.

use crate::diff::Delta;
use levada_model::Model;
use levada_model::model::Windows;
use levada_model::name::PlatformName;
use levada_model::schedule::next_open;
use serde::Serialize;
use std::collections::BTreeMap;

/// How one platform takes up what a plan changes for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Rollout {
    /// The platform.
    pub platform: PlatformName,
    /// How many of its nodes change.
    pub nodes: usize,
    /// The branch that it follows; `None`: whatever is applied.
    pub branch: Option<String>,
    /// Whether somebody has to agree.
    pub needs_approval: bool,
    /// The calendar whose windows it waits for; `None`: it takes everything up at once.
    pub calendar: Option<String>,
    /// The windows, with their time zone.
    #[serde(skip)]
    pub windows: Option<(Windows, Option<String>)>,
}

impl Rollout {
    /// When its next window opens, µs since 1970, at or after `now`; `None`: it has no windows, or none
    /// ever opens.
    pub fn opens_at(&self, now: i64) -> Option<i64> {
        let (windows, timezone) = self.windows.as_ref()?;
        next_open(windows, timezone.as_deref(), now)
    }
}

/// The platforms with changes, by name.
pub(super) fn of(model: &Model, delta: &Delta, moved: &[PlatformName]) -> Vec<Rollout> {
    let mut counts: BTreeMap<&PlatformName, usize> = moved.iter().map(|platform| (platform, 0)).collect();
    delta.changes.keys().for_each(|address| *counts.entry(address.platform()).or_default() += 1);
    let rollout = |(platform, nodes): (&PlatformName, usize)| {
        let follow = model.platform(platform).and_then(|entry| entry.follow.as_ref());
        let calendar = follow.and_then(|follow| follow.calendar.as_ref()).map(|calendar| &calendar.value);
        let windows = calendar.and_then(|name| model.calendar(name));
        Rollout {
            platform: platform.clone(),
            nodes,
            branch: follow.map(|follow| follow.branch.clone()),
            needs_approval: follow.is_some_and(|follow| follow.approval_required),
            calendar: calendar.map(ToString::to_string),
            windows: windows.map(|calendar| (calendar.windows.clone(), calendar.timezone.clone())),
        }
    };
    counts.into_iter().map(rollout).collect()
}
