//! How much more, or less, a plan lets run: pulls of sources, and jobs in all.

use crate::blueprint::{Blueprint, IngestOrigin, IngestSpec, Node, NodeSpec};
use crate::diff::{Delta, NodeChange};
use levada_model::address::{NodeAddress, Stream};
use levada_model::model::{Cron, IngestKind, Style, TransformTrigger};
use levada_model::name::{ContainerName, PlatformName};
use levada_model::schedule::Schedule;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// From when ticks are counted: the first Monday of the year 2001, in µs since 1970.
const FROM: i64 = 978_307_200_000_000;
const DAY: i64 = 86_400_000_000;
/// In days.
const WEEK: i64 = 7;
/// How many ticks are counted before their pace tells the rest.
const TICKS_MAX: i64 = 1_200;
/// Every ten minutes: what has no trigger and is not continuous.
const PULLS_A_DAY: i64 = 144;

/// What changed nodes run in a day, before and after, at most: a pull that finds nothing new has no
/// followers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Load {
    /// By producer's container: pulls a day, where they are different.
    pub pulls: BTreeMap<ContainerName, FromTo>,
    /// By producer's container: continuous readers, where they are different.
    pub continuous: BTreeMap<ContainerName, FromTo>,
    /// Jobs a day of all changed nodes.
    pub jobs: FromTo,
}

/// A number as it is and as it shall be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct FromTo {
    pub from: i64,
    pub to: i64,
}

impl Load {
    /// Whether producers have more to bear.
    pub fn is_heavier(&self) -> bool {
        self.pulls.values().chain(self.continuous.values()).any(|it| it.to > it.from)
    }

    /// Compares what changed nodes run. Linear in the delta and in the nodes that may feed it.
    pub(super) fn of(delta: &Delta, parent: Option<&Blueprint>, around: &Blueprint) -> Self {
        let mut clock = Clock::default();
        let mut load = Self::default();
        let before = delta.changes.values().filter_map(NodeChange::before);
        let after = delta.changes.values().filter_map(NodeChange::after);
        let new = pulls(around, &mut clock);
        // What a part of the parent does not have is as it was.
        let mut old = new.clone();
        old.extend(parent.map(|parent| pulls(parent, &mut clock)).unwrap_or_default());
        load.count(before, &old, &mut clock, |it| &mut it.from);
        load.count(after, &new, &mut clock, |it| &mut it.to);
        load.pulls.retain(|_, it| it.from != it.to);
        load.continuous.retain(|_, it| it.from != it.to);
        load
    }

    fn count<'n>(
        &mut self,
        nodes: impl Iterator<Item = &'n Node>,
        pulls: &HashMap<&Stream, i64>,
        clock: &mut Clock,
        side: fn(&mut FromTo) -> &mut i64,
    ) {
        let mut deliveries: BTreeSet<(&PlatformName, &ContainerName, &Stream)> = BTreeSet::new();
        for node in nodes {
            match (&node.address, &node.spec) {
                (_, NodeSpec::Ingest(spec)) => {
                    let Some(pulls) = clock.pulls(spec) else { continue };
                    *side(&mut self.jobs) += pulls.unwrap_or(1);
                    if let IngestOrigin::Container { connection, .. } = &spec.origin {
                        let container = connection.container.clone();
                        match pulls {
                            Some(pulls) => *side(self.pulls.entry(container).or_default()) += pulls,
                            None => *side(self.continuous.entry(container).or_default()) += 1,
                        }
                    }
                }
                // What is due together for one container is one job.
                (NodeAddress::Export(platform, container, _), NodeSpec::Export(spec)) => {
                    deliveries.insert((platform, container, &spec.stream));
                }
                (_, NodeSpec::Trigger(spec)) => {
                    let fired = match &spec.trigger {
                        TransformTrigger::Cron(trigger) => clock.ticks(&trigger.cron),
                        TransformTrigger::OnChange => {
                            let streams: BTreeSet<&Stream> = spec.inputs.iter().map(|input| &input.stream).collect();
                            streams.into_iter().filter_map(|stream| pulls.get(stream)).sum()
                        }
                    };
                    // It fires, the transformer runs, and its output is committed.
                    *side(&mut self.jobs) += 2 * fired;
                }
                _ => {}
            }
        }
        *side(&mut self.jobs) += deliveries.iter().filter_map(|(_, _, stream)| pulls.get(stream)).sum::<i64>();
    }
}

/// How often each stream of a blueprint is pulled in a day; a continuous one counts once a minute.
fn pulls<'b>(blueprint: &'b Blueprint, clock: &mut Clock) -> HashMap<&'b Stream, i64> {
    let ingests = blueprint.nodes.values().filter_map(|node| match &node.spec {
        NodeSpec::Ingest(spec) => Some(spec),
        _ => None,
    });
    ingests.filter_map(|spec| Some((&spec.stream, clock.pulls(spec)?.unwrap_or(1_440)))).collect()
}

/// Ticks a day, each schedule counted once.
#[derive(Default)]
struct Clock {
    ticks: HashMap<Cron, i64>,
}

impl Clock {
    /// Pulls a day; `Some(None)`: it is continuous. `None`: it runs after a transformer.
    fn pulls(&mut self, spec: &IngestSpec) -> Option<Option<i64>> {
        match &spec.origin {
            IngestOrigin::Transformer { .. } => None,
            IngestOrigin::Container { trigger: Some(trigger), .. } => Some(Some(self.ticks(&trigger.cron))),
            IngestOrigin::Container { ingest, .. } => {
                let is_continuous = spec.style == Style::Streaming && matches!(ingest, IngestKind::Cdc { .. });
                Some((!is_continuous).then_some(PULLS_A_DAY))
            }
        }
    }

    fn ticks(&mut self, cron: &Cron) -> i64 {
        *self.ticks.entry(cron.clone()).or_insert_with(|| {
            let Ok(schedule) = Schedule::parse(cron) else { return 0 };
            match count(&schedule, WEEK) {
                // Rare ticks need a longer look; half a tick a day is one.
                few if few < 7 => (count(&schedule, 4 * WEEK) + 27) / 28,
                many => (many + 6) / 7,
            }
        })
    }
}

/// Ticks in so many days, or as many as it comes to at the pace of the first [`TICKS_MAX`].
fn count(schedule: &Schedule, days: i64) -> i64 {
    let next = |at: i64| schedule.next_after(at).filter(|next| *next < FROM + days * DAY);
    let Some(first) = next(FROM - 1) else { return 0 };
    let (mut at, mut ticks) = (first, 1);
    while let Some(tick) = next(at) {
        (at, ticks) = (tick, ticks + 1);
        if ticks == TICKS_MAX {
            return (ticks - 1) * days * DAY / (at - first);
        }
    }
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_a_day_are_those_of_a_week() {
        let mut clock = Clock::default();
        let mut ticks = |expression: &str| clock.ticks(&Cron { expression: expression.to_owned(), timezone: None });
        assert_eq!(ticks("*/10 * * * *"), 144);
        assert_eq!(ticks("* * * * *"), 1_440);
        assert_eq!(ticks("0 3 * * *"), 1);
        assert_eq!(ticks("0 3 1 * *"), 1, "a tick a month is one a day at most");
        assert_eq!(ticks("0 9-16 * * MON-FRI"), 6);
        assert_eq!(ticks("0 0 30 2 *"), 0);
    }
}
