//! Transformers: their outputs, their code, what makes them fire.

use super::{Context, codes};
use levada_model::model::{
    Code, Datastore, ObjectKind, Origin, SqlFile, Status, TransformTrigger, Transformer, Workspace,
};
use levada_model::{Address, Finding, Findings, Span};
use std::collections::{HashMap, HashSet};

pub(super) fn check(context: &Context<'_>, findings: &mut Findings) {
    let mut writers: HashMap<u32, &Workspace> = HashMap::new();
    for (workspace_id, workspace) in context.model.workspaces.iter().enumerate() {
        let Some(transformer) = &workspace.transformer else { continue };
        let output = context.bindings.output_of_workspace[workspace_id];
        let mut pass = Pass { workspace, transformer, findings };
        pass.trigger();
        let Some(store_id) = output else { continue };
        let store = &context.model.datastores[store_id as usize];
        pass.output(store);
        let is_consumed_by_others = context.bindings.uses_of_store[store_id as usize]
            .iter()
            .any(|of| of.group.workspace as usize != workspace_id);
        if !is_consumed_by_others && !context.model.unread.may_have_some(ObjectKind::Workspace) {
            let message = match context.bindings.is_consumed(store_id) {
                true => format!("nobody but its own transformer consumes {}", store.name),
                false => format!("nobody consumes {}: the transformer does not run", store.name),
            };
            let span = pass.transformer.output.span;
            let finding = Finding::warning(codes::OUTPUT_UNUSED, message).at(span);
            pass.findings.push(finding.about(Address::Transformer(workspace.name.clone())));
        }
        if let Code::Sql(files) = &transformer.code {
            pass.sql(files, store);
        }
        if let Some(first) = writers.insert(store_id, workspace) {
            let message =
                format!("the transformers of {} and {} both write {}", first.name, workspace.name, store.name);
            pass.error(codes::OUTPUT_TWICE, message, transformer.output.span, "give each its own output");
        }
    }
}

struct Pass<'p, 'm> {
    workspace: &'m Workspace,
    transformer: &'m Transformer,
    findings: &'p mut Findings,
}

impl Pass<'_, '_> {
    fn error(&mut self, code: levada_model::Code, message: String, span: Span, hint: &str) {
        let about = Address::Transformer(self.workspace.name.clone());
        self.findings.push(Finding::error(code, message).at(span).about(about).hint(hint));
    }

    fn trigger(&mut self) {
        // Sinks that name nothing are reported as such.
        let mut sinks = self.workspace.groups.iter().flat_map(|group| &group.sinks);
        let has_input = sinks.any(|sink| sink.dataset.value.datastore != self.transformer.output.value);
        if self.transformer.trigger == TransformTrigger::OnChange && !has_input {
            let message = "the transformer fires on change and has no input but its own output".to_owned();
            let span = self.transformer.span;
            self.error(codes::NOTHING_FIRES, message, span, "add a group with datasets, or set `trigger: { cron: … }`");
        }
    }

    fn output(&mut self, store: &Datastore) {
        let span = self.transformer.output.span;
        if store.owner != self.workspace.owner {
            let (zone, team) = (&store.owner.zone, &store.owner.team);
            let message = format!("output {} belongs to team {team} of zone {zone}", store.name);
            self.error(codes::OUTPUT_OTHER_TEAM, message, span, "a transformer writes into its own team");
        }
        if let Origin::Container { .. } = store.origin {
            let message = format!("{} is already a datastore with a container of its own", store.name);
            self.error(codes::OUTPUT_TWICE, message, span, "give the output another name");
        }
        if store.datasets.is_empty() {
            let message = format!("output {} has no datasets", store.name);
            self.error(codes::OUTPUT_EMPTY, message, span, "declare them under `datasets:` of the workspace");
        }
        if store.status == Status::Production && self.workspace.status != Status::Production {
            let message = format!("output {} is production, its workspace {} is not", store.name, self.workspace.name);
            self.error(codes::STATUS_OUTPUT, message, span, "set `status: production` at the workspace");
        }
    }

    fn sql(&mut self, files: &[SqlFile], store: &Datastore) {
        let span = self.transformer.span;
        for file in files.iter().filter(|file| file.text.is_none()) {
            let message = format!("the SQL file {} can't be read", file.path);
            self.error(codes::SQL_MISSING, message, span, "paths start at the folder of the file that names them");
        }
        if files.iter().any(|file| file.dataset.is_none()) {
            if store.datasets.len() > 1 {
                let count = store.datasets.len();
                let message = format!("one SQL file can't make the {count} datasets of {}", store.name);
                self.error(codes::SQL_AMBIGUOUS, message, span, "write `sql: { DATASET: FILE, … }`");
            }
            return;
        }
        for named in files.iter().filter_map(|file| file.dataset.as_ref()) {
            if store.dataset(named).is_none() {
                let message = format!("output {} has no dataset {:?}", store.name, named.as_str());
                let known = store.datasets.iter().map(|dataset| dataset.name.as_str());
                let near = levada_model::nearest::nearest(named.as_str(), known);
                let hint = near
                    .map_or_else(|| "declare it under `datasets:`".to_owned(), |it| format!("did you mean {it:?}?"));
                self.error(codes::SQL_UNKNOWN_OUTPUT, message, span, &hint);
            }
        }
        let made: HashSet<_> = files.iter().filter_map(|file| file.dataset.as_ref()).collect();
        for dataset in &store.datasets {
            if !made.contains(&dataset.name) {
                let message = format!("no SQL file makes output {}", dataset.name);
                self.error(codes::SQL_NO_OUTPUT, message, span, "add it under `sql:`");
            }
        }
    }
}
