//! Many writers, changes of tables, cut connections and kills for a while; and at the end not only the last
//! state is right, but that of every moment that was looked at.
//!
//! `LEVADA_ENDURANCE_SECONDS` says for how long (12 without it), `LEVADA_ENDURANCE_SAMPLES` at how many
//! moments the producer is looked at (4 without it).

use super::chance::Chance;
use super::database::{Database, System};
use super::workload::Table;
use super::world::{Plan, World, small};
use super::{number_of, seed};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Sessions that write at once.
const WRITERS: u64 = 3;

/// What a moment looked like at the producer.
struct Sample {
    /// Commit time of the last batch, µs since 1970.
    at: i64,
    /// By table its rows, sorted.
    tables: Vec<Vec<String>>,
}

#[test]
fn every_batch_is_a_state_that_postgresql_had() {
    println!("{}", endure(System::Postgres));
}

#[test]
fn every_batch_is_a_state_that_mariadb_had() {
    println!("{}", endure(System::Mariadb));
}

/// Gives how much was compared.
fn endure(system: System) -> String {
    let (seconds, samples) = (number_of("LEVADA_ENDURANCE_SECONDS", 12), number_of("LEVADA_ENDURANCE_SAMPLES", 4));
    let mut world = World::new(seed(), Plan { rows: 200, ..small(system) });
    world.start();
    world.settle();
    let writers = Writers::start(Arc::clone(&world.source), world.seed);
    let (mut chance, began) = (Chance::new(world.seed), Instant::now());
    let mut found = Vec::new();
    for sample in 1..=samples {
        let until = began + Duration::from_secs(seconds * sample / samples);
        while Instant::now() < until {
            disturb(&mut world, &mut chance);
            thread::park_timeout(Duration::from_secs(1).min(until.saturating_duration_since(Instant::now())));
        }
        let _nobody_writes = writers.may_write.write().expect("no panic holds it");
        world.settle();
        found.push(sample_of(&world));
    }
    writers.stop();
    world.prove();
    for sample in &found {
        compare(&world, sample);
    }
    format!("seed {}: {} moments agree, {} batches", world.seed, found.len(), world.batches().len())
}

/// Threads that write until they are stopped.
struct Writers {
    may_write: Arc<RwLock<()>>,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    fn start(source: Arc<Database>, seed: u64) -> Self {
        let (may_write, is_over) = (Arc::<RwLock<()>>::default(), Arc::<AtomicBool>::default());
        let start = |writer: u64| {
            let (source, may_write, is_over) = (source.clone(), may_write.clone(), is_over.clone());
            thread::spawn(move || {
                let mut chance = Chance::new(seed * 1_000 + writer);
                while !is_over.load(Ordering::Relaxed) {
                    let turn = may_write.read().expect("no panic holds it");
                    write(&source, &mut chance, seed);
                    drop(turn);
                    // A lock that is always read would never be written.
                    thread::yield_now();
                }
            })
        };
        Self { threads: (0..WRITERS).map(start).collect(), may_write, is_over }
    }

    fn stop(self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|writer| writer.join().expect("a writer has written to its end"));
    }
}

fn write(source: &Database, chance: &mut Chance, seed: u64) {
    let workload = source.system().workload();
    let prepared = workload.prepared.filter(|_| chance.below(20) == 0);
    let transaction = prepared.unwrap_or(workload.transaction)(chance);
    if let Err(error) = source.sql("shop", &transaction) {
        // Writers and changes of tables hold each other up; one of them is told to try again.
        assert!(workload.is_passing(&error), "seed {seed}: {error} in {transaction}");
    }
}

/// Something that a stream has to come through.
fn disturb(world: &mut World, chance: &mut Chance) {
    match chance.below(9) {
        0 | 1 => {
            world.kill_workers();
            world.start();
        }
        2 => world.to_source.cut_after(i64::try_from(chance.below(40_000)).expect("a small number")),
        3 => world.to_consumer.cut(),
        4..=7 => {
            let alterations = world.workload().alterations;
            let alteration = alterations[chance.below(alterations.len() as u64) as usize];
            if let Err(error) = world.source.sql("shop", alteration) {
                assert!(world.workload().is_passing(&error), "{error} in {alteration}");
            }
        }
        _ => {}
    }
}

fn sample_of(world: &World) -> Sample {
    let compared = world.workload().compared.iter();
    let tables = compared.map(|table| world.rows_at_source(table.columns, table.name)).collect();
    let at = world.batches().iter().filter_map(|batch| batch["committed_at"].as_i64()).max();
    Sample { at: at.expect("a batch is committed"), tables }
}

/// Compares a moment, row by row, with what the consumer's history says of it, and that with the store.
fn compare(world: &World, sample: &Sample) {
    let at = world.consumer().moment(sample.at);
    for (Table { name, columns, .. }, expected) in world.workload().compared.iter().zip(&sample.tables) {
        let history =
            format!("reporting.shop_{name}_history WHERE valid_from <= {at} AND (valid_to IS NULL OR valid_to > {at})");
        let found = world.consumer().rows("reports", columns, &history).expect("the history is there");
        assert!(
            found == *expected,
            "seed {}: {name} at {}: {} rows in the history, {} at the producer",
            world.seed,
            sample.at,
            found.len(),
            expected.len()
        );
    }
    // The history says what the producer had; the store has to say the same as the history.
    let time = jiff::Timestamp::from_microsecond(sample.at).expect("a time").to_string();
    let verified = world.ecosystem.levada(&["verify", "--as-of", &time, "--format", "json"]).succeeded().json();
    let comparisons = verified["comparisons"].as_array().expect("a list");
    let counts: Vec<_> = comparisons.iter().map(|one| one["comparison"]["store"]["rows"].as_u64()).collect();
    let rows: usize = sample.tables.iter().map(Vec::len).sum();
    let counted: u64 = counts.iter().flatten().sum();
    assert_eq!((counts.len(), counted), (sample.tables.len(), rows as u64), "seed {} at {time}", world.seed);
}
