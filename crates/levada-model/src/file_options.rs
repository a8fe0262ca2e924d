//! How files are read, as far as the model says it in free words: options, patterns, names in paths.
//!
//! Lint and the connector ask the same functions, so that what passes `check` can be read.

use crate::model::FileFormat;
use crate::nearest::nearest;
use crate::period::Period;
use std::collections::BTreeMap;

/// Options of a format can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct OptionError {
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub hint: Option<String>,
}

impl OptionError {
    fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), hint: None }
    }
}

/// What is wrong with a pattern such as `{dataset}/*.csv`, as the end of a sentence; `None`: nothing.
pub fn pattern_problem(pattern: &str) -> Option<&'static str> {
    for part in pattern.split('/') {
        match part {
            "" | "." => return Some("has an empty part"),
            ".." => return Some("leaves its folder"),
            _ => {}
        }
    }
    (pattern.rsplit('/').next() == Some("**")).then_some("names folders only")
}

/// Whether a name may stand for `{dataset}` in a path.
pub fn is_path_part(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
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
    pub fn parse(format: FileFormat, options: &BTreeMap<String, String>) -> Result<Self, OptionError> {
        let known: &[&str] = if format == FileFormat::Csv { &CSV_OPTIONS } else { &PARQUET_OPTIONS };
        if let Some(unknown) = options.keys().find(|option| !known.contains(&option.as_str())) {
            let near = nearest(unknown, known.iter().copied());
            let hint = near.map_or(format!("known are {}", known.join(", ")), |near| format!("did you mean {near:?}?"));
            let problem = format!("{unknown:?} is not an option of such files");
            return Err(OptionError { problem, hint: Some(hint) });
        }
        let wrong = |option: &str, wanted: &str| {
            OptionError::new(format!("the option {option:?} is {:?}, not {wanted}", options[option]))
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
            Some(Err(_)) => return Err(wrong("settle", "a length of time")),
        };
        let (delimiter, quote) = (byte("delimiter", b',')?, byte("quote", b'"')?);
        if delimiter == quote {
            return Err(OptionError::new("the options \"delimiter\" and \"quote\" are the same"));
        }
        let null = options.get("null").cloned().unwrap_or_default();
        Ok(Self { header, delimiter, quote, null, settle_seconds: settle })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn patterns_stay_in_their_folder_and_end_with_a_file() {
        for fine in ["{dataset}/*.csv", "**/x?.csv", "a/.hidden"] {
            assert_eq!(pattern_problem(fine), None, "{fine}");
        }
        for wrong in ["../x", "a/../b", "/a", "a//b", "./a", "a/**", ""] {
            assert!(pattern_problem(wrong).is_some(), "{wrong}");
        }
        assert!(is_path_part("customers") && !is_path_part("a/b") && !is_path_part(".."));
    }
}
