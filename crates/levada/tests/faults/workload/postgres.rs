//! The workload in PostgreSQL's words.

use super::{Table, Workload, compared, tag, transaction_of};
use crate::faults::chance::Chance;

pub const POSTGRES: Workload = Workload {
    tables: TABLES,
    datasets: DATASETS,
    compared: &COMPARED,
    first_rows,
    transaction,
    prepared: None,
    alterations: &[
        "ALTER TABLE items ALTER COLUMN quantity TYPE int",
        "ALTER TABLE items ALTER COLUMN quantity TYPE bigint",
        "ALTER TABLE accounts ADD COLUMN IF NOT EXISTS extra text DEFAULT 'x'",
        "ALTER TABLE accounts DROP COLUMN IF EXISTS extra",
        "VACUUM FULL items",
    ],
    passing_errors: &["deadlock", "duplicate key", "concurrent"],
};

const TABLES: &str = "
CREATE TABLE accounts (id bigint PRIMARY KEY, name text, note text, amount numeric(12,2), changed timestamptz);
CREATE TABLE items (account bigint, line int, item text, quantity int, PRIMARY KEY (account, line));
CREATE TABLE bag (kind text, n int);
ALTER TABLE bag REPLICA IDENTITY FULL;
CREATE TABLE readings (sensor int, at timestamp, value double precision, PRIMARY KEY (sensor, at)) PARTITION BY RANGE (at);
CREATE TABLE readings_old PARTITION OF readings FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
CREATE TABLE readings_new PARTITION OF readings FOR VALUES FROM ('2026-01-01') TO (MAXVALUE);
CREATE TABLE kinds (id bigint PRIMARY KEY, flag boolean, tiny smallint, small smallint, whole int, single real,
  twice double precision, digits numeric(38,10), day date, clock time, moment timestamp, instant timestamptz,
  span interval, fixed char(5), short varchar(20), bytes bytea, code uuid, doc jsonb, list int[], shape json, vec real[]);
CREATE TABLE tags (name text PRIMARY KEY, body text NOT NULL, weight real);
";

const COMPARED: [Table; 6] = compared(KINDS);

const KINDS: &str = "id, flag, tiny, small, whole, single, twice, digits, day, clock, moment, instant, span, fixed, short, \
                     bytes, code, doc::text, list, shape::jsonb->'a', vec";

const DATASETS: &str = "  kinds:
    columns:
      id: { type: int64, key: true }
      flag: boolean
      tiny: int8
      small: int16
      whole: int32
      single: float32
      twice: float64
      digits: decimal(38,10)
      day: date
      clock: time
      moment: timestamp
      instant: timestamptz
      span: interval
      fixed: char(5)
      short: varchar(20)
      bytes: binary
      code: uuid
      doc: json
      list: list<int32>
      shape: \"struct<a: int32, b: text>\"
      vec: vector(3)
  tags:
    columns:
      name: { type: text, key: true }
      body: { type: text, nullable: false }
      weight: float32
";

fn first_rows(rows: u64) -> String {
    format!(
        "INSERT INTO accounts SELECT i, 'name ' || i, CASE i % 3 WHEN 0 THEN repeat(md5(i::text), 200) END, i * 1.5, \
         '2026-01-01'::timestamptz + i * interval '1 second' FROM generate_series(1, {rows}) i;
         INSERT INTO items (account, line, item, quantity) SELECT i, j, 'item ' || j, i % 7 FROM generate_series(1, {rows}) i, generate_series(1, 2) j;
         INSERT INTO bag SELECT 'kind ' || i % 5, i % 3 FROM generate_series(1, {rows}) i;
         INSERT INTO readings SELECT i % 10, '2025-12-01'::timestamp + i * interval '1 hour', i / 8.0 \
         FROM generate_series(1, {rows}) i;
         INSERT INTO kinds SELECT i, {} FROM generate_series(1, {rows}) i;
         INSERT INTO tags SELECT 'tag ' || i, md5(i::text), i / 4.0 FROM generate_series(1, {rows}) i;",
        values_of("i")
    )
}

/// A value of every type, made of a whole number.
fn values_of(n: &str) -> String {
    format!(
        "{n} % 2 = 0, {n} % 128, -({n} % 32768), {n} - 50000, {n} / 3.0, {n} / 7.0::float8, {n} * 1234567890123.0000000001, \
         '2026-01-01'::date + {n} % 9999, '00:00'::time + {n} * interval '1.000001 second', \
         '1999-12-31'::timestamp + {n} * interval '1 day 0.000001 second', '1970-01-01'::timestamptz + {n} * interval '61 seconds', \
         {n} % 99 * interval '1 month 2 days 0.5 seconds', left(md5({n}::text), {n} % 6), 'ä' || {n}, \
         decode(md5({n}::text), 'hex'), md5({n}::text)::uuid, jsonb_build_object('n', {n}, 'deep', jsonb_build_array({n}, null, 'x')), \
         ARRAY[{n}, NULL, 1], json_build_object('a', {n}, 'b', 'b'), ARRAY[{n}, 0.5, -1]::real[]"
    )
}

fn transaction(chance: &mut Chance) -> String {
    transaction_of(chance, statement)
}

fn statement(chance: &mut Chance) -> String {
    let id = chance.below(400);
    let number = chance.next() % 100_000;
    let upsert = "ON CONFLICT (id) DO UPDATE SET name = excluded.name, amount = excluded.amount";
    match chance.below(27) {
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
            "INSERT INTO items (account, line, item, quantity) VALUES ({id}, {}, 'item {number}', 1) ON CONFLICT (account, line) DO UPDATE SET quantity = items.quantity + 1",
            number % 3
        ),
        12 => format!("UPDATE items SET quantity = quantity - 1 WHERE account % 29 = {}", id % 29),
        13 => format!("DELETE FROM items WHERE account = {id}"),
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
        19 | 20 => format!(
            "DELETE FROM kinds WHERE id = {id}; INSERT INTO kinds SELECT {id}, {}",
            values_of(&format!("{number}"))
        ),
        21 => format!(
            "UPDATE kinds SET flag = NULL, digits = NULL, doc = NULL, list = '{{}}', short = '' WHERE id % 31 = {}",
            id % 31
        ),
        22 => format!(
            "UPDATE kinds SET twice = 'NaN', single = '-Infinity', digits = -digits, span = -span, vec = NULL WHERE id = {id}"
        ),
        23 => format!(
            "INSERT INTO tags VALUES ('{}', repeat('{number}', {}), NULL) ON CONFLICT (name) DO UPDATE SET body = excluded.body",
            tag(chance).replace('\'', "''"),
            number % 3_000
        ),
        24 => {
            let (from, to) = (tag(chance).replace('\'', "''"), tag(chance).replace('\'', "''"));
            format!(
                "UPDATE tags SET name = '{to}' WHERE name = '{from}' AND NOT EXISTS (SELECT 1 FROM tags WHERE name = '{to}')"
            )
        }
        25 => format!(
            "DELETE FROM tags WHERE name = '{}'; UPDATE tags SET weight = {number} / 8.0",
            tag(chance).replace('\'', "''")
        ),
        _ => match number % 40 {
            0 => "TRUNCATE bag".to_owned(),
            1 => "TRUNCATE readings_old".to_owned(),
            2 => "TRUNCATE items".to_owned(),
            3 => "TRUNCATE kinds, tags".to_owned(),
            _ => format!("DELETE FROM readings WHERE sensor = {} AND value > {}", id % 10, number % 50),
        },
    }
}
