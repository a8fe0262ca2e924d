//! Delivered names: views that collide, schemas that are taken, names that are too long.

use super::{Context, codes, sink_span};
use crate::binding::{DatasetId, SinkUse, dataset_ref};
use crate::blueprint::{DeliveredReading, keeps_folders, view_name, view_schema};
use crate::broker::{Terms, resolve};
use levada_model::address::DatasetRef;
use levada_model::connection::ContainerKind;
use levada_model::model::{Column, Dataset, Milestoning, Workspace};
use levada_model::{Address, Finding, Findings, Span};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

pub(super) fn check(context: &Context<'_>, findings: &mut Findings) {
    let terms = resolve(context.model, context.bindings);
    let mut taken = Taken::new();
    for (workspace_id, workspace) in context.model.workspaces.iter().enumerate() {
        let Some(container) = context.bindings.container_of_workspace[workspace_id] else { continue };
        let kind = context.model.containers[container as usize].kind();
        let schema = view_schema(workspace.name.as_str());
        let mut pass = Pass { context, workspace, container, kind, schema, findings };
        pass.schema();
        // Folders have no flat names: each dataset has one of its own.
        if !keeps_folders(kind) {
            pass.views(workspace_id, &terms[workspace_id], &mut taken);
        }
    }
}

/// The readings, each with the milestoning that goes without it.
const READINGS: [(DeliveredReading, Milestoning); 2] =
    [(DeliveredReading::Live, Milestoning::History), (DeliveredReading::History, Milestoning::Live)];

/// Who has which view of which container, by its full name.
type Taken<'m> = HashMap<(u32, String), (&'m Workspace, DatasetId)>;

struct Pass<'p, 'm> {
    context: &'p Context<'m>,
    workspace: &'m Workspace,
    container: u32,
    kind: ContainerKind,
    schema: String,
    findings: &'p mut Findings,
}

impl<'m> Pass<'_, 'm> {
    fn schema(&mut self) {
        let schema = &self.schema;
        if !is_reserved(self.kind, schema) {
            return;
        }
        let message = format!("workspace {} would own the schema {schema:?}, which is taken", self.workspace.name);
        let finding = Finding::error(codes::VIEW_SCHEMA_RESERVED, message).at(self.workspace.span);
        let about = Address::Workspace(self.workspace.name.clone());
        self.findings.push(finding.about(about).hint("give the workspace another name"));
    }

    fn views(&mut self, workspace_id: usize, terms: &[Terms], taken: &mut Taken<'m>) {
        let uses = &self.context.bindings.uses_of_workspace[workspace_id];
        for uses in uses.chunk_by(|a, b| a.dataset == b.dataset) {
            let model = self.context.model;
            let of = dataset_ref(model, uses[0].dataset);
            let group = &self.workspace.groups[uses[0].group.group as usize];
            // Looked up only for a finding: a group may have very many sinks.
            let span = || sink_span(group, &of);
            let dataset = &model.datastores[uses[0].dataset.store as usize].datasets[uses[0].dataset.dataset as usize];
            let milestoning = |of: &SinkUse| terms[of.group.group as usize].milestoning;
            for (reading, other) in READINGS {
                // Nobody sees a reading that all ask to do without.
                if uses.iter().all(|of| milestoning(of) == other) {
                    continue;
                }
                let name = view_name(&of, reading);
                self.collision(uses[0].dataset, &name, &span, taken);
                self.length(&name, &span);
            }
            self.columns(&of, dataset, &span);
        }
    }

    fn collision(&mut self, id: DatasetId, view: &str, span: &dyn Fn() -> Span, taken: &mut Taken<'m>) {
        let key = (self.container, full_name(self.kind, &self.schema, view));
        let (owner, other) = match taken.entry(key) {
            Entry::Vacant(free) => {
                free.insert((self.workspace, id));
                return;
            }
            Entry::Occupied(taken) => *taken.get(),
        };
        let name = full_name(self.kind, &self.schema, view);
        let (other, of) = (dataset_ref(self.context.model, other), dataset_ref(self.context.model, id));
        if owner.name == self.workspace.name {
            let message = format!("{other} and {of} would both be seen as {name:?}");
            self.push(codes::VIEW_COLLISION, message, span(), "consume one of them in another workspace");
        } else {
            let (workspace, owner) = (&self.workspace.name, &owner.name);
            let message = format!("{other} of {owner} and {of} of {workspace} would both be seen as {name:?}");
            let hint = "rename one of the workspaces, or deliver one of them to another container";
            self.push(codes::VIEW_COLLISION, message, span(), hint);
        }
    }

    fn push(&mut self, code: levada_model::Code, message: String, span: Span, hint: &str) {
        let about = Address::Workspace(self.workspace.name.clone());
        self.findings.push(Finding::error(code, message).at(span).about(about).hint(hint));
    }

    fn length(&mut self, view: &str, span: &dyn Fn() -> Span) {
        let Some(limit) = name_bytes_max(self.kind) else { return };
        let schema = self.schema.clone();
        for name in [view, &schema] {
            if name.len() > limit {
                let (kind, length) = (self.kind.word(), name.len());
                let message = format!("{name:?} has {length} bytes, {kind} keeps {limit}");
                self.push(
                    codes::VIEW_NAME_TOO_LONG,
                    message,
                    span(),
                    "shorten the names of workspace, datastore or dataset",
                );
            }
        }
    }

    /// Columns keep their names: a system that cuts long ones would lose or mix them, and its own
    /// come first.
    fn columns(&mut self, of: &DatasetRef, dataset: &Dataset, span: &dyn Fn() -> Span) {
        let own = system_columns(self.kind);
        let is_own = |column: &&Column| own.iter().any(|name| column.name.as_str().eq_ignore_ascii_case(name));
        for column in dataset.columns.iter().filter(is_own) {
            let (kind, name) = (self.kind.word(), column.name.as_str());
            let message = format!("column {name:?} of {of} is called like one that every {kind} table has");
            let hint = "give it another name here and its own one in `from:`";
            self.push(codes::COLUMN_NAME_TARGET, message, span(), hint);
        }
        let Some(limit) = name_bytes_max(self.kind) else { return };
        for column in dataset.columns.iter().filter(|column| column.name.as_str().len() > limit) {
            let (kind, name) = (self.kind.word(), column.name.as_str());
            let message = format!("column {name:?} of {of} has {} bytes, {kind} keeps {limit}", name.len());
            self.push(
                codes::COLUMN_NAME_TARGET,
                message,
                span(),
                "give it a shorter name here and its own one in `from:`",
            );
        }
    }
}

/// A view as its container spells it.
fn full_name(kind: ContainerKind, schema: &str, view: &str) -> String {
    match kind {
        // Without schemas, all views are in one space of names.
        ContainerKind::Sqlite => format!("{schema}__{view}"),
        _ => format!("{schema}.{view}"),
    }
}

/// The columns that a system puts into each table.
fn system_columns(kind: ContainerKind) -> &'static [&'static str] {
    match kind {
        ContainerKind::Postgres => &["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"],
        _ => &[],
    }
}

/// The longest name of a system, in bytes; `None`: long enough for all.
fn name_bytes_max(kind: ContainerKind) -> Option<usize> {
    match kind {
        ContainerKind::Postgres => Some(63),
        ContainerKind::Mysql | ContainerKind::Mariadb => Some(64),
        ContainerKind::Redshift => Some(127),
        ContainerKind::Snowflake => Some(255),
        ContainerKind::Sqlite | ContainerKind::Files | ContainerKind::ObjectStore | ContainerKind::Kafka => None,
    }
}

/// Whether a schema belongs to Levada, to the system, or to everybody.
fn is_reserved(kind: ContainerKind, schema: &str) -> bool {
    if schema == "levada" {
        return true;
    }
    match kind {
        ContainerKind::Postgres | ContainerKind::Redshift => {
            schema.starts_with("pg_") || schema == "information_schema" || schema == "public"
        }
        ContainerKind::Mysql | ContainerKind::Mariadb => {
            ["mysql", "sys", "performance_schema", "information_schema"].contains(&schema)
        }
        ContainerKind::Snowflake => ["information_schema", "public"].contains(&schema),
        // Views are called `SCHEMA__NAME`, and what begins with `sqlite_` is SQLite's own.
        ContainerKind::Sqlite => format!("{schema}__").starts_with("sqlite_"),
        ContainerKind::Files | ContainerKind::ObjectStore | ContainerKind::Kafka => false,
    }
}
