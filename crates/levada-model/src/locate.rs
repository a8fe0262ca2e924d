//! Places found by reading a file again: lines, columns of text, and columns of datasets.

use crate::name::ColumnName;
use crate::syntax::{self, Node};
use crate::{FileId, Findings};

/// Line and column of a byte offset, both counted from 1, the column in characters. An offset
/// beyond the end is the end.
pub fn line_column(text: &str, offset: u32) -> (u32, u32) {
    let mut offset = (offset as usize).min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    (count(before.matches('\n').count() + 1), count(before[line_start..].chars().count() + 1))
}

/// The byte offsets of columns' names, in the text of their datasets' file, which is parsed once.
/// Wanted is a column of the dataset whose name stands at an offset; `None` where the text is no
/// longer the one that was read.
pub fn column_spans(text: &str, wanted: &[(u32, &ColumnName)]) -> Vec<Option<u32>> {
    let mut ignored = Findings::default();
    let text = syntax::clean(FileId::default(), text.as_bytes(), is_json(text), &mut ignored);
    let documents = syntax::parse(FileId::default(), &text, &mut ignored);
    let find = |offset: u32, column: &ColumnName| {
        let document = documents.iter().rev().find(|document| document.root.offset <= offset)?;
        let dataset = entry_at(&document.root, offset)?;
        let entry = dataset.get("columns")?.entries().iter().find(|entry| entry.key == column.as_str())?;
        Some(entry.offset)
    };
    wanted.iter().map(|(offset, column)| find(*offset, column)).collect()
}

/// Whether a text is a JSON file's: its name is not known here.
fn is_json(text: &str) -> bool {
    text.trim_start_matches('\u{feff}').trim_start().starts_with(['{', '['])
}

/// The value of the key that stands at `offset`, among `datasets:` of a document.
fn entry_at<'n>(root: &'n Node<'n>, offset: u32) -> Option<&'n Node<'n>> {
    let datasets = root.get("datasets")?.entries();
    datasets.iter().find(|entry| entry.offset == offset).map(|entry| &entry.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one_in_characters() {
        let text = "a: ü\nbé: c\r\nd";
        assert_eq!(line_column(text, 0), (1, 1));
        assert_eq!(line_column(text, text.find('c').expect("there") as u32), (2, 5));
        assert_eq!(line_column(text, 1_000), (3, 2));
        assert_eq!(line_column("ü", 1), (1, 1));
    }

    #[test]
    fn a_column_is_found_by_its_dataset() {
        let text = "# ü\ndatastore: D\ndatasets:\n  a: { columns: { x: text } }\n  b:\n    columns:\n      x: text\n";
        let dataset = text.find("b:").expect("there") as u32;
        let (x, y) = (ColumnName::parse("x").expect("valid"), ColumnName::parse("y").expect("valid"));
        let columns = column_spans(text, &[(dataset, &x), (dataset, &y)]);
        assert_eq!(columns, [Some(text.rfind("x:").expect("there") as u32), None]);
    }
}
