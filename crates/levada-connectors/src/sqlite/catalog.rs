//! What Levada keeps about itself in a consumer's database, and what else is there.
//!
//! `levada__applied` has one row per delivered dataset, `levada__views` one per view of ours; a
//! table or view that neither names belongs to somebody else and is never touched.

use super::config::{failed, quoted};
use levada_flow::FlowError;
use levada_flow::sink::{DeliveredTable, Mark};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeSet;

/// Starts the name of every table of ours.
const PREFIX: &str = "levada__";

/// Physical names that the catalog itself needs.
const RESERVED: [&str; 3] = ["applied", "views", "building"];

/// The table that a delivery fills before it takes the place of the old one.
pub(super) const BUILDING: &str = "levada__building";

/// The table behind a physical name.
pub(super) fn table_name(physical: &str) -> Result<String, FlowError> {
    match RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(physical)) {
        true => Err(FlowError::never(format!("{physical:?} can't be the physical name of a delivered table"))),
        false => Ok(format!("{PREFIX}{physical}")),
    }
}

/// The row of a dataset: its mark, and the physical names its tables have now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Applied {
    pub(super) name: String,
    pub(super) mark: Mark,
    pub(super) live: Option<String>,
    pub(super) history: Option<String>,
}

/// The name that starts a dataset's row.
pub(super) fn row_name(table: &DeliveredTable) -> Result<&str, FlowError> {
    let name = table.live.as_deref().or(table.history.as_deref());
    name.ok_or_else(|| FlowError::never(format!("{} has neither a live nor a history table to deliver", table.source)))
}

/// Makes the catalog where it is missing.
pub(super) fn prepare(database: &Connection) -> Result<(), FlowError> {
    let made = database.execute_batch(
        "CREATE TABLE IF NOT EXISTS levada__applied (
             name TEXT PRIMARY KEY, batch INTEGER NOT NULL, incarnation TEXT NOT NULL, epoch INTEGER NOT NULL,
             shape TEXT NOT NULL, live TEXT, history TEXT);
         CREATE TABLE IF NOT EXISTS levada__views (view TEXT PRIMARY KEY COLLATE NOCASE, name TEXT NOT NULL);",
    );
    made.map_err(|error| failed("make the tables levada__applied and levada__views", error))?;
    match has_platforms(database)? {
        true => Ok(()),
        false => {
            let added = database.execute_batch(
                "ALTER TABLE main.levada__applied ADD COLUMN platform TEXT;
                 ALTER TABLE main.levada__applied ADD COLUMN dataset TEXT;",
            );
            added.map_err(|error| failed("change the table levada__applied", error))
        }
    }
}

/// Whether the rows say which platform delivers which dataset; those of earlier builds did not,
/// and get it with their next delivery.
fn has_platforms(database: &Connection) -> Result<bool, FlowError> {
    let query = "SELECT EXISTS (SELECT 1 FROM pragma_table_info('levada__applied') WHERE name = 'platform')";
    database.query_row(query, [], |row| row.get(0)).map_err(|error| failed("read the schema", error))
}

/// The row of a dataset, whatever its tables were named when it was written.
pub(super) fn applied(database: &Connection, table: &DeliveredTable) -> Result<Option<Applied>, FlowError> {
    if !exists(database, "levada__applied")? {
        return Ok(None);
    }
    // Both parameters are bound in either case.
    let is_same = match has_platforms(database)? {
        true => "(platform = ?3 AND dataset = ?4)",
        false => "(FALSE AND ?3 = ?4)",
    };
    let row = database
        .query_row(
            &format!(
                "SELECT name, batch, incarnation, epoch, shape, live, history FROM main.levada__applied \
                 WHERE name IN (?1, ?2) OR {is_same} ORDER BY {is_same} DESC, name = ?1 DESC"
            ),
            params![
                row_name(table)?,
                table.history.as_deref().or(table.live.as_deref()),
                table.platform.as_str(),
                table.source.to_string()
            ],
            |row| {
                let mark =
                    Mark { batch: row.get(1)?, incarnation: row.get(2)?, epoch: row.get(3)?, shape: row.get(4)? };
                Ok(Applied { name: row.get(0)?, mark, live: row.get(5)?, history: row.get(6)? })
            },
        )
        .optional();
    row.map_err(|error| failed("read levada__applied", error))
}

/// Replaces the row of a dataset.
pub(super) fn set_applied(
    database: &Connection,
    table: &DeliveredTable,
    previous: Option<&Applied>,
    mark: &Mark,
) -> Result<(), FlowError> {
    if let Some(previous) = previous {
        forget(database, &previous.name)?;
    }
    let written = database.execute(
        "INSERT INTO main.levada__applied \
             (name, batch, incarnation, epoch, shape, live, history, platform, dataset) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            row_name(table)?,
            mark.batch,
            mark.incarnation,
            mark.epoch,
            mark.shape,
            table.live,
            table.history,
            table.platform.as_str(),
            table.source.to_string()
        ],
    );
    written.map(|_| ()).map_err(|error| failed("write levada__applied", error))
}

/// Takes the row of a dataset away.
pub(super) fn forget(database: &Connection, name: &str) -> Result<(), FlowError> {
    let deleted = database.execute("DELETE FROM main.levada__applied WHERE name = ?1", [name]);
    deleted.map(|_| ()).map_err(|error| failed("write levada__applied", error))
}

/// Whether a table or view of this name is there.
pub(super) fn exists(database: &Connection, name: &str) -> Result<bool, FlowError> {
    let query =
        "SELECT EXISTS (SELECT 1 FROM main.sqlite_schema WHERE name = ?1 COLLATE NOCASE AND type IN ('table', 'view'))";
    database.query_row(query, [name], |row| row.get(0)).map_err(|error| failed("read the schema", error))
}

/// Brings the views of a dataset to exactly `wanted`: name and defining statement each. A view of
/// another platform on the same dataset is taken over, one of another dataset never.
pub(super) fn set_views(
    database: &Connection,
    dataset: &str,
    name: &str,
    previous: Option<&str>,
    wanted: &[(String, String)],
) -> Result<(), FlowError> {
    for view in views_of(database, &[Some(name), previous])? {
        if !wanted.iter().any(|(wanted, _)| wanted.eq_ignore_ascii_case(&view)) {
            drop_view(database, &view)?;
        }
    }
    for (view, statement) in wanted {
        let what = || format!("make view {view:?}");
        refuse_view_of_another(database, dataset, view)?;
        let query = "SELECT (SELECT sql FROM main.sqlite_schema WHERE name = ?1 COLLATE NOCASE AND type IN ('table', 'view')), \
                     EXISTS (SELECT 1 FROM main.levada__views WHERE view = ?1)";
        let there =
            database.query_row(query, [view], |row| Ok((row.get::<_, Option<String>>(0)?, row.get::<_, bool>(1)?)));
        match there.map_err(|error| failed(what(), error))? {
            (Some(_), false) => {
                return Err(FlowError::never(format!("{view:?} is there already, and Levada did not make it"))
                    .hint("rename it, or the workspace"));
            }
            (Some(sql), true) if sql == *statement => {}
            (Some(_), true) => {
                drop_view(database, view)?;
                database.execute_batch(statement).map_err(|error| failed(what(), error))?;
            }
            (None, _) => database.execute_batch(statement).map_err(|error| failed(what(), error))?,
        }
        let noted =
            database.execute("INSERT OR REPLACE INTO main.levada__views (view, name) VALUES (?1, ?2)", [view, name]);
        noted.map_err(|error| failed("write levada__views", error))?;
    }
    Ok(())
}

fn refuse_view_of_another(database: &Connection, dataset: &str, view: &str) -> Result<(), FlowError> {
    let query = "SELECT applied.dataset FROM main.levada__views AS views \
                 JOIN main.levada__applied AS applied ON applied.name = views.name WHERE views.view = ?1";
    let owner = database.query_row(query, [view], |row| row.get::<_, Option<String>>(0)).optional();
    match owner.map_err(|error| failed("read levada__views", error))?.flatten() {
        Some(owner) if owner != dataset => {
            Err(FlowError::never(format!("{dataset}: view {view:?} shows {owner} already"))
                .hint("a view's name is workspace, store and dataset in lower case, joined by _: rename one of them"))
        }
        _ => Ok(()),
    }
}

fn views_of(database: &Connection, names: &[Option<&str>; 2]) -> Result<Vec<String>, FlowError> {
    let read = || -> rusqlite::Result<Vec<String>> {
        let mut statement =
            database.prepare("SELECT view FROM main.levada__views WHERE name IN (?1, ?2) ORDER BY view")?;
        let rows = statement.query_map(params![names[0], names[1]], |row| row.get(0))?;
        rows.collect()
    };
    read().map_err(|error| failed("read levada__views", error))
}

fn drop_view(database: &Connection, view: &str) -> Result<(), FlowError> {
    let dropped = database.execute_batch(&format!("DROP VIEW IF EXISTS main.{}", quoted(view)));
    dropped.map_err(|error| failed(format!("drop view {view:?}"), error))?;
    let forgotten = database.execute("DELETE FROM main.levada__views WHERE view = ?1", [view]);
    forgotten.map(|_| ()).map_err(|error| failed("write levada__views", error))
}

/// The views of others that can be read now; a delivery must not break any of them.
pub(super) fn readable_foreign_views(database: &Connection) -> Result<BTreeSet<String>, FlowError> {
    let read = || -> rusqlite::Result<Vec<String>> {
        let mut statement = database.prepare(
            "SELECT name FROM main.sqlite_schema WHERE type = 'view' AND name COLLATE NOCASE NOT IN \
             (SELECT view FROM main.levada__views)",
        )?;
        let rows = statement.query_map([], |row| row.get(0))?;
        rows.collect()
    };
    let views = read().map_err(|error| failed("list the views", error))?;
    Ok(views.into_iter().filter(|view| is_readable(database, view)).collect())
}

/// Refuses what was done where it broke somebody's view.
pub(super) fn check_foreign_views(database: &Connection, readable: &BTreeSet<String>) -> Result<(), FlowError> {
    match readable.iter().find(|view| !is_readable(database, view)) {
        None => Ok(()),
        Some(view) => Err(FlowError::never(format!("view {view:?} reads what this delivery takes away or changes"))
            .hint("Levada did not make that view and leaves it alone: drop or change it")),
    }
}

fn is_readable(database: &Connection, view: &str) -> bool {
    database.prepare(&format!("SELECT * FROM main.{}", quoted(view))).is_ok()
}
