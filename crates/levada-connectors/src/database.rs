//! What the databases of several families have in common: the columns of delivered tables, the column of a
//! watermark, quoted texts, and sentences for people. Speaks to no server.

use levada_flow::source::{PullDataset, PullRequest};
use levada_model::model::IngestKind;
use levada_model::period::Period;
use levada_model::{DataType, Schema, SchemaColumn};

/// A column to write.
#[derive(Clone, Debug)]
pub(crate) struct WriteColumn {
    pub(crate) name: String,
    pub(crate) data_type: DataType,
    pub(crate) is_key: bool,
}

/// The schema's columns, to be written.
pub(crate) fn write_columns(schema: &Schema) -> Vec<WriteColumn> {
    let column = |column: &SchemaColumn| WriteColumn {
        name: column.name.as_str().to_owned(),
        data_type: column.data_type.clone(),
        is_key: column.key,
    };
    schema.columns.iter().map(column).collect()
}

/// A column that is ours.
pub(crate) fn own_column(name: &str, data_type: DataType) -> WriteColumn {
    WriteColumn { name: name.to_owned(), data_type, is_key: false }
}

/// The type of `lv_key_hash`.
pub(crate) fn key_hash_type() -> DataType {
    DataType::BinaryFixed(16)
}

/// The column at the source by which a dataset's newer rows are found, and the overlap; `None`: it is not read
/// so, or names none, which is a mismatch.
pub(crate) fn watermark_column<'d>(
    dataset: &'d PullDataset,
    request: &'d PullRequest,
    mismatches: &mut Vec<String>,
) -> Option<(&'d str, Option<Period>)> {
    let IngestKind::Watermark { column, overlap, .. } = &request.kind else { return None };
    let Some(watermark) = dataset.watermark.as_ref().or(column.as_ref()) else {
        mismatches.push(format!("dataset {} names no watermark column", dataset.dataset));
        return None;
    };
    if dataset.schema.key().is_empty() {
        mismatches.push(format!("dataset {} has no key, so newer rows can't replace older ones", dataset.dataset));
    }
    // The model names its own column where the dataset has one of that name.
    let renamed = dataset.schema.columns.iter().find(|column| column.name == *watermark);
    Some((renamed.map_or(watermark.as_str(), |column| column.source_name()), *overlap))
}

/// The end of a sentence about a name that is not there.
pub(crate) fn did_you_mean(near: Option<&str>) -> String {
    near.map(|near| format!(" (did you mean {near:?}?)")).unwrap_or_default()
}

/// Where user and password come from.
pub(crate) fn credential_hint(credential: Option<&str>) -> String {
    match credential {
        Some(name) => {
            let variable = name.to_uppercase();
            format!("set LEVADA_CREDENTIAL_{variable}_USER and LEVADA_CREDENTIAL_{variable}_PASSWORD")
        }
        None => "give the container a credential".to_owned(),
    }
}

/// A table's name as the model writes it, by its schema, where it names one, and its own: `schema.table`,
/// either of them in quotes or not.
pub(crate) fn split_name(written: &str, quotes: &[char]) -> (Option<String>, String) {
    let (first, rest) = part(written, quotes);
    if first.is_empty() {
        // A name that begins with a point has no schema before it.
        return (None, written.to_owned());
    }
    match rest.strip_prefix('.') {
        Some(rest) if !rest.is_empty() => {
            let (table, unread) = part(rest, quotes);
            // What still follows is no third part but belongs to an unquoted name with points.
            (Some(first), if unread.is_empty() { table } else { rest.to_owned() })
        }
        _ => (None, first + rest),
    }
}

/// The name at the start of a text, and what follows it.
fn part<'t>(text: &'t str, quotes: &[char]) -> (String, &'t str) {
    let Some(quote) = text.chars().next().filter(|first| quotes.contains(first)) else {
        let end = text.find('.').unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    // Without a closing quote, the quote is part of an odd name.
    quoted_text(&text[quote.len_utf8()..], quote).unwrap_or_else(|| (text.to_owned(), ""))
}

/// A quoted text from behind its opening quote on, in which a doubled quote stands for one, and what follows
/// it; `None`: it does not end.
pub(crate) fn quoted_text(mut rest: &str, quote: char) -> Option<(String, &str)> {
    let mut text = String::new();
    loop {
        let end = rest.find(quote)?;
        text.push_str(&rest[..end]);
        rest = &rest[end + quote.len_utf8()..];
        match rest.strip_prefix(quote) {
            Some(after) => {
                text.push(quote);
                rest = after;
            }
            None => return Some((text, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::quoted_text;

    #[test]
    fn a_quoted_text_ends_at_a_single_quote() {
        assert_eq!(quoted_text("a``b`.c", '`'), Some(("a`b".to_owned(), ".c")));
        assert_eq!(quoted_text("'", '\''), Some((String::new(), "")));
        assert_eq!(quoted_text("a\"\"", '"'), None);
    }
}
