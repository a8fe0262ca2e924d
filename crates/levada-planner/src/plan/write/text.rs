//! A plan for people: a screen of numbers first, then node by node.

use super::{Shown, cause, differences, sign, summary};
use crate::plan::Plan;
use crate::text::line;

/// How many warnings stand below the numbers.
const WARNINGS_SHOWN_MAX: usize = 10;

/// Writes it.
pub(super) fn write(plan: &Plan, shown: &Shown<'_>) -> String {
    let mut out = String::new();
    summary_lines(plan, shown, &mut out);
    warnings(plan, shown, &mut out);
    if !plan.is_empty() {
        nodes(plan, shown, &mut out);
        contracts(plan, shown, &mut out);
    }
    out
}

fn summary_lines(plan: &Plan, shown: &Shown<'_>, out: &mut String) {
    for platform in &plan.moved {
        let layout = plan.advance.platforms.get(platform).and_then(|nature| nature.layout.as_deref());
        line(out, format_args!("{platform} shares its nodes out anew: {}", layout.unwrap_or("in no way of its own")));
    }
    if let Some(base) = plan.base.filter(|_| plan.is_empty()) {
        line(out, format_args!("no changes: generation {base} is what the model says"));
        return;
    }
    line(out, format_args!("{}", summary::head(plan)));
    line(out, format_args!("  revision {}, hash {}", plan.advance.revision, plan.hash));
    for (axis, text) in summary::axes(plan, shown) {
        line(out, format_args!("  {axis:<9} {text}"));
    }
}

fn warnings(plan: &Plan, shown: &Shown<'_>, out: &mut String) {
    for warning in plan.warnings.0.iter().take(WARNINGS_SHOWN_MAX) {
        let place = warning.span.map(|span| format!("   {}", (shown.place)(span))).unwrap_or_default();
        line(out, format_args!("  {} {}{place}", warning.code, warning.message));
    }
    if plan.warnings.0.len() > WARNINGS_SHOWN_MAX {
        let more = plan.warnings.0.len() - WARNINGS_SHOWN_MAX;
        line(out, format_args!("  … and {more} more warnings: levada check"));
    }
}

fn nodes(plan: &Plan, shown: &Shown<'_>, out: &mut String) {
    out.push('\n');
    for (address, change) in plan.delta.changes.iter().take(shown.lines_max) {
        let effect = plan.physical.get(address).map_or("", |effect| effect.word());
        let place = cause(plan, address, shown.place).map(|place| format!("   {place}")).unwrap_or_default();
        line(out, format_args!("{} {address} ({effect}){place}", sign(change)));
        for difference in differences(change) {
            line(out, format_args!("    {difference}"));
        }
    }
    more(plan.delta.changes.len(), "nodes", shown, out);
}

fn contracts(plan: &Plan, shown: &Shown<'_>, out: &mut String) {
    if plan.contracts.is_empty() {
        return;
    }
    out.push_str("\nwhat consumers see\n");
    // What breaks is never left out for what does not.
    let mut lines: Vec<_> = plan.contracts.iter().collect();
    if lines.len() > shown.lines_max {
        lines.sort_by_key(|line| std::cmp::Reverse(line.effect));
    }
    for contract in lines.into_iter().take(shown.lines_max) {
        let place = contract.cause.map(|cause| format!("   {}", (shown.place)(cause))).unwrap_or_default();
        let (effect, view, change) = (contract.effect.word(), &contract.view, &contract.change);
        line(out, format_args!("  {effect:<10} {} {view}: {change}{place}", contract.workspace));
    }
    more(plan.contracts.len(), "lines", shown, out);
}

fn more(count: usize, what: &str, shown: &Shown<'_>, out: &mut String) {
    if count > shown.lines_max {
        line(out, format_args!("… and {} more {what}: levada plan --details", count - shown.lines_max));
    }
}
