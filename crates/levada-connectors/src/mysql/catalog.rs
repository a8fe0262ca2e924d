//! What a source database has, compared with what the model says.
//!
//! Takes the datasets of a pull, gives how to read each, or one error that names every missing
//! table and column and every type that does not fit, with the nearest name that exists.

use super::config::Session;
use super::error::During;
use super::quote::TableName;
use super::rows::ReadColumn;
use super::types::Wire;
use crate::database::{did_you_mean, watermark_column};
use levada_flow::FlowError;
use levada_flow::source::{PullDataset, PullRequest};
use levada_model::Schema;
use levada_model::nearest::nearest;
use levada_model::period::{Period, PeriodUnit};
use mysql_async::prelude::Queryable;
use std::collections::BTreeMap;

/// How one dataset is read.
#[derive(Clone, Debug)]
pub(super) struct DatasetPlan {
    pub(super) table: TableName,
    pub(super) columns: Vec<ReadColumn>,
    pub(super) watermark: Option<WatermarkPlan>,
}

/// How a dataset's newer rows are found.
#[derive(Clone, Debug)]
pub(super) struct WatermarkPlan {
    /// The column at the source.
    pub(super) column: String,
    /// What makes a value of its type of a parameter.
    pub(super) cast: &'static str,
    /// What is subtracted from the greatest value; empty for nothing.
    pub(super) overlap: String,
}

/// Lower-case name → what the catalog says; MySQL's names of columns have no case.
type FoundColumns = BTreeMap<String, FoundColumn>;

struct FoundColumn {
    name: String,
    data_type: String,
    /// With its arguments, such as `bigint(20) unsigned`.
    column_type: String,
    is_readable: bool,
}

const COLUMNS: &str = "SELECT column_name, data_type, column_type, privileges FROM information_schema.columns \
    WHERE table_schema = ? AND table_name = ?";

const TABLES: &str = "SELECT table_name FROM information_schema.tables WHERE table_schema = ? ORDER BY 1 LIMIT 10000";

/// Compares the request with the catalog.
pub(super) async fn plan(
    session: &mut Session,
    place: &str,
    default_schema: &str,
    request: &PullRequest,
) -> Result<Vec<DatasetPlan>, FlowError> {
    let mut mismatches = Vec::new();
    let mut plans = Vec::new();
    for plan in plan_each(session, place, default_schema, request).await? {
        match plan {
            Ok(plan) => plans.push(plan),
            Err(problems) => mismatches.extend(problems),
        }
    }
    match mismatches.is_empty() {
        true => Ok(plans),
        false => Err(FlowError::never(mismatches.join("; ")).hint(correct_hint(place))),
    }
}

/// What to do about a catalog that does not fit.
pub(super) fn correct_hint(place: &str) -> String {
    format!("compare the model with {place}: correct the datastore, or grant what is missing")
}

/// The same dataset by dataset: what does not fit in one is no problem of the others.
pub(super) async fn plan_each(
    session: &mut Session,
    place: &str,
    default_schema: &str,
    request: &PullRequest,
) -> Result<Vec<Result<DatasetPlan, Vec<String>>>, FlowError> {
    let mut plans = Vec::new();
    for dataset in &request.datasets {
        let name = TableName::parse(&dataset.table, default_schema);
        let found = find_columns(session, place, &name).await?;
        if found.is_empty() {
            plans.push(Err(vec![missing_table(session, place, &name).await?]));
            continue;
        }
        let mut mismatches = Vec::new();
        let columns = plan_columns(&dataset.schema, &name, &found, |column| column.source_name(), &mut mismatches);
        let watermark = plan_watermark(dataset, request, &name, &found, &mut mismatches);
        plans.push(match mismatches.is_empty() {
            true => Ok(DatasetPlan { table: name, columns, watermark }),
            false => Err(mismatches),
        });
    }
    Ok(plans)
}

/// How the columns of a delivered table are read back, by the names that consumers see.
pub(super) async fn read_columns(
    session: &mut Session,
    place: &str,
    table: &TableName,
    schema: &Schema,
) -> Result<Vec<ReadColumn>, FlowError> {
    let found = find_columns(session, place, table).await?;
    let mut mismatches = Vec::new();
    let columns = plan_columns(schema, table, &found, |column| column.name.as_str(), &mut mismatches);
    match mismatches.is_empty() {
        true => Ok(columns),
        false => Err(FlowError::never(mismatches.join("; "))),
    }
}

async fn find_columns(session: &mut Session, place: &str, name: &TableName) -> Result<FoundColumns, FlowError> {
    let rows: Result<Vec<(String, String, String, String)>, _> =
        session.exec(COLUMNS, (&name.schema, &name.table)).await;
    let rows = rows.during(|| format!("the catalog of {place} can't be read"))?;
    let found = rows.into_iter().map(|(name, data_type, column_type, privileges)| {
        let is_readable = privileges.split(',').any(|privilege| privilege == "select");
        (name.to_lowercase(), FoundColumn { name, data_type, column_type, is_readable })
    });
    Ok(found.collect())
}

/// The sentence about a table that is not there.
async fn missing_table(session: &mut Session, place: &str, name: &TableName) -> Result<String, FlowError> {
    let tables: Result<Vec<String>, _> = session.exec(TABLES, (&name.schema,)).await;
    let tables = tables.during(|| format!("the catalog of {place} can't be read"))?;
    let near = nearest(&name.table, tables.iter().map(String::as_str));
    Ok(format!("table {name} does not exist, or this user may read nothing of it{}", did_you_mean(near)))
}

fn plan_columns(
    schema: &Schema,
    table: &TableName,
    found: &FoundColumns,
    source_name: impl Fn(&levada_model::SchemaColumn) -> &str,
    mismatches: &mut Vec<String>,
) -> Vec<ReadColumn> {
    let mut columns = Vec::new();
    for column in &schema.columns {
        let wanted = source_name(column);
        let Some(there) = found.get(&wanted.to_lowercase()) else {
            let near = nearest(wanted, found.values().map(|column| column.name.as_str()));
            mismatches.push(format!("table {table} has no column {wanted:?}{}", did_you_mean(near)));
            continue;
        };
        if !there.is_readable {
            mismatches.push(format!("column {wanted:?} of table {table} may not be read by this user"));
            continue;
        }
        match Wire::of(&there.data_type).filter(|wire| wire.is_readable_as(&column.data_type)) {
            Some(wire) => columns.push(ReadColumn {
                name: column.name.as_str().to_owned(),
                source_name: wanted.to_owned(),
                data_type: column.data_type.clone(),
                is_nullable: column.nullable && !column.key,
                is_key: column.key,
                wire,
            }),
            None => {
                let (is, model) = (&there.column_type, &column.data_type);
                mismatches.push(format!("column {wanted:?} of table {table} is {is}, the model says {model}"));
            }
        }
    }
    columns
}

fn plan_watermark(
    dataset: &PullDataset,
    request: &PullRequest,
    table: &TableName,
    found: &FoundColumns,
    mismatches: &mut Vec<String>,
) -> Option<WatermarkPlan> {
    let (source_name, overlap) = watermark_column(dataset, request, mismatches)?;
    let Some(there) = found.get(&source_name.to_lowercase()) else {
        let near = nearest(source_name, found.values().map(|column| column.name.as_str()));
        mismatches.push(format!("table {table} has no watermark column {source_name:?}{}", did_you_mean(near)));
        return None;
    };
    let is = &there.column_type;
    let wire = Wire::of(&there.data_type);
    let Some(cast) = wire.and_then(|wire| watermark_cast(wire, is)) else {
        mismatches.push(format!(
            "watermark column {source_name:?} of table {table} is {is}: a watermark is a whole number, a decimal, a date, \
             a time or a text"
        ));
        return None;
    };
    let is_temporal = matches!(wire, Some(Wire::Date | Wire::Datetime | Wire::Timestamp));
    let overlap = match overlap {
        Some(overlap) if is_temporal => format!(" - INTERVAL {}", sql_interval(overlap)),
        Some(overlap) => {
            mismatches.push(format!(
                "watermark column {source_name:?} of table {table} is {is}: an overlap of {overlap} needs a date or timestamp"
            ));
            return None;
        }
        None => String::new(),
    };
    Some(WatermarkPlan { column: source_name.to_owned(), cast, overlap })
}

/// SQL that makes a value of the column's type of a parameter: numbers are never compared as floats.
fn watermark_cast(wire: Wire, column_type: &str) -> Option<&'static str> {
    Some(match wire {
        Wire::Integer if column_type.contains("unsigned") => "CAST(? AS UNSIGNED)",
        Wire::Integer => "CAST(? AS SIGNED)",
        Wire::Decimal => "CAST(? AS DECIMAL(65,30))",
        Wire::Date | Wire::Datetime | Wire::Timestamp => "CAST(? AS DATETIME(6))",
        Wire::Time => "CAST(? AS TIME(6))",
        Wire::Text => "?",
        _ => return None,
    })
}

fn sql_interval(period: Period) -> String {
    let unit = match period.unit {
        PeriodUnit::Seconds => "SECOND",
        PeriodUnit::Minutes => "MINUTE",
        PeriodUnit::Hours => "HOUR",
        PeriodUnit::Days => "DAY",
        PeriodUnit::Weeks => "WEEK",
        PeriodUnit::Months => "MONTH",
        PeriodUnit::Years => "YEAR",
    };
    format!("{} {unit}", period.count)
}
