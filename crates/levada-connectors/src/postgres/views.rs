//! What workspaces see: views on the physical tables, in a schema per workspace.
//!
//! A view is replaced in place where PostgreSQL allows it, so that views that users put on ours
//! live on; otherwise it is dropped without CASCADE and created anew with the rights and comments that it had.
//! `levada.views` says which views are ours; nothing else is ever replaced or dropped.

use super::error::{self, During};
use super::quote::{identifier, literal};
use super::tables::{advisory_lock, physical};
use levada_flow::FlowError;
use levada_flow::sink::{DeliveredTable, DeliveredView};
use std::collections::{BTreeMap, BTreeSet};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

/// A view by schema and name.
pub(super) type ViewName = (String, String);

/// A view of ours as the database has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct OwnView {
    pub(super) table: String,
    pub(super) definition: String,
    /// The dataset that it shows; `None`: its table has no mark any more.
    pub(super) dataset: Option<String>,
    /// Somebody may have dropped it.
    pub(super) exists: bool,
}

/// A view as it has to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct WantedView {
    pub(super) table: String,
    pub(super) dataset: String,
    pub(super) definition: String,
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
            let definition = definition(table, view, physical_name);
            let (table, dataset) = (physical_name.clone(), table.source.to_string());
            let wanted_view = WantedView { table, dataset, definition };
            if wanted.insert((view.schema.clone(), view.name.clone()), wanted_view).is_some() {
                let (schema, name) = (&view.schema, &view.name);
                return Err(FlowError::never(format!("two datasets want one view {schema}.{name}")));
            }
        }
    }
    Ok(wanted)
}

/// Refuses to take a view from another dataset; another platform's on the same one is taken over.
pub(super) fn check_owners(
    wanted: &BTreeMap<ViewName, WantedView>,
    own: &BTreeMap<ViewName, OwnView>,
) -> Result<(), FlowError> {
    for (name, wanted) in wanted {
        let owner = own.get(name).and_then(|own| own.dataset.as_ref());
        if let Some(owner) = owner.filter(|owner| **owner != wanted.dataset) {
            let (schema, view) = name;
            return Err(FlowError::never(format!("{}: view {schema}.{view} shows {owner} already", wanted.dataset))
                .hint("a view's name is store and dataset in lower case, joined by _: rename one of them"));
        }
    }
    Ok(())
}

/// What stands behind CREATE VIEW and the name.
fn definition(table: &DeliveredTable, view: &DeliveredView, physical_name: &str) -> String {
    let mut columns: Vec<String> = table.schema.columns.iter().map(|column| identifier(column.name.as_str())).collect();
    if view.is_history {
        columns.extend(["valid_from".to_owned(), "valid_to".to_owned()]);
    }
    let select = format!("SELECT {} FROM {}", columns.join(", "), physical(physical_name));
    match view.since.filter(|_| view.is_history) {
        // A barrier, so that no function of a reader sees the rows that the condition hides.
        Some(since) => format!(
            "WITH (security_barrier) AS {select} WHERE valid_to IS NULL OR valid_to > {}",
            timestamp_literal(since)
        ),
        None => format!("AS {select}"),
    }
}

/// An instant, exact to the µs.
fn timestamp_literal(micros: i64) -> String {
    let (seconds, rest) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    format!("(to_timestamp({seconds}) + interval '{rest} microseconds')")
}

/// All views of ours on these tables or by these names.
pub(super) async fn own(
    client: &Client,
    tables: &[&str],
    names: impl Iterator<Item = &ViewName>,
) -> Result<BTreeMap<ViewName, OwnView>, FlowError> {
    let (schemas, views): (Vec<&str>, Vec<&str>) = names.map(|(schema, name)| (schema.as_str(), name.as_str())).unzip();
    let query = "
        SELECT v.view_schema, v.view_name, v.table_name, v.definition, a.dataset,
               EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                       WHERE n.nspname = v.view_schema AND c.relname = v.view_name AND c.relkind = 'v')
        FROM levada.views AS v LEFT JOIN levada.applied AS a ON a.table_name = v.table_name
        WHERE v.table_name = ANY($1)
           OR (v.view_schema, v.view_name) IN (SELECT s, n FROM unnest($2::text[], $3::text[]) AS wanted(s, n))";
    let rows = client.query(query, &[&tables, &schemas, &views]).await;
    let rows = rows.during(|| "levada.views can't be read".to_owned())?;
    let own = rows.iter().map(|row| {
        let view = OwnView { table: row.get(2), definition: row.get(3), dataset: row.get(4), exists: row.get(5) };
        ((row.get(0), row.get(1)), view)
    });
    Ok(own.collect())
}

/// Creates or replaces a view, and remembers that it is ours.
pub(super) async fn put(
    client: &Client,
    name: &ViewName,
    wanted: &WantedView,
    own: Option<&OwnView>,
) -> Result<(), FlowError> {
    let (schema, view) = name;
    let quoted = format!("{}.{}", identifier(schema), identifier(view));
    let failed = || format!("view {schema}.{view} can't be created");
    prepare_schema(client, schema).await?;
    if own.is_none_or(|own| !own.exists) {
        client.batch_execute(&format!("CREATE VIEW {quoted} {}", wanted.definition)).await.map_err(
            |error| match error.code() {
                Some(&SqlState::DUPLICATE_TABLE) => error::failed(failed(), error)
                    .hint("what has this name is not ours and stays; rename it, or the workspace"),
                _ => error::failed(failed(), error),
            },
        )?;
    } else {
        replace(client, name, &quoted, wanted).await?;
    }
    let remember = "
        INSERT INTO levada.views (view_schema, view_name, table_name, definition) VALUES ($1, $2, $3, $4)
        ON CONFLICT (view_schema, view_name)
            DO UPDATE SET table_name = excluded.table_name, definition = excluded.definition";
    client.execute(remember, &[schema, view, &wanted.table, &wanted.definition]).await.during(failed).map(drop)
}

/// Creates a workspace's schema where it is missing; asking first needs no right to create.
async fn prepare_schema(client: &Client, schema: &str) -> Result<(), FlowError> {
    let query = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)";
    let failed = || format!("schema {schema} can't be created");
    if client.query_one(query, &[&schema]).await.during(failed)?.get(0) {
        return Ok(());
    }
    // Two workers may find it missing at once.
    let lock = advisory_lock(&format!("schema {schema}"));
    let create = format!("{lock}; CREATE SCHEMA IF NOT EXISTS {}", identifier(schema));
    client.batch_execute(&create).await.during(failed)
}

async fn replace(client: &Client, name: &ViewName, quoted: &str, wanted: &WantedView) -> Result<(), FlowError> {
    let failed = || format!("view {}.{} can't be replaced", name.0, name.1);
    client.batch_execute("SAVEPOINT lv_view").await.during(failed)?;
    match client.batch_execute(&format!("CREATE OR REPLACE VIEW {quoted} {}", wanted.definition)).await {
        Ok(()) => client.batch_execute("RELEASE lv_view").await.during(failed),
        // Its columns are others now.
        Err(error) if error.code() == Some(&SqlState::INVALID_TABLE_DEFINITION) => {
            client.batch_execute("ROLLBACK TO lv_view; RELEASE lv_view").await.during(failed)?;
            let extras = extras(client, name).await?;
            remove(client, name).await?;
            client.batch_execute(&format!("CREATE VIEW {quoted} {}", wanted.definition)).await.during(failed)?;
            put_extras(client, name, extras).await
        }
        Err(error) => Err(error::failed(failed(), error)),
    }
}

/// Rights and comments on a view and its columns, as the column (none: the view) and the statement
/// that makes them.
const EXTRAS: &str = "
    WITH view AS (
        SELECT c.oid, c.relacl, c.relowner, format('%I.%I', n.nspname, c.relname) AS name
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2),
    rights AS (
        SELECT NULL::text AS attname, '' AS part, a.* FROM view, aclexplode(view.relacl) AS a
        UNION ALL
        SELECT t.attname::text, format(' (%I)', t.attname), a.*
        FROM view JOIN pg_attribute t ON t.attrelid = view.oid AND NOT t.attisdropped, aclexplode(t.attacl) AS a)
    SELECT attname, format('GRANT %s%s ON %s TO %s%s', privilege_type, part, name,
                           CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
                           CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM view, rights WHERE grantee <> relowner
    UNION ALL
    SELECT NULL, format('COMMENT ON VIEW %s IS %L', name, obj_description(oid, 'pg_class'))
    FROM view WHERE obj_description(oid, 'pg_class') IS NOT NULL
    UNION ALL
    SELECT t.attname::text, format('COMMENT ON COLUMN %s.%I IS %L', name, t.attname, col_description(view.oid, t.attnum))
    FROM view JOIN pg_attribute t ON t.attrelid = view.oid WHERE col_description(view.oid, t.attnum) IS NOT NULL";

/// What stands on a view and would go with it, whoever put it there: the column, and the SQL.
async fn extras(client: &Client, name: &ViewName) -> Result<Vec<(Option<String>, String)>, FlowError> {
    let rows = client.query(EXTRAS, &[&name.0, &name.1]).await;
    let rows = rows.during(|| format!("rights and comments on view {}.{} can't be read", name.0, name.1))?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Puts on a new view what stood on the one before, but for the columns that are gone.
async fn put_extras(client: &Client, name: &ViewName, extras: Vec<(Option<String>, String)>) -> Result<(), FlowError> {
    let failed = || format!("rights and comments on view {}.{} can't be put back", name.0, name.1);
    let query = "
        SELECT t.attname::text FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relname = $2 AND t.attnum > 0 AND NOT t.attisdropped";
    let rows = client.query(query, &[&name.0, &name.1]).await.during(failed)?;
    let columns: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    let is_left = |column: &Option<String>| column.as_ref().is_none_or(|column| columns.contains(column));
    let statements = extras.into_iter().filter(|(column, _)| is_left(column)).map(|(_, statement)| statement);
    client.batch_execute(&statements.collect::<Vec<_>>().join("; ")).await.during(failed)
}

/// Drops a view of ours, never what stands on it.
pub(super) async fn remove(client: &Client, name: &ViewName) -> Result<(), FlowError> {
    let (schema, view) = name;
    let drop_view = format!("DROP VIEW IF EXISTS {}.{}", identifier(schema), identifier(view));
    client.batch_execute(&drop_view).await.map_err(|error| in_use(&format!("view {schema}.{view}"), error))
}

/// Forgets a view of ours that is gone.
pub(super) async fn forget(client: &Client, name: &ViewName) -> Result<(), FlowError> {
    let (schema, view) = (literal(&name.0), literal(&name.1));
    let statements = format!(
        "DELETE FROM levada.views WHERE view_schema = {schema} AND view_name = {view}; \
         DELETE FROM levada.grants WHERE view_schema = {schema} AND view_name = {view}"
    );
    client.batch_execute(&statements).await.during(|| format!("view {}.{} can't be forgotten", name.0, name.1))
}

/// An error of DROP: where something of a user's stands on it, that is named.
pub(super) fn in_use(what: &str, error: tokio_postgres::Error) -> FlowError {
    if error.code() != Some(&SqlState::DEPENDENT_OBJECTS_STILL_EXIST) {
        return error::failed(format!("{what} can't be replaced"), error);
    }
    let dependents = error.as_db_error().and_then(|error| error.detail()).unwrap_or_default().replace('\n', ", ");
    FlowError::never(format!("{what} has to change, and others stand on it: {dependents}"))
        .hint("drop what stands on it, deliver, and create it again; Levada never drops what is not its own")
}
