//! PostgreSQL's change log on a real server: the suite that every log passes, and what is its own.
//!
//! Each test follows a stream with a [`Mirror`], which is strict about doubled and lost rows, and compares
//! it with the tables. One cluster with room for many slots serves them; what kills or limits a server has
//! a cluster of its own.

mod ddl;
mod joins;
mod partitions;
mod random;
mod rights;
mod servers;
mod slots;
mod toast;
mod transactions;
mod values;

use crate::postgres::{Database, database};
use async_trait::async_trait;
use levada_connectors::postgres::quote;
use levada_flow::Source;
use levada_flow::conformance::{LogHarness, Mirror, assert_same_rows, check_log, read_table, schema_of};
use levada_flow::source::{Coverage, PullDataset, PullEnd};
use levada_model::Schema;
use levada_testbed::PostgresCluster;
use std::sync::OnceLock;
use std::time::Duration;

/// How long a stream may take to catch up, in seconds, before it counts as stuck.
const CATCH_UP_SECONDS_MAX: u64 = 30;

#[async_trait]
impl LogHarness for Database {
    async fn run(&self, statements: &str) {
        Database::run(self, statements).await;
    }

    async fn identify(&self, table: &str, key: &[&str]) {
        let table = quote::TableName::parse(table, "public").quoted();
        let key: Vec<String> = key.iter().map(|column| quote::identifier(column)).collect();
        let how = match key.is_empty() {
            true => "REPLICA IDENTITY FULL".to_owned(),
            false => format!("ADD PRIMARY KEY ({})", key.join(", ")),
        };
        Database::run(self, &format!("ALTER TABLE {table} {how}")).await;
    }

    fn table(&self, written: &str) -> String {
        quote::TableName::parse(written, "public").quoted()
    }

    fn column(&self, name: &str) -> String {
        quote::identifier(name)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_passes_the_suite_of_change_logs() {
    check_log(&database("change_log")).await;
}

/// A new database in a cluster with room for many readers.
fn roomy(name: &str) -> Database {
    static CLUSTER: OnceLock<PostgresCluster> = OnceLock::new();
    let settings = [("max_replication_slots", "100"), ("max_wal_senders", "100"), ("max_prepared_transactions", "10")];
    let start = || PostgresCluster::start_with(&settings).expect("this machine has a PostgreSQL server");
    Database::create(CLUSTER.get_or_init(start), name)
}

/// `id int64 (key), name text, n int64`
fn plain() -> Schema {
    schema_of(&[("id", "int64", true), ("name", "text", false), ("n", "int64", false)])
}

/// A dataset of a table of the same name.
fn dataset(table: &str, schema: &Schema) -> PullDataset {
    crate::postgres::dataset(table, table, schema)
}

/// Makes a table of the columns of [`plain`].
async fn create_plain(database: &Database, table: &str) {
    database.run(&format!("CREATE TABLE {table} (id bigint PRIMARY KEY, name text, n bigint)")).await;
}

/// A stream that is followed.
struct Stream {
    database: Database,
    mirror: Mirror,
    source: Box<dyn Source>,
    /// Reads the tables themselves, to compare.
    tables: Box<dyn Source>,
}

impl Stream {
    /// Follows some datasets from their beginning on. Its slot is named as its database.
    async fn begin(database: &Database, datasets: Vec<PullDataset>) -> Self {
        let mirror = Mirror::new(&database.name, datasets);
        let (source, tables) = (database.source().await, database.source().await);
        let mut stream = Self { database: database.clone(), mirror, source, tables };
        let end = stream.follow("at the beginning").await;
        assert!(end.coverage.iter().all(|coverage| *coverage == Coverage::Complete), "{end:?}");
        // The log itself is opened by the second pull.
        stream.follow("with the log open").await;
        stream
    }

    /// Begins with a table of [`plain`] that has some rows.
    async fn of_plain(database: &Database, table: &str) -> Self {
        create_plain(database, table).await;
        database.run(&format!("INSERT INTO {table} VALUES (1, 'one', 1), (2, 'two', 2), (3, 'three', 3)")).await;
        Self::begin(database, vec![dataset(table, &plain())]).await
    }

    async fn run(&self, sql: &str) {
        self.database.run(sql).await;
    }

    /// Pulls until there is no more, whoever stops.
    async fn catch_up(&mut self, what: &str) -> PullEnd {
        let limit = Duration::from_secs(CATCH_UP_SECONDS_MAX);
        let caught_up = tokio::time::timeout(limit, self.mirror.catch_up(self.source.as_mut())).await;
        let end = caught_up.unwrap_or_else(|_| panic!("{what}: the stream does not catch up"));
        end.unwrap_or_else(|error| panic!("{what}: {}", error.chain()))
    }

    /// Pulls until there is no more, and compares everything.
    async fn follow(&mut self, what: &str) -> PullEnd {
        let end = self.catch_up(what).await;
        assert!(end.stopped.is_empty(), "{what}: {end:?}");
        self.assert_same(what).await;
        end
    }

    /// Runs statements, and follows.
    async fn step(&mut self, sql: &str) -> PullEnd {
        self.run(sql).await;
        self.follow(sql).await
    }

    /// Compares all datasets with their tables.
    async fn assert_same(&mut self, what: &str) {
        for index in 0..self.mirror.request.datasets.len() {
            self.assert_same_one(index, what).await;
        }
    }

    async fn assert_same_one(&mut self, index: usize, what: &str) {
        let PullDataset { table, schema, .. } = &self.mirror.request.datasets[index];
        let what: String = format!("{what}: {table}").chars().take(500).collect();
        let found = self.mirror.rows(index).unwrap_or_else(|| panic!("{what} is not whole"));
        let there = read_table(self.tables.as_mut(), table, schema).await;
        let there = there.unwrap_or_else(|error| panic!("{what}: {}", error.chain()));
        assert_same_rows(schema, &found, &there, &what);
    }

    /// Goes on with a source that was opened anew, as after a crash.
    async fn reopen(&mut self) {
        self.source = self.database.source().await;
    }

    /// Closes the source, and waits until the server has noticed.
    async fn free_slot(&mut self) {
        self.reopen().await;
        let name = &self.database.name;
        let leave = "SELECT count(pg_terminate_backend(active_pid, 30000))::text FROM pg_replication_slots";
        self.database.text(&format!("{leave} WHERE slot_name = '{name}' AND active_pid IS NOT NULL")).await;
    }

    fn incarnation(&self) -> String {
        self.mirror.request.previous.as_ref().expect("something was pulled").incarnation.clone()
    }

    /// Follows, and makes sure that everything was read anew and one slot is left.
    async fn follow_anew(&mut self, what: &str) -> PullEnd {
        let before = self.incarnation();
        let end = self.mirror.pull(self.source.as_mut()).await;
        let end = end.unwrap_or_else(|error| panic!("{what}: {}", error.chain()));
        assert!(end.coverage.iter().all(|coverage| *coverage == Coverage::Complete), "{what}: {end:?}");
        assert_ne!(before, self.incarnation(), "{what}");
        self.assert_same(what).await;
        assert_eq!(self.slots().await, self.database.name, "{what}: one slot");
        end
    }

    /// The slots of the database.
    async fn slots(&self) -> String {
        let slots = "SELECT coalesce(string_agg(slot_name, ' '), '') FROM pg_replication_slots";
        self.database.text(&format!("{slots} WHERE database = current_database()")).await
    }

    /// The findings of the datasets that stopped, by their position.
    fn stopped(end: &PullEnd) -> Vec<(usize, String)> {
        end.stopped.iter().map(|(index, error)| (*index, error.chain())).collect()
    }

    /// Catches up, and gives why the only dataset that stopped did.
    async fn stops(&mut self, index: usize, what: &str) -> String {
        let end = self.catch_up(what).await;
        let stopped = Self::stopped(&end);
        assert!(stopped.len() == 1 && stopped[0].0 == index, "{what}: {end:?}");
        stopped.into_iter().next().expect("there is one").1
    }
}

/// Asks again and again until a query says `true`.
async fn until(database: &Database, condition: &str) {
    let client = database.client().await;
    let ask = async {
        while !client.query_one(condition, &[]).await.expect("a query").get::<_, bool>(0) {
            tokio::task::yield_now().await;
        }
    };
    let limit = Duration::from_secs(CATCH_UP_SECONDS_MAX);
    tokio::time::timeout(limit, ask).await.unwrap_or_else(|_| panic!("it never came true: {condition}"));
}
