//! Questions to a store, in the four readings.

use crate::fixture::{Row, Stand, column, row, schema};
use datafusion::arrow::util::pretty::pretty_format_batches;
use futures::TryStreamExt;
use levada_flow::FlowError;
use levada_flow::source::Coverage;
use levada_model::Schema;
use levada_model::address::DatasetRef;
use levada_sql::query;

/// Three batches of `D.d`: key 1 in all, 2 changed in the second, 3 gone in the third.
async fn stand() -> Stand {
    let mut stand = Stand::new().await;
    let batches = [
        vec![row(1, "a", 10), row(2, "b", 20), row(3, "c", 30)],
        vec![row(1, "a", 10), row(2, "B", 20), row(3, "c", 30)],
        vec![row(1, "a", 10), row(2, "B", 20)],
    ];
    for rows in &batches {
        stand.pull(&schema(true), rows, Coverage::Complete).await.expect("pulls").expect("it changes something");
    }
    stand
}

async fn ask(stand: &Stand, schema: &Schema, sql: &str) -> Result<String, FlowError> {
    let datasets: Vec<(DatasetRef, Schema)> = vec![(stand.dataset.clone(), schema.clone())];
    let answer = query(&stand.store, &datasets, sql).await?;
    let mut batches: Vec<_> = answer.rows.try_collect().await?;
    if batches.is_empty() {
        batches.push(arrow::array::RecordBatch::new_empty(answer.schema.clone()));
    }
    assert!(batches.iter().all(|batch| batch.schema() == answer.schema));
    let lines = pretty_format_batches(&batches).expect("it prints").to_string();
    let cells = |line: &str| {
        line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(" ").trim_end().to_owned()
    };
    Ok(lines.lines().filter(|line| line.starts_with('|')).map(cells).collect::<Vec<_>>().join("\n"))
}

async fn answer(stand: &Stand, sql: &str) -> String {
    ask(stand, &schema(true), sql).await.unwrap_or_else(|error| error.chain())
}

#[tokio::test]
async fn live_is_what_is_there_now_and_as_of_what_was() {
    let stand = stand().await;
    assert_eq!(answer(&stand, "SELECT * FROM D.d ORDER BY k").await, "k t n\n1 a 10\n2 B 20");
    let then = "SELECT k, t FROM d FOR VERSION AS OF 1 ORDER BY d.k";
    assert_eq!(answer(&stand, then).await, "k t\n1 a\n2 b\n3 c");
    let both = "SELECT old.t, new.t AS now FROM D.d FOR VERSION AS OF 1 AS old JOIN D.d new USING (k) \
                WHERE old.t <> new.t";
    assert_eq!(answer(&stand, both).await, "t now\nb B");
    let times = stand.times().await;
    let at = |batch: i64, shift: i64| {
        let time = times[&batch] + shift;
        format!(
            "SELECT count(*) AS n FROM D.d FOR TIMESTAMP AS OF '1970-01-01T00:00:{:02}.{:06}Z'",
            time / 1_000_000,
            time % 1_000_000
        )
    };
    assert_eq!(answer(&stand, &at(2, 0)).await, "n\n3");
    assert_eq!(answer(&stand, &at(3, 0)).await, "n\n2");
    assert_eq!(answer(&stand, &at(3, -1)).await, "n\n3");
}

#[tokio::test]
async fn changes_and_history_have_their_own_columns_and_no_hashes() {
    let stand = stand().await;
    let changes = "SELECT * FROM D.\"d$changes\" WHERE lv_batch > 1 ORDER BY lv_batch, k";
    assert_eq!(answer(&stand, changes).await, "k t n lv_batch lv_op lv_prev_batch\n2 B 20 2 1 1\n3 c 30 3 2 1");
    let history = "SELECT k, t, valid_to IS NULL AS is_open FROM D.d$history ORDER BY k, valid_from";
    assert_eq!(answer(&stand, history).await, "k t is_open\n1 a true\n2 b false\n2 B true\n3 c false");
    let all = "SELECT * FROM D.\"d$history\" FOR VERSION AS OF 1 WHERE k = 1";
    assert_eq!(answer(&stand, all).await, "k t n valid_from valid_to\n1 a 10 1970-01-01T00:00:02Z");
    let versions = "SELECT count(*) AS n FROM D.d$changes FOR VERSION AS OF 1";
    assert_eq!(answer(&stand, versions).await, "n\n3");
}

#[tokio::test]
async fn names_match_in_any_letter_case_and_print_as_written() {
    let mut stand = Stand::new().await;
    let mut strange = schema(true);
    strange.columns[1] = column("Företag Name", "text", true, false);
    let mut writer = stand.begin(&strange).await.expect("begins");
    let rows = crate::fixture::record_batch(&schema(true), &[row(1, "a", 10), Row { text: None, ..row(2, "", 20) }]);
    let rows =
        arrow::array::RecordBatch::try_new(levada_flow::arrow_schema::arrow_schema(&strange), rows.columns().to_vec());
    writer.write(0, rows.expect("the same types")).await.expect("writes");
    let staged = writer.finish(&[Coverage::Complete]).await.expect("finishes");
    stand.commit(staged).await;
    for sql in [
        "SELECT K, \"Företag Name\" FROM d.D WHERE \"FÖRETAG NAME\" IS NOT NULL",
        "select k, D.\"företag name\" from \"D\".\"d\" as D where D.K = 1",
    ] {
        let found = ask(&stand, &strange, sql).await.unwrap_or_else(|error| error.chain());
        assert_eq!(found.to_lowercase(), "k företag name\n1 a", "{sql}");
    }
    let spelled = ask(&stand, &strange, "SELECT * FROM D.d WHERE k = 1").await.expect("it answers");
    assert_eq!(spelled, "k Företag Name n\n1 a 10");
    let alias = ask(&stand, &strange, "SELECT k AS \"The Key\" FROM D.d WHERE k = 1").await.expect("it answers");
    assert_eq!(alias, "The Key\n1");
}

#[tokio::test]
async fn what_can_t_be_answered_says_why_and_what_to_do() {
    let stand = stand().await;
    for (sql, expected) in [
        ("SELECT * FROM D.dd", "table d.dd is not there; did you mean D.d?"),
        ("SELECT * FROM e", "table e is not there"),
        ("SELECT * FROM a.b.c", "write STORE.DATASET"),
        ("SELECT x FROM D.d", "No field named x"),
        ("SELECT * FROM D.d$log", "has no reading \"log\"; write D.d, D.\"d$changes\""),
        ("SELECT * FROM D.d FOR VERSION AS OF 9", "find batch 9 of D.d, which has 3"),
        ("SELECT * FROM D.d FOR TIMESTAMP AS OF '1960-01-01T00:00:00Z'", "find a batch of D.d as early as"),
        ("DROP TABLE D.d", "the SQL is no query"),
        ("SELECT CAST(t AS INT) FROM D.d", "Cannot cast string"),
    ] {
        let found = answer(&stand, sql).await;
        assert!(found.contains(expected), "{sql}: {found}");
    }
}

#[tokio::test]
async fn functions_and_common_tables_are_no_datasets() {
    let stand = stand().await;
    assert_eq!(answer(&stand, "SELECT 1 AS one").await, "one\n1");
    assert_eq!(answer(&stand, "SELECT sum(value) AS s FROM generate_series(1, 3)").await, "s\n6");
    let nested = "WITH D AS (SELECT k FROM D.d) SELECT count(*) AS c FROM D WHERE k IN (SELECT k FROM D)";
    assert_eq!(answer(&stand, nested).await, "c\n2");
}

#[tokio::test]
async fn a_damaged_segment_is_named_by_the_answer() {
    let mut stand = Stand::new().await;
    let long = Row { text: Some(crate::fixture::long_text(1)), ..row(1, "", 1) };
    stand.pull(&schema(true), &[long], Coverage::Complete).await.expect("pulls");
    let file = stand.files().remove(0);
    std::fs::write(stand.folder.path().join("data").join(&file), b"PAR1").expect("writes");
    let found = answer(&stand, "SELECT * FROM D.d").await;
    assert!(found.contains(&file) && found.contains("damaged"), "{found}");
}
