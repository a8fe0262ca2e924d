//! The three ways to show a plan: for people, for programs, for a pull request.
//!
//! Whoever calls turns a place into `file:line:column`: the plan knows no files.

use super::{Plan, Summary};
use crate::diff::{Difference, NodeChange};
use crate::evolution::ContractEffect;
use crate::text::line;
use levada_model::Span;
use levada_model::address::NodeAddress;
use serde_json::{Value, json};

/// How a plan is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum PlanFormat {
    Text,
    Json,
    Markdown,
}

/// How many differences of one node a text shows before it says how many more there are.
const DIFFERENCES_SHOWN_MAX: usize = 12;

/// Writes a plan, ending with a newline; `place` prints a place as `file:line:column`.
pub fn write(plan: &Plan, format: PlanFormat, place: &dyn Fn(Span) -> String) -> String {
    match format {
        PlanFormat::Text => text(plan, place),
        PlanFormat::Json => format!("{:#}\n", to_json(plan, place)),
        PlanFormat::Markdown => markdown(plan, place),
    }
}

fn text(plan: &Plan, place: &dyn Fn(Span) -> String) -> String {
    let mut out = String::new();
    summary_lines(plan, &mut out);
    warnings(plan, place, &mut out);
    if plan.is_empty() {
        return out;
    }
    out.push('\n');
    for (address, change) in &plan.delta.changes {
        let effect = plan.physical.get(address).map_or("", |effect| effect.word());
        let place = cause(plan, address, place).map(|place| format!("   {place}")).unwrap_or_default();
        line(&mut out, format_args!("{} {address} ({effect}){place}", sign(change)));
        for difference in shown(change) {
            line(&mut out, format_args!("    {difference}"));
        }
    }
    if !plan.contracts.is_empty() {
        out.push_str("\nwhat consumers see\n");
        for contract in &plan.contracts {
            let place = contract.cause.map(|cause| format!("   {}", place(cause))).unwrap_or_default();
            let (effect, view, change) = (contract.effect.word(), &contract.view, &contract.change);
            line(&mut out, format_args!("  {effect:<10} {} {view}: {change}{place}", contract.workspace));
        }
    }
    out
}

fn summary_lines(plan: &Plan, out: &mut String) {
    for platform in &plan.moved {
        let layout = plan.advance.platforms.get(platform).and_then(|nature| nature.layout.as_deref());
        line(out, format_args!("{platform} shares its nodes out anew: {}", layout.unwrap_or("in no way of its own")));
    }
    let generation = plan.advance.generation;
    let Some(base) = plan.base.filter(|_| plan.is_empty()) else {
        let summary = plan.summary();
        let on = plan.base.map_or_else(|| "nothing".to_owned(), |base| format!("generation {base}"));
        let Summary { added, changed, removed, .. } = summary;
        line(
            out,
            format_args!(
                "plan for generation {generation} on {on}: {added} to add, {changed} to change, {removed} to remove"
            ),
        );
        line(out, format_args!("  revision {}, hash {}", plan.advance.revision, plan.hash));
        for (kind, [added, changed, removed]) in &summary.by_kind {
            line(out, format_args!("  {:<9} +{added} ~{changed} -{removed}", kind.word()));
        }
        let (workspaces, breaking, compatible) = (summary.workspaces, summary.breaking, summary.compatible);
        line(
            out,
            format_args!("  {workspaces} workspaces see a difference: {breaking} breaking, {compatible} compatible"),
        );
        return;
    };
    line(out, format_args!("no changes: generation {base} is what the model says"));
}

fn warnings(plan: &Plan, place: &dyn Fn(Span) -> String, out: &mut String) {
    for warning in &plan.warnings.0 {
        let place = warning.span.map(|span| format!("   {}", place(span))).unwrap_or_default();
        line(out, format_args!("  {} {}{place}", warning.code, warning.message));
    }
}

/// The differences to show, and how many more there are.
fn shown(change: &NodeChange) -> Vec<String> {
    let NodeChange::Changed { what, .. } = change else { return Vec::new() };
    let mut shown: Vec<String> = what.iter().take(DIFFERENCES_SHOWN_MAX).map(Difference::to_string).collect();
    if what.len() > DIFFERENCES_SHOWN_MAX {
        shown.push(format!("… and {} more", what.len() - DIFFERENCES_SHOWN_MAX));
    }
    shown
}

fn sign(change: &NodeChange) -> char {
    match change {
        NodeChange::Added(_) => '+',
        NodeChange::Changed { .. } => '~',
        NodeChange::Removed(_) => '-',
    }
}

fn cause(plan: &Plan, address: &NodeAddress, place: &dyn Fn(Span) -> String) -> Option<String> {
    plan.causes.get(address).map(|&span| place(span))
}

/// The plan as JSON, version 1.
pub fn to_json(plan: &Plan, place: &dyn Fn(Span) -> String) -> Value {
    let changes: Vec<Value> =
        plan.delta.changes.iter().map(|(address, change)| change_json(plan, address, change, place)).collect();
    let contracts: Vec<Value> = plan
        .contracts
        .iter()
        .map(|line| {
            json!({
                "workspace": line.workspace,
                "container": line.container,
                "view": line.view,
                "dataset": line.dataset,
                "column": line.column,
                "change": line.change,
                "effect": line.effect,
                "cause": line.cause.map(place),
            })
        })
        .collect();
    let warnings: Vec<Value> = plan
        .warnings
        .0
        .iter()
        .map(|warning| {
            json!({
                "code": warning.code,
                "address": warning.address,
                "place": warning.span.map(place),
                "message": warning.message,
                "hint": warning.hint,
            })
        })
        .collect();
    json!({
        "version": 1,
        "base": plan.base,
        "generation": plan.advance.generation,
        "revision": plan.advance.revision,
        "hash": plan.hash,
        "summary": plan.summary(), "moved": plan.moved,
        "changes": changes,
        "contracts": contracts,
        "warnings": warnings,
    })
}

fn change_json(plan: &Plan, address: &NodeAddress, change: &NodeChange, place: &dyn Fn(Span) -> String) -> Value {
    let (word, what) = match change {
        NodeChange::Added(_) => ("added", None),
        NodeChange::Changed { what, .. } => ("changed", Some(what)),
        NodeChange::Removed(_) => ("removed", None),
    };
    json!({
        "address": address,
        "change": word,
        "physical": plan.physical.get(address),
        "what": what.map_or_else(Vec::new, |what| what.iter().map(difference_json).collect()),
        "cause": cause(plan, address, place),
    })
}

fn difference_json(difference: &Difference) -> Value {
    json!({ "text": difference.to_string(), "difference": difference })
}

fn markdown(plan: &Plan, place: &dyn Fn(Span) -> String) -> String {
    let mut out = String::new();
    let summary = plan.summary();
    if plan.is_empty() {
        out.push_str("**No changes.** The generation in force is what the model says.\n");
    } else {
        let Summary { added, changed, removed, breaking, .. } = summary;
        let generation = plan.advance.generation;
        line(
            &mut out,
            format_args!(
                "**Plan for generation {generation}**: {added} to add, {changed} to change, {removed} to remove; {breaking} breaking for consumers."
            ),
        );
        out.push_str("\n| | node | effect | cause |\n|---|---|---|---|\n");
        for (address, change) in &plan.delta.changes {
            let effect = plan.physical.get(address).map_or("", |effect| effect.word());
            let what = shown(change).iter().map(|difference| format!("<br>{}", cell(difference))).collect::<String>();
            let place = cause(plan, address, place).unwrap_or_default();
            let (sign, address) = (sign(change), cell(&address.to_string()));
            line(&mut out, format_args!("| {sign} | {address}{what} | {effect} | {} |", cell(&place)));
        }
    }
    let seen: Vec<_> = plan.contracts.iter().filter(|line| line.effect != ContractEffect::None).collect();
    if !seen.is_empty() {
        out.push_str("\n| consumer | view | what it sees | effect |\n|---|---|---|---|\n");
        for contract in seen {
            let (view, change) = (cell(&contract.view), cell(&contract.change));
            line(&mut out, format_args!("| {} | {view} | {change} | {} |", contract.workspace, contract.effect.word()));
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
