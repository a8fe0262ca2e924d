//! A TCP proxy on a free port: what a network does to a connection, it does when it is told to.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Stands before a server.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    target: AtomicU16,
    /// Both sides of each connection, until one of them has ended.
    open: Mutex<BTreeMap<u64, [TcpStream; 2]>>,
    /// The next connection's number.
    next: AtomicU64,
    refuses: AtomicBool,
    /// Bytes from the server until everything is cut; negative: never.
    left: AtomicI64,
}

impl Proxy {
    /// Forwards to a port of this machine.
    pub fn before(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a port").port();
        let (refuses, left) = (AtomicBool::new(false), AtomicI64::new(-1));
        let target = AtomicU16::new(target);
        let shared = Arc::new(Shared { target, open: Mutex::default(), next: AtomicU64::new(0), refuses, left });
        let own = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                own.serve(client);
            }
        });
        Self { port, shared }
    }

    /// Breaks every connection.
    pub fn cut(&self) {
        self.shared.cut();
    }

    /// Breaks every connection after so many bytes more from the server.
    pub fn cut_after(&self, bytes: i64) {
        self.shared.left.store(bytes, Ordering::Relaxed);
    }

    /// Forwards to another port from now on.
    pub fn lead_to(&self, target: u16) {
        self.shared.target.store(target, Ordering::Relaxed);
        self.cut();
    }

    /// Lets nobody in, or everybody again.
    pub fn refuse(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::Relaxed);
        if refuses {
            self.cut();
        }
    }
}

impl Shared {
    fn serve(self: &Arc<Self>, client: TcpStream) {
        if self.refuses.load(Ordering::Relaxed) {
            return;
        }
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.target.load(Ordering::Relaxed))) else { return };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let copies = [(&client, &server, false), (&server, &client, true)].map(|(from, to, is_answer)| {
            (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"), is_answer)
        });
        self.open.lock().expect("no panic holds it").insert(number, [client, server]);
        for (from, to, is_answer) in copies {
            let shared = Arc::clone(self);
            thread::spawn(move || {
                shared.copy(from, to, is_answer);
                // A socket that is only shut down takes what comes until it is full, and the server would wait for
                // ever, with all its locks: it has to be closed.
                drop(shared.open.lock().expect("no panic holds it").remove(&number));
            });
        }
    }

    fn copy(&self, mut from: TcpStream, mut to: TcpStream, is_answer: bool) {
        let mut buffer = [0; 16 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let mut passed = length;
            if is_answer && self.left.load(Ordering::Relaxed) >= 0 {
                let left = self.left.fetch_sub(length as i64, Ordering::Relaxed);
                if left < length as i64 {
                    // In the middle of a message, as networks do.
                    passed = usize::try_from(left).unwrap_or(0);
                }
            }
            let sent = to.write_all(&buffer[..passed]);
            if passed < length {
                self.left.store(-1, Ordering::Relaxed);
                self.cut();
            }
            if sent.is_err() {
                break;
            }
        }
        // The other side learns that this one has ended.
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    fn cut(&self) {
        for [client, server] in std::mem::take(&mut *self.open.lock().expect("no panic holds it")).into_values() {
            let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
        }
    }
}
