//! The connector for MySQL and MariaDB on a real MariaDB: the suites that every connector passes, and
//! what only these servers have.
//!
//! One server serves most of the binary, each test has databases and names of its own. A machine
//! without MariaDB's server fails these tests by name.

use crate::interrupt::{Death, Interrupt};
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
    PullRequest::new(IngestKind::Snapshot, datasets, "levada_test")
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
