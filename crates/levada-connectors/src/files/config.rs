//! From a connection to a folder, from options to a format, from errors of files to ours.

use levada_flow::FlowError;
use levada_model::connection::{Connection, Place};
use levada_model::model::FileFormat;
use levada_model::nearest::nearest;
use levada_model::period::Period;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The folder of a container.
pub(super) fn folder(connection: &Connection, root: &Path) -> Result<PathBuf, FlowError> {
    match &connection.place {
        Place::Path { path } => Ok(root.join(path)),
        _ => Err(FlowError::never(format!("container {} has no path", connection.container))),
    }
}

/// A failed operation on a file. What is missing, forbidden or no folder has to be changed by
/// somebody; everything else may pass.
pub(super) fn failed(what: &str, path: &Path, error: std::io::Error) -> FlowError {
    let message = format!("{} can't be {what}", path.display());
    let made = match error.kind() {
        ErrorKind::NotFound
        | ErrorKind::PermissionDenied
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::InvalidFilename
        | ErrorKind::ReadOnlyFilesystem => FlowError::never(message),
        _ => FlowError::later(message),
    };
    made.because(error)
}

/// A name as one part of a path: never a way out of its folder, the same on every file system.
///
/// Whatever a path could misread is written `%XX`, as is `%` itself, so that no two names share a part.
pub fn path_part(name: &str) -> String {
    let is_misread = |(at, c): (usize, char)| {
        c.is_control()
            || matches!(c, '/' | '\\' | '%' | ':' | '*' | '?' | '"' | '<' | '>' | '|')
            || (at == 0 && c == '.')
            || (at + c.len_utf8() == name.len() && matches!(c, '.' | ' '))
    };
    let mut part = String::new();
    for (at, c) in name.char_indices() {
        match is_misread((at, c)) {
            false => part.push(c),
            true => c.to_string().bytes().for_each(|byte| part.push_str(&format!("%{byte:02X}"))),
        }
    }
    part
}

/// How to read the files of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadOptions {
    /// Whether the first line of a CSV file names its columns; otherwise they come in the model's order.
    pub header: bool,
    /// What stands between values.
    pub delimiter: u8,
    /// What stands around values that hold a delimiter or a line's end.
    pub quote: u8,
    /// What an unquoted value has to be to mean null.
    pub null: String,
    /// A file younger than so many seconds waits for the next pull.
    pub settle_seconds: u64,
}

const CSV_OPTIONS: [&str; 5] = ["header", "delimiter", "quote", "null", "settle"];
const PARQUET_OPTIONS: [&str; 1] = ["settle"];

impl ReadOptions {
    /// Reads the options of the model.
    ///
    /// # Errors
    /// An option is unknown to the format, or its value makes no sense.
    pub fn parse(format: FileFormat, options: &BTreeMap<String, String>) -> Result<Self, FlowError> {
        let known: &[&str] = if format == FileFormat::Csv { &CSV_OPTIONS } else { &PARQUET_OPTIONS };
        if let Some(unknown) = options.keys().find(|option| !known.contains(&option.as_str())) {
            let near = nearest(unknown, known.iter().copied());
            let hint = near.map_or(format!("known are {}", known.join(", ")), |near| format!("did you mean {near:?}?"));
            return Err(FlowError::never(format!("{unknown:?} is not an option of such files")).hint(hint));
        }
        let wrong = |option: &str, wanted: &str| {
            FlowError::never(format!("the option {option:?} is {:?}, not {wanted}", options[option]))
        };
        let byte = |option: &str, default: u8| match options.get(option).map(String::as_str) {
            None => Ok(default),
            Some("tab" | "\\t") => Ok(b'\t'),
            Some(text) if text.len() == 1 && !matches!(text, "\n" | "\r") => Ok(text.as_bytes()[0]),
            Some(_) => Err(wrong(option, "one ASCII character or `tab`")),
        };
        let header = match options.get("header").map(String::as_str) {
            None | Some("true") => true,
            Some("false") => false,
            Some(_) => return Err(wrong("header", "true or false")),
        };
        let settle = match options.get("settle").map(|text| text.parse::<Period>()) {
            None => 0,
            Some(Ok(period)) => period.approximate_seconds(),
            Some(Err(error)) => return Err(wrong("settle", "a length of time").because(error)),
        };
        let (delimiter, quote) = (byte("delimiter", b',')?, byte("quote", b'"')?);
        if delimiter == quote {
            return Err(FlowError::never("the options \"delimiter\" and \"quote\" are the same"));
        }
        let null = options.get("null").cloned().unwrap_or_default();
        Ok(Self { header, delimiter, quote, null, settle_seconds: settle })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leaves_its_folder_or_meets_another() {
        assert_eq!(path_part("NW_Data"), "NW_Data");
        assert_eq!(path_part(".."), "%2E%2E");
        assert_eq!(path_part("a/../b"), "a%2F..%2Fb");
        assert_eq!(path_part("%2F"), "%252F");
        assert_eq!(path_part("größe 😀"), "größe 😀");
        assert_eq!(path_part("a\0b."), "a%00b%2E");
    }

    #[test]
    fn options_are_understood_or_refused() {
        let parse = |options: &[(&str, &str)]| {
            let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            ReadOptions::parse(FileFormat::Csv, &options)
        };
        let options = parse(&[("delimiter", ";"), ("header", "false"), ("settle", "30s")]).expect("all are known");
        assert_eq!((options.delimiter, options.header, options.settle_seconds), (b';', false, 30));
        assert_eq!(parse(&[("delimiter", "tab")]).expect("a word for it").delimiter, b'\t');
        for wrong in [("delimter", ";"), ("delimiter", "||"), ("header", "yes"), ("quote", ","), ("settle", "soon")] {
            assert!(parse(&[wrong]).is_err(), "{wrong:?}");
        }
    }
}
