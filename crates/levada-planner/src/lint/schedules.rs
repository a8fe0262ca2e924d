//! Schedules and windows that have the right form and never come, or end before they begin.
//!
//! Nothing here reads a clock: ticks are looked for from a fixed day on.

use super::{Context, codes};
use levada_model::model::{Cron, CronTrigger, IngestKind, Origin, TransformTrigger, Window};
use levada_model::schedule::{Schedule, parse_date};
use levada_model::{Address, Finding, Findings, Span};
use std::collections::HashMap;

/// The first moment of the year 2000, in µs since 1970: a leap year follows at once.
const FROM: i64 = 946_684_800_000_000;

/// How many ticks are looked at for the shortest time between two.
const TICKS_LOOKED_AT: usize = 32;

pub(super) fn check(context: &Context<'_>, findings: &mut Findings) {
    let mut pass = Pass { findings, gaps: HashMap::new() };
    for store in &context.model.datastores {
        let Origin::Container { ingest, .. } = &store.origin else { continue };
        let about = Address::Datastore(store.name.clone());
        if let Some(trigger) = &ingest.trigger {
            pass.trigger(trigger, ingest.span, &about);
        }
        if let IngestKind::Watermark { deletes: Some(deletes), .. } = &ingest.kind {
            pass.ticks(deletes, ingest.span, &about);
        }
    }
    for workspace in &context.model.workspaces {
        if let Some(transformer) = &workspace.transformer
            && let TransformTrigger::Cron(trigger) = &transformer.trigger
        {
            pass.trigger(trigger, transformer.span, &Address::Transformer(workspace.name.clone()));
        }
    }
    for calendar in &context.model.calendars {
        for window in calendar.windows.allow.iter().chain(&calendar.windows.deny) {
            pass.window(window, calendar.name.as_str(), calendar.span);
        }
    }
}

struct Pass<'p> {
    findings: &'p mut Findings,
    /// The shortest time between two ticks, in µs, each schedule looked at once; `None`: it never
    /// ticks. Few schedules serve many datastores.
    gaps: HashMap<Cron, Option<i64>>,
}

impl Pass<'_> {
    fn trigger(&mut self, trigger: &CronTrigger, span: Span, about: &Address) {
        let Some(gap) = self.ticks(&trigger.cron, span, about) else { return };
        let Some(jitter) = trigger.jitter else { return };
        if jitter.approximate_seconds().saturating_mul(1_000_000) > gap.unsigned_abs() {
            let message = format!("a jitter of {jitter} is longer than the time between two ticks");
            let finding = Finding::warning(codes::JITTER_LONG, message).at(span).about(about.clone());
            self.findings.push(finding.hint("ticks pass each other; make it shorter"));
        }
    }

    /// Reports a schedule that never ticks; gives the shortest time between two ticks of another.
    fn ticks(&mut self, cron: &Cron, span: Span, about: &Address) -> Option<i64> {
        let gap = *self.gaps.entry(cron.clone()).or_insert_with(|| shortest_gap(cron));
        if gap.is_none() {
            let message = format!("{:?} never ticks", cron.expression);
            let finding = Finding::error(codes::NEVER_TICKS, message).at(span).about(about.clone());
            self.findings.push(finding.hint("no year has such a day"));
        }
        gap
    }

    fn window(&mut self, window: &Window, calendar: &str, span: Span) {
        let message = match window {
            Window::Cron { expression, lasts } if lasts.count == 0 => {
                format!("the window {expression:?} of calendar {calendar:?} lasts no time")
            }
            Window::Cron { expression, .. } => {
                let cron = Cron { expression: expression.clone(), timezone: None };
                if self.gaps.entry(cron.clone()).or_insert_with(|| shortest_gap(&cron)).is_some() {
                    return;
                }
                let message = format!("the window {expression:?} of calendar {calendar:?} never opens");
                let finding = Finding::error(codes::NEVER_TICKS, message).at(span);
                return self.findings.push(finding.hint("no year has such a day"));
            }
            Window::Dates { from, to } => match (parse_date(from), parse_date(to)) {
                (Some(begins), Some(ends)) if begins >= ends => {
                    format!("the window from {from} to {to} of calendar {calendar:?} ends before it begins")
                }
                _ => return,
            },
        };
        let finding = Finding::error(codes::WINDOW_EMPTY, message).at(span);
        self.findings.push(finding.hint("`to` is the day after the last one; `lasts` is longer than nothing"));
    }
}

/// The shortest time between ticks that follow each other; `None` where there are none. A schedule
/// that can't be read was reported by the reader, and counts as one that ticks rarely.
fn shortest_gap(cron: &Cron) -> Option<i64> {
    let Ok(schedule) = Schedule::parse(cron) else { return Some(i64::MAX) };
    let mut last = schedule.next_after(FROM)?;
    let mut shortest = i64::MAX;
    for _ in 0..TICKS_LOOKED_AT {
        let Some(next) = schedule.next_after(last) else { break };
        shortest = shortest.min(next - last);
        last = next;
    }
    Some(shortest)
}
