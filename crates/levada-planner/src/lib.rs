//! The compiler: from a model to what each platform must make real.
//!
//! ```text
//! Model ─lint→ Findings
//! Model ─assign→ Assignment ─weave→ IntentionGraph per platform ─freeze→ Blueprint ─diff→ Delta ─render→ Rendering
//! ```
//!
//! Architecture invariant: no async, file, clock, randomness, environment or log; what is observed
//! (choices in force, the parent blueprint) comes in as a value. Same input, same bytes.

mod binding;
pub mod blueprint;
pub mod broker;
pub mod diff;
pub mod evolution;
pub mod explain;
pub mod graph;
pub mod lint;
pub mod plan;
pub mod platform;
pub mod policy;
pub mod reach;
mod text;

pub use blueprint::{Advance, Blueprint, Generation, Node, NodeSpec, freeze};
pub use broker::{Assignment, assign};
pub use diff::{Delta, NodeChange, diff};
pub use evolution::evolve;
pub use explain::{ExplainError, Explanation, explain};
pub use graph::{GraphFormat, IntentionGraph, weave};
pub use lint::lint;
pub use plan::{PartOutcome, Plan, PlanOutcome, plan, plan_back, plan_part};
pub use platform::{Capabilities, Part, Platform, PlatformRegistry, Rendering, lint_parts, render};
pub use reach::Reach;
