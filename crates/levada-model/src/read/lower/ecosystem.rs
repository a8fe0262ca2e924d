//! The ecosystem, its vendors, infrastructures and platforms.

use super::{Lowering, documentation, settings, text, texts, word};
use crate::model::*;
use crate::name::ClassificationName;
use crate::read::forms;
use crate::syntax::Node;
use crate::{Span, Spanned};

/// The classifications of an ecosystem that names none, from least to most sensitive.
const CLASSIFICATIONS: [&str; 5] = ["pub", "internal", "pc1", "pc2", "pc3"];

impl Lowering<'_> {
    pub(super) fn ecosystem(&self, root: &Node<'_>) -> Option<Ecosystem> {
        let name = self.own_name(root, "ecosystem")?;
        let span = self.span(name);
        let mut classifications = self.spanned_list(root, "classifications");
        if root.get("classifications").is_none() {
            classifications.extend(usual_classifications(span));
        }
        Some(Ecosystem {
            name: name.text()?.to_owned(),
            documentation: documentation(root),
            span,
            classifications,
            vendors: self.list(root, "vendors", |node| self.vendor(node)),
            infrastructures: self.list(root, "infrastructures", |node| self.infrastructure(node)),
            platforms: self.list(root, "platforms", |node| self.platform(node)),
        })
    }

    fn vendor(&self, node: &Node<'_>) -> Option<Vendor> {
        let name = self.spanned_at(node, "vendor")?;
        let mut locations = Vec::new();
        if let Some(tree) = node.get("locations") {
            collect_locations(tree, "", &mut locations);
        }
        locations.sort();
        Some(Vendor {
            name: name.value,
            span: name.span,
            documentation: documentation(node),
            cloud: text(node, "cloud").unwrap_or_default(),
            locations,
        })
    }

    fn infrastructure(&self, node: &Node<'_>) -> Option<Infrastructure> {
        let name = self.spanned_at(node, "infrastructure")?;
        Some(Infrastructure {
            name: name.value,
            span: name.span,
            documentation: documentation(node),
            kind: self.spanned_at(node, "kind")?,
            settings: settings(node),
        })
    }

    fn platform(&self, node: &Node<'_>) -> Option<PlatformEntry> {
        let name = self.spanned_at(node, "platform")?;
        Some(PlatformEntry {
            name: name.value,
            span: name.span,
            documentation: documentation(node),
            kind: self.spanned_at(node, "kind")?,
            infrastructure: self.spanned_at(node, "infrastructure"),
            style: word(node, "style").unwrap_or(Style::Batch),
            status: word(node, "status").unwrap_or_default(),
            cost_milli: node.get("cost").and_then(|cost| forms::cost_milli(cost.text()?)),
            locations: self.list(node, "locations", |location| self.location(location)),
            follow: node.get("follow").and_then(|node| self.follow(node)),
            host: node.get("host").and_then(host),
            run: node.get("run").and_then(run),
            credentials: self.spanned_list(node, "credentials"),
            settings: settings(node),
            described: None,
        })
    }

    fn follow(&self, node: &Node<'_>) -> Option<Follow> {
        Some(Follow {
            branch: text(node, "branch")?,
            calendar: self.spanned_at(node, "calendar"),
            approval_required: text(node, "approval").as_deref() == Some("required"),
        })
    }
}

pub(in crate::read) fn usual_classifications(span: Span) -> impl Iterator<Item = Spanned<ClassificationName>> {
    let name = |name: &str| ClassificationName::parse(name).expect("the usual ones are names");
    CLASSIFICATIONS.iter().map(move |text| Spanned::new(name(text), span))
}

/// Every location of a tree as a path from the top.
fn collect_locations(node: &Node<'_>, above: &str, locations: &mut Vec<String>) {
    for entry in node.entries() {
        let path = match above {
            "" => entry.key.clone().into_owned(),
            _ => format!("{above}/{}", entry.key),
        };
        collect_locations(&entry.value, &path, locations);
        locations.push(path);
    }
}

fn host(node: &Node<'_>) -> Option<Host> {
    Some(Host { kubernetes: text(node, "kubernetes")?, image: text(node, "image")? })
}

/// The program that `image:` or `command:` names.
pub(super) fn run(node: &Node<'_>) -> Option<Run> {
    match node.get("command") {
        Some(_) => Some(Run::Command(texts(node, "command"))).filter(|run| *run != Run::Command(Vec::new())),
        None => text(node, "image").map(Run::Image),
    }
}
