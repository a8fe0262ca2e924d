//! How soon a change at the producer is seen at the consumer, at a steady rate.

use super::world::World;
use anyhow::{Context, Result};
use levada_runtime::{Mode, Worker};
use levada_state::Host;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_postgres::{Client, NoTls};

/// Changes in one transaction.
const TRANSACTION_CHANGES: u32 = 10;

/// Writes at a rate, watches the consumer's view, and prints the times between.
#[expect(clippy::print_stdout, reason = "the figures are this program's output")]
pub async fn run(rate: u32, seconds: u32, synchronous_commit: bool) -> Result<()> {
    let world = World::new(synchronous_commit).await?;
    world.cluster.sql("shop", "INSERT INTO items SELECT i, 'n', 0, now(), 'x' FROM generate_series(1, 100000) i")?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let worker = Worker::new(world.runtime.clone(), Host::Anywhere, "bench".to_owned(), 4, Mode::Continuous, |_| {});
    let worker = tokio::spawn(worker.run(stopped));
    let consumer = client(&world, "reports").await?;
    while consumer.query("SELECT 1 FROM reporting.shop_items LIMIT 1", &[]).await.map_or(true, |rows| rows.is_empty()) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // When each transaction, by its number, was committed.
    let committed: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let producer = client(&world, "shop").await?;
    let write = {
        let committed = Arc::clone(&committed);
        async move {
            let started = Instant::now();
            for number in 0..rate * seconds / TRANSACTION_CHANGES {
                let due = started + Duration::from_secs_f64(f64::from(number * TRANSACTION_CHANGES) / f64::from(rate));
                tokio::time::sleep_until(due.into()).await;
                let first = i64::from(number * TRANSACTION_CHANGES % 99_000) + 2;
                let changes = format!(
                    "BEGIN; UPDATE items SET amount = {number}, changed = now() WHERE id BETWEEN {first} AND {first} + {}; \
                     UPDATE items SET amount = {number} WHERE id = 1; COMMIT",
                    TRANSACTION_CHANGES - 2
                );
                producer.batch_execute(&changes).await.context("a change")?;
                committed.lock().expect("nobody panics while holding it").push(Instant::now());
            }
            anyhow::Ok(())
        }
    };
    let last = i64::from(rate * seconds / TRANSACTION_CHANGES) - 1;
    let watch = async {
        let (mut seen, mut times) = (-1, Vec::new());
        while seen < last {
            let row = consumer.query_one("SELECT amount::int8 FROM reporting.shop_items WHERE id = 1", &[]).await?;
            let (now, newest) = (Instant::now(), row.get::<_, i64>(0));
            let committed = committed.lock().expect("nobody panics while holding it").clone();
            for number in seen + 1..=newest.min(committed.len() as i64 - 1) {
                times.push(now.saturating_duration_since(committed[usize::try_from(number)?]));
                seen = number;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        anyhow::Ok(times)
    };
    let (written, times) = tokio::join!(write, watch);
    written?;
    let mut times = times?;
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "{rate} changes/s for {seconds} s: p50 {:.0} ms, p99 {:.0} ms, most {:.0} ms, from commit to being seen",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    stop.send(true)?;
    worker.await??;
    Ok(())
}

async fn client(world: &World, database: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(&world.cluster.url(database), NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
