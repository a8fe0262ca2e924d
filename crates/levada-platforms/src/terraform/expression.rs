//! Blocks and expressions.

/// A value.
#[derive(Clone, PartialEq, Debug)]
pub enum Expression {
    /// Text as it is: quotes, `${` and whatever else is in it are escaped.
    Text(String),
    /// Text with references in it.
    Template(Vec<TemplatePart>),
    /// A reference to something that the rendering names itself, such as `aws_iam_role.glue.arn`.
    Reference(String),
    /// A whole number.
    Integer(i64),
    /// `true` or `false`.
    Boolean(bool),
    /// `null`
    Null,
    /// `[…]`
    List(Vec<Expression>),
    /// `{…}`, in this order.
    Object(Vec<(String, Expression)>),
    /// A function and its arguments.
    Call(&'static str, Vec<Expression>),
}

/// A part of a template.
#[derive(Clone, PartialEq, Debug)]
pub enum TemplatePart {
    /// Text as it is.
    Text(String),
    /// A reference, put in as `${…}`.
    Reference(String),
}

impl Expression {
    /// Text as it is.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A reference; the rendering's own words, never a model's.
    pub fn reference(address: impl Into<String>) -> Self {
        Self::Reference(address.into())
    }

    /// Our own words with a reference in place of each `{}`.
    ///
    /// # Panics
    /// Where there are more or fewer references than places.
    pub fn template(words: &str, references: &[&str]) -> Self {
        let texts: Vec<&str> = words.split("{}").collect();
        assert_eq!(texts.len(), references.len() + 1, "a reference for each place of {words:?}");
        let mut parts = Vec::new();
        for (index, text) in texts.into_iter().enumerate() {
            if !text.is_empty() {
                parts.push(TemplatePart::Text(text.to_owned()));
            }
            parts.extend(references.get(index).map(|reference| TemplatePart::Reference((*reference).to_owned())));
        }
        Self::Template(parts)
    }

    /// An object with one entry more, in the order of the keys; anything else stays as it is.
    #[must_use]
    pub fn and(mut self, key: &str, value: Expression) -> Self {
        if let Self::Object(entries) = &mut self {
            let place = entries.partition_point(|(other, _)| other.as_str() < key);
            entries.insert(place, (key.to_owned(), value));
        }
        self
    }

    /// Texts as they are.
    pub fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::List(texts.into_iter().map(Self::text).collect())
    }

    /// An object.
    pub fn object<K: Into<String>>(entries: impl IntoIterator<Item = (K, Expression)>) -> Self {
        Self::Object(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }

    /// Plain JSON as the value that `jsonencode` turns into the same JSON.
    pub fn json(value: &serde_json::Value) -> Self {
        use serde_json::Value;
        match value {
            Value::Null => Self::Null,
            Value::Bool(truth) => Self::Boolean(*truth),
            Value::Number(number) => match number.as_i64() {
                Some(number) => Self::Integer(number),
                // A number that is no integer is exact as the text of a JSON document.
                None => Self::Call("jsondecode", vec![Self::Text(number.to_string())]),
            },
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(items) => Self::List(items.iter().map(Self::json).collect()),
            Value::Object(entries) => {
                Self::Object(entries.iter().map(|(key, value)| (key.clone(), Self::json(value))).collect())
            }
        }
    }
}

/// A block: `resource "TYPE" "NAME" { … }`.
#[derive(Clone, PartialEq, Debug)]
pub struct Block {
    pub(super) kind: &'static str,
    pub(super) labels: Vec<String>,
    /// Lines for people and scanners, above it.
    pub(super) heading: Vec<String>,
    /// The same, at the top of the body.
    pub(super) comments: Vec<String>,
    pub(super) body: Body,
}

impl Block {
    /// A block with an empty body; labels are identifiers of the language.
    pub fn new<L: Into<String>>(kind: &'static str, labels: impl IntoIterator<Item = L>) -> Self {
        Self {
            kind,
            labels: labels.into_iter().map(Into::into).collect(),
            heading: Vec::new(),
            comments: Vec::new(),
            body: Body::default(),
        }
    }

    /// Adds a line above it, our own words.
    #[must_use]
    pub fn heading(mut self, line: impl Into<String>) -> Self {
        self.heading.push(line.into());
        self
    }

    /// Adds a line at the top of its body, our own words.
    #[must_use]
    pub fn comment(mut self, line: impl Into<String>) -> Self {
        self.comments.push(line.into());
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: Expression) -> Self {
        self.body.items.push(Item::Attribute(name, value));
        self
    }

    /// Adds an argument, where there is one.
    #[must_use]
    pub fn with_some(self, name: &'static str, value: Option<Expression>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Adds a block of its own.
    #[must_use]
    pub fn block(mut self, block: Block) -> Self {
        self.body.items.push(Item::Block(block));
        self
    }
}

/// What stands between a block's braces.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Body {
    pub(super) items: Vec<Item>,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Item {
    Attribute(&'static str, Expression),
    Block(Block),
}
