//! Streams of MariaDB: changes by its binary log, delivered to MariaDB, and the worker is killed meanwhile.

use crate::ecosystem::Ecosystem;
use crate::faults::chance::Chance;
use levada_testbed::MariadbServer;
use levada_testbed::mariadb::{PASSWORD, SUPERUSER};
use std::process::Child;
use std::time::{Duration, Instant};

/// How long the consumer may take to be as the producer is, once nothing is broken any more.
const SETTLE_MAX: Duration = Duration::from_secs(120);

/// How often the worker is killed.
const KILLS: usize = 8;

const TABLES: &str = "CREATE DATABASE shop CHARACTER SET utf8mb4; CREATE DATABASE reports; USE shop;
    CREATE TABLE shop.orders (id BIGINT PRIMARY KEY, name VARCHAR(100), amount DECIMAL(12,2), at DATETIME(6));
    CREATE TABLE shop.hits (page VARCHAR(20), n INT);
    INSERT INTO shop.orders SELECT seq, CONCAT('order ', seq), seq / 4, '2026-01-01' FROM seq_1_to_2000;
    INSERT INTO shop.hits SELECT CONCAT('page ', seq % 7), seq % 3 FROM seq_1_to_500";

const MODEL: &str = "zone: Z
---
team: T
containers:
  - { container: shop, kind: mariadb, location: \"here:lab\", host: 127.0.0.1, port: PORT, database: shop, credential: db }
  - { container: reports, kind: mariadb, location: \"here:lab\", host: 127.0.0.1, port: PORT, database: reports, credential: db }
---
datastore: Shop
container: shop
ingest: { kind: cdc }
datasets:
  orders:
    columns:
      id: { type: int64, key: true }
      name: text
      amount: decimal(12,2)
      at: timestamp
  hits:
    columns: { page: text, n: int32 }
---
workspace: Reporting
container: reports
groups:
  All:
    requires: { latency: seconds, milestoning: both, retention: 1y }
    datasets: [Shop.orders, Shop.hits]
";

/// The columns of each table, and what they are sorted by.
const READ: [(&str, &str); 2] = [("orders", "id, name, amount, at"), ("hits", "page, n")];

/// A random transaction.
fn transaction(chance: &mut Chance) -> String {
    let id = chance.below(2_500);
    let statement = match chance.below(8) {
        0 => format!("REPLACE INTO orders VALUES ({id}, 'anew', {id}, NOW(6))"),
        1 => format!("DELETE FROM orders WHERE id BETWEEN {id} AND {id} + 3"),
        2 => format!("UPDATE orders SET id = id + 100000 WHERE id = {id}"),
        3 => format!("INSERT INTO hits VALUES ('page {}', NULL), ('page 1', 1)", id % 9),
        4 => format!("DELETE FROM hits WHERE n = {} LIMIT 2", id % 3),
        5 => format!(
            "INSERT INTO orders (id, name) SELECT MAX(id) + 1, 'ä😀' FROM orders; UPDATE hits SET n = 2 WHERE n = {}",
            id % 4
        ),
        _ => format!(
            "UPDATE orders SET amount = amount + 1, name = REPEAT('x', {}) WHERE id % 500 = {}",
            id % 90,
            id % 500
        ),
    };
    format!("USE shop; BEGIN; {statement}; COMMIT")
}

fn rows(server: &MariadbServer, table: &str, columns: &str) -> Result<String, String> {
    server.sql(&format!("SELECT {columns} FROM {table} ORDER BY {columns}")).map_err(|error| error.to_string())
}

/// Waits until the consumer has what the producer has now.
fn settle(server: &MariadbServer) {
    let until = Instant::now() + SETTLE_MAX;
    for (table, columns) in READ {
        let expected = rows(server, &format!("shop.{table}"), columns).expect("the producer answers");
        loop {
            let found = rows(server, &format!("reporting.shop_{table}"), columns);
            if found.as_ref() == Ok(&expected) {
                break;
            }
            assert!(Instant::now() < until, "{table} does not come: {found:.2000?}\ninstead of\n{expected:.2000}");
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }
}

fn kill(mut worker: Child) {
    let _ = worker.kill();
    worker.wait().expect("the worker is ours");
}

#[test]
fn changes_of_mariadb_arrive_once_although_the_worker_is_killed() {
    let settings = [("log_bin", "changes"), ("binlog_format", "ROW"), ("server_id", "7")];
    let server = MariadbServer::start_with(&settings).unwrap_or_else(|error| panic!("{error}"));
    server.sql(TABLES).expect("tables");
    let ecosystem = Ecosystem::new();
    ecosystem.secret("db", SUPERUSER, PASSWORD);
    ecosystem.write(
        "ecosystem.yaml",
        "ecosystem: faults\nvendors: [{ vendor: here, cloud: private, locations: { lab: {} } }]\n\
         platforms: [{ platform: Stream, kind: embedded, style: streaming, locations: [\"here:lab\"] }]\n",
    );
    ecosystem.write("model.yaml", &MODEL.replace("PORT", &server.port().to_string()));
    ecosystem.levada(&["apply", "--yes"]).succeeded();
    let mut chance = Chance::new(1);
    for _ in 0..KILLS {
        let worker = ecosystem.start(&["run"]);
        for _ in 0..chance.below(30) + 5 {
            server.sql(&transaction(&mut chance)).expect("the producer works");
        }
        kill(worker);
        server.sql(&transaction(&mut chance)).expect("the producer works");
    }
    let worker = ecosystem.start(&["run"]);
    settle(&server);
    for statement in ["FLUSH BINARY LOGS", "ALTER TABLE shop.orders ADD COLUMN early INT FIRST", "TRUNCATE shop.hits"] {
        server.sql(statement).expect("the producer changes");
        server.sql("UPDATE shop.orders SET amount = amount + 1 WHERE id < 50").expect("the producer works");
        settle(&server);
    }
    kill(worker);
    let twice = "SELECT COUNT(*) FROM (SELECT valid_to, LEAD(valid_from) OVER (PARTITION BY id ORDER BY valid_from) AS next \
                 FROM reporting.shop_orders_history) AS v WHERE next < valid_to OR (valid_to IS NULL AND next IS NOT NULL)";
    assert_eq!(server.sql(twice).expect("the history is there"), "0", "no version overlaps the next one");
    ecosystem.levada(&["verify", "--source"]).succeeded();
}
