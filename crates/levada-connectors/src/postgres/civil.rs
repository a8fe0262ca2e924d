//! Dates and times between ISO 8601 texts and the numbers that Arrow holds.
//!
//! Years beyond 0 to 9999 are written with a sign and as many digits as they need, because
//! PostgreSQL's calendar reaches from 4713 BC to the year 5,874,897, further than calendar
//! libraries do. Year 0 is 1 BC; PostgreSQL's own ` BC` behind a text is read, too.

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// What PostgreSQL writes behind years before the first.
const BEFORE_CHRIST: &str = " BC";

/// Days in 400 years, after which the calendar repeats.
const CYCLE_DAYS: i64 = 146_097;

/// Days from 0000-03-01, where a cycle of ours starts, to 1970-01-01.
const EPOCH_IN_CYCLES: i64 = 719_468;

/// Days since 1970-01-01 as year, month, day.
fn civil_of(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH_IN_CYCLES;
    let (cycle, day) = (days.div_euclid(CYCLE_DAYS), days.rem_euclid(CYCLE_DAYS));
    // Leap days stand at the end of years that start in March.
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let day_of_month = day_of_year - (153 * march_month + 2) / 5 + 1;
    (cycle * 400 + year + i64::from(month <= 2), month, day_of_month)
}

/// Year, month, day as days since 1970-01-01.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (cycle, year) = (year.div_euclid(400), year.rem_euclid(400));
    let march_month = (month + 9) % 12;
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    cycle * CYCLE_DAYS + year * 365 + year / 4 - year / 100 + day_of_year - EPOCH_IN_CYCLES
}

fn print_days(days: i64) -> String {
    let (year, month, day) = civil_of(days);
    match year {
        0..=9_999 => format!("{year:04}-{month:02}-{day:02}"),
        year => format!("{year:+07}-{month:02}-{day:02}"),
    }
}

/// Days since 1970-01-01 as text.
pub(super) fn date(days: i32) -> String {
    print_days(days.into())
}

/// µs since midnight as text.
pub(super) fn time(micros: i64) -> String {
    let (seconds, rest) = (micros / SECOND, micros % SECOND);
    let text = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match rest {
        0 => text,
        rest => format!("{text}.{rest:06}").trim_end_matches('0').to_owned(),
    }
}

/// µs since 1970-01-01 as text without a zone.
pub(super) fn timestamp(micros: i64) -> String {
    format!("{}T{}", print_days(micros.div_euclid(DAY)), time(micros.rem_euclid(DAY)))
}

/// µs since 1970-01-01 as text in UTC.
pub(super) fn timestamptz(micros: i64) -> String {
    format!("{}Z", timestamp(micros))
}

/// A date's days since 1970-01-01; `None` where the text is none.
pub(super) fn parse_date(text: &str) -> Option<i32> {
    i32::try_from(parse_days(text)?).ok()
}

fn parse_days(text: &str) -> Option<i64> {
    let (text, is_before_christ) = match text.strip_suffix(BEFORE_CHRIST) {
        Some(text) => (text, true),
        None => (text, false),
    };
    let (is_negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (rest, day) = unsigned.rsplit_once('-')?;
    let (year, month) = rest.rsplit_once('-')?;
    let year = digits(year, 4..=7)?;
    let year = if is_negative { -year } else { year };
    let year = if is_before_christ { 1 - year } else { year };
    let (month, day) = (digits(month, 2..=2)?, digits(day, 2..=2)?);
    let days = days_of(year, month, day);
    // The 31st of February and its like come out as another day.
    (civil_of(days) == (year, month, day)).then_some(days)
}

/// A time's µs since midnight; `24:00:00` is the end of the day.
pub(super) fn parse_time(text: &str) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = clock.split(':');
    let (hour, minute) = (digits(parts.next()?, 2..=2)?, digits(parts.next()?, 2..=2)?);
    let second = parts.next().map_or(Some(0), |second| digits(second, 2..=2))?;
    if parts.next().is_some() || minute > 59 || second > 59 {
        return None;
    }
    // More than µs would be lost.
    let fraction = fraction.trim_end_matches('0');
    let micros = match fraction.len() {
        0 => 0,
        length => digits(fraction, 1..=6)? * 10i64.pow(6 - length as u32),
    };
    let time = hour * HOUR + minute * MINUTE + second * SECOND + micros;
    (time <= DAY).then_some(time)
}

/// µs since 1970-01-01 of a text without a zone.
pub(super) fn parse_timestamp(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', ' '])?;
    let days = match time.strip_suffix(BEFORE_CHRIST) {
        Some(_) => parse_days(&format!("{date}{BEFORE_CHRIST}"))?,
        None => parse_days(date)?,
    };
    let time = time.strip_suffix(BEFORE_CHRIST).unwrap_or(time);
    let micros = i128::from(days) * i128::from(DAY) + i128::from(parse_time(time)?);
    i64::try_from(micros).ok()
}

/// µs since 1970-01-01 of a text with `Z` or an offset.
pub(super) fn parse_timestamptz(text: &str) -> Option<i64> {
    if let Some(local) = text.strip_suffix(BEFORE_CHRIST) {
        // The offset stands before it.
        let (at, offset) = split_offset(local)?;
        return parse_timestamp(&format!("{at}{BEFORE_CHRIST}"))?.checked_sub(offset);
    }
    let (at, offset) = split_offset(text)?;
    parse_timestamp(at)?.checked_sub(offset)
}

/// A text without its zone, and the zone's offset from UTC in µs.
fn split_offset(text: &str) -> Option<(&str, i64)> {
    if let Some(utc) = text.strip_suffix(['Z', 'z']) {
        return Some((utc, 0));
    }
    let time_at = text.find(['T', ' '])?;
    let sign_at = time_at + text[time_at..].rfind(['+', '-'])?;
    let (hours, minutes) = match text[sign_at + 1..].split_once(':') {
        Some((hours, minutes)) => (digits(hours, 2..=2)?, digits(minutes, 2..=2)?),
        None => (digits(&text[sign_at + 1..], 2..=2)?, 0),
    };
    let offset = hours * HOUR + minutes * MINUTE;
    Some((&text[..sign_at], if text[sign_at..].starts_with('-') { -offset } else { offset }))
}

/// A number of so many digits and nothing else.
fn digits(text: &str, length: std::ops::RangeInclusive<usize>) -> Option<i64> {
    let is_number = length.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_and_instant_survives_its_text() {
        for days in (-2_440_588..2_932_897).step_by(97).chain([0, -1, 59, 11_016, i32::MAX, i32::MIN, 2_145_042_905]) {
            assert_eq!(parse_date(&date(days)), Some(days), "{}", date(days));
        }
        for micros in [0, 1, 86_399_999_999, 86_400_000_000, 43_200_000_000, 120_000] {
            assert_eq!(parse_time(&time(micros)), Some(micros), "{}", time(micros));
        }
        for micros in [0, -1, 1_700_000_000_123_456, -210_866_803_200_000_000, i64::MAX, i64::MIN] {
            assert_eq!(parse_timestamp(&timestamp(micros)), Some(micros), "{}", timestamp(micros));
            assert_eq!(parse_timestamptz(&timestamptz(micros)), Some(micros));
        }
    }

    #[test]
    fn texts_are_those_that_everybody_knows() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(-719_528), "0000-01-01");
        assert_eq!(date(2_932_897), "+010000-01-01");
        assert_eq!(date(-719_529), "-000001-12-31");
        assert_eq!(timestamptz(951_782_400_500_000), "2000-02-29T00:00:00.5Z");
        assert_eq!(parse_timestamptz("2000-02-29 02:00+02:00"), Some(951_782_400_000_000));
        assert_eq!(parse_timestamptz("2000-02-28T19:00:00-05"), Some(951_782_400_000_000));
        assert_eq!(parse_date("0001-12-31 BC"), Some(-719_529 + 366));
        assert_eq!(parse_timestamptz("4714-11-24T00:00:00+00:00 BC"), Some(-210_866_803_200_000_000));
    }

    #[test]
    fn what_is_no_date_or_would_lose_something_is_refused() {
        for wrong in ["", "1970", "1970-02-30", "1970-13-01", "70-01-01", "1970-1-1", "12345678-01-01"] {
            assert_eq!(parse_date(wrong), None, "{wrong}");
        }
        for wrong in ["", "12", "12:60", "24:00:01", "12:00:00.1234567", "1:00"] {
            assert_eq!(parse_time(wrong), None, "{wrong}");
        }
        for wrong in ["2000-01-01T00:00:00", "2000-01-01", "Z", "2000-01-01T00:00+1"] {
            assert_eq!(parse_timestamptz(wrong), None, "{wrong}");
        }
    }
}
