//! A model's cron expressions as EventBridge Scheduler takes them.
//!
//! Takes five fields, gives `cron(MINUTES HOURS DAY MONTH WEEKDAY YEAR)`. The scheduler numbers
//! Sunday 1 where cron says 0 or 7, and wants `?` in one of the two day fields: where a model
//! restricts both, either of them is meant, and no expression of the scheduler says that.

/// When nothing else is said.
pub const EVERY_TEN_MINUTES: &str = "rate(10 minutes)";

const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// Translates a cron expression.
///
/// # Errors
/// Why the scheduler can't say it, in words.
pub fn expression(cron: &str) -> Result<String, String> {
    let cron = cron.trim().to_ascii_uppercase();
    let fields: Vec<&str> = match cron.as_str() {
        "@YEARLY" | "@ANNUALLY" => vec!["0", "0", "1", "1", "*"],
        "@MONTHLY" => vec!["0", "0", "1", "*", "*"],
        "@WEEKLY" => vec!["0", "0", "*", "*", "0"],
        "@DAILY" | "@MIDNIGHT" => vec!["0", "0", "*", "*", "*"],
        "@HOURLY" => vec!["0", "*", "*", "*", "*"],
        other => other.split_ascii_whitespace().collect(),
    };
    let [minute, hour, day, month, weekday] = fields[..] else {
        return Err(format!(
            "it has {} fields: EventBridge Scheduler knows minutes, hours, days, months and weekdays",
            fields.len()
        ));
    };
    let every = |field: &str| field == "*" || field == "?";
    let (day, weekday) = match (every(day), every(weekday)) {
        (true, true) => ("*".to_owned(), "?".to_owned()),
        (false, true) => (stepped(day, "1"), "?".to_owned()),
        (true, false) => ("?".to_owned(), weekdays(weekday)?),
        (false, false) => {
            return Err("it restricts days and weekdays, and EventBridge Scheduler takes one of the two".to_owned());
        }
    };
    Ok(format!("cron({} {} {day} {} {weekday} *)", stepped(minute, "0"), stepped(hour, "0"), stepped(month, "1")))
}

/// `*/5` begins at the field's first value: the scheduler wants that value written.
fn stepped(field: &str, first: &str) -> String {
    let parts = field.split(',').map(|part| match part.strip_prefix("*/") {
        Some(step) => format!("{first}/{step}"),
        None => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join(",")
}

/// Weekdays by their names, which mean the same in both.
fn weekdays(field: &str) -> Result<String, String> {
    let parts: Result<Vec<String>, String> = field.split(',').map(weekday_part).collect();
    Ok(parts?.join(","))
}

fn weekday_part(part: &str) -> Result<String, String> {
    let refused = || format!("EventBridge Scheduler has no word for the weekdays {part}");
    if let Some((day, nth)) = part.split_once('#') {
        return Ok(format!("{}#{nth}", number(day).ok_or_else(refused)? + 1));
    }
    if let Some(day) = part.strip_suffix('L') {
        return Ok(format!("{}L", number(day).ok_or_else(refused)? + 1));
    }
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, step.parse::<usize>().ok().filter(|step| *step > 0).ok_or_else(refused)?),
        None => (part, 1),
    };
    let (from, to) = match range.split_once('-') {
        Some((from, to)) => (number(from).ok_or_else(refused)?, last(to).ok_or_else(refused)?),
        None if range == "*" => (0, 6),
        None => {
            let day = number(range).ok_or_else(refused)?;
            (day, if step > 1 { 6 } else { day })
        }
    };
    if from > to {
        return Err(refused());
    }
    // Written one by one: a range across Sunday would turn round in the scheduler's numbers.
    let days: Vec<&str> = (from..=to).step_by(step).map(|day| WEEKDAYS[day % 7]).collect();
    Ok(days.join(","))
}

/// 0 to 6 from Sunday on.
fn number(day: &str) -> Option<usize> {
    match day.parse::<usize>() {
        Ok(number) => (number <= 7).then_some(number % 7),
        Err(_) => WEEKDAYS.iter().position(|name| *name == day),
    }
}

/// The end of a range, where Sunday may be the seventh day.
fn last(day: &str) -> Option<usize> {
    if day == "7" { Some(7) } else { number(day) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_mean_the_same_in_the_scheduler() {
        for (cron, expected) in [
            ("*/10 * * * *", "cron(0/10 * * * ? *)"),
            ("0 2 * * SAT", "cron(0 2 ? * SAT *)"),
            ("0 3 * * 0", "cron(0 3 ? * SUN *)"),
            ("0 3 * * 7", "cron(0 3 ? * SUN *)"),
            ("15 6 * * 1-5", "cron(15 6 ? * MON,TUE,WED,THU,FRI *)"),
            ("15 6 * * 5-7", "cron(15 6 ? * FRI,SAT,SUN *)"),
            ("0 0 * * */2", "cron(0 0 ? * SUN,TUE,THU,SAT *)"),
            ("0 0 L * *", "cron(0 0 L * ? *)"),
            ("0 0 * * FRI#2", "cron(0 0 ? * 6#2 *)"),
            ("0 0 * * 5L", "cron(0 0 ? * 6L *)"),
            ("5,35 */4 1 */3 *", "cron(5,35 0/4 1 1/3 ? *)"),
            ("@daily", "cron(0 0 * * ? *)"),
        ] {
            assert_eq!(expression(cron).as_deref(), Ok(expected), "{cron}");
        }
    }

    #[test]
    fn what_the_scheduler_can_not_say_is_refused() {
        for cron in ["0 0 1 * MON", "*/5 * * * * *", "0 0 * * SAT-MON", "", "0 0 * * X"] {
            assert!(expression(cron).is_err(), "{cron}");
        }
    }
}
