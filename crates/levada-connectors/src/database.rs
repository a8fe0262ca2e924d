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

/// The column of every delivered table that has the hash of the row's key.
pub(crate) const KEY_HASH: &str = "lv_key_hash";

/// That column, to be written.
pub(crate) fn key_hash_column() -> WriteColumn {
    own_column(KEY_HASH, DataType::BinaryFixed(16))
}

/// How many columns of a key every server's index may have, beside a time.
const INDEX_COLUMNS_MAX: usize = 15;

/// The columns that a delivered table's rows are told apart and found by: the dataset's key, where every server
/// compares and indexes its values as we do, else the key's hash.
pub(crate) fn identifying(columns: &[WriteColumn]) -> Vec<&str> {
    let key: Vec<&WriteColumn> = columns.iter().filter(|column| column.is_key).collect();
    let is_plain = |column: &&WriteColumn| {
        use DataType::*;
        matches!(
            column.data_type,
            Boolean | Int8 | Int16 | Int32 | Int64 | Decimal(..) | Date | Timestamp | Timestamptz | Uuid
        )
    };
    match (1..=INDEX_COLUMNS_MAX).contains(&key.len()) && key.iter().all(is_plain) {
        true => key.into_iter().map(|column| column.name.as_str()).collect(),
        false => vec![KEY_HASH],
    }
}

/// The condition that rows of two tables are of the same key; the names are in the server's quotes.
pub(crate) fn is_same_key(one: &str, other: &str, names: &[String]) -> String {
    let same: Vec<String> = names.iter().map(|name| format!("{one}.{name} = {other}.{name}")).collect();
    same.join(" AND ")
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
    use super::*;

    fn key(types: &[DataType]) -> Vec<WriteColumn> {
        let column = |(number, data_type): (usize, &DataType)| WriteColumn {
            name: format!("k{number}"),
            data_type: data_type.clone(),
            is_key: true,
        };
        types.iter().enumerate().map(column).chain([own_column("x", DataType::Int64)]).collect()
    }

    #[test]
    fn rows_are_found_by_their_key_where_servers_agree_on_it() {
        assert_eq!(identifying(&key(&[DataType::Int64, DataType::Date])), ["k0", "k1"]);
        for types in [&[][..], &[DataType::Text], &[DataType::Int64, DataType::Float64], &vec![DataType::Int8; 16]] {
            assert_eq!(identifying(&key(types)), [KEY_HASH], "{types:?}");
        }
        assert_eq!(is_same_key("a", "b", &["x".to_owned(), "y".to_owned()]), "a.x = b.x AND a.y = b.y");
    }

    #[test]
    fn a_quoted_text_ends_at_a_single_quote() {
        assert_eq!(quoted_text("a``b`.c", '`'), Some(("a`b".to_owned(), ".c")));
        assert_eq!(quoted_text("'", '\''), Some((String::new(), "")));
        assert_eq!(quoted_text("a\"\"", '"'), None);
    }
}
