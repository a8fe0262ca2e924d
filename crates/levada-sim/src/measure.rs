//! What a piece of work costs: CPU seconds and peak memory of this process.

use std::time::Instant;

/// What the process has used so far.
#[derive(Clone, Copy)]
struct Usage {
    cpu_seconds: f64,
    peak_rss_mb: f64,
}

/// CPU seconds of this process so far.
pub fn cpu_seconds() -> f64 {
    usage(libc::RUSAGE_SELF).cpu_seconds
}

/// CPU seconds of the child processes that have ended.
pub fn children_cpu_seconds() -> f64 {
    usage(libc::RUSAGE_CHILDREN).cpu_seconds
}

/// The peak resident memory of the largest child process that has ended, in MB.
pub fn children_peak_rss_mb() -> f64 {
    usage(libc::RUSAGE_CHILDREN).peak_rss_mb
}

#[expect(unsafe_code, reason = "getrusage has no safe interface in std")]
fn usage(of: libc::c_int) -> Usage {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is valid for one rusage, and all-zero bytes are a valid one.
    let usage = unsafe {
        libc::getrusage(of, usage.as_mut_ptr());
        usage.assume_init()
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Usage {
        cpu_seconds: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        peak_rss_mb: usage.ru_maxrss as f64 / 1024.0,
    }
}

/// Runs one piece of work and prints a line with what it cost.
#[expect(clippy::print_stdout, reason = "the figures are this program's output")]
pub fn measure<T>(name: &str, work: impl FnOnce() -> T) -> T {
    let (before, started) = (usage(libc::RUSAGE_SELF), Instant::now());
    let made = work();
    let after = usage(libc::RUSAGE_SELF);
    println!(
        "{name:<10} {:>8.3} CPU s  {:>8.3} s  peak {:>6.0} MB",
        after.cpu_seconds - before.cpu_seconds,
        started.elapsed().as_secs_f64(),
        after.peak_rss_mb
    );
    made
}
