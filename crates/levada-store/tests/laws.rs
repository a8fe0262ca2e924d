//! The laws of the readings, over random sequences of pulls.

use crate::fixture::{Change, Row, Stand, Version, change_batch, key_batch, long_text, record_batch, schema};
use levada_flow::source::Coverage;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// One pull.
#[derive(Clone, Debug)]
enum Pull {
    Complete(Vec<Row>),
    Upserts(Vec<Row>),
    UpsertsAndKeys(Vec<Row>, BTreeSet<i32>),
    Appends(Vec<Row>),
    Changes(Vec<(i32, Row)>),
}

fn any_row() -> impl Strategy<Value = Row> {
    let text = prop_oneof![
        2 => Just(None),
        6 => proptest::sample::select(vec!["", "a", "b", "é'\"\\"]).prop_map(|text| Some(text.to_owned())),
        1 => (0..2_u64).prop_map(|seed| Some(long_text(seed))),
    ];
    (0..6, text, proptest::option::of(0..2_i64)).prop_map(|(key, text, number)| Row { key, text, number })
}

fn any_rows() -> impl Strategy<Value = Vec<Row>> {
    proptest::collection::vec(any_row(), 0..9)
}

fn any_pull() -> impl Strategy<Value = Pull> {
    prop_oneof![
        3 => any_rows().prop_map(Pull::Complete),
        2 => any_rows().prop_map(Pull::Upserts),
        1 => (any_rows(), proptest::collection::btree_set(0..6, 0..6))
            .prop_map(|(rows, keys)| Pull::UpsertsAndKeys(rows, keys)),
        1 => any_rows().prop_map(Pull::Appends),
        2 => proptest::collection::vec((0..3, any_row()), 0..9).prop_map(Pull::Changes),
    ]
}

/// What a pull has to mean, in the plainest way.
fn expected(live: &[Row], pull: &Pull, has_key: bool) -> Vec<Row> {
    let mut rows = match has_key {
        true => expected_keyed(live, pull),
        false => expected_keyless(live, pull),
    };
    rows.sort();
    rows
}

fn expected_keyed(live: &[Row], pull: &Pull) -> Vec<Row> {
    let mut by_key: BTreeMap<i32, Row> = live.iter().map(|row| (row.key, row.clone())).collect();
    match pull {
        Pull::Complete(rows) => by_key = rows.iter().map(|row| (row.key, row.clone())).collect(),
        Pull::Upserts(rows) | Pull::Appends(rows) => by_key.extend(rows.iter().map(|row| (row.key, row.clone()))),
        Pull::UpsertsAndKeys(rows, keys) => {
            by_key.retain(|key, _| keys.contains(key));
            by_key.extend(rows.iter().map(|row| (row.key, row.clone())));
        }
        Pull::Changes(changes) => {
            for (operation, row) in changes {
                match operation {
                    2 => _ = by_key.remove(&row.key),
                    _ => _ = by_key.insert(row.key, row.clone()),
                }
            }
        }
    }
    by_key.into_values().collect()
}

fn expected_keyless(live: &[Row], pull: &Pull) -> Vec<Row> {
    let mut rows = live.to_vec();
    match pull {
        Pull::Complete(pulled) => rows = pulled.clone(),
        Pull::Appends(pulled) => rows.extend(pulled.iter().cloned()),
        Pull::Upserts(pulled) | Pull::UpsertsAndKeys(pulled, _) => {
            let mut missing = pulled.clone();
            for row in live {
                if let Some(at) = missing.iter().position(|other| other == row) {
                    missing.remove(at);
                }
            }
            rows.extend(missing);
        }
        Pull::Changes(changes) => {
            for (operation, row) in changes {
                match operation {
                    2 => _ = rows.iter().position(|other| other == row).map(|at| rows.remove(at)),
                    _ => rows.push(row.clone()),
                }
            }
        }
    }
    rows
}

/// What a source of this kind can send: a complete pull of a keyed dataset has each key once, a
/// dataset without key lists none and has no updates.
fn possible(pull: Pull, has_key: bool) -> Pull {
    match pull {
        Pull::Complete(rows) if has_key => {
            let mut seen = BTreeSet::new();
            Pull::Complete(rows.into_iter().filter(|row| seen.insert(row.key)).collect())
        }
        Pull::UpsertsAndKeys(rows, _) if !has_key => Pull::Upserts(rows),
        Pull::Changes(changes) if !has_key => Pull::Changes(
            changes.into_iter().map(|(operation, row)| (if operation == 1 { 0 } else { operation }, row)).collect(),
        ),
        other => other,
    }
}

async fn run(stand: &mut Stand, has_key: bool, pull: &Pull) -> Option<i64> {
    let schema = schema(has_key);
    let mut writer = stand.begin(&schema).await.expect("begins");
    let (rows, coverage) = match pull {
        Pull::Complete(rows) => (&rows[..], Coverage::Complete),
        Pull::Upserts(rows) => (&rows[..], Coverage::Upserts),
        Pull::UpsertsAndKeys(rows, _) => (&rows[..], Coverage::UpsertsAndKeys),
        Pull::Appends(rows) => (&rows[..], Coverage::Appends),
        Pull::Changes(_) => (&[][..], Coverage::Upserts),
    };
    for piece in rows.chunks(4) {
        writer.write(0, record_batch(&schema, piece)).await.expect("writes");
    }
    if let Pull::UpsertsAndKeys(_, keys) = pull {
        let keys: Vec<i32> = keys.iter().copied().collect();
        writer.keys(0, key_batch(&keys)).await.expect("writes");
    }
    if let Pull::Changes(changes) = pull {
        for piece in changes.chunks(4) {
            writer.write_changes(0, change_batch(&schema, piece)).await.expect("writes");
        }
    }
    let staged = writer.finish(&[coverage]).await.expect("finishes");
    stand.commit(staged).await
}

/// Replays a log; every change must fit the state it meets.
fn replayed(changes: &[Change]) -> Vec<Row> {
    let mut live: BTreeMap<Vec<u8>, (i64, Row)> = BTreeMap::new();
    let mut met = BTreeSet::new();
    let mut last = 0;
    for change in changes {
        assert!(change.batch >= last, "changes come by batch");
        last = change.batch;
        assert!(met.insert((change.batch, change.key_hash.clone())), "one net change per key and batch");
        let closed = match change.operation {
            0 | 1 => live.insert(change.key_hash.clone(), (change.batch, change.row.clone())),
            _ => live.remove(&change.key_hash),
        };
        assert_eq!(closed.is_some(), change.operation != 0, "only what is live is updated or deleted: {change:?}");
        assert_eq!(closed.as_ref().map(|(batch, _)| *batch), change.previous, "{change:?}");
        let had = closed.map(|(_, row)| row);
        match change.operation {
            1 => assert_ne!(had.as_ref(), Some(&change.row), "an update changes something"),
            2 => assert_eq!(had.as_ref(), Some(&change.row), "a delete carries the last values"),
            _ => {}
        }
    }
    let mut rows: Vec<Row> = live.into_values().map(|(_, row)| row).collect();
    rows.sort();
    rows
}

fn live_at(history: &[Version], time: i64) -> Vec<Row> {
    let at = history.iter().filter(|version| version.from <= time && version.to.is_none_or(|to| to > time));
    let mut rows: Vec<Row> = at.map(|version| version.row.clone()).collect();
    rows.sort();
    rows
}

async fn check(has_key: bool, pulls: Vec<Pull>) {
    let schema = schema(has_key);
    let mut stand = Stand::new().await;
    let mut states: BTreeMap<i64, Vec<Row>> = BTreeMap::from([(0, Vec::new())]);
    for pull in pulls {
        let pull = possible(pull, has_key);
        let (last, before) = states.last_key_value().map(|(batch, rows)| (*batch, rows.clone())).expect("batch 0");
        let after = expected(&before, &pull, has_key);
        let batch = run(&mut stand, has_key, &pull).await;
        assert_eq!(batch, (before != after).then_some(last + 1), "a batch is what changes something: {pull:?}");
        states.extend(batch.map(|batch| (batch, after)));
    }
    let last = *states.last_key_value().expect("batch 0").0;
    assert_eq!(stand.live(&schema, None).await, states[&last]);
    let changes = stand.changes(&schema, 0).await;
    let history = stand.history(&schema, None, None).await;
    let times = stand.times().await;
    for (batch, rows) in states.iter().filter(|(batch, _)| **batch > 0) {
        assert_eq!(stand.live(&schema, Some(*batch)).await, *rows, "live as of {batch}");
        let until: Vec<Change> = changes.iter().filter(|change| change.batch <= *batch).cloned().collect();
        assert_eq!(replayed(&until), *rows, "changes up to {batch}");
        assert_eq!(live_at(&history, times[batch]), *rows, "history at {batch}");
        let known = stand.history(&schema, Some(*batch), None).await;
        assert_eq!(live_at(&known, i64::MAX - 1), *rows, "history as of {batch}");
        let rest: Vec<Change> = changes.iter().filter(|change| change.batch > *batch).cloned().collect();
        assert_eq!(stand.changes(&schema, *batch).await, rest);
        let since: Vec<Version> =
            history.iter().filter(|version| version.to.is_none_or(|to| to >= times[batch])).cloned().collect();
        assert_eq!(stand.history(&schema, None, Some(times[batch])).await, since, "history since {batch}");
    }
}

fn on_a_runtime(has_key: bool, pulls: Vec<Pull>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(check(has_key, pulls));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn readings_of_a_keyed_dataset_agree_with_what_was_pulled(pulls in proptest::collection::vec(any_pull(), 1..8)) {
        on_a_runtime(true, pulls);
    }

    #[test]
    fn readings_of_a_dataset_without_key_agree_with_what_was_pulled(pulls in proptest::collection::vec(any_pull(), 1..8)) {
        on_a_runtime(false, pulls);
    }
}

#[tokio::test]
async fn a_pull_without_changes_makes_no_batch() {
    let mut stand = Stand::new().await;
    let rows = [crate::fixture::row(1, "a", 1), crate::fixture::row(2, "b", 2)];
    for (has_rows, batch) in [(true, Some(1)), (true, None), (false, Some(2)), (false, None)] {
        let rows = if has_rows { &rows[..] } else { &[] };
        assert_eq!(stand.pull(&schema(true), rows, Coverage::Complete).await.expect("pulls"), batch);
    }
    assert!(stand.files().is_empty(), "small batches lie in the catalog");
}

#[tokio::test]
async fn many_rows_go_to_files_and_come_back() {
    let mut stand = Stand::new().await;
    let rows = |shift: i64| -> Vec<Row> {
        (0..30_000).map(|key| crate::fixture::row(key, &format!("text {key}"), i64::from(key % 7) + shift)).collect()
    };
    let pull = async |stand: &mut Stand, rows: &[Row]| {
        let schema = schema(true);
        let mut writer = stand.begin(&schema).await.expect("begins");
        for piece in rows.chunks(8_192) {
            writer.write(0, record_batch(&schema, piece)).await.expect("writes");
        }
        let staged = writer.finish(&[Coverage::Complete]).await.expect("finishes");
        stand.commit(staged).await
    };
    assert_eq!(pull(&mut stand, &rows(0)).await, Some(1));
    let mut changed = rows(0);
    changed.truncate(29_000);
    changed[..500].clone_from_slice(&rows(1)[..500]);
    assert_eq!(pull(&mut stand, &changed).await, Some(2));
    assert_eq!(stand.files().len(), 2);
    assert_eq!(stand.live(&schema(true), Some(1)).await, rows(0));
    assert_eq!(stand.live(&schema(true), None).await, changed);
    assert_eq!(stand.changes(&schema(true), 1).await.len(), 1_500);
    let batches = stand.read(&schema(true), levada_store::Reading::Live { as_of: None }).await.expect("reads");
    assert!(batches.iter().all(|batch| batch.num_rows() <= levada_flow::BATCH_ROWS_MAX));
}

#[tokio::test]
async fn a_dataset_keeps_its_past_when_its_store_turns_from_multi_to_single_and_back() {
    let mut stand = Stand::new().await;
    let schema = schema(true);
    let rows = |number| vec![crate::fixture::row(1, "a", number)];
    assert_eq!(stand.pull(&schema, &rows(1), Coverage::Complete).await.expect("pulls"), Some(1));
    let neighbour = levada_store::StoreDataset { dataset: "D.e".parse().expect("a dataset"), schema: schema.clone() };
    let mut writer = stand.store.begin(&stand.stream, vec![neighbour], "neighbour").await.expect("begins");
    writer.write(0, record_batch(&schema, &rows(1))).await.expect("writes");
    let staged = writer.finish(&[Coverage::Complete]).await.expect("finishes");
    assert_eq!(stand.commit(staged).await, Some(2));

    let multi = std::mem::replace(&mut stand.stream, "D/d".parse().expect("a stream"));
    assert_eq!(
        stand.pull(&schema, &rows(1), Coverage::Complete).await.expect("pulls"),
        None,
        "it knows what is stored"
    );
    assert_eq!(stand.pull(&schema, &rows(3), Coverage::Complete).await.expect("pulls"), Some(3));
    stand.stream = multi;
    assert_eq!(stand.pull(&schema, &rows(4), Coverage::Complete).await.expect("pulls"), Some(4));

    assert_eq!(stand.live(&schema, Some(2)).await, rows(1));
    assert_eq!(stand.live(&schema, Some(3)).await, rows(3));
    let history = stand.history(&schema, None, None).await;
    assert_eq!(history.iter().map(|version| version.row.number).collect::<Vec<_>>(), [Some(1), Some(3), Some(4)]);
    assert!(history.windows(2).all(|pair| pair[0].to == Some(pair[1].from)), "{history:?}");
    let batches: Vec<i64> = stand.changes(&schema, 0).await.iter().map(|change| change.batch).collect();
    assert_eq!(batches, [1, 3, 4]);
}
