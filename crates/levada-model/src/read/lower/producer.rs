//! Datastores, their datasets and columns, and how they are read.

use super::{Lowering, documentation, is_true, parsed, period, text, word};
use crate::DataType;
use crate::model::*;
use crate::read::forms;
use crate::syntax::{Entry, Node, Value};
use std::collections::BTreeMap;

impl Lowering<'_> {
    pub(super) fn datastore(&self, root: &Node<'_>) -> Option<Datastore> {
        let name = self.own(root, "datastore")?;
        let container = self.spanned_at(root, "container")?;
        let ingest = self.ingest(root)?;
        Some(Datastore {
            name: name.value,
            span: name.span,
            owner: self.owner.clone(),
            documentation: documentation(root),
            status: word(root, "status").unwrap_or_default(),
            origin: Origin::Container { container, ingest },
            approved: self.approved(root),
            deprecated: self.deprecated(root),
            datasets: self.datasets(root),
        })
    }

    pub(super) fn approved(&self, node: &Node<'_>) -> Option<Vec<crate::Spanned<String>>> {
        node.get("approved").map(|_| self.spanned_list(node, "approved"))
    }

    pub(super) fn deprecated(&self, node: &Node<'_>) -> Option<Deprecated> {
        let node = node.get("deprecated")?;
        Some(Deprecated {
            span: self.span(node),
            reason: text(node, "reason").unwrap_or_default(),
            until: text(node, "until"),
            instead: text(node, "instead"),
        })
    }

    fn ingest(&self, root: &Node<'_>) -> Option<Ingest> {
        let entry = root.entries().iter().find(|entry| entry.key == "ingest")?;
        let node = &entry.value;
        Some(Ingest {
            span: self.key_span(entry),
            kind: ingest_kind(node)?,
            is_multi: text(node, "consistency").as_deref() != Some("single"),
            trigger: node.get("trigger").and_then(cron_trigger),
            calendar: self.spanned_at(node, "calendar"),
        })
    }

    pub(super) fn datasets(&self, root: &Node<'_>) -> Vec<Dataset> {
        let entries = root.get("datasets").map_or(&[][..], Node::entries);
        entries.iter().filter_map(|entry| self.dataset(entry)).collect()
    }

    fn dataset(&self, entry: &Entry<'_>) -> Option<Dataset> {
        let node = &entry.value;
        Some(Dataset {
            name: entry.key.parse().ok()?,
            span: self.key_span(entry),
            documentation: documentation(node),
            classification: self.spanned_at(node, "classification"),
            deprecated: self.deprecated(node),
            table: text(node, "table"),
            watermark: self.spanned_at(node, "watermark"),
            partition: self.spanned_list(node, "partition"),
            columns: node.get("columns").map_or(&[][..], Node::entries).iter().filter_map(column).collect(),
        })
    }
}

/// A column whose type can't be read counts as text, so that references to it still hold.
fn column(entry: &Entry<'_>) -> Option<Column> {
    let node = &entry.value;
    let data_type = |text: Option<&str>| text.and_then(|text| text.parse().ok()).unwrap_or(DataType::Text);
    let short = Column {
        name: entry.key.parse().ok()?,
        documentation: None,
        from: None,
        data_type: data_type(node.text().or_else(|| node.get("type")?.text())),
        nullable: true,
        key: false,
        classification: None,
    };
    if !matches!(node.value, Value::Map(_)) {
        return Some(short);
    }
    let key = is_true(node, "key").unwrap_or(false);
    Some(Column {
        documentation: documentation(node).map(String::into_boxed_str),
        from: parsed(node, "from"),
        nullable: is_true(node, "nullable").unwrap_or(!key),
        key,
        classification: parsed(node, "classification"),
        ..short
    })
}

fn ingest_kind(node: &Node<'_>) -> Option<IngestKind> {
    Some(match node.get("kind")?.text()? {
        "snapshot" => IngestKind::Snapshot,
        "watermark" => IngestKind::Watermark {
            column: parsed(node, "column"),
            overlap: period(node, "overlap"),
            deletes: node.get("deletes").and_then(cron),
        },
        "cdc" => IngestKind::Cdc { wal_max_bytes: node.get("wal_max").and_then(|most| forms::bytes(most.text()?)) },
        "files" => IngestKind::Files {
            pattern: text(node, "pattern")?,
            format: word(node, "format")?,
            options: options(node),
            each_file: word(node, "each-file").unwrap_or(EachFile::Replaces),
        },
        "topic" => IngestKind::Topic,
        _ => return None,
    })
}

fn options(node: &Node<'_>) -> BTreeMap<String, String> {
    let entries = node.get("options").map_or(&[][..], Node::entries);
    entries.iter().filter_map(|entry| Some((entry.key.clone().into_owned(), entry.value.text()?.to_owned()))).collect()
}

fn cron(node: &Node<'_>) -> Option<Cron> {
    Some(Cron { expression: text(node, "cron")?, timezone: text(node, "timezone") })
}

/// The trigger that a mapping with `cron:` describes.
pub(super) fn cron_trigger(node: &Node<'_>) -> Option<CronTrigger> {
    Some(CronTrigger {
        cron: cron(node)?,
        catch_up: word(node, "catch-up").unwrap_or_default(),
        jitter: period(node, "jitter"),
    })
}
