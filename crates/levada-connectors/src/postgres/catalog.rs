//! What a source database has, compared with what the model says.
//!
//! Takes the datasets of a pull, gives how to read each, or one error that names every missing
//! table and column and every type that does not fit, with the nearest name that exists.

use super::copy::ReadColumn;
use super::error::During;
use super::quote::{self, TableName};
use super::types::reading;
use crate::database::{did_you_mean, watermark_column};
use levada_flow::FlowError;
use levada_flow::source::{PullDataset, PullRequest};
use levada_model::Schema;
use levada_model::nearest::nearest;
use levada_model::period::{Period, PeriodUnit};
use postgres_types::Type;
use std::collections::BTreeMap;
use tokio_postgres::Client;

/// How one dataset is read.
#[derive(Clone, Debug)]
pub(super) struct DatasetPlan {
    pub(super) table: TableName,
    pub(super) columns: Vec<ReadColumn>,
    /// The types that a query gives for them.
    pub(super) types: Vec<Type>,
    pub(super) watermark: Option<WatermarkPlan>,
    /// The table's size as the server last estimated it: large tables are read first.
    pub(super) pages: i64,
}

/// How a dataset's newer rows are found.
#[derive(Clone, Debug)]
pub(super) struct WatermarkPlan {
    /// The column at the source.
    pub(super) column: String,
    /// Its type as SQL names it.
    pub(super) sql_type: String,
    /// What is subtracted from the greatest value; empty for nothing.
    pub(super) overlap: String,
}

/// A table as the catalog shows it.
struct FoundTable {
    pages: i64,
    is_readable: bool,
    /// Name → (SQL type, may be read).
    columns: BTreeMap<String, (String, bool)>,
}

const TABLES: &str = "
    SELECT n.nspname::text, c.relname::text, c.relpages::int8,
           has_schema_privilege(n.oid, 'USAGE') AND has_any_column_privilege(c.oid, 'SELECT'),
           a.attname::text, format_type(a.atttypid, a.atttypmod),
           CASE WHEN a.attnum IS NULL THEN false ELSE has_column_privilege(c.oid, a.attnum, 'SELECT') END
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN unnest($1::text[], $2::text[]) AS wanted(s, t) ON wanted.s = n.nspname AND wanted.t = c.relname
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')";

const NAMES: &str = "
    SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
    ORDER BY 1, 2 LIMIT 10000";

/// Compares the request with the catalog; every mismatch at once.
pub(super) async fn plan(
    client: &Client,
    place: &str,
    default_schema: &str,
    request: &PullRequest,
) -> Result<Vec<DatasetPlan>, FlowError> {
    let plans = plan_each(client, place, default_schema, request).await?;
    let mismatches: Vec<String> = plans.iter().filter_map(|plan| plan.as_ref().err()).flatten().cloned().collect();
    match mismatches.is_empty() {
        true => Ok(plans.into_iter().flatten().collect()),
        false => Err(FlowError::never(mismatches.join("; ")).hint(correct_hint(place))),
    }
}

/// What to do where the model and a database differ.
pub(super) fn correct_hint(place: &str) -> String {
    format!("compare the model with {place}: correct the datastore, or grant what is missing")
}

/// Compares each dataset of the request with the catalog: how it is read, or what does not fit.
pub(super) async fn plan_each(
    client: &Client,
    place: &str,
    default_schema: &str,
    request: &PullRequest,
) -> Result<Vec<Result<DatasetPlan, Vec<String>>>, FlowError> {
    let names: Vec<TableName> =
        request.datasets.iter().map(|dataset| TableName::parse(&dataset.table, default_schema)).collect();
    let found = find_tables(client, place, &names).await?;
    let mut plans = Vec::new();
    for (dataset, name) in request.datasets.iter().zip(&names) {
        let Some(table) = found.get(name) else {
            plans.push(Err(vec![missing_table(client, place, name).await?]));
            continue;
        };
        if !table.is_readable {
            plans.push(Err(vec![format!("table {name} may not be read by this user")]));
            continue;
        }
        let mut mismatches = Vec::new();
        check_columns(dataset, name, table, &mut mismatches);
        let watermark = plan_watermark(dataset, request, name, table, &mut mismatches);
        if !mismatches.is_empty() {
            plans.push(Err(mismatches));
            continue;
        }
        let (columns, types) =
            plan_columns(client, place, dataset, name, table, &mut mismatches).await?.into_iter().unzip();
        plans.push(match mismatches.is_empty() {
            true => Ok(DatasetPlan { table: name.clone(), columns, types, watermark, pages: table.pages }),
            false => Err(mismatches),
        });
    }
    Ok(plans)
}

async fn find_tables(
    client: &Client,
    place: &str,
    names: &[TableName],
) -> Result<BTreeMap<TableName, FoundTable>, FlowError> {
    let mut wanted = names.to_vec();
    wanted.sort();
    wanted.dedup();
    let schemas: Vec<&str> = wanted.iter().map(|name| name.schema.as_str()).collect();
    let tables: Vec<&str> = wanted.iter().map(|name| name.table.as_str()).collect();
    let rows = client.query(TABLES, &[&schemas, &tables]).await;
    let mut found = BTreeMap::new();
    for row in rows.during(|| format!("the catalog of {place} can't be read"))? {
        let name = TableName { schema: row.get(0), table: row.get(1) };
        let table = found.entry(name).or_insert_with(|| FoundTable {
            pages: row.get(2),
            is_readable: row.get(3),
            columns: BTreeMap::new(),
        });
        if let Some(column) = row.get::<_, Option<String>>(4) {
            table.columns.insert(column, (row.get(5), row.get(6)));
        }
    }
    Ok(found)
}

/// The sentence about a table that is not there.
async fn missing_table(client: &Client, place: &str, name: &TableName) -> Result<String, FlowError> {
    let rows = client.query(NAMES, &[]).await.during(|| format!("the catalog of {place} can't be read"))?;
    let all: Vec<TableName> = rows.iter().map(|row| TableName { schema: row.get(0), table: row.get(1) }).collect();
    let in_schema = all.iter().filter(|other| other.schema == name.schema);
    let near = nearest(&name.table, in_schema.map(|other| other.table.as_str())).map(str::to_owned).or_else(|| {
        let elsewhere = all.iter().find(|other| other.table == name.table);
        elsewhere.map(ToString::to_string)
    });
    Ok(format!("table {name} does not exist{}", did_you_mean(near.as_deref())))
}

fn check_columns(dataset: &PullDataset, name: &TableName, table: &FoundTable, mismatches: &mut Vec<String>) {
    for column in &dataset.schema.columns {
        match table.columns.get(column.source_name()) {
            None => {
                let near = nearest(column.source_name(), table.columns.keys().map(String::as_str));
                mismatches.push(format!("table {name} has no column {:?}{}", column.source_name(), did_you_mean(near)));
            }
            Some((_, false)) => {
                mismatches
                    .push(format!("column {:?} of table {name} may not be read by this user", column.source_name()));
            }
            Some(_) => {}
        }
    }
}

/// Asks the server for the types behind a SELECT list and finds how each is read.
async fn plan_columns(
    client: &Client,
    place: &str,
    dataset: &PullDataset,
    name: &TableName,
    table: &FoundTable,
    mismatches: &mut Vec<String>,
) -> Result<Vec<(ReadColumn, Type)>, FlowError> {
    let list: Vec<String> =
        dataset.schema.columns.iter().map(|column| quote::identifier(column.source_name())).collect();
    let query = format!("SELECT {} FROM {}", list.join(", "), name.quoted());
    let statement = client.prepare(&query).await.during(|| format!("table {name} at {place} can't be read"))?;
    let mut columns = Vec::new();
    for (column, found) in dataset.schema.columns.iter().zip(statement.columns()) {
        let Some(reading) = reading(&column.data_type, found.type_()) else {
            let (is, wanted) = (&table.columns[column.source_name()].0, &column.data_type);
            let source_name = column.source_name();
            mismatches.push(format!("column {source_name:?} of table {name} is {is}, the model says {wanted}"));
            continue;
        };
        let read = ReadColumn {
            name: column.name.as_str().to_owned(),
            source_name: column.source_name().to_owned(),
            data_type: column.data_type.clone(),
            is_nullable: column.nullable && !column.key,
            is_key: column.key,
            reading,
        };
        columns.push((read, found.type_().clone()));
    }
    Ok(columns)
}

/// How the columns of a delivered table are read back, by the names that consumers see.
pub(super) async fn read_columns(
    client: &Client,
    label: &str,
    physical: &str,
    schema: &Schema,
) -> Result<Vec<ReadColumn>, FlowError> {
    let list: Vec<String> = schema.columns.iter().map(|column| quote::identifier(column.name.as_str())).collect();
    let query = format!("SELECT {} FROM {physical}", list.join(", "));
    let statement = client.prepare(&query).await.during(|| format!("table {label} can't be read back"))?;
    let mut columns = Vec::new();
    for (column, found) in schema.columns.iter().zip(statement.columns()) {
        let name = column.name.as_str().to_owned();
        let Some(reading) = reading(&column.data_type, found.type_()) else {
            let (is, wanted) = (found.type_(), &column.data_type);
            return Err(FlowError::never(format!("column {name:?} of table {label} is {is} and no {wanted} any more")));
        };
        columns.push(ReadColumn {
            source_name: name.clone(),
            name,
            data_type: column.data_type.clone(),
            is_nullable: column.nullable && !column.key,
            is_key: column.key,
            reading,
        });
    }
    Ok(columns)
}

fn plan_watermark(
    dataset: &PullDataset,
    request: &PullRequest,
    name: &TableName,
    table: &FoundTable,
    mismatches: &mut Vec<String>,
) -> Option<WatermarkPlan> {
    let (source_name, overlap) = watermark_column(dataset, request, mismatches)?;
    let Some((sql_type, _)) = table.columns.get(source_name) else {
        let near = nearest(source_name, table.columns.keys().map(String::as_str));
        mismatches.push(format!("table {name} has no watermark column {source_name:?}{}", did_you_mean(near)));
        return None;
    };
    let is_temporal = ["date", "timestamp"].iter().any(|start| sql_type.starts_with(start));
    let overlap = match overlap {
        Some(overlap) if is_temporal => format!(" - interval {}", quote::literal(&sql_interval(overlap))),
        Some(overlap) => {
            mismatches.push(format!(
                "watermark column {source_name:?} of table {name} is {sql_type}: an overlap of {overlap} needs a date or \
                 timestamp"
            ));
            return None;
        }
        None => String::new(),
    };
    Some(WatermarkPlan { column: source_name.to_owned(), sql_type: sql_type.clone(), overlap })
}

fn sql_interval(period: Period) -> String {
    let unit = match period.unit {
        PeriodUnit::Seconds => "seconds",
        PeriodUnit::Minutes => "minutes",
        PeriodUnit::Hours => "hours",
        PeriodUnit::Days => "days",
        PeriodUnit::Weeks => "weeks",
        PeriodUnit::Months => "months",
        PeriodUnit::Years => "years",
    };
    format!("{} {unit}", period.count)
}
