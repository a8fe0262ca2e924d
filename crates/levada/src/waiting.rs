//! Says on stderr that something still goes on, for whatever takes longer than a second.
//!
//! On a terminal one line is kept up to date; elsewhere a line comes now and then, so that a log
//! stays readable.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long something may take before it is talked about.
const SILENT: Duration = Duration::from_secs(1);
/// How often the line on a terminal changes.
const EVERY_ON_TERMINAL: Duration = Duration::from_secs(1);
/// How often a line comes elsewhere.
const EVERY_IN_LOG: Duration = Duration::from_secs(10);

/// Whether an unfinished line stands on the terminal.
static IS_SHOWN: AtomicBool = AtomicBool::new(false);

/// Talks while it lives.
pub struct Waiting {
    news: Option<Sender<Option<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Waiting {
    /// Begins to wait for something, such as `reading the model`.
    pub fn new(what: &str) -> Self {
        let waiting = Self::for_nothing();
        waiting.now_for(Some(what.to_owned()));
        waiting
    }

    /// Begins with nothing to talk about.
    pub fn for_nothing() -> Self {
        let (news, told) = channel();
        let thread = std::thread::Builder::new().name("levada-waiting".to_owned()).spawn(move || wait(&told));
        // Without a thread there is silence, and the work goes on.
        Self { news: Some(news), thread: thread.ok() }
    }

    /// Goes on to something else, whose time begins now; `None`: nothing is waited for.
    pub fn now_for(&self, what: Option<String>) {
        if let Some(news) = &self.news {
            // The thread is gone only where it never began.
            drop(news.send(what));
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.news = None;
        if let Some(thread) = self.thread.take() {
            // A line less to say is nobody's loss.
            drop(thread.join());
        }
    }
}

fn wait(told: &Receiver<Option<String>>) {
    let is_terminal = std::io::stderr().is_terminal();
    let (mut what, mut since, mut pause) = (None, Instant::now(), SILENT);
    loop {
        let news = match what {
            Some(_) => told.recv_timeout(pause),
            None => told.recv().map_err(RecvTimeoutError::from),
        };
        match (news, &what) {
            (Ok(next), _) if next == what => {}
            (Ok(next), _) => (what, since, pause) = (next, Instant::now(), SILENT),
            (Err(RecvTimeoutError::Timeout), Some(what)) => {
                show(what, since.elapsed().as_secs(), is_terminal);
                pause = if is_terminal { EVERY_ON_TERMINAL } else { EVERY_IN_LOG };
            }
            (Err(_), _) => return clear(),
        }
    }
}

fn show(what: &str, seconds: u64, is_terminal: bool) {
    let mut stderr = std::io::stderr().lock();
    // Nobody is left to tell when stderr is gone.
    drop(match is_terminal {
        true => write!(stderr, "\r\x1b[2K… {what} ({seconds} s)").and_then(|()| stderr.flush()),
        false => writeln!(stderr, "… {what} ({seconds} s)"),
    });
    IS_SHOWN.store(is_terminal, Ordering::Relaxed);
}

/// Takes the line away, where one is shown: whatever is printed next begins a line of its own.
pub fn clear() {
    if IS_SHOWN.swap(false, Ordering::Relaxed) {
        let mut stderr = std::io::stderr().lock();
        drop(write!(stderr, "\r\x1b[2K").and_then(|()| stderr.flush()));
    }
}
