//! Many writers, changes of tables, cut connections and kills for a while; and at the end not only the last
//! state is right, but that of every moment that was looked at.
//!
//! `LEVADA_ENDURANCE_SECONDS` says for how long (12 without it), `LEVADA_ENDURANCE_SAMPLES` at how many
//! moments the producer is looked at (4 without it).

use super::chance::Chance;
use super::workload;
use super::world::{Plan, World, sorted};
use super::{number_of, seed};
use levada_testbed::PostgresCluster;
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
fn every_batch_is_a_state_that_the_producer_had() {
    let (seconds, samples) = (number_of("LEVADA_ENDURANCE_SECONDS", 12), number_of("LEVADA_ENDURANCE_SAMPLES", 4));
    let mut world = World::new(seed(), Plan { rows: 200, ..Plan::default() });
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
    println!("seed {}: {} moments agree, {} batches", world.seed, found.len(), world.batches().len());
}

/// Threads that write until they are stopped.
struct Writers {
    may_write: Arc<RwLock<()>>,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    fn start(source: Arc<PostgresCluster>, seed: u64) -> Self {
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

fn write(source: &PostgresCluster, chance: &mut Chance, seed: u64) {
    let transaction = workload::transaction(chance);
    let Err(error) = source.sql("shop", &transaction) else { return };
    // Writers and changes of tables hold each other up; one of them is told to try again.
    let error = error.to_string();
    let is_passing = ["deadlock", "duplicate key", "concurrent"].iter().any(|it| error.contains(it));
    assert!(is_passing, "seed {seed}: {error} in {transaction}");
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
        4 => {
            let to = if chance.below(2) == 0 { "int" } else { "bigint" };
            alter(world, &format!("ALTER TABLE lines ALTER COLUMN quantity TYPE {to}"));
        }
        5 => alter(world, "ALTER TABLE accounts ADD COLUMN IF NOT EXISTS extra text DEFAULT 'x'"),
        6 => alter(world, "ALTER TABLE accounts DROP COLUMN IF EXISTS extra"),
        7 => alter(world, "VACUUM FULL lines"),
        _ => {}
    }
}

/// Changes a table, unless the writers are in the way.
fn alter(world: &World, statement: &str) {
    if let Err(error) = world.source.sql("shop", statement) {
        assert!(error.to_string().contains("deadlock"), "{error} in {statement}");
    }
}

fn sample_of(world: &World) -> Sample {
    let tables = workload::COLUMNS.iter().map(|(name, columns)| world.at_source(&sorted(columns, name))).collect();
    let at = world.batches().iter().filter_map(|batch| batch["committed_at"].as_i64()).max();
    Sample { at: at.expect("a batch is committed"), tables }
}

/// Compares a moment with what the consumer's history and the store say of it.
fn compare(world: &World, sample: &Sample) {
    let at = format!("timestamptz '1970-01-01 00:00:00+00' + {} * interval '1 microsecond'", sample.at);
    for ((name, columns), expected) in workload::COLUMNS.iter().zip(&sample.tables) {
        let history =
            format!("reporting.shop_{name}_history WHERE valid_from <= {at} AND (valid_to IS NULL OR valid_to > {at})");
        let found = world.at_consumer(&sorted(columns, &history)).expect("the history is there");
        assert!(
            found == *expected,
            "seed {}: {name} at {}: {} rows in the history, {} at the producer",
            world.seed,
            sample.at,
            found.len(),
            expected.len()
        );
        let time = jiff::Timestamp::from_microsecond(sample.at).expect("a time");
        let query = format!("SELECT count(*) AS rows FROM Shop.{name} FOR TIMESTAMP AS OF '{time}'");
        let asked = world.ecosystem.levada(&["sql", &query, "--format", "json"]).succeeded();
        assert!(
            asked.stdout.contains(&format!(":{}", expected.len())),
            "{query}: {} not {}",
            asked.stdout,
            expected.len()
        );
    }
}
