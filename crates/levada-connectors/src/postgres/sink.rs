//! A PostgreSQL database as a consumer: tables in schema `levada`, views for workspaces.
//!
//! Changes are staged and upserted; everything is built beside and swapped in. One call is one
//! transaction, marks included.

use super::catalog::read_columns;
use super::config::{Session, Settings};
use super::copy::RowsReader;
use super::delivery;
use super::tables;
use async_trait::async_trait;
use levada_flow::sink::{Delivered, DeliveredTable, Form, Mark, Sink, TableDelivery, history_schema};
use levada_flow::{FlowError, RowStream, Secret};
use levada_model::connection::Connection;
use std::time::Duration;

/// How long a failed delivery is given to be rolled back before its connection is closed.
const ROLLBACK_SECONDS_MAX: u64 = 5;

/// A consumer's database.
pub struct PostgresSink {
    settings: Settings,
    session: Option<Session>,
}

/// Opens a consumer's database and makes sure that it lets us in.
///
/// # Errors
/// Nobody answers, or the server refuses user, password or database.
pub async fn open(connection: &Connection, secret: Secret) -> Result<PostgresSink, FlowError> {
    let settings = Settings::new(connection, &secret)?;
    let session = Some(settings.connect().await?);
    Ok(PostgresSink { settings, session })
}

#[async_trait]
impl Sink for PostgresSink {
    fn form(&self) -> Form {
        Form::Changes
    }

    async fn marks(&mut self, tables: &[DeliveredTable]) -> Result<Vec<Option<Mark>>, FlowError> {
        let session = self.take_session().await?;
        let marks = match tables::is_prepared(&session, self.settings.place()).await? {
            true => {
                let applied = tables::applied(&session, &tables.iter().collect::<Vec<_>>(), false).await?;
                applied.into_iter().map(|applied| applied.mark).collect()
            }
            false => vec![None; tables.len()],
        };
        self.session = Some(session);
        Ok(marks)
    }

    async fn deliver(&mut self, deliveries: Vec<TableDelivery>) -> Result<Delivered, FlowError> {
        let session = self.take_session().await?;
        tables::prepare(&session, self.settings.place()).await?;
        let done = session.working(delivery::deliver(&session, self.settings.place(), deliveries)).await;
        self.keep(session, done.is_ok()).await;
        done
    }

    async fn remove(&mut self, gone: &[DeliveredTable], epoch: i64) -> Result<(), FlowError> {
        let session = self.take_session().await?;
        if !tables::is_prepared(&session, self.settings.place()).await? {
            self.session = Some(session);
            return Ok(());
        }
        let done = session.working(delivery::remove(&session, self.settings.place(), gone, epoch)).await;
        self.keep(session, done.is_ok()).await;
        done
    }

    async fn read_back(&mut self, table: &DeliveredTable, is_history: bool) -> Result<RowStream, FlowError> {
        let name = if is_history { &table.history } else { &table.live };
        let Some(name) = name else {
            let reading = if is_history { "history" } else { "live" };
            return Err(FlowError::never(format!("{} has no {reading} table", table.source)));
        };
        let schema = if is_history { history_schema(&table.schema) } else { table.schema.clone() };
        // The rows keep their session, so that several tables can be read side by side.
        let session = self.settings.connect().await?;
        let physical = tables::physical(name);
        let label = format!("levada.{name}");
        let columns = read_columns(&session, &label, &physical, &schema).await?;
        let list: Vec<String> = columns.iter().map(|column| column.select()).collect();
        let query = format!("SELECT {} FROM {physical}", list.join(", "));
        let rows = session.working(RowsReader::start(&session, &label, &query, columns)).await?;
        Ok(rows.into_stream(session))
    }
}

impl PostgresSink {
    async fn take_session(&mut self) -> Result<Session, FlowError> {
        match self.session.take() {
            Some(session) if !session.is_closed() => Ok(session),
            _ => self.settings.connect().await,
        }
    }

    /// Keeps a session whose transaction has ended; rolls an open one back first.
    async fn keep(&mut self, session: Session, is_done: bool) {
        let rolled_back = async { is_done || session.batch_execute("ROLLBACK").await.is_ok() };
        let limit = Duration::from_secs(ROLLBACK_SECONDS_MAX);
        if tokio::time::timeout(limit, rolled_back).await == Ok(true) {
            session.rest();
            self.session = Some(session);
        }
    }
}
