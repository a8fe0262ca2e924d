//! What the terminal shows: tables, times, sizes, findings with their places.
//!
//! Data goes to stdout, talk to stderr; nothing needs colour to be read.

use crate::waiting;
use levada_model::Severity;
use levada_model::printable::one_line;
use levada_repo::FileTable;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether somebody still reads stdout.
static IS_HEARD: AtomicBool = AtomicBool::new(true);

/// Prints a line of data to stdout. A reader that has gone away, such as `head`, is no error: the
/// command's exit code still says how it ended. Data that can't be written otherwise ends it.
pub fn data(text: impl std::fmt::Display) {
    use std::io::Write as _;
    waiting::clear();
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => IS_HEARD.store(false, Ordering::Relaxed),
        Err(error) => {
            talk(format!("error: failed to write to the standard output: {error}"));
            std::process::exit(1);
        }
    }
}

/// Whether somebody still reads stdout: long output may end where nobody does.
pub fn is_heard() -> bool {
    IS_HEARD.load(Ordering::Relaxed)
}

/// Prints a line of talk to stderr.
pub fn talk(text: impl std::fmt::Display) {
    use std::io::Write as _;
    waiting::clear();
    // Nobody is left to tell when stderr is gone.
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// Prints a value as JSON to stdout.
pub fn json<T: serde::Serialize>(value: &T) {
    data(serde_json::to_string_pretty(value).expect("plain data always serialises"));
}

/// Lays rows out in columns that are as wide as their widest cell; numbers go right.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let is_number = |column: usize| {
        let mut cells = rows.iter().filter_map(|row| row.get(column)).filter(|cell| !cell.is_empty()).peekable();
        cells.peek().is_some() && cells.all(|cell| cell.parse::<f64>().is_ok())
    };
    let rights: Vec<bool> = (0..head.len()).map(is_number).collect();
    let mut text = String::new();
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for ((cell, width), right) in row.iter().zip(&widths).zip(&rights) {
            let pad = " ".repeat(width - cell.chars().count());
            let cell = one_line(cell);
            let cell = if *right { format!("{pad}{cell}") } else { format!("{cell}{pad}") };
            write!(line, "{cell}  ").expect("writing to a string never fails");
        }
        writeln!(text, "{}", line.trim_end()).expect("writing to a string never fails");
    }
    text.truncate(text.trim_end().len());
    text
}

/// A time in µs as RFC 3339 in UTC, to the second.
pub fn time(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros)
        .map_or_else(|_| "?".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

/// A number of bytes with a unit.
pub fn bytes(count: i64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1_000.0 && unit + 1 < units.len() {
        value /= 1_000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", units[unit]) }
}

/// One finding with its place, the line and a caret.
pub fn finding(finding: &levada_model::Finding, files: &FileTable) -> String {
    let kind = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let mut text = format!("{kind}[{}]: {}\n", finding.code, one_line(&finding.message));
    if let Some(place) = finding.span.and_then(|span| files.place(span)) {
        let number = place.line.to_string();
        let pad = " ".repeat(number.len());
        let caret = " ".repeat(place.column.saturating_sub(1) as usize);
        write!(
            text,
            "{pad}--> {}:{}:{}\n{pad} |\n{number} | {}\n{pad} | {caret}^\n",
            one_line(&place.path),
            place.line,
            place.column,
            one_line(&place.text)
        )
        .expect("writing to a string never fails");
    }
    if let Some(address) = &finding.address {
        writeln!(text, "  = about: {}", one_line(&address.to_string())).expect("writing to a string never fails");
    }
    if let Some(hint) = &finding.hint {
        writeln!(text, "  = hint: {}", one_line(hint)).expect("writing to a string never fails");
    }
    text
}

/// An error and what led to it as one sentence.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = format!("failed to {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// The same, with its hint below.
pub fn failure(error: &dyn std::error::Error, hint: Option<&str>) -> anyhow::Error {
    let hint = hint.map(|hint| format!("\n  = hint: {hint}")).unwrap_or_default();
    anyhow::anyhow!("{}{hint}", chain(error))
}
