//! CSV after RFC 4180, strictly, record by record, with the line of each.
//!
//! Unlike most readers this one tells `""` from nothing: only an unquoted value can be null.

use levada_model::file_options::ReadOptions;
use std::io::BufRead;

/// The longest record; an unclosed quote swallows no more than this.
const RECORD_BYTES_MAX: usize = 64 << 20;

/// A file that is not the CSV its options say.
#[derive(Debug, thiserror::Error)]
pub(super) enum CsvError {
    /// The file can't be read on.
    #[error("line {line} can't be read")]
    Read {
        line: u64,
        #[source]
        source: std::io::Error,
    },
    /// The record that starts at this line is malformed.
    #[error("line {line}: {reason}")]
    Record { line: u64, reason: String },
}

/// Reads records.
pub(super) struct CsvReader<R> {
    input: R,
    delimiter: u8,
    quote: u8,
    lines_read: u64,
    /// The line that the current record starts at.
    line: u64,
    raw: Vec<u8>,
    text: Vec<u8>,
    /// Where each value ends in `text`, and whether it was quoted.
    values: Vec<(usize, bool)>,
}

impl<R: BufRead> CsvReader<R> {
    /// Starts at the beginning of a file.
    pub(super) fn new(input: R, options: &ReadOptions) -> Self {
        let (delimiter, quote) = (options.delimiter, options.quote);
        Self { input, delimiter, quote, lines_read: 0, line: 0, raw: Vec::new(), text: Vec::new(), values: Vec::new() }
    }

    /// Goes to the next record that is not an empty line; `false`: there is none.
    pub(super) fn advance(&mut self) -> Result<bool, CsvError> {
        loop {
            self.raw.clear();
            self.line = self.lines_read + 1;
            if !self.read_line()? {
                return Ok(false);
            }
            if self.line == 1 && self.raw.starts_with(b"\xef\xbb\xbf") {
                self.raw.drain(..3);
            }
            if !matches!(self.raw.as_slice(), b"" | b"\n" | b"\r\n") {
                return self.split().map(|()| true);
            }
        }
    }

    /// The line that the record starts at, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// The number of values.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// One value and whether it was quoted.
    pub(super) fn value(&self, at: usize) -> Result<(&str, bool), CsvError> {
        let start = if at == 0 { 0 } else { self.values[at - 1].0 };
        let (end, is_quoted) = self.values[at];
        match std::str::from_utf8(&self.text[start..end]) {
            Ok(text) => Ok((text, is_quoted)),
            Err(_) => Err(self.wrong(format!("value {} is not UTF-8", at + 1))),
        }
    }

    fn wrong(&self, reason: impl Into<String>) -> CsvError {
        CsvError::Record { line: self.line, reason: reason.into() }
    }

    /// Appends one more line to the record; `false`: the file is over.
    fn read_line(&mut self) -> Result<bool, CsvError> {
        let line = self.lines_read + 1;
        let room = (RECORD_BYTES_MAX + 1 - self.raw.len()) as u64;
        let read = std::io::Read::take(&mut self.input, room).read_until(b'\n', &mut self.raw);
        let read = read.map_err(|source| CsvError::Read { line, source })?;
        if self.raw.len() > RECORD_BYTES_MAX {
            return Err(
                self.wrong(format!("the record is longer than {RECORD_BYTES_MAX} bytes; is a quote not closed?"))
            );
        }
        self.lines_read += u64::from(read > 0);
        Ok(read > 0)
    }

    /// Takes the record apart, and reads on where a line's end is quoted.
    fn split(&mut self) -> Result<(), CsvError> {
        self.text.clear();
        self.values.clear();
        let mut at = 0;
        loop {
            at = match self.raw.get(at) {
                Some(byte) if *byte == self.quote => self.quoted(at + 1)?,
                _ => self.bare(at)?,
            };
            match self.raw.get(at) {
                Some(byte) if *byte == self.delimiter => at += 1,
                _ => return Ok(()),
            }
        }
    }

    /// Takes an unquoted value up to the delimiter or the line's end.
    fn bare(&mut self, from: usize) -> Result<usize, CsvError> {
        let rest = &self.raw[from..];
        let length = rest.iter().position(|byte| *byte == self.delimiter || *byte == b'\n').unwrap_or(rest.len());
        let is_last = rest.get(length) != Some(&self.delimiter);
        let value = &rest[..length];
        let value = if is_last { value.strip_suffix(b"\r").unwrap_or(value) } else { value };
        if value.contains(&self.quote) {
            return Err(self.wrong(format!("a quote stands inside of value {}", self.values.len() + 1)));
        }
        self.text.extend_from_slice(value);
        self.values.push((self.text.len(), false));
        Ok(from + length)
    }

    /// Takes a quoted value; gives where the delimiter or the line's end has to be.
    fn quoted(&mut self, from: usize) -> Result<usize, CsvError> {
        let mut at = from;
        loop {
            match self.raw[at..].iter().position(|byte| *byte == self.quote) {
                None => {
                    self.text.extend_from_slice(&self.raw[at..]);
                    at = self.raw.len();
                    if !self.read_line()? {
                        return Err(self.wrong("a quote is not closed"));
                    }
                }
                Some(length) => {
                    self.text.extend_from_slice(&self.raw[at..at + length]);
                    at += length + 1;
                    if self.raw.get(at) != Some(&self.quote) {
                        break;
                    }
                    self.text.push(self.quote);
                    at += 1;
                }
            }
        }
        self.values.push((self.text.len(), true));
        match &self.raw[at..] {
            [] | [b'\n', ..] | [b'\r', b'\n', ..] | [b'\r'] => Ok(self.raw.len()),
            [byte, ..] if *byte == self.delimiter => Ok(at),
            _ => Err(self.wrong(format!("something stands behind the quotes of value {}", self.values.len()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use levada_model::model::FileFormat;

    fn records(text: &[u8]) -> Result<Vec<Vec<(String, bool)>>, CsvError> {
        let options = ReadOptions::parse(FileFormat::Csv, &Default::default()).expect("defaults are options");
        let mut reader = CsvReader::new(text, &options);
        let mut records = Vec::new();
        while reader.advance()? {
            let value = |at| reader.value(at).map(|(text, is_quoted)| (text.to_owned(), is_quoted));
            records.push((0..reader.len()).map(value).collect::<Result<_, _>>()?);
        }
        Ok(records)
    }

    #[test]
    fn values_are_taken_as_they_are_quoted_or_not() {
        let found = records(b"\xef\xbb\xbfa,\"b\"\"c\nd\",\r\n\n,\"\"\r\n\"x\"\nlast, y ").expect("good CSV");
        let expected = [
            vec![("a", false), ("b\"c\nd", true), ("", false)],
            vec![("", false), ("", true)],
            vec![("x", true)],
            vec![("last", false), (" y ", false)],
        ];
        let owned = expected
            .map(|record| record.into_iter().map(|(text, quoted)| (text.to_owned(), quoted)).collect::<Vec<_>>());
        assert_eq!(found, owned);
    }

    #[test]
    fn what_is_no_csv_is_told_by_its_line() {
        for (text, line) in [("a\nb,\"c", 2), ("a\n\n\"b\"c\n", 3), ("a\"b\n", 1), ("\"a\n\n\"\nb\"", 4)] {
            let error = records(text.as_bytes()).expect_err(text).to_string();
            assert!(error.starts_with(&format!("line {line}:")), "{text:?}: {error}");
        }
        assert!(records(b"a\n\xff\n").expect_err("not UTF-8").to_string().starts_with("line 2:"));
    }
}
