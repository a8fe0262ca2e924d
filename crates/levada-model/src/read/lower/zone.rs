//! Zones and their rules.

use super::{Lowering, documentation, period, text, word};
use crate::model::*;
use crate::syntax::Node;

impl Lowering<'_> {
    pub(super) fn zone(&self, root: &Node<'_>) -> Option<Zone> {
        let name = self.own(root, "zone")?;
        Some(Zone {
            name: name.value,
            span: name.span,
            documentation: documentation(root),
            classifications: self.spanned_list(root, "classifications"),
            regulators: self.list(root, "regulators", |node| self.regulator(node)),
            holds: self.list(root, "holds", |node| self.hold(node)),
            policies: self.list(root, "policies", |node| self.policy(node)),
        })
    }

    fn regulator(&self, node: &Node<'_>) -> Option<Regulator> {
        let name = self.spanned_at(node, "regulator")?;
        Some(Regulator {
            name: name.value,
            span: name.span,
            documentation: documentation(node),
            retention: period(node, "retention")?,
        })
    }

    fn hold(&self, node: &Node<'_>) -> Option<Hold> {
        let name = self.spanned_at(node, "hold")?;
        Some(Hold {
            name: name.value,
            span: name.span,
            documentation: documentation(node),
            datasets: self.dataset_refs(node, "datasets"),
            since: text(node, "since")?,
        })
    }

    fn policy(&self, node: &Node<'_>) -> Option<Policy> {
        let name = self.spanned_at(node, "policy")?;
        Some(Policy {
            name: name.value,
            span: name.span,
            documentation: documentation(node),
            binds: word(node, "binds").unwrap_or_default(),
            classifications: self.spanned_list(node, "classifications"),
            allow: node.get("allow").map(|places| self.places(places)),
            deny: node.get("deny").map(|places| self.places(places)),
            retention_at_least: node.get("retention").and_then(|retention| period(retention, "at_least")),
        })
    }

    fn places(&self, node: &Node<'_>) -> Places {
        Places {
            locations: self.list(node, "locations", |location| self.location(location)),
            clouds: self.spanned_list(node, "clouds"),
            vendors: self.spanned_list(node, "vendors"),
            platforms: self.spanned_list(node, "platforms"),
            containers: self.spanned_list(node, "containers"),
        }
    }
}
