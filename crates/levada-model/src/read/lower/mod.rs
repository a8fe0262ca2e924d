//! Checked nodes into the model's types.
//!
//! Silent: whatever is missing or wrong here was reported by the check. An object without a usable
//! name is left out; a part that can't be read is left out or takes its default, so that what is
//! right can still be looked at.

mod consumer;
mod ecosystem;
mod operations;
mod owner;
mod producer;
mod unread;
mod zone;

use super::fragment::Fragment;
use super::{forms, paths};
pub(super) use ecosystem::usual_classifications;

use crate::address::DatasetRef;
use crate::grammar::{Object, What};
use crate::model::{LocationRef, Owner};
use crate::period::Period;
use crate::syntax::{Entry, Node, Plain, Value};
use crate::{FileId, Findings, Span, Spanned};
use serde::de::IntoDeserializer;
use serde::de::value::{Error as WordError, StrDeserializer};
use std::str::FromStr;

/// Adds the object of a checked document to the fragment.
pub(super) fn document(
    file: FileId,
    path: &str,
    object: &Object,
    root: &Node<'_>,
    fragment: &mut Fragment,
    findings: &mut Findings,
) {
    fragment.file = file;
    let lowering = Lowering { file, folder: paths::folder(path), owner: Owner::unknown() };
    match (object.what, object.keys[0].name) {
        (What::Ecosystem, _) => fragment.ecosystems.extend(lowering.ecosystem(root)),
        (What::Calendar, _) => fragment.calendars.extend(lowering.calendar(root)),
        (What::Zone, _) => fragment.zones.extend(lowering.zone(root)),
        (What::Team, _) => {
            fragment.teams.extend(lowering.team(root));
            fragment.containers.extend(lowering.list(root, "containers", |node| lowering.container(node)));
        }
        (What::Datastore, _) => fragment.datastores.extend(lowering.datastore(root)),
        (What::Workspace, _) => {
            fragment.datastores.extend(lowering.output(root));
            fragment.workspaces.extend(lowering.workspace(root, findings));
        }
        (_, "assign") => fragment.assignments.extend(lowering.assignment(root)),
        _ => fragment.primaries.extend(lowering.primary(root)),
    }
    lowering.unread(object.what, root, fragment);
}

/// What every reader of one document knows.
struct Lowering<'p> {
    file: FileId,
    /// The folder of the file, from the model's root.
    folder: &'p str,
    /// Stands for the owner until the folders are known.
    owner: Owner,
}

impl Lowering<'_> {
    fn span(&self, node: &Node<'_>) -> Span {
        Span::new(self.file, node.offset)
    }

    fn key_span(&self, entry: &Entry<'_>) -> Span {
        Span::new(self.file, entry.offset)
    }

    /// The node that names an object: the value of its kind, or, where the kind is misspelt, of
    /// the first key.
    fn own_name<'n>(&self, node: &'n Node<'n>, kind: &str) -> Option<&'n Node<'n>> {
        node.get(kind).or_else(|| node.entries().first().map(|entry| &entry.value))
    }

    fn own<T: FromStr>(&self, node: &Node<'_>, kind: &str) -> Option<Spanned<T>> {
        self.spanned(self.own_name(node, kind)?)
    }

    /// Parses a scalar, with its place.
    fn spanned<T: FromStr>(&self, node: &Node<'_>) -> Option<Spanned<T>> {
        Some(Spanned::new(node.text()?.parse().ok()?, self.span(node)))
    }

    fn spanned_at<T: FromStr>(&self, node: &Node<'_>, key: &str) -> Option<Spanned<T>> {
        self.spanned(node.get(key)?)
    }

    /// A list's items, without those that can't be read.
    fn list<T>(&self, node: &Node<'_>, key: &str, item: impl Fn(&Node<'_>) -> Option<T>) -> Vec<T> {
        node.get(key).map_or(&[][..], Node::items).iter().filter_map(item).collect()
    }

    fn spanned_list<T: FromStr>(&self, node: &Node<'_>, key: &str) -> Vec<Spanned<T>> {
        self.list(node, key, |item| self.spanned(item))
    }

    fn location(&self, node: &Node<'_>) -> Option<Spanned<LocationRef>> {
        Some(Spanned::new(forms::location(node.text()?)?, self.span(node)))
    }

    fn dataset_refs(&self, node: &Node<'_>, key: &str) -> Vec<Spanned<DatasetRef>> {
        self.spanned_list(node, key)
    }
}

/// A text; `None` where none, or something else, stands there.
fn text(node: &Node<'_>, key: &str) -> Option<String> {
    node.get(key)?.text().map(str::to_owned)
}

fn texts(node: &Node<'_>, key: &str) -> Vec<String> {
    let items = node.get(key).map_or(&[][..], Node::items);
    items.iter().filter_map(Node::text).map(str::to_owned).collect()
}

fn documentation(node: &Node<'_>) -> Option<String> {
    text(node, "documentation")
}

fn parsed<T: FromStr>(node: &Node<'_>, key: &str) -> Option<T> {
    node.get(key)?.text()?.parse().ok()
}

/// One of the words of an enum, by the names that its serde form has.
fn word<'n, T: serde::Deserialize<'n>>(node: &'n Node<'n>, key: &str) -> Option<T> {
    let deserializer: StrDeserializer<'n, WordError> = node.get(key)?.text()?.into_deserializer();
    T::deserialize(deserializer).ok()
}

fn is_true(node: &Node<'_>, key: &str) -> Option<bool> {
    node.get(key)?.text()?.parse().ok()
}

fn period(node: &Node<'_>, key: &str) -> Option<Period> {
    parsed(node, key)
}

/// A free-form value, by YAML's core schema.
pub(super) fn json(node: &Node<'_>) -> serde_json::Value {
    use serde_json::Value as Json;
    match &node.value {
        Value::Scalar { text, is_plain: false } => Json::String(text.clone().into_owned()),
        Value::Scalar { text, is_plain: true } => match Plain::of(text) {
            Plain::Null => Json::Null,
            Plain::Boolean(is_true) => Json::Bool(is_true),
            Plain::Integer | Plain::Number => number(text).unwrap_or_else(|| Json::String(text.clone().into_owned())),
            Plain::Text => Json::String(text.clone().into_owned()),
        },
        Value::List(items) => Json::Array(items.iter().map(json).collect()),
        Value::Map(entries) => {
            Json::Object(entries.iter().map(|entry| (entry.key.clone().into_owned(), json(&entry.value))).collect())
        }
        Value::Broken => Json::Null,
    }
}

fn number(text: &str) -> Option<serde_json::Value> {
    let integer = text.parse::<i64>().map(Into::into).or_else(|_| text.parse::<u64>().map(Into::into));
    integer.ok().or_else(|| serde_json::Number::from_f64(text.parse().ok()?)).map(serde_json::Value::Number)
}

fn settings(node: &Node<'_>) -> crate::model::Settings {
    let entries = node.get("settings").map_or(&[][..], Node::entries);
    entries.iter().map(|entry| (entry.key.clone().into_owned(), json(&entry.value))).collect()
}
