//! When a node's next regular turn is.

use levada_model::model::{Cron, CronTrigger, IngestKind, Style, TransformTrigger};
use levada_model::period::{Period, PeriodUnit};
use levada_model::schedule;
use levada_planner::blueprint::{CalendarSpec, DeliveredReading, ExportSpec, IngestOrigin, IngestSpec, ViewSpec};
use levada_planner::{Node, NodeSpec};

/// The µs of a day.
pub(crate) const DAY_US: i64 = 86_400_000_000;

/// Over how much of a day the turns of exports are spread that let their histories age, in µs.
const AGING_SPREAD_US: u64 = 3_600_000_000;

/// How often a source without a trigger is read, in µs.
const DEFAULT_INTERVAL_US: i64 = 600_000_000;

/// How long a stream without an end rests when its retries have ended, in µs.
const CONTINUOUS_REST_US: i64 = 5_000_000;

/// The next regular turn after `now`, in µs; `None`: it has none and waits for its inputs.
pub fn next_turn(node: &Node, now: i64) -> Option<i64> {
    let at = match &node.spec {
        NodeSpec::Ingest(spec) => match &spec.origin {
            IngestOrigin::Container { trigger: Some(trigger), .. } => {
                next_tick(trigger, &node.address.to_string(), now)?
            }
            IngestOrigin::Container { trigger: None, .. } if is_continuous(spec) => now,
            IngestOrigin::Container { trigger: None, .. } => now + DEFAULT_INTERVAL_US,
            IngestOrigin::Transformer { .. } => return None,
        },
        NodeSpec::Trigger(spec) => match &spec.trigger {
            TransformTrigger::Cron(trigger) => next_tick(trigger, &node.address.to_string(), now)?,
            TransformTrigger::OnChange => return None,
        },
        NodeSpec::Export(spec) => next_aging(spec, &node.address.to_string(), now)?,
        NodeSpec::Link(_) | NodeSpec::Transform(_) => return None,
    };
    next_open(calendars(node), at)
}

/// Whether a node's stream is read without an end.
pub fn is_continuous(spec: &IngestSpec) -> bool {
    let IngestOrigin::Container { ingest, trigger, .. } = &spec.origin else { return false };
    spec.style == Style::Streaming && trigger.is_none() && matches!(ingest, IngestKind::Cdc { .. })
}

/// When a node whose retries have ended is tried again; an export has to deliver, and its next
/// regular turn only lets its history age. A stream without an end has its turn always: it rests.
pub fn turn_after_failure(node: &Node, now: i64) -> i64 {
    let pause = now + crate::retry::PAUSE_MS_MAX * 1_000;
    match &node.spec {
        NodeSpec::Export(_) => pause,
        NodeSpec::Ingest(spec) if is_continuous(spec) => next_turn(node, now + CONTINUOUS_REST_US).unwrap_or(pause),
        _ => next_turn(node, now).unwrap_or(pause),
    }
}

/// When the views on a history hide what has become too old: within the first hour of each day (UTC),
/// each export at a moment of its own. `None`: nothing gets too old.
fn next_aging(spec: &ExportSpec, salt: &str, now: i64) -> Option<i64> {
    let ages = |view: &ViewSpec| view.reading == DeliveredReading::History && view.retention.is_some();
    let shift = spread(salt, AGING_SPREAD_US);
    let day = (now - shift).div_euclid(DAY_US) + 1;
    spec.views.iter().any(ages).then_some(day * DAY_US + shift)
}

/// The calendars that bind a node.
pub fn calendars(node: &Node) -> &[CalendarSpec] {
    match &node.spec {
        NodeSpec::Ingest(spec) => match &spec.origin {
            IngestOrigin::Container { calendars, .. } => calendars,
            IngestOrigin::Transformer { .. } => &[],
        },
        NodeSpec::Export(spec) => &spec.calendars,
        NodeSpec::Link(_) | NodeSpec::Trigger(_) | NodeSpec::Transform(_) => &[],
    }
}

/// Whether the calendars of a node let it run at a moment.
pub(crate) fn may_run(node: &Node, at: i64) -> bool {
    next_open(calendars(node), at) == Some(at)
}

/// The first moment from `at` on at which every calendar is open; `None`: never.
pub fn next_open(calendars: &[CalendarSpec], at: i64) -> Option<i64> {
    let mut at = at;
    // Each pass moves to the opening of a calendar that is closed; calendars that never overlap
    // would move for ever, so the search ends after a fixed number of openings.
    for _ in 0..OPENINGS_MAX {
        let closed = calendars.iter().find(|calendar| !is_open(calendar, at));
        match closed {
            None => return Some(at),
            Some(calendar) => at = schedule::next_open(&calendar.windows, calendar.timezone.as_deref(), at)?,
        }
    }
    None
}

/// How many openings are tried before calendars count as never open together.
const OPENINGS_MAX: usize = 1_000;

fn is_open(calendar: &CalendarSpec, at: i64) -> bool {
    schedule::is_open(&calendar.windows, calendar.timezone.as_deref(), at)
}

fn next_tick(trigger: &CronTrigger, salt: &str, now: i64) -> Option<i64> {
    let spread_us = trigger.jitter.map_or(0, |jitter| jitter.approximate_seconds().saturating_mul(1_000_000));
    let jitter = spread(salt, spread_us);
    Some(schedule::next_after(&trigger.cron, now - jitter)? + jitter)
}

/// A shift below `spread_us` that is always the same for one salt, in µs.
fn spread(salt: &str, spread_us: u64) -> i64 {
    match spread_us {
        0 => 0,
        spread_us => (xxhash_rust::xxh3::xxh3_64(salt.as_bytes()) % spread_us).cast_signed(),
    }
}

/// Whether a tick of `cron` lies after `from` and not after `now`.
pub fn has_ticked(cron: &Cron, from: i64, now: i64) -> bool {
    schedule::next_after(cron, from).is_some_and(|tick| tick <= now)
}

/// The moment one calendar period before `at`, in µs; months and years follow the UTC calendar.
pub fn before(at: i64, period: Period) -> i64 {
    // A period that reaches before the calendar's beginning keeps everything.
    shifted(at, period, -1).unwrap_or(i64::MIN / 2)
}

/// The moment one calendar period after `at`, in µs.
pub fn after(at: i64, period: Period) -> i64 {
    shifted(at, period, 1).unwrap_or(i64::MAX)
}

fn shifted(at: i64, period: Period, direction: i64) -> Option<i64> {
    let count = i64::from(period.count) * direction;
    let span = match period.unit {
        PeriodUnit::Seconds => jiff::Span::new().try_seconds(count),
        PeriodUnit::Minutes => jiff::Span::new().try_minutes(count),
        PeriodUnit::Hours => jiff::Span::new().try_hours(count),
        PeriodUnit::Days => jiff::Span::new().try_days(count),
        PeriodUnit::Weeks => jiff::Span::new().try_weeks(count),
        PeriodUnit::Months => jiff::Span::new().try_months(count),
        PeriodUnit::Years => jiff::Span::new().try_years(count),
    };
    let at = jiff::Timestamp::from_microsecond(at).ok()?.to_zoned(jiff::tz::TimeZone::UTC);
    Some(at.checked_add(span.ok()?).ok()?.timestamp().as_microsecond())
}
