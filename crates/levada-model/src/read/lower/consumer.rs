//! Workspaces, their groups and transformers, and the datastores that transformers write.

use super::ecosystem::run;
use super::producer::cron_trigger;
use super::{Lowering, documentation, period, word};
use crate::codes;
use crate::model::*;
use crate::name::DatasetName;
use crate::period::PeriodUnit;
use crate::read::{forms, paths};
use crate::syntax::{Entry, Node, Value};
use crate::{Address, Finding, Findings, Spanned};

impl Lowering<'_> {
    pub(super) fn workspace(&self, root: &Node<'_>, findings: &mut Findings) -> Option<Workspace> {
        let name = self.own(root, "workspace")?;
        let groups = root.get("groups").map_or(&[][..], Node::entries);
        let mut groups: Vec<Group> = groups.iter().filter_map(|entry| self.group(entry)).collect();
        groups.sort_by_cached_key(|group| group.name.folded());
        let address = Address::Transformer(crate::name::WorkspaceName::clone(&name.value));
        Some(Workspace {
            name: name.value,
            span: name.span,
            owner: self.owner.clone(),
            documentation: documentation(root),
            status: word(root, "status").unwrap_or_default(),
            container: self.spanned_at(root, "container")?,
            priority: word(root, "priority").unwrap_or_default(),
            readers: self
                .list(root, "readers", |node| Some(Spanned::new(forms::reader(node.text()?)?, self.span(node)))),
            groups,
            transformer: root.get("transformer").and_then(|node| self.transformer(node, &address, findings)),
        })
    }

    fn group(&self, entry: &Entry<'_>) -> Option<Group> {
        let node = &entry.value;
        Some(Group {
            name: entry.key.parse().ok()?,
            span: self.key_span(entry),
            documentation: documentation(node),
            requires: node.get("requires").map(|node| self.requirements(node)),
            sinks: self.list(node, "datasets", |node| self.sink(node)),
        })
    }

    /// What a group leaves open is as lenient as it can be.
    fn requirements(&self, node: &Node<'_>) -> Requirements {
        let week = crate::period::Period { count: 7, unit: PeriodUnit::Days };
        Requirements {
            span: self.span(node),
            latency: word(node, "latency").unwrap_or(Latency::Hours),
            milestoning: word(node, "milestoning").unwrap_or(Milestoning::Live),
            retention: period(node, "retention").unwrap_or(week),
            regulator: self.spanned_at(node, "regulator"),
        }
    }

    fn sink(&self, node: &Node<'_>) -> Option<Sink> {
        let dataset = node.get("dataset").unwrap_or(node);
        Some(Sink { dataset: self.spanned(dataset)?, is_deprecated_allowed: node.get("deprecated").is_some() })
    }

    fn transformer(&self, node: &Node<'_>, address: &Address, findings: &mut Findings) -> Option<Transformer> {
        let name = self.spanned_at(node, "transformer")?;
        let output = output_name(node)?;
        let trigger = node.get("trigger").and_then(cron_trigger);
        Some(Transformer {
            name: name.value,
            span: name.span,
            documentation: documentation(node),
            output: self.spanned(output)?,
            mode: word(node, "mode").unwrap_or_default(),
            trigger: trigger.map_or(TransformTrigger::OnChange, TransformTrigger::Cron),
            code: self.code(node.get("code")?, address, findings)?,
        })
    }

    /// The datastore that a workspace's transformer writes.
    pub(super) fn output(&self, root: &Node<'_>) -> Option<Datastore> {
        let transformer = root.get("transformer")?;
        let output = transformer.get("output")?;
        let name = self.spanned(output_name(transformer)?)?;
        Some(Datastore {
            name: name.value,
            span: name.span,
            owner: self.owner.clone(),
            documentation: documentation(output),
            status: word(output, "status").unwrap_or_default(),
            origin: Origin::Transformer {
                workspace: self.own(root, "workspace")?.value,
                mode: word(transformer, "mode").unwrap_or_default(),
            },
            approved: self.approved(output),
            deprecated: self.deprecated(output),
            datasets: self.datasets(root),
        })
    }

    fn code(&self, node: &Node<'_>, address: &Address, findings: &mut Findings) -> Option<Code> {
        let Some(sql) = node.get("sql") else {
            return Some(Code::Program(Program {
                run: run(node)?,
                folder: paths::resolve(self.folder, ""),
                timeout: period(node, "timeout"),
                memory_bytes: node.get("memory").and_then(|most| forms::bytes(most.text()?)),
                credentials: self.list(node, "credentials", |name| name.text()?.parse().ok()),
            }));
        };
        let mut file = |dataset: Option<DatasetName>, path: &Node<'_>| {
            Some(SqlFile { dataset, path: self.code_path(path, address, findings)?, text: None })
        };
        let files: Vec<SqlFile> = match &sql.value {
            Value::Map(entries) => {
                entries.iter().filter_map(|entry| file(Some(entry.key.parse().ok()?), &entry.value)).collect()
            }
            _ => file(None, sql).into_iter().collect(),
        };
        Some(Code::Sql(files)).filter(|code| *code != Code::Sql(Vec::new()))
    }

    /// The path of code from the root; code outside the model's folder has no revision, and is a
    /// finding.
    fn code_path(&self, node: &Node<'_>, address: &Address, findings: &mut Findings) -> Option<String> {
        let written = node.text()?;
        let path = paths::resolve(self.folder, written);
        if paths::is_inside(&path) {
            return Some(path);
        }
        let message = format!("`{}` lies outside the model's folder", crate::read::check::shown(written));
        let finding = Finding::error(codes::CODE_OUTSIDE, message).at(self.span(node)).about(address.clone());
        findings.push(finding.hint("move the file beside the YAML that names it"));
        None
    }
}

/// The node that names the output, in its short or long form.
fn output_name<'n>(transformer: &'n Node<'n>) -> Option<&'n Node<'n>> {
    let output = transformer.get("output")?;
    Some(output.get("datastore").unwrap_or(output))
}
