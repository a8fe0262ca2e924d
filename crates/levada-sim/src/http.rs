//! Questions to a running server at a fixed rate, and how long the answers take.
//!
//! Each question has its moment; a late answer makes the next ones late, and their time counts from
//! the moment on. Connections are kept.

use anyhow::{Context, bail};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Connections that share the questions.
const CONNECTIONS: u32 = 16;

/// Asks `rate` questions a second for so many seconds, path after path, and prints the times.
#[expect(clippy::print_stdout, reason = "the figures are this program's output")]
pub fn run(address: &str, paths: &[String], rate: u32, seconds: u32) -> anyhow::Result<()> {
    let started = Instant::now() + Duration::from_millis(100);
    let asked = |connection: u32| {
        let mut times = Vec::new();
        let mut bytes = 0;
        let stream = TcpStream::connect(address).with_context(|| format!("failed to reach {address}"))?;
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        for number in (connection..rate * seconds).step_by(CONNECTIONS as usize) {
            let moment = started + Duration::from_secs_f64(f64::from(number) / f64::from(rate));
            std::thread::sleep(moment.saturating_duration_since(Instant::now()));
            bytes += ask(&mut stream, &paths[number as usize % paths.len()])?;
            times.push(moment.elapsed());
        }
        Ok::<_, anyhow::Error>((times, bytes))
    };
    let (mut times, mut bytes) = (Vec::new(), 0);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS).map(|connection| scope.spawn(move || asked(connection))).collect();
        for thread in threads {
            let (found, size) = thread.join().expect("a thread that asks does not panic")?;
            times.extend(found);
            bytes += size;
        }
        Ok::<_, anyhow::Error>(())
    })?;
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "{} answers, {:.1} kB each: p50 {:.2} ms, p99 {:.2} ms, slowest {:.2} ms",
        times.len(),
        bytes as f64 / 1e3 / times.len() as f64,
        at(0.5),
        at(0.99),
        at(1.0)
    );
    Ok(())
}

/// One question; gives the size of the answer's body.
fn ask(stream: &mut BufReader<TcpStream>, path: &str) -> anyhow::Result<usize> {
    let question = format!("GET {path} HTTP/1.1\r\nHost: levada\r\n\r\n");
    stream.get_mut().write_all(question.as_bytes()).context("failed to ask")?;
    let mut length = 0;
    let mut line = String::new();
    let mut is_first = true;
    loop {
        line.clear();
        if stream.read_line(&mut line).context("failed to read an answer")? == 0 {
            bail!("the server has hung up");
        }
        if is_first && !line.contains(" 200 ") && !line.contains(" 404 ") {
            bail!("{path} is answered by {}", line.trim());
        }
        is_first = false;
        if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().context("a length")?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).context("failed to read an answer")?;
    Ok(length)
}
