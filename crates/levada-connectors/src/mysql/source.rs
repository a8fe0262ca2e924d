//! A MySQL or MariaDB database as a producer: snapshots and watermarks by prepared queries, changes of
//! MariaDB by its binary log ([`super::log`]).
//!
//! One session reads all tables of a pull, one after the other, in one transaction that starts with
//! a consistent snapshot: all of them are one state. That is InnoDB's doing; a table of an engine
//! without transactions (MyISAM, Aria) is read as it is when its turn comes. MySQL has no way to
//! share a snapshot between sessions, so that `connections_max` changes nothing here.

use super::catalog::{self, DatasetPlan, WatermarkPlan};
use super::config::{Session, Settings};
use super::error::During;
use super::log::{self, Log};
use super::moment::Moment;
use super::quote::identifier;
use super::rows::{ReadColumn, read_rows, select_list};
use async_trait::async_trait;
use levada_flow::source::{Coverage, PullEnd, PullRequest, Pulled};
use levada_flow::{FlowError, Position, Secret, Source};
use levada_model::connection::Connection;
use levada_model::model::IngestKind;
use mysql_async::Value;
use mysql_async::prelude::Queryable;
use std::collections::BTreeMap;
use tokio::sync::mpsc;

/// A producer's database.
pub struct MysqlSource {
    settings: Settings,
    session: Option<Session>,
    log: Log,
}

/// Opens a producer's database and makes sure that it lets us in.
///
/// # Errors
/// Nobody answers, or the server refuses user, password or database.
pub async fn open(connection: &Connection, secret: Secret) -> Result<MysqlSource, FlowError> {
    let settings = Settings::new(connection, &secret, true)?;
    let session = Some(settings.connect().await?);
    Ok(MysqlSource { settings, session, log: Log::default() })
}

#[async_trait]
impl Source for MysqlSource {
    async fn inspect(&mut self, request: &PullRequest) -> Result<(), FlowError> {
        check_kind(request)?;
        let mut session = self.take_session().await?;
        match request.kind {
            IngestKind::Cdc { .. } => log::inspect(&mut session, &self.settings, request).await?,
            _ => catalog::plan(&mut session, self.settings.place(), &self.settings.default_schema, request)
                .await
                .map(drop)?,
        }
        self.session = Some(session);
        Ok(())
    }

    async fn pull(&mut self, request: &PullRequest, out: mpsc::Sender<Pulled>) -> Result<PullEnd, FlowError> {
        check_kind(request)?;
        if let IngestKind::Cdc { .. } = request.kind {
            return self.log.pull(&self.settings, request, &out).await;
        }
        let mut session = self.take_session().await?;
        session.work();
        let end = self.read(&mut session, request, &out).await?;
        session.rest();
        self.session = Some(session);
        Ok(end)
    }

    async fn acknowledge(&mut self, _position: &Position) -> Result<(), FlowError> {
        // Neither queries nor a reader of the binary log leave anything behind at the source.
        Ok(())
    }
}

impl MysqlSource {
    async fn take_session(&mut self) -> Result<Session, FlowError> {
        match self.session.take() {
            Some(session) if session.is_usable() => Ok(session),
            _ => self.settings.connect().await,
        }
    }

    /// Reads all datasets under one snapshot.
    async fn read(
        &self,
        session: &mut Session,
        request: &PullRequest,
        out: &mpsc::Sender<Pulled>,
    ) -> Result<PullEnd, FlowError> {
        let place = self.settings.place();
        let moment = Moment::begin(session, place, &self.settings.database).await?;
        let plans = catalog::plan(session, place, &self.settings.default_schema, request).await?;
        let mut greatest = match request.position(&moment.incarnation) {
            Some(Position::Watermark { greatest }) => greatest.clone(),
            _ => BTreeMap::new(),
        };
        let mut coverage = Vec::new();
        for (index, (dataset, plan)) in request.datasets.iter().zip(plans).enumerate() {
            let since = greatest.get(dataset.dataset.as_str()).cloned();
            coverage.push(match (&plan.watermark, &since) {
                (Some(_), Some(_)) if request.finds_deletes => Coverage::UpsertsAndKeys,
                (Some(_), Some(_)) => Coverage::Upserts,
                _ => Coverage::Complete,
            });
            let read = Read { index, plan, since, lists_keys: request.finds_deletes };
            if let Some(value) = read.run(session, out).await? {
                greatest.insert(dataset.dataset.as_str().to_owned(), value);
            }
        }
        session.run("COMMIT", || format!("the snapshot at {place} can't be ended")).await?;
        let position = match request.kind {
            IngestKind::Watermark { .. } => Position::Watermark { greatest },
            _ => Position::Snapshot { mark: moment.mark },
        };
        Ok(PullEnd::new(position, coverage, moment.incarnation))
    }
}

/// One table to read.
struct Read {
    /// In the request.
    index: usize,
    plan: DatasetPlan,
    /// The greatest watermark of the last pull.
    since: Option<String>,
    lists_keys: bool,
}

impl Read {
    /// Sends the rows, and the keys where they are asked for; gives the greatest watermark.
    async fn run(&self, session: &mut Session, out: &mpsc::Sender<Pulled>) -> Result<Option<String>, FlowError> {
        let DatasetPlan { table, columns, watermark, .. } = &self.plan;
        let (label, quoted) = (table.to_string(), table.quoted());
        let greatest = match watermark {
            Some(watermark) => self.greatest(session, watermark).await?,
            None => None,
        };
        let (condition, parameters) = match (watermark, &self.since) {
            (Some(watermark), Some(since)) => (newer(watermark), vec![Value::Bytes(since.clone().into_bytes())]),
            _ => (String::new(), Vec::new()),
        };
        let query = format!("SELECT {} FROM {quoted}{condition}", select_list(columns.iter()));
        let wrap = |rows| Pulled::Rows { dataset: self.index, rows };
        read_rows(session, &label, &query, parameters, columns, out, wrap).await?;
        if self.lists_keys && watermark.is_some() && self.since.is_some() {
            let keys: Vec<ReadColumn> = columns.iter().filter(|column| column.is_key).cloned().collect();
            let query = format!("SELECT {} FROM {quoted}", select_list(keys.iter()));
            let wrap = |keys| Pulled::Keys { dataset: self.index, keys };
            read_rows(session, &label, &query, Vec::new(), &keys, out, wrap).await?;
        }
        Ok(greatest)
    }

    async fn greatest(&self, session: &mut Session, watermark: &WatermarkPlan) -> Result<Option<String>, FlowError> {
        let table = &self.plan.table;
        let query = format!("SELECT CAST(MAX({}) AS CHAR) FROM {}", identifier(&watermark.column), table.quoted());
        let row: Result<Option<Option<String>>, _> = session.query_first(query).await;
        let row = row.during(|| format!("the greatest {:?} of table {table} can't be found", watermark.column))?;
        Ok(row.flatten())
    }
}

/// The condition for what may have changed. Rows without a watermark can't be told apart: they are
/// read each time rather than lost.
fn newer(watermark: &WatermarkPlan) -> String {
    let column = identifier(&watermark.column);
    format!(" WHERE {column} >= {}{} OR {column} IS NULL", watermark.cast, watermark.overlap)
}

fn check_kind(request: &PullRequest) -> Result<(), FlowError> {
    match request.kind {
        IngestKind::Snapshot | IngestKind::Watermark { .. } | IngestKind::Cdc { .. } => Ok(()),
        _ => Err(FlowError::never("a MySQL database has no files and no topics")),
    }
}
