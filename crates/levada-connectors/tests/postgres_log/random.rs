//! Random short lives of a stream: whatever the workload and whenever a reader dies, it ends as the tables.

use super::{Mirror, Stream, dataset, plain, roomy, schema_of};
use levada_flow::Source;

/// How many lives.
const RUNS: u64 = 200;

/// How many steps each has.
const STEPS: u64 = 12;

/// A small generator of the same numbers for the same seed (Vigna, "splitmix64").
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// A statement on one of the three tables: with a key, with whole rows logged, and without a key.
fn statement(numbers: &mut Numbers) -> String {
    let table = ["keyed", "full_keyed", "keyless"][numbers.below(3) as usize];
    let (id, other, value) = (numbers.below(12), numbers.below(12), numbers.below(100));
    let text = match numbers.below(4) {
        0 => "NULL".to_owned(),
        1 => format!("repeat('{}', {})", value % 10, 2_500 + value),
        _ => format!("'v{value}'"),
    };
    match numbers.below(10) {
        0..=2 if table == "keyless" => format!("INSERT INTO {table} VALUES ({id}, {text}, {value})"),
        0..=2 => format!(
            "INSERT INTO {table} VALUES ({id}, {text}, {value}) ON CONFLICT (id) DO UPDATE SET name = excluded.name"
        ),
        3 | 4 => format!("UPDATE {table} SET n = {value} WHERE id % 3 = {}", id % 3),
        5 => format!("UPDATE {table} SET name = {text} WHERE id = {id}"),
        6 => format!(
            "UPDATE {table} SET id = {other} WHERE id = {id} AND NOT EXISTS (SELECT FROM {table} WHERE id = {other})"
        ),
        7 | 8 => format!("DELETE FROM {table} WHERE id = {id}"),
        _ if numbers.below(4) == 0 => format!("TRUNCATE {table}"),
        _ => format!(
            "UPDATE {table} SET id = id + 20 WHERE id = {id} AND NOT EXISTS (SELECT FROM {table} WHERE id = {id} + 20)"
        ),
    }
}

fn transaction(numbers: &mut Numbers) -> String {
    let mut statements = vec!["BEGIN".to_owned()];
    for _ in 0..=numbers.below(4) {
        let is_undone = numbers.below(5) == 0;
        if is_undone {
            statements.push("SAVEPOINT s".to_owned());
        }
        statements.push(statement(numbers));
        if is_undone {
            statements.push("ROLLBACK TO SAVEPOINT s".to_owned());
        }
    }
    statements.push(if numbers.below(6) == 0 { "ROLLBACK" } else { "COMMIT" }.to_owned());
    statements.join("; ")
}

/// One of the things that happen to a reader.
async fn pull(numbers: &mut Numbers, stream: &mut Stream) -> Result<(), levada_flow::FlowError> {
    let source: &mut dyn Source = stream.source.as_mut();
    let mirror: &mut Mirror = &mut stream.mirror;
    match numbers.below(6) {
        0 => drop(mirror.pull_in_vain(source).await?),
        1 => drop(mirror.pull_and_lose_the_answer(source).await?),
        2 => {
            stream.source = stream.database.source().await;
        }
        3 => {
            mirror.pull(source).await?;
            stream.source = stream.database.source().await;
        }
        4 => {}
        _ => drop(mirror.catch_up(source).await?),
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_random_life_of_a_stream_ends_as_its_tables() {
    let database = roomy("random");
    let columns = "name text, n bigint";
    database
        .run(&format!(
            "CREATE TABLE keyed (id bigint PRIMARY KEY, {columns}); ALTER TABLE keyed ALTER name SET STORAGE EXTERNAL;
             CREATE TABLE full_keyed (LIKE keyed INCLUDING ALL); ALTER TABLE full_keyed REPLICA IDENTITY FULL;
             CREATE TABLE keyless (id bigint, {columns}); ALTER TABLE keyless REPLICA IDENTITY FULL"
        ))
        .await;
    let keyless = schema_of(&[("id", "int64", false), ("name", "text", false), ("n", "int64", false)]);
    let datasets = vec![dataset("keyed", &plain()), dataset("full_keyed", &plain()), dataset("keyless", &keyless)];
    let mut stream = Stream::begin(&database, datasets).await;
    let writer = database.client().await;
    for seed in 0..RUNS {
        let mut numbers = Numbers(seed);
        let mut life = Vec::new();
        for _ in 0..STEPS {
            let transaction = transaction(&mut numbers);
            writer
                .batch_execute(&transaction)
                .await
                .unwrap_or_else(|error| panic!("seed {seed}: {error:?} in {transaction}"));
            life.push(transaction);
            if numbers.below(3) == 0 {
                let pulled = pull(&mut numbers, &mut stream).await;
                pulled.unwrap_or_else(|error| panic!("seed {seed}: {}", error.chain()));
            }
        }
        stream.follow(&format!("seed {seed}: {}", life.join("\n"))).await;
    }
}
