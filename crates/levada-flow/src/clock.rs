//! Time as an input.

/// Microseconds since 1970-01-01T00:00:00Z.
pub type Micros = i64;

/// Where time comes from; simulations bring their own.
pub trait Clock: Send + Sync {
    /// Now. May jump in both directions; whoever needs order makes it.
    fn now(&self) -> Micros;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Micros {
        jiff::Timestamp::now().as_microsecond()
    }
}
