//! A MySQL or MariaDB server as a consumer: tables in the database `levada`, views for workspaces in
//! a database of their own each.
//!
//! Changes are staged and upserted; everything is built beside and swapped in. [`super::delivery`]
//! says how that is exactly once. The user needs every right to the databases `levada` and those of the
//! workspaces, with grant option, and should read `mysql.user` and `mysql.tables_priv`.

use super::catalog::read_columns;
use super::config::{Session, Settings};
use super::delivery;
use super::quote::TableName;
use super::rows::{read_rows, select_list};
use super::tables::{self, DATABASE};
use async_trait::async_trait;
use futures::StreamExt;
use levada_flow::sink::{Delivered, DeliveredTable, Form, Mark, Sink, TableDelivery, history_schema};
use levada_flow::{FlowError, RowStream, Secret};
use levada_model::connection::Connection;
use tokio::sync::mpsc;

/// Batches that a reading makes ahead of its reader.
const BATCHES_AHEAD: usize = 2;

/// A consumer's server.
pub struct MysqlSink {
    settings: Settings,
    session: Option<Session>,
}

/// Opens a consumer's server and makes sure that it lets us in.
///
/// # Errors
/// Nobody answers, or the server refuses user or password.
pub async fn open(connection: &Connection, secret: Secret) -> Result<MysqlSink, FlowError> {
    let settings = Settings::new(connection, &secret, false)?;
    let session = Some(settings.connect().await?);
    Ok(MysqlSink { settings, session })
}

#[async_trait]
impl Sink for MysqlSink {
    fn form(&self) -> Form {
        Form::Changes
    }

    async fn marks(&mut self, tables: &[DeliveredTable]) -> Result<Vec<Option<Mark>>, FlowError> {
        let mut session = self.take_session().await?;
        let marks = match tables::is_prepared(&mut session, self.settings.place()).await? {
            true => {
                let applied =
                    tables::applied(&mut session, &self.settings.container, &tables.iter().collect::<Vec<_>>()).await?;
                applied.into_iter().map(|applied| applied.mark).collect()
            }
            false => vec![None; tables.len()],
        };
        self.session = Some(session);
        Ok(marks)
    }

    async fn deliver(&mut self, deliveries: Vec<TableDelivery>) -> Result<Delivered, FlowError> {
        let mut session = self.take_session().await?;
        tables::prepare(&mut session, self.settings.place()).await?;
        // A session that breaks off is closed: its transaction, locks and temporary tables go with it.
        session.work();
        let delivered = delivery::deliver(&self.settings, &mut session, deliveries).await?;
        session.rest();
        self.session = Some(session);
        Ok(delivered)
    }

    async fn remove(&mut self, gone: &[DeliveredTable], epoch: i64) -> Result<(), FlowError> {
        let mut session = self.take_session().await?;
        if tables::is_prepared(&mut session, self.settings.place()).await? {
            session.work();
            delivery::remove(&self.settings, &mut session, gone, epoch).await?;
            session.rest();
        }
        self.session = Some(session);
        Ok(())
    }

    async fn read_back(&mut self, table: &DeliveredTable, is_history: bool) -> Result<RowStream, FlowError> {
        let name = if is_history { &table.history } else { &table.live };
        let Some(name) = name else {
            let reading = if is_history { "history" } else { "live" };
            return Err(FlowError::never(format!("{} has no {reading} table", table.source)));
        };
        let schema = if is_history { history_schema(&table.schema) } else { table.schema.clone() };
        let name = TableName { schema: DATABASE.to_owned(), table: name.clone() };
        // The rows keep their session, so that several tables can be read side by side.
        let mut session = self.settings.connect().await?;
        let columns = read_columns(&mut session, self.settings.place(), &name, &schema).await?;
        let query = format!("SELECT {} FROM {}", select_list(columns.iter()), name.quoted());
        let (out, rows) = mpsc::channel(BATCHES_AHEAD);
        session.work();
        let reading = tokio::spawn(async move {
            read_rows(&mut session, &name.to_string(), &query, Vec::new(), &columns, &out, Ok).await?;
            session.rest();
            Ok(())
        });
        Ok(futures::stream::unfold((rows, Some(reading)), next).boxed())
    }
}

type Reading = tokio::task::JoinHandle<Result<(), FlowError>>;
type Rows = mpsc::Receiver<Result<arrow::array::RecordBatch, FlowError>>;

/// The next rows, and at last the reading's error.
async fn next(
    (mut rows, reading): (Rows, Option<Reading>),
) -> Option<(Result<arrow::array::RecordBatch, FlowError>, (Rows, Option<Reading>))> {
    if let Some(batch) = rows.recv().await {
        return Some((batch, (rows, reading)));
    }
    let failed = match reading?.await {
        Ok(Ok(())) => return None,
        Ok(Err(error)) => error,
        Err(error) => FlowError::later("a reading task broke off").because(error),
    };
    Some((Err(failed), (rows, None)))
}

impl MysqlSink {
    async fn take_session(&mut self) -> Result<Session, FlowError> {
        match self.session.take() {
            Some(session) if session.is_usable() => Ok(session),
            _ => self.settings.connect().await,
        }
    }
}
