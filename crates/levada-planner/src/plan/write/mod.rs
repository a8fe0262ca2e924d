//! The three ways to show a plan: for people, for programs, for a pull request.
//!
//! Whoever calls turns a place into `file:line:column`, for the plan knows no files, and says what was
//! measured.

mod json;
mod markdown;
mod summary;
mod text;

pub use json::to_json;

use super::{Measured, Plan};
use crate::diff::{Difference, NodeChange};
use levada_model::Span;
use levada_model::address::NodeAddress;

/// How a plan is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum PlanFormat {
    Text,
    Json,
    Markdown,
}

/// What a plan is shown with.
pub struct Shown<'a> {
    /// Prints a place as `file:line:column`.
    pub place: &'a dyn Fn(Span) -> String,
    /// For estimates.
    pub measured: &'a Measured,
    /// How many nodes, and lines about consumers, a text has before it says how many more there are.
    pub lines_max: usize,
}

/// How many lines of each sort a text has unless somebody asks for all.
pub const LINES_SHOWN: usize = 40;

/// How many differences of one node a text shows before it says how many more there are.
const DIFFERENCES_SHOWN_MAX: usize = 12;

/// Writes a plan, ending with a newline.
pub fn write(plan: &Plan, format: PlanFormat, shown: &Shown<'_>) -> String {
    match format {
        PlanFormat::Text => text::write(plan, shown),
        PlanFormat::Json => format!("{:#}\n", to_json(plan, shown)),
        PlanFormat::Markdown => markdown::write(plan, shown),
    }
}

/// The differences to show, and how many more there are.
fn differences(change: &NodeChange) -> Vec<String> {
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
