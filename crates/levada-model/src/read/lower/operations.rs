//! Calendars, and the choices of operations.

use super::{Lowering, documentation, period, text, word};
use crate::model::*;
use crate::read::forms;
use crate::syntax::Node;

impl Lowering<'_> {
    pub(super) fn calendar(&self, root: &Node<'_>) -> Option<Calendar> {
        let name = self.own(root, "calendar")?;
        Some(Calendar {
            name: name.value,
            span: name.span,
            documentation: documentation(root),
            timezone: text(root, "timezone"),
            windows: Windows { allow: self.list(root, "allow", window), deny: self.list(root, "deny", window) },
        })
    }

    pub(super) fn assignment(&self, root: &Node<'_>) -> Option<AssignmentEntry> {
        let group = self.own_name(root, "assign")?;
        let (workspace, name) = forms::group_ref(group.text()?)?;
        Some(AssignmentEntry {
            span: self.span(group),
            workspace,
            group: name,
            platform: self.spanned_at(root, "platform")?,
            state: word(root, "state").unwrap_or_default(),
        })
    }

    pub(super) fn primary(&self, root: &Node<'_>) -> Option<PrimaryEntry> {
        let datastore = self.own(root, "primary")?;
        let platform = self.spanned_at(root, "platform")?;
        Some(PrimaryEntry { span: datastore.span, datastore: datastore.value, platform })
    }
}

fn window(node: &Node<'_>) -> Option<Window> {
    match text(node, "cron") {
        Some(expression) => Some(Window::Cron { expression, lasts: period(node, "lasts")? }),
        None => Some(Window::Dates { from: text(node, "from")?, to: text(node, "to")? }),
    }
}
