//! A producer and a consumer on one PostgreSQL server of our own, and a worker in this process.

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use levada_connectors::{open_sink, open_source};
use levada_flow::engine::{EngineInput, EngineQuery};
use levada_flow::{Clock, Engine, FlowError, RowStream, Secret, Sink, Source, SystemClock};
use levada_model::connection::Connection;
use levada_model::name::CredentialName;
use levada_model::{FileId, Findings, assemble, read_file};
use levada_runtime::{Connect, Runtime};
use levada_state::State;
use levada_store::Store;
use levada_testbed::PostgresCluster;
use levada_testbed::postgres::{PASSWORD, SUPERUSER};
use std::path::PathBuf;
use std::sync::Arc;

/// Everything a measurement looks at.
pub struct World {
    pub cluster: PostgresCluster,
    pub runtime: Runtime,
    _folder: Folder,
}

/// A folder that goes with the world.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left lies among the system's temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The columns of the one dataset, as the producer has them.
pub const TABLE: &str = "CREATE TABLE items (id bigint PRIMARY KEY, name text, amount numeric(12,2), changed timestamptz, note varchar(60))";

const DATASET: &str = "  items:
    columns:
      id: { type: int64, key: true }
      name: text
      amount: decimal(12,2)
      changed: timestamptz
      note: varchar(60)
";

impl World {
    /// Starts the server, applies the model; nothing is pulled yet.
    pub async fn new(synchronous_commit: bool) -> Result<Self> {
        let synchronous_commit = if synchronous_commit { "on" } else { "off" };
        let cluster = PostgresCluster::start_with(&[
            ("shared_buffers", "512MB"),
            ("max_wal_size", "4GB"),
            ("synchronous_commit", synchronous_commit),
        ])?;
        cluster.create_database("shop")?;
        cluster.create_database("reports")?;
        cluster.sql("shop", TABLE)?;
        let folder = std::env::temp_dir().join(format!("levada-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let state = State::open(&format!("sqlite:{}", folder.join("state.db").display())).await?;
        let blueprint = blueprint(cluster.port())?;
        state
            .apply(&levada_planner::Advance::between(None, &blueprint), levada_platforms::FORM, SystemClock.now())
            .await?;
        let runtime = Runtime {
            store: Store::open(state.clone(), folder.join("data"))?,
            state,
            connect: Arc::new(Connectors),
            engine: Arc::new(NoEngine),
            clock: Arc::new(SystemClock),
            root: folder.clone(),
            staging: folder.join("staging"),
        };
        Ok(Self { cluster, runtime, _folder: Folder(folder) })
    }
}

fn blueprint(port: u16) -> Result<levada_planner::Blueprint> {
    let container = |name: &str, database: &str| {
        format!(
            "  - {{ container: {name}, kind: postgres, location: \"here:lab\", host: 127.0.0.1, port: {port}, \
             database: {database}, credential: pg }}\n"
        )
    };
    let (shop, reports) = (container("shop", "shop"), container("reports", "reports"));
    let ecosystem = "ecosystem: bench\nvendors: [{ vendor: here, cloud: private, locations: { lab: {} } }]\n\
                     platforms: [{ platform: P, kind: embedded, style: streaming, locations: [\"here:lab\"] }]\n";
    let model = format!(
        "zone: Z\n---\nteam: T\ncontainers:\n{shop}{reports}---\ndatastore: Shop\ncontainer: shop\n\
         ingest: {{ kind: cdc }}\ndatasets:\n{DATASET}---\nworkspace: Reporting\ncontainer: reports\ngroups:\n  All:\n    \
         requires: {{ latency: seconds, milestoning: live, retention: 30d }}\n    datasets: [Shop.items]\n"
    );
    let (mut fragments, mut findings) = (Vec::new(), Findings::default());
    for (number, (path, text)) in [("ecosystem.yaml", ecosystem), ("model.yaml", model.as_str())].iter().enumerate() {
        let number = u32::try_from(number).context("two files")?;
        let (fragment, found) = read_file(FileId(number), path, text.as_bytes());
        findings.extend(found);
        fragments.push(((*path).to_owned(), fragment));
    }
    let (model, found) = assemble(fragments, &|_| None);
    findings.extend(found);
    if let Some(finding) = findings.0.first() {
        bail!("the model has findings: {} {}", finding.code, finding.message);
    }
    match levada_planner::plan(&model, &levada_platforms::registry(), None, "bench".to_owned()) {
        Ok(outcome) => Ok(outcome.blueprint),
        Err(findings) => bail!("the plan has errors: {} {}", findings.0[0].code, findings.0[0].message),
    }
}

/// The built-in connectors with the server's superuser.
struct Connectors;

fn secret() -> Secret {
    Secret { user: Some(SUPERUSER.to_owned()), password: Some(PASSWORD.to_owned()), token: None }
}

#[async_trait]
impl Connect for Connectors {
    async fn source(&self, connection: &Connection) -> Result<Box<dyn Source>, FlowError> {
        open_source(connection, secret(), &PathBuf::new()).await
    }

    async fn sink(&self, connection: &Connection) -> Result<Box<dyn Sink>, FlowError> {
        open_sink(connection, secret(), &PathBuf::new()).await
    }

    fn environment(&self, _: &[CredentialName]) -> Result<Vec<(String, String)>, FlowError> {
        Ok(Vec::new())
    }
}

/// The model has no transformer.
struct NoEngine;

#[async_trait]
impl Engine for NoEngine {
    async fn query(&self, _: Vec<EngineInput>, _: EngineQuery) -> Result<RowStream, FlowError> {
        Err(FlowError::never("this program runs no SQL"))
    }
}
