//! What every sink keeps.

use super::ledger::rows_at;
use super::sample::with_null;
use super::{Ledger, Limits, all_types, assert_same_rows, hostile_names, sample, schema_of};
use crate::arrow_schema::arrow_schema;
use crate::sink::{Content, DeliveredTable, DeliveredView, Form, Mark, TableDelivery, history_schema};
use crate::{FlowError, Retry, Sink};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use levada_model::address::DatasetRef;
use levada_model::model::Reader;
use levada_model::{DataType, Schema};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A real system under test, seen as its consumers see it.
#[async_trait]
pub trait SinkHarness: Sync {
    /// What its types hold.
    fn limits(&self) -> Limits;

    /// Whether it has the type.
    fn has(&self, data_type: &DataType) -> bool;

    /// Who may read every view of the suite; they exist in the system.
    fn readers(&self) -> Vec<Reader> {
        Vec::new()
    }

    /// Whether a schema, table, view or column can have such a name.
    fn has_name(&self, _name: &str) -> bool {
        true
    }

    /// Whether names that are no identifiers are names all the same.
    fn has_hostile_names(&self) -> bool {
        true
    }

    /// Opens the system as the runtime does.
    async fn open(&self) -> Box<dyn Sink>;

    /// Reads a view as a consumer does; `schema` is what it has to have. `None`: there is no such view.
    async fn read_view(
        &self,
        table: &DeliveredTable,
        view: &DeliveredView,
        schema: &Schema,
    ) -> Option<Vec<RecordBatch>>;
}

/// Runs the whole suite.
///
/// # Panics
/// The sink breaks its contract.
pub async fn check_sink(harness: &dyn SinkHarness) {
    changes_make_the_same_as_everything(harness).await;
    rows_without_a_key_keep_their_count(harness).await;
    every_type_is_read_back_as_it_was(harness).await;
    an_empty_dataset_is_an_empty_view(harness).await;
    what_does_not_follow_is_refused(harness).await;
    all_tables_of_a_delivery_go_together(harness).await;
    a_delivery_that_breaks_off_leaves_nothing(harness).await;
    a_new_shape_replaces_the_old(harness).await;
    nobody_sees_an_empty_table_while_it_is_swapped(harness).await;
    views_come_change_and_go(harness).await;
    a_reading_that_nobody_asks_for_any_more_is_gone(harness).await;
    what_is_removed_is_gone(harness).await;
    if harness.has_hostile_names() {
        hostile_names_are_only_names(harness).await;
    }
}

/// One dataset of the suite with both readings, and the mark it has.
struct Case<'h> {
    harness: &'h dyn SinkHarness,
    table: DeliveredTable,
    ledger: Ledger,
    mark: Option<Mark>,
    epoch: i64,
}

impl<'h> Case<'h> {
    fn new(harness: &'h dyn SinkHarness, name: &str, schema: &Schema) -> Self {
        let view = |name: String, is_history| DeliveredView {
            workspace: "Suite".parse().expect("a name"),
            schema: "suite".to_owned(),
            name,
            is_history,
            since: None,
            readers: harness.readers(),
        };
        let table = DeliveredTable {
            platform: "P".parse().expect("a name"),
            source: DatasetRef::new("Suite".parse().expect("a name"), name.parse().expect("a name")),
            schema: schema.clone(),
            live: Some(format!("suite_{name}")),
            history: Some(format!("suite_{name}_history")),
            views: vec![view(format!("suite_{name}"), false), view(format!("suite_{name}_history"), true)],
        };
        Self { harness, table, ledger: Ledger::new(schema), mark: None, epoch: 1 }
    }

    fn next_mark(&self) -> Mark {
        let shape = format!("shape of {} columns", self.table.schema.columns.len());
        Mark { batch: self.ledger.batch(), incarnation: "first".to_owned(), epoch: self.epoch, shape }
    }

    fn content(&self, form: Form) -> Content {
        let after = self.mark.as_ref().map_or(0, |mark| mark.batch);
        self.ledger.content(form, after, self.table.live.is_some(), self.table.history.is_some())
    }

    fn delivery(&self, content: Content) -> TableDelivery {
        TableDelivery { table: self.table.clone(), content, mark: self.next_mark(), expected: self.mark.clone() }
    }

    async fn try_deliver(&mut self, content: Content) -> Result<(), FlowError> {
        let delivery = self.delivery(content);
        let mark = delivery.mark.clone();
        self.harness.open().await.deliver(vec![delivery]).await?;
        self.mark = Some(mark);
        Ok(())
    }

    /// Delivers what is new, as the sink wants it, and looks at the result.
    async fn deliver(&mut self, what: &str) {
        let form = self.harness.open().await.form();
        self.try_deliver(self.content(form)).await.unwrap_or_else(|error| panic!("{what}: {}", error.chain()));
        self.check(what).await;
    }

    /// Views, tables and mark are those of the ledger.
    async fn check(&self, what: &str) {
        let mut sink = self.harness.open().await;
        let marks = sink.marks(std::slice::from_ref(&self.table)).await.expect("marks can be read");
        assert_eq!(marks, std::slice::from_ref(&self.mark), "{what}: the mark");
        let history = history_schema(&self.table.schema);
        for view in &self.table.views {
            let schema = if view.is_history { &history } else { &self.table.schema };
            let found = self.harness.read_view(&self.table, view, schema).await;
            let found = found.unwrap_or_else(|| panic!("{what}: there is no view {}.{}", view.schema, view.name));
            let expected = if view.is_history { self.ledger.history(view.since) } else { self.ledger.live() };
            assert_same_rows(schema, &found, &[expected], &format!("{what}: view {}", view.name));
        }
        for is_history in [false, true] {
            let physical = if is_history { &self.table.history } else { &self.table.live };
            if physical.is_some() {
                let rows = sink.read_back(&self.table, is_history).await.expect("what was delivered can be read");
                let rows: Vec<RecordBatch> = rows.try_collect().await.expect("all of it");
                let (schema, expected) = match is_history {
                    true => (&history, self.ledger.history(None)),
                    false => (&self.table.schema, self.ledger.live()),
                };
                assert_same_rows(schema, &rows, &[expected], &format!("{what}: read back, history: {is_history}"));
            }
        }
    }
}

fn people() -> Schema {
    schema_of(&[("id", "int64", true), ("name", "text", false)])
}

fn rows(values: &[(i64, Option<&str>)]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from(values.iter().map(|row| row.0).collect::<Vec<_>>()));
    let names: ArrayRef = Arc::new(StringArray::from(values.iter().map(|row| row.1).collect::<Vec<_>>()));
    RecordBatch::try_new(arrow_schema(&people()), vec![ids, names]).expect("two columns")
}

async fn changes_make_the_same_as_everything(harness: &dyn SinkHarness) {
    let mut case = Case::new(harness, "changes", &people());
    case.ledger.commit(&rows(&[(1, Some("one")), (2, Some("two")), (3, None)]));
    case.deliver("the first delivery").await;
    case.ledger.commit(&rows(&[(1, Some("one")), (2, Some("zwei")), (4, Some("four"))]));
    case.deliver("an insert, an update, a delete").await;
    case.ledger.commit(&rows(&[(2, Some("zwei")), (3, Some("back")), (4, Some("four"))]));
    case.ledger.commit(&rows(&[(2, None), (3, Some("back again")), (4, Some("four"))]));
    case.ledger.commit(&rows(&[(2, Some("two")), (4, Some("four"))]));
    case.deliver("three batches at once").await;
    case.ledger.commit(&rows(&[]));
    case.deliver("everything deleted").await;
    case.epoch = 2;
    case.ledger.commit(&rows(&[(1, Some("one"))]));
    case.deliver("from nothing, by another worker").await;
}

async fn rows_without_a_key_keep_their_count(harness: &dyn SinkHarness) {
    let mut schema = people();
    schema.columns.iter_mut().for_each(|column| (column.key, column.nullable) = (false, true));
    let keyless =
        |values| RecordBatch::try_new(arrow_schema(&schema), rows(values).columns().to_vec()).expect("the same");
    let mut case = Case::new(harness, "keyless", &schema);
    case.ledger.commit(&keyless(&[(1, Some("same")), (1, Some("same")), (2, None)]));
    case.deliver("equal rows").await;
    case.ledger.commit(&keyless(&[(1, Some("same")), (1, Some("same")), (1, Some("same")), (3, None)]));
    case.deliver("one more of them").await;
    case.ledger.commit(&keyless(&[(1, Some("same"))]));
    case.deliver("two less of them").await;
}

async fn every_type_is_read_back_as_it_was(harness: &dyn SinkHarness) {
    for (number, data_type) in all_types().into_iter().enumerate().filter(|(_, data_type)| harness.has(data_type)) {
        let schema = schema_of(&[("id", "int64", true), ("value", &data_type.to_string(), false)]);
        let values = with_null(&sample(&data_type, &harness.limits()));
        let ids: ArrayRef = Arc::new((0..values.len() as i64).map(Some).collect::<Int64Array>());
        let made = |values| RecordBatch::try_new(arrow_schema(&schema), vec![ids.clone(), values]);
        let all = made(values.clone()).expect("samples are of their type");
        // Every row gets its neighbour's value.
        let shifted: Vec<u32> = (0..values.len() as u32).map(|row| (row + 1) % values.len() as u32).collect();
        let shifted = made(rows_at(&all, &shifted).column(1).clone()).expect("the same type");
        let mut case = Case::new(harness, &format!("type_{number}"), &schema);
        case.ledger.commit(&all);
        case.deliver(&format!("{data_type}, everything")).await;
        case.ledger.commit(&shifted);
        case.deliver(&format!("{data_type}, changes")).await;
    }
}

async fn an_empty_dataset_is_an_empty_view(harness: &dyn SinkHarness) {
    let mut case = Case::new(harness, "empty", &people());
    case.ledger.commit(&rows(&[]));
    case.deliver("nothing").await;
    let mut case = Case::new(harness, "only_history", &people());
    case.table.live = None;
    case.table.views.remove(0);
    case.ledger.commit(&rows(&[(1, Some("one"))]));
    case.deliver("history alone").await;
    case.ledger.commit(&rows(&[(1, Some("uno"))]));
    case.deliver("a change of history alone").await;
}

async fn what_does_not_follow_is_refused(harness: &dyn SinkHarness) {
    let mut case = Case::new(harness, "fenced", &people());
    case.epoch = 5;
    case.ledger.commit(&rows(&[(1, Some("one"))]));
    case.deliver("the first delivery").await;
    let form = harness.open().await.form();

    let first = case.mark.take();
    let error = case.try_deliver(case.content(form)).await.expect_err("the same delivery again is refused");
    assert_eq!(error.retry, Retry::Later, "whoever looks again sees that it is in");
    case.mark = first;
    case.check("after the same delivery again").await;

    let wrong = Mark { batch: 77, ..case.mark.clone().expect("it was delivered") };
    let right = case.mark.replace(wrong);
    assert!(case.try_deliver(Content::Nothing).await.is_err(), "a delivery after another batch is refused");
    case.mark = right;
    case.check("after a delivery that doesn't follow").await;

    let kept = case.ledger.batch();
    case.epoch = 4;
    let error = case.try_deliver(Content::Nothing).await.expect_err("a stale worker is refused");
    assert_eq!(error.retry, Retry::Never, "a stale worker stays stale");
    let removed = harness.open().await.remove(std::slice::from_ref(&case.table), 4).await;
    assert!(removed.is_err(), "a stale worker removes nothing");
    assert_eq!(case.ledger.batch(), kept);
    case.check("after a stale worker").await;
}

async fn all_tables_of_a_delivery_go_together(harness: &dyn SinkHarness) {
    let mut cases = ["left", "right"].map(|name| Case::new(harness, name, &people()));
    let mut sink = harness.open().await;
    let form = sink.form();
    for case in &mut cases {
        case.ledger.commit(&rows(&[(1, Some("one"))]));
    }
    let deliveries = cases.iter().map(|case| case.delivery(case.content(form))).collect();
    sink.deliver(deliveries).await.expect("two tables at once");
    for case in &mut cases {
        case.mark = Some(case.next_mark());
        case.check("two tables at once").await;
    }
    let ahead = |case: &Case<'_>| {
        let mut ledger = Ledger::new(&people());
        ledger.commit(&rows(&[(1, Some("one"))]));
        ledger.commit(&rows(&[(1, Some("uno")), (2, Some("due"))]));
        let mark = Mark { batch: 2, ..case.next_mark() };
        TableDelivery { mark, ..case.delivery(ledger.content(form, 1, true, true)) }
    };
    let mut deliveries: Vec<TableDelivery> = cases.iter().map(ahead).collect();
    deliveries[1].expected = None;
    assert!(sink.deliver(deliveries).await.is_err(), "the second one doesn't follow");
    for case in &cases {
        case.check("after a delivery of which one part was refused").await;
    }
}

async fn a_delivery_that_breaks_off_leaves_nothing(harness: &dyn SinkHarness) {
    let mut case = Case::new(harness, "broken", &people());
    case.ledger.commit(&rows(&[(1, Some("one"))]));
    case.deliver("the first delivery").await;
    let form = harness.open().await.form();
    let mut further = Ledger::new(&people());
    further.commit(&rows(&[(1, Some("one"))]));
    further.commit(&rows(&[(2, Some("two"))]));
    let broken = |rows: crate::RowStream| {
        let end = futures::stream::iter([Err(FlowError::later("the rows broke off"))]);
        rows.chain(end).boxed()
    };
    let content = match further.content(form, 1, true, true) {
        Content::Changes { rows, times, is_net } => Content::Changes { rows: broken(rows), times, is_net },
        Content::Everything { changes, live, history } => {
            Content::Everything { changes, live, history: history.map(broken) }
        }
        Content::Nothing => unreachable!("the ledger has rows"),
    };
    let error = case.try_deliver(content).await.expect_err("a broken delivery fails");
    assert!(error.chain().contains("the rows broke off"), "the cause is told: {}", error.chain());
    case.check("after a delivery that broke off").await;
    case.ledger.commit(&rows(&[(2, Some("two"))]));
    case.deliver("the same again, whole").await;
}

async fn a_new_shape_replaces_the_old(harness: &dyn SinkHarness) {
    let mut case = Case::new(harness, "reshaped", &people());
    case.ledger.commit(&rows(&[(1, Some("one")), (2, Some("two"))]));
    case.deliver("the old shape").await;
    let wider = schema_of(&[("id", "int64", true), ("name", "text", false), ("age", "int64", false)]);
    let ages: ArrayRef = Arc::new(Int64Array::from(vec![Some(30), None]));
    let mut columns = case.ledger.live().columns().to_vec();
    columns.push(ages);
    case.table.schema = wider.clone();
    case.ledger = Ledger::new(&wider);
    case.ledger.commit(&RecordBatch::try_new(arrow_schema(&wider), columns).expect("three columns"));
    case.try_deliver(case.ledger.content(Form::Everything, 0, true, true)).await.expect("a new shape is built beside");
    case.check("the new shape").await;
}

async fn nobody_sees_an_empty_table_while_it_is_swapped(harness: &dyn SinkHarness) {
    const ROWS: i64 = 2_000;
    let mut case = Case::new(harness, "swapped", &people());
    let state = |name: &str| rows(&(0..ROWS).map(|id| (id, Some(name))).collect::<Vec<_>>());
    case.ledger.commit(&state("old"));
    case.deliver("the first state").await;
    let (table, view) = (case.table.clone(), case.table.views[0].clone());
    let is_done = AtomicBool::new(false);
    let write = async {
        for turn in 0..5 {
            case.ledger.commit(&state(if turn % 2 == 0 { "new" } else { "old" }));
            case.try_deliver(case.ledger.content(Form::Everything, 0, true, true))
                .await
                .expect("a rebuild goes through");
        }
        is_done.store(true, Ordering::Relaxed);
    };
    let read = async {
        let mut readings = 0;
        while readings == 0 || !is_done.load(Ordering::Relaxed) {
            let found = harness.read_view(&table, &view, &table.schema).await.expect("the view is always there");
            let names: std::collections::BTreeSet<String> = found
                .iter()
                .flat_map(|batch| arrow::array::AsArray::as_string::<i32>(batch.column(1)).iter())
                .map(|name| name.expect("every row has one").to_owned())
                .collect();
            let count: usize = found.iter().map(RecordBatch::num_rows).sum();
            assert_eq!((count, names.len()), (ROWS as usize, 1), "a reader sees one whole state, not {names:?}");
            readings += 1;
            tokio::task::yield_now().await;
        }
    };
    futures::join!(write, read);
    case.check("the last state").await;
}

async fn views_come_change_and_go(harness: &dyn SinkHarness) {
    let mut case = Case::new(harness, "views", &people());
    case.ledger.commit(&rows(&[(1, Some("one"))]));
    let first = case.ledger.time();
    case.ledger.commit(&rows(&[(1, Some("uno"))]));
    let second = case.ledger.time();
    case.ledger.commit(&rows(&[(1, Some("eins"))]));
    case.deliver("both views").await;
    let workspace = "Other".parse().expect("a name");
    let other = DeliveredView { workspace, schema: "other".to_owned(), ..case.table.views[0].clone() };
    case.table.views.push(other.clone());
    case.table.views[1].since = Some(second);
    assert!(first < second && case.ledger.history(Some(second)).num_rows() == 2);
    case.try_deliver(Content::Nothing).await.expect("views change without rows");
    case.check("another workspace, a shorter history").await;
    let gone = case.table.views.remove(0);
    case.try_deliver(Content::Nothing).await.expect("a workspace leaves");
    case.check("one workspace less").await;
    assert!(harness.read_view(&case.table, &gone, &case.table.schema).await.is_none(), "its view is gone");
    assert!(harness.read_view(&case.table, &other, &case.table.schema).await.is_some());
}

async fn a_reading_that_nobody_asks_for_any_more_is_gone(harness: &dyn SinkHarness) {
    let mut case = Case::new(harness, "dropped", &people());
    case.ledger.commit(&rows(&[(1, Some("one"))]));
    case.ledger.commit(&rows(&[(1, Some("uno"))]));
    case.deliver("both readings").await;
    let both = case.table.clone();
    (case.table.history, case.table.views) = (None, vec![both.views[0].clone()]);
    case.try_deliver(Content::Nothing).await.expect("the history goes");
    case.check("only the live reading").await;
    assert!(is_gone(harness, &both, true).await, "nobody can read the history any more");

    (case.table.live, case.table.history) = (None, both.history.clone());
    case.table.views = vec![both.views[1].clone()];
    case.mark = harness.open().await.marks(std::slice::from_ref(&case.table)).await.expect("marks").remove(0);
    assert!(case.mark.is_some(), "what is there is known whichever reading it is");
    let everything = case.ledger.content(Form::Everything, 0, false, true);
    case.try_deliver(everything).await.expect("the other reading instead");
    case.check("only the history").await;
    assert!(is_gone(harness, &both, false).await, "nobody can read the live reading any more");

    case.table = both.clone();
    case.mark = harness.open().await.marks(std::slice::from_ref(&case.table)).await.expect("marks").remove(0);
    let everything = case.ledger.content(Form::Everything, 0, true, true);
    case.try_deliver(everything).await.expect("both again");
    case.check("both again").await;
    (case.table.history, case.table.views) = (None, vec![both.views[0].clone()]);
    harness.open().await.remove(std::slice::from_ref(&case.table), 1).await.expect("the dataset leaves");
    for is_history in [false, true] {
        assert!(is_gone(harness, &both, is_history).await, "all of it is gone, history: {is_history}");
    }
}

/// Whether a reading has neither a view nor a table any more.
async fn is_gone(harness: &dyn SinkHarness, table: &DeliveredTable, is_history: bool) -> bool {
    let view = table.views.iter().find(|view| view.is_history == is_history).expect("the case has both");
    let schema = if is_history { history_schema(&table.schema) } else { table.schema.clone() };
    let is_read = match harness.open().await.read_back(table, is_history).await {
        Ok(rows) => rows.try_collect::<Vec<_>>().await.is_ok(),
        Err(_) => false,
    };
    !is_read && harness.read_view(table, view, &schema).await.is_none()
}

async fn what_is_removed_is_gone(harness: &dyn SinkHarness) {
    let mut case = Case::new(harness, "removed", &people());
    let mut kept = Case::new(harness, "kept", &people());
    for case in [&mut case, &mut kept] {
        case.ledger.commit(&rows(&[(1, Some("one"))]));
        case.deliver("before").await;
    }
    let mut sink = harness.open().await;
    sink.remove(std::slice::from_ref(&case.table), 1).await.expect("what was delivered can be removed");
    sink.remove(std::slice::from_ref(&case.table), 1).await.expect("and again");
    assert_eq!(sink.marks(std::slice::from_ref(&case.table)).await.expect("marks can be read"), [None]);
    for view in &case.table.views {
        assert!(harness.read_view(&case.table, view, &case.table.schema).await.is_none(), "{} is gone", view.name);
    }
    kept.check("beside what was removed").await;
    case.mark = None;
    case.deliver("again, from the start").await;
}

async fn hostile_names_are_only_names(harness: &dyn SinkHarness) {
    let names: Vec<&str> = hostile_names().into_iter().filter(|name| harness.has_name(name)).collect();
    let mut columns = vec![("id", "int64", true)];
    columns.extend(names.iter().map(|name| (*name, "text", false)));
    let schema = schema_of(&columns);
    let row = |text: &str| {
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![1]))];
        arrays.extend(names.iter().map(|_| Arc::new(StringArray::from(vec![text])) as ArrayRef));
        RecordBatch::try_new(arrow_schema(&schema), arrays).expect("a column a name")
    };
    for (number, name) in names.iter().enumerate() {
        let mut case = Case::new(harness, &format!("hostile_{number}"), &schema);
        case.table.live = Some(format!("{name} {number}"));
        case.table.history = Some(format!("{name} {number} history"));
        for view in &mut case.table.views {
            view.schema = name.to_lowercase();
            view.name = format!("{name} {number}{}", if view.is_history { " history" } else { "" });
        }
        case.ledger.commit(&row(name));
        case.deliver(&format!("{name:?}, everything")).await;
        case.ledger.commit(&row("changed"));
        case.deliver(&format!("{name:?}, changes")).await;
        case.harness.open().await.remove(std::slice::from_ref(&case.table), 1).await.expect("and away");
    }
}
