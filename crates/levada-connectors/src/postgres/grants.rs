//! Who may read which view.
//!
//! Takes the readers of views, grants what is missing and takes back what was ours and is no
//! longer wanted. `levada.grants` holds our grants; its rows without a view name are the right to
//! use the schema. What others granted is never recorded, and so never taken away.

use super::error::During;
use super::quote::identifier;
use super::views::ViewName;
use levada_flow::FlowError;
use levada_flow::sink::DeliveredTable;
use levada_model::model::Reader;
use std::collections::{BTreeMap, BTreeSet};
use tokio_postgres::Client;

/// Readers by view. In PostgreSQL users are roles.
pub(super) fn wanted(tables: &[&DeliveredTable]) -> BTreeMap<ViewName, BTreeSet<String>> {
    let mut wanted: BTreeMap<ViewName, BTreeSet<String>> = BTreeMap::new();
    for view in tables.iter().flat_map(|table| &table.views) {
        let readers = wanted.entry((view.schema.clone(), view.name.clone())).or_default();
        readers.extend(view.readers.iter().map(|Reader::Role(name) | Reader::User(name)| name.clone()));
    }
    wanted
}

/// Refuses readers that the database does not know, all at once.
pub(super) async fn check(
    client: &Client,
    place: &str,
    wanted: &BTreeMap<ViewName, BTreeSet<String>>,
) -> Result<(), FlowError> {
    let readers: BTreeSet<&str> = wanted.values().flatten().map(String::as_str).collect();
    let readers: Vec<&str> = readers.into_iter().collect();
    let query = "SELECT r FROM unnest($1::text[]) AS r WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r)";
    let rows = client.query(query, &[&readers]).await.during(|| format!("the roles at {place} can't be read"))?;
    let missing: Vec<String> = rows.iter().map(|row| format!("{:?}", row.get::<_, String>(0))).collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(FlowError::never(format!("readers that PostgreSQL at {place} does not know: {}", missing.join(", ")))
            .hint("create the roles, or take them out of the workspace's readers")),
    }
}

/// Our grants on these views.
pub(super) async fn own(
    client: &Client,
    views: impl Iterator<Item = &ViewName>,
) -> Result<BTreeMap<ViewName, BTreeSet<String>>, FlowError> {
    let (schemas, names): (Vec<&str>, Vec<&str>) = views.map(|(schema, name)| (schema.as_str(), name.as_str())).unzip();
    let query = "
        SELECT view_schema, view_name, grantee FROM levada.grants
        WHERE (view_schema, view_name) IN (SELECT s, n FROM unnest($1::text[], $2::text[]) AS wanted(s, n))";
    let rows = client.query(query, &[&schemas, &names]).await.during(|| "levada.grants can't be read".to_owned())?;
    let mut own: BTreeMap<ViewName, BTreeSet<String>> = BTreeMap::new();
    for row in rows {
        own.entry((row.get(0), row.get(1))).or_default().insert(row.get(2));
    }
    Ok(own)
}

/// Lets the readers of one view in, and out who is no longer one.
pub(super) async fn put(
    client: &Client,
    name: &ViewName,
    wanted: &BTreeSet<String>,
    own: &BTreeSet<String>,
) -> Result<(), FlowError> {
    let (schema, view) = name;
    let quoted = format!("{}.{}", identifier(schema), identifier(view));
    let failed = || format!("the readers of view {schema}.{view} can't be changed");
    for reader in own.difference(wanted) {
        revoke(client, &format!("SELECT ON {quoted}"), reader).await.during(failed)?;
        let forget = "DELETE FROM levada.grants WHERE view_schema = $1 AND view_name = $2 AND grantee = $3";
        client.execute(forget, &[schema, view, reader]).await.during(failed)?;
    }
    for reader in wanted.difference(own) {
        let has = "
            SELECT $3 = current_user OR EXISTS (
                SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) AS a
                WHERE n.nspname = $1 AND c.relname = $2 AND a.privilege_type = 'SELECT'
                  AND a.grantee = (SELECT oid FROM pg_roles WHERE rolname = $3))";
        let is_foreign: bool = client.query_one(has, &[schema, view, reader]).await.during(failed)?.get(0);
        if is_foreign {
            continue;
        }
        client.batch_execute(&format!("GRANT SELECT ON {quoted} TO {}", identifier(reader))).await.during(failed)?;
        remember(client, schema, view, reader).await?;
    }
    Ok(())
}

/// Brings the right to use a schema in line with our grants on its views.
pub(super) async fn put_usage(client: &Client, schema: &str) -> Result<(), FlowError> {
    let failed = || format!("the right to use schema {schema} can't be changed");
    let query = "
        SELECT grantee, bool_or(view_name <> '') AS is_wanted, bool_or(view_name = '') AS is_granted,
               EXISTS (SELECT FROM pg_namespace n, aclexplode(n.nspacl) AS a
                       WHERE n.nspname = $1 AND a.privilege_type = 'USAGE'
                         AND a.grantee = (SELECT oid FROM pg_roles WHERE rolname = grants.grantee)) AS has_it
        FROM levada.grants WHERE view_schema = $1 GROUP BY grantee ORDER BY grantee";
    for row in client.query(query, &[&schema]).await.during(failed)? {
        let (reader, is_wanted, is_granted, has_it): (String, bool, bool, bool) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        let right = format!("USAGE ON SCHEMA {}", identifier(schema));
        if is_wanted && !has_it {
            client.batch_execute(&format!("GRANT {right} TO {}", identifier(&reader))).await.during(failed)?;
            remember(client, schema, "", &reader).await?;
        }
        if is_granted && !is_wanted {
            revoke(client, &right, &reader).await.during(failed)?;
            let forget = "DELETE FROM levada.grants WHERE view_schema = $1 AND view_name = '' AND grantee = $2";
            client.execute(forget, &[&schema, &reader]).await.during(failed)?;
        }
    }
    Ok(())
}

/// Takes a right back from a role that may be gone already.
async fn revoke(client: &Client, right: &str, reader: &str) -> Result<(), tokio_postgres::Error> {
    let exists = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)";
    match client.query_one(exists, &[&reader]).await?.get(0) {
        true => client.batch_execute(&format!("REVOKE {right} FROM {}", identifier(reader))).await,
        false => Ok(()),
    }
}

async fn remember(client: &Client, schema: &str, view: &str, reader: &str) -> Result<(), FlowError> {
    let statement = "
        INSERT INTO levada.grants (view_schema, view_name, grantee) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    let remembered = client.execute(statement, &[&schema, &view, &reader]).await;
    remembered.during(|| format!("the grant to {reader:?} can't be recorded")).map(drop)
}
