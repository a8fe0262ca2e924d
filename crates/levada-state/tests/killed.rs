//! A worker that is killed at any moment has committed whole batches, and answered for no others.

use crate::bed::Bed;
use crate::world::*;
use levada_state::{Host, State};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Tells the process that it is the one to be killed.
const VICTIM: &str = "LEVADA_STATE_VICTIM";
const INGEST: &str = "Ingest/P/Orders";
const EXPORTS: [&str; 2] = ["Export/P/warehouse/Orders/lines", "Export/P/warehouse/Orders/heads"];
/// How often a worker is killed.
const KILLS: u32 = 12;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_leaves_whole_batches_on_sqlite() {
    kill_again_and_again(Bed::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_leaves_whole_batches_on_postgres() {
    kill_again_and_again(Bed::postgres()).await;
}

/// Not a law of its own: the body of the process that the laws above start and kill.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victim() {
    if let Ok(url) = std::env::var(VICTIM) {
        let state = State::open(&url).await.expect("the state opens");
        work(&state).await;
    }
}

/// Pulls, commits and delivers until it is killed; says which batch it was answered for.
async fn work(state: &State) {
    let _lock = state.take_worker_lock(&Host::Anywhere).await.expect("the last worker is dead");
    loop {
        state.make_due(&[due(INGEST, NOW)]).await.expect("becomes due");
        let head = state.head(&stream("Orders")).await.expect("reads").map_or(0, |head| head.batch);
        let fence = claim(state, INGEST, NOW).await;
        let batch = state.commit_batch(pull(fence, head, NOW)).await.expect("commits").expect("has changes");
        #[expect(clippy::print_stdout, reason = "the parent process reads it")]
        {
            println!("committed {batch}");
        }
        let mut ends = Vec::new();
        for export in EXPORTS {
            let fence = claim(state, export, NOW).await;
            ends.push((fence.clone(), done(), delivery(export, batch, fence.epoch)));
        }
        state.complete_export(&ends).await.expect("is recorded");
    }
}

fn start(url: &str) -> Child {
    Command::new(std::env::current_exe().expect("this test has a file"))
        .args(["--exact", "killed::victim", "--nocapture", "--test-threads", "1"])
        .env(VICTIM, url)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the victim starts")
}

async fn kill_again_and_again(bed: Bed) {
    let state = bed.state().await;
    Plans::default().apply(&state, &chain(), NOW).await;
    let mut answered = 0;
    for round in 0..KILLS {
        let mut child = start(&bed.url());
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let until = answered + 1 + i64::from(round % 4);
        while answered < until {
            let line = lines.next().expect("the victim goes on").expect("it writes text");
            answered = line.split_once("committed ").map_or(answered, |(_, batch)| batch.parse().expect("a number"));
        }
        // Anything between nothing and a few transactions later.
        for spin in 0..(u64::from(round) * 977_777) % 3_000_000 {
            std::hint::black_box(spin);
        }
        child.kill().expect("it is killed");
        child.wait().expect("it is gone");
        let later = lines.map_while(Result::ok).filter_map(|line| line.split_once("committed ")?.1.parse().ok());
        answered = later.max().unwrap_or(answered);
        check(&bed, &state, answered).await;
    }
}

async fn check(bed: &Bed, state: &State, answered: i64) {
    let head = state.head(&stream("Orders")).await.expect("reads").expect("something was committed");
    assert!((answered..=answered + 1).contains(&head.batch), "answered {answered}, found {}", head.batch);
    assert_eq!(head.position, format!("after {}", head.batch - 1).into_bytes());
    for name in ["Orders.lines", "Orders.heads"] {
        let batches: Vec<_> =
            state.manifests(&dataset(name), 0, i64::MAX).await.expect("reads").iter().map(|it| it.batch).collect();
        assert_eq!(batches, (1..=head.batch).collect::<Vec<_>>());
    }
    let numbers = state.times(&stream("Orders"), 0, i64::MAX).await.expect("reads");
    assert_eq!(numbers.keys().copied().collect::<Vec<_>>(), (1..=head.batch).collect::<Vec<_>>());
    let runs = format!("SELECT count(*) FROM runs WHERE node = '{INGEST}' AND batch IS NOT NULL");
    assert_eq!(bed.number(&runs), head.batch);

    let delivered: Vec<_> = state.deliveries().await.expect("reads").iter().map(|it| it.batch).collect();
    assert!(delivered.is_empty() || (delivered.len() == 2 && delivered[0] == delivered[1]), "{delivered:?}");
    let last = delivered.first().copied().unwrap_or(0);
    assert!(last <= head.batch, "delivered {last} of {}", head.batch);
    for export in EXPORTS {
        let row = state.node(&address(export)).await.expect("reads").expect("is there");
        let is_pending = row.due_at.is_some() || row.lease.is_some();
        assert_eq!(is_pending, last < head.batch, "{export} is pending exactly while a batch is not delivered");
    }
}
