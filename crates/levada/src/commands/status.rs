//! `levada status`, `jobs`, `batches` and `store`: what the state knows, as tables.

use crate::cli::{Format, LimitArgs, ListArgs};
use crate::project::Project;
use crate::rollout;
use crate::show;
use anyhow::Result;
use levada_model::NodeKind;
use levada_model::address::DatasetRef;
use levada_model::name::PlatformName;
use levada_planner::blueprint::Realizer;
use levada_runtime::stream_health;
use levada_state::nodes::{HotNode, Wish};
use levada_state::obligations::Obligation;
use levada_state::{Host, State};
use serde_json::json;
use std::collections::BTreeMap;

/// Every node: what it is doing, what it waits for, why it failed.
pub async fn status(args: &ListArgs) -> Result<bool> {
    let state = Project::open(&args.dir.dir)?.applied_state().await?;
    let now = now();
    let nodes = state.nodes().await?;
    let heads: BTreeMap<String, i64> =
        state.heads().await?.into_iter().map(|head| (head.stream.to_string(), head.batch)).collect();
    let deliveries: BTreeMap<String, i64> =
        state.deliveries().await?.into_iter().map(|one| (one.export.to_string(), one.batch)).collect();
    let batch = |row: &HotNode| match row.node.stream() {
        Some(stream) => heads.get(&stream.to_string()).copied(),
        None => deliveries.get(&row.node.address.to_string()).copied(),
    };
    let rendered = rendered(&state).await?;
    if args.format == Format::Json {
        let rows: Vec<_> = nodes.iter().map(|row| status_json(row, batch(row), now)).collect();
        show::json(&json!({ "nodes": rows, "rendered": rendered, "rollout": rollout::progress(&state).await? }));
        return Ok(true);
    }
    let rows: Vec<Vec<String>> = nodes
        .iter()
        .map(|row| {
            vec![
                row.node.address.to_string(),
                condition(row, batch(row), now).to_owned(),
                batch(row).map(|batch| batch.to_string()).unwrap_or_default(),
                row.succeeded_at.map(show::time).unwrap_or_default(),
                row.due_at.map(show::time).unwrap_or_default(),
                why(row),
            ]
        })
        .collect();
    show::data(show::table(&["node", "state", "batch", "last success", "next", "why"], &rows));
    let failed = nodes.iter().filter(|row| row.is_failed || !stream_health(row).stopped.is_empty()).count();
    let waiting = nodes.iter().filter(|row| row.is_changed || row.wish == Wish::Retire).count();
    show::talk(format!("{} nodes, {failed} failed, {waiting} not yet as the blueprint says", nodes.len()));
    for (platform, count) in rendered {
        show::talk(format!("{count} nodes of platform {platform} are in the files that it renders"));
    }
    rollout::progress(&state).await?.tell();
    Ok(true)
}

/// What somebody should know of a node: why it failed, which datasets of a stream have stopped, and how much
/// its source holds back.
fn why(row: &HotNode) -> String {
    let health = stream_health(row);
    let held = health.held.map(|held| {
        let most = held.bytes_max.map(|most| format!(" of {}", size(most))).unwrap_or_default();
        let alarm = if health.is_alarming() { "ALARM: " } else { "" };
        format!("{alarm}the source holds back {}{most}", size(held.bytes))
    });
    let stopped = health.stopped.into_values();
    row.error.clone().into_iter().chain(stopped).chain(held).collect::<Vec<_>>().join("; ")
}

fn size(bytes: u64) -> String {
    show::bytes(i64::try_from(bytes).unwrap_or(i64::MAX))
}

/// How many nodes each platform has that renders them to files.
async fn rendered(state: &State) -> Result<BTreeMap<PlatformName, usize>> {
    let mut counts = BTreeMap::new();
    let Some(generation) = state.generation_in_force().await? else { return Ok(counts) };
    let choices = state.choices(generation).await?;
    if !choices.platforms.values().any(|nature| nature.realizer == Realizer::Files) {
        return Ok(counts);
    }
    for address in state.node_contents(generation).await?.into_keys() {
        if choices.realizer(address.platform()) == Realizer::Files {
            *counts.entry(address.platform().clone()).or_default() += 1;
        }
    }
    Ok(counts)
}

/// The platform whose pods run a row; `None`: whoever is started anywhere does.
fn pods_of(host: &Host) -> Option<&PlatformName> {
    match host {
        Host::Pods(platform) => Some(platform),
        Host::Anywhere => None,
    }
}

fn status_json(row: &HotNode, batch: Option<i64>, now: i64) -> serde_json::Value {
    json!({
        "address": row.node.address, "state": condition(row, batch, now), "batch": batch, "priority": row.priority,
        "generation": row.generation, "due_at": row.due_at, "attempt": row.attempt, "epoch": row.epoch,
        "succeeded_at": row.succeeded_at, "error": row.error, "changed": row.is_changed, "pods_of": pods_of(&row.host),
        "stream": stream_health(row),
    })
}

/// What a node is about; `batch`: how far it is, if it pulls, receives or delivers.
fn condition(row: &HotNode, batch: Option<i64>, now: i64) -> &'static str {
    let is_delivered = batch.is_some() || row.node.address.kind() != NodeKind::Export;
    match row {
        HotNode { lease: Some(_), .. } => "running",
        HotNode { wish: Wish::Retire, .. } => "leaving",
        HotNode { is_failed: true, .. } => "failed",
        HotNode { attempt: 1.., .. } => "retrying",
        HotNode { due_at: Some(at), .. } if *at <= now => "due",
        HotNode { due_at: Some(_), .. } => "scheduled",
        HotNode { succeeded_at: Some(_), .. } if is_delivered => "up to date",
        _ => "waiting",
    }
}

fn now() -> i64 {
    levada_flow::Clock::now(&levada_flow::SystemClock)
}

/// Past runs, the newest first.
pub async fn jobs(args: &LimitArgs) -> Result<bool> {
    let state = Project::open(&args.dir.dir)?.applied_state().await?;
    let runs = state.runs(None, 0, args.limit as usize).await?;
    if args.format == Format::Json {
        let rows: Vec<_> = runs
            .iter()
            .map(|run| {
                json!({ "node": run.node, "epoch": run.epoch, "started_at": run.started_at, "ended_at": run.ended_at,
                        "outcome": run.outcome.word(), "rows": run.rows, "bytes": run.bytes, "error": run.error })
            })
            .collect();
        show::json(&json!({ "runs": rows }));
        return Ok(true);
    }
    let rows: Vec<Vec<String>> = runs
        .into_iter()
        .map(|run| {
            vec![
                show::time(run.started_at),
                run.node.to_string(),
                format!("{:.1} s", (run.ended_at - run.started_at) as f64 / 1e6),
                run.outcome.word().to_owned(),
                run.rows.to_string(),
                show::bytes(run.bytes),
                run.error.unwrap_or_default(),
            ]
        })
        .collect();
    show::data(show::table(&["started", "node", "took", "outcome", "rows", "bytes", "why"], &rows));
    Ok(true)
}

/// Committed batches of every stream, the newest first.
pub async fn batches(args: &LimitArgs) -> Result<bool> {
    let state = Project::open(&args.dir.dir)?.applied_state().await?;
    let mut batches = Vec::new();
    for head in state.heads().await? {
        batches.extend(state.batches(&head.stream, args.limit as usize).await?);
    }
    batches.sort_by_key(|batch| std::cmp::Reverse((batch.committed_at, batch.batch)));
    batches.truncate(args.limit as usize);
    if args.format == Format::Json {
        let rows: Vec<_> = batches
            .iter()
            .map(|b| {
                json!({ "stream": b.stream, "batch": b.batch, "committed_at": b.committed_at, "inserts": b.inserts,
                        "updates": b.updates, "deletes": b.deletes, "bytes": b.bytes, "incarnation": b.incarnation })
            })
            .collect();
        show::json(&json!({ "batches": rows }));
        return Ok(true);
    }
    let rows: Vec<Vec<String>> = batches
        .into_iter()
        .map(|b| {
            vec![
                b.stream.to_string(),
                b.batch.to_string(),
                show::time(b.committed_at),
                b.inserts.to_string(),
                b.updates.to_string(),
                b.deletes.to_string(),
                show::bytes(b.bytes),
            ]
        })
        .collect();
    show::data(show::table(&["stream", "batch", "committed", "inserts", "updates", "deletes", "bytes"], &rows));
    Ok(true)
}

/// What is kept, for whom, until when.
pub async fn store(args: &ListArgs) -> Result<bool> {
    let state = Project::open(&args.dir.dir)?.applied_state().await?;
    let mut owed: BTreeMap<DatasetRef, Vec<Obligation>> = BTreeMap::new();
    for obligation in state.obligations(None).await? {
        owed.entry(obligation.dataset.clone()).or_default().push(obligation);
    }
    let mut rows = Vec::new();
    let mut values = Vec::new();
    for (dataset, stream) in state.stored_datasets().await? {
        let head = state.head(&stream).await?.map_or(0, |head| head.batch);
        let manifests = state.manifests(&dataset, 0, head).await?;
        let bytes: i64 = manifests.iter().map(|manifest| manifest.bytes).sum();
        let whom = owed.remove(&dataset).unwrap_or_default();
        values.push(json!({
            "dataset": dataset, "stream": stream, "batches": head, "changes": manifests.len(), "bytes": bytes,
            "owed": whom.iter().map(|one| json!({
                "to": one.to, "because": one.because, "retention": one.retention, "left_at": one.left_at,
                "until": one.left_at.and_then(|left| until(one, left)),
            })).collect::<Vec<_>>(),
        }));
        let words = if whom.is_empty() {
            "nobody".to_owned()
        } else {
            whom.iter().map(in_words).collect::<Vec<_>>().join("; ")
        };
        rows.push(vec![dataset.to_string(), head.to_string(), manifests.len().to_string(), show::bytes(bytes), words]);
    }
    match args.format {
        Format::Json => show::json(&json!({ "datasets": values })),
        Format::Text => show::data(show::table(&["dataset", "batch", "pieces", "bytes", "kept for"], &rows)),
    }
    Ok(true)
}

fn in_words(obligation: &Obligation) -> String {
    let period = obligation.retention.map_or("until it is lifted".to_owned(), |retention| retention.to_string());
    match obligation.left_at {
        None => format!("{} {period} ({})", obligation.to, obligation.because),
        Some(left) => {
            let end = until(obligation, left).map_or("it is lifted".to_owned(), show::time);
            format!("{} until {end} (it has left)", obligation.to)
        }
    }
}

/// Who leaves stays owed until the retention has run out, counted from that day.
fn until(obligation: &Obligation, left_at: i64) -> Option<i64> {
    obligation.retention.map(|retention| levada_runtime::schedule::after(left_at, retention))
}
