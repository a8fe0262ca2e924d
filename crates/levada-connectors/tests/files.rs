//! Folders of files keep the contracts of sources and sinks, and say clearly what they refuse.

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::compute::{filter_record_batch, is_null, or_kleene};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use async_trait::async_trait;
use levada_connectors::files;
use levada_connectors::literal::ColumnReader;
use levada_flow::arrow_schema::arrow_schema;
use levada_flow::conformance::{
    Ledger, Limits, SinkHarness, SourceHarness, check_sink, check_source, pull_all, schema_of,
};
use levada_flow::sink::{Content, DeliveredTable, DeliveredView, Form, Mark, TableDelivery};
use levada_flow::source::{Coverage, Previous, PullDataset, PullEnd, PullRequest};
use levada_flow::{FlowError, Position, Retry, Sink, Source};
use levada_model::address::DatasetRef;
use levada_model::connection::{Connection, ContainerKind, Place};
use levada_model::model::{EachFile, FileFormat, IngestKind};
use levada_model::{DataType, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One folder.
struct Folder {
    folder: tempfile::TempDir,
    format: FileFormat,
}

impl Folder {
    fn new(format: FileFormat) -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder"), format }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("landing")
    }

    fn connection(&self) -> Connection {
        Connection {
            container: "landing".parse().expect("a name"),
            kind: ContainerKind::Files,
            place: Place::Path { path: "landing".to_owned() },
            credential: None,
            connections_max: None,
        }
    }

    fn source(&self) -> files::source::FilesSource {
        files::source::open(&self.connection(), self.folder.path()).expect("there is a folder")
    }

    fn sink(&self) -> files::sink::FilesSink {
        files::sink::open(&self.connection(), self.folder.path()).expect("it can be one")
    }

    fn put(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a folder can be made");
        std::fs::write(path, bytes).expect("a file can be written");
    }

    fn kind(&self, each_file: EachFile, options: &[(&str, &str)]) -> IngestKind {
        let ending = if self.format == FileFormat::Csv { "csv" } else { "parquet" };
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        IngestKind::Files { pattern: format!("{{dataset}}/*.{ending}"), format: self.format, options, each_file }
    }

    fn request(&self, table: &str, schema: &Schema, each_file: EachFile) -> PullRequest {
        let dataset = PullDataset {
            dataset: "d".parse().expect("a name"),
            table: table.to_owned(),
            schema: schema.clone(),
            watermark: None,
        };
        let kind = self.kind(each_file, &[]);
        PullRequest::new(kind, vec![dataset], "levada_test")
    }
}

fn csv_text(schema: &Schema, rows: &RecordBatch) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let header: Vec<String> = schema.columns.iter().map(|column| quoted(column.name.as_str())).collect();
    let columns = schema.columns.iter().zip(rows.columns());
    let reader = |(column, array): (&'_ levada_model::SchemaColumn, &'_ arrow::array::ArrayRef)| {
        let reader = ColumnReader::new(array.as_ref(), &column.data_type).expect("its one image");
        (0..rows.num_rows())
            .map(|row| reader.text(row).map(|text| quoted(&text)).unwrap_or_default())
            .collect::<Vec<_>>()
    };
    let columns: Vec<Vec<String>> = columns.map(reader).collect();
    let lines =
        (0..rows.num_rows()).map(|row| columns.iter().map(|column| column[row].clone()).collect::<Vec<_>>().join(","));
    std::iter::once(header.join(",")).chain(lines).map(|line| line + "\r\n").collect()
}

fn parquet_bytes(rows: &RecordBatch) -> Vec<u8> {
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), None).expect("a schema of Parquet's");
    writer.write(rows).expect("rows of the schema");
    writer.into_inner().expect("memory takes everything")
}

#[async_trait]
impl SourceHarness for Folder {
    fn limits(&self) -> Limits {
        // Inside of a CSV value there is JSON, which has one null only.
        Limits { has_json_null_inside: self.format == FileFormat::Parquet, ..Limits::ALL }
    }

    fn has(&self, _data_type: &DataType) -> bool {
        true
    }

    fn kind(&self) -> IngestKind {
        Folder::kind(self, EachFile::Replaces, &[])
    }

    fn has_watermark(&self) -> bool {
        false
    }

    fn writes_while_reading(&self) -> bool {
        false
    }

    async fn create(&self, table: &str, schema: &Schema, rows: &RecordBatch) {
        match self.format {
            FileFormat::Csv => self.put(&format!("{table}/1.csv"), csv_text(schema, rows)),
            FileFormat::Parquet => self.put(&format!("{table}/1.parquet"), parquet_bytes(rows)),
        }
    }

    async fn insert(&self, _table: &str, _schema: &Schema, _rows: &RecordBatch) {
        unreachable!("files are replaced, not written while they are read");
    }

    async fn clear(&self, _table: &str) {
        unreachable!("files are replaced, not written while they are read");
    }

    async fn open(&self) -> Box<dyn Source> {
        Box::new(self.source())
    }
}

fn read_parquet(path: &Path) -> Vec<RecordBatch> {
    let file = File::open(path).unwrap_or_else(|error| panic!("{} is named and not there: {error}", path.display()));
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(file).and_then(|builder| builder.build()).expect("a Parquet file");
    reader.collect::<Result<_, _>>().expect("a whole Parquet file")
}

impl Folder {
    fn latest(&self, table: &DeliveredTable, view: &DeliveredView) -> Option<files::sink::Latest> {
        let (store, dataset) = (table.source.datastore.as_str(), table.source.dataset.as_str());
        let path = self.root().join(files::config::path_part(view.workspace.as_str())).join(store).join(dataset);
        let bytes = std::fs::read(path.join("_latest.json")).ok()?;
        Some(serde_json::from_slice(&bytes).expect("whole JSON, never half of it"))
    }
}

#[async_trait]
impl SinkHarness for Folder {
    fn limits(&self) -> Limits {
        Limits::ALL
    }

    fn has(&self, _data_type: &DataType) -> bool {
        true
    }

    async fn open(&self) -> Box<dyn Sink> {
        Box::new(self.sink())
    }

    async fn read_view(&self, table: &DeliveredTable, view: &DeliveredView, _: &Schema) -> Option<Vec<RecordBatch>> {
        let latest = self.latest(table, view)?;
        let names = if view.is_history { latest.history? } else { latest.live? };
        let rows: Vec<RecordBatch> = names.iter().flat_map(|name| read_parquet(&self.root().join(name))).collect();
        let Some(since) = latest.history_since.filter(|_| view.is_history) else {
            return Some(rows);
        };
        let is_shown = |batch: &RecordBatch| {
            let to = batch.column_by_name("valid_to").expect("a history has it");
            let later =
                to.as_primitive::<TimestampMicrosecondType>().iter().map(|to| to.map(|to| to > since)).collect();
            let shown = or_kleene(&is_null(to).expect("an array"), &later).expect("of one length");
            filter_record_batch(batch, &shown).expect("of one length")
        };
        Some(rows.iter().map(is_shown).collect())
    }
}

#[tokio::test]
async fn csv_files_keep_the_contract_of_sources() {
    check_source(&Folder::new(FileFormat::Csv)).await;
}

#[tokio::test]
async fn parquet_files_keep_the_contract_of_sources() {
    check_source(&Folder::new(FileFormat::Parquet)).await;
}

#[tokio::test]
async fn folders_keep_the_contract_of_sinks() {
    check_sink(&Folder::new(FileFormat::Parquet)).await;
}

fn ids_of(batches: &[RecordBatch]) -> Vec<i64> {
    let ids = batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec());
    let mut ids: Vec<i64> = ids.collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn files_that_replace_are_read_from_the_last_one_and_only_when_it_changed() {
    let folder = Folder::new(FileFormat::Csv);
    let schema = schema_of(&[("id", "int64", true)]);
    folder.put("c/2026-01-01.csv", "id\n1\n");
    folder.put("c/2026-01-02.csv", "id\n1\n2\n");
    let mut request = folder.request("c", &schema, EachFile::Replaces);
    let mut source = folder.source();
    let (rows, _, end) = pull_all(&mut source, &request).await.expect("good files");
    assert_eq!((ids_of(&rows[0]), end.coverage.clone()), (vec![1, 2], vec![Coverage::Complete]));
    request.previous = committed(end);
    let (rows, _, end) = pull_all(&mut source, &request).await.expect("good files");
    assert!(rows[0].is_empty() && end.coverage == [Coverage::Appends], "nothing changed, nothing is gone");
    folder.put("c/2026-01-03.csv", "id\n3\n");
    request.previous = committed(end);
    let (rows, _, end) = pull_all(&mut source, &request).await.expect("good files");
    assert_eq!((ids_of(&rows[0]), end.coverage.clone()), (vec![3], vec![Coverage::Complete]));
}

#[tokio::test]
async fn files_that_add_are_read_once_and_never_changed() {
    let folder = Folder::new(FileFormat::Csv);
    let schema = schema_of(&[("id", "int64", true)]);
    folder.put("c/a.csv", "id\n1\n");
    folder.put("c/b.csv", "id\n2\n");
    let mut request = folder.request("c", &schema, EachFile::Adds);
    let mut source = folder.source();
    let (rows, _, end) = pull_all(&mut source, &request).await.expect("good files");
    assert_eq!((ids_of(&rows[0]), end.coverage.clone()), (vec![1, 2], vec![Coverage::Complete]));
    folder.put("c/c.csv", "id\n3\n");
    std::fs::remove_file(folder.root().join("c/a.csv")).expect("it is there");
    request.previous = committed(end);
    let (rows, _, end) = pull_all(&mut source, &request).await.expect("good files");
    assert_eq!((ids_of(&rows[0]), end.coverage.clone()), (vec![3], vec![Coverage::Appends]));
    let Position::Files { seen } = &end.position else { panic!("a position of files") };
    assert_eq!(seen.len(), 3, "what is gone from the folder was read all the same");
    folder.put("c/b.csv", "id\n2\n22\n");
    request.previous = committed(end);
    let error = pull_all(&mut source, &request).await.expect_err("its rows are in already").chain();
    assert!(error.contains("b.csv") && error.contains("has changed since"), "{error}");
}

#[tokio::test]
async fn a_dataset_that_joins_leaves_the_files_of_the_others_read() {
    let schema = schema_of(&[("id", "int64", true)]);
    for each_file in [EachFile::Replaces, EachFile::Adds] {
        let folder = Folder::new(FileFormat::Csv);
        folder.put("c/a.csv", "id\n1\n");
        folder.put("e/a.csv", "id\n2\n");
        let mut source = folder.source();
        let mut request = folder.request("c", &schema, each_file);
        let (.., end) = pull_all(&mut source, &request).await.expect("good files");
        request.previous = committed(end);
        let joined = folder.request("e", &schema, each_file).datasets.remove(0);
        request.datasets.push(PullDataset { dataset: "e".parse().expect("a name"), ..joined });
        let (rows, _, end) = pull_all(&mut source, &request).await.expect("good files");
        assert!(rows[0].is_empty(), "{each_file:?}: it was read already");
        assert_eq!((ids_of(&rows[1]), end.coverage), (vec![2], vec![Coverage::Appends, Coverage::Complete]));
    }
}

#[tokio::test]
async fn a_dataset_that_starts_over_is_complete_only_with_files() {
    let folder = Folder::new(FileFormat::Csv);
    let schema = schema_of(&[("id", "int64", true)]);
    folder.put("c/a.csv", "id\n1\n");
    let mut request = folder.request("c", &schema, EachFile::Replaces);
    let (.., end) = pull_all(&mut folder.source(), &request).await.expect("good files");
    let mut previous = committed(end).expect("a pull");
    previous.position.forget("d");
    request.previous = Some(previous);
    let (rows, _, end) = pull_all(&mut folder.source(), &request).await.expect("good files");
    assert_eq!((ids_of(&rows[0]), end.coverage), (vec![1], vec![Coverage::Complete]));
    std::fs::remove_file(folder.root().join("c/a.csv")).expect("it is there");
    let (rows, _, end) = pull_all(&mut folder.source(), &request).await.expect("no file is no mistake");
    assert!(rows[0].is_empty() && end.coverage == [Coverage::Appends], "nothing read says nothing");
}

#[tokio::test]
async fn a_csv_file_without_its_header_is_never_an_empty_dataset() {
    let folder = Folder::new(FileFormat::Csv);
    let schema = schema_of(&[("id", "int64", true)]);
    for text in ["", "\n", "\u{feff}"] {
        folder.put("c/x.csv", text);
        let file = File::options().write(true).open(folder.root().join("c/x.csv")).expect("it is there");
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("its owner may");
        let error = refusal(&folder, &schema).await;
        assert!(error.retry == Retry::Later, "its producer may be about to write: {}", error.chain());
        assert!(error.chain().contains("x.csv has no header line"), "{}", error.chain());
    }
    folder.put("c/x.csv", "id\n");
    let request = folder.request("c", &schema, EachFile::Replaces);
    let (_, _, end) = pull_all(&mut folder.source(), &request).await.expect("a header is enough");
    assert_eq!(end.coverage, [Coverage::Complete]);
}

#[tokio::test]
async fn wide_rows_come_in_small_batches() {
    let schema = schema_of(&[("id", "int64", true), ("text", "text", false)]);
    let wide = "x".repeat(3 << 20);
    let ids = Arc::new(Int64Array::from_iter_values(0..8));
    let texts = Arc::new(arrow::array::StringArray::from_iter_values((0..8).map(|_| &wide)));
    let rows = RecordBatch::try_new(arrow_schema(&schema), vec![ids, texts]).expect("two columns");
    for format in [FileFormat::Csv, FileFormat::Parquet] {
        let folder = Folder::new(format);
        folder.create("c", &schema, &rows).await;
        let request = folder.request("c", &schema, EachFile::Replaces);
        let (found, ..) = pull_all(&mut folder.source(), &request).await.expect("wide rows are rows");
        assert_eq!(ids_of(&found[0]), (0..8).collect::<Vec<_>>());
        let most = found[0].iter().map(RecordBatch::num_rows).max();
        // Parquet may have packed the same text eight times into little.
        assert!(format == FileFormat::Parquet || most <= Some(3), "a batch has {most:?} rows");
    }
}

fn committed(end: PullEnd) -> Option<Previous> {
    Some(Previous { position: end.position, incarnation: end.incarnation })
}

async fn refusal(folder: &Folder, schema: &Schema) -> FlowError {
    let request = folder.request("c", schema, EachFile::Replaces);
    pull_all(&mut folder.source(), &request).await.expect_err("it is refused")
}

#[tokio::test]
async fn what_is_wrong_in_a_csv_file_is_named_by_file_and_line() {
    let folder = Folder::new(FileFormat::Csv);
    let schema = schema_of(&[("id", "int64", true), ("price", "decimal(5,2)", false)]);
    let cases = [
        ("id,price\n1,2.00\n2,abc\n", "line 3: column \"price\": \"abc\" is no decimal(5,2)"),
        ("id,price\n1,\"a\nb\"\n", "line 2"),
        ("id,price\n1\n", "line 2: it has 1 values where there are 2 columns"),
        ("id,price\n\n\n1,\"2", "line 4: a quote is not closed"),
        ("id,price\n,1\n", "line 2: column \"id\": NULL"),
        ("id,prise\n1,2\n", "did you mean \"prise\""),
        ("id,price,price\n1,2,3\n", "two columns \"price\""),
    ];
    for (text, expected) in cases {
        folder.put("c/x.csv", text);
        let error = refusal(&folder, &schema).await.chain();
        assert!(error.contains("x.csv") && error.contains(expected), "{text:?}: {error}");
    }
}

#[tokio::test]
async fn a_broken_parquet_file_is_named_and_tried_again_while_it_is_fresh() {
    let folder = Folder::new(FileFormat::Parquet);
    let schema = schema_of(&[("id", "int64", true)]);
    let ids = Arc::new(Int64Array::from(vec![1, 2]));
    let whole = parquet_bytes(&RecordBatch::try_new(arrow_schema(&schema), vec![ids]).expect("one column"));
    folder.put("c/x.parquet", &whole[..whole.len() - 5]);
    let error = refusal(&folder, &schema).await;
    assert!(error.retry == Retry::Later && error.chain().contains("x.parquet"), "{}", error.chain());
    let file = File::options().write(true).open(folder.root().join("c/x.parquet")).expect("it is there");
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("its owner may");
    assert_eq!(refusal(&folder, &schema).await.retry, Retry::Never, "an old file does not finish any more");
}

#[tokio::test]
async fn a_file_that_has_not_settled_waits() {
    let folder = Folder::new(FileFormat::Csv);
    let schema = schema_of(&[("id", "int64", true)]);
    folder.put("c/x.csv", "id\n1\n");
    let mut request = folder.request("c", &schema, EachFile::Replaces);
    request.kind = folder.kind(EachFile::Replaces, &[("settle", "1h")]);
    let (rows, ..) = pull_all(&mut folder.source(), &request).await.expect("nothing is ready");
    assert!(rows[0].is_empty());
    let file = File::options().write(true).open(folder.root().join("c/x.csv")).expect("it is there");
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("its owner may");
    let (rows, ..) = pull_all(&mut folder.source(), &request).await.expect("it is ready");
    assert_eq!(ids_of(&rows[0]), [1]);
}

fn delivery(batch: i64, epoch: i64, expected: Option<Mark>) -> TableDelivery {
    delivery_of(batch, epoch, expected, false)
}

/// The live reading of a dataset, or its history.
fn delivery_of(batch: i64, epoch: i64, expected: Option<Mark>, is_history: bool) -> TableDelivery {
    let schema = schema_of(&[("id", "int64", true)]);
    let mut ledger = Ledger::new(&schema);
    for number in 1..=batch {
        let ids = Arc::new(Int64Array::from_iter_values(0..number));
        ledger.commit(&RecordBatch::try_new(arrow_schema(&schema), vec![ids]).expect("one column"));
    }
    let view = DeliveredView {
        workspace: "Reporting".parse().expect("a name"),
        schema: "reporting".to_owned(),
        name: "d_ids".to_owned(),
        is_history,
        since: None,
        readers: Vec::new(),
    };
    let table = DeliveredTable {
        platform: "P".parse().expect("a name"),
        source: DatasetRef::new("D".parse().expect("a name"), "ids".parse().expect("a name")),
        schema,
        live: (!is_history).then(|| "d_ids".to_owned()),
        history: is_history.then(|| "d_ids_history".to_owned()),
        views: vec![view],
    };
    let content = ledger.content(Form::Everything, batch - 1, !is_history, is_history);
    let mark = Mark { batch, incarnation: "i".to_owned(), epoch, shape: "s".to_owned() };
    TableDelivery { table, content, mark, expected }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("there is a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("plain")).collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_files_of_the_delivery_before_stay_one_delivery_more() {
    let folder = Folder::new(FileFormat::Parquet);
    let dataset = folder.root().join("levada/D/ids");
    let mut mark = None;
    for batch in 1..=4 {
        let next = delivery(batch, 1, mark.take());
        mark = Some(next.mark.clone());
        folder.sink().deliver(vec![next]).await.expect("one after the other");
    }
    assert_eq!(names_in(&dataset.join("live")), ["batch=3", "batch=4"]);
    assert_eq!(names_in(&dataset.join("live/batch=4")), ["part-00000.parquet"]);
    let changes = ["batch=1.parquet", "batch=2.parquet", "batch=3.parquet", "batch=4.parquet"];
    assert_eq!(names_in(&dataset.join("changes")), changes);
    let changed = read_parquet(&dataset.join("changes/batch=4.parquet"));
    let columns: Vec<String> = changed[0].schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(
        (changed[0].num_rows(), columns),
        (1, ["id", "lv_batch", "lv_op", "lv_key_hash", "lv_row_hash"].map(str::to_owned).to_vec())
    );
    let again = TableDelivery { mark: Mark { epoch: 2, ..mark.clone().expect("delivered") }, ..delivery(4, 2, mark) };
    folder.sink().deliver(vec![again]).await.expect("the same batch anew");
    assert_eq!(names_in(&dataset.join("live")), ["batch=4", "batch=4.2"]);
}

#[tokio::test]
async fn two_platforms_that_deliver_one_dataset_write_apart_and_leave_each_other_alone() {
    let folder = Folder::new(FileFormat::Parquet);
    let by = |platform: &str, batch, name: &str, workspace: &str| {
        let mut next = delivery(batch, 1, None);
        next.table.platform = platform.parse().expect("a platform's name");
        next.table.views[0].workspace = workspace.parse().expect("a workspace's name");
        next.table.live = Some(format!("levada/D/{name}/live"));
        next.table.views[0].schema = workspace.to_owned();
        next
    };
    let (first, second) = (by("P", 1, "ids", "reporting"), by("Q", 2, "ids~2f", "lab"));
    let (own, other) = (first.table.clone(), second.table.clone());
    folder.sink().deliver(vec![first]).await.expect("the first platform");
    folder.sink().deliver(vec![second]).await.expect("the second platform");
    let latest = |table: &DeliveredTable| folder.latest(table, &table.views[0]).expect("it is there");
    assert_eq!((latest(&own).batch, latest(&other).batch), (1, 2));
    assert_eq!(latest(&own).live.expect("live"), ["levada/D/ids/live/batch=1/part-00000.parquet"]);
    assert_eq!(latest(&other).live.expect("live"), ["levada/D/ids~2f/live/batch=2/part-00000.parquet"]);
    folder.sink().remove(std::slice::from_ref(&other), 1).await.expect("the second one leaves");
    assert_eq!(latest(&own).batch, 1);
    assert!(!folder.root().join("levada/D/ids~2f").exists() && !folder.root().join("lab").exists());
}

#[tokio::test]
async fn a_workspace_reads_what_two_platforms_deliver_to_it() {
    let folder = Folder::new(FileFormat::Parquet);
    let mut live = delivery(2, 1, None);
    live.table.live = Some("levada/D/ids/live".to_owned());
    let table = live.table.clone();
    let mut history = delivery_of(1, 1, None, true);
    history.table.platform = "Q".parse().expect("a platform's name");
    history.table.history = Some("levada/D/ids~2f/history".to_owned());
    folder.sink().deliver(vec![live]).await.expect("one platform");
    folder.sink().deliver(vec![history]).await.expect("the other platform");
    let latest = folder.latest(&table, &table.views[0]).expect("it is there");
    assert_eq!(latest.batch, 1, "both are there up to the older batch");
    assert_eq!(latest.live.expect("live"), ["levada/D/ids/live/batch=2/part-00000.parquet"]);
    assert_eq!(latest.history.expect("history"), ["levada/D/ids~2f/history/batch=1/part-00000.parquet"]);
}

#[tokio::test]
async fn a_workspace_that_a_crash_left_behind_is_told_by_whoever_comes_next() {
    let folder = Folder::new(FileFormat::Parquet);
    let first = delivery(1, 1, None);
    let (table, mark) = (first.table.clone(), first.mark.clone());
    folder.sink().deliver(vec![first]).await.expect("the first delivery");
    let path = folder.root().join("Reporting/D/ids/_latest.json");
    let old = std::fs::read(&path).expect("it is there");
    folder.sink().deliver(vec![delivery(2, 1, Some(mark))]).await.expect("the second delivery");
    // As if the process had died between the commit and this file.
    std::fs::write(&path, &old).expect("it can be written");
    let marks = folder.sink().marks(std::slice::from_ref(&table)).await.expect("marks can be read");
    assert_eq!(marks[0].as_ref().map(|mark| mark.batch), Some(2));
    assert_eq!(folder.latest(&table, &table.views[0]).expect("it is there").batch, 2);
}

#[tokio::test]
async fn a_workspace_that_left_while_a_crash_came_is_forgotten_by_whoever_comes_next() {
    let folder = Folder::new(FileFormat::Parquet);
    let first = delivery(1, 1, None);
    let (table, mark) = (first.table.clone(), first.mark.clone());
    folder.sink().deliver(vec![first]).await.expect("the first delivery");
    let path = folder.root().join("Reporting/D/ids/_latest.json");
    let stale = std::fs::read(&path).expect("it is there");
    // Nobody can delete a folder as if it were a file: the process fails right behind its commit.
    std::fs::remove_file(&path).expect("it is there");
    std::fs::create_dir(&path).expect("the name is free");
    let mut left = TableDelivery { content: Content::Nothing, ..delivery(1, 1, Some(mark)) };
    left.table.views[0].workspace = "Other".parse().expect("a name");
    let left_table = left.table.clone();
    folder.sink().deliver(vec![left]).await.expect_err("it breaks in the middle");
    std::fs::remove_dir(&path).expect("it is there");
    std::fs::write(&path, &stale).expect("the name is free");

    folder.sink().marks(std::slice::from_ref(&left_table)).await.expect("marks can be read");
    assert!(!folder.root().join("Reporting").exists(), "nothing of it is left");
    assert!(
        folder.latest(&left_table, &left_table.views[0]).is_some() && folder.latest(&table, &table.views[0]).is_none()
    );

    // The same in the middle of a removal.
    let path = folder.root().join("Other/D/ids/_latest.json");
    std::fs::remove_file(&path).expect("it is there");
    std::fs::create_dir(&path).expect("the name is free");
    folder.sink().remove(std::slice::from_ref(&left_table), 1).await.expect_err("it breaks in the middle");
    std::fs::remove_dir(&path).expect("it is there");
    std::fs::write(&path, &stale).expect("the name is free");
    folder.sink().remove(std::slice::from_ref(&left_table), 1).await.expect("again");
    assert!(!folder.root().join("Other").exists() && !folder.root().join("levada/D/ids").exists());
}

#[tokio::test]
async fn what_is_delivered_into_a_model_is_no_part_of_it() {
    let folder = Folder::new(FileFormat::Parquet);
    let first = delivery(1, 1, None);
    folder.sink().deliver(vec![first]).await.expect("the first delivery");
    for top in names_in(&folder.root()) {
        let ignored = std::fs::read_to_string(folder.root().join(&top).join(".levadaignore"));
        assert_eq!(ignored.expect("every top folder has one"), "*\n", "{top}");
    }
    assert_eq!(names_in(&folder.root()), ["Reporting", "levada"], "workspaces have their own names");
}

#[tokio::test]
async fn a_second_writer_is_told_to_come_back_later() {
    let folder = Folder::new(FileFormat::Parquet);
    folder.put("levada/D/ids/_lock", "");
    let lock = File::open(folder.root().join("levada/D/ids/_lock")).expect("it is there");
    lock.lock().expect("nobody else has it");
    let error = folder.sink().deliver(vec![delivery(1, 1, None)]).await.expect_err("somebody is at it");
    assert_eq!(error.retry, Retry::Later);
    lock.unlock().expect("it was held");
    folder.sink().deliver(vec![delivery(1, 1, None)]).await.expect("nobody is any more");
}

#[tokio::test]
async fn changes_and_the_folder_of_deliveries_are_refused() {
    let folder = Folder::new(FileFormat::Parquet);
    let mut wrong = delivery(1, 1, None);
    let rows = futures::StreamExt::boxed(futures::stream::empty());
    wrong.content = Content::Changes { rows, times: BTreeMap::new(), is_net: false };
    folder.sink().deliver(vec![wrong]).await.expect_err("files are replaced");
    let mut wrong = delivery(1, 1, None);
    wrong.table.views[0].workspace = "Levada".parse().expect("a name");
    folder.sink().deliver(vec![wrong]).await.expect_err("that folder is ours");
    assert_eq!(folder.sink().marks(&[delivery(1, 1, None).table]).await.expect("marks can be read"), [None]);
}
