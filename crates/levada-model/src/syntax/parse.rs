//! Events of the YAML parser, built into node trees.
//!
//! A syntax error costs one document: reading goes on at the next `---`. What the model's YAML does
//! not have (anchors, aliases, tags, keys that are not text, duplicate keys) is reported, and the
//! rest of the tree stands.

use super::node::{Entry, Node, Value};
use crate::codes;
use crate::{Code, FileId, Finding, Findings, Span};
use saphyr_parser::{Event, Parser, ScalarStyle};
use std::borrow::Cow;
use std::collections::HashSet;

/// How deep mappings and lists may stand in each other.
pub(crate) const NESTING_MAX: usize = 64;

/// Mappings up to this size are searched for duplicate keys one by one, larger ones by hash.
const SMALL_MAP: usize = 12;

/// One document of a file.
pub(crate) struct Document<'t> {
    /// Its root.
    pub(crate) root: Node<'t>,
}

/// Parses all documents of a cleaned text. Empty documents are left out.
pub(crate) fn parse<'t>(file: FileId, text: &'t str, findings: &mut Findings) -> Vec<Document<'t>> {
    let mut documents = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let mut builder = Builder::new(file, &text[start..], start, findings);
        match builder.documents(&mut documents) {
            Ok(()) => break,
            Err(document_start) => match next_document(text, document_start) {
                Some(next) => start = next,
                None => break,
            },
        }
    }
    documents
}

/// The next line after `from` that is a document marker. `---` at the start of a line can't be
/// part of any value, so whatever was left open ends there.
fn next_document(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = from;
    loop {
        at += text.get(at..)?.find('\n')? + 1;
        if bytes[at..].starts_with(b"---") && matches!(bytes.get(at + 3), None | Some(b' ' | b'\t' | b'\r' | b'\n')) {
            return Some(at);
        }
    }
}

/// Turns the parser's character indices into byte offsets, walking along with them.
struct Cursor<'t> {
    text: &'t str,
    is_ascii: bool,
    chars: usize,
    bytes: usize,
}

impl<'t> Cursor<'t> {
    fn new(text: &'t str) -> Self {
        Self { text, is_ascii: text.is_ascii(), chars: 0, bytes: 0 }
    }

    /// Amortized constant, since the parser's marks only move forward, or a little back.
    fn byte(&mut self, index: usize) -> usize {
        if self.is_ascii {
            return index.min(self.text.len());
        }
        if index >= self.chars {
            let rest = &self.text[self.bytes..];
            match rest.char_indices().nth(index - self.chars) {
                Some((bytes, _)) => (self.chars, self.bytes) = (index, self.bytes + bytes),
                None => (self.chars, self.bytes) = (self.chars + rest.chars().count(), self.text.len()),
            }
        } else {
            let back = self.text[..self.bytes].char_indices().nth_back(self.chars - index - 1);
            (self.chars, self.bytes) = (index, back.map_or(0, |(bytes, _)| bytes));
        }
        self.bytes
    }
}

/// A collection that is still open.
enum Open<'t> {
    List { offset: u32, items: Vec<Node<'t>> },
    Map { offset: u32, entries: Vec<Entry<'t>>, key: Key<'t>, seen: HashSet<Cow<'t, str>> },
}

/// Where an open mapping stands.
enum Key<'t> {
    Awaited,
    Known(Cow<'t, str>, u32),
    /// The key was reported; its value is dropped.
    Dropped,
}

struct Builder<'t, 'f> {
    file: FileId,
    base: usize,
    cursor: Cursor<'t>,
    text: &'t str,
    open: Vec<Open<'t>>,
    /// How many collections are open beyond [`NESTING_MAX`]; they are dropped.
    too_deep: usize,
    findings: &'f mut Findings,
}

impl<'t, 'f> Builder<'t, 'f> {
    fn new(file: FileId, text: &'t str, base: usize, findings: &'f mut Findings) -> Self {
        Self { file, base, cursor: Cursor::new(text), text, open: Vec::new(), too_deep: 0, findings }
    }

    /// Reads documents to the end, or to an error: then gives where the broken document started.
    fn documents(&mut self, documents: &mut Vec<Document<'t>>) -> Result<(), usize> {
        let mut parser = Parser::new_from_str(self.text);
        let mut document_start = self.base;
        while let Some(event) = parser.next_event() {
            let (event, span) = match event {
                Ok(event) => event,
                Err(error) => {
                    let offset = self.offset(error.marker().index());
                    self.report(codes::SYNTAX, error.info().to_owned(), offset, None);
                    return Err(document_start);
                }
            };
            let offset = self.offset(span.start.index());
            match event {
                Event::DocumentStart(_) => document_start = offset as usize,
                Event::Scalar(text, style, anchor, tag) => {
                    self.refuse(anchor, tag.is_some(), offset);
                    let value = Value::Scalar { text, is_plain: style == ScalarStyle::Plain };
                    self.add(Node { offset, value }, documents);
                }
                Event::Alias(_) => {
                    let hint = "write the value where it is needed";
                    self.report(codes::ANCHOR, "aliases are not read".to_owned(), offset, Some(hint));
                    self.add(Node { offset, value: Value::Broken }, documents);
                }
                Event::SequenceStart(anchor, tag) => {
                    self.refuse(anchor, tag.is_some(), offset);
                    self.start(Open::List { offset, items: Vec::new() }, offset);
                }
                Event::MappingStart(anchor, tag) => {
                    self.refuse(anchor, tag.is_some(), offset);
                    let map = Open::Map { offset, entries: Vec::new(), key: Key::Awaited, seen: HashSet::new() };
                    self.start(map, offset);
                }
                Event::SequenceEnd | Event::MappingEnd => self.end(documents),
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            }
        }
        Ok(())
    }

    fn offset(&mut self, index: usize) -> u32 {
        u32::try_from(self.base + self.cursor.byte(index)).expect("files are at most FILE_BYTES_MAX long")
    }

    fn report(&mut self, code: Code, message: String, offset: u32, hint: Option<&str>) {
        let mut finding = Finding::error(code, message).at(Span::new(self.file, offset));
        finding.hint = hint.map(str::to_owned);
        self.findings.push(finding);
    }

    fn refuse(&mut self, anchor: usize, has_tag: bool, offset: u32) {
        if anchor != 0 {
            self.report(codes::ANCHOR, "anchors are not read".to_owned(), offset, Some("remove the word with &"));
        }
        if has_tag {
            self.report(codes::TAG, "tags are not read".to_owned(), offset, Some("remove the word with !"));
        }
    }

    fn start(&mut self, open: Open<'t>, offset: u32) {
        if self.too_deep > 0 || self.open.len() == NESTING_MAX {
            self.too_deep += 1;
            if self.too_deep == 1 {
                let message = format!("mappings and lists stand in each other more than {NESTING_MAX} deep");
                self.report(codes::TOO_DEEP, message, offset, None);
            }
            return;
        }
        self.open.push(open);
    }

    fn end(&mut self, documents: &mut Vec<Document<'t>>) {
        if self.too_deep > 0 {
            self.too_deep -= 1;
            if self.too_deep == 0 {
                self.add(Node { offset: 0, value: Value::Broken }, documents);
            }
            return;
        }
        let node = match self.open.pop() {
            Some(Open::List { offset, items }) => Node { offset, value: Value::List(items) },
            Some(Open::Map { offset, entries, .. }) => Node { offset, value: Value::Map(entries) },
            None => return,
        };
        self.add(node, documents);
    }

    fn add(&mut self, node: Node<'t>, documents: &mut Vec<Document<'t>>) {
        if self.too_deep > 0 {
            return;
        }
        match self.open.last_mut() {
            None if is_nothing(&node) => {}
            None => documents.push(Document { root: node }),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, seen, .. }) => match std::mem::replace(key, Key::Awaited) {
                Key::Known(text, offset) => entries.push(Entry { key: text, offset, value: node }),
                Key::Dropped => {}
                Key::Awaited => {
                    let fault;
                    (*key, fault) = as_key(node, entries, seen);
                    if let Some((code, message, offset)) = fault {
                        self.report(code, message, offset, None);
                    }
                }
            },
        }
    }
}

fn is_nothing(node: &Node<'_>) -> bool {
    matches!(&node.value, Value::Scalar { text, is_plain: true } if text.is_empty())
}

type Fault = (Code, String, u32);

fn as_key<'t>(node: Node<'t>, entries: &[Entry<'t>], seen: &mut HashSet<Cow<'t, str>>) -> (Key<'t>, Option<Fault>) {
    let Value::Scalar { text, .. } = node.value else {
        let message = "a key is one word or text".to_owned();
        return (Key::Dropped, Some((codes::KEY_NOT_TEXT, message, node.offset)));
    };
    let is_known = match entries.len() <= SMALL_MAP {
        true => entries.iter().any(|entry| entry.key == text),
        false => {
            if seen.is_empty() {
                seen.extend(entries.iter().map(|entry| entry.key.clone()));
            }
            !seen.insert(text.clone())
        }
    };
    match is_known {
        false => (Key::Known(text, node.offset), None),
        true => {
            let message = format!("the key `{text}` stands here for the second time");
            (Key::Dropped, Some((codes::DUPLICATE_KEY, message, node.offset)))
        }
    }
}
