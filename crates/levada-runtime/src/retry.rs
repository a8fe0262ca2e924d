//! When a failed job is tried again.

use levada_flow::Retry;
use levada_state::nodes::Outcome;

/// Tries after which a job waits for its next regular turn.
pub const ATTEMPTS_MAX: i64 = 6;
/// The first pause, in milliseconds; each further one is twice as long.
pub const PAUSE_MS_FIRST: i64 = 500;
/// The longest pause, in milliseconds.
pub const PAUSE_MS_MAX: i64 = 300_000;

/// Decides what follows a failure; `attempt` counts the failed tries before this one.
pub fn after_failure(retry: Retry, attempt: i64, error: String, now: i64) -> Outcome {
    if retry == Retry::Never || attempt + 1 >= ATTEMPTS_MAX {
        return Outcome::Failed { error };
    }
    let pause_ms = PAUSE_MS_FIRST.saturating_mul(1 << attempt.clamp(0, 30)).min(PAUSE_MS_MAX);
    Outcome::Retry { error, at: now + pause_ms * 1_000 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_until_the_tries_are_used_up() {
        let at = |attempt| after_failure(Retry::Later, attempt, String::new(), 0);
        assert_eq!(at(0), Outcome::Retry { error: String::new(), at: 500_000 });
        assert_eq!(at(3), Outcome::Retry { error: String::new(), at: 4_000_000 });
        assert_eq!(at(ATTEMPTS_MAX - 1), Outcome::Failed { error: String::new() });
    }

    #[test]
    fn what_can_not_help_is_not_tried_again() {
        assert!(matches!(after_failure(Retry::Never, 0, String::new(), 0), Outcome::Failed { .. }));
    }
}
