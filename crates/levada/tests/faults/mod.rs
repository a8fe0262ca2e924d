//! Every fault that a stream has to come through, each with its name: the built worker between a real
//! producer and a real consumer, broken in one way, and then nothing lost, doubled or wrong.
//!
//! `LEVADA_FAULT_SEED` chooses the workload and where it breaks (1 without it); every test prints its seed
//! when it fails. `cargo xtask faults [--fault NAME] --seed S` runs them for a seed.

mod chance;
mod clock;
mod database;
mod endurance;
mod everywhere;
mod mariadb;
mod postgres;
mod proxy;
mod workload;
mod world;

/// The seed of this run.
fn seed() -> u64 {
    number_of("LEVADA_FAULT_SEED", 1)
}

/// A number from the environment.
fn number_of(variable: &str, otherwise: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}
