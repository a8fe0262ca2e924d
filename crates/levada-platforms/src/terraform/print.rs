//! The tree as text, as `terraform fmt` leaves it: two spaces a level, `=` aligned in runs of
//! arguments on one line each, a blank line around whatever takes more.

use super::expression::{Block, Expression, Item, TemplatePart};

/// The longest list or object that stands on one line, in characters.
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

fn print_block(block: &Block, level: usize, text: &mut String) {
    let Block { kind, labels, body, .. } = block;
    text.push_str(kind);
    for label in labels {
        text.push(' ');
        quote(label, text);
    }
    text.push_str(" {");
    if body.items.is_empty() && block.comments.is_empty() {
        text.push_str("}\n");
        return;
    }
    text.push('\n');
    comments(&block.comments, level + 1, text);
    let is_long = |item: &Item| match item {
        Item::Attribute(_, value) => !is_short(value),
        Item::Block(_) => true,
    };
    let runs = body.items.chunk_by(|one, other| !is_long(one) && !is_long(other));
    for (index, run) in runs.enumerate() {
        if index > 0 {
            text.push('\n');
        }
        let names = run.iter().map(|item| if let Item::Attribute(name, _) = item { width(name) } else { 0 });
        let width_max = names.max().unwrap_or(0);
        for item in run {
            indent(level + 1, text);
            match item {
                Item::Attribute(name, value) => attribute(name, width_max, value, level + 1, text),
                Item::Block(block) => print_block(block, level + 1, text),
            }
        }
    }
    indent(level, text);
    text.push_str("}\n");
}

/// `name   = value` and the end of its line.
fn attribute(name: &str, width_max: usize, value: &Expression, level: usize, text: &mut String) {
    text.push_str(name);
    text.extend(std::iter::repeat_n(' ', width_max - width(name)));
    text.push_str(" = ");
    expression(value, level, text);
    text.push('\n');
}

fn comments(lines: &[String], level: usize, text: &mut String) {
    for line in lines {
        indent(level, text);
        text.push_str(&format!("# {}\n", levada_model::printable::one_line(line)));
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn indent(level: usize, text: &mut String) {
    text.extend(std::iter::repeat_n("  ", level));
}

/// Whether a value stands on one line where it is an argument.
fn is_short(value: &Expression) -> bool {
    match value {
        Expression::List(items) => list_on_one_line(items, value).is_some(),
        Expression::Object(entries) => entries.is_empty(),
        Expression::Call(_, arguments) => arguments.iter().all(is_short),
        _ => true,
    }
}

/// A value that begins anywhere, and whose other lines belong to `level`.
fn expression(value: &Expression, level: usize, text: &mut String) {
    match value {
        Expression::Text(literal) => quote(literal, text),
        Expression::Template(parts) => template(parts, text),
        Expression::Reference(address) => text.push_str(address),
        Expression::Integer(number) => text.push_str(&number.to_string()),
        Expression::Boolean(truth) => text.push_str(if *truth { "true" } else { "false" }),
        Expression::Null => text.push_str("null"),
        Expression::List(items) => match list_on_one_line(items, value) {
            Some(line) => text.push_str(&line),
            None => list(items, level, text),
        },
        Expression::Object(entries) => object(entries, level, text),
        Expression::Call(name, arguments) => {
            text.push_str(name);
            text.push('(');
            for (index, argument) in arguments.iter().enumerate() {
                text.push_str(if index > 0 { ", " } else { "" });
                expression(argument, level, text);
            }
            text.push(')');
        }
    }
}

fn list(items: &[Expression], level: usize, text: &mut String) {
    text.push_str("[\n");
    for item in items {
        indent(level + 1, text);
        // What is told of one thing stands on one line, where it can.
        match on_one_line(item) {
            Some(line) => text.push_str(&line),
            None => expression(item, level + 1, text),
        }
        text.push_str(",\n");
    }
    indent(level, text);
    text.push(']');
}

fn object(entries: &[(String, Expression)], level: usize, text: &mut String) {
    if entries.is_empty() {
        text.push_str("{}");
        return;
    }
    text.push_str("{\n");
    let is_run = |one: &(String, Expression), other: &(String, Expression)| is_short(&one.1) && is_short(&other.1);
    for (index, run) in entries.chunk_by(is_run).enumerate() {
        if index > 0 {
            text.push('\n');
        }
        let keys: Vec<String> = run.iter().map(|(key, _)| key_text(key)).collect();
        let width_max = keys.iter().map(|key| width(key)).max().unwrap_or(0);
        for (key, (_, value)) in keys.iter().zip(run) {
            indent(level + 1, text);
            attribute(key, width_max, value, level + 1, text);
        }
    }
    indent(level, text);
    text.push('}');
}

/// A list on one line; `None`: it takes more, or has objects, which stand on lines of their own.
fn list_on_one_line(items: &[Expression], list: &Expression) -> Option<String> {
    let has_objects = items.iter().any(|item| matches!(item, Expression::Object(entries) if !entries.is_empty()));
    if has_objects { None } else { on_one_line(list) }
}

/// A value on one line; `None`: it takes more than [`LINE_CHARS_MAX`].
fn on_one_line(value: &Expression) -> Option<String> {
    let mut line = String::new();
    line_of(value, &mut line).then_some(line)
}

/// Appends a value; stops and says no where the line is full.
fn line_of(value: &Expression, line: &mut String) -> bool {
    match value {
        Expression::List(items) => {
            line.push('[');
            let fits = items.iter().enumerate().all(|(index, item)| {
                line.push_str(if index > 0 { ", " } else { "" });
                line_of(item, line)
            });
            line.push(']');
            if !fits {
                return false;
            }
        }
        Expression::Object(entries) if entries.is_empty() => line.push_str("{}"),
        Expression::Object(entries) => {
            line.push_str("{ ");
            let fits = entries.iter().enumerate().all(|(index, (key, value))| {
                line.push_str(if index > 0 { ", " } else { "" });
                line.push_str(&key_text(key));
                line.push_str(" = ");
                line_of(value, line)
            });
            line.push_str(" }");
            if !fits {
                return false;
            }
        }
        Expression::Call(name, arguments) => {
            line.push_str(name);
            line.push('(');
            let fits = arguments.iter().enumerate().all(|(index, argument)| {
                line.push_str(if index > 0 { ", " } else { "" });
                line_of(argument, line)
            });
            line.push(')');
            if !fits {
                return false;
            }
        }
        other => expression(other, 0, line),
    }
    // Bytes first: they are never fewer than characters.
    line.len() <= LINE_CHARS_MAX || width(line) <= LINE_CHARS_MAX
}

/// A key of an object: bare where it is a word that means nothing else.
fn key_text(key: &str) -> String {
    let is_word = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !matches!(key, "for" | "true" | "false" | "null" | "if" | "in");
    if is_word {
        return key.to_owned();
    }
    let mut text = String::new();
    quote(key, &mut text);
    text
}

fn template(parts: &[TemplatePart], text: &mut String) {
    text.push('"');
    for (index, part) in parts.iter().enumerate() {
        match part {
            TemplatePart::Text(part) if matches!(parts.get(index + 1), Some(TemplatePart::Reference(_))) => {
                // `$${` would mean a brace that begins no reference.
                let rest = part.trim_end_matches('$');
                escape(rest, text);
                if rest.len() < part.len() {
                    text.push_str(&format!("${{\"{}\"}}", &part[rest.len()..]));
                }
            }
            TemplatePart::Text(part) => escape(part, text),
            TemplatePart::Reference(address) => text.push_str(&format!("${{{address}}}")),
        }
    }
    text.push('"');
}

fn quote(literal: &str, text: &mut String) {
    text.push('"');
    escape(literal, text);
    text.push('"');
}

/// Escapes what a quoted template would read as something else.
fn escape(literal: &str, text: &mut String) {
    // Nearly all text has nothing to escape.
    if literal.bytes().all(|byte| (b' '..=b'~').contains(&byte) && !b"\"\\$%".contains(&byte)) {
        text.push_str(literal);
        return;
    }
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
