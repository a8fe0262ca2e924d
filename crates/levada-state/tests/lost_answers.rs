//! A COMMIT whose answer never comes: every call finds out that its first try was done.

use crate::world::*;
use levada_state::{Completion, State};
use levada_testbed::PostgresCluster;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Stands between the state and the server. While armed, it cuts the next connection that commits,
/// after the server has answered and before the client hears of it.
#[derive(Default)]
struct Line {
    is_armed: AtomicBool,
    cuts: AtomicUsize,
}

impl Line {
    async fn listen(self: Arc<Self>, listener: TcpListener, server: u16) {
        while let Ok((client, _)) = listener.accept().await {
            let upstream = TcpStream::connect(("127.0.0.1", server)).await.expect("the server listens");
            tokio::spawn(Arc::clone(&self).relay(client, upstream));
        }
    }

    async fn relay(self: Arc<Self>, mut client: TcpStream, mut server: TcpStream) {
        let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
        loop {
            tokio::select! {
                read = client.read(&mut asked) => {
                    let Ok(length @ 1..) = read else { return };
                    if server.write_all(&asked[..length]).await.is_err() {
                        return;
                    }
                    let commits = asked[..length].windows(7).any(|bytes| bytes == b"COMMIT\0");
                    if commits && self.is_armed.swap(false, Ordering::AcqRel) {
                        let length = server.read(&mut answered).await.expect("the server answers");
                        assert!(length > 0, "the server answers before the line is cut");
                        self.cuts.fetch_add(1, Ordering::AcqRel);
                        return;
                    }
                }
                read = server.read(&mut answered) => {
                    let Ok(length @ 1..) = read else { return };
                    if client.write_all(&answered[..length]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Lets the next commit lose its answer.
    fn arm(&self) {
        self.is_armed.store(true, Ordering::Release);
    }

    /// How many commits have lost their answer.
    fn cuts(&self) -> usize {
        assert!(!self.is_armed.load(Ordering::Acquire), "something was committed since the line was armed");
        self.cuts.load(Ordering::Acquire)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_without_an_answer_is_done_once() {
    let cluster = PostgresCluster::start().expect("a PostgreSQL server");
    cluster.create_database("state").expect("a new database");
    let line = Arc::new(Line::default());
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(Arc::clone(&line).listen(listener, cluster.port()));
    let url = cluster.url("state").replace(&format!(":{}/", cluster.port()), &format!(":{port}/"));
    let state = State::open(&url).await.expect("the state opens");

    line.arm();
    Plans::default().apply(&state, &chain(), NOW).await;
    assert_eq!(line.cuts(), 1);
    assert_eq!(state.generations().await.expect("reads").len(), 1);

    line.arm();
    let fence = claim(&state, "Ingest/P/Orders", NOW).await;
    assert_eq!((line.cuts(), fence.epoch), (2, 1));

    line.arm();
    assert_eq!(state.commit_batch(pull(fence, 0, NOW)).await.expect("commits"), Some(1));
    assert_eq!(line.cuts(), 3);
    assert_eq!(state.batches(&stream("Orders"), 9).await.expect("reads").len(), 1);

    let lines = claim(&state, "Export/P/warehouse/Orders/lines", NOW).await;
    line.arm();
    let end = Completion { successors: vec![due("Trigger/P/Mask", NOW)], ..done() };
    let delivered = delivery("Export/P/warehouse/Orders/lines", 1, lines.epoch);
    state.complete_export(&[(lines, end, delivered)]).await.expect("is recorded");
    assert_eq!((line.cuts(), state.deliveries().await.expect("reads").len()), (4, 1));

    let trigger = claim(&state, "Trigger/P/Mask", NOW).await;
    line.arm();
    state.complete(&trigger, done(), NOW).await.expect("is recorded");
    assert_eq!((line.cuts(), state.runs(None, 0, 9).await.expect("reads").len()), (5, 3));
}
