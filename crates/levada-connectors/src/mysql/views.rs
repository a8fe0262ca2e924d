//! What workspaces see: views on the physical tables, in a database per workspace.
//!
//! A view is replaced in place, so that grants on it and views on it live on. `levada.views` says
//! which views are ours; nothing else is ever replaced or dropped. A record is made before its view
//! and forgotten after it; until the view is as it says, its definition is empty.

use super::config::Session;
use super::error::During;
use super::quote::identifier;
use super::tables::{DATABASE, physical, placeholders};
use levada_flow::FlowError;
use levada_flow::sink::{DeliveredTable, DeliveredView};
use mysql_async::prelude::Queryable;
use mysql_async::{Params, Row, Value};
use std::collections::BTreeMap;

/// A view by database and name.
pub(super) type ViewName = (String, String);

/// How many views one question to the catalog asks for.
const VIEWS_AT_ONCE_MAX: usize = 64;

/// A view of ours as it was last put.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct OwnView {
    pub(super) table: String,
    pub(super) dataset: String,
    pub(super) definition: String,
}

/// A view as it has to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct WantedView {
    pub(super) table: String,
    pub(super) dataset: String,
    /// The columns, by their names.
    columns: Vec<String>,
    /// What follows the table.
    condition: String,
}

impl WantedView {
    /// What stands behind CREATE VIEW and the name.
    pub(super) fn definition(&self) -> String {
        self.definition_of(self.columns.iter())
    }

    /// The same with no columns but those that a table has, by their lower-case names.
    fn narrow_definition(&self, there: &[String]) -> String {
        let mut columns = self.columns.iter().filter(|column| there.contains(&column.to_lowercase())).peekable();
        let none = "lv_key_hash".to_owned();
        match columns.peek() {
            Some(_) => self.definition_of(columns),
            // A view needs a column, and every table of ours has this one.
            None => self.definition_of(std::iter::once(&none)),
        }
    }

    fn definition_of<'c>(&self, columns: impl Iterator<Item = &'c String>) -> String {
        let columns: Vec<String> = columns.map(|column| identifier(column)).collect();
        format!("AS SELECT {} FROM {}{}", columns.join(", "), physical(&self.table), self.condition)
    }
}

/// The views that all these datasets need.
pub(super) fn wanted(tables: &[&DeliveredTable]) -> Result<BTreeMap<ViewName, WantedView>, FlowError> {
    let mut wanted = BTreeMap::new();
    for table in tables {
        for view in &table.views {
            let physical_name = if view.is_history { &table.history } else { &table.live };
            let Some(physical_name) = physical_name else {
                let (source, name) = (&table.source, &view.name);
                return Err(FlowError::never(format!("{source}: view {name:?} has no table behind it")));
            };
            let view_wanted = wanted_view(table, view, physical_name);
            if wanted.insert((view.schema.clone(), view.name.clone()), view_wanted).is_some() {
                let (schema, name) = (&view.schema, &view.name);
                return Err(FlowError::never(format!("two datasets want one view {schema}.{name}")));
            }
        }
    }
    Ok(wanted)
}

fn wanted_view(table: &DeliveredTable, view: &DeliveredView, physical_name: &str) -> WantedView {
    let mut columns: Vec<String> = table.schema.columns.iter().map(|column| column.name.as_str().to_owned()).collect();
    if view.is_history {
        columns.extend(["valid_from".to_owned(), "valid_to".to_owned()]);
    }
    let condition = match view.since.filter(|_| view.is_history) {
        // Exact to the µs.
        Some(since) => format!(
            " WHERE valid_to IS NULL OR valid_to > TIMESTAMP'1970-01-01 00:00:00' + INTERVAL {since} MICROSECOND"
        ),
        None => String::new(),
    };
    WantedView { table: physical_name.to_owned(), dataset: table.source.to_string(), columns, condition }
}

/// All views of ours on these tables or by these names.
pub(super) async fn own(
    session: &mut Session,
    tables: &[&str],
    names: &[&ViewName],
) -> Result<BTreeMap<ViewName, OwnView>, FlowError> {
    let mut parameters: Vec<Value> = tables.iter().map(|table| Value::from(*table)).collect();
    parameters.extend(names.iter().flat_map(|(schema, name)| [Value::from(schema), Value::from(name)]));
    let conditions = [
        (!tables.is_empty()).then(|| format!("table_name IN ({})", placeholders(tables.len()))),
        (!names.is_empty())
            .then(|| format!("(view_schema, view_name) IN ({})", vec!["(?, ?)"; names.len()].join(", "))),
    ];
    let conditions: Vec<String> = conditions.into_iter().flatten().collect();
    if conditions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let query = format!(
        "SELECT view_schema, view_name, table_name, dataset, definition FROM levada.views WHERE {}",
        conditions.join(" OR ")
    );
    let rows: Result<Vec<Row>, _> = session.exec(&query, Params::Positional(parameters)).await;
    let rows = rows.during(|| "levada.views can't be read".to_owned())?;
    let own = rows.into_iter().map(|row| {
        let (schema, name, table, dataset, definition) = mysql_async::from_row(row);
        ((schema, name), OwnView { table, dataset, definition })
    });
    Ok(own.collect())
}

/// What is there under these names: whether it is a view. What is missing is not there.
pub(super) async fn there(session: &mut Session, names: &[&ViewName]) -> Result<BTreeMap<ViewName, bool>, FlowError> {
    let mut found = BTreeMap::new();
    for some in names.chunks(VIEWS_AT_ONCE_MAX) {
        let one = |number| {
            format!(
                "SELECT {number}, table_type FROM information_schema.tables WHERE table_schema = ? AND table_name = ?"
            )
        };
        let query = (0..some.len()).map(one).collect::<Vec<_>>().join(" UNION ALL ");
        let parameters = some.iter().flat_map(|(schema, name)| [Value::from(schema), Value::from(name)]).collect();
        let rows: Result<Vec<(usize, String)>, _> = session.exec(&query, Params::Positional(parameters)).await;
        for (number, table_type) in rows.during(|| "the catalog can't be read".to_owned())? {
            found.insert(some[number].clone(), table_type == "VIEW");
        }
    }
    Ok(found)
}

/// Refuses to take a name from somebody else: another dataset's view, or what is none of ours.
/// Another platform's view on the same dataset is taken over.
pub(super) fn check_owners(
    wanted: &BTreeMap<ViewName, WantedView>,
    own: &BTreeMap<ViewName, OwnView>,
    there: &BTreeMap<ViewName, bool>,
) -> Result<(), FlowError> {
    for (name, wanted) in wanted {
        let (schema, view) = name;
        let dataset = &wanted.dataset;
        match (own.get(name), there.get(name)) {
            (Some(own), _) if own.dataset != *dataset => {
                let owner = &own.dataset;
                return Err(FlowError::never(format!("{dataset}: view {schema}.{view} shows {owner} already"))
                    .hint("a view's name is store and dataset in lower case, joined by _: rename one of them"));
            }
            (None, Some(_)) | (Some(_), Some(false)) => {
                return Err(FlowError::never(format!("{dataset}: {schema}.{view} is there already, and is not ours"))
                    .hint("what has this name stays; rename it, or the workspace"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Lets a view that has to change show no columns but those that its table has before and after a
/// swap, so that it stays readable over it.
pub(super) async fn narrow(session: &mut Session, name: &ViewName, wanted: &WantedView) -> Result<(), FlowError> {
    let query = "SELECT column_name FROM information_schema.columns WHERE table_schema = ? AND table_name = ?";
    let there: Result<Vec<String>, _> = session.exec(query, (DATABASE, &wanted.table)).await;
    let there = there.during(|| format!("the columns of levada.{} can't be read", wanted.table))?;
    let there: Vec<String> = there.iter().map(|column| column.to_lowercase()).collect();
    replace(session, name, wanted, &wanted.narrow_definition(&there)).await
}

/// Creates or replaces a view, and remembers that it is ours.
pub(super) async fn put(session: &mut Session, name: &ViewName, wanted: &WantedView) -> Result<(), FlowError> {
    prepare_schema(session, &name.0).await?;
    let definition = wanted.definition();
    replace(session, name, wanted, &definition).await?;
    remember(session, name, wanted, &definition).await
}

async fn replace(
    session: &mut Session,
    name: &ViewName,
    wanted: &WantedView,
    definition: &str,
) -> Result<(), FlowError> {
    remember(session, name, wanted, "").await?;
    let (schema, view) = name;
    let quoted = format!("{}.{}", identifier(schema), identifier(view));
    let create = format!("CREATE OR REPLACE ALGORITHM = MERGE SQL SECURITY DEFINER VIEW {quoted} {definition}");
    session.define(&create, || format!("view {schema}.{view} can't be created")).await
}

async fn remember(
    session: &mut Session,
    name: &ViewName,
    wanted: &WantedView,
    definition: &str,
) -> Result<(), FlowError> {
    let statement = "REPLACE INTO levada.views (view_schema, view_name, table_name, dataset, definition) \
                     VALUES (?, ?, ?, ?, ?)";
    let (schema, view) = name;
    let remembered = session.exec_drop(statement, (schema, view, &wanted.table, &wanted.dataset, definition)).await;
    remembered.during(|| format!("view {schema}.{view} can't be recorded"))
}

/// Creates a workspace's database where it is missing; asking first needs no right to create.
async fn prepare_schema(session: &mut Session, schema: &str) -> Result<(), FlowError> {
    let query = "SELECT 1 FROM information_schema.schemata WHERE schema_name = ?";
    let failed = || format!("database {schema} can't be created");
    let found: Option<i64> = session.exec_first(query, (schema,)).await.during(failed)?;
    if found.is_some() {
        return Ok(());
    }
    let create =
        format!("CREATE DATABASE IF NOT EXISTS {} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", identifier(schema));
    session.run(&create, failed).await
}

/// Drops a view of ours and forgets it; its grants are seen to before.
pub(super) async fn remove(session: &mut Session, name: &ViewName) -> Result<(), FlowError> {
    let (schema, view) = name;
    let failed = || format!("view {schema}.{view} can't be dropped");
    // Somebody may have put a table in its place.
    if there(session, &[name]).await?.get(name) == Some(&true) {
        session.define(&format!("DROP VIEW IF EXISTS {}.{}", identifier(schema), identifier(view)), failed).await?;
    }
    let forget = "DELETE FROM levada.views WHERE view_schema = ? AND view_name = ?";
    session.exec_drop(forget, (schema, view)).await.during(failed)
}
