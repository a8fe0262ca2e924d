//! Printing YAML: one value, one text, whoever prints it.
//!
//! Takes JSON's kind of values, gives a document of block style. What says what an object is comes first,
//! then keys by the alphabet. Texts of several lines are block scalars where those hold them exactly;
//! any other text that YAML might read as something else is quoted the JSON way, which is YAML too.

use serde_json::{Map, Value};

/// Keys that come before all others, in this order.
const FIRST: [&str; 4] = ["apiVersion", "kind", "metadata", "name"];
/// Words that readers of YAML, old ones too, take for something else than a text.
const WORDS: [&str; 13] =
    ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf", "infinity", "none"];

/// Prints one document.
pub fn document(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(object) if !object.is_empty() => write_object(&mut text, object, 0),
        Value::Array(items) if !items.is_empty() => write_array(&mut text, items, 0),
        other => {
            text.push_str(&scalar(other));
            text.push('\n');
        }
    }
    text
}

fn write_object(text: &mut String, object: &Map<String, Value>, indent: usize) {
    let mut keys: Vec<&String> = object.keys().collect();
    let rank = |key: &str| FIRST.iter().position(|first| *first == key).unwrap_or(FIRST.len());
    keys.sort_by(|left, right| (rank(left), left).cmp(&(rank(right), right)));
    for (number, key) in keys.into_iter().enumerate() {
        // The first key of an object in a list stands behind its dash.
        if number > 0 || !text.ends_with("- ") {
            push_indent(text, indent);
        }
        text.push_str(&plain_or_quoted(key));
        text.push(':');
        write_value(text, &object[key], indent);
    }
}

fn write_array(text: &mut String, items: &[Value], indent: usize) {
    for item in items {
        push_indent(text, indent);
        match item {
            Value::Object(object) if !object.is_empty() => {
                text.push_str("- ");
                write_object(text, object, indent + 2);
            }
            other => {
                text.push('-');
                write_value(text, other, indent);
            }
        }
    }
}

/// What follows a key or a dash, and the line's end.
fn write_value(text: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(object) if !object.is_empty() => {
            text.push('\n');
            write_object(text, object, indent + 2);
        }
        Value::Array(items) if !items.is_empty() => {
            text.push('\n');
            write_array(text, items, indent + 2);
        }
        Value::String(lines) if is_block(lines) => write_block(text, lines, indent + 2),
        other => {
            text.push(' ');
            text.push_str(&scalar(other));
            text.push('\n');
        }
    }
}

fn push_indent(text: &mut String, indent: usize) {
    text.extend(std::iter::repeat_n(' ', indent));
}

/// Whether a block scalar holds a text as it is: lines, the last of them ended once, and nothing but
/// what is printed.
fn is_block(text: &str) -> bool {
    text.len() > 1
        && text.ends_with('\n')
        && !text.ends_with("\n\n")
        && text.chars().all(|c| c == '\n' || is_printed(c))
}

/// Whether every reader of YAML takes a character for itself. Some break lines at more than `\n`.
fn is_printed(c: char) -> bool {
    c == '\t' || !(c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'))
}

fn write_block(text: &mut String, lines: &str, indent: usize) {
    // Where the first line begins with white space, a reader can't see how far the block is set in.
    let is_blank = |c: char| c == ' ' || c == '\t' || c == '\n';
    text.push_str(if lines.starts_with(is_blank) { " |2\n" } else { " |\n" });
    for line in lines.trim_end_matches('\n').split('\n') {
        if !line.is_empty() {
            push_indent(text, indent);
            text.push_str(line);
        }
        text.push('\n');
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => plain_or_quoted(text),
        other => other.to_string(),
    }
}

/// A text bare where every reader takes it for that text, else quoted.
fn plain_or_quoted(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let is_bare = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_')
        && text.chars().all(is_word)
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    match is_bare {
        true => text.to_owned(),
        false => quoted(text),
    }
}

/// A text the JSON way, with nothing in it that is not printed.
fn quoted(text: &str) -> String {
    let json = Value::String(text.to_owned()).to_string();
    let mut quoted = String::with_capacity(json.len());
    for c in json.chars() {
        match is_printed(c) {
            true => quoted.push(c),
            false => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_manifest_reads_as_people_write_it() {
        let value = json!({
            "spec": { "ports": [{ "port": 80, "name": "http" }], "args": ["run", "--platform=A: b"], "nothing": {}, "many": [] },
            "metadata": { "name": "x", "labels": { "a/b": "1", "c": "yes" } }, "kind": "Service", "apiVersion": "v1",
            "data": { "code.py": "import os\n\n  print(1)\n", "odd": " x\n", "cr": "a\r\n", "empty": "", "break": "a \u{2028}b\u{85}\n" },
        });
        let expected = "\
apiVersion: v1
kind: Service
metadata:
  name: x
  labels:
    a/b: \"1\"
    c: \"yes\"
data:
  break: \"a \\u2028b\\u0085\\n\"
  code.py: |
    import os

      print(1)
  cr: \"a\\r\\n\"
  empty: \"\"
  odd: |2
     x
spec:
  args:
    - run
    - \"--platform=A: b\"
  many: []
  nothing: {}
  ports:
    - name: http
      port: 80
";
        assert_eq!(document(&value), expected);
    }
}
