//! The connector for MySQL and MariaDB on a real MariaDB: the suites that every connector passes, and
//! what only these servers have.
//!
//! One server serves most of the binary, each test has databases and names of its own. A machine
//! without MariaDB's server fails these tests by name.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::*;
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use levada_connectors::literal::{ColumnReader, Scalar, hex};
use levada_connectors::mysql::{self, quote::identifier};
use levada_flow::arrow_schema::arrow_schema;
use levada_flow::conformance::{
    Ledger, Limits, SinkHarness, SourceHarness, assert_same_rows, check_sink, check_source, pull_all, read_table,
    schema_of,
};
use levada_flow::sink::{Content, DeliveredTable, DeliveredView, Form, Mark, TableDelivery};
use levada_flow::source::{Previous, PullDataset, PullRequest, Pulled};
use levada_flow::{BATCH_BYTES_MAX, FlowError, Retry, RowStream, Secret, Sink, Source};
use levada_model::address::DatasetRef;
use levada_model::connection::{Connection, ContainerKind, Place, Tls};
use levada_model::model::{IngestKind, Reader};
use levada_model::{DataType, Schema};
use crate::interrupt::{Death, Interrupt};
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

fn database_of(server: &MariadbServer, name: &str) -> Database {
    let create = format!("CREATE DATABASE {} CHARACTER SET utf8mb4", identifier(name));
    server.sql(&create).expect("a database can be created");
    Database { name: name.to_owned(), port: server.port() }
}

#[derive(Clone)]
struct Database {
    name: String,
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

    async fn client(&self) -> mysql_async::Conn {
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

    async fn run(&self, statements: &[&str]) {
        let mut client = self.client().await;
        for sql in statements {
            client.query_drop(*sql).await.unwrap_or_else(|error| panic!("{error:?} in {sql:.2000}"));
        }
    }

    async fn text(&self, sql: &str) -> String {
        let row: Option<String> = self.client().await.query_first(sql).await.expect("a query");
        row.expect("a row")
    }

    async fn source(&self) -> Box<dyn Source> {
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
    PullRequest { datasets, kind: IngestKind::Snapshot, previous: None, finds_deletes: false }
}

fn dataset(name: &str, table: &str, schema: &Schema) -> PullDataset {
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
        let batches = [people(&[(1, "one"), (2, "two"), (3, "three")]), people(&[(1, "one"), (2, "zwei"), (4, "four")])];
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
                let narrow = if view.is_history { levada_flow::sink::history_schema(&one("text")) } else { one("text") };
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
        assert_eq!(self.database.text(&rows).await, tables.to_string(), "{}: what was built and replaced is gone", self.test);
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
    assert_eq!(before.incarnation, after.incarnation, "a restart is no new source");
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

    let change_log = PullRequest {
        kind: IngestKind::Cdc { wal_max_bytes: None },
        ..snapshot(vec![dataset("t", "t", &narrow)])
    };
    let error = database.source().await.inspect(&change_log).await.expect_err("not yet");
    assert!(error.chain().contains("reads no binary log"), "{}", error.chain());
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
        let kind = IngestKind::Watermark { column: Some(column.parse().expect("a name")), overlap: None, deletes: None };
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
