//! What no text file should hold: bytes that are not UTF-8, control characters, merge conflicts.
//!
//! Each is a finding; then it is blanked out byte by byte, so that the rest can be read and every
//! offset stays what it is on disk.

use crate::codes;
use crate::{FileId, Finding, Findings, Span};
use std::borrow::Cow;
use std::fmt::Write as _;

/// The largest file that is read.
pub(crate) const FILE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Gives the readable text of a file. A file without faults, the usual case, is not copied.
pub(crate) fn clean<'t>(file: FileId, bytes: &'t [u8], is_json: bool, findings: &mut Findings) -> Cow<'t, str> {
    if bytes.len() > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes, {FILE_BYTES_MAX} are allowed", bytes.len());
        findings.push(Finding::error(codes::FILE_TOO_LARGE, message).at(Span::new(file, 0)));
        return Cow::Borrowed("");
    }
    let mut text = match str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(without_invalid(file, bytes, findings)),
    };
    if text.bytes().any(is_control) {
        text = Cow::Owned(without_controls(file, &text, findings));
    }
    if has_conflict(&text) {
        text = Cow::Owned(without_conflicts(file, &text, findings));
    }
    if is_json && text.contains("\\u") {
        text = Cow::Owned(without_surrogates(&text));
    }
    text
}

/// JSON writes a character beyond U+FFFF as two escapes of six bytes, YAML as one of ten. The two
/// bytes that are left over become an escaped line end, which YAML reads as nothing.
fn without_surrogates(text: &str) -> String {
    let mut yaml = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        yaml.push_str(&rest[..at]);
        rest = &rest[at..];
        let escape = match surrogates(rest) {
            Some(character) => {
                write!(yaml, "\\\n\\U{:08x}", u32::from(character)).expect("writing to memory works");
                12
            }
            // The escaped character, which may be a backslash itself, is passed over.
            None => {
                let length = 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
                yaml.push_str(&rest[..length]);
                length
            }
        };
        rest = &rest[escape..];
    }
    yaml.push_str(rest);
    yaml
}

/// The character of a pair of surrogates that a text begins with.
fn surrogates(text: &str) -> Option<char> {
    let half = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    char::decode_utf16([half(0)?, half(6)?]).next()?.ok().filter(|character| u32::from(*character) > 0xFFFF)
}

fn offset(position: usize) -> u32 {
    u32::try_from(position).expect("files are at most FILE_BYTES_MAX long")
}

fn without_invalid(file: FileId, bytes: &[u8], findings: &mut Findings) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut invalid_count = 0;
    let mut first = 0;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            if invalid_count == 0 {
                first = text.len();
            }
            invalid_count += chunk.invalid().len();
            text.extend(std::iter::repeat_n('?', chunk.invalid().len()));
        }
    }
    let message = format!("the file is not UTF-8: {}", counted(invalid_count, "invalid byte"));
    let finding = Finding::error(codes::NOT_UTF8, message).at(Span::new(file, offset(first)));
    findings.push(finding.hint("save the file in UTF-8"));
    text
}

fn is_control(byte: u8) -> bool {
    (byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r')) || byte == 0x7f
}

fn without_controls(file: FileId, text: &str, findings: &mut Findings) -> String {
    let first = text.bytes().position(is_control).expect("the caller saw one");
    let count = text.bytes().filter(|&byte| is_control(byte)).count();
    let message = format!("the file has {}", counted(count, "control character"));
    let finding = Finding::error(codes::CONTROL_CHARACTER, message).at(Span::new(file, offset(first)));
    findings.push(finding.hint("remove it; in quotes it may be written as an escape such as \\u0007"));
    text.chars().map(|c| if c.is_ascii() && is_control(c as u8) { '?' } else { c }).collect()
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("one {what}"),
        _ => format!("{count} {what}s"),
    }
}

const OURS: &str = "<<<<<<<";
const BASE: &str = "|||||||";
const MIDDLE: &str = "=======";
const THEIRS: &str = ">>>>>>>";

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\r', '\n']))
}

fn has_conflict(text: &str) -> bool {
    (text.contains(OURS) || text.contains(THEIRS))
        && text.split_inclusive('\n').any(|line| is_marker(line, OURS) || is_marker(line, THEIRS))
}

/// Keeps what stands between `<<<<<<<` and `=======` (or `|||||||`), and blanks out the rest.
fn without_conflicts(file: FileId, text: &str, findings: &mut Findings) -> String {
    let mut cleaned = String::with_capacity(text.len());
    let mut is_theirs = false;
    for line in text.split_inclusive('\n') {
        let is_start = is_marker(line, OURS);
        let is_end = is_marker(line, THEIRS);
        let is_middle = is_marker(line, MIDDLE) || is_marker(line, BASE);
        if is_start || (is_end && !is_theirs) {
            let finding = Finding::error(codes::MERGE_CONFLICT, "a merge conflict was not resolved");
            let finding = finding.at(Span::new(file, offset(cleaned.len())));
            findings.push(finding.hint("choose one side and remove the lines with <<<<<<<, ======= and >>>>>>>"));
        }
        match is_start || is_end || is_middle || is_theirs {
            true => {
                cleaned.extend(line.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { byte as char } else { ' ' }))
            }
            false => cleaned.push_str(line),
        }
        is_theirs = is_middle || (is_theirs && !is_end);
    }
    cleaned
}
