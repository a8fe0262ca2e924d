//! The workload in MariaDB's words.

use super::{Table, Workload, compared, tag, transaction_of};
use crate::faults::chance::Chance;

pub const MARIADB: Workload = Workload {
    tables: TABLES,
    datasets: DATASETS,
    compared: &COMPARED,
    first_rows,
    transaction,
    prepared: Some(prepared),
    alterations: &[
        "ALTER TABLE items MODIFY quantity INT",
        "ALTER TABLE items MODIFY quantity BIGINT",
        "ALTER TABLE accounts ADD COLUMN IF NOT EXISTS extra TEXT DEFAULT 'x' FIRST",
        "ALTER TABLE accounts DROP COLUMN IF EXISTS extra",
        "OPTIMIZE TABLE items",
        "CREATE INDEX IF NOT EXISTS by_amount ON accounts (amount)",
        "DROP INDEX IF EXISTS by_amount ON accounts",
        "ALTER TABLE readings TRUNCATE PARTITION readings_old",
        "FLUSH BINARY LOGS",
    ],
    passing_errors: &[
        "Deadlock",
        "Duplicate entry",
        "Lock wait timeout",
        "Record has changed",
        "definition has changed",
    ],
};

const TABLES: &str = "
CREATE TABLE accounts (id BIGINT PRIMARY KEY, name VARCHAR(200), note LONGTEXT, amount DECIMAL(12,2), changed TIMESTAMP(6) NULL);
CREATE TABLE items (account BIGINT, line INT, item VARCHAR(100), quantity INT, PRIMARY KEY (account, line));
CREATE TABLE bag (kind VARCHAR(40), n INT);
CREATE TABLE readings (sensor INT, at DATETIME(6), value DOUBLE, PRIMARY KEY (sensor, at))
  PARTITION BY RANGE COLUMNS (at) (PARTITION readings_old VALUES LESS THAN ('2026-01-01'), PARTITION readings_new VALUES LESS THAN (MAXVALUE));
CREATE TABLE kinds (id BIGINT PRIMARY KEY, flag BOOLEAN, tiny TINYINT, small SMALLINT UNSIGNED, medium MEDIUMINT, whole INT,
  big BIGINT UNSIGNED, single FLOAT, twice DOUBLE, digits DECIMAL(38,10), day DATE, clock TIME(6), moment DATETIME(3),
  instant TIMESTAMP(6) NULL, fixed CHAR(5), short VARCHAR(20) CHARACTER SET latin1, bytes VARBINARY(40), padded BINARY(8),
  code UUID, doc JSON, word ENUM('red', 'green', 'it''s'), words SET('x', 'y'), made YEAR, bits BIT(12));
CREATE TABLE tags (name VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin PRIMARY KEY, body LONGTEXT NOT NULL, weight FLOAT);
";

const COMPARED: [Table; 6] = compared(KINDS);

const KINDS: &str = "id, flag, tiny, small, medium, whole, big, single, twice, digits, day, clock, CAST(moment AS DATETIME(6)), instant, \
                     fixed, short, HEX(bytes), HEX(padded), code, doc, word, words, made, bits + 0";

const DATASETS: &str = "  kinds:
    columns:
      id: { type: int64, key: true }
      flag: boolean
      tiny: int8
      small: int32
      medium: int32
      whole: int32
      big: decimal(20,0)
      single: float32
      twice: float64
      digits: decimal(38,10)
      day: date
      clock: time
      moment: timestamp
      instant: timestamptz
      fixed: char(5)
      short: varchar(20)
      bytes: binary
      padded: binary(8)
      code: uuid
      doc: json
      word: text
      words: text
      made: int16
      bits: int16
  tags:
    columns:
      name: { type: varchar(100), key: true }
      body: { type: text, nullable: false }
      weight: float32
";

fn first_rows(rows: u64) -> String {
    format!(
        "INSERT INTO accounts SELECT seq, CONCAT('name ', seq), IF(seq % 3 = 0, REPEAT(MD5(seq), 200), NULL), seq * 1.5, \
         '2026-01-01' + INTERVAL seq SECOND FROM seq_1_to_{rows};
         INSERT INTO items (account, line, item, quantity) SELECT a.seq, b.seq, CONCAT('item ', b.seq), a.seq % 7 FROM seq_1_to_{rows} a, seq_1_to_2 b;
         INSERT INTO bag SELECT CONCAT('kind ', seq % 5), seq % 3 FROM seq_1_to_{rows};
         INSERT INTO readings SELECT seq % 10, '2025-12-01' + INTERVAL seq HOUR, seq / 8 FROM seq_1_to_{rows};
         INSERT INTO kinds SELECT seq, {} FROM seq_1_to_{rows};
         INSERT INTO tags SELECT CONCAT('tag ', seq), MD5(seq), seq / 4 FROM seq_1_to_{rows};",
        values_of("seq")
    )
}

/// A value of every type, made of a whole number.
fn values_of(n: &str) -> String {
    format!(
        "{n} % 2 = 0, -({n} % 128), {n} % 65536, CAST({n} AS SIGNED) - 50000, 7 * {n}, 18446744073709551615 - {n}, {n} / 8, {n} / 7.0e0, \
         {n} * 1234567890123.0000000001, '2026-01-01' + INTERVAL ({n} % 9999) DAY, SEC_TO_TIME({n} % 86400 + 0.000001 * ({n} % 7)), \
         '1999-12-31 12:00:00.123' + INTERVAL {n} MINUTE, '1980-01-01' + INTERVAL {n} * 61 SECOND, LEFT(MD5({n}), {n} % 6), CONCAT('ä', {n}), \
         UNHEX(MD5({n})), UNHEX(RPAD(LEFT(MD5({n}), 2 * ({n} % 9)), 16, '0')), CONCAT(LEFT(MD5({n}), 12), 1 + {n} % 5, MID(MD5({n}), 14, 3), '8', RIGHT(MD5({n}), 15)), \
         JSON_OBJECT('n', {n}, 'deep', JSON_ARRAY({n}, NULL, 'x')), \
         1 + {n} % 3, {n} % 4, 1901 + {n} % 250, {n} % 4096"
    )
}

/// A text as MariaDB reads it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn transaction(chance: &mut Chance) -> String {
    // It ends the transaction that it stands in: it stands alone.
    match chance.below(400) {
        0 => "TRUNCATE bag".to_owned(),
        1 => "TRUNCATE items".to_owned(),
        2 => "TRUNCATE kinds".to_owned(),
        _ => transaction_of(chance, statement),
    }
}

/// A transaction in two phases.
fn prepared(chance: &mut Chance) -> String {
    let (xid, end) = (chance.next(), if chance.below(4) == 0 { "ROLLBACK" } else { "COMMIT" });
    let statements = [statement(chance), statement(chance)].join("; ");
    format!("XA START '{xid}'; {statements}; XA END '{xid}'; XA PREPARE '{xid}'; XA {end} '{xid}'")
}

fn statement(chance: &mut Chance) -> String {
    let id = chance.below(400);
    let number = chance.next() % 100_000;
    match chance.below(27) {
        0..=3 => format!(
            "INSERT INTO accounts (id, name, note, amount, changed) VALUES ({id}, 'new {number}', REPEAT('{number} ', {}), {number} / 100, NOW(6)) \
             ON DUPLICATE KEY UPDATE name = VALUES(name), amount = VALUES(amount)",
            number % 2_000
        ),
        4..=6 => format!("UPDATE accounts SET amount = {number} / 100 WHERE id % 13 = {}", id % 13),
        7 => format!("UPDATE accounts SET note = REPEAT('{number}', 900) WHERE id = {id}"),
        8 => format!("UPDATE accounts SET name = NULL, changed = NULL WHERE id = {id}"),
        9 => format!("DELETE FROM accounts WHERE id % 37 = {}", id % 37),
        10 => format!("UPDATE IGNORE accounts SET id = id + 1000 WHERE id = {id}"),
        11 => format!(
            "INSERT INTO items (account, line, item, quantity) VALUES ({id}, {}, 'item {number}', 1) ON DUPLICATE KEY UPDATE quantity = quantity + 1",
            number % 3
        ),
        12 => format!("UPDATE items SET quantity = quantity - 1 WHERE account % 29 = {}", id % 29),
        13 => format!("DELETE FROM items WHERE account = {id}"),
        14 => format!("INSERT INTO bag SELECT 'kind {}', {} FROM seq_1_to_3", id % 5, number % 3),
        15 => format!("DELETE FROM bag WHERE kind = 'kind {}' LIMIT 2", id % 5),
        16 => format!("UPDATE bag SET n = n + 1 WHERE n = {} LIMIT 2", number % 3),
        17 => format!("REPLACE INTO readings VALUES ({}, '2025-12-20' + INTERVAL {id} HOUR, {number} / 8)", id % 10),
        18 => format!(
            "UPDATE IGNORE readings SET at = at + INTERVAL 1 YEAR WHERE sensor = {} AND at < '2026-01-01' AND at > '2025-12-{:02}'",
            id % 10,
            1 + number % 28
        ),
        19 | 20 => format!("REPLACE INTO kinds SELECT {id}, {}", values_of(&number.to_string())),
        21 => format!(
            "UPDATE kinds SET flag = NULL, digits = NULL, doc = NULL, words = '', short = '' WHERE id % 31 = {}",
            id % 31
        ),
        22 => format!(
            "UPDATE kinds SET twice = -1e308, single = 0.1, digits = -digits, clock = '24:00', word = NULL, padded = '' WHERE id = {id}"
        ),
        23 => format!(
            "INSERT INTO tags VALUES ({}, REPEAT('{number}', {}), NULL) ON DUPLICATE KEY UPDATE body = VALUES(body)",
            quoted(&tag(chance)),
            number % 3_000
        ),
        24 => {
            let (from, to) = (quoted(&tag(chance)), quoted(&tag(chance)));
            format!("UPDATE IGNORE tags SET name = {to} WHERE name = {from}")
        }
        25 => format!("DELETE FROM tags WHERE name = {}; UPDATE tags SET weight = {number} / 8", quoted(&tag(chance))),
        _ => format!("DELETE FROM readings WHERE sensor = {} AND value > {}", id % 10, number % 50),
    }
}
