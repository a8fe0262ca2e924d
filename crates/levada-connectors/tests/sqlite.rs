//! SQLite keeps the contracts of sources and sinks, and says clearly what it refuses.

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use async_trait::async_trait;
use levada_connectors::literal::{ColumnReader, Scalar};
use levada_connectors::sqlite;
use levada_flow::arrow_schema::arrow_schema;
use levada_flow::conformance::{
    Ledger, Limits, SinkHarness, SourceHarness, check_sink, check_source, pull_all, read_table, schema_of,
};
use levada_flow::sink::{Content, DeliveredTable, DeliveredView, Form, Mark, TableDelivery};
use levada_flow::source::{Coverage, Previous, PullDataset, PullRequest};
use levada_flow::{Retry, Sink, Source};
use levada_model::address::DatasetRef;
use levada_model::connection::{Connection, ContainerKind, Place};
use levada_model::model::IngestKind;
use levada_model::{DataType, Schema};
use rusqlite::types::Value;
use std::path::PathBuf;
use std::sync::Arc;

/// One database in a folder of its own.
struct Sqlite {
    folder: tempfile::TempDir,
}

impl Sqlite {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("shop.db")
    }

    /// As its owner opens it, in WAL mode.
    fn owner(&self) -> rusqlite::Connection {
        let owner = rusqlite::Connection::open(self.path()).expect("the file can be made");
        owner.pragma_update(None, "journal_mode", "wal").expect("a new file can be switched");
        owner
    }

    fn run(&self, statements: &str) {
        self.owner().execute_batch(statements).expect("the test's own SQL is right");
    }

    fn connection(&self) -> Connection {
        Connection {
            container: "shop".parse().expect("a name"),
            kind: ContainerKind::Sqlite,
            place: Place::Path { path: "shop.db".to_owned() },
            credential: None,
            connections_max: None,
        }
    }

    fn source(&self) -> sqlite::source::SqliteSource {
        sqlite::source::open(&self.connection(), self.folder.path()).expect("it is a database")
    }

    fn sink(&self) -> sqlite::sink::SqliteSink {
        sqlite::sink::open(&self.connection(), self.folder.path()).expect("it can be one")
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn value(scalar: Scalar<'_>) -> Value {
    match scalar {
        Scalar::Null => Value::Null,
        Scalar::Integer(number) => Value::Integer(number),
        Scalar::Real(number) => Value::Real(number),
        Scalar::Text(text) => Value::Text(text.into_owned()),
        Scalar::Bytes(bytes) => Value::Blob(bytes.into_owned()),
    }
}

#[async_trait]
impl SourceHarness for Sqlite {
    fn limits(&self) -> Limits {
        Limits { has_nan: false, has_json_null_inside: false, ..Limits::ALL }
    }

    fn has(&self, _data_type: &DataType) -> bool {
        true
    }

    async fn create(&self, table: &str, schema: &Schema, rows: &RecordBatch) {
        let columns: Vec<String> = schema.columns.iter().map(|column| quoted(column.name.as_str())).collect();
        self.run(&format!("CREATE TABLE {} ({})", quoted(table), columns.join(", ")));
        self.insert(table, schema, rows).await;
    }

    async fn insert(&self, table: &str, schema: &Schema, rows: &RecordBatch) {
        let mut owner = self.owner();
        let transaction = owner.transaction().expect("nobody else writes");
        let readers: Vec<ColumnReader<'_>> = schema
            .columns
            .iter()
            .zip(rows.columns())
            .map(|(column, array)| ColumnReader::new(array.as_ref(), &column.data_type).expect("its one image"))
            .collect();
        let marks = vec!["?"; readers.len()].join(", ");
        let insert = format!("INSERT INTO {} VALUES ({marks})", quoted(table));
        for row in 0..rows.num_rows() {
            let values = readers.iter().map(|reader| value(reader.scalar(row)));
            let mut statement = transaction.prepare_cached(&insert).expect("the table is there");
            statement.execute(rusqlite::params_from_iter(values)).expect("a row is written");
        }
        transaction.commit().expect("the rows stay");
    }

    async fn clear(&self, table: &str) {
        self.run(&format!("DELETE FROM {}", quoted(table)));
    }

    async fn open(&self) -> Box<dyn Source> {
        Box::new(self.source())
    }
}

#[async_trait]
impl SinkHarness for Sqlite {
    fn limits(&self) -> Limits {
        Limits { has_nan: false, has_json_null_inside: false, ..Limits::ALL }
    }

    fn has(&self, _data_type: &DataType) -> bool {
        true
    }

    async fn open(&self) -> Box<dyn Sink> {
        Box::new(self.sink())
    }

    async fn read_view(&self, _: &DeliveredTable, view: &DeliveredView, schema: &Schema) -> Option<Vec<RecordBatch>> {
        let name = format!("{}__{}", view.schema, view.name);
        let query = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'view' AND name = ?1)";
        let is_there: bool = self.owner().query_row(query, [&name], |row| row.get(0)).expect("the schema can be read");
        match is_there {
            true => Some(read_table(&mut self.source(), &name, schema).await.expect("a view can be read")),
            false => None,
        }
    }
}

#[tokio::test]
async fn sqlite_keeps_the_contract_of_sources() {
    check_source(&Sqlite::new()).await;
}

#[tokio::test]
async fn sqlite_keeps_the_contract_of_sinks() {
    check_sink(&Sqlite::new()).await;
}

fn request(table: &str, schema: &Schema) -> PullRequest {
    let dataset = "d".parse().expect("a name");
    let dataset = PullDataset { dataset, table: table.to_owned(), schema: schema.clone(), watermark: None };
    PullRequest::new(IngestKind::Snapshot, vec![dataset], "levada_test")
}

async fn refusal(sqlite: &Sqlite, table: &str, schema: &Schema) -> String {
    let error = pull_all(&mut sqlite.source(), &request(table, schema)).await.expect_err("it is refused");
    assert_eq!(error.retry, Retry::Never);
    error.chain()
}

#[tokio::test]
async fn a_value_of_another_type_is_named_with_table_column_row_and_value() {
    let sqlite = Sqlite::new();
    sqlite.run("CREATE TABLE orders (id INTEGER PRIMARY KEY, total DECIMAL(10,2), day TEXT, note TEXT NOT NULL)");
    sqlite.run("INSERT INTO orders VALUES (1, 1.25, '2026-01-31', 'x'), (7, 0.125, '31.1.2026', 'y')");
    let with = |column, data_type| schema_of(&[("id", "int64", true), (column, data_type, false)]);
    let error = refusal(&sqlite, "orders", &with("total", "decimal(10,2)")).await;
    for part in ["\"orders\"", "\"total\"", "rowid 7", "0.125", "decimal(10,2)"] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
    let error = refusal(&sqlite, "orders", &with("day", "date")).await;
    assert!(error.contains("rowid 7") && error.contains("31.1.2026"), "{error}");
    let error = refusal(&sqlite, "orders", &with("note", "int32")).await;
    assert!(error.contains("rowid 1"), "{error}");
    sqlite.run("UPDATE orders SET total = NULL WHERE id = 7");
    let mut never_null = with("total", "decimal(10,2)");
    never_null.columns[1].nullable = false;
    let error = refusal(&sqlite, "orders", &never_null).await;
    assert!(error.contains("NULL") && error.contains("never null"), "{error}");
}

#[tokio::test]
async fn views_and_tables_without_rowid_are_read_as_well() {
    let sqlite = Sqlite::new();
    sqlite.run(
        "CREATE TABLE t (rowid TEXT, id INTEGER PRIMARY KEY, twice INTEGER GENERATED ALWAYS AS (id * 2)) WITHOUT ROWID;
         INSERT INTO t (id) VALUES (1), (2);
         CREATE VIEW seconds AS SELECT id, datetime(id, 'unixepoch') AS at FROM t;",
    );
    let schema = schema_of(&[("id", "int64", true), ("twice", "int64", false)]);
    let rows = read_table(&mut sqlite.source(), "T", &schema).await.expect("a table without rowid");
    assert_eq!(rows[0].column(1).as_primitive::<Int64Type>().values(), &[2, 4]);
    let schema = schema_of(&[("id", "int64", true), ("at", "timestamp", false)]);
    let rows = read_table(&mut sqlite.source(), "seconds", &schema).await.expect("a view");
    assert_eq!(rows[0].num_rows(), 2);
    let error = refusal(&sqlite, "seconds", &schema_of(&[("id", "int64", true), ("at", "date", false)])).await;
    assert!(error.contains("row 1 of the reading"), "{error}");
}

#[tokio::test]
async fn a_watermark_understands_every_spelling_of_a_time() {
    let sqlite = Sqlite::new();
    sqlite.run(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, at TIMESTAMPTZ);
         CREATE INDEX t_at ON t (at);
         INSERT INTO t VALUES (1, '2026-03-01 12:00:00'), (2, '2026-02-28T23:00:00Z');",
    );
    let schema = schema_of(&[("id", "int64", true), ("at", "timestamptz", false)]);
    let mut request = request("t", &schema);
    let column = Some("at".parse().expect("a name"));
    request.kind = IngestKind::Watermark { column, overlap: None, deletes: None };
    let mut source = sqlite.source();
    let end = pull_all(&mut source, &request).await.expect("all of it").2;
    request.previous = Some(Previous { position: end.position, incarnation: end.incarnation });
    sqlite.run(
        "INSERT INTO t VALUES (3, '2026-03-01T14:00:00+02:00'), (4, '2026-03-01T14:00:00+03:00'),
                              (5, '2026-02-28 23:59:59-13:00'), (6, NULL), (7, '+12026-01-01 00:00:00Z');",
    );
    let (rows, ..) = pull_all(&mut source, &request).await.expect("what is new");
    let mut ids: Vec<i64> =
        rows[0].iter().flat_map(|rows| rows.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 3, 5, 6, 7]);
    sqlite.run("INSERT INTO t VALUES (8, 1790000000)");
    let error = pull_all(&mut source, &request).await.expect_err("counted seconds are no text").chain();
    assert!(error.contains("rowid 8") && error.contains("1790000000"), "{error}");
}

#[tokio::test]
async fn what_is_no_database_is_told_by_its_path() {
    let sqlite = Sqlite::new();
    let open = || sqlite::source::open(&sqlite.connection(), sqlite.folder.path()).map(|_| ());
    let error = open().expect_err("there is nothing").chain();
    assert!(error.contains("shop.db"), "{error}");
    std::fs::write(sqlite.path(), "this is a text of more than a few bytes".repeat(40)).expect("a file");
    let error = open().expect_err("it is no database");
    assert!(error.retry == Retry::Never && error.chain().contains("shop.db"), "{}", error.chain());
}

#[tokio::test]
async fn a_rollback_journal_is_read_like_a_log() {
    let sqlite = Sqlite::new();
    let owner = rusqlite::Connection::open(sqlite.path()).expect("the file can be made");
    owner.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)").expect("plain SQL");
    let schema = schema_of(&[("id", "int64", true)]);
    assert_eq!(read_table(&mut sqlite.source(), "t", &schema).await.expect("a table")[0].num_rows(), 1);
}

fn people() -> Schema {
    schema_of(&[("id", "int64", true), ("score", "float64", false)])
}

fn delivery(expected: Option<Mark>, scores: &[f64]) -> TableDelivery {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..scores.len() as i64));
    let scores: ArrayRef = Arc::new(Float64Array::from(scores.to_vec()));
    let mut ledger = Ledger::new(&people());
    ledger.commit(&RecordBatch::try_new(arrow_schema(&people()), vec![ids, scores]).expect("two columns"));
    let view = |schema: &str| DeliveredView {
        workspace: "Reporting".parse().expect("a name"),
        schema: schema.to_owned(),
        name: "d_people".to_owned(),
        is_history: false,
        since: None,
        readers: Vec::new(),
    };
    let table = DeliveredTable {
        platform: "P".parse().expect("a name"),
        source: DatasetRef::new("D".parse().expect("a name"), "people".parse().expect("a name")),
        schema: people(),
        live: Some("d_people".to_owned()),
        history: None,
        views: vec![view("reporting")],
    };
    let mark = Mark { batch: 1, incarnation: "i".to_owned(), epoch: 1, shape: "s".to_owned() };
    TableDelivery { table, content: ledger.content(Form::Everything, 0, true, false), mark, expected }
}

#[tokio::test]
async fn nan_is_refused_naming_table_column_and_key() {
    let sqlite = Sqlite::new();
    let error =
        sqlite.sink().deliver(vec![delivery(None, &[1.0, f64::NAN])]).await.expect_err("it has no image").chain();
    for part in ["levada__d_people", "score", "id=1", "NaN"] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
    assert_eq!(sqlite.sink().marks(&[delivery(None, &[]).table]).await.expect("marks can be read"), [None]);
}

#[tokio::test]
async fn a_view_of_others_is_never_broken_and_never_taken() {
    let sqlite = Sqlite::new();
    sqlite.run("CREATE VIEW \"Reporting__D_People\" AS SELECT 1 AS mine");
    let error = sqlite.sink().deliver(vec![delivery(None, &[1.0])]).await.expect_err("the name is taken").chain();
    assert!(error.contains("reporting__d_people") && error.contains("Levada did not make it"), "{error}");
    sqlite.run("DROP VIEW \"Reporting__D_People\"");

    let first = delivery(None, &[1.0]);
    let (table, mark) = (first.table.clone(), first.mark.clone());
    sqlite.sink().deliver(vec![first]).await.expect("the name is free");
    sqlite.run("CREATE VIEW best AS SELECT max(score) AS score FROM reporting__d_people");
    let error = sqlite.sink().remove(std::slice::from_ref(&table), 1).await.expect_err("somebody reads it").chain();
    assert!(error.contains("\"best\""), "{error}");
    let mut narrower = delivery(Some(mark.clone()), &[2.0]);
    narrower.table.schema.columns.truncate(1);
    let error = sqlite.sink().deliver(vec![narrower]).await.expect_err("somebody reads the column").chain();
    assert!(error.contains("\"best\""), "{error}");
    let best = || sqlite.owner().query_row("SELECT score FROM best", [], |row| row.get::<_, f64>(0));
    assert_eq!(best(), Ok(1.0));
    sqlite.sink().deliver(vec![delivery(Some(mark), &[3.0])]).await.expect("a rebuild leaves readers alone");
    assert_eq!(best(), Ok(3.0));
    sqlite.run("DROP VIEW best");
    sqlite.sink().remove(&[table], 1).await.expect("nobody reads it any more");
}

#[tokio::test]
async fn a_view_of_another_dataset_is_never_taken_and_one_of_another_platform_is_taken_over() {
    let sqlite = Sqlite::new();
    let first = delivery(None, &[1.0]);
    let mark = first.mark.clone();
    sqlite.sink().deliver(vec![first]).await.expect("the name is free");
    let mut other = delivery(None, &[2.0]);
    other.table.source = DatasetRef::new("D_people".parse().expect("a name"), "x".parse().expect("a name"));
    other.table.live = Some("other".to_owned());
    let error = sqlite.sink().deliver(vec![other]).await.expect_err("the view is somebody else's").chain();
    assert!(error.contains("D_people.x: view \"reporting__d_people\" shows D.people already"), "{error}");
    let score = || {
        let query = "SELECT sum(score) FROM reporting__d_people";
        sqlite.owner().query_row(query, [], |row| row.get::<_, f64>(0)).expect("a view")
    };
    assert_eq!(score(), 1.0);

    let mut moved = delivery(None, &[3.0]);
    (moved.table.platform, moved.table.live) = ("Q".parse().expect("a name"), Some("moved".to_owned()));
    sqlite.sink().deliver(vec![moved]).await.expect("the same dataset by another platform");
    assert_eq!(score(), 3.0);
    let before = delivery(Some(mark), &[]).table;
    sqlite.sink().remove(&[before], 1).await.expect("the first platform leaves");
    assert_eq!(score(), 3.0, "the view is the other's now");
}

#[tokio::test]
async fn a_database_of_an_earlier_build_is_delivered_to() {
    let sqlite = Sqlite::new();
    let first = delivery(None, &[1.0]);
    let (table, mark) = (first.table.clone(), first.mark.clone());
    sqlite.sink().deliver(vec![first]).await.expect("the name is free");
    sqlite.run("ALTER TABLE levada__applied DROP COLUMN platform; ALTER TABLE levada__applied DROP COLUMN dataset");
    assert_eq!(sqlite.sink().marks(&[table]).await.expect("marks can be read"), [Some(mark.clone())]);
    sqlite.sink().deliver(vec![delivery(Some(mark), &[2.0])]).await.expect("the next one");
}

#[tokio::test]
async fn a_replaced_file_is_read_from_the_beginning() {
    let sqlite = Sqlite::new();
    let fill = |rows: &str| {
        sqlite.run(&format!("CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER); INSERT INTO t VALUES {rows}"))
    };
    fill("(1, 100), (2, 200)");
    let schema = schema_of(&[("id", "int64", true), ("v", "int64", false)]);
    let mut request = request("t", &schema);
    request.kind = IngestKind::Watermark { column: Some("v".parse().expect("a name")), overlap: None, deletes: None };
    let end = pull_all(&mut sqlite.source(), &request).await.expect("all of it").2;
    request.previous = Some(Previous { position: end.position, incarnation: end.incarnation });
    // Kept under another name, so that the new file can't get its inode.
    std::fs::rename(sqlite.path(), sqlite.folder.path().join("old.db")).expect("it is there");
    fill("(3, 50)");
    let (rows, _, end) = pull_all(&mut sqlite.source(), &request).await.expect("another file");
    assert_eq!((rows[0][0].num_rows(), end.coverage), (1, vec![Coverage::Complete]));
    assert_eq!(end.position, levada_flow::Position::Watermark { greatest: [("d".to_owned(), "50".to_owned())].into() });
}

#[tokio::test]
async fn wide_rows_come_in_small_batches() {
    let sqlite = Sqlite::new();
    sqlite.run("CREATE TABLE t (id INTEGER PRIMARY KEY, wide BLOB)");
    for id in 0..7 {
        sqlite.run(&format!("INSERT INTO t VALUES ({id}, zeroblob({}))", 3 << 20));
    }
    let schema = schema_of(&[("id", "int64", true), ("wide", "binary", false)]);
    let rows = read_table(&mut sqlite.source(), "t", &schema).await.expect("wide rows are rows");
    assert_eq!(rows.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [3, 3, 1]);

    let mut ledger = Ledger::new(&schema);
    ledger.commit(&arrow::compute::concat_batches(&arrow_schema(&schema), &rows).expect("one schema"));
    let mut wide = delivery(None, &[]);
    (wide.table.schema, wide.content) = (schema, ledger.content(Form::Changes, 0, true, false));
    let table = wide.table.clone();
    sqlite.sink().deliver(vec![wide]).await.expect("it is delivered");
    let back = sqlite.sink().read_back(&table, false).await.expect("it is there");
    let back: Vec<RecordBatch> = futures::TryStreamExt::try_collect(back).await.expect("all of it");
    assert!(back.iter().all(|rows| rows.num_rows() <= 3), "reading back, too");
}

#[tokio::test]
async fn jsons_null_inside_of_a_value_is_refused_and_no_value_is_kept() {
    let sqlite = Sqlite::new();
    let schema = schema_of(&[("id", "int64", true), ("docs", "list<json>", false)]);
    let list = |values: Vec<Option<&str>>| {
        let mut lists = arrow::array::ListBuilder::new(arrow::array::StringBuilder::new())
            .with_field(arrow::datatypes::Field::new("element", arrow::datatypes::DataType::Utf8, true));
        lists.append_value(values);
        RecordBatch::try_new(arrow_schema(&schema), vec![Arc::new(Int64Array::from(vec![1])), Arc::new(lists.finish())])
            .expect("two columns")
    };
    let delivery = |rows: &RecordBatch| {
        let mut ledger = Ledger::new(&schema);
        ledger.commit(rows);
        let mut delivery = delivery(None, &[]);
        (delivery.table.schema, delivery.content) = (schema.clone(), ledger.content(Form::Changes, 0, true, false));
        delivery
    };
    let both = list(vec![Some("{\"a\":1}"), Some("null"), None]);
    let error = sqlite.sink().deliver(vec![delivery(&both)]).await.expect_err("both would be null").chain();
    assert!(error.contains("column \"docs\"") && error.contains("JSON's null"), "{error}");
    let one = list(vec![Some("{\"a\":1}"), None]);
    let good = delivery(&one);
    let table = good.table.clone();
    sqlite.sink().deliver(vec![good]).await.expect("NULL is NULL");
    let back = sqlite.sink().read_back(&table, false).await.expect("it is there");
    let back: Vec<RecordBatch> = futures::TryStreamExt::try_collect(back).await.expect("all of it");
    levada_flow::conformance::assert_same_rows(&schema, &back, &[one], "read back");
}

#[tokio::test]
async fn a_table_of_others_is_never_touched() {
    let sqlite = Sqlite::new();
    sqlite.run("CREATE TABLE levada__d_people (mine TEXT); INSERT INTO levada__d_people VALUES ('kept')");
    let error = sqlite.sink().deliver(vec![delivery(None, &[1.0])]).await.expect_err("the name is taken").chain();
    assert!(error.contains("levada__d_people"), "{error}");
    let kept: String =
        sqlite.owner().query_row("SELECT mine FROM levada__d_people", [], |row| row.get(0)).expect("it is still there");
    assert_eq!(kept, "kept");
    let nothing = TableDelivery { content: Content::Nothing, ..delivery(None, &[]) };
    sqlite.sink().deliver(vec![nothing]).await.expect_err("nor does it become ours");
}

#[tokio::test]
async fn delivered_columns_are_pleasant_to_use() {
    let sqlite = Sqlite::new();
    let columns = [
        ("id", "int64", true),
        ("price", "decimal(10,2)", false),
        ("exact", "decimal(38,2)", false),
        ("day", "date", false),
        ("at", "timestamptz", false),
        ("tags", "list<text>", false),
        ("is_open", "boolean", false),
    ];
    let schema = schema_of(&columns);
    let mut rows = levada_connectors::literal::RowsBuilder::new(&schema);
    let texts = ["1", "12.5", "12.50", "2026-02-28", "2026-02-28T12:00:00Z", "[\"a\", \"b\"]", "true"];
    for (column, text) in texts.iter().enumerate() {
        rows.append(column, &Scalar::Text((*text).into())).expect("texts are read");
    }
    let mut ledger = Ledger::new(&schema);
    ledger.commit(&rows.finish());
    let mut first = delivery(None, &[]);
    first.table.schema = schema.clone();
    first.content = ledger.content(Form::Changes, 0, true, false);
    sqlite.sink().deliver(vec![first]).await.expect("it is delivered");
    let query = "SELECT price * 2, exact, date(day, '+1 day'), strftime('%H', at), tags ->> 1, is_open = 1 FROM reporting__d_people";
    let found = sqlite.owner().query_row(query, [], |row| {
        Ok((
            row.get::<_, f64>(0)?,
            row.get::<_, String>(1)?,
            row.get::<_, String>(2)?,
            row.get::<_, String>(3)?,
            row.get::<_, String>(4)?,
            row.get::<_, bool>(5)?,
        ))
    });
    let expected = (25.0, "12.50".to_owned(), "2026-03-01".to_owned(), "12".to_owned(), "b".to_owned(), true);
    assert_eq!(found, Ok(expected));
}
