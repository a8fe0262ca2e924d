//! Lists that name something twice, or nothing, and texts that say nothing.

use super::{Context, codes};
use levada_model::connection::Place;
use levada_model::model::{Container, Group, Origin, Workspace};
use levada_model::{Address, Finding, Findings, Spanned};
use std::collections::HashSet;
use std::fmt::Display;
use std::hash::Hash;

pub(super) fn check(context: &Context<'_>, findings: &mut Findings) {
    let model = context.model;
    let common = &model.ecosystem.classifications;
    twice(common, &Address::Ecosystem, findings);
    for zone in &model.zones {
        let mut seen = common.iter().map(|known| &known.value).collect();
        again(&mut seen, &zone.classifications, &Address::Zone(zone.name.clone()), findings);
    }
    for container in &model.containers {
        place(container, findings);
    }
    for store in &model.datastores {
        twice(store.approved.as_deref().unwrap_or_default(), &Address::Datastore(store.name.clone()), findings);
        for dataset in &store.datasets {
            let about = Address::Dataset(store.name.clone(), dataset.name.clone());
            twice(&dataset.partition, &about, findings);
            let is_read = matches!(store.origin, Origin::Container { .. });
            if is_read && dataset.table.as_deref() == Some("") {
                let message = format!("dataset {} names no table", dataset.name);
                let finding = Finding::error(codes::TABLE_NAME, message).at(dataset.span).about(about);
                findings.push(finding.hint("leave `table` out where it is called like the dataset"));
            }
        }
    }
    for workspace in &model.workspaces {
        self::workspace(workspace, findings);
    }
}

fn workspace(workspace: &Workspace, findings: &mut Findings) {
    let mut readers = HashSet::new();
    for reader in workspace.readers.iter().filter(|reader| !readers.insert(&reader.value)) {
        let word = crate::diff::reader_text(&reader.value);
        let about = Address::Workspace(workspace.name.clone());
        findings
            .push(Finding::warning(codes::NAMED_TWICE, format!("{word} is named twice")).at(reader.span).about(about));
    }
    for group in &workspace.groups {
        let about = Address::Group(workspace.name.clone(), group.name.clone());
        sinks(group, &about, findings);
        if group.sinks.is_empty() {
            let message = format!("group {} has no datasets: it gets nothing", group.name);
            findings.push(Finding::warning(codes::GROUP_EMPTY, message).at(group.span).about(about));
        }
    }
}

fn sinks(group: &Group, about: &Address, findings: &mut Findings) {
    let mut seen = HashSet::with_capacity(group.sinks.len());
    for sink in group.sinks.iter().filter(|sink| !seen.insert(&sink.dataset.value)) {
        let message = format!("{} is named twice", sink.dataset.value);
        findings.push(Finding::warning(codes::NAMED_TWICE, message).at(sink.dataset.span).about(about.clone()));
    }
}

fn twice<T: Display + Eq + Hash>(list: &[Spanned<T>], about: &Address, findings: &mut Findings) {
    again(&mut HashSet::with_capacity(list.len()), list, about, findings);
}

/// Reports what a list names that was seen before.
fn again<'m, T: Display + Eq + Hash>(
    seen: &mut HashSet<&'m T>,
    list: &'m [Spanned<T>],
    about: &Address,
    findings: &mut Findings,
) {
    for again in list.iter().filter(|named| !seen.insert(&named.value)) {
        let message = format!("{} is named twice", again.value);
        findings.push(Finding::warning(codes::NAMED_TWICE, message).at(again.span).about(about.clone()));
    }
}

fn place(container: &Container, findings: &mut Findings) {
    let empty = match &container.connection.place {
        Place::Server { host, database, .. } => [("host", host), ("database", database)].to_vec(),
        Place::Snowflake { account, warehouse, database, .. } => {
            [("account", account), ("warehouse", warehouse), ("database", database)].to_vec()
        }
        Place::Url { url, .. } => [("url", url)].to_vec(),
        Place::Path { .. } | Place::Brokers { .. } => Vec::new(),
    };
    for (key, _) in empty.into_iter().filter(|(_, value)| value.trim().is_empty()) {
        let message = format!("container {:?} has an empty `{key}`", container.name.as_str());
        let finding = Finding::error(codes::PLACE_EMPTY, message).at(container.span);
        findings.push(finding.about(Address::Container(container.name.clone())));
    }
}
