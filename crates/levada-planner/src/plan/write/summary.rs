//! The first screen of a plan: one line for each thing that somebody asks about it.

use super::Shown;
use crate::plan::{DataEffect, FromTo, PhysicalEffect, Plan, Rollout, Summary};
use levada_model::Address;
use std::collections::BTreeMap;
use std::fmt::Display;

/// How many names a line has before it counts the others.
const NAMES_SHOWN_MAX: usize = 5;

/// What becomes of nodes, in numbers.
pub(super) fn head(plan: &Plan) -> String {
    let Summary { added, changed, removed, .. } = plan.summary();
    let on = plan.base.map_or_else(|| "nothing".to_owned(), |base| format!("generation {base}"));
    let generation = plan.advance.generation;
    format!("plan for generation {generation} on {on}: {added} to add, {changed} to change, {removed} to remove")
}

/// The axes of a plan, each with what there is to say.
pub(super) fn axes(plan: &Plan, shown: &Shown<'_>) -> Vec<(&'static str, String)> {
    let mut axes = vec![("model", model(plan)), ("nodes", nodes(plan)), ("contract", contract(plan))];
    axes.push(("data", data(plan, shown)));
    axes.push(("physical", physical(plan)));
    axes.push(("concerns", concerns(plan)));
    axes.push(("sources", sources(plan)));
    axes.push(("rolls out", rollouts(plan, shown)));
    axes.retain(|(_, text)| !text.is_empty());
    axes
}

fn model(plan: &Plan) -> String {
    let what = &plan.what;
    let counted = |objects: &[Address], word: &str| match objects {
        [] => None,
        [one] => Some(format!("{one} {word}")),
        many => Some(format!("{} {word}", kinds(many))),
    };
    let parts = [counted(&what.added, "added"), counted(&what.changed, "changed"), counted(&what.removed, "removed")];
    let renamed = what.renamed.iter().map(|it| format!("{} -> {}", it.from, it.to));
    let renamed: Vec<String> = renamed.collect();
    let renamed = (!renamed.is_empty()).then(|| format!("looks renamed: {}", names(&renamed)));
    parts.into_iter().flatten().chain(renamed).collect::<Vec<_>>().join("; ")
}

/// `3 datastores, 1 workspace`
fn kinds(objects: &[Address]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for object in objects {
        let text = object.to_string();
        let kind = text.split('/').next().unwrap_or_default().to_lowercase();
        *counts.entry(kind).or_default() += 1;
    }
    let counted = counts.into_iter().map(|(kind, count)| plural(count, &kind));
    counted.collect::<Vec<_>>().join(", ")
}

fn nodes(plan: &Plan) -> String {
    let kinds = plan.summary().by_kind;
    let kinds = kinds.iter().map(|(kind, counts)| {
        let counts = ["+", "~", "-"].iter().zip(counts).filter(|(_, count)| **count > 0);
        let counts: Vec<String> = counts.map(|(sign, count)| format!("{sign}{count}")).collect();
        format!("{} {}", kind.word(), counts.join(" "))
    });
    kinds.collect::<Vec<_>>().join(", ")
}

fn contract(plan: &Plan) -> String {
    let Summary { workspaces, breaking, compatible, .. } = plan.summary();
    let sees = if workspaces == 1 { "sees" } else { "see" };
    let workspaces = plural(workspaces, "workspace");
    format!("{workspaces} {sees} a difference: {breaking} breaking, {compatible} compatible")
}

fn data(plan: &Plan, shown: &Shown<'_>) -> String {
    let mut parts = Vec::new();
    for effect in [DataEffect::Reingest, DataEffect::Backfill] {
        let estimate = shown.measured.estimate(plan, effect);
        if estimate.datasets == 0 {
            continue;
        }
        let mut text = format!("{} of {}", effect.word(), plural(estimate.datasets, "dataset"));
        if estimate.unknown < estimate.datasets {
            text.push_str(&format!(", {} rows, {}", estimate.rows, bytes(estimate.bytes)));
            let time = estimate
                .seconds
                .map_or("no run of the kind to tell the time".to_owned(), |it| format!("about {}", duration(it)));
            text.push_str(&format!(", {time}"));
        }
        if estimate.unknown > 0 {
            text.push_str(&format!(", no history of {}", estimate.unknown));
        }
        parts.push(text);
    }
    let forward = plan.data.values().filter(|line| line.effect == DataEffect::ForwardOnly).count();
    if forward > 0 {
        parts.push(format!("forward only for {}", plural(forward, "node")));
    }
    if parts.is_empty() { "none".to_owned() } else { parts.join("; ") }
}

fn physical(plan: &Plan) -> String {
    let mut counts: BTreeMap<PhysicalEffect, usize> = BTreeMap::new();
    plan.physical.values().for_each(|effect| *counts.entry(*effect).or_default() += 1);
    let counts = counts.iter().map(|(effect, count)| format!("{count} {}", effect.word()));
    counts.collect::<Vec<_>>().join(", ")
}

fn concerns(plan: &Plan) -> String {
    let blast = &plan.blast;
    let mut parts = Vec::new();
    if !blast.seen.is_empty() {
        parts.push(names(blast.seen.iter()));
    }
    if !blast.derived.is_empty() {
        parts.push(format!("behind transformers {}", names(blast.derived.iter())));
    }
    if !blast.owners.is_empty() {
        parts.push(format!("owners {}", names(blast.owners.iter())));
    }
    parts.join("; ")
}

fn sources(plan: &Plan) -> String {
    let load = &plan.load;
    let change = |FromTo { from, to }: &FromTo| format!("{from} -> {to}");
    let pulls = load.pulls.iter().map(|(container, pulls)| format!("{container} {} pulls a day", change(pulls)));
    let continuous =
        load.continuous.iter().map(|(container, readers)| format!("{container} {} continuous", change(readers)));
    let mut parts: Vec<String> = pulls.chain(continuous).collect();
    if parts.is_empty() {
        parts.push("no other load".to_owned());
    }
    let jobs = match load.jobs {
        FromTo { from, to } if from == to => String::new(),
        jobs => format!("; jobs a day, at most, {}", change(&jobs)),
    };
    names(&parts) + &jobs
}

fn rollouts(plan: &Plan, shown: &Shown<'_>) -> String {
    let each: Vec<String> = plan.rollouts.iter().map(|rollout| self::rollout(rollout, shown)).collect();
    names(&each)
}

fn rollout(rollout: &Rollout, shown: &Shown<'_>) -> String {
    let mut text = format!("{} ({})", rollout.platform, plural(rollout.nodes, "node"));
    if let Some(branch) = &rollout.branch {
        text.push_str(&format!(" from branch {branch}"));
    }
    if rollout.needs_approval {
        text.push_str(", once somebody agrees");
    }
    match (&rollout.calendar, shown.measured.now) {
        (Some(calendar), Some(now)) => match rollout.opens_at(now) {
            Some(at) if at <= now => text.push_str(&format!(", now: {calendar} is open")),
            Some(at) => text.push_str(&format!(", when {calendar} opens at {}", time(at))),
            None => text.push_str(&format!(", never: {calendar} does not open again")),
        },
        (Some(calendar), None) => text.push_str(&format!(", in the windows of {calendar}")),
        (None, _) if !rollout.needs_approval => text.push_str(" at once"),
        (None, _) => {}
    }
    text
}

/// Some names, and how many more there are.
fn names<T: Display>(all: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = all.into_iter().map(|name| name.to_string()).collect();
    let more = all.len().saturating_sub(NAMES_SHOWN_MAX);
    let shown = all[..all.len() - more].join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

fn plural(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

fn bytes(count: i64) -> String {
    match count as f64 {
        few if few < 1e3 => format!("{count} B"),
        kilo if kilo < 1e6 => format!("{:.1} kB", kilo / 1e3),
        mega if mega < 1e9 => format!("{:.1} MB", mega / 1e6),
        giga => format!("{:.1} GB", giga / 1e9),
    }
}

fn duration(seconds: f64) -> String {
    match seconds {
        less if less < 1.0 => "a second".to_owned(),
        few if few < 120.0 => format!("{few:.0} s"),
        some if some < 7_200.0 => format!("{:.0} min", some / 60.0),
        many => format!("{:.1} h", many / 3_600.0),
    }
}

/// A time in µs as people read it, in UTC.
fn time(micros: i64) -> String {
    levada_model::schedule::in_words(micros)
}
