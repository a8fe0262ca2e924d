//! Cron expressions, time zones and windows: what the model says about time, evaluated.
//!
//! Every function takes the moment it asks about; none reads a clock. Time zones come from the
//! bundled database, so that every machine answers the same. Moments are µs since 1970 in UTC.

use crate::model::{Cron, Window, Windows};
use crate::period::{Period, PeriodUnit};
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp, Zoned};

/// A schedule of the model can't be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Not a cron expression.
    #[error("{expression:?} is not a cron expression: {reason}")]
    Cron {
        /// As written.
        expression: String,
        /// What the parser says.
        reason: String,
    },
    /// Not a time zone of the IANA database.
    #[error("{0:?} is not a time zone")]
    TimeZone(String),
    /// Not a date of the calendar.
    #[error("{0:?} is not a date")]
    Date(String),
}

impl ScheduleError {
    /// What to write instead.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Cron { .. } => "five fields, minute hour day month weekday, such as `*/10 * * * *`",
            Self::TimeZone(_) => "names come from the IANA database, such as `Europe/Lisbon`",
            Self::Date(_) => "year, month and day, such as `2026-05-01`",
        }
    }
}

/// Parses a cron expression of five fields.
///
/// # Errors
/// The expression and what is wrong with it.
pub fn parse_cron(expression: &str) -> Result<croner::Cron, ScheduleError> {
    let error = |reason: String| ScheduleError::Cron { expression: expression.to_owned(), reason };
    let field_count = expression.split_whitespace().count();
    if field_count != 5 && !expression.trim_start().starts_with('@') {
        return Err(error(format!("it has {field_count} fields instead of five")));
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser.parse(expression).map_err(|fault| error(fault.to_string()))
}

/// Finds a time zone by its IANA name.
///
/// # Errors
/// The name, where the database does not have it.
pub fn parse_time_zone(name: &str) -> Result<TimeZone, ScheduleError> {
    TimeZoneDatabase::bundled().get(name).map_err(|_| ScheduleError::TimeZone(name.to_owned()))
}

/// Parses `2026-05-01`; `None` where the calendar has no such day.
pub fn parse_date(text: &str) -> Option<Date> {
    let has_form = text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    if has_form { text.parse().ok() } else { None }
}

/// A cron expression in its time zone, parsed once.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: croner::Cron,
    time_zone: TimeZone,
}

impl Schedule {
    /// Parses both parts; no time zone is UTC.
    ///
    /// # Errors
    /// The part that can't be read.
    pub fn parse(cron: &Cron) -> Result<Self, ScheduleError> {
        Self::new(&cron.expression, time_zone(cron.timezone.as_deref())?)
    }

    fn new(expression: &str, time_zone: TimeZone) -> Result<Self, ScheduleError> {
        Ok(Self { cron: parse_cron(expression)?, time_zone })
    }

    /// The first tick after `at`; `None` where there never is one, or beyond the year 9999.
    ///
    /// Ticks that a clock change skips come right after it; ticks at a fixed hour that it would
    /// repeat come once.
    pub fn next_after(&self, at: i64) -> Option<i64> {
        let tick = self.cron.find_next_occurrence(&self.zoned(at)?, false).ok()?;
        Some(tick.timestamp().as_microsecond()).filter(|tick| *tick > at)
    }

    /// The last tick at or before `at`; `None` where there never was one.
    pub fn last_until(&self, at: i64) -> Option<i64> {
        let tick = self.cron.find_previous_occurrence(&self.zoned(at)?, true).ok()?;
        Some(tick.timestamp().as_microsecond()).filter(|tick| *tick <= at)
    }

    fn zoned(&self, at: i64) -> Option<Zoned> {
        zoned(at, &self.time_zone)
    }
}

/// The first tick of a cron expression after `at`. Whoever asks more than once keeps a [`Schedule`].
pub fn next_after(cron: &Cron, at: i64) -> Option<i64> {
    Schedule::parse(cron).ok()?.next_after(at)
}

fn zoned(at: i64, time_zone: &TimeZone) -> Option<Zoned> {
    Some(Timestamp::from_microsecond(at).ok()?.to_zoned(time_zone.clone()))
}

fn time_zone(name: Option<&str>) -> Result<TimeZone, ScheduleError> {
    name.map_or(Ok(TimeZone::UTC), parse_time_zone)
}

/// A moment as people read it, to the minute, in UTC.
pub fn in_words(at: i64) -> String {
    let at = Timestamp::from_microsecond(at).ok();
    at.map_or_else(|| "?".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

/// How often a search for an open window looks at the next change before it gives up.
const CHANGES_MAX: usize = 10_000;

/// Whether the windows are open at `at`; `timezone` is the calendar's, `None` is UTC.
///
/// Windows that can't be evaluated, which the reader of the model lets never pass, are closed.
pub fn is_open(windows: &Windows, timezone: Option<&str>, at: i64) -> bool {
    Openings::parse(windows, timezone).is_ok_and(|openings| openings.is_open(at))
}

/// The first moment at or after `at` when the windows are open; `None` where they never are again.
pub fn next_open(windows: &Windows, timezone: Option<&str>, at: i64) -> Option<i64> {
    Openings::parse(windows, timezone).ok()?.next_open(at)
}

/// Windows in their time zone, parsed once.
#[derive(Debug, Clone)]
pub struct Openings {
    time_zone: TimeZone,
    allow: Vec<Stretch>,
    deny: Vec<Stretch>,
}

/// A window that can be asked.
#[derive(Debug, Clone)]
enum Stretch {
    Ticks { schedule: Box<Schedule>, lasts: Period },
    Days { from: i64, to: i64 },
}

impl Openings {
    /// Parses all windows.
    ///
    /// # Errors
    /// A window or the time zone that can't be read.
    pub fn parse(windows: &Windows, timezone: Option<&str>) -> Result<Self, ScheduleError> {
        let time_zone = time_zone(timezone)?;
        let stretches = |windows: &[Window]| -> Result<Vec<Stretch>, ScheduleError> {
            windows.iter().map(|window| Stretch::parse(window, &time_zone)).collect()
        };
        let (allow, deny) = (stretches(&windows.allow)?, stretches(&windows.deny)?);
        Ok(Self { time_zone, allow, deny })
    }

    /// Whether something may happen at `at`.
    pub fn is_open(&self, at: i64) -> bool {
        let covers = |stretch: &Stretch| stretch.end_if_covers(at, &self.time_zone).is_some();
        (self.allow.is_empty() || self.allow.iter().any(covers)) && !self.deny.iter().any(covers)
    }

    /// The first moment at or after `at` when something may happen.
    pub fn next_open(&self, at: i64) -> Option<i64> {
        let mut at = at;
        for _ in 0..CHANGES_MAX {
            let denied_until = self.deny.iter().filter_map(|deny| deny.end_if_covers(at, &self.time_zone)).max();
            if let Some(end) = denied_until {
                at = end;
            } else if self.is_open(at) {
                return Some(at);
            } else {
                at = self.allow.iter().filter_map(|allow| allow.next_start(at)).min()?;
            }
        }
        None
    }
}

impl Stretch {
    fn parse(window: &Window, time_zone: &TimeZone) -> Result<Self, ScheduleError> {
        let midnight = |text: &str| {
            let day = parse_date(text).and_then(|date| date.to_zoned(time_zone.clone()).ok());
            let day = day.ok_or_else(|| ScheduleError::Date(text.to_owned()))?;
            Ok(day.timestamp().as_microsecond())
        };
        match window {
            Window::Cron { expression, lasts } => {
                let schedule = Box::new(Schedule::new(expression, time_zone.clone())?);
                Ok(Self::Ticks { schedule, lasts: *lasts })
            }
            Window::Dates { from, to } => Ok(Self::Days { from: midnight(from)?, to: midnight(to)? }),
        }
    }

    /// When the stretch around `at` ends; `None` where there is none.
    fn end_if_covers(&self, at: i64, time_zone: &TimeZone) -> Option<i64> {
        let end = match self {
            Self::Days { from, to } => (*from <= at).then_some(*to)?,
            Self::Ticks { schedule, lasts } => plus(schedule.last_until(at)?, *lasts, time_zone)?,
        };
        Some(end).filter(|end| *end > at)
    }

    fn next_start(&self, at: i64) -> Option<i64> {
        match self {
            Self::Days { from, .. } => Some(*from).filter(|from| *from > at),
            Self::Ticks { schedule, .. } => schedule.next_after(at),
        }
    }
}

/// `at` and a period later, by the calendar of the time zone; `None` beyond the year 9999.
pub fn plus(at: i64, period: Period, time_zone: &TimeZone) -> Option<i64> {
    let count = i64::from(period.count);
    let span = match period.unit {
        PeriodUnit::Seconds => Span::new().try_seconds(count),
        PeriodUnit::Minutes => Span::new().try_minutes(count),
        PeriodUnit::Hours => Span::new().try_hours(count),
        PeriodUnit::Days => Span::new().try_days(count),
        PeriodUnit::Weeks => Span::new().try_weeks(count),
        PeriodUnit::Months => Span::new().try_months(count),
        PeriodUnit::Years => Span::new().try_years(count),
    };
    let later = zoned(at, time_zone)?.checked_add(span.ok()?).ok()?;
    Some(later.timestamp().as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> i64 {
        text.parse::<Timestamp>().expect(text).as_microsecond()
    }

    fn cron(expression: &str, timezone: Option<&str>) -> Cron {
        Cron { expression: expression.to_owned(), timezone: timezone.map(str::to_owned) }
    }

    fn next(expression: &str, timezone: Option<&str>, at: &str) -> Option<String> {
        let tick = next_after(&cron(expression, timezone), micros(at))?;
        Some(Timestamp::from_microsecond(tick).expect("in range").to_string())
    }

    #[test]
    fn ticks_follow_the_time_zone_through_the_change_of_clocks() {
        assert_eq!(next("*/10 * * * *", None, "2026-01-01T00:00:00Z").as_deref(), Some("2026-01-01T00:10:00Z"));
        assert_eq!(next("*/10 * * * *", None, "2026-01-01T00:00:00.000001Z").as_deref(), Some("2026-01-01T00:10:00Z"));
        let lisbon = Some("Europe/Lisbon");
        assert_eq!(next("0 9 * * *", lisbon, "2026-03-28T12:00:00Z").as_deref(), Some("2026-03-29T08:00:00Z"));
        assert_eq!(next("0 9 * * *", lisbon, "2026-10-24T12:00:00Z").as_deref(), Some("2026-10-25T09:00:00Z"));
        // 01:30 does not exist on this day: the tick comes when the gap ends.
        assert_eq!(next("30 1 * * *", lisbon, "2026-03-28T12:00:00Z").as_deref(), Some("2026-03-29T01:00:00Z"));
    }

    #[test]
    fn what_never_happens_has_no_next_tick() {
        assert_eq!(next("0 0 30 2 *", None, "2026-01-01T00:00:00Z"), None);
    }

    #[test]
    fn cron_has_five_fields_and_zones_are_those_of_the_database() {
        assert!(parse_cron("0 2 * * SAT").is_ok());
        for expression in ["", "* * * *", "0 0 * * * *", "61 * * * *", "nonsense", "* * * * * * *"] {
            assert!(parse_cron(expression).is_err(), "{expression}");
        }
        assert!(parse_time_zone("Europe/Lisbon").is_ok());
        assert!(parse_time_zone("Europe/Lisboa").is_err());
        assert!(parse_date("2026-02-29").is_none() && parse_date("2026-2-1").is_none());
    }

    #[test]
    fn deny_wins_over_allow() {
        let windows = Windows {
            allow: vec![Window::Cron { expression: "0 2 * * SAT".into(), lasts: "4h".parse().expect("valid") }],
            deny: vec![Window::Dates { from: "2026-12-01".into(), to: "2027-01-01".into() }],
        };
        let open = |at: &str| is_open(&windows, None, micros(at));
        assert!(open("2026-11-21T02:00:00Z") && open("2026-11-21T05:59:59Z"));
        assert!(!open("2026-11-21T06:00:00Z") && !open("2026-11-20T03:00:00Z") && !open("2026-12-05T03:00:00Z"));
        let next = |at: &str| next_open(&windows, None, micros(at));
        assert_eq!(next("2026-11-21T03:00:00Z"), Some(micros("2026-11-21T03:00:00Z")));
        assert_eq!(next("2026-11-21T06:00:00Z"), Some(micros("2026-11-28T02:00:00Z")));
        assert_eq!(next("2026-11-28T07:00:00Z"), Some(micros("2027-01-02T02:00:00Z")));
    }

    #[test]
    fn windows_that_never_open_say_so() {
        let dates = |from: &str, to: &str| Window::Dates { from: from.into(), to: to.into() };
        let past = Windows { allow: vec![dates("2020-01-01", "2020-02-01")], deny: Vec::new() };
        assert_eq!(next_open(&past, None, micros("2026-01-01T00:00:00Z")), None);
        let always = Window::Cron { expression: "* * * * *".into(), lasts: "5m".parse().expect("valid") };
        let never = Windows { allow: Vec::new(), deny: vec![always] };
        assert_eq!(next_open(&never, None, micros("2026-01-01T00:00:00Z")), None);
    }
}
