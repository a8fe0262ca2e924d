//! Lint: every mistake of a model that can be seen without choosing platforms.
//!
//! Takes a model and what the kinds of platforms can do, gives findings with stable codes, sorted.
//! A file per topic; no pass is quadratic in datasets.

mod capabilities;
mod classification;
pub mod codes;
mod consumption;
mod containers;
mod files;
mod lists;
mod policies;
mod references;
mod schedules;
mod schemas;
mod transformers;
mod views;

use crate::binding::Bindings;
use crate::platform::PlatformRegistry;
use levada_model::address::DatasetRef;
use levada_model::model::Group;
use levada_model::{Findings, Model, Span};
use std::cell::Cell;

/// How many hints of one run look for the nearest name: each compares all names.
const HINTS_MAX: u32 = 500;

/// Checks the whole model.
pub fn lint(model: &Model, registry: &PlatformRegistry) -> Findings {
    let bindings = Bindings::of(model);
    let context = Context { model, registry, bindings: &bindings, hints_left: Cell::new(HINTS_MAX) };
    let mut findings = Findings::default();
    for check in CHECKS {
        check(&context, &mut findings);
    }
    findings.sort();
    findings
}

/// All topics, in no particular order: findings are sorted by place.
const CHECKS: &[fn(&Context<'_>, &mut Findings)] = &[
    references::check,
    schemas::check,
    classification::check,
    policies::check,
    consumption::check,
    transformers::check,
    containers::check,
    views::check,
    capabilities::check,
    files::check,
    schedules::check,
    lists::check,
];

/// What every topic looks at.
struct Context<'m> {
    model: &'m Model,
    registry: &'m PlatformRegistry,
    bindings: &'m Bindings,
    hints_left: Cell<u32>,
}

impl Context<'_> {
    /// "did you mean …", where a known name is near.
    fn did_you_mean<'k>(&self, word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
        let left = self.hints_left.get().checked_sub(1)?;
        self.hints_left.set(left);
        levada_model::nearest::nearest(word, known).map(|name| format!("did you mean {name:?}?"))
    }
}

/// Where a group asks for a dataset.
fn sink_span(group: &Group, of: &DatasetRef) -> Span {
    let sink = group.sinks.iter().find(|sink| sink.dataset.value == *of);
    sink.map_or(group.span, |sink| sink.dataset.span)
}
