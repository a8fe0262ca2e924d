//! The one stop of the process: SIGTERM and Ctrl-C ask for it, once; whoever works looks at it.

use crate::show;
use anyhow::{Result, bail};
use std::sync::OnceLock;
use tokio::sync::watch;

/// The exit code of a process that was interrupted, as shells give it: 128 + SIGINT.
const EXIT_INTERRUPTED: i32 = 130;

static STOP: OnceLock<watch::Receiver<bool>> = OnceLock::new();

/// The stop, listened for from the first call on. The first signal turns it true; a second one ends
/// the process at once.
///
/// # Errors
/// The system lets nobody listen for signals.
pub fn signal() -> Result<watch::Receiver<bool>> {
    if let Some(stop) = STOP.get() {
        return Ok(stop.clone());
    }
    let (sender, receiver) = watch::channel(false);
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let stop = STOP.get_or_init(|| receiver).clone();
    tokio::spawn(async move {
        let mut is_first = true;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if !std::mem::replace(&mut is_first, false) {
                std::process::exit(EXIT_INTERRUPTED);
            }
            show::talk("stopping: running jobs end or are given back");
            sender.send_replace(true);
        }
    });
    Ok(stop)
}

/// Between two steps: ends what was asked to stop.
///
/// # Errors
/// The process was asked to stop.
pub fn check() -> Result<()> {
    match STOP.get().is_some_and(|stop| *stop.borrow()) {
        true => bail!("it was stopped"),
        false => Ok(()),
    }
}
