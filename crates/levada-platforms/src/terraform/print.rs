//! The tree as text, as `terraform fmt` leaves it: two spaces a level, `=` aligned in runs of
//! arguments on one line each, a blank line around whatever takes more.

use super::expression::{Block, Expression, Item, TemplatePart};

/// The longest list that stands on one line, in characters.
const LINE_CHARS_MAX: usize = 100;

/// Prints the blocks of one file, with a line that says who made it.
pub fn print(blocks: &[Block]) -> String {
    let mut text = String::from("# Rendered by Levada from the model; edit the model, not this file.\n");
    for block in blocks {
        text.push('\n');
        comments(&block.heading, 0, &mut text);
        print_block(block, 0, &mut text);
    }
    text
}

/// `name = value`, or a block.
struct Entry {
    /// What stands before ` = `; `None`: a block.
    name: Option<String>,
    /// The value, or the whole block, its later lines indented for their place.
    text: String,
}

impl Entry {
    fn is_long(&self) -> bool {
        self.name.is_none() || self.text.contains('\n')
    }
}

fn print_block(block: &Block, level: usize, text: &mut String) {
    let Block { kind, labels, body, .. } = block;
    text.push_str(kind);
    for label in labels {
        text.push(' ');
        text.push_str(&quoted(label));
    }
    text.push_str(" {");
    if body.items.is_empty() && block.comments.is_empty() {
        text.push_str("}\n");
        return;
    }
    text.push('\n');
    comments(&block.comments, level + 1, text);
    let entries = body.items.iter().map(|item| match item {
        Item::Attribute(name, value) => Entry { name: Some((*name).to_owned()), text: expression(value, level + 1) },
        Item::Block(block) => {
            let mut inner = String::new();
            print_block(block, level + 1, &mut inner);
            Entry { name: None, text: inner.trim_end().to_owned() }
        }
    });
    print_entries(&entries.collect::<Vec<_>>(), level + 1, text);
    indent(level, text);
    text.push_str("}\n");
}

fn comments(lines: &[String], level: usize, text: &mut String) {
    for line in lines {
        indent(level, text);
        text.push_str(&format!("# {}\n", levada_model::printable::one_line(line)));
    }
}

/// Prints entries, a line or more each, and aligns runs of short ones.
fn print_entries(entries: &[Entry], level: usize, text: &mut String) {
    let is_run = |one: &Entry, other: &Entry| !one.is_long() && !other.is_long();
    for (index, run) in entries.chunk_by(is_run).enumerate() {
        if index > 0 {
            text.push('\n');
        }
        let widths = run.iter().filter_map(|entry| entry.name.as_ref()).map(|name| width(name));
        let width_max = widths.max().unwrap_or(0);
        for entry in run {
            indent(level, text);
            if let Some(name) = &entry.name {
                text.push_str(name);
                text.extend(std::iter::repeat_n(' ', width_max - width(name)));
                text.push_str(" = ");
            }
            text.push_str(&entry.text);
            text.push('\n');
        }
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn indent(level: usize, text: &mut String) {
    text.extend(std::iter::repeat_n("  ", level));
}

/// A value whose first line begins anywhere, and whose other lines belong to `level`.
fn expression(value: &Expression, level: usize) -> String {
    match value {
        Expression::Text(text) => quoted(text),
        Expression::Template(parts) => template(parts),
        Expression::Reference(address) => address.clone(),
        Expression::Integer(number) => number.to_string(),
        Expression::Boolean(truth) => truth.to_string(),
        Expression::Null => "null".to_owned(),
        Expression::List(items) => list(items, level),
        Expression::Object(entries) => object(entries, level),
        Expression::Call(name, arguments) => {
            let arguments: Vec<String> = arguments.iter().map(|argument| expression(argument, level)).collect();
            format!("{name}({})", arguments.join(", "))
        }
    }
}

fn list(items: &[Expression], level: usize) -> String {
    let items: Vec<String> = items.iter().map(|item| expression(item, level + 1)).collect();
    let on_one_line = format!("[{}]", items.join(", "));
    if !on_one_line.contains('\n') && width(&on_one_line) <= LINE_CHARS_MAX {
        return on_one_line;
    }
    let mut text = String::from("[\n");
    for item in items {
        indent(level + 1, &mut text);
        text.push_str(&item);
        text.push_str(",\n");
    }
    indent(level, &mut text);
    text + "]"
}

fn object(entries: &[(String, Expression)], level: usize) -> String {
    if entries.is_empty() {
        return "{}".to_owned();
    }
    let entry =
        |(key, value): &(String, Expression)| Entry { name: Some(key_text(key)), text: expression(value, level + 1) };
    let mut text = String::from("{\n");
    print_entries(&entries.iter().map(entry).collect::<Vec<_>>(), level + 1, &mut text);
    indent(level, &mut text);
    text + "}"
}

/// A key of an object: bare where it is a word that means nothing else.
fn key_text(key: &str) -> String {
    let is_word = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !matches!(key, "for" | "true" | "false" | "null" | "if" | "in");
    if is_word { key.to_owned() } else { quoted(key) }
}

fn template(parts: &[TemplatePart]) -> String {
    let mut text = String::from("\"");
    for (index, part) in parts.iter().enumerate() {
        match part {
            TemplatePart::Text(part) if matches!(parts.get(index + 1), Some(TemplatePart::Reference(_))) => {
                // `$${` would mean a brace that begins no reference.
                let rest = part.trim_end_matches('$');
                escape(rest, &mut text);
                if rest.len() < part.len() {
                    text.push_str(&format!("${{\"{}\"}}", &part[rest.len()..]));
                }
            }
            TemplatePart::Text(part) => escape(part, &mut text),
            TemplatePart::Reference(address) => text.push_str(&format!("${{{address}}}")),
        }
    }
    text + "\""
}

fn quoted(literal: &str) -> String {
    let mut text = String::from("\"");
    escape(literal, &mut text);
    text + "\""
}

/// Escapes what a quoted template would read as something else.
fn escape(literal: &str, text: &mut String) {
    let mut characters = literal.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '$' | '%' if characters.peek() == Some(&'{') => text.extend([character, character]),
            control if control.is_control() || is_invisible(control) => {
                text.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => text.push(other),
        }
    }
}

/// Marks that turn the direction of text, or can't be seen: a reader must see what is there.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}
