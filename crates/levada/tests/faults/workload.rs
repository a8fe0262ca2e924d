//! What a producer's users do: random transactions over tables with keys, without, with long texts, with
//! partitions.

use super::chance::Chance;

/// The tables of the producer.
pub const TABLES: &str = "
CREATE TABLE accounts (id bigint PRIMARY KEY, name text, note text, amount numeric(12,2), changed timestamptz);
CREATE TABLE lines (account bigint, line int, item text, quantity int, PRIMARY KEY (account, line));
CREATE TABLE bag (kind text, n int);
ALTER TABLE bag REPLICA IDENTITY FULL;
CREATE TABLE readings (sensor int, at timestamp, value double precision, PRIMARY KEY (sensor, at)) PARTITION BY RANGE (at);
CREATE TABLE readings_old PARTITION OF readings FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
CREATE TABLE readings_new PARTITION OF readings FOR VALUES FROM ('2026-01-01') TO (MAXVALUE);
";

/// The datasets, as the model has them.
pub const DATASETS: &str = "
  accounts:
    columns:
      id: { type: int64, key: true }
      name: text
      note: text
      amount: decimal(12,2)
      changed: timestamptz
  lines:
    columns:
      account: { type: int64, key: true }
      line: { type: int32, key: true }
      item: text
      quantity: int32
  bag:
    columns: { kind: text, n: int32 }
  readings:
    columns:
      sensor: { type: int32, key: true }
      at: { type: timestamp, key: true }
      value: float64
";

/// The datasets, and the columns to compare.
pub const COLUMNS: [(&str, &str); 4] = [
    ("accounts", "id, name, md5(note), length(note), amount, changed"),
    ("lines", "account, line, item, quantity"),
    ("bag", "kind, n"),
    ("readings", "sensor, at, value"),
];

/// Rows to begin with.
pub fn first_rows(rows: u64) -> String {
    format!(
        "INSERT INTO accounts SELECT i, 'name ' || i, CASE i % 3 WHEN 0 THEN repeat(md5(i::text), 200) END, i * 1.5, \
         '2026-01-01'::timestamptz + i * interval '1 second' FROM generate_series(1, {rows}) i;
         INSERT INTO lines (account, line, item, quantity) SELECT i, j, 'item ' || j, i % 7 FROM generate_series(1, {rows}) i, generate_series(1, 2) j;
         INSERT INTO bag SELECT 'kind ' || i % 5, i % 3 FROM generate_series(1, {rows}) i;
         INSERT INTO readings SELECT i % 10, '2025-12-01'::timestamp + i * interval '1 hour', i / 8.0 \
         FROM generate_series(1, {rows}) i;"
    )
}

/// One random transaction.
pub fn transaction(chance: &mut Chance) -> String {
    let count = 1 + chance.below(4);
    let statements: Vec<String> = (0..count).map(|_| statement(chance)).collect();
    match chance.below(12) {
        0 => format!("BEGIN; {}; ROLLBACK;", statements.join("; ")),
        1 => format!("BEGIN; {}; SAVEPOINT a; {}; ROLLBACK TO a; COMMIT;", statements.join("; "), statement(chance)),
        _ => format!("BEGIN; {}; COMMIT;", statements.join("; ")),
    }
}

fn statement(chance: &mut Chance) -> String {
    let id = chance.below(400);
    let number = chance.next() % 100_000;
    let upsert = "ON CONFLICT (id) DO UPDATE SET name = excluded.name, amount = excluded.amount";
    match chance.below(20) {
        0..=3 => format!(
            "INSERT INTO accounts VALUES ({id}, 'new {number}', repeat('{number} ', {}), {number} / 100.0, now()) {upsert}",
            number % 2_000
        ),
        4..=6 => format!("UPDATE accounts SET amount = {number} / 100.0 WHERE id % 13 = {}", id % 13),
        7 => format!("UPDATE accounts SET note = repeat('{number}', 900) WHERE id = {id}"),
        8 => format!("UPDATE accounts SET name = NULL, changed = NULL WHERE id = {id}"),
        9 => format!("DELETE FROM accounts WHERE id % 37 = {}", id % 37),
        10 => format!(
            "UPDATE accounts SET id = id + 1000 WHERE id = {id} AND NOT EXISTS (SELECT 1 FROM accounts WHERE id = {id} + 1000)"
        ),
        11 => format!(
            "INSERT INTO lines (account, line, item, quantity) VALUES ({id}, {}, 'item {number}', 1) ON CONFLICT (account, line) DO UPDATE SET quantity = lines.quantity + 1",
            number % 3
        ),
        12 => format!("UPDATE lines SET quantity = quantity - 1 WHERE account % 29 = {}", id % 29),
        13 => format!("DELETE FROM lines WHERE account = {id}"),
        14 => format!("INSERT INTO bag SELECT 'kind {}', {} FROM generate_series(1, 3)", id % 5, number % 3),
        15 => format!("DELETE FROM bag WHERE ctid IN (SELECT ctid FROM bag WHERE kind = 'kind {}' LIMIT 2)", id % 5),
        16 => format!("UPDATE bag SET n = n + 1 WHERE ctid IN (SELECT ctid FROM bag WHERE n = {} LIMIT 2)", number % 3),
        17 => format!(
            "INSERT INTO readings VALUES ({}, '2025-12-20'::timestamp + {id} * interval '1 hour', {number} / 8.0) \
             ON CONFLICT (sensor, at) DO UPDATE SET value = excluded.value",
            id % 10
        ),
        18 => format!(
            "UPDATE readings SET at = at + interval '1 year' WHERE sensor = {} AND at < '2026-01-01' \
             AND at > '2025-12-{:02}' AND NOT EXISTS (SELECT 1 FROM readings o WHERE o.sensor = readings.sensor \
             AND o.at = readings.at + interval '1 year')",
            id % 10,
            1 + number % 28
        ),
        _ => match number % 40 {
            0 => "TRUNCATE bag".to_owned(),
            1 => "TRUNCATE readings_old".to_owned(),
            2 => "TRUNCATE lines".to_owned(),
            _ => format!("DELETE FROM readings WHERE sensor = {} AND value > {}", id % 10, number % 50),
        },
    }
}
