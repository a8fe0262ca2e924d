//! Every fault that a stream has to come through, each with its name: the built worker between a real
//! producer and a real consumer, broken in one way, and then nothing lost, doubled or wrong.
//!
//! `LEVADA_FAULT_SEED` chooses the workload and where it breaks (1 without it); every test prints its seed
//! when it fails. `cargo xtask faults [--fault NAME] --seed S` runs them for a seed.

mod chance;
mod clock;
mod postgres;
mod proxy;
mod workload;
mod world;

/// The seed of this run.
fn seed() -> u64 {
    let seed = std::env::var("LEVADA_FAULT_SEED").ok();
    seed.map_or(1, |seed| seed.parse().expect("LEVADA_FAULT_SEED is a number"))
}
