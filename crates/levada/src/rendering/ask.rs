//! Asking the programs of external platforms: one process per question, bounded in time and output.
//!
//! Takes a platform and a question, gives what the program wrote on its standard output. What it
//! means is `levada-platforms`' matter.

use crate::settings::{PLATFORM_SECONDS, Settings};
use anyhow::{Result, bail};
use levada_flow::FlowError;
use levada_model::model::{PlatformEntry, Run};
use levada_platforms::external::PROTOCOL;
use levada_platforms::external::question::Ask;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// The longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// How much of the end of its standard error a failure shows, in bytes.
const STDERR_BYTES_MAX: usize = 4_096;
/// How much of an answer that is none a failure shows, in bytes.
pub const SHOWN_BYTES_MAX: usize = 400;
/// Variables of this process that a program may see.
const VARIABLES_PASSED: [&str; 4] = ["PATH", "HOME", "LANG", "TMPDIR"];

/// Asks a platform's program; `folder` is where the file that names it lies.
///
/// # Errors
/// It can't be started, takes too long, answers too much, or ends without success.
pub async fn ask(
    settings: &Settings,
    platform: &PlatformEntry,
    folder: &Path,
    ask: Ask,
    question: &[u8],
) -> Result<Vec<u8>> {
    let Some(run) = &platform.run else {
        bail!("platform {} names no program: add `run: {{ command: [PROGRAM, …] }}`", platform.name);
    };
    let mut command = command(settings, platform, run, ask)?;
    command.current_dir(folder);
    let name = format!("the program of platform {}", platform.name);
    run_to_end(command, &name, ask, question, settings.platform_seconds).await
}

/// Asks a program that no model names.
///
/// # Errors
/// As [`ask`].
pub async fn ask_program(program: &Path, ask: Ask, question: &[u8]) -> Result<Vec<u8>> {
    let mut command = bare(program.as_os_str());
    command.arg(ask.word());
    run_to_end(command, &program.display().to_string(), ask, question, PLATFORM_SECONDS).await
}

fn command(settings: &Settings, platform: &PlatformEntry, run: &Run, ask: Ask) -> Result<Command> {
    let mut secrets = Vec::new();
    for name in &platform.credentials {
        secrets.extend(settings.secret_variables(&name.value)?);
    }
    let mut command = match run {
        Run::Command(words) => {
            let Some((first, rest)) = words.split_first() else {
                bail!("the command of platform {} is empty", platform.name);
            };
            let mut command = bare(first.as_ref());
            command.args(rest);
            command
        }
        Run::Image(image) => {
            let Some((first, rest)) = settings.runner.split_first() else {
                bail!("the runner of images is empty; set `runner` in levada.toml or LEVADA_RUNNER");
            };
            let mut command = bare(first.as_ref());
            command.args(rest);
            // The runner takes the values from its own environment, so that none stands in a command line.
            for name in secrets.iter().map(|(name, _)| name.as_str()).chain(["LEVADA_PROTOCOL"]) {
                command.args(["--env", name]);
            }
            command.arg(image);
            command
        }
    };
    command.arg(ask.word()).envs(secrets);
    Ok(command)
}

/// A program with what every one sees, and nothing else of this process.
fn bare(program: &std::ffi::OsStr) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("LEVADA_PROTOCOL", PROTOCOL.to_string());
    for name in VARIABLES_PASSED {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).process_group(0);
    command
}

async fn run_to_end(mut command: Command, name: &str, ask: Ask, question: &[u8], seconds: u64) -> Result<Vec<u8>> {
    let started = command.spawn().map_err(|error| {
        FlowError::never(format!("{name} can't be started")).because(error).hint("it is looked up on PATH")
    });
    let mut child = started?;
    let word = ask.word();
    let Ok((answer, said, status)) =
        tokio::time::timeout(Duration::from_secs(seconds), talk(&mut child, question)).await
    else {
        kill_group(&mut child).await;
        bail!("{name} did not answer `{word}` within {seconds} s (`platform-seconds` in levada.toml allows more)");
    };
    let Some(answer) = answer else {
        kill_group(&mut child).await;
        bail!("{name} answered `{word}` with more than {} MB", ANSWER_BYTES_MAX >> 20);
    };
    let status = status?;
    if !status.success() {
        bail!("{name} ended `{word}` with {status}: {said}");
    }
    Ok(answer)
}

/// Writes the question, reads answer and standard error, waits for the end. No answer: it was too long.
async fn talk(
    child: &mut Child,
    question: &[u8],
) -> (Option<Vec<u8>>, String, std::io::Result<std::process::ExitStatus>) {
    let mut stdin = child.stdin.take().expect("standard input is piped");
    let mut stdout = child.stdout.take().expect("standard output is piped");
    let mut stderr = child.stderr.take().expect("standard error is piped");
    let ask = async move {
        // A program that needs no question may close its input; its answer says whether that was right.
        drop(stdin.write_all(question).await);
    };
    let (answer, said, ()) = tokio::join!(read_answer(&mut stdout), read_tail(&mut stderr), ask);
    match answer {
        Some(answer) => (Some(answer), said, child.wait().await),
        None => (None, said, Err(std::io::ErrorKind::FileTooLarge.into())),
    }
}

async fn read_answer(from: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut answer = Vec::new();
    let read = from.take(ANSWER_BYTES_MAX as u64 + 1).read_to_end(&mut answer).await;
    (read.is_ok() && answer.len() <= ANSWER_BYTES_MAX).then_some(answer)
}

async fn read_tail(from: &mut (impl AsyncRead + Unpin)) -> String {
    let mut tail = Vec::new();
    let mut piece = [0; STDERR_BYTES_MAX];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        tail.extend_from_slice(&piece[..length]);
        let surplus = tail.len().saturating_sub(STDERR_BYTES_MAX);
        tail.drain(..surplus);
    }
    String::from_utf8_lossy(&tail).trim().to_owned()
}

/// Kills the program and whatever it started.
async fn kill_group(child: &mut Child) {
    if let Some(id) = child.id() {
        // The kernel knows the group by its leader; `kill` is on every system that has process groups.
        let group = format!("-{id}");
        drop(Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status().await);
    }
    // The wait only collects the dead process; its status says nothing new.
    drop(child.wait().await);
}
