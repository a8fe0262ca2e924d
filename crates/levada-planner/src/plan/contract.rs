//! What consumers see of a change: view by view, column by column.
//!
//! Views are compared by their full names, whatever platform shows them: moving a workspace to
//! another platform changes nothing for its readers.

use crate::blueprint::{ExportSpec, Node, NodeSpec, ViewSpec};
use crate::diff::{Delta, NodeChange, of_schemas, reader_text};
use crate::evolution::{ContractEffect, effect_of};
use levada_model::Span;
use levada_model::address::{DatasetRef, NodeAddress};
use levada_model::name::{ColumnName, ContainerName, WorkspaceName};
use serde::Serialize;
use std::collections::BTreeMap;

/// One thing that one consumer sees.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ContractLine {
    /// The consumer.
    pub workspace: WorkspaceName,
    /// Where it reads.
    pub container: ContainerName,
    /// The view, `schema.name`.
    pub view: String,
    /// What the view shows.
    pub dataset: DatasetRef,
    /// The column; `None`: the view as a whole.
    pub column: Option<ColumnName>,
    /// What happens, in words.
    pub change: String,
    /// What it means.
    pub effect: ContractEffect,
    /// The place in the model that makes it happen.
    #[serde(skip)]
    pub cause: Option<Span>,
}

type Views<'d> = BTreeMap<(&'d ContainerName, String), (&'d ViewSpec, &'d ExportSpec, &'d NodeAddress)>;

/// Compares the views of all changed exports.
pub(super) fn effects(delta: &Delta, causes: &BTreeMap<NodeAddress, Span>) -> Vec<ContractLine> {
    let before = views(delta.changes.values().filter_map(NodeChange::before));
    let after = views(delta.changes.values().filter_map(NodeChange::after));
    let mut lines = Vec::new();
    for (key, &(view, export, address)) in &after {
        let line = Line { view, export, cause: causes.get(address).copied() };
        match before.get(key) {
            None => lines.push(line.whole("view appears", ContractEffect::Compatible)),
            Some((old_view, old_export, _)) => line.compare(old_view, old_export, &mut lines),
        }
    }
    for (key, &(view, export, address)) in &before {
        if !after.contains_key(key) {
            let line = Line { view, export, cause: causes.get(address).copied() };
            lines.push(line.whole("view goes", ContractEffect::Breaking));
        }
    }
    lines.sort_by(|a, b| (&a.workspace, &a.view, &a.column).cmp(&(&b.workspace, &b.view, &b.column)));
    lines
}

fn views<'d>(nodes: impl Iterator<Item = &'d Node>) -> Views<'d> {
    let mut views = Views::new();
    for node in nodes {
        if let NodeSpec::Export(export) = &node.spec {
            for view in &export.views {
                let name = format!("{}.{}", view.schema, view.name);
                views.insert((&export.connection.container, name), (view, export, &node.address));
            }
        }
    }
    views
}

struct Line<'d> {
    view: &'d ViewSpec,
    export: &'d ExportSpec,
    cause: Option<Span>,
}

impl Line<'_> {
    fn line(&self, column: Option<ColumnName>, change: String, effect: ContractEffect) -> ContractLine {
        ContractLine {
            workspace: self.view.workspace.clone(),
            container: self.export.connection.container.clone(),
            view: format!("{}.{}", self.view.schema, self.view.name),
            dataset: self.export.source.clone(),
            column,
            change,
            effect,
            cause: self.cause,
        }
    }

    fn whole(&self, change: &str, effect: ContractEffect) -> ContractLine {
        self.line(None, change.to_owned(), effect)
    }

    fn compare(&self, old_view: &ViewSpec, old_export: &ExportSpec, lines: &mut Vec<ContractLine>) {
        if old_export.source != self.export.source {
            lines.push(self.whole("view shows another dataset", ContractEffect::Breaking));
        }
        for difference in of_schemas(&old_export.schema, &self.export.schema) {
            let column = difference.column().cloned();
            lines.push(self.line(column, difference.to_string(), effect_of(&difference)));
        }
        if old_view.retention != self.view.retention {
            let text =
                |period: Option<levada_model::period::Period>| period.map_or("none".to_owned(), |it| it.to_string());
            let change = format!("history {} -> {}", text(old_view.retention), text(self.view.retention));
            let effect = match self.view.retention < old_view.retention {
                true => ContractEffect::Breaking,
                false => ContractEffect::Compatible,
            };
            lines.push(self.line(None, change, effect));
        }
        if old_view.readers != self.view.readers {
            lines.push(self.readers(old_view));
        }
    }
}

impl Line<'_> {
    fn readers(&self, old_view: &ViewSpec) -> ContractLine {
        let (old, new) = (&old_view.readers, &self.view.readers);
        let granted =
            new.iter().filter(|reader| !old.contains(reader)).map(|reader| format!(" +{}", reader_text(reader)));
        let revoked: Vec<String> = old
            .iter()
            .filter(|reader| !new.contains(reader))
            .map(|reader| format!(" -{}", reader_text(reader)))
            .collect();
        let effect = if revoked.is_empty() { ContractEffect::Compatible } else { ContractEffect::Breaking };
        self.line(None, format!("readers{}", granted.chain(revoked).collect::<String>()), effect)
    }
}
