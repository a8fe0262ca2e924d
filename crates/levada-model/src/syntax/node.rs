//! The node tree of a document: what stands where.

use std::borrow::Cow;

/// A value and the byte offset of its first character.
#[derive(Debug)]
pub(crate) struct Node<'t> {
    /// Byte offset in the file.
    pub(crate) offset: u32,
    /// What stands there.
    pub(crate) value: Value<'t>,
}

/// What stands at a place.
#[derive(Debug)]
pub(crate) enum Value<'t> {
    /// A word, number or text.
    Scalar {
        /// As read: quotes and escapes are resolved.
        text: Cow<'t, str>,
        /// Without quotes, so that `true`, `null` and numbers mean what they say.
        is_plain: bool,
    },
    /// A list.
    List(Vec<Node<'t>>),
    /// A mapping; keys are unique texts, in the order of the file.
    Map(Vec<Entry<'t>>),
    /// Something that was reported already: readers pass over it in silence.
    Broken,
}

/// One key of a mapping and its value.
#[derive(Debug)]
pub(crate) struct Entry<'t> {
    /// The key.
    pub(crate) key: Cow<'t, str>,
    /// Byte offset of the key.
    pub(crate) offset: u32,
    /// The value.
    pub(crate) value: Node<'t>,
}

/// What an unquoted scalar means by YAML's core schema.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Plain {
    /// Empty, `~` or `null`.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer,
    /// A number with a point or an exponent.
    Number,
    /// Anything else.
    Text,
}

impl Plain {
    /// Resolves an unquoted text.
    pub(crate) fn of(text: &str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Self::Null,
            "true" | "True" | "TRUE" => return Self::Boolean(true),
            "false" | "False" | "FALSE" => return Self::Boolean(false),
            _ => {}
        }
        let digits = text.trim_start_matches(['+', '-']);
        match digits.as_bytes().first() {
            Some(byte) if byte.is_ascii_digit() || (*byte == b'.' && digits.len() > 1) => {}
            _ => return Self::Text,
        }
        let is_decimal = digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_decimal && text.len() - digits.len() <= 1 {
            return Self::Integer;
        }
        let is_numeric = digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
        if is_numeric && text.parse::<f64>().is_ok() { Self::Number } else { Self::Text }
    }
}

impl<'t> Node<'t> {
    /// The mapping's entries; empty for anything else.
    pub(crate) fn entries(&self) -> &[Entry<'t>] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The list's items; empty for anything else.
    pub(crate) fn items(&self) -> &[Node<'t>] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The value of a key; linear, so only for mappings whose keys the grammar knows.
    pub(crate) fn get(&self, key: &str) -> Option<&Node<'t>> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// What the value is, in a message: `a number`, `a list`.
    pub(crate) fn what(&self) -> &'static str {
        match &self.value {
            Value::Scalar { text, is_plain: true } => match Plain::of(text) {
                Plain::Null => "nothing",
                Plain::Boolean(_) => "a boolean",
                Plain::Integer | Plain::Number => "a number",
                Plain::Text => "text",
            },
            Value::Scalar { is_plain: false, .. } => "text in quotes",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Broken => "something unreadable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Plain;

    #[test]
    fn plain_scalars_mean_what_the_core_schema_says() {
        for (text, plain) in [
            ("", Plain::Null),
            ("true", Plain::Boolean(true)),
            ("yes", Plain::Text),
            ("12", Plain::Integer),
            ("-12", Plain::Integer),
            ("1.5", Plain::Number),
            ("1e3", Plain::Number),
            ("30d", Plain::Text),
            ("2026-05-01", Plain::Text),
            ("1.2.3", Plain::Text),
            ("--1", Plain::Text),
            (".5", Plain::Number),
            (".", Plain::Text),
        ] {
            assert_eq!(Plain::of(text), plain, "{text}");
        }
    }
}
