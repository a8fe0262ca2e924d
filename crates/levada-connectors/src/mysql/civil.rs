//! Days and instants as MySQL's parts of them, in the proleptic Gregorian calendar.
//!
//! Knows MySQL's limits: dates from year 1 to 9999.

/// µs of a day.
pub(super) const DAY: i64 = 86_400_000_000;

/// The first day that a delivered column takes, 0001-01-01.
pub(super) const DAY_MIN: i64 = -719_162;

/// The last one, 9999-12-31.
pub(super) const DAY_MAX: i64 = 2_932_896;

/// Days since 1970-01-01; `None`: there is no such day, as 0000-00-00, 2026-00-10 or 2026-02-30.
pub(super) fn days(year: u16, month: u8, day: u8) -> Option<i32> {
    if !(1..=12).contains(&month) || day < 1 || day > month_days(year, month) {
        return None;
    }
    // Years that begin in March, counted in eras of 400 (Howard Hinnant, "chrono-compatible
    // low-level date algorithms").
    let year = i32::from(year) - i32::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (i32::from(month) + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + i32::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

fn month_days(year: u16, month: u8) -> u8 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u8::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Year, month and day of a day; `None`: MySQL has no such day.
pub(super) fn date(days: i64) -> Option<(u16, u8, u8)> {
    if !(DAY_MIN..=DAY_MAX).contains(&days) {
        return None;
    }
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Some((u16::try_from(year).ok()?, u8::try_from(month).ok()?, u8::try_from(day).ok()?))
}

/// Hours, minutes, seconds and µs of a time below a day.
pub(super) fn time(micros: i64) -> (u8, u8, u8, u32) {
    let part = |unit: i64, of: i64| u32::try_from(micros / unit % of).expect("a part of a day is small");
    let small = |value: u32| u8::try_from(value).expect("below a hundred");
    (small(part(3_600_000_000, 24)), small(part(60_000_000, 60)), small(part(1_000_000, 60)), part(1, 1_000_000))
}

/// µs of hours, minutes, seconds and µs.
pub(super) fn micros(hour: u64, minute: u8, second: u8, micros: u32) -> i64 {
    let seconds = hour * 3_600 + u64::from(minute) * 60 + u64::from(second);
    i64::try_from(seconds * 1_000_000 + u64::from(micros)).expect("hours of MySQL's times are 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_survives_its_parts() {
        for day in (DAY_MIN..=DAY_MAX).step_by(31).chain([DAY_MAX, -1, 0, 59, 11_016]) {
            let (year, month, in_month) = date(day).expect("within the calendar");
            assert_eq!(days(year, month, in_month).map(i64::from), Some(day));
        }
        assert_eq!((date(0), date(11_016)), (Some((1970, 1, 1)), Some((2000, 2, 29))));
        assert_eq!((date(DAY_MIN - 1), date(DAY_MAX + 1)), (None, None));
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for (year, month, day) in [(0, 0, 0), (2026, 0, 10), (2026, 2, 0), (2026, 2, 29), (1900, 2, 29), (2026, 13, 1)]
        {
            assert_eq!(days(year, month, day), None, "{year}-{month}-{day}");
        }
        assert_eq!(days(0, 1, 1), Some(-719_528));
    }
}
