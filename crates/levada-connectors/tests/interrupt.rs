//! Between a client and a MySQL server: counts commands, and at one of them lets the client die.
//!
//! Knows of the protocol that packets have a length and a number, and that a command's is 0.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// When the client dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Death {
    /// Before the command reaches the server.
    Before,
    /// When the server has answered it, and before the client knows.
    After,
}

/// What all connections share.
struct Shared {
    target: u16,
    at: usize,
    death: Death,
    commands: AtomicUsize,
    /// The next answer is the one that the client does not see any more.
    is_last: AtomicBool,
    is_dead: watch::Sender<bool>,
    on_death: Box<dyn Fn() + Send + Sync>,
}

/// A port that forwards to a server until the client dies.
pub struct Interrupt {
    /// On 127.0.0.1.
    pub port: u16,
    shared: Arc<Shared>,
}

impl Interrupt {
    /// Forwards to `target` until the `at`-th command, counted from 1 over all connections.
    pub async fn start(target: u16, at: usize, death: Death, on_death: impl Fn() + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let shared = Arc::new(Shared {
            target,
            at,
            death,
            commands: AtomicUsize::new(0),
            is_last: AtomicBool::new(false),
            is_dead: watch::channel(false).0,
            on_death: Box::new(on_death),
        });
        tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { port, shared }
    }

    /// How many commands have come so far.
    pub fn commands(&self) -> usize {
        self.shared.commands.load(Ordering::SeqCst)
    }

    /// Whether the client was let die.
    pub fn is_dead(&self) -> bool {
        *self.shared.is_dead.borrow()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut is_dead = shared.is_dead.subscribe();
    loop {
        let client = tokio::select! {
            accepted = listener.accept() => accepted.expect("a connection").0,
            _ = is_dead.wait_for(|is_dead| *is_dead) => return,
        };
        let Ok(server) = TcpStream::connect(("127.0.0.1", shared.target)).await else { continue };
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let mut is_dead = shared.is_dead.subscribe();
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // Whatever ends first closes both sides.
            tokio::select! {
                () = commands(from_client, to_server, &shared) => {}
                () = answers(from_server, to_client, &shared) => {}
                _ = is_dead.wait_for(|is_dead| *is_dead) => {}
            }
        });
    }
}

impl Shared {
    fn die(&self) {
        if !self.is_dead.send_replace(true) {
            (self.on_death)();
        }
    }
}

async fn commands(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared) {
    let mut header = [0; 4];
    while from.read_exact(&mut header).await.is_ok() {
        let length = u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize;
        let mut packet = header.to_vec();
        packet.resize(4 + length, 0);
        if from.read_exact(&mut packet[4..]).await.is_err() {
            return;
        }
        let is_command = header[3] == 0;
        if is_command && shared.commands.fetch_add(1, Ordering::SeqCst) + 1 == shared.at {
            match shared.death {
                Death::Before => return shared.die(),
                Death::After => shared.is_last.store(true, Ordering::SeqCst),
            }
        }
        if to.write_all(&packet).await.is_err() {
            return;
        }
    }
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        if shared.is_last.load(Ordering::SeqCst) {
            return shared.die();
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
