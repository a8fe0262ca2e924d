//! Dates, times and intervals between text and numbers, over the whole range of Arrow's types.
//!
//! The proleptic Gregorian calendar; years beyond four digits carry a sign, as ISO 8601 asks.

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// Days since 1970-01-01 of a date. Formula: Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month, day of days since 1970-01-01; the inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

/// `2026-02-28`
pub(super) fn print_date(days: i64) -> String {
    let (year, month, day) = civil_from_days(days);
    match year {
        0..=9999 => format!("{year:04}-{month:02}-{day:02}"),
        _ => format!("{year:+05}-{month:02}-{day:02}"),
    }
}

/// `13:05:00`, with six more digits where there is a fraction.
pub(super) fn print_time(micros: i64) -> String {
    let (seconds, fraction) = (micros / SECOND, micros % SECOND);
    let text = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if fraction == 0 { text } else { format!("{text}.{fraction:06}") }
}

/// `2026-02-28 13:05:00`
pub(super) fn print_timestamp(micros: i64) -> String {
    format!("{} {}", print_date(micros.div_euclid(DAY)), print_time(micros.rem_euclid(DAY)))
}

/// `P14M3DT-0.000001S`; each part has its own sign, a part of nothing is left out.
pub(super) fn print_interval(months: i32, days: i32, micros: i64) -> String {
    let mut text = "P".to_owned();
    if months != 0 {
        text.push_str(&format!("{months}M"));
    }
    if days != 0 {
        text.push_str(&format!("{days}D"));
    }
    if micros != 0 {
        let sign = if micros < 0 { "-" } else { "" };
        let (seconds, fraction) = (micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
        let fraction = if fraction == 0 { String::new() } else { format!(".{fraction:06}") };
        text.push_str(&format!("T{sign}{seconds}{fraction}S"));
    }
    if text == "P" { "PT0S".to_owned() } else { text }
}

/// Digits only, at least one.
fn number(text: &str) -> Option<i64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// A number of exactly two digits.
fn pair(text: &str) -> Option<i64> {
    (text.len() == 2).then(|| number(text))?
}

/// Days since 1970-01-01 of `YYYY-MM-DD`, years beyond four digits signed.
pub(super) fn parse_date(text: &str) -> Option<i64> {
    let (sign, unsigned) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => (1, text),
    };
    let mut parts = unsigned.split('-');
    let (year, month, day) = (parts.next()?, pair(parts.next()?)?, pair(parts.next()?)?);
    let is_signed = unsigned.len() != text.len();
    if parts.next().is_some() || year.len() < 4 || year.len() > 7 || (year.len() > 4 && !is_signed) {
        return None;
    }
    let days = days_from_civil(sign * number(year)?, month, day);
    (civil_from_days(days) == (sign * number(year)?, month, day)).then_some(days)
}

/// µs of `.5`, `.000001`; more digits than six only where they are zeros.
fn parse_fraction(digits: &str) -> Option<i64> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (kept, rest) = digits.split_at_checked(6).unwrap_or((digits, ""));
    let exponent = u32::try_from(6 - kept.len()).ok()?;
    rest.bytes().all(|byte| byte == b'0').then(|| Some(number(kept)? * 10_i64.pow(exponent)))?
}

/// µs since midnight of `HH:MM[:SS[.ffffff]]`, up to `24:00:00`.
pub(super) fn parse_time(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let (hours, minutes, seconds) = (pair(parts.next()?)?, pair(parts.next()?)?, parts.next().unwrap_or("00"));
    let (seconds, fraction) = match seconds.split_once('.') {
        Some((seconds, digits)) => (pair(seconds)?, parse_fraction(digits)?),
        None => (pair(seconds)?, 0),
    };
    let micros = (hours * 3_600 + minutes * 60 + seconds) * SECOND + fraction;
    (parts.next().is_none() && minutes < 60 && seconds < 60 && micros <= DAY).then_some(micros)
}

/// µs since 1970-01-01 of date, `T` or space, time; and the offset in µs where one is written.
pub(super) fn parse_timestamp(text: &str) -> Option<(i64, Option<i64>)> {
    let split = text.find(['T', 't', ' ']);
    let (date, rest) = match split {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, ""),
    };
    let zone = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (time, zone) = rest.split_at(zone);
    let time = if split.is_some() { parse_time(time.trim_end())? } else { 0 };
    let offset = match zone {
        "" => None,
        "Z" | "z" => Some(0),
        signed => Some(parse_offset(signed)?),
    };
    // The first microseconds of 64 bits lie within a day whose midnight lies outside.
    let micros = i128::from(parse_date(date)?) * i128::from(DAY) + i128::from(time);
    Some((i64::try_from(micros).ok()?, offset))
}

/// `+01`, `+0130`, `-01:30`
fn parse_offset(text: &str) -> Option<i64> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = (text.get(1..3)?, text.get(3..)?);
    let minutes = minutes.strip_prefix(':').unwrap_or(minutes);
    let minutes = if minutes.is_empty() { 0 } else { pair(minutes)? };
    (minutes < 60).then(|| Some(sign * (pair(hours)? * 60 + minutes) * 60 * SECOND))?
}

/// Months, days and µs of an ISO 8601 duration, its parts signed or not.
pub(super) fn parse_interval(text: &str) -> Option<(i32, i32, i64)> {
    let mut rest = text.strip_prefix('P').filter(|rest| !rest.is_empty() && *rest != "T")?;
    let (mut months, mut days, mut micros, mut is_time) = (0_i32, 0_i32, 0_i64, false);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('T').filter(|after| !after.is_empty() && !is_time) {
            (rest, is_time) = (after, true);
        }
        let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let (written, unit) = (&rest[..end], rest.as_bytes()[end]);
        rest = &rest[end + 1..];
        let scaled = |factor: i32| written.parse::<i32>().ok()?.checked_mul(factor);
        match (is_time, unit) {
            (false, b'Y') => months = months.checked_add(scaled(12)?)?,
            (false, b'M') => months = months.checked_add(scaled(1)?)?,
            (false, b'W') => days = days.checked_add(scaled(7)?)?,
            (false, b'D') => days = days.checked_add(scaled(1)?)?,
            (true, b'H') => micros = micros.checked_add(parse_span(written, 3_600)?)?,
            (true, b'M') => micros = micros.checked_add(parse_span(written, 60)?)?,
            (true, b'S') => micros = micros.checked_add(parse_span(written, 1)?)?,
            _ => return None,
        }
    }
    Some((months, days, micros))
}

/// µs of a signed decimal number of units; the fraction belongs to seconds only.
fn parse_span(text: &str, unit_seconds: i128) -> Option<i64> {
    let unsigned = text.strip_prefix('-').or_else(|| text.strip_prefix('+')).unwrap_or(text);
    let (whole, fraction) = match unsigned.split_once('.') {
        Some((whole, digits)) if unit_seconds == 1 => (whole, parse_fraction(digits)?),
        Some(_) => return None,
        None => (unsigned, 0),
    };
    let micros = i128::from(number(whole)?) * unit_seconds * i128::from(SECOND) + i128::from(fraction);
    i64::try_from(if text.starts_with('-') { -micros } else { micros }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_print_as_they_parse_over_all_days() {
        for days in [
            i64::from(i32::MIN),
            -719_529,
            -719_528,
            -1,
            0,
            59,
            11_016,
            20_000,
            2_932_896,
            2_932_897,
            i64::from(i32::MAX),
        ] {
            assert_eq!(parse_date(&print_date(days)), Some(days), "{}", print_date(days));
        }
        assert_eq!(print_date(11_016), "2000-02-29");
        assert_eq!(print_date(2_932_897), "+10000-01-01");
        for text in ["2026-02-29", "2026-13-01", "26-01-01", "2026-1-1", "10000-01-01", "", "2026-01-01x", "é"] {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }

    #[test]
    fn timestamps_print_as_they_parse_over_all_microseconds() {
        for micros in [i64::MIN, -1, 0, 1, 1_790_000_000_123_456, i64::MAX] {
            assert_eq!(parse_timestamp(&print_timestamp(micros)), Some((micros, None)), "{}", print_timestamp(micros));
        }
        assert_eq!(print_timestamp(-1), "1969-12-31 23:59:59.999999");
        assert_eq!(parse_timestamp("1970-01-01T01:00+01:00"), Some((3_600 * SECOND, Some(3_600 * SECOND))));
        assert_eq!(parse_timestamp("1970-01-01 00:00:00.1230000Z"), Some((123_000, Some(0))));
        assert_eq!(parse_time("12:00:00.12345678901234567é"), None);
        for text in ["1970-01-01T", "1970-01-01 25:00", "1970-01-01 00:00:00.0000001", "1970-01-01 00:00:60", "now"] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }

    #[test]
    fn intervals_print_as_they_parse() {
        for parts in [(0, 0, 0), (i32::MIN, i32::MAX, i64::MIN), (14, -3, 1), (0, 0, -1_500_000), (1, 0, i64::MAX)] {
            let text = print_interval(parts.0, parts.1, parts.2);
            assert_eq!(parse_interval(&text), Some(parts), "{text}");
        }
        assert_eq!(parse_interval("P1Y2M1W1DT1H1M1.5S"), Some((14, 8, 3_661_500_000)));
        for text in ["", "P", "PT", "P1", "1D", "PT1D", "P1.5D", "PT1.5H", "P1DT", "P99999999999Y"] {
            assert_eq!(parse_interval(text), None, "{text}");
        }
    }
}
