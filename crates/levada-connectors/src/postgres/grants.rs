//! Who may read which view.
//!
//! Takes the readers of views, grants what is missing and takes back what was ours and is no
//! longer wanted. `levada.grants` holds the readers that we have seen to, and whether the grant is
//! ours or was there before; its rows without a view name are the right to use the schema. What
//! others granted is never taken away.

use super::error::During;
use super::quote::identifier;
use super::tables::advisory_lock;
use super::views::ViewName;
use levada_flow::FlowError;
use levada_flow::sink::{DeliveredTable, UnknownReader};
use levada_model::model::Reader;
use std::collections::{BTreeMap, BTreeSet};
use tokio_postgres::Client;

/// Readers by view, without the unknown ones.
pub(super) fn wanted(tables: &[&DeliveredTable], unknown: &[UnknownReader]) -> BTreeMap<ViewName, BTreeSet<String>> {
    let unknown: BTreeSet<&str> = unknown.iter().map(|unknown| unknown.reader.as_str()).collect();
    let mut wanted: BTreeMap<ViewName, BTreeSet<String>> = BTreeMap::new();
    for view in tables.iter().flat_map(|table| &table.views) {
        let readers = wanted.entry((view.schema.clone(), view.name.clone())).or_default();
        let names = view.readers.iter().map(name_of).filter(|name| !unknown.contains(name));
        readers.extend(names.map(str::to_owned));
    }
    wanted
}

/// In PostgreSQL users are roles.
fn name_of(reader: &Reader) -> &str {
    let (Reader::Role(name) | Reader::User(name)) = reader;
    name
}

/// The readers that the database does not know.
pub(super) async fn unknown(
    client: &Client,
    place: &str,
    tables: &[&DeliveredTable],
) -> Result<Vec<UnknownReader>, FlowError> {
    let views = || tables.iter().flat_map(|table| table.views.iter().map(move |view| (table, view)));
    let readers: BTreeSet<&str> = views().flat_map(|(_, view)| view.readers.iter().map(name_of)).collect();
    let readers: Vec<&str> = readers.into_iter().collect();
    let query = "SELECT r FROM unnest($1::text[]) AS r WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r)";
    let rows = client.query(query, &[&readers]).await.during(|| format!("the roles at {place} can't be read"))?;
    let missing: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    let unknown = views().flat_map(|(table, view)| {
        let names = view.readers.iter().map(name_of).filter(|name| missing.contains(*name));
        names.map(|reader| UnknownReader {
            source: table.source.clone(),
            workspace: view.workspace.clone(),
            reader: reader.to_owned(),
        })
    });
    Ok(unknown.collect::<BTreeSet<_>>().into_iter().collect())
}

/// Readers by name, and whether their grant is ours.
pub(super) type Readers = BTreeMap<String, bool>;

/// The readers of these views that we have seen to.
pub(super) async fn own(
    client: &Client,
    views: impl Iterator<Item = &ViewName>,
) -> Result<BTreeMap<ViewName, Readers>, FlowError> {
    let (schemas, names): (Vec<&str>, Vec<&str>) = views.map(|(schema, name)| (schema.as_str(), name.as_str())).unzip();
    let query = "
        SELECT view_schema, view_name, grantee, is_ours FROM levada.grants
        WHERE (view_schema, view_name) IN (SELECT s, n FROM unnest($1::text[], $2::text[]) AS wanted(s, n))";
    let rows = client.query(query, &[&schemas, &names]).await.during(|| "levada.grants can't be read".to_owned())?;
    let mut own: BTreeMap<ViewName, Readers> = BTreeMap::new();
    for row in rows {
        own.entry((row.get(0), row.get(1))).or_default().insert(row.get(2), row.get(3));
    }
    Ok(own)
}

/// Lets the readers of one view in, and out who is no longer one.
pub(super) async fn put(
    client: &Client,
    name: &ViewName,
    wanted: &BTreeSet<String>,
    own: &Readers,
) -> Result<(), FlowError> {
    let (schema, view) = name;
    let right = format!("SELECT ON {}.{}", identifier(schema), identifier(view));
    let failed = || format!("the readers of view {schema}.{view} can't be changed");
    for (reader, is_ours) in own.iter().filter(|(reader, _)| !wanted.contains(*reader)) {
        if *is_ours {
            revoke(client, &right, reader).await.during(failed)?;
        }
        forget(client, schema, view, reader).await?;
    }
    for reader in wanted.iter().filter(|reader| !own.contains_key(*reader)) {
        // Granting to the owner, and taking it back some day, would lock the owner out.
        let has = "
            SELECT $3 = current_user OR EXISTS (
                SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) AS a
                WHERE n.nspname = $1 AND c.relname = $2 AND a.privilege_type = 'SELECT'
                  AND a.grantee = (SELECT oid FROM pg_roles WHERE rolname = $3))";
        let is_foreign: bool = client.query_one(has, &[schema, view, reader]).await.during(failed)?.get(0);
        if !is_foreign {
            client.batch_execute(&format!("GRANT {right} TO {}", identifier(reader))).await.during(failed)?;
        }
        remember(client, schema, view, reader, !is_foreign).await?;
    }
    Ok(())
}

/// Brings the right to use a schema in line with the readers of our views in it.
pub(super) async fn put_usage(client: &Client, schema: &str) -> Result<(), FlowError> {
    let failed = || format!("the right to use schema {schema} can't be changed");
    let query = "
        SELECT grantee, bool_or(view_name <> ''), bool_or(view_name = ''), bool_or(view_name = '' AND is_ours),
               grantee = current_user OR EXISTS (
                   SELECT FROM pg_namespace n, aclexplode(n.nspacl) AS a
                   WHERE n.nspname = $1 AND a.privilege_type = 'USAGE'
                     AND a.grantee = (SELECT oid FROM pg_roles WHERE rolname = grants.grantee))
        FROM levada.grants WHERE view_schema = $1 GROUP BY grantee ORDER BY grantee";
    let right = format!("USAGE ON SCHEMA {}", identifier(schema));
    // PostgreSQL lets only one transaction at a time change the rights on a schema.
    client.batch_execute(&advisory_lock(&format!("schema {schema}"))).await.during(failed)?;
    for row in client.query(query, &[&schema]).await.during(failed)? {
        let reader: String = row.get(0);
        let (is_wanted, is_seen_to, is_ours, is_foreign): (bool, bool, bool, bool) =
            (row.get(1), row.get(2), row.get(3), row.get(4));
        if is_wanted && !is_seen_to {
            if !is_foreign {
                client.batch_execute(&format!("GRANT {right} TO {}", identifier(&reader))).await.during(failed)?;
            }
            remember(client, schema, "", &reader, !is_foreign).await?;
        }
        if is_seen_to && !is_wanted {
            if is_ours {
                revoke(client, &right, &reader).await.during(failed)?;
            }
            forget(client, schema, "", &reader).await?;
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

async fn remember(client: &Client, schema: &str, view: &str, reader: &str, is_ours: bool) -> Result<(), FlowError> {
    let statement = "
        INSERT INTO levada.grants (view_schema, view_name, grantee, is_ours) VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING";
    let remembered = client.execute(statement, &[&schema, &view, &reader, &is_ours]).await;
    remembered.during(|| format!("the grant to {reader:?} can't be recorded")).map(drop)
}

async fn forget(client: &Client, schema: &str, view: &str, reader: &str) -> Result<(), FlowError> {
    let statement = "DELETE FROM levada.grants WHERE view_schema = $1 AND view_name = $2 AND grantee = $3";
    let forgotten = client.execute(statement, &[&schema, &view, &reader]).await;
    forgotten.during(|| format!("the grant to {reader:?} can't be forgotten")).map(drop)
}
