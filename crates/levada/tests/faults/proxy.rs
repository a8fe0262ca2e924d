//! A TCP proxy on a free port: what a network does to a connection, it does when it is told to.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Stands before a server.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    target: u16,
    open: Mutex<Vec<TcpStream>>,
    refuses: AtomicBool,
    /// Bytes from the server until everything is cut; negative: never.
    left: AtomicI64,
}

impl Proxy {
    /// Forwards to a port of this machine.
    pub fn before(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a port").port();
        let (open, refuses, left) = (Mutex::default(), AtomicBool::new(false), AtomicI64::new(-1));
        let shared = Arc::new(Shared { target, open, refuses, left });
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
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.target)) else { return };
        let copies = [(&client, &server, false), (&server, &client, true)];
        for (from, to, is_answer) in copies {
            let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
            self.open.lock().expect("no panic holds it").push(from.try_clone().expect("a socket"));
            let shared = Arc::clone(self);
            thread::spawn(move || shared.copy(from, to, is_answer));
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
        for socket in self.open.lock().expect("no panic holds it").drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}
