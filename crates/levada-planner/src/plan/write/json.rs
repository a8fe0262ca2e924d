//! A plan for programs.

use super::{Shown, cause};
use crate::diff::{Difference, NodeChange};
use crate::plan::{DataEffect, Plan, Rollout};
use levada_model::Span;
use levada_model::address::NodeAddress;
use serde_json::{Value, json};

/// The plan as JSON, version 1.
pub fn to_json(plan: &Plan, shown: &Shown<'_>) -> Value {
    let place = shown.place;
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
        "what": plan.what,
        "blast": plan.blast,
        "load": plan.load,
        "estimates": estimates(plan, shown),
        "rollouts": plan.rollouts.iter().map(|rollout| rollout_json(rollout, shown)).collect::<Vec<_>>(),
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
        "data": plan.data.get(address),
        "what": what.map_or_else(Vec::new, |what| what.iter().map(difference_json).collect()),
        "cause": cause(plan, address, place),
    })
}

fn difference_json(difference: &Difference) -> Value {
    json!({ "text": difference.to_string(), "difference": difference })
}

fn estimates(plan: &Plan, shown: &Shown<'_>) -> Value {
    let of = |effect| {
        let estimate = shown.measured.estimate(plan, effect);
        json!({
            "datasets": estimate.datasets,
            "datasets_without_history": estimate.unknown,
            "rows": estimate.rows,
            "bytes": estimate.bytes,
            "seconds": estimate.seconds,
        })
    };
    json!({ "backfill": of(DataEffect::Backfill), "reingest": of(DataEffect::Reingest) })
}

fn rollout_json(rollout: &Rollout, shown: &Shown<'_>) -> Value {
    let mut value = json!(rollout);
    value["opens_at"] = json!(shown.measured.now.and_then(|now| rollout.opens_at(now)));
    value
}
