//! A plan for a comment on a change.

use super::{Shown, cause, differences, sign, summary};
use crate::evolution::ContractEffect;
use crate::plan::Plan;
use crate::text::line;

/// How many nodes, and lines about consumers, a comment has: the services that take them have limits
/// (GitHub 65,536 characters).
const NODES_SHOWN_MAX: usize = 100;

/// Writes it for a comment on a change.
pub(super) fn write(plan: &Plan, shown: &Shown<'_>) -> String {
    let place = shown.place;
    let mut out = String::new();
    if plan.is_empty() {
        out.push_str("**No changes.** The generation in force is what the model says.\n");
    } else {
        line(&mut out, format_args!("**{}**", cell(&summary::head(plan))));
        out.push_str("\n| | |\n|---|---|\n");
        for (axis, text) in summary::axes(plan, shown) {
            line(&mut out, format_args!("| {axis} | {} |", cell(&text)));
        }
        out.push_str("\n| | node | effect | cause |\n|---|---|---|---|\n");
        for (address, change) in plan.delta.changes.iter().take(NODES_SHOWN_MAX) {
            let effect = plan.physical.get(address).map_or("", |effect| effect.word());
            let what =
                differences(change).iter().map(|difference| format!("<br>{}", cell(difference))).collect::<String>();
            let place = cause(plan, address, place).unwrap_or_default();
            let (sign, address) = (sign(change), cell(&address.to_string()));
            line(&mut out, format_args!("| {sign} | {address}{what} | {effect} | {} |", cell(&place)));
        }
        if plan.delta.changes.len() > NODES_SHOWN_MAX {
            line(&mut out, format_args!("| | … and {} more | | |", plan.delta.changes.len() - NODES_SHOWN_MAX));
        }
    }
    let mut seen: Vec<_> = plan.contracts.iter().filter(|line| line.effect != ContractEffect::None).collect();
    if !seen.is_empty() {
        out.push_str("\n| consumer | view | what it sees | effect |\n|---|---|---|---|\n");
        let more = seen.len().saturating_sub(NODES_SHOWN_MAX);
        seen.sort_by_key(|line| std::cmp::Reverse(line.effect));
        for contract in seen.into_iter().take(NODES_SHOWN_MAX) {
            let (view, change) = (cell(&contract.view), cell(&contract.change));
            line(&mut out, format_args!("| {} | {view} | {change} | {} |", contract.workspace, contract.effect.word()));
        }
        if more > 0 {
            line(&mut out, format_args!("| | … and {more} more | | |"));
        }
    }
    for warning in &plan.warnings.0 {
        let place = warning.span.map(|span| format!(" ({})", place(span))).unwrap_or_default();
        out.push('\n');
        line(&mut out, format_args!("> {}: {}{}", warning.code, cell(&warning.message), cell(&place)));
    }
    out
}

/// A text that can't leave its cell or turn into markup.
fn cell(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' => out.extend(['\\', character]),
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            other => out.push(other),
        }
    }
    out
}
