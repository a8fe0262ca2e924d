//! Places at which a test breaks Levada off, to see that it comes back right.
//!
//! `LEVADA_FAILPOINT=NAME=kill` ends the process at once where it passes the place of that name;
//! `NAME=error` fails there as a broken connection would, once. `NAME:3=…` means the third pass. Without the
//! variable a place costs a look at one pointer, so that what is tested is what is shipped.

use crate::FlowError;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Every place, in the order in which a batch passes them.
pub const FAILPOINTS: [&str; 15] = [
    // Each time something of a pull arrives.
    "ingest.rows",
    // All of it has arrived.
    "ingest.pulled",
    // Its files are durable, and no manifest names them.
    "ingest.staged",
    // The batch is committed, and the source does not know.
    "ingest.committed",
    // The source knows.
    "ingest.acknowledged",
    // A chunk beside the log was read.
    "join.read",
    // What the consumer has is known.
    "export.read",
    // Everything is written into the consumer's open transaction.
    "sink.written",
    // Tables built beside are in their places, and the transaction on the others is open (MariaDB).
    "sink.swapped",
    // The consumer has it, and the state does not know.
    "export.delivered",
    // The state knows.
    "export.recorded",
    // A transformer's code has run.
    "transform.run",
    // Its output lies in its staging folder, and nobody knows.
    "transform.staged",
    // The output's rows were read again, and are not committed.
    "output.staged",
    // The output is committed, and its folder still there.
    "output.committed",
];

/// What is to happen, and when.
struct Plan {
    name: String,
    /// Passes until then; 0: it has happened.
    left: AtomicU64,
    kills: bool,
}

fn plan() -> Option<&'static Plan> {
    static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
    PLAN.get_or_init(|| std::env::var("LEVADA_FAILPOINT").ok().and_then(|text| parse(&text))).as_ref()
}

fn parse(text: &str) -> Option<Plan> {
    let (place, action) = text.split_once('=')?;
    let (name, count) = place.split_once(':').unwrap_or((place, "1"));
    let kills = match action {
        "kill" => true,
        "error" => false,
        _ => return None,
    };
    Some(Plan { name: name.to_owned(), left: AtomicU64::new(count.parse().ok()?), kills })
}

/// Passes a place.
///
/// # Errors
/// The test that runs wants it.
pub fn failpoint(name: &'static str) -> Result<(), FlowError> {
    debug_assert!(FAILPOINTS.contains(&name), "{name} is in no list");
    match plan() {
        Some(plan) if plan.name == name => fail(plan),
        _ => Ok(()),
    }
}

fn fail(plan: &Plan) -> Result<(), FlowError> {
    let before = plan.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    match before {
        Ok(1) if plan.kills => std::process::abort(),
        Ok(1) => Err(FlowError::later(format!("broken off at {}, as a test wants it", plan.name))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_fails_once_and_at_the_pass_that_was_named() {
        let plan = parse("ingest.staged:2=error").expect("a plan");
        let ends: Vec<bool> = (0..4).map(|_| fail(&plan).is_ok()).collect();
        assert_eq!(ends, [true, false, true, true]);
        assert!(parse("ingest.staged").is_none() && parse("ingest.staged=panic").is_none());
        assert!(parse("ingest.staged=kill").is_some_and(|plan| plan.kills));
    }

    #[test]
    fn without_a_plan_every_place_is_passed() {
        assert!(FAILPOINTS.into_iter().all(|name| failpoint(name).is_ok()));
    }
}
