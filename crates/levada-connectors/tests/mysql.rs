//! The connector for MySQL and MariaDB on a real MariaDB: the suites that every connector passes, and
//! what only these servers have.
//!
//! One server serves most of the binary, each test has databases and names of its own. A machine
//! without MariaDB's server fails these tests by name.

use crate::interrupt::{Death, Interrupt};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::*;
use async_trait::async_trait;
use futures::TryStreamExt;
use levada_connectors::literal::{ColumnReader, Scalar, hex};
use levada_connectors::mysql::{self, quote::identifier};
use levada_flow::arrow_schema::arrow_schema;
use levada_flow::conformance::{
    Ledger, Limits, SinkHarness, SourceHarness, assert_same_rows, check_sink, check_source, pull_all, read_table,
    schema_of,
};
use levada_flow::sink::{Content, DeliveredTable, DeliveredView, Form, Mark, TableDelivery};
use levada_flow::source::{Previous, PullDataset, PullRequest, Pulled};
use levada_flow::{BATCH_BYTES_MAX, FlowError, Retry, Secret, Sink, Source};
use levada_model::address::DatasetRef;
use levada_model::connection::{Connection, ContainerKind, Place, Tls};
use levada_model::model::{IngestKind, Reader};
use levada_model::{DataType, Schema};
use levada_testbed::MariadbServer;
use levada_testbed::mariadb::{PASSWORD, SUPERUSER};
use mysql_async::prelude::Queryable;
use std::sync::{Arc, OnceLock};

/// What MySQL's calendar and floats hold.
const LIMITS: Limits = Limits {
    days: (-719_162, 2_932_896),
    micros: (-62_135_596_800_000_000, 253_402_300_799_999_999),
    has_nan: false,
    has_infinity: false,
    has_nul_in_text: true,
    has_json_null_inside: false,
};

fn server() -> &'static MariadbServer {
    static SERVER: OnceLock<MariadbServer> = OnceLock::new();
    SERVER.get_or_init(|| MariadbServer::start().unwrap_or_else(|error| panic!("{error}")))
}

/// A new database of the shared server.
fn database(name: &str) -> Database {
    database_of(server(), name)
}

pub(super) fn database_of(server: &MariadbServer, name: &str) -> Database {
    let create = format!("CREATE DATABASE {} CHARACTER SET utf8mb4", identifier(name));
    server.sql(&create).expect("a database can be created");
    Database { name: name.to_owned(), port: server.port() }
}

#[derive(Clone)]
pub(super) struct Database {
    pub(super) name: String,
    port: u16,
}

impl Database {
    fn connection(&self) -> Connection {
        self.connection_to(&self.name)
    }

    fn connection_to(&self, database: &str) -> Connection {
        Connection {
            container: "a container".parse().expect("a name"),
            kind: ContainerKind::Mariadb,
            place: Place::Server {
                host: "127.0.0.1".to_owned(),
                port: Some(self.port),
                database: database.to_owned(),
                schema: None,
                tls: Tls::Prefer,
            },
            credential: Some("warehouse".parse().expect("a name")),
            connections_max: None,
        }
    }

    pub(super) async fn client(&self) -> mysql_async::Conn {
        let options = mysql_async::OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.port)
            .user(Some(SUPERUSER))
            .pass(Some(PASSWORD))
            .db_name(Some(&self.name))
            .prefer_socket(false);
        let mut client = mysql_async::Conn::new(options).await.expect("the server answers");
        client.query_drop("SET NAMES utf8mb4, time_zone = '+00:00'").await.expect("a session");
        client
    }

    pub(super) async fn run(&self, statements: &[&str]) {
        let mut client = self.client().await;
        for sql in statements {
            client.query_drop(*sql).await.unwrap_or_else(|error| panic!("{error:?} in {sql:.2000}"));
        }
    }

    pub(super) async fn text(&self, sql: &str) -> String {
        let row: Option<String> = self.client().await.query_first(sql).await.expect("a query");
        row.expect("a row")
    }

    pub(super) async fn source(&self) -> Box<dyn Source> {
        let opened = mysql::source::open(&self.connection(), superuser()).await;
        Box::new(opened.unwrap_or_else(|error| panic!("{}", error.chain())))
    }

    async fn sink(&self) -> Box<dyn Sink> {
        let opened = mysql::sink::open(&self.connection(), superuser()).await;
        Box::new(opened.unwrap_or_else(|error| panic!("{}", error.chain())))
    }
}

fn superuser() -> Secret {
    secret(SUPERUSER, PASSWORD)
}

fn secret(user: &str, password: &str) -> Secret {
    Secret { user: Some(user.to_owned()), password: Some(password.to_owned()), token: None }
}

fn snapshot(datasets: Vec<PullDataset>) -> PullRequest {
    PullRequest::new(IngestKind::Snapshot, datasets, "levada_test")
}

pub(super) fn dataset(name: &str, table: &str, schema: &Schema) -> PullDataset {
    PullDataset {
        dataset: name.parse().expect("a name"),
        table: table.to_owned(),
        schema: schema.clone(),
        watermark: None,
    }
}

/// One column of a type, and its key.
fn one(data_type: &str) -> Schema {
    schema_of(&[("id", "int64", true), ("value", data_type, false)])
}

/// MySQL's names have no characters beyond U+FFFF.
fn is_name(name: &str) -> bool {
    name.chars().all(|character| character <= '\u{ffff}')
}

#[async_trait]
impl SourceHarness for Database {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn has(&self, _data_type: &DataType) -> bool {
        true
    }

    fn has_name(&self, name: &str) -> bool {
        is_name(name)
    }

    async fn create(&self, table: &str, schema: &Schema, rows: &RecordBatch) {
        let name = quoted(table, &self.name);
        let columns: Vec<String> = schema
            .columns
            .iter()
            .map(|column| format!("{} {}", identifier(column.name.as_str()), source_type(&column.data_type)))
            .collect();
        let database = mysql::quote::TableName::parse(table, &self.name).schema;
        self.run(&[&format!("CREATE DATABASE IF NOT EXISTS {}", identifier(&database))]).await;
        self.run(&[&format!("CREATE TABLE {name} ({}) CHARACTER SET utf8mb4", columns.join(", "))]).await;
        SourceHarness::insert(self, table, schema, rows).await;
    }

    async fn insert(&self, table: &str, schema: &Schema, rows: &RecordBatch) {
        let mut client = self.client().await;
        let name = quoted(table, &self.name);
        let all: Vec<usize> = (0..rows.num_rows()).collect();
        for some in all.chunks(1_000) {
            let tuples: Vec<String> = some
                .iter()
                .map(|row| {
                    let columns = schema.columns.iter().zip(rows.columns());
                    let values: Vec<String> =
                        columns.map(|(column, array)| sql_value(array, *row, &column.data_type)).collect();
                    format!("({})", values.join(", "))
                })
                .collect();
            let insert = format!("INSERT INTO {name} VALUES {}", tuples.join(", "));
            client.query_drop(&insert).await.unwrap_or_else(|error| panic!("{error:?} in {insert:.2000}"));
        }
    }

    async fn clear(&self, table: &str) {
        // DELETE, not TRUNCATE: that would wait for the pull.
        self.run(&[&format!("DELETE FROM {}", quoted(table, &self.name))]).await;
    }

    async fn open(&self) -> Box<dyn Source> {
        self.source().await
    }
}

fn quoted(table: &str, database: &str) -> String {
    mysql::quote::TableName::parse(table, database).quoted()
}

/// What a producer's table would have; here on purpose not what the sink creates.
fn source_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "tinyint(1)".to_owned(),
        DataType::Int8 => "int".to_owned(),
        DataType::Int16 => "mediumint".to_owned(),
        DataType::Int32 => "int".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Float32 => "float".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Decimal(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::Date => "date".to_owned(),
        DataType::Time => "time(6)".to_owned(),
        DataType::Timestamp | DataType::Timestamptz => "datetime(6)".to_owned(),
        DataType::Interval => "varchar(100)".to_owned(),
        DataType::Char(length) => format!("char({length})"),
        DataType::Varchar(length) => format!("varchar({length})"),
        DataType::Text => "longtext".to_owned(),
        DataType::Binary => "longblob".to_owned(),
        DataType::BinaryFixed(length) => format!("binary({length})"),
        DataType::Uuid => "uuid".to_owned(),
        _ => "json".to_owned(),
    }
}

/// A value as SQL, by another way than the connector's binary one.
fn sql_value(array: &dyn Array, row: usize, data_type: &DataType) -> String {
    if array.is_null(row) {
        return "NULL".to_owned();
    }
    let scalar = ColumnReader::new(array, data_type).expect("the type's array").scalar(row);
    match (data_type, scalar) {
        (DataType::Date, _) => {
            format!("'1970-01-01' + INTERVAL {} DAY", array.as_primitive::<Date32Type>().value(row))
        }
        (DataType::Time, Scalar::Text(text)) => format!("CAST('{text}' AS TIME(6))"),
        (DataType::Timestamp | DataType::Timestamptz, _) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            let (days, rest) = (micros.div_euclid(86_400_000_000), micros.rem_euclid(86_400_000_000));
            format!("TIMESTAMP'1970-01-01 00:00:00' + INTERVAL {days} DAY + INTERVAL {rest} MICROSECOND")
        }
        (DataType::Float32, _) => format!("{:?}", f64::from(array.as_primitive::<Float32Type>().value(row))),
        (DataType::Float64, _) => format!("{:?}", array.as_primitive::<Float64Type>().value(row)),
        (DataType::Decimal(..), _) => array.as_primitive::<Decimal128Type>().value_as_string(row),
        (_, Scalar::Integer(number)) => number.to_string(),
        (_, Scalar::Text(text)) => format!("_utf8mb4 x'{}'", hex(text.as_bytes())),
        (_, Scalar::Bytes(bytes)) => format!("x'{}'", hex(&bytes)),
        (_, other) => panic!("{data_type} as {other:?}"),
    }
}

/// A consumer's server, seen through the eyes of a user who may only read views.
struct Consumer(Database);

impl Consumer {
    fn reader(&self) -> String {
        format!("reader of {}", self.0.name)
    }
}

#[async_trait]
impl SinkHarness for Consumer {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn has(&self, _data_type: &DataType) -> bool {
        true
    }

    fn has_name(&self, name: &str) -> bool {
        is_name(name)
    }

    fn readers(&self) -> Vec<Reader> {
        vec![Reader::User(self.reader())]
    }

    async fn open(&self) -> Box<dyn Sink> {
        self.0.sink().await
    }

    async fn read_view(&self, _: &DeliveredTable, view: &DeliveredView, schema: &Schema) -> Option<Vec<RecordBatch>> {
        let exists = "SELECT 1 FROM information_schema.views WHERE table_schema = ? AND table_name = ?";
        let exists: Option<i64> =
            self.0.client().await.exec_first(exists, (&view.schema, &view.name)).await.expect("a query");
        exists?;
        let connection = self.0.connection_to(&view.schema);
        let opened = mysql::source::open(&connection, secret(&self.reader(), "reads")).await;
        let mut source = opened.unwrap_or_else(|error| panic!("the reader is let in: {}", error.chain()));
        let table = format!("{}.{}", identifier(&view.schema), identifier(&view.name));
        Some(read_table(&mut source, &table, schema).await.unwrap_or_else(|error| panic!("{}", error.chain())))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_source_keeps_the_contract_of_sources() {
    check_source(&database("contract of sources")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sink_keeps_the_contract_of_sinks() {
    let consumer = Consumer(database("contract of sinks"));
    let user = identifier(&consumer.reader());
    consumer.0.run(&[&format!("CREATE USER {user}@`%` IDENTIFIED BY 'reads'")]).await;
    check_sink(&consumer).await;
}

fn people(rows: &[(i64, &str)]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.0)).collect::<Int64Array>());
    let values: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.1)).collect::<StringArray>());
    RecordBatch::try_new(arrow_schema(&one("text")), vec![ids, values]).expect("two columns")
}

/// A dataset of a test: everything that it has on the server carries the test's name.
fn table(test: &str, dataset: &str, schema: &Schema, readers: &[&str]) -> DeliveredTable {
    let view = |name: String, is_history| DeliveredView {
        workspace: "Workspace".parse().expect("a name"),
        schema: test.to_owned(),
        name,
        is_history,
        since: None,
        readers: readers.iter().map(|name| Reader::User((*name).to_owned())).collect(),
    };
    DeliveredTable {
        platform: "P".parse().expect("a name"),
        source: DatasetRef::new(test.parse().expect("a name"), dataset.parse().expect("a name")),
        schema: schema.clone(),
        live: Some(format!("{test}_{dataset}")),
        history: None,
        views: vec![view(format!("store_{dataset}"), false)],
    }
}

fn with_history(mut table: DeliveredTable) -> DeliveredTable {
    let live = table.views[0].clone();
    table.history = table.live.as_ref().map(|name| format!("{name}_history"));
    table.views.push(DeliveredView { name: format!("{}_history", live.name), is_history: true, ..live });
    table
}

fn mark(batch: i64, shape: &str) -> Mark {
    Mark { batch, incarnation: "i".to_owned(), epoch: 1, shape: shape.to_owned() }
}

fn everything(table: DeliveredTable, rows: &RecordBatch, mark: Mark, expected: Option<Mark>) -> TableDelivery {
    let mut ledger = Ledger::new(&table.schema);
    ledger.commit(rows);
    let content = ledger.content(Form::Everything, 0, true, table.history.is_some());
    TableDelivery { table, content, mark, expected }
}

async fn delivered(sink: &mut dyn Sink, delivery: TableDelivery) {
    sink.deliver(vec![delivery]).await.unwrap_or_else(|error| panic!("{}", error.chain()));
}

async fn read_back(sink: &mut dyn Sink, table: &DeliveredTable, is_history: bool) -> Vec<RecordBatch> {
    sink.read_back(table, is_history).await.expect("it is there").try_collect().await.expect("all of it")
}

/// Two datasets of one delivery. Both have the batches 1 and 2; `reshaped` also gets a column with
/// the second one, and is built anew then, while the other is changed.
struct Crash {
    test: String,
    database: Database,
    ledgers: [Ledger; 2],
    wider: Ledger,
    is_reshaped: bool,
    is_changed: bool,
}

const SHAPES: [&str; 2] = ["narrow", "wide"];

impl Crash {
    fn new(test: &str, database: &Database, is_changed: bool, is_reshaped: bool) -> Self {
        let batches =
            [people(&[(1, "one"), (2, "two"), (3, "three")]), people(&[(1, "one"), (2, "zwei"), (4, "four")])];
        let ledger = || {
            let mut ledger = Ledger::new(&one("text"));
            batches.iter().for_each(|batch| ledger.commit(batch));
            ledger
        };
        let wide = schema_of(&[("id", "int64", true), ("value", "text", false), ("more", "int64", false)]);
        let mut wider = Ledger::new(&wide);
        for batch in &batches {
            let mut columns = batch.columns().to_vec();
            columns.push(Arc::clone(batch.column(0)));
            wider.commit(&RecordBatch::try_new(arrow_schema(&wide), columns).expect("three columns"));
        }
        let (test, database) = (test.to_owned(), database.clone());
        Self { test, database, ledgers: [ledger(), ledger()], wider, is_reshaped, is_changed }
    }

    /// The datasets as they are at a batch.
    fn tables(&self, batch: i64) -> Vec<DeliveredTable> {
        let schema = if batch == 2 { self.wider.schema().clone() } else { one("text") };
        let changed = with_history(table(&self.test, "changed", &one("text"), &[]));
        let reshaped = with_history(table(&self.test, "reshaped", &schema, &[]));
        let is_in = [self.is_changed, self.is_reshaped];
        [changed, reshaped].into_iter().zip(is_in).filter(|(_, is_in)| *is_in).map(|(table, _)| table).collect()
    }

    fn target(&self, table: &DeliveredTable, batch: i64) -> Mark {
        let is_wide = table.schema.columns.len() > 2;
        mark(batch, SHAPES[usize::from(is_wide)])
    }

    /// What a worker delivers who finds these marks and wants this batch.
    fn deliveries(&self, batch: i64, found: Vec<Option<Mark>>) -> Vec<TableDelivery> {
        let of = |(table, expected): (DeliveredTable, Option<Mark>)| {
            let mark = self.target(&table, batch);
            let is_wide = table.schema.columns.len() > 2;
            let content = match &expected {
                Some(found) if *found == mark => Content::Nothing,
                Some(found) if found.shape == mark.shape => {
                    self.ledgers[0].content(Form::Changes, found.batch, true, true)
                }
                _ if is_wide => self.wider.content(Form::Everything, 0, true, true),
                _ => self.at(batch).content(Form::Everything, 0, true, true),
            };
            TableDelivery { table, content, mark, expected }
        };
        self.tables(batch).into_iter().zip(found).map(of).collect()
    }

    /// The narrow ledger as it was at a batch.
    fn at(&self, batch: i64) -> Ledger {
        let mut ledger = Ledger::new(&one("text"));
        ledger.commit(&people(&[(1, "one"), (2, "two"), (3, "three")]));
        if batch == 2 {
            ledger.commit(&people(&[(1, "one"), (2, "zwei"), (4, "four")]));
        }
        ledger
    }

    /// Delivers a batch as the runtime does: as often as it has to be tried.
    async fn deliver(&self, batch: i64) {
        for _ in 0..20 {
            let mut sink = self.database.sink().await;
            let marks = sink.marks(&self.tables(batch)).await.expect("marks can be read");
            match sink.deliver(self.deliveries(batch, marks)).await {
                Ok(_) => return,
                Err(error) => assert_eq!(error.retry, Retry::Later, "{}: {}", self.test, error.chain()),
            }
        }
        panic!("{}: nothing helps", self.test);
    }

    /// Views show whole states, and are where their marks say. Gives the batches.
    async fn check_whole(&self) -> Vec<i64> {
        let mut sink = self.database.sink().await;
        let marks = sink.marks(&self.tables(2)).await.expect("marks can be read");
        let mut batches = Vec::new();
        for (table, mark) in self.tables(1).iter().zip(marks) {
            let mark = mark.expect("it was delivered");
            for view in &table.views {
                let narrow =
                    if view.is_history { levada_flow::sink::history_schema(&one("text")) } else { one("text") };
                let name = format!("{}.{}", view.schema, view.name);
                let mut source = self.database.source().await;
                let rows = read_table(source.as_mut(), &name, &narrow).await;
                let rows = rows.unwrap_or_else(|error| panic!("{}: {}", self.test, error.chain()));
                let ledger = self.at(mark.batch);
                let expected = if view.is_history { ledger.history(None) } else { ledger.live() };
                assert_same_rows(&narrow, &rows, &[expected], &format!("{name} at batch {}", mark.batch));
            }
            batches.push(mark.batch);
        }
        batches
    }

    /// Everything is at batch 2, and nothing is left over.
    async fn check_done(&self) {
        let tables = self.tables(2);
        let mut sink = self.database.sink().await;
        let marks = sink.marks(&tables).await.expect("marks can be read");
        for (table, found) in tables.iter().zip(marks) {
            assert_eq!(found, Some(self.target(table, 2)), "{}", self.test);
            for view in &table.views {
                let ledger = if table.schema.columns.len() > 2 { &self.wider } else { &self.ledgers[0] };
                let schema = match view.is_history {
                    true => levada_flow::sink::history_schema(&table.schema),
                    false => table.schema.clone(),
                };
                let mut source = self.database.source().await;
                let name = format!("{}.{}", view.schema, view.name);
                let rows = read_table(source.as_mut(), &name, &schema).await;
                let rows = rows.unwrap_or_else(|error| panic!("{}: {}", self.test, error.chain()));
                let expected = if view.is_history { ledger.history(None) } else { ledger.live() };
                assert_same_rows(&schema, &rows, &[expected], &name);
            }
        }
        let rows = format!("SELECT CAST(COUNT(*) AS CHAR) FROM levada.applied WHERE dataset LIKE '{}.%'", self.test);
        let tables = tables.len() * 2;
        assert_eq!(
            self.database.text(&rows).await,
            tables.to_string(),
            "{}: what was built and replaced is gone",
            self.test
        );
    }

    /// Lets the worker of the second batch die at a command; gives whether it came so far.
    async fn run(&self, at: usize, death: Death, on_death: impl Fn() + Send + Sync + 'static) -> bool {
        let marks = self.database.sink().await.marks(&self.tables(2)).await.expect("marks can be read");
        let interrupt = Interrupt::start(self.database.port, at, death, on_death).await;
        let worker = Database { port: interrupt.port, ..self.database.clone() };
        let opened = mysql::sink::open(&worker.connection(), superuser()).await;
        let delivered = match opened {
            Ok(mut sink) => sink.deliver(self.deliveries(2, marks)).await.map(drop),
            Err(error) => Err(error),
        };
        match delivered {
            Ok(()) => assert!(!interrupt.is_dead() || interrupt.commands() == at, "a dead worker tells nothing"),
            Err(error) => assert_eq!(error.retry, Retry::Later, "{}: {}", self.test, error.chain()),
        }
        interrupt.is_dead()
    }
}

/// Lets workers die at each command of a delivery.
async fn dies_at_every_command(name: &str, is_changed: bool, is_reshaped: bool) {
    let database = database(name);
    let mut at = 0;
    loop {
        // Every command of the harder case, every third of the others, for the sake of time.
        at += if is_changed && is_reshaped { 1 } else { 3 };
        let death = if at % 2 == 0 { Death::Before } else { Death::After };
        let crash = Crash::new(&format!("{name}_{at}"), &database, is_changed, is_reshaped);
        crash.deliver(1).await;
        let is_dead = crash.run(at, death, || {}).await;
        let batches = crash.check_whole().await;
        // Where it both changes and swaps, the swap comes first, and its commit right after.
        assert!([&[1][..], &[2], &[1, 1], &[1, 2], &[2, 2]].contains(&&batches[..]), "{name}_{at}: {batches:?}");
        crash.deliver(2).await;
        crash.check_done().await;
        if !is_dead {
            assert!(at > 20, "a delivery has more commands than {at}");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_may_die_at_every_command_of_a_delivery_of_changes() {
    dies_at_every_command("changes", true, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_may_die_at_every_command_while_tables_are_built_anew() {
    dies_at_every_command("everything", false, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_may_die_at_every_command_of_a_delivery_of_both() {
    dies_at_every_command("both", true, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_in_the_middle_of_a_delivery_comes_back_to_whole_states() {
    let own = Arc::new(MariadbServer::start().unwrap_or_else(|error| panic!("{error}")));
    let database = database_of(&own, "power");
    let mut source = database.source().await;
    database.run(&["CREATE TABLE t (id BIGINT, value TEXT)"]).await;
    let request = snapshot(vec![dataset("d", "t", &one("text"))]);
    let before = pull_all(source.as_mut(), &request).await.expect("it is there").2;
    database.run(&["CREATE USER newcomer IDENTIFIED BY 'x'", "GRANT SELECT ON power.* TO newcomer"]).await;
    // Building beside, applying, swapping, committing, publishing: the commands around the swap.
    let mut at = 20;
    loop {
        let crash = Crash::new(&format!("power_{at}"), &database, true, true);
        crash.deliver(1).await;
        let killed = Arc::clone(&own);
        let is_dead = crash.run(at, Death::After, move || killed.kill().expect("it can be killed")).await;
        if is_dead {
            let error = pull_all(source.as_mut(), &request).await.expect_err("nobody answers");
            assert_eq!(error.retry, Retry::Later, "{}", error.chain());
            own.restart().expect("it recovers");
        }
        crash.check_whole().await;
        crash.deliver(2).await;
        crash.check_done().await;
        if !is_dead {
            break;
        }
        at += 9;
    }
    assert!(at > 60, "a delivery has more commands than {at}");
    let after = pull_all(source.as_mut(), &request).await.expect("it is back").2;
    assert_eq!(before.incarnation, after.incarnation, "a restart is no new source, nor is a new user");
    assert!(!before.incarnation.contains("unknown"), "the server tells when it was made: {}", before.incarnation);
}

#[tokio::test]
async fn types_of_others_are_read_as_the_models() {
    let database = database("others");
    database
        .run(&[
            "SET sql_mode = ''",
            "CREATE TABLE t (
                 id TINYINT UNSIGNED, a ENUM('sad', 'it''s fine'), b SET('x', 'y'), c BIGINT UNSIGNED, d YEAR, e BIT(12),
                 f BIT(1), g TINYINT(1), h UUID, i BINARY(16), j INET6, k CHAR(8) CHARACTER SET latin1, l TIMESTAMP(6) NULL,
                 m DATETIME, n DATE, o TIME(3), p FLOAT, q DECIMAL(30,2), r MEDIUMTEXT, s JSON, t DECIMAL(9,0),
                 u VARCHAR(40), v VARCHAR(20) CHARACTER SET ucs2, w MEDIUMINT UNSIGNED)",
            "INSERT INTO t VALUES (255, 'it''s fine', 'x,y', 18446744073709551615, 2155, b'100000000001', b'1', 1,
                 '00112233-4455-6677-8899-aabbccddeeff', x'00112233445566778899aabbccddeeff', '::1', 'padd\u{e9}  ',
                 '2038-01-19 03:14:07.999999', '2026-02-28 13:05:00', '2000-02-29', '-838:59:59', 0.1,
                 1234567890123456789012345678.90, '[1, null]', '{\"a\": 1.50}', 7, '12.50', 'ä€', 16777215)",
        ])
        .await;
    let schema = schema_of(&[
        ("id", "int16", true),
        ("a", "text", false),
        ("b", "text", false),
        ("c", "decimal(20,0)", false),
        ("d", "int16", false),
        ("e", "int32", false),
        ("f", "boolean", false),
        ("g", "boolean", false),
        ("h", "uuid", false),
        ("i", "uuid", false),
        ("j", "text", false),
        ("k", "varchar(8)", false),
        ("l", "timestamptz", false),
        ("m", "timestamp", false),
        ("n", "timestamp", false),
        ("o", "interval", false),
        ("p", "float64", false),
        ("q", "decimal(38,4)", false),
        ("r", "list<int32>", false),
        ("s", "struct<a: decimal(5,2)>", false),
        ("t", "int8", false),
        ("u", "decimal(9,2)", false),
        ("v", "text", false),
        ("w", "int32", false),
    ]);
    let mut source = database.source().await;
    let rows = read_table(source.as_mut(), "t", &schema).await.unwrap_or_else(|error| panic!("{}", error.chain()));
    let row = &rows[0];
    let shown: Vec<String> = schema
        .columns
        .iter()
        .zip(row.columns())
        .map(|(column, array)| ColumnReader::new(array, &column.data_type).expect("its type").text(0).expect("a value"))
        .collect();
    let uuid = "00112233-4455-6677-8899-aabbccddeeff";
    assert_eq!(
        shown,
        [
            "255",
            "it's fine",
            "x,y",
            "18446744073709551615",
            "2155",
            "2049",
            "true",
            "true",
            uuid,
            uuid,
            "::1",
            "padd\u{e9}",
            "2038-01-19 03:14:07.999999+00:00",
            "2026-02-28 13:05:00",
            "2000-02-29 00:00:00",
            "PT-3020399S",
            "0.10000000149011612",
            "1234567890123456789012345678.9000",
            "[1,null]",
            r#"{"a":1.5}"#,
            "7",
            "12.5",
            "ä€",
            "16777215",
        ]
    );
}

#[tokio::test]
async fn a_value_without_an_image_stops_the_pull_and_is_named() {
    let database = database("no image");
    let cases = [
        ("date", "'0000-00-00'", "date", "is 0000-00-00, which is no day of the calendar"),
        ("date", "'2026-00-10'", "timestamp", "is 2026-00-10, which is no day of the calendar"),
        ("datetime", "'0000-00-00 00:00:00'", "timestamp", "is 0000-00-00"),
        ("timestamp", "'0000-00-00 00:00:00'", "timestamptz", "is 0000-00-00"),
        ("time", "'24:00:01'", "time", "outside of 00:00:00 to 24:00:00"),
        ("time", "'-00:00:01'", "time", "outside of 00:00:00 to 24:00:00"),
        ("varchar(9)", "'too long'", "varchar(5)", "has 8 characters, 5 are allowed"),
        ("bigint", "3000000000", "int32", "is 3000000000, outside of"),
        ("bigint unsigned", "18446744073709551615", "int64", "is 18446744073709551615, outside of"),
        ("smallint", "128", "int8", "is 128, outside of"),
        ("tinyint(1)", "2", "boolean", "is 2, outside of 0 and 1"),
        ("decimal(9,2)", "1.50", "int64", "is 1.50, and a whole number can't hold all its digits"),
        ("decimal(9,3)", "1.001", "decimal(9,2)", "more digits behind the point"),
        ("varbinary(4)", "x'0001'", "binary(4)", "has 2 bytes instead of 4"),
        ("text", "'{\"a\": '", "json", "not valid JSON"),
        ("text", "'[1, 2]'", "vector(3)", "another length"),
        ("bigint", "9007199254740993", "float64", "can't hold all its digits"),
        ("binary(15)", "''", "uuid", "neither 16 bytes"),
    ];
    for (number, (sql_type, value, model, expected)) in cases.into_iter().enumerate() {
        let table = format!("case_{number}");
        database
            .run(&[
                "SET sql_mode = ''",
                &format!("CREATE TABLE {table} (id BIGINT, value {sql_type} NULL)"),
                &format!("INSERT INTO {table} VALUES (42, {value})"),
            ])
            .await;
        let mut source = database.source().await;
        let request = snapshot(vec![dataset("d", &table, &one(model))]);
        source.inspect(&request).await.unwrap_or_else(|error| panic!("{model}: {}", error.chain()));
        let error = pull_all(source.as_mut(), &request).await.expect_err(model);
        assert_eq!(error.retry, Retry::Never, "{model}");
        let named = format!("table no image.{table}, row (id = 42): column \"value\"");
        assert!(error.chain().contains(&named), "{named} is missing in: {}", error.chain());
        assert!(error.chain().contains(expected), "{expected} is missing in: {}", error.chain());
        // The same source goes on.
        let request = snapshot(vec![dataset("d", &table, &schema_of(&[("id", "int64", true)]))]);
        pull_all(source.as_mut(), &request).await.expect("the other column is fine");
    }
    database.run(&["CREATE TABLE holes AS SELECT 'a' AS id, NULL AS value"]).await;
    let mut schema = schema_of(&[("id", "text", true), ("value", "binary", false)]);
    schema.columns[1].nullable = false;
    let request = snapshot(vec![dataset("d", "holes", &schema)]);
    let error = pull_all(database.source().await.as_mut(), &request).await.expect_err("no NULL where none may be");
    assert!(error.chain().contains("row (id = 'a'): column \"value\" is NULL"), "{}", error.chain());
}

#[tokio::test]
async fn every_mismatch_is_named_at_once() {
    let database = database("mismatches");
    database
        .run(&[
            "CREATE TABLE t (id BIGINT, a TEXT, b TIMESTAMP, c DOUBLE, d POINT, e FLOAT)",
            "CREATE TABLE u (id BIGINT, a TEXT)",
            "CREATE USER curious IDENTIFIED BY 'x'",
            "GRANT SELECT (id) ON mismatches.t TO curious",
        ])
        .await;
    let schema = schema_of(&[
        ("id", "int64", true),
        ("a", "int32", false),
        ("b", "timestamp", false),
        ("c", "float32", false),
        ("d", "text", false),
    ]);
    let kind = IngestKind::Watermark { column: Some("e".parse().expect("a name")), overlap: None, deletes: None };
    let request = PullRequest { kind, ..snapshot(vec![dataset("t", "t", &schema)]) };
    let error = database.source().await.inspect(&request).await.expect_err("no type fits").chain();
    for part in [
        "column \"a\" of table mismatches.t is text, the model says int32",
        "column \"b\" of table mismatches.t is timestamp, the model says timestamp",
        "column \"c\" of table mismatches.t is double, the model says float32",
        "column \"d\" of table mismatches.t is point, the model says text",
        "watermark column \"e\" of table mismatches.t is float",
    ] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
    let opened = mysql::source::open(&database.connection(), secret("curious", "x")).await;
    let mut curious = opened.unwrap_or_else(|error| panic!("{}", error.chain()));
    let narrow = schema_of(&[("id", "int64", true), ("a", "text", false)]);
    let request = snapshot(vec![dataset("t", "t", &narrow), dataset("u", "u", &narrow)]);
    let error = curious.inspect(&request).await.expect_err("nothing was granted").chain();
    assert!(error.contains("table mismatches.t has no column \"a\"") || error.contains("column \"a\""), "{error}");
    assert!(error.contains("table mismatches.u does not exist, or this user may read nothing of it"), "{error}");

    let change_log =
        PullRequest { kind: IngestKind::Cdc { wal_max_bytes: None }, ..snapshot(vec![dataset("t", "t", &narrow)]) };
    let error = database.source().await.inspect(&change_log).await.expect_err("it logs nothing");
    assert!(error.chain().contains("it has no binary log; start it with log_bin"), "{}", error.chain());
}

#[tokio::test]
async fn a_watermark_is_compared_as_its_type_and_rows_without_one_come_each_time() {
    let database = database("watermarks");
    database
        .run(&[
            "CREATE TABLE t (id BIGINT PRIMARY KEY, big BIGINT UNSIGNED, exact DECIMAL(38,10), changed TIMESTAMP(6) NULL)",
            "INSERT INTO t VALUES (1, 18446744073709551614, 12345678901234567890.0000000001, '2026-01-01 00:00:00.000001'),
                 (2, NULL, NULL, NULL)",
        ])
        .await;
    for column in ["big", "exact", "changed"] {
        let schema = schema_of(&[("id", "int64", true)]);
        let kind =
            IngestKind::Watermark { column: Some(column.parse().expect("a name")), overlap: None, deletes: None };
        let mut request = PullRequest { kind, ..snapshot(vec![dataset("t", "t", &schema)]) };
        let mut source = database.source().await;
        let (rows, _, end) = pull_all(source.as_mut(), &request).await.expect("everything");
        assert_eq!(rows[0][0].num_rows(), 2, "{column}");
        database.run(&["INSERT INTO t VALUES (3, 18446744073709551615, 12345678901234567890.0000000002, '2026-01-01 00:00:00.000002')"]).await;
        request.previous = Some(Previous { position: end.position, incarnation: end.incarnation });
        let (rows, _, end) = pull_all(source.as_mut(), &request).await.expect("what is new");
        assert_eq!(rows[0][0].num_rows(), 3, "{column}: the greatest, the new one, the one without");
        request.previous = Some(Previous { position: end.position, incarnation: end.incarnation });
        let (rows, ..) = pull_all(source.as_mut(), &request).await.expect("nothing new");
        let ids: Vec<i64> = rows[0][0].column(0).as_primitive::<Int64Type>().values().to_vec();
        assert_eq!(ids, [2, 3], "{column}: the greatest, the one without");
        database.run(&["DELETE FROM t WHERE id = 3"]).await;
    }
}

/// Whether a user may run a statement.
async fn may(database: &Database, user: &str, sql: &str) -> bool {
    let options = mysql_async::OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(database.port)
        .user(Some(user))
        .pass(Some("reads"))
        .prefer_socket(false);
    let mut client = mysql_async::Conn::new(options).await.expect("the user is let in");
    client.query_drop(sql).await.is_ok()
}

fn nothing(table: DeliveredTable, mark: Mark) -> TableDelivery {
    TableDelivery { table, content: Content::Nothing, mark: mark.clone(), expected: Some(mark) }
}

#[tokio::test]
async fn readers_get_the_views_alone_and_lose_what_they_no_longer_have() {
    let database = database("grants");
    let hostile = "b'`\"; DROP USER ana; --";
    for user in ["ana", hostile, "foreigner"] {
        database.run(&[&format!("CREATE USER {}@`%` IDENTIFIED BY 'reads'", identifier(user))]).await;
    }
    database.run(&["CREATE USER ana@`10.0.0.1` IDENTIFIED BY 'reads'", "CREATE ROLE analysts"]).await;
    let may = async |user: &str, sql: &str| may(&database, user, sql).await;
    let (first, second) = ("SELECT * FROM grants.store_first", "SELECT * FROM grants.store_second");
    let mut sink = database.sink().await;
    let rows = people(&[(1, "one")]);
    let mut tables =
        [table("grants", "first", &one("text"), &["ana", hostile]), table("grants", "second", &one("text"), &["ana"])];
    tables[1].views[0].readers.push(Reader::Role("analysts".to_owned()));
    let [one_delivery, other_delivery] = tables.clone().map(|table| everything(table, &rows, mark(1, "s"), None));
    sink.deliver(vec![one_delivery, other_delivery]).await.unwrap_or_else(|error| panic!("{}", error.chain()));
    assert!(may("ana", first).await && may("ana", second).await && may(hostile, first).await);
    assert!(!may(hostile, second).await, "only what was granted");
    assert!(!may("ana", "SELECT * FROM levada.grants_first").await, "never the tables");
    assert!(!may("ana", "INSERT INTO grants.store_first VALUES (2, 'x')").await, "reading only");
    let grants = "SELECT GROUP_CONCAT(CONCAT(user, '@', host) ORDER BY host) FROM mysql.tables_priv WHERE table_name = 'store_second'";
    assert_eq!(database.text(grants).await, "analysts@,ana@%,ana@10.0.0.1", "every account, and a role");
    database.run(&["GRANT SELECT ON grants.store_first TO foreigner@`%`"]).await;

    delivered(sink.as_mut(), nothing(table("grants", "first", &one("text"), &["ana"]), mark(1, "s"))).await;
    assert!(may("ana", first).await && !may(hostile, first).await);
    assert!(may("foreigner", first).await, "what others granted stays");
    delivered(sink.as_mut(), nothing(table("grants", "first", &one("text"), &["foreigner"]), mark(1, "s"))).await;
    assert!(!may("ana", first).await && may("ana", second).await, "the other view is still hers");
    delivered(sink.as_mut(), nothing(table("grants", "first", &one("text"), &[]), mark(1, "s"))).await;
    assert!(may("foreigner", first).await, "its grant was never ours");

    // A swap, and a new shape, keep what others granted, and what we granted.
    delivered(sink.as_mut(), everything(tables[1].clone(), &rows, mark(2, "s"), Some(mark(1, "s")))).await;
    let wider = schema_of(&[("id", "text", true), ("value", "text", false)]);
    let ids: ArrayRef = Arc::new(StringArray::from(vec!["1"]));
    let wide = RecordBatch::try_new(arrow_schema(&wider), vec![ids, Arc::clone(rows.column(1))]).expect("two columns");
    let wide = everything(table("grants", "first", &wider, &[]), &wide, mark(2, "t"), Some(mark(1, "s")));
    delivered(sink.as_mut(), wide).await;
    assert!(may("foreigner", first).await && may("ana", second).await);

    let unknown = table("grants", "second", &one("text"), &["ana", "nobody known"]);
    let answer = sink.deliver(vec![nothing(unknown.clone(), mark(2, "s"))]).await;
    let answer = answer.unwrap_or_else(|error| panic!("{}", error.chain()));
    let [nobody] = &answer.unknown_readers[..] else { panic!("one is unknown: {:?}", answer.unknown_readers) };
    assert_eq!((nobody.workspace.as_str(), nobody.reader.as_str()), ("Workspace", "nobody known"));
    assert!(may("ana", second).await, "who is known reads all the same");
    database.run(&["CREATE USER `nobody known`@`%` IDENTIFIED BY 'reads'"]).await;
    let answer = sink.deliver(vec![nothing(unknown, mark(2, "s"))]).await.expect("a user has come");
    assert_eq!(answer.unknown_readers, []);
    assert!(may("nobody known", second).await);

    sink.remove(&[table("grants", "second", &one("text"), &[])], 1).await.expect("it goes");
    let left = "SELECT CAST(COUNT(*) AS CHAR) FROM mysql.tables_priv WHERE table_name = 'store_second'";
    assert_eq!(database.text(left).await, "0", "grants outlive their view in MySQL, ours do not");
}

#[tokio::test]
async fn a_user_without_eyes_for_accounts_delivers_all_the_same() {
    let database = database("blind");
    database
        .run(&[
            "CREATE USER blind_levada IDENTIFIED BY 'reads'",
            "CREATE USER blind_ana IDENTIFIED BY 'reads'",
            "GRANT ALL ON levada.* TO blind_levada WITH GRANT OPTION",
            "GRANT ALL ON blind.* TO blind_levada WITH GRANT OPTION",
        ])
        .await;
    let opened = mysql::sink::open(&database.connection(), secret("blind_levada", "reads")).await;
    let mut sink = opened.unwrap_or_else(|error| panic!("{}", error.chain()));
    let people_table = table("blind", "people", &one("text"), &["blind_ana", "blind_nobody"]);
    let answer = sink.deliver(vec![everything(people_table, &people(&[(1, "one")]), mark(1, "s"), None)]).await;
    let answer = answer.unwrap_or_else(|error| panic!("{}", error.chain()));
    let unknown: Vec<&str> = answer.unknown_readers.iter().map(|one| one.reader.as_str()).collect();
    assert_eq!(unknown, ["blind_nobody"], "a GRANT makes no user");
    assert!(may(&database, "blind_ana", "SELECT * FROM blind.store_people").await);
    delivered(&mut sink, nothing(table("blind", "people", &one("text"), &[]), mark(1, "s"))).await;
    assert!(!may(&database, "blind_ana", "SELECT * FROM blind.store_people").await);
}

#[tokio::test]
async fn a_view_of_somebody_else_is_never_taken_and_one_of_another_platform_is_taken_over() {
    let database = database("owners");
    let mut sink = database.sink().await;
    let people_table = table("owners", "people", &one("text"), &[]);
    delivered(sink.as_mut(), everything(people_table.clone(), &people(&[(1, "one")]), mark(1, "s"), None)).await;
    database.run(&["CREATE VIEW mine AS SELECT value FROM store_people"]).await;
    let mut other = table("owners", "other", &one("text"), &[]);
    other.views[0].name = "store_people".to_owned();
    let taking = everything(other, &people(&[(1, "other")]), mark(1, "s"), None);
    let error = sink.deliver(vec![taking]).await.expect_err("the view is another dataset's").chain();
    assert!(error.contains("view owners.store_people shows owners.people already"), "{error}");

    for foreign in ["CREATE TABLE store_taken (a INT)", "CREATE VIEW store_taken AS SELECT 1 AS a"] {
        database.run(&[foreign]).await;
        let taken = everything(table("owners", "taken", &one("text"), &[]), &people(&[]), mark(1, "s"), None);
        let error = sink.deliver(vec![taken]).await.expect_err("it is somebody else's").chain();
        assert!(error.contains("owners.store_taken is there already, and is not ours"), "{error}");
        let marks = sink.marks(&[table("owners", "taken", &one("text"), &[])]).await.expect("marks");
        assert_eq!(marks, [None], "nothing happened");
        database
            .run(&[&foreign.replace("CREATE", "DROP").replace(" (a INT)", "").replace(" AS SELECT 1 AS a", "")])
            .await;
    }

    let mut moved = people_table.clone();
    (moved.platform, moved.live) = ("Q".parse().expect("a name"), Some("owners_moved".to_owned()));
    delivered(sink.as_mut(), everything(moved, &people(&[(1, "moved")]), mark(1, "s"), None)).await;
    sink.remove(&[people_table], 1).await.expect("the first platform leaves");
    assert_eq!(database.text("SELECT value FROM store_people").await, "moved");
    assert_eq!(database.text("SELECT value FROM mine").await, "moved", "a user's view lives on");
}

#[tokio::test]
async fn two_containers_on_one_server_leave_each_other_alone() {
    let database = database("neighbours");
    let mut sink = database.sink().await;
    let here = table("neighbours", "people", &one("text"), &[]);
    delivered(sink.as_mut(), everything(here.clone(), &people(&[(1, "here")]), mark(1, "s"), None)).await;
    let mut connection = database.connection();
    connection.container = "another".parse().expect("a name");
    let opened = mysql::sink::open(&connection, superuser()).await;
    let mut other = opened.unwrap_or_else(|error| panic!("{}", error.chain()));
    let mut there = here.clone();
    there.live = Some("neighbours_elsewhere".to_owned());
    there.views[0].schema = "neighbours_elsewhere".to_owned();
    assert_eq!(other.marks(std::slice::from_ref(&there)).await.expect("marks"), [None]);
    database.run(&["DROP DATABASE IF EXISTS neighbours_elsewhere"]).await;
    delivered(&mut other, everything(there.clone(), &people(&[(1, "there")]), mark(7, "s"), None)).await;
    other.remove(&[there], 1).await.expect("it goes");
    assert_eq!(database.text("SELECT value FROM store_people").await, "here");
    assert_eq!(sink.marks(&[here]).await.expect("marks"), [Some(mark(1, "s"))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_waits_for_a_reader_and_lets_others_read_meanwhile() {
    let database = database("waits");
    let mut sink = database.sink().await;
    let people_table = table("waits", "people", &one("text"), &[]);
    delivered(sink.as_mut(), everything(people_table.clone(), &people(&[(1, "old")]), mark(1, "s"), None)).await;
    let query = "SELECT value FROM store_people";
    let mut reader = database.client().await;
    reader.query_drop("START TRANSACTION").await.expect("a transaction");
    assert_eq!(reader.query_first(query).await.expect("a row"), Some("old".to_owned()));
    let swap = tokio::spawn(async move {
        let new = everything(people_table, &people(&[(1, "new")]), mark(2, "s"), Some(mark(1, "s")));
        sink.deliver(vec![new]).await.map_err(|error| error.chain())
    });
    let waits = "SELECT CAST(COUNT(*) AS CHAR) FROM information_schema.processlist
                 WHERE state = 'Waiting for table metadata lock' AND info LIKE 'RENAME TABLE levada.`waits%'";
    while database.text(waits).await == "0" {
        assert!(!swap.is_finished(), "the swap waits for the reader");
    }
    assert_eq!(database.text(query).await, "old", "others are let through");
    assert_eq!(reader.query_first(query).await.expect("a row"), Some("old".to_owned()));
    reader.query_drop("COMMIT").await.expect("the reader ends");
    swap.await.expect("no panic").expect("the swap goes through");
    assert_eq!(database.text(query).await, "new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_that_is_given_up_ends_at_the_server_too() {
    let database = database("given_up");
    database.run(&["CREATE VIEW slow AS SELECT 1 AS id, CONCAT(SLEEP(600), '') AS value"]).await;
    let asleep = "SELECT CAST(COUNT(*) AS CHAR) FROM information_schema.processlist
                  WHERE state = 'User sleep' AND db = 'given_up'";
    let request = snapshot(vec![dataset("d", "slow", &one("text"))]);
    let mut source = database.source().await;
    let pull = tokio::spawn(async move { pull_all(source.as_mut(), &request).await.map(|_| ()) });
    while database.text(asleep).await != "1" {
        assert!(!pull.is_finished(), "the view is being read");
    }
    pull.abort();
    let given_up = std::time::Instant::now();
    while database.text(asleep).await != "0" {
        assert!(given_up.elapsed().as_secs() < 60, "the server goes on with what nobody waits for");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wide_rows_come_in_bounded_batches_and_go_in_bounded_statements() {
    const ROW: usize = 3 << 20;
    let database = database("wide");
    let values: Vec<String> = (0..9).map(|number| format!("{number}").repeat(ROW)).collect();
    let rows: Vec<(i64, &str)> = (0..).zip(values.iter().map(String::as_str)).collect();
    let rows = people(&rows);
    let mut sink = database.sink().await;
    let people_table = table("wide", "people", &one("text"), &[]);
    delivered(sink.as_mut(), everything(people_table.clone(), &rows, mark(1, "s"), None)).await;
    assert_same_rows(&one("text"), &read_back(sink.as_mut(), &people_table, false).await, &[rows], "wide rows");
    let (out, mut pulled) = tokio::sync::mpsc::channel(1);
    let request = snapshot(vec![dataset("d", "store_people", &one("text"))]);
    let mut source = database.source().await;
    let measure = async {
        let mut batches = 0;
        while let Some(Pulled::Rows { rows, .. }) = pulled.recv().await {
            assert!(rows.get_array_memory_size() <= 2 * (BATCH_BYTES_MAX + ROW), "a batch ends early");
            batches += 1;
        }
        assert!(batches >= 3, "{batches} batches");
    };
    let (end, ()) = futures::join!(source.pull(&request, out), measure);
    end.unwrap_or_else(|error| panic!("{}", error.chain()));
}

#[tokio::test]
async fn what_mysql_can_not_hold_is_named_with_its_row() {
    let database = database("hold");
    let mut sink = database.sink().await;
    let floats = |value: f64| {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![7]));
        let values: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![value]));
        RecordBatch::try_new(arrow_schema(&one("float64")), vec![ids, values]).expect("two columns")
    };
    for (value, said) in [(f64::NAN, "is NaN"), (f64::NEG_INFINITY, "is -infinity")] {
        let delivery = everything(table("hold", "floats", &one("float64"), &[]), &floats(value), mark(1, "s"), None);
        let error = sink.deliver(vec![delivery]).await.expect_err("MySQL has no such float");
        assert_eq!(error.retry, Retry::Never);
        let named = format!("hold.floats, row (id = 7): column \"value\" {said}");
        assert!(error.chain().contains(&named), "{}", error.chain());
    }
    let schemas = [
        (schema_of(&[("lv_key_hash", "text", true)]), "can't be named \"lv_key_hash\""),
        (schema_of(&[("a", "text", true), ("A", "text", false)]), "can't tell column \"A\""),
        (schema_of(&[("😀", "text", true)]), "can't keep the name"),
        (schema_of(&[("ends ", "text", true)]), "can't keep the name"),
    ];
    for (schema, said) in schemas {
        let delivery = nothing(table("hold", "names", &schema, &[]), mark(1, "s"));
        let error: FlowError = sink.deliver(vec![delivery]).await.expect_err("a name that is none");
        assert!(error.chain().contains(said), "{}", error.chain());
    }
    let long = table("hold", &"l".repeat(60), &one("text"), &[]);
    let error = sink.deliver(vec![nothing(long, mark(1, "s"))]).await.expect_err("65 characters").chain();
    assert!(error.contains("can't keep the name"), "{error}");
}

#[tokio::test]
async fn who_can_not_be_reached_is_named_with_what_helps() {
    let known = database("reached");
    let open = async |connection: &Connection, secret: Secret| match mysql::source::open(connection, secret).await {
        Ok(_) => panic!("nobody should be let in"),
        Err(error) => {
            assert!(!error.chain().contains("wrong-secret"), "a password is never told: {}", error.chain());
            error
        }
    };
    let error = open(&known.connection(), secret(SUPERUSER, "wrong-secret")).await;
    assert_eq!(error.retry, Retry::Never);
    assert!(error.chain().contains("refused user or password"), "{}", error.chain());
    assert!(error.chain().contains("LEVADA_CREDENTIAL_WAREHOUSE_PASSWORD"), "{}", error.chain());
    let error = open(&known.connection(), Secret::default()).await;
    assert!(error.chain().contains("no user is known"), "{}", error.chain());
    let error = open(&known.connection_to("no such"), superuser()).await;
    assert_eq!(error.retry, Retry::Never);
    assert!(error.chain().contains("/no such has no such database"), "{}", error.chain());
    let closed = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port").local_addr().expect("bound").port();
    let error = open(&Database { port: closed, ..known.clone() }.connection(), superuser()).await;
    assert_eq!(error.retry, Retry::Later);
    assert!(error.chain().contains(&format!("127.0.0.1:{closed}/reached can't be reached")), "{}", error.chain());
    let mut encrypted = known.connection();
    if let Place::Server { tls, .. } = &mut encrypted.place {
        *tls = Tls::Require;
    }
    let error = open(&encrypted, superuser()).await;
    assert_eq!(error.retry, Retry::Never);
    assert!(error.chain().contains("offers no encryption"), "{}", error.chain());
    let mut socket = known.connection();
    if let Place::Server { host, .. } = &mut socket.place {
        *host = server().socket().display().to_string();
    }
    assert!(mysql::source::open(&socket, superuser()).await.is_ok(), "a socket is a host, too");
}

#[tokio::test]
async fn connections_are_encrypted_where_the_server_can_and_certificates_checked_where_asked() {
    let own = MariadbServer::start_encrypted(include_str!("tls/server.crt"), include_str!("tls/server.key"));
    let own = own.unwrap_or_else(|error| panic!("{error}"));
    let database = database_of(&own, "encrypted");
    database
        .run(&["CREATE VIEW tls AS SELECT 1 AS id, variable_value AS value FROM information_schema.session_status \
                WHERE variable_name = 'Ssl_version'"])
        .await;
    let with = |wanted: Tls| {
        let mut connection = database.connection();
        if let Place::Server { tls, .. } = &mut connection.place {
            *tls = wanted;
        }
        connection
    };
    for tls in [Tls::Prefer, Tls::Require] {
        let opened = mysql::source::open(&with(tls), superuser()).await;
        let mut source = opened.unwrap_or_else(|error| panic!("{}", error.chain()));
        let rows = read_table(&mut source, "tls", &one("text")).await;
        let rows = rows.unwrap_or_else(|error| panic!("{}", error.chain()));
        let version = rows[0].column(1).as_string::<i32>().value(0);
        assert!(version.starts_with("TLS"), "{tls:?}: {version}");
    }
    let Err(error) = mysql::source::open(&with(Tls::VerifyFull), superuser()).await else {
        panic!("nobody vouches for this certificate")
    };
    assert_eq!(error.retry, Retry::Never, "{}", error.chain());
    assert!(error.chain().contains("certificate"), "{}", error.chain());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_prepare_a_new_server_at_once() {
    let own = MariadbServer::start().unwrap_or_else(|error| panic!("{error}"));
    let database = database_of(&own, "two");
    let deliver = async |name: &str| {
        let mut sink = database.sink().await;
        let delivery = everything(table("two", name, &one("text"), &[]), &people(&[(1, name)]), mark(1, "s"), None);
        delivered(sink.as_mut(), delivery).await;
    };
    futures::join!(deliver("left"), deliver("right"), deliver("middle"));
    assert_eq!(database.text("SELECT CAST(COUNT(*) AS CHAR) FROM levada.applied").await, "3");
    database.run(&["UPDATE levada.format SET version = 2"]).await;
    let error = database.sink().await.marks(&[table("two", "left", &one("text"), &[])]).await;
    let error = error.expect_err("a later build was here").chain();
    assert!(error.contains("deliver with the newer build"), "{error}");
}
