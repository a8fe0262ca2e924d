//! JSON text split into its members without reading its numbers, so that no digit is lost.

/// The members of an array, or `None` where the text is not one. The text is valid JSON.
pub(super) fn elements(text: &str) -> Option<Vec<&str>> {
    let inner = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    Some(split(inner))
}

/// The members of an object, keys unescaped, in the order written. The text is valid JSON.
pub(super) fn entries(text: &str) -> Option<Vec<(String, &str)>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    split(inner).into_iter().map(entry).collect()
}

fn entry(text: &str) -> Option<(String, &str)> {
    let end = string_end(text)?;
    let key = serde_json::from_str(&text[..end]).ok()?;
    Some((key, text[end..].trim_start().strip_prefix(':')?.trim()))
}

/// The byte behind the closing quote of the string that starts the text.
fn string_end(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().enumerate().skip(1).find_map(|(at, byte)| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end.then_some(at + 1)
    })
}

/// Splits at the commas that stand in no string, array or object.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut at) = (Vec::new(), 0, 0_usize, 0);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at += string_end(&text[at..]).unwrap_or(1) - 1,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    let last = text[start..].trim();
    if !(parts.is_empty() && last.is_empty()) {
        parts.push(last);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_whatever_stands_in_them() {
        assert_eq!(
            elements(r#" [1.10, "a,]\"", [2,3], {"x": ","}, null] "#),
            Some(vec!["1.10", r#""a,]\"""#, "[2,3]", r#"{"x": ","}"#, "null"])
        );
        assert_eq!(elements("[ ]"), Some(vec![]));
        assert_eq!(elements("{}"), None);
        assert_eq!(
            entries(r#"{"a\"b" : 1, "c": {"d": [1,2]}}"#),
            Some(vec![("a\"b".to_owned(), "1"), ("c".to_owned(), r#"{"d": [1,2]}"#)])
        );
    }
}
