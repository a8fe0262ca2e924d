//! MariaDB's binary log: the suite of change logs, and what only this log does.

use super::mysql::{Database, database_of, dataset};
use async_trait::async_trait;
use levada_connectors::mysql::quote::{TableName, identifier};
use levada_flow::Source;
use levada_flow::conformance::{LogHarness, Mirror, assert_same_rows, check_log, read_table, schema_of};
use levada_flow::source::{Coverage, PullDataset, PullEnd, PullRequest};
use levada_model::model::IngestKind;
use levada_testbed::MariadbServer;
use mysql_async::prelude::Queryable;
use std::sync::OnceLock;
use std::time::Duration;

/// A server with a binary log, for all tests that do it no harm.
fn server() -> &'static MariadbServer {
    static SERVER: OnceLock<MariadbServer> = OnceLock::new();
    SERVER.get_or_init(|| logging(&[]))
}

/// A server with a binary log.
fn logging(settings: &[(&str, &str)]) -> MariadbServer {
    let log = [("log_bin", "changes"), ("binlog_format", "ROW"), ("server_id", "7")];
    MariadbServer::start_with(&[&log, settings].concat()).unwrap_or_else(|error| panic!("{error}"))
}

#[async_trait]
impl LogHarness for Database {
    async fn run(&self, statements: &str) {
        let mut client = self.client().await;
        client.query_drop(statements).await.unwrap_or_else(|error| panic!("{error:?} in {statements:.2000}"));
    }

    async fn identify(&self, table: &str, key: &[&str]) {
        if key.is_empty() {
            return;
        }
        let key: Vec<String> = key.iter().map(|column| identifier(column)).collect();
        let statement = format!("ALTER TABLE {} ADD PRIMARY KEY ({})", self.table(table), key.join(", "));
        LogHarness::run(self, &statement).await;
    }

    fn table(&self, written: &str) -> String {
        TableName::parse(written, &self.name).quoted()
    }

    fn column(&self, name: &str) -> String {
        identifier(name)
    }

    fn keeps_log_for_readers(&self) -> bool {
        false
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_passes_the_suite_of_change_logs() {
    check_log(&database_of(server(), "change_log")).await;
}

/// A stream that is followed.
struct Stream {
    database: Database,
    mirror: Mirror,
    source: Box<dyn Source>,
}

impl Stream {
    async fn begin(database: Database, datasets: Vec<PullDataset>) -> Self {
        let mirror = Mirror::new(&format!("levada_{}", database.name), datasets);
        let mut stream = Self { source: database.source().await, database, mirror };
        let end = stream.follow("at the beginning").await;
        assert!(end.coverage.iter().all(|coverage| *coverage == Coverage::Complete), "{end:?}");
        stream
    }

    /// Begins with a table `orders (id, name, n)` that has three rows.
    async fn of_orders(server: &MariadbServer, name: &str) -> Self {
        let database = database_of(server, name);
        database.run(&[CREATE, "INSERT INTO orders VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3)"]).await;
        Self::begin(database, vec![orders()]).await
    }

    async fn run(&self, sql: &str) {
        LogHarness::run(&self.database, sql).await;
    }

    /// Pulls until there is no more, whoever stops.
    async fn catch_up(&mut self, what: &str) -> PullEnd {
        let caught_up = tokio::time::timeout(CATCH_UP_MAX, self.mirror.catch_up(self.source.as_mut())).await;
        let end = caught_up.unwrap_or_else(|_| panic!("{what}: the stream does not catch up"));
        end.unwrap_or_else(|error| panic!("{what}: {}", error.chain()))
    }

    /// Pulls until there is no more, and compares everything.
    async fn follow(&mut self, what: &str) -> PullEnd {
        let end = self.catch_up(what).await;
        assert!(end.stopped.is_empty(), "{what}: {end:?}");
        for (index, PullDataset { table, schema, .. }) in self.mirror.request.datasets.iter().enumerate() {
            let found = self.mirror.rows(index).unwrap_or_else(|| panic!("{what}: {table} is not whole"));
            let mut tables = self.database.source().await;
            let there = read_table(tables.as_mut(), table, schema).await.expect("the table is there");
            assert_same_rows(schema, &found, &there, &format!("{what}: {table}"));
        }
        end
    }

    async fn step(&mut self, sql: &str) -> PullEnd {
        self.run(sql).await;
        self.follow(sql).await
    }

    /// Follows with a source that was opened anew, as after a crash.
    async fn reopen(&mut self) {
        self.source = self.database.source().await;
    }

    fn incarnation(&self) -> String {
        self.mirror.request.previous.as_ref().expect("something was pulled").incarnation.clone()
    }

    /// Follows with a source that was opened anew, and makes sure that everything was read anew.
    async fn follow_anew(&mut self, what: &str) {
        let before = self.incarnation();
        self.reopen().await;
        let end = self.follow(what).await;
        assert_ne!(before, self.incarnation(), "{what}: {end:?}");
    }

    /// Runs a statement after which the only dataset stops, and gives why.
    async fn stops(&mut self, sql: &str) -> String {
        self.run(sql).await;
        let end = self.catch_up(sql).await;
        assert_eq!(end.stopped.len(), 1, "{sql}: {end:?}");
        end.stopped[0].1.chain()
    }
}

const CREATE: &str = "CREATE TABLE orders (id BIGINT PRIMARY KEY, name VARCHAR(100), n BIGINT)";

/// How long a stream may take to catch up before it counts as stuck.
const CATCH_UP_MAX: Duration = Duration::from_secs(30);

fn orders() -> PullDataset {
    let schema = schema_of(&[("id", "int64", true), ("name", "text", false), ("n", "int64", false)]);
    dataset("orders", "orders", &schema)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_changed_is_read_as_it_is_then() {
    let mut stream = Stream::of_orders(server(), "log_ddl").await;
    for sql in [
        "ALTER TABLE orders ADD COLUMN early INT FIRST; UPDATE orders SET n = 11 WHERE id = 1",
        "UPDATE orders SET n = 12 WHERE id = 1; ALTER TABLE orders DROP COLUMN early; UPDATE orders SET n = 13 WHERE id = 1",
        "ALTER TABLE orders CHANGE name x VARCHAR(100), CHANGE n name_n BIGINT; \
         ALTER TABLE orders CHANGE x name VARCHAR(100), CHANGE name_n n BIGINT; UPDATE orders SET n = 14 WHERE id = 1",
        "ALTER TABLE orders MODIFY n BIGINT FIRST; INSERT INTO orders (id, n) VALUES (4, 4)",
        "ALTER TABLE orders MODIFY n INT UNSIGNED; UPDATE orders SET n = 4294967295 WHERE id = 4",
        "ALTER TABLE orders PARTITION BY HASH (id) PARTITIONS 3; DELETE FROM orders WHERE id = 2",
        "ALTER TABLE orders TRUNCATE PARTITION p1",
        "RENAME TABLE orders TO older; CREATE TABLE orders LIKE older; INSERT INTO orders (id, n) VALUES (9, 9)",
        "DROP TABLE orders; CREATE TABLE orders (id BIGINT PRIMARY KEY, name TEXT, n BIGINT); INSERT INTO orders VALUES (1, 'x', 1)",
        "CREATE INDEX by_n ON orders (n); INSERT INTO orders VALUES (2, 'y', 2)",
        "TRUNCATE TABLE orders; INSERT INTO orders VALUES (3, 'z', 3)",
        "SET STATEMENT lock_wait_timeout = 5 FOR TRUNCATE TABLE orders; INSERT INTO orders VALUES (4, 'z', 3)",
        "/*!50000 TRUNCATE TABLE orders */; INSERT INTO orders VALUES (5, 'z', 3)",
        "TRUNCATE /* all */ TABLE /* of */ orders; INSERT INTO orders VALUES (6, 'z', 3)",
        "SET sql_mode = 'ANSI_QUOTES'; TRUNCATE \"orders\"; INSERT INTO orders VALUES (7, 'z', 3)",
        "/*M!100101 ALTER TABLE orders ADD COLUMN early INT FIRST */; UPDATE orders SET n = 8",
    ] {
        stream.step(sql).await;
    }
    let why = stream.stops("ALTER TABLE orders DROP COLUMN n").await;
    assert!(why.contains("has no column \"n\""), "{why}");
    stream.step("ALTER TABLE orders ADD COLUMN n BIGINT; UPDATE orders SET n = 5").await;
}

/// A table whose key is of one kind: its name, its columns, the model's, and a key made of `seq`.
type Keyed = (&'static str, &'static str, &'static [(&'static str, &'static str, bool)], &'static str);

const KEYS: [Keyed; 9] = [
    ("by_number", "a BIGINT UNSIGNED PRIMARY KEY", &[("a", "decimal(20,0)", true)], "18446744073709551615 - seq"),
    ("by_word", "a VARCHAR(60) PRIMARY KEY", &[("a", "text", true)], "CONCAT(SUBSTR('äZ_%''a', 1 + seq % 6, 1), seq)"),
    (
        "by_two",
        "a VARCHAR(20) CHARACTER SET latin1, b DECIMAL(9,3), UNIQUE KEY (b, a)",
        &[("a", "text", true), ("b", "decimal(9,3)", true)],
        "CONCAT('ü', seq % 97), seq / -8",
    ),
    ("by_bytes", "a VARBINARY(20) PRIMARY KEY", &[("a", "binary", true)], "UNHEX(MD5(seq))"),
    (
        "by_time",
        "a DATE, b TIMESTAMP(6) NULL, PRIMARY KEY (b, a)",
        &[("a", "date", true), ("b", "timestamptz", true)],
        "'2026-01-01' + INTERVAL seq DAY, '2026-01-01' + INTERVAL seq % 50 MICROSECOND",
    ),
    (
        "by_choice",
        "a ENUM('z', 'a'), b INT, PRIMARY KEY (a, b)",
        &[("a", "text", true), ("b", "int32", true)],
        "1 + seq % 2, seq",
    ),
    ("by_hash", "a TEXT NOT NULL, UNIQUE KEY (a)", &[("a", "text", true)], "CONCAT(REPEAT('a', 1100), seq)"),
    (
        "by_padded",
        "a CHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_nopad_ci PRIMARY KEY",
        &[("a", "text", true)],
        "CONCAT(seq, IF(seq % 2, CHAR(9), '.'))",
    ),
    ("by_nothing", "a INT", &[("a", "int32", false)], "seq % 1000"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_large_table_joins_while_it_is_changed_and_the_others_go_on() {
    // Prepared transactions of others would have everything read anew.
    let server = logging(&[]);
    let mut stream = Stream::of_orders(&server, "log_joins").await;
    for (table, definition, columns, key) in KEYS {
        stream.run(&format!("CREATE TABLE {table} ({definition}, n INT, text TEXT)")).await;
        let fill = format!("INSERT INTO {table} SELECT {key}, seq, REPEAT(seq, 30) FROM seq_1_to_12000");
        stream.run(&fill).await;
        let schema = schema_of(&[columns, &[("n", "int32", false), ("text", "text", false)]].concat());
        stream.mirror.join(dataset(table, table, &schema));
        let name = stream.database.name.clone();
        let mut client = stream.database.client().await;
        let changes = tokio::spawn(async move {
            for number in 1..=60 {
                let n = number * 7919 % 12_000;
                let changes = format!(
                    "USE `{name}`; UPDATE {table} SET text = 'new' WHERE n BETWEEN {n} AND {n} + 30; DELETE FROM {table} WHERE n = {n}; \
                     INSERT INTO {table} SELECT {key}, {number}, NULL FROM seq_20000_to_20001 WHERE {number} = 7; \
                     UPDATE orders SET n = {number} WHERE id = 1",
                );
                client.query_drop(changes).await.expect("the table is changed");
            }
        });
        // A pull of which nothing is stored is one that never was.
        stream.mirror.pull_in_vain(stream.source.as_mut()).await.expect("it is read");
        let end = stream.mirror.pull(stream.source.as_mut()).await.expect("it is read");
        let is_chunked = !matches!(table, "by_choice" | "by_hash" | "by_padded" | "by_nothing");
        assert_eq!(*end.coverage.last().expect("the table") != Coverage::Complete, is_chunked, "{table}: {end:?}");
        changes.await.expect("all changes are made");
        stream.follow(table).await;
        stream.reopen().await;
        stream
            .step(&format!("DELETE FROM {table} WHERE n % 3 = 0; ALTER TABLE {table} ADD COLUMN early INT FIRST"))
            .await;
    }
    stream.step("TRUNCATE by_word; TRUNCATE by_two; UPDATE orders SET n = 3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_joins_may_get_another_index_stop_or_lose_keys_that_come_and_go() {
    // Prepared transactions of others would have everything read anew.
    let server = logging(&[]);
    let mut stream = Stream::of_orders(&server, "log_joins_oddly").await;
    stream.run("CREATE TABLE two (a INT NOT NULL, b VARCHAR(20) NOT NULL, n INT, UNIQUE KEY z (a, b))").await;
    stream.run("INSERT INTO two SELECT seq % 50, 30000 - seq, seq FROM seq_1_to_20000").await;
    let columns = [("a", "int32", true), ("b", "text", true), ("n", "int32", false)];
    stream.mirror.join(dataset("two", "two", &schema_of(&columns)));
    let mut client = stream.database.client().await;
    let name = stream.database.name.clone();
    let other_index = tokio::spawn(async move {
        let sql =
            format!("CREATE UNIQUE INDEX a ON `{name}`.two (b, a); UPDATE `{name}`.orders SET n = 77 WHERE id = 1");
        client.query_drop(sql).await.expect("another index comes first");
    });
    stream.follow("another index").await;
    other_index.await.expect("it is made");
    stream.step("UPDATE two SET n = 5 WHERE a = 5; UPDATE orders SET n = 5").await;
    // A key that is stored, gone with its table, and comes and goes while the keys are listed.
    stream
        .step(
            "DROP TABLE two; CREATE TABLE two (a INT NOT NULL, b VARCHAR(20) NOT NULL, n INT, UNIQUE KEY z (a, b)); \
             INSERT INTO two VALUES (1, '29999', 1); DELETE FROM two; INSERT INTO two VALUES (1, 'b', 1); UPDATE orders SET n = 6",
        )
        .await;
    stream.run("UPDATE two SET n = 9; ALTER TABLE two DROP COLUMN n; UPDATE orders SET n = 10").await;
    let end = stream.catch_up("a column less").await;
    assert_eq!((end.stopped.len(), end.coverage[0] == Coverage::Nothing), (1, false), "{end:?}");
    stream.step("ALTER TABLE two ADD COLUMN n INT; INSERT INTO two VALUES (2, 'c', 3); UPDATE orders SET n = 11").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_any_size_come_in_chunks() {
    let mut stream = Stream::of_orders(server(), "log_large_rows").await;
    stream.run("CREATE TABLE large (id INT PRIMARY KEY, text LONGTEXT)").await;
    stream.run("INSERT INTO large SELECT seq, REPEAT(seq, IF(seq % 7 = 0, 1000000, 1)) FROM seq_1_to_60").await;
    stream.run("INSERT INTO large SELECT 1000 + seq, 'small' FROM seq_1_to_3000").await;
    stream.mirror.join(dataset("large", "large", &schema_of(&[("id", "int32", true), ("text", "text", false)])));
    stream.follow("large rows").await;
    stream.step("ALTER TABLE large ADD COLUMN early INT FIRST; DELETE FROM large WHERE id < 30").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_while_nobody_read_is_told_later() {
    let mut stream = Stream::of_orders(server(), "log_later").await;
    for sql in [
        "UPDATE orders SET n = n + 1; DELETE FROM orders WHERE id = 3",
        "FLUSH BINARY LOGS; INSERT INTO orders VALUES (5, 'five', 5); FLUSH BINARY LOGS",
        "INSERT INTO orders VALUES (6, 'six', 6); ALTER TABLE orders ADD COLUMN early INT FIRST; DELETE FROM orders WHERE id = 5",
        "TRUNCATE orders; FLUSH BINARY LOGS; FLUSH BINARY LOGS; INSERT INTO orders (id) VALUES (1)",
        "XA START 'x'; INSERT INTO orders (id) VALUES (7); XA END 'x'; XA PREPARE 'x'; XA COMMIT 'x'",
        "XA START 'y'; DELETE FROM orders; XA END 'y'; XA PREPARE 'y'; XA ROLLBACK 'y'",
    ] {
        stream.reopen().await;
        let before = stream.incarnation();
        stream.step(sql).await;
        assert_eq!(before, stream.incarnation(), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_session_does_not_log_as_whole_rows_is_read() {
    let mut stream = Stream::of_orders(server(), "log_sessions").await;
    for sql in [
        "SET SESSION binlog_format = STATEMENT; UPDATE orders SET n = n * 2 WHERE id < 3",
        "SET SESSION binlog_row_image = MINIMAL; UPDATE orders SET n = 7 WHERE id = 1; DELETE FROM orders WHERE id = 2",
        "SET SESSION binlog_format = MIXED; INSERT INTO orders VALUES (8, 'eight', 8)",
        "CREATE TABLE aria (id INT) ENGINE = Aria; BEGIN; INSERT INTO orders VALUES (20, 'stays', 1); SAVEPOINT a; \
         INSERT INTO orders VALUES (21, 'goes', 1); INSERT INTO aria VALUES (1); ROLLBACK TO a; COMMIT",
        "CREATE OR REPLACE TABLE orders (PRIMARY KEY (id)) SELECT 1 AS id, 'one' AS name, 7 AS n",
    ] {
        stream.step(sql).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_gone_or_another_one_is_a_new_incarnation() {
    let server = logging(&[]);
    let mut stream = Stream::of_orders(&server, "log_gone").await;
    stream.run("UPDATE orders SET n = 8 WHERE id = 1; FLUSH BINARY LOGS; UPDATE orders SET n = 9 WHERE id = 1").await;
    // A file that is being sent is not thrown away.
    stream.reopen().await;
    let readers = "SELECT CAST(COUNT(*) AS CHAR) FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'";
    while stream.database.text(readers).await != "0" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stream.run("FLUSH BINARY LOGS").await;
    let mut client = stream.database.client().await;
    for attempt in 0.. {
        // Nor one that recovery would need, until InnoDB has flushed what is in it.
        client.query_drop("PURGE BINARY LOGS TO 'changes.000003'").await.expect("it is asked for");
        let first: Option<mysql_async::Row> = client.query_first("SHOW BINARY LOGS").await.expect("the files");
        if first.and_then(|row| row.get::<String, _>(0)).is_some_and(|file| file != "changes.000001") {
            break;
        }
        let warnings: Vec<mysql_async::Row> = client.query("SHOW WARNINGS").await.expect("why not");
        assert!(attempt < 100, "{warnings:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stream.follow_anew("a purged log").await;
    stream.step("DELETE FROM orders WHERE id = 1").await;
    stream.run("RESET MASTER; INSERT INTO orders VALUES (4, 'four', 4)").await;
    stream.follow_anew("a log that began anew").await;
    stream.run(&"INSERT INTO orders SELECT MAX(id) + 1, REPEAT('x', 90), 0 FROM orders;".repeat(40)).await;
    stream.follow("before the next one").await;
    stream.run("RESET MASTER").await;
    stream.run(&"INSERT INTO orders SELECT MAX(id) + 1, REPEAT('x', 90), 0 FROM orders;".repeat(80)).await;
    stream.follow_anew("a log that has grown past what was read").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_killed_goes_on() {
    let server = logging(&[("sync_binlog", "1"), ("innodb_flush_log_at_trx_commit", "1")]);
    let mut stream = Stream::of_orders(&server, "log_killed").await;
    for round in 0..3 {
        stream.step(&format!("INSERT INTO orders VALUES (10 + {round}, 'before', 1)")).await;
        stream.run(&format!("INSERT INTO orders VALUES (20 + {round}, 'not read yet', 1)")).await;
        server.kill().expect("it is killed");
        server.restart().expect("it is back");
        let before = stream.incarnation();
        stream.reopen().await;
        stream.step(&format!("INSERT INTO orders VALUES (30 + {round}, 'after', 1)")).await;
        assert_eq!(before, stream.incarnation(), "a restart is no new source");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_the_same_by_the_log_and_by_a_query() {
    let database = database_of(server(), "log_values");
    let columns = [
        ("tiny", "TINYINT UNSIGNED", "int16", ["255", "0"]),
        ("small", "SMALLINT UNSIGNED", "int32", ["65535", "0"]),
        ("medium", "MEDIUMINT", "int32", ["-8388608", "8388607"]),
        ("medium_more", "MEDIUMINT UNSIGNED", "int32", ["16777215", "1"]),
        ("whole", "INT UNSIGNED", "int64", ["4294967295", "1"]),
        ("big", "BIGINT UNSIGNED", "decimal(20,0)", ["18446744073709551615", "1"]),
        ("year", "YEAR", "int32", ["2026", "0"]),
        ("bits", "BIT(12)", "int32", ["b'101010101010'", "b'1'"]),
        ("money", "DECIMAL(20,4)", "decimal(20,4)", ["-0.0001", "1234567890123456.7891"]),
        ("single", "FLOAT", "float32", ["0.1", "-1e30"]),
        ("day", "DATE", "date", ["'0001-01-01'", "'9999-12-31'"]),
        ("moment", "DATETIME(6)", "timestamp", ["'2026-03-29 02:30:00.123456'", "'1000-01-01 00:00:00'"]),
        ("second", "DATETIME", "timestamp", ["'2026-03-29 02:30:00'", "'1000-01-01 00:00:00'"]),
        ("instant", "TIMESTAMP(3) NULL", "timestamptz", ["'2026-03-29 02:30:00.123'", "'1970-01-01 00:00:01'"]),
        ("time", "TIME(2)", "time", ["'23:59:59.99'", "'00:00:00'"]),
        ("lasting", "TIME(6)", "interval", ["'-838:59:59'", "'-00:00:00.000001'"]),
        ("latin", "VARCHAR(50) CHARACTER SET latin1", "text", ["'ä€ß'", "''"]),
        ("wide", "VARCHAR(50) CHARACTER SET utf16", "text", ["'ä😀'", "' '"]),
        ("fixed", "CHAR(10)", "text", ["'ab  '", "'ü'"]),
        ("long_fixed", "CHAR(200)", "text", ["REPEAT('ü', 200)", "'ü'"]),
        ("choice", "ENUM('a','it''s','ö')", "text", ["'it''s'", "'ö'"]),
        ("choices", "SET('a','b','c','d','e','f','g','h','i')", "text", ["'a,i'", "''"]),
        ("bytes", "BINARY(5)", "binary", ["x'0100'", "x'0000000000'"]),
        ("more_bytes", "VARBINARY(300)", "binary", ["x'0100'", "REPEAT('a', 300)"]),
        ("large", "LONGBLOB", "binary", ["REPEAT('a', 70000)", "''"]),
        ("document", "JSON", "json", ["'{\"a\": [1, null]}'", "'[]'"]),
        ("id_16", "UUID", "uuid", ["'00112233-4455-1677-8899-aabbccddeeff'", "'0187b0c0-4455-7677-8899-aabbccddee00'"]),
    ];
    let definitions: Vec<String> = columns.iter().map(|(name, sql, ..)| format!("{name} {sql}")).collect();
    database.run(&[&format!("CREATE TABLE t (id INT PRIMARY KEY, {})", definitions.join(", "))]).await;
    let mut schema = vec![("id", "int64", true)];
    schema.extend(columns.iter().map(|(name, _, model, _)| (*name, *model, false)));
    let mut stream = Stream::begin(database, vec![dataset("t", "t", &schema_of(&schema))]).await;
    for which in [0, 1] {
        let values: Vec<&str> = columns.iter().map(|(.., values)| values[which]).collect();
        stream.step(&format!("INSERT INTO t VALUES ({which}, {})", values.join(", "))).await;
    }
    stream.step("INSERT INTO t (id) VALUES (3)").await;
    stream.step("UPDATE t SET id = id + 10").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_does_not_tell_is_refused_with_what_to_do() {
    let database = database_of(server(), "log_refused");
    database
        .run(&[
            "CREATE TABLE orders (id BIGINT PRIMARY KEY, name TEXT, n BIGINT)",
            "CREATE TABLE parts (id BIGINT PRIMARY KEY, name TEXT, n BIGINT, \
             CONSTRAINT goes FOREIGN KEY (n) REFERENCES orders (id) ON DELETE CASCADE)",
            "CREATE TABLE aria (id BIGINT PRIMARY KEY, name TEXT, n BIGINT) ENGINE = Aria",
            "CREATE TABLE doubled (id BIGINT PRIMARY KEY, name TEXT, n BIGINT AS (id * 2))",
            "CREATE TABLE greek (id BIGINT PRIMARY KEY, name TEXT CHARACTER SET greek, n BIGINT)",
            "CREATE VIEW seen AS SELECT * FROM orders",
        ])
        .await;
    let all = ["parts", "aria", "doubled", "greek", "seen", "missing"];
    let datasets = all.map(|table| dataset(table, table, &orders().schema)).to_vec();
    let kind = IngestKind::Cdc { wal_max_bytes: None };
    let error = database.source().await.inspect(&PullRequest::new(kind, datasets, "levada_refused")).await;
    let error = error.expect_err("none of them").chain();
    for what in
        ["\"goes\"", "engine Aria", "is generated", "character set greek", "is a VIEW", "missing does not exist"]
    {
        assert!(error.contains(what), "{what} in {error}");
    }
}
