//! CPU of a log's changes on their way: read, decoded and committed, beside `pg_recvlogical` that throws
//! them away; and delivered, beside a plain COPY and upsert of the same rows.

use super::world::World;
use crate::measure::{children_cpu_seconds, cpu_seconds};
use anyhow::{Context, Result};
use levada_model::{NodeAddress, NodeKind};
use levada_runtime::jobs::{self, Turn};
use levada_testbed::PostgresCluster;
use std::process::{Command, Stdio};

/// Changes in one transaction.
const TRANSACTION_CHANGES: u64 = 100;

/// Makes rows, then changes: three updates, an insert and a delete out of five.
#[expect(clippy::print_stdout, reason = "the figures are this program's output")]
pub async fn run(rows: u64, changes: u64) -> Result<()> {
    let world = World::new(false).await?;
    let (cluster, shop) = (&world.cluster, "shop");
    cluster.sql(
        shop,
        &format!(
            "INSERT INTO items SELECT i, 'name ' || i, i * 1.25, '2026-01-01'::timestamptz + i * interval '1 second', \
             md5(i::text) FROM generate_series(1, {rows}) i; ANALYZE items"
        ),
    )?;
    let (ingest, export) = nodes(&world).await?;
    turn(&world, &ingest).await?;
    turn(&world, &export).await?;
    println!("{rows} rows are read and delivered");

    cluster.sql(shop, "CREATE PUBLICATION limits FOR TABLE items")?;
    cluster.sql(shop, "SELECT pg_create_logical_replication_slot('limits', 'pgoutput')")?;
    cluster.sql(shop, &change_procedure(rows))?;
    cluster.sql(shop, &format!("CALL change({changes})"))?;
    let end = cluster.sql(shop, "SELECT pg_current_wal_insert_lsn()")?;
    println!("{changes} changes are made, {TRANSACTION_CHANGES} in a transaction");

    let limit = receive_and_forget(cluster, end.trim())?;
    println!("pg_recvlogical to /dev/null   {limit:>7.2} CPU s of the client");
    let before = cpu_seconds();
    turn(&world, &ingest).await?;
    let ours = cpu_seconds() - before;
    println!("read + decode + commit        {ours:>7.2} CPU s of the client   {:.1} x", ours / limit);

    plain_copy_beside(cluster)?;
    let (plain_client, plain_server) = plain_upsert(cluster)?;
    let plain = plain_client + plain_server;
    println!(
        "COPY + upsert + delete        {plain:>7.2} CPU s: {plain_client:.2} of psql, {plain_server:.2} of the server"
    );
    let (before, server_before) = (cpu_seconds(), server_cpu_seconds(cluster)?);
    turn(&world, &export).await?;
    let (client, server) = (cpu_seconds() - before, server_cpu_seconds(cluster)? - server_before);
    let all = client + server;
    println!(
        "exactly-once delivery         {all:>7.2} CPU s: {client:.2} of the client, {server:.2} of the server   {:.2} x",
        all / plain
    );
    let count =
        |database: &str, table: &str| cluster.sql(database, &format!("SELECT count(*), sum(amount) FROM {table}"));
    let (there, here) = (count(shop, "items")?, count("reports", "reporting.shop_items")?);
    anyhow::ensure!(there == here, "the producer has {there}, the consumer {here}");
    Ok(())
}

async fn nodes(world: &World) -> Result<(NodeAddress, NodeAddress)> {
    let rows = world.runtime.state.nodes().await?;
    let of = |kind| rows.iter().map(|row| row.node.address.clone()).find(|address| address.kind() == kind);
    Ok((of(NodeKind::Ingest).context("an ingest")?, of(NodeKind::Export).context("an export")?))
}

/// One job of a node.
async fn turn(world: &World, node: &NodeAddress) -> Result<()> {
    let runtime = &world.runtime;
    let now = runtime.clock.now();
    let due = levada_state::nodes::Successor { node: node.clone(), due_at: now, payload: None };
    runtime.state.make_due(&[due]).await?;
    let claimed = runtime.state.claim("bench", now, now + 3_600_000_000, std::slice::from_ref(node)).await?;
    anyhow::ensure!(claimed.len() == 1, "{node} can't be claimed");
    jobs::run(runtime, &claimed, &Turn { started_at: now, connections_max: 2, told: None }).await?;
    Ok(())
}

/// A procedure that changes so many rows, in short transactions.
fn change_procedure(rows: u64) -> String {
    format!(
        "CREATE PROCEDURE change(changes bigint) LANGUAGE plpgsql AS $$
         DECLARE k bigint; done bigint := 0; next bigint := {rows};
         BEGIN
           WHILE done < changes LOOP
             FOR i IN 1..{TRANSACTION_CHANGES} / 5 LOOP
               k := 1 + (done * 7919) % {rows};
               UPDATE items SET amount = amount + 1, changed = clock_timestamp() WHERE id = k;
               UPDATE items SET name = 'changed ' || done WHERE id = 1 + (k + {rows} / 3) % {rows};
               UPDATE items SET note = md5(done::text) WHERE id = 1 + (k + 2 * {rows} / 3) % {rows};
               next := next + 1;
               INSERT INTO items VALUES (next, 'new ' || next, next, clock_timestamp(), 'n');
               DELETE FROM items WHERE id = next - 50;
               done := done + 5;
             END LOOP;
             COMMIT;
           END LOOP;
         END $$"
    )
}

/// What the server's own client takes to receive the same changes.
fn receive_and_forget(cluster: &PostgresCluster, end: &str) -> Result<f64> {
    let before = children_cpu_seconds();
    let status = Command::new(cluster.program("pg_recvlogical"))
        .args(["--dbname", &cluster.url("shop"), "--slot", "limits", "--start", "--endpos", end, "--no-loop"])
        .args(["-o", "proto_version=1", "-o", "publication_names=limits", "-o", "binary=true", "-f", "/dev/null"])
        .stderr(Stdio::null())
        .status()
        .context("pg_recvlogical, of the server's programs, starts")?;
    anyhow::ensure!(status.success(), "pg_recvlogical ended with {status}");
    Ok(children_cpu_seconds() - before)
}

/// A table like the delivered one, and the net changes as a file, to apply them by hand.
fn plain_copy_beside(cluster: &PostgresCluster) -> Result<()> {
    let physical =
        cluster.sql("reports", "SELECT table_name FROM levada.applied WHERE table_name IS NOT NULL LIMIT 1")?;
    let physical = physical.trim();
    cluster.sql(
        "reports",
        &format!(
            "CREATE TABLE plain AS SELECT id, name, amount, changed, note FROM levada.\"{physical}\"; \
             ALTER TABLE plain ADD PRIMARY KEY (id); ANALYZE plain; CHECKPOINT"
        ),
    )?;
    Ok(())
}

/// CPU of the client and the server for the same net changes by COPY, upsert and delete.
fn plain_upsert(cluster: &PostgresCluster) -> Result<(f64, f64)> {
    let file = std::env::temp_dir().join(format!("levada-bench-{}.copy", std::process::id()));
    // What differs is what changed; the file is made before anything is measured.
    let now = file.display();
    cluster.sql(
        "shop",
        &format!("\\copy (SELECT id, name, amount, changed, note FROM items) TO '{now}.all' (FORMAT binary)"),
    )?;
    cluster.sql("reports", "CREATE UNLOGGED TABLE now_all (LIKE plain)")?;
    cluster.sql("reports", &format!("\\copy now_all FROM '{now}.all' (FORMAT binary)"))?;
    let net = "SELECT n.*, false AS gone FROM now_all n LEFT JOIN plain p USING (id) WHERE (p.name, p.amount, p.changed, p.note) IS DISTINCT FROM (n.name, n.amount, n.changed, n.note) \
               UNION ALL SELECT p.*, true FROM plain p LEFT JOIN now_all n USING (id) WHERE n.id IS NULL";
    cluster.sql("reports", "CREATE UNLOGGED TABLE stage (LIKE plain, gone boolean)")?;
    cluster.sql("reports", &format!("\\copy ({}) TO '{now}' (FORMAT binary)", net.replace('\n', " ")))?;
    cluster.sql("reports", "DROP TABLE now_all; CHECKPOINT")?;
    let (before, server_before) = (children_cpu_seconds(), server_cpu_seconds(cluster)?);
    let script = format!(
        "BEGIN;\n\\copy stage FROM '{now}' (FORMAT binary)\n\
         DELETE FROM plain USING stage WHERE plain.id = stage.id AND stage.gone;\n\
         INSERT INTO plain SELECT id, name, amount, changed, note FROM stage WHERE NOT gone ON CONFLICT (id) DO UPDATE \
         SET name = excluded.name, amount = excluded.amount, changed = excluded.changed, note = excluded.note;\nCOMMIT;\n"
    );
    let script_file = file.with_extension("sql");
    std::fs::write(&script_file, script)?;
    let status = Command::new(cluster.program("psql"))
        .args([&cluster.url("reports"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", &script_file.display().to_string()])
        .status()?;
    anyhow::ensure!(status.success(), "psql ended with {status}");
    let used = (children_cpu_seconds() - before, server_cpu_seconds(cluster)? - server_before);
    for name in [file.display().to_string(), format!("{now}.all"), script_file.display().to_string()] {
        // Left over files are the system's to clean up.
        let _ = std::fs::remove_file(name);
    }
    Ok(used)
}

/// CPU of all processes of a server, of those that have ended, too.
fn server_cpu_seconds(cluster: &PostgresCluster) -> Result<f64> {
    let postmaster = cluster.pid()?;
    let mut ticks = 0;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((_, fields)) = stat.rsplit_once(") ") else { continue };
        let fields: Vec<&str> = fields.split(' ').collect();
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        let is_postmaster = entry.file_name() == *postmaster.as_str();
        if is_postmaster || fields.get(1) == Some(&postmaster.as_str()) {
            ticks += number(11) + number(12);
        }
        if is_postmaster {
            // Sessions that have ended.
            ticks += number(13) + number(14);
        }
    }
    Ok(ticks as f64 / 100.0)
}
