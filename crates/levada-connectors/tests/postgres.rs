//! The PostgreSQL connector on a real server: the suites that every connector passes, and what
//! only PostgreSQL has.
//!
//! One cluster serves the whole binary, each test has databases of its own. A machine without
//! PostgreSQL's server fails these tests by name.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::*;
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use levada_connectors::postgres::{self, quote};
use levada_flow::arrow_schema::arrow_schema;
use levada_flow::conformance::{
    Ledger, Limits, SinkHarness, SourceHarness, assert_same_rows, check_sink, check_source, pull_all, read_table,
    schema_of,
};
use levada_flow::sink::{Content, DeliveredTable, DeliveredView, Form, Mark, TableDelivery};
use levada_flow::source::{Previous, PullDataset, PullRequest};
use levada_flow::{FlowError, Position, Retry, RowStream, Secret, Sink, Source};
use levada_model::address::DatasetRef;
use levada_model::connection::{Connection, ContainerKind, Place, Tls};
use levada_model::model::{IngestKind, Reader};
use levada_model::{DataType, Schema};
use levada_testbed::PostgresCluster;
use levada_testbed::postgres::{PASSWORD, SUPERUSER};
use std::sync::{Arc, OnceLock};

/// What PostgreSQL's calendar holds.
const LIMITS: Limits = Limits {
    days: (-2_440_588, 2_145_042_905),
    micros: (-210_866_803_200_000_000, i64::MAX),
    has_nan: true,
    has_infinity: true,
    has_nul_in_text: false,
    has_json_null_inside: false,
};

pub fn cluster() -> &'static PostgresCluster {
    static CLUSTER: OnceLock<PostgresCluster> = OnceLock::new();
    CLUSTER.get_or_init(|| PostgresCluster::start().expect("this machine has a PostgreSQL server"))
}

/// A new database of the shared cluster.
pub fn database(name: &str) -> Database {
    Database::create(cluster(), name)
}

#[derive(Clone)]
pub struct Database {
    pub name: String,
    pub port: u16,
    pub connections_max: Option<u32>,
}

impl Database {
    /// A new database of a cluster.
    pub fn create(cluster: &PostgresCluster, name: &str) -> Self {
        cluster.create_database(name).expect("a database can be created");
        Self::there(cluster, name)
    }

    /// A database that a cluster has.
    pub fn there(cluster: &PostgresCluster, name: &str) -> Self {
        Self { name: name.to_owned(), port: cluster.port(), connections_max: None }
    }

    pub fn connection(&self) -> Connection {
        Connection {
            container: "a container".parse().expect("a name"),
            kind: ContainerKind::Postgres,
            place: Place::Server {
                host: "127.0.0.1".to_owned(),
                port: Some(self.port),
                database: self.name.clone(),
                schema: None,
                tls: Tls::Prefer,
            },
            credential: Some("warehouse".parse().expect("a name")),
            connections_max: self.connections_max,
        }
    }

    pub async fn client(&self) -> tokio_postgres::Client {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.port).dbname(&self.name).user(SUPERUSER).password(PASSWORD);
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.expect("the server answers");
        tokio::spawn(connection);
        client.batch_execute("SET timezone = 'UTC'").await.expect("a session");
        client
    }

    pub async fn run(&self, sql: &str) {
        self.client().await.batch_execute(sql).await.unwrap_or_else(|error| panic!("{error:?} in {sql:.2000}"));
    }

    pub async fn text(&self, sql: &str) -> String {
        self.client().await.query_one(sql, &[]).await.expect("a query").get(0)
    }

    pub async fn source(&self) -> Box<dyn Source> {
        Box::new(postgres::source::open(&self.connection(), superuser()).await.expect("it opens"))
    }

    async fn sink(&self) -> Box<dyn Sink> {
        Box::new(postgres::sink::open(&self.connection(), superuser()).await.expect("it opens"))
    }
}

pub fn superuser() -> Secret {
    secret(SUPERUSER, PASSWORD)
}

pub fn secret(user: &str, password: &str) -> Secret {
    Secret { user: Some(user.to_owned()), password: Some(password.to_owned()), token: None }
}

fn snapshot(datasets: Vec<PullDataset>) -> PullRequest {
    PullRequest::new(IngestKind::Snapshot, datasets, "levada_test")
}

pub fn dataset(name: &str, table: &str, schema: &Schema) -> PullDataset {
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

#[async_trait]
impl SourceHarness for Database {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn has(&self, _data_type: &DataType) -> bool {
        true
    }

    async fn create(&self, table: &str, schema: &Schema, rows: &RecordBatch) {
        let name = quote::TableName::parse(table, "public");
        let mut statements = format!("CREATE SCHEMA IF NOT EXISTS {};", quote::identifier(&name.schema));
        let mut columns = Vec::new();
        for (number, column) in schema.columns.iter().enumerate() {
            let own_type = quote::identifier(&format!("{table} {number}"));
            let column_type = match &column.data_type {
                DataType::Struct(fields) => {
                    let fields: Vec<String> = fields
                        .iter()
                        .map(|(name, field)| format!("{} {}", quote::identifier(name), source_type(field)))
                        .collect();
                    statements.push_str(&format!("CREATE TYPE {own_type} AS ({});", fields.join(", ")));
                    own_type
                }
                other => source_type(other),
            };
            columns.push(format!("{} {column_type}", quote::identifier(column.name.as_str())));
        }
        statements.push_str(&format!("CREATE TABLE {} ({})", name.quoted(), columns.join(", ")));
        self.run(&statements).await;
        SourceHarness::insert(self, table, schema, rows).await;
    }

    async fn insert(&self, table: &str, schema: &Schema, rows: &RecordBatch) {
        let client = self.client().await;
        let name = quote::TableName::parse(table, "public").quoted();
        let all: Vec<usize> = (0..rows.num_rows()).collect();
        for some in all.chunks(1_000) {
            let tuples: Vec<String> = some
                .iter()
                .map(|row| {
                    let columns = schema.columns.iter().zip(rows.columns());
                    let values: Vec<String> =
                        columns.map(|(column, array)| sql_value(array, *row, &column.data_type)).collect();
                    format!("ROW({})", values.join(", "))
                })
                .collect();
            for tuple in tuples.chunks(500) {
                let values: Vec<String> = tuple.iter().map(|tuple| tuple.replacen("ROW", "", 1)).collect();
                let insert = format!("INSERT INTO {name} VALUES {}", values.join(", "));
                client.batch_execute(&insert).await.unwrap_or_else(|error| panic!("{error:?} in {insert:.2000}"));
            }
        }
    }

    async fn clear(&self, table: &str) {
        // DELETE, not TRUNCATE: that would wait for the pull.
        self.run(&format!("DELETE FROM {}", quote::TableName::parse(table, "public").quoted())).await;
    }

    async fn open(&self) -> Box<dyn Source> {
        self.source().await
    }
}

/// What a producer's table would have; here on purpose not what the sink creates.
fn source_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 => "integer".to_owned(),
        DataType::Int16 => "smallint".to_owned(),
        DataType::Int32 => "integer".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Float32 => "real".to_owned(),
        DataType::Float64 => "double precision".to_owned(),
        DataType::Decimal(precision, scale) => format!("numeric({precision},{scale})"),
        DataType::Char(length) => format!("char({length})"),
        DataType::Varchar(length) => format!("varchar({length})"),
        DataType::Text => "text".to_owned(),
        DataType::Binary | DataType::BinaryFixed(_) => "bytea".to_owned(),
        DataType::Json => "json".to_owned(),
        DataType::List(item) if !matches!(**item, DataType::List(_)) => format!("{}[]", source_type(item)),
        DataType::List(_) | DataType::Map(..) | DataType::Struct(_) => "json".to_owned(),
        DataType::Vector(_) => "real[]".to_owned(),
        same_word => same_word.to_string(),
    }
}

/// A value as SQL, by another way than the connector's binary one.
fn sql_value(array: &dyn Array, row: usize, data_type: &DataType) -> String {
    if array.is_null(row) {
        return "NULL".to_owned();
    }
    let sql_type = source_type(data_type);
    let items = |items: ArrayRef, item: &DataType| -> Vec<String> {
        (0..items.len()).map(|index| sql_value(&items, index, item)).collect()
    };
    match data_type {
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Int8 | DataType::Int16 | DataType::Int32 => {
            format!("'{}'::{sql_type}", array.as_primitive::<Int32Type>().value(row))
        }
        DataType::Int64 => format!("'{}'::{sql_type}", array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => format!("'{:?}'::{sql_type}", array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => format!("'{:?}'::{sql_type}", array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal(..) => {
            let value = array.as_primitive::<Decimal128Type>().value_as_string(row);
            format!("'{value}'::{sql_type}")
        }
        DataType::Date => format!("('1970-01-01'::date + ({}))", array.as_primitive::<Date32Type>().value(row)),
        DataType::Time => {
            let micros = array.as_primitive::<Time64MicrosecondType>().value(row);
            format!("('00:00'::time + interval '{micros} microseconds')")
        }
        DataType::Timestamp | DataType::Timestamptz => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            let (days, rest) = (micros.div_euclid(86_400_000_000), micros.rem_euclid(86_400_000_000));
            format!("('1970-01-01'::{sql_type} + interval '{days} days' + interval '{rest} microseconds')")
        }
        DataType::Interval => {
            let bytes = array.as_fixed_size_binary().value(row);
            let part = |at: usize| i32::from_le_bytes(bytes[at..at + 4].try_into().expect("16 bytes"));
            let micros = i64::from_le_bytes(bytes[8..].try_into().expect("16 bytes"));
            format!("interval '{} months {} days {micros} microseconds'", part(0), part(4))
        }
        DataType::Char(_) | DataType::Varchar(_) | DataType::Text | DataType::Json => {
            format!("{}::{sql_type}", quote::literal(array.as_string::<i32>().value(row)))
        }
        DataType::Binary => bytes_value(array.as_binary::<i32>().value(row)),
        DataType::BinaryFixed(_) => bytes_value(array.as_fixed_size_binary().value(row)),
        DataType::Uuid => format!("encode({}, 'hex')::uuid", bytes_value(array.as_fixed_size_binary().value(row))),
        DataType::List(item) if matches!(**item, DataType::List(_)) => {
            let lists = array.as_list::<i32>().value(row);
            let DataType::List(inner) = &**item else { unreachable!("it was matched") };
            let lists: Vec<String> = (0..lists.len())
                .map(|index| match lists.is_null(index) {
                    true => "NULL".to_owned(),
                    false => {
                        format!("json_build_array({})", items(lists.as_list::<i32>().value(index), inner).join(", "))
                    }
                })
                .collect();
            format!("json_build_array({})", lists.join(", "))
        }
        DataType::List(item) => {
            format!("ARRAY[{}]::{sql_type}", items(array.as_list::<i32>().value(row), item).join(", "))
        }
        DataType::Vector(_) => {
            format!("ARRAY[{}]::real[]", items(array.as_fixed_size_list().value(row), &DataType::Float32).join(", "))
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns().iter().zip(fields);
            let values: Vec<String> = columns.map(|(column, (_, field))| sql_value(column, row, field)).collect();
            format!("ROW({})", values.join(", "))
        }
        DataType::Map(key, value) => {
            let entries = array.as_map().value(row);
            let keys = items(Arc::clone(entries.column(0)), key);
            let values: Vec<String> = match &**value {
                DataType::List(item) => {
                    let lists = entries.column(1);
                    let list = |index| match lists.is_null(index) {
                        true => "NULL".to_owned(),
                        false => {
                            let list = items(lists.as_list::<i32>().value(index), item);
                            format!("json_build_array({})", list.join(", "))
                        }
                    };
                    (0..lists.len()).map(list).collect()
                }
                other => items(Arc::clone(entries.column(1)), other),
            };
            let pairs = keys.iter().zip(&values);
            match **key {
                DataType::Text => {
                    let pairs: Vec<String> = pairs.map(|(key, value)| format!("{key}, {value}")).collect();
                    format!("json_build_object({})", pairs.join(", "))
                }
                _ => {
                    let pairs: Vec<String> =
                        pairs.map(|(key, value)| format!("json_build_array({key}, {value})")).collect();
                    format!("json_build_array({})", pairs.join(", "))
                }
            }
        }
    }
}

fn bytes_value(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("'\\x{digits}'::bytea")
}

/// A consumer's database, seen through the eyes of a role that may only read views.
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

    fn readers(&self) -> Vec<Reader> {
        vec![Reader::Role(self.reader())]
    }

    async fn open(&self) -> Box<dyn Sink> {
        self.0.sink().await
    }

    async fn read_view(&self, _: &DeliveredTable, view: &DeliveredView, schema: &Schema) -> Option<Vec<RecordBatch>> {
        let client = self.0.client().await;
        let exists = "SELECT EXISTS (SELECT FROM pg_views WHERE schemaname = $1 AND viewname = $2)";
        if !client.query_one(exists, &[&view.schema, &view.name]).await.expect("a query").get::<_, bool>(0) {
            return None;
        }
        let secret = secret(&self.reader(), "reads");
        let mut source = postgres::source::open(&self.0.connection(), secret).await.expect("the reader is let in");
        let table = format!("{}.{}", quote::identifier(&view.schema), quote::identifier(&view.name));
        Some(read_table(&mut source, &table, schema).await.unwrap_or_else(|error| panic!("{}", error.chain())))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_source_keeps_the_contract_of_sources() {
    check_source(&database("contract of sources")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_source_keeps_it_with_a_single_connection() {
    let database = Database { connections_max: Some(1), ..database("a single connection") };
    check_source(&database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sink_keeps_the_contract_of_sinks() {
    let consumer = Consumer(database("contract of sinks"));
    let role = quote::identifier(&consumer.reader());
    consumer.0.run(&format!("CREATE ROLE {role} LOGIN PASSWORD 'reads'")).await;
    check_sink(&consumer).await;
}

#[tokio::test]
async fn who_can_not_be_reached_is_named_with_what_helps() {
    let known = database("reached");
    let open = async |connection: &Connection, secret: Secret| match postgres::source::open(connection, secret).await {
        Ok(_) => panic!("nobody should be let in"),
        Err(error) => {
            assert!(!error.chain().contains("wrong-secret"), "a password is never told: {}", error.chain());
            error
        }
    };
    let error = open(&known.connection(), secret(SUPERUSER, "wrong-secret")).await;
    assert_eq!(error.retry, Retry::Never);
    assert!(error.chain().contains("refused the password"), "{}", error.chain());
    assert!(error.chain().contains("LEVADA_CREDENTIAL_WAREHOUSE_PASSWORD"), "{}", error.chain());

    let error = open(&known.connection(), Secret { password: None, ..superuser() }).await;
    assert_eq!(error.retry, Retry::Never);
    assert!(error.chain().contains("no password is known"), "{}", error.chain());

    let error = open(&known.connection(), Secret::default()).await;
    assert!(error.chain().contains("no user is known"), "{}", error.chain());

    let nowhere = Database { name: "no such".to_owned(), ..known.clone() };
    let error = open(&nowhere.connection(), superuser()).await;
    assert_eq!(error.retry, Retry::Never);
    assert!(error.chain().contains("/no such has no such database"), "{}", error.chain());

    let closed = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port").local_addr().expect("bound").port();
    let error = open(&Database { port: closed, ..known.clone() }.connection(), superuser()).await;
    assert_eq!(error.retry, Retry::Later);
    assert!(
        error.chain().contains(&format!("postgres@127.0.0.1:{closed}/reached can't be reached")),
        "{}",
        error.chain()
    );

    let mut encrypted = known.connection();
    if let Place::Server { tls, .. } = &mut encrypted.place {
        *tls = Tls::Require;
    }
    let error = open(&encrypted, superuser()).await;
    assert_eq!(error.retry, Retry::Never);
    assert!(error.chain().contains("server does not support TLS"), "{}", error.chain());

    known.run("SET password_encryption = 'scram-sha-256'; CREATE ROLE scram LOGIN PASSWORD 'ß “”'").await;
    assert!(postgres::source::open(&known.connection(), secret("scram", "ß “”")).await.is_ok(), "SCRAM works");

    let mut socket = known.connection();
    if let Place::Server { host, .. } = &mut socket.place {
        *host = cluster().socket_folder().display().to_string();
    }
    assert!(postgres::source::open(&socket, superuser()).await.is_ok(), "a folder is a host, too");
}

#[tokio::test]
async fn connections_are_encrypted_where_the_server_can_and_certificates_checked_where_asked() {
    let own = PostgresCluster::start_encrypted(include_str!("tls/server.crt"), include_str!("tls/server.key"));
    let own = own.expect("this machine has a PostgreSQL server with TLS");
    own.create_database("encrypted").expect("created");
    let database = Database { name: "encrypted".to_owned(), port: own.port(), connections_max: None };
    database.run("CREATE VIEW tls AS SELECT pid::int8 AS id, ssl::text AS value FROM pg_stat_ssl WHERE pid = pg_backend_pid()").await;
    let with = |wanted: Tls| {
        let mut connection = database.connection();
        if let Place::Server { tls, .. } = &mut connection.place {
            *tls = wanted;
        }
        connection
    };
    for tls in [Tls::Prefer, Tls::Require] {
        let mut source = postgres::source::open(&with(tls), superuser()).await.expect("it opens");
        let rows = read_table(&mut source, "tls", &one("text")).await.expect("a view");
        assert_eq!(rows[0].column(1).as_string::<i32>().value(0), "true", "{tls:?}");
    }
    let Err(error) = postgres::source::open(&with(Tls::VerifyFull), superuser()).await else {
        panic!("nobody vouches for this certificate")
    };
    assert_eq!(error.retry, Retry::Never, "{}", error.chain());
    assert!(error.chain().contains("certificate"), "{}", error.chain());
}

#[tokio::test]
async fn every_mismatch_of_types_is_named_at_once() {
    let database = database("mismatches");
    database.run("CREATE TABLE t (id int8, a text, b timestamptz, c float8, d int4[])").await;
    let schema = schema_of(&[
        ("id", "int64", true),
        ("a", "int32", false),
        ("b", "timestamp", false),
        ("c", "float32", false),
        ("d", "list<text>", false),
    ]);
    let error = database.source().await.inspect(&snapshot(vec![dataset("t", "t", &schema)])).await;
    let error = error.expect_err("no type fits").chain();
    for part in [
        "column \"a\" of table public.t is text, the model says int32",
        "column \"b\" of table public.t is timestamp with time zone, the model says timestamp",
        "column \"c\" of table public.t is double precision, the model says float32",
        "column \"d\" of table public.t is integer[], the model says list<text>",
    ] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
}

#[tokio::test]
async fn what_may_not_be_read_is_named() {
    let database = database("not allowed");
    database.run("CREATE TABLE t (id int8, a text); CREATE TABLE u (id int8, a text); CREATE ROLE curious LOGIN PASSWORD 'x'; GRANT SELECT (id) ON t TO curious").await;
    let mut source =
        postgres::source::open(&database.connection(), secret("curious", "x")).await.expect("it is let in");
    let schema = schema_of(&[("id", "int64", true), ("a", "text", false)]);
    let request = snapshot(vec![dataset("t", "t", &schema), dataset("u", "u", &schema)]);
    let error = source.inspect(&request).await.expect_err("nothing was granted").chain();
    assert!(error.contains("column \"a\" of table public.t may not be read by this user"), "{error}");
    assert!(error.contains("table public.u may not be read by this user"), "{error}");
}

#[tokio::test]
async fn a_value_without_an_image_stops_the_pull_and_is_named() {
    let database = database("no image");
    let cases = [
        ("numeric", "'NaN'", "decimal(10,2)", "is NaN"),
        ("numeric", "1.001", "decimal(10,2)", "is 1.001, which is no decimal(10,2)"),
        ("numeric", "123456789.1", "decimal(10,2)", "is 123456789.1, which is no decimal(10,2)"),
        ("date", "'infinity'", "date", "is infinity"),
        ("date", "'-infinity'", "timestamp", "is -infinity"),
        ("timestamptz", "'-infinity'", "timestamptz", "is -infinity"),
        ("timestamp", "'294276-12-31'", "timestamp", "outside of"),
        ("text", "'too long'", "varchar(5)", "has 8 characters, 5 are allowed"),
        ("text", "'😀😀😀'", "char(2)", "has 3 characters, 2 are allowed"),
        ("bigint", "3000000000", "int32", "is 3000000000, outside of int32"),
        ("smallint", "128", "int8", "is 128, outside of int8"),
        ("numeric", "1.5", "int64", "is 1.5"),
        ("bytea", "'\\x0001'", "binary(4)", "has 2 bytes instead of 4"),
        ("int4[]", "ARRAY[[1],[2]]", "list<int32>", "is an array of 2 dimensions"),
        ("real[]", "ARRAY[1,2]", "vector(3)", "has 2 elements instead of 3"),
        ("real[]", "ARRAY[1,NULL,2]", "vector(3)", "is NULL"),
        ("jsonb", "'{\"a\": \"x\"}'", "struct<a: int32>", "holds JSON that is no"),
        ("date", "'5874897-12-31'", "timestamp", "is +5874897-12-31, outside of"),
        ("json", "'[1e999]'", "list<float64>", "is 1e999, and a float64 can't hold all its digits"),
        ("json", "'[1.23456789012345678]'", "list<float32>", "a float32 can't hold all its digits"),
        ("jsonb", "'{\"x\": \"a\"}'", "map<int32, text>", "holds JSON that is no"),
    ];
    for (number, (sql_type, value, model, expected)) in cases.into_iter().enumerate() {
        let table = format!("case_{number}");
        database.run(&format!("CREATE TABLE {table} AS SELECT 41::int8 + i AS id, ({value})::{sql_type} AS value FROM generate_series(1, 1) i")).await;
        let mut source = database.source().await;
        let request = snapshot(vec![dataset("d", &table, &one(model))]);
        source.inspect(&request).await.unwrap_or_else(|error| panic!("{model}: {}", error.chain()));
        let error = pull_all(source.as_mut(), &request).await.expect_err(model);
        assert_eq!(error.retry, Retry::Never, "{model}");
        let named = format!("table public.{table}, row (id = 42): column \"value\"");
        assert!(error.chain().contains(&named), "{named} is missing in: {}", error.chain());
        assert!(error.chain().contains(expected), "{expected} is missing in: {}", error.chain());
        // The same source goes on.
        let request = snapshot(vec![dataset("d", &table, &schema_of(&[("id", "int64", true)]))]);
        pull_all(source.as_mut(), &request).await.expect("the other column is fine");
    }
    database.run("CREATE TABLE holes AS SELECT 'a'::text AS id, NULL::text AS value").await;
    let mut schema = schema_of(&[("id", "text", true), ("value", "text", false)]);
    schema.columns[1].nullable = false;
    let request = snapshot(vec![dataset("d", "holes", &schema)]);
    let error =
        pull_all(database.source().await.as_mut(), &request).await.expect_err("no NULL where none may be").chain();
    assert!(error.contains("row (id = 'a'): column \"value\" is NULL"), "{error}");
}

#[tokio::test]
async fn types_of_others_are_read_as_the_models() {
    let database = database("others");
    database
        .run(
            "CREATE TYPE mood AS ENUM ('sad', 'it''s fine');
             CREATE DOMAIN positive AS int4 CHECK (value > 0);
             CREATE DOMAIN deeper AS positive;
             CREATE TYPE place AS (street text, number int4, more numeric[]);
             CREATE TABLE t (id positive, a mood, b deeper, c inet, d numeric, e name, f int2, g mood[], h place,
                             i place[], j jsonb, k numeric(20,0), l xml, m oid, n date, o char(8), p float4, q jsonb,
                             r jsonb, s jsonb, t jsonb);
             INSERT INTO t VALUES (1, 'it''s fine', 7, '10.0.0.1/8', 123.4500, 'n', 3, '{sad,NULL}', ('x', 5, '{1.5,2}'),
                 ARRAY[('y', 6, NULL)::place, NULL], '{\"b\": [1, 2.50], \"a\": null}', 12345678901234567890, '<a/>',
                 4000000000, '2000-02-29', 'padded', 0.1, '{\"when\": \"2000-02-29T02:00:00+02:00\", \"extra\": 1}',
                 '{\"doc\": \"hello\", \"n\": 1}', '[\"a\", {\"b\": 1.50}, null]', '{\"-1\": \"a\"}');",
        )
        .await;
    let schema = schema_of(&[
        ("id", "int64", true),
        ("a", "text", false),
        ("b", "int64", false),
        ("c", "text", false),
        ("d", "text", false),
        ("e", "varchar(64)", false),
        ("f", "decimal(5,2)", false),
        ("g", "list<text>", false),
        ("h", "struct<number: int64, street: varchar(3)>", false),
        ("i", "list<struct<street: text, more: list<decimal(4,1)>>>", false),
        ("j", "map<text, list<decimal(5,2)>>", false),
        ("k", "decimal(38,2)", false),
        ("l", "text", false),
        ("m", "int64", false),
        ("n", "timestamp", false),
        ("o", "text", false),
        ("p", "float64", false),
        ("q", "struct<when: timestamptz>", false),
        ("r", "struct<doc: json, n: int32>", false),
        ("s", "list<json>", false),
        ("t", "map<int32, text>", false),
    ]);
    let mut source = database.source().await;
    let rows = read_table(source.as_mut(), "t", &schema).await.unwrap_or_else(|error| panic!("{}", error.chain()));
    let row = &rows[0];
    let text = |index: usize| row.column(index).as_string::<i32>().value(0).to_owned();
    assert_eq!(
        [text(1), text(3), text(4), text(5), text(12), text(15)],
        ["it's fine", "10.0.0.1/8", "123.4500", "n", "<a/>", "padded"]
    );
    assert_eq!(row.column(2).as_primitive::<Int64Type>().value(0), 7);
    assert_eq!(row.column(6).as_primitive::<Decimal128Type>().value(0), 300);
    let moods = row.column(7).as_list::<i32>().value(0);
    assert_eq!((moods.as_string::<i32>().value(0), moods.is_null(1)), ("sad", true));
    let place = row.column(8).as_struct();
    assert_eq!(place.column(0).as_primitive::<Int64Type>().value(0), 5);
    assert_eq!(place.column(1).as_string::<i32>().value(0), "x");
    let places = row.column(9).as_list::<i32>().value(0);
    assert_eq!((places.len(), places.is_null(1)), (2, true));
    assert!(places.as_struct().column(1).is_null(0));
    let map = row.column(10).as_map().value(0);
    assert_eq!(map.column(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["a", "b"]);
    let decimals = map.column(1).as_list::<i32>();
    assert!(decimals.is_null(0));
    assert_eq!(decimals.value(1).as_primitive::<Decimal128Type>().values(), &[100, 250]);
    assert_eq!(row.column(11).as_primitive::<Decimal128Type>().value(0), 1_234_567_890_123_456_789_000);
    assert_eq!(row.column(13).as_primitive::<Int64Type>().value(0), 4_000_000_000);
    assert_eq!(row.column(14).as_primitive::<TimestampMicrosecondType>().value(0), 951_782_400_000_000);
    assert_eq!(row.column(16).as_primitive::<Float64Type>().value(0), f64::from(0.1f32));
    let when = row.column(17).as_struct().column(0).as_primitive::<TimestampMicrosecondType>().value(0);
    assert_eq!(when, 951_782_400_000_000);
    assert_eq!(row.column(18).as_struct().column(0).as_string::<i32>().value(0), "\"hello\"", "JSON stays JSON");
    let documents = row.column(19).as_list::<i32>().value(0);
    let documents: Vec<Option<&str>> = documents.as_string::<i32>().iter().collect();
    assert_eq!(documents, [Some("\"a\""), Some("{\"b\": 1.50}"), None]);
    let map = row.column(20).as_map().value(0);
    assert_eq!(map.column(0).as_primitive::<Int32Type>().values(), &[-1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_a_pull_agree_while_others_write() {
    let database = database("writers");
    let tables = 8;
    for table in 0..tables {
        database
            .run(&format!(
                "CREATE TABLE account_{table} AS SELECT i AS id, 100::int8 AS value FROM generate_series(1, 2000) i"
            ))
            .await;
    }
    let is_done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writer = tokio::spawn({
        let (database, is_done) = (database.clone(), Arc::clone(&is_done));
        async move {
            let client = database.client().await;
            let mut moved = 0u32;
            while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
                let (from, to, id) = (moved % tables, (moved + 3) % tables, moved % 2000 + 1);
                let transfer = format!(
                    "BEGIN; UPDATE account_{from} SET value = value - 7 WHERE id = {id};
                     UPDATE account_{to} SET value = value + 7 WHERE id = {id}; COMMIT"
                );
                client.batch_execute(&transfer).await.expect("a transfer");
                moved += 1;
            }
            moved
        }
    });
    let schema = schema_of(&[("id", "int64", true), ("value", "int64", false)]);
    let datasets =
        (0..tables).map(|table| dataset(&format!("d{table}"), &format!("account_{table}"), &schema)).collect();
    let request = snapshot(datasets);
    let mut source = database.source().await;
    for _ in 0..10 {
        let (rows, ..) = pull_all(source.as_mut(), &request).await.expect("writers don't matter");
        let values = rows.iter().flatten().flat_map(|batch| batch.column(1).as_primitive::<Int64Type>().values());
        assert_eq!(values.sum::<i64>(), i64::from(tables) * 2_000 * 100, "all tables are one state");
    }
    is_done.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(writer.await.expect("the writer ends") > 0, "somebody wrote meanwhile");
}

#[tokio::test]
async fn rows_without_a_watermark_are_not_lost_and_infinity_is_an_error() {
    let database = database("watermarks");
    database
        .run("CREATE TABLE t (id int8, value timestamptz); INSERT INTO t VALUES (1, '2026-01-01'), (2, NULL)")
        .await;
    let schema = one("timestamptz");
    let mut request = snapshot(vec![dataset("d", "t", &schema)]);
    request.kind =
        IngestKind::Watermark { column: Some("value".parse().expect("a name")), overlap: None, deletes: None };
    let mut source = database.source().await;
    let (.., end) = pull_all(source.as_mut(), &request).await.expect("the first pull");
    let Position::Watermark { greatest } = &end.position else { panic!("a watermark has its position") };
    assert_eq!(greatest["d"], "2026-01-01 00:00:00+00");
    database.run("INSERT INTO t VALUES (3, NULL), (4, '2025-01-01')").await;
    request.previous = Some(Previous { position: end.position, incarnation: end.incarnation });
    let (rows, ..) = pull_all(source.as_mut(), &request).await.expect("the second pull");
    let ids: Vec<i64> =
        rows[0].iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    assert_eq!(ids, [1, 2, 3]);
    database.run("INSERT INTO t VALUES (5, 'infinity')").await;
    let error = pull_all(source.as_mut(), &request).await.expect_err("nothing is newer than infinity").chain();
    assert!(error.contains("the greatest \"value\" of table public.t is infinity"), "{error}");
}

/// A delivered table with one live view for `readers`.
fn table(name: &str, schema: &Schema, readers: &[&str]) -> DeliveredTable {
    DeliveredTable {
        platform: "P".parse().expect("a name"),
        source: DatasetRef::new("Store".parse().expect("a name"), name.parse().expect("a name")),
        schema: schema.clone(),
        live: Some(format!("store_{name}")),
        history: None,
        views: vec![DeliveredView {
            workspace: "Workspace".parse().expect("a name"),
            schema: "workspace".to_owned(),
            name: format!("store_{name}"),
            is_history: false,
            since: None,
            readers: readers.iter().map(|name| Reader::Role((*name).to_owned())).collect(),
        }],
    }
}

fn mark(batch: i64, shape: &str) -> Mark {
    Mark { batch, incarnation: "i".to_owned(), epoch: 1, shape: shape.to_owned() }
}

fn people(rows: &[(i64, &str)]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from(rows.iter().map(|row| row.0).collect::<Vec<_>>()));
    let names: ArrayRef = Arc::new(StringArray::from(rows.iter().map(|row| row.1).collect::<Vec<_>>()));
    RecordBatch::try_new(arrow_schema(&one("text")), vec![ids, names]).expect("two columns")
}

/// Everything of a ledger with these rows.
fn everything(table: DeliveredTable, rows: &RecordBatch, mark: Mark, expected: Option<Mark>) -> TableDelivery {
    let mut ledger = Ledger::new(&table.schema);
    ledger.commit(rows);
    let content = ledger.content(Form::Everything, 0, true, false);
    TableDelivery { table, content, mark, expected }
}

async fn delivered(sink: &mut dyn Sink, delivery: TableDelivery) {
    sink.deliver(vec![delivery]).await.unwrap_or_else(|error| panic!("{}", error.chain()));
}

async fn live(sink: &mut dyn Sink, table: &DeliveredTable) -> Vec<RecordBatch> {
    sink.read_back(table, false).await.expect("it is there").try_collect().await.expect("all of it")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_killed_in_the_middle_leaves_the_old_state() {
    let database = database("killed");
    let mut sink = database.sink().await;
    let people_table = table("people", &one("text"), &[]);
    let old = people(&[(1, "old")]);
    delivered(sink.as_mut(), everything(people_table.clone(), &old, mark(1, "s"), None)).await;

    let new = everything(people_table.clone(), &people(&[(1, "new"), (2, "new")]), mark(2, "s"), Some(mark(1, "s")));
    let killer = database.clone();
    let kill = async move {
        let killed = killer
            .text(
                "SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity
                 WHERE application_name = 'levada' AND datname = current_database() AND state <> 'idle'",
            )
            .await;
        assert_eq!(killed, "1", "the delivery's backend");
    };
    let Content::Everything { live: Some(rows), .. } = new.content else { panic!("everything has live rows") };
    let first_kill_then_rows: RowStream =
        futures::stream::once(kill).flat_map(|()| futures::stream::empty()).chain(rows).boxed();
    let content = Content::Everything { changes: None, live: Some(first_kill_then_rows), history: None };
    let error = sink.deliver(vec![TableDelivery { content, ..new }]).await.expect_err("the server killed it");
    assert_eq!(error.retry, Retry::Later, "{}", error.chain());

    assert_eq!(sink.marks(std::slice::from_ref(&people_table)).await.expect("the sink goes on"), [Some(mark(1, "s"))]);
    assert_same_rows(&one("text"), &live(sink.as_mut(), &people_table).await, &[old], "after the kill");
    let leftovers = "SELECT count(*)::text FROM pg_class WHERE relname LIKE 'lv\\_%' AND relkind = 'r'";
    assert_eq!(database.text(leftovers).await, "0");
    let new = people(&[(1, "new")]);
    delivered(sink.as_mut(), everything(people_table.clone(), &new, mark(2, "s"), Some(mark(1, "s")))).await;
    assert_same_rows(&one("text"), &live(sink.as_mut(), &people_table).await, &[new], "the same again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_killed_is_used_again_when_it_is_back() {
    let own = PostgresCluster::start().expect("this machine has a PostgreSQL server");
    own.create_database("back").expect("created");
    let database = Database { name: "back".to_owned(), port: own.port(), connections_max: None };
    let mut sink = database.sink().await;
    let mut source = database.source().await;
    let people_table = table("people", &one("text"), &[]);
    let rows = people(&[(1, "one")]);
    delivered(sink.as_mut(), everything(people_table.clone(), &rows, mark(1, "s"), None)).await;
    let request = snapshot(vec![dataset("d", "levada.store_people", &one("text"))]);
    let before = pull_all(source.as_mut(), &request).await.expect("it is there").2;
    own.kill().expect("killed");
    let error = sink.marks(std::slice::from_ref(&people_table)).await.expect_err("nobody answers");
    assert_eq!(error.retry, Retry::Later, "{}", error.chain());
    let error = pull_all(source.as_mut(), &request).await.expect_err("nobody answers");
    assert_eq!(error.retry, Retry::Later, "{}", error.chain());
    own.restart().expect("it recovers");
    assert_eq!(sink.marks(std::slice::from_ref(&people_table)).await.expect("it is back"), [Some(mark(1, "s"))]);
    let after = pull_all(source.as_mut(), &request).await.expect("it is back").2;
    assert_eq!(before.incarnation, after.incarnation, "a restart is no new source");
}

#[tokio::test]
async fn readers_get_the_views_alone_and_lose_what_they_no_longer_have() {
    let database = database("grants");
    database.run("CREATE ROLE ana; CREATE ROLE \"b\"\"; DROP ROLE ana; --\"; CREATE ROLE foreigner").await;
    let may = async |role: &str, sql: &str| {
        let client = database.client().await;
        client.batch_execute(&format!("SET ROLE {}", quote::identifier(role))).await.expect("a role");
        client.batch_execute(sql).await.is_ok()
    };
    let hostile = "b\"; DROP ROLE ana; --";
    let (first, second) = ("SELECT * FROM workspace.store_first", "SELECT * FROM workspace.store_second");
    let mut sink = database.sink().await;
    let rows = people(&[(1, "one")]);
    let tables = [table("first", &one("text"), &["ana", hostile]), table("second", &one("text"), &["ana"])];
    let [one_delivery, other_delivery] = tables.clone().map(|table| everything(table, &rows, mark(1, "s"), None));
    sink.deliver(vec![one_delivery, other_delivery]).await.unwrap_or_else(|error| panic!("{}", error.chain()));
    assert!(may("ana", first).await && may("ana", second).await && may(hostile, first).await);
    assert!(!may(hostile, second).await, "only what was granted");
    assert!(!may("ana", "SELECT * FROM levada.store_first").await, "never the tables");
    assert!(!may("ana", "INSERT INTO workspace.store_first VALUES (2, 'x')").await, "reading only");
    database
        .run("GRANT SELECT ON workspace.store_first TO foreigner; GRANT USAGE ON SCHEMA workspace TO foreigner")
        .await;

    let nothing = |table: DeliveredTable| TableDelivery {
        table,
        content: Content::Nothing,
        mark: mark(1, "s"),
        expected: Some(mark(1, "s")),
    };
    let fewer = table("first", &one("text"), &["ana"]);
    delivered(sink.as_mut(), nothing(fewer)).await;
    assert!(may("ana", first).await && !may(hostile, first).await);
    assert!(may("foreigner", first).await, "what others granted stays");
    let has_usage = format!("SELECT has_schema_privilege({}, 'workspace', 'USAGE')::text", quote::literal(hostile));
    assert_eq!(database.text(&has_usage).await, "false", "nothing is left for it in the schema");

    delivered(sink.as_mut(), nothing(table("first", &one("text"), &["foreigner"]))).await;
    assert!(!may("ana", first).await && may("ana", second).await, "the other view is still hers");
    delivered(sink.as_mut(), nothing(table("first", &one("text"), &[]))).await;
    assert!(may("foreigner", first).await, "its grant was never ours");

    // A swap, and a new shape, keep what others granted, and what we granted.
    delivered(sink.as_mut(), everything(tables[1].clone(), &rows, mark(2, "s"), Some(mark(1, "s")))).await;
    let wider = schema_of(&[("id", "text", true), ("value", "text", false)]);
    let ids: ArrayRef = Arc::new(StringArray::from(vec!["1"]));
    let wide = RecordBatch::try_new(arrow_schema(&wider), vec![ids, Arc::clone(rows.column(1))]).expect("two columns");
    delivered(sink.as_mut(), everything(table("first", &wider, &[]), &wide, mark(2, "t"), Some(mark(1, "s")))).await;
    assert!(may("foreigner", first).await && may("ana", second).await);

    let unknown = TableDelivery {
        expected: Some(mark(2, "s")),
        ..nothing(table("second", &one("text"), &["ana", "nobody known"]))
    };
    let answer = sink.deliver(vec![unknown]).await.unwrap_or_else(|error| panic!("{}", error.chain()));
    let [nobody] = &answer.unknown_readers[..] else { panic!("one is unknown: {:?}", answer.unknown_readers) };
    assert_eq!((nobody.workspace.as_str(), nobody.reader.as_str()), ("Workspace", "nobody known"));
    assert_eq!(nobody.source, tables[1].source, "the other dataset has nothing to do with it");
    assert!(may("ana", second).await, "who is known reads all the same");
    database.run("CREATE ROLE \"nobody known\"").await;
    let known = TableDelivery {
        expected: Some(mark(1, "s")),
        ..nothing(table("second", &one("text"), &["ana", "nobody known"]))
    };
    assert_eq!(sink.deliver(vec![known]).await.expect("a role has come").unknown_readers, []);
    assert!(may("nobody known", second).await);
}

#[tokio::test]
async fn one_mistyped_reader_keeps_nobody_else_out() {
    let database = database("mistyped");
    database.run("CREATE ROLE mistyped_ana").await;
    let mut sink = database.sink().await;
    let rows = people(&[(1, "one")]);
    let mut shared = table("shared", &one("text"), &["mistyped_ana"]);
    let other = DeliveredView {
        workspace: "Other".parse().expect("a name"),
        schema: "other".to_owned(),
        readers: vec![Reader::User("mistyped_anna".to_owned())],
        ..shared.views[0].clone()
    };
    shared.views.push(other);
    let answer = sink.deliver(vec![everything(shared, &rows, mark(1, "s"), None)]).await;
    let answer = answer.unwrap_or_else(|error| panic!("{}", error.chain()));
    let unknown: Vec<_> = answer.unknown_readers.iter().map(|one| (one.workspace.as_str(), &*one.reader)).collect();
    assert_eq!(unknown, [("Other", "mistyped_anna")]);
    let reads = "SET ROLE mistyped_ana; SELECT * FROM workspace.store_shared";
    database.client().await.batch_execute(reads).await.expect("her workspace is delivered");
}

#[tokio::test]
async fn what_others_put_on_a_view_outlives_its_change_of_columns() {
    let database = database("put on");
    database.run("CREATE ROLE put_on_eva; CREATE ROLE put_on_ida").await;
    let mut sink = database.sink().await;
    let people_table = table("people", &one("text"), &[]);
    delivered(sink.as_mut(), everything(people_table, &people(&[(1, "one")]), mark(1, "s"), None)).await;
    database
        .run(
            "GRANT SELECT (id) ON workspace.store_people TO put_on_eva WITH GRANT OPTION;
             GRANT SELECT (value) ON workspace.store_people TO put_on_ida;
             COMMENT ON VIEW workspace.store_people IS 'everybody''s people';
             COMMENT ON COLUMN workspace.store_people.id IS 'the number'",
        )
        .await;
    let other = schema_of(&[("id", "text", true), ("other", "text", false)]);
    let columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from(vec!["1"])), Arc::new(StringArray::from(vec!["x"]))];
    let rows = RecordBatch::try_new(arrow_schema(&other), columns).expect("two columns");
    delivered(sink.as_mut(), everything(table("people", &other, &[]), &rows, mark(2, "t"), Some(mark(1, "s")))).await;
    let may =
        "SELECT has_column_privilege('put_on_eva', 'workspace.store_people', 'id', 'SELECT WITH GRANT OPTION')::text";
    assert_eq!(database.text(may).await, "true", "a right on a column that is still there");
    let comments = "SELECT concat_ws('; ', obj_description('workspace.store_people'::regclass),
                                     col_description('workspace.store_people'::regclass, 1))";
    assert_eq!(database.text(comments).await, "everybody's people; the number");
}

#[tokio::test]
async fn a_view_of_another_dataset_is_never_taken_and_one_of_another_platform_is_taken_over() {
    let database = database("view owners");
    let mut sink = database.sink().await;
    let people_table = table("people", &one("text"), &[]);
    delivered(sink.as_mut(), everything(people_table.clone(), &people(&[(1, "one")]), mark(1, "s"), None)).await;
    let mut other = table("other", &one("text"), &[]);
    other.views[0].name = "store_people".to_owned();
    let taking = everything(other, &people(&[(1, "other")]), mark(1, "s"), None);
    let error = sink.deliver(vec![taking]).await.expect_err("the view is another dataset's").chain();
    assert!(error.contains("view workspace.store_people shows Store.people already"), "{error}");

    let mut moved = people_table.clone();
    (moved.platform, moved.live) = ("Q".parse().expect("a name"), Some("moved_people".to_owned()));
    delivered(sink.as_mut(), everything(moved, &people(&[(1, "moved")]), mark(1, "s"), None)).await;
    sink.remove(&[people_table], 1).await.expect("the first platform leaves");
    assert_eq!(database.text("SELECT value FROM workspace.store_people").await, "moved");
}

#[tokio::test]
async fn rows_are_found_by_their_key_where_it_is_plain() {
    let database = database("found");
    let mut sink = database.sink().await;
    let delivery = everything(table("people", &one("text"), &[]), &people(&[(1, "one")]), mark(1, "s"), None);
    delivered(sink.as_mut(), delivery).await;
    let words = schema_of(&[("name", "text", true)]);
    let names: ArrayRef = Arc::new(StringArray::from(vec!["one"]));
    let rows = RecordBatch::try_new(arrow_schema(&words), vec![names]).expect("a column");
    delivered(sink.as_mut(), everything(table("words", &words, &[]), &rows, mark(1, "s"), None)).await;
    let key = |table: &str| {
        format!(
            "SELECT string_agg(attname, ',') FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY(indkey) \
             WHERE indisprimary AND indrelid = 'levada.store_{table}'::regclass"
        )
    };
    assert_eq!(database.text(&key("people")).await, "id");
    assert_eq!(database.text(&key("words")).await, "lv_key_hash");
}

#[tokio::test]
async fn a_database_of_an_earlier_build_is_brought_up_to_date() {
    let database = database("earlier build");
    let mut sink = database.sink().await;
    let people_table = table("people", &one("text"), &[]);
    delivered(sink.as_mut(), everything(people_table.clone(), &people(&[(1, "one")]), mark(1, "s"), None)).await;
    database.run("ALTER TABLE levada.applied DROP COLUMN platform; UPDATE levada.format SET version = 1").await;
    let marks = sink.marks(std::slice::from_ref(&people_table)).await;
    assert_eq!(marks.unwrap_or_else(|error| panic!("{}", error.chain())), [Some(mark(1, "s"))]);
    let next = everything(people_table, &people(&[(1, "uno")]), mark(2, "s"), Some(mark(1, "s")));
    delivered(sink.as_mut(), next).await;
    assert_eq!(database.text("SELECT platform FROM levada.applied").await, "P");
    database.run("UPDATE levada.format SET version = 3").await;
    let error = sink.marks(&[table("people", &one("text"), &[])]).await.expect_err("a later build was here").chain();
    assert!(error.contains("deliver with the newer build"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_that_is_given_up_ends_at_the_server_too() {
    let database = Database { connections_max: Some(2), ..database("given up") };
    database.run("CREATE VIEW slow AS SELECT 1::int8 AS id, pg_sleep(600)::text AS value; CREATE VIEW slow_too AS SELECT * FROM slow").await;
    let asleep =
        "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
    let schema = one("text");
    let request = snapshot(vec![dataset("d", "slow", &schema), dataset("e", "slow_too", &schema)]);
    let mut source = database.source().await;
    let pull = tokio::spawn(async move { pull_all(source.as_mut(), &request).await.map(|_| ()) });
    while database.text(asleep).await != "2" {
        assert!(!pull.is_finished(), "both tables are being read");
    }
    pull.abort();
    let given_up = std::time::Instant::now();
    while database.text(asleep).await != "0" {
        assert!(given_up.elapsed().as_secs() < 60, "the server goes on with what nobody waits for");
    }
}

#[tokio::test]
async fn a_users_view_on_ours_lives_on_or_is_named() {
    let database = database("own views");
    let mut sink = database.sink().await;
    let people_table = table("people", &one("text"), &[]);
    delivered(sink.as_mut(), everything(people_table.clone(), &people(&[(1, "one")]), mark(1, "s"), None)).await;
    database.run("CREATE VIEW public.mine AS SELECT value FROM workspace.store_people").await;
    let again = everything(people_table.clone(), &people(&[(1, "uno")]), mark(2, "s"), Some(mark(1, "s")));
    delivered(sink.as_mut(), again).await;
    assert_eq!(database.text("SELECT value FROM public.mine").await, "uno", "a rebuild of the same shape keeps it");

    let other = schema_of(&[("id", "text", true), ("value", "text", false)]);
    let ids: ArrayRef = Arc::new(StringArray::from(vec!["1"]));
    let rows = RecordBatch::try_new(arrow_schema(&other), vec![ids, Arc::clone(people(&[(1, "eins")]).column(1))]);
    let rows = rows.expect("two columns");
    let reshaped = |expected| everything(table("people", &other, &[]), &rows, mark(3, "t"), expected);
    let error = sink.deliver(vec![reshaped(Some(mark(2, "s")))]).await.expect_err("its column changes its type");
    assert_eq!(error.retry, Retry::Never);
    assert!(error.chain().contains("view mine") || error.chain().contains("public.mine"), "{}", error.chain());
    assert_eq!(database.text("SELECT value FROM public.mine").await, "uno", "nothing happened");
    database.run("DROP VIEW public.mine").await;
    delivered(sink.as_mut(), reshaped(Some(mark(2, "s")))).await;

    database.run("CREATE TABLE workspace.store_taken (a int)").await;
    let taken = everything(table("taken", &one("text"), &[]), &people(&[]), mark(1, "s"), None);
    let error = sink.deliver(vec![taken]).await.expect_err("a table of somebody else's has the name").chain();
    assert!(error.contains("is not ours"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_waits_for_a_reader_and_lets_others_read_meanwhile() {
    let database = database("long readers");
    let mut sink = database.sink().await;
    let people_table = table("people", &one("text"), &[]);
    delivered(sink.as_mut(), everything(people_table.clone(), &people(&[(1, "old")]), mark(1, "s"), None)).await;
    let reader = database.client().await;
    let query = "SELECT value FROM workspace.store_people";
    reader.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.expect("a transaction");
    assert_eq!(reader.query_one(query, &[]).await.expect("a row").get::<_, String>(0), "old");
    let early = database.client().await;
    early.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.expect("a snapshot, no lock");

    let swap = tokio::spawn(async move {
        let new = everything(people_table, &people(&[(1, "new")]), mark(2, "s"), Some(mark(1, "s")));
        sink.deliver(vec![new]).await.map_err(|error| error.chain())
    });
    let waits =
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'levada' AND wait_event_type = 'Lock'
                                AND datname = current_database())::text";
    while database.text(waits).await != "true" {
        assert!(!swap.is_finished(), "the swap waits for the reader");
        tokio::task::yield_now().await;
    }
    for _ in 0..20 {
        assert_eq!(database.text(query).await, "old", "others are let through");
    }
    assert_eq!(reader.query_one(query, &[]).await.expect("a row").get::<_, String>(0), "old");
    reader.batch_execute("COMMIT").await.expect("the reader ends");
    swap.await.expect("no panic").expect("the swap goes through");
    assert_eq!(database.text(query).await, "new");
    let seen: String = early.query_one(query, &[]).await.expect("an old snapshot sees a whole table").get(0);
    assert_eq!(seen, "new");
}

#[tokio::test]
async fn what_postgresql_can_not_hold_is_named_with_its_row() {
    let database = database("can not hold");
    let mut sink = database.sink().await;
    let people_table = table("people", &one("text"), &[]);
    let error = sink.deliver(vec![everything(people_table, &people(&[(7, "a\0b")]), mark(1, "s"), None)]).await;
    let error = error.expect_err("PostgreSQL's texts have no NUL").chain();
    assert!(error.contains("Store.people, row (id = 7): column \"value\" has the character NUL"), "{error}");
    let long = table(&"l".repeat(60), &one("text"), &[]);
    let error: FlowError =
        sink.deliver(vec![everything(long, &people(&[]), mark(1, "s"), None)]).await.expect_err("66 bytes");
    assert!(error.chain().contains("can't keep the name"), "{}", error.chain());
    let clash = table("clash", &schema_of(&[("lv_key_hash", "text", true)]), &[]);
    let nothing = TableDelivery { table: clash, content: Content::Nothing, mark: mark(1, "s"), expected: None };
    let error = sink.deliver(vec![nothing]).await.expect_err("the name is ours").chain();
    assert!(error.contains("can't be named \"lv_key_hash\""), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_prepare_a_new_database_at_once() {
    let database = database("two workers");
    let deliver = async |name: &str| {
        let mut sink = database.sink().await;
        delivered(sink.as_mut(), everything(table(name, &one("text"), &[]), &people(&[(1, name)]), mark(1, "s"), None))
            .await;
    };
    futures::join!(deliver("left"), deliver("right"), deliver("middle"));
    assert_eq!(database.text("SELECT count(*)::text FROM levada.applied").await, "3");
}
