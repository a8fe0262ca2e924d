//! SQL transformers.

use crate::fixture::{column, record_batch, row, schema};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use futures::{FutureExt, StreamExt, TryStreamExt};
use levada_flow::engine::{EngineInput, EngineQuery};
use levada_flow::{Engine, FlowError, Retry};
use levada_model::{Schema, SchemaColumn};
use levada_sql::SqlEngine;

/// `S.Items` and `T.Items` with three rows, `S.Orders` that fails when it is read.
fn inputs() -> Vec<EngineInput> {
    let items = |source: &str| EngineInput {
        source: source.parse().expect("a dataset"),
        schema: schema(true),
        open: Box::new(|| {
            let rows = record_batch(&schema(true), &[row(1, "a", 10), row(2, "bb", 20), row(300, "ccc", 30)]);
            async move { Ok(futures::stream::iter([Ok(rows)]).boxed()) }.boxed()
        }),
    };
    let orders = EngineInput {
        source: "S.Orders".parse().expect("a dataset"),
        schema: schema(true),
        open: Box::new(|| async { Err(FlowError::later("the disk is away")) }.boxed()),
    };
    vec![items("S.Items"), items("T.Items"), orders]
}

async fn run_with(sql: &str, columns: Vec<SchemaColumn>, has_operations: bool) -> Result<Vec<RecordBatch>, FlowError> {
    let schema = Schema { columns };
    let query = EngineQuery { dataset: "out".parse().expect("a name"), sql: sql.to_owned(), schema, has_operations };
    SqlEngine::default().query(inputs(), query).await?.try_collect().await
}

async fn run(sql: &str, columns: Vec<SchemaColumn>) -> Result<Vec<RecordBatch>, FlowError> {
    run_with(sql, columns, false).await
}

async fn failure(sql: &str, columns: Vec<SchemaColumn>) -> String {
    run(sql, columns).await.expect_err(sql).chain()
}

fn of(name: &str, data_type: &str) -> SchemaColumn {
    column(name, data_type, true, false)
}

#[tokio::test]
async fn the_result_has_the_model_s_columns_in_its_order_and_types() {
    let sql = "SELECT upper(I.T) AS Label, sum(n) + 1 AS total, i.K FROM s.ITEMS AS i GROUP BY t, k ORDER BY k";
    let columns = vec![column("k", "int64", false, true), of("Total", "decimal(12,2)"), of("label", "varchar(3)")];
    let rows = run(sql, columns.clone()).await.expect("it runs");
    assert_eq!(rows[0].schema(), levada_flow::arrow_schema::arrow_schema(&Schema { columns }));
    assert_eq!(rows[0]["k"].as_primitive::<Int64Type>().values(), &[1, 2, 300]);
    assert_eq!(rows[0]["label"].as_string::<i32>().value(2), "CCC");
    let totals = rows[0]["Total"].as_primitive::<arrow::datatypes::Decimal128Type>();
    assert_eq!(totals.values(), &[1_100, 2_100, 3_100]);
}

#[tokio::test]
async fn a_dataset_needs_its_store_where_two_have_it() {
    let text = failure("SELECT k FROM items", vec![of("k", "int32")]).await;
    assert!(text.contains("table items is ambiguous; write one of S.Items, T.Items"), "{text}");
    let rows = run("SELECT a.k FROM S.Items a JOIN T.items b ON a.k = b.k", vec![of("k", "int32")]).await;
    assert_eq!(rows.expect("it runs").iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
    let text = failure("SELECT k FROM S.Items FOR VERSION AS OF 3", vec![of("k", "int32")]).await;
    assert!(text.contains("a transformer reads its inputs as they are"), "{text}");
}

#[tokio::test]
async fn all_columns_that_don_t_fit_are_told_at_once_and_before_any_row() {
    let columns = vec![of("key", "int32"), of("t", "int32"), of("n", "boolean"), of("when", "timestamptz")];
    let text = failure("SELECT k AS keys, t, n, 1 AS x FROM S.Orders", columns).await;
    for problem in [
        "output out: the result's columns don't fit",
        "column key int32 is missing (there is keys: name it AS \"key\"?)",
        "column t is Utf8, not int32",
        "column n is Int64, not boolean",
        "column when timestamptz is missing",
        "column keys is not in the model",
        "column x is not in the model",
    ] {
        assert!(text.contains(problem), "{problem:?} is not in {text}");
    }
    let text = failure("SELECT n / 3.0 AS n FROM S.Orders", vec![of("n", "int64")]).await;
    assert!(text.contains("say how to round"), "{text}");
    let text = failure("SELECT a.k, b.k FROM S.Items a, T.Items b", vec![of("k", "int32")]).await;
    assert!(text.contains("column k comes twice"), "{text}");
}

#[tokio::test]
async fn values_that_don_t_fit_name_their_column_and_row() {
    let rows = "FROM S.Items ORDER BY k";
    for (sql, column, expected) in [
        ("SELECT t AS v", of("v", "varchar(2)"), "row 3 of the result: it has 3 characters, varchar(2) holds 2"),
        ("SELECT t || ' ' AS v", of("v", "char(2)"), "row 3 of the result: it has 3 characters"),
        ("SELECT k AS v", of("v", "int8"), "row 3 of the result: the value doesn't fit int8"),
        ("SELECT n * 1000000000 AS v", of("v", "int32"), "row 1 of the result: the value doesn't fit int32"),
        ("SELECT n AS v", of("v", "decimal(3,2)"), "row 1 of the result: the value doesn't fit decimal(3,2)"),
        ("SELECT nullif(k, 2) AS v", column("v", "int32", false, false), "row 2 of the result: it is NULL"),
        (
            "SELECT arrow_cast(t, 'Binary') AS v",
            of("v", "binary(2)"),
            "row 1 of the result: its length is not that of binary(2)",
        ),
    ] {
        let text = failure(&format!("{sql} {rows}"), vec![column]).await;
        assert!(text.contains("output out: column \"v\"") && text.contains(expected), "{sql}: {text}");
    }
    let rows = run("SELECT 'éé' AS v", vec![of("v", "varchar(2)")]).await.expect("two characters fit");
    assert_eq!(rows[0].num_rows(), 1);
}

#[tokio::test]
async fn rows_are_counted_over_all_batches() {
    let sql = "SELECT value AS v FROM generate_series(1, 40000) ORDER BY value";
    let text = failure(sql, vec![of("v", "int16")]).await;
    assert!(text.contains("row 32768 of the result"), "{text}");
}

#[tokio::test]
async fn changes_carry_their_operation() {
    let sql = "SELECT k, CASE WHEN k > 2 THEN 2 ELSE 1 END AS lv_op FROM S.Items ORDER BY k";
    let columns = vec![column("k", "int32", false, true)];
    let rows = run_with(sql, columns.clone(), true).await.expect("it runs");
    assert_eq!(rows[0]["lv_op"].as_primitive::<Int32Type>().values(), &[1, 1, 2]);
    assert_eq!(rows[0].schema().field(1).name(), "lv_op");
    let text = run_with("SELECT k FROM S.Items", columns, true).await.expect_err("no lv_op").chain();
    assert!(text.contains("column lv_op int32 is missing"), "{text}");
}

#[tokio::test]
async fn an_input_s_failure_keeps_its_reason_and_whether_to_try_again() {
    for sql in ["SELECT k FROM orders", "SELECT a.k FROM S.Items a JOIN orders b ON a.k = b.k"] {
        let error = run(sql, vec![of("k", "int32")]).await.expect_err("the input fails");
        assert_eq!(error.retry, Retry::Later, "{}", error.chain());
        assert!(error.message.contains("the disk is away"), "{}", error.chain());
    }
}

#[tokio::test]
async fn a_query_that_needs_too_much_memory_says_so() {
    let sql =
        "SELECT a.value AS v FROM generate_series(1, 400000) a JOIN generate_series(1, 400000) b ON a.value = b.value";
    let schema = Schema { columns: vec![of("v", "int64")] };
    let query =
        EngineQuery { dataset: "out".parse().expect("a name"), sql: sql.to_owned(), schema, has_operations: false };
    let rows = SqlEngine::with_memory(1_000_000).query(Vec::new(), query).await.expect("it is typed");
    let error = rows.try_collect::<Vec<_>>().await.expect_err("a million bytes are not enough");
    assert!(error.message.contains("more memory than it may have") && error.hint.is_some(), "{}", error.chain());
}

#[tokio::test]
async fn an_empty_result_has_no_rows_and_is_no_error() {
    let rows = run("SELECT k FROM S.Items WHERE k > 1000", vec![of("k", "int32")]).await.expect("it runs");
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
    let rows =
        run("SELECT NULL AS a, NULL AS b", vec![of("a", "uuid"), of("b", "list<int32>")]).await.expect("it runs");
    assert_eq!(rows[0].column(0).null_count(), 1);
}
