//! What it costs to follow a change log, and how soon a change is seen.

mod cost;
mod latency;
mod world;

pub use cost::run as cost;
pub use latency::run as latency;
